//! What each step does to the world.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nexus_gateway::call::command::{
    Action, Command, Dial, Direction, DtmfMethod, Query, QueryReply, RejectStatus, Reply, Scope, SendDtmf, TransferKind,
};
use nexus_gateway::call::error::Code;
use nexus_gateway::codec::Codec;
use nexus_gateway::ids::{CallId, SocketId};
use nexus_gateway::limits::ENDED_CALL_KEPT;
use nexus_gateway::webrtc::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole, MediaKind, RtpParameters};
use nexus_harness::browser::{FakeBrowser, Role};
use nexus_harness::link::LinkQuality;
use uuid::Uuid;

use super::browser::{Side, Transport};
use super::reference::Expected;
use super::step::{Ask, Number, Pbx, Quality, Step, Stray};
use super::world::{AGENTS, BROWSER_PORT, CALLS_PER_AGENT, World};

/// Longer than every SIP timer of a request within a dialog, and than a call may ring.
const AGREEMENT: Duration = Duration::from_secs(70);

/// Longer than everything that anybody waits for (`RINGING_MAX` is 15 minutes).
const AFTERMATH: Duration = Duration::from_secs(20 * 60);

/// How long a browser takes to connect, at most.
const CONNECTS: Duration = Duration::from_secs(3);

impl World {
    /// What a case begins with: agents who can talk.
    pub fn open(&mut self) {
        for agent in 0..AGENTS {
            self.connect(agent);
        }
        self.open_media(0);
        self.open_media(1);
    }

    /// Does one step.
    pub fn apply(&mut self, step: Step) -> Result<(), String> {
        let nth = |agent: u8| usize::from(agent) % AGENTS;
        match step {
            Step::Connect { agent } => self.connect(nth(agent)),
            Step::LoseSocket { agent } => self.lose_socket(nth(agent)),
            Step::OpenMedia { agent } => self.open_media(nth(agent)),
            Step::Agent { agent, asks } => {
                let agent = nth(agent);
                if let Some(socket) = self.reference.agents[agent].socket {
                    self.ask(agent, socket, asks)?;
                }
            }
            Step::StaleSocket { agent, asks } => self.ask_from_the_grave(nth(agent), asks)?,
            Step::Consent { agent, gives } => self.agents[nth(agent)].consents = gives,
            Step::Goodbye { agent, nth: which } => self.say_goodbye(nth(agent), which),
            Step::Terminate { call } => self.terminate(call)?,
            Step::Pbx(what) => self.pbx_acts(what),
            Step::Network { to_gateway, to_pbx } => self.set_network(quality(to_gateway), quality(to_pbx)),
            Step::Packet(stray) => self.send_stray(stray),
            Step::Wait(ms) => self.run(Duration::from_millis(ms.into())),
            Step::Settle => {
                self.calm();
                self.run(AGREEMENT);
                self.check_agreement()?;
            }
        }
        Ok(())
    }

    /// Everybody goes home.
    pub fn close(&mut self) -> Result<(), String> {
        self.calm();
        let now = self.now;
        self.pbx.hang_up_all(now);
        for agent in 0..AGENTS {
            self.agents[agent].consents = false;
            self.lose_socket(agent);
        }
        self.run(AFTERMATH);
        self.check()?;
        self.check_nothing_left()
    }

    // ---- agents ----

    fn connect(&mut self, agent: usize) {
        let socket = SocketId(self.new_number());
        let known = &mut self.reference.agents[agent];
        known.stale = known.socket.replace(socket).or(known.stale);
        known.events = 0;
        let identity = self.identity(agent);
        self.command(Command::Connect { socket, identity }, None);
    }

    fn lose_socket(&mut self, agent: usize) {
        let known = &mut self.reference.agents[agent];
        let Some(socket) = known.socket.take() else { return };
        (known.stale, known.deaf) = (Some(socket), true);
        self.command(Command::Disconnect { socket }, None);
    }

