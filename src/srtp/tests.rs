//! Both halves against each other and against libsrtp's reference packets.

use super::*;
use crate::net::{Packet, PacketPool};

const PROFILES: [Profile; 3] = [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

fn master(profile: Profile) -> MasterKey {
    let bytes: Vec<u8> = (1..=46).collect();
    MasterKey::new(profile, &bytes[..profile.key_length()], &bytes[32..32 + profile.salt_length()]).unwrap()
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = PacketPool::new(0).take();
    assert!(packet.copy_from(bytes));
    packet
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 111];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(960u32.wrapping_mul(u32::from(sequence)).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend((0..160).map(|n: u8| n ^ sequence as u8));
    bytes
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 200, 0, 6];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([7; 20]);
    bytes
}

fn reference_key() -> MasterKey {
    let key = hex::decode("e1f97a0d3e018be0d64fa32c06de4139").unwrap();
    let salt = hex::decode("0ec675ad498afeebb6960b3aabe6").unwrap();
    MasterKey::new(Profile::Aes128CmSha1_80, &key, &salt).unwrap()
}

#[test]
fn aes_cm_packets_are_those_of_libsrtp() {
    let mut sent = packet(&hex::decode("800f1234decafbadcafebabeabababababababababababababababab").unwrap());
    Outbound::new(&reference_key()).protect_rtp(&mut sent).unwrap();
    assert_eq!(hex::encode(sent.bytes()), "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    Inbound::new(&reference_key()).unprotect_rtp(&mut sent).unwrap();
    assert_eq!(hex::encode(sent.bytes()), "800f1234decafbadcafebabeabababababababababababababababab");

    let mut report = packet(&hex::decode("81c8000bcafebabeabababababababababababababababab").unwrap());
    Outbound::new(&reference_key()).protect_rtcp(&mut report).unwrap();
    assert_eq!(hex::encode(report.bytes()), "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798");
    Inbound::new(&reference_key()).unprotect_rtcp(&mut report).unwrap();
    assert_eq!(hex::encode(report.bytes()), "81c8000bcafebabeabababababababababababababababab");
}

#[test]
fn what_one_half_protects_the_other_takes_back_across_the_sequence_wrap() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = (Outbound::new(&master(profile)), Inbound::new(&master(profile)));
        for n in 0..150_000u32 {
            let plain = rtp(5, n.wrapping_add(32_000) as u16);
            let mut sent = packet(&plain);
            outbound.protect_rtp(&mut sent).unwrap();
            assert_eq!(sent.len(), plain.len() + profile.tag_length());
            assert_ne!(sent.bytes()[12..172], plain[12..]);
            inbound.unprotect_rtp(&mut sent).unwrap();
            assert_eq!(sent.bytes(), plain);
        }
    }
}

