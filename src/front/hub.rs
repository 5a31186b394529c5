//! What all connections share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::DemoNumbers;
use super::auth::Verifier;
use super::directory::Directories;
use super::line::Lines;
use super::metrics::{Metrics, Outputs};
use super::requests::Requests;
use super::sockets::Session;
use crate::config::Config;
use crate::driver::{Placement, ShardMailbox};
use crate::ids::{ShardId, SocketId};
use crate::limits::AGENTS_PER_SHARD;
use crate::shard::io::Output;
use crate::wire;

/// The front's state: who may come in, who is there, and what was asked of the shards.
pub(super) struct Hub {
    pub(super) config: Arc<Config>,
    pub(super) directories: Directories,
    pub(super) verifier: Verifier,
    pub(super) placement: Arc<Placement>,
    /// What may be dialled on the demo PBX, for the agent page; empty where another PBX answers.
    pub(super) demo_numbers: DemoNumbers,
    pub(super) requests: Requests,
    pub(super) metrics: Arc<Metrics>,
    pub(super) started: Instant,
    /// The last health check: the route is public, and must not let a stranger keep the shards busy.
    pub(super) health: tokio::sync::Mutex<Option<(Instant, wire::HealthBody)>>,
    /// What the clients are connected by.
    pub(super) lines: Lines,
    sessions: Mutex<HashMap<SocketId, Arc<Session>>>,
    next_socket: AtomicU64,
}

impl Hub {
    pub(super) fn new(
        config: Arc<Config>,
        directories: Directories,
        mailboxes: Vec<ShardMailbox>,
        outputs: Outputs,
        placement: Arc<Placement>,
        demo_numbers: DemoNumbers,
    ) -> Self {
        Self {
            verifier: Verifier::new(&config.auth, config.mode),
            config,
            directories,
            placement,
            demo_numbers,
            metrics: Arc::new(Metrics::new(mailboxes.clone(), outputs)),
            requests: Requests::new(mailboxes),
            started: Instant::now(),
            health: tokio::sync::Mutex::new(None),
            lines: Lines::default(),
            sessions: Mutex::default(),
            next_socket: AtomicU64::new(1),
        }
    }

    /// Why no further client is let in just now.
    pub(super) fn is_full(&self) -> bool {
        self.requests.overloaded() || self.sessions().len() >= AGENTS_PER_SHARD * self.requests.shards()
    }

    pub(super) fn next_socket_id(&self) -> SocketId {
        SocketId(self.next_socket.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn session(&self, socket: SocketId) -> Option<Arc<Session>> {
        self.sessions().get(&socket).cloned()
    }

    pub(super) fn enter(&self, session: Arc<Session>) {
        self.sessions().insert(session.id, session);
        self.metrics.entered();
    }

    pub(super) fn leave(&self, socket: SocketId) -> Option<Arc<Session>> {
        let session = self.sessions().remove(&socket)?;
        self.metrics.left();
        Some(session)
    }

    /// Carries out what a shard asks of the front, in the shard's order: an acknowledgement goes out before the events that it causes.
    pub(super) fn deliver(&self, shard: ShardId, output: Output) {
        match output {
            Output::Answer { request, answer } => self.requests.answered(shard, request, answer),
            Output::Connected { socket, welcome } => {
                if let Some(session) = self.session(socket) {
                    let facts = wire::ConnectedFacts { node_id: &self.config.node_id };
                    session.emit("connected", &wire::connected(&welcome, facts));
                }
            }
            Output::Event { socket, number, event } => {
                if let Some(session) = self.session(socket) {
                    let (name, payload) = wire::event(&event, number);
                    session.emit(name, &payload);
                }
            }
            Output::Disconnect { socket } => {
                if let Some(session) = self.session(socket) {
                    session.disconnect();
                }
            }
            Output::Reconnect { socket } => self.cut_off(self.session(socket)),
            Output::Died => {
                self.requests.shard_died(shard);
                self.cut_off(self.sessions().values().filter(|session| session.shard == shard).cloned());
            }
            // The driver's own business; it does not send these here.
            Output::Transmit(_) | Output::OpenPair { .. } | Output::ClosePair(_) | Output::AgentPresent { .. } => {}
        }
    }

    /// Closes the transports of these clients, so that they come back by themselves, once they have what has been sent to them.
    fn cut_off(&self, sessions: impl IntoIterator<Item = Arc<Session>>) {
        let lines = self.lines.clone();
        let sessions: Vec<String> = sessions.into_iter().map(|session| session.close()).collect();
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            sessions.iter().for_each(|session| lines.cut(session));
        });
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SocketId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a client that is cut off may take to get the last that it is told.
const LAST_WORDS: Duration = Duration::from_millis(100);
