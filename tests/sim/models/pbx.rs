//! The other side: a user agent that does what a case tells it, and misbehaves only in what it sends and takes.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use nexus_gateway::net::LocalSocket;
use nexus_gateway::sdp::{self, Direction, LocalDescription};
use nexus_gateway::sip::{Address, Invite, SessionKey, SipEvent, UserAgent, UserAgentConfig};

use super::ledger::Essence;
use super::step::{Behaviour, Offer, Pbx};

/// A datagram of the PBX.
#[derive(Clone, Debug)]
pub struct Sent {
    pub port: u16,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    /// A message that gets lost within the PBX: what forgetting a dialog and never acknowledging look like from outside.
    pub withheld: bool,
}

/// The PBX.
pub struct FakePbx {
    pub behaviour: Behaviour,
    pub agent: UserAgent,
    pub calls: Vec<PbxCall>,
    /// Calls in which it broke the rules: their dialogs need not be agreed on.
    pub fouled: HashSet<String>,
    forgotten: HashSet<String>,
    outbox: VecDeque<Sent>,
    /// The last datagrams of SIP, to be sent again.
    said: VecDeque<Sent>,
    gateway: SocketAddr,
    next_port: u16,
    sequence: u16,
}

/// A call as the PBX sees it.
pub struct PbxCall {
    pub key: SessionKey,
    pub call_id: String,
    pub phase: Phase,
    pub port: u16,
    /// The gateway's last offer or answer.
    pub remote: Option<Vec<u8>>,
    reinvited: Option<Option<Vec<u8>>>,
    media_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The gateway calls.
    Called,
    /// It calls an agent.
    Calling,
    Talking,
}

pub const PBX: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
pub const SIP_PORT: u16 = 5060;

const FIRST_MEDIA_PORT: u16 = 40_000;
const MEDIA_EVERY: Duration = Duration::from_secs(10);
const SAID: usize = 24;

