//! The run loop of one shard: sockets, mailbox and deadlines in, batches and events out, once a tick.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::TryRngCore;
use rand::rngs::OsRng;

use super::figures::{ShardFigures, ThreadFigures, Watch};
use super::mailbox::{OutputSink, ShardInbox};
use super::park::Parker;
use super::placement::Placement;
use super::sockets::{SharedSockets, Sockets};
use super::sources::SipSources;
use super::udp::{BATCH, Receiver, Sent};
use crate::call::command::{Answer, QueryReply};
use crate::ids::ShardId;
use crate::limits::COMMANDS_PER_TICK;
use crate::net::{Datagram, LocalSocket};
use crate::shard::io::{Input, Output};
use crate::shard::{Shard, ShardConfig};

/// Wake-ups are the cost, not system calls: at 100,000 packets a second a tick of 1 ms halves the CPU time per packet, 2 ms save little more.
const TICK: Duration = Duration::from_millis(1);

/// How long a shard that is behind lets the reactor look around before it goes on.
const BREATH: Duration = Duration::from_micros(50);

/// After so many ticks with nothing to do the shard parks. Few, because one stream has a packet in every twentieth tick only: up to some
/// hundred packets a second it is cheaper to be woken for each than to tick in between.
const QUIET_TICKS: u32 = 3;

/// The longest sleep, however far the next deadline is. Less than [`super::mailbox::LOOK_AFTER_EVERY`]: who sleeps longer is stuck.
const PARK_MAX: Duration = Duration::from_millis(200);

/// The longest sleep while legs have port pairs of their own: those are polled, not watched.
const PARK_MAX_WITH_OWN_PAIRS: Duration = Duration::from_millis(5);

/// Batches that one socket may have in one tick, so that none starves the others.
const BATCHES_PER_TICK: usize = 16;

/// Outputs held for a slow front at which the shard takes no more SIP, so that no new calls and events begin.
const BACKLOG_NO_SIGNALLING: usize = 1024;

/// Outputs held for a slow front at which the shard takes nothing at all until it has caught up.
const BACKLOG_MAX: usize = 64 * 1024;

/// At most one line about lost datagrams in this time.
const LOSS_LOG_GAP: Duration = Duration::from_secs(10);

/// A shard that dies this often in this time would die for ever: the process ends and whoever supervises it starts another.
const DEATHS_MAX: usize = 5;
const DEATHS_WINDOW: Duration = Duration::from_secs(60);

/// Everything that a shard's thread works with.
pub struct Seat {
    /// What the core is told.
    pub config: ShardConfig,
    /// Its sockets, bound already.
    pub sockets: SharedSockets,
    /// What own pairs are bound to.
    pub media_ip: IpAddr,
    /// Where its inputs from other threads arrive.
    pub inbox: ShardInbox,
    /// Where its answers and events go.
    pub sink: Box<dyn OutputSink>,
    /// Told of every agent that comes or goes.
    pub placement: Arc<Placement>,
    /// Whom SIP is taken from.
    pub sources: Arc<SipSources>,
}

/// Why a shard's thread came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardExit {
    /// It was told to.
    Stopped,
    /// It cannot go on, and why.
    Broken(String),
}

/// A shard in its thread. The shard may die and have a successor; sockets, mailbox and sink stay.
pub struct Runner {
    shard: Shard,
    io: Io,
    receiver: Receiver,
    ready: Vec<LocalSocket>,
    inbox: ShardInbox,
    /// When shards have died here lately.
    deaths: Vec<Instant>,
}

/// The shard's way out, apart from the shard so that both can be borrowed at once.
struct Io {
    id: ShardId,
    sockets: Sockets,
    sink: Box<dyn OutputSink>,
    /// Outputs that the sink had no room for, oldest first.
    backlog: VecDeque<Output>,
    placement: Arc<Placement>,
    sources: Arc<SipSources>,
    figures: ThreadFigures,
    loss_logged: Option<(Instant, u64)>,
    /// The shard has said that it is dead.
    is_shard_dead: bool,
}

