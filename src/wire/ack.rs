//! Acknowledgements of client events.

use serde::Serialize;
use serde_json::Value;

use super::to_json;
use super::view::LegView;
use crate::call::command::Reply;
use crate::call::error::Refusal;
use crate::ids::{CallId, ConsumerId, ProducerId};
use crate::webrtc::ortc::{RtpCapabilities, RtpParameters, TransportOptions};

/// What a client event is acknowledged with.
pub fn ack(answer: &Result<Reply, Refusal>) -> Value {
    match answer {
        Ok(reply) => to_json(&Success { success: true, body: ReplyBody::from(reply) }),
        Err(refusal) => to_json(&Failure::from(refusal)),
    }
}

/// The payload of `error`: a refusal of an event that was sent without an acknowledgement callback.
pub fn error(event: &str, refusal: &Refusal, call_id: Option<CallId>) -> Value {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        event: &'a str,
        code: &'static str,
        message: &'a str,
        retryable: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<CallId>,
    }
    let retryable = refusal.code.retryable();
    to_json(&Body { event, code: refusal.code.as_str(), message: &refusal.message, retryable, call_id })
}

#[derive(Serialize)]
struct Success<'a> {
    success: bool,
    #[serde(flatten)]
    body: ReplyBody<'a>,
}

/// The fields beside `success`, at top level: mediasoup-client takes them as they are.
#[derive(Serialize)]
#[serde(untagged)]
enum ReplyBody<'a> {
    Done {},
    Capabilities {
        capabilities: &'a RtpCapabilities,
    },
    Transport(&'a TransportOptions),
    #[serde(rename_all = "camelCase")]
    Producer {
        producer_id: ProducerId,
        id: ProducerId,
    },
    #[serde(rename_all = "camelCase")]
    Consumer {
        id: ConsumerId,
        producer_id: ProducerId,
        kind: &'static str,
        #[serde(rename = "type")]
        type_: &'static str,
        rtp_parameters: &'a RtpParameters,
        paused: bool,
    },
    Stats {
        stats: Vec<LegView>,
    },
    #[serde(rename_all = "camelCase")]
    Dialed {
        call_id: CallId,
    },
}

impl<'a> From<&'a Reply> for ReplyBody<'a> {
    fn from(reply: &'a Reply) -> Self {
        match reply {
            Reply::Done => ReplyBody::Done {},
            Reply::RouterCapabilities(capabilities) => ReplyBody::Capabilities { capabilities },
            Reply::Transport(options) => ReplyBody::Transport(options),
            Reply::Producer(id) => ReplyBody::Producer { producer_id: *id, id: *id },
            Reply::Consumer(consumer) => ReplyBody::Consumer {
                id: consumer.id,
                producer_id: consumer.producer,
                kind: "audio",
                type_: "simple",
                rtp_parameters: &consumer.rtp,
                paused: false,
            },
            Reply::Stats(legs) => ReplyBody::Stats { stats: legs.iter().map(LegView::from).collect() },
            Reply::Dialed(call) => ReplyBody::Dialed { call_id: *call },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    success: bool,
    error: &'a str,
    code: &'static str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sip_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sip_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

impl<'a> From<&'a Refusal> for Failure<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        Self {
            success: false,
            error: &refusal.message,
            code: refusal.code.as_str(),
            retryable: refusal.code.retryable(),
            sip_code: refusal.sip_code,
            sip_reason: refusal.sip_reason.as_deref(),
            state: refusal.state.map(|state| state.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::call::command::{ConsumerReply, LegKind, LegStats, StreamStats};
    use crate::call::error::Code;
    use crate::call::event::CallState;
    use crate::ids::TransportId;
    use crate::webrtc::ortc::{DtlsParameters, DtlsRole, IceParameters, RtcpParameters};

    #[test]
    fn a_success_without_fields_is_only_a_success() {
        assert_eq!(ack(&Ok(Reply::Done)), json!({"success": true}));
    }

    #[test]
    fn a_transport_is_acknowledged_with_its_options_at_top_level() {
        let options = TransportOptions {
            id: TransportId(Uuid::nil()),
            ice_parameters: IceParameters { username_fragment: "u".into(), password: "p".into(), ice_lite: true },
            ice_candidates: vec![],
            dtls_parameters: DtlsParameters { role: DtlsRole::Auto, fingerprints: vec![] },
            ice_servers: vec![],
            ice_transport_policy: None,
        };
        let ack = ack(&Ok(Reply::Transport(options.clone())));
        assert_eq!(ack["success"], json!(true));
        assert_eq!(ack["iceParameters"]["usernameFragment"], json!("u"));
        assert_eq!(serde_json::from_value::<TransportOptions>(ack).unwrap(), options);
    }

    #[test]
    fn a_producer_has_both_of_its_names() {
        let ack = ack(&Ok(Reply::Producer(ProducerId(Uuid::nil()))));
        assert_eq!(ack, json!({"success": true, "producerId": Uuid::nil(), "id": Uuid::nil()}));
    }

    #[test]
    fn a_consumer_is_what_mediasoup_client_consumes() {
        let rtp = RtpParameters {
            mid: Some("0".into()),
            codecs: vec![],
            header_extensions: vec![],
            encodings: vec![],
            rtcp: RtcpParameters::default(),
        };
        let reply = ConsumerReply { id: ConsumerId(Uuid::nil()), producer: ProducerId(Uuid::max()), rtp };
        let ack = ack(&Ok(Reply::Consumer(reply)));
        assert_eq!(ack["kind"], "audio");
        assert_eq!(ack["type"], "simple");
        assert_eq!(ack["paused"], false);
        assert_eq!(ack["producerId"], json!(Uuid::max()));
        assert_eq!(ack["rtpParameters"]["mid"], "0");
    }

    #[test]
    fn stats_are_listed_by_leg() {
        let received = StreamStats { packets: 5, bytes: 800, lost: -1, jitter_ms: Some(1.23456) };
        let leg = LegStats { leg: LegKind::Sip, received, rtt_ms: None, mos: Some(4.4), ..LegStats::default() };
        let ack = ack(&Ok(Reply::Stats(vec![leg])));
        assert_eq!(ack["stats"][0]["leg"], "sip");
        assert_eq!(ack["stats"][0]["received"], json!({"packets": 5, "bytes": 800, "lost": -1, "jitterMs": 1.235}));
        assert_eq!(ack["stats"][0]["rttMs"], Value::Null);
    }

    #[test]
    fn a_refusal_tells_its_code_and_only_what_is_known() {
        let refusal = Refusal::new(Code::Overloaded, "too much");
        assert_eq!(ack(&Err(refusal)), json!({"success": false, "error": "too much", "code": "OVERLOADED", "retryable": true}));
        let refusal = ack(&Err(Refusal::invalid_state(CallState::Ended, "over")));
        assert_eq!(refusal["state"], "ended");
        let refusal = ack(&Err(Refusal::sip(486, "Busy Here")));
        assert_eq!((&refusal["sipCode"], &refusal["sipReason"]), (&json!(486), &json!("Busy Here")));
    }

    #[test]
    fn an_error_event_names_the_event_and_its_call() {
        let refusal = Refusal::new(Code::CallNotFound, "no such call");
        let call = CallId(Uuid::nil());
        let body = error("call:hold", &refusal, Some(call));
        assert_eq!(
            body,
            json!({"event": "call:hold", "code": "CALL_NOT_FOUND", "message": "no such call", "retryable": false, "callId": call})
        );
    }
}
