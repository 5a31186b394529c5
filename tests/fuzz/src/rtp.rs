//! RTP, RTCP, digits and SRTP on bytes of anybody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nexus_gateway::net::{MAX_DATAGRAM, PacketPool};
use nexus_gateway::rtp::{
    DtmfReceiver, Header, NtpClock, ReceiverStats, Rewriter, Rtcp, RtcpWriter, SenderStats, event_of_tone, packets, tone_of_event,
};
use nexus_gateway::srtp::{Inbound, MasterKey, Outbound, Profile};

use crate::bytes::Bytes;

pub fn run(data: &[u8]) {
    header(data);
    rtcp(data);
    srtp(data);
    stream(Bytes(data));
}

fn header(data: &[u8]) {
    let Some(header) = Header::parse(data) else { return };
    assert!(header.payload.start >= 12 && header.payload.start <= header.payload.end && header.payload.end <= data.len());
    let again = Header::parse(&header.to_bytes()).expect("a header that we write");
    assert_eq!(Header { payload: header.payload.clone(), ..again }, header);
}

/// No more is read than there is, and a report that was read is written and read again as the same.
fn rtcp(data: &[u8]) {
    let mut read = 0;
    for packet in packets(data) {
        read += 1;
        assert!(4 * read <= data.len(), "more packets than there is room for");
        match packet {
            Rtcp::SenderReport { ssrc, info, blocks } => written_again(ssrc, Some(&info), &blocks.collect::<Vec<_>>()),
            Rtcp::ReceiverReport { ssrc, blocks } => written_again(ssrc, None, &blocks.collect::<Vec<_>>()),
            Rtcp::Bye(bye) => assert!(4 * bye.count() <= data.len()),
            Rtcp::Other(_) => {}
        }
    }
}

