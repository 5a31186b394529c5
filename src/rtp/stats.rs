//! Statistics of what is received and what is sent (RFC 3550 section 6.4 and appendix A).

use std::time::{Duration, Instant};

use super::clock::{NtpTime, in_clock};
use super::header::Header;
use super::rewrite::Sent;
use super::rtcp::{ReportBlock, SenderInfo};

/// What arrives of one leg's audio. A new SSRC or a leap of the sequence number begins a new stream; the totals go on.
#[derive(Debug)]
pub struct ReceiverStats {
    clock: u32,
    stream: Option<Stream>,
    packets: u64,
    octets: u64,
    /// Lost packets of the streams before this one.
    lost_before: i64,
    last_packet: Option<Instant>,
}

/// One stream since its start (RFC 3550 A.1, A.3, A.8).
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    first: u64,
    /// The highest sequence number, wraps counted.
    highest: u64,
    received: u64,
    after_leap: Option<u16>,
    /// At the last report: packets expected and received.
    prior: (u64, u64),
    began: Instant,
    /// Arrival minus timestamp of the last packet, in clock units.
    transit: u32,
    timestamp: u32,
    /// Sixteen times the jitter, in clock units.
    jitter: u32,
    /// The last SR of this stream: the middle of its NTP time, and its arrival.
    sender_report: Option<(u32, Instant)>,
}

/// Whether a packet belongs to the stream so far.
enum Followed {
    Yes,
    /// It leapt: a stray packet, or the first of a new start.
    NotYet,
    /// The one after a leap: a new start.
    StartedAnew,
}

impl ReceiverStats {
    /// For audio with this clock in Hz.
    pub fn new(clock: u32) -> Self {
        Self { clock, stream: None, packets: 0, octets: 0, lost_before: 0, last_packet: None }
    }

    /// Another codec: timestamps count in another clock from here on.
    pub fn set_clock(&mut self, clock: u32) {
        if self.clock != clock {
            self.clock = clock;
            self.forget_stream();
        }
    }

    /// Counts a packet that arrived and was accepted.
    pub fn on_packet(&mut self, header: &Header, now: Instant) {
        self.packets += 1;
        self.octets += header.payload.len() as u64;
        self.last_packet = Some(now);
        let same = self.stream.as_mut().filter(|stream| stream.ssrc == header.ssrc);
        match same.map(|stream| stream.follow(header.sequence)) {
            Some(Followed::Yes) => {}
            Some(Followed::NotYet) => return,
            Some(Followed::StartedAnew) | None => {
                self.forget_stream();
                self.stream = Some(Stream::new(header, now));
            }
        }
        let Some(stream) = &mut self.stream else { return };
        stream.received += 1;
        let arrival = in_clock(now.saturating_duration_since(stream.began), self.clock);
        let transit = arrival.wrapping_sub(header.timestamp);
        if stream.received > 1 {
            // The packets of a telephone event share a timestamp, which says nothing about the way of the later ones.
            if header.timestamp == stream.timestamp {
                return;
            }
            let difference = (transit.wrapping_sub(stream.transit) as i32).unsigned_abs();
            // A source that restarts its timestamps has no jitter of hours.
            if difference < in_clock(JITTER_MAX, self.clock) {
                // Never below zero: what is taken away is a sixteenth of it, rounded.
                stream.jitter = stream.jitter + difference - ((stream.jitter + 8) >> 4);
            }
        }
        (stream.transit, stream.timestamp) = (transit, header.timestamp);
    }

