//! A browser with mediasoup-client in it, without the browser: full ICE, the DTLS client and an SRTP implementation that is
//! not ours. Sans-IO, so that it lives on a virtual network as well as on sockets ([`crate::live`]).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use nexus_gateway::webrtc::ortc::{
    DtlsFingerprint, DtlsParameters, DtlsRole, IceParameters, MID_EXTENSION, MID_EXTENSION_ID, RtcpParameters, RtpCodecParameters,
    RtpEncoding, RtpParameters, TransportOptions,
};
use str0m::config::Fingerprint;
use str0m::format::{Codec as Format, FormatParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};

use crate::dtls;

/// What a transport is for: mediasoup-client makes one for each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The microphone, encoded with this codec.
    Send(Codec),
    /// The loudspeaker.
    Recv,
}

/// One transport of a mediasoup-client device, with its peer connection.
///
/// The order of calls is the library's: [`FakeBrowser::new`] from what `webrtc:create-transport` was acknowledged with, then
/// [`FakeBrowser::dtls_parameters`] for `webrtc:connect-transport`, and once that is acknowledged [`FakeBrowser::connect`];
/// [`FakeBrowser::producer_parameters`] for `webrtc:produce`, [`FakeBrowser::consume`] with what `webrtc:consume` gave.
pub struct FakeBrowser {
    rtc: Rtc,
    role: Role,
    local: SocketAddr,
    remote: Vec<SocketAddr>,
    ssrc: Ssrc,
    sequence: u64,
    timestamp: u32,
    stats: BrowserStats,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<BrowserEvent>,
    deadline: Option<Instant>,
    now: Instant,
}

/// Something that happened to a fake browser.
#[derive(Clone, Debug)]
pub enum BrowserEvent {
    /// ICE and DTLS are up; both sides' certificates are what was announced.
    Connected,
    /// No answer to connectivity checks any more.
    IceDisconnected,
    /// The gateway closed the transport.
    Closed,
    /// A packet was received, authenticated and decrypted.
    Rtp(ReceivedRtp),
    /// The association is broken; only a bug of either side does that.
    Broken(String),
}

/// A decrypted RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRtp {
    pub ssrc: u32,
    pub payload_type: u8,
    /// Extended by the roll-over counter.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// The `sdes:mid` header extension, where the packet has one.
    pub mid: Option<String>,
    pub payload: Vec<u8>,
}

/// What `getStats` would say, after the last reports of both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrowserStats {
    pub packets_sent: u64,
    pub packets_received: u64,
    pub bytes_received: u64,
    /// From the gateway's receiver reports of our stream.
    pub reported_lost: Option<u64>,
    /// From the LSR and DLSR of the same.
    pub rtt: Option<Duration>,
    /// From the gateway's sender reports.
    pub reported_sent: Option<u64>,
    /// Datagrams that were none of anything.
    pub malformed: u64,
}