/// What a tick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    /// Nothing from outside.
    Quiet,
    /// Something, and all of it is done.
    Busy,
    /// More than one tick takes: the next should follow at once.
    Behind,
}

/// How much a shard may take in, by what the front has left lying. Its outputs are never lost, so its inputs have to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Intake {
    Everything,
    NoCommands,
    MediaOnly,
    Nothing,
}

impl Intake {
    fn with(backlog: usize) -> Self {
        match backlog {
            0 => Intake::Everything,
            1..BACKLOG_NO_SIGNALLING => Intake::NoCommands,
            BACKLOG_NO_SIGNALLING..BACKLOG_MAX => Intake::MediaOnly,
            BACKLOG_MAX.. => Intake::Nothing,
        }
    }
}

impl Runner {
    /// Makes the core. To be called in the shard's thread.
    ///
    /// # Errors
    ///
    /// The process is out of file descriptors.
    pub fn new(seat: Seat) -> io::Result<Self> {
        let id = seat.config.shard;
        let sockets = Sockets::new(seat.sockets, seat.media_ip)?;
        let mut shard = Shard::new(seat.config);
        let receiver = Receiver::new(&mut shard.packets);
        let (placement, sources) = (seat.placement, seat.sources);
        let (backlog, figures) = (VecDeque::new(), ThreadFigures::default());
        let io = Io { id, sockets, sink: seat.sink, backlog, placement, sources, figures, loss_logged: None, is_shard_dead: false };
        Ok(Self { shard, io, receiver, ready: Vec::with_capacity(BATCH), inbox: seat.inbox, deaths: Vec::new() })
    }

    /// Duplicates of the sockets, for a [`Parker`].
    ///
    /// # Errors
    ///
    /// The process is out of file descriptors.
    pub fn watched(&self) -> io::Result<Vec<std::os::fd::OwnedFd>> {
        self.io.sockets.duplicates()
    }

    /// Runs until it is told to stop, or until shards die here again and again.
    pub async fn run(&mut self, parker: Parker) -> ShardExit {
        let mut quiet = 0;
        std::future::poll_fn(|cx| self.inbox.introduce(cx)).await;
        let mut watch = Watch::start(Instant::now());
        loop {
            watch.woke(Instant::now(), &mut self.io.figures);
            let tick = match catch_unwind(AssertUnwindSafe(|| self.tick())) {
                Ok(tick) if !self.io.is_shard_dead => tick,
                // The core contains its own panics; one of the driver's may have lost what the core wanted done.
                Ok(_) | Err(_) => match self.restart() {
                    Ok(()) => Tick::Busy,
                    Err(exit) => return exit,
                },
            };
            if self.inbox.stopped() {
                return ShardExit::Stopped;
            }
            let took = watch.worked(Instant::now(), &mut self.io.figures);
            if watch.publish_due() {
                self.publish();
            }
            quiet = if tick == Tick::Quiet && self.io.backlog.is_empty() { quiet + 1 } else { 0 };
            if tick == Tick::Behind {
                // A plain yield would leave the executor's own I/O unpolled for as long as we are behind.
                glommio::timer::sleep(BREATH).await;
            } else if quiet < QUIET_TICKS {
                glommio::timer::sleep(TICK.saturating_sub(took).max(BREATH)).await;
            } else {
                parker.park(&self.inbox, self.longest_sleep()).await;
            }
        }
    }

    fn publish(&mut self) {
        self.io.figures.outputs_held = self.io.backlog.len();
        let thread = ThreadFigures { foreign_sip: self.io.foreign_sip(), ..self.io.figures.clone() };
        self.inbox.publish(ShardFigures { core: self.shard.figures(), thread });
    }

