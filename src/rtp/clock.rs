//! Wall-clock time for RTCP (RFC 3550 section 4), from one reading at the start and the monotonic time that the core is given.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds from 1900, where NTP counts from, to 1970.
const UNIX_EPOCH_IN_NTP: u64 = 2_208_988_800;

/// An NTP timestamp: 32 bits of seconds, 32 bits of fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Of the time of day; a clock before 1970 counts as 1970.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().wrapping_add(UNIX_EPOCH_IN_NTP) & 0xffff_ffff;
        Self((seconds << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000))
    }

    /// The middle 32 bits: what reports compare, in units of 1/65536 s.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// Tells the NTP time of any instant of one process.
#[derive(Clone, Copy, Debug)]
pub struct NtpClock {
    start: Instant,
    start_wall: SystemTime,
}

impl NtpClock {
    /// `wall` is the time of day at `now`.
    pub fn new(now: Instant, wall: SystemTime) -> Self {
        Self { start: now, start_wall: wall }
    }

    /// The NTP time at `now`.
    pub fn at(&self, now: Instant) -> NtpTime {
        NtpTime::of(self.start_wall + now.saturating_duration_since(self.start))
    }
}

/// A duration in units of an RTP clock, modulo 2^32 as timestamps are.
pub(super) fn in_clock(duration: Duration, clock: u32) -> u32 {
    // The seconds by themselves, so that no division is of 128 bits: every packet asks several times.
    let clock = u64::from(clock);
    let seconds = duration.as_secs().wrapping_mul(clock);
    seconds.wrapping_add(u64::from(duration.subsec_micros()) * clock / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_in_clock_units_is_cut_and_wraps() {
        for clock in [8_000, 48_000, 65_536, 90_000] {
            for duration in
                [Duration::ZERO, Duration::from_nanos(20_833), Duration::new(3_599, 999_999_999), Duration::new(1 << 40, 123_456_789)]
            {
                let exact = duration.as_micros() * u128::from(clock) / 1_000_000;
                assert_eq!(in_clock(duration, clock), exact as u32, "{duration:?} at {clock} Hz");
            }
        }
    }

    #[test]
    fn ntp_time_is_counted_from_1900() {
        let time = UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(NtpTime::of(time), NtpTime((UNIX_EPOCH_IN_NTP + 1) << 32 | 1 << 31));
        // 7 February 2036, when the seconds wrap.
        assert_eq!(NtpTime::of(UNIX_EPOCH + Duration::from_secs((1 << 32) - UNIX_EPOCH_IN_NTP)), NtpTime(0));
    }

    #[test]
    fn the_clock_goes_with_monotonic_time() {
        let start = Instant::now();
        let clock = NtpClock::new(start, UNIX_EPOCH);
        let a_second = clock.at(start + Duration::from_secs(1)).middle().wrapping_sub(clock.at(start).middle());
        assert_eq!(a_second, 65_536);
    }

    #[test]
    fn durations_become_clock_units() {
        assert_eq!(in_clock(Duration::from_millis(20), 8_000), 160);
        assert_eq!(in_clock(Duration::from_millis(20), 48_000), 960);
    }
}
