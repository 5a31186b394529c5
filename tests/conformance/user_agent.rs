//! The user agent alone, where a test needs a session that the gateway would make only with a browser: as a caller and as a callee.

use std::net::SocketAddr;
use std::time::Instant;

use nexus_gateway::net::LocalSocket;
use nexus_gateway::sip::{Address, Invite, SessionKey, SipEvent, UserAgent, UserAgentConfig};

use crate::edge::PEER;
use crate::message::Message;

/// A user agent that has called the peer.
pub struct Caller {
    agent: UserAgent,
    now: Instant,
    session: SessionKey,
    /// Its INVITE.
    pub invite: Message,
}

impl Caller {
    pub fn new() -> Self {
        let (mut agent, now) = (new_agent(), Instant::now());
        let invite = Invite {
            peer: PEER,
            target: "sip:user@example.com".to_owned(),
            from: Address::new("100", "example.com"),
            to: Address::new("user", "example.com"),
            headers: Vec::new(),
            body: Some(b"offer".to_vec()),
        };
        let session = agent.invite(invite, now).expect("room");
        let invite = sent_by(&mut agent).remove(0);
        Self { agent, now, session, invite }
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        self.agent.handle_datagram(bytes, PEER, LocalSocket::Sip, self.now);
    }

    pub fn cancel(&mut self) {
        self.agent.cancel(self.session, self.now);
    }

    pub fn events(&mut self) -> Vec<SipEvent> {
        std::iter::from_fn(|| self.agent.poll_event()).collect()
    }

    pub fn sent(&mut self) -> Vec<Message> {
        sent_by(&mut self.agent)
    }

    /// What was dropped, by reason.
    pub fn dropped(&self) -> Vec<(&'static str, u64)> {
        self.agent.stats().dropped.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// A user agent that has answered a call of the peer's.
pub struct Callee {
    agent: UserAgent,
    now: Instant,
    session: SessionKey,
    /// The peer's From.
    from: String,
    /// Our tag.
    tag: String,
    requests: u32,
}

impl Callee {
    /// Answers an INVITE that has this From, and these header lines beside.
    pub fn answering(from: &str, more: &str) -> Self {
        let (mut agent, now) = (new_agent(), Instant::now());
        let invite = format!(
            "INVITE sip:100@198.51.100.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.2;rport;branch=z9hG4bKinvite\r\nFrom: {from}\r\n\
             To: <sip:100@example.com>\r\nCall-ID: within\r\nCSeq: 1 INVITE\r\nContact: <sip:bob@203.0.113.2>\r\n{more}\r\n"
        );
        agent.handle_datagram(invite.as_bytes(), PEER, LocalSocket::Sip, now);
        let session = match agent.poll_event() {
            Some(SipEvent::Incoming { session, .. }) => session,
            other => panic!("{other:?} of {invite}, sent {:?}", sent_by(&mut agent)),
        };
        agent.accept(session, b"answer".to_vec(), now);
        let tag = sent_by(&mut agent).last().and_then(|ok| ok.to_tag().map(str::to_owned)).expect("a 200 with a tag");
        let mut callee = Self { agent, now, session, from: from.to_owned(), tag, requests: 1 };
        callee.request("ACK", "");
        assert!(matches!(callee.agent.poll_event(), Some(SipEvent::Acknowledged { .. })));
        callee
    }

    /// A call of Bob's.
    pub fn new() -> Self {
        Self::answering("<sip:bob@example.com>;tag=bob", "")
    }

    /// The peer's next request within the dialog; what is sent for it. `more` are header lines, and perhaps a body behind an empty one.
    pub fn request(&mut self, method: &str, more: &str) -> Vec<Message> {
        self.requests += u32::from(method != "ACK");
        let more = if more.contains("\r\n\r\n") { more.to_owned() } else { format!("{more}\r\n") };
        let request = format!(
            "{method} sip:198.51.100.1:5071 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.2;rport;branch=z9hG4bKwithin{number}{method}\r\n\
             From: {}\r\nTo: <sip:100@example.com>;tag={}\r\nCall-ID: within\r\nCSeq: {number} {method}\r\n{more}",
            self.from,
            self.tag,
            number = self.requests,
        );
        self.agent.handle_datagram(request.as_bytes(), PEER, LocalSocket::Sip, self.now);
        self.sent()
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.agent.bye(self.session, None, self.now);
    }

    pub fn sent(&mut self) -> Vec<Message> {
        sent_by(&mut self.agent)
    }
}

fn new_agent() -> UserAgent {
    let config = UserAgentConfig {
        contact: SocketAddr::from(([198, 51, 100, 1], 5071)),
        product: "test".to_owned(),
        credentials: None,
        shard: None,
        transactions_max: 1000,
        sessions_max: 100,
    };
    UserAgent::new(config, [3; 32])
}

fn sent_by(agent: &mut UserAgent) -> Vec<Message> {
    std::iter::from_fn(|| agent.poll_transmit()).map(|transmit| Message::read(&transmit.bytes)).collect()
}
