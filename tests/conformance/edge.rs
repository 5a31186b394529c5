//! The gateway's SIP edge as production has it: the router of the public port in front of a shard, and one agent whom every call is for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use nexus_gateway::call::command::{Answer, Command, Identity, Query, QueryReply, Role, Scope, ShardStats, SipIdentity};
use nexus_gateway::call::event::{CallEvent, Event, Incoming};
use nexus_gateway::config::DialPolicy;
use nexus_gateway::ids::{AgentId, RequestId, ShardId, SocketId, TenantId};
use nexus_gateway::net::{Datagram, LocalSocket, MAX_DATAGRAM};
use nexus_gateway::shard::io::{IngressTarget, Input, Output};
use nexus_gateway::shard::{Policy, Shard, ShardConfig, Trunk};
use nexus_gateway::sip::ingress::Ingress;
use nexus_gateway::webrtc::DtlsIdentity;

use crate::message::Message;

/// The edge.
pub struct Edge {
    shard: Shard,
    ingress: Ingress,
    now: Instant,
    dropped: BTreeMap<&'static str, u64>,
}

/// What came of a datagram.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was sent.
    pub sent: Vec<Sent>,
    /// What the agent was told.
    pub told: Vec<CallEvent>,
    /// The user and the host of the Request-URI that the directory was asked for.
    pub looked_up: Option<(String, String)>,
    /// Why datagrams were dropped.
    pub dropped: Vec<(&'static str, u64)>,
}

/// A message that was sent.
#[derive(Debug)]
pub struct Sent {
    pub socket: LocalSocket,
    pub to: SocketAddr,
    pub message: Message,
}

impl Edge {
    /// An edge whose media is on IPv4.
    pub fn new() -> Self {
        Self::with_media(IpAddr::from([198, 51, 100, 1]))
    }

    /// An edge with this address in its SDP.
    pub fn with_media(media_address: IpAddr) -> Self {
        static DTLS: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
        let now = Instant::now();
        let mut shard = Shard::new(ShardConfig {
            shard: ShardId(0),
            origin: (now, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
            seed: [7; 32],
            dtls: DTLS.get_or_init(|| Arc::new(DtlsIdentity::generate().expect("a certificate"))).clone(),
            candidates: vec![SocketAddr::new(media_address, 10_000)],
            ice_servers: Vec::new(),
            sip_contact: SocketAddr::new(media_address, 5071),
            media_address,
            shared_pair: 10_002,
            own_pairs: Vec::new(),
            trunk: Trunk { peers: vec![PEER], domain: "example.com".to_owned(), credentials: None },
            policy: Policy {
                max_calls_per_agent: 1_000,
                ring_timeout: Duration::from_secs(60),
                incoming_timeout: Duration::from_secs(120),
                media_timeout: Duration::from_secs(30),
                resume_grace: Duration::from_secs(30),
                resume_media_max: Duration::from_secs(600),
                header_prefixes: vec!["x-".to_owned()],
                dial: DialPolicy::default(),
            },
        });
        let identity = Identity {
            tenant: TenantId::from("t1"),
            agent: AgentId::from("agent"),
            user: "agent".into(),
            role: Role::Agent,
            sip: SipIdentity { user: "agent".to_owned(), domain: None, display_name: None },
        };
        shard.handle(Input::Command { request: None, command: Command::Connect { socket: SocketId(1), identity } }, now);
        while shard.poll_output().is_some() {}
        Self { shard, ingress: Ingress::new(1, 1_000), now, dropped: BTreeMap::new() }
    }

    /// A datagram of the peer's on the public port.
    pub fn receive(&mut self, bytes: &[u8]) -> Outcome {
        self.receive_from(LocalSocket::SipPublic, bytes, PEER)
    }

    /// A datagram on one of the two SIP ports; what is too long for a buffer is cut as the kernel does it.
    pub fn receive_from(&mut self, socket: LocalSocket, bytes: &[u8], from: SocketAddr) -> Outcome {
        let mut packet = self.shard.packets.take();
        let room = bytes.len().min(MAX_DATAGRAM);
        packet.receive_room()[..room].copy_from_slice(&bytes[..room]);
        packet.set_received(bytes.len());
        let mut outcome = Outcome::default();
        let input = if socket == LocalSocket::SipPublic {
            let lookup = |user: &str, host: &str| {
                outcome.looked_up = Some((user.to_owned(), host.to_owned()));
                (ShardId(0), IngressTarget::Agent(TenantId::from("t1"), AgentId::from("agent")))
            };
            let (shard, target) = self.ingress.route(packet.bytes(), from, self.now, lookup);
            assert_eq!(shard, ShardId(0));
            Input::Ingress { datagram: Datagram { socket, from, packet }, target: target.unwrap_or(IngressTarget::Any) }
        } else {
            Input::Datagram(Datagram { socket, from, packet })
        };
        self.shard.handle(input, self.now);
        assert_eq!(self.shard.panics(), 0, "a panic, contained");
        self.drain(&mut outcome);
        let stats = self.stats();
        for (reason, count) in stats.dropped {
            let before = self.dropped.insert(reason, count).unwrap_or(0);
            if count > before {
                outcome.dropped.push((reason, count - before));
            }
        }
        outcome
    }

    /// Lets every timer run out, whereby an unanswered call is given up; then nothing may be left.
    pub fn assert_all_ends(mut self) {
        let mut outcome = Outcome::default();
        let give_up_at = self.now + Duration::from_secs(600);
        while let Some(at) = self.shard.next_deadline().filter(|at| *at < give_up_at) {
            self.now = at;
            self.shard.handle(Input::Timeout, self.now);
            self.drain(&mut outcome);
        }
        let stats = self.stats();
        assert_eq!(
            (stats.calls, stats.sip_transactions, stats.dialogs, stats.deadlines),
            (0, 0, 0, 0),
            "calls, transactions, dialogs, deadlines"
        );
    }

    fn drain(&mut self, outcome: &mut Outcome) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let message = Message::read(transmit.packet.bytes());
                    outcome.sent.push(Sent { socket: transmit.socket, to: transmit.to, message });
                    self.shard.packets.give_back(transmit.packet);
                }
                Output::Event { event: Event::Call { event, .. }, .. } => outcome.told.push(event),
                Output::Event { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
    }

