//! A caller, a PBX and a clock that jumps: everything that the numbers promise, without a socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::pbx::{Config, DemoPbx, UdpSocketRole};
use super::sounds::Sounds;
use crate::audio::g711;
use crate::codec::Codec;
use crate::net::LocalSocket;
use crate::rtp::{Header, Rtcp};
use crate::sdp::{self, Direction, LocalDescription, Negotiated};
use crate::sip::{Address, Invite, SessionKey, SipEvent, UserAgent, UserAgentConfig};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A telephone and the PBX on one wire that delivers at once.
struct World {
    start: Instant,
    now: Instant,
    pbx: DemoPbx,
    phone: UserAgent,
    /// What the telephone's user agent told, and when.
    events: Vec<(Duration, SipEvent)>,
    /// RTP and RTCP that the PBX sent, and when.
    rtp: Vec<(Duration, Sent)>,
    rtcp: Vec<(Duration, Vec<u8>)>,
}

/// An RTP packet of the PBX.
#[derive(Clone, Debug)]
struct Sent {
    header: Header,
    payload: Vec<u8>,
    port: u16,
}

/// A call of the telephone.
struct TestCall {
    session: SessionKey,
    local: LocalDescription,
}

impl World {
    fn new() -> Self {
        Self::with_ports(4)
    }

    fn with_ports(pairs: u16) -> Self {
        let start = Instant::now();
        let config = Config { address: pbx_address(), gateway: phone_address(), calls_max: 1_000, one_media_port: false };
        let mut pbx = DemoPbx::new(config, Sounds::g711(), [1; 32], start, SystemTime::UNIX_EPOCH);
        (0..pairs).for_each(|pair| pbx.add_port(40_000 + 2 * pair));
        let phone = UserAgent::new(
            UserAgentConfig {
                contact: phone_address(),
                product: "test".to_owned(),
                credentials: None,
                shard: None,
                transactions_max: 4_000,
                sessions_max: 1_000,
            },
            [2; 32],
        );
        Self { start, now: start, pbx, phone, events: Vec::new(), rtp: Vec::new(), rtcp: Vec::new() }
    }

    /// Dials with an offer of these codecs.
    fn dial_with(&mut self, number: &str, codecs: &[Codec]) -> TestCall {
        let local = LocalDescription {
            address: phone_address().ip(),
            rtp_port: 20_000,
            rtcp_port: 20_001,
            session_id: 7,
            version: 1,
            direction: Direction::SendRecv,
            codecs: codecs.to_vec(),
        };
        let body = local.offer();
        self.invite(number, Some(body), local)
    }

    fn dial(&mut self, number: &str) -> TestCall {
        self.dial_with(number, &[Codec::Pcma])
    }

    fn invite(&mut self, number: &str, body: Option<Vec<u8>>, local: LocalDescription) -> TestCall {
        let invite = Invite {
            peer: pbx_address(),
            target: format!("sip:{number}@pbx.example.com"),
            from: Address::new("alice", "agents.example.com"),
            to: Address::new(number, "pbx.example.com"),
            headers: Vec::new(),
            body,
        };
        let session = self.phone.invite(invite, self.now).unwrap();
        self.settle();
        TestCall { session, local }
    }

    /// Dials and waits for the answer.
    fn talk(&mut self, number: &str) -> (TestCall, Negotiated) {
        let call = self.dial(number);
        self.run(SECOND + 500 * MS);
        let negotiated = self.answer_of(&call);
        (call, negotiated)
    }

    fn answer_of(&self, call: &TestCall) -> Negotiated {
        let body = self.events.iter().rev().find_map(|(_, event)| match event {
            SipEvent::Answered { session, body, .. } | SipEvent::Progress { session, body, .. } if *session == call.session => body.clone(),
            _ => None,
        });
        call.local.complete(&sdp::parse(&body.unwrap()).unwrap()).unwrap()
    }

