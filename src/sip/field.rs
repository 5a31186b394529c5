//! Typed header values: addresses, URIs, Via. Read leniently, since peers differ; written strictly.

use std::net::{IpAddr, SocketAddr};

use super::normalise::{is_never_in_uri, is_token, split_outside_quotes};

/// The port of SIP over UDP (RFC 3261 section 19.1.2).
pub(super) const DEFAULT_PORT: u16 = 5060;

/// `;name=value` parameters in order; names in lower case, values unquoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads what stands behind the first semicolon.
    pub fn parse(text: &str) -> Self {
        let mut params = Vec::new();
        for part in split_outside_quotes(text, ';') {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquote(value.trim()))),
                None => (part.trim(), None),
            };
            if !name.is_empty() {
                params.push((name.to_ascii_lowercase(), value));
            }
        }
        Self(params)
    }

    /// The value of a parameter; `Some("")` when it has none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_deref().unwrap_or_default())
    }
}

/// The content of a quoted string, or the text itself.
pub(super) fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"') else { return text.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let (mut plain, mut escaped) = (String::with_capacity(inner.len()), false);
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(c);
            escaped = false;
        }
    }
    plain
}

/// A text as a quoted string (RFC 3261 section 25.1).
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// From, To, Contact, Route and their like: `"display" <uri>;params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameAddr {
    pub display: Option<String>,
    pub uri: String,
    pub params: Params,
}

impl NameAddr {
    /// Reads one address; `None` when there is no URI in it or a quote is not closed.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let (display, rest) = match value.strip_prefix('"') {
            Some(rest) => {
                let end = closing_quote(rest)?;
                (Some(unquote(&value[..end + 2])), rest[end + 1..].trim_start())
            }
            None => (None, value),
        };
        let (display, uri, params) = match rest.split_once('<') {
            // A bracket behind the first semicolon of a bare URI belongs to a parameter.
            Some((before, after)) if display.is_none() || before.trim().is_empty() => {
                let (uri, params) = after.split_once('>')?;
                let words = before.trim();
                let display = display.or_else(|| (!words.is_empty()).then(|| words.to_owned()));
                (display, uri.trim(), params)
            }
            // Without brackets everything behind a semicolon is the header's (RFC 3261 section 20).
            Some(_) | None => match rest.split_once(';') {
                Some((uri, params)) => (display, uri.trim(), params),
                None => (display, rest.trim(), ""),
            },
        };
        if uri.is_empty() || uri.contains(is_never_in_uri) {
            return None;
        }
        let display = display.filter(|display| !display.is_empty());
        Some(Self { display, uri: uri.to_owned(), params: Params::parse(params.trim().trim_start_matches(';')) })
    }

    /// The address alone, written by the book however the peer wrote it: what it got wrong is not passed on (RFC 4475 section 3.1.2.15).
    pub fn strict(&self) -> String {
        match &self.display {
            Some(display) => format!("{} <{}>", quote(display), self.uri),
            None => format!("<{}>", self.uri),
        }
    }

    /// The tag parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// A sip, sips or tel URI, as far as a user agent looks into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uri {
    /// In lower case.
    pub scheme: String,
    /// Unescaped and without password; of a telephone number also without its parameters (RFC 3261 section 19.1.6).
    pub user: String,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
    /// It carries header fields (`?name=value`), which have no place in a Request-URI (RFC 3261 section 19.1.1).
    pub has_headers: bool,
}

impl Uri {
    /// Reads a URI; any scheme, but only sip, sips and tel are looked into.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(':')?;
        let scheme = scheme.to_ascii_lowercase();
        if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) || scheme.is_empty() {
            return None;
        }
        if scheme == "tel" {
            let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
            let params = Params::parse(params);
            return Some(Self { scheme, user: unescape(number), host: String::new(), port: None, params, has_headers: false });
        }
        if scheme != "sip" && scheme != "sips" {
            let (user, host, params) = Default::default();
            return Some(Self { scheme, user, host, port: None, params, has_headers: false });
        }
        // The user part may hold `;`, `?` and `/`, the rest no `@`.
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (rest, has_headers) = rest.split_once('?').map_or((rest, false), |(rest, _headers)| (rest, true));
        let (place, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(place)?;
        let (user, params) = (user.split(':').next().unwrap_or_default(), Params::parse(params));
        // Of another user than a number, a semicolon is just a character of its name (RFC 4475 section 3.1.1.9).
        let number = user.split(';').next().map(unescape).unwrap_or_default();
        let is_number = params.get("user") == Some("phone") || (!number.is_empty() && number.bytes().all(is_of_number));
        let user = if is_number { number } else { unescape(user) };
        Some(Self { scheme, user, host, port, params, has_headers })
    }

    /// Where a request for this URI goes over UDP, if its host is an address.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let host: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(host, self.port.unwrap_or(DEFAULT_PORT)))
    }
}

/// What telephone numbers are written with (RFC 3966 section 3).
fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || b"+*#-.()".contains(&byte)
}

