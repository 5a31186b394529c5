//! Our SRTP against str0m's: both ways, every profile, with a network that reorders, repeats and forges.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nexus_gateway::net::{Packet, PacketKind, PacketPool, classify};
use nexus_gateway::srtp::{Inbound, MasterKey, Outbound, Profile, SrtpError};
use nexus_gateway::webrtc::{DtlsIdentity, IceCredentials, Peer, PeerOutput};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion, KeyingMaterial};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion, SrtpProfile};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RawPacket, RtpWrite, Ssrc, rtcp::Rtcp};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

const PACKETS: u64 = 200_000;
const BLOCK: u64 = 100;
const UP: u32 = 0x1111_1111;
const DOWN: u32 = 0x2222_2222;
const FIRST_SEQUENCE: u64 = 31_000;

fn here() -> SocketAddr {
    "192.0.2.1:40000".parse().expect("an address")
}

fn there() -> SocketAddr {
    "198.51.100.7:50000".parse().expect("an address")
}

/// DTLS that is up at once, with keys that the test knows.
#[derive(Debug)]
struct Scripted {
    material: Vec<u8>,
    profile: SrtpProfile,
}

#[derive(Debug)]
struct ScriptedDtls {
    outputs: VecDeque<Option<(Vec<u8>, SrtpProfile)>>,
    now: Instant,
}

impl DtlsProvider for Scripted {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(&self, _: &DtlsCert, now: Instant, _: DtlsVersion, _: Option<usize>) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(ScriptedDtls { outputs: [None, Some((self.material.clone(), self.profile))].into(), now }))
    }
}

impl DtlsInstance for ScriptedDtls {
    fn set_active(&mut self, _: bool) {}

    fn handle_packet(&mut self, _: &[u8]) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn poll_output<'a>(&mut self, _: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.outputs.pop_front() {
            Some(None) => DtlsOutput::Connected,
            Some(Some((material, profile))) => DtlsOutput::KeyingMaterial(KeyingMaterial::new(&material), profile),
            None => DtlsOutput::Timeout(self.now + Duration::from_secs(1 << 30)),
        }
    }

    fn handle_timeout(&mut self, _: Instant) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(data.len())
    }

    fn is_active(&self) -> bool {
        true
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        None
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        Ok(())
    }
}

/// str0m as the browser, with its SRTP up, and our SRTP with the same keys.
struct Pair {
    rtc: Rtc,
    inbound: Inbound,
    outbound: Outbound,
    now: Instant,
    sent: Vec<Vec<u8>>,
    received: Vec<u64>,
    reports: Vec<Rtcp>,
}

impl Pair {
    fn new(profile: Profile, rng: &mut ChaCha12Rng) -> Self {
        let material: Vec<u8> = (0..2 * (profile.key_length() + profile.salt_length())).map(|_| rng.random()).collect();
        let (client, server) = MasterKey::client_and_server(profile, &material).expect("keys");
        let profile = match profile {
            Profile::AeadAes256Gcm => SrtpProfile::AEAD_AES_256_GCM,
            Profile::AeadAes128Gcm => SrtpProfile::AEAD_AES_128_GCM,
            Profile::Aes128CmSha1_80 => SrtpProfile::AES128_CM_SHA1_80,
        };
        let provider: &'static Scripted = Box::leak(Box::new(Scripted { material, profile }));
        let crypto = CryptoProvider { dtls_provider: provider, ..str0m::crypto::from_feature_flags() };
        let now = Instant::now();
        let mut config = RtcConfig::new()
            .set_crypto_provider(crypto.into())
            .clear_codecs()
            .clear_extension_map()
            .set_rtp_mode(true)
            .enable_raw_packets(true)
            .set_stats_interval(None);
        let pcmu = Pt::new_with_value(0);
        config.codec_config().add_config(pcmu, None, Codec::PCMU, Frequency::EIGHT_KHZ, None, FormatParams::default());
        let mut rtc = config.build(now);
        // ICE needs somebody to answer: a peer of ours whose DTLS never starts.
        let credentials = IceCredentials::generate(1, rng);
        let mut api = rtc.direct_api();
        api.set_ice_controlling(true);
        api.set_remote_ice_credentials(IceCreds { ufrag: credentials.ufrag.clone(), pass: credentials.password.to_string() });
        api.declare_media("0".into(), MediaKind::Audio);
        api.declare_stream_tx(UP.into(), None, "0".into(), None);
        api.expect_stream_rx(DOWN.into(), None, "0".into(), None).suppress_nack(true);
        api.start_dtls(true).expect("DTLS");
        rtc.add_local_candidate(Candidate::host(there(), Protocol::Udp).expect("a candidate"));
        rtc.add_remote_candidate(Candidate::host(here(), Protocol::Udp).expect("a candidate"));
        let mut peer = Peer::new(&DtlsIdentity::generate().expect("an identity"), credentials, &[here()], now);
        let mut pair = Self {
            rtc,
            inbound: Inbound::new(&client),
            outbound: Outbound::new(&server),
            now,
            sent: Vec::new(),
            received: Vec::new(),
            reports: Vec::new(),
        };
        for _ in 0..200 {
            pair.advance(Duration::from_millis(10));
            for request in std::mem::take(&mut pair.sent) {
                if classify(&request) == PacketKind::Stun {
                    peer.handle_datagram(&request, there(), pair.now).expect("a valid request");
                }
            }
            while let Some(output) = peer.poll_output() {
                if let PeerOutput::Transmit { bytes, .. } = output {
                    pair.deliver(&bytes);
                }
            }
        }
        assert!(peer.nominated().is_some());
        pair
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.rtc.handle_input(Input::Timeout(self.now)).expect("time");
        self.drain();
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let receive = Receive::new(Protocol::Udp, here(), there(), bytes).expect("a datagram");
        self.rtc.handle_input(Input::Receive(self.now, receive)).expect("input");
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("output") {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => self.sent.push(transmit.contents.into()),
                Output::Event(Event::RtpPacket(packet)) => {
                    assert_eq!(packet.payload[..], payload(*packet.seq_no));
                    self.received.push(*packet.seq_no);
                }
                Output::Event(Event::RawPacket(raw)) => match *raw {
                    RawPacket::RtcpRx(report) => self.reports.push(report),
                    RawPacket::RtcpTx(_) | RawPacket::RtpTx(..) | RawPacket::RtpRx(..) => {}
                },
                Output::Event(_) => {}
            }
        }
    }
}

