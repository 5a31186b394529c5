//! The environment, one `KEY=value` a line; what begins with a brace is a directory file.

use nexus_gateway::config::{AgentDirectory, Config, Machine, TenantDirectory};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if text.trim_start().starts_with('{') {
        directories(&text);
    } else {
        environment(&text);
    }
}

/// Whatever is accepted can be started with, and whatever is refused is refused with reasons. What is shown does not depend on what a secret is.
fn environment(text: &str) {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let environment: Vec<_> = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let other = environment.iter().map(|(key, value)| {
        let other = if SECRETS.contains(&key.as_str()) { another(value) } else { value.clone() };
        (key.clone(), other)
    });
    assert_eq!(shown(other.collect()), shown(environment));
}

/// A secret of the same form.
fn another(secret: &str) -> String {
    let rotated = |c: char| match c {
        'z' => 'a',
        'Z' => 'A',
        '9' => '0',
        'a'..='y' | 'A'..='Y' | '0'..='8' => char::from(c as u8 + 1),
        c => c,
    };
    secret.chars().map(rotated).collect()
}

/// What a log would show of it.
fn shown(environment: Vec<(String, String)>) -> String {
    let machine = Machine { cores: 4, host_name: "host".to_owned(), random: [7; 32] };
    match Config::from_env(environment, &machine) {
        Ok(config) => {
            check(&config);
            format!("{config:?}")
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            faults.iter().map(|fault| format!("{fault}\n")).collect()
        }
    }
}

fn check(config: &Config) {
    assert!(config.shards.count >= 1 && !config.http.hosts.is_empty());
    assert_eq!(config.port_plan().slices().len(), usize::from(config.shards.count));
    let mut taken = std::collections::HashSet::new();
    for slice in config.port_plan().slices() {
        let pairs = slice.own_pairs().map(|pair| pair.0).chain([slice.shared_rtp]);
        for port in pairs.flat_map(|rtp| [rtp, rtp + 1]).chain([slice.browser]) {
            assert!(config.rtc.ports.contains(port) && taken.insert(port), "port {port} is outside of the range or taken twice");
        }
    }
    assert!(config.max_calls_per_agent >= 1);
    assert!(config.uses_demo_pbx() == config.sip.peers.is_empty());
}

fn directories(text: &str) {
    if let Ok(agents) = AgentDirectory::parse(text) {
        for entry in agents.entries() {
            assert_eq!(agents.entry(&entry.tenant_id, &entry.agent_id), Some(entry));
        }
    }
    let _ = TenantDirectory::parse(text).map(|tenants| tenants.contains(&"t1".into()));
}

const SECRETS: [&str; 3] = ["JWT_SECRET", "SIP_PASSWORD", "METRICS_TOKEN"];
