//! The hot path: a packet from a browser goes to the PBX, a packet from the PBX to a browser, in place, with one look-up each.
//!
//! Nothing here allocates for a packet, logs, or fails: a packet that has no place is counted and dropped.

use std::time::{Duration, Instant};

use rand::{Rng, RngCore};

use super::agents::Producer;
use super::deadlines::DeadlineSlot;
use super::io::Output;
use super::{Drop, Shard, Work};
use crate::audio;
use crate::call::command::{LegKind, LegStats, SendDtmf, StreamStats};
use crate::call::error::{Code, Refusal};
use crate::call::event::{CallEvent, EndReason, EndedBy};
use crate::call::{Call, Phase};
use crate::codec::Codec;
use crate::ids::{AgentKey, CallKey, ConsumerId, TransportKey};
use crate::net::{Datagram, LocalSocket, Packet, PortPair, Transmit};
use crate::rtp::{self, DtmfReceiver, DtmfSender, Header, NtpTime, ReceiverStats, ReportBlock, Rewriter, Rtcp, RtcpWriter, SenderStats};

/// A call in its slot, with what moves its media.
#[derive(Debug)]
pub(super) struct CallSlot {
    pub call: Call,
    pub bridge: Bridge,
    pub deadline: DeadlineSlot,
}

/// What joins the two legs of a call.
#[derive(Debug)]
pub(super) struct Bridge {
    /// The stream to the PBX: one SSRC for the whole call.
    uplink: Rewriter,
    /// Whether the microphone goes to it just now.
    is_open: bool,
    /// Where the PBX's voice goes just now.
    downlink: Option<TransportKey>,
    received: ReceiverStats,
    sent: SenderStats,
    digits_out: DtmfSender,
    digits_in: DtmfReceiver,
    /// When RTP or RTCP last came from the PBX.
    pub heard_at: Instant,
    report_at: Option<Instant>,
    /// The browser leg's counters when the call began: they run on from call to call.
    browser_before: BrowserTotals,
}

/// The microphone's stream on a send transport.
#[derive(Debug)]
pub(super) struct BrowserStream {
    /// The call that it goes to just now.
    uplink: Option<CallKey>,
    received: ReceiverStats,
    /// Our own name in reports on it.
    reporter: u32,
}

/// One stream to a browser: constant SSRC, continuous sequence and timestamps, whatever call is bridged to it.
#[derive(Debug)]
pub(super) struct Consumer {
    pub id: ConsumerId,
    paused: bool,
    stream: Rewriter,
    sent: SenderStats,
    cname: String,
}

/// Counters of an agent's browser streams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BrowserTotals {
    received: StreamStats,
    sent: StreamStats,
}

/// How often we report to the PBX (RFC 3550 section 6.2).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

impl CallSlot {
    pub fn new(call: Call, bridge: Bridge) -> Self {
        Self { call, bridge, deadline: DeadlineSlot::default() }
    }

    /// When the call's media next wants something done.
    pub fn media_due(&self, media_timeout: Duration) -> Option<Instant> {
        let bridge = &self.bridge;
        let listening = matches!(self.call.phase, Phase::Talking { .. }) && !self.call.is_held();
        let silent_at = listening.then(|| bridge.heard_at + media_timeout);
        // Digits go nowhere without a flow: they would be due for ever.
        let digits_out = self.call.flow().and_then(|(_, negotiated)| negotiated.telephone_event);
        let digits_out = digits_out.and_then(|_| bridge.digits_out.next_deadline(bridge.heard_at));
        [silent_at, digits_out, bridge.digits_in.next_deadline(), bridge.report_at].into_iter().flatten().min()
    }
}

impl Bridge {
    pub fn new(rng: &mut impl RngCore, browser_before: BrowserTotals, now: Instant) -> Self {
        Self {
            uplink: Rewriter::new(rng.random(), rng.random(), rng.random()),
            is_open: false,
            downlink: None,
            received: ReceiverStats::new(Codec::Pcmu.clock_rate()),
            sent: SenderStats::default(),
            digits_out: DtmfSender::new(Codec::Pcmu.clock_rate()),
            digits_in: DtmfReceiver::new(Codec::Pcmu.clock_rate()),
            heard_at: now,
            report_at: None,
            browser_before,
        }
    }
}

impl BrowserStream {
    pub fn new(rng: &mut impl RngCore) -> Self {
        Self { uplink: None, received: ReceiverStats::new(Codec::Opus.clock_rate()), reporter: rng.random() }
    }

