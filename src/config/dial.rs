//! Which numbers may be dialled.

/// Prefix rules of `DIAL_ALLOW`, `DIAL_DENY` and `EMERGENCY_NUMBERS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialPolicy {
    /// Prefixes that are allowed; none: every number that no deny rule names.
    pub allow: Vec<String>,
    /// Prefixes that are denied.
    pub deny: Vec<String>,
    /// Whole numbers that are never blocked or limited.
    pub emergency: Vec<String>,
}

impl DialPolicy {
    /// Whether a number (already stripped of spaces and the like) may be dialled. The longest rule that fits decides, so `DIAL_ALLOW=+49` opens
    /// one country of a denied `+`; of two equal ones the denial.
    pub fn permits(&self, number: &str) -> bool {
        let longest = |rules: &[String]| rules.iter().filter(|rule| number.starts_with(rule.as_str())).map(String::len).max();
        if self.is_emergency(number) {
            return true;
        }
        match (longest(&self.allow), longest(&self.deny)) {
            (Some(allow), Some(deny)) => allow > deny,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.allow.is_empty(),
        }
    }

    /// Whether a number is an emergency number.
    pub fn is_emergency(&self, number: &str) -> bool {
        self.emergency.iter().any(|emergency| emergency == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], deny: &[&str]) -> DialPolicy {
        let owned = |rules: &[&str]| rules.iter().map(|&rule| rule.to_owned()).collect();
        DialPolicy { allow: owned(allow), deny: owned(deny), emergency: owned(&["112"]) }
    }

    #[test]
    fn the_longest_rule_decides_and_a_tie_denies() {
        let policy = policy(&["+49", "+49900"], &["+", "+49900"]);
        assert!(policy.permits("+4930123"));
        assert!(!policy.permits("+49900123"));
        assert!(!policy.permits("+33123"));
    }

    #[test]
    fn with_allow_rules_anything_else_is_denied() {
        assert!(policy(&["0"], &[]).permits("030"));
        assert!(!policy(&["0"], &[]).permits("9196"));
        assert!(policy(&[], &[]).permits("9196"));
    }

    #[test]
    fn emergency_numbers_pass_every_rule() {
        assert!(policy(&["0"], &["1"]).permits("112"));
        assert!(!policy(&["0"], &["1"]).permits("1123"));
    }
}
