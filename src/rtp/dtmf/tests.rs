use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Plays until nothing is left, jumping from deadline to deadline; each packet with its time since `start`.
fn play(sender: &mut DtmfSender, start: Instant) -> Vec<(Duration, DtmfPacket)> {
    let (mut played, mut now) = (Vec::new(), start);
    while let Some(at) = sender.next_deadline(now) {
        now = now.max(at);
        let timestamp = in_clock(now - start, sender.clock);
        while let Some(packet) = sender.poll(now, timestamp) {
            played.push((now - start, packet));
        }
    }
    played
}

fn duration(packet: &DtmfPacket) -> u16 {
    u16::from_be_bytes([packet.payload[2], packet.payload[3]])
}

#[test]
fn one_digit_is_marked_once_grows_every_20_ms_and_ends_three_times() {
    let (mut sender, start) = (DtmfSender::new(8_000), Instant::now());
    sender.enqueue("5", MS(100), MS(70)).unwrap();
    assert!(!sender.is_playing());
    let played = play(&mut sender, start);
    assert_eq!(played.iter().map(|(at, _)| at.as_millis()).collect::<Vec<_>>(), [0, 20, 40, 60, 80, 100, 120]);
    assert_eq!(played.iter().map(|(_, packet)| duration(packet)).collect::<Vec<_>>(), [160, 320, 480, 640, 800, 800, 800]);
    assert_eq!(played.iter().map(|(_, packet)| packet.payload[1]).collect::<Vec<_>>(), [10, 10, 10, 10, 138, 138, 138]);
    assert!(played.iter().all(|(_, packet)| packet.payload[0] == 5 && packet.timestamp == 0));
    assert_eq!(played.iter().filter(|(_, packet)| packet.marker).count(), 1);
    assert!(played[0].1.marker && sender.is_idle());
}

#[test]
fn digits_follow_each_other_with_the_gap_and_the_comma_waits_two_seconds() {
    let (mut sender, start) = (DtmfSender::new(8_000), Instant::now());
    sender.enqueue("1,#d", MS(100), MS(70)).unwrap();
    let starts: Vec<(u128, u8)> = play(&mut sender, start)
        .iter()
        .filter(|(_, packet)| packet.marker)
        .map(|(at, packet)| (at.as_millis(), packet.payload[0]))
        .collect();
    assert_eq!(starts, [(0, 1), (190 + 2000, 11), (190 + 2000 + 190, 15)]);
}

#[test]
fn what_is_no_tone_or_does_not_fit_is_refused_whole() {
    let mut sender = DtmfSender::new(8_000);
    assert_eq!(sender.enqueue("12e", MS(100), MS(70)), Err(DtmfError::NotATone));
    assert_eq!(sender.enqueue("", MS(100), MS(70)), Err(DtmfError::NotATone));
    assert!(sender.is_idle());
    sender.enqueue(&"1".repeat(DTMF_QUEUE - 1), MS(100), MS(70)).unwrap();
    assert_eq!(sender.enqueue("12", MS(100), MS(70)), Err(DtmfError::Full));
    assert_eq!(sender.enqueue("1", MS(100), MS(70)), Ok(()));
    sender.clear();
    assert!(sender.is_idle());
}

#[test]
fn a_long_tone_is_told_in_segments_and_heard_as_one() {
    let (mut sender, start) = (DtmfSender::new(48_000), Instant::now());
    sender.enqueue("7", MS(3_000), MS(70)).unwrap();
    let played = play(&mut sender, start);
    let mut timestamps: Vec<u32> = played.iter().map(|(_, packet)| packet.timestamp).collect();
    timestamps.dedup();
    assert_eq!(timestamps, [0, 68 * 960, 136 * 960]);
    let mut receiver = DtmfReceiver::new(48_000);
    let heard: Vec<_> =
        played.iter().filter_map(|(at, packet)| receiver.on_packet(packet.timestamp, &packet.payload, start + *at)).collect();
    assert_eq!(heard, [ReceivedDigit { tone: '7', duration: MS(3_000) }]);
}