/// Why a browser turns the gateway's parameters down.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// A field that mediasoup-client would throw on.
    #[error("{0} is not usable")]
    Parameter(&'static str),
    /// The library would not start.
    #[error(transparent)]
    Library(#[from] str0m::RtcError),
}

impl FakeBrowser {
    /// A transport on this local address, with a certificate of its own. Nothing is sent before [`FakeBrowser::connect`].
    pub fn new(role: Role, options: &TransportOptions, local: SocketAddr, now: Instant) -> Result<Self, BrowserError> {
        let mut config = RtcConfig::new()
            .set_crypto_provider(dtls::chromium())
            .clear_codecs()
            .clear_extension_map()
            .set_rtp_mode(true)
            .set_stats_interval(Some(Duration::from_secs(1)));
        if role == Role::Recv {
            config = config.set_extension(MID_EXTENSION_ID, Extension::RtpMid);
        }
        for (payload_type, format, clock_rate, channels) in FORMATS {
            config.codec_config().add_config(
                Pt::new_with_value(payload_type),
                None,
                format,
                Frequency::new(clock_rate).ok_or(BrowserError::Parameter("clockRate"))?,
                channels,
                FormatParams::default(),
            );
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(local, Protocol::Udp).map_err(|_| BrowserError::Parameter("local address"))?);
        let remote = options.ice_candidates.iter().filter(|candidate| candidate.protocol == "udp").map(|candidate| {
            let ip: IpAddr = candidate.ip.parse().map_err(|_| BrowserError::Parameter("iceCandidates.ip"))?;
            Ok(SocketAddr::new(ip, candidate.port))
        });
        let remote: Vec<_> = remote.collect::<Result<_, BrowserError>>()?;
        if remote.is_empty() {
            return Err(BrowserError::Parameter("iceCandidates"));
        }
        // What Chromium would still do, but never connect with.
        if options.dtls_parameters.role == DtlsRole::Client {
            return Err(BrowserError::Parameter("dtlsParameters.role"));
        }
        let fingerprint = options.dtls_parameters.fingerprints.last().ok_or(BrowserError::Parameter("dtlsParameters.fingerprints"))?;
        let bytes = hex::decode(fingerprint.value.replace(':', "")).map_err(|_| BrowserError::Parameter("fingerprints.value"))?;
        let mut api = rtc.direct_api();
        api.set_ice_controlling(true);
        api.set_remote_fingerprint(Fingerprint { hash_func: fingerprint.algorithm.clone(), bytes });
        let ssrc = api.new_ssrc();
        if let Role::Send(_) = role {
            api.declare_media(Mid::from(SEND_MID), MediaKind::Audio);
            api.declare_stream_tx(ssrc, None, Mid::from(SEND_MID), None);
        }
        let mut browser = Self {
            rtc,
            role,
            local,
            remote,
            ssrc,
            sequence: 1,
            timestamp: 0,
            stats: BrowserStats::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            deadline: None,
            now,
        };
        browser.set_remote_ice(&options.ice_parameters)?;
        Ok(browser)
    }

    /// What goes into `webrtc:connect-transport`: mediasoup-client always makes the browser the DTLS client of a gateway that
    /// says `auto`.
    pub fn dtls_parameters(&mut self) -> DtlsParameters {
        let fingerprint = self.rtc.direct_api().local_dtls_fingerprint().clone();
        let bytes: Vec<_> = fingerprint.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        let fingerprint = DtlsFingerprint { algorithm: fingerprint.hash_func, value: bytes.join(":") };
        DtlsParameters { role: DtlsRole::Client, fingerprints: vec![fingerprint] }
    }

    /// Starts ICE and DTLS.
    pub fn connect(&mut self, now: Instant) -> Result<(), BrowserError> {
        self.now = self.now.max(now);
        for address in self.remote.clone() {
            let candidate = Candidate::host(address, Protocol::Udp).map_err(|_| BrowserError::Parameter("iceCandidates"))?;
            self.rtc.add_remote_candidate(candidate);
        }
        self.rtc.direct_api().start_dtls(true)?;
        self.handle_timeout(now);
        Ok(())
    }

    /// What goes into `webrtc:produce`: one codec, as stock mediasoup-client has it, and no header extension.
    pub fn producer_parameters(&self) -> Option<RtpParameters> {
        let Role::Send(codec) = self.role else { return None };
        let codec = RtpCodecParameters {
            mime_type: format!("audio/{}", codec.name()),
            payload_type: codec.payload_type(),
            clock_rate: codec.clock_rate(),
            channels: (codec.channels() > 1).then(|| codec.channels()),
            parameters: Default::default(),
            rtcp_feedback: Vec::new(),
        };
        Some(RtpParameters {
            mid: Some(SEND_MID.into()),
            codecs: vec![codec],
            header_extensions: Vec::new(),
            encodings: vec![RtpEncoding { ssrc: Some(*self.ssrc), dtx: Some(false) }],
            rtcp: RtcpParameters { cname: Some("fake-browser".into()), reduced_size: true, mux: true },
        })
    }

    /// Prepares for the stream that `webrtc:consume` describes.
    pub fn consume(&mut self, parameters: &RtpParameters) -> Result<(), BrowserError> {
        let mid = parameters.mid.as_deref().ok_or(BrowserError::Parameter("rtpParameters.mid"))?;
        let ssrc = parameters.encodings.first().and_then(|encoding| encoding.ssrc).ok_or(BrowserError::Parameter("encodings[0].ssrc"))?;
        if parameters.header_extensions.iter().any(|extension| extension.uri != MID_EXTENSION || extension.id != MID_EXTENSION_ID) {
            return Err(BrowserError::Parameter("rtpParameters.headerExtensions"));
        }
        if parameters.codecs.first().is_none_or(|codec| codec.payload_type != Codec::Opus.payload_type()) {
            return Err(BrowserError::Parameter("rtpParameters.codecs[0]"));
        }
        let mut api = self.rtc.direct_api();
        api.declare_media(Mid::from(mid), MediaKind::Audio);
        api.expect_stream_rx(ssrc.into(), None, Mid::from(mid), None).suppress_nack(true);
        Ok(())
    }

    /// Takes new credentials of the gateway, as `restartIce` does, and makes new ones of its own. The keys stay.
    pub fn restart_ice(&mut self, parameters: &IceParameters, now: Instant) -> Result<(), BrowserError> {
        self.rtc.direct_api().set_local_ice_credentials(IceCreds::new());
        self.set_remote_ice(parameters)?;
        self.handle_timeout(now);
        Ok(())
    }

    /// Sends one encoded 20 ms frame as the next packet. The first packet carries the marker.
    pub fn send_frame(&mut self, payload: &[u8], now: Instant) {
        let Role::Send(codec) = self.role else { return };
        let (sequence, timestamp, marker) = (self.sequence, self.timestamp, self.stats.packets_sent == 0);
        self.send_packet(codec.payload_type(), sequence, timestamp, marker, payload, now);
    }

    /// Sends a packet with these fields; the sequence number is the extended one. The next frame follows on from it.
    pub fn send_packet(&mut self, payload_type: u8, sequence: u64, timestamp: u32, marker: bool, payload: &[u8], now: Instant) {
        let Role::Send(codec) = self.role else { return };
        self.now = self.now.max(now);
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx(&self.ssrc) else { return };
        let packet = RtpWrite::new(Pt::new_with_value(payload_type), sequence.into(), timestamp, self.now, payload).marker(marker);
        stream.write_rtp(packet);
        self.sequence = sequence + 1;
        self.timestamp = timestamp.wrapping_add(codec.clock_rate() / FRAMES_A_SECOND);
        self.stats.packets_sent += 1;
        self.handle_timeout(now);
    }

    /// Lets `frames` frames go unsent: the gap that a network makes when `lost`, the one that DTX makes when not.
    pub fn skip(&mut self, frames: u32, lost: bool) {
        let Role::Send(codec) = self.role else { return };
        self.timestamp = self.timestamp.wrapping_add(frames * (codec.clock_rate() / FRAMES_A_SECOND));
        if lost {
            self.sequence += u64::from(frames);
        }
    }

    /// Closes the peer connection: DTLS `close_notify`.
    pub fn close(&mut self) {
        if self.rtc.close().is_ok() {
            self.drain();
        }
    }

    /// Takes what arrived on the local address.
    pub fn handle_datagram(&mut self, bytes: &[u8], from: SocketAddr, now: Instant) {
        self.now = self.now.max(now);
        let handled = Receive::new(Protocol::Udp, from, self.local, bytes)
            .is_ok_and(|receive| self.rtc.handle_input(Input::Receive(self.now, receive)).is_ok());
        self.stats.malformed += u64::from(!handled);
        self.drain();
    }

    /// Tells that [`FakeBrowser::next_deadline`] has passed. Harmless before.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let _ = self.rtc.handle_input(Input::Timeout(self.now));
        self.drain();
    }

    /// When [`FakeBrowser::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The next datagram to send from the local address, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<BrowserEvent> {
        self.events.pop_front()
    }

    /// What `getStats` would say.
    pub fn stats(&self) -> BrowserStats {
        self.stats
    }

    /// The address that datagrams for this browser have to go to, unless a NAT is in between.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The SSRC of the stream that this browser sends.
    pub fn ssrc(&self) -> u32 {
        *self.ssrc
    }

    fn set_remote_ice(&mut self, parameters: &IceParameters) -> Result<(), BrowserError> {
        if !parameters.ice_lite {
            return Err(BrowserError::Parameter("iceParameters.iceLite"));
        }
        let credentials = IceCreds { ufrag: parameters.username_fragment.clone(), pass: parameters.password.clone() };
        self.rtc.direct_api().set_remote_ice_credentials(credentials);
        Ok(())
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = self.rtc.is_alive().then(|| at.max(self.now + SHORTEST_TIMEOUT));
                    return;
                }
                Ok(Output::Transmit(transmit)) => self.transmits.push_back((transmit.destination, transmit.contents.into())),
                Ok(Output::Event(event)) => self.on_event(event),
                Err(error) => {
                    self.deadline = None;
                    return self.events.push_back(BrowserEvent::Broken(error.to_string()));
                }
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => self.events.push_back(BrowserEvent::Connected),
            Event::Closed => self.events.push_back(BrowserEvent::Closed),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => self.events.push_back(BrowserEvent::IceDisconnected),
            Event::RtpPacket(packet) => {
                self.stats.packets_received += 1;
                self.stats.bytes_received += packet.payload.len() as u64;
                self.events.push_back(BrowserEvent::Rtp(ReceivedRtp {
                    ssrc: *packet.header.ssrc,
                    payload_type: *packet.header.payload_type,
                    sequence: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    mid: packet.header.ext_vals.mid.map(|mid| mid.to_string()),
                    payload: packet.payload.to_vec(),
                }));
            }
            Event::MediaEgressStats(stats) => {
                self.stats.rtt = stats.rtt.or(self.stats.rtt);
                self.stats.reported_lost = stats.remote.map(|remote| remote.packets_lost).or(self.stats.reported_lost);
            }
            Event::MediaIngressStats(stats) => {
                self.stats.reported_sent = stats.remote.map(|remote| remote.packets).or(self.stats.reported_sent);
            }
            _ => {}
        }
    }
}

/// What a browser offers for audio: payload type, format, clock rate, channels.
const FORMATS: [(u8, Format, u32, Option<u8>); 5] = [
    (111, Format::Opus, 48_000, Some(2)),
    (0, Format::PCMU, 8_000, None),
    (8, Format::PCMA, 8_000, None),
    (110, Format::Tele, 48_000, None),
    (101, Format::Tele, 8_000, None),
];

/// The one media section of a send transport.
const SEND_MID: &str = "0";

const FRAMES_A_SECOND: u32 = 50;

/// So that a driver which jumps from deadline to deadline always gets on.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
