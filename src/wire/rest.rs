//! Bodies of REST answers.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::view::{Rfc3339, SessionView, thousandths};
use crate::call::command::{AgentStats, ShardStats};
use crate::call::error::Refusal;
use crate::ids::{AgentId, CallId, TenantId};
use crate::webrtc::ortc::RtpCapabilities;

/// A refusal, with the HTTP status of its code.
#[derive(Debug, Serialize)]
pub struct FailureBody {
    success: bool,
    error: String,
    code: &'static str,
}

impl From<&Refusal> for FailureBody {
    fn from(refusal: &Refusal) -> Self {
        Self { success: false, error: refusal.message.clone(), code: refusal.code.as_str() }
    }
}

/// `GET /`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    service: &'static str,
    version: &'static str,
    node_id: String,
    links: Links,
    sign_in: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    demo_numbers: Vec<DemoNumber>,
}

/// What the agent page has to know before anybody has signed in.
#[derive(Clone, Copy, Debug)]
pub struct ServiceFacts<'a> {
    /// This process.
    pub node_id: &'a str,
    /// Whether who asks is let in without a JWT.
    pub dev_sign_in: bool,
    /// The demo PBX's numbers and what each does; empty where another PBX answers.
    pub demo_numbers: &'static [(&'static str, &'static str)],
}

#[derive(Debug, Serialize)]
struct DemoNumber {
    number: &'static str,
    what: &'static str,
}

#[derive(Debug, Serialize)]
struct Links {
    health: &'static str,
    capabilities: &'static str,
    sessions: &'static str,
    stats: &'static str,
    #[serde(rename = "socketIo")]
    socket_io: &'static str,
}

impl Service {
    /// What this process says about itself.
    pub fn new(facts: ServiceFacts<'_>) -> Self {
        Self {
            service: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            node_id: facts.node_id.to_owned(),
            sign_in: if facts.dev_sign_in { "dev" } else { "token" },
            demo_numbers: facts.demo_numbers.iter().map(|&(number, what)| DemoNumber { number, what }).collect(),
            links: Links {
                health: "/api/webrtc/health",
                capabilities: "/api/webrtc/capabilities/{tenantId}",
                sessions: "/api/webrtc/sessions",
                stats: "/api/webrtc/stats",
                socket_io: "/socket.io/",
            },
        }
    }
}

/// `GET /api/webrtc/capabilities/:tenantId`.
#[derive(Debug, Serialize)]
pub struct CapabilitiesBody {
    success: bool,
    capabilities: RtpCapabilities,
}

impl CapabilitiesBody {
    pub fn new(capabilities: RtpCapabilities) -> Self {
        Self { success: true, capabilities }
    }
}

/// `GET /api/webrtc/sessions`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionsBody {
    success: bool,
    count: usize,
    sessions: Vec<SessionView>,
    /// Where to go on with `?cursor=`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<CallId>,
}

impl SessionsBody {
    /// One page, and the last call on it if others follow.
    pub fn new(sessions: Vec<SessionView>, next_cursor: Option<CallId>) -> Self {
        Self { success: true, count: sessions.len(), sessions, next_cursor }
    }
}

/// `GET /api/webrtc/sessions/:callId`.
#[derive(Debug, Serialize)]
pub struct SessionBody {
    success: bool,
    session: SessionView,
}

impl SessionBody {
    pub fn new(session: SessionView) -> Self {
        Self { success: true, session }
    }
}

/// `POST /api/webrtc/sessions/:callId/terminate`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminatedBody {
    success: bool,
    call_id: CallId,
}

impl TerminatedBody {
    pub fn new(call_id: CallId) -> Self {
        Self { success: true, call_id }
    }
}

/// `GET /api/webrtc/stats`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatsBody {
    success: bool,
    agents: usize,
    calls: CallCounts,
    shards: Vec<ShardBody>,
    sip_peers: Vec<SipPeerBody>,
    kafka: Disabled,
    process: ProcessBody,
}