fn payload(sequence: u64) -> [u8; 20] {
    let mut payload = [0x5a; 20];
    payload[..8].copy_from_slice(&sequence.to_be_bytes());
    payload
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = PacketPool::new(0).take();
    assert!(packet.copy_from(bytes));
    packet
}

fn rtp(sequence: u64) -> Packet {
    let mut bytes = vec![0x80, 0];
    bytes.extend((sequence as u16).to_be_bytes());
    bytes.extend((sequence as u32).wrapping_mul(160).to_be_bytes());
    bytes.extend(DOWN.to_be_bytes());
    bytes.extend(payload(sequence));
    packet(&bytes)
}

/// Swaps neighbours within reach of any replay window.
fn reorder(packets: &mut [Vec<u8>], rng: &mut ChaCha12Rng) {
    packets.chunks_mut(8).for_each(|few| few.shuffle(rng));
}

fn forge(bytes: &[u8], rng: &mut ChaCha12Rng) -> Vec<u8> {
    let mut forged = bytes.to_vec();
    // Not the version and not the payload type: those make it another kind of datagram.
    let index = rng.random_range(2..forged.len());
    forged[index] ^= 1 << rng.random_range(0..8);
    forged
}

fn up(profile: Profile, packets: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let mut pair = Pair::new(profile, &mut rng);
    let (mut accepted, mut reports, mut replayed, mut forged) = (0, 0, 0, 0);
    let mut next = FIRST_SEQUENCE;
    while next < FIRST_SEQUENCE + packets {
        for sequence in next..next + BLOCK {
            let mut api = pair.rtc.direct_api();
            let stream = api.stream_tx(&Ssrc::from(UP)).expect("a stream");
            let time = (sequence as u32).wrapping_mul(160);
            stream.write_rtp(RtpWrite::new(Pt::new_with_value(0), sequence.into(), time, pair.now, payload(sequence)));
        }
        next += BLOCK;
        pair.advance(Duration::from_millis(20 * BLOCK));
        let sent = std::mem::take(&mut pair.sent);
        let (mut media, rest): (Vec<_>, Vec<_>) = sent.into_iter().partition(|bytes| classify(bytes) == PacketKind::Rtp);
        assert_eq!(media.len() as u64, BLOCK);
        reorder(&mut media, &mut rng);
        for bytes in &media {
            if rng.random_bool(0.05) {
                assert!(pair.inbound.unprotect_rtp(&mut packet(&forge(bytes, &mut rng))).is_err());
                forged += 1;
            }
            let mut packet = packet(bytes);
            pair.inbound.unprotect_rtp(&mut packet).expect("authentic");
            // str0m writes an empty header extension (RFC 8285 section 4.2), which stays outside of the encryption.
            assert_eq!(packet.bytes()[12..16], [0xbe, 0xde, 0, 0]);
            let sequence = u64::from_be_bytes(packet.bytes()[16..24].try_into().expect("eight bytes"));
            assert_eq!(packet.bytes()[2..4], (sequence as u16).to_be_bytes());
            assert_eq!(packet.bytes()[16..], payload(sequence));
            accepted += 1;
        }
        for bytes in media.iter().filter(|_| rng.random_bool(0.05)) {
            assert_eq!(pair.inbound.unprotect_rtp(&mut packet(bytes)), Err(SrtpError::Replayed));
            replayed += 1;
        }
        for bytes in rest.iter().filter(|bytes| classify(bytes) == PacketKind::Rtcp) {
            pair.inbound.unprotect_rtcp(&mut packet(bytes)).expect("authentic");
            assert_eq!(pair.inbound.unprotect_rtcp(&mut packet(bytes)), Err(SrtpError::Replayed));
            reports += 1;
        }
    }
    assert_eq!(accepted, packets);
    assert!(reports > 0 && replayed > packets / 40 && forged > packets / 40);
}

