//! One shard, the demo PBX and any number of browsers on a virtual network, in virtual time: a call from end to end in milliseconds.
//!
//! The lab jumps from deadline to deadline. What the network does to each datagram follows from the lab's seed.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use nexus_gateway::call::command::{
    Action, Answer, Command, Dial, Direction, Identity, Query, QueryReply, Reply, Role as UserRole, Scope, ShardStats, SipIdentity, Welcome,
};
use nexus_gateway::call::error::Refusal;
use nexus_gateway::call::event::{CallEvent, Event, TransportState};
use nexus_gateway::codec::Codec;
use nexus_gateway::config::DialPolicy;
use nexus_gateway::demo::{self, DemoPbx, Sounds, UdpSocketRole};
use nexus_gateway::ids::{AgentId, CallId, RequestId, ShardId, SocketId, TenantId};
use nexus_gateway::net::{Datagram, LocalSocket, PortPair};
use nexus_gateway::shard::io::{IngressTarget, Input, Output};
use nexus_gateway::shard::{Policy, Shard, ShardConfig, Trunk};
use nexus_gateway::sip::ingress::Ingress;
use nexus_gateway::webrtc::DtlsIdentity;
use nexus_gateway::webrtc::ortc::{MediaKind, TransportOptions};

use crate::browser::{BrowserEvent, FakeBrowser, ReceivedRtp, Role};
use crate::link::{Link, LinkQuality};

/// The whole installation.
pub struct Lab {
    /// When the lab began.
    pub start: Instant,
    /// The present.
    pub now: Instant,
    /// What is tested.
    pub shard: Shard,
    /// Whom it calls.
    pub pbx: DemoPbx,
    /// Who uses it.
    pub agents: Vec<LabAgent>,
    /// How many panics a test has caused in the shard on purpose; one more is a bug of the gateway.
    pub panics_expected: u64,
    /// How often the shard has died and another has taken its place.
    pub restarts: u64,
    ingress: Ingress,
    links: [Link<Wired>; 4],
    own_pairs: HashMap<PortPair, u16>,
    answers: HashMap<RequestId, Answer>,
    requests: u64,
    sockets: u64,
}

/// An agent with a browser.
pub struct LabAgent {
    /// Its Socket.IO connection, while it has one.
    pub socket: Option<SocketId>,
    /// What it was told at its last connect.
    pub welcome: Option<Welcome>,
    /// What it was told since the lab began, and when.
    pub events: Vec<(Duration, Event)>,
    /// The microphone's transport.
    pub send: Option<FakeBrowser>,
    /// The loudspeaker's transport.
    pub recv: Option<FakeBrowser>,
    /// What came out of the loudspeaker, and when.
    pub heard: Vec<(Duration, ReceivedRtp)>,
    /// Whether a frame is sent every 20 ms.
    pub speaking: bool,
    identity: Identity,
    browsers_up: usize,
    frame_at: Instant,
    first_frame: u32,
    frame: u32,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
struct Wired {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Both directions of the gateway's two sides.
#[derive(Clone, Copy, Debug)]
enum Path {
    BrowserToGateway,
    GatewayToBrowser,
    PbxToGateway,
    GatewayToPbx,
}

impl Lab {
    /// A lab whose links all have this quality. The seed decides everything that the network does.
    pub fn new(quality: LinkQuality, seed: u64) -> Self {
        Self::with_ports(quality, seed, 16, false)
    }

