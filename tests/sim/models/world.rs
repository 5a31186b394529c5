//! A shard, its agents, the PBX and the network between them, in virtual time; and everything that has to hold after each step.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use nexus_gateway::call::command::{Answer, Command, Identity, Query, QueryReply, Reply, Role, Scope, Session, ShardStats, SipIdentity};
use nexus_gateway::call::event::{CallEvent, CallState, Event, TransportState};
use nexus_gateway::config::DialPolicy;
use nexus_gateway::ids::{AgentId, CallId, RequestId, ShardId, SocketId, TenantId};
use nexus_gateway::limits::TRANSPORTS_PER_AGENT;
use nexus_gateway::net::{Datagram, LocalSocket, PortPair};
use nexus_gateway::shard::io::{IngressTarget, Input, Output};
use nexus_gateway::shard::{Policy, Shard, ShardConfig, Trunk};
use nexus_gateway::sip::Credentials;
use nexus_gateway::sip::ingress::Ingress;
use nexus_gateway::webrtc::DtlsIdentity;
use nexus_harness::browser::BrowserEvent;
use nexus_harness::link::{Link, LinkQuality};

use super::browser::{CONSENT_EVERY, Recording, Side, Transport};
use super::ledger::Ledger;
use super::pbx::{self, FakePbx, PBX, SIP_PORT};
use super::reference::{self, Expected, Pending, Reference};
use super::step::Behaviour;

/// The whole installation, and what is known of it.
pub struct World {
    pub now: Instant,
    pub shard: Shard,
    pub pbx: FakePbx,
    pub agents: Vec<Client>,
    pub reference: Reference,
    pub loud: bool,
    start: Instant,
    ingress: Ingress,
    to_gateway: Link<Wired>,
    to_pbx: Link<Wired>,
    ledger: Ledger,
    own_pairs: HashMap<PortPair, u16>,
    rest: Option<QueryReply>,
    rest_asked: Option<RequestId>,
    /// What was told or sent since it was last looked at, beside answers.
    pub effects: usize,
    /// How often each thing happened.
    pub seen: BTreeMap<String, u64>,
    /// The answers since they were last looked at.
    pub replies: Vec<Reply>,
    numbers: u64,
    next_browser_port: u16,
    fault: Option<String>,
}

/// An agent's client and browser.
pub struct Client {
    pub name: String,
    pub transports: Vec<Transport>,
    pub consents: bool,
}

#[derive(Clone, Debug)]
struct Wired {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

pub const AGENTS: usize = 3;
pub const CALLS_PER_AGENT: usize = 2;
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const BROWSERS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));
pub const BROWSER_PORT: u16 = 10_000;
const SHARED_PAIR: u16 = 10_002;
const OWN_PAIRS: u16 = 2;
const PUBLIC_SIP: u16 = 5070;
const SHARD_SIP: u16 = 5071;

/// Inputs at one moment of virtual time after which something wants to be done for ever.
const INPUTS_PER_MOMENT: usize = 2_000;