    /// Lets time pass, from deadline to deadline.
    fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        self.settle();
        while let Some(at) = [self.pbx.next_deadline(), self.phone.next_deadline()].into_iter().flatten().min()
            && at <= until
        {
            self.now = at.max(self.now);
            self.pbx.handle_timeout(self.now);
            self.phone.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    /// Delivers everything that is on the wire.
    fn settle(&mut self) {
        loop {
            let since = self.now - self.start;
            let mut quiet = true;
            while let Some(transmit) = self.phone.poll_transmit() {
                quiet = false;
                self.pbx.handle(UdpSocketRole::Sip, phone_address(), &transmit.bytes, self.now);
            }
            while let Some(transmit) = self.pbx.poll_transmit() {
                quiet = false;
                match transmit.socket {
                    UdpSocketRole::Sip => self.phone.handle_datagram(&transmit.bytes, pbx_address(), LocalSocket::Sip, self.now),
                    UdpSocketRole::Rtp(port) => {
                        assert_eq!(transmit.to, SocketAddr::from(([192, 0, 2, 1], 20_000)));
                        let header = Header::parse(&transmit.bytes).unwrap();
                        let payload = transmit.bytes[header.payload.clone()].to_vec();
                        self.rtp.push((since, Sent { header, payload, port }));
                    }
                    UdpSocketRole::Rtcp(_) => {
                        assert_eq!(transmit.to, SocketAddr::from(([192, 0, 2, 1], 20_001)));
                        self.rtcp.push((since, transmit.bytes));
                    }
                }
            }
            while let Some(event) = self.phone.poll_event() {
                quiet = false;
                self.events.push((since, event));
            }
            if quiet {
                return;
            }
        }
    }

    /// Sends an RTP packet to the PBX, from where the offer said.
    fn say(&mut self, to: &Negotiated, payload_type: u8, (sequence, timestamp): (u16, u32), payload: &[u8]) {
        self.say_from(phone_rtp(), to.remote_rtp.port(), payload_type, (sequence, timestamp), payload);
    }

    fn say_from(&mut self, from: SocketAddr, port: u16, payload_type: u8, (sequence, timestamp): (u16, u32), payload: &[u8]) {
        let mut bytes = vec![0x80, payload_type];
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&0x1234_5678u32.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.pbx.handle(UdpSocketRole::Rtp(port), from, &bytes, self.now);
        self.settle();
    }

    /// When an event happened that this picks, and what it picked.
    fn when<T>(&self, pick: impl Fn(&SipEvent) -> Option<T>) -> Option<(Duration, T)> {
        self.events.iter().find_map(|(at, event)| Some((*at, pick(event)?)))
    }

    /// Lets every timer run out, then nothing may be left.
    fn assert_nothing_left(&mut self) {
        self.run(60 * SECOND);
        let stats = self.pbx.stats();
        assert_eq!((stats.calls, stats.ports_in_use, stats.deadlines, stats.transactions), (0, 0, 0, 0));
        assert_eq!(self.pbx.next_deadline(), None);
    }
}

fn pbx_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 5060))
}

fn phone_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5070))
}

fn phone_rtp() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 20_000))
}

fn answered(event: &SipEvent) -> Option<()> {
    matches!(event, SipEvent::Answered { .. }).then_some(())
}

fn ringing(event: &SipEvent) -> Option<u16> {
    match event {
        SipEvent::Progress { status, .. } => Some(*status),
        _ => None,
    }
}

fn ended(event: &SipEvent) -> Option<()> {
    matches!(event, SipEvent::Ended { .. }).then_some(())
}

fn failure(event: &SipEvent) -> Option<u16> {
    match event {
        SipEvent::Failed { failure, .. } => Some(failure.status()),
        _ => None,
    }
}

#[test]
fn busy_and_unknown_numbers_are_refused_at_once() {
    for (number, status) in [("6486", 486), ("6404", 404)] {
        let mut world = World::new();
        world.dial(number);
        assert_eq!(world.when(failure), Some((Duration::ZERO, status)));
        world.assert_nothing_left();
    }
}

#[test]
fn an_ordinary_number_rings_one_second_and_answers() {
    let mut world = World::new();
    let (call, _) = world.talk("+4930123456");
    assert_eq!(world.when(ringing), Some((Duration::ZERO, 180)));
    assert_eq!(world.when(answered), Some((SECOND, ())));
    world.phone.bye(call.session, None, world.now);
    world.assert_nothing_left();
}

