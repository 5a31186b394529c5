//! One browser transport: ICE-lite and DTLS until it is connected, then only its keys, its address and whether it still lives.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use str0m::config::Fingerprint;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use super::credentials::IceCredentials;
use super::dtls::{DtlsIdentity, KeySlot, parse_sha256_fingerprint};
use super::ortc::{DtlsParameters, DtlsRole};
use super::stun::{self, BindingRequest};
use crate::net::{PacketKind, classify};
use crate::srtp::MasterKey;

/// A browser transport's ICE-lite agent and DTLS server.
///
/// Feed it STUN and DTLS with [`Peer::handle_datagram`] and time with [`Peer::handle_timeout`]; after each, and after
/// [`Peer::start_dtls`], drain [`Peer::poll_output`].
pub struct Peer {
    rtc: Box<Rtc>,
    keys: Arc<KeySlot>,
    credentials: IceCredentials,
    integrity: hmac::Key,
    /// Where we are, as the browser was told: str0m wants to hear where each request arrived.
    candidates: Box<[SocketAddr]>,
    remote_ufrag: Option<String>,
    /// Where valid binding requests came from, the latest last.
    sources: Vec<SocketAddr>,
    /// Sources that may still be learnt: str0m never forgets one.
    sources_left: usize,
    nominated: Option<SocketAddr>,
    state: State,
    library_deadline: Option<Instant>,
    now: Instant,
    outputs: VecDeque<PeerOutput>,
}

/// Something that a peer has to say, in order.
#[derive(Debug)]
pub enum PeerOutput {
    /// Send these bytes.
    Transmit {
        /// The browser's address.
        to: SocketAddr,
        /// STUN or DTLS.
        bytes: Vec<u8>,
    },
    /// A binding request's integrity passed: datagrams from this address are this peer's. Said for each request.
    Validated(SocketAddr),
    /// This address is no longer the peer's: it was the least used of too many.
    Forgotten(SocketAddr),
    /// The browser chose this address for media (RFC 8445 section 8.1.1). Said when it changes; it often does once, right
    /// after connecting.
    Nominated(SocketAddr),
    /// DTLS is up and the browser's certificate is the one that it announced. Said once; an ICE restart keeps the keys.
    Connected {
        /// For what the browser sends.
        inbound: MasterKey,
        /// For what we send.
        outbound: MasterKey,
    },
    /// No valid binding request for [`CONSENT`]: stop sending. The association is kept.
    Disconnected,
    /// The browser is back after [`PeerOutput::Disconnected`], with the keys that it had.
    Reconnected,
    /// The browser closed the transport (DTLS `close_notify`). Nothing follows but our own goodbye.
    Closed,
    /// The association cannot come up: another certificate than announced, no SRTP, or no handshake. Nothing follows.
    Failed,
}

/// Why a datagram or a request was refused. A datagram that is refused costs a counter and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PeerError {
    /// Neither STUN nor DTLS, or not well-formed.
    #[error("malformed datagram")]
    Malformed,
    /// Not addressed to these credentials, or signed with another password.
    #[error("binding request not authentic")]
    Unauthenticated,
    /// A browser that thinks itself controlled by an ICE-lite agent.
    #[error("ICE role conflict")]
    RoleConflict,
    /// More addresses than a browser ever has.
    #[error("too many source addresses")]
    TooManySources,
    /// DTLS from an address that no binding request has vouched for.
    #[error("DTLS from an unknown address")]
    UnknownSource,
    /// DTLS before [`Peer::start_dtls`]; the browser repeats it.
    #[error("DTLS not started")]
    NotStarted,
    /// We announced no candidate of this address family.
    #[error("no candidate of this address family")]
    NoCandidate,
    /// Asked for twice.
    #[error("DTLS already started")]
    AlreadyStarted,
    /// No usable SHA-256 fingerprint.
    #[error("no usable sha-256 fingerprint")]
    Fingerprint,
    /// The far side wants to be the DTLS server, which only we can be.
    #[error("the DTLS role has to be client")]
    Role,
    /// The transport is closed or has failed.
    #[error("transport is closed")]
    Closed,
}

