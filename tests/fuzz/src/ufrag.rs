//! Username fragments, and STUN and DTLS into a browser transport: of strangers, and of a browser that knows the password but not the protocol.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use nexus_gateway::net::{PacketKind, classify};
use nexus_gateway::webrtc::credentials::{local_ufrag, slot_of};
use nexus_gateway::webrtc::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole};
use nexus_gateway::webrtc::{DtlsIdentity, IceCredentials, Peer, PeerOutput};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use crate::bytes::Bytes;

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && slot_of(text).is_some()
    {
        assert!(text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte)));
    }
    if let Some(ufrag) = local_ufrag(data) {
        assert_eq!(classify(data), PacketKind::Stun);
        assert!(!ufrag.contains(':') && data.windows(ufrag.len() + 1).any(|part| part == format!("{ufrag}:").as_bytes()));
    }
    transport(data);
}

/// Each step is a byte that says what comes and from where, a length and that many bytes.
fn transport(data: &[u8]) {
    let mut now = *START;
    let credentials = IceCredentials::generate(KEY, &mut ChaCha12Rng::seed_from_u64(1));
    assert_eq!(slot_of(&credentials.ufrag), Some(KEY));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, credentials.password.as_bytes());
    let username = format!("{}:remote", credentials.ufrag);
    let mut peer = Peer::new(&IDENTITY, credentials, &["192.0.2.1:10000".parse().expect("an address")], now);
    peer.handle_timeout(now);
    drain(&mut peer, &[]);
    let mut signed_from: Vec<SocketAddr> = Vec::new();
    let mut bytes = Bytes(data);
    while let Some(step) = bytes.next() {
        let from = SocketAddr::from(([198, 51, 100, step >> 4], 5000));
        let length = usize::from(bytes.byte());
        match step & 0x0f {
            0 => {
                let _ = peer.start_dtls(&browser());
            }
            1 => {
                now += Duration::from_millis(20) * bytes.word().into();
                peer.handle_timeout(now);
            }
            2 => peer.close(),
            3..=7 => {
                // What a stranger sends has no effect.
                let taken = peer.handle_datagram(bytes.take(length), from, now);
                if !signed_from.contains(&from) {
                    assert!(taken.is_err(), "a stranger's datagram is taken");
                    assert_eq!(drain(&mut peer, &signed_from), 0, "a stranger's datagram is answered");
                }
            }
            _ => {
                let request = signed(&username, step, bytes.take(length), &key);
                signed_from.push(from);
                let _ = peer.handle_datagram(&request, from, now);
            }
        }
        drain(&mut peer, &signed_from);
        assert!(peer.sources().len() <= SOURCES_AT_ONCE && peer.sources().iter().all(|source| signed_from.contains(source)));
        // str0m's clock must go on: a deadline that is not ahead would be a busy loop.
        assert!(peer.next_deadline().is_none_or(|at| at > now), "a deadline that is not ahead");
    }
    // A minute of whatever is due, then silence.
    let end = now + Duration::from_secs(60);
    let mut wakes = 0;
    while let Some(at) = peer.next_deadline().filter(|at| *at <= end) {
        peer.handle_timeout(at);
        drain(&mut peer, &signed_from);
        wakes += 1;
        assert!(wakes < 1_000, "a transport that does not come to rest");
    }
}

/// Takes what the peer says and counts what it sends: never to an address that has shown no password.
fn drain(peer: &mut Peer, signed_from: &[SocketAddr]) -> usize {
    let mut sent = 0;
    let mut said = 0;
    while let Some(output) = peer.poll_output() {
        said += 1;
        assert!(said < 64, "an endless answer");
        match output {
            PeerOutput::Transmit { to, bytes } => {
                assert!(signed_from.contains(&to), "a datagram to a stranger");
                assert!(bytes.len() <= 1_500);
                sent += 1;
            }
            PeerOutput::Connected { .. } => panic!("connected without the browser's certificate"),
            _ => {}
        }
    }
    sent
}

/// A binding request with the right password and these attributes.
fn signed(username: &str, step: u8, attributes: &[u8], key: &hmac::Key) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend([step; 12]);
    message.extend([0, 6, 0, username.len() as u8]);
    message.extend(username.as_bytes());
    message.resize(message.len().next_multiple_of(4), 0);
    message.extend(attributes);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let tag = hmac::sign(key, &message);
    message.extend([0, 8, 0, 20]);
    message.extend(tag.as_ref());
    message
}

fn browser() -> DtlsParameters {
    let value = ["AB"; 32].join(":");
    DtlsParameters { role: DtlsRole::Client, fingerprints: vec![DtlsFingerprint { algorithm: "sha-256".to_owned(), value }] }
}

static IDENTITY: LazyLock<DtlsIdentity> = LazyLock::new(|| DtlsIdentity::generate().expect("a certificate"));
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const KEY: u64 = 0x0000_0003_0000_0007;

/// What the transport itself allows.
const SOURCES_AT_ONCE: usize = 8;
