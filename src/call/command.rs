//! What the outside asks of a shard, and what it is answered.

use std::time::{Duration, SystemTime};

use crate::call::error::{Code, Refusal};
use crate::call::event::CallView;
use crate::ids::{AgentId, CallId, ConsumerId, PeerId, ProducerId, SocketId, TenantId, TransportId, UserId};
use crate::webrtc::ortc::{DtlsParameters, IceServer, MediaKind, RtpCapabilities, RtpParameters, TransportOptions};

/// Who is on a socket, as its token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub tenant: TenantId,
    pub agent: AgentId,
    pub user: UserId,
    pub role: Role,
    /// What SIP peers call this agent; from the directory, else made of the agent id.
    pub sip: SipIdentity,
}

/// What a user may see by REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Agent,
    Supervisor,
    Admin,
}

/// An agent's name towards SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipIdentity {
    /// The user part of the agent's address of record.
    pub user: String,
    /// Its host part; the trunk's domain where the directory names none.
    pub domain: Option<String>,
    /// The name shown to the called party.
    pub display_name: Option<String>,
}

/// Something asked of a shard. The shard always answers a command that carries a request id, exactly once.
#[derive(Clone, Debug)]
pub enum Command {
    /// A socket has been let in. Takes over from an older socket of the same agent.
    Connect { socket: SocketId, identity: Identity },
    /// The socket is gone; its calls live on.
    Disconnect { socket: SocketId },
    /// A client event; answered with [`Answer::Client`].
    Client { socket: SocketId, action: Action },
    /// A REST route; answered with [`Answer::Rest`].
    Rest(Query),
}

/// What a client asks for by an event.
#[derive(Clone, Debug)]
pub enum Action {
    GetRouterCapabilities,
    CreateTransport { direction: Direction },
    ConnectTransport { transport: TransportId, dtls: DtlsParameters },
    Produce { transport: TransportId, kind: MediaKind, rtp: RtpParameters },
    Consume { transport: TransportId, producer: Option<ProducerId>, call: Option<CallId> },
    PauseProducer { producer: ProducerId },
    ResumeProducer { producer: ProducerId },
    CloseProducer { producer: ProducerId },
    PauseConsumer { consumer: ConsumerId },
    ResumeConsumer { consumer: ConsumerId },
    CloseConsumer { consumer: ConsumerId },
    CloseTransport { transport: TransportId },
    GetStats { transport: Option<TransportId>, call: Option<CallId> },
    Dial(Dial),
    Answer { call: CallId },
    Reject { call: CallId, status: RejectStatus },
    Hangup { call: CallId },
    Hold { call: CallId },
    Unhold { call: CallId },
    Mute { call: CallId, muted: bool },
    Dtmf(SendDtmf),
    Transfer { call: CallId, target: String, kind: TransferKind },
}

impl Action {
    /// The call that it does something to.
    pub fn call(&self) -> Option<CallId> {
        match self {
            Action::Answer { call }
            | Action::Reject { call, .. }
            | Action::Hangup { call }
            | Action::Hold { call }
            | Action::Unhold { call }
            | Action::Mute { call, .. }
            | Action::Dtmf(SendDtmf { call, .. })
            | Action::Transfer { call, .. } => Some(*call),
            Action::GetRouterCapabilities
            | Action::CreateTransport { .. }
            | Action::ConnectTransport { .. }
            | Action::Produce { .. }
            | Action::Consume { .. }
            | Action::PauseProducer { .. }
            | Action::ResumeProducer { .. }
            | Action::CloseProducer { .. }
            | Action::PauseConsumer { .. }
            | Action::ResumeConsumer { .. }
            | Action::CloseConsumer { .. }
            | Action::CloseTransport { .. }
            | Action::GetStats { .. }
            | Action::Dial(_) => None,
        }
    }
}

/// Which way a browser transport carries media, seen from the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Send,
    Recv,
}

/// An outbound call, as the agent asked for it. Numbers and headers are not yet checked against policy.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    pub phone_number: String,
    pub campaign_id: Option<String>,
    pub lead_id: Option<String>,
    pub caller_id: Option<String>,
    pub headers: Vec<(String, String)>,
    /// The same one twice is one call.
    pub client_call_id: Option<String>,
    /// Narrows the SIP offer to one codec, for example `PCMU`.
    pub codec: Option<String>,
}

/// With which status an agent turns an incoming call down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RejectStatus {
    TemporarilyUnavailable,
    #[default]
    BusyHere,
    Decline,
}

impl RejectStatus {
    /// The SIP status.
    pub fn status(self) -> u16 {
        match self {
            RejectStatus::TemporarilyUnavailable => 480,
            RejectStatus::BusyHere => 486,
            RejectStatus::Decline => 603,
        }
    }
}

/// Digits to send into a call.
#[derive(Clone, Debug)]
pub struct SendDtmf {
    pub call: CallId,
    /// 1 to 32 of `0-9*#A-D,`; a comma is a pause.
    pub tones: String,
    pub duration: Duration,
    pub gap: Duration,
    pub method: DtmfMethod,
}

/// How digits travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtmfMethod {
    /// RFC 4733 where negotiated, else SIP INFO.
    #[default]
    Auto,
    Rfc4733,
    Info,
}

/// How a call is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// REFER to the target (RFC 3515).
    Blind,
    /// REFER with Replaces of the consultation call (RFC 5589 section 7).
    Attended { consult: CallId },
}

