//! SIP: one message that is read and written, and a script of messages and of what the owner of a user agent does meanwhile.
//!
//! A script is a list of sections, each begun by a line `%% order`. The text below the line is the message of `%% recv`, in which `{Via}` and the like stand for
//! that field of the last message that the user agent sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nexus_gateway::ids::ShardId;
use nexus_gateway::limits::DATAGRAM_BYTES;
use nexus_gateway::net::LocalSocket;
use nexus_gateway::sip::ingress::Ingress;
use nexus_gateway::sip::{Address, Credentials, Invite, Reason, SessionKey, SipEvent, UserAgent, UserAgentConfig, rewritten};

pub fn run(data: &[u8]) {
    round_trip(data);
    let mut script = Script::new();
    match data.strip_prefix(b"%% ") {
        Some(sections) => sections_of(sections).take(SECTIONS_MAX).for_each(|section| script.section(section)),
        None => script.receive(data),
    }
    script.end();
}

/// What is read and written is read back as the same, however it was spelled at first.
fn round_trip(data: &[u8]) {
    let Some(once) = rewritten(data) else { return };
    // The lists of a message are written one element a line, and what is no UTF-8 takes more room.
    if once.len() <= DATAGRAM_BYTES {
        let twice = rewritten(&once);
        assert_eq!(twice.as_deref().map(String::from_utf8_lossy), Some(String::from_utf8_lossy(&once)));
    }
}

fn sections_of(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let end = data.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let section = &data[..end.unwrap_or(data.len())];
        data = end.map_or(&[], |end| &data[end + SEPARATOR.len()..]);
        Some(section)
    })
}

struct Script {
    now: Instant,
    agent: UserAgent,
    ingress: Ingress,
    /// The newest session, and all that there were.
    session: SessionKey,
    sessions: BTreeSet<SessionKey>,
    last_sent: Vec<u8>,
}

impl Script {
    fn new() -> Self {
        let config = UserAgentConfig {
            contact: OURS,
            product: "fuzzed".to_owned(),
            credentials: Some(Credentials { username: "trunk".to_owned(), password: "secret".to_owned(), realm: None }),
            shard: Some(ShardId(0)),
            transactions_max: 64,
            sessions_max: 16,
        };
        Self {
            now: *START,
            agent: UserAgent::new(config, [7; 32]),
            ingress: Ingress::new(2, 16),
            session: SessionKey::default(),
            sessions: BTreeSet::new(),
            last_sent: Vec::new(),
        }
    }

    fn section(&mut self, section: &[u8]) {
        let end = section.iter().position(|byte| *byte == b'\n').unwrap_or(section.len());
        let (order, text) = (String::from_utf8_lossy(&section[..end]), section.get(end + 1..).unwrap_or_default());
        let (session, now) = (self.session, self.now);
        match order.trim() {
            "recv" => {
                let message = self.filled_in(text);
                self.receive(&message);
            }
            "invite" => {
                if let Ok(session) = self.agent.invite(invite(), now) {
                    self.begun(session);
                }
            }
            "cancel" => self.agent.cancel(session, now),
            "ring" => self.agent.ring(session, None, now),
            "early" => self.agent.ring(session, Some(b"early".to_vec()), now),
            "accept" => self.agent.accept(session, b"answer".to_vec(), now),
            "reject" => self.agent.reject(session, 486, Vec::new(), now),
            "bye" => self.agent.bye(session, Some(Reason::q850(16)), now),
            "bye behind refer" => self.agent.bye_behind_refer(session, None, now),
            "offer" => drop(self.agent.offer(session, b"offer".to_vec(), now)),
            "answer" => self.agent.answer_offer(session, Ok(b"answer".to_vec()), now),
            "refuse" => self.agent.answer_offer(session, Err(488), now),
            "refer" => self.agent.refer(session, "sip:9197@pbx.example.com".to_owned(), now),
            "info" => self.agent.info(session, "application/dtmf-relay", b"Signal=1".to_vec(), now),
            "respond refer" => self.agent.respond_refer(session, 202, now),
            "notify" => self.agent.notify_refer(session, 200, "OK", now),
            "ping" => self.agent.options_ping(PEER, now),
            "unreachable" => self.agent.handle_unreachable(PEER, now),
            "full" => {
                for _ in 0..16 {
                    let _ = self.agent.invite(invite(), now).map(|session| self.begun(session));
                }
            }
            other => {
                if let Some(millis) = other.strip_prefix("wait ").and_then(|millis| millis.parse::<u16>().ok()) {
                    self.run_until(self.now + Duration::from_millis(millis.into()));
                }
            }
        }
        self.drain(SENT_BY_AN_ORDER);
    }