    /// The stream's codec is known, or another one now.
    pub fn set_codec(&mut self, codec: Codec) {
        self.received.set_clock(codec.clock_rate());
    }
}

impl Consumer {
    pub fn new(id: ConsumerId, ssrc: u32, mid: &str, cname: &str, rng: &mut impl RngCore) -> Self {
        let mut stream = Rewriter::new(ssrc, rng.random(), rng.random());
        let fits = stream.set_mid(crate::webrtc::ortc::MID_EXTENSION_ID, mid);
        debug_assert!(fits, "a mid is a small number");
        Self { id, paused: false, stream, sent: SenderStats::default(), cname: cname.to_owned() }
    }

    /// What is not passed on during a pause is no loss to the browser.
    pub fn set_paused(&mut self, paused: bool) {
        if self.paused && !paused {
            self.stream.switch_source();
        }
        self.paused = paused;
    }
}

impl Shard {
    /// SRTP from a browser.
    pub(super) fn on_browser_rtp(&mut self, mut datagram: Datagram, now: Instant) {
        let key = self.demux.browser(datagram.from);
        let Some((key, transport)) = key.and_then(|key| Some((key, self.transports.get_mut(key)?))) else {
            return self.discard(datagram, Drop::UnvalidatedSource);
        };
        self.work = Work::Transport(key);
        let Some(srtp) = &mut transport.srtp else { return self.discard(datagram, Drop::NoKeys) };
        if srtp.inbound.unprotect_rtp(&mut datagram.packet).is_err() {
            return self.discard(datagram, Drop::SrtpRejected);
        }
        let Some(mut header) = Header::parse(datagram.packet.bytes()) else { return self.discard(datagram, Drop::RtpMalformed) };
        transport.stream.received.on_packet(&header, now);

        let slot = transport.stream.uplink.and_then(|key| Some((key, self.calls.get_mut(key)?)));
        let Some((key, CallSlot { call, bridge, .. })) = slot else { return self.discard(datagram, Drop::NotBridged) };
        self.work = Work::Call(key);
        self.injected.point("uplink", Some(call.id));
        let Some((pair, negotiated)) = call.flow() else { return self.discard(datagram, Drop::NotBridged) };
        if bridge.digits_out.is_playing() {
            return self.discard(datagram, Drop::NotBridged);
        }
        if call.muted {
            let end = audio::mute(negotiated.codec, &mut datagram.packet.bytes_mut()[header.payload.clone()]);
            header.payload.end = header.payload.start + end;
        }
        match bridge.uplink.rewrite(&mut datagram.packet, &header, now) {
            Ok(sent) => {
                bridge.sent.on_sent(&sent);
                let transmit = Transmit { socket: LocalSocket::Rtp(pair), to: negotiated.remote_rtp, packet: datagram.packet };
                self.outputs.push_back(Output::Transmit(transmit));
            }
            Err(_) => self.discard(datagram, Drop::RtpUnexpected),
        }
    }

    /// RTP from the PBX.
    pub(super) fn on_sip_rtp(&mut self, pair: PortPair, datagram: Datagram, now: Instant) {
        let key = self.demux.rtp(pair, datagram.from);
        let Some((key, slot)) = key.and_then(|key| Some((key, self.calls.get_mut(key)?))) else {
            return self.discard(datagram, Drop::SipMediaStranger);
        };
        self.work = Work::Call(key);
        self.injected.point("downlink", Some(slot.call.id));
        let Some(header) = Header::parse(datagram.packet.bytes()) else { return self.discard(datagram, Drop::RtpMalformed) };
        slot.bridge.heard_at = now;
        slot.bridge.received.on_packet(&header, now);
        if slot.call.flow().is_some_and(|(_, negotiated)| negotiated.is_telephone_event(header.payload_type)) {
            self.on_digit_packet(key, &header, &datagram, now);
        }
        match self.calls[key].bridge.downlink {
            Some(transport) => self.send_to_browser(transport, datagram, &header, now),
            None => self.discard(datagram, Drop::NotBridged),
        }
    }

