//! What is wrong with the configuration, in one line each.

use std::fmt;

/// One wrong value: the start is refused with one such line for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The key of the environment that is wrong.
    pub key: &'static str,
    /// What was read; `None` where nothing was, or where it is a secret.
    pub read: Option<String>,
    /// What is allowed there.
    pub allowed: String,
}

impl Fault {
    /// A value that is wrong.
    pub fn wrong(key: &'static str, read: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { key, read: Some(read.into()), allowed: allowed.into() }
    }

    /// A value that is missing, or a secret that must not be shown.
    pub fn unshown(key: &'static str, allowed: impl Into<String>) -> Self {
        Self { key, read: None, allowed: allowed.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.read {
            Some(read) => write!(f, "{}: read {read:?}, allowed is {}", self.key, self.allowed),
            None => write!(f, "{}: {}", self.key, self.allowed),
        }
    }
}
