//! Which SIP messages never arrived, in none of their repetitions: only such a loss excuses peers that do not agree.

use std::collections::{HashMap, HashSet};

/// What matters of a SIP message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Essence {
    pub call_id: String,
    branch: String,
    /// The method of CSeq.
    pub method: String,
    /// The status of a response.
    pub status: Option<u16>,
}

impl Essence {
    /// Of a message as our user agents write them; `None` for anything else.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let first = lines.next()?;
        let status = first.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let (mut call_id, mut branch, mut method) = (None, None, None);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ")?;
            match name {
                "Via" if branch.is_none() => branch = value.split("branch=").nth(1)?.split(';').next(),
                "Call-ID" => call_id = Some(value),
                "CSeq" => method = value.split(' ').nth(1),
                _ => {}
            }
        }
        Some(Self { call_id: call_id?.to_owned(), branch: branch?.to_owned(), method: method?.to_owned(), status })
    }

    /// Whether a dialog hangs on this message.
    fn decides(&self) -> bool {
        let ends = ["INVITE", "ACK", "BYE", "CANCEL"].contains(&self.method.as_str());
        ends && self.status.is_none_or(|status| status >= 200)
    }
}

/// The losses so far.
#[derive(Default)]
pub struct Ledger {
    delivered: HashSet<Essence>,
    missing: HashMap<String, HashSet<Essence>>,
}

impl Ledger {
    pub fn sent(&mut self, bytes: &[u8]) {
        if let Some(message) = Essence::of(bytes).filter(Essence::decides)
            && !self.delivered.contains(&message)
        {
            self.missing.entry(message.call_id.clone()).or_default().insert(message);
        }
    }

    pub fn delivered(&mut self, bytes: &[u8]) {
        if let Some(message) = Essence::of(bytes).filter(Essence::decides) {
            if let Some(missing) = self.missing.get_mut(&message.call_id) {
                missing.remove(&message);
            }
            self.delivered.insert(message);
        }
    }

    /// Whether something of this call has never arrived.
    pub fn excuses(&self, call_id: &str) -> bool {
        self.missing.get(call_id).is_some_and(|missing| !missing.is_empty())
    }
}
