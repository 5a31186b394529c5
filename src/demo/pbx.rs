//! The demo PBX itself: SIP events and time in, calls and datagrams out. No clock, no socket.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rustc_hash::FxHashMap;
use slotmap::SecondaryMap;

use super::media::{Media, Playing};
use super::plan::{Plan, Programme, Take};
use super::sounds::{Sound, Sounds};
use crate::codec::Codec;
use crate::net::{LocalSocket, Packet, PacketPool};
use crate::rtp::NtpClock;
use crate::sdp::{self, Direction, LocalDescription};
use crate::sip::{Address, IncomingCall, Invite, SessionKey, SipEvent, UserAgent, UserAgentConfig};

/// Where the PBX is and whom it calls.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its SIP socket; RTP is sent and received on the same IP address.
    pub address: SocketAddr,
    /// The gateway's public SIP socket: where calls to agents go.
    pub gateway: SocketAddr,
    /// Calls at one time; past it an INVITE is answered 503.
    pub calls_max: usize,
    /// All calls on one pair of ports, told apart by where the caller's media comes from: a peer that some PBXs and load generators are, and
    /// that a gateway has to cope with.
    pub one_media_port: bool,
}

/// Which of the PBX's UDP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UdpSocketRole {
    /// The one for SIP.
    Sip,
    /// RTP of the call on this even port.
    Rtp(u16),
    /// RTCP of the call on this even port, which is received on the odd one above it.
    Rtcp(u16),
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The socket to send it from.
    pub socket: UdpSocketRole,
    /// Its destination.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What the PBX holds right now, and what it dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls, waiting ones included.
    pub calls: usize,
    /// Calls since the start.
    pub calls_total: u64,
    /// Port pairs in use.
    pub ports_in_use: usize,
    /// Calls that wait for a moment in time, and calls that are to be made.
    pub deadlines: usize,
    /// SIP transactions (RFC 3261 section 17) that still wait for something.
    pub transactions: usize,
    /// Datagrams dropped.
    pub dropped: Dropped,
}

/// Datagrams dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// For a port without a call.
    pub no_call: u64,
    /// From another address than the one negotiated.
    pub wrong_source: u64,
    /// No RTP or RTCP, or of another payload type than negotiated.
    pub malformed: u64,
}

/// The PBX. Feed it datagrams and deadlines, then drain [`DemoPbx::poll_transmit`].
#[derive(Debug)]
pub struct DemoPbx {
    config: Config,
    agent: UserAgent,
    sounds: Sounds,
    rng: ChaCha12Rng,
    calls: SecondaryMap<SessionKey, Call>,
    by_port: FxHashMap<u16, SessionKey>,
    /// Bound and unused, the longest unused first.
    idle_ports: VecDeque<u16>,
    /// One entry for each call that waits for a moment.
    deadlines: BTreeSet<(Instant, SessionKey)>,
    /// Calls to be made to a user at a host, in order of time.
    call_backs: VecDeque<(Instant, String, String)>,
    wire: Wire,
    calls_total: u64,
    dropped: Dropped,
}

/// Where datagrams go, with what is needed to make one.
#[derive(Debug)]
pub(super) struct Wire {
    transmits: VecDeque<Transmit>,
    /// Scratch room for the packet that is being made.
    pub packet: Packet,
    /// RTCP tells the time of day.
    pub clock: NtpClock,
}

impl Wire {
    /// Sends what was made in [`Wire::packet`].
    pub fn send_packet(&mut self, socket: UdpSocketRole, to: SocketAddr) {
        let bytes = self.packet.bytes().to_vec();
        self.transmits.push_back(Transmit { socket, to, bytes });
    }
}

/// One call, from INVITE until it is over for us.
#[derive(Debug)]
struct Call {
    port: u16,
    phase: Phase,
    local: LocalDescription,
    media: Media,
    alarms: Vec<(Instant, Alarm)>,
    /// Its entry in the deadlines.
    waits_until: Option<Instant>,
    /// The Call-ID of the call that takes this one's place once a transfer is done (RFC 3891).
    replaces: Option<String>,
}

/// How far a call has come.
#[derive(Debug)]
enum Phase {
    /// Rings until the caller gives up.
    RingingForEver,
    /// To be answered: with this description, an offer where the INVITE had none.
    Waiting { take: Take, body: Vec<u8> },
    /// We rang the agent, with an offer.
    Calling,
    /// Answered.
    Talking,
}