fn down(profile: Profile, packets: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(2);
    let mut pair = Pair::new(profile, &mut rng);
    let mut next = FIRST_SEQUENCE;
    while next < FIRST_SEQUENCE + packets {
        let protected = (next..next + BLOCK).map(|sequence| {
            let mut packet = rtp(sequence);
            pair.outbound.protect_rtp(&mut packet).expect("protected");
            packet.bytes().to_vec()
        });
        let mut media: Vec<_> = protected.collect();
        // str0m takes nothing from before the first packet that it saw.
        reorder(&mut media[usize::from(next == FIRST_SEQUENCE)..], &mut rng);
        next += BLOCK;
        for bytes in &media {
            if rng.random_bool(0.05) {
                pair.deliver(&forge(bytes, &mut rng));
            }
            pair.deliver(bytes);
            if rng.random_bool(0.05) {
                pair.deliver(bytes);
            }
        }
        pair.advance(Duration::from_millis(20 * BLOCK));
        pair.sent.clear();
    }
    // Each exactly once, and nothing that was not sent.
    pair.received.sort_unstable();
    assert!(pair.received.iter().copied().eq(FIRST_SEQUENCE..FIRST_SEQUENCE + packets), "{} packets", pair.received.len());
    // The index may not be used again, whatever the caller does.
    assert_eq!(pair.outbound.protect_rtp(&mut rtp(next - 1)), Err(SrtpError::IndexReused));
}

#[test]
fn aes_256_gcm_takes_200000_packets_of_another_implementation() {
    up(Profile::AeadAes256Gcm, PACKETS);
}

#[test]
fn aes_256_gcm_gives_200000_packets_to_another_implementation() {
    down(Profile::AeadAes256Gcm, PACKETS);
}

#[test]
fn aes_128_gcm_takes_200000_packets_of_another_implementation() {
    up(Profile::AeadAes128Gcm, PACKETS);
}

#[test]
fn aes_128_gcm_gives_200000_packets_to_another_implementation() {
    down(Profile::AeadAes128Gcm, PACKETS);
}

#[test]
fn aes_cm_takes_200000_packets_of_another_implementation() {
    up(Profile::Aes128CmSha1_80, PACKETS);
}

#[test]
fn aes_cm_gives_200000_packets_to_another_implementation() {
    down(Profile::Aes128CmSha1_80, PACKETS);
}

#[test]
fn our_reports_are_understood_by_another_implementation() {
    for profile in [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let mut pair = Pair::new(profile, &mut ChaCha12Rng::seed_from_u64(3));
        for jitter in 0..100_u32 {
            // A receiver report with one block (RFC 3550 section 6.4.2).
            let words = [0x81c9_0007, DOWN, UP, 0, FIRST_SEQUENCE as u32, jitter, 0, 0];
            let mut report = packet(&words.map(u32::to_be_bytes).concat());
            pair.outbound.protect_rtcp(&mut report).expect("protected");
            pair.deliver(report.bytes());
        }
        let jitters: Vec<_> = pair.reports.iter().filter_map(jitter).collect();
        assert!(jitters.iter().copied().eq(0..100), "{profile:?}: {jitters:?}");
    }
}

fn jitter(report: &Rtcp) -> Option<u32> {
    match report {
        Rtcp::ReceiverReport(report) => report.reports.iter().next().map(|block| block.jitter),
        _ => None,
    }
}
