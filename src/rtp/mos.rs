//! Estimated listening quality.

use std::time::Duration;

/// The mean opinion score (1 to 4.5) that a simplified E-model (ITU-T G.107) gives for a round trip, a jitter and a fraction of lost
/// packets (0 to 1).
///
/// The jitter counts twice, as a playout buffer holds about as much, and 10 ms stand for the codec; loss costs 2.5 points of R a percent.
pub fn mos(round_trip: Duration, jitter: Duration, lost: f64) -> f64 {
    let delay = round_trip.as_secs_f64() * 500.0 + jitter.as_secs_f64() * 2_000.0 + 10.0;
    let delay_impairment = if delay < 160.0 { delay / 40.0 } else { (delay - 120.0) / 10.0 };
    let r = (93.2 - delay_impairment - 250.0 * lost.clamp(0.0, 1.0)).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + 0.000_007 * r * (r - 60.0) * (100.0 - r)).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_path_is_good_and_every_fault_makes_it_worse() {
        let ms = Duration::from_millis;
        let clean = mos(ms(20), ms(1), 0.0);
        assert!((4.3..4.5).contains(&clean));
        assert!(mos(ms(400), ms(1), 0.0) < clean);
        assert!(mos(ms(20), ms(60), 0.0) < clean);
        assert!(mos(ms(20), ms(1), 0.03) < clean);
        assert!(mos(ms(20), ms(1), 0.1) < 3.6);
        assert_eq!(mos(ms(9_000), ms(900), 1.0), 1.0);
    }
}
