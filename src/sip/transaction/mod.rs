//! The four transaction machines of RFC 3261 section 17 with the corrections of RFC 6026, over UDP. Each is only its states and timers:
//! it says what to do, the user agent does it.

pub(super) mod client;
#[cfg(test)]
mod model;
pub(super) mod server;

use super::message::{Method, Request};

/// What a client transaction is found by (RFC 3261 section 17.1.3): our branch, and whether it is a CANCEL, which shares its INVITE's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientId {
    pub branch: String,
    pub cancel: bool,
}

/// What a server transaction is found by (RFC 3261 section 17.2.3). ACK counts as INVITE.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerId(String);

impl ServerId {
    /// The id of a request; of the INVITE that it acknowledges, if it is an ACK.
    pub fn of(request: &Request) -> Option<Self> {
        let method = if request.method == Method::Ack { Method::Invite.as_str() } else { request.method.as_str() };
        Self::with_method(request, method)
    }

    /// The id of the INVITE that a CANCEL is about (RFC 3261 section 9.2).
    pub fn of_cancelled(cancel: &Request) -> Option<Self> {
        Self::with_method(cancel, Method::Invite.as_str())
    }

    fn with_method(request: &Request, method: &str) -> Option<Self> {
        let via = request.headers.via()?;
        // The magic cookie alone is no id (RFC 4475 section 3.1.1.3).
        let is_unique = |branch: &&str| branch.len() > 7 && branch.get(..7).is_some_and(|magic| magic.eq_ignore_ascii_case("z9hG4bK"));
        let id = match via.branch().filter(is_unique) {
            Some(branch) => format!("{method} {} {branch}", via.sent_by()),
            // A client of RFC 2543: everything that its repetitions have in common.
            None => format!(
                "{method} {} {} {} {} {} {}",
                via.sent_by(),
                via.branch().unwrap_or_default(),
                request.headers.call_id(),
                request.headers.tag_of_from().unwrap_or_default(),
                request.headers.cseq_number(),
                request.uri,
            ),
        };
        Some(Self(id))
    }
}