impl World {
    pub fn new(seed: u64, loud: bool) -> Self {
        static CERTIFICATE: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
        let start = Instant::now();
        let mut seed_bytes = [0; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let public = SocketAddr::new(GATEWAY, PUBLIC_SIP);
        let credentials = Credentials { username: "trunk".to_owned(), password: "secret".to_owned(), realm: None };
        let shard = Shard::new(ShardConfig {
            shard: ShardId(0),
            origin: (start, epoch()),
            seed: seed_bytes,
            dtls: CERTIFICATE.get_or_init(|| Arc::new(DtlsIdentity::generate().expect("a certificate"))).clone(),
            candidates: vec![SocketAddr::new(GATEWAY, BROWSER_PORT)],
            ice_servers: Vec::new(),
            sip_contact: SocketAddr::new(GATEWAY, SHARD_SIP),
            media_address: GATEWAY,
            shared_pair: SHARED_PAIR,
            own_pairs: (1..=OWN_PAIRS).map(|pair| SHARED_PAIR + 2 * pair).collect(),
            trunk: Trunk { peers: vec![SocketAddr::new(PBX, SIP_PORT)], domain: PBX.to_string(), credentials: Some(credentials) },
            policy: policy(),
        });
        seed_bytes[31] = 1;
        Self {
            now: start,
            shard,
            pbx: FakePbx::new(public, seed_bytes),
            agents: (0..AGENTS).map(|nth| Client { name: format!("agent{nth}"), transports: Vec::new(), consents: true }).collect(),
            reference: Reference { agents: (0..AGENTS).map(|_| reference::Agent::default()).collect(), ..Reference::default() },
            loud,
            start,
            ingress: Ingress::new(1, 1_000),
            to_gateway: Link::new(LinkQuality::PERFECT, seed.wrapping_mul(2)),
            to_pbx: Link::new(LinkQuality::PERFECT, seed.wrapping_mul(2).wrapping_add(1)),
            ledger: Ledger::default(),
            own_pairs: HashMap::new(),
            rest: None,
            rest_asked: None,
            effects: 0,
            seen: BTreeMap::new(),
            replies: Vec::new(),
            numbers: 0,
            next_browser_port: 50_000,
            fault: None,
        }
    }

    pub fn set_network(&mut self, to_gateway: LinkQuality, to_pbx: LinkQuality) {
        self.to_gateway.set_quality(to_gateway);
        self.to_pbx.set_quality(to_pbx);
    }

    pub fn names(&self) -> Vec<String> {
        self.agents.iter().map(|agent| agent.name.clone()).collect()
    }

    pub fn new_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn new_browser_address(&mut self) -> SocketAddr {
        self.next_browser_port += 1;
        SocketAddr::new(BROWSERS, self.next_browser_port)
    }

    pub fn identity(&self, agent: usize) -> Identity {
        let name = &self.agents[agent].name;
        Identity {
            tenant: TenantId::from("t1"),
            agent: AgentId::from(name.as_str()),
            user: name.as_str().into(),
            role: Role::Agent,
            sip: SipIdentity { user: name.clone(), domain: None, display_name: None },
        }
    }

    // ---- in ----

    /// Gives the shard a command; a client's is answered as expected.
    pub fn command(&mut self, command: Command, expected: Option<Expected>) {
        let request = RequestId(self.new_number());
        match (&command, expected) {
            (Command::Rest(_), _) => self.rest_asked = Some(request),
            (_, Some(what)) => drop(self.reference.pending.insert(request.0, Pending { since: self.now, what })),
            (Command::Connect { .. } | Command::Disconnect { .. } | Command::Client { .. }, None) => {}
        }
        self.shard.handle(Input::Command { request: Some(request), command }, self.now);
        self.settle();
    }

    pub fn rest(&mut self, query: Query) -> QueryReply {
        self.command(Command::Rest(query), None);
        self.rest.take().expect("REST is answered at once")
    }

    /// Lets a datagram arrive at the gateway.
    pub fn arrive(&mut self, from: SocketAddr, port: u16, bytes: &[u8]) {
        let socket = match port {
            BROWSER_PORT => LocalSocket::Browser,
            SHARD_SIP => LocalSocket::Sip,
            PUBLIC_SIP => LocalSocket::SipPublic,
            SHARED_PAIR => LocalSocket::Rtp(PortPair::SHARED),
            _ if port == SHARED_PAIR + 1 => LocalSocket::Rtcp(PortPair::SHARED),
            _ => match self.own_pairs.iter().find(|(_, rtp)| **rtp == port & !1) {
                Some((pair, _)) if port.is_multiple_of(2) => LocalSocket::Rtp(*pair),
                Some((pair, _)) => LocalSocket::Rtcp(*pair),
                None => return,
            },
        };
        let mut packet = self.shard.packets.take();
        if !packet.copy_from(bytes) {
            return self.fail(format!("a datagram of {} bytes", bytes.len()));
        }
        let datagram = Datagram { socket, from, packet };
        let input = if socket == LocalSocket::SipPublic {
            let agents = &self.agents;
            let lookup = |user: &str, _: &str| {
                let known = agents.iter().find(|agent| agent.name == user);
                let target = known.map_or(IngressTarget::Refuse(404), |agent| {
                    IngressTarget::Agent(TenantId::from("t1"), AgentId::from(agent.name.as_str()))
                });
                (ShardId(0), target)
            };
            let (_, target) = self.ingress.route(bytes, from, self.now, lookup);
            Input::Ingress { datagram, target: target.unwrap_or(IngressTarget::Any) }
        } else {
            Input::Datagram(datagram)
        };
        self.shard.handle(input, self.now);
        self.settle();
    }

    // ---- time ----

    /// Lets time pass, from deadline to deadline.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        let (mut moment, mut inputs) = (self.now, 0);
        self.settle();
        while let Some(at) = self.next_deadline().filter(|at| *at <= until && self.fault.is_none()) {
            self.now = at.max(self.now);
            if self.now > moment {
                (moment, inputs) = (self.now, 0);
            }
            inputs += 1;
            if inputs > INPUTS_PER_MOMENT {
                return self.fail("something is due for ever at one moment".to_owned());
            }
            self.advance();
        }
        self.now = until;
    }

