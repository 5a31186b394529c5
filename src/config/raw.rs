//! The environment as it was read: text by key, and the faults found so far.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use super::Fault;

/// Reads keys one by one; a wrong value is noted and its default used, so that all faults are found in one go.
pub(super) struct Raw {
    values: HashMap<String, String>,
    faults: Vec<Fault>,
}

impl Raw {
    /// An empty value is the same as none: `.env` files list keys without values.
    pub(super) fn new(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let trimmed = environment.into_iter().map(|(key, value)| (key, value.trim().to_owned()));
        Self { values: trimmed.filter(|(_, value)| !value.is_empty()).collect(), faults: Vec::new() }
    }

    pub(super) fn faults(self) -> Vec<Fault> {
        self.faults
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.values.get(key).cloned()
    }

    /// The value as `parse` takes it; `None` when unset or wrong, and wrong is noted.
    pub(super) fn read<T>(&mut self, key: &'static str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = parse(&text);
        if value.is_none() {
            self.fault(Fault::wrong(key, text, allowed));
        }
        value
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number<T>(&mut self, key: &'static str, min: T, max: T) -> Option<T>
    where
        T: FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let allowed = format!("a whole number from {min} to {max}");
        self.read(key, &allowed, |text| text.parse().ok().filter(|number| (min..=max).contains(number)))
    }

    /// Whole seconds from `min` to `max`.
    pub(super) fn seconds(&mut self, key: &'static str, default: u64, min: u64, max: u64) -> Duration {
        Duration::from_secs(self.number(key, min, max).unwrap_or(default))
    }

    /// `1` or `0`, also written as `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let parse = |text: &str| match text {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        };
        self.read(key, "0 or 1", parse).unwrap_or(default)
    }

    pub(super) fn address(&mut self, key: &'static str) -> Option<IpAddr> {
        self.read(key, "an IPv4 or IPv6 address", |text| text.parse().ok())
    }

    /// Items separated by commas or white space; the whole list is wrong if one item is, or if there is none.
    pub(super) fn list<T>(&mut self, key: &'static str, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        self.read(key, allowed, |text| {
            let items = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
            items.map(parse).collect::<Option<Vec<_>>>().filter(|items| !items.is_empty())
        })
    }
}
