//! Makes of whatever peers send the plain text that the message parser takes: unfolds lines, expands compact names, puts each list
//! element on a line of its own, and takes the start line and the body aside. Caps come first, so that nothing here costs more than its input.

use crate::limits::{DATAGRAM_BYTES, SIP_HEADER_LINES};

/// What is left of a datagram once its head is plain text.
pub(super) struct Normalised<'a> {
    /// The first line.
    pub start: StartLine,
    /// `Name: value` lines, each ended by CRLF, without an empty line behind them.
    pub head: String,
    /// Everything behind the empty line.
    pub body: &'a [u8],
    /// A header line had no valid name.
    pub broken_line: bool,
}

/// The first line of a message (RFC 3261 sections 7.1 and 7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StartLine {
    Request { method: String, uri: String, fault: Option<StartFault> },
    Response { status: u16, phrase: String },
}

/// What is wrong with a request line that still can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartFault {
    Syntax,
    Version,
}

/// Why there is nothing to parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Only line ends (RFC 5626 section 3.5.1), or an empty or a zero-filled datagram.
    KeepAlive,
    /// Longer than any message, or with more lines.
    TooLong,
    /// No SIP.
    NotSip,
}

/// Normalises one datagram.
pub(super) fn normalise(datagram: &[u8]) -> Result<Normalised<'_>, Refused> {
    if datagram.len() > DATAGRAM_BYTES {
        return Err(Refused::TooLong);
    }
    let Some(first) = datagram.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | 0)) else { return Err(Refused::KeepAlive) };
    let mut lines = Lines { rest: &datagram[first..] };
    let start = start_line(&lines.next().map(text).unwrap_or_default())?;

    let mut unfolded: Vec<String> = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if let Some(open) = unfolded.last_mut().filter(|_| folded) {
            open.push(' ');
            open.push_str(text(line).trim());
        } else if unfolded.len() < SIP_HEADER_LINES {
            unfolded.push(text(line));
        } else {
            return Err(Refused::TooLong);
        }
    }

    let mut head = String::with_capacity(datagram.len() + 128);
    let (mut count, mut broken_line) = (0, false);
    for line in &unfolded {
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_token(name.trim_end())) else {
            broken_line = true;
            continue;
        };
        let name = expand(name.trim_end());
        let values = if is_list(name) { split_outside_quotes(value, ',') } else { vec![value] };
        for value in values {
            count += 1;
            if count > SIP_HEADER_LINES {
                return Err(Refused::TooLong);
            }
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value.trim());
            head.push_str("\r\n");
        }
    }
    Ok(Normalised { start, head, body: lines.rest, broken_line })
}

/// The lines of a head, with either line end; what follows the last one taken is `rest`.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// A line as text: a stray CR becomes a space, so that no value can ever break out of its line.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).replace('\r', " ")
}

fn start_line(line: &str) -> Result<StartLine, Refused> {
    if line.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("SIP/")) {
        return status_line(line).ok_or(Refused::NotSip);
    }
    let (method, rest) = line.split_once(' ').ok_or(Refused::NotSip)?;
    let trimmed = rest.trim();
    let (uri, version) = trimmed.rsplit_once(' ').ok_or(Refused::NotSip)?;
    if !is_token(method) || !version.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("SIP/")) {
        return Err(Refused::NotSip);
    }
    let fault = if !version.eq_ignore_ascii_case("SIP/2.0") {
        Some(StartFault::Version)
    } else if trimmed.len() != rest.len() || uri.is_empty() || uri.contains(is_never_in_uri) {
        Some(StartFault::Syntax)
    } else {
        None
    };
    Ok(StartLine::Request { method: method.to_owned(), uri: uri.trim().to_owned(), fault })
}

/// What ends a URI wherever it stands, or would spoil the line that it is written on next.
pub(super) fn is_never_in_uri(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"')
}

fn status_line(line: &str) -> Option<StartLine> {
    let (version, rest) = line.split_once(' ')?;
    let (status, phrase) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = (status.len() == 3).then(|| status.parse().ok()).flatten().filter(|status| (100..700).contains(status))?;
    version.eq_ignore_ascii_case("SIP/2.0").then(|| StartLine::Response { status, phrase: phrase.trim().to_owned() })
}

