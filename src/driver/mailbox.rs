//! How other threads reach a shard, and how a shard reaches the front: bounded on both ways, and a wake only when the shard sleeps.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::figures::ShardFigures;
use crate::ids::ShardId;
use crate::shard::io::{Input, Output};

/// How often a shard has to look around at least.
pub const LOOK_AFTER_EVERY: Duration = Duration::from_millis(500);

/// The mailbox holds [`crate::limits::MAILBOX`] inputs already: the request is `OVERLOADED`, a SIP request is dropped and sent again by its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard's mailbox is full")]
pub struct MailboxFull;

/// The writing half of a shard's mailbox; any thread may hold one.
#[derive(Clone, Debug)]
pub struct ShardMailbox {
    shared: Arc<Shared<Input>>,
    figures: Arc<Mutex<ShardFigures>>,
}

impl ShardMailbox {
    /// Hands an input to the shard, in order with this thread's earlier ones, and wakes the shard if it sleeps.
    ///
    /// # Errors
    ///
    /// [`MailboxFull`]: the input is dropped and the shard will never see it.
    pub fn push(&self, input: Input) -> Result<(), MailboxFull> {
        self.shared.push(input)
    }

    /// Wakes the shard's thread if it has not looked around since the last call, and says whether it had to: to be called every
    /// half a second or less often.
    ///
    /// An executor that has mislaid its only runnable task sleeps until somebody wakes it, and nobody wakes a shard that counts as awake.
    pub fn look_after(&self) -> bool {
        let stuck = !self.shared.alive.swap(false, Ordering::Relaxed);
        if stuck {
            self.shared.armed.store(false, Ordering::SeqCst);
            self.shared.wake_now();
        }
        stuck
    }

    /// Inputs that wait right now.
    pub fn waiting(&self) -> usize {
        self.shared.queue.len()
    }

    /// What the shard last published.
    pub fn figures(&self) -> ShardFigures {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the shard's thread to end, with its next tick.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

/// The reading half of a shard's mailbox; only the shard's own thread has it.
#[derive(Debug)]
pub struct ShardInbox {
    shared: Arc<Shared<Input>>,
    figures: Arc<Mutex<ShardFigures>>,
}

impl ShardInbox {
    /// The oldest input.
    pub fn pop(&self) -> Option<Input> {
        self.shared.queue.pop()
    }

    /// Tells whoever looks after us that we are not stuck.
    pub fn alive(&self) {
        self.shared.alive.store(true, Ordering::Relaxed);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Whether the thread is to end.
    pub fn stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Shows these figures to whoever holds a mailbox.
    pub fn publish(&self, figures: ShardFigures) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// Says whom to wake, ahead of the first sleep. Ready at once.
    pub fn introduce(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.remember(cx);
        Poll::Ready(())
    }

    /// Ready as soon as an input waits or the thread is to end; else the task is woken by the next push. [`ShardInbox::disarm`] ends the wait.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_ready(cx)
    }

    /// Whoever pushes from now on need not wake us: we are awake and look by ourselves.
    pub fn disarm(&self) {
        self.shared.armed.store(false, Ordering::SeqCst);
    }
}

impl Drop for ShardInbox {
    /// A waker must not outlive the executor that it belongs to, but mailboxes in other threads may.
    fn drop(&mut self) {
        self.disarm();
        *self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Makes a mailbox for `capacity` inputs.
pub fn mailbox(capacity: usize) -> (ShardMailbox, ShardInbox) {
    let (shared, figures) = (Arc::new(Shared::new(capacity)), Arc::<Mutex<ShardFigures>>::default());
    (ShardMailbox { shared: shared.clone(), figures: figures.clone() }, ShardInbox { shared, figures })
}

/// Where a shard's answers and events go: the front's side of the way back.
pub trait OutputSink: Send {
    /// Takes an output, in order, without blocking.
    ///
    /// # Errors
    ///
    /// The output itself when there is no room: the driver keeps it, offers it again on its next tick, and feeds the shard no more
    /// commands until it fits.
    #[expect(clippy::result_large_err, reason = "the output goes back where it came from; a box would cost an allocation each time")]
    fn push(&mut self, shard: ShardId, output: Output) -> Result<(), Output>;
}

/// A bounded queue whose reader may sleep. Wakes are coalesced: glommio counts foreign wakes of one task in 16 bits and panics past them.
#[derive(Debug)]
struct Shared<T> {
    queue: ArrayQueue<T>,
    /// The reader sleeps, or is about to, and nobody has woken it yet.
    armed: AtomicBool,
    waker: Mutex<Option<Waker>>,
    stopped: AtomicBool,
    /// The reader has looked around since it was last looked after.
    alive: AtomicBool,
}

impl<T> Shared<T> {
    fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            armed: AtomicBool::new(false),
            waker: Mutex::new(None),
            stopped: AtomicBool::new(false),
            alive: AtomicBool::new(true),
        }
    }

    fn push(&self, item: T) -> Result<(), MailboxFull> {
        let pushed = self.queue.push(item).map_err(|_| MailboxFull);
        self.wake();
        pushed
    }

    /// Wakes the reader if it sleeps, once.
    fn wake(&self) {
        // Pairs with the fence in `poll_ready`: either the reader sees what was changed before, or we see that it is armed.
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::SeqCst) {
            self.wake_now();
        }
    }

    fn wake_now(&self) {
        // Under the lock, so that the reader cannot drop the waker, and its executor with it, while it is in use.
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    fn remember(&self, cx: &mut Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.remember(cx);
        self.armed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() && !self.stopped.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.armed.store(false, Ordering::SeqCst);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::thread::{self, Thread};

    use super::*;

    /// Counts its wakes and unparks the reader's thread, as an executor would.
    struct Counter {
        wakes: AtomicUsize,
        reader: Thread,
    }

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, Ordering::SeqCst);
            self.reader.unpark();
        }
    }

