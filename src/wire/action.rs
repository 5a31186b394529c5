//! Client events: name and payload to an [`Action`], or a refusal that names what is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::call::command::{Action, Dial, Direction, DtmfMethod, RejectStatus, SendDtmf, TransferKind};
use crate::call::error::{Code, Refusal};
use crate::ids::{CallId, ConsumerId, ProducerId, TransportId};
use crate::limits::{CUSTOM_HEADER_BYTES, CUSTOM_HEADERS};
use crate::webrtc::ortc::{DtlsParameters, MediaKind, RtpParameters};

/// Reads a client event. `payload` is null where the client sent none.
///
/// # Errors
/// `BAD_REQUEST` naming the field for an unknown event, a missing field or a wrong type or value; `..._NOT_FOUND` for an id that is none of
/// ours; `UNSUPPORTED_KIND` for video. The messages repeat no value.
pub fn action(event: &str, payload: Value) -> Result<Action, Refusal> {
    match event {
        "webrtc:get-router-capabilities" => Ok(Action::GetRouterCapabilities),
        "webrtc:create-transport" => create_transport(read(payload)?),
        "webrtc:connect-transport" => connect_transport(read(payload)?),
        "webrtc:produce" => produce(read(payload)?),
        "webrtc:consume" => consume(read(payload)?),
        "webrtc:pause-producer" => Ok(Action::PauseProducer { producer: producer(payload)? }),
        "webrtc:resume-producer" => Ok(Action::ResumeProducer { producer: producer(payload)? }),
        "webrtc:close-producer" => Ok(Action::CloseProducer { producer: producer(payload)? }),
        "webrtc:pause-consumer" => Ok(Action::PauseConsumer { consumer: consumer(payload)? }),
        "webrtc:resume-consumer" => Ok(Action::ResumeConsumer { consumer: consumer(payload)? }),
        "webrtc:close-consumer" => Ok(Action::CloseConsumer { consumer: consumer(payload)? }),
        "webrtc:close-transport" => close_transport(read(payload)?),
        "webrtc:get-stats" => get_stats(read(payload)?),
        "call:dial" => dial(read(payload)?),
        "call:answer" => Ok(Action::Answer { call: call(payload)? }),
        "call:reject" => reject(read(payload)?),
        "call:hangup" => Ok(Action::Hangup { call: call(payload)? }),
        "call:hold" => Ok(Action::Hold { call: call(payload)? }),
        "call:unhold" => Ok(Action::Unhold { call: call(payload)? }),
        "call:mute" => mute(read(payload)?),
        "call:transfer" => transfer(read(payload)?),
        "call:dtmf" => dtmf(read(payload)?),
        _ => Err(bad_request(format!("unknown event {:?}", shortened(event)))),
    }
}

/// Reads `auth:refresh`, which the front answers by itself: the new token.
///
/// # Errors
/// `BAD_REQUEST` naming the field.
pub fn refreshed_token(payload: Value) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    struct Refresh {
        token: String,
    }
    read::<Refresh>(payload).map(|refresh| refresh.token)
}

/// The event's name as a text of ours, if there is such a client event; what clients make up is never kept.
pub fn known_event(event: &str) -> Option<&'static str> {
    EVENTS.into_iter().find(|known| *known == event)
}

/// Everything that [`action`] reads, and `auth:refresh`, which is the front's own.
const EVENTS: [&str; 23] = [
    "auth:refresh",
    "call:answer",
    "call:dial",
    "call:dtmf",
    "call:hangup",
    "call:hold",
    "call:mute",
    "call:reject",
    "call:transfer",
    "call:unhold",
    "webrtc:close-consumer",
    "webrtc:close-producer",
    "webrtc:close-transport",
    "webrtc:connect-transport",
    "webrtc:consume",
    "webrtc:create-transport",
    "webrtc:get-router-capabilities",
    "webrtc:get-stats",
    "webrtc:pause-consumer",
    "webrtc:pause-producer",
    "webrtc:produce",
    "webrtc:resume-consumer",
    "webrtc:resume-producer",
];

#[derive(Deserialize)]
struct CreateTransport {
    direction: String,
}