#[derive(Debug, Serialize)]
struct CallCounts {
    active: usize,
    total: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardBody {
    shard: u16,
    agents: usize,
    calls: usize,
    transports: usize,
    sip_transactions: usize,
    dialogs: usize,
    ports_in_use: usize,
    deadlines: usize,
    panics: u64,
    restarts: u64,
    dropped: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct SipPeerBody {
    address: SocketAddr,
    reachable: bool,
}

#[derive(Debug, Serialize)]
struct Disabled {
    status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessBody {
    version: &'static str,
    node_id: String,
    uptime: u64,
}

impl StatsBody {
    /// Joins the shards' figures.
    pub fn new(mut shards: Vec<ShardStats>, node_id: &str, uptime: Duration) -> Self {
        shards.sort_by_key(|shard| shard.shard);
        let peers = sip_peers(&shards).into_iter().map(|(address, reachable)| SipPeerBody { address, reachable });
        Self {
            success: true,
            agents: shards.iter().map(|shard| shard.agents).sum(),
            calls: CallCounts {
                active: shards.iter().map(|shard| shard.calls).sum(),
                total: shards.iter().map(|shard| shard.calls_total).sum(),
            },
            sip_peers: peers.collect(),
            shards: shards.into_iter().map(ShardBody::from).collect(),
            kafka: Disabled { status: "disabled" },
            process: ProcessBody { version: env!("CARGO_PKG_VERSION"), node_id: node_id.to_owned(), uptime: uptime.as_secs() },
        }
    }
}

impl From<ShardStats> for ShardBody {
    fn from(stats: ShardStats) -> Self {
        Self {
            shard: stats.shard,
            agents: stats.agents,
            calls: stats.calls,
            transports: stats.transports,
            sip_transactions: stats.sip_transactions,
            dialogs: stats.dialogs,
            ports_in_use: stats.ports_in_use,
            deadlines: stats.deadlines,
            panics: stats.panics,
            restarts: stats.restarts,
            dropped: stats.dropped.into_iter().map(|(reason, count)| (reason.to_owned(), count.into())).collect(),
        }
    }
}

/// Each peer once, reachable if any shard reaches it.
fn sip_peers(shards: &[ShardStats]) -> Vec<(SocketAddr, bool)> {
    let mut peers: Vec<(SocketAddr, bool)> = Vec::new();
    for (address, reachable) in shards.iter().flat_map(|shard| &shard.sip_peers) {
        match peers.iter_mut().find(|(known, _)| known == address) {
            Some((_, known)) => *known |= reachable,
            None => peers.push((*address, *reachable)),
        }
    }
    peers
}

/// `GET /api/webrtc/stats/agent/:agentId`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatsBody {
    success: bool,
    tenant_id: TenantId,
    agent_id: AgentId,
    connected: bool,
    connected_at: Rfc3339,
    calls_active: usize,
    calls_today: u64,
    talk_time_ms: u64,
    quality: AgentQuality,
}

#[derive(Debug, Serialize)]
struct AgentQuality {
    mos: Option<f64>,
}

impl From<&AgentStats> for AgentStatsBody {
    fn from(stats: &AgentStats) -> Self {
        Self {
            success: true,
            tenant_id: stats.tenant.clone(),
            agent_id: stats.agent.clone(),
            connected: stats.connected,
            connected_at: Rfc3339(stats.connected_at),
            calls_active: stats.calls_active,
            calls_today: stats.calls_today,
            talk_time_ms: u64::try_from(stats.talk_time.as_millis()).unwrap_or(u64::MAX),
            quality: AgentQuality { mos: stats.mos_mean.map(thousandths) },
        }
    }
}

/// How the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything works.
    Healthy,
    /// A shard is slow to answer, or one of several SIP peers is away.
    Degraded,
    /// No shard answers, or no SIP peer does.
    Unhealthy,
}

/// `GET /api/webrtc/health`.
#[derive(Debug, Serialize)]
pub struct HealthBody {
    /// The worst of the checks.
    pub status: Health,
    pub checks: HealthChecks,
    /// Whole seconds since the start.
    pub uptime: u64,
}

/// The parts of [`HealthBody::status`].
#[derive(Debug, Serialize)]
pub struct HealthChecks {
    pub shards: Health,
    pub sip: Health,
    pub kafka: &'static str,
    pub auth: Health,
}

impl HealthBody {
    /// Judges by what the shards said; `expected` of them should have.
    pub fn new(answered: &[ShardStats], expected: usize, uptime: Duration) -> Self {
        let peers = sip_peers(answered);
        let grade = |good: usize, all: usize| match good {
            good if good == all => Health::Healthy,
            0 => Health::Unhealthy,
            _ => Health::Degraded,
        };
        let shards = grade(answered.len(), expected);
        let sip = grade(peers.iter().filter(|(_, reachable)| *reachable).count(), peers.len());
        let status = match (shards, sip) {
            (Health::Unhealthy, _) | (_, Health::Unhealthy) => Health::Unhealthy,
            (Health::Degraded, _) | (_, Health::Degraded) => Health::Degraded,
            (Health::Healthy, Health::Healthy) => Health::Healthy,
        };
        let checks = HealthChecks { shards, sip, kafka: "disabled", auth: Health::Healthy };
        Self { status, checks, uptime: uptime.as_secs() }
    }

