//! Browser transports, and the streams on them: what mediasoup-client calls Transport, Producer and Consumer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slotmap::{Key, KeyData};

use super::agents::Producer;
use super::deadlines::DeadlineSlot;
use super::media::{BrowserStream, Consumer};
use super::{Drop, Shard, Timer, Work};
use crate::call::command::{ConsumerReply, Direction, Reply};
use crate::call::error::{Code, Refusal};
use crate::call::event::{Event, TransportState};
use crate::ids::{AgentKey, CallId, ConsumerId, ProducerId, TransportId, TransportKey};
use crate::limits;
use crate::net::{Datagram, LocalSocket};
use crate::srtp;
use crate::webrtc::ortc::{self, DtlsParameters, MediaKind, RtpParameters, TransportOptions};
use crate::webrtc::{IceCredentials, Peer, PeerOutput, credentials};
use rand::Rng;

/// One ICE and DTLS association with a browser, and the media on it.
#[derive(Debug)]
pub(super) struct Transport {
    pub id: TransportId,
    pub agent: AgentKey,
    pub direction: Direction,
    pub state: TransportState,
    peer: Peer,
    pub srtp: Option<Srtp>,
    /// The microphone's stream, on a send transport.
    pub stream: BrowserStream,
    /// The streams to the browser, on a recv transport.
    pub consumers: Vec<Consumer>,
    mids_given: u32,
    /// Until when ICE and DTLS must be up, once `connect-transport` came.
    connect_by: Option<Instant>,
    report_at: Option<Instant>,
    deadline: DeadlineSlot,
}

/// The contexts of a connected transport.
#[derive(Debug)]
pub(super) struct Srtp {
    pub inbound: srtp::Inbound,
    pub outbound: srtp::Outbound,
}

/// Producers of one agent.
const PRODUCERS: usize = 4;

/// How often we report on a browser's streams (RFC 3550 section 6.2).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

impl Transport {
    /// Where media goes: the source of the browser's last check with USE-CANDIDATE, as long as it consents to media at all (RFC 7675).
    pub fn destination(&self) -> Option<SocketAddr> {
        if self.state == TransportState::Connected { self.peer.nominated() } else { None }
    }

    /// Whether the browser has been heard from this address.
    pub fn has_source(&self, address: SocketAddr) -> bool {
        self.peer.sources().contains(&address)
    }

    /// When the transport next wants something done.
    pub fn due(&self) -> Option<Instant> {
        [self.peer.next_deadline(), self.connect_by, self.report_at].into_iter().flatten().min()
    }

    /// The deadline that is set for it.
    pub fn armed(&self) -> Option<Instant> {
        self.deadline.at()
    }
}

impl Shard {
    pub(super) fn create_transport(&mut self, agent: AgentKey, direction: Direction, now: Instant) -> Result<Reply, Refusal> {
        if self.agents[agent].transports.len() >= limits::TRANSPORTS_PER_AGENT {
            self.close_oldest_unconnected(agent, now)?;
        }
        let id = self.new_transport_id(now);
        let (config, rng) = (&self.config, &mut self.rng);
        let mut credentials = None;
        let key = self.transports.insert_with_key(|key| {
            let own = IceCredentials::generate(key.data().as_ffi(), rng);
            let peer = Peer::new(&config.dtls, own.clone(), &config.candidates, now);
            credentials = Some(own);
            Transport {
                id,
                agent,
                direction,
                state: TransportState::New,
                peer,
                srtp: None,
                stream: BrowserStream::new(rng),
                consumers: Vec::new(),
                mids_given: 0,
                connect_by: None,
                report_at: None,
                deadline: DeadlineSlot::default(),
            }
        });
        let own = credentials.expect("the closure has run");
        self.agents[agent].transports.push(key);
        let options = TransportOptions {
            id,
            ice_parameters: ortc::ice_parameters(&own),
            ice_candidates: ortc::ice_candidates(&self.config.candidates),
            dtls_parameters: self.config.dtls.parameters(),
            ice_servers: self.config.ice_servers.clone(),
            ice_transport_policy: None,
        };
        self.tell_transport(key);
        self.drive_peer(key, now);
        Ok(Reply::Transport(options))
    }