    /// Notes a sender report of the other side, so that the next block of ours lets it measure the round trip.
    pub fn on_sender_report(&mut self, ssrc: u32, info: &SenderInfo, now: Instant) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == ssrc) {
            stream.sender_report = Some((info.ntp.middle(), now));
        }
    }

    /// The report block on the current stream, and the start of the next reporting interval. `None` before the first packet.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let stream = self.stream.as_mut()?;
        let expected = stream.expected();
        let (prior_expected, prior_received) = stream.prior;
        stream.prior = (expected, stream.received);
        let (expected_interval, received_interval) = (expected - prior_expected, stream.received - prior_received);
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0);
        let (last_sender_report, delay) = match stream.sender_report {
            Some((middle, at)) => (middle, in_clock(now.saturating_duration_since(at), 65_536)),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: stream.ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: stream.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: stream.highest as u32,
            jitter: stream.jitter >> 4,
            last_sender_report,
            delay,
        })
    }

    /// Packets received, duplicates included.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes received.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Packets lost on the way to us; never below zero.
    pub fn lost(&self) -> u64 {
        (self.lost_before + self.stream.as_ref().map_or(0, Stream::lost)).max(0) as u64
    }

    /// The fraction (0 to 1) of all packets that were lost.
    pub fn lost_fraction(&self) -> f64 {
        let lost = self.lost() as f64;
        if lost == 0.0 { 0.0 } else { lost / (lost + self.packets as f64) }
    }

    /// Interarrival jitter.
    pub fn jitter(&self) -> Duration {
        let units = self.stream.as_ref().map_or(0, |stream| stream.jitter >> 4);
        Duration::from_micros(u64::from(units) * 1_000_000 / u64::from(self.clock.max(1)))
    }

    /// When the latest packet arrived.
    pub fn last_packet(&self) -> Option<Instant> {
        self.last_packet
    }

    /// The SSRC of the current stream.
    pub fn ssrc(&self) -> Option<u32> {
        self.stream.as_ref().map(|stream| stream.ssrc)
    }

    fn forget_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.lost_before += stream.lost().max(0);
        }
    }
}

impl Stream {
    fn new(header: &Header, now: Instant) -> Self {
        // Far from zero, so that a reordered packet's number never is negative.
        let first = 1 << 32 | u64::from(header.sequence);
        Self {
            ssrc: header.ssrc,
            first,
            highest: first,
            received: 0,
            after_leap: None,
            prior: (0, 0),
            began: now,
            transit: 0,
            timestamp: 0,
            jitter: 0,
            sender_report: None,
        }
    }

    /// Takes a sequence number in (RFC 3550 A.1).
    fn follow(&mut self, sequence: u16) -> Followed {
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        if (-MISORDER_MAX..=DROPOUT_MAX).contains(&step) {
            self.after_leap = None;
            self.highest = self.highest.max(self.highest.wrapping_add_signed(step));
            return Followed::Yes;
        }
        let confirmed = self.after_leap == Some(sequence);
        self.after_leap = Some(sequence.wrapping_add(1));
        if confirmed { Followed::StartedAnew } else { Followed::NotYet }
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }
}

/// What is sent of one leg's audio, and what its receiver says of it.
#[derive(Debug, Default)]
pub struct SenderStats {
    packets: u64,
    octets: u64,
    remote: Option<ReportBlock>,
    round_trip: Option<Duration>,
}

impl SenderStats {
    /// Counts a packet that was sent.
    pub fn on_sent(&mut self, sent: &Sent) {
        self.packets += 1;
        self.octets += sent.payload as u64;
    }

    /// The sender information of a report at `now`, the stream then being at `rtp_timestamp`.
    pub fn sender_info(&self, now: NtpTime, rtp_timestamp: u32) -> SenderInfo {
        SenderInfo { ntp: now, rtp_timestamp, packets: self.packets as u32, octets: self.octets as u32 }
    }

