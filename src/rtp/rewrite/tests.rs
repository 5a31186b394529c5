use super::*;
use crate::net::PacketPool;

const OUT: u32 = 0xaaaa_bbbb;

/// A rewriter for Opus and G.711, and the packets of a source that sends 20 ms of audio each.
struct Bench {
    rewriter: Rewriter,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut rewriter = Rewriter::new(OUT, 0xffff, u32::MAX - 100);
        rewriter.map(8_000, &[(0, 8), (101, 110)]);
        Self { rewriter, now: Instant::now() }
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn send(&mut self, ssrc: u32, sequence: u16, timestamp: u32, marker: bool) -> Result<Header, RewriteError> {
        self.send_bytes(&bytes(&Header { marker, payload_type: 0, sequence, timestamp, ssrc, payload: 0..0 }))
    }

    fn send_bytes(&mut self, bytes: &[u8]) -> Result<Header, RewriteError> {
        let mut packet = PacketPool::new(0).take();
        assert!(packet.copy_from(bytes));
        let header = Header::parse(packet.bytes()).unwrap();
        let sent = self.rewriter.rewrite(&mut packet, &header, self.now)?;
        let out = Header::parse(packet.bytes()).unwrap();
        assert_eq!((out.ssrc, out.sequence, out.timestamp), (OUT, sent.sequence, sent.timestamp));
        assert_eq!(&packet.bytes()[out.payload.clone()], b"speech");
        Ok(out)
    }

    fn make(&mut self, timestamp: u32) -> Header {
        let mut packet = PacketPool::new(0).take();
        self.rewriter.make(&mut packet, true, 110, timestamp, &[5, 10, 0, 160], self.now).unwrap();
        let header = Header::parse(packet.bytes()).unwrap();
        assert_eq!(&packet.bytes()[header.payload.clone()], [5, 10, 0, 160]);
        header
    }
}

fn bytes(header: &Header) -> Vec<u8> {
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(b"speech");
    bytes
}

#[test]
fn the_stream_begins_where_it_was_told_below_the_middle_of_the_sequence_numbers() {
    let out = Bench::new().send(5, 40_000, 7, false).unwrap();
    assert_eq!((out.sequence, out.timestamp, out.marker, out.payload_type), (0x7fff, u32::MAX - 100, true, 8));
}

#[test]
fn gaps_and_disorder_of_the_source_stay_as_they_are_across_both_wraps() {
    let mut bench = Bench::new();
    let (first, steps) = (bench.send(5, 65_534, 0, false).unwrap(), [1u16, 2, 5, 4, 3, 300, 299, 400]);
    for step in steps {
        let out = bench.at(20).send(5, 65_534u16.wrapping_add(step), u32::from(step) * 160, false);
        let out = out.unwrap();
        assert_eq!(out.sequence, first.sequence + step);
        assert_eq!(out.timestamp, first.timestamp.wrapping_add(u32::from(step) * 160));
    }
}

#[test]
fn a_new_source_goes_on_with_the_next_number_and_the_time_that_has_passed() {
    let mut bench = Bench::new();
    bench.send(5, 100, 1000, false).unwrap();
    let last = bench.at(20).send(5, 101, 1160, false).unwrap();
    let out = bench.at(500).send(6, 9, 77_777, false).unwrap();
    assert_eq!((out.sequence, out.timestamp, out.marker), (last.sequence + 1, last.timestamp.wrapping_add(4000), true));
    let next = bench.at(20).send(6, 10, 77_937, false).unwrap();
    assert_eq!((next.sequence, next.timestamp, next.marker), (out.sequence + 1, out.timestamp.wrapping_add(160), false));
    // A switch in the same instant still leaves a packet's time.
    let back = bench.send(5, 500, 1, false).unwrap();
    assert_eq!((back.sequence, back.timestamp), (next.sequence + 1, next.timestamp.wrapping_add(160)));
}

#[test]
fn packets_of_before_the_switch_do_not_take_the_place_of_sent_ones() {
    let mut bench = Bench::new();
    bench.send(5, 100, 1000, false).unwrap();
    bench.rewriter.switch_source();
    let out = bench.at(200).send(5, 110, 2600, false).unwrap();
    assert_eq!(bench.send(5, 109, 2440, false), Err(RewriteError::Late));
    assert_eq!(bench.at(20).send(5, 111, 2760, false).unwrap().sequence, out.sequence + 1);
}