/// Whether the text is a token (RFC 3261 section 25.1).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

/// The long form of a compact header name (RFC 3261 section 7.3.3 and later ones), and one spelling of those that we read.
fn expand(name: &str) -> &str {
    const NAMES: &[(&str, &str)] = &[
        ("v", "Via"),
        ("f", "From"),
        ("t", "To"),
        ("i", "Call-ID"),
        ("m", "Contact"),
        ("l", "Content-Length"),
        ("c", "Content-Type"),
        ("k", "Supported"),
        ("o", "Event"),
        ("r", "Refer-To"),
        ("s", "Subject"),
        ("e", "Content-Encoding"),
        ("b", "Referred-By"),
        ("x", "Session-Expires"),
        ("u", "Allow-Events"),
        ("a", "Accept-Contact"),
        ("d", "Request-Disposition"),
        ("j", "Reject-Contact"),
        ("n", "Identity-Info"),
        ("y", "Identity"),
    ];
    if name.len() != 1 {
        return name;
    }
    NAMES.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map_or(name, |(_, long)| long)
}

/// Header fields of which each element is read alone; the others keep their commas.
fn is_list(name: &str) -> bool {
    ["Via", "Route", "Record-Route", "Contact"].iter().any(|list| list.eq_ignore_ascii_case(name))
}

/// Splits at a separator that stands neither in a quoted string nor in angle brackets.
pub(super) fn split_outside_quotes(value: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, c) in value.char_indices() {
        if quoted {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => quoted = true,
            '<' => bracketed = true,
            '>' => bracketed = false,
            c if c == separator && !bracketed => {
                parts.push(&value[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> String {
        normalise(text.as_bytes()).map(|normalised| normalised.head).unwrap_or_default()
    }

    #[test]
    fn folded_compact_and_listed_fields_become_plain_lines() {
        let text = "INVITE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP one;branch=x ,\r\n\tSIP/2.0/UDP two\r\nSuBject :\r\n  hi\r\nm: \"a, b\" <sip:x@y,z>,<sip:q>\r\n\r\nbody";
        assert_eq!(
            head(text),
            "Via: SIP/2.0/UDP one;branch=x\r\nVia: SIP/2.0/UDP two\r\nSuBject: hi\r\nContact: \"a, b\" <sip:x@y,z>\r\nContact: <sip:q>\r\n"
        );
        assert_eq!(normalise(text.as_bytes()).map(|normalised| normalised.body).ok(), Some(&b"body"[..]));
    }

    #[test]
    fn keep_alives_and_noise_are_told_apart() {
        assert_eq!(normalise(b"\r\n\r\n").err(), Some(Refused::KeepAlive));
        assert_eq!(normalise(b"").err(), Some(Refused::KeepAlive));
        assert_eq!(normalise(&[0; 4]).err(), Some(Refused::KeepAlive));
        assert_eq!(normalise(b"GET / HTTP/1.1\r\n\r\n").err(), Some(Refused::NotSip));
        assert_eq!(normalise(b"SIP/2.0 4294967301 better\r\n\r\n").err(), Some(Refused::NotSip));
        assert_eq!(normalise(&[b'a'; DATAGRAM_BYTES + 1]).err(), Some(Refused::TooLong));
    }

    #[test]
    fn header_lines_have_a_cap_also_when_they_hide_in_a_list() {
        let many = format!("OPTIONS sip:a SIP/2.0\r\n{}\r\n", "X: y\r\n".repeat(SIP_HEADER_LINES + 1));
        assert_eq!(normalise(many.as_bytes()).err(), Some(Refused::TooLong));
        let list = format!("OPTIONS sip:a SIP/2.0\r\nVia: a{}\r\n\r\n", ",a".repeat(SIP_HEADER_LINES));
        assert_eq!(normalise(list.as_bytes()).err(), Some(Refused::TooLong));
    }

    #[test]
    fn a_stray_carriage_return_cannot_start_a_line() {
        assert_eq!(head("OPTIONS sip:a SIP/2.0\r\nSubject: a\rVia: b\r\n\r\n"), "Subject: a Via: b\r\n");
    }
}
