//! A SIP user agent without I/O: datagrams, time and wishes go in; datagrams, a deadline and events come out.
//!
//! Here are what it is made of, the way of a datagram in, and time. `caller` and `callee` are the two sides of an INVITE, `within` is what
//! happens in an established session, `outgoing` sends, `compose` makes messages, `session` is what is kept.

mod audit;
mod callee;
mod caller;
mod compose;
mod outgoing;
mod session;
#[cfg(test)]
mod tests;
mod within;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use slotmap::SlotMap;
use zeroize::{Zeroize, ZeroizeOnDrop};

use self::compose::{ALLOW, SDP, ack_of_failure, refusal_of};
use self::session::{Client, ClientKey, MergeId, Owner, Purpose, Server, ServerKey, Session, State};
use super::digest::{Challenge, challenges};
use super::event::{SessionKey, SipEvent, SipTransmit};
use super::message::{Headers, Message, Method, Request, Response, Unusable};
use super::timers::Deadlines;
use super::transaction::client;
use super::transaction::server::{self, ServerTransaction};
use super::transaction::{ClientId, ServerId};
use crate::ids::ShardId;
use crate::net::LocalSocket;

/// How often one request is sent again with newer credentials: the challenge, and nonces that went stale meanwhile.
const CREDENTIAL_TRIES: u8 = 3;

/// What a full user agent tells its peers (RFC 3261 section 20.33), in seconds.
const RETRY_AFTER: &str = "2";

/// What a user agent is made with.
#[derive(Clone, Debug)]
pub struct UserAgentConfig {
    /// Our address in Via and Contact, where [`LocalSocket::Sip`] can be reached.
    pub contact: SocketAddr,
    /// The User-Agent field.
    pub product: String,
    /// What challenges (401, 407) are answered with.
    pub credentials: Option<Credentials>,
    /// Whose tags these are: the public socket finds the shard of a dialog by its tag. `None` outside of a shard.
    pub shard: Option<ShardId>,
    /// How many transactions may be open at once. Requests within sessions may exceed it, they are bounded by `sessions_max`.
    pub transactions_max: usize,
    /// How many sessions may be open at once.
    pub sessions_max: usize,
}

/// A user name and its password.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The realm that may be answered; `None`: any.
    pub realm: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// What a user agent had in hand when it panicked, once it had begun to change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// This session.
    Session(SessionKey),
    /// Something without a session.
    NoSession,
}

/// What a user agent holds, and what it has dropped so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAgentStats {
    /// Open transactions, client and server.
    pub transactions: usize,
    /// Sessions that have an established dialog.
    pub dialogs: usize,
    /// Sessions, those included that only wait for a timer.
    pub sessions: usize,
    /// Armed deadlines.
    pub deadlines: usize,
    /// Datagrams dropped, by reason; reasons that never happened are listed with 0.
    pub dropped: Vec<(&'static str, u64)>,
}

/// Counters of dropped datagrams.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    keep_alive: u64,
    too_long: u64,
    not_sip: u64,
    malformed: u64,
    stray_response: u64,
    stray_ack: u64,
    unanswerable: u64,
    overloaded: u64,
}

/// A SIP user agent: client and server of RFC 3261 over UDP.
pub struct UserAgent {
    config: UserAgentConfig,
    rng: ChaCha12Rng,
    sessions: SlotMap<SessionKey, Session>,
    clients: SlotMap<ClientKey, Client>,
    servers: SlotMap<ServerKey, Server>,
    client_ids: BTreeMap<ClientId, ClientKey>,
    server_ids: BTreeMap<ServerId, ServerKey>,
    merge_ids: BTreeMap<MergeId, ServerKey>,
    /// Sessions by our tag, which is random: the peer's tag and the Call-ID are then only compared.
    by_local_tag: BTreeMap<String, SessionKey>,
    deadlines: Deadlines<Owner>,
    transmits: VecDeque<SipTransmit>,
    events: VecDeque<SipEvent>,
    dropped: Dropped,
    /// Set while something is being changed on behalf of a datagram or a deadline.
    in_hand: Option<Interrupted>,
    /// Whether the next thing in hand, with a session or without one, is to panic.
    #[cfg(feature = "inject-panics")]
    panics_next: Option<bool>,
}

impl fmt::Debug for UserAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserAgent({})", self.config.contact)
    }
}

