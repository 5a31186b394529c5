//! One shard: the agents, browser transports, calls and SIP dialogs of one core, without a clock, a socket, an await or a lock.
//!
//! The parent decides and the leaves compute: [`Shard::handle`] is the one match over everything that can happen.

mod agents;
mod audit;
mod calls;
mod config;
mod contain;
mod controls;
mod deadlines;
pub mod demux;
mod inject;
pub mod io;
mod media;
mod ports;
mod query;
mod sessions;
mod stats;
mod transports;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rustc_hash::FxHashMap;
use slotmap::{SecondaryMap, SlotMap};
use uuid::Uuid;

use crate::call::command::{Answer, Command, Reply};
use crate::call::error::Refusal;
use crate::ids::{AgentId, AgentKey, CallId, CallKey, ConsumerId, ProducerId, RequestId, SocketId, TenantId, TransportId, TransportKey};
use crate::limits;
use crate::net::{Datagram, LocalSocket, PacketKind, PacketPool, Transmit, classify};
use crate::sip::{MessageCounts, SessionKey, UserAgent, UserAgentConfig};

use agents::Agent;
pub use config::{Policy, ShardConfig, Trunk};
use contain::{Life, Panics, Work, internal};
use deadlines::{DeadlineSlot, Deadlines};
use demux::Demux;
use inject::Injected;
use io::{IngressTarget, Input, Output};
use media::CallSlot;
use ports::Ports;
use query::EndedCalls;
use stats::{CallCounts, Drops};
pub use stats::{CallFigures, Drop, Figures};
use transports::Transport;

/// Everything that lives on one core. Time and inputs go in, outputs and a deadline come out; bad input is counted or answered.
pub struct Shard {
    /// Buffers for datagrams: the driver receives into them and gives them back once sent.
    pub packets: PacketPool,
    config: ShardConfig,
    rng: ChaCha12Rng,
    outputs: VecDeque<Output>,
    deadlines: Deadlines<Timer>,
    sip_deadline: DeadlineSlot,
    demux: Demux,
    agents: SlotMap<AgentKey, Agent>,
    agents_by_id: FxHashMap<(TenantId, AgentId), AgentKey>,
    agents_by_socket: FxHashMap<SocketId, AgentKey>,
    transports: SlotMap<TransportKey, Transport>,
    calls: SlotMap<CallKey, CallSlot>,
    calls_by_id: FxHashMap<CallId, CallKey>,
    calls_by_session: SecondaryMap<SessionKey, CallKey>,
    call_counts: CallCounts,
    ended: EndedCalls,
    sip: UserAgent,
    /// Whether each SIP peer answered the last time that it was called or asked; one that nobody has called yet counts as there.
    peers_reachable: Vec<(SocketAddr, bool)>,
    /// When the lost ones are asked again; kept apart from the deadlines, of which an idle shard has none.
    ask_peers_at: Option<Instant>,
    ports: Ports,
    /// Peers that send the media of several calls from one port: their legs get pairs of their own from the start.
    colliding_peers: Vec<std::net::IpAddr>,
    drops: Drops,
    sip_received: MessageCounts,
    sip_sent: MessageCounts,
    /// Requests without an answer, each with the call that it is about: whatever happens, they get one.
    waiting: FxHashMap<RequestId, Option<CallId>>,
    /// What is ended if it panics now.
    work: Work,
    life: Life,
    panics: Panics,
    injected: Injected,
}

/// Who waits for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Agent(AgentKey),
    Call(CallKey),
    Sip,
    Transport(TransportKey),
}

