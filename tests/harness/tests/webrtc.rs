//! The browser side of the gateway against a browser that is not ours, on a virtual network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use nexus_gateway::ids::TransportId;
use nexus_gateway::net::{Packet, PacketKind, PacketPool, classify};
use nexus_gateway::srtp::{Inbound, MasterKey, Outbound, Profile};
use nexus_gateway::webrtc::credentials::{local_ufrag, slot_of};
use nexus_gateway::webrtc::ortc::{self, DtlsParameters, DtlsRole, TransportOptions};
use nexus_gateway::webrtc::{CONSENT, DtlsIdentity, IceCredentials, Peer, PeerError, PeerOutput};
use nexus_harness::browser::{BrowserEvent, FakeBrowser, ReceivedRtp, Role};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// A peer and a browser with a network between them that loses and reorders as it is told.
struct World {
    now: Instant,
    rng: ChaCha12Rng,
    peer: Peer,
    browser: FakeBrowser,
    /// Where the browser's datagrams seem to come from: a NAT may change it.
    browser_address: SocketAddr,
    loss: f64,
    jitter: Duration,
    /// Datagrams on their way: when they arrive, whether at the gateway, and their bytes.
    wire: Vec<(Instant, bool, SocketAddr, Vec<u8>)>,
    said: Vec<PeerOutput>,
    media: Vec<Vec<u8>>,
    heard: Vec<BrowserEvent>,
    refused: Vec<PeerError>,
}

fn gateway() -> SocketAddr {
    "192.0.2.1:40000".parse().expect("an address")
}

fn identity() -> DtlsIdentity {
    DtlsIdentity::generate().expect("an identity")
}

fn options(identity: &DtlsIdentity, credentials: &IceCredentials) -> TransportOptions {
    TransportOptions {
        id: TransportId(uuid::Uuid::nil()),
        ice_parameters: ortc::ice_parameters(credentials),
        ice_candidates: ortc::ice_candidates(&[gateway()]),
        dtls_parameters: identity.parameters(),
        ice_servers: Vec::new(),
        ice_transport_policy: None,
    }
}