    /// Puts a new shard in the place of one that is dead or not to be trusted, on the same sockets. Calls are ended and agents told as far as that
    /// can be done; their clients are cut off and come back by themselves.
    ///
    /// # Errors
    ///
    /// Shards have died here too often, or the system gives no random bytes.
    pub fn restart(&mut self) -> Result<(), ShardExit> {
        let begun = Instant::now();
        let told = catch_unwind(AssertUnwindSafe(|| {
            self.shard.die(begun);
            self.io.drain(&mut self.shard, begun);
            self.io.flush(&mut self.shard, begun);
        }));
        if told.is_err() {
            // Whatever it was that could not be told, this the front has to know.
            let _ = catch_unwind(AssertUnwindSafe(|| self.io.deliver(Output::Died)));
        }
        self.io.is_shard_dead = false;
        self.io.sockets.close_own_pairs();
        self.io.placement.shard_died(self.io.id);
        self.deaths.retain(|&at| begun.saturating_duration_since(at) < DEATHS_WINDOW);
        self.deaths.push(begun);
        if self.deaths.len() >= DEATHS_MAX {
            return Err(ShardExit::Broken(format!("it died {DEATHS_MAX} times in {} s", DEATHS_WINDOW.as_secs())));
        }
        let mut seed = [0; 32];
        OsRng.try_fill_bytes(&mut seed).map_err(|error| ShardExit::Broken(format!("no random bytes: {error}")))?;
        self.shard = self.shard.successor(seed);
        self.io.figures.restarts += 1;
        tracing::error!(shard = self.io.id.0, took = ?begun.elapsed(), "a new shard has taken the place of one that died");
        Ok(())
    }

    fn longest_sleep(&self) -> Duration {
        let longest = if self.io.sockets.own_pairs() == 0 { PARK_MAX } else { PARK_MAX_WITH_OWN_PAIRS };
        self.shard.next_deadline().map_or(longest, |at| at.saturating_duration_since(Instant::now()).clamp(BREATH, longest))
    }

    fn tick(&mut self) -> Tick {
        self.inbox.alive();
        self.io.offer_backlog();
        let intake = Intake::with(self.io.backlog.len());
        if intake == Intake::Nothing {
            return Tick::Busy;
        }
        let datagrams = self.take_datagrams(intake);
        let commands = self.take_commands();
        let now = Instant::now();
        if self.shard.next_deadline().is_some_and(|at| at <= now) {
            self.shard.handle(Input::Timeout, now);
        }
        // Here at the latest, what the core has had to say from its start on.
        self.io.drain(&mut self.shard, now);
        self.io.flush(&mut self.shard, now);
        datagrams.max(commands)
    }

    fn take_datagrams(&mut self, intake: Intake) -> Tick {
        self.io.sockets.poll(&mut self.ready);
        let mut tick = match self.ready.len() {
            0 => Tick::Quiet,
            BATCH.. => Tick::Behind,
            _ => Tick::Busy,
        };
        for index in 0..self.ready.len() {
            let socket = self.ready[index];
            if socket == LocalSocket::Sip && intake >= Intake::MediaOnly {
                continue;
            }
            if socket == LocalSocket::Sip {
                self.take_unreachable();
            }
            let mut batches = 0;
            while self.take_batch(socket) == BATCH {
                batches += 1;
                if batches == BATCHES_PER_TICK {
                    tick = Tick::Behind;
                    break;
                }
            }
        }
        tick
    }

    /// Tells the core whom its SIP messages could not be delivered to.
    fn take_unreachable(&mut self) {
        while let Some(peer) = self.io.sockets.take_unreachable() {
            let now = Instant::now();
            self.shard.handle(Input::Unreachable(peer), now);
            self.io.drain(&mut self.shard, now);
        }
    }

    /// Takes one batch off a socket through the core; how many datagrams that were.
    fn take_batch(&mut self, socket: LocalSocket) -> usize {
        let count = self.io.sockets.receive(socket, &mut self.receiver);
        let now = Instant::now();
        self.io.figures.received += count as u64;
        for place in 0..count {
            let Some((from, packet)) = self.receiver.take(place, &mut self.shard.packets) else { continue };
            if socket == LocalSocket::Sip && !self.io.sources.allow(from.ip()) {
                self.io.figures.foreign_sip += 1;
                self.shard.packets.give_back(packet);
                continue;
            }
            self.shard.handle(Input::Datagram(Datagram { socket, from, packet }), now);
        }
        if count > 0 {
            self.io.drain(&mut self.shard, now);
        }
        count
    }