    fn next_deadline(&self) -> Option<Instant> {
        let sides = self.agents.iter().flat_map(|agent| agent.transports.iter().map(|transport| (agent.consents, &transport.side)));
        let browsers = sides.filter_map(|(consents, side)| match side {
            Side::Nobody => None,
            Side::Connecting(browser) => browser.next_deadline(),
            Side::Recorded(recording) => consents.then_some(recording.check_at),
        });
        let others = [self.to_gateway.next_deadline(), self.to_pbx.next_deadline(), self.shard.next_deadline(), self.pbx.next_deadline()];
        browsers.chain(others.into_iter().flatten()).min()
    }

    fn advance(&mut self) {
        let now = self.now;
        while let Some(wired) = self.to_gateway.receive(now) {
            if !self.pbx.behaviour.silent || wired.from.port() != SIP_PORT {
                self.note_sip(&wired, true);
                self.arrive(wired.from, wired.to.port(), &wired.bytes);
            }
        }
        while let Some(wired) = self.to_pbx.receive(now) {
            if wired.to.port() == SIP_PORT && !self.pbx.behaviour.silent {
                self.note_sip(&wired, true);
                self.pbx.receive(wired.from, &wired.bytes, now);
            }
        }
        if self.shard.next_deadline().is_some_and(|at| at <= now) {
            self.shard.handle(Input::Timeout, now);
        }
        if self.pbx.next_deadline().is_some_and(|at| at <= now) {
            self.pbx.handle_timeout(now);
        }
        self.settle();
        self.play_browsers();
    }

    fn play_browsers(&mut self) {
        let now = self.now;
        let mut said = Vec::new();
        for agent in &mut self.agents {
            for transport in &mut agent.transports {
                match &mut transport.side {
                    Side::Recorded(recording) if agent.consents && recording.check_at <= now => {
                        recording.check_at = now + CONSENT_EVERY;
                        said.push((recording.address, recording.check.clone()));
                    }
                    Side::Connecting(browser) if browser.next_deadline().is_some_and(|at| at <= now) => browser.handle_timeout(now),
                    Side::Nobody | Side::Connecting(_) | Side::Recorded(_) => {}
                }
            }
        }
        said.into_iter().for_each(|(from, check)| self.arrive(from, BROWSER_PORT, &check));
        self.connect_browsers();
    }

    /// Carries datagrams between the gateway and browsers that are being connected; one that is up is recorded and put away.
    pub fn connect_browsers(&mut self) {
        loop {
            let mut said = Vec::new();
            for transport in self.agents.iter_mut().flat_map(|agent| &mut agent.transports) {
                let Side::Connecting(browser) = &mut transport.side else { continue };
                let mut check = None;
                while let Some((_, bytes)) = browser.poll_transmit() {
                    if bytes.starts_with(&[0, 1]) {
                        check = Some(bytes.clone());
                    }
                    said.push((browser.local_address(), bytes));
                }
                let up = std::iter::from_fn(|| browser.poll_event()).any(|event| matches!(event, BrowserEvent::Connected));
                if let Some(check) = check {
                    transport.last_check = check;
                }
                transport.up |= up;
                if transport.up && !transport.last_check.is_empty() && said.is_empty() {
                    let Side::Connecting(browser) = std::mem::replace(&mut transport.side, Side::Nobody) else { continue };
                    transport.side = Side::Recorded(Recording::of(*browser, transport.last_check.clone(), self.now));
                }
            }
            if said.is_empty() {
                return;
            }
            said.into_iter().for_each(|(from, bytes)| self.arrive(from, BROWSER_PORT, &bytes));
        }
    }

    // ---- out ----

