//! Requests on their way: to a shard by its mailbox, and back to whoever waits. Each is answered exactly once, whatever happens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::sockets::ClientRequest;
use crate::call::command::{Answer, Command, Query, QueryReply};
use crate::call::error::{Code, Refusal};
use crate::driver::{MailboxFull, ShardMailbox};
use crate::ids::{RequestId, ShardId};
use crate::shard::io::Input;

/// The shards, and what was asked of them.
pub(super) struct Requests {
    shards: Vec<Shard>,
    next: AtomicU64,
    /// When a mailbox was last full.
    full_at: Mutex<Option<Instant>>,
}

struct Shard {
    mailbox: ShardMailbox,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_id: HashMap<RequestId, Waiter>,
    /// The shard has ended: it answers nothing any more.
    ended: bool,
}

enum Waiter {
    Client(ClientRequest),
    Rest(oneshot::Sender<QueryReply>),
}

impl Requests {
    pub(super) fn new(mailboxes: Vec<ShardMailbox>) -> Self {
        let shards = mailboxes.into_iter().map(|mailbox| Shard { mailbox, waiting: Mutex::default() }).collect();
        Self { shards, next: AtomicU64::new(1), full_at: Mutex::new(None) }
    }

    /// Hands a command over that has no answer.
    pub(super) fn tell(&self, shard: ShardId, command: Command) -> Result<(), MailboxFull> {
        let Some(shard) = self.shard(shard) else { return Err(MailboxFull) };
        self.push(shard, None, command)
    }

    /// Hands a client's request over; it is answered through `request`, at once where the shard cannot take it.
    pub(super) fn ask_for_client(&self, shard: ShardId, command: Command, request: ClientRequest) {
        let Some(shard) = self.shard(shard) else { return request.answer(Err(overloaded())) };
        let id = self.next_id();
        if let Err(waiter) = shard.wait(id, Waiter::Client(request)) {
            return waiter.refuse(stopped());
        }
        // The waiter is in place first: the answer may come from another core before `push` returns.
        if self.push(shard, Some(id), command).is_err()
            && let Some(waiter) = shard.take(id)
        {
            waiter.refuse(overloaded());
        }
    }

    /// Asks every shard; `None` for one that did not answer in time.
    pub(super) async fn ask_all(&self, query: Query) -> Vec<Option<QueryReply>> {
        let deadline = Instant::now() + REST_PATIENCE;
        let asked: Vec<_> = self.shards.iter().map(|shard| (shard, self.ask(shard, query.clone()))).collect();
        let mut replies = Vec::with_capacity(asked.len());
        for (shard, asked) in asked {
            replies.push(match asked {
                Some((id, reply)) => {
                    let reply = tokio::time::timeout_at(deadline, reply).await.ok().and_then(Result::ok);
                    // Late or lost: a late answer finds nobody and is dropped.
                    drop(shard.take(id));
                    reply
                }
                None => None,
            });
        }
        replies
    }

    /// Hands a shard's answer to whoever waits for it; one that nobody waits for any more is dropped.
    pub(super) fn answered(&self, shard: ShardId, id: RequestId, answer: Answer) {
        let Some(waiter) = self.shard(shard).and_then(|shard| shard.take(id)) else { return };
        match (waiter, answer) {
            (Waiter::Client(request), Answer::Client(answer)) => request.answer(answer),
            // An error means that the HTTP client has gone.
            (Waiter::Rest(reply), Answer::Rest(answer)) => drop(reply.send(*answer)),
            (waiter @ Waiter::Client(_), Answer::Rest(_)) | (waiter @ Waiter::Rest(_), Answer::Client(_)) => {
                debug_assert!(false, "an answer of the other kind");
                waiter.refuse(Refusal::new(Code::Internal, "the gateway mixed up its answers"));
            }
        }
    }

    /// A shard has died: what waits for it will get no other answer. What comes later is its successor's.
    pub(super) fn shard_died(&self, shard: ShardId) {
        if let Some(shard) = self.shard(shard) {
            let waiters = std::mem::take(&mut shard.waiting().by_id);
            waiters.into_values().for_each(|waiter| waiter.refuse(stopped()));
        }
    }

    /// A shard has ended: the same, for ever.
    pub(super) fn shard_ended(&self, shard: ShardId) {
        if let Some(ended) = self.shard(shard) {
            ended.waiting().ended = true;
        }
        self.shard_died(shard);
    }

    /// Whether a shard has ended.
    pub(super) fn has_ended(&self, shard: ShardId) -> bool {
        self.shard(shard).is_none_or(|shard| shard.waiting().ended)
    }

    /// Whether a mailbox was full a moment ago: no time to let more clients in.
    pub(super) fn overloaded(&self) -> bool {
        let full_at = *self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        full_at.is_some_and(|at| at.elapsed() < OVERLOAD_REMEMBERED)
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    fn ask(&self, shard: &Shard, query: Query) -> Option<(RequestId, oneshot::Receiver<QueryReply>)> {
        let (reply, answer) = oneshot::channel();
        let id = self.next_id();
        shard.wait(id, Waiter::Rest(reply)).ok()?;
        if self.push(shard, Some(id), Command::Rest(query)).is_err() {
            drop(shard.take(id));
            return None;
        }
        Some((id, answer))
    }

    fn push(&self, shard: &Shard, request: Option<RequestId>, command: Command) -> Result<(), MailboxFull> {
        let pushed = shard.mailbox.push(Input::Command { request, command });
        if pushed.is_err() {
            *self.full_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        pushed
    }

    fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(usize::from(shard.0))
    }

    fn next_id(&self) -> RequestId {
        RequestId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Shard {
    fn wait(&self, id: RequestId, waiter: Waiter) -> Result<(), Waiter> {
        let mut waiting = self.waiting();
        if waiting.ended {
            return Err(waiter);
        }
        waiting.by_id.insert(id, waiter);
        Ok(())
    }

    fn take(&self, id: RequestId) -> Option<Waiter> {
        self.waiting().by_id.remove(&id)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// A REST request sees a shard that says nothing.
    fn refuse(self, refusal: Refusal) {
        match self {
            Waiter::Client(request) => request.answer(Err(refusal)),
            Waiter::Rest(reply) => drop(reply),
        }
    }
}

fn stopped() -> Refusal {
    Refusal::new(Code::Internal, "this part of the gateway has stopped")
}

pub(super) fn overloaded() -> Refusal {
    Refusal::new(Code::Overloaded, "the gateway has too much to do, try again")
}

/// How long a REST request waits for the shards.
const REST_PATIENCE: Duration = Duration::from_secs(1);

/// How long new clients are turned away after a mailbox was full.
const OVERLOAD_REMEMBERED: Duration = Duration::from_secs(1);
