//! Refusals: what a client is told when a request cannot be done.

use crate::call::event::CallState;

/// The stable codes of the wire contract; a client may branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    RateLimited,
    Overloaded,
    Draining,
    Internal,
    AuthRequired,
    AuthInvalid,
    AuthExpired,
    AuthMismatch,
    TenantUnknown,
    SessionTakenOver,
    TransportNotFound,
    ProducerNotFound,
    ConsumerNotFound,
    CallNotFound,
    UnsupportedKind,
    UnsupportedCodec,
    MediaNotReady,
    InvalidNumber,
    DestinationBlocked,
    CallLimit,
    InvalidState,
    SipTimeout,
    SipRejected,
    SipUnreachable,
}

impl Code {
    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::BadRequest => "BAD_REQUEST",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::Conflict => "CONFLICT",
            Code::RateLimited => "RATE_LIMITED",
            Code::Overloaded => "OVERLOADED",
            Code::Draining => "DRAINING",
            Code::Internal => "INTERNAL",
            Code::AuthRequired => "AUTH_REQUIRED",
            Code::AuthInvalid => "AUTH_INVALID",
            Code::AuthExpired => "AUTH_EXPIRED",
            Code::AuthMismatch => "AUTH_MISMATCH",
            Code::TenantUnknown => "TENANT_UNKNOWN",
            Code::SessionTakenOver => "SESSION_TAKEN_OVER",
            Code::TransportNotFound => "TRANSPORT_NOT_FOUND",
            Code::ProducerNotFound => "PRODUCER_NOT_FOUND",
            Code::ConsumerNotFound => "CONSUMER_NOT_FOUND",
            Code::CallNotFound => "CALL_NOT_FOUND",
            Code::UnsupportedKind => "UNSUPPORTED_KIND",
            Code::UnsupportedCodec => "UNSUPPORTED_CODEC",
            Code::MediaNotReady => "MEDIA_NOT_READY",
            Code::InvalidNumber => "INVALID_NUMBER",
            Code::DestinationBlocked => "DESTINATION_BLOCKED",
            Code::CallLimit => "CALL_LIMIT",
            Code::InvalidState => "INVALID_STATE",
            Code::SipTimeout => "SIP_TIMEOUT",
            Code::SipRejected => "SIP_REJECTED",
            Code::SipUnreachable => "SIP_UNREACHABLE",
        }
    }

    /// Whether the same request may succeed a little later without any change.
    pub fn retryable(self) -> bool {
        match self {
            Code::RateLimited
            | Code::Overloaded
            | Code::Draining
            | Code::Internal
            | Code::MediaNotReady
            | Code::SipTimeout
            | Code::SipUnreachable => true,
            Code::BadRequest
            | Code::Unauthorized
            | Code::Forbidden
            | Code::NotFound
            | Code::Conflict
            | Code::AuthRequired
            | Code::AuthInvalid
            | Code::AuthExpired
            | Code::AuthMismatch
            | Code::TenantUnknown
            | Code::SessionTakenOver
            | Code::TransportNotFound
            | Code::ProducerNotFound
            | Code::ConsumerNotFound
            | Code::CallNotFound
            | Code::UnsupportedKind
            | Code::UnsupportedCodec
            | Code::InvalidNumber
            | Code::DestinationBlocked
            | Code::CallLimit
            | Code::InvalidState
            | Code::SipRejected => false,
        }
    }

    /// The HTTP status that a REST route answers with for this code.
    pub fn http_status(self) -> u16 {
        match self {
            Code::BadRequest | Code::UnsupportedKind | Code::UnsupportedCodec | Code::InvalidNumber => 400,
            Code::Unauthorized | Code::AuthRequired | Code::AuthInvalid | Code::AuthExpired | Code::AuthMismatch => 401,
            Code::Forbidden | Code::TenantUnknown | Code::DestinationBlocked => 403,
            Code::NotFound | Code::TransportNotFound | Code::ProducerNotFound | Code::ConsumerNotFound | Code::CallNotFound => 404,
            Code::Conflict | Code::SessionTakenOver | Code::MediaNotReady | Code::CallLimit | Code::InvalidState => 409,
            Code::RateLimited => 429,
            Code::Internal => 500,
            Code::SipRejected => 502,
            Code::Overloaded | Code::Draining | Code::SipUnreachable => 503,
            Code::SipTimeout => 504,
        }
    }
}

/// A request that was refused: the failure acknowledgement of the wire contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What a program branches on.
    pub code: Code,
    /// What a human reads; never holds a number, a token or SDP.
    pub message: String,
    /// The SIP status behind it, where the peer answered.
    pub sip_code: Option<u16>,
    /// The SIP reason phrase behind it, where the peer answered.
    pub sip_reason: Option<String>,
    /// The call's state, with [`Code::InvalidState`].
    pub state: Option<CallState>,
}

impl Refusal {
    /// A refusal with a code and words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), sip_code: None, sip_reason: None, state: None }
    }

    /// A request that the call's state does not allow.
    pub fn invalid_state(state: CallState, message: impl Into<String>) -> Self {
        Self { state: Some(state), ..Self::new(Code::InvalidState, message) }
    }

    /// A request that the SIP peer answered with a failure; its words are empty where they are not known.
    pub fn sip(sip_code: u16, sip_reason: &str) -> Self {
        let message = format!("the PBX answered {sip_code} {sip_reason}").trim_end().to_owned();
        let sip_reason = (!sip_reason.is_empty()).then(|| sip_reason.to_owned());
        Self { sip_code: Some(sip_code), sip_reason, ..Self::new(Code::SipRejected, message) }
    }
}
