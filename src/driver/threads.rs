//! The shards' threads: one glommio executor each, on a core of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use super::error::DriverError;
use super::park::Parker;
use super::run::{Runner, Seat, ShardExit};
use crate::ids::ShardId;

/// How long tasks may run before glommio looks for I/O: practically for ever, because ours never run on, and because its timer does harm.
/// If it expires before the first task has run (the thread lost its core for that long), glommio 0.9 takes a queue full of runnable tasks for
/// an empty one and goes to sleep beside it, for ever: with 1 ms that took a minute or two on a busy machine.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);

/// Registered memory of an executor. We do no file I/O on it, and it counts against memlock.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// Requests in flight: a peek for each shared socket, a timer, a wake.
const RING_DEPTH: usize = 128;

/// The news that a shard's thread has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardEnd {
    /// Whose.
    pub shard: ShardId,
    /// Why.
    pub exit: ShardExit,
}

/// Starts a shard's thread on a core, or on any, and returns once it runs. `on_end` is told its end, however it comes.
///
/// # Errors
///
/// [`DriverError::Shard`].
pub fn spawn(seat: Seat, core: Option<usize>, on_end: impl FnOnce(ShardEnd) + Send + 'static) -> Result<JoinHandle<()>, DriverError> {
    let shard = seat.config.shard;
    let refuse = |reason: String| DriverError::Shard { shard, reason };
    let (started, start) = mpsc::channel();
    let thread = Builder::new()
        .name(format!("shard-{shard}"))
        .spawn(move || {
            let unknown = ShardEnd { shard, exit: ShardExit::Broken("its thread ended by a panic".to_owned()) };
            let mut report = Report { on_end: Some(on_end), end: unknown };
            match Runner::new(seat).map_err(|error| error.to_string()).and_then(|runner| Ok((runner, executor(core)?))) {
                Ok((mut runner, first)) => {
                    let _ = started.send(Ok(()));
                    report.end.exit = run(&mut runner, first, core);
                }
                Err(reason) => {
                    report.on_end = None;
                    let _ = started.send(Err(reason));
                }
            }
        })
        .map_err(|error| refuse(error.to_string()))?;
    match start.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(reason)) => Err(refuse(reason)),
        Err(_) => Err(refuse("its thread panicked".to_owned())),
    }
}

/// Runs the shard to its end. A panic of the executor itself, or of what is around the shard's tick, comes out of `executor.run` (glommio 0.9
/// closes the task whose poll panics and lets the panic pass): the shard then goes on, as a new one, on a new executor.
fn run(runner: &mut Runner, first: LocalExecutor, core: Option<usize>) -> ShardExit {
    let mut made = Ok(first);
    loop {
        let executor = match made {
            Ok(executor) => executor,
            Err(reason) => return ShardExit::Broken(reason),
        };
        // The executor is dropped in there, and with it everything that still borrows the runner.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let watched = runner.watched().map_err(|error| error.to_string())?;
            Ok(executor.run(async { runner.run(Parker::new(watched)).await }))
        }));
        match ran {
            Ok(exit) => return exit.unwrap_or_else(ShardExit::Broken),
            Err(_) => {
                if let Err(exit) = runner.restart() {
                    return exit;
                }
                made = self::executor(core);
            }
        }
    }
}

fn executor(core: Option<usize>) -> Result<LocalExecutor, String> {
    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .make()
        .map_err(|error| error.to_string())
}

/// Tells of the thread's end, also while it unwinds.
struct Report<F: FnOnce(ShardEnd)> {
    on_end: Option<F>,
    end: ShardEnd,
}

impl<F: FnOnce(ShardEnd)> Drop for Report<F> {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end(self.end.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Load, Socket};

    #[test]
    fn a_panic_comes_out_of_the_executor_and_another_one_takes_over_its_sockets() {
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), Load::Shared).unwrap();
        for _ in 0..3 {
            let broken = executor(None).unwrap();
            let watched = vec![socket.duplicate_fd().unwrap()];
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                broken.run(async {
                    let parker = Parker::new(watched);
                    let (_mailbox, inbox) = crate::driver::mailbox(1);
                    // A peek is under way from then on.
                    parker.park(&inbox, Duration::from_millis(1)).await;
                    assert!(inbox.stopped(), "on purpose");
                });
            }));
            assert!(outcome.is_err());
        }
        let watched = vec![socket.duplicate_fd().unwrap()];
        let begun = std::time::Instant::now();
        executor(None).unwrap().run(async {
            let parker = Parker::new(watched);
            let (_mailbox, inbox) = crate::driver::mailbox(1);
            socket.send(b"x", socket.address()).unwrap();
            parker.park(&inbox, Duration::from_secs(5)).await;
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "the datagram did not wake it");
    }
}