    fn counter() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter { wakes: AtomicUsize::new(0), reader: thread::current() });
        (counter.clone(), Waker::from(counter))
    }

    #[test]
    fn a_burst_wakes_a_sleeping_reader_once() {
        let (counter, waker) = counter();
        let shared = Shared::new(1000);
        assert!(shared.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        (0..1000).for_each(|number| shared.push(number).unwrap());
        assert_eq!(counter.wakes.load(Ordering::SeqCst), 1);
        assert!(shared.poll_ready(&mut Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn a_reader_that_is_awake_is_not_woken() {
        let (counter, waker) = counter();
        let shared = Shared::new(4);
        shared.push(1).unwrap();
        assert!(shared.poll_ready(&mut Context::from_waker(&waker)).is_ready());
        shared.push(2).unwrap();
        assert_eq!(counter.wakes.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_full_mailbox_refuses_and_still_wakes_its_reader() {
        let (counter, waker) = counter();
        let shared = Shared::new(1);
        assert!(shared.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(shared.push(1), Ok(()));
        assert_eq!(shared.push(2), Err(MailboxFull));
        assert_eq!(counter.wakes.load(Ordering::SeqCst), 1);
        assert_eq!(shared.queue.pop(), Some(1));
    }

    #[test]
    fn no_wake_is_lost_when_writers_race_a_reader_that_falls_asleep() {
        const WRITERS: usize = 3;
        const ITEMS: usize = 20_000;
        let (counter, waker) = counter();
        let shared = Arc::new(Shared::new(64));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    for number in 0..ITEMS {
                        while shared.push(number).is_err() {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut taken = 0;
        let mut polls = 0;
        while taken < WRITERS * ITEMS {
            while shared.queue.pop().is_some() {
                taken += 1;
            }
            polls += 1;
            if taken < WRITERS * ITEMS && shared.poll_ready(&mut Context::from_waker(&waker)).is_pending() {
                // A lost wake shows as a reader that sleeps beside a full queue for all of this time.
                let mut patience = 0;
                while shared.armed.load(Ordering::SeqCst) {
                    thread::park_timeout(std::time::Duration::from_millis(500));
                    patience += 1;
                    assert!(patience < 20, "the reader was never woken after {taken} items");
                }
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert!(counter.wakes.load(Ordering::SeqCst) <= polls, "at most one wake each time it falls asleep");
    }

    #[test]
    fn only_a_reader_that_has_not_looked_around_is_woken_by_who_looks_after_it() {
        let (counter, waker) = counter();
        let (mailbox, inbox) = mailbox(1);
        assert!(inbox.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        assert!(!mailbox.look_after());
        assert!(mailbox.look_after());
        assert_eq!(counter.wakes.load(Ordering::SeqCst), 1);
        inbox.alive();
        assert!(!mailbox.look_after());
        assert_eq!(counter.wakes.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_mailbox_outlives_its_reader_and_keeps_no_waker_of_it() {
        let (counter, waker) = counter();
        let (mailbox, inbox) = mailbox(1);
        assert!(inbox.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        drop(inbox);
        drop(waker);
        assert!(mailbox.push(Input::Timeout).is_ok());
        assert_eq!(counter.wakes.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&counter), 1);
    }
}