impl Shard {
    /// A shard without agents.
    pub fn new(config: ShardConfig) -> Self {
        let mut rng = ChaCha12Rng::from_seed(config.seed);
        let mut sip_seed = [0; 32];
        rng.fill_bytes(&mut sip_seed);
        let sip = UserAgent::new(
            UserAgentConfig {
                contact: config.sip_contact,
                product: concat!("nexus-gateway/", env!("CARGO_PKG_VERSION")).to_owned(),
                credentials: config.trunk.credentials.clone(),
                shard: Some(config.shard),
                transactions_max: limits::SIP_TRANSACTIONS_PER_SHARD,
                sessions_max: limits::CALLS_PER_SHARD,
            },
            sip_seed,
        );
        Self {
            packets: PacketPool::new(limits::IDLE_PACKETS),
            ports: Ports::new(config.shared_pair, config.own_pairs.clone()),
            demux: Demux::new(rng.next_u64()),
            peers_reachable: config.trunk.peers.iter().map(|&peer| (peer, true)).collect(),
            ask_peers_at: None,
            config,
            rng,
            outputs: VecDeque::new(),
            deadlines: Deadlines::new(),
            sip_deadline: DeadlineSlot::default(),
            agents: SlotMap::with_key(),
            agents_by_id: FxHashMap::default(),
            agents_by_socket: FxHashMap::default(),
            transports: SlotMap::with_key(),
            calls: SlotMap::with_key(),
            calls_by_id: FxHashMap::default(),
            calls_by_session: SecondaryMap::new(),
            call_counts: CallCounts::default(),
            ended: EndedCalls::default(),
            sip,
            colliding_peers: Vec::new(),
            drops: Drops::default(),
            sip_received: MessageCounts::default(),
            sip_sent: MessageCounts::default(),
            waiting: FxHashMap::default(),
            work: Work::Nobody,
            life: Life::Alive,
            panics: Panics::default(),
            injected: Injected::default(),
        }
    }

    /// Takes one input in. What follows from it is in [`Shard::poll_output`]. It does not panic: what would, ends (see `contain`).
    pub fn handle(&mut self, input: Input, now: Instant) {
        if self.life == Life::Dead {
            return;
        }
        self.work = Work::Nobody;
        // Each kind has its own catch: so a datagram, which is most of them and small, is not moved about in the room of a command.
        let done = match input {
            Input::Datagram(datagram) | Input::Ingress { datagram, .. } if datagram.packet.is_cut() => {
                self.discard(datagram, Drop::Cut);
                Some(())
            }
            Input::Datagram(datagram) => self.caught(|shard| shard.on_datagram(datagram, now)),
            Input::Ingress { datagram, target } => self.caught(|shard| shard.on_sip(datagram, target, now)),
            Input::Command { request, command } => self.caught(|shard| {
                shard.on_command(request, command, now);
                shard.work = Work::Nobody;
                shard.drive_sip(now);
            }),
            Input::PairFailed(pair) => self.caught(|shard| shard.on_pair_failed(pair, now)),
            Input::Unreachable(peer) => self.caught(|shard| shard.on_unreachable(peer, now)),
            Input::Timeout => self.caught(|shard| {
                shard.on_timeout(now);
                shard.work = Work::Nobody;
                shard.drive_sip(now);
            }),
        };
        if done.is_none() {
            self.contain(now);
        }
        if self.life == Life::Doomed {
            self.die(now);
        }
    }