    /// Takes what everybody wants to send and tell.
    pub fn settle(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            if let Err(what) = self.on_output(output) {
                self.fail(what);
            }
        }
        if self.shard.panics() > 0 {
            self.fail("the shard has panicked".to_owned());
        }
        while let Some(sent) = self.pbx.poll_transmit() {
            let wired = Wired { from: SocketAddr::new(PBX, sent.port), to: sent.to, bytes: sent.bytes };
            self.note_sip(&wired, false);
            if !sent.withheld && !self.pbx.behaviour.silent {
                self.to_gateway.send(wired, self.now);
            }
        }
    }

    fn on_output(&mut self, output: Output) -> Result<(), String> {
        match output {
            Output::Transmit(transmit) => {
                self.effects += 1;
                let rtp = |pair: PortPair, more: u16| match self.own_pairs.get(&pair) {
                    _ if pair == PortPair::SHARED => Ok(SHARED_PAIR + more),
                    Some(port) => Ok(port + more),
                    None => Err(format!("a packet leaves from {pair:?}, which is closed")),
                };
                let port = match transmit.socket {
                    LocalSocket::Browser => BROWSER_PORT,
                    LocalSocket::Sip => SHARD_SIP,
                    LocalSocket::SipPublic => PUBLIC_SIP,
                    LocalSocket::Rtp(pair) => rtp(pair, 0)?,
                    LocalSocket::Rtcp(pair) => rtp(pair, 1)?,
                };
                let wired = Wired { from: SocketAddr::new(GATEWAY, port), to: transmit.to, bytes: transmit.packet.bytes().to_vec() };
                self.shard.packets.give_back(transmit.packet);
                if transmit.socket == LocalSocket::Browser {
                    self.hear(wired);
                } else {
                    self.note_sip(&wired, false);
                    self.to_pbx.send(wired, self.now);
                }
                Ok(())
            }
            Output::Answer { request, answer } => match answer {
                Answer::Rest(reply) if self.rest_asked.take() == Some(request) => {
                    self.rest = Some(*reply);
                    Ok(())
                }
                Answer::Rest(reply) => Err(format!("nobody asked for {reply:?}")),
                Answer::Client(outcome) => {
                    self.say(&|| format!("answered {request:?}: {outcome:?}"));
                    self.reference.on_answer(request, &outcome, self.now)?;
                    self.replies.extend(outcome.ok());
                    Ok(())
                }
            },
            Output::Connected { socket, welcome } => {
                let agent = self.agent_on(socket).ok_or("a socket that nobody has is welcomed")?;
                let live: Vec<_> = self.reference.live(agent).map(|call| call.id).collect();
                let listed: Vec<_> = welcome.calls.iter().map(|view| view.call).collect();
                let same = live.len() == listed.len() && live.iter().all(|call| listed.contains(call));
                if same { Ok(()) } else { Err(format!("the welcome lists {listed:?}, live are {live:?}")) }
            }
            Output::Event { socket, number, event } => {
                self.effects += 1;
                self.say(&|| format!("told {socket:?} {number:?}: {event:?}"));
                self.note_seen(&event);
                match self.agent_on(socket) {
                    Some(agent) => {
                        self.note_transport(agent, &event);
                        self.reference.on_event(agent, number, &event)
                    }
                    None if matches!(event, Event::Error { .. }) => Ok(()),
                    None => Err(format!("a dead socket is told {event:?}")),
                }
            }
            Output::Disconnect { socket } if self.agent_on(socket).is_some() => Err(format!("{socket:?} is closed, which is in use")),
            Output::Disconnect { .. } | Output::AgentPresent { .. } => Ok(()),
            Output::Reconnect { .. } | Output::Died => Err("the shard has panicked".to_owned()),
            Output::OpenPair { pair, rtp_port } => match self.own_pairs.insert(pair, rtp_port) {
                None => Ok(()),
                Some(_) => Err(format!("{pair:?} is opened twice")),
            },
            Output::ClosePair(pair) => self.own_pairs.remove(&pair).map(drop).ok_or(format!("{pair:?} is closed and was not open")),
        }
    }

    fn hear(&mut self, wired: Wired) {
        let transports = self.agents.iter_mut().flat_map(|agent| &mut agent.transports);
        let browsers = transports.filter_map(|transport| match &mut transport.side {
            Side::Connecting(browser) => Some(browser),
            Side::Nobody | Side::Recorded(_) => None,
        });
        if let Some(browser) = { browsers }.find(|browser| browser.local_address() == wired.to) {
            browser.handle_datagram(&wired.bytes, wired.from, self.now);
        }
    }

    /// A client forgets a transport that it is told the end of.
    fn note_transport(&mut self, agent: usize, event: &Event) {
        if let Event::TransportState { transport, state: TransportState::Closed, .. } = event {
            self.agents[agent].transports.retain(|known| known.id != *transport);
        }
    }

    fn note_sip(&mut self, wired: &Wired, delivered: bool) {
        let sip = |port: u16| [SIP_PORT, SHARD_SIP, PUBLIC_SIP].contains(&port);
        if !sip(wired.to.port()) || !sip(wired.from.port()) {
            return;
        }
        if delivered {
            self.ledger.delivered(&wired.bytes);
        } else {
            self.ledger.sent(&wired.bytes);
        }
        self.say(&|| {
            let line = String::from_utf8_lossy(&wired.bytes).lines().next().unwrap_or_default().to_owned();
            let what = super::ledger::Essence::of(&wired.bytes).map(|essence| format!("{} {}", essence.method, essence.call_id));
            let way = if wired.to.ip() == PBX { "to the PBX" } else { "to the gateway" };
            format!("{} {way}: {line} ({})", if delivered { "arrives" } else { "sent" }, what.unwrap_or_default())
        });
    }

    fn agent_on(&self, socket: SocketId) -> Option<usize> {
        self.reference.agents.iter().position(|agent| agent.socket == Some(socket))
    }

    /// Counts what happened, in a few words.
    fn note_seen(&mut self, event: &Event) {
        let what = match event {
            Event::Call { event, .. } => match event {
                CallEvent::Incoming(incoming) => format!("incoming, auto-answer {}", incoming.auto_answer),
                CallEvent::Ringing { early_media, .. } => format!("ringing, early media {early_media}"),
                CallEvent::Answered { .. } => "answered".to_owned(),
                CallEvent::Held { held, by } => format!("held {held} by {by:?}"),
                CallEvent::Muted { muted } => format!("muted {muted}"),
                CallEvent::Transferred { .. } => "transferred".to_owned(),
                CallEvent::TransferFailed { .. } => "transfer failed".to_owned(),
                CallEvent::DtmfReceived { .. } => "digit".to_owned(),
                CallEvent::Ended(ended) => format!("ended by {:?}, {:?}", ended.ended_by, ended.reason),
                CallEvent::Failed { code, .. } => format!("failed {code:?}"),
            },
            Event::TransportState { state, .. } => format!("transport {state:?}"),
            Event::PeerConnected { .. } | Event::PeerDisconnected { .. } | Event::Error { .. } => return,
        };
        *self.seen.entry(what).or_default() += 1;
    }

    // ---- checks ----

    /// Notes the first thing that went wrong.
    pub fn fail(&mut self, what: String) {
        self.say(&|| format!("FAULT {what}"));
        self.fault.get_or_insert(what);
    }

    pub fn say(&self, what: &dyn Fn() -> String) {
        if self.loud {
            println!("  {:?} {}", self.now - self.start, what());
        }
    }

    fn sessions(&mut self) -> Vec<Session> {
        match self.rest(Query::Sessions(Scope::Everything)) {
            QueryReply::Sessions(sessions) => sessions,
            _ => Vec::new(),
        }
    }

    /// When a call ended, as it is remembered: its timeline has one end.
    fn end_of(&mut self, call: CallId) -> Result<Instant, String> {
        let QueryReply::Session(session) = self.rest(Query::Session { scope: Scope::Everything, call }) else {
            return Err("REST".to_owned());
        };
        // Only the aftermath is longer than the memory.
        let Some(session) = session else { return Ok(self.now) };
        let ends: Vec<SystemTime> =
            { session.timeline.iter() }.filter(|(_, what)| ["ended", "failed"].contains(what)).map(|(at, _)| *at).collect();
        let over = matches!(session.call.state, CallState::Ended | CallState::Failed);
        match ends[..] {
            [at] if over => Ok(self.start + at.duration_since(epoch()).unwrap_or_default()),
            // A timeline that is full keeps its beginning.
            [] if over && session.timeline.len() >= 64 => Ok(self.now),
            _ => Err(format!("{call} ended {} times: {:?}", ends.len(), session.call.state)),
        }
    }

    pub fn stats(&mut self) -> ShardStats {
        match self.rest(Query::Stats(Scope::Everything)) {
            QueryReply::Stats(stats) => stats,
            _ => ShardStats::default(),
        }
    }

    /// What has to hold after every step.
    pub fn check(&mut self) -> Result<(), String> {
        let sessions = self.sessions();
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let (mut reference, now) = (std::mem::take(&mut self.reference), self.now);
        let checked = reference.check_calls(&sessions, |call| self.end_of(call), now);
        self.reference = reference;
        checked?;
        self.shard.audit()?;
        self.pbx.agent.audit(|key| self.pbx.calls.iter().any(|call| call.key == key)).map_err(|what| format!("in the PBX: {what}"))?;
        let stats = self.stats();
        let connected = self.reference.agents.iter().filter(|agent| agent.socket.is_some()).count();
        let bounds = [
            ("agents", stats.agents, connected, AGENTS),
            ("calls", stats.calls, sessions.len(), sessions.len()),
            ("transports", stats.transports, 0, AGENTS * TRANSPORTS_PER_AGENT),
            ("dialogs", stats.dialogs, 0, usize::MAX),
            ("ports", stats.ports_in_use, self.own_pairs.len(), self.own_pairs.len()),
            ("deadlines", stats.deadlines, 0, AGENTS - connected + stats.calls + stats.transports + 1),
        ];
        for (what, found, least, most) in bounds {
            if !(least..=most).contains(&found) {
                return Err(format!("{found} {what} where {least} to {most} have to be"));
            }
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// After a time in which nothing was lost: both peers have the same dialogs.
    pub fn check_agreement(&mut self) -> Result<(), String> {
        let talking = |session: &&Session| matches!(session.call.state, CallState::Answered | CallState::Held);
        let departed = |session: &Session| session.timeline.iter().any(|(_, what)| *what == "departed");
        let ours: Vec<String> = (self.sessions().iter().filter(talking))
            .filter(|session| !departed(session))
            .map(|session| session.call.sip_call_id.clone())
            .collect();
        let calls = self.pbx.calls.iter().filter(|call| call.phase == pbx::Phase::Talking);
        let theirs: Vec<String> = calls.map(|call| call.call_id.clone()).collect();
        let differ = |mine: &[String], other: &[String]| mine.iter().find(|id| !other.contains(id) && !self.is_excused(id)).cloned();
        if let Some(id) = differ(&ours, &theirs) {
            return Err(format!("we talk and the PBX does not: {id}"));
        }
        if let Some(id) = differ(&theirs, &ours) {
            return Err(format!("the PBX talks and we do not: {id}"));
        }
        Ok(())
    }

    fn is_excused(&self, call_id: &str) -> bool {
        self.pbx.fouled.contains(call_id) || self.ledger.excuses(call_id)
    }

    /// When everybody has gone and every timer has run out nothing may be left anywhere.
    pub fn check_nothing_left(&mut self) -> Result<(), String> {
        let stats = self.stats();
        let held =
            [stats.agents, stats.calls, stats.transports, stats.sip_transactions, stats.dialogs, stats.ports_in_use, stats.deadlines];
        if held != [0; 7] {
            return Err(format!("left are agents, calls, transports, transactions, dialogs, ports, deadlines: {held:?}"));
        }
        let sip = self.pbx.agent.stats();
        if (sip.transactions, sip.sessions, sip.deadlines) != (0, 0, 0) {
            return Err(format!("left in the PBX: {sip:?}"));
        }
        if !self.own_pairs.is_empty() {
            return Err(format!("pairs are still open: {:?}", self.own_pairs));
        }
        match self.reference.pending.first_key_value() {
            Some((request, pending)) => Err(format!("request {request}, {:?}, is never answered", pending.what)),
            None => Ok(()),
        }
    }

    /// The network and the PBX become good again.
    pub fn calm(&mut self) {
        self.set_network(LinkQuality::PERFECT, LinkQuality::PERFECT);
        let one_port = self.pbx.behaviour.one_port;
        self.pbx.behaviour = Behaviour { one_port, ..Behaviour::GOOD };
        let now = self.now;
        self.pbx.catch_up(now);
        self.settle();
    }
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn policy() -> Policy {
    Policy {
        max_calls_per_agent: CALLS_PER_AGENT,
        ring_timeout: Duration::from_secs(60),
        incoming_timeout: Duration::from_secs(120),
        media_timeout: Duration::from_secs(30),
        resume_grace: Duration::from_secs(30),
        resume_media_max: Duration::from_secs(600),
        header_prefixes: vec!["x-".to_owned()],
        dial: DialPolicy { deny: vec!["0900".to_owned()], emergency: vec!["112".to_owned()], ..DialPolicy::default() },
    }
}