    fn stats(&mut self) -> ShardStats {
        let command = Command::Rest(Query::Stats(Scope::Everything));
        self.shard.handle(Input::Command { request: Some(RequestId(1)), command }, self.now);
        match self.shard.poll_output() {
            Some(Output::Answer { answer: Answer::Rest(reply), .. }) => match *reply {
                QueryReply::Stats(stats) => stats,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

impl Outcome {
    /// The status of each response, in order.
    pub fn statuses(&self) -> Vec<u16> {
        self.sent.iter().map(|sent| sent.message.status()).collect()
    }

    /// The last response.
    pub fn response(&self) -> &Message {
        &self.sent.last().expect("a response").message
    }

    /// The call that the agent was told of: it rings.
    pub fn rings(&self) -> &Incoming {
        assert_eq!(self.statuses(), [100, 180], "dropped: {:?}", self.dropped);
        match self.told.as_slice() {
            [CallEvent::Incoming(incoming)] => incoming,
            other => panic!("the agent was told {other:?}"),
        }
    }

    /// The one response, of this status; nobody is told anything.
    pub fn refused(&self, status: u16) -> &Message {
        // An INVITE may have been told before that it is being looked at.
        let statuses: Vec<u16> = self.statuses().into_iter().filter(|status| *status != 100).collect();
        assert_eq!(statuses, [status], "dropped: {:?}", self.dropped);
        assert!(self.told.is_empty(), "the agent was told {:?}", self.told);
        self.response()
    }

    /// Nothing was sent, nobody was told, and one counter says why.
    pub fn assert_dropped(&self, reason: &'static str) {
        assert_eq!((self.statuses(), self.dropped.as_slice()), (Vec::new(), &[(reason, 1)][..]));
        assert!(self.told.is_empty() && self.looked_up.is_none());
    }
}

/// Whom every datagram is from unless a test says otherwise: the configured peer.
pub const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2)), 40_060);
