//! Sending: requests in new transactions, responses in theirs, and the random names that go into them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use super::UserAgent;
use super::compose::{ALLOW, response_to};
use super::session::{Client, ClientKey, Purpose, ServerKey};
use crate::ids::ShardId;
use crate::net::LocalSocket;
use crate::sip::digest::Challenge;
use crate::sip::event::SipTransmit;
use crate::sip::message::{Method, Request};
use crate::sip::transaction::ClientId;
use crate::sip::transaction::client::ClientTransaction;

impl UserAgent {
    /// Sends a request of ours in a new transaction: adds Via and User-Agent.
    pub(super) fn send_request(&mut self, request: Request, to: SocketAddr, purpose: Purpose, now: Instant) -> ClientKey {
        self.send_answering(request, to, purpose, &mut Vec::new(), now)
    }

    /// The same, with answers to challenges met before.
    pub(super) fn send_answering(
        &mut self,
        mut request: Request,
        to: SocketAddr,
        purpose: Purpose,
        challenges: &mut [Challenge],
        now: Instant,
    ) -> ClientKey {
        let branch = format!("z9hG4bK{}", self.token(10));
        self.push_credentials(&mut request, challenges);
        request.headers.push("User-Agent", self.config.product.as_str());
        request.headers.0.insert(0, ("Via".to_owned(), self.via(&branch)));
        self.start_client(request, branch, to, purpose, now)
    }

    pub(super) fn push_credentials(&mut self, request: &mut Request, challenges: &mut [Challenge]) {
        let Some(credentials) = self.config.credentials.clone().filter(|_| !challenges.is_empty()) else { return };
        for challenge in challenges {
            let cnonce = self.token(8);
            challenge.answer(&mut request.headers, &credentials, request.method.as_str(), &request.uri, &cnonce);
        }
    }

    /// Sends a request that has its Via.
    pub(super) fn start_client(&mut self, request: Request, branch: String, to: SocketAddr, purpose: Purpose, now: Instant) -> ClientKey {
        let id = ClientId { branch, cancel: purpose == Purpose::Cancel };
        let bytes = request.to_bytes();
        self.transmit(to, bytes.clone());
        let key = self.clients.insert(Client {
            id: id.clone(),
            transaction: ClientTransaction::start(purpose.is_invite(), now),
            request,
            bytes,
            to,
            purpose,
            tries: 0,
            failure_ack: None,
            acks: Vec::new(),
            dialog: None,
        });
        self.client_ids.insert(id, key);
        self.arm_client(key);
        key
    }

    /// Sends an ACK to a 2xx: a transaction of its own that has no state (RFC 3261 section 13.2.2.4).
    pub(super) fn finish_ack(&mut self, mut ack: Request) -> Vec<u8> {
        let branch = format!("z9hG4bK{}", self.token(10));
        ack.headers.0.insert(0, ("Via".to_owned(), self.via(&branch)));
        ack.to_bytes()
    }

    pub(super) fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.transmits.push_back(SipTransmit { socket: LocalSocket::Sip, to, bytes });
    }

    pub(super) fn respond(&mut self, key: ServerKey, status: u16, now: Instant) {
        self.respond_with(key, status, &[], None, now);
    }

    /// Answers a request, with a body of the type given. Does nothing when it has had its final answer.
    pub(super) fn respond_with(
        &mut self,
        key: ServerKey,
        status: u16,
        extra: &[(&str, &str)],
        body: Option<(&str, Vec<u8>)>,
        now: Instant,
    ) {
        let extra: Vec<(String, String)> = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.respond_full(key, status, &extra, body, now);
    }

    pub(super) fn respond_full(
        &mut self,
        key: ServerKey,
        status: u16,
        extra: &[(String, String)],
        body: Option<(&str, Vec<u8>)>,
        now: Instant,
    ) {
        let contact = self.contact();
        let Some(server) = self.servers.get_mut(key) else { return };
        if !server.transaction.on_response(status, now) {
            return;
        }
        let mut response = response_to(&server.request, status, None, &server.local_tag);
        let method = &server.request.method;
        let targets = matches!(method, Method::Invite | Method::Update | Method::Refer | Method::Options);
        if targets && (101..300).contains(&status) {
            response.headers.push("Contact", contact);
        }
        if *method == Method::Invite && (101..300).contains(&status) {
            response.headers.push("Allow", ALLOW);
        }
        response.headers.push("Server", self.config.product.as_str());
        response.headers.0.extend(extra.iter().cloned());
        if let Some((content_type, body)) = body {
            response.headers.push("Content-Type", content_type);
            response.body = body;
        }
        let bytes = response.to_bytes();
        server.last = Some(bytes.clone());
        self.transmits.push_back(SipTransmit { socket: server.socket, to: server.reply_to, bytes });
        self.arm_server(key);
    }

    pub(super) fn respond_statelessly(
        &mut self,
        request: &Request,
        status: u16,
        words: Option<&str>,
        extra: &[(&str, &str)],
        to: SocketAddr,
        socket: LocalSocket,
    ) {
        let tag = self.new_tag();
        let mut response = response_to(request, status, words, &tag);
        for (name, value) in extra {
            response.headers.push(name, *value);
        }
        response.headers.push("Server", self.config.product.as_str());
        self.transmits.push_back(SipTransmit { socket, to, bytes: response.to_bytes() });
    }

    pub(super) fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/UDP {};branch={branch};rport", self.config.contact)
    }

    pub(super) fn contact(&self) -> String {
        format!("<sip:{}>", self.config.contact)
    }

    pub(super) fn new_tag(&mut self) -> String {
        let random = self.token(9);
        match self.config.shard {
            Some(ShardId(shard)) => format!("{shard:02x}-{random}"),
            None => random,
        }
    }

    pub(super) fn new_call_id(&mut self) -> String {
        format!("{}@{}", self.token(12), self.config.contact.ip())
    }

    /// Random bytes in hexadecimal.
    pub(super) fn token(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.rng.random::<u8>())).collect()
    }

    pub(super) fn random_duration(&mut self, from: Duration, to: Duration) -> Duration {
        // In units of 10 ms (RFC 3261 section 14.1).
        let (from, to) = (from.as_millis() as u64 / 10, to.as_millis() as u64 / 10);
        Duration::from_millis(self.rng.random_range(from..=to) * 10)
    }
}