#[test]
fn number_6408_rings_until_the_caller_gives_up() {
    let mut world = World::new();
    let call = world.dial("6408");
    world.run(100 * SECOND);
    assert_eq!(world.when(ringing), Some((Duration::ZERO, 180)));
    assert_eq!((world.when(answered), world.when(failure)), (None, None));
    world.phone.cancel(call.session, world.now);
    world.run(SECOND);
    assert_eq!(world.when(failure), Some((100 * SECOND, 487)));
    world.assert_nothing_left();
}

#[test]
fn an_echo_comes_back_under_one_stream_of_the_pbx_with_its_gaps_kept() {
    let mut world = World::new();
    let (call, negotiated) = world.talk("9196");
    for number in [1u16, 2, 4, 3, 5] {
        world.say(&negotiated, 8, (1_000 + number, 160 * u32::from(number)), &[number as u8; 160]);
    }
    // The caller's telephone restarts its stream: ours goes on.
    world.run(SECOND);
    let at = SocketAddr::from(([192, 0, 2, 1], 20_000));
    let mut restarted = vec![0x80, 8, 0, 9, 0, 0, 0, 0, 9, 9, 9, 9];
    restarted.extend_from_slice(&[6; 160]);
    world.pbx.handle(UdpSocketRole::Rtp(negotiated.remote_rtp.port()), at, &restarted, world.now);
    world.settle();

    let echoed: Vec<&Sent> = world.rtp.iter().map(|(_, sent)| sent).collect();
    assert_eq!(echoed.iter().map(|sent| sent.payload[0]).collect::<Vec<_>>(), [1, 2, 4, 3, 5, 6]);
    let first = &echoed[0].header;
    let sequences: Vec<u16> = echoed.iter().map(|sent| sent.header.sequence.wrapping_sub(first.sequence)).collect();
    assert_eq!(sequences, [0, 1, 3, 2, 4, 5]);
    let timestamps: Vec<u32> = echoed.iter().map(|sent| sent.header.timestamp.wrapping_sub(first.timestamp)).collect();
    assert_eq!(timestamps, [0, 160, 480, 320, 640, 640 + 8_000]);
    assert!(echoed.iter().all(|sent| sent.header.ssrc == first.ssrc && sent.header.ssrc != 0x1234_5678 && sent.header.payload_type == 8));
    world.phone.bye(call.session, None, world.now);
    world.assert_nothing_left();
}

#[test]
fn an_echo_returns_telephone_events_and_drops_what_was_not_negotiated() {
    let mut world = World::new();
    let (_, negotiated) = world.talk("9196");
    let event = negotiated.telephone_event.unwrap();
    world.say(&negotiated, event.payload_type_out, (1, 160), &[5, 10, 1, 144]);
    world.say(&negotiated, 0, (2, 320), &[0; 160]);
    world.say_from(SocketAddr::from(([192, 0, 2, 66], 20_000)), negotiated.remote_rtp.port(), 8, (3, 480), &[0; 160]);
    world.say_from(phone_rtp(), 40_006, 8, (4, 640), &[0; 160]);
    assert_eq!(world.rtp.len(), 1);
    assert_eq!((world.rtp[0].1.header.payload_type, &world.rtp[0].1.payload[..]), (event.payload_type_in, &[5, 10, 1, 144][..]));
    let dropped = world.pbx.stats().dropped;
    assert_eq!((dropped.malformed, dropped.wrong_source, dropped.no_call), (1, 1, 1));
}