/// `host[:port]`, the host perhaps an IPv6 address in brackets.
fn host_and_port(place: &str) -> Option<(String, Option<u16>)> {
    let place = place.trim();
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.trim().strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host.trim_end(), Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let port = match port.map(str::trim) {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    Some((host.to_owned(), port))
}

/// Undoes `%41`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match (byte, after) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// A text as the user part of a URI (RFC 3261 section 25.1).
pub(super) fn escape_user(user: &str) -> String {
    let mut escaped = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// One Via (RFC 3261 section 20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Via {
    pub transport: String,
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    /// Reads one Via; white space around its slashes is allowed.
    pub fn parse(value: &str) -> Option<Self> {
        let (place, params) = value.split_once(';').unwrap_or((value, ""));
        let mut parts = place.splitn(3, '/');
        let (name, version, rest) = (parts.next()?.trim(), parts.next()?.trim(), parts.next()?.trim());
        let (transport, sent_by) = rest.split_once(char::is_whitespace)?;
        // A version that we do not speak is answered 505, which needs this Via.
        if !name.eq_ignore_ascii_case("SIP") || !is_token(version) || !is_token(transport) {
            return None;
        }
        let (host, port) = host_and_port(sent_by)?;
        Some(Self { transport: transport.to_owned(), host, port, params: Params::parse(params) })
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// Host and port that requests are told apart by (RFC 3261 section 17.2.3).
    pub fn sent_by(&self) -> String {
        format!("{}:{}", self.host.to_ascii_lowercase(), self.port.unwrap_or(DEFAULT_PORT))
    }
}

/// Adds what the server saw to a top Via (RFC 3261 section 18.2.1, RFC 3581 section 4), and says where its response goes.
pub(super) fn stamp_via(value: &str, via: &Via, from: SocketAddr) -> (String, SocketAddr) {
    let asks_rport = via.params.get("rport").is_some();
    let from_ip = from.ip().to_canonical();
    let differs = via.host.parse::<IpAddr>().map(|host| host.to_canonical()) != Ok(from_ip);
    let mut kept: Vec<String> = Vec::new();
    for (index, part) in split_outside_quotes(value, ';').into_iter().enumerate() {
        let name = part.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        if index == 0 || !matches!(name.as_str(), "" | "rport" | "received") {
            kept.push(part.trim().to_owned());
        }
    }
    if asks_rport || differs {
        kept.push(format!("received={from_ip}"));
    }
    if asks_rport {
        kept.push(format!("rport={}", from.port()));
    }
    let port = if asks_rport { from.port() } else { via.port.unwrap_or(DEFAULT_PORT) };
    (kept.join(";"), SocketAddr::new(from.ip(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_peers_write_them() {
        let plain = NameAddr::parse("sip:user@example.com;tag=abc").unwrap();
        assert_eq!((plain.uri.as_str(), plain.tag(), plain.display.as_deref()), ("sip:user@example.com", Some("abc"), None));
        let quoted = NameAddr::parse(r#""J \"R\" <x>" <sip:j@example.com;lr>  ;  tag = 98"#).unwrap();
        assert_eq!((quoted.display.as_deref(), quoted.uri.as_str()), (Some(r#"J "R" <x>"#), "sip:j@example.com;lr"));
        assert_eq!(quoted.tag(), Some("98"));
        let bare_words = NameAddr::parse("A. Bell<sip:bell@example.com>").unwrap();
        assert_eq!(bare_words.display.as_deref(), Some("A. Bell"));
        assert_eq!(NameAddr::parse(r#""Mr. J. User <sip:j.user@example.com>"#), None);
        assert_eq!(NameAddr::parse("<sip:a@b"), None);
        assert_eq!(NameAddr::parse(""), None);
    }

    #[test]
    fn uris_are_taken_apart() {
        let uri = Uri::parse("sip:%2B4930;ext=1:secret@[2001:db8::1]:5080;transport=udp?x=y").unwrap();
        assert_eq!((uri.user.as_str(), uri.host.as_str(), uri.port), ("+4930", "2001:db8::1", Some(5080)));
        assert_eq!(uri.params.get("transport"), Some("udp"));
        assert_eq!(uri.socket_addr(), Some("[2001:db8::1]:5080".parse().unwrap()));
        assert_eq!(Uri::parse("sip:192.0.2.1").and_then(|uri| uri.socket_addr()), Some("192.0.2.1:5060".parse().unwrap()));
        assert_eq!(Uri::parse("sip:user@host").and_then(|uri| uri.socket_addr()), None);
        assert_eq!(Uri::parse("tel:+4930;phone-context=x").map(|uri| uri.user), Some("+4930".to_owned()));
        let user = |text: &str| Uri::parse(text).map(|uri| uri.user).unwrap_or_default();
        assert_eq!(user("sip:user;par=u%40example.net@example.com"), "user;par=u@example.net");
        assert_eq!(user("sip:+1-212-555;npdi=yes@example.com"), "+1-212-555");
        assert_eq!(user("sip:abc;phone-context=x@example.com;user=phone"), "abc");
        assert_eq!(Uri::parse("sip:user@host:99999"), None);
        assert_eq!(Uri::parse("nothing"), None);
        assert_eq!(escape_user("a b@c"), "a%20b%40c");
    }

    #[test]
    fn a_via_is_stamped_with_what_the_server_saw() {
        let from: SocketAddr = "192.0.2.9:40000".parse().unwrap();
        let value = "SIP/2.0/UDP 10.1.1.1:5070;rport;branch=z9hG4bKx";
        let (stamped, to) = stamp_via(value, &Via::parse(value).unwrap(), from);
        assert_eq!(stamped, "SIP/2.0/UDP 10.1.1.1:5070;branch=z9hG4bKx;received=192.0.2.9;rport=40000");
        assert_eq!(to, from);
        let value = "SIP / 2.0 / UDP 192.0.2.9 ; branch = z9hG4bKy";
        let via = Via::parse(value).unwrap();
        assert_eq!((via.branch(), via.sent_by()), (Some("z9hG4bKy"), "192.0.2.9:5060".to_owned()));
        let (stamped, to) = stamp_via(value, &via, from);
        assert_eq!((stamped.contains("received"), to), (false, "192.0.2.9:5060".parse().unwrap()));
    }
}