    /// Takes in what the receiver reports of our stream at `now`.
    pub fn on_report_block(&mut self, block: &ReportBlock, now: NtpTime) {
        if block.last_sender_report != 0 {
            let units = now.middle().wrapping_sub(block.last_sender_report).wrapping_sub(block.delay);
            let round_trip = Duration::from_micros(u64::from(units) * 1_000_000 / 65_536);
            // Rounding on both sides can make a tiny one negative, which wraps: that is none.
            let round_trip = if (units as i32) < 0 { Duration::ZERO } else { round_trip };
            self.round_trip = (round_trip < ROUND_TRIP_MAX).then_some(round_trip).or(self.round_trip);
        }
        self.remote = Some(*block);
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes sent.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The last measured round trip.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What the receiver last reported.
    pub fn remote(&self) -> Option<&ReportBlock> {
        self.remote.as_ref()
    }
}

/// `MAX_DROPOUT` of RFC 3550 A.1.
const DROPOUT_MAX: i64 = 3000;

/// `MAX_MISORDER` of RFC 3550 A.1.
const MISORDER_MAX: i64 = 100;

/// A transit time that differs by more is a restarted clock, not jitter.
const JITTER_MAX: Duration = Duration::from_secs(10);

/// A longer round trip is a report that does not fit ours.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: 12..172 }
    }

    /// Feeds packets 20 ms apart and returns the time after them.
    fn feed(stats: &mut ReceiverStats, ssrc: u32, sequences: impl Iterator<Item = u16>, start: Instant) -> Instant {
        let mut now = start;
        for sequence in sequences {
            stats.on_packet(&header(ssrc, sequence, u32::from(sequence) * 160), now);
            now += Duration::from_millis(20);
        }
        now
    }

    #[test]
    fn loss_is_counted_across_the_wrap_and_reported_per_interval() {
        let mut stats = ReceiverStats::new(8_000);
        let start = Instant::now();
        let now = feed(&mut stats, 5, (65_500..=65_535).chain((0..64).filter(|n| n % 4 != 0)), start);
        assert_eq!((stats.packets(), stats.lost(), stats.octets()), (84, 16, 84 * 160));
        let block = stats.report_block(now).unwrap();
        assert_eq!((block.ssrc, block.cumulative_lost, block.fraction_lost), (5, 16, (16 * 256 / 100) as u8));
        assert_eq!(block.highest_sequence & 0xffff, 63);
        let now = feed(&mut stats, 5, 64..100, now);
        assert_eq!(stats.report_block(now).unwrap().fraction_lost, 0);
    }

    #[test]
    fn reordered_and_duplicated_packets_are_no_loss() {
        let mut stats = ReceiverStats::new(8_000);
        feed(&mut stats, 5, [10, 12, 11, 11, 14, 13].into_iter(), Instant::now());
        assert_eq!((stats.lost(), stats.lost_fraction()), (0, 0.0));
    }

    #[test]
    fn a_new_source_or_a_restart_is_no_loss_and_keeps_the_totals() {
        let mut stats = ReceiverStats::new(8_000);
        let now = feed(&mut stats, 5, [1, 2, 4].into_iter(), Instant::now());
        let now = feed(&mut stats, 6, 30_000..30_010, now);
        let now = feed(&mut stats, 6, 100..110, now);
        assert_eq!((stats.packets(), stats.lost()), (23, 1));
        assert_eq!(stats.report_block(now).unwrap().ssrc, 6);
        stats.set_clock(48_000);
        assert_eq!((stats.report_block(now), stats.lost()), (None, 1));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut stats = ReceiverStats::new(8_000);
        let start = Instant::now();
        feed(&mut stats, 5, 0..200, start);
        assert_eq!(stats.jitter(), Duration::ZERO);
        // Every other packet is 10 ms late: transit differs by 80 units each time, and so is the jitter in the end.
        let mut stats = ReceiverStats::new(8_000);
        for n in 0..400u16 {
            let at = start + Duration::from_millis(20 * u64::from(n) + 10 * u64::from(n % 2));
            stats.on_packet(&header(5, n, u32::from(n) * 160), at);
        }
        assert!((9_500..=10_000).contains(&stats.jitter().as_micros()));
    }

    #[test]
    fn the_packets_of_an_event_are_no_jitter() {
        let (mut stats, mut now) = (ReceiverStats::new(8_000), Instant::now());
        for n in 0..100u16 {
            stats.on_packet(&header(5, n, u32::from(n / 10) * 1600), now);
            now += Duration::from_millis(20);
        }
        assert_eq!((stats.jitter(), stats.packets()), (Duration::ZERO, 100));
    }

    #[test]
    fn the_round_trip_is_time_less_the_delay_at_the_other_side() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let ours = NtpTime(0x1234_5678_0000_0000);
        let mut theirs = ReceiverStats::new(8_000);
        theirs.on_packet(&header(5, 1, 1), start);
        theirs.on_sender_report(5, &SenderStats::default().sender_info(ours, 0), start);
        let block = theirs.report_block(start + ms(500)).unwrap();
        assert_eq!((block.last_sender_report, block.delay), (0x5678_0000, 32_768));
        let mut sender = SenderStats::default();
        // 625 ms later by our clock: an eighth of a second on the way.
        sender.on_report_block(&block, NtpTime(ours.0 + (5 << 29)));
        assert_eq!(sender.round_trip(), Some(ms(125)));
        sender.on_report_block(&block, NtpTime(ours.0 + (1 << 31) - 1));
        assert_eq!(sender.round_trip(), Some(Duration::ZERO));
    }

    #[test]
    fn sent_packets_are_counted() {
        let mut sender = SenderStats::default();
        (0..3).for_each(|n| sender.on_sent(&Sent { sequence: n, timestamp: 0, payload: 160 }));
        let info = sender.sender_info(NtpTime(9), 42);
        assert_eq!(info, SenderInfo { ntp: NtpTime(9), rtp_timestamp: 42, packets: 3, octets: 480 });
    }
}