#[test]
fn the_tone_is_1000_hz_at_50_packets_a_second_without_drift() {
    let mut world = World::new();
    let (call, _) = world.talk("9197");
    world.run(20 * SECOND);
    world.phone.bye(call.session, None, world.now);
    world.settle();
    let sent = world.rtp.len();
    let answered_at = world.when(answered).unwrap().0;
    for (number, (at, frame)) in world.rtp.iter().enumerate() {
        let first = &world.rtp[0].1.header;
        assert_eq!(*at, answered_at + 20 * MS * number as u32);
        assert_eq!(frame.header.sequence, first.sequence.wrapping_add(number as u16));
        assert_eq!(frame.header.timestamp, first.timestamp.wrapping_add(160 * number as u32));
        assert_eq!(frame.header.marker, number == 0, "a marker on every packet makes peers drop the audio");
    }
    assert_eq!(sent as u128, (world.now - world.start - answered_at).as_millis() / 20 + 1);
    let samples: Vec<i16> = world.rtp.iter().flat_map(|(_, frame)| frame.payload.iter().map(|byte| g711::alaw_decode(*byte))).collect();
    let crossings = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    assert!((crossings as i64 - samples.len() as i64 / 8).abs() <= 1, "{crossings} periods in {} samples", samples.len());
    world.assert_nothing_left();
    assert_eq!(world.rtp.len(), sent, "a tone went on after BYE");
}

#[test]
fn a_thread_that_wakes_late_catches_up_and_skips_only_a_long_sleep() {
    let mut world = World::new();
    let (_, _) = world.talk("9197");
    let before = world.rtp.len();
    let last = world.rtp[before - 1].1.header.clone();
    world.now += 95 * MS;
    world.pbx.handle_timeout(world.now);
    world.settle();
    assert!((4..=5).contains(&(world.rtp.len() - before)), "{} frames in 95 ms", world.rtp.len() - before);
    world.now += 10 * SECOND;
    world.pbx.handle_timeout(world.now);
    world.settle();
    let after = world.rtp.last().unwrap().1.header.clone();
    assert!(world.rtp.len() - before < 10, "a burst of {} frames", world.rtp.len() - before);
    assert_eq!(
        after.sequence,
        last.sequence.wrapping_add((world.rtp.len() - before) as u16),
        "no packet was lost, so no number may be missing"
    );
    let advanced = after.timestamp.wrapping_sub(last.timestamp);
    assert!((80_000..=80_960).contains(&advanced), "{advanced} samples in 10.1 s");
}

#[test]
fn number_9320_hangs_up_three_seconds_after_the_answer() {
    let mut world = World::new();
    world.dial("9320");
    world.run(10 * SECOND);
    let answered_at = world.when(answered).unwrap().0;
    assert_eq!(world.when(ended), Some((answered_at + 3 * SECOND, ())));
    world.assert_nothing_left();
}

#[test]
fn number_9183_plays_five_seconds_of_ringback_before_it_answers_and_echoes() {
    let mut world = World::new();
    let call = world.dial("9183");
    assert_eq!(world.when(ringing), Some((Duration::ZERO, 183)));
    let negotiated = world.answer_of(&call);
    world.run(6 * SECOND);
    assert_eq!(world.when(answered), Some((5 * SECOND, ())));
    let loud = |sent: &Sent| sent.payload.iter().any(|byte| g711::alaw_decode(*byte).unsigned_abs() > 1_000);
    let sounding = world.rtp.iter().filter(|(_, sent)| loud(sent)).count();
    assert_eq!((world.rtp.len(), sounding), (250, 50));
    let last = world.rtp[249].1.header.clone();
    world.say(&negotiated, 8, (1, 160), &[1; 160]);
    let echoed = &world.rtp[250].1;
    assert_eq!((echoed.header.ssrc, echoed.header.sequence), (last.ssrc, last.sequence.wrapping_add(1)));
    assert_eq!(echoed.payload, [1; 160]);
}