#[test]
fn another_clock_goes_on_in_its_own_units() {
    let mut bench = Bench::new();
    let last = bench.send(5, 100, 1000, false).unwrap();
    bench.rewriter.map(48_000, &[(0, 111)]);
    let out = bench.at(20).send(5, 101, 5, false).unwrap();
    assert_eq!((out.sequence, out.timestamp, out.payload_type), (last.sequence + 1, last.timestamp.wrapping_add(960), 111));
    assert_eq!(bench.at(20).send(5, 102, 965, false).unwrap().timestamp, out.timestamp.wrapping_add(960));
    // The same clock again changes nothing.
    bench.rewriter.map(48_000, &[(0, 112)]);
    let out = bench.at(20).send(5, 104, 2885, false).unwrap();
    assert_eq!((out.sequence, out.payload_type), (last.sequence + 4, 112));
}

#[test]
fn a_source_that_starts_anew_under_its_old_ssrc_is_followed_from_its_second_packet() {
    let mut bench = Bench::new();
    let last = bench.send(5, 100, 1000, false).unwrap();
    assert_eq!(bench.at(20).send(5, 30_000, 9_000_000, false), Err(RewriteError::Leap));
    let out = bench.at(20).send(5, 30_001, 9_000_160, false).unwrap();
    assert_eq!((out.sequence, out.timestamp, out.marker), (last.sequence + 1, last.timestamp.wrapping_add(320), true));
}

#[test]
fn a_single_stray_packet_does_not_move_the_stream() {
    let mut bench = Bench::new();
    let last = bench.send(5, 1000, 1000, false).unwrap();
    assert_eq!(bench.send(5, 800, 1000, false), Err(RewriteError::Leap));
    assert_eq!(bench.at(20).send(5, 1001, 1160, false).unwrap().sequence, last.sequence + 1);
    assert_eq!(bench.send(5, 801, 1000, false), Err(RewriteError::Leap));
}

#[test]
fn a_timestamp_that_leaps_while_the_sequence_goes_on_is_smoothed() {
    let mut bench = Bench::new();
    let last = bench.send(5, 100, 1000, false).unwrap();
    let out = bench.at(20).send(5, 101, 3_000_000_000, false).unwrap();
    assert_eq!((out.sequence, out.timestamp, out.marker), (last.sequence + 1, last.timestamp.wrapping_add(160), true));
    let out = bench.at(20).send(5, 102, 3_000_000_160, false).unwrap();
    assert_eq!((out.timestamp, out.marker), (last.timestamp.wrapping_add(320), false));
    // A long silence that time confirms is none.
    let out = bench.at(60_000).send(5, 103, 3_000_000_160 + 480_000, false).unwrap();
    assert_eq!(out.timestamp, last.timestamp.wrapping_add(480_320));
}

#[test]
fn a_marker_on_every_packet_becomes_one_marker() {
    let mut bench = Bench::new();
    let marked = |n: u16| bench.at(20).send(5, n, u32::from(n) * 160, true).unwrap().marker;
    assert_eq!((0..6).map(marked).collect::<Vec<_>>(), [true, false, false, false, false, false]);
    bench.at(20).send(5, 6, 960, false).unwrap();
    assert!(bench.at(20).send(5, 7, 8000, true).unwrap().marker);
}

