//! When the shard has to do something although nothing arrives: one ordered set, one entry for each thing that waits.

use std::collections::BTreeSet;
use std::time::Instant;

/// Pending deadlines of keys `K`; each key has at most one.
#[derive(Debug)]
pub struct Deadlines<K> {
    due: BTreeSet<(Instant, K)>,
}

/// Where a key's owner keeps the deadline that it has set, so that it can be moved without a search.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineSlot(Option<Instant>);

impl<K: Ord + Copy> Deadlines<K> {
    /// Nothing pending.
    pub fn new() -> Self {
        Self { due: BTreeSet::new() }
    }

    /// Makes `at` the deadline of `key`, in place of the one that `slot` remembers; `None` takes it away.
    pub fn set(&mut self, key: K, slot: &mut DeadlineSlot, at: Option<Instant>) {
        if slot.0 == at {
            return;
        }
        if let Some(old) = slot.0 {
            self.due.remove(&(old, key));
        }
        if let Some(new) = at {
            self.due.insert((new, key));
        }
        slot.0 = at;
    }

    /// Takes the next key that is due. Its owner must clear its slot ([`DeadlineSlot::fired`]) before it sets a new one.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        Some(key)
    }

    /// Takes a key's deadline away without its slot: by a search.
    pub fn forget(&mut self, key: K) {
        self.due.retain(|&(_, other)| other != key);
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// All that are pending, for [`super::Shard::audit`].
    pub fn pending(&self) -> impl Iterator<Item = (Instant, K)> + '_ {
        self.due.iter().copied()
    }

    /// How many are pending.
    pub fn len(&self) -> usize {
        self.due.len()
    }
}

impl DeadlineSlot {
    /// The deadline that is set.
    pub fn at(&self) -> Option<Instant> {
        self.0
    }

    /// Forgets the deadline, because [`Deadlines::pop_due`] has just taken it.
    pub fn fired(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moving_a_deadline_leaves_nothing_behind() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let (mut deadlines, mut one, mut two) = (Deadlines::new(), DeadlineSlot::default(), DeadlineSlot::default());
        deadlines.set(1, &mut one, at(10));
        deadlines.set(2, &mut two, at(20));
        deadlines.set(1, &mut one, at(30));
        assert_eq!((deadlines.len(), deadlines.next()), (2, at(20)));
        assert_eq!(deadlines.pop_due(start + Duration::from_millis(19)), None);
        assert_eq!(deadlines.pop_due(start + Duration::from_millis(25)), Some(2));
        two.fired();
        deadlines.set(1, &mut one, None);
        assert_eq!((deadlines.len(), deadlines.next()), (0, None));
    }
}