#[test]
fn number_7001_sends_back_digits_the_way_they_came() {
    let mut world = World::new();
    let (call, negotiated) = world.talk("7001");
    let event = negotiated.telephone_event.unwrap();
    // Digit 5, 100 ms: each update, and the last one three times (RFC 4733 section 2.5.1.4).
    let mut sequence = 0;
    for (end, duration) in [(0, 160u16), (0, 320), (0, 480), (0, 640), (0x80, 800), (0x80, 800), (0x80, 800)] {
        sequence += 1;
        let [high, low] = duration.to_be_bytes();
        world.say(&negotiated, event.payload_type_out, (sequence, 8_000), &[5, end | 10, high, low]);
        world.run(20 * MS);
    }
    world.run(SECOND);
    let events: Vec<&Sent> =
        world.rtp.iter().map(|(_, sent)| sent).filter(|sent| sent.header.payload_type == event.payload_type_in).collect();
    assert!(events.iter().all(|sent| sent.payload[0] == 5 && sent.header.timestamp == events[0].header.timestamp));
    assert_eq!(events.iter().filter(|sent| sent.payload[1] & 0x80 != 0).count(), 3);
    assert_eq!(events.iter().filter(|sent| sent.header.marker).count(), 1);
    assert!(events[0].header.marker);
    let mut sequences: Vec<u16> = world.rtp.iter().map(|(_, sent)| sent.header.sequence).collect();
    sequences.dedup();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "the stream has a gap");

    world.phone.info(call.session, "application/dtmf-relay", b"Signal=7\r\nDuration=160\r\n".to_vec(), world.now);
    world.run(SECOND);
    let info = world.when(|event| match event {
        SipEvent::Info { content_type, body, .. } => Some((content_type.clone(), body.clone())),
        _ => None,
    });
    assert_eq!(info.unwrap().1, ("application/dtmf-relay".to_owned(), b"Signal=7\r\nDuration=160\r\n".to_vec()));
    world.phone.bye(call.session, None, world.now);
    world.assert_nothing_left();
}

#[test]
fn number_9180_hangs_up_and_calls_the_callers_address_of_record_five_seconds_later() {
    let mut world = World::new();
    world.dial("9180");
    world.run(10 * SECOND);
    let (first_ended, ()) = world.when(ended).unwrap();
    assert!(first_ended < 5 * SECOND);
    let (at, (session, call)) = world
        .when(|event| match event {
            SipEvent::Incoming { session, call } => Some((*session, call.clone())),
            _ => None,
        })
        .unwrap();
    assert_eq!(at, 5 * SECOND);
    assert_eq!((call.request_user.as_str(), call.request_host.as_str(), call.from_user.as_str()), ("alice", "agents.example.com", "9180"));

    let local = LocalDescription {
        address: phone_address().ip(),
        rtp_port: 20_000,
        rtcp_port: 20_001,
        session_id: 8,
        version: 1,
        direction: Direction::SendRecv,
        codecs: vec![Codec::Pcmu],
    };
    let (answer, negotiated) = local.answer(&sdp::parse(&call.body.unwrap()).unwrap()).unwrap();
    world.phone.ring(session, None, world.now);
    world.settle();
    world.phone.accept(session, answer, world.now);
    world.settle();
    world.say(&negotiated, 0, (1, 160), &[3; 160]);
    assert_eq!(world.rtp.last().unwrap().1.payload, [3; 160]);
    world.phone.bye(session, None, world.now);
    world.assert_nothing_left();
}

#[test]
fn a_call_back_that_nobody_takes_is_given_up() {
    let mut world = World::new();
    world.dial("9180");
    world.run(10 * SECOND);
    let session = world.events.iter().find_map(|(_, event)| match event {
        SipEvent::Incoming { session, .. } => Some(*session),
        _ => None,
    });
    world.phone.ring(session.unwrap(), None, world.now);
    world.run(100 * SECOND);
    assert!(world.when(|event| matches!(event, SipEvent::Cancelled { .. }).then_some(())).is_some());
    world.assert_nothing_left();
}

#[test]
fn a_transfer_to_any_number_succeeds_and_ends_the_transferred_leg() {
    let mut world = World::new();
    let (call, _) = world.talk("9196");
    let referred_at = world.now - world.start;
    world.phone.refer(call.session, "sip:6486@pbx.example.com".to_owned(), world.now);
    world.run(5 * SECOND);
    assert!(world.when(|event| matches!(event, SipEvent::ReferAccepted { .. }).then_some(())).is_some());
    let notified: Vec<(u16, bool)> = (world.events.iter())
        .filter_map(|(_, event)| match event {
            SipEvent::Notified { status, terminated, .. } => Some((*status, *terminated)),
            _ => None,
        })
        .collect();
    assert_eq!(notified, [(100, false), (200, true)]);
    assert_eq!(world.when(ended), Some((referred_at + SECOND + 500 * MS, ())));
    world.assert_nothing_left();
}

