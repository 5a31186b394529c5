//! What is wrong is refused by name, at once.

use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use serde_json::{Value, json};

use crate::Scenario;
use crate::gateway::Gateway;
use crate::phone::{Phone, auth};
use crate::socket_io::Client;

pub const SCENARIOS: &[Scenario] = &[
    ("whatever_is_wrong_is_refused_at_once", whatever_is_wrong_is_refused_at_once),
    ("a_refusal_without_a_callback_is_an_error_event", a_refusal_without_a_callback_is_an_error_event),
    ("an_agent_cannot_touch_the_call_of_another", an_agent_cannot_touch_the_call_of_another),
    ("a_control_in_the_wrong_state_is_refused_with_the_state", a_control_in_the_wrong_state_is_refused_with_the_state),
];

fn whatever_is_wrong_is_refused_at_once(gateway: &Gateway) {
    let mut client = Client::connect(gateway, &auth("careless"));
    let cases = [
        ("call:fly", json!({}), "BAD_REQUEST"),
        ("", json!({}), "BAD_REQUEST"),
        ("call:dial", Value::Null, "BAD_REQUEST"),
        ("call:dial", json!({"phoneNumber": 9196}), "BAD_REQUEST"),
        ("call:dial", json!([]), "BAD_REQUEST"),
        ("call:dial", json!({"phoneNumber": "9196", "headers": {"Via": "x"}}), "BAD_REQUEST"),
        ("call:dial", json!({"phoneNumber": "x".repeat(70_000)}), "BAD_REQUEST"),
        ("call:dial", json!({"phoneNumber": "nobody"}), "INVALID_NUMBER"),
        ("call:dial", json!({"phoneNumber": "9196", "codec": "G729"}), "UNSUPPORTED_CODEC"),
        ("call:hangup", json!({"callId": "x"}), "CALL_NOT_FOUND"),
        ("call:hangup", json!({"callId": NOBODY}), "CALL_NOT_FOUND"),
        ("call:answer", json!({"callId": NOBODY}), "CALL_NOT_FOUND"),
        ("call:reject", json!({"callId": NOBODY}), "CALL_NOT_FOUND"),
        ("call:reject", json!({"callId": NOBODY, "code": 200}), "BAD_REQUEST"),
        ("call:hold", json!({"callId": NOBODY}), "CALL_NOT_FOUND"),
        ("call:unhold", json!({"callId": NOBODY}), "CALL_NOT_FOUND"),
        ("call:mute", json!({"callId": NOBODY, "muted": true}), "CALL_NOT_FOUND"),
        ("call:mute", json!({"callId": NOBODY, "muted": "yes"}), "BAD_REQUEST"),
        ("call:dtmf", json!({"callId": NOBODY, "tone": "1"}), "CALL_NOT_FOUND"),
        ("call:dtmf", json!({"callId": NOBODY, "tone": "x"}), "BAD_REQUEST"),
        ("call:transfer", json!({"callId": NOBODY, "target": "9196", "transferType": "blind"}), "CALL_NOT_FOUND"),
        ("call:transfer", json!({"callId": NOBODY, "target": "9196", "transferType": "attended"}), "BAD_REQUEST"),
        ("webrtc:create-transport", json!({"direction": "sideways"}), "BAD_REQUEST"),
        ("webrtc:connect-transport", json!({"transportId": NOBODY, "dtlsParameters": {"fingerprints": []}}), "TRANSPORT_NOT_FOUND"),
        ("webrtc:produce", json!({"transportId": NOBODY, "kind": "audio", "rtpParameters": {"codecs": []}}), "TRANSPORT_NOT_FOUND"),
        ("webrtc:produce", json!({"transportId": NOBODY, "kind": "video", "rtpParameters": {"codecs": []}}), "UNSUPPORTED_KIND"),
        ("webrtc:consume", json!({"transportId": NOBODY}), "TRANSPORT_NOT_FOUND"),
        ("webrtc:pause-producer", json!({"producerId": NOBODY}), "PRODUCER_NOT_FOUND"),
        ("webrtc:close-consumer", json!({"consumerId": NOBODY}), "CONSUMER_NOT_FOUND"),
        ("webrtc:close-transport", json!({"transportId": NOBODY}), "TRANSPORT_NOT_FOUND"),
        ("webrtc:get-stats", json!({"callId": NOBODY}), "CALL_NOT_FOUND"),
    ];
    for (event, payload, code) in cases {
        let begun = Instant::now();
        let shown: String = payload.to_string().chars().take(100).collect();
        assert_eq!(client.refused(event, payload), code, "{event} {shown}");
        assert!(begun.elapsed() < AT_ONCE, "{event} {shown}");
    }
    // Nothing of it did any harm.
    client.ask("webrtc:get-router-capabilities", Value::Null);
}

fn a_refusal_without_a_callback_is_an_error_event(gateway: &Gateway) {
    let mut client = Client::connect(gateway, &auth("laconic"));
    client.emit("call:hold", json!({"callId": NOBODY}));
    let error = client.event("error");
    let expected = [("event", json!("call:hold")), ("code", json!("CALL_NOT_FOUND")), ("callId", json!(NOBODY))];
    assert!(expected.iter().all(|(field, value)| error[field] == *value), "{error}");
    assert!(error["message"].is_string());
}

fn an_agent_cannot_touch_the_call_of_another(gateway: &Gateway) {
    let mut owner = Phone::new(gateway, "owner", Codec::Opus);
    let call = owner.call("9196");
    let mut colleague = auth("colleague");
    colleague["tenantId"] = auth("owner")["tenantId"].clone();
    for auth in [colleague, auth("stranger")] {
        let mut client = Client::connect(gateway, &auth);
        for event in ["call:hangup", "call:hold", "call:answer", "webrtc:get-stats"] {
            assert_eq!(client.refused(event, json!({"callId": call})), "CALL_NOT_FOUND", "{event}");
        }
        assert_eq!(client.refused("webrtc:consume", json!({"transportId": NOBODY, "callId": call})), "TRANSPORT_NOT_FOUND");
    }
    owner.hear_own_echo();
    owner.hang_up(&call);
}

fn a_control_in_the_wrong_state_is_refused_with_the_state(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "hasty", Codec::Opus);
    let call = phone.dial("6408");
    phone.client.call_event("call:ringing", &call);
    let controls = [
        ("call:hold", json!({"callId": call})),
        ("call:dtmf", json!({"callId": call, "tone": "1"})),
        ("call:transfer", json!({"callId": call, "target": "9196", "transferType": "blind"})),
        ("call:answer", json!({"callId": call})),
    ];
    for (event, payload) in controls {
        let answer = phone.client.request(event, payload);
        assert_eq!((&answer["code"], &answer["state"]), (&json!("INVALID_STATE"), &json!("ringing")), "{event}: {answer}");
    }
    phone.client.ask("call:hangup", json!({"callId": call}));
    phone.client.call_event("call:ended", &call);
    assert_eq!(phone.client.refused("call:hold", json!({"callId": call})), "CALL_NOT_FOUND");
}

/// An id of the right form that nobody has.
const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// Nothing of this waits for anything but its turn.
const AT_ONCE: Duration = Duration::from_secs(2);
