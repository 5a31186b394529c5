//! Agents: their sockets, which may come and go, and how long their calls outlive them.

use std::time::{Duration, Instant};

use rand::RngCore;

use super::deadlines::DeadlineSlot;
use super::io::Output;
use super::{Shard, Timer};
use crate::call::command::{Action, Identity, Reply, Welcome};
use crate::call::error::{Code, Refusal};
use crate::call::event::{CallEvent, EndReason, EndedBy, Event, TransportState};
use crate::ids::{AgentKey, CallId, CallKey, PeerId, ProducerId, RequestId, SocketId, TransportKey};
use crate::limits;
use crate::webrtc::ortc::ProducerMedia;

/// An agent who is connected, or was a moment ago.
#[derive(Debug)]
pub(super) struct Agent {
    pub identity: Identity,
    pub peer: PeerId,
    pub socket: Option<SocketId>,
    pub connected_at: Instant,
    /// Since when there is no socket.
    socket_lost_at: Option<Instant>,
    /// Since when no transport of the agent is connected.
    media_lost_at: Option<Instant>,
    events_given: u64,
    pub transports: Vec<TransportKey>,
    /// The connected transport that the microphone comes in on.
    pub send: Option<TransportKey>,
    /// The connected transport that the far party's voice goes out on.
    pub recv: Option<TransportKey>,
    pub producers: Vec<Producer>,
    /// The id of the one remote-audio stream, the same for the whole shift.
    pub remote_producer: ProducerId,
    pub calls: Vec<CallKey>,
    /// The call that the agent's voice goes to and whose voice it hears.
    pub bridged: Option<CallKey>,
    pub calls_today: u64,
    pub talk_time: Duration,
    /// Sum and count of the ended calls' scores.
    pub mos: (f64, u32),
    deadline: DeadlineSlot,
}

/// A microphone stream that the browser sends.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub id: ProducerId,
    pub transport: TransportKey,
    pub media: ProducerMedia,
    pub paused: bool,
}

impl Agent {
    /// The deadline that is set for it.
    pub fn armed(&self) -> Option<Instant> {
        self.deadline.at()
    }

    /// The microphone: the newest stream of the connected send transport.
    pub fn microphone(&self) -> Option<&Producer> {
        self.producers.iter().rev().find(|producer| Some(producer.transport) == self.send)
    }
}

impl Shard {
    pub(super) fn connect(&mut self, socket: SocketId, identity: Identity, now: Instant) {
        let id = (identity.tenant.clone(), identity.agent.clone());
        let peer = PeerId(self.new_uuid(now));
        let key = match self.agents_by_id.get(&id) {
            Some(&key) => {
                let agent = &mut self.agents[key];
                agent.identity = identity;
                agent.peer = peer;
                agent.events_given = 0;
                agent.connected_at = now;
                agent.socket_lost_at = None;
                if let Some(older) = agent.socket.replace(socket) {
                    self.agents_by_socket.remove(&older);
                    let message = "the agent has connected elsewhere".to_owned();
                    let event = Event::Error { event: "connect", code: Code::SessionTakenOver, message, call: None };
                    self.outputs.push_back(Output::Event { socket: older, number: None, event });
                    self.outputs.push_back(Output::Disconnect { socket: older });
                }
                key
            }
            None if self.agents.len() >= limits::AGENTS_PER_SHARD => {
                let message = "this shard has no room for another agent".to_owned();
                let event = Event::Error { event: "connect", code: Code::Overloaded, message, call: None };
                self.outputs.push_back(Output::Event { socket, number: None, event });
                self.outputs.push_back(Output::Disconnect { socket });
                return;
            }
            None => {
                let remote_producer = self.new_producer_id(now);
                let key = self.agents.insert(Agent {
                    identity,
                    peer,
                    socket: Some(socket),
                    connected_at: now,
                    socket_lost_at: None,
                    media_lost_at: Some(now),
                    events_given: 0,
                    transports: Vec::new(),
                    send: None,
                    recv: None,
                    producers: Vec::new(),
                    remote_producer,
                    calls: Vec::new(),
                    bridged: None,
                    calls_today: 0,
                    talk_time: Duration::ZERO,
                    mos: (0.0, 0),
                    deadline: DeadlineSlot::default(),
                });
                self.agents_by_id.insert(id.clone(), key);
                key
            }
        };
        self.agents_by_socket.insert(socket, key);
        self.schedule_agent(key);
        self.outputs.push_back(Output::AgentPresent { tenant: id.0, agent: id.1, present: true });
        self.welcome(key, socket, now);
    }

    fn welcome(&mut self, key: AgentKey, socket: SocketId, now: Instant) {
        self.injected.point("connect", None);
        let mut token = [0; 24];
        self.rng.fill_bytes(&mut token);
        let agent = &self.agents[key];
        let peer = agent.peer;
        let welcome = Welcome {
            peer,
            identity: agent.identity.clone(),
            server_time: self.wall_clock(now),
            producer: agent.remote_producer,
            calls: agent.calls.iter().map(|&call| self.call_view(call)).collect(),
            ice_servers: self.config.ice_servers.clone(),
            resume_token: hex::encode(token),
            grace: self.config.policy.resume_grace,
            max_calls: self.config.policy.max_calls_per_agent,
            event_id: 0,
        };
        self.outputs.push_back(Output::Connected { socket, welcome: Box::new(welcome) });
        self.tell(key, Event::PeerConnected { peer });
    }