    /// A lab with this many pairs of ports for legs that cannot share, and maybe a PBX that has one media port for all its calls.
    pub fn with_ports(quality: LinkQuality, seed: u64, own_pairs: u16, one_media_port: bool) -> Self {
        let start = Instant::now();
        let mut seed_bytes = [0; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let config = ShardConfig {
            shard: ShardId(0),
            origin: (start, epoch()),
            seed: seed_bytes,
            dtls: Arc::new(DtlsIdentity::generate().expect("a certificate")),
            candidates: vec![browser_port()],
            ice_servers: Vec::new(),
            sip_contact: shard_sip(),
            media_address: GATEWAY,
            shared_pair: SHARED_PAIR,
            own_pairs: (1..=own_pairs).map(|pair| SHARED_PAIR + 2 * pair).collect(),
            trunk: Trunk { peers: vec![pbx_sip()], domain: PBX.to_string(), credentials: None },
            policy: policy(),
        };
        let pbx_config = demo::Config { address: pbx_sip(), gateway: public_sip(), calls_max: 1_000, one_media_port };
        seed_bytes[31] = 1;
        let mut pbx = DemoPbx::new(pbx_config, SOUNDS.clone(), seed_bytes, start, epoch());
        (0..1_000).for_each(|pair| pbx.add_port(PBX_PORTS + 2 * pair));
        let links = [0, 1, 2, 3].map(|number| Link::new(quality, seed.wrapping_mul(4).wrapping_add(number)));
        let shard = Shard::new(config);
        let mut lab = Self {
            start,
            now: start,
            shard,
            pbx,
            agents: Vec::new(),
            panics_expected: 0,
            restarts: 0,
            ingress: Ingress::new(1, 1_000),
            links,
            own_pairs: HashMap::new(),
            answers: HashMap::new(),
            requests: 0,
            sockets: 0,
        };
        lab.settle();
        lab
    }

    /// Changes every link for what is sent from now on.
    pub fn set_quality(&mut self, quality: LinkQuality) {
        self.links.iter_mut().for_each(|link| link.set_quality(quality));
    }

    /// Changes the links between the gateway and the browsers only.
    pub fn set_browser_quality(&mut self, quality: LinkQuality) {
        self.link(Path::BrowserToGateway).set_quality(quality);
        self.link(Path::GatewayToBrowser).set_quality(quality);
    }

    /// Changes the links between the gateway and the PBX only.
    pub fn set_pbx_quality(&mut self, quality: LinkQuality) {
        self.link(Path::PbxToGateway).set_quality(quality);
        self.link(Path::GatewayToPbx).set_quality(quality);
    }

    /// An agent of the tenant `t1` connects. Its SIP user is its id.
    pub fn connect(&mut self, name: &str) -> usize {
        let identity = Identity {
            tenant: TenantId::from("t1"),
            agent: AgentId::from(name),
            user: name.into(),
            role: UserRole::Agent,
            sip: SipIdentity { user: name.to_owned(), domain: None, display_name: None },
        };
        self.agents.push(LabAgent {
            socket: None,
            welcome: None,
            events: Vec::new(),
            send: None,
            recv: None,
            heard: Vec::new(),
            speaking: false,
            identity,
            browsers_up: 0,
            frame_at: self.now,
            first_frame: 0,
            frame: 0,
        });
        let agent = self.agents.len() - 1;
        self.reconnect(agent);
        agent
    }

    /// The agent's client connects anew, without a word about before.
    pub fn reconnect(&mut self, agent: usize) {
        self.sockets += 1;
        let socket = SocketId(self.sockets);
        self.agents[agent].socket = Some(socket);
        let identity = self.agents[agent].identity.clone();
        self.shard.handle(Input::Command { request: None, command: Command::Connect { socket, identity } }, self.now);
        self.settle();
    }

    /// The agent's socket is lost.
    pub fn disconnect(&mut self, agent: usize) {
        if let Some(socket) = self.agents[agent].socket.take() {
            self.shard.handle(Input::Command { request: None, command: Command::Disconnect { socket } }, self.now);
            self.settle();
        }
    }

    /// Asks something; [`Lab::answer`] has what came of it.
    pub fn ask(&mut self, agent: usize, action: Action) -> RequestId {
        let socket = self.agents[agent].socket.expect("the agent is connected");
        self.requests += 1;
        let request = RequestId(self.requests);
        self.shard.handle(Input::Command { request: Some(request), command: Command::Client { socket, action } }, self.now);
        self.settle();
        request
    }

    /// What a request was answered, if it was; told once.
    pub fn answer(&mut self, request: RequestId) -> Option<Result<Reply, Refusal>> {
        match self.answers.remove(&request)? {
            Answer::Client(outcome) => Some(outcome),
            Answer::Rest(_) => None,
        }
    }

    /// Asks something that is answered at once.
    ///
    /// # Panics
    /// When it is not.
    pub fn request(&mut self, agent: usize, action: Action) -> Result<Reply, Refusal> {
        let request = self.ask(agent, action);
        self.answer(request).expect("an answer at once")
    }

    /// Does what mediasoup-client does at the start of a shift: both transports, a producer, a consumer. ICE and DTLS need time to come up.
    pub fn open_media(&mut self, agent: usize, codec: Codec) {
        let port = BROWSER_PORTS + 2 * agent as u16;
        let mut send = self.open_transport(agent, Direction::Send, Role::Send(codec), port);
        let mut recv = self.open_transport(agent, Direction::Recv, Role::Recv, port + 1);
        let rtp = send.1.producer_parameters().expect("the parameters of a microphone");
        let produced = self.request(agent, Action::Produce { transport: send.0.id, kind: MediaKind::Audio, rtp });
        assert!(matches!(produced, Ok(Reply::Producer(_))), "{produced:?}");
        match self.request(agent, Action::Consume { transport: recv.0.id, producer: None, call: None }) {
            Ok(Reply::Consumer(consumer)) => recv.1.consume(&consumer.rtp).expect("usable consumer parameters"),
            other => panic!("webrtc:consume: {other:?}"),
        }
        for browser in [&mut send.1, &mut recv.1] {
            browser.connect(self.now).expect("a browser that starts");
        }
        self.agents[agent].send = Some(send.1);
        self.agents[agent].recv = Some(recv.1);
        self.settle();
    }

    fn open_transport(&mut self, agent: usize, direction: Direction, role: Role, port: u16) -> (TransportOptions, FakeBrowser) {
        let options = match self.request(agent, Action::CreateTransport { direction }) {
            Ok(Reply::Transport(options)) => options,
            other => panic!("webrtc:create-transport: {other:?}"),
        };
        let local = SocketAddr::new(BROWSERS, port);
        let mut browser = FakeBrowser::new(role, &options, local, self.now).expect("usable transport options");
        let dtls = browser.dtls_parameters();
        let connected = self.request(agent, Action::ConnectTransport { transport: options.id, dtls });
        assert!(matches!(connected, Ok(Reply::Done)), "{connected:?}");
        (options, browser)
    }

    /// Dials.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub fn dial(&mut self, agent: usize, number: &str) -> CallId {
        self.dial_with(agent, number, Vec::new())
    }

