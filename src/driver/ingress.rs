//! The thread of the public SIP socket: takes each request off it and hands it to the shard that has, or gets, its call. Beside that it looks
//! after the shards, being the one thread that is never theirs.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::mailbox::{LOOK_AFTER_EVERY, ShardMailbox};
use super::placement::{Callee, Placement};
use super::sources::SipSources;
use super::udp::{BATCH, Receiver, Socket};
use crate::ids::ShardId;
use crate::limits::SIP_TRANSACTIONS_PER_SHARD;
use crate::net::{Datagram, LocalSocket, Packet, PacketPool};
use crate::shard::io::{IngressTarget, Input};
use crate::sip::ingress::Ingress;

/// How long the thread may take to notice that it is to end.
const LOOK_UP_EVERY: Duration = Duration::from_millis(200);

/// A shard that does not run for this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// What the thread works with.
pub struct IngressSeat {
    /// The public SIP socket.
    pub socket: Socket,
    /// Every shard's mailbox, in the order of the shards; at least one.
    pub mailboxes: Vec<ShardMailbox>,
    /// Finds the called agent.
    pub placement: Arc<Placement>,
    /// Whom SIP is taken from.
    pub sources: Arc<SipSources>,
    /// Set when the thread is to end.
    pub stop: Arc<AtomicBool>,
}

/// Starts the thread.
///
/// # Errors
///
/// The system is out of threads.
pub fn spawn(seat: IngressSeat) -> io::Result<JoinHandle<()>> {
    Builder::new().name("sip-ingress".to_owned()).spawn(move || {
        let shards = seat.placement.shards();
        let router = Router {
            ingress: Ingress::new(shards, SIP_TRANSACTIONS_PER_SHARD * usize::from(shards)),
            next: 0,
            silent: vec![None; seat.mailboxes.len()],
            mailboxes: seat.mailboxes,
            placement: seat.placement,
        };
        run(router, &seat.socket, &seat.sources, &seat.stop);
    })
}

fn run(mut router: Router, socket: &Socket, sources: &SipSources, stop: &AtomicBool) {
    // The buffers go on to the shards, which keep them: this pool only ever gives.
    let mut pool = PacketPool::new(BATCH);
    let mut receiver = Receiver::new(&mut pool);
    let mut looked_after = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let mut waiting = [PollFd::new(socket, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_UP_EVERY.subsec_nanos().into() };
        if poll(&mut waiting, Some(&timeout)).is_err() {
            continue;
        }
        let now = Instant::now();
        if now.saturating_duration_since(looked_after) >= LOOK_AFTER_EVERY {
            looked_after = now;
            router.look_after_shards(now);
        }
        let count = receiver.receive(socket).unwrap_or(0);
        for place in 0..count {
            let Some((from, packet)) = receiver.take(place, &mut pool) else { continue };
            if sources.allow(from.ip()) {
                // A datagram that makes the router panic is lost, and its sender will repeat it; nobody else may notice.
                let _ = catch_unwind(AssertUnwindSafe(|| router.hand_over(from, packet, now)));
            } else {
                sources.count_dropped_in_public();
            }
        }
    }
}

struct Router {
    ingress: Ingress,
    /// Who refuses the next call that is for nobody.
    next: u16,
    mailboxes: Vec<ShardMailbox>,
    /// For each shard, since when it has not run, if it has not.
    silent: Vec<Option<Silence>>,
    placement: Arc<Placement>,
}

/// A shard that does not run.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Instant,
    is_told: bool,
}

impl Router {
    /// Wakes shards that do not run. One that hangs is only told of: a thread cannot be ended from outside without taking the others' memory with
    /// it, and it may come back. Meanwhile it answers nothing, which health shows.
    fn look_after_shards(&mut self, now: Instant) {
        for (shard, (mailbox, silent)) in self.mailboxes.iter().zip(&mut self.silent).enumerate() {
            match (mailbox.look_after(), &mut *silent) {
                (true, None) => {
                    tracing::warn!(shard, "a shard has not run for long; woken");
                    *silent = Some(Silence { since: now, is_told: false });
                }
                (true, Some(silence)) if !silence.is_told && now.duration_since(silence.since) >= HANGS_AFTER => {
                    tracing::error!(shard, "a shard hangs: its calls get no service until it goes on or the process is restarted");
                    silence.is_told = true;
                }
                (true, Some(_)) | (false, None) => {}
                (false, Some(silence)) => {
                    if silence.is_told {
                        tracing::error!(shard, after = ?now.duration_since(silence.since), "a shard that hung goes on");
                    }
                    *silent = None;
                }
            }
        }
    }

    /// Gives a datagram to its shard. A full mailbox drops it: over UDP its sender repeats it (RFC 3261 section 17.1.1.2).
    fn hand_over(&mut self, from: std::net::SocketAddr, packet: Packet, now: Instant) {
        let (placement, next) = (&self.placement, &mut self.next);
        let (shard, target) = self
            .ingress
            .route(packet.bytes(), from, now, |user, domain| target(placement.lookup(user, domain), || turn(next, placement.shards())));
        let datagram = Datagram { socket: LocalSocket::SipPublic, from, packet };
        if let Some(mailbox) = self.mailboxes.get(usize::from(shard.0)) {
            let _ = mailbox.push(Input::Ingress { datagram, target: target.unwrap_or(IngressTarget::Any) });
        }
    }
}

/// What a shard is told of a call's target. Refusals are work, too: they go round.
fn target(callee: Callee, next: impl FnOnce() -> ShardId) -> (ShardId, IngressTarget) {
    match callee {
        Callee::Agent { shard, tenant, agent } => (shard, IngressTarget::Agent(tenant, agent)),
        Callee::Absent => (next(), IngressTarget::Refuse(480)),
        Callee::Ambiguous => (next(), IngressTarget::Refuse(485)),
        Callee::Unknown => (next(), IngressTarget::Refuse(404)),
    }
}

fn turn(next: &mut u16, shards: u16) -> ShardId {
    *next = (*next + 1) % shards.max(1);
    ShardId(*next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_does_not_run_is_woken_at_once_and_hangs_after_ten_seconds_until_it_goes_on() {
        let (mailbox, inbox) = crate::driver::mailbox(1);
        let placement = Arc::new(Placement::new(1, crate::driver::Spread::Auto, 1));
        let mut router = Router { ingress: Ingress::new(1, 1), next: 0, mailboxes: vec![mailbox], silent: vec![None], placement };
        let start = Instant::now();
        let mut look = |seconds| {
            router.look_after_shards(start + Duration::from_secs(seconds));
            router.silent[0].map(|silence| silence.is_told)
        };
        assert_eq!([look(0), look(1), look(10), look(11), look(12)], [None, Some(false), Some(false), Some(true), Some(true)]);
        inbox.alive();
        assert_eq!([look(13), look(14)], [None, Some(false)]);
    }

    #[test]
    fn calls_for_nobody_are_refused_by_each_shard_in_turn() {
        let mut next = 0;
        let mut refuse = |callee| target(callee, || turn(&mut next, 2));
        assert_eq!(refuse(Callee::Unknown), (ShardId(1), IngressTarget::Refuse(404)));
        assert_eq!(refuse(Callee::Absent), (ShardId(0), IngressTarget::Refuse(480)));
        assert_eq!(refuse(Callee::Ambiguous), (ShardId(1), IngressTarget::Refuse(485)));
    }
}