    /// Takes commands as long as what they cause can be delivered.
    fn take_commands(&mut self) -> Tick {
        let now = Instant::now();
        for taken in 0..COMMANDS_PER_TICK {
            if !self.io.backlog.is_empty() {
                return Tick::Busy;
            }
            let Some(input) = self.inbox.pop() else { return if taken == 0 { Tick::Quiet } else { Tick::Busy } };
            self.shard.handle(input, now);
            self.io.drain(&mut self.shard, now);
        }
        Tick::Behind
    }
}

impl Io {
    /// Does what the core asks for.
    fn drain(&mut self, shard: &mut Shard, now: Instant) {
        while let Some(output) = shard.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let sent = self.sockets.send(transmit, &mut shard.packets);
                    self.count(sent);
                }
                Output::OpenPair { pair, rtp_port } => {
                    if let Err(error) = self.sockets.open(pair, rtp_port) {
                        tracing::warn!(shard = self.id.0, rtp_port, %error, "a port pair of our range is not free");
                        shard.handle(Input::PairFailed(pair), now);
                    }
                }
                Output::ClosePair(pair) => self.sockets.close(pair),
                Output::AgentPresent { ref tenant, ref agent, present } => {
                    self.placement.present(tenant, agent, self.id, present);
                    self.deliver(output);
                }
                Output::Answer { request, answer } => {
                    let answer = self.with_own_counters(answer);
                    self.deliver(Output::Answer { request, answer });
                }
                Output::Died => {
                    self.is_shard_dead = true;
                    self.deliver(Output::Died);
                }
                Output::Connected { .. } | Output::Event { .. } | Output::Disconnect { .. } | Output::Reconnect { .. } => {
                    self.deliver(output);
                }
            }
        }
    }

    /// Hands an output to the front, behind those that wait for room already.
    fn deliver(&mut self, output: Output) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(output);
        } else if let Err(output) = self.sink.push(self.id, output) {
            tracing::warn!(shard = self.id.0, "the front is slow: no more commands until it has caught up");
            self.backlog.push_back(output);
        }
    }

    fn offer_backlog(&mut self) {
        while let Some(output) = self.backlog.pop_front() {
            if let Err(output) = self.sink.push(self.id, output) {
                self.backlog.push_front(output);
                return;
            }
        }
    }

    fn flush(&mut self, shard: &mut Shard, now: Instant) {
        let sent = self.sockets.flush(&mut shard.packets);
        self.count(sent);
        let (logged_at, logged) = self.loss_logged.map_or((None, 0), |(at, count)| (Some(at), count));
        if self.figures.unsent > logged && logged_at.is_none_or(|at| now.saturating_duration_since(at) >= LOSS_LOG_GAP) {
            tracing::warn!(shard = self.id.0, count = self.figures.unsent - logged, "datagrams were not taken by the kernel");
            self.loss_logged = Some((now, self.figures.unsent));
        }
    }

    fn count(&mut self, sent: Sent) {
        self.figures.sent += sent.sent;
        self.figures.unsent += sent.failed;
    }

    /// The shard's figures are asked of the core, which does not know what the driver dropped.
    fn with_own_counters(&self, mut answer: Answer) -> Answer {
        if let Answer::Rest(reply) = &mut answer
            && let QueryReply::Stats(stats) = &mut **reply
        {
            stats.dropped.extend([("unsent", self.figures.unsent), ("sip_source_not_allowed", self.foreign_sip())]);
            stats.restarts = self.figures.restarts;
        }
        answer
    }

    /// SIP datagrams from sources that are not allowed; the first shard tells of the public port's, too.
    fn foreign_sip(&self) -> u64 {
        self.figures.foreign_sip + if self.id == ShardId(0) { self.sources.dropped_in_public() } else { 0 }
    }
}

impl Tick {
    /// The more urgent one.
    fn max(self, other: Tick) -> Tick {
        match (self, other) {
            (Tick::Behind, _) | (_, Tick::Behind) => Tick::Behind,
            (Tick::Busy, _) | (_, Tick::Busy) => Tick::Busy,
            (Tick::Quiet, Tick::Quiet) => Tick::Quiet,
        }
    }
}