    /// Dials, with header fields for the INVITE.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub fn dial_with(&mut self, agent: usize, number: &str, headers: Vec<(String, String)>) -> CallId {
        match self.request(agent, Action::Dial(Dial { phone_number: number.to_owned(), headers, ..Dial::default() })) {
            Ok(Reply::Dialed(call)) => call,
            other => panic!("call:dial: {other:?}"),
        }
    }

    /// The events of one call so far, in order.
    pub fn call_events(&self, agent: usize, call: CallId) -> Vec<(Duration, CallEvent)> {
        let events = self.agents[agent].events.iter();
        let events = events.filter_map(|(at, event)| match event {
            Event::Call { call: of, event } if *of == call => Some((*at, event.clone())),
            _ => None,
        });
        events.collect()
    }

    /// Whether both transports of the agent are up, as the gateway told and as the browser sees it.
    pub fn is_media_up(&self, agent: usize) -> bool {
        let agent = &self.agents[agent];
        let up = |event: &Event| matches!(event, Event::TransportState { state: TransportState::Connected, .. });
        agent.browsers_up >= 2 && agent.events.iter().filter(|(_, event)| up(event)).count() >= 2
    }

    /// What the shard holds.
    pub fn stats(&mut self) -> ShardStats {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.shard.handle(Input::Command { request: Some(request), command: Command::Rest(Query::Stats(Scope::Everything)) }, self.now);
        self.settle();
        match self.answers.remove(&request) {
            Some(Answer::Rest(reply)) => match *reply {
                QueryReply::Stats(stats) => stats,
                other => panic!("stats: {other:?}"),
            },
            other => panic!("stats: {other:?}"),
        }
    }

    /// A datagram of anybody arrives at the gateway; tells what the gateway sent at once because of it, and to whom.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.deliver_to_gateway(from, to, bytes);
        let mut sent = Vec::new();
        self.check_panics();
        while let Some(output) = self.shard.poll_output() {
            if let Output::Transmit(transmit) = &output {
                sent.push((transmit.to, transmit.packet.bytes().to_vec()));
            }
            self.on_output(output);
        }
        self.settle();
        sent
    }