    fn send_to_browser(&mut self, key: TransportKey, datagram: Datagram, header: &Header, now: Instant) {
        let transport = self.transports.get_mut(key).and_then(|transport| Some((transport.destination()?, transport)));
        let Some((to, transport)) = transport else { return self.discard(datagram, Drop::NotBridged) };
        self.work = Work::Transport(key);
        let Some(srtp) = &mut transport.srtp else { return self.discard(datagram, Drop::NoKeys) };
        let mut listening = transport.consumers.iter_mut().filter(|consumer| !consumer.paused).peekable();
        let mut original = Some(datagram.packet);
        while let Some(consumer) = listening.next() {
            // Nearly always there is one consumer, and the packet itself goes out; only further ones get copies.
            let packet = match listening.peek() {
                Some(_) => original.as_ref().map(|original| {
                    let mut copy = self.packets.take();
                    copy.copy_from(original.bytes());
                    copy
                }),
                None => original.take(),
            };
            let Some(mut packet) = packet else { break };
            let rewritten = consumer.stream.rewrite(&mut packet, header, now);
            match rewritten
                .map_err(|_| Drop::RtpUnexpected)
                .and_then(|sent| srtp.outbound.protect_rtp(&mut packet).map(|()| sent).map_err(|_| Drop::SrtpRejected))
            {
                Ok(sent) => {
                    consumer.sent.on_sent(&sent);
                    self.outputs.push_back(Output::Transmit(Transmit { socket: LocalSocket::Browser, to, packet }));
                }
                Err(reason) => {
                    self.drops.count(reason);
                    self.packets.give_back(packet);
                }
            }
        }
        if let Some(packet) = original {
            self.drops.count(Drop::NotBridged);
            self.packets.give_back(packet);
        }
    }

    #[cold]
    fn on_digit_packet(&mut self, key: CallKey, header: &Header, datagram: &Datagram, now: Instant) {
        let payload = &datagram.packet.bytes()[header.payload.clone()];
        let digit = self.calls[key].bridge.digits_in.on_packet(header.timestamp, payload, now);
        if let Some(digit) = digit {
            self.tell_call(key, CallEvent::DtmfReceived { tone: digit.tone, duration: digit.duration });
        }
        self.schedule_call(key);
    }

    /// SRTCP from a browser.
    pub(super) fn on_browser_rtcp(&mut self, mut datagram: Datagram, now: Instant) {
        let ntp = self.ntp(now);
        let key = self.demux.browser(datagram.from);
        let Some((key, transport)) = key.and_then(|key| Some((key, self.transports.get_mut(key)?))) else {
            return self.discard(datagram, Drop::UnvalidatedSource);
        };
        self.work = Work::Transport(key);
        let Some(srtp) = &mut transport.srtp else { return self.discard(datagram, Drop::NoKeys) };
        if srtp.inbound.unprotect_rtcp(&mut datagram.packet).is_err() {
            return self.discard(datagram, Drop::SrtpRejected);
        }
        for report in rtp::packets(datagram.packet.bytes()) {
            let blocks = match report {
                Rtcp::SenderReport { ssrc, info, blocks } => {
                    transport.stream.received.on_sender_report(ssrc, &info, now);
                    blocks
                }
                Rtcp::ReceiverReport { ssrc: _, blocks } => blocks,
                Rtcp::Bye(_) | Rtcp::Other(_) => continue,
            };
            for block in blocks {
                let consumer = transport.consumers.iter_mut().find(|consumer| consumer.stream.ssrc() == block.ssrc);
                if let Some(consumer) = consumer {
                    consumer.sent.on_report_block(&block, ntp);
                }
            }
        }
        self.packets.give_back(datagram.packet);
    }

    /// RTCP from the PBX.
    pub(super) fn on_sip_rtcp(&mut self, pair: PortPair, datagram: Datagram, now: Instant) {
        let ntp = self.ntp(now);
        let key = self.demux.rtcp(pair, datagram.from);
        let Some((key, CallSlot { bridge, .. })) = key.and_then(|key| Some((key, self.calls.get_mut(key)?))) else {
            return self.discard(datagram, Drop::SipMediaStranger);
        };
        self.work = Work::Call(key);
        bridge.heard_at = now;
        for report in rtp::packets(datagram.packet.bytes()) {
            let blocks = match report {
                Rtcp::SenderReport { ssrc, info, blocks } => {
                    bridge.received.on_sender_report(ssrc, &info, now);
                    blocks
                }
                Rtcp::ReceiverReport { ssrc: _, blocks } => blocks,
                Rtcp::Bye(_) | Rtcp::Other(_) => continue,
            };
            let ours = bridge.uplink.ssrc();
            for block in blocks.filter(|block| block.ssrc == ours) {
                bridge.sent.on_report_block(&block, ntp);
            }
        }
        self.packets.give_back(datagram.packet);
    }

