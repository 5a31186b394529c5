//! Counting messages by what they are, at the price of a look at their first bytes.

/// Methods that are counted by name: those of RFC 3261 and of its extensions that we speak or meet.
const METHODS: [&str; 14] = [
    "ACK",
    "BYE",
    "CANCEL",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
    "UPDATE",
];

/// Classes of responses, RFC 3261 section 7.2.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

/// How many messages of each kind there were, retransmissions included.
#[derive(Clone, Debug, Default)]
pub struct MessageCounts {
    requests: [u64; METHODS.len()],
    other_requests: u64,
    responses: [u64; CLASSES.len()],
}

impl MessageCounts {
    /// One more. What is no SIP at all is not counted.
    pub fn count(&mut self, message: &[u8]) {
        if let Some(status) = message.strip_prefix(b"SIP/2.0 ") {
            let class = status.first().and_then(|digit| digit.checked_sub(b'1'));
            if let Some(count) = class.and_then(|class| self.responses.get_mut(usize::from(class))) {
                *count += 1;
            }
            return;
        }
        let method = message.iter().take(METHOD_BYTES).position(|&byte| byte == b' ').map(|end| &message[..end]);
        let Some(method) = method.filter(|method| method.iter().all(u8::is_ascii_alphabetic) && !method.is_empty()) else { return };
        match METHODS.iter().position(|known| known.as_bytes() == method) {
            Some(known) => self.requests[known] += 1,
            None => self.other_requests += 1,
        }
    }

    /// Requests by method.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        METHODS.into_iter().zip(self.requests).chain([("other", self.other_requests)])
    }

    /// Responses by class.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CLASSES.into_iter().zip(self.responses)
    }
}

/// Longer than any method that exists.
const METHOD_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_method_and_class() {
        let mut counts = MessageCounts::default();
        for message in [
            "INVITE sip:a@b SIP/2.0\r\n",
            "INVITE sip:a@b SIP/2.0\r\n",
            "NEWMETHOD sip:a@b SIP/2.0\r\n",
            "SIP/2.0 180 Ringing\r\n",
            "SIP/2.0 603 Decline\r\n",
            "SIP/2.0 999 What\r\n",
            "SIP/2.0 ",
            "\r\n\r\n",
            " x",
            "",
        ] {
            counts.count(message.as_bytes());
        }
        let requests: Vec<_> = counts.requests().filter(|(_, count)| *count > 0).collect();
        assert_eq!(requests, [("INVITE", 2), ("other", 1)]);
        let responses: Vec<_> = counts.responses().filter(|(_, count)| *count > 0).collect();
        assert_eq!(responses, [("1xx", 1), ("6xx", 1)]);
    }
}
