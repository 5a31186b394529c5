//! Making messages, and picking from received ones what the owner may see.

use std::net::SocketAddr;

use crate::limits::{CUSTOM_HEADER_BYTES, CUSTOM_HEADERS};
use crate::sip::event::{Address, Reason, ReasonProtocol};
use crate::sip::field::{Params, Uri, Via, escape_user, quote, unquote};
use crate::sip::message::{Headers, Method, Request, Response, phrase};
use crate::sip::normalise::{is_never_in_uri, is_token, split_outside_quotes};

/// Methods that are answered otherwise than with 405 (RFC 3261 section 20.5).
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REFER, NOTIFY";

/// The media type of offers and answers.
pub(super) const SDP: &str = "application/sdp";

/// The media type of NOTIFY for a REFER (RFC 3515 section 2.4.5).
pub(super) const SIPFRAG: &str = "message/sipfrag";

/// The URI schemes that a Request-URI may have: what is called here is a SIP user or a telephone number.
const SCHEMES: [&str; 3] = ["sip", "sips", "tel"];

/// Fields that are the user agent's own business: an owner can neither set nor see them.
const OWN_FIELDS: [&str; 15] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Contact",
    "Route",
    "Record-Route",
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Allow",
    "Supported",
    "User-Agent",
];

/// What a request is refused with whomever it is for, and the field that goes with it, in the order of RFC 3261 section 8.2: the method, the
/// Request-URI, what is required. A CANCEL is about its INVITE, which has been through all that.
pub(super) fn refusal_of(request: &Request) -> Option<(u16, Vec<(String, String)>)> {
    let field = |name: &str, value: String| vec![(name.to_owned(), value)];
    match &request.method {
        Method::Known(_) => return Some((405, field("Allow", ALLOW.to_owned()))),
        Method::Unknown(_) => return Some((501, field("Allow", ALLOW.to_owned()))),
        Method::Cancel | Method::Ack => return None,
        Method::Invite | Method::Bye | Method::Options | Method::Info | Method::Update | Method::Refer | Method::Notify => {}
    }
    if Uri::parse(&request.uri).is_none_or(|uri| !SCHEMES.contains(&uri.scheme.as_str())) {
        return Some((416, Vec::new()));
    }
    let unsupported: Vec<&str> = request.headers.tokens("Require").collect();
    (!unsupported.is_empty()).then(|| (420, field("Unsupported", unsupported.join(", "))))
}

/// Whether SDP may be answered with; a request without Accept takes it (RFC 3261 section 20.1).
pub(super) fn takes_sdp(headers: &Headers) -> bool {
    let range = |token: &str| token.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    headers.get("Accept").is_none() || headers.tokens("Accept").any(|token| ["*/*", "application/*", SDP].contains(&range(token).as_str()))
}

/// A response to a request, with what every response copies (RFC 3261 section 8.2.6).
pub(super) fn response_to(request: &Request, status: u16, words: Option<&str>, local_tag: &str) -> Response {
    let mut headers = Headers::default();
    // One that is no Via only comes with a request that is refused for it, and whoever gets the answer could not read it either.
    for via in request.headers.all("Via").filter(|via| Via::parse(via).is_some()) {
        headers.push("Via", via);
    }
    let makes_dialog = request.method == Method::Invite && (101..300).contains(&status);
    if makes_dialog {
        for route in request.headers.all("Record-Route") {
            headers.push("Record-Route", route);
        }
    }
    for name in ["From", "To", "Call-ID", "CSeq"] {
        if let Some(value) = request.headers.get(name) {
            let untagged = name == "To" && status > 100 && request.headers.tag_of_to().is_none();
            headers.push(name, if untagged { format!("{value};tag={local_tag}") } else { value.to_owned() });
        }
    }
    if let Some(timestamp) = request.headers.get("Timestamp").filter(|_| status == 100) {
        headers.push("Timestamp", timestamp);
    }
    Response { status, phrase: words.unwrap_or(phrase(status)).to_owned(), headers, body: Vec::new() }
}

/// The ACK to a failure: part of the INVITE's transaction (RFC 3261 section 17.1.1.3).
pub(super) fn ack_of_failure(invite: &Request, response: &Response) -> Request {
    let mut headers = Headers::default();
    headers.push("Via", invite.headers.get("Via").unwrap_or_default());
    headers.push("Max-Forwards", "70");
    for name in ["Route", "From"] {
        for value in invite.headers.all(name) {
            headers.push(name, value);
        }
    }
    headers.push("To", response.headers.get("To").unwrap_or_default());
    headers.push("Call-ID", invite.headers.call_id());
    headers.push("CSeq", format!("{} ACK", invite.headers.cseq_number()));
    copy_credentials(invite, &mut headers);
    Request { method: Method::Ack, uri: invite.uri.clone(), headers, body: Vec::new() }
}

