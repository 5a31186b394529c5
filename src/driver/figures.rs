//! A shard's figures on their way to whoever shows them: written once a second by the shard's thread, read by any.

use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::shard::Figures;

/// Everything that a shard and its thread count.
#[derive(Clone, Debug, Default)]
pub struct ShardFigures {
    /// What the core counts.
    pub core: Figures,
    /// What the thread counts.
    pub thread: ThreadFigures,
}

/// What a shard's thread did, outside of the core.
#[derive(Clone, Debug)]
pub struct ThreadFigures {
    /// How long each tick took: all that the shard worked.
    pub ticks: Histogram<{ TICK_BOUNDS.len() }>,
    /// How long it slept between ticks.
    pub asleep: Duration,
    /// Outputs that wait for a slow front.
    pub outputs_held: usize,
    /// Datagrams taken from the kernel.
    pub received: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    /// SIP datagrams from sources that are not allowed.
    pub foreign_sip: u64,
    /// Shards that have died here and have successors.
    pub restarts: u64,
}

/// A tick of a busy shard is meant to be well within a millisecond; whatever is longer delays every call's media.
const TICK_BOUNDS: [Duration; 12] = [
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
];

impl Default for ThreadFigures {
    fn default() -> Self {
        let (asleep, outputs_held, received, sent, unsent, foreign_sip, restarts) = Default::default();
        Self { ticks: Histogram::new(&TICK_BOUNDS), asleep, outputs_held, received, sent, unsent, foreign_sip, restarts }
    }
}

/// Measures a thread's turns of work and sleep, with one look at the clock for each change.
#[derive(Debug)]
pub(super) struct Watch {
    changed_at: Instant,
    publish_at: Instant,
}

impl Watch {
    /// Begins with a sleep.
    pub fn start(now: Instant) -> Self {
        Self { changed_at: now, publish_at: now }
    }

    /// A sleep is over.
    pub fn woke(&mut self, now: Instant, figures: &mut ThreadFigures) {
        figures.asleep += now.saturating_duration_since(self.changed_at);
        self.changed_at = now;
    }

    /// A tick is over; how long it took.
    pub fn worked(&mut self, now: Instant, figures: &mut ThreadFigures) -> Duration {
        let took = now.saturating_duration_since(self.changed_at);
        figures.ticks.record(took);
        self.changed_at = now;
        took
    }

    /// Whether the figures are to be published, once in [`PUBLISH_EVERY`].
    pub fn publish_due(&mut self) -> bool {
        let due = self.publish_at <= self.changed_at;
        if due {
            self.publish_at = self.changed_at + PUBLISH_EVERY;
        }
        due
    }
}

/// How old what is shown may be, beside the longest sleep.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_sleep_add_up_to_the_time_that_passed() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (mut watch, mut figures) = (Watch::start(start), ThreadFigures::default());
        watch.woke(at(100), &mut figures);
        assert_eq!(watch.worked(at(103), &mut figures), Duration::from_millis(3));
        assert!(watch.publish_due());
        watch.woke(at(1_000), &mut figures);
        watch.worked(at(1_001), &mut figures);
        assert!(!watch.publish_due());
        assert_eq!((figures.ticks.count(), figures.ticks.sum()), (2, Duration::from_millis(4)));
        assert_eq!(figures.asleep, Duration::from_millis(997));
    }
}