impl World {
    fn new(role: Role, seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let now = Instant::now();
        let identity = identity();
        let credentials = IceCredentials::generate(7, &mut rng);
        // Over the wire, as a client gets them.
        let options = serde_json::to_string(&options(&identity, &credentials)).expect("JSON");
        let options = serde_json::from_str(&options).expect("TransportOptions");
        let browser_address = "198.51.100.7:50000".parse().expect("an address");
        let browser = FakeBrowser::new(role, &options, browser_address, now).expect("a browser");
        let peer = Peer::new(&identity, credentials, &[gateway()], now);
        Self {
            now,
            rng,
            peer,
            browser,
            browser_address,
            loss: 0.0,
            jitter: Duration::ZERO,
            wire: Vec::new(),
            said: Vec::new(),
            media: Vec::new(),
            heard: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn connect(&mut self) {
        let parameters = self.browser.dtls_parameters();
        self.peer.start_dtls(&parameters).expect("DTLS starts");
        self.browser.connect(self.now).expect("the browser starts");
        self.run(Duration::from_secs(3));
    }

    fn connected(role: Role, seed: u64) -> Self {
        let mut world = Self::new(role, seed);
        world.connect();
        assert!(world.heard.iter().any(|event| matches!(event, BrowserEvent::Connected)), "{:?} {:?}", world.heard, world.refused);
        world
    }

    fn keys(&self) -> (MasterKey, MasterKey) {
        let keys: Vec<_> = self.said.iter().filter_map(keys).collect();
        assert_eq!(keys.len(), 1, "connected exactly once");
        keys[0].clone()
    }

    fn count(&self, wanted: impl Fn(&PeerOutput) -> bool) -> usize {
        self.said.iter().filter(|output| wanted(output)).count()
    }

    /// Jumps from event to event for so much virtual time.
    fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.collect();
            let arrival = self.wire.iter().map(|datagram| datagram.0).min();
            let next = [arrival, self.peer.next_deadline(), self.browser.next_deadline()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if let Some(index) = self.wire.iter().position(|datagram| datagram.0 <= self.now) {
                let (_, to_gateway, from, bytes) = self.wire.swap_remove(index);
                self.deliver(to_gateway, from, &bytes);
            }
            if self.peer.next_deadline().is_some_and(|at| at <= self.now) {
                self.peer.handle_timeout(self.now);
                assert!(self.peer.next_deadline().is_none_or(|at| at > self.now), "a deadline that does not move");
            }
            if self.browser.next_deadline().is_some_and(|at| at <= self.now) {
                self.browser.handle_timeout(self.now);
            }
        }
        self.now = until;
    }

    fn deliver(&mut self, to_gateway: bool, from: SocketAddr, bytes: &[u8]) {
        if !to_gateway {
            return self.browser.handle_datagram(bytes, from, self.now);
        }
        match classify(bytes) {
            PacketKind::Stun | PacketKind::Dtls => {
                if let Err(error) = self.peer.handle_datagram(bytes, from, self.now) {
                    self.refused.push(error);
                }
            }
            PacketKind::Rtp | PacketKind::Rtcp => self.media.push(bytes.to_vec()),
            PacketKind::Unknown => unreachable!("a browser sends nothing unknown"),
        }
    }

    fn collect(&mut self) {
        while let Some((to, bytes)) = self.browser.poll_transmit() {
            assert_eq!(to, gateway());
            self.send(true, self.browser_address, bytes);
        }
        while let Some(output) = self.peer.poll_output() {
            match output {
                PeerOutput::Transmit { to, bytes } if to == self.browser_address => self.send(false, gateway(), bytes),
                // Behind the NAT nobody has that address any more.
                PeerOutput::Transmit { .. } => {}
                other => self.said.push(other),
            }
        }
        while let Some(event) = self.browser.poll_event() {
            self.heard.push(event);
        }
    }

    fn send(&mut self, to_gateway: bool, from: SocketAddr, bytes: Vec<u8>) {
        if self.loss > 0.0 && self.rng.random_bool(self.loss) {
            return;
        }
        let delay = Duration::from_millis(10) + self.jitter.mul_f64(self.rng.random::<f64>());
        self.wire.push((self.now + delay, to_gateway, from, bytes));
    }
}

fn keys(output: &PeerOutput) -> Option<(MasterKey, MasterKey)> {
    match output {
        PeerOutput::Connected { inbound, outbound } => Some((inbound.clone(), outbound.clone())),
        PeerOutput::Transmit { .. }
        | PeerOutput::Validated(_)
        | PeerOutput::Forgotten(_)
        | PeerOutput::Nominated(_)
        | PeerOutput::Disconnected
        | PeerOutput::Reconnected
        | PeerOutput::Closed
        | PeerOutput::Failed => None,
    }
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = PacketPool::new(0).take();
    assert!(packet.copy_from(bytes));
    packet
}

fn rtp(payload_type: u8, sequence: u16, ssrc: u32, payload: &[u8]) -> Packet {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((u32::from(sequence) * 960).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(payload);
    packet(&bytes)
}

#[test]
fn a_browser_connects_and_its_microphone_is_heard() {
    let mut world = World::connected(Role::Send(Codec::Opus), 1);
    let (inbound, _) = world.keys();
    assert_eq!(inbound.profile(), Profile::AeadAes256Gcm);
    assert_eq!(world.peer.nominated(), Some(world.browser_address));
    for number in 0..50_u8 {
        world.browser.send_frame(&[number; 80], world.now);
        world.run(Duration::from_millis(20));
    }
    let mut srtp = Inbound::new(&inbound);
    let (rtp, rtcp): (Vec<_>, Vec<_>) = world.media.iter().partition(|bytes| classify(bytes) == PacketKind::Rtp);
    assert_eq!(rtp.len(), 50);
    for (number, bytes) in rtp.into_iter().enumerate() {
        let mut packet = packet(bytes);
        srtp.unprotect_rtp(&mut packet).expect("authentic");
        assert_eq!(packet.bytes()[1], if number == 0 { 0x80 | 111 } else { 111 });
        assert_eq!(packet.bytes()[8..12], world.browser.ssrc().to_be_bytes());
        // str0m writes an empty header extension (RFC 8285 section 4.2), where Chromium writes none.
        assert_eq!(packet.bytes()[12..16], [0xbe, 0xde, 0, 0]);
        assert_eq!(packet.bytes()[16..], [number as u8; 80]);
    }
    for bytes in rtcp {
        srtp.unprotect_rtcp(&mut packet(bytes)).expect("authentic");
    }
}

#[test]
fn a_browser_hears_what_we_send_with_the_codec_of_the_moment() {
    let mut world = World::connected(Role::Recv, 2);
    let consumer = ortc::consumer_parameters("0", 0xfeed, "gateway");
    world.browser.consume(&consumer).expect("consumed");
    let mut srtp = Outbound::new(&world.keys().1);
    for (sequence, payload_type) in [(1, 111), (2, 111), (3, 0), (4, 8)] {
        let mut packet = rtp(payload_type, sequence, 0xfeed, &[sequence as u8; 40]);
        srtp.protect_rtp(&mut packet).expect("protected");
        world.browser.handle_datagram(packet.bytes(), gateway(), world.now);
        world.run(Duration::from_millis(20));
    }
    let heard: Vec<_> = world.heard.iter().filter_map(received).map(|rtp| (rtp.sequence, rtp.payload_type, rtp.payload[0])).collect();
    assert_eq!(heard, [(1, 111, 1), (2, 111, 2), (3, 0, 3), (4, 8, 4)]);
}

fn received(event: &BrowserEvent) -> Option<&ReceivedRtp> {
    match event {
        BrowserEvent::Rtp(rtp) => Some(rtp),
        BrowserEvent::Connected | BrowserEvent::IceDisconnected | BrowserEvent::Closed | BrowserEvent::Broken(_) => None,
    }
}

#[test]
fn the_first_datagram_leads_to_the_transport() {
    let mut world = World::new(Role::Recv, 3);
    world.browser.connect(world.now).expect("the browser starts");
    world.collect();
    let (_, to_gateway, _, first) = world.wire.remove(0);
    assert!(to_gateway);
    let ufrag = local_ufrag(&first).expect("a binding request");
    assert_eq!(ufrag, world.peer.credentials().ufrag);
    assert_eq!(slot_of(ufrag), Some(7));
}

#[test]
fn a_browser_connects_over_a_bad_network() {
    for seed in 0..40 {
        let mut world = World::new(Role::Send(Codec::Opus), seed);
        (world.loss, world.jitter) = (0.1, Duration::from_millis(50));
        world.connect();
        world.run(Duration::from_secs(17));
        assert_eq!(world.count(|output| matches!(output, PeerOutput::Connected { .. })), 1, "seed {seed}: {:?}", world.refused);
        assert!(world.heard.iter().any(|event| matches!(event, BrowserEvent::Connected)), "seed {seed}");
    }
}

#[test]
fn another_certificate_than_announced_fails_and_yields_no_keys() {
    let mut world = World::new(Role::Recv, 4);
    let mut parameters = world.browser.dtls_parameters();
    parameters.fingerprints[0].value = ["00"; 32].join(":");
    world.peer.start_dtls(&parameters).expect("DTLS starts");
    world.browser.connect(world.now).expect("the browser starts");
    world.run(Duration::from_secs(5));
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Failed)), 1);
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Connected { .. })), 0);
    assert_eq!(world.peer.next_deadline(), None);
}