#[test]
fn an_attended_transfer_ends_the_consultation_call_too() {
    let mut world = World::new();
    let (first, _) = world.talk("9196");
    let (consult, _) = world.talk("9197");
    let call_id = world.phone.call_id(consult.session).unwrap().replace('@', "%40");
    world.phone.refer(first.session, format!("sip:9197@pbx.example.com?Replaces={call_id}%3Bto-tag%3Da%3Bfrom-tag%3Db"), world.now);
    world.run(5 * SECOND);
    assert_eq!(world.events.iter().filter(|(_, event)| ended(event).is_some()).count(), 2);
    world.assert_nothing_left();
}

#[test]
fn a_held_call_is_answered_in_kind_and_silent_until_it_is_taken_back() {
    let mut world = World::new();
    let (mut call, negotiated) = world.talk("9197");
    for (direction, expected, plays) in [
        (Direction::SendOnly, Direction::RecvOnly, false),
        (Direction::Inactive, Direction::Inactive, false),
        (Direction::SendRecv, Direction::SendRecv, true),
    ] {
        call.local.version += 1;
        call.local.direction = direction;
        let last = world.rtp.last().unwrap().1.header.clone();
        world.events.clear();
        world.phone.offer(call.session, call.local.offer(), world.now).unwrap();
        world.settle();
        let answer = world.when(|event| match event {
            SipEvent::OfferAnswered { body, .. } => body.clone(),
            _ => None,
        });
        let answer = sdp::parse(&answer.unwrap().1).unwrap();
        assert_eq!((answer.audio.direction, answer.audio.rtp), (expected, negotiated.remote_rtp));
        let before = world.rtp.len();
        world.run(SECOND);
        assert_eq!(world.rtp.len() > before, plays);
        if plays {
            let next = &world.rtp[before].1.header;
            assert_eq!(next.sequence, last.sequence.wrapping_add(1), "silence of a hold looks like loss");
            assert!(next.marker);
            assert!((15_500..=16_500).contains(&next.timestamp.wrapping_sub(last.timestamp)));
        }
    }
}

#[test]
fn a_re_invite_keeps_the_codec_while_it_is_offered() {
    let mut world = World::new();
    let (mut call, _) = world.talk("9197");
    for (codecs, expected) in [(vec![Codec::Opus, Codec::Pcmu, Codec::Pcma], 8), (vec![Codec::Opus, Codec::Pcmu], 111)] {
        call.local.version += 1;
        call.local.codecs = codecs;
        world.phone.offer(call.session, call.local.offer(), world.now).unwrap();
        world.run(SECOND);
        assert_eq!(world.rtp.last().unwrap().1.header.payload_type, expected);
    }
}

#[test]
fn an_invite_without_an_offer_is_offered_every_codec_in_the_200() {
    let mut world = World::new();
    let local = world.dial("6404").local;
    let call = world.invite("9196", None, local);
    world.run(SECOND);
    let (_, body) = world
        .when(|event| match event {
            SipEvent::Answered { session, body, .. } if *session == call.session => body.clone(),
            _ => None,
        })
        .unwrap();
    let offered = sdp::parse(&body).unwrap().audio.formats.len();
    assert_eq!(offered, 5, "three codecs, and telephone-event for both clocks");
}

#[test]
fn no_common_codec_is_488_and_no_free_port_is_503() {
    let mut world = World::with_ports(1);
    let local = world.dial("6404").local;
    world.events.clear();
    let offer = String::from_utf8(local.offer()).unwrap().replace("PCMA", "G729").replace("AVP 8", "AVP 18").replace(":8 ", ":18 ");
    world.invite("9196", Some(offer.into_bytes()), local);
    assert_eq!(world.when(failure), Some((Duration::ZERO, 488)));
    world.events.clear();
    world.dial("9196");
    world.dial("9196");
    assert_eq!(world.when(failure), Some((Duration::ZERO, 503)));
}