    /// Connects the agent's streams to the call that it talks on, and cuts all others. Called whenever one of them changes.
    pub(super) fn rewire(&mut self, agent: AgentKey) {
        let agent = &self.agents[agent];
        let microphone = agent.microphone().filter(|microphone| !microphone.paused);
        for &key in &agent.calls {
            let CallSlot { call, bridge, .. } = &mut self.calls[key];
            let flow = call.flow().filter(|_| agent.bridged == Some(key) && !call.held_local);
            // A microphone in another codec than the one agreed on would be noise to the far side.
            let fits = |microphone: &&Producer| call.flow().is_some_and(|(_, negotiated)| negotiated.codec == microphone.media.codec);
            let microphone = microphone.filter(fits);
            let open = flow.is_some() && microphone.is_some() && !call.held_remote;
            if open && !bridge.is_open {
                bridge.uplink.switch_source();
            }
            bridge.is_open = open;
            let downlink = if flow.is_some() { agent.recv } else { None };
            let newly = downlink.filter(|_| bridge.downlink != downlink);
            bridge.downlink = downlink;
            if let (Some(transport), Some((_, negotiated))) = (newly, call.flow()) {
                let codec = (negotiated.payload_type_in, negotiated.codec.payload_type());
                // Events with another clock than the codec's would need timestamps of their own (RFC 7160).
                let digits = negotiated.telephone_event.filter(|event| event.clock == negotiated.codec.clock_rate());
                let digits = digits.map_or(codec, |event| (event.payload_type_in, negotiated.codec.telephone_event_payload_type()));
                for consumer in &mut self.transports[transport].consumers {
                    consumer.stream.map(negotiated.codec.clock_rate(), &[codec, digits]);
                    consumer.stream.switch_source();
                }
            }
            if let (Some((_, negotiated)), Some(microphone)) = (call.flow(), microphone) {
                let codec = (microphone.media.payload_type, negotiated.payload_type_out);
                let digits = microphone.media.telephone_event.zip(negotiated.telephone_event.map(|event| event.payload_type_out));
                match digits {
                    Some(digits) => bridge.uplink.map(negotiated.codec.clock_rate(), &[codec, digits]),
                    None => bridge.uplink.map(negotiated.codec.clock_rate(), &[codec]),
                }
            }
        }
        for &key in &agent.transports {
            let talking = agent.bridged.filter(|&call| self.calls[call].bridge.is_open);
            let transport = &mut self.transports[key];
            transport.stream.uplink = talking.filter(|_| agent.send == Some(key));
            if let Some(microphone) = microphone.filter(|microphone| microphone.transport == key) {
                transport.stream.set_codec(microphone.media.codec);
            }
        }
    }

    /// A consumer joined: the payload types of the call that is on have to be told to it.
    pub(super) fn restart_downlink(&mut self, agent: AgentKey) {
        if let Some(call) = self.agents[agent].bridged {
            self.calls[call].bridge.downlink = None;
        }
        self.rewire(agent);
    }

    /// A flow was agreed on, or another one: its payload types and clocks become those of the call's streams.
    pub(super) fn adopt_flow(&mut self, key: CallKey, now: Instant) {
        let CallSlot { call, bridge, .. } = &mut self.calls[key];
        let Some((_, negotiated)) = call.flow() else { return };
        bridge.received.set_clock(negotiated.codec.clock_rate());
        let clock = negotiated.telephone_event.map_or(negotiated.codec.clock_rate(), |event| event.clock);
        // Digits that can no longer be sent must not hold the voice back for ever.
        if bridge.digits_out.is_idle() || negotiated.telephone_event.is_none() {
            bridge.digits_out = DtmfSender::new(clock);
        }
        bridge.digits_in = DtmfReceiver::new(clock);
        bridge.report_at.get_or_insert(now + REPORT_INTERVAL);
        // Consumers are mapped again even if they stay where they are: the payload types may have changed.
        bridge.downlink = None;
        let agent = call.agent;
        self.rewire(agent);
        self.schedule_call(key);
    }