fn create_transport(payload: CreateTransport) -> Result<Action, Refusal> {
    let direction = match payload.direction.as_str() {
        "send" => Direction::Send,
        "recv" | "receive" => Direction::Recv,
        _ => return Err(bad_request("direction: must be send or recv")),
    };
    Ok(Action::CreateTransport { direction })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectTransport {
    transport_id: String,
    dtls_parameters: DtlsParameters,
}

fn connect_transport(payload: ConnectTransport) -> Result<Action, Refusal> {
    Ok(Action::ConnectTransport { transport: transport(&payload.transport_id)?, dtls: payload.dtls_parameters })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Produce {
    transport_id: String,
    kind: MediaKind,
    /// Read once the kind is known: video has fields that audio has not.
    rtp_parameters: Value,
}

fn produce(payload: Produce) -> Result<Action, Refusal> {
    match payload.kind {
        MediaKind::Audio => {}
        MediaKind::Video => return Err(Refusal::new(Code::UnsupportedKind, "kind: only audio can be produced")),
    }
    let rtp: RtpParameters = read_at("rtpParameters", payload.rtp_parameters)?;
    Ok(Action::Produce { transport: transport(&payload.transport_id)?, kind: payload.kind, rtp })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consume {
    transport_id: String,
    producer_id: Option<String>,
    call_id: Option<String>,
}

fn consume(payload: Consume) -> Result<Action, Refusal> {
    Ok(Action::Consume {
        transport: transport(&payload.transport_id)?,
        producer: payload.producer_id.as_deref().map(producer_id).transpose()?,
        call: payload.call_id.as_deref().map(call_id).transpose()?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CloseTransport {
    transport_id: String,
}

fn close_transport(payload: CloseTransport) -> Result<Action, Refusal> {
    Ok(Action::CloseTransport { transport: transport(&payload.transport_id)? })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetStats {
    transport_id: Option<String>,
    call_id: Option<String>,
}

fn get_stats(payload: GetStats) -> Result<Action, Refusal> {
    Ok(Action::GetStats {
        transport: payload.transport_id.as_deref().map(transport).transpose()?,
        call: payload.call_id.as_deref().map(call_id).transpose()?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DialPayload {
    phone_number: String,
    campaign_id: Option<String>,
    lead_id: Option<String>,
    caller_id: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    client_call_id: Option<String>,
    codec: Option<String>,
}

fn dial(payload: DialPayload) -> Result<Action, Refusal> {
    if payload.phone_number.trim().is_empty() {
        return Err(bad_request("phoneNumber: must not be empty"));
    }
    Ok(Action::Dial(Dial {
        phone_number: plain("phoneNumber", payload.phone_number)?,
        campaign_id: plain_option("campaignId", payload.campaign_id)?,
        lead_id: plain_option("leadId", payload.lead_id)?,
        caller_id: plain_option("callerId", payload.caller_id)?,
        headers: headers(payload.headers.unwrap_or_default())?,
        client_call_id: plain_option("clientCallId", payload.client_call_id)?,
        codec: plain_option("codec", payload.codec)?,
    }))
}

fn headers(headers: BTreeMap<String, String>) -> Result<Vec<(String, String)>, Refusal> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if headers.len() > CUSTOM_HEADERS {
        return Err(bad_request(format!("headers: at most {CUSTOM_HEADERS} are allowed")));
    }
    for (name, value) in &headers {
        let is_name = !name.is_empty() && name.chars().all(is_token);
        if !is_name || name.len() > CUSTOM_HEADER_BYTES || value.len() > CUSTOM_HEADER_BYTES || value.chars().any(char::is_control) {
            return Err(bad_request(format!("headers: {:?} is no header that may be sent", shortened(name))));
        }
    }
    Ok(headers.into_iter().collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reject {
    call_id: String,
    code: Option<u16>,
}

fn reject(payload: Reject) -> Result<Action, Refusal> {
    let status = match payload.code {
        None => RejectStatus::default(),
        Some(480) => RejectStatus::TemporarilyUnavailable,
        Some(486) => RejectStatus::BusyHere,
        Some(603) => RejectStatus::Decline,
        Some(_) => return Err(bad_request("code: must be 480, 486 or 603")),
    };
    Ok(Action::Reject { call: call_id(&payload.call_id)?, status })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mute {
    call_id: String,
    muted: bool,
}

fn mute(payload: Mute) -> Result<Action, Refusal> {
    Ok(Action::Mute { call: call_id(&payload.call_id)?, muted: payload.muted })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transfer {
    call_id: String,
    target: String,
    transfer_type: String,
    consult_call_id: Option<String>,
}

fn transfer(payload: Transfer) -> Result<Action, Refusal> {
    let kind = match (payload.transfer_type.as_str(), payload.consult_call_id) {
        ("blind", _) => TransferKind::Blind,
        ("attended" | "warm", Some(consult)) => TransferKind::Attended { consult: call_id(&consult)? },
        ("attended" | "warm", None) => return Err(bad_request("consultCallId: is missing")),
        (_, _) => return Err(bad_request("transferType: must be blind, attended or warm")),
    };
    if payload.target.trim().is_empty() {
        return Err(bad_request("target: must not be empty"));
    }
    Ok(Action::Transfer { call: call_id(&payload.call_id)?, target: plain("target", payload.target)?, kind })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DtmfPayload {
    call_id: String,
    tone: String,
    duration: Option<u64>,
    gap: Option<u64>,
    method: Option<String>,
}

fn dtmf(payload: DtmfPayload) -> Result<Action, Refusal> {
    let is_digit = |c: char| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D' | ',');
    if payload.tone.is_empty() || payload.tone.len() > DTMF_TONES_MAX || !payload.tone.chars().all(is_digit) {
        return Err(bad_request(format!("tone: must be 1 to {DTMF_TONES_MAX} of 0-9 * # A-D and comma")));
    }
    let method = match payload.method.as_deref() {
        None | Some("auto") => DtmfMethod::Auto,
        Some("rfc4733") => DtmfMethod::Rfc4733,
        Some("info") => DtmfMethod::Info,
        Some(_) => return Err(bad_request("method: must be auto, rfc4733 or info")),
    };
    let millis = |name: &str, given: Option<u64>, default: u64, min: u64| match given.unwrap_or(default) {
        millis if (min..=DTMF_MILLIS_MAX).contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => Err(bad_request(format!("{name}: must be {min} to {DTMF_MILLIS_MAX} ms"))),
    };
    Ok(Action::Dtmf(SendDtmf {
        call: call_id(&payload.call_id)?,
        duration: millis("duration", payload.duration, 100, 40)?,
        gap: millis("gap", payload.gap, 70, 30)?,
        tones: payload.tone,
        method,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfCall {
    call_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfProducer {
    producer_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfConsumer {
    consumer_id: String,
}

fn call(payload: Value) -> Result<CallId, Refusal> {
    call_id(&read::<OfCall>(payload)?.call_id)
}

fn producer(payload: Value) -> Result<ProducerId, Refusal> {
    producer_id(&read::<OfProducer>(payload)?.producer_id)
}

fn consumer(payload: Value) -> Result<ConsumerId, Refusal> {
    let id = ConsumerId::parse(&read::<OfConsumer>(payload)?.consumer_id);
    id.ok_or_else(|| Refusal::new(Code::ConsumerNotFound, "no such consumer"))
}

fn transport(text: &str) -> Result<TransportId, Refusal> {
    TransportId::parse(text).ok_or_else(|| Refusal::new(Code::TransportNotFound, "no such transport"))
}

fn producer_id(text: &str) -> Result<ProducerId, Refusal> {
    ProducerId::parse(text).ok_or_else(|| Refusal::new(Code::ProducerNotFound, "no such producer"))
}

fn call_id(text: &str) -> Result<CallId, Refusal> {
    CallId::parse(text).ok_or_else(|| Refusal::new(Code::CallNotFound, "no such call"))
}

/// Text that ends up in SIP: a line break in it would let a client write headers of its own.
fn plain(name: &str, text: String) -> Result<String, Refusal> {
    match text.len() <= CUSTOM_HEADER_BYTES && !text.chars().any(char::is_control) {
        true => Ok(text),
        false => Err(bad_request(format!("{name}: is too long or holds control characters"))),
    }
}

fn plain_option(name: &str, text: Option<String>) -> Result<Option<String>, Refusal> {
    text.map(|text| plain(name, text)).transpose()
}

/// No payload is an empty one, so that a missing field is named rather than the payload. Anything else has to be an object: the deserialiser
/// would take an array for one, by position.
fn read<T: DeserializeOwned>(payload: Value) -> Result<T, Refusal> {
    match payload {
        Value::Null => read_at("", Value::Object(Map::new())),
        Value::Object(_) => read_at("", payload),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(bad_request("payload: must be an object")),
    }
}

/// Names the field by its path below `parent`. The deserialiser's own words may repeat the value, so only its "missing" is taken.
fn read_at<T: DeserializeOwned>(parent: &str, payload: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(payload).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        let missing = inner.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let parts = [parent, if path == "." { "" } else { &path }, missing.unwrap_or("")];
        let field = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        let field = if field.is_empty() { "payload".to_owned() } else { shortened(&field) };
        bad_request(format!("{field}: {}", if missing.is_some() { "is missing" } else { "has a wrong type or value" }))
    })
}

fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

/// Names come from the client: only so much of one is repeated.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Digits in one request.
const DTMF_TONES_MAX: usize = 32;

/// The longest digit or gap, as in the W3C's `insertDTMF`.
const DTMF_MILLIS_MAX: u64 = 6000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0190a8d0-0000-7000-8000-000000000001";

    fn refused(event: &str, payload: Value) -> (Code, String) {
        let refusal = action(event, payload).expect_err("is refused");
        (refusal.code, refusal.message)
    }

    fn bad(message: &str) -> (Code, String) {
        (Code::BadRequest, message.to_owned())
    }

    #[test]
    fn an_event_is_known_where_it_can_be_read() {
        for event in EVENTS {
            let unknown = matches!(action(event, Value::Null), Err(refusal) if refusal.message.starts_with("unknown event"));
            assert_eq!(unknown, event == "auth:refresh", "{event}");
        }
        assert_eq!((known_event("call:dial"), known_event("call:explode")), (Some("call:dial"), None));
    }

    #[test]
    fn the_examples_of_the_original_readme_are_understood() {
        assert!(matches!(action("webrtc:get-router-capabilities", Value::Null), Ok(Action::GetRouterCapabilities)));
        let send = action("webrtc:create-transport", json!({"direction": "send"}));
        assert!(matches!(send, Ok(Action::CreateTransport { direction: Direction::Send })));
        let dial = action("call:dial", json!({"phoneNumber": "+1234567890", "campaignId": "campaign-uuid", "leadId": "lead-uuid"}));
        let Ok(Action::Dial(dial)) = dial else { panic!("{dial:?}") };
        assert_eq!((dial.phone_number.as_str(), dial.lead_id.as_deref()), ("+1234567890", Some("lead-uuid")));
        assert!(matches!(action("call:mute", json!({"callId": ID, "muted": true})), Ok(Action::Mute { muted: true, .. })));
        let dtmf = action("call:dtmf", json!({"callId": ID, "tone": "1"}));
        let Ok(Action::Dtmf(dtmf)) = dtmf else { panic!("{dtmf:?}") };
        assert_eq!((dtmf.duration, dtmf.gap, dtmf.method), (Duration::from_millis(100), Duration::from_millis(70), DtmfMethod::Auto));
        let transfer = action("call:transfer", json!({"callId": ID, "target": "+1987654321", "transferType": "blind"}));
        assert!(matches!(transfer, Ok(Action::Transfer { kind: TransferKind::Blind, .. })));
        for event in ["call:hold", "call:unhold", "call:hangup", "call:answer"] {
            assert!(action(event, json!({"callId": ID})).is_ok(), "{event}");
        }
    }

    #[test]
    fn what_mediasoup_client_sends_is_understood() {
        let fingerprint = json!({"algorithm": "sha-256", "value": "AA:BB"});
        let connect = json!({"transportId": ID, "dtlsParameters": {"role": "client", "fingerprints": [fingerprint]}});
        assert!(matches!(action("webrtc:connect-transport", connect), Ok(Action::ConnectTransport { .. })));
        let produce = json!({"transportId": ID, "kind": "audio", "appData": {}, "rtpParameters": {
            "mid": "0", "codecs": [{"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2,
                                    "parameters": {"minptime": 10, "useinbandfec": 1}, "rtcpFeedback": []}],
            "headerExtensions": [{"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": 4, "encrypt": false, "parameters": {}}],
            "encodings": [{"ssrc": 1234, "dtx": false}], "rtcp": {"cname": "x", "reducedSize": true}, "msid": "s t"}});
        assert!(matches!(action("webrtc:produce", produce), Ok(Action::Produce { .. })));
        let consume = json!({"transportId": ID, "producerId": ID, "callId": null, "rtpCapabilities": {"codecs": []}});
        assert!(matches!(action("webrtc:consume", consume), Ok(Action::Consume { producer: Some(_), call: None, .. })));
        assert!(matches!(action("webrtc:get-stats", Value::Null), Ok(Action::GetStats { transport: None, call: None })));
    }

    #[test]
    fn a_missing_field_or_a_wrong_type_is_named_and_its_value_is_not_repeated() {
        assert_eq!(refused("call:dial", Value::Null), bad("phoneNumber: is missing"));
        assert_eq!(refused("call:dial", json!({"phoneNumber": 4930123})), bad("phoneNumber: has a wrong type or value"));
        assert_eq!(refused("call:dial", json!("4930123")), bad("payload: must be an object"));
        assert_eq!(refused("call:mute", json!({"callId": ID})), bad("muted: is missing"));
        assert_eq!(refused("call:dial", json!({"phoneNumber": "1", "headers": {"X-A": 5}})), bad("headers.X-A: has a wrong type or value"));
        let nested = json!({"transportId": ID, "dtlsParameters": {"fingerprints": [{"algorithm": "sha-256"}]}});
        assert_eq!(refused("webrtc:connect-transport", nested), bad("dtlsParameters.fingerprints[0].value: is missing"));
        let produce = json!({"transportId": ID, "kind": "audio", "rtpParameters": {}});
        assert_eq!(refused("webrtc:produce", produce), bad("rtpParameters.codecs: is missing"));
        let token = |payload| refreshed_token(payload).map_err(|refusal| refusal.message);
        assert_eq!(token(json!({"token": "t"})), Ok("t".to_owned()));
        assert_eq!(token(Value::Null), Err("token: is missing".to_owned()));
        assert_eq!(token(json!(["t"])), Err("payload: must be an object".to_owned()));
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(refused("webrtc:create-transport", json!({"direction": "both"})).1, "direction: must be send or recv");
        assert_eq!(refused("call:reject", json!({"callId": ID, "code": 404})).1, "code: must be 480, 486 or 603");
        assert_eq!(refused("call:dtmf", json!({"callId": ID, "tone": "x"})).0, Code::BadRequest);
        assert_eq!(refused("call:dtmf", json!({"callId": ID, "tone": "1".repeat(33)})).0, Code::BadRequest);
        assert_eq!(refused("call:dtmf", json!({"callId": ID, "tone": "1", "duration": 1_000_000})).1, "duration: must be 40 to 6000 ms");
        assert_eq!(
            refused("call:transfer", json!({"callId": ID, "target": "7", "transferType": "warm"})),
            bad("consultCallId: is missing")
        );
        assert_eq!(refused("call:dial", json!({"phoneNumber": " "})).1, "phoneNumber: must not be empty");
    }

    #[test]
    fn ids_that_are_none_of_ours_are_unknown_ids() {
        assert_eq!(refused("call:hangup", json!({"callId": "x"})).0, Code::CallNotFound);
        assert_eq!(refused("webrtc:close-transport", json!({"transportId": "x"})).0, Code::TransportNotFound);
        assert_eq!(refused("webrtc:pause-producer", json!({"producerId": "x"})).0, Code::ProducerNotFound);
        assert_eq!(refused("webrtc:close-consumer", json!({"consumerId": "x"})).0, Code::ConsumerNotFound);
    }

    #[test]
    fn video_is_refused_by_its_kind() {
        let video = json!({"transportId": ID, "kind": "video", "rtpParameters": {}});
        assert_eq!(refused("webrtc:produce", video).0, Code::UnsupportedKind);
    }

    #[test]
    fn unknown_events_are_named_shortly() {
        assert_eq!(refused("call:explode", Value::Null), bad("unknown event \"call:explode\""));
        assert!(refused(&"x".repeat(10_000), Value::Null).1.len() < 100);
    }

    #[test]
    fn nothing_that_reaches_sip_can_hold_a_line_break() {
        for field in ["phoneNumber", "campaignId", "leadId", "callerId", "clientCallId", "codec"] {
            let mut payload = json!({"phoneNumber": "1"});
            payload[field] = json!("1\r\nX-Evil: 1");
            assert_eq!(refused("call:dial", payload).1, format!("{field}: is too long or holds control characters"));
        }
        for headers in [json!({"X-A\r\nVia": "1"}), json!({"X-A": "1\r\nVia: x"}), json!({"": "1"}), json!({"X A": "1"})] {
            assert_eq!(refused("call:dial", json!({"phoneNumber": "1", "headers": headers})).0, Code::BadRequest);
        }
        assert_eq!(refused("call:transfer", json!({"callId": ID, "target": "1\n2", "transferType": "blind"})).0, Code::BadRequest);
    }
}
