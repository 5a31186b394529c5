//! A reader of SIP messages that owes nothing to the one that is tested: just enough to compare what went in with what came out.

/// A message, its header lines unfolded, their names long and in lower case, and each Via on a line of its own.
#[derive(Clone, Debug)]
pub struct Message {
    pub start: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a message that has a start line; anything behind the empty line is its body.
    pub fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = end.map_or((bytes, &b""[..]), |end| (&bytes[..end], &bytes[end + 4..]));
        let head = String::from_utf8_lossy(head).replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = long(&name.trim().to_ascii_lowercase()).to_owned();
            let values = if name == "via" { value.split(',').collect() } else { vec![value] };
            fields.extend(values.into_iter().map(|value| (name.clone(), value.trim().to_owned())));
        }
        Self { start, fields, body: body.to_vec() }
    }

    /// The status of a response; 0 of a request.
    pub fn status(&self) -> u16 {
        let mut words = self.start.split(' ');
        let is_response = words.next() == Some("SIP/2.0");
        words.next().filter(|_| is_response).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The method of a request; empty of a response.
    pub fn method(&self) -> &str {
        if self.status() == 0 { self.start.split(' ').next().unwrap_or_default() } else { "" }
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// All fields of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(key, _)| key == &name.to_ascii_lowercase()).map(|(_, value)| value.as_str()).collect()
    }

    /// The tag of To.
    pub fn to_tag(&self) -> Option<&str> {
        self.get("To")?.rsplit_once(";tag=").map(|(_, tag)| tag)
    }

    /// Checks that a response copies what it has to copy of this request (RFC 3261 section 8.2.6.2).
    pub fn assert_echoed_by(&self, response: &Message) {
        let vias = |message: &Message| -> Vec<String> { message.all("Via").into_iter().map(unstamped).collect() };
        assert_eq!(vias(response), vias(self), "Via");
        for name in ["From", "Call-ID", "CSeq"] {
            assert_eq!(response.get(name).map(squeezed), self.get(name).map(squeezed), "{name}");
        }
        let (asked, answered) = (squeezed(self.get("To").unwrap_or_default()), squeezed(response.get("To").unwrap_or_default()));
        let grown = answered.strip_prefix(&asked).unwrap_or_else(|| panic!("To is {answered}, was {asked}"));
        let tagged = asked.contains(";tag=") || response.status() == 100;
        assert_eq!(grown.starts_with(";tag="), !tagged, "the tag of To in {answered}, was {asked}");
    }
}

/// Without any white space, which may be folded and unfolded on the way.
fn squeezed(value: &str) -> String {
    value.split_whitespace().collect()
}

/// A Via without what its receiver adds to it (RFC 3261 section 18.2.1, RFC 3581 section 4).
fn unstamped(via: &str) -> String {
    let via = squeezed(via);
    let parts = via.split(';').filter(|part| !part.starts_with("received=") && !part.starts_with("rport"));
    parts.collect::<Vec<_>>().join(";")
}

fn long(name: &str) -> &str {
    match name {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "l" => "content-length",
        name => name,
    }
}