    /// Queues digits as RTP events (RFC 4733).
    pub(super) fn queue_dtmf_events(&mut self, key: CallKey, digits: &SendDtmf) -> Result<(), Refusal> {
        let CallSlot { call, bridge, .. } = &mut self.calls[key];
        if call.flow().is_none_or(|(_, negotiated)| negotiated.telephone_event.is_none()) {
            return Err(Refusal::new(Code::InvalidState, "method: the PBX did not agree to telephone events"));
        }
        let queued = bridge.digits_out.enqueue(&digits.tones, digits.duration, digits.gap);
        queued.map_err(|error| match error {
            rtp::DtmfError::NotATone => Refusal::new(Code::BadRequest, "tone: only 0-9 * # A-D and a comma"),
            rtp::DtmfError::Full => Refusal::new(Code::RateLimited, "too many digits are queued"),
        })
    }

    /// Does what the call's media has due: digits, reports, the silence of the PBX.
    pub(super) fn on_media_timers(&mut self, key: CallKey, now: Instant) {
        self.send_due_digits(key, now);
        let slot = &mut self.calls[key];
        if let Some(digit) = slot.bridge.digits_in.handle_timeout(now) {
            self.tell_call(key, CallEvent::DtmfReceived { tone: digit.tone, duration: digit.duration });
        }
        let slot = &mut self.calls[key];
        if slot.bridge.report_at.is_some_and(|at| at <= now) {
            slot.bridge.report_at = Some(now + REPORT_INTERVAL);
            self.report_to_pbx(key, now);
        }
        let slot = &self.calls[key];
        let listening = matches!(slot.call.phase, Phase::Talking { .. }) && !slot.call.is_held();
        if listening && slot.bridge.heard_at + self.config.policy.media_timeout <= now {
            self.end_call(key, EndedBy::Gateway, EndReason::MediaTimeout, None, now);
        }
    }

    fn send_due_digits(&mut self, key: CallKey, now: Instant) {
        loop {
            let CallSlot { call, bridge, .. } = &mut self.calls[key];
            let Some((pair, negotiated)) = call.flow() else { return };
            let Some(event) = negotiated.telephone_event else { return };
            let Some(digit) = bridge.digits_out.poll(now, bridge.uplink.timestamp_at(now)) else { return };
            let to = negotiated.remote_rtp;
            let mut packet = self.packets.take();
            match bridge.uplink.make(&mut packet, digit.marker, event.payload_type_out, digit.timestamp, &digit.payload, now) {
                Ok(sent) => {
                    bridge.sent.on_sent(&sent);
                    self.outputs.push_back(Output::Transmit(Transmit { socket: LocalSocket::Rtp(pair), to, packet }));
                }
                Err(_) => self.packets.give_back(packet),
            }
        }
    }

    fn report_to_pbx(&mut self, key: CallKey, now: Instant) {
        let ntp = self.ntp(now);
        let mut packet = self.packets.take();
        let CallSlot { call, bridge, .. } = &mut self.calls[key];
        // An address of zeros, the old way to hold (RFC 3264 section 8.4), is nowhere.
        let reachable = call.flow().filter(|(_, negotiated)| !negotiated.remote_rtcp.ip().is_unspecified());
        let Some((pair, negotiated)) = reachable else { return self.packets.give_back(packet) };
        let blocks: Option<ReportBlock> = bridge.received.report_block(now);
        let info = bridge.sent.sender_info(ntp, bridge.uplink.timestamp_at(now));
        let sender = (bridge.sent.packets() > 0).then_some(&info);
        let cname = call.id.to_string();
        let written = RtcpWriter::report(&mut packet, bridge.uplink.ssrc(), sender, blocks.as_slice()).cname(&cname).finish();
        debug_assert!(written, "one report fits a packet");
        let transmit = Transmit { socket: LocalSocket::Rtcp(pair), to: negotiated.remote_rtcp, packet };
        self.outputs.push_back(Output::Transmit(transmit));
    }

    /// Reports to a browser on its microphone, and on each stream that we send it.
    pub(super) fn report_to_browser(&mut self, key: TransportKey, now: Instant) {
        let ntp = self.ntp(now);
        let transport = &mut self.transports[key];
        let Some(to) = transport.destination() else { return };
        let mut reports: Vec<Packet> = Vec::new();
        if let Some(block) = transport.stream.received.report_block(now) {
            let mut packet = self.packets.take();
            let id = transport.id.to_string();
            let written = RtcpWriter::report(&mut packet, transport.stream.reporter, None, &[block]).cname(&id).finish();
            debug_assert!(written, "one report fits a packet");
            reports.push(packet);
        }
        for consumer in transport.consumers.iter().filter(|consumer| consumer.sent.packets() > 0) {
            let mut packet = self.packets.take();
            let info = consumer.sent.sender_info(ntp, consumer.stream.timestamp_at(now));
            let written = RtcpWriter::report(&mut packet, consumer.stream.ssrc(), Some(&info), &[]).cname(&consumer.cname).finish();
            debug_assert!(written, "one report fits a packet");
            reports.push(packet);
        }
        for mut packet in reports {
            let protected = transport.srtp.as_mut().is_some_and(|srtp| srtp.outbound.protect_rtcp(&mut packet).is_ok());
            if protected {
                self.outputs.push_back(Output::Transmit(Transmit { socket: LocalSocket::Browser, to, packet }));
            } else {
                self.packets.give_back(packet);
            }
        }
    }

