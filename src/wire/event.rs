//! Server events.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::view::{CallBody, LegView, Rfc3339};
use super::{PROTOCOL_VERSION, to_json};
use crate::call::command::{Direction, Welcome};
use crate::call::event::{CallEvent, Event, HeldBy};
use crate::ids::{AgentId, CallId, PeerId, ProducerId, TenantId, TransportId, UserId};
use crate::webrtc::ortc::IceServer;

/// An event's name and payload. `number` is its `eventId`; absent for events that are not counted.
pub fn event(event: &Event, number: Option<u64>) -> (&'static str, Value) {
    let (name, body) = body(event);
    (name, to_json(&Numbered { event_id: number, body }))
}

/// What `connected` says beside what the shard knows.
#[derive(Clone, Copy, Debug)]
pub struct ConnectedFacts<'a> {
    /// This process.
    pub node_id: &'a str,
}

/// The payload of `connected`.
pub fn connected(welcome: &Welcome, facts: ConnectedFacts<'_>) -> Value {
    to_json(&Connected {
        success: true,
        peer_id: welcome.peer,
        agent_id: &welcome.identity.agent,
        tenant_id: &welcome.identity.tenant,
        user_id: &welcome.identity.user,
        server_time: Rfc3339(welcome.server_time),
        protocol_version: PROTOCOL_VERSION,
        node_id: facts.node_id,
        resumed: false,
        gap: false,
        event_id: welcome.event_id,
        resume_token: &welcome.resume_token,
        grace_ms: millis(welcome.grace),
        ice_servers: &welcome.ice_servers,
        sip: SipBody { registered: false },
        producer_id: welcome.producer,
        calls: welcome.calls.iter().map(CallBody::from).collect(),
        limits: LimitsBody { max_calls: welcome.max_calls },
    })
}

/// The payload of `auth:expiring`.
pub fn expiring(expires_in_ms: u64) -> Value {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Expiring {
        expires_in_ms: u64,
    }
    to_json(&Expiring { expires_in_ms })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connected<'a> {
    success: bool,
    peer_id: PeerId,
    agent_id: &'a AgentId,
    tenant_id: &'a TenantId,
    user_id: &'a UserId,
    server_time: Rfc3339,
    protocol_version: u32,
    node_id: &'a str,
    resumed: bool,
    gap: bool,
    event_id: u64,
    resume_token: &'a str,
    grace_ms: u64,
    ice_servers: &'a [IceServer],
    sip: SipBody,
    producer_id: ProducerId,
    calls: Vec<CallBody>,
    limits: LimitsBody,
}

#[derive(Serialize)]
struct SipBody {
    registered: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitsBody {
    max_calls: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Numbered<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<u64>,
    #[serde(flatten)]
    body: T,
}

/// The payloads; their names are in [`body`] and [`call_body`].
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Body<'a> {
    PeerConnected {
        peer_id: PeerId,
    },
    PeerDisconnected {
        peer_id: PeerId,
        reason: &'static str,
    },
    TransportState {
        transport_id: TransportId,
        direction: &'static str,
        state: &'static str,
    },
    Error {
        event: &'static str,
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<CallId>,
    },
    Call {
        call_id: CallId,
        #[serde(flatten)]
        event: CallEventBody<'a>,
    },
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum CallEventBody<'a> {
    Incoming {
        phone_number: &'a str,
        // Always there: a page shows it beside the number without asking first.
        caller_name: Option<&'a str>,
        to: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        campaign_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lead_id: Option<&'a str>,
        auto_answer: bool,
        headers: Map<String, Value>,
    },
    Ringing {
        producer_id: ProducerId,
        early_media: bool,
    },
    Answered {
        producer_id: ProducerId,
        codec: &'static str,
        transcoded: bool,
        answered_at: Rfc3339,
        setup_ms: u64,
    },
    Held {
        held: bool,
        is_on_hold: bool,
        by: &'static str,
    },
    Muted {
        muted: bool,
        is_muted: bool,
    },
    Transferred {
        target: &'a str,
        transfer_type: &'static str,
    },
    TransferFailed {
        #[serde(skip_serializing_if = "Option::is_none")]
        sip_code: Option<u16>,
    },
    DtmfReceived {
        tone: char,
        duration_ms: u64,
    },
    Ended {
        duration: u64,
        duration_ms: u64,
        ended_by: &'static str,
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        sip_code: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        q850: Option<u16>,
        quality: Vec<LegView>,
    },
    Failed {
        error: &'a str,
        code: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        sip_code: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sip_reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        q850: Option<u16>,
    },
}

