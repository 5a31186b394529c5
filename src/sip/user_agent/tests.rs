//! Two user agents on a bad link, and one against a peer that says exactly what a test wants, in virtual time.

mod lossy;
mod model;
mod scripted;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::*;
use crate::sip::event::{Address, Invite};

const A: usize = 0;
const B: usize = 1;

fn address(who: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + who as u8], 5060))
}

fn config(who: usize) -> UserAgentConfig {
    UserAgentConfig {
        contact: address(who),
        product: "test".to_owned(),
        credentials: Some(Credentials { username: "trunk".to_owned(), password: "secret".to_owned(), realm: None }),
        shard: Some(ShardId(who as u16)),
        transactions_max: 1000,
        sessions_max: 100,
    }
}

fn invite_to(peer: SocketAddr) -> Invite {
    Invite {
        peer,
        target: format!("sip:9196@{peer}"),
        from: Address::new("100", "gateway.example.com"),
        to: Address::new("9196", "pbx.example.com"),
        headers: vec![("X-Call-Id".to_owned(), "7".to_owned())],
        body: Some(b"offer".to_vec()),
    }
}

/// Two user agents and the link between them.
struct Lab {
    now: Instant,
    start: Instant,
    agents: [UserAgent; 2],
    /// In flight, by arrival.
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
    rng: ChaCha12Rng,
    loss: f64,
    events: [Vec<SipEvent>; 2],
    /// First lines of everything sent, lost or not.
    trace: Vec<(usize, String)>,
}

impl Lab {
    fn new(seed: u64, loss: f64) -> Self {
        let now = Instant::now();
        let agents = [A, B].map(|who| UserAgent::new(config(who), [seed as u8 ^ (who as u8 * 128); 32]));
        Self {
            now,
            start: now,
            agents,
            flying: BTreeMap::new(),
            sent: 0,
            rng: ChaCha12Rng::seed_from_u64(seed),
            loss,
            events: [Vec::new(), Vec::new()],
            trace: Vec::new(),
        }
    }

    /// Puts what the agents want to send on the link, and collects what they tell.
    fn drain(&mut self) {
        for who in [A, B] {
            while let Some(transmit) = self.agents[who].poll_transmit() {
                let line = String::from_utf8_lossy(&transmit.bytes).lines().next().unwrap_or_default().to_owned();
                self.trace.push((who, line));
                assert_eq!(transmit.to, address(1 - who), "there is only one other");
                if self.rng.random_bool(self.loss) {
                    continue;
                }
                // 5 to 150 ms, so datagrams overtake each other.
                let at = self.now + Duration::from_millis(self.rng.random_range(5..150));
                self.sent += 1;
                self.flying.insert((at, self.sent), (1 - who, transmit.bytes));
            }
            while let Some(event) = self.agents[who].poll_event() {
                self.events[who].push(event);
            }
        }
    }

    /// Goes on to whatever happens next. `false`: nothing will.
    fn step(&mut self) -> bool {
        self.drain();
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let due = self.agents.iter().filter_map(UserAgent::next_deadline).min();
        let Some(next) = arrival.into_iter().chain(due).min() else { return false };
        self.now = self.now.max(next);
        if arrival == Some(next)
            && let Some((_, (who, bytes))) = self.flying.pop_first()
        {
            self.agents[who].handle_datagram(&bytes, address(1 - who), LocalSocket::Sip, self.now);
        }
        for agent in &mut self.agents {
            agent.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    /// Runs until an agent was told something that `pick` takes; that event is taken out.
    fn await_event<T>(&mut self, who: usize, pick: impl Fn(&SipEvent) -> Option<T>) -> T {
        let give_up = self.now + Duration::from_secs(200);
        loop {
            self.drain();
            if let Some((index, found)) = self.events[who].iter().enumerate().find_map(|(index, event)| Some((index, pick(event)?))) {
                self.events[who].remove(index);
                return found;
            }
            assert!(self.step() && self.now < give_up, "agent {who} was told only {:?}; sent: {:?}", self.events[who], self.trace);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
            let next = self.agents.iter().filter_map(UserAgent::next_deadline).chain(arrival).min();
            if next.is_none_or(|next| next > end) {
                self.now = end;
                return;
            }
            self.step();
        }
    }

    /// Runs until nothing is due any more and checks that nothing is left.
    fn assert_all_ends(&mut self) {
        while self.step() {
            assert!(self.now - self.start < Duration::from_secs(1200), "something is due for ever: {:?}", self.trace);
        }
        for agent in &self.agents {
            let stats = agent.stats();
            assert_eq!((stats.transactions, stats.sessions, stats.dialogs, stats.deadlines), (0, 0, 0, 0));
            assert!(agent.client_ids.is_empty() && agent.server_ids.is_empty());
            assert!(agent.merge_ids.is_empty() && agent.by_local_tag.is_empty());
        }
    }

    /// A calls B; B's session.
    fn call(&mut self) -> (SessionKey, SessionKey) {
        let caller = self.agents[A].invite(invite_to(address(B)), self.now).expect("room");
        let callee = self.await_event(B, incoming);
        (caller, callee)
    }

    /// A calls B, which answers; both are told.
    fn established(&mut self) -> (SessionKey, SessionKey) {
        let (caller, callee) = self.call();
        self.agents[B].accept(callee, b"answer".to_vec(), self.now);
        self.await_event(A, answered);
        self.await_event(B, |event| matches!(event, SipEvent::Acknowledged { .. }).then_some(()));
        (caller, callee)
    }

    fn count(&self, who: usize, start: &str) -> usize {
        self.trace.iter().filter(|(sender, line)| *sender == who && line.starts_with(start)).count()
    }
}

fn incoming(event: &SipEvent) -> Option<SessionKey> {
    match event {
        SipEvent::Incoming { session, .. } => Some(*session),
        _ => None,
    }
}

fn answered(event: &SipEvent) -> Option<Option<Vec<u8>>> {
    match event {
        SipEvent::Answered { body, .. } => Some(body.clone()),
        _ => None,
    }
}