    pub(super) fn disconnect(&mut self, socket: SocketId, now: Instant) {
        let Some(key) = self.agents_by_socket.remove(&socket) else { return };
        let agent = &mut self.agents[key];
        agent.socket = None;
        agent.socket_lost_at = Some(now);
        let (tenant, id) = (agent.identity.tenant.clone(), agent.identity.agent.clone());
        self.outputs.push_back(Output::AgentPresent { tenant, agent: id, present: false });
        self.schedule_agent(key);
    }

    /// Calls outlive a lost socket while media goes on, up to a bound, and for the grace time once both are gone.
    fn schedule_agent(&mut self, key: AgentKey) {
        let policy = &self.config.policy;
        let agent = &mut self.agents[key];
        let due = match (agent.socket_lost_at, agent.media_lost_at) {
            (None, _) => None,
            (Some(socket), None) => Some(socket + policy.resume_media_max),
            (Some(socket), Some(media)) => {
                Some((socket.max(media) + policy.resume_grace).min(socket + policy.resume_media_max.max(policy.resume_grace)))
            }
        };
        self.deadlines.set(Timer::Agent(key), &mut agent.deadline, due);
    }

    /// A transport of the agent has come up or gone down: is there any media left?
    pub(super) fn note_media_of(&mut self, key: AgentKey, now: Instant) {
        let agent = &self.agents[key];
        let connected = agent.transports.iter().any(|&transport| self.transports[transport].state == TransportState::Connected);
        let agent = &mut self.agents[key];
        agent.media_lost_at = if connected { None } else { agent.media_lost_at.or(Some(now)) };
        self.schedule_agent(key);
    }

    pub(super) fn on_agent_timeout(&mut self, key: AgentKey, now: Instant) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        agent.deadline.fired();
        for call in agent.calls.clone() {
            self.in_call(call, now, |shard| shard.end_call(call, EndedBy::Gateway, EndReason::AgentLost, None, now));
        }
        for transport in self.agents[key].transports.clone() {
            self.in_transport(transport, now, |shard| shard.close_transport(transport, now));
        }
        let Some(mut agent) = self.agents.remove(key) else { return };
        self.deadlines.set(Timer::Agent(key), &mut agent.deadline, None);
        self.agents_by_id.remove(&(agent.identity.tenant, agent.identity.agent));
    }

    /// Tells the agent's client, if it is connected; every event is numbered, told or not.
    pub(super) fn tell(&mut self, key: AgentKey, event: Event) {
        let agent = &mut self.agents[key];
        agent.events_given += 1;
        if let Some(socket) = agent.socket {
            self.outputs.push_back(Output::Event { socket, number: Some(agent.events_given), event });
        }
    }

    /// Tells the agent of a call about it.
    pub(super) fn tell_call(&mut self, call: CallKey, event: CallEvent) {
        let (agent, call) = (self.calls[call].call.agent, self.calls[call].call.id);
        self.tell(agent, Event::Call { call, event });
    }

    /// Does what a client asks. `None`: the acknowledgement follows once the far side has answered.
    pub(super) fn act(
        &mut self,
        agent: AgentKey,
        request: Option<RequestId>,
        action: Action,
        now: Instant,
    ) -> Option<Result<Reply, Refusal>> {
        self.injected.point("request", None);
        Some(match action {
            Action::GetRouterCapabilities => Ok(Reply::RouterCapabilities(crate::webrtc::ortc::router_capabilities())),
            Action::CreateTransport { direction } => self.create_transport(agent, direction, now),
            Action::ConnectTransport { transport, dtls } => self.connect_transport(agent, transport, &dtls, now),
            Action::Produce { transport, kind, rtp } => self.produce(agent, transport, kind, &rtp, now),
            Action::Consume { transport, producer, call } => self.consume(agent, transport, producer, call, now),
            Action::PauseProducer { producer } => self.set_producer_paused(agent, producer, true),
            Action::ResumeProducer { producer } => self.set_producer_paused(agent, producer, false),
            Action::CloseProducer { producer } => self.close_producer(agent, producer),
            Action::PauseConsumer { consumer } => self.set_consumer_paused(agent, consumer, true),
            Action::ResumeConsumer { consumer } => self.set_consumer_paused(agent, consumer, false),
            Action::CloseConsumer { consumer } => self.close_consumer(agent, consumer),
            Action::CloseTransport { transport } => self.close_transport_of(agent, transport, now),
            Action::GetStats { transport, call } => self.stats_of(agent, transport, call),
            Action::Dial(dial) => self.dial(agent, dial, now),
            Action::Answer { call } => return self.answer(agent, call, request, now),
            Action::Reject { call, status } => self.reject(agent, call, status, now),
            Action::Hangup { call } => return self.hangup(agent, call, request, now),
            Action::Hold { call } => return self.hold(agent, call, request, now),
            Action::Unhold { call } => return self.unhold(agent, call, request, now),
            Action::Mute { call, muted } => self.mute(agent, call, muted, now),
            Action::Dtmf(digits) => self.send_dtmf(agent, &digits, now),
            Action::Transfer { call, target, kind } => return self.transfer(agent, call, &target, kind, request, now),
        })
    }

    /// The live call with this id, if it is the agent's own.
    pub(super) fn call_of(&self, agent: AgentKey, call: CallId) -> Result<CallKey, Refusal> {
        self.calls_by_id
            .get(&call)
            .copied()
            .filter(|&key| self.calls[key].call.agent == agent)
            .ok_or_else(|| Refusal::new(Code::CallNotFound, "there is no such call"))
    }
}