fn written_again(ssrc: u32, info: Option<&nexus_gateway::rtp::SenderInfo>, blocks: &[nexus_gateway::rtp::ReportBlock]) {
    assert!(blocks.len() < 32);
    let mut packet = PacketPool::new(0).take();
    assert!(RtcpWriter::report(&mut packet, ssrc, info, blocks).finish());
    let again: Vec<_> = match packets(packet.bytes()).next().expect("a report that we write") {
        Rtcp::SenderReport { ssrc: again, info: info_again, blocks } => {
            assert_eq!((again, Some(&info_again)), (ssrc, info));
            blocks.collect()
        }
        Rtcp::ReceiverReport { ssrc: again, blocks } => {
            assert_eq!((again, None), (ssrc, info));
            blocks.collect()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(again, blocks);
    let (start, mut stats) = (Instant::now(), SenderStats::default());
    let clock = NtpClock::new(start, std::time::SystemTime::UNIX_EPOCH);
    for block in blocks {
        stats.on_report_block(block, clock.at(start + Duration::from_secs(1)));
    }
}

/// Nothing forged is taken, and a forgery changes nothing: the genuine packet behind it still is.
fn srtp(data: &[u8]) {
    let mut pool = PacketPool::new(2);
    for profile in [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let key = MasterKey::new(profile, &[1; 32][..profile.key_length()], &[2; 14][..profile.salt_length()]).expect("a key");
        let (mut inbound, mut outbound) = (Inbound::new(&key), Outbound::new(&key));
        for (forge, protect) in [
            (Inbound::unprotect_rtp as fn(&mut _, &mut _) -> _, Outbound::protect_rtp as fn(&mut _, &mut _) -> _),
            (Inbound::unprotect_rtcp, Outbound::protect_rtcp),
        ] {
            let mut packet = pool.take();
            if !packet.copy_from(&data[..data.len().min(MAX_DATAGRAM)]) {
                return;
            }
            assert!(forge(&mut inbound, &mut packet).is_err(), "a forgery is taken");
            packet.copy_from(&data[..data.len().min(MAX_DATAGRAM)]);
            let plain = packet.bytes().to_vec();
            if protect(&mut outbound, &mut packet).is_ok() {
                assert!(packet.len() >= plain.len() + profile.tag_length());
                let copy = packet.bytes().to_vec();
                forge(&mut inbound, &mut packet).expect("the genuine packet is taken");
                assert_eq!(packet.bytes(), plain);
                packet.copy_from(&copy);
                assert!(forge(&mut inbound, &mut packet).is_err(), "a replay is taken");
            }
            pool.give_back(packet);
        }
    }
}

/// Whatever sources do, one stream with one SSRC goes out of it: no sequence number twice, and the payload untouched.
fn stream(mut bytes: Bytes<'_>) {
    let mut pool = PacketPool::new(1);
    let mut now = Instant::now();
    let mut rewriter = Rewriter::new(OUR_SSRC, 0x7ff0, u32::MAX - 100);
    rewriter.map(8_000, &[(0, 0), (8, 111), (101, 110)]);
    assert!(rewriter.set_mid(4, "0"));
    let (mut stats, mut digits) = (ReceiverStats::new(8_000), DtmfReceiver::new(8_000));
    // Which packet has each outgoing sequence number: a source's SSRC and sequence number, or one of ours.
    let mut given: HashMap<u16, (u32, u32)> = HashMap::new();
    for number in 0..PACKETS_MAX {
        let Some(kind) = bytes.next() else { break };
        now += Duration::from_millis(u64::from(kind) >> 3 << (kind & 7));
        let mut packet = pool.take();
        let (sent, source, payload) = match kind & 7 {
            0 => {
                rewriter.switch_source();
                continue;
            }
            1 => {
                let own = bytes.take(4).to_vec();
                let timestamp = rewriter.timestamp_at(now);
                (rewriter.make(&mut packet, false, 110, timestamp, &own, now), (OUR_SSRC, number << 16), own)
            }
            2 => {
                rewriter.map(if kind & 8 == 0 { 8_000 } else { 48_000 }, &[(kind >> 4, 0), (0, 0), (101, 110)]);
                continue;
            }
            _ => {
                let (first, length) = (bytes.byte(), bytes.byte());
                let mut raw = vec![0x80 | first & 0x3f];
                raw.extend_from_slice(bytes.take(1));
                // Few sources and close sequence numbers: what a stream is made of.
                raw.extend(bytes.word().to_be_bytes());
                raw.extend(bytes.word().to_be_bytes());
                raw.extend([0, bytes.byte(), 0, 0, 0, first >> 6]);
                raw.extend_from_slice(bytes.take(usize::from(length)));
                assert!(packet.copy_from(&raw));
                let Some(header) = Header::parse(packet.bytes()) else { continue };
                let payload = packet.bytes()[header.payload.clone()].to_vec();
                stats.on_packet(&header, now);
                if let Some(digit) = digits.on_packet(header.timestamp, &payload, now) {
                    let event = event_of_tone(digit.tone).expect("a tone");
                    assert_eq!(tone_of_event(event), Some(digit.tone));
                }
                (rewriter.rewrite(&mut packet, &header, now), (header.ssrc, u32::from(header.sequence)), payload)
            }
        };
        if let Ok(sent) = sent {
            let header = Header::parse(packet.bytes()).expect("a packet that we send");
            assert_eq!((header.ssrc, header.sequence, header.timestamp), (OUR_SSRC, sent.sequence, sent.timestamp));
            assert_eq!(packet.bytes()[header.payload], payload);
            assert_eq!(*given.entry(sent.sequence).or_insert(source), source, "sequence number {} is sent twice", sent.sequence);
        }
        pool.give_back(packet);
        let lost = stats.lost_fraction();
        assert!((0.0..=1.0).contains(&lost), "{lost}");
        if number % 4 == 3 {
            stats.report_block(now);
        }
    }
}

/// Fewer than sequence numbers can wrap with: each packet may leap ahead by 3000.
const PACKETS_MAX: u32 = 20;

const OUR_SSRC: u32 = 0xcafe_babe;