fn body(event: &Event) -> (&'static str, Body<'_>) {
    match event {
        Event::PeerConnected { peer } => ("webrtc:peer-connected", Body::PeerConnected { peer_id: *peer }),
        Event::PeerDisconnected { peer, reason } => ("webrtc:peer-disconnected", Body::PeerDisconnected { peer_id: *peer, reason }),
        Event::TransportState { transport, direction, state } => {
            let direction = match direction {
                Direction::Send => "send",
                Direction::Recv => "recv",
            };
            ("webrtc:transport-state", Body::TransportState { transport_id: *transport, direction, state: state.as_str() })
        }
        Event::Error { event, code, message, call } => ("error", Body::Error { event, code: code.as_str(), message, call_id: *call }),
        Event::Call { call, event } => {
            let (name, event) = call_body(event);
            (name, Body::Call { call_id: *call, event })
        }
    }
}

fn call_body(event: &CallEvent) -> (&'static str, CallEventBody<'_>) {
    match event {
        CallEvent::Incoming(incoming) => {
            let body = CallEventBody::Incoming {
                phone_number: &incoming.phone_number,
                caller_name: incoming.caller_name.as_deref(),
                to: &incoming.to,
                campaign_id: incoming.campaign_id.as_deref(),
                lead_id: incoming.lead_id.as_deref(),
                auto_answer: incoming.auto_answer,
                headers: headers(&incoming.headers),
            };
            ("call:incoming", body)
        }
        CallEvent::Ringing { producer, early_media } => {
            ("call:ringing", CallEventBody::Ringing { producer_id: *producer, early_media: *early_media })
        }
        CallEvent::Answered { producer, codec, transcoded, answered_at, setup } => {
            let body = CallEventBody::Answered {
                producer_id: *producer,
                codec,
                transcoded: *transcoded,
                answered_at: Rfc3339(*answered_at),
                setup_ms: millis(*setup),
            };
            ("call:answered", body)
        }
        CallEvent::Held { held, by } => {
            let by = match by {
                HeldBy::Local => "local",
                HeldBy::Remote => "remote",
            };
            ("call:held", CallEventBody::Held { held: *held, is_on_hold: *held, by })
        }
        CallEvent::Muted { muted } => ("call:muted", CallEventBody::Muted { muted: *muted, is_muted: *muted }),
        CallEvent::Transferred { target, kind } => ("call:transferred", CallEventBody::Transferred { target, transfer_type: kind }),
        CallEvent::TransferFailed { sip_code } => ("call:transfer-failed", CallEventBody::TransferFailed { sip_code: *sip_code }),
        CallEvent::DtmfReceived { tone, duration } => {
            ("call:dtmf-received", CallEventBody::DtmfReceived { tone: *tone, duration_ms: millis(*duration) })
        }
        CallEvent::Ended(ended) => {
            let body = CallEventBody::Ended {
                duration: ended.duration.as_secs(),
                duration_ms: millis(ended.duration),
                ended_by: ended.ended_by.as_str(),
                reason: ended.reason.as_str(),
                sip_code: ended.sip_code,
                q850: ended.q850,
                quality: ended.quality.iter().map(LegView::from).collect(),
            };
            ("call:ended", body)
        }
        CallEvent::Failed { message, code, sip_code, sip_reason, q850 } => {
            let body = CallEventBody::Failed {
                error: message,
                code: code.as_str(),
                sip_code: *sip_code,
                sip_reason: sip_reason.as_deref(),
                q850: *q850,
            };
            ("call:failed", body)
        }
    }
}