    /// What the agent's browser streams have counted so far.
    pub(super) fn browser_totals(&self, agent: AgentKey) -> BrowserTotals {
        let agent = &self.agents[agent];
        let mut totals = BrowserTotals::default();
        if let Some(transport) = agent.send.and_then(|key| self.transports.get(key)) {
            totals.received = received_stats(&transport.stream.received);
        }
        if let Some(transport) = agent.recv.and_then(|key| self.transports.get(key)) {
            for consumer in &transport.consumers {
                let sent = sent_stats(&consumer.sent, consumer.stream.clock());
                totals.sent.packets += sent.packets;
                totals.sent.bytes += sent.bytes;
                totals.sent.lost += sent.lost;
                totals.sent.jitter_ms = totals.sent.jitter_ms.or(sent.jitter_ms);
            }
        }
        totals
    }

    /// Figures of both legs of a call.
    pub(super) fn leg_stats(&self, key: CallKey) -> Vec<LegStats> {
        let CallSlot { call, bridge, .. } = &self.calls[key];
        let totals = self.browser_totals(call.agent);
        let before = bridge.browser_before;
        let browser = self.browser_leg(call.agent, totals.received.since(before.received), totals.sent.since(before.sent));
        let (received, sent) = (received_stats(&bridge.received), sent_stats(&bridge.sent, bridge.uplink.clock()));
        vec![
            browser,
            leg(LegKind::Sip, received, sent, bridge.sent.round_trip(), bridge.received.jitter(), bridge.received.lost_fraction()),
        ]
    }

    /// Figures of an agent's browser, from when its streams began.
    pub(super) fn browser_stats(&self, agent: AgentKey) -> LegStats {
        let totals = self.browser_totals(agent);
        self.browser_leg(agent, totals.received, totals.sent)
    }

    fn browser_leg(&self, agent: AgentKey, received: StreamStats, sent: StreamStats) -> LegStats {
        let agent = &self.agents[agent];
        let stream = agent.send.and_then(|key| self.transports.get(key)).map(|transport| &transport.stream.received);
        let consumers = agent.recv.and_then(|key| self.transports.get(key)).map_or(&[][..], |transport| &transport.consumers);
        let round_trip = consumers.iter().find_map(|consumer| consumer.sent.round_trip());
        let (jitter, lost) = stream.map_or((Duration::ZERO, 0.0), |stream| (stream.jitter(), stream.lost_fraction()));
        leg(LegKind::WebRtc, received, sent, round_trip, jitter, lost)
    }

    fn ntp(&self, now: Instant) -> NtpTime {
        NtpTime::of(self.wall_clock(now))
    }
}

fn leg(leg: LegKind, received: StreamStats, sent: StreamStats, round_trip: Option<Duration>, jitter: Duration, lost: f64) -> LegStats {
    let heard = received.packets > 0;
    LegStats {
        leg,
        received,
        sent,
        rtt_ms: round_trip.map(|round_trip| round_trip.as_secs_f64() * 1e3),
        mos: heard.then(|| rtp::mos(round_trip.unwrap_or(Duration::ZERO), jitter, lost)),
    }
}

fn received_stats(stats: &ReceiverStats) -> StreamStats {
    let jitter_ms = stats.last_packet().map(|_| stats.jitter().as_secs_f64() * 1e3);
    StreamStats { packets: stats.packets(), bytes: stats.octets(), lost: stats.lost() as i64, jitter_ms }
}

fn sent_stats(stats: &SenderStats, clock: u32) -> StreamStats {
    let remote = stats.remote();
    StreamStats {
        packets: stats.packets(),
        bytes: stats.octets(),
        lost: remote.map_or(0, |block| i64::from(block.cumulative_lost)),
        jitter_ms: remote.map(|block| f64::from(block.jitter) * 1e3 / f64::from(clock)),
    }
}