#[test]
fn every_digit_is_told_once_whatever_single_packet_is_lost() {
    let (mut sender, start) = (DtmfSender::new(8_000), Instant::now());
    sender.enqueue("1122*#AD", MS(100), MS(60)).unwrap();
    let played = play(&mut sender, start);
    for lost in 0..played.len() {
        let mut receiver = DtmfReceiver::new(8_000);
        let arrived = played.iter().enumerate().filter(|(place, _)| *place != lost).map(|(_, packet)| packet);
        let heard: String = arrived
            .filter_map(|(at, packet)| receiver.on_packet(packet.timestamp, &packet.payload, start + *at))
            .map(|digit| digit.tone)
            .collect();
        assert_eq!(heard, "1122*#AD");
    }
}

#[test]
fn a_digit_whose_end_is_lost_is_told_by_the_next_one_or_by_time() {
    let start = Instant::now();
    let mut receiver = DtmfReceiver::new(8_000);
    assert_eq!(receiver.on_packet(1000, &[1, 10, 0, 160], start), None);
    assert_eq!(receiver.on_packet(1000, &[1, 10, 1, 64], start + MS(20)), None);
    assert_eq!(receiver.on_packet(9000, &[2, 10, 0, 160], start + MS(900)), Some(ReceivedDigit { tone: '1', duration: MS(40) }));
    assert_eq!(receiver.next_deadline(), Some(start + MS(1150)));
    assert_eq!(receiver.handle_timeout(start + MS(1149)), None);
    assert_eq!(receiver.handle_timeout(start + MS(1150)), Some(ReceivedDigit { tone: '2', duration: MS(20) }));
    assert_eq!(receiver.next_deadline(), None);
    // Its end, late: told already.
    assert_eq!(receiver.on_packet(9000, &[2, 138, 3, 32], start + MS(1200)), None);
}

#[test]
fn a_source_that_starts_its_timestamps_anew_is_heard_after_a_lost_end() {
    let (mut receiver, start) = (DtmfReceiver::new(8_000), Instant::now());
    assert_eq!(receiver.on_packet(900_000, &[1, 10, 0, 160], start), None);
    assert_eq!(receiver.on_packet(40, &[2, 138, 0, 160], start + MS(500)), Some(ReceivedDigit { tone: '1', duration: MS(20) }));
    assert_eq!(receiver.on_packet(40, &[2, 138, 0, 160], start + MS(520)), Some(ReceivedDigit { tone: '2', duration: MS(20) }));
}

#[test]
fn only_whole_events_of_the_keypad_are_digits() {
    let mut receiver = DtmfReceiver::new(8_000);
    assert_eq!(receiver.on_packet(0, &[1, 138, 3], Instant::now()), None);
    assert_eq!(receiver.on_packet(0, &[16, 138, 3, 32], Instant::now()), None);
    assert_eq!(receiver.on_packet(0, &[11, 138, 3, 32], Instant::now()), Some(ReceivedDigit { tone: '#', duration: MS(100) }));
}

#[test]
fn a_digit_that_goes_on_for_ever_is_counted_up_to_what_there_is_room_for() {
    let (mut receiver, start) = (DtmfReceiver::new(8_000), Instant::now());
    // Each packet is the next segment of the same event (RFC 4733 section 2.5.1.3).
    for segment in 0..70_000_u32 {
        assert_eq!(receiver.on_packet(segment.wrapping_mul(0xffff), &[1, 10, 0xff, 0xff], start), None);
    }
    let told = receiver.handle_timeout(start + MS(1_000)).unwrap();
    assert_eq!((told.tone, told.duration.as_secs()), ('1', (u64::from(u32::MAX) + 0xffff) / 8_000));
}