#[test]
fn digits_take_numbers_of_their_own_and_the_audio_goes_on_behind_them_in_time() {
    let mut bench = Bench::new();
    let last = bench.send(5, 100, 1000, false).unwrap();
    bench.at(20);
    let at = bench.rewriter.timestamp_at(bench.now);
    assert_eq!(at, last.timestamp.wrapping_add(160));
    let events: Vec<Header> = (0..5).map(|_| bench.at(20).make(at)).collect();
    assert_eq!(events.iter().map(|event| event.sequence - last.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(events.iter().all(|event| event.timestamp == at && event.payload_type == 110));
    // The event took its time: a second one would not overlap it.
    assert_eq!(bench.rewriter.timestamp_at(bench.now), at.wrapping_add(4 * 160));
    // Six packets of audio were held back meanwhile: no gap, but the right time.
    let out = bench.at(20).send(5, 107, 1000 + 7 * 160, false).unwrap();
    assert_eq!((out.sequence, out.timestamp), (last.sequence + 6, last.timestamp.wrapping_add(7 * 160)));
    assert_eq!(bench.send(5, 106, 1960, false), Err(RewriteError::Late));
    assert_eq!(bench.at(20).send(5, 109, 1000 + 9 * 160, false).unwrap().sequence, last.sequence + 8);
}

#[test]
fn only_negotiated_payload_types_pass() {
    let mut bench = Bench::new();
    let header = Header { marker: false, payload_type: 101, sequence: 1, timestamp: 1, ssrc: 5, payload: 0..0 };
    assert_eq!(bench.send_bytes(&bytes(&header)).unwrap().payload_type, 110);
    assert_eq!(bench.send_bytes(&bytes(&Header { payload_type: 13, ..header })), Err(RewriteError::UnknownPayloadType));
}

#[test]
fn csrcs_extensions_and_padding_are_dropped_and_the_mid_is_put_in() {
    for mid in [None, Some("0"), Some("audio"), Some("sixteen-letters!")] {
        let mut bench = Bench::new();
        if let Some(mid) = mid {
            assert!(bench.rewriter.set_mid(1, mid));
        }
        let mut plain = bytes(&Header { marker: false, payload_type: 0, sequence: 1, timestamp: 1, ssrc: 5, payload: 0..0 });
        bench.send_bytes(&plain).unwrap();
        plain.splice(12..12, [1, 1, 1, 1, 2, 2, 2, 2, 0x12, 0x34, 0, 1, 9, 9, 9, 9]);
        plain[0] = 0x80 | 0x20 | 0x10 | 2;
        plain[3] = 2;
        plain.extend([0, 0, 0, 4]);
        let mut packet = PacketPool::new(0).take();
        assert!(packet.copy_from(&plain));
        let header = Header::parse(packet.bytes()).unwrap();
        bench.rewriter.rewrite(&mut packet, &header, bench.now).unwrap();
        let Some(mid) = mid else {
            assert_eq!((packet.len(), packet.bytes()[0]), (12 + 6, 0x80));
            continue;
        };
        let bytes = packet.bytes();
        assert_eq!((bytes[0], &bytes[12..14], bytes[16]), (0x90, &[0xbe, 0xde][..], 0x10 | (mid.len() - 1) as u8));
        assert_eq!(&bytes[17..17 + mid.len()], mid.as_bytes());
        assert!(bytes.ends_with(b"speech"));
    }
    assert!(!Bench::new().rewriter.set_mid(15, "0"));
    assert!(!Bench::new().rewriter.set_mid(1, ""));
    assert!(!Bench::new().rewriter.set_mid(1, "seventeen letters"));
}

#[test]
fn whatever_a_source_does_no_number_is_sent_twice_and_none_goes_back_far() {
    // Sources that leap, lose, switch and pause, from a fixed seed.
    let mut bench = Bench::new();
    let (mut random, mut sequence, mut ssrc, mut highest) = (1u64, 0u16, 5u32, None::<u16>);
    for _ in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match random >> 60 {
            0 => ssrc = 5 + (random >> 40) as u32 % 3,
            1 => sequence = sequence.wrapping_add(200 + (random >> 30) as u16 % 60_000),
            2 => sequence = sequence.wrapping_add((random >> 30) as u16 % 50),
            3 => bench.rewriter.switch_source(),
            4 => {
                bench.make(7);
                highest = None;
            }
            _ => {}
        }
        sequence = sequence.wrapping_add(1);
        if let Ok(out) = bench.at(20).send(ssrc, sequence, u32::from(sequence) * 160, false) {
            if let Some(highest) = highest {
                let step = out.sequence.wrapping_sub(highest) as i16;
                assert!((1..=3000).contains(&step), "{step}");
            }
            highest = Some(out.sequence);
        }
    }
}
