//! The media of one call: what arrives, what is played, and the reports about both.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::pbx::{Dropped, UdpSocketRole, Wire};
use super::sounds::{Sound, Sounds};
use crate::codec::Codec;
use crate::rtp::{self, DtmfReceiver, DtmfSender, Header, ReceivedDigit, ReceiverStats, Rewriter, Rtcp, RtcpWriter, SenderStats};
use crate::sdp::Negotiated;

/// What is sent on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Playing {
    /// What is received.
    Echo,
    /// A sound.
    Sound(Sound),
    /// Silence, and the digits that were received.
    Digits,
}

/// RTP and RTCP of one call on one pair of ports. Nothing flows before [`Media::negotiated`] and [`Media::play`].
#[derive(Debug)]
pub(super) struct Media {
    port: u16,
    cname: String,
    negotiated: Option<Negotiated>,
    playing: Option<Playing>,
    /// Everything that we send is one stream, whatever is played.
    stream: Rewriter,
    sent: SenderStats,
    received: ReceiverStats,
    /// Digits that come in and go out, where telephone events were negotiated.
    digits: Option<Digits>,
    frames: Option<Frames>,
    report_at: Option<Instant>,
}

/// Both directions of RFC 4733.
#[derive(Debug)]
struct Digits {
    clock: u32,
    heard: DtmfReceiver,
    to_send: DtmfSender,
}

/// The next frame of 20 ms of our own.
#[derive(Clone, Copy, Debug)]
struct Frames {
    due: Instant,
    index: u64,
    timestamp: u32,
    /// Whether this frame begins a talk spurt (RFC 3551 section 4.1).
    first: bool,
}

impl Media {
    /// Media on the pair whose RTP port is `port`.
    pub fn new(port: u16, rng: &mut ChaCha12Rng) -> Self {
        Self {
            port,
            cname: format!("{:016x}", rng.random::<u64>()),
            negotiated: None,
            playing: None,
            stream: Rewriter::new(rng.random(), rng.random(), rng.random()),
            sent: SenderStats::default(),
            received: ReceiverStats::new(Codec::Pcmu.clock_rate()),
            digits: None,
            frames: None,
            report_at: None,
        }
    }

    /// Takes the result of an offer and its answer, the first or a later one.
    pub fn negotiated(&mut self, negotiated: Negotiated, now: Instant) {
        let clock = negotiated.codec.clock_rate();
        let audio = (negotiated.payload_type_in, negotiated.payload_type_out);
        match negotiated.telephone_event {
            Some(event) => self.stream.map(clock, &[audio, (event.payload_type_in, event.payload_type_out)]),
            None => self.stream.map(clock, &[audio]),
        }
        self.received.set_clock(clock);
        let event_clock = negotiated.telephone_event.map(|event| event.clock);
        if self.digits.as_ref().map(|digits| digits.clock) != event_clock {
            let digits = |clock| Digits { clock, heard: DtmfReceiver::new(clock), to_send: DtmfSender::new(clock) };
            self.digits = event_clock.map(digits);
        }
        if self.negotiated.as_ref().is_some_and(|before| before.codec != negotiated.codec) {
            self.frames = None;
        }
        // What was not sent during a hold must not look like loss after it.
        self.stream.switch_source();
        self.negotiated = Some(negotiated);
        self.report_at.get_or_insert(now + FIRST_REPORT);
        self.pace(now);
    }

    /// Changes what is sent.
    pub fn play(&mut self, playing: Playing, now: Instant) {
        self.playing = Some(playing);
        self.stream.switch_source();
        self.frames = None;
        self.pace(now);
    }

    /// What is sent.
    pub fn playing(&self) -> Option<Playing> {
        self.playing
    }

    /// The codec, once there is one.
    pub fn codec(&self) -> Option<Codec> {
        self.negotiated.as_ref().map(|negotiated| negotiated.codec)
    }