/// What REST asks of one shard.
#[derive(Clone, Debug)]
pub enum Query {
    Capabilities,
    Sessions(Scope),
    Session { scope: Scope, call: CallId },
    Stats(Scope),
    AgentStats { scope: Scope, agent: AgentId },
    Terminate { scope: Scope, call: CallId },
}

/// What a user may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    Tenant(TenantId),
    Agent(TenantId, AgentId),
}

impl Scope {
    /// Whether something of this tenant and agent is visible.
    pub fn includes(&self, tenant: &TenantId, agent: &AgentId) -> bool {
        match self {
            Scope::Everything => true,
            Scope::Tenant(own) => own == tenant,
            Scope::Agent(own_tenant, own_agent) => own_tenant == tenant && own_agent == agent,
        }
    }
}

/// The answer to a command with a request id.
#[derive(Clone, Debug)]
pub enum Answer {
    Client(Result<Reply, Refusal>),
    Rest(Box<QueryReply>),
}

/// What a client event is acknowledged with.
#[derive(Clone, Debug)]
pub enum Reply {
    Done,
    RouterCapabilities(RtpCapabilities),
    Transport(TransportOptions),
    Producer(ProducerId),
    Consumer(ConsumerReply),
    Stats(Vec<LegStats>),
    Dialed(CallId),
}

/// What `webrtc:consume` is acknowledged with.
#[derive(Clone, Debug)]
pub struct ConsumerReply {
    pub id: ConsumerId,
    pub producer: ProducerId,
    pub rtp: RtpParameters,
}

/// What `connected` says.
#[derive(Clone, Debug)]
pub struct Welcome {
    pub peer: PeerId,
    pub identity: Identity,
    pub server_time: SystemTime,
    pub producer: ProducerId,
    pub calls: Vec<CallView>,
    pub ice_servers: Vec<IceServer>,
    pub resume_token: String,
    pub grace: Duration,
    pub max_calls: usize,
    /// The number of the last event given to this peer.
    pub event_id: u64,
}

/// Media figures of one leg, from our counters and the far side's RTCP (RFC 3550 section 6.4).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LegStats {
    pub leg: LegKind,
    /// What we received on this leg.
    pub received: StreamStats,
    /// What we sent on this leg.
    pub sent: StreamStats,
    /// Round trip, from the LSR and DLSR of the far side's reports.
    pub rtt_ms: Option<f64>,
    /// Estimated listening quality, 1 to 4.5; `None` until it can be told.
    pub mos: Option<f64>,
}

/// One stream's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamStats {
    pub packets: u64,
    pub bytes: u64,
    /// Missing packets: counted by us for what we received, reported by the far side for what we sent.
    pub lost: i64,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter_ms: Option<f64>,
}

impl StreamStats {
    /// What has been added since an earlier reading; a stream that was replaced meanwhile counts from its own beginning.
    pub fn since(self, earlier: StreamStats) -> StreamStats {
        if self.packets < earlier.packets {
            return self;
        }
        StreamStats {
            packets: self.packets - earlier.packets,
            bytes: self.bytes.saturating_sub(earlier.bytes),
            lost: self.lost - earlier.lost,
            jitter_ms: self.jitter_ms,
        }
    }
}

/// One of a call's two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegKind {
    #[default]
    WebRtc,
    Sip,
}

impl LegKind {
    /// The leg as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            LegKind::WebRtc => "webrtc",
            LegKind::Sip => "sip",
        }
    }
}

/// One shard's part of a REST answer; the front joins the shards' parts.
#[derive(Clone, Debug)]
pub enum QueryReply {
    Capabilities(RtpCapabilities),
    Sessions(Vec<Session>),
    /// `None`: not on this shard, or not visible.
    Session(Option<Session>),
    Stats(ShardStats),
    AgentStats(Option<AgentStats>),
    /// Whether the call is or was on this shard and visible.
    Terminated(bool),
}

/// A call as a supervisor sees it.
#[derive(Clone, Debug)]
pub struct Session {
    pub call: CallView,
    pub tenant: TenantId,
    pub agent: AgentId,
    pub shard: crate::ids::ShardId,
    pub legs: Vec<LegStats>,
    /// What happened when, oldest first.
    pub timeline: Vec<(SystemTime, &'static str)>,
}

/// What one shard holds right now, and what it dropped.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    pub shard: u16,
    pub agents: usize,
    pub calls: usize,
    pub calls_total: u64,
    pub transports: usize,
    pub sip_transactions: usize,
    pub dialogs: usize,
    pub ports_in_use: usize,
    pub deadlines: usize,
    /// Panics that were contained: bugs of ours.
    pub panics: u64,
    /// How often a shard has died here and another one has taken its place.
    pub restarts: u64,
    /// Datagrams dropped, by reason; reasons that never happened are listed with 0.
    pub dropped: Vec<(&'static str, u64)>,
    /// Configured SIP peers and whether each has answered lately.
    pub sip_peers: Vec<(std::net::SocketAddr, bool)>,
}

/// One agent's day.
#[derive(Clone, Debug)]
pub struct AgentStats {
    pub tenant: TenantId,
    pub agent: AgentId,
    pub connected: bool,
    pub connected_at: SystemTime,
    pub calls_active: usize,
    pub calls_today: u64,
    pub talk_time: Duration,
    /// Mean of the ended calls' worst leg; `None` before the first.
    pub mos_mean: Option<f64>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Refusal::new(code, code.as_str())
    }
}
