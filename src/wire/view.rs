//! Shapes that several payloads share: times, calls, media figures.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::call::command::{LegStats, Session, StreamStats};
use crate::call::event::{CallDirection, CallView};
use crate::ids::{AgentId, CallId, ProducerId, TenantId};

/// A time as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rfc3339(pub(super) SystemTime);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A clock set before 1970 is shown as 1970: the formatter knows no earlier time.
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0.max(SystemTime::UNIX_EPOCH)))
    }
}

/// A call as its agent sees it (`CallView`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallBody {
    call_id: CallId,
    sip_call_id: String,
    direction: &'static str,
    state: &'static str,
    phone_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_id: Option<String>,
    muted: bool,
    held: bool,
    started_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_at: Option<Rfc3339>,
    producer_id: ProducerId,
}

impl From<&CallView> for CallBody {
    fn from(view: &CallView) -> Self {
        Self {
            call_id: view.call,
            sip_call_id: view.sip_call_id.clone(),
            direction: match view.direction {
                CallDirection::Outbound => "outbound",
                CallDirection::Inbound => "inbound",
            },
            state: view.state.as_str(),
            phone_number: view.phone_number.clone(),
            caller_name: view.caller_name.clone(),
            campaign_id: view.campaign_id.clone(),
            lead_id: view.lead_id.clone(),
            muted: view.muted,
            held: view.held,
            started_at: Rfc3339(view.started_at),
            answered_at: view.answered_at.map(Rfc3339),
            producer_id: view.producer,
        }
    }
}

/// One leg's media figures.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LegView {
    leg: &'static str,
    received: StreamBody,
    sent: StreamBody,
    rtt_ms: Option<f64>,
    mos: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamBody {
    packets: u64,
    bytes: u64,
    lost: i64,
    jitter_ms: Option<f64>,
}

impl From<&LegStats> for LegView {
    fn from(stats: &LegStats) -> Self {
        Self {
            leg: stats.leg.as_str(),
            received: StreamBody::from(&stats.received),
            sent: StreamBody::from(&stats.sent),
            rtt_ms: stats.rtt_ms.map(thousandths),
            mos: stats.mos.map(thousandths),
        }
    }
}

impl From<&StreamStats> for StreamBody {
    fn from(stats: &StreamStats) -> Self {
        Self { packets: stats.packets, bytes: stats.bytes, lost: stats.lost, jitter_ms: stats.jitter_ms.map(thousandths) }
    }
}

/// More digits than a microsecond of jitter would only pretend precision.
pub(super) fn thousandths(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// A call as a supervisor sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    #[serde(flatten)]
    call: CallBody,
    tenant_id: TenantId,
    agent_id: AgentId,
    node_id: String,
    shard: u16,
    legs: Vec<LegView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<Moment>>,
}

#[derive(Debug, Serialize)]
struct Moment {
    at: Rfc3339,
    event: &'static str,
}

impl SessionView {
    /// As an entry of the list: without its timeline.
    pub fn listed(session: &Session, node_id: &str) -> Self {
        Self {
            call: CallBody::from(&session.call),
            tenant_id: session.tenant.clone(),
            agent_id: session.agent.clone(),
            node_id: node_id.to_owned(),
            shard: session.shard.0,
            legs: session.legs.iter().map(LegView::from).collect(),
            timeline: None,
        }
    }

    /// As asked for by its id: with its timeline.
    pub fn detailed(session: &Session, node_id: &str) -> Self {
        let timeline = session.timeline.iter().map(|(at, event)| Moment { at: Rfc3339(*at), event }).collect();
        Self { timeline: Some(timeline), ..Self::listed(session, node_id) }
    }
}