    /// Whether this is the caller's address for RTP or RTCP.
    pub fn is_with(&self, from: SocketAddr) -> bool {
        self.negotiated.as_ref().is_some_and(|negotiated| negotiated.remote_rtp == from || negotiated.remote_rtcp == from)
    }

    /// When a frame or a report is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let heard = self.digits.as_ref().and_then(|digits| digits.heard.next_deadline());
        [self.frames.map(|frames| frames.due), self.report_at, heard].into_iter().flatten().min()
    }

    /// Plays and reports what is due.
    pub fn handle_timeout(&mut self, sounds: &Sounds, now: Instant, wire: &mut Wire) {
        if let Some(digits) = &mut self.digits
            && let Some(digit) = digits.heard.handle_timeout(now)
        {
            self.on_digit(digit);
        }
        while let Some(frames) = self.frames.filter(|frames| frames.due <= now) {
            self.play_frame(frames, sounds, now, wire);
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = Some(now + REPORT_INTERVAL);
            self.report(now, wire);
        }
    }

    /// Takes an RTP packet: echoes it, or listens for digits in it.
    pub fn receive_rtp(&mut self, from: SocketAddr, bytes: &[u8], now: Instant, wire: &mut Wire, dropped: &mut Dropped) {
        let Some(negotiated) = self.negotiated.as_ref().filter(|negotiated| negotiated.remote_rtp == from) else {
            dropped.wrong_source += 1;
            return;
        };
        let event_type = negotiated.telephone_event.map(|event| event.payload_type_in);
        let known = |header: &Header| header.payload_type == negotiated.payload_type_in || Some(header.payload_type) == event_type;
        let Some(header) = Header::parse(bytes).filter(known) else {
            dropped.malformed += 1;
            return;
        };
        self.received.on_packet(&header, now);
        match self.playing {
            Some(Playing::Echo) if negotiated.direction.sends() => {
                let to = negotiated.remote_rtp;
                if wire.packet.copy_from(bytes)
                    && let Ok(sent) = self.stream.rewrite(&mut wire.packet, &header, now)
                {
                    self.sent.on_sent(&sent);
                    wire.send_packet(UdpSocketRole::Rtp(self.port), to);
                }
            }
            Some(Playing::Digits) if Some(header.payload_type) == event_type => {
                let heard = self.digits.as_mut().and_then(|digits| digits.heard.on_packet(header.timestamp, &bytes[header.payload], now));
                if let Some(digit) = heard {
                    self.on_digit(digit);
                }
            }
            Some(Playing::Echo | Playing::Digits | Playing::Sound(_)) | None => {}
        }
    }

    /// Takes a compound RTCP packet. Its sender reports are answered in our reports; what it says of us is nobody's business here.
    pub fn receive_rtcp(&mut self, from: SocketAddr, bytes: &[u8], now: Instant, dropped: &mut Dropped) {
        if self.negotiated.as_ref().is_none_or(|negotiated| negotiated.remote_rtcp != from) {
            dropped.wrong_source += 1;
            return;
        }
        let mut packets = rtp::packets(bytes).peekable();
        if packets.peek().is_none() {
            dropped.malformed += 1;
        }
        for packet in packets {
            if let Rtcp::SenderReport { ssrc, info, .. } = packet {
                self.received.on_sender_report(ssrc, &info, now);
            }
        }
    }

    /// A digit was heard: it goes back.
    fn on_digit(&mut self, digit: ReceivedDigit) {
        if let (Some(Playing::Digits), Some(digits)) = (self.playing, &mut self.digits) {
            // With more digits than the queue holds the caller hears the first of them.
            let _ = digits.to_send.enqueue(digit.tone.encode_utf8(&mut [0; 4]), digit.duration, DIGIT_GAP);
        }
    }

    /// Sends the frame that is due, unless we slept over it.
    fn play_frame(&mut self, frames: Frames, sounds: &Sounds, now: Instant, wire: &mut Wire) {
        let (Some(negotiated), Some(playing)) = (&self.negotiated, self.playing) else {
            self.frames = None;
            return;
        };
        let samples = negotiated.codec.clock_rate() / FRAMES_A_SECOND;
        let late = now.saturating_duration_since(frames.due);
        let skipped = if late > LATE_AT_MOST { (late.as_millis() / FRAME.as_millis()) as u32 } else { 0 };
        let frames = Frames {
            due: frames.due + FRAME * skipped,
            index: frames.index + u64::from(skipped),
            timestamp: frames.timestamp.wrapping_add(samples * skipped),
            first: frames.first || skipped > 0,
        };
        let sound = match playing {
            Playing::Sound(sound) => sound,
            Playing::Digits => Sound::Silence,
            Playing::Echo => {
                self.frames = None;
                return;
            }
        };
        let (codec_type, to) = (negotiated.payload_type_out, negotiated.remote_rtp);
        let digit = match (&mut self.digits, negotiated.telephone_event) {
            (Some(digits), Some(event)) if !digits.to_send.is_idle() => {
                let packet = digits.to_send.poll(frames.due, frames.timestamp);
                packet.map(|packet| (packet, event.payload_type_out))
            }
            _ => None,
        };
        let made = match digit {
            Some((digit, event_type)) => self.stream.make(&mut wire.packet, digit.marker, event_type, digit.timestamp, &digit.payload, now),
            None => {
                let payload = sounds.frame(sound, negotiated.codec, frames.index);
                self.stream.make(&mut wire.packet, frames.first, codec_type, frames.timestamp, payload, now)
            }
        };
        if let Ok(sent) = made {
            self.sent.on_sent(&sent);
            wire.send_packet(UdpSocketRole::Rtp(self.port), to);
        }
        self.frames = Some(Frames {
            due: frames.due + FRAME,
            index: frames.index + 1,
            timestamp: frames.timestamp.wrapping_add(samples),
            first: false,
        });
    }

    fn report(&mut self, now: Instant, wire: &mut Wire) {
        let Some(negotiated) = &self.negotiated else { return };
        let info = (self.sent.packets() > 0).then(|| self.sent.sender_info(wire.clock.at(now), self.stream.timestamp_at(now)));
        let block = self.received.report_block(now);
        let report = RtcpWriter::report(&mut wire.packet, self.stream.ssrc(), info.as_ref(), block.as_slice());
        if report.cname(&self.cname).finish() {
            wire.send_packet(UdpSocketRole::Rtcp(self.port), negotiated.remote_rtcp);
        }
    }

    /// Frames of our own are due while a sound is played and may be sent; each 20 ms after the one before, however late we are woken.
    fn pace(&mut self, now: Instant) {
        let sends = self.negotiated.as_ref().is_some_and(|negotiated| negotiated.direction.sends());
        let plays = match self.playing {
            Some(Playing::Sound(_) | Playing::Digits) => sends,
            Some(Playing::Echo) | None => false,
        };
        match (plays, self.frames) {
            (true, None) => self.frames = Some(Frames { due: now, index: 0, timestamp: self.stream.timestamp_at(now), first: true }),
            (true, Some(_)) => {}
            (false, _) => self.frames = None,
        }
    }
}

/// How long a frame is.
const FRAME: Duration = Duration::from_millis(20);

/// Frames in a second.
const FRAMES_A_SECOND: u32 = 50;

/// A thread that slept longer than this has lost the frames in between: a burst of them would only fill the far side's buffer.
const LATE_AT_MOST: Duration = Duration::from_millis(200);

/// Between two digits that are sent back.
const DIGIT_GAP: Duration = Duration::from_millis(70);

/// From the start of the media to the first report: sooner than RFC 3550's minimum, so that a short call has a round trip time too.
const FIRST_REPORT: Duration = Duration::from_secs(1);

/// Between reports (RFC 3550 section 6.2).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
