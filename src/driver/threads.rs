//! The shards' threads: one glommio executor each, on a core of its own.

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
            let panicked = ShardEnd { shard, exit: ShardExit::Panicked("outside of the core".to_owned()) };
            let mut report = Report { on_end: Some(on_end), end: panicked };
            match prepare(seat, core) {
                Ok((executor, runner, watched)) => {
                    let _ = started.send(Ok(()));
                    report.end.exit = executor.run(async move { runner.run(Parker::new(watched)).await });
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

fn prepare(seat: Seat, core: Option<usize>) -> Result<(LocalExecutor, Runner, Vec<std::os::fd::OwnedFd>), String> {
    let executor = LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .make()
        .map_err(|error| error.to_string())?;
    let runner = Runner::new(seat).map_err(|error| error.to_string())?;
    let watched = runner.watched().map_err(|error| error.to_string())?;
    Ok((executor, runner, watched))
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