impl PeerError {
    /// The stable name under which such datagrams are counted.
    pub fn code(self) -> &'static str {
        match self {
            PeerError::Malformed => "webrtc-malformed",
            PeerError::Unauthenticated => "webrtc-unauthenticated",
            PeerError::RoleConflict => "webrtc-role-conflict",
            PeerError::TooManySources => "webrtc-too-many-sources",
            PeerError::UnknownSource => "webrtc-unknown-source",
            PeerError::NotStarted => "webrtc-not-started",
            PeerError::NoCandidate => "webrtc-no-candidate",
            PeerError::AlreadyStarted => "webrtc-already-started",
            PeerError::Fingerprint => "webrtc-fingerprint",
            PeerError::Role => "webrtc-role",
            PeerError::Closed => "webrtc-closed",
        }
    }
}

enum State {
    /// ICE only: the browser's certificate is not known yet.
    New,
    /// Waiting for the DTLS handshake.
    Handshaking,
    /// Keys handed out; until `consent_ends` the browser may be sent to.
    Connected { consent_ends: Instant },
    /// Keys handed out, the browser silent.
    Lost,
    /// Closed or failed.
    Over,
}

impl Peer {
    /// A transport that answers at these addresses, as announced to the browser.
    pub fn new(identity: &DtlsIdentity, credentials: IceCredentials, candidates: &[SocketAddr], now: Instant) -> Self {
        let local = IceCreds { ufrag: credentials.ufrag.clone(), pass: credentials.password.to_string() };
        let config = RtcConfig::new()
            .set_ice_lite(true)
            .set_local_ice_credentials(local)
            .clear_codecs()
            .clear_extension_map()
            .set_rtp_mode(true)
            .set_stats_interval(None)
            .set_rtcp_report_interval_audio(NEVER)
            .set_rtcp_report_interval_video(NEVER);
        let (mut rtc, keys) = identity.build(config, now);
        // An address that cannot be a candidate (unspecified, multicast) was refused by the configuration already.
        for candidate in candidates.iter().filter_map(|&address| Candidate::host(address, Protocol::Udp).ok()) {
            rtc.add_local_candidate(candidate);
        }
        Self {
            rtc: Box::new(rtc),
            keys,
            integrity: stun::integrity_key(&credentials.password),
            credentials,
            candidates: candidates.into(),
            remote_ufrag: None,
            sources: Vec::new(),
            sources_left: SOURCES_MAX,
            nominated: None,
            state: State::New,
            library_deadline: Some(now),
            now,
            outputs: VecDeque::new(),
        }
    }

    /// What the browser was told.
    pub fn credentials(&self) -> &IceCredentials {
        &self.credentials
    }

    /// The addresses that are this peer's now: what a demultiplexer has to forget with it.
    pub fn sources(&self) -> &[SocketAddr] {
        &self.sources
    }

    /// Where media goes, once the browser chose.
    pub fn nominated(&self) -> Option<SocketAddr> {
        self.nominated
    }

    /// Lets the DTLS handshake begin with the browser that has this certificate.
    ///
    /// # Errors
    /// [`PeerError::Role`], [`PeerError::Fingerprint`], [`PeerError::AlreadyStarted`], [`PeerError::Closed`].
    pub fn start_dtls(&mut self, remote: &DtlsParameters) -> Result<(), PeerError> {
        match self.state {
            State::New => {}
            State::Handshaking | State::Connected { .. } | State::Lost => return Err(PeerError::AlreadyStarted),
            State::Over => return Err(PeerError::Closed),
        }
        match remote.role {
            DtlsRole::Auto | DtlsRole::Client => {}
            DtlsRole::Server => return Err(PeerError::Role),
        }
        // The last one, as mediasoup takes it, of those that are still safe (RFC 8122 section 5).
        let sha256 = remote.fingerprints.iter().rev().find(|fingerprint| fingerprint.algorithm.eq_ignore_ascii_case("sha-256"));
        let bytes = sha256.and_then(|fingerprint| parse_sha256_fingerprint(&fingerprint.value)).ok_or(PeerError::Fingerprint)?;
        let mut api = self.rtc.direct_api();
        api.set_remote_fingerprint(Fingerprint { hash_func: "sha-256".into(), bytes });
        if api.start_dtls(false).is_err() {
            self.end(PeerOutput::Failed);
            return Ok(());
        }
        self.state = State::Handshaking;
        self.drain();
        Ok(())
    }