#[test]
fn rtcp_makes_the_way_there_and_is_taken_once() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = (Outbound::new(&master(profile)), Inbound::new(&master(profile)));
        for _ in 0..300 {
            let mut sent = packet(&rtcp(9));
            outbound.protect_rtcp(&mut sent).unwrap();
            assert_eq!(sent.len(), 28 + profile.tag_length() + 4);
            let mut replay = packet(sent.bytes());
            inbound.unprotect_rtcp(&mut sent).unwrap();
            assert_eq!(sent.bytes(), rtcp(9));
            assert_eq!(inbound.unprotect_rtcp(&mut replay), Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn reordered_packets_are_taken_and_replayed_ones_are_not() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = (Outbound::new(&master(profile)), Inbound::new(&master(profile)));
        let mut sent: Vec<Packet> = (0..100).map(|n| packet(&rtp(5, n))).collect();
        sent.iter_mut().for_each(|packet| outbound.protect_rtp(packet).unwrap());
        sent.reverse();
        for sent in &sent {
            assert_eq!(inbound.unprotect_rtp(&mut packet(sent.bytes())), Ok(()));
        }
        for sent in &sent {
            assert_eq!(inbound.unprotect_rtp(&mut packet(sent.bytes())), Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn a_forgery_is_refused_and_changes_nothing() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = (Outbound::new(&master(profile)), Inbound::new(&master(profile)));
        let mut sent = packet(&rtp(5, 100));
        outbound.protect_rtp(&mut sent).unwrap();
        for bit in 0..sent.len() * 8 {
            let mut forged = packet(sent.bytes());
            forged.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
            assert!(inbound.unprotect_rtp(&mut forged).is_err());
        }
        // Far ahead, to move the window; and from thousands of streams, to fill the table.
        for n in 0..5000 {
            let mut forged = packet(sent.bytes());
            forged.bytes_mut()[2..4].copy_from_slice(&(n as u16 + 200).to_be_bytes());
            forged.bytes_mut()[8..12].copy_from_slice(&(5 + n / 100 * 77u32).to_be_bytes());
            assert_eq!(inbound.unprotect_rtp(&mut forged), Err(SrtpError::Authentication));
        }
        assert_eq!(inbound.unprotect_rtp(&mut sent), Ok(()));

        let mut report = packet(&rtcp(5));
        outbound.protect_rtcp(&mut report).unwrap();
        for bit in 0..report.len() * 8 {
            let mut forged = packet(report.bytes());
            forged.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
            assert!(inbound.unprotect_rtcp(&mut forged).is_err());
        }
        assert_eq!(inbound.unprotect_rtcp(&mut report), Ok(()));
    }
}

#[test]
fn a_header_with_csrcs_and_an_extension_stays_readable_and_is_authenticated() {
    for profile in PROFILES {
        let mut plain = vec![0x92, 111, 0, 7, 0, 0, 0, 1, 0, 0, 0, 5];
        plain.extend([1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 0x10, b'0', 0, 0]);
        plain.extend(b"speech");
        let mut sent = packet(&plain);
        Outbound::new(&master(profile)).protect_rtp(&mut sent).unwrap();
        assert_eq!(sent.bytes()[..28], plain[..28]);
        assert_ne!(sent.bytes()[28..34], plain[28..]);
        Inbound::new(&master(profile)).unprotect_rtp(&mut sent).unwrap();
        assert_eq!(sent.bytes(), plain);
    }
}

#[test]
fn a_transmit_index_is_never_used_twice() {
    let mut outbound = Outbound::new(&master(Profile::AeadAes256Gcm));
    for sequence in [1000, 1002, 1001, 2000] {
        assert_eq!(outbound.protect_rtp(&mut packet(&rtp(5, sequence))), Ok(()));
    }
    for sequence in [2000, 1872, 1001, 1000, 0] {
        assert_eq!(outbound.protect_rtp(&mut packet(&rtp(5, sequence))), Err(SrtpError::IndexReused));
    }
    // Before the very first index there is none.
    assert_eq!(outbound.protect_rtp(&mut packet(&rtp(5, 60_000))), Err(SrtpError::IndexReused));
    assert_eq!(outbound.protect_rtp(&mut packet(&rtp(6, 2000))), Ok(()));
}

#[test]
fn no_transmit_stream_is_forgotten_to_make_room() {
    let mut outbound = Outbound::new(&master(Profile::AeadAes128Gcm));
    for ssrc in 0..STREAMS as u32 {
        outbound.protect_rtp(&mut packet(&rtp(ssrc, 1))).unwrap();
    }
    assert_eq!(outbound.protect_rtp(&mut packet(&rtp(99, 1))), Err(SrtpError::TooManyStreams));
    assert_eq!(outbound.protect_rtp(&mut packet(&rtp(0, 1))), Err(SrtpError::IndexReused));
}

#[test]
fn a_peer_that_makes_a_stream_for_each_call_is_heard_all_day() {
    let (mut outbound, mut inbound) = (Outbound::new(&master(Profile::AeadAes128Gcm)), Inbound::new(&master(Profile::AeadAes128Gcm)));
    for ssrc in 0..100 {
        if ssrc % STREAMS as u32 == 0 {
            outbound = Outbound::new(&master(Profile::AeadAes128Gcm));
        }
        for sequence in 0..3 {
            let mut sent = packet(&rtp(ssrc, sequence));
            outbound.protect_rtp(&mut sent).unwrap();
            assert_eq!(inbound.unprotect_rtp(&mut sent), Ok(()));
        }
    }
}

#[test]
fn garbage_of_every_length_is_an_error() {
    for profile in PROFILES {
        let mut inbound = Inbound::new(&master(profile));
        let mut outbound = Outbound::new(&master(profile));
        for length in 0..120 {
            for first in [0x00, 0x80, 0x8f, 0x9f, 0xb0] {
                let mut bytes = vec![0xff; length];
                if let Some(byte) = bytes.first_mut() {
                    *byte = first;
                }
                assert!(inbound.unprotect_rtp(&mut packet(&bytes)).is_err());
                assert!(inbound.unprotect_rtcp(&mut packet(&bytes)).is_err());
                // Our own packets are never this broken, but it must not panic either.
                let _ = outbound.protect_rtp(&mut packet(&bytes));
                let _ = outbound.protect_rtcp(&mut packet(&bytes));
            }
        }
    }
}

#[test]
fn the_exporter_output_is_cut_as_rfc_5764_says() {
    let exported: Vec<u8> = (0..60).collect();
    let (client, server) = MasterKey::client_and_server(Profile::Aes128CmSha1_80, &exported).unwrap();
    assert_eq!(client, MasterKey::new(Profile::Aes128CmSha1_80, &exported[..16], &exported[32..46]).unwrap());
    assert_eq!(server, MasterKey::new(Profile::Aes128CmSha1_80, &exported[16..32], &exported[46..60]).unwrap());
    assert_eq!(MasterKey::client_and_server(Profile::AeadAes256Gcm, &exported), None);
}

#[test]
fn a_key_does_not_print_itself() {
    assert_eq!(format!("{:?}", master(Profile::AeadAes256Gcm)), "MasterKey(AeadAes256Gcm)");
}