#[test]
fn parameters_that_cannot_work_are_refused() {
    let mut world = World::new(Role::Recv, 5);
    let good = world.browser.dtls_parameters();
    let server = DtlsParameters { role: DtlsRole::Server, ..good.clone() };
    assert_eq!(world.peer.start_dtls(&server), Err(PeerError::Role));
    let none = DtlsParameters { fingerprints: Vec::new(), ..good.clone() };
    assert_eq!(world.peer.start_dtls(&none), Err(PeerError::Fingerprint));
    let mut weak = good.clone();
    weak.fingerprints[0].algorithm = "sha-1".into();
    assert_eq!(world.peer.start_dtls(&weak), Err(PeerError::Fingerprint));
    assert_eq!(world.peer.start_dtls(&good), Ok(()));
    assert_eq!(world.peer.start_dtls(&good), Err(PeerError::AlreadyStarted));
}

#[test]
fn dtls_that_starts_before_the_signalling_is_repeated() {
    let mut world = World::new(Role::Recv, 6);
    world.browser.connect(world.now).expect("the browser starts");
    world.run(Duration::from_millis(300));
    assert!(world.refused.contains(&PeerError::NotStarted));
    let parameters = world.browser.dtls_parameters();
    world.peer.start_dtls(&parameters).expect("DTLS starts");
    world.run(Duration::from_secs(5));
    let _ = world.keys();
}