    /// Lets time pass until `done` or for at most `limit`; tells whether it was done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Lab) -> bool) -> bool {
        let until = self.now + limit;
        self.settle();
        while !done(self) {
            match self.next_deadline() {
                Some(at) if at <= until => self.advance(at),
                _ => {
                    self.now = until;
                    return false;
                }
            }
        }
        true
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Every agent leaves, every timer runs out; then nothing may be left anywhere.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_nothing_left(&mut self) {
        for agent in 0..self.agents.len() {
            self.agents[agent].speaking = false;
            self.agents[agent].send = None;
            self.agents[agent].recv = None;
            self.disconnect(agent);
        }
        self.run(AFTERMATH);
        // The gateway asks the PBX all the time whether it is there: cut off, both come to rest between two questions.
        self.set_pbx_quality(LinkQuality { loss: 1.0, ..LinkQuality::PERFECT });
        let mut held = self.held();
        for _ in 0..AFTERMATH.as_secs() {
            if held == ([0; 7], [0; 4]) {
                break;
            }
            self.run(Duration::from_secs(1));
            held = self.held();
        }
        assert_eq!(held.0, [0; 7], "the gateway holds agents, calls, transports, transactions, dialogs, ports, deadlines");
        assert_eq!(held.1, [0; 4], "the PBX holds calls, ports, deadlines, transactions");
        assert!(self.own_pairs.is_empty(), "pairs are still open: {:?}", self.own_pairs);
        assert_eq!(self.shard.panics(), self.panics_expected, "panics in the shard, and those on purpose");
    }

    fn held(&mut self) -> ([usize; 7], [usize; 4]) {
        let stats = self.stats();
        let gateway =
            [stats.agents, stats.calls, stats.transports, stats.sip_transactions, stats.dialogs, stats.ports_in_use, stats.deadlines];
        let pbx = self.pbx.stats();
        (gateway, [pbx.calls, pbx.ports_in_use, pbx.deadlines, pbx.transactions])
    }

    fn next_deadline(&self) -> Option<Instant> {
        let links = self.links.iter().filter_map(Link::next_deadline);
        let browsers = self.agents.iter().flat_map(|agent| [&agent.send, &agent.recv]).flatten().filter_map(FakeBrowser::next_deadline);
        let speech = self.agents.iter().filter(|agent| agent.speaking).map(|agent| agent.frame_at);
        links.chain(browsers).chain(speech).chain(self.shard.next_deadline()).chain(self.pbx.next_deadline()).min()
    }

    fn advance(&mut self, at: Instant) {
        self.now = at.max(self.now);
        let now = self.now;
        for path in [Path::BrowserToGateway, Path::GatewayToBrowser, Path::PbxToGateway, Path::GatewayToPbx] {
            while let Some(wired) = self.link(path).receive(now) {
                self.deliver(wired);
            }
        }
        if self.shard.next_deadline().is_some_and(|at| at <= now) {
            self.shard.handle(Input::Timeout, now);
        }
        if self.pbx.next_deadline().is_some_and(|at| at <= now) {
            self.pbx.handle_timeout(now);
        }
        for agent in &mut self.agents {
            for browser in [&mut agent.send, &mut agent.recv].into_iter().flatten() {
                if browser.next_deadline().is_some_and(|at| at <= now) {
                    browser.handle_timeout(now);
                }
            }
            if agent.speaking && agent.frame_at <= now {
                agent.speak(now);
            }
        }
        self.settle();
    }

    fn deliver(&mut self, wired: Wired) {
        let Wired { from, to, bytes } = wired;
        let ip = to.ip();
        if ip == PBX {
            let role = match to.port() {
                port if port == pbx_sip().port() => UdpSocketRole::Sip,
                port if port % 2 == 0 => UdpSocketRole::Rtp(port),
                port => UdpSocketRole::Rtcp(port - 1),
            };
            self.pbx.handle(role, from, &bytes, self.now);
        } else if ip == GATEWAY {
            self.deliver_to_gateway(from, to, &bytes);
        } else {
            let browsers = self.agents.iter_mut().flat_map(|agent| [&mut agent.send, &mut agent.recv]).flatten();
            if let Some(browser) = { browsers }.find(|browser| browser.local_address() == to) {
                browser.handle_datagram(&bytes, from, self.now);
            }
        }
    }

    fn deliver_to_gateway(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let socket = match to.port() {
            port if port == browser_port().port() => LocalSocket::Browser,
            port if port == shard_sip().port() => LocalSocket::Sip,
            port if port == public_sip().port() => LocalSocket::SipPublic,
            SHARED_PAIR => LocalSocket::Rtp(PortPair::SHARED),
            port if port == SHARED_PAIR + 1 => LocalSocket::Rtcp(PortPair::SHARED),
            port => match self.own_pairs.iter().find(|(_, rtp)| **rtp == port & !1) {
                Some((pair, _)) if port % 2 == 0 => LocalSocket::Rtp(*pair),
                Some((pair, _)) => LocalSocket::Rtcp(*pair),
                None => return,
            },
        };
        let mut packet = self.shard.packets.take();
        assert!(packet.copy_from(bytes), "a datagram of {} bytes", bytes.len());
        let datagram = Datagram { socket, from, packet };
        let input = if socket == LocalSocket::SipPublic {
            let agents = &self.agents;
            let lookup = |user: &str, _domain: &str| {
                let agent = agents.iter().find(|agent| agent.identity.sip.user == user);
                let target = agent.map_or(IngressTarget::Refuse(404), |agent| {
                    IngressTarget::Agent(agent.identity.tenant.clone(), agent.identity.agent.clone())
                });
                (ShardId(0), target)
            };
            let (_, target) = self.ingress.route(bytes, from, self.now, lookup);
            Input::Ingress { datagram, target: target.unwrap_or(IngressTarget::Any) }
        } else {
            Input::Datagram(datagram)
        };
        self.shard.handle(input, self.now);
    }