    /// Room for a new transport: a client that made one after the other and connected none loses its oldest.
    fn close_oldest_unconnected(&mut self, agent: AgentKey, now: Instant) -> Result<(), Refusal> {
        let transports = &self.transports;
        let oldest = self.agents[agent].transports.iter().copied().find(|&key| transports[key].state != TransportState::Connected);
        let oldest = oldest.ok_or_else(|| Refusal::new(Code::Overloaded, "too many transports"))?;
        self.close_transport(oldest, now);
        Ok(())
    }

    pub(super) fn connect_transport(
        &mut self,
        agent: AgentKey,
        id: TransportId,
        dtls: &DtlsParameters,
        now: Instant,
    ) -> Result<Reply, Refusal> {
        let key = self.transport_of(agent, id)?;
        let transport = &mut self.transports[key];
        if transport.state != TransportState::New {
            return Err(Refusal::new(Code::Conflict, "the transport has been connected before"));
        }
        transport.peer.start_dtls(dtls).map_err(|error| Refusal::new(Code::BadRequest, format!("dtlsParameters: {error}")))?;
        transport.connect_by = Some(now + limits::TRANSPORT_CONNECT);
        self.set_transport_state(key, TransportState::Connecting, now);
        self.drive_peer(key, now);
        Ok(Reply::Done)
    }

    pub(super) fn produce(
        &mut self,
        agent: AgentKey,
        id: TransportId,
        kind: MediaKind,
        rtp: &RtpParameters,
        now: Instant,
    ) -> Result<Reply, Refusal> {
        if kind == MediaKind::Video {
            return Err(Refusal::new(Code::UnsupportedKind, "only audio can be produced"));
        }
        let key = self.transport_of(agent, id)?;
        if self.transports[key].direction != Direction::Send {
            return Err(Refusal::new(Code::BadRequest, "transportId: not a send transport"));
        }
        let media = ortc::producer_media(rtp).map_err(|error| Refusal::new(Code::UnsupportedCodec, error.to_string()))?;
        if self.agents[agent].producers.len() >= PRODUCERS {
            return Err(Refusal::new(Code::Overloaded, "too many producers"));
        }
        let producer = self.new_producer_id(now);
        self.agents[agent].producers.push(Producer { id: producer, transport: key, media, paused: false });
        self.rewire(agent);
        self.media_became_ready(agent, now);
        Ok(Reply::Producer(producer))
    }

    pub(super) fn consume(
        &mut self,
        agent: AgentKey,
        id: TransportId,
        producer: Option<ProducerId>,
        call: Option<CallId>,
        now: Instant,
    ) -> Result<Reply, Refusal> {
        let key = self.transport_of(agent, id)?;
        if self.transports[key].direction != Direction::Recv {
            return Err(Refusal::new(Code::BadRequest, "transportId: not a recv transport"));
        }
        let remote = self.agents[agent].remote_producer;
        if producer.is_some_and(|producer| producer != remote) {
            return Err(Refusal::new(Code::ProducerNotFound, "there is no such producer"));
        }
        if let Some(call) = call {
            self.call_of(agent, call)?;
        }
        if self.transports[key].consumers.len() >= limits::CONSUMERS_PER_TRANSPORT {
            return Err(Refusal::new(Code::Overloaded, "too many consumers on this transport"));
        }
        let consumer = self.new_consumer_id(now);
        let ssrc = self.rng.random_range(1..u32::MAX);
        let cname = self.agents[agent].peer.to_string();
        let transport = &mut self.transports[key];
        let mid = transport.mids_given.to_string();
        transport.mids_given += 1;
        let rtp = ortc::consumer_parameters(&mid, ssrc, &cname);
        transport.consumers.push(Consumer::new(consumer, ssrc, &mid, &cname, &mut self.rng));
        self.restart_downlink(agent);
        Ok(Reply::Consumer(ConsumerReply { id: consumer, producer: remote, rtp }))
    }

    pub(super) fn set_producer_paused(&mut self, agent: AgentKey, id: ProducerId, paused: bool) -> Result<Reply, Refusal> {
        let producers = &mut self.agents[agent].producers;
        let producer = producers.iter_mut().find(|producer| producer.id == id).ok_or_else(no_producer)?;
        producer.paused = paused;
        self.rewire(agent);
        Ok(Reply::Done)
    }

