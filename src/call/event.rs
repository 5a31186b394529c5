//! What a shard tells an agent, and what it reports as a call fact.

use std::time::{Duration, SystemTime};

use crate::call::command::{Direction, LegStats};
use crate::call::error::Code;
use crate::ids::{CallId, PeerId, ProducerId, TransportId};

/// Something that happened, told to an agent's socket.
#[derive(Clone, Debug)]
pub enum Event {
    PeerConnected {
        peer: PeerId,
    },
    PeerDisconnected {
        peer: PeerId,
        reason: &'static str,
    },
    TransportState {
        transport: TransportId,
        direction: Direction,
        state: TransportState,
    },
    /// A refusal outside of any acknowledgement (`error`).
    Error {
        event: &'static str,
        code: Code,
        message: String,
        call: Option<CallId>,
    },
    Call {
        call: CallId,
        event: CallEvent,
    },
}

/// Something that happened to a call.
#[derive(Clone, Debug)]
pub enum CallEvent {
    Incoming(Box<Incoming>),
    Ringing { producer: ProducerId, early_media: bool },
    Answered { producer: ProducerId, codec: &'static str, transcoded: bool, answered_at: SystemTime, setup: Duration },
    Held { held: bool, by: HeldBy },
    Muted { muted: bool },
    Transferred { target: String, kind: &'static str },
    TransferFailed { sip_code: Option<u16> },
    DtmfReceived { tone: char, duration: Duration },
    Ended(Box<Ended>),
    Failed { message: String, code: Code, sip_code: Option<u16>, sip_reason: Option<String>, q850: Option<u16> },
}

/// A call from the PBX.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub phone_number: String,
    pub caller_name: Option<String>,
    pub to: String,
    pub campaign_id: Option<String>,
    pub lead_id: Option<String>,
    pub auto_answer: bool,
    pub headers: Vec<(String, String)>,
}

/// How a call came to its end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Since the answer; zero if there was none.
    pub duration: Duration,
    pub ended_by: EndedBy,
    pub reason: EndReason,
    pub sip_code: Option<u16>,
    pub q850: Option<u16>,
    /// Each leg's final figures.
    pub quality: Vec<LegStats>,
}

/// Who put a call on hold or took it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    Local,
    Remote,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    Agent,
    Remote,
    Gateway,
    Admin,
}

impl EndedBy {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EndedBy::Agent => "agent",
            EndedBy::Remote => "remote",
            EndedBy::Gateway => "gateway",
            EndedBy::Admin => "admin",
        }
    }
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    Hangup,
    Cancelled,
    Rejected,
    NoAnswer,
    Transferred,
    AgentLost,
    MediaTimeout,
    SessionTimeout,
    Terminated,
    Drained,
    GatewayRestart,
    Internal,
}

impl EndReason {
    /// All of them, in their order.
    pub const ALL: [EndReason; 12] = [
        EndReason::Hangup,
        EndReason::Cancelled,
        EndReason::Rejected,
        EndReason::NoAnswer,
        EndReason::Transferred,
        EndReason::AgentLost,
        EndReason::MediaTimeout,
        EndReason::SessionTimeout,
        EndReason::Terminated,
        EndReason::Drained,
        EndReason::GatewayRestart,
        EndReason::Internal,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Hangup => "hangup",
            EndReason::Cancelled => "cancelled",
            EndReason::Rejected => "rejected",
            EndReason::NoAnswer => "no-answer",
            EndReason::Transferred => "transferred",
            EndReason::AgentLost => "agent-lost",
            EndReason::MediaTimeout => "media-timeout",
            EndReason::SessionTimeout => "session-timeout",
            EndReason::Terminated => "terminated",
            EndReason::Drained => "drained",
            EndReason::GatewayRestart => "gateway-restart",
            EndReason::Internal => "internal",
        }
    }
}

/// A call's state as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    Dialing,
    Ringing,
    Early,
    Incoming,
    Answered,
    Held,
    Ended,
    Failed,
}

impl CallState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CallState::Dialing => "dialing",
            CallState::Ringing => "ringing",
            CallState::Early => "early",
            CallState::Incoming => "incoming",
            CallState::Answered => "answered",
            CallState::Held => "held",
            CallState::Ended => "ended",
            CallState::Failed => "failed",
        }
    }
}

/// Who called whom, seen from the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallDirection {
    Outbound,
    Inbound,
}

/// A call as its agent sees it.
#[derive(Clone, Debug)]
pub struct CallView {
    pub call: CallId,
    /// The Call-ID header (RFC 3261 section 20.8); empty until the INVITE has left.
    pub sip_call_id: String,
    pub direction: CallDirection,
    pub state: CallState,
    pub phone_number: String,
    pub caller_name: Option<String>,
    pub campaign_id: Option<String>,
    pub lead_id: Option<String>,
    pub muted: bool,
    pub held: bool,
    pub started_at: SystemTime,
    pub answered_at: Option<SystemTime>,
    pub producer: ProducerId,
}

/// The state of a browser transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportState {
    New,
    Connecting,
    Connected,
    Disconnected,
    Failed,
    Closed,
}

impl TransportState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportState::New => "new",
            TransportState::Connecting => "connecting",
            TransportState::Connected => "connected",
            TransportState::Disconnected => "disconnected",
            TransportState::Failed => "failed",
            TransportState::Closed => "closed",
        }
    }
}