    /// Takes what everybody wants to send and tell, until nobody wants any more.
    fn settle(&mut self) {
        let (now, since) = (self.now, self.now - self.start);
        self.check_panics();
        while let Some(output) = self.shard.poll_output() {
            self.on_output(output);
        }
        while let Some(transmit) = self.pbx.poll_transmit() {
            let port = match transmit.socket {
                UdpSocketRole::Sip => pbx_sip().port(),
                UdpSocketRole::Rtp(port) => port,
                UdpSocketRole::Rtcp(port) => port + 1,
            };
            let wired = Wired { from: SocketAddr::new(PBX, port), to: transmit.to, bytes: transmit.bytes };
            self.link(Path::PbxToGateway).send(wired, now);
        }
        let mut sent = Vec::new();
        for agent in &mut self.agents {
            for browser in [&mut agent.send, &mut agent.recv].into_iter().flatten() {
                while let Some((to, bytes)) = browser.poll_transmit() {
                    sent.push(Wired { from: browser.local_address(), to, bytes });
                }
                while let Some(event) = browser.poll_event() {
                    match event {
                        BrowserEvent::Rtp(received) => agent.heard.push((since, received)),
                        BrowserEvent::Broken(reason) => panic!("a browser broke: {reason}"),
                        BrowserEvent::Connected => agent.browsers_up += 1,
                        BrowserEvent::IceDisconnected | BrowserEvent::Closed => {}
                    }
                }
            }
        }
        sent.into_iter().for_each(|wired| self.link(Path::BrowserToGateway).send(wired, now));
    }

    /// The shard contains its panics, which must not hide them from a test.
    fn check_panics(&self) {
        let (found, expected) = (self.shard.panics(), self.panics_expected);
        assert!(found <= expected, "{found} panics in the shard, {expected} of them on purpose");
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => {
                let from = SocketAddr::new(GATEWAY, self.port_of(transmit.socket));
                let path = if transmit.socket == LocalSocket::Browser { Path::GatewayToBrowser } else { Path::GatewayToPbx };
                let wired = Wired { from, to: transmit.to, bytes: transmit.packet.bytes().to_vec() };
                self.shard.packets.give_back(transmit.packet);
                let now = self.now;
                self.link(path).send(wired, now);
            }
            Output::Answer { request, answer } => {
                assert!(self.answers.insert(request, answer).is_none(), "a second answer to {request:?}");
            }
            Output::Connected { socket, welcome } => {
                if let Some(agent) = self.agent_on(socket) {
                    agent.welcome = Some(*welcome);
                }
            }
            Output::Event { socket, event, .. } => {
                let since = self.now - self.start;
                if let Some(agent) = self.agent_on(socket) {
                    agent.events.push((since, event));
                }
            }
            Output::Died => {
                assert!(self.own_pairs.is_empty(), "the dead shard left pairs open: {:?}", self.own_pairs);
                self.restarts += 1;
                self.shard = self.shard.successor([self.restarts as u8; 32]);
                self.agents.iter_mut().for_each(|agent| agent.socket = None);
            }
            Output::Disconnect { socket } | Output::Reconnect { socket } => {
                if let Some(agent) = self.agent_on(socket) {
                    agent.socket = None;
                }
            }
            Output::OpenPair { pair, rtp_port } => {
                assert!(self.own_pairs.insert(pair, rtp_port).is_none(), "{pair:?} is opened twice");
            }
            Output::ClosePair(pair) => assert!(self.own_pairs.remove(&pair).is_some(), "{pair:?} was not open"),
            Output::AgentPresent { .. } => {}
        }
    }

    fn port_of(&self, socket: LocalSocket) -> u16 {
        let rtp_port = |pair: PortPair| if pair == PortPair::SHARED { SHARED_PAIR } else { self.own_pairs[&pair] };
        match socket {
            LocalSocket::Browser => browser_port().port(),
            LocalSocket::Sip => shard_sip().port(),
            LocalSocket::SipPublic => public_sip().port(),
            LocalSocket::Rtp(pair) => rtp_port(pair),
            LocalSocket::Rtcp(pair) => rtp_port(pair) + 1,
        }
    }

    fn agent_on(&mut self, socket: SocketId) -> Option<&mut LabAgent> {
        self.agents.iter_mut().find(|agent| agent.socket == Some(socket))
    }

    fn link(&mut self, path: Path) -> &mut Link<Wired> {
        &mut self.links[path as usize]
    }
}