    /// The HTTP status: a load balancer reads no JSON.
    pub fn http_status(&self) -> u16 {
        match self.status {
            Health::Healthy | Health::Degraded => 200,
            Health::Unhealthy => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::call::error::Code;

    fn shard(number: u16, peers: &[(&str, bool)]) -> ShardStats {
        let sip_peers = peers.iter().map(|(address, reachable)| (address.parse().unwrap(), *reachable)).collect();
        ShardStats {
            shard: number,
            agents: 2,
            calls: 1,
            calls_total: 5,
            sip_peers,
            dropped: vec![("unroutable", 3)],
            ..ShardStats::default()
        }
    }

    #[test]
    fn shards_are_joined_in_their_order_and_summed() {
        let shards = vec![shard(1, &[("127.0.0.1:5060", false)]), shard(0, &[("127.0.0.1:5060", true)])];
        let body = serde_json::to_value(StatsBody::new(shards, "n", Duration::from_secs(9))).unwrap();
        assert_eq!(body["agents"], 4);
        assert_eq!(body["calls"], json!({"active": 2, "total": 10}));
        assert_eq!(body["shards"][0]["shard"], 0);
        assert_eq!(body["shards"][0]["dropped"], json!({"unroutable": 3}));
        assert_eq!(body["sipPeers"], json!([{"address": "127.0.0.1:5060", "reachable": true}]));
    }

    #[test]
    fn health_is_that_of_the_worst_part() {
        let grade = |shards: &[ShardStats], expected| HealthBody::new(shards, expected, Duration::ZERO).status;
        assert_eq!(grade(&[shard(0, &[("1.1.1.1:5060", true)])], 1), Health::Healthy);
        assert_eq!(grade(&[shard(0, &[("1.1.1.1:5060", true)])], 2), Health::Degraded);
        assert_eq!(grade(&[shard(0, &[("1.1.1.1:5060", true), ("2.2.2.2:5060", false)])], 1), Health::Degraded);
        assert_eq!(grade(&[shard(0, &[("1.1.1.1:5060", false)])], 1), Health::Unhealthy);
        assert_eq!(grade(&[], 1), Health::Unhealthy);
        assert_eq!(HealthBody::new(&[], 1, Duration::ZERO).http_status(), 503);
    }

    #[test]
    fn a_failure_has_words_and_a_code() {
        let body = serde_json::to_value(FailureBody::from(&Refusal::new(Code::CallNotFound, "no such call"))).unwrap();
        assert_eq!(body, json!({"success": false, "error": "no such call", "code": "CALL_NOT_FOUND"}));
    }
}
