//! What may be dialled, and how it is written.

use crate::call::error::{Code, Refusal};
use crate::config::DialPolicy;

/// The user part of what an agent wants to reach, cleaned and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The user part of the Request-URI.
    pub user: String,
    /// The host part, where the agent gave a `sip:` uri; it fills the Request-URI and is never resolved.
    pub host: Option<String>,
}

/// The longest `sip:` uri that may be dialled.
const URI_BYTES_MAX: usize = 256;

impl Destination {
    /// Cleans and checks what the agent typed: E.164, 2 to 20 digits, a `*`/`#` code, or a `sip:` uri.
    pub fn parse(text: &str) -> Result<Destination, Refusal> {
        let invalid = || Refusal::new(Code::InvalidNumber, "this is no number that can be dialled");
        let text = text.trim();
        if let Some(address) = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")) {
            return Self::parse_uri(address).ok_or_else(invalid);
        }
        let user: String = text.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '(' | ')' | '[' | ']')).collect();
        let digits = user.strip_prefix('+').unwrap_or(&user);
        let is_e164 = user.len() > digits.len() && (2..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let is_local = user.len() == digits.len() && (2..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let is_code = user.len() == digits.len()
            && (2..=20).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
            && digits.bytes().any(|b| b == b'*' || b == b'#');
        if is_e164 || is_local || is_code { Ok(Destination { user, host: None }) } else { Err(invalid()) }
    }

    fn parse_uri(address: &str) -> Option<Destination> {
        if address.len() > URI_BYTES_MAX {
            return None;
        }
        let (user, host) = address.split_once('@')?;
        let user_ok = !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,%#".contains(&b));
        let host_ok = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
        (user_ok && host_ok).then(|| Destination { user: user.to_owned(), host: Some(host.to_owned()) })
    }

    /// The user part as it may stand in a uri: `#` is not allowed there unescaped (RFC 3261 section 25.1).
    pub fn uri_user(&self) -> String {
        self.user.replace('#', "%23")
    }

    /// Whether the policy allows it.
    pub fn check(&self, policy: &DialPolicy) -> Result<(), Refusal> {
        if policy.permits(&self.user) { Ok(()) } else { Err(Refusal::new(Code::DestinationBlocked, "this destination is not allowed")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_cleaned_and_judged() {
        for (typed, user) in [("+1 (234) 567-890", "+1234567890"), ("9196", "9196"), ("*72#", "*72#"), ("[0]30.1", "0301"), ("112", "112")]
        {
            assert_eq!(Destination::parse(typed).unwrap().user, user, "{typed}");
        }
        for wrong in ["", "1", "+", "abc", "123456789012345678901", "+1234567890123456", "12;34", "sip:", "sip:a", "sip:a b@c", "１２３"]
        {
            assert_eq!(Destination::parse(wrong).unwrap_err().code, Code::InvalidNumber, "{wrong}");
        }
        let uri = Destination::parse("sip:alice@example.com").unwrap();
        assert_eq!((uri.user.as_str(), uri.host.as_deref()), ("alice", Some("example.com")));
        assert_eq!(Destination::parse("#31#5").unwrap().uri_user(), "%2331%235");
    }

    #[test]
    fn what_the_policy_denies_is_blocked_by_name() {
        let policy = DialPolicy { deny: vec!["+1900".to_owned()], ..DialPolicy::default() };
        let judged = |typed: &str| Destination::parse(typed).unwrap().check(&policy).map_err(|refusal| refusal.code);
        assert_eq!(judged("+1 234 5678"), Ok(()));
        assert_eq!(judged("+1 (900) 555"), Err(Code::DestinationBlocked));
    }
}
