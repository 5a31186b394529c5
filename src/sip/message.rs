//! SIP messages. The only file that names rsip: it takes the normalised head apart; what it cannot do stands in `normalise` and `field`.

use std::fmt;
use std::net::SocketAddr;

use rsip::headers::Header;

use super::field::{NameAddr, Uri, Via, stamp_via};
use super::normalise::{Refused, StartFault, StartLine, normalise};

/// The methods that a user agent tells apart; names are case-sensitive (RFC 3261 section 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Info,
    Update,
    Refer,
    Notify,
    /// Known, but not allowed here: MESSAGE, SUBSCRIBE, REGISTER, PUBLISH, PRACK.
    Known(&'static str),
    Unknown(String),
}

impl Method {
    /// The method of this name.
    pub fn parse(name: &str) -> Self {
        match name {
            "INVITE" => Method::Invite,
            "ACK" => Method::Ack,
            "BYE" => Method::Bye,
            "CANCEL" => Method::Cancel,
            "OPTIONS" => Method::Options,
            "INFO" => Method::Info,
            "UPDATE" => Method::Update,
            "REFER" => Method::Refer,
            "NOTIFY" => Method::Notify,
            "MESSAGE" => Method::Known("MESSAGE"),
            "SUBSCRIBE" => Method::Known("SUBSCRIBE"),
            "REGISTER" => Method::Known("REGISTER"),
            "PUBLISH" => Method::Known("PUBLISH"),
            "PRACK" => Method::Known("PRACK"),
            name => Method::Unknown(name.to_owned()),
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Info => "INFO",
            Method::Update => "UPDATE",
            Method::Refer => "REFER",
            Method::Notify => "NOTIFY",
            Method::Known(name) => name,
            Method::Unknown(name) => name,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Header fields in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first field of this name, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All fields of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Appends a field.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Replaces the first field of this name, or appends it.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.0.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value.into(),
            None => self.push(name, value),
        }
    }

