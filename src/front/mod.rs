//! The HTTP side: Socket.IO, REST and the agent page, on one tokio thread of its own. It decides nothing about calls: it checks who is asking
//! and what, hands it to the right shard and carries the answers back. The only folder that names tokio, hyper, axum and socketioxide.

mod auth;
mod directory;
mod hub;
mod line;
mod metrics;
mod page;
mod requests;
mod rest;
mod server;
mod sockets;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::{Config, Fault};
use crate::driver::{OutputSink, Placement, ShardMailbox};
use crate::ids::ShardId;
use crate::shard::io::Output;
use directory::Directories;
use hub::Hub;
use server::Listeners;

/// Why the front did not start.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// `HOST` or `PORT` cannot be had.
    #[error("cannot listen on {address} for HTTP (HOST, PORT): {source}")]
    Bind { address: SocketAddr, source: io::Error },
    /// A directory's file cannot be read.
    #[error("{key}: cannot read {}: {source}", path.display())]
    Read { key: &'static str, path: PathBuf, source: io::Error },
    /// A directory's file is wrong.
    #[error(transparent)]
    Directory(#[from] Fault),
    /// The operating system gives us no thread or no event queue.
    #[error("cannot start the front: {0}")]
    Start(#[source] io::Error),
}

/// The demo PBX's numbers, each with what a person who dials it gets.
pub type DemoNumbers = &'static [(&'static str, &'static str)];

/// Everything of the front that can fail, done before any shard starts.
pub struct Prepared {
    config: Arc<Config>,
    directories: Directories,
    demo_numbers: DemoNumbers,
    listeners: Listeners,
    outputs: Vec<mpsc::Receiver<Output>>,
    sinks: Vec<Box<dyn OutputSink>>,
    waiting: metrics::Outputs,
}

/// The running front. Dropping it leaves it running; [`Front::stop`] ends it.
pub struct Front {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Front {
    /// Reads the directories and binds the HTTP port. `demo_numbers`: what the agent page offers to dial; empty without the demo PBX.
    ///
    /// # Errors
    /// [`FrontError`]: each is one line that names the key to change.
    pub fn prepare(config: Arc<Config>, demo_numbers: DemoNumbers) -> Result<Prepared, FrontError> {
        let directories = Directories::load(&config)?;
        let listeners = Listeners::bind(&config.http)?;
        let channels = (0..config.shards.count).map(|_| mpsc::channel(OUTPUTS_WAITING));
        let (senders, outputs): (Vec<_>, Vec<_>) = channels.unzip();
        let waiting = senders.iter().map(mpsc::Sender::downgrade).collect();
        let sinks = senders.into_iter().map(|sender| Box::new(FrontSink { sender }) as Box<dyn OutputSink>).collect();
        Ok(Prepared { config, directories, demo_numbers, listeners, outputs, sinks, waiting })
    }

    /// Stops accepting, closes every connection (clients come back by themselves, to whoever listens then) and waits for the thread.
    pub fn stop(self) {
        // An error means that the thread has ended already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the front ended by a panic");
        }
    }
}

impl Prepared {
    /// Where a browser on this machine reaches us.
    pub fn url(&self) -> String {
        self.listeners.url()
    }

    /// The way back, one for each shard in their order; once.
    pub fn take_sinks(&mut self) -> Vec<Box<dyn OutputSink>> {
        std::mem::take(&mut self.sinks)
    }

    /// Serves. `mailboxes` are those of the shards in their order; `core` is the one that the thread is bound to.
    ///
    /// # Errors
    /// [`FrontError::Start`].
    pub fn start(self, mailboxes: Vec<ShardMailbox>, placement: Arc<Placement>, core: Option<usize>) -> Result<Front, FrontError> {
        let Prepared { config, directories, demo_numbers, listeners, outputs, sinks: _, waiting } = self;
        directories.announce(&placement);
        // One thread, and so one order: socketioxide queues CONNECT and calls our handler without a pause that an event could slip into.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(FrontError::Start)?;
        let hub = Arc::new(Hub::new(config, directories, mailboxes, waiting, placement, demo_numbers));
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            if let Some(id) = core
                && !core_affinity::set_for_current(core_affinity::CoreId { id })
            {
                tracing::warn!(core = id, "the front cannot be bound to its core");
            }
            runtime.block_on(server::serve(hub, listeners, outputs, stopped));
            runtime.shutdown_timeout(STOP_PATIENCE);
        };
        let thread = thread::Builder::new().name("front".to_owned()).spawn(serve).map_err(FrontError::Start)?;
        Ok(Front { thread, stop })
    }
}

/// A shard's way to the front.
struct FrontSink {
    sender: mpsc::Sender<Output>,
}

impl OutputSink for FrontSink {
    fn push(&mut self, _shard: ShardId, output: Output) -> Result<(), Output> {
        match self.sender.try_send(output) {
            // A closed channel is a front that has stopped: there is nobody left to tell.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(output)) => Err(output),
        }
    }
}

/// Outputs of one shard that wait for the front; past it the shard waits with its commands.
const OUTPUTS_WAITING: usize = 16 * 1024;

/// How long the last tasks may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
