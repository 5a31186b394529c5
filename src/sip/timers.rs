//! The timers of RFC 3261 section 17 over UDP, and the queue of whatever is due next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The estimate of the round trip (RFC 3261 section 17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);

/// The longest gap between repetitions of non-INVITE requests and of responses to INVITE (section 17.1.2.1).
pub const T2: Duration = Duration::from_secs(4);

/// How long a message may stay in the network (section 17.1.2.2).
pub const T4: Duration = Duration::from_secs(5);

/// How long an INVITE may go unanswered (section 17.1.1.2).
pub const TIMER_B: Duration = T1.saturating_mul(64);

/// How long a failed INVITE answers repetitions of its final response (section 17.1.1.2).
pub const TIMER_D: Duration = Duration::from_secs(32);

/// How long another request may go without a final response (section 17.1.2.2).
pub const TIMER_F: Duration = T1.saturating_mul(64);

/// How long a server waits for the ACK to a failure (section 17.2.1), or a callee for the ACK to its 2xx (section 13.3.1.4).
pub const TIMER_H: Duration = T1.saturating_mul(64);

/// How long repetitions of an ACK are absorbed (section 17.2.1).
pub const TIMER_I: Duration = T4;

/// How long repetitions of a non-INVITE request are answered (section 17.2.2).
pub const TIMER_J: Duration = T1.saturating_mul(64);

/// How long repetitions of a final response are absorbed (section 17.1.2.2).
pub const TIMER_K: Duration = T4;

/// How long repetitions of an accepted INVITE are absorbed (RFC 6026 section 7.1).
pub const TIMER_L: Duration = T1.saturating_mul(64);

/// How long further 2xx to an INVITE are taken (RFC 6026 section 7.2).
pub const TIMER_M: Duration = T1.saturating_mul(64);

/// A ringing INVITE is given up at last. RFC 3261 names no such timer for user agents; without one a lost peer would be waited for for ever.
pub const RINGING_MAX: Duration = Duration::from_secs(15 * 60);

/// A provisional response is repeated this often, so that no proxy on the way gives up (RFC 3261 section 13.3.1.1).
pub const PROVISIONAL_REPEAT: Duration = Duration::from_secs(60);

/// One deadline for each owner that has one.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_owner: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Deadlines<K> {
    /// No deadlines.
    pub fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_owner: BTreeMap::new() }
    }

    /// Sets, moves or, with `None`, takes away the owner's deadline.
    pub fn set(&mut self, owner: K, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_owner.insert(owner, at),
            None => self.by_owner.remove(&owner),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, owner));
        }
        if let Some(at) = at {
            self.by_time.insert((at, owner));
        }
    }

    /// The owner's deadline.
    pub fn of(&self, owner: K) -> Option<Instant> {
        self.by_owner.get(&owner).copied()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one owner whose deadline has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, owner) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.set(owner, None);
        Some(owner)
    }

    /// How many deadlines are set.
    pub fn len(&self) -> usize {
        self.by_time.len()
    }
}

/// The gaps between repetitions: each twice the one before, up to a cap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    /// When the next repetition is due.
    pub at: Instant,
    gap: Duration,
    cap: Duration,
}

impl Repeat {
    /// The first repetition comes T1 after `now`.
    pub fn start(now: Instant, cap: Duration) -> Self {
        Self { at: now + T1, gap: T1, cap }
    }

    /// Whether a repetition is due; if so the next one is set.
    pub fn fire(&mut self, now: Instant) -> bool {
        if now < self.at {
            return false;
        }
        self.gap = self.gap.saturating_mul(2).min(self.cap);
        self.at = now + self.gap;
        true
    }

    /// Behind the repetition that is due next only at the cap (section 17.1.2.2, Proceeding: Timer E runs on, and is T2 when it is set anew).
    pub fn slow_down(&mut self) {
        self.gap = self.cap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_has_one_deadline_and_the_earliest_comes_first() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        deadlines.set(1, Some(start + T1));
        deadlines.set(2, Some(start + T2));
        deadlines.set(1, Some(start + T4));
        assert_eq!((deadlines.next(), deadlines.len()), (Some(start + T2), 2));
        assert_eq!(deadlines.pop_due(start + T1), None);
        assert_eq!(deadlines.pop_due(start + T4), Some(2));
        assert_eq!(deadlines.pop_due(start + T4), Some(1));
        assert_eq!((deadlines.pop_due(start + T4), deadlines.len()), (None, 0));
    }
}