impl LabAgent {
    /// The numbers of the spoken frames that came out of the loudspeaker, each once.
    pub fn frame_numbers_heard(&self) -> BTreeSet<u32> {
        self.heard.iter().filter_map(|(_, received)| frame_number(&received.payload)).collect()
    }

    /// How many distinct spoken frames came back, of those that [`LabAgent::frames_spoken`] counts.
    pub fn frames_returned(&self) -> usize {
        self.frame_numbers_heard().len()
    }

    /// The number of the next spoken frame.
    pub fn next_frame(&self) -> u32 {
        self.frame
    }

    /// How many frames were spoken.
    pub fn frames_spoken(&self) -> usize {
        (self.frame - self.first_frame) as usize
    }

    /// Gives the next spoken frame this number.
    pub fn start_counting_from(&mut self, number: u32) {
        (self.first_frame, self.frame) = (number, number);
    }

    /// Begins to send a frame every 20 ms, each with its number in it.
    pub fn start_speaking(&mut self, now: Instant) {
        self.speaking = true;
        self.frame_at = now;
    }

    fn speak(&mut self, now: Instant) {
        if let Some(send) = &mut self.send {
            let mut payload = [VOICE; 160];
            payload[..4].copy_from_slice(&self.frame.to_be_bytes());
            send.send_frame(&payload, now);
            self.frame += 1;
        }
        self.frame_at += FRAME;
    }
}

fn frame_number(payload: &[u8]) -> Option<u32> {
    let (number, rest) = payload.split_first_chunk::<4>()?;
    (rest.len() == 156 && rest.iter().all(|byte| *byte == VOICE)).then_some(u32::from_be_bytes(*number))
}

/// The gateway's public SIP port.
pub fn public_sip() -> SocketAddr {
    SocketAddr::new(GATEWAY, 5070)
}

/// The PBX.
pub fn pbx_sip() -> SocketAddr {
    SocketAddr::new(PBX, 5060)
}

/// The port that the shard signals from.
pub fn shard_sip() -> SocketAddr {
    SocketAddr::new(GATEWAY, 5071)
}

/// The port of all browsers.
pub fn browser_port() -> SocketAddr {
    SocketAddr::new(GATEWAY, 10_000)
}

/// RTP of the pair that all SIP legs share; its RTCP is on the port above.
pub fn shared_rtp() -> SocketAddr {
    SocketAddr::new(GATEWAY, SHARED_PAIR)
}

/// RTP of the PBX's first call.
pub fn pbx_rtp() -> SocketAddr {
    SocketAddr::new(PBX, PBX_PORTS)
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn policy() -> Policy {
    Policy {
        max_calls_per_agent: 2,
        ring_timeout: Duration::from_secs(60),
        incoming_timeout: Duration::from_secs(120),
        media_timeout: Duration::from_secs(30),
        resume_grace: Duration::from_secs(30),
        resume_media_max: Duration::from_secs(600),
        header_prefixes: vec!["x-".to_owned()],
        dial: DialPolicy::default(),
    }
}

/// Made once: their sines take longer than everything else about a lab.
static SOUNDS: LazyLock<Sounds> = LazyLock::new(Sounds::g711);

const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const PBX: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
const BROWSERS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));
const SHARED_PAIR: u16 = 10_002;
const PBX_PORTS: u16 = 40_000;
const BROWSER_PORTS: u16 = 50_000;

/// 20 ms of audio.
const FRAME: Duration = Duration::from_millis(20);

/// The byte that a fake voice is made of.
const VOICE: u8 = 0x5A;

/// Longer than every timer: the grace time of a lost agent, an INVITE on a dead network, a transport that nobody talks to.
const AFTERMATH: Duration = Duration::from_secs(200);