/// The CANCEL of an INVITE that has no final response yet (RFC 3261 section 9.1).
pub(super) fn cancel_of(invite: &Request) -> Request {
    let mut headers = Headers::default();
    headers.push("Via", invite.headers.get("Via").unwrap_or_default());
    headers.push("Max-Forwards", "70");
    for name in ["Route", "From", "To", "Call-ID"] {
        for value in invite.headers.all(name) {
            headers.push(name, value);
        }
    }
    headers.push("CSeq", format!("{} CANCEL", invite.headers.cseq_number()));
    Request { method: Method::Cancel, uri: invite.uri.clone(), headers, body: Vec::new() }
}

/// An ACK carries the credentials of its INVITE (RFC 3261 section 22.1).
pub(super) fn copy_credentials(invite: &Request, headers: &mut Headers) {
    for name in ["Authorization", "Proxy-Authorization"] {
        for value in invite.headers.all(name) {
            headers.push(name, value);
        }
    }
}

/// An address as From or To; what has no place in one is left out.
pub(super) fn name_addr(address: &Address, default_host: SocketAddr) -> String {
    let host: String = address.host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(*c)).collect();
    let host = if host.is_empty() { default_host.to_string() } else { host };
    let uri = match address.user.as_str() {
        "" => format!("<sip:{host}>"),
        user => format!("<sip:{}@{host}>", escape_user(user)),
    };
    match &address.display {
        Some(display) => format!("{} {uri}", quote(display)),
        None => uri,
    }
}

/// A URI without anything that could end its line or its brackets.
pub(super) fn clean_uri(uri: &str) -> String {
    uri.chars().filter(|c| !is_never_in_uri(*c)).collect()
}

/// Adds an owner's fields: only well-formed ones, and none that the user agent makes itself.
pub(super) fn push_custom(headers: &mut Headers, custom: &[(String, String)]) {
    let sound = custom.iter().filter(|(name, value)| {
        is_token(name) && name.len() > 1 && !is_own(name) && !value.chars().any(char::is_control) && value.len() <= CUSTOM_HEADER_BYTES
    });
    for (name, value) in sound.take(CUSTOM_HEADERS) {
        headers.push(name, value.as_str());
    }
}

/// The fields that an owner may see.
pub(super) fn visible(headers: &Headers) -> Vec<(String, String)> {
    headers.0.iter().filter(|(name, _)| !is_own(name)).cloned().collect()
}

fn is_own(name: &str) -> bool {
    OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// The SDP of a message, also out of a multipart body (RFC 5621). `Err`: the body is something else.
pub(super) fn sdp_of(headers: &Headers, body: &[u8]) -> Result<Option<Vec<u8>>, UnsupportedBody> {
    if body.is_empty() {
        return Ok(None);
    }
    let content_type = headers.content_type();
    let plain = headers.tokens("Content-Encoding").all(|encoding| encoding.eq_ignore_ascii_case("identity"));
    let found = match content_type.as_str() {
        _ if !plain => None,
        SDP => Some(body.to_vec()),
        multipart if multipart.starts_with("multipart/") => headers.get("Content-Type").and_then(|value| sdp_part(value, body)),
        _ => None,
    };
    if found.is_none() && !is_optional(headers) { Err(UnsupportedBody) } else { Ok(found) }
}

/// Whether the body may be passed over by who does not understand it (RFC 3261 section 20.11).
fn is_optional(headers: &Headers) -> bool {
    let disposition = headers.get("Content-Disposition").unwrap_or_default();
    let params = disposition.split_once(';').map_or_else(Params::default, |(_, params)| Params::parse(params));
    params.get("handling").is_some_and(|handling| handling.eq_ignore_ascii_case("optional"))
}

/// A body that cannot be understood: 415.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnsupportedBody;

fn sdp_part(content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
    let boundary = split_outside_quotes(content_type, ';').into_iter().find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| unquote(value.trim()))
    })?;
    let text = String::from_utf8_lossy(body);
    let delimiter = format!("--{boundary}");
    text.split(delimiter.as_str()).skip(1).find_map(|part| {
        let (head, content) = part.trim_start_matches("\r\n").split_once("\r\n\r\n")?;
        let is_sdp = head.lines().any(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.split(';').next().unwrap_or_default().trim();
            (name.eq_ignore_ascii_case("Content-Type") || name.eq_ignore_ascii_case("c")) && value.eq_ignore_ascii_case(SDP)
        });
        is_sdp.then(|| content.as_bytes().to_vec())
    })
}