/// A name that comes twice keeps both values, as RFC 3261 section 7.3.1 lets them be joined.
fn headers(headers: &[(String, String)]) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in headers {
        match map.get_mut(name) {
            Some(Value::String(known)) => *known = format!("{known}, {value}"),
            Some(_) | None => {
                map.insert(name.clone(), Value::String(value.clone()));
            }
        }
    }
    map
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::call::command::{Identity, LegStats, Role, SipIdentity};
    use crate::call::error::Code;
    use crate::call::event::{CallDirection, CallState, CallView, EndReason, Ended, EndedBy, Incoming, TransportState};

    const CALL: CallId = CallId(Uuid::nil());
    const PRODUCER: ProducerId = ProducerId(Uuid::max());

    fn call_event(event: CallEvent) -> (&'static str, Value) {
        super::event(&Event::Call { call: CALL, event }, Some(7))
    }

    #[test]
    fn every_call_event_has_its_name_its_call_and_its_number() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let incoming = Incoming {
            phone_number: "+1".into(),
            caller_name: None,
            to: "1001".into(),
            campaign_id: Some("c".into()),
            lead_id: None,
            auto_answer: false,
            headers: vec![("X-A".into(), "1".into()), ("X-A".into(), "2".into())],
        };
        let ended = Ended {
            duration: Duration::from_millis(2_900),
            ended_by: EndedBy::Remote,
            reason: EndReason::MediaTimeout,
            sip_code: None,
            q850: Some(16),
            quality: vec![LegStats::default()],
        };
        let setup = Duration::from_millis(1_500);
        let cases = [
            (
                CallEvent::Incoming(Box::new(incoming)),
                "call:incoming",
                json!({"phoneNumber": "+1", "callerName": null, "to": "1001", "campaignId": "c", "autoAnswer": false, "headers": {"X-A": "1, 2"}}),
            ),
            (
                CallEvent::Ringing { producer: PRODUCER, early_media: true },
                "call:ringing",
                json!({"producerId": PRODUCER, "earlyMedia": true}),
            ),
            (
                CallEvent::Answered { producer: PRODUCER, codec: "opus", transcoded: false, answered_at: at, setup },
                "call:answered",
                json!({"producerId": PRODUCER, "codec": "opus", "transcoded": false, "answeredAt": "2023-11-14T22:13:20.123Z", "setupMs": 1500}),
            ),
            (CallEvent::Held { held: true, by: HeldBy::Remote }, "call:held", json!({"held": true, "isOnHold": true, "by": "remote"})),
            (CallEvent::Muted { muted: false }, "call:muted", json!({"muted": false, "isMuted": false})),
            (
                CallEvent::Transferred { target: "7".into(), kind: "blind" },
                "call:transferred",
                json!({"target": "7", "transferType": "blind"}),
            ),
            (CallEvent::TransferFailed { sip_code: Some(403) }, "call:transfer-failed", json!({"sipCode": 403})),
            (
                CallEvent::DtmfReceived { tone: '#', duration: Duration::from_millis(100) },
                "call:dtmf-received",
                json!({"tone": "#", "durationMs": 100}),
            ),
            (
                CallEvent::Ended(Box::new(ended)),
                "call:ended",
                json!({"duration": 2, "durationMs": 2900, "endedBy": "remote", "reason": "media-timeout", "q850": 16, "quality": [
                    {"leg": "webrtc", "received": {"packets": 0, "bytes": 0, "lost": 0, "jitterMs": null},
                     "sent": {"packets": 0, "bytes": 0, "lost": 0, "jitterMs": null}, "rttMs": null, "mos": null}]}),
            ),
            (
                CallEvent::Failed {
                    message: "busy".into(),
                    code: Code::SipRejected,
                    sip_code: Some(486),
                    sip_reason: Some("Busy".into()),
                    q850: None,
                },
                "call:failed",
                json!({"error": "busy", "code": "SIP_REJECTED", "sipCode": 486, "sipReason": "Busy"}),
            ),
        ];
        for (event, name, mut expected) in cases {
            expected["callId"] = json!(CALL);
            expected["eventId"] = json!(7);
            assert_eq!(call_event(event), (name, expected));
        }
    }

    #[test]
    fn events_that_are_not_counted_carry_no_number() {
        let error = Event::Error { event: "connect", code: Code::SessionTakenOver, message: "elsewhere".into(), call: None };
        let expected = json!({"event": "connect", "code": "SESSION_TAKEN_OVER", "message": "elsewhere"});
        assert_eq!(super::event(&error, None), ("error", expected));
        let state =
            Event::TransportState { transport: TransportId(Uuid::nil()), direction: Direction::Recv, state: TransportState::Connected };
        let expected = json!({"transportId": Uuid::nil(), "direction": "recv", "state": "connected", "eventId": 2});
        assert_eq!(super::event(&state, Some(2)), ("webrtc:transport-state", expected));
    }

    #[test]
    fn connected_tells_everything_that_a_client_starts_with() {
        let call = CallView {
            call: CALL,
            sip_call_id: "x@y".into(),
            direction: CallDirection::Inbound,
            state: CallState::Incoming,
            phone_number: "+1".into(),
            caller_name: None,
            campaign_id: None,
            lead_id: None,
            muted: false,
            held: false,
            started_at: SystemTime::UNIX_EPOCH,
            answered_at: None,
            producer: PRODUCER,
        };
        let identity = Identity {
            tenant: "t".into(),
            agent: "a".into(),
            user: "u".into(),
            role: Role::Agent,
            sip: SipIdentity { user: "a".into(), domain: None, display_name: None },
        };
        let welcome = Welcome {
            peer: PeerId(Uuid::nil()),
            identity,
            server_time: SystemTime::UNIX_EPOCH,
            producer: PRODUCER,
            calls: vec![call],
            ice_servers: vec![],
            resume_token: "r".into(),
            grace: Duration::from_secs(30),
            max_calls: 2,
            event_id: 0,
        };
        let expected = json!({
            "success": true, "peerId": Uuid::nil(), "agentId": "a", "tenantId": "t", "userId": "u", "serverTime": "1970-01-01T00:00:00.000Z",
            "protocolVersion": 1, "nodeId": "n", "resumed": false, "gap": false, "eventId": 0, "resumeToken": "r", "graceMs": 30000,
            "iceServers": [], "sip": {"registered": false}, "producerId": PRODUCER, "limits": {"maxCalls": 2},
            "calls": [{"callId": CALL, "sipCallId": "x@y", "direction": "inbound", "state": "incoming", "phoneNumber": "+1", "muted": false,
                       "held": false, "startedAt": "1970-01-01T00:00:00.000Z", "producerId": PRODUCER}],
        });
        assert_eq!(connected(&welcome, ConnectedFacts { node_id: "n" }), expected);
    }
}