    fn open_media(&mut self, agent: usize) {
        let Some(socket) = self.reference.agents[agent].socket else { return };
        for send in [true, false] {
            let up = |transport: &Transport| transport.send == send && matches!(transport.side, Side::Recorded(_));
            if let Some(known) = { self.agents[agent].transports.iter() }.find(|transport| up(transport)) {
                let (id, rtp) = (known.id, known.rtp.clone());
                match rtp {
                    Some(rtp) if known.producers.is_empty() => self.produce(agent, socket, id, rtp),
                    None if known.consumers.is_empty() => self.consume(agent, socket, id),
                    Some(_) | None => {}
                }
                continue;
            }
            let direction = if send { Direction::Send } else { Direction::Recv };
            self.client(socket, Action::CreateTransport { direction }, Expected::AtOnce);
            let Some(Reply::Transport(options)) = self.replies.pop() else { continue };
            let role = if send { Role::Send(Codec::Pcmu) } else { Role::Recv };
            let address = self.new_browser_address();
            let mut browser = FakeBrowser::new(role, &options, address, self.now).expect("usable transport options");
            let dtls = browser.dtls_parameters();
            let producer = browser.producer_parameters();
            self.client(socket, Action::ConnectTransport { transport: options.id, dtls }, Expected::Done);
            browser.connect(self.now).expect("a browser that starts");
            self.agents[agent].transports.push(Transport::new(options.id, send, Side::Connecting(Box::new(browser))));
            match producer {
                Some(rtp) => self.produce(agent, socket, options.id, rtp),
                None => self.consume(agent, socket, options.id),
            }
        }
        self.agents[agent].consents = true;
        self.connect_browsers();
        self.run(CONNECTS);
    }

    fn produce(&mut self, agent: usize, socket: SocketId, transport: nexus_gateway::ids::TransportId, rtp: RtpParameters) {
        self.client(socket, Action::Produce { transport, kind: MediaKind::Audio, rtp: rtp.clone() }, Expected::AtOnce);
        if let Some(Reply::Producer(producer)) = self.replies.pop()
            && let Some(known) = self.agents[agent].transports.iter_mut().find(|known| known.id == transport)
        {
            known.producers.push(producer);
            known.rtp = Some(rtp);
        }
    }

    fn consume(&mut self, agent: usize, socket: SocketId, transport: nexus_gateway::ids::TransportId) {
        self.client(socket, Action::Consume { transport, producer: None, call: None }, Expected::AtOnce);
        if let Some(Reply::Consumer(consumer)) = self.replies.pop()
            && let Some(known) = self.agents[agent].transports.iter_mut().find(|known| known.id == transport)
        {
            known.consumers.push(consumer.id);
        }
    }

    fn client(&mut self, socket: SocketId, action: Action, expected: Expected) {
        self.replies.clear();
        self.command(Command::Client { socket, action }, Some(expected));
    }

    fn ask(&mut self, agent: usize, socket: SocketId, asks: Ask) -> Result<(), String> {
        match asks {
            Ask::BareTransport { send, connect } => self.open_bare_transport(agent, socket, send, connect),
            Ask::Produce { nth } => {
                let rtp = self.agents[agent].transports.iter().find_map(|transport| transport.rtp.clone());
                if let (Some(transport), Some(rtp)) = (self.pick_transport(agent, nth), rtp) {
                    self.produce(agent, socket, transport, rtp);
                }
            }
            Ask::Consume { nth } => {
                if let Some(transport) = self.pick_transport(agent, nth) {
                    self.consume(agent, socket, transport);
                }
            }
            _ => {
                let Some((action, expected)) = self.action(agent, asks) else { return Ok(()) };
                let nothing = matches!(expected, Expected::Refused(Code::CallNotFound));
                self.forget_closed(agent, &action);
                self.effects = 0;
                self.client(socket, action, expected);
                if nothing && self.effects > 0 {
                    return Err("a dead handle has an effect".to_owned());
                }
            }
        }
        Ok(())
    }

