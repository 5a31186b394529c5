//! Two live browsers and a gateway of the fewest lines, over real sockets on loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use nexus_gateway::ids::TransportId;
use nexus_gateway::net::{Packet, PacketKind, PacketPool, classify};
use nexus_gateway::srtp::{Inbound, Outbound};
use nexus_gateway::webrtc::credentials::{local_ufrag, slot_of};
use nexus_gateway::webrtc::ortc::{self, TransportOptions};
use nexus_gateway::webrtc::{DtlsIdentity, IceCredentials, Peer, PeerOutput};
use nexus_harness::browser::{BrowserEvent, Role};
use nexus_harness::live::LiveBrowser;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CONSUMER: u32 = 0xc0ffee;

/// Slot 0 speaks, slot 1 hears it.
struct Gateway {
    socket: UdpSocket,
    peers: [Peer; 2],
    by_address: HashMap<SocketAddr, usize>,
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
    hears_at: Option<SocketAddr>,
}

impl Gateway {
    fn run(mut self, stop: &AtomicBool) {
        self.socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a time-out");
        let mut packet = PacketPool::new(0).take();
        while !stop.load(Ordering::Relaxed) {
            if let Ok((length, from)) = self.socket.recv_from(packet.receive_room()) {
                packet.set_received(length);
                self.on_datagram(&mut packet, from);
            }
            for slot in 0..2 {
                let now = Instant::now();
                if self.peers[slot].next_deadline().is_some_and(|at| at <= now) {
                    self.peers[slot].handle_timeout(now);
                }
                self.drain(slot);
            }
        }
    }

    fn on_datagram(&mut self, packet: &mut Packet, from: SocketAddr) {
        let known = self.by_address.get(&from).copied();
        match classify(packet.bytes()) {
            PacketKind::Stun | PacketKind::Dtls => {
                let first_contact = || local_ufrag(packet.bytes()).and_then(slot_of).map(|key| key as usize);
                if let Some(slot) = known.or_else(first_contact) {
                    let _ = self.peers[slot].handle_datagram(packet.bytes(), from, Instant::now());
                }
            }
            PacketKind::Rtp if known == Some(0) => {
                let (Some(inbound), Some(outbound), Some(to)) = (&mut self.inbound, &mut self.outbound, self.hears_at) else { return };
                inbound.unprotect_rtp(packet).expect("authentic");
                packet.bytes_mut()[8..12].copy_from_slice(&CONSUMER.to_be_bytes());
                outbound.protect_rtp(packet).expect("protected");
                self.socket.send_to(packet.bytes(), to).expect("sent");
            }
            PacketKind::Rtp | PacketKind::Rtcp | PacketKind::Unknown => {}
        }
    }

    fn drain(&mut self, slot: usize) {
        while let Some(output) = self.peers[slot].poll_output() {
            match output {
                PeerOutput::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to)),
                PeerOutput::Validated(address) => drop(self.by_address.insert(address, slot)),
                PeerOutput::Forgotten(address) => drop(self.by_address.remove(&address)),
                PeerOutput::Nominated(address) if slot == 1 => self.hears_at = Some(address),
                PeerOutput::Connected { inbound, .. } if slot == 0 => self.inbound = Some(Inbound::new(&inbound)),
                PeerOutput::Connected { outbound, .. } => self.outbound = Some(Outbound::new(&outbound)),
                PeerOutput::Nominated(_) | PeerOutput::Disconnected | PeerOutput::Reconnected | PeerOutput::Closed | PeerOutput::Failed => {
                }
            }
        }
    }
}

#[test]
fn one_live_browser_hears_another() {
    let identity = DtlsIdentity::generate().expect("an identity");
    let socket = UdpSocket::bind((LOOPBACK, 0)).expect("a socket");
    let address = socket.local_addr().expect("an address");
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let credentials = [IceCredentials::generate(0, &mut rng), IceCredentials::generate(1, &mut rng)];
    let start = |role: Role, credentials: &IceCredentials| {
        let options = TransportOptions {
            id: TransportId(uuid::Uuid::nil()),
            ice_parameters: ortc::ice_parameters(credentials),
            ice_candidates: ortc::ice_candidates(&[address]),
            dtls_parameters: identity.parameters(),
            ice_servers: Vec::new(),
            ice_transport_policy: None,
        };
        let browser = LiveBrowser::start(role, &options, LOOPBACK).expect("a browser");
        let mut peer = Peer::new(&identity, credentials.clone(), &[address], Instant::now());
        peer.start_dtls(browser.dtls_parameters()).expect("DTLS starts");
        (browser, peer)
    };
    let (speaker, speaks) = start(Role::Send(Codec::Pcmu), &credentials[0]);
    let (listener, hears) = start(Role::Recv, &credentials[1]);
    let peers = [speaks, hears];
    let gateway = Gateway { socket, peers, by_address: HashMap::new(), inbound: None, outbound: None, hears_at: None };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| gateway.run(&stop));
        listener.consume(ortc::consumer_parameters("0", CONSUMER, "gateway"));
        speaker.connect();
        listener.connect();
        let connected = [&speaker, &listener].map(|browser| browser.wait_connected(Duration::from_secs(10)));
        speaker.play(Box::new(|number| vec![number as u8; 160]));
        let heard: Vec<_> = std::iter::from_fn(|| listener.event(Duration::from_secs(5)))
            .filter_map(|event| match event {
                BrowserEvent::Rtp(rtp) => Some((rtp.payload_type, rtp.payload.len(), rtp.payload[0])),
                BrowserEvent::Connected | BrowserEvent::IceDisconnected | BrowserEvent::Closed | BrowserEvent::Broken(_) => None,
            })
            .take(25)
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(connected, [true, true]);
        assert!(heard.iter().all(|&(payload_type, length, _)| (payload_type, length) == (0, 160)));
        let first = heard[0].2;
        assert!(heard.iter().map(|frame| frame.2).eq(first..first + 25), "{heard:?}");
        assert!(speaker.stats().expect("alive").packets_sent >= 25);
    });
}