impl UserAgent {
    /// A user agent without sessions. All its tags, branches and Call-IDs follow from `seed`, which nobody else may know.
    pub fn new(config: UserAgentConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            rng: ChaCha12Rng::from_seed(seed),
            sessions: SlotMap::with_key(),
            clients: SlotMap::with_key(),
            servers: SlotMap::with_key(),
            client_ids: BTreeMap::new(),
            server_ids: BTreeMap::new(),
            merge_ids: BTreeMap::new(),
            by_local_tag: BTreeMap::new(),
            deadlines: Deadlines::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            dropped: Dropped::default(),
            in_hand: None,
            #[cfg(feature = "inject-panics")]
            panics_next: None,
        }
    }

    /// Takes a datagram in. `socket` is [`LocalSocket::Sip`] or [`LocalSocket::SipPublic`]: responses leave where the request came in.
    pub fn handle_datagram(&mut self, bytes: &[u8], from: SocketAddr, socket: LocalSocket, now: Instant) {
        let message = Message::parse(bytes);
        self.in_hand = Some(Interrupted::NoSession);
        match message {
            Ok(Message::Request(request)) => self.on_request(request, from, socket, now),
            Ok(Message::Faulty(request, status, words)) => self.on_faulty(request, (status, words), from, socket),
            Ok(Message::Response(response)) => self.on_response(&response, now),
            Err(Unusable::KeepAlive) => self.dropped.keep_alive += 1,
            Err(Unusable::TooLong) => self.dropped.too_long += 1,
            Err(Unusable::NotSip) => self.dropped.not_sip += 1,
            Err(Unusable::Malformed) => self.dropped.malformed += 1,
        }
        self.in_hand = None;
    }

    /// Does whatever is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(owner) = self.deadlines.pop_due(now) {
            self.take_in_hand(match owner {
                Owner::Client(key) => self.clients.get(key).and_then(|client| client.purpose.session()),
                Owner::Server(key) => self.servers.get(key).and_then(|server| server.session),
                Owner::Session(key) => Some(key),
            });
            match owner {
                Owner::Client(key) => self.on_client_timeout(key, now),
                Owner::Server(key) => self.on_server_timeout(key, now),
                Owner::Session(key) => self.on_session_timeout(key, now),
            }
            self.in_hand = None;
        }
    }

    /// What was in hand when the last datagram or deadline panicked, if anything may have been half-changed; told once. Its tables go on as they
    /// are: each look-up allows for what is missing, and each deadline is taken before it is acted on.
    pub fn interrupted(&mut self) -> Option<Interrupted> {
        self.in_hand.take()
    }

    /// Forgets a session without a word to the peer.
    pub fn forget(&mut self, session: SessionKey) {
        self.remove_session(session);
    }

    /// Panics as soon as something with a session is in hand, or something without one.
    #[cfg(feature = "inject-panics")]
    pub fn panic_next(&mut self, with_session: bool) {
        self.panics_next = Some(with_session);
    }

    /// The datagrams to `peer` cannot be delivered, as the network reports (ICMP): INVITEs and pings that it has not answered fail at once,
    /// whatever is within a session is left to its timers.
    pub fn handle_unreachable(&mut self, peer: SocketAddr, now: Instant) {
        let failed: Vec<(ClientKey, Purpose)> = self
            .clients
            .iter()
            .filter(|(_, client)| client.to == peer && !client.transaction.is_answered())
            .filter(|(_, client)| matches!(client.purpose, Purpose::Invite(_) | Purpose::Ping(_)))
            .map(|(key, client)| (key, client.purpose))
            .collect();
        for (key, purpose) in failed {
            self.take_in_hand(purpose.session());
            self.remove_client(key);
            self.on_no_answer(purpose, caller::NoAnswer::Unreachable, now);
        }
        self.in_hand = None;
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<SipTransmit> {
        self.transmits.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<SipEvent> {
        self.events.pop_front()
    }

    /// The session's Call-ID.
    pub fn call_id(&self, session: SessionKey) -> Option<&str> {
        self.sessions.get(session).map(|session| session.call_id.as_str())
    }

    /// Asks a peer whether it is there. [`SipEvent::Pong`] follows.
    pub fn options_ping(&mut self, peer: SocketAddr, now: Instant) {
        if self.is_full() {
            self.events.push_back(SipEvent::Pong { peer, status: None });
            return;
        }
        let local_tag = self.new_tag();
        let mut headers = Headers::default();
        headers.push("Max-Forwards", "70");
        headers.push("From", format!("<sip:{}>;tag={local_tag}", self.config.contact));
        headers.push("To", format!("<sip:{peer}>"));
        headers.push("Call-ID", self.new_call_id());
        headers.push("CSeq", "1 OPTIONS");
        headers.push("Contact", self.contact());
        headers.push("Accept", SDP);
        let request = Request { method: Method::Options, uri: format!("sip:{peer}"), headers, body: Vec::new() };
        self.send_request(request, peer, Purpose::Ping(peer), now);
    }

    /// What is held and what was dropped.
    pub fn stats(&self) -> UserAgentStats {
        let Dropped { keep_alive, too_long, not_sip, malformed, stray_response, stray_ack, unanswerable, overloaded } = self.dropped;
        UserAgentStats {
            transactions: self.clients.len() + self.servers.len(),
            dialogs: self.sessions.values().filter(|session| matches!(session.state, State::Established(_))).count(),
            sessions: self.sessions.len(),
            deadlines: self.deadlines.len(),
            dropped: vec![
                ("sip_keep_alive", keep_alive),
                ("sip_too_long", too_long),
                ("sip_not_sip", not_sip),
                ("sip_malformed", malformed),
                ("sip_stray_response", stray_response),
                ("sip_stray_ack", stray_ack),
                ("sip_unanswerable", unanswerable),
                ("sip_overloaded", overloaded),
            ],
        }
    }

    fn take_in_hand(&mut self, session: Option<SessionKey>) {
        self.in_hand = Some(session.map_or(Interrupted::NoSession, Interrupted::Session));
        #[cfg(feature = "inject-panics")]
        if self.panics_next.take_if(|with_session| *with_session == session.is_some()).is_some() {
            panic!("injected");
        }
    }

    // ---- requests in ----

    fn on_request(&mut self, mut request: Request, from: SocketAddr, socket: LocalSocket, now: Instant) {
        // The id is of the Via as the peer sent it: stamping changes neither branch nor sent-by.
        let (Some(reply_to), Some(id)) = (request.stamp(from), ServerId::of(&request)) else {
            self.dropped.unanswerable += 1;
            return;
        };
        if request.method == Method::Ack {
            self.on_ack(&request, &id, now);
            return;
        }
        if let Some(server) = self.server_ids.get(&id).and_then(|key| self.servers.get(*key)) {
            let again = server.last.clone().filter(|_| server.transaction.on_repetition() == server::OnRepetition::Answer);
            if let Some(bytes) = again {
                let (socket, to) = (server.socket, server.reply_to);
                self.transmits.push_back(SipTransmit { socket, to, bytes });
            }
            return;
        }
        if self.is_full() && !matches!(request.method, Method::Bye | Method::Cancel) {
            self.dropped.overloaded += 1;
            self.respond_statelessly(&request, 503, None, &[("Retry-After", RETRY_AFTER)], reply_to, socket);
            return;
        }
        let merge = (request.headers.tag_of_to().is_none() && request.method != Method::Cancel).then(|| merge_id(&request));
        let is_merged = merge.as_ref().is_some_and(|merge| self.merge_ids.contains_key(merge));
        let merge = merge.filter(|_| !is_merged);
        let local_tag = self.new_tag();
        let key = self.servers.insert(Server {
            id: id.clone(),
            transaction: ServerTransaction::start(request.method == Method::Invite, now),
            request,
            local_tag,
            socket,
            reply_to,
            last: None,
            merge: merge.clone(),
            session: None,
        });
        self.server_ids.insert(id, key);
        if let Some(merge) = merge {
            self.merge_ids.insert(merge, key);
        }
        self.arm_server(key);
        if is_merged {
            self.respond(key, 482, now);
            return;
        }
        self.dispatch(key, from, now);
    }

    /// Decides who answers a new request.
    fn dispatch(&mut self, key: ServerKey, from: SocketAddr, now: Instant) {
        let Some(server) = self.servers.get(key) else { return };
        let request = server.request.clone();
        if let Some((status, fields)) = refusal_of(&request) {
            self.respond_full(key, status, &fields, None, now);
            return;
        }
        let in_dialog = request.headers.tag_of_to().is_some();
        match &request.method {
            Method::Cancel => self.on_cancel(key, &request, now),
            Method::Options if !in_dialog => self.answer_options(key, now),
            Method::Invite if !in_dialog => self.on_invite(key, &request, from, now),
            Method::Refer if !in_dialog => self.respond(key, 403, now),
            Method::Invite | Method::Bye | Method::Options | Method::Info | Method::Update | Method::Refer | Method::Notify => {
                self.on_request_within(key, &request, now);
            }
            // ACK never gets a transaction; the others were refused a moment ago.
            Method::Ack | Method::Known(_) | Method::Unknown(_) => {}
        }
    }

    fn on_faulty(&mut self, mut request: Request, (status, words): (u16, &'static str), from: SocketAddr, socket: LocalSocket) {
        match request.stamp(from) {
            Some(reply_to) if request.method != Method::Ack => {
                self.dropped.malformed += 1;
                self.respond_statelessly(&request, status, Some(words), &[], reply_to, socket);
            }
            Some(_) | None => self.dropped.unanswerable += 1,
        }
    }

    fn answer_options(&mut self, key: ServerKey, now: Instant) {
        // No extensions at all is said by an empty Supported (RFC 3261 sections 11.2 and 20.37).
        let fields = [("Allow", ALLOW), ("Accept", SDP), ("Accept-Encoding", "identity"), ("Supported", "")];
        self.respond_with(key, 200, &fields, None, now);
    }

    // ---- responses in ----

    fn on_response(&mut self, response: &Response, now: Instant) {
        let found = response.headers.cseq().zip(response.headers.branch()).and_then(|((_, method), branch)| {
            let key = *self.client_ids.get(&ClientId { branch, cancel: method == Method::Cancel })?;
            let client = self.clients.get_mut(key).filter(|client| client.request.method == method)?;
            Some((key, client))
        });
        // A response with a second Via has gone astray (RFC 3261 section 8.1.3.3).
        let Some((key, client)) = found.filter(|_| response.headers.all("Via").count() == 1) else {
            self.dropped.stray_response += 1;
            return;
        };
        let (to, purpose) = (client.to, client.purpose);
        self.take_in_hand(purpose.session());
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.transaction.on_response(response.status, now) {
            client::OnResponse::Absorb => {}
            client::OnResponse::AckAgain => {
                if let Some(bytes) = client.failure_ack.clone() {
                    self.transmit(to, bytes);
                }
            }
            client::OnResponse::Deliver => {
                if purpose.is_invite() && response.status >= 300 {
                    let bytes = ack_of_failure(&client.request, response).to_bytes();
                    client.failure_ack = Some(bytes.clone());
                    self.transmit(to, bytes);
                }
                self.deliver(key, purpose, response, now);
            }
        }
        self.arm_client(key);
    }

    /// Gives a response to whoever asked.
    fn deliver(&mut self, key: ClientKey, purpose: Purpose, response: &Response, now: Instant) {
        if matches!(response.status, 401 | 407) && self.retry_with_credentials(key, response, now) {
            return;
        }
        match purpose {
            Purpose::Invite(session) => self.on_invite_response(key, session, response, now),
            Purpose::Reinvite(session) => self.on_reinvite_response(key, session, response, now),
            Purpose::Refer(session) => self.on_refer_response(session, response.status, now),
            Purpose::Info(session) => self.on_info_response(session, response.status, now),
            Purpose::Ping(peer) if response.status >= 200 => {
                self.events.push_back(SipEvent::Pong { peer, status: Some(response.status) });
            }
            Purpose::Ping(_) | Purpose::Cancel | Purpose::Bye | Purpose::Notify => {}
        }
    }

    /// Answers a 401 or 407 by the same request with credentials. `false`: it is final.
    fn retry_with_credentials(&mut self, key: ClientKey, response: &Response, now: Instant) -> bool {
        let Some(credentials) = self.config.credentials.clone() else { return false };
        let Some(client) = self.clients.get(key) else { return false };
        let purpose = client.purpose;
        let fresh = challenges(response, &credentials);
        let tries = client.tries;
        let hopeless = fresh.is_empty() || tries >= CREDENTIAL_TRIES || (tries > 0 && fresh.iter().any(|challenge| !challenge.stale));
        let gone = purpose.session().is_some_and(|session| self.sessions.get(session).is_none_or(|session| session.is_giving_up()));
        if hopeless || gone || purpose == Purpose::Cancel {
            return false;
        }
        let (mut request, to, dialog) = (client.request.clone(), client.to, client.dialog.clone());
        for name in ["Via", "User-Agent", "Authorization", "Proxy-Authorization"] {
            request.headers.remove(name);
        }
        // Earlier challenges of other realms stay answered.
        let mut known: Vec<Challenge> = purpose.session().and_then(|session| self.challenges_of(session)).cloned().unwrap_or_default();
        known.retain(|old| !fresh.iter().any(|new| new.replaces(old)));
        known.extend(fresh);
        let cseq = purpose.session().and_then(|session| self.next_cseq(session)).unwrap_or(request.headers.cseq_number().saturating_add(1));
        request.headers.set("CSeq", format!("{cseq} {}", request.method));
        let new = self.send_answering(request, to, purpose, &mut known, now);
        if let Some(client) = self.clients.get_mut(new) {
            client.tries = tries + 1;
            client.dialog = dialog;
        }
        if let Some(session) = purpose.session() {
            self.replace_client(session, key, new);
            if let Some(challenges) = self.challenges_of(session) {
                *challenges = known;
            }
        }
        true
    }

    // ---- time ----

    fn on_client_timeout(&mut self, key: ClientKey, now: Instant) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.transaction.on_timeout(now) {
            client::OnTimeout::Resend => {
                let (to, bytes) = (client.to, client.bytes.clone());
                self.transmit(to, bytes);
                self.arm_client(key);
            }
            client::OnTimeout::TimedOut => {
                let purpose = client.purpose;
                self.remove_client(key);
                self.on_no_answer(purpose, caller::NoAnswer::Timeout, now);
            }
            client::OnTimeout::Done => self.remove_client(key),
            client::OnTimeout::Nothing => self.arm_client(key),
        }
    }

    fn on_server_timeout(&mut self, key: ServerKey, now: Instant) {
        let Some(server) = self.servers.get_mut(key) else { return };
        match server.transaction.on_timeout(now) {
            server::OnTimeout::Resend => {
                if let Some(bytes) = server.last.clone() {
                    let (socket, to) = (server.socket, server.reply_to);
                    self.transmits.push_back(SipTransmit { socket, to, bytes });
                }
                self.arm_server(key);
            }
            server::OnTimeout::Abandoned => self.abandon(key, now),
            server::OnTimeout::Done => self.remove_server(key),
            server::OnTimeout::Nothing => self.arm_server(key),
        }
    }

    // ---- keeping ----

    fn is_full(&self) -> bool {
        self.clients.len() + self.servers.len() >= self.config.transactions_max
    }

    fn arm_client(&mut self, key: ClientKey) {
        let at = self.clients.get(key).map(|client| client.transaction.deadline());
        self.deadlines.set(Owner::Client(key), at);
    }

    fn arm_server(&mut self, key: ServerKey) {
        let at = self.servers.get(key).map(|server| server.transaction.deadline());
        self.deadlines.set(Owner::Server(key), at);
    }

    fn arm_session(&mut self, key: SessionKey) {
        let at = self.sessions.get(key).and_then(Session::deadline);
        self.deadlines.set(Owner::Session(key), at);
    }

    fn remove_client(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.remove(key) {
            self.client_ids.remove(&client.id);
        }
        self.deadlines.set(Owner::Client(key), None);
    }

    fn remove_server(&mut self, key: ServerKey) {
        if let Some(server) = self.servers.remove(key) {
            self.server_ids.remove(&server.id);
            if let Some(merge) = server.merge {
                self.merge_ids.remove(&merge);
            }
        }
        self.deadlines.set(Owner::Server(key), None);
    }

    fn remove_session(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.sessions.remove(key)?;
        self.by_local_tag.remove(&session.local_tag);
        self.deadlines.set(Owner::Session(key), None);
        Some(session)
    }

    /// Tells the owner something about a session, unless the owner has let go of it.
    fn tell(&mut self, session: SessionKey, event: SipEvent) {
        if self.sessions.get(session).is_some_and(|session| !session.released) {
            self.events.push_back(event);
        }
    }
}

fn merge_id(request: &Request) -> MergeId {
    (
        request.headers.call_id().to_owned(),
        request.headers.tag_of_from().unwrap_or_default(),
        request.headers.cseq_number(),
        request.method.as_str().to_owned(),
        request.uri.clone(),
    )
}