    /// Takes all fields of this name out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// The comma-separated elements of all fields of this name.
    pub fn tokens<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name).flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
    }

    /// The top Via.
    pub fn via(&self) -> Option<Via> {
        Via::parse(self.get("Via")?)
    }

    /// The branch of the top Via.
    pub fn branch(&self) -> Option<String> {
        self.via()?.branch().map(str::to_owned)
    }

    /// The Call-ID; empty if there is none.
    pub fn call_id(&self) -> &str {
        self.get("Call-ID").unwrap_or_default()
    }

    /// Number and method of CSeq (RFC 3261 section 20.16).
    pub fn cseq(&self) -> Option<(u32, Method)> {
        let mut parts = self.get("CSeq")?.split_whitespace();
        let (number, method) = (parts.next()?.parse().ok()?, Method::parse(parts.next()?));
        (number < 1 << 31 && parts.next().is_none()).then_some((number, method))
    }

    /// The number of CSeq; 0 if it cannot be read.
    pub fn cseq_number(&self) -> u32 {
        self.cseq().map_or(0, |(number, _)| number)
    }

    /// The From address.
    pub fn from(&self) -> Option<NameAddr> {
        NameAddr::parse(self.get("From")?)
    }

    /// The To address.
    pub fn to(&self) -> Option<NameAddr> {
        NameAddr::parse(self.get("To")?)
    }

    /// The tag of From.
    pub fn tag_of_from(&self) -> Option<String> {
        self.from()?.tag().map(str::to_owned)
    }

    /// The tag of To.
    pub fn tag_of_to(&self) -> Option<String> {
        self.to()?.tag().map(str::to_owned)
    }

    /// The URI of the first Contact, if it may stand in a request line: requests of the dialog go there (RFC 3261 section 19.1.1).
    pub fn contact(&self) -> Option<String> {
        let contact = NameAddr::parse(self.get("Contact")?)?.uri;
        Uri::parse(&contact).is_some_and(|uri| !uri.has_headers).then_some(contact)
    }

    /// The Content-Type without its parameters, in lower case.
    pub fn content_type(&self) -> String {
        let value = self.get("Content-Type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub method: Method,
    pub uri: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Request {
    /// The message on the wire; Content-Length is made here.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(&format!("{} {} SIP/2.0", self.method, self.uri), &self.headers, &self.body)
    }

    /// Writes down in the top Via where the request came from, and says where its responses go.
    pub fn stamp(&mut self, from: SocketAddr) -> Option<SocketAddr> {
        let via = self.headers.via()?;
        let (stamped, to) = stamp_via(self.headers.get("Via")?, &via, from);
        self.headers.set("Via", stamped);
        Some(to)
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub status: u16,
    pub phrase: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Response {
    /// The message on the wire; Content-Length is made here.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(&format!("SIP/2.0 {} {}", self.status, self.phrase), &self.headers, &self.body)
    }
}

fn write(start: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(512 + body.len());
    text.push_str(start);
    text.push_str("\r\n");
    for (name, value) in headers.0.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length")) {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A datagram that is a SIP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Request(Request),
    /// A request that breaks the rules in a way that can be answered, with the status and the words to answer.
    Faulty(Request, u16, &'static str),
    Response(Response),
}

/// Why a datagram is dropped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    KeepAlive,
    TooLong,
    NotSip,
    /// A response that breaks the rules, or a request that cannot even be answered.
    Malformed,
}

impl Message {
    /// Reads one datagram.
    pub fn parse(datagram: &[u8]) -> Result<Message, Unusable> {
        let normalised = normalise(datagram).map_err(|refused| match refused {
            Refused::KeepAlive => Unusable::KeepAlive,
            Refused::TooLong => Unusable::TooLong,
            Refused::NotSip => Unusable::NotSip,
        })?;
        let headers = take_apart(&normalised.head).ok_or(Unusable::Malformed)?;
        let (body, length_fault) = match body_length(&headers, normalised.body.len()) {
            Ok(length) => (normalised.body[..length].to_vec(), None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        match normalised.start {
            StartLine::Response { status, phrase } => {
                let response = Response { status, phrase, headers, body };
                let sound = length_fault.is_none() && fault_of(&response.headers, None).is_none();
                if sound { Ok(Message::Response(response)) } else { Err(Unusable::Malformed) }
            }
            StartLine::Request { method, uri, fault } => {
                let request = Request { method: Method::parse(&method), uri, headers, body };
                if request.headers.via().is_none() {
                    return Err(Unusable::Malformed);
                }
                let fault = match fault {
                    Some(StartFault::Version) => Some((505, "Version Not Supported")),
                    Some(StartFault::Syntax) => Some((400, "Bad Request-URI")),
                    None if normalised.broken_line => Some((400, "Bad Header Line")),
                    None => length_fault.or_else(|| fault_of(&request.headers, Some(&request))),
                };
                Ok(match fault {
                    Some((status, words)) => Message::Faulty(request, status, words),
                    None => Message::Request(request),
                })
            }
        }
    }
}

/// Header lines as fields. rsip gets a start line that it knows, since it refuses valid methods and URIs.
fn take_apart(head: &str) -> Option<Headers> {
    let text = format!("OPTIONS sip:a.invalid SIP/2.0\r\n{head}\r\n");
    let rsip::SipMessage::Request(request) = rsip::SipMessage::try_from(text.as_bytes()).ok()? else { return None };
    let fields = request.headers.into_iter().map(|header| match header {
        Header::Other(name, value) => (name, value),
        known => {
            let line = known.to_string();
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            (name.to_owned(), value.trim().to_owned())
        }
    });
    Some(Headers(fields.collect()))
}

/// How much of what came is the body (RFC 3261 section 18.3): more is cut, less is a fault.
fn body_length(headers: &Headers, came: usize) -> Result<usize, (u16, &'static str)> {
    let mut lengths = headers.all("Content-Length");
    let Some(first) = lengths.next() else { return Ok(came) };
    if lengths.any(|other| other != first) || !first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err((400, "Bad Content-Length"));
    }
    first.parse().ok().filter(|length| *length <= came).ok_or((400, "Body Shorter Than Content-Length"))
}

/// What is wrong with the fields that every message must have exactly once (RFC 3261 section 8.1.1).
fn fault_of(headers: &Headers, request: Option<&Request>) -> Option<(u16, &'static str)> {
    if ["To", "From", "Call-ID", "CSeq"].iter().any(|name| headers.all(name).count() != 1) || headers.call_id().is_empty() {
        return Some((400, "Missing Or Doubled Header"));
    }
    let Some((_, method)) = headers.cseq() else { return Some((400, "Bad CSeq")) };
    if headers.from().is_none() || headers.to().is_none() {
        return Some((400, "Bad From Or To"));
    }
    let Some(request) = request else {
        return headers.via().is_none().then_some((400, "Bad Via"));
    };
    // An unknown method is answered 501 whatever its CSeq says (RFC 4475 section 3.1.2.18).
    if method != request.method && !matches!(request.method, Method::Unknown(_)) {
        return Some((400, "CSeq Method Mismatch"));
    }
    if headers.get("Max-Forwards").is_some_and(|hops| hops.parse::<u8>().is_err()) || headers.all("Max-Forwards").count() > 1 {
        return Some((400, "Bad Max-Forwards"));
    }
    if headers.all("Via").any(|via| Via::parse(via).is_none()) {
        return Some((400, "Bad Via"));
    }
    if Uri::parse(&request.uri).is_none_or(|uri| uri.has_headers) {
        return Some((400, "Bad Request-URI"));
    }
    None
}

/// A sound message as it would be written again; `None` for anything else. What is written has to be read back as the same: only tests ask.
#[doc(hidden)]
pub fn rewritten(datagram: &[u8]) -> Option<Vec<u8>> {
    match Message::parse(datagram).ok()? {
        Message::Request(request) => Some(request.to_bytes()),
        Message::Response(response) => Some(response.to_bytes()),
        Message::Faulty(..) => None,
    }
}

/// The usual reason phrase (RFC 3261 section 21 and the IANA registry).
pub(super) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        other => match other / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\n\
                           To: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 7 OPTIONS\r\nSubject: \r\n";

    #[test]
    fn a_body_longer_than_its_length_is_cut_and_a_shorter_one_is_a_fault() {
        let parse = |rest: &str| Message::parse(format!("{OPTIONS}{rest}").as_bytes());
        let Ok(Message::Request(request)) = parse("l: 2\r\n\r\nabcdef") else { panic!("a long body") };
        assert_eq!(request.body, b"ab");
        assert_eq!(request.headers.get("subject"), Some(""));
        assert_eq!(request.headers.via().map(|via| via.sent_by()), Some("2001:db8::1:5070".to_owned()));
        assert!(matches!(parse("Content-Length: 7\r\n\r\nabcdef"), Ok(Message::Faulty(_, 400, _))));
        assert!(matches!(parse("Content-Length: -1\r\n\r\nabcdef"), Ok(Message::Faulty(_, 400, _))));
        assert!(matches!(parse("Content-Length: 1\r\nl: 2\r\n\r\nabcdef"), Ok(Message::Faulty(_, 400, _))));
        let Ok(Message::Request(request)) = parse("\r\nabcdef") else { panic!("no length") };
        assert_eq!(request.body, b"abcdef");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let Ok(Message::Request(request)) = Message::parse(format!("{OPTIONS}\r\nbody").as_bytes()) else { panic!("parsed") };
        let Ok(Message::Request(again)) = Message::parse(&request.to_bytes()) else { panic!("parsed again") };
        assert_eq!((again.method, again.uri, again.body), (request.method, request.uri, request.body));
    }
}