    pub(super) fn close_producer(&mut self, agent: AgentKey, id: ProducerId) -> Result<Reply, Refusal> {
        let producers = &mut self.agents[agent].producers;
        let position = producers.iter().position(|producer| producer.id == id).ok_or_else(no_producer)?;
        producers.remove(position);
        self.rewire(agent);
        Ok(Reply::Done)
    }

    pub(super) fn set_consumer_paused(&mut self, agent: AgentKey, id: ConsumerId, paused: bool) -> Result<Reply, Refusal> {
        let (key, position) = self.consumer_of(agent, id)?;
        self.transports[key].consumers[position].set_paused(paused);
        Ok(Reply::Done)
    }

    pub(super) fn close_consumer(&mut self, agent: AgentKey, id: ConsumerId) -> Result<Reply, Refusal> {
        let (key, position) = self.consumer_of(agent, id)?;
        self.transports[key].consumers.remove(position);
        Ok(Reply::Done)
    }

    pub(super) fn close_transport_of(&mut self, agent: AgentKey, id: TransportId, now: Instant) -> Result<Reply, Refusal> {
        let key = self.transport_of(agent, id)?;
        self.close_transport(key, now);
        Ok(Reply::Done)
    }

    /// Takes a transport and its streams away, and tells the client.
    pub(super) fn close_transport(&mut self, key: TransportKey, now: Instant) {
        self.set_transport_state(key, TransportState::Closed, now);
        let mut transport = self.transports.remove(key).expect("only live transports are closed");
        self.deadlines.set(Timer::Transport(key), &mut transport.deadline, None);
        transport.peer.close();
        while let Some(output) = transport.peer.poll_output() {
            if let PeerOutput::Transmit { to, bytes } = output {
                self.transmit_copy(LocalSocket::Browser, to, &bytes);
            }
        }
        for &address in transport.peer.sources() {
            self.demux.remove_browser(address, key);
        }
        let agent = &mut self.agents[transport.agent];
        agent.transports.retain(|&other| other != key);
        agent.producers.retain(|producer| producer.transport != key);
        self.rewire(transport.agent);
        self.note_media_of(transport.agent, now);
    }

    pub(super) fn on_stun(&mut self, datagram: Datagram, now: Instant) {
        let key = credentials::local_ufrag(datagram.packet.bytes())
            .and_then(credentials::slot_of)
            .map(|slot| TransportKey::from(KeyData::from_ffi(slot)))
            .filter(|&key| self.transports.contains_key(key));
        match key {
            Some(key) => self.feed_peer(key, datagram, now),
            None => self.discard(datagram, Drop::StunUnroutable),
        }
    }

    pub(super) fn on_dtls(&mut self, datagram: Datagram, now: Instant) {
        match self.demux.browser(datagram.from) {
            Some(key) => self.feed_peer(key, datagram, now),
            None => self.discard(datagram, Drop::UnvalidatedSource),
        }
    }

    fn feed_peer(&mut self, key: TransportKey, datagram: Datagram, now: Instant) {
        self.work = Work::Transport(key);
        self.injected.point("transport", None);
        let taken = self.transports[key].peer.handle_datagram(datagram.packet.bytes(), datagram.from, now);
        if taken.is_err() {
            self.drops.count(Drop::PeerRejected);
        }
        self.packets.give_back(datagram.packet);
        self.drive_peer(key, now);
    }

    pub(super) fn on_transport_timeout(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        self.work = Work::Transport(key);
        transport.deadline.fired();
        if transport.connect_by.is_some_and(|at| at <= now) {
            transport.connect_by = None;
            self.set_transport_state(key, TransportState::Failed, now);
            return self.close_transport(key, now);
        }
        if transport.report_at.is_some_and(|at| at <= now) {
            transport.report_at = Some(now + REPORT_INTERVAL);
            self.report_to_browser(key, now);
        }
        self.transports[key].peer.handle_timeout(now);
        self.drive_peer(key, now);
    }