    /// The next thing that the driver has to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is next due.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.deadlines.next(), self.ask_peers_at].into_iter().flatten().min()
    }

    fn on_datagram(&mut self, datagram: Datagram, now: Instant) {
        self.injected.point("datagram", None);
        match datagram.socket {
            LocalSocket::Browser => match classify(datagram.packet.bytes()) {
                PacketKind::Rtp => self.on_browser_rtp(datagram, now),
                PacketKind::Rtcp => self.on_browser_rtcp(datagram, now),
                PacketKind::Stun => self.on_stun(datagram, now),
                PacketKind::Dtls => self.on_dtls(datagram, now),
                PacketKind::Unknown => self.discard(datagram, Drop::Unclassified),
            },
            LocalSocket::Rtp(pair) => self.on_sip_rtp(pair, datagram, now),
            LocalSocket::Rtcp(pair) => self.on_sip_rtcp(pair, datagram, now),
            LocalSocket::Sip | LocalSocket::SipPublic => self.on_sip(datagram, IngressTarget::Any, now),
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        if self.ask_peers_at.is_some_and(|at| at <= now) {
            self.ask_peers(now);
        }
        // Each of them at most once: one that is due again at once waits for the next tick, behind the media.
        for _ in 0..self.deadlines.len() {
            let Some(timer) = self.deadlines.pop_due(now) else { break };
            self.work = Work::Nobody;
            match timer {
                Timer::Agent(agent) => self.on_agent_timeout(agent, now),
                Timer::Call(call) => self.on_call_timeout(call, now),
                Timer::Sip => {
                    self.sip_deadline.fired();
                    self.sip.handle_timeout(now);
                    self.drive_sip(now);
                }
                Timer::Transport(transport) => self.on_transport_timeout(transport, now),
            }
        }
    }

    fn on_command(&mut self, request: Option<RequestId>, command: Command, now: Instant) {
        match command {
            Command::Connect { socket, identity } => {
                if self.caught(|shard| shard.connect(socket, identity, now)).is_none() {
                    self.refuse_socket(socket, now);
                }
            }
            Command::Disconnect { socket } => self.disconnect(socket, now),
            Command::Client { socket, action } => {
                // Events that the request causes come behind its acknowledgement, wherever in its handling they arise.
                let mark = self.outputs.len();
                let call = action.call();
                if let Some(request) = request {
                    self.waiting.insert(request, call);
                }
                let outcome = match self.agents_by_socket.get(&socket) {
                    Some(&agent) => {
                        if let Some(key) = call.and_then(|call| self.call_of(agent, call).ok()) {
                            self.work = Work::Call(key);
                        }
                        let outcome = self.caught(|shard| shard.act(agent, request, action, now));
                        if outcome.is_none() {
                            self.answer_at(mark, request, Err(internal()));
                            self.contain(now);
                        }
                        outcome.flatten()
                    }
                    None => Some(Err(Refusal::new(crate::call::error::Code::SessionTakenOver, "this socket is no longer the agent's"))),
                };
                if let Some(outcome) = outcome {
                    self.answer_at(mark, request, outcome);
                }
            }
            Command::Rest(query) => {
                let reply = self.query(query, now);
                if let Some(request) = request {
                    self.outputs.push_back(Output::Answer { request, answer: Answer::Rest(Box::new(reply)) });
                }
            }
        }
    }

    /// Acknowledges a request that had to wait.
    fn acknowledge(&mut self, request: Option<RequestId>, outcome: Result<Reply, Refusal>) {
        self.answer_at(self.outputs.len(), request, outcome);
    }

    /// Acknowledges a request ahead of the outputs behind `mark`, unless it has been answered.
    fn answer_at(&mut self, mark: usize, request: Option<RequestId>, outcome: Result<Reply, Refusal>) {
        if let Some(request) = request
            && self.waiting.remove(&request).is_some()
        {
            self.outputs.insert(mark, Output::Answer { request, answer: Answer::Client(outcome) });
        }
    }

    /// Drops a datagram and counts why.
    fn discard(&mut self, datagram: Datagram, reason: Drop) {
        self.drops.count(reason);
        self.packets.give_back(datagram.packet);
    }

    /// Sends bytes that are not already in a packet: signalling, not media.
    fn transmit_copy(&mut self, socket: LocalSocket, to: SocketAddr, bytes: &[u8]) {
        let mut packet = self.packets.take();
        if packet.copy_from(bytes) {
            self.outputs.push_back(Output::Transmit(Transmit { socket, to, packet }));
        } else {
            self.drops.count(Drop::TooLong);
            self.packets.give_back(packet);
        }
    }

    /// The time of day at `instant`.
    fn wall_clock(&self, instant: Instant) -> SystemTime {
        let (origin, origin_wall) = self.config.origin;
        match instant.checked_duration_since(origin) {
            Some(since) => origin_wall + since,
            None => origin_wall - origin.duration_since(instant),
        }
    }

    /// A new UUIDv7 (RFC 9562 section 5.7) of this moment.
    fn new_uuid(&mut self, now: Instant) -> Uuid {
        let since_epoch = self.wall_clock(now).duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut random = [0; 10];
        self.rng.fill_bytes(&mut random);
        uuid::Builder::from_unix_timestamp_millis(since_epoch.as_millis() as u64, &random).into_uuid()
    }

    fn new_call_id(&mut self, now: Instant) -> CallId {
        CallId(self.new_uuid(now))
    }

    fn new_transport_id(&mut self, now: Instant) -> TransportId {
        TransportId(self.new_uuid(now))
    }

    fn new_producer_id(&mut self, now: Instant) -> ProducerId {
        ProducerId(self.new_uuid(now))
    }

    fn new_consumer_id(&mut self, now: Instant) -> ConsumerId {
        ConsumerId(self.new_uuid(now))
    }
}