    fn receive(&mut self, message: &[u8]) {
        self.ingress.route(message, PEER, self.now, |user, host| {
            // Three bytes stand for one that is no UTF-8.
            assert!(user.len() + host.len() <= 3 * message.len());
            (ShardId(1), ())
        });
        assert!(self.ingress.len() <= 16);
        self.agent.handle_datagram(message, PEER, LocalSocket::Sip, self.now);
        self.drain(SENT_BY_A_MESSAGE);
    }

    /// A message with the placeholders replaced.
    fn filled_in(&self, text: &[u8]) -> Vec<u8> {
        let mut filled = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
            filled.extend_from_slice(&rest[..open]);
            let close = rest[open..].iter().take(NAME_MAX).position(|byte| *byte == b'}');
            match close.and_then(|close| Some((close, self.field(&rest[open + 1..open + close])?))) {
                Some((close, value)) => {
                    filled.extend_from_slice(value);
                    rest = &rest[open + close + 1..];
                }
                None => {
                    filled.push(b'{');
                    rest = &rest[open + 1..];
                }
            }
        }
        filled.extend_from_slice(rest);
        filled
    }

    /// The value of a field of the last message that was sent.
    fn field(&self, name: &[u8]) -> Option<&[u8]> {
        let lines = self.last_sent.split(|byte| *byte == b'\n').take_while(|line| *line != b"\r");
        let line = { lines }.find(|line| line.len() > name.len() + 2 && line.starts_with(name) && line[name.len()] == b':')?;
        Some(line[name.len() + 1..].trim_ascii())
    }

    fn begun(&mut self, session: SessionKey) {
        self.session = session;
        self.sessions.insert(session);
    }

    /// Takes what the agent sends and tells. Whatever it heard, what it sends is sound, and for the one who sent or for the peer that was called.
    fn drain(&mut self, sent_max: usize) {
        let mut sent = 0;
        while let Some(transmit) = self.agent.poll_transmit() {
            sent += 1;
            assert!(sent <= sent_max, "{sent} messages at once");
            let is_response = transmit.bytes.starts_with(b"SIP/2.0 ");
            // A request of a dialog goes where the peer said.
            assert!(!is_response || transmit.to.ip() == PEER.ip(), "an answer to somebody else");
            assert!(is_response || transmit.bytes.len() > DATAGRAM_BYTES || rewritten(&transmit.bytes).is_some(), "an unsound request");
            self.last_sent = transmit.bytes;
        }
        while let Some(event) = self.agent.poll_event() {
            if let SipEvent::Incoming { session, .. } = event {
                self.begun(session);
            }
        }
        let stats = self.agent.stats();
        assert!(stats.sessions <= 16 + self.sessions.len() && stats.transactions <= 64 + 4 * stats.sessions, "{stats:?}");
    }

    fn run_until(&mut self, end: Instant) {
        let mut wakes = 0;
        while let Some(at) = self.agent.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.agent.handle_timeout(self.now);
            self.drain(usize::MAX);
            wakes += 1;
            assert!(wakes < 10_000, "a user agent that does not come to rest");
        }
        self.now = self.now.max(end);
    }

    /// The owner lets go of everything, time passes, and nothing is left.
    fn end(mut self) {
        for &session in &self.sessions {
            self.agent.bye(session, None, self.now);
        }
        self.drain(usize::MAX);
        // A peer that has once said 100 is waited for for a quarter of an hour.
        self.run_until(self.now + Duration::from_secs(1_200));
        let stats = self.agent.stats();
        assert_eq!((stats.transactions, stats.sessions, stats.dialogs, stats.deadlines), (0, 0, 0, 0), "something is left");
    }
}

fn invite() -> Invite {
    Invite {
        peer: PEER,
        target: "sip:9196@pbx.example.com".to_owned(),
        from: Address::new("100", "gateway.example.com"),
        to: Address::new("9196", "pbx.example.com"),
        headers: vec![("X-Call-Id".to_owned(), "7".to_owned())],
        body: Some(b"offer".to_vec()),
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const OURS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 5070);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 5060);

const SEPARATOR: &[u8] = b"\n%% ";
const SECTIONS_MAX: usize = 64;

/// The longest name of a placeholder, and its brace.
const NAME_MAX: usize = 24;

/// What one message causes at most at once: 100 and a final response, or an ACK, a BYE and what waited for it.
const SENT_BY_A_MESSAGE: usize = 4;
const SENT_BY_AN_ORDER: usize = 64;