#[test]
fn three_hundred_calls_have_a_port_each_and_leave_nothing() {
    let mut world = World::with_ports(300);
    let calls: Vec<TestCall> = (0..300).map(|number| world.dial(if number % 2 == 0 { "9196" } else { "9197" })).collect();
    world.run(SECOND);
    let ports: std::collections::BTreeSet<u16> = calls.iter().map(|call| world.answer_of(call).remote_rtp.port()).collect();
    assert_eq!((ports.len(), world.pbx.stats().calls, world.pbx.stats().ports_in_use), (300, 300, 300));
    let heard: std::collections::BTreeSet<u16> = world.rtp.iter().map(|(_, sent)| sent.port).collect();
    assert_eq!(heard.len(), 150, "each tone plays, each echo waits");
    calls.iter().for_each(|call| world.phone.bye(call.session, None, world.now));
    world.assert_nothing_left();
    assert_eq!(world.pbx.idle_ports(), 300);
}

#[test]
fn hanging_up_everything_reaches_calls_in_every_state() {
    let mut world = World::new();
    world.dial("6408");
    world.dial("9183");
    world.talk("9196");
    world.pbx.hang_up_all(world.now);
    world.run(SECOND);
    let over = world.events.iter().filter(|(_, event)| ended(event).is_some() || failure(event).is_some()).count();
    assert_eq!(over, 3);
    world.assert_nothing_left();
}

#[test]
fn garbage_on_any_socket_costs_a_counter() {
    let mut world = World::new();
    let (_, negotiated) = world.talk("9196");
    let port = negotiated.remote_rtp.port();
    for garbage in [&[][..], &[0x80], &[0xFF; 40], &[0x80, 200, 0xFF, 0xFF, 0, 0]] {
        for role in [UdpSocketRole::Sip, UdpSocketRole::Rtp(port), UdpSocketRole::Rtcp(port)] {
            world.pbx.handle(role, phone_rtp(), garbage, world.now);
        }
    }
    world.settle();
    assert!(world.rtp.is_empty());
    assert_eq!(world.pbx.stats().calls, 1);
}

#[test]
fn reports_of_both_sides_give_a_round_trip_time() {
    use crate::net::PacketPool;
    use crate::rtp::{NtpClock, RtcpWriter, SenderInfo};

    let mut world = World::new();
    let (call, negotiated) = world.talk("9197");
    world.say(&negotiated, 8, (1, 160), &[0; 160]);
    let clock = NtpClock::new(world.start, SystemTime::UNIX_EPOCH);
    let mut packet = PacketPool::new(0).take();
    let info = SenderInfo { ntp: clock.at(world.now), rtp_timestamp: 160, packets: 1, octets: 160 };
    assert!(RtcpWriter::report(&mut packet, 0x1234_5678, Some(&info), &[]).cname("phone").finish());
    let rtcp_from = SocketAddr::from(([192, 0, 2, 1], 20_001));
    world.pbx.handle(UdpSocketRole::Rtcp(negotiated.remote_rtp.port()), rtcp_from, packet.bytes(), world.now);
    let reported_at = world.now;
    world.run(6 * SECOND);

    let (at, report) = world.rtcp.last().unwrap().clone();
    let Some(Rtcp::SenderReport { ssrc, info: theirs, mut blocks }) = crate::rtp::packets(&report).next() else { panic!("no SR") };
    assert_eq!(ssrc, world.rtp[0].1.header.ssrc);
    assert_eq!(u64::from(theirs.packets), world.rtp.iter().filter(|(sent, _)| *sent <= at).count() as u64);
    let block = blocks.next().unwrap();
    assert_eq!((block.ssrc, block.last_sender_report), (0x1234_5678, info.ntp.middle()));
    let delay = Duration::from_secs_f64(f64::from(block.delay) / 65_536.0);
    assert!((at - (reported_at - world.start)).abs_diff(delay) < MS);
    world.phone.bye(call.session, None, world.now);
    world.assert_nothing_left();
}