    /// A client does not use what it has closed.
    fn forget_closed(&mut self, agent: usize, action: &Action) {
        for transport in &mut self.agents[agent].transports {
            match action {
                Action::CloseProducer { producer } => transport.producers.retain(|known| known != producer),
                Action::CloseConsumer { consumer } => transport.consumers.retain(|known| known != consumer),
                _ => {}
            }
        }
    }

    /// The action, and how it has to be answered.
    fn action(&self, agent: usize, asks: Ask) -> Option<(Action, Expected)> {
        let control = |call: CallId| self.reference.expect_control(agent, call, false, self.now);
        let pick = |call: u8| self.pick_call(agent, call);
        Some(match asks {
            Ask::BareTransport { .. } | Ask::Produce { .. } | Ask::Consume { .. } => return None,
            Ask::CloseTransport { nth } => (Action::CloseTransport { transport: self.pick_transport(agent, nth)? }, Expected::AtOnce),
            Ask::PauseProducer { nth, paused } => {
                let producer = self.pick_producer(agent, nth)?;
                (if paused { Action::PauseProducer { producer } } else { Action::ResumeProducer { producer } }, Expected::AtOnce)
            }
            Ask::CloseProducer { nth } => (Action::CloseProducer { producer: self.pick_producer(agent, nth)? }, Expected::AtOnce),
            Ask::CloseConsumer { nth } => {
                let consumers: Vec<_> = self.agents[agent].transports.iter().flat_map(|transport| &transport.consumers).collect();
                (Action::CloseConsumer { consumer: **consumers.get(usize::from(nth) % consumers.len().max(1))? }, Expected::AtOnce)
            }
            Ask::Dial { number, own_id } => {
                let dial = Dial {
                    phone_number: digits(number).to_owned(),
                    client_call_id: own_id.map(|id| format!("own-{id}")),
                    ..Dial::default()
                };
                (Action::Dial(dial), self.reference.expect_dial(agent, number, own_id, CALLS_PER_AGENT, self.now))
            }
            Ask::Answer { call } => (Action::Answer { call: pick(call) }, within(control(pick(call)), ANSWER_MAX)),
            Ask::Reject { call } => {
                let status = [RejectStatus::BusyHere, RejectStatus::Decline, RejectStatus::TemporarilyUnavailable][usize::from(call) % 3];
                (Action::Reject { call: pick(call), status }, within(control(pick(call)), Duration::ZERO))
            }
            Ask::Hangup { call } => {
                let expected = self.reference.expect_control(agent, pick(call), true, self.now);
                (Action::Hangup { call: pick(call) }, within(expected, HANGUP_MAX))
            }
            Ask::Hold { call } => (Action::Hold { call: pick(call) }, control(pick(call))),
            Ask::Unhold { call } => (Action::Unhold { call: pick(call) }, control(pick(call))),
            Ask::Mute { call, muted } => {
                let expected = match control(pick(call)) {
                    Expected::Within(_) => Expected::Done,
                    other => other,
                };
                (Action::Mute { call: pick(call), muted }, expected)
            }
            Ask::Dtmf { call, info } => {
                let method = if info { DtmfMethod::Info } else { DtmfMethod::Auto };
                let (duration, gap) = (Duration::from_millis(100), Duration::from_millis(70));
                let digits = SendDtmf { call: pick(call), tones: "1,#".to_owned(), duration, gap, method };
                (Action::Dtmf(digits), within(control(pick(call)), Duration::ZERO))
            }
            Ask::Transfer { call } => {
                (Action::Transfer { call: pick(call), target: "300".to_owned(), kind: TransferKind::Blind }, control(pick(call)))
            }
            Ask::GetStats { call } => {
                (Action::GetStats { transport: None, call: Some(pick(call)) }, within(control(pick(call)), Duration::ZERO))
            }
        })
    }