#[test]
fn a_handshake_from_an_address_that_ice_did_not_check_is_refused() {
    let mut world = World::new(Role::Recv, 7);
    let parameters = world.browser.dtls_parameters();
    world.peer.start_dtls(&parameters).expect("DTLS starts");
    // Another browser, elsewhere, whose ClientHello comes first.
    let mut stranger = World::new(Role::Recv, 8);
    stranger.browser.connect(stranger.now).expect("the browser starts");
    let parameters = stranger.browser.dtls_parameters();
    stranger.peer.start_dtls(&parameters).expect("DTLS starts");
    let (mut hello, elsewhere) = (None, "203.0.113.9:9".parse().expect("an address"));
    while hello.is_none() {
        stranger.collect();
        hello = stranger.wire.iter().find(|datagram| classify(&datagram.3) == PacketKind::Dtls).map(|datagram| datagram.3.clone());
        stranger.run(Duration::from_millis(5));
    }
    let hello = hello.expect("a ClientHello");
    assert_eq!(world.peer.handle_datagram(&hello, elsewhere, world.now), Err(PeerError::UnknownSource));
    world.browser.connect(world.now).expect("the browser starts");
    world.run(Duration::from_secs(3));
    let _ = world.keys();
}

#[test]
fn a_request_with_a_wrong_password_or_ufrag_teaches_nothing() {
    let mut world = World::new(Role::Recv, 9);
    let identity = identity();
    let mut other = IceCredentials::generate(7, &mut world.rng);
    other.ufrag = world.peer.credentials().ufrag.clone();
    let mut liar = FakeBrowser::new(Role::Recv, &options(&identity, &other), world.browser_address, world.now).expect("a browser");
    liar.connect(world.now).expect("the browser starts");
    let (_, request) = liar.poll_transmit().expect("a binding request");
    assert_eq!(local_ufrag(&request), Some(other.ufrag.as_str()));
    assert_eq!(world.peer.handle_datagram(&request, world.browser_address, world.now), Err(PeerError::Unauthenticated));
    assert!(world.peer.poll_output().is_none());
    assert!(world.peer.sources().is_empty());
    world.connect();
    let _ = world.keys();
}

#[test]
fn a_silent_browser_is_disconnected_after_the_consent_time_and_comes_back_with_its_keys() {
    let mut world = World::connected(Role::Send(Codec::Opus), 10);
    world.loss = 1.0;
    world.run(CONSENT - Duration::from_secs(4));
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Disconnected)), 0);
    world.run(Duration::from_secs(4));
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Disconnected)), 1);
    world.loss = 0.0;
    world.run(Duration::from_secs(5));
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Reconnected)), 1);
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Disconnected)), 1);
    let mut srtp = Inbound::new(&world.keys().0);
    world.media.clear();
    world.browser.send_frame(b"still here", world.now);
    world.run(Duration::from_millis(50));
    let spoken = world.media.iter().find(|bytes| classify(bytes) == PacketKind::Rtp).expect("a packet");
    srtp.unprotect_rtp(&mut packet(spoken)).expect("the same keys");
}

#[test]
fn a_browser_that_moves_takes_its_media_along() {
    let mut world = World::connected(Role::Recv, 11);
    let before = world.browser_address;
    world.browser_address = "198.51.100.7:61000".parse().expect("an address");
    world.run(Duration::from_secs(6));
    assert_eq!(world.peer.nominated(), Some(world.browser_address));
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Nominated(address) if *address == before)), 1);
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Disconnected)), 0);
    assert_eq!(world.peer.sources(), [before, world.browser_address]);
}