/// A Reason as a header value (RFC 3326).
pub(super) fn reason_value(reason: &Reason) -> String {
    let protocol = match reason.protocol {
        ReasonProtocol::Sip => "SIP",
        ReasonProtocol::Q850 => "Q.850",
    };
    match &reason.text {
        Some(text) => format!("{protocol};cause={};text={}", reason.cause, quote(text)),
        None => format!("{protocol};cause={}", reason.cause),
    }
}

/// What a message says about its reason: the Q.850 cause if there is one, else the SIP cause.
pub(super) fn reason_of(headers: &Headers) -> Option<Reason> {
    let reasons = headers.all("Reason").flat_map(|value| split_outside_quotes(value, ',')).filter_map(|value| {
        let mut parts = split_outside_quotes(value, ';').into_iter();
        let protocol = match parts.next()?.trim() {
            name if name.eq_ignore_ascii_case("Q.850") => ReasonProtocol::Q850,
            name if name.eq_ignore_ascii_case("SIP") => ReasonProtocol::Sip,
            _ => return None,
        };
        let (mut cause, mut text) = (None, None);
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) if name.trim().eq_ignore_ascii_case("cause") => cause = value.trim().parse().ok(),
                Some((name, value)) if name.trim().eq_ignore_ascii_case("text") => text = Some(unquote(value.trim())),
                Some(_) | None => {}
            }
        }
        Some(Reason { protocol, cause: cause?, text })
    });
    let mut found: Vec<Reason> = reasons.collect();
    let best = found.iter().position(|reason| reason.protocol == ReasonProtocol::Q850).unwrap_or(0);
    (best < found.len()).then(|| found.swap_remove(best))
}

/// The status in a message/sipfrag body; 100 where there is none.
pub(super) fn sipfrag_status(body: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(body);
    let mut words = text.split_whitespace();
    let is_status = words.next().is_some_and(|version| version.eq_ignore_ascii_case("SIP/2.0"));
    let status = words.next().and_then(|status| status.parse().ok()).filter(|status| is_status && (100..700).contains(status));
    status.unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q850_is_preferred_among_reasons() {
        let mut headers = Headers::default();
        headers.push("Reason", "SIP ;cause=487 ;text=\"a, b\", Q.850;cause=17;text=\"User busy\"");
        let reason = reason_of(&headers).unwrap();
        assert_eq!((reason.q850_cause(), reason.text.as_deref()), (Some(17), Some("User busy")));
        assert_eq!(reason_value(&Reason::q850(16)), "Q.850;cause=16");
    }

    #[test]
    fn an_owner_cannot_break_out_of_a_header_line() {
        let mut headers = Headers::default();
        let custom = [("X-A", "fine"), ("X-B", "bad\r\nVia: x"), ("Via", "x"), ("Bad Name", "x"), ("v", "compact"), ("t", "compact")];
        push_custom(&mut headers, &custom.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(headers.0, [("X-A".to_owned(), "fine".to_owned())]);
        let address = Address { display: Some("a\"b\r\n".to_owned()), user: "x y>".to_owned(), host: "h\r\n>ost".to_owned() };
        assert_eq!(name_addr(&address, "192.0.2.1:5060".parse().unwrap()), "\"a\\\"b\" <sip:x%20y%3E@host>");
    }

    #[test]
    fn sdp_is_found_in_a_multipart_body() {
        let mut headers = Headers::default();
        headers.push("Content-Type", "multipart/mixed;boundary=\"x1\"");
        let body =
            "--x1\r\nContent-Type: application/isup\r\n\r\nab\r\n--x1\r\nContent-Type: application/sdp; x=y\r\n\r\nv=0\r\n--x1--\r\n";
        assert_eq!(sdp_of(&headers, body.as_bytes()), Ok(Some(b"v=0\r\n".to_vec())));
        headers.set("Content-Type", "application/unknownformat");
        assert_eq!(sdp_of(&headers, body.as_bytes()), Err(UnsupportedBody));
    }
}