    /// Takes STUN or DTLS that arrived from the browser.
    ///
    /// # Errors
    /// Why the datagram was dropped; the transport goes on as it was.
    pub fn handle_datagram(&mut self, bytes: &[u8], from: SocketAddr, now: Instant) -> Result<(), PeerError> {
        if matches!(self.state, State::Over) {
            return Err(PeerError::Closed);
        }
        self.now = self.now.max(now);
        match classify(bytes) {
            PacketKind::Stun => self.on_stun(bytes, from),
            PacketKind::Dtls => self.on_dtls(bytes, from),
            PacketKind::Rtp | PacketKind::Rtcp | PacketKind::Unknown => Err(PeerError::Malformed),
        }
    }

    /// Tells that [`Peer::next_deadline`] has passed. Harmless before.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        match self.state {
            State::Connected { consent_ends } if consent_ends <= self.now => {
                self.state = State::Lost;
                self.outputs.push_back(PeerOutput::Disconnected);
            }
            State::New | State::Handshaking | State::Connected { .. } | State::Lost => {}
            State::Over => return,
        }
        // An error here shows again, with its consequences, when the output is polled.
        let _ = self.rtc.handle_input(Input::Timeout(self.now));
        self.drain();
    }

    /// When [`Peer::handle_timeout`] wants to be called: always later than the last time that the peer was told.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::New | State::Handshaking | State::Lost => self.library_deadline,
            State::Connected { consent_ends } => Some(self.library_deadline.map_or(consent_ends, |at| at.min(consent_ends))),
            State::Over => None,
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<PeerOutput> {
        self.outputs.pop_front()
    }

    /// Says goodbye (DTLS `close_notify`), as far as there is an association. Drain the output once more, then drop the peer.
    pub fn close(&mut self) {
        if matches!(self.state, State::Over) {
            return;
        }
        if self.rtc.close().is_ok() {
            self.drain();
        }
        self.state = State::Over;
    }

    fn on_stun(&mut self, bytes: &[u8], from: SocketAddr) -> Result<(), PeerError> {
        // We are ICE-lite: we ask nothing, so anything but a request is an answer to a question that we did not ask.
        let request = BindingRequest::parse(bytes).ok_or(PeerError::Malformed)?;
        if request.local_ufrag != self.credentials.ufrag || !request.is_signed_with(&self.integrity) {
            return Err(PeerError::Unauthenticated);
        }
        if request.sender_is_controlled {
            return Err(PeerError::RoleConflict);
        }
        let receive = self.receive(bytes, from)?;
        self.learn_source(from)?;
        // mediasoup-client never tells its own credentials, so they are learnt here, and again after an ICE restart. An
        // ICE-lite agent never signs with the password of the other side: any will do.
        if self.remote_ufrag.as_deref() != Some(request.remote_ufrag) {
            let remote = IceCreds { ufrag: request.remote_ufrag.into(), pass: "unused".into() };
            self.rtc.direct_api().set_remote_ice_credentials(remote);
            self.remote_ufrag = Some(request.remote_ufrag.into());
        }
        self.outputs.push_back(PeerOutput::Validated(from));
        if request.use_candidate && self.nominated != Some(from) {
            self.nominated = Some(from);
            self.outputs.push_back(PeerOutput::Nominated(from));
        }
        self.renew_consent();
        let handled = self.rtc.handle_input(Input::Receive(self.now, receive));
        self.drain();
        handled.map_err(|_| PeerError::Malformed)
    }

    fn on_dtls(&mut self, bytes: &[u8], from: SocketAddr) -> Result<(), PeerError> {
        // What `Rtc::accepts` would check, and `Rtc::handle_input` does not: without it anybody could send a ClientHello ahead
        // of the browser's, since the cookie is off.
        if !self.sources.contains(&from) {
            return Err(PeerError::UnknownSource);
        }
        if matches!(self.state, State::New) {
            return Err(PeerError::NotStarted);
        }
        let receive = self.receive(bytes, from)?;
        let handled = self.rtc.handle_input(Input::Receive(self.now, receive));
        self.drain();
        handled.map_err(|_| PeerError::Malformed)
    }

    fn receive<'a>(&self, bytes: &'a [u8], from: SocketAddr) -> Result<Receive<'a>, PeerError> {
        let same_family = |candidate: &&SocketAddr| candidate.is_ipv4() == from.is_ipv4();
        let local = *self.candidates.iter().find(same_family).ok_or(PeerError::NoCandidate)?;
        Receive::new(Protocol::Udp, from, local, bytes).map_err(|_| PeerError::Malformed)
    }

    fn learn_source(&mut self, from: SocketAddr) -> Result<(), PeerError> {
        if let Some(known) = self.sources.iter().position(|source| *source == from) {
            self.sources[known..].rotate_left(1);
            return Ok(());
        }
        self.sources_left = self.sources_left.checked_sub(1).ok_or(PeerError::TooManySources)?;
        if self.sources.len() == SOURCES_AT_ONCE {
            let stale = self.sources.iter().position(|source| Some(*source) != self.nominated).unwrap_or(0);
            self.outputs.push_back(PeerOutput::Forgotten(self.sources.remove(stale)));
        }
        self.sources.push(from);
        Ok(())
    }

    /// A valid binding request shows that the browser still wants to be sent to (RFC 7675 section 5.1, from the lite side).
    fn renew_consent(&mut self) {
        match &mut self.state {
            State::Connected { consent_ends } => *consent_ends = self.now + CONSENT,
            State::Lost => {
                self.state = State::Connected { consent_ends: self.now + CONSENT };
                self.outputs.push_back(PeerOutput::Reconnected);
            }
            State::New | State::Handshaking | State::Over => {}
        }
    }

    /// Takes everything out of str0m, and lets due timers run, until its next deadline lies ahead.
    fn drain(&mut self) {
        for _ in 0..DRAIN_STEPS {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) if at > self.now => {
                    self.library_deadline = Some(at);
                    return;
                }
                Ok(Output::Timeout(_)) => {
                    let _ = self.rtc.handle_input(Input::Timeout(self.now));
                }
                Ok(Output::Transmit(transmit)) => {
                    let bytes: Vec<u8> = transmit.contents.into();
                    // str0m clings to the pair of before an ICE restart for up to 15 s; the browser's choice is newer.
                    let to = match classify(&bytes) {
                        PacketKind::Dtls => self.nominated.unwrap_or(transmit.destination),
                        PacketKind::Stun | PacketKind::Rtp | PacketKind::Rtcp | PacketKind::Unknown => transmit.destination,
                    };
                    self.outputs.push_back(PeerOutput::Transmit { to, bytes });
                }
                Ok(Output::Event(event)) => self.on_event(&event),
                // The certificate is not the announced one, or the handshake cannot go on.
                Err(_) => return self.end(PeerOutput::Failed),
            }
        }
        self.library_deadline = Some(self.now + PAUSE);
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            // Not earlier: by now str0m has compared the certificate with the fingerprint.
            Event::Connected => match self.keys.take() {
                Some(keys) => {
                    self.state = State::Connected { consent_ends: self.now + CONSENT };
                    self.outputs.push_back(PeerOutput::Connected { inbound: keys.inbound, outbound: keys.outbound });
                }
                None => self.end(PeerOutput::Failed),
            },
            Event::Closed => self.end(PeerOutput::Closed),
            // ICE states are judged by our own consent timer; media, channels and statistics never happen without keys.
            _ => {}
        }
    }

    fn end(&mut self, last: PeerOutput) {
        if !matches!(self.state, State::Over) {
            self.state = State::Over;
            self.outputs.push_back(last);
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// How long a browser may be silent. Chromium asks every 2.5 s, so three requests in a row were lost.
pub const CONSENT: Duration = Duration::from_secs(8);

/// Addresses that a peer has at the same time: interfaces and families of one browser, and those of before a network change.
const SOURCES_AT_ONCE: usize = 8;

/// Addresses that a peer has over its whole life.
const SOURCES_MAX: usize = 256;

/// Far more than one input ever causes; a bound, so that a fault costs time and not the shard.
const DRAIN_STEPS: usize = 256;

/// When to go on if the bound was met.
const PAUSE: Duration = Duration::from_millis(10);

/// str0m has no media here and so nothing to report.
const NEVER: Duration = Duration::from_secs(86_400);