impl FakePbx {
    pub fn new(gateway: SocketAddr, seed: [u8; 32]) -> Self {
        let config = UserAgentConfig {
            contact: SocketAddr::new(PBX, SIP_PORT),
            product: "fake".to_owned(),
            credentials: None,
            shard: None,
            transactions_max: 10_000,
            sessions_max: 1_000,
        };
        Self {
            behaviour: Behaviour::GOOD,
            agent: UserAgent::new(config, seed),
            calls: Vec::new(),
            fouled: HashSet::new(),
            forgotten: HashSet::new(),
            outbox: VecDeque::new(),
            said: VecDeque::new(),
            gateway,
            next_port: FIRST_MEDIA_PORT,
            sequence: 0,
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let media = self.calls.iter().filter(|call| call.phase == Phase::Talking && !self.behaviour.mute).map(|call| call.media_at);
        media.chain(self.agent.next_deadline()).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        if !self.behaviour.mute {
            for nth in 0..self.calls.len() {
                if self.calls[nth].phase == Phase::Talking && self.calls[nth].media_at <= now {
                    self.calls[nth].media_at = now + MEDIA_EVERY;
                    self.rtp(nth, 0, &[0xd5; 160]);
                }
            }
        }
        self.drain(now);
    }

    /// Takes a SIP message.
    pub fn receive(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        if self.behaviour.answers_cancelled && bytes.starts_with(b"CANCEL ") {
            return self.answer_cancelled(from, bytes, now);
        }
        self.agent.handle_datagram(bytes, from, LocalSocket::Sip, now);
        self.drain(now);
    }

    pub fn poll_transmit(&mut self) -> Option<Sent> {
        while let Some(transmit) = self.agent.poll_transmit() {
            let essence = Essence::of(&transmit.bytes);
            let is = |method: &str| essence.as_ref().is_some_and(|essence| essence.method == method && essence.status.is_none());
            let forgotten = essence.as_ref().is_some_and(|essence| self.forgotten.contains(&essence.call_id)) && is("BYE");
            let withheld = forgotten || (self.behaviour.never_acks && is("ACK"));
            let sent = Sent { port: SIP_PORT, to: transmit.to, bytes: transmit.bytes, withheld };
            if !withheld {
                self.said.push_back(sent.clone());
                if self.said.len() > SAID {
                    self.said.pop_front();
                }
            }
            self.outbox.push_back(sent);
        }
        self.outbox.pop_front()
    }

    /// The call that a number means.
    pub fn pick(&self, number: u8) -> Option<usize> {
        (!self.calls.is_empty()).then(|| usize::from(number) % self.calls.len())
    }

    /// Does one thing; calls an agent of these names.
    pub fn act(&mut self, what: Pbx, names: &[String], now: Instant) {
        match what {
            Pbx::Call { agent, offer, auto_answer } => {
                let name = names.get(usize::from(agent) % (names.len() + 1)).map_or("nobody", String::as_str);
                self.call(name, offer, auto_answer, now);
            }
            Pbx::Behave(behaviour) => self.behaviour = behaviour,
            Pbx::SendAgain { nth } => {
                if let Some(sent) = self.said.get(usize::from(nth) % self.said.len().max(1)) {
                    self.outbox.push_back(sent.clone());
                }
            }
            Pbx::Ring { call }
            | Pbx::EarlyMedia { call }
            | Pbx::Answer { call, .. }
            | Pbx::AnswerTwice { call }
            | Pbx::Reject { call, .. }
            | Pbx::Challenge { call }
            | Pbx::Cancel { call }
            | Pbx::Bye { call }
            | Pbx::ByeBoth { call }
            | Pbx::Forget { call }
            | Pbx::Reinvite { call, .. }
            | Pbx::AnswerReinvite { call, .. }
            | Pbx::AnswerRefer { call, .. }
            | Pbx::Notify { call, .. }
            | Pbx::Refer { call }
            | Pbx::Info { call, .. } => {
                if let Some(nth) = self.pick(call) {
                    self.act_on(nth, what, now);
                }
            }
        }
        self.drain(now);
    }

    fn act_on(&mut self, nth: usize, what: Pbx, now: Instant) {
        let (key, phase) = (self.calls[nth].key, self.calls[nth].phase);
        match what {
            Pbx::Ring { .. } => self.agent.ring(key, None, now),
            Pbx::EarlyMedia { .. } => {
                let body = self.describe(nth, Offer::Usual);
                self.agent.ring(key, Some(body), now);
            }
            Pbx::Answer { offer, .. } => self.answer(nth, offer, now),
            Pbx::AnswerTwice { .. } if phase == Phase::Called => {
                self.answer(nth, Offer::Usual, now);
                let Some(ok) = self.agent.poll_transmit() else { return };
                // Our tags have no dash; whatever follows the tag of To stays.
                let forked = String::from_utf8_lossy(&ok.bytes).replacen(";tag=", ";tag=f0", 2).replacen(";tag=f0", ";tag=", 1);
                self.fouled.insert(self.calls[nth].call_id.clone());
                self.outbox.push_back(Sent { port: SIP_PORT, to: ok.to, bytes: ok.bytes, withheld: false });
                self.outbox.push_back(Sent { port: SIP_PORT, to: ok.to, bytes: forked.into_bytes(), withheld: false });
            }
            Pbx::Reject { status, .. } => self.reject(nth, status, Vec::new(), now),
            Pbx::Challenge { .. } => {
                let challenge = "Digest realm=\"pbx\", nonce=\"abc\", algorithm=MD5, qop=\"auth\"".to_owned();
                self.reject(nth, 401, vec![("WWW-Authenticate".to_owned(), challenge)], now);
            }
            Pbx::Cancel { .. } if phase == Phase::Calling => self.agent.cancel(key, now),
            Pbx::Bye { .. } | Pbx::ByeBoth { .. } => {
                self.agent.bye(key, None, now);
                self.remove(key);
            }
            Pbx::Forget { .. } if phase == Phase::Talking => {
                self.forgotten.insert(self.calls[nth].call_id.clone());
                self.fouled.insert(self.calls[nth].call_id.clone());
                self.agent.bye(key, None, now);
                self.remove(key);
            }
            Pbx::Reinvite { offer, .. } if phase == Phase::Talking => {
                let body = self.offer(nth, offer);
                let _ = self.agent.offer(key, body, now);
            }
            Pbx::AnswerReinvite { status, .. } => self.answer_reinvite(nth, status, now),
            Pbx::AnswerRefer { status, .. } => self.agent.respond_refer(key, status, now),
            Pbx::Notify { status, .. } => self.agent.notify_refer(key, status, "x", now),
            Pbx::Refer { .. } => self.agent.refer(key, "sip:x@y".to_owned(), now),
            Pbx::Info { digit, .. } => {
                let body = format!("Signal={}\r\nDuration=160\r\n", digit % 12);
                self.agent.info(key, "application/dtmf-relay", body.into_bytes(), now);
            }
            _ => {}
        }
    }

    /// Gives every call up, whatever it is at.
    pub fn hang_up_all(&mut self, now: Instant) {
        for call in std::mem::take(&mut self.calls) {
            self.agent.bye(call.key, None, now);
        }
        self.drain(now);
    }

    /// Answers whatever it let wait.
    pub fn catch_up(&mut self, now: Instant) {
        for nth in 0..self.calls.len() {
            self.answer_reinvite(nth, 200, now);
            self.agent.respond_refer(self.calls[nth].key, 603, now);
        }
        self.drain(now);
    }

    /// Sends RTP of a call.
    pub fn rtp(&mut self, nth: usize, payload_type: u8, payload: &[u8]) {
        let Some(to) = self.media_of_gateway(nth) else { return };
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = vec![0x80, payload_type];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend((u32::from(self.sequence) * 160).to_be_bytes());
        bytes.extend(7u32.to_be_bytes());
        bytes.extend(payload);
        self.outbox.push_back(Sent { port: self.calls[nth].port, to, bytes, withheld: false });
    }

    /// Sends a receiver report of a call.
    pub fn rtcp(&mut self, nth: usize) {
        let Some(to) = self.media_of_gateway(nth) else { return };
        let bytes = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
        let to = SocketAddr::new(to.ip(), to.port() + 1);
        self.outbox.push_back(Sent { port: self.calls[nth].port + 1, to, bytes, withheld: false });
    }

    fn media_of_gateway(&self, nth: usize) -> Option<SocketAddr> {
        Some(sdp::parse(self.calls[nth].remote.as_deref()?).ok()?.audio.rtp)
    }

    fn call(&mut self, user: &str, offer: Offer, auto_answer: bool, now: Instant) {
        let port = self.take_port();
        self.calls.push(PbxCall {
            key: SessionKey::default(),
            call_id: String::new(),
            phase: Phase::Calling,
            port,
            remote: None,
            reinvited: None,
            media_at: now,
        });
        let nth = self.calls.len() - 1;
        let body = self.offer(nth, offer);
        let headers = if auto_answer { vec![("Call-Info".to_owned(), "<sip:x>;answer-after=0".to_owned())] } else { Vec::new() };
        let invite = Invite {
            peer: self.gateway,
            target: format!("sip:{user}@{}", self.gateway.ip()),
            from: Address::new("9180", "pbx"),
            to: Address::new(user, "gateway"),
            headers,
            body: (!body.is_empty()).then_some(body),
        };
        match self.agent.invite(invite, now) {
            Ok(key) => {
                let call_id = self.agent.call_id(key).unwrap_or_default().to_owned();
                (self.calls[nth].key, self.calls[nth].call_id) = (key, call_id);
            }
            Err(_) => drop(self.calls.pop()),
        }
    }

    fn answer(&mut self, nth: usize, offer: Offer, now: Instant) {
        if self.calls[nth].phase == Phase::Called {
            let body = self.describe(nth, offer);
            self.agent.accept(self.calls[nth].key, body, now);
            self.calls[nth].phase = Phase::Talking;
            self.calls[nth].media_at = now;
        }
    }

    fn reject(&mut self, nth: usize, status: u16, headers: Vec<(String, String)>, now: Instant) {
        if self.calls[nth].phase == Phase::Called {
            let key = self.calls[nth].key;
            self.agent.reject(key, status, headers, now);
            self.remove(key);
        }
    }

    fn answer_reinvite(&mut self, nth: usize, status: u16, now: Instant) {
        let Some(offer) = self.calls[nth].reinvited.take() else { return };
        if offer.is_some() {
            self.calls[nth].remote = offer;
        }
        let answer = if status < 300 { Ok(self.describe(nth, Offer::Usual)) } else { Err(status) };
        self.agent.answer_offer(self.calls[nth].key, answer, now);
    }

    /// It has a mind of its own: a call that is cancelled is answered.
    fn answer_cancelled(&mut self, from: SocketAddr, cancel: &[u8], now: Instant) {
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"];
        let text = String::from_utf8_lossy(cancel);
        let lines = text.split("\r\n").filter(|line| line.split_once(':').is_some_and(|(name, _)| copied.contains(&name)));
        let ok = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.collect::<Vec<_>>().join("\r\n"));
        self.outbox.push_back(Sent { port: SIP_PORT, to: from, bytes: ok.into_bytes(), withheld: false });
        let call_id = Essence::of(cancel).map(|essence| essence.call_id);
        if let Some(nth) = self.calls.iter().position(|call| Some(&call.call_id) == call_id.as_ref()) {
            self.answer(nth, Offer::Usual, now);
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.agent.poll_event() {
            self.on_event(event, now);
        }
    }

    fn on_event(&mut self, event: SipEvent, now: Instant) {
        match event {
            SipEvent::Incoming { session, call } => {
                let port = self.take_port();
                let call_id = call.call_id.clone();
                self.calls.push(PbxCall {
                    key: session,
                    call_id,
                    phase: Phase::Called,
                    port,
                    remote: call.body,
                    reinvited: None,
                    media_at: now,
                });
                let nth = self.calls.len() - 1;
                match call.request_user.as_str() {
                    "200" => self.agent.ring(session, None, now),
                    "300" => {
                        let body = self.describe(nth, Offer::Usual);
                        self.agent.ring(session, Some(body), now);
                    }
                    "400" => {}
                    "486" => self.reject(nth, 486, Vec::new(), now),
                    _ => self.answer(nth, Offer::Usual, now),
                }
            }
            SipEvent::Answered { session, body, .. } => {
                let Some(call) = self.find(session) else { return };
                (call.phase, call.media_at) = (Phase::Talking, now);
                call.remote = body.or(call.remote.take());
            }
            SipEvent::Progress { session, body, .. }
            | SipEvent::OfferAnswered { session, body }
            | SipEvent::Acknowledged { session, body } => {
                if let Some(call) = self.find(session) {
                    call.remote = body.or(call.remote.take());
                }
            }
            SipEvent::Reoffered { session, body } => {
                let behaviour = self.behaviour;
                let Some(nth) = self.calls.iter().position(|call| call.key == session) else {
                    return self.agent.answer_offer(session, Err(500), now);
                };
                self.calls[nth].reinvited = Some(body);
                if behaviour.reinvite >= 200 {
                    self.answer_reinvite(nth, behaviour.reinvite, now);
                }
            }
            SipEvent::Refered { session, .. } => {
                let Behaviour { refer, report, .. } = self.behaviour;
                if refer >= 200 {
                    self.agent.respond_refer(session, refer, now);
                    if let Some(status) = report {
                        self.agent.notify_refer(session, status, "x", now);
                    }
                }
            }
            SipEvent::Cancelled { session, .. }
            | SipEvent::Failed { session, .. }
            | SipEvent::Ended { session, .. }
            | SipEvent::Lost { session, .. } => self.remove(session),
            SipEvent::OfferRefused { .. }
            | SipEvent::ReferAccepted { .. }
            | SipEvent::ReferRefused { .. }
            | SipEvent::Notified { .. }
            | SipEvent::Info { .. }
            | SipEvent::Pong { .. } => {}
        }
    }

    fn find(&mut self, session: SessionKey) -> Option<&mut PbxCall> {
        self.calls.iter_mut().find(|call| call.key == session)
    }

    fn remove(&mut self, session: SessionKey) {
        self.calls.retain(|call| call.key != session);
    }

    fn take_port(&mut self) -> u16 {
        if self.behaviour.one_port {
            return FIRST_MEDIA_PORT;
        }
        self.next_port = if self.next_port >= FIRST_MEDIA_PORT + 8_000 { FIRST_MEDIA_PORT + 2 } else { self.next_port + 2 };
        self.next_port
    }

    /// A new offer of ours.
    fn offer(&mut self, nth: usize, kind: Offer) -> Vec<u8> {
        match kind {
            Offer::Garbage => b"v=0\r\ngarbage".to_vec(),
            Offer::None => Vec::new(),
            _ => self.local(nth, kind).offer(),
        }
    }

    /// The answer to the gateway's last offer; an offer where it made none.
    fn describe(&mut self, nth: usize, kind: Offer) -> Vec<u8> {
        let remote = self.calls[nth].remote.as_deref().and_then(|body| sdp::parse(body).ok());
        match (kind, remote) {
            (Offer::Garbage, _) => b"v=0\r\ngarbage".to_vec(),
            (Offer::None, _) => Vec::new(),
            (Offer::OtherCodec, _) | (_, None) => self.local(nth, kind).offer(),
            (_, Some(remote)) => self.local(nth, kind).answer(&remote).map_or_else(|_| b"v=0".to_vec(), |(body, _)| body),
        }
    }

    fn local(&mut self, nth: usize, kind: Offer) -> LocalDescription {
        if kind == Offer::TakenPort {
            let other = self.calls[(nth + 1) % self.calls.len()].port;
            self.calls[nth].port = other;
        }
        let direction = match kind {
            Offer::SendOnly => Direction::SendOnly,
            Offer::RecvOnly => Direction::RecvOnly,
            Offer::Inactive => Direction::Inactive,
            _ => Direction::SendRecv,
        };
        self.sequence = self.sequence.wrapping_add(1);
        LocalDescription {
            address: if kind == Offer::Nowhere { Ipv4Addr::UNSPECIFIED.into() } else { PBX },
            rtp_port: self.calls[nth].port,
            rtcp_port: self.calls[nth].port + 1,
            session_id: 1,
            version: self.sequence.into(),
            direction,
            codecs: if kind == Offer::OtherCodec { vec![Codec::Pcma] } else { vec![Codec::Pcmu, Codec::Opus] },
        }
    }
}