/// What a call does at a moment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    Answer,
    HangUp,
    GiveUp,
    TransferDone,
}

impl DemoPbx {
    /// A PBX without ports: give it some by [`DemoPbx::add_port`]. `seed` makes every random choice; `wall` is the time of day at `now`.
    pub fn new(config: Config, sounds: Sounds, seed: [u8; 32], now: Instant, wall: SystemTime) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let agent = UserAgent::new(
            UserAgentConfig {
                contact: config.address,
                product: "nexus-demo-pbx".to_owned(),
                credentials: None,
                transactions_max: config.calls_max * 4,
                sessions_max: config.calls_max,
                shard: None,
            },
            rng.random(),
        );
        Self {
            config,
            agent,
            sounds,
            rng,
            calls: SecondaryMap::new(),
            by_port: FxHashMap::default(),
            idle_ports: VecDeque::new(),
            deadlines: BTreeSet::new(),
            call_backs: VecDeque::new(),
            wire: Wire { transmits: VecDeque::new(), packet: PacketPool::new(0).take(), clock: NtpClock::new(now, wall) },
            calls_total: 0,
            dropped: Dropped::default(),
        }
    }

    /// Gives the PBX a pair of bound ports: RTP on the even `rtp_port`, RTCP on the one above.
    pub fn add_port(&mut self, rtp_port: u16) {
        self.idle_ports.push_back(rtp_port);
    }

    /// How many pairs of ports wait for a call; whoever owns the sockets adds some in time.
    pub fn idle_ports(&self) -> usize {
        self.idle_ports.len()
    }

    /// Takes a datagram that arrived on one of the sockets.
    pub fn handle(&mut self, socket: UdpSocketRole, from: SocketAddr, bytes: &[u8], now: Instant) {
        match socket {
            UdpSocketRole::Sip => self.agent.handle_datagram(bytes, from, LocalSocket::Sip, now),
            UdpSocketRole::Rtp(port) => self.on_rtp(port, from, bytes, now),
            UdpSocketRole::Rtcp(port) => self.on_rtcp(port, from, bytes, now),
        }
        self.drain_agent(now);
    }

    /// The next moment at which [`DemoPbx::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let calls = self.deadlines.first().map(|(at, _)| *at);
        let call_backs = self.call_backs.front().map(|(at, _, _)| *at);
        [self.agent.next_deadline(), calls, call_backs].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.agent.next_deadline().is_some_and(|at| at <= now) {
            self.agent.handle_timeout(now);
        }
        while self.call_backs.front().is_some_and(|(at, _, _)| *at <= now) {
            if let Some((_, user, host)) = self.call_backs.pop_front() {
                self.call(&user, &host, now);
            }
        }
        while let Some((at, key)) = self.deadlines.first().copied()
            && at <= now
        {
            self.on_deadline(key, now);
        }
        self.drain_agent(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if let Some(transmit) = self.agent.poll_transmit() {
            return Some(Transmit { socket: UdpSocketRole::Sip, to: transmit.to, bytes: transmit.bytes });
        }
        self.wire.transmits.pop_front()
    }

    /// What the PBX holds and dropped.
    pub fn stats(&self) -> Stats {
        Stats {
            calls: self.calls.len(),
            calls_total: self.calls_total,
            ports_in_use: self.by_port.len(),
            deadlines: self.deadlines.len() + self.call_backs.len(),
            transactions: self.agent.stats().transactions,
            dropped: self.dropped,
        }
    }

    /// Calls `user` at `host` through the gateway. Without a free port, or with too many calls, nothing happens.
    pub fn call(&mut self, user: &str, host: &str, now: Instant) {
        let Some(port) = self.take_port() else { return };
        let local = self.local_description(port);
        let invite = Invite {
            peer: self.config.gateway,
            target: format!("sip:{user}@{host}"),
            from: Address { display: Some("Demo PBX".to_owned()), ..Address::new("9180", self.config.address.to_string()) },
            to: Address::new(user, host),
            headers: Vec::new(),
            body: Some(local.offer()),
        };
        match self.agent.invite(invite, now) {
            Ok(key) => {
                self.open(key, port, local, Phase::Calling);
                self.set_alarm(key, now + CALL_BACK_RINGS, Alarm::GiveUp);
            }
            Err(_) => self.give_back_port(port),
        }
        self.drain_agent(now);
    }

    /// Hangs up every call.
    pub fn hang_up_all(&mut self, now: Instant) {
        let keys: Vec<SessionKey> = self.calls.keys().collect();
        for key in keys {
            self.hang_up(key, now);
        }
        self.drain_agent(now);
    }

    fn drain_agent(&mut self, now: Instant) {
        while let Some(event) = self.agent.poll_event() {
            self.on_sip(event, now);
        }
    }

    fn on_sip(&mut self, event: SipEvent, now: Instant) {
        match event {
            SipEvent::Incoming { session, call } => self.on_incoming(session, *call, now),
            SipEvent::Acknowledged { session, body } => {
                if let Some(answer) = body {
                    self.on_answer(session, &answer, now);
                }
            }
            SipEvent::Progress { session, body, .. } => {
                if let Some(answer) = body {
                    self.on_answer(session, &answer, now);
                }
            }
            SipEvent::Answered { session, body, .. } => self.on_answered(session, body, now),
            SipEvent::Reoffered { session, body } => self.on_reoffered(session, body, now),
            SipEvent::Refered { session, target } => self.on_refered(session, &target, now),
            SipEvent::Info { session, content_type, body } => self.on_info(session, &content_type, body, now),
            SipEvent::Cancelled { session, .. }
            | SipEvent::Failed { session, .. }
            | SipEvent::Ended { session, .. }
            | SipEvent::Lost { session, .. } => self.close(session),
            // We make no offers within a call, no transfers and no pings.
            SipEvent::OfferAnswered { .. }
            | SipEvent::OfferRefused { .. }
            | SipEvent::ReferAccepted { .. }
            | SipEvent::ReferRefused { .. }
            | SipEvent::Notified { .. }
            | SipEvent::Pong { .. } => {}
        }
    }

    fn on_incoming(&mut self, key: SessionKey, incoming: IncomingCall, now: Instant) {
        let plan = Plan::of(&incoming.request_user);
        if let Plan::Refuse(status) = plan {
            return self.agent.reject(key, status, Vec::new(), now);
        }
        let Some(port) = self.take_port() else {
            return self.agent.reject(key, 503, vec![("Retry-After".to_owned(), "1".to_owned())], now);
        };
        let local = self.local_description(port);
        let (body, negotiated) = match &incoming.body {
            None => (local.offer(), None),
            Some(offer) => match sdp::parse(offer).ok().and_then(|offer| local.answer(&offer).ok()) {
                Some((answer, negotiated)) => (answer, Some(negotiated)),
                None => {
                    self.give_back_port(port);
                    return self.agent.reject(key, 488, Vec::new(), now);
                }
            },
        };
        match plan {
            Plan::Refuse(_) => {}
            Plan::RingForEver => {
                self.open(key, port, local, Phase::RingingForEver);
                self.agent.ring(key, None, now);
                self.set_alarm(key, now + RINGS_AT_MOST, Alarm::GiveUp);
            }
            Plan::Take(take) => {
                let early = take.early_media && negotiated.is_some();
                self.agent.ring(key, early.then(|| body.clone()), now);
                self.open(key, port, local, Phase::Waiting { take, body });
                if let Some(call) = self.calls.get_mut(key)
                    && let Some(negotiated) = negotiated
                {
                    call.media.negotiated(negotiated, now);
                    if early {
                        call.media.play(Playing::Sound(Sound::Ringback), now);
                    }
                }
                self.set_alarm(key, now + take.answer_after, Alarm::Answer);
                if let Some(after) = take.call_back_after
                    && self.call_backs.len() < self.config.calls_max
                {
                    self.call_backs.push_back((now + after, incoming.from_user, incoming.from_host));
                }
            }
        }
    }

    /// The answer to an offer of ours, in an ACK, a 200 or a provisional response.
    fn on_answer(&mut self, key: SessionKey, answer: &[u8], now: Instant) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(negotiated) = sdp::parse(answer).ok().and_then(|answer| call.local.complete(&answer).ok()) else { return };
        call.media.negotiated(negotiated, now);
        self.index(key);
    }

    fn on_answered(&mut self, key: SessionKey, body: Option<Vec<u8>>, now: Instant) {
        if let Some(answer) = body {
            self.on_answer(key, &answer, now);
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        call.alarms.clear();
        call.phase = Phase::Talking;
        call.media.play(Playing::Echo, now);
        if call.media.codec().is_some() { self.index(key) } else { self.hang_up(key, now) }
    }

    /// A re-INVITE or UPDATE: the same port, a later version, the same codec where it is still offered.
    fn on_reoffered(&mut self, key: SessionKey, body: Option<Vec<u8>>, now: Instant) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.local.version += 1;
        let Some(offer) = body else {
            let offer = call.local.offer();
            return self.agent.answer_offer(key, Ok(offer), now);
        };
        let answered = sdp::parse(&offer).ok().and_then(|offer| {
            let same_codec = call.media.codec().and_then(|codec| {
                let local = LocalDescription { codecs: vec![codec], ..call.local.clone() };
                local.answer(&offer).ok()
            });
            same_codec.or_else(|| call.local.answer(&offer).ok())
        });
        match answered {
            Some((answer, negotiated)) => {
                call.media.negotiated(negotiated, now);
                self.agent.answer_offer(key, Ok(answer), now);
            }
            None => self.agent.answer_offer(key, Err(488), now),
        }
        self.index(key);
    }

    /// A transfer: it always succeeds, a second later, and then the transferred leg is over for its sender (RFC 5589 section 6).
    fn on_refered(&mut self, key: SessionKey, target: &str, now: Instant) {
        let Some(call) = self.calls.get_mut(key) else { return self.agent.respond_refer(key, 481, now) };
        call.replaces = replaced_call_id(target);
        self.agent.respond_refer(key, 202, now);
        self.agent.notify_refer(key, 100, "Trying", now);
        self.set_alarm(key, now + TRANSFER_TAKES, Alarm::TransferDone);
    }

    /// Digits by SIP INFO come back as they came where digits are what the number is for.
    fn on_info(&mut self, key: SessionKey, content_type: &str, body: Vec<u8>, now: Instant) {
        if self.calls.get(key).is_some_and(|call| call.media.playing() == Some(Playing::Digits)) {
            self.agent.info(key, content_type, body, now);
        }
    }

    fn on_rtp(&mut self, port: u16, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Some(key) = self.call_on(port, from) else {
            self.dropped.no_call += 1;
            return;
        };
        if let Some(call) = self.calls.get_mut(key) {
            call.media.receive_rtp(from, bytes, now, &mut self.wire, &mut self.dropped);
            self.index(key);
        }
    }

    fn on_rtcp(&mut self, port: u16, from: SocketAddr, bytes: &[u8], now: Instant) {
        match self.call_on(port, from).and_then(|key| self.calls.get_mut(key)) {
            Some(call) => call.media.receive_rtcp(from, bytes, now, &mut self.dropped),
            None => self.dropped.no_call += 1,
        }
    }

    fn on_deadline(&mut self, key: SessionKey, now: Instant) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let due: Vec<Alarm> = call.alarms.iter().filter(|(at, _)| *at <= now).map(|(_, alarm)| *alarm).collect();
        call.alarms.retain(|(at, _)| *at > now);
        for alarm in due {
            match alarm {
                Alarm::Answer => self.answer(key, now),
                Alarm::HangUp => self.hang_up(key, now),
                Alarm::GiveUp => self.give_up(key, now),
                Alarm::TransferDone => self.finish_transfer(key, now),
            }
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.media.handle_timeout(&self.sounds, now, &mut self.wire);
        }
        self.index(key);
    }

    fn answer(&mut self, key: SessionKey, now: Instant) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Phase::Waiting { take, body } = std::mem::replace(&mut call.phase, Phase::Talking) else { return };
        call.media.play(
            match take.programme {
                Programme::Echo => Playing::Echo,
                Programme::Tone => Playing::Sound(Sound::Tone),
                Programme::Digits => Playing::Digits,
            },
            now,
        );
        self.agent.accept(key, body, now);
        if let Some(after) = take.hang_up_after {
            self.set_alarm(key, now + after, Alarm::HangUp);
        }
    }

    fn give_up(&mut self, key: SessionKey, now: Instant) {
        match self.calls.get(key).map(|call| &call.phase) {
            Some(Phase::Calling) => self.agent.cancel(key, now),
            Some(Phase::RingingForEver | Phase::Waiting { .. }) => {
                self.agent.reject(key, 480, Vec::new(), now);
                self.close(key);
            }
            Some(Phase::Talking) | None => {}
        }
    }

    fn hang_up(&mut self, key: SessionKey, now: Instant) {
        match self.calls.get(key).map(|call| &call.phase) {
            Some(Phase::Talking) => {
                self.agent.bye(key, None, now);
                self.close(key);
            }
            Some(Phase::Calling | Phase::RingingForEver | Phase::Waiting { .. }) => self.give_up(key, now),
            None => {}
        }
    }

    fn finish_transfer(&mut self, key: SessionKey, now: Instant) {
        self.agent.notify_refer(key, 200, "OK", now);
        let replaces = self.calls.get_mut(key).and_then(|call| call.replaces.take());
        if let Some(replaced) = replaces
            && let Some(other) = self.calls.keys().find(|other| self.agent.call_id(*other) == Some(replaced.as_str()))
        {
            self.set_alarm(other, now + TRANSFER_BYE, Alarm::HangUp);
        }
        self.set_alarm(key, now + TRANSFER_BYE, Alarm::HangUp);
    }

    fn open(&mut self, key: SessionKey, port: u16, local: LocalDescription, phase: Phase) {
        let media = Media::new(port, &mut self.rng);
        let call = Call { port, phase, local, media, alarms: Vec::new(), waits_until: None, replaces: None };
        self.calls.insert(key, call);
        self.by_port.insert(port, key);
        self.calls_total += 1;
    }

    fn close(&mut self, key: SessionKey) {
        let Some(call) = self.calls.remove(key) else { return };
        if let Some(at) = call.waits_until {
            self.deadlines.remove(&(at, key));
        }
        self.by_port.remove(&call.port);
        self.give_back_port(call.port);
    }

    fn take_port(&mut self) -> Option<u16> {
        if self.config.one_media_port { self.idle_ports.front().copied() } else { self.idle_ports.pop_front() }
    }

    fn give_back_port(&mut self, port: u16) {
        if !self.config.one_media_port {
            self.idle_ports.push_back(port);
        }
    }

    /// Whose call a datagram on this pair of ports is.
    fn call_on(&self, port: u16, from: SocketAddr) -> Option<SessionKey> {
        if self.config.one_media_port {
            self.calls.iter().find(|(_, call)| call.media.is_with(from)).map(|(key, _)| key)
        } else {
            self.by_port.get(&port).copied()
        }
    }

    fn set_alarm(&mut self, key: SessionKey, at: Instant, alarm: Alarm) {
        if let Some(call) = self.calls.get_mut(key) {
            call.alarms.push((at, alarm));
            self.index(key);
        }
    }

    /// Puts the call where its next deadline belongs.
    fn index(&mut self, key: SessionKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let next = call.alarms.iter().map(|(at, _)| *at).chain(call.media.next_deadline()).min();
        if next != call.waits_until {
            if let Some(at) = call.waits_until {
                self.deadlines.remove(&(at, key));
            }
            if let Some(at) = next {
                self.deadlines.insert((at, key));
            }
            call.waits_until = next;
        }
    }

    fn local_description(&mut self, port: u16) -> LocalDescription {
        LocalDescription {
            address: self.config.address.ip(),
            rtp_port: port,
            rtcp_port: port + 1,
            session_id: self.rng.random_range(1..1 << 62),
            version: 1,
            direction: Direction::SendRecv,
            codecs: Codec::ALL.to_vec(),
        }
    }
}

/// The Call-ID in the Replaces header of a Refer-To uri (RFC 3891 section 6): percent-encoded, before the first `;`.
fn replaced_call_id(target: &str) -> Option<String> {
    let (_, headers) = target.split_once('?')?;
    let (_, value) =
        headers.split('&').filter_map(|header| header.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("Replaces"))?;
    let call_id = percent_decode(value);
    let call_id = call_id.split(';').next().unwrap_or_default();
    (!call_id.is_empty()).then(|| call_id.to_owned())
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            if let (Some(high), Some(low)) = (digit(), digit()) {
                bytes.push((high * 16 + low) as u8);
            }
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How long 6408 rings at most: a caller that never gives up would hold it for ever (RFC 3261 16.6 item 11 has proxies end at 3 min).
const RINGS_AT_MOST: Duration = Duration::from_secs(180);

/// How long an agent's telephone rings when we call back.
const CALL_BACK_RINGS: Duration = Duration::from_secs(60);

/// From REFER to the transfer's success.
const TRANSFER_TAKES: Duration = Duration::from_secs(1);

/// From the transfer's success to our BYE.
const TRANSFER_BYE: Duration = Duration::from_millis(500);