    /// A socket that was taken over, or lost, asks for something.
    fn ask_from_the_grave(&mut self, agent: usize, asks: Ask) -> Result<(), String> {
        let (Some(socket), Some((action, _))) = (self.reference.agents[agent].stale, self.action(agent, asks)) else { return Ok(()) };
        self.effects = 0;
        self.client(socket, action, Expected::Refused(Code::SessionTakenOver));
        if self.effects > 0 { Err("a dead socket has an effect".to_owned()) } else { Ok(()) }
    }

    fn open_bare_transport(&mut self, agent: usize, socket: SocketId, send: bool, connect: bool) {
        let direction = if send { Direction::Send } else { Direction::Recv };
        self.client(socket, Action::CreateTransport { direction }, Expected::AtOnce);
        let Some(Reply::Transport(options)) = self.replies.pop() else { return };
        self.agents[agent].transports.push(Transport::new(options.id, send, Side::Nobody));
        if connect {
            let fingerprint = DtlsFingerprint { algorithm: "sha-256".to_owned(), value: ["AB"; 32].join(":") };
            let dtls = DtlsParameters { role: DtlsRole::Client, fingerprints: vec![fingerprint] };
            self.client(socket, Action::ConnectTransport { transport: options.id, dtls }, Expected::Done);
        }
    }

    fn pick_transport(&self, agent: usize, nth: u8) -> Option<nexus_gateway::ids::TransportId> {
        let transports = &self.agents[agent].transports;
        transports.get(usize::from(nth) % transports.len().max(1)).map(|transport| transport.id)
    }

    fn pick_producer(&self, agent: usize, nth: u8) -> Option<nexus_gateway::ids::ProducerId> {
        let producers: Vec<_> = self.agents[agent].transports.iter().flat_map(|transport| &transport.producers).collect();
        producers.get(usize::from(nth) % producers.len().max(1)).map(|producer| **producer)
    }

    /// Mostly a live call of the agent; sometimes a dead one, another agent's, or one that never was.
    fn pick_call(&self, agent: usize, number: u8) -> CallId {
        let nth = usize::from(number / 8);
        let own: Vec<CallId> = self.reference.live(agent).map(|call| call.id).collect();
        let any = &self.reference.calls;
        match number % 8 {
            7 => CallId(Uuid::from_u128(u128::from(number))),
            6 if !any.is_empty() => any[any.len() - 1 - nth % any.len()].id,
            _ => own.get(nth % own.len().max(1)).copied().unwrap_or(CallId(Uuid::nil())),
        }
    }

    fn say_goodbye(&mut self, agent: usize, nth: u8) {
        let Some(id) = self.pick_transport(agent, nth) else { return };
        let Some(transport) = self.agents[agent].transports.iter_mut().find(|transport| transport.id == id) else { return };
        if let Side::Recorded(recording) = &mut transport.side {
            let (from, said) = (recording.address, std::mem::take(&mut recording.goodbye));
            said.iter().for_each(|bytes| self.arrive(from, BROWSER_PORT, bytes));
        }
    }

    fn terminate(&mut self, number: u8) -> Result<(), String> {
        let known = &self.reference.calls;
        let Some(call) = known.len().checked_sub(1 + usize::from(number) % known.len().max(1)).map(|nth| &known[nth]) else {
            return Ok(());
        };
        let (id, remembered) = (call.id, call.ended_at.is_none_or(|at| at + ENDED_CALL_KEPT > self.now));
        let reply = self.rest(Query::Terminate { scope: Scope::Everything, call: id });
        let terminated = matches!(reply, QueryReply::Terminated(true));
        if terminated == remembered { Ok(()) } else { Err(format!("terminate of {id}: {reply:?}")) }
    }

    // ---- the PBX, and what is not SIP ----

    fn pbx_acts(&mut self, what: Pbx) {
        let (names, now) = (self.names(), self.now);
        if let Pbx::ByeBoth { call } = what
            && let Some(nth) = self.pbx.pick(call)
        {
            let sip_call_id = self.pbx.calls[nth].call_id.clone();
            self.pbx.act(what, &names, now);
            if let Some((agent, id)) = self.call_of_dialog(&sip_call_id)
                && let Some(socket) = self.reference.agents[agent].socket
            {
                let expected = within(self.reference.expect_control(agent, id, true, now), HANGUP_MAX);
                self.client(socket, Action::Hangup { call: id }, expected);
            }
        } else {
            self.pbx.act(what, &names, now);
        }
        self.settle();
    }