    /// Does everything that ICE and DTLS want done, then arms their next deadline.
    fn drive_peer(&mut self, key: TransportKey, now: Instant) {
        self.work = Work::Transport(key);
        while let Some(output) = self.transports.get_mut(key).and_then(|transport| transport.peer.poll_output()) {
            match output {
                PeerOutput::Transmit { to, bytes } => self.transmit_copy(LocalSocket::Browser, to, &bytes),
                PeerOutput::Validated(address) => self.demux.add_browser(address, key),
                PeerOutput::Forgotten(address) => self.demux.remove_browser(address, key),
                // The hot path asks the peer itself where media goes.
                PeerOutput::Nominated(_) => {}
                PeerOutput::Connected { inbound, outbound } => {
                    let srtp = Srtp { inbound: srtp::Inbound::new(&inbound), outbound: srtp::Outbound::new(&outbound) };
                    self.on_transport_connected(key, srtp, now);
                }
                PeerOutput::Reconnected => self.set_transport_state(key, TransportState::Connected, now),
                PeerOutput::Disconnected => self.set_transport_state(key, TransportState::Disconnected, now),
                PeerOutput::Closed => return self.close_transport(key, now),
                PeerOutput::Failed => {
                    self.set_transport_state(key, TransportState::Failed, now);
                    return self.close_transport(key, now);
                }
            }
        }
        let Some(transport) = self.transports.get_mut(key) else { return };
        let due = transport.due();
        self.deadlines.set(Timer::Transport(key), &mut transport.deadline, due);
    }

    fn on_transport_connected(&mut self, key: TransportKey, srtp: Srtp, now: Instant) {
        let transport = &mut self.transports[key];
        transport.srtp = Some(srtp);
        transport.connect_by = None;
        transport.report_at = Some(now + REPORT_INTERVAL);
        let (agent, direction) = (transport.agent, transport.direction);
        self.set_transport_state(key, TransportState::Connected, now);
        let current = match direction {
            Direction::Send => &mut self.agents[agent].send,
            Direction::Recv => &mut self.agents[agent].recv,
        };
        if let Some(older) = current.replace(key).filter(|&older| older != key) {
            self.close_transport(older, now);
        }
        self.rewire(agent);
        self.media_became_ready(agent, now);
    }

    pub(super) fn set_transport_state(&mut self, key: TransportKey, state: TransportState, now: Instant) {
        let transport = &mut self.transports[key];
        if transport.state == state {
            return;
        }
        transport.state = state;
        let agent = transport.agent;
        if matches!(state, TransportState::Closed | TransportState::Failed) {
            let agent = &mut self.agents[agent];
            agent.send = agent.send.filter(|&send| send != key);
            agent.recv = agent.recv.filter(|&recv| recv != key);
        }
        self.tell_transport(key);
        self.note_media_of(agent, now);
    }

    fn tell_transport(&mut self, key: TransportKey) {
        let Transport { id, agent, direction, state, .. } = self.transports[key];
        self.tell(agent, Event::TransportState { transport: id, direction, state });
    }

    fn transport_of(&self, agent: AgentKey, id: TransportId) -> Result<TransportKey, Refusal> {
        let own = self.agents[agent].transports.iter().copied();
        own.into_iter()
            .find(|&key| self.transports[key].id == id)
            .ok_or_else(|| Refusal::new(Code::TransportNotFound, "there is no such transport"))
    }

    /// The transport with this id, for statistics.
    pub(super) fn transport_by_id(&self, agent: AgentKey, id: TransportId) -> Result<&Transport, Refusal> {
        self.transport_of(agent, id).map(|key| &self.transports[key])
    }

    fn consumer_of(&self, agent: AgentKey, id: ConsumerId) -> Result<(TransportKey, usize), Refusal> {
        self.agents[agent]
            .transports
            .iter()
            .find_map(|&key| Some((key, self.transports[key].consumers.iter().position(|consumer| consumer.id == id)?)))
            .ok_or_else(|| Refusal::new(Code::ConsumerNotFound, "there is no such consumer"))
    }
}

fn no_producer() -> Refusal {
    Refusal::new(Code::ProducerNotFound, "there is no such producer")
}