#[test]
fn a_peer_has_a_bounded_number_of_addresses() {
    let mut world = World::connected(Role::Recv, 12);
    let home = world.browser_address;
    let mut forgotten = 0;
    for port in 0..400_u16 {
        world.browser_address.set_port(20_000 + port);
        world.run(Duration::from_secs(4));
        forgotten = world.count(|output| matches!(output, PeerOutput::Forgotten(_)));
        assert!(world.peer.sources().len() <= 8);
    }
    assert_eq!(forgotten, 256 - 8);
    assert!(world.refused.contains(&PeerError::TooManySources));
    assert_ne!(world.peer.nominated(), Some(home));
}

#[test]
fn new_credentials_of_the_browser_are_learnt_without_signalling() {
    let mut world = World::connected(Role::Recv, 13);
    let same = ortc::ice_parameters(world.peer.credentials());
    world.browser.restart_ice(&same, world.now).expect("restarted");
    world.run(Duration::from_secs(30));
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Disconnected)), 0);
    assert!(world.refused.is_empty(), "{:?}", world.refused);
}

#[test]
fn a_goodbye_is_heard_both_ways() {
    let mut world = World::connected(Role::Recv, 14);
    world.browser.close();
    world.run(Duration::from_secs(1));
    assert_eq!(world.count(|output| matches!(output, PeerOutput::Closed)), 1);
    assert_eq!(world.peer.handle_datagram(b"\x16", world.browser_address, world.now), Err(PeerError::Closed));

    let mut world = World::connected(Role::Recv, 15);
    world.peer.close();
    world.run(Duration::from_secs(1));
    assert!(world.heard.iter().any(|event| matches!(event, BrowserEvent::Closed)));
    assert_eq!(world.peer.next_deadline(), None);
}

#[test]
fn no_bytes_of_a_stranger_or_of_a_vandal_on_the_path_panic_or_open_anything() {
    for seed in 0..24 {
        let mut world = World::new(Role::Send(Codec::Opus), seed);
        let parameters = world.browser.dtls_parameters();
        world.peer.start_dtls(&parameters).expect("DTLS starts");
        world.browser.connect(world.now).expect("the browser starts");
        for _ in 0..200 {
            world.run(Duration::from_millis(5));
            // A copy of something under way with a few bytes changed, cut or made longer.
            let copies: Vec<_> = world.wire.iter().filter(|datagram| datagram.1).map(|datagram| datagram.3.clone()).collect();
            for mut bytes in copies {
                for _ in 0..world.rng.random_range(1..6) {
                    let index = world.rng.random_range(0..bytes.len());
                    bytes[index] = world.rng.random();
                }
                let length = world.rng.random_range(0..=bytes.len() + 3);
                bytes.resize(length, 0xaa);
                // Spoofed, so that DTLS gets past the address check too.
                let _ = world.peer.handle_datagram(&bytes, world.browser_address, world.now);
            }
            // And noise that is shaped like STUN or DTLS.
            let mut noise = vec![0; world.rng.random_range(0..200)];
            world.rng.fill_bytes(&mut noise);
            if let Some(first) = noise.first_mut() {
                *first = [0, 1, 2, 20, 21, 22, 23, 25, 63][world.rng.random_range(0..9)];
            }
            let _ = world.peer.handle_datagram(&noise, world.browser_address, world.now);
        }
        assert!(world.count(|output| matches!(output, PeerOutput::Connected { .. })) <= 1);
        assert!(world.peer.sources().len() <= 1, "only the browser's own address");
    }
}

#[test]
fn a_handshake_survives_noise_from_elsewhere() {
    let mut world = World::new(Role::Recv, 16);
    let parameters = world.browser.dtls_parameters();
    world.peer.start_dtls(&parameters).expect("DTLS starts");
    world.browser.connect(world.now).expect("the browser starts");
    let elsewhere = "203.0.113.9:9".parse().expect("an address");
    for _ in 0..300 {
        world.run(Duration::from_millis(5));
        let copies: Vec<_> = world.wire.iter().filter(|datagram| datagram.1).map(|datagram| datagram.3.clone()).collect();
        for mut bytes in copies {
            bytes[30] ^= 1;
            let _ = world.peer.handle_datagram(&bytes, elsewhere, world.now);
        }
    }
    let _ = world.keys();
}