    fn call_of_dialog(&mut self, sip_call_id: &str) -> Option<(usize, CallId)> {
        let QueryReply::Sessions(sessions) = self.rest(Query::Sessions(Scope::Everything)) else { return None };
        let id = sessions.iter().find(|session| session.call.sip_call_id == sip_call_id)?.call.call;
        self.reference.calls.iter().find(|call| call.id == id).map(|call| (call.agent, id))
    }

    fn send_stray(&mut self, stray: Stray) {
        match stray {
            Stray::Frame { agent } | Stray::FrameAgain { agent } => {
                let transports = &mut self.agents[usize::from(agent) % AGENTS].transports;
                let recordings =
                    transports.iter_mut().filter(|transport| transport.send).filter_map(|transport| match &mut transport.side {
                        Side::Recorded(recording) => Some(recording),
                        Side::Nobody | Side::Connecting(_) => None,
                    });
                let Some(recording) = { recordings }.next() else { return };
                let again = matches!(stray, Stray::FrameAgain { .. });
                let nth = recording.next_frame.saturating_sub(usize::from(again)) % recording.frames.len();
                recording.next_frame += usize::from(!again);
                let (from, frame) = (recording.address, recording.frames[nth].clone());
                self.arrive(from, BROWSER_PORT, &frame);
            }
            Stray::Rtp { call } => {
                if let Some(nth) = self.pbx.pick(call) {
                    self.pbx.rtp(nth, 0, &[0xd5; 160]);
                }
            }
            Stray::Event { call, digit } => {
                if let Some(nth) = self.pbx.pick(call) {
                    self.pbx.rtp(nth, 101, &[digit % 16, 0x80 | 10, 3, 32]);
                }
            }
            Stray::Rtcp { call } => {
                if let Some(nth) = self.pbx.pick(call) {
                    self.pbx.rtcp(nth);
                }
            }
            Stray::Noise { socket, kind } => {
                let ports = [BROWSER_PORT, 10_002, 10_003, 5070, 5071];
                let noise: [&[u8]; 7] = [
                    &[],
                    &[kind; 30],
                    &[0x80; 172],
                    &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
                    &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    b"\r\n\r\n",
                    b"INVITE sip:x@y SIP/2.0\r\n\r\n",
                ];
                let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)), 1_000 + u16::from(kind));
                self.arrive(from, ports[usize::from(socket) % ports.len()], noise[usize::from(kind) % noise.len()]);
            }
        }
        self.settle();
    }
}

/// An answer waits for the browser's media (api.md section 4).
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A hangup waits for the answer to a REFER (api.md section 4).
const HANGUP_MAX: Duration = Duration::from_secs(2);

/// A shorter time for a request that may wait.
fn within(expected: Expected, limit: Duration) -> Expected {
    match expected {
        Expected::Within(_) => Expected::Within(limit),
        other => other,
    }
}

fn digits(number: Number) -> &'static str {
    match number {
        Number::Answers => "100",
        Number::Rings => "200",
        Number::EarlyMedia => "300",
        Number::OnlyTries => "400",
        Number::Busy => "486",
        Number::Uri => "sip:100@elsewhere.example",
        Number::Emergency => "112",
        Number::Blocked => "0900123",
        Number::Nonsense => "no number",
    }
}

fn quality(quality: Quality) -> LinkQuality {
    match quality {
        Quality::Perfect => LinkQuality::PERFECT,
        Quality::Jittery => LinkQuality::JITTERY,
        Quality::Bad => LinkQuality::BAD,
        Quality::Terrible => LinkQuality { loss: 0.4, duplicate: 0.2, ..LinkQuality::BAD },
        Quality::Out => LinkQuality { loss: 1.0, ..LinkQuality::PERFECT },
    }
}
