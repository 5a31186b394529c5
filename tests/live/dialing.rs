//! Outbound calls: how they begin, what is heard, and how they end.

use nexus_gateway::codec::Codec;
use serde_json::{Value, json};

use crate::Scenario;
use crate::gateway::{Gateway, PATIENCE, leg, until};
use crate::phone::Phone;
use crate::socket_io::Client;

pub const SCENARIOS: &[Scenario] = &[
    ("a_dialled_number_is_heard_and_hears_us", a_dialled_number_is_heard_and_hears_us),
    ("an_echo_over_opus_is_our_own_bytes", |gateway| echo(gateway, "echo-opus", Codec::Opus)),
    ("an_echo_over_pcmu_is_our_own_bytes", |gateway| echo(gateway, "echo-pcmu", Codec::Pcmu)),
    ("an_echo_over_pcma_is_our_own_bytes", |gateway| echo(gateway, "echo-pcma", Codec::Pcma)),
    ("a_refused_call_fails_with_the_answer_of_the_pbx", a_refused_call_fails_with_the_answer_of_the_pbx),
    ("a_ringing_call_can_be_cancelled", a_ringing_call_can_be_cancelled),
    ("a_hangup_right_behind_the_dial_cancels", a_hangup_right_behind_the_dial_cancels),
    ("the_far_side_can_hang_up", the_far_side_can_hang_up),
    ("early_media_is_heard_before_the_answer", early_media_is_heard_before_the_answer),
    ("a_call_without_a_browser_fails_after_five_seconds", a_call_without_a_browser_fails_after_five_seconds),
    ("a_call_is_terminated_by_rest", a_call_is_terminated_by_rest),
];

fn a_dialled_number_is_heard_and_hears_us(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "dialler", Codec::Opus);
    let request = json!({"phoneNumber": "91-97", "campaignId": "c1", "leadId": "l1", "clientCallId": "mine"});
    let call = phone.client.ask("call:dial", request.clone())["callId"].as_str().expect("a callId").to_owned();
    let ringing = phone.client.call_event("call:ringing", &call);
    assert_eq!((&ringing["producerId"], &ringing["earlyMedia"]), (&phone.welcome["producerId"], &json!(false)));
    let answered = phone.client.call_event("call:answered", &call);
    assert_eq!((&answered["producerId"], &answered["codec"]), (&phone.welcome["producerId"], &json!("opus")));
    assert_eq!(answered["transcoded"], json!(false));
    assert!(answered["setupMs"].as_u64().is_some_and(|millis| (50..10_000).contains(&millis)), "{answered}");
    assert_eq!(phone.client.told_of(&call), ["ack call:dial", "call:ringing", "call:answered"]);
    let again = phone.client.ask("call:dial", request);
    assert_eq!(again["callId"], json!(call), "the same clientCallId is the same call");

    phone.speak();
    let heard = phone.hear(TWO_SECONDS);
    let expected = heard[TWO_SECONDS - 1].sequence - heard[0].sequence + 1;
    let lost = expected - TWO_SECONDS as u64;
    assert!((lost as f64) < 0.005 * expected as f64, "{lost} of {expected} packets are lost");
    assert!(heard.iter().all(|packet| packet.ssrc == heard[0].ssrc && packet.payload_type == Codec::Opus.payload_type()));
    phone.be_quiet();

    let spoken = phone.spoken().packets_sent;
    let legs = until("what was spoken in the call's figures", PATIENCE, || {
        let session = gateway.session(&call);
        let legs = ["webrtc", "sip"].map(|name| leg(&session, name));
        let arrived = legs[0]["received"]["packets"] == json!(spoken) && legs[1]["sent"]["packets"] == json!(spoken);
        if arrived { Ok(legs) } else { Err(session) }
    });
    assert_eq!((&legs[0]["received"]["lost"], &legs[1]["received"]["lost"]), (&json!(0), &json!(0)));
    assert!(legs[0]["sent"]["packets"].as_u64() >= Some(expected), "{legs:?}");

    let session = gateway.session(&call);
    let expected = json!({
        "callId": call, "direction": "outbound", "state": "answered", "phoneNumber": "9197", "campaignId": "c1", "leadId": "l1", "muted": false,
        "held": false, "agentId": "dialler", "tenantId": "tenant-of-dialler", "answeredAt": answered["answeredAt"],
    });
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(session[field], *value, "{field}");
    }
    let (_, listed) = gateway.get("/api/webrtc/sessions?agentId=dialler");
    assert_eq!((&listed["count"], &listed["sessions"][0]["callId"]), (&json!(1), &json!(call)));

    let ended = phone.hang_up(&call);
    let millis = ended["durationMs"].as_u64().expect("a duration");
    assert!(millis >= 1_900 && ended["duration"] == json!(millis / 1000), "{ended}");
    // A hangup of a call that has ended succeeds, and says nothing more.
    phone.client.ask("call:hangup", json!({"callId": call}));
    let end = ["ack call:hangup", "call:ended", "ack call:hangup"];
    assert_eq!(phone.client.told_of(&call)[4..], end);
    let session = gateway.session(&call);
    assert_eq!(session["state"], json!("ended"));
    assert!(session["timeline"].as_array().is_some_and(|timeline| timeline.len() >= 4), "{session}");
    assert_eq!(gateway.get("/api/webrtc/sessions?agentId=dialler").1["count"], json!(0));
}

fn echo(gateway: &Gateway, agent: &str, codec: Codec) {
    let mut phone = Phone::new(gateway, agent, codec);
    let call = phone.call("9196");
    phone.hear_own_echo();
    phone.hang_up(&call);
    // The loudspeaker's stream goes on with the next call as if it were the same.
    let call = phone.call("9196");
    phone.hear_own_echo();
    phone.hang_up(&call);
}

fn a_refused_call_fails_with_the_answer_of_the_pbx(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "refused", Codec::Pcmu);
    for (number, status) in [("6486", 486), ("6404", 404)] {
        let call = phone.dial(number);
        let failed = phone.client.call_event("call:failed", &call);
        assert_eq!((&failed["code"], &failed["sipCode"]), (&json!("SIP_REJECTED"), &json!(status)), "{failed}");
        assert!(failed["error"].is_string() && failed["sipReason"].is_string(), "{failed}");
        assert_eq!(phone.client.told_of(&call), ["ack call:dial", "call:failed"]);
        assert_eq!(gateway.session(&call)["state"], json!("failed"));
    }
}

fn a_ringing_call_can_be_cancelled(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "canceller", Codec::Pcma);
    let call = phone.dial("6408");
    phone.client.call_event("call:ringing", &call);
    assert_eq!(gateway.session(&call)["state"], json!("ringing"));
    phone.client.ask("call:hangup", json!({"callId": call}));
    let ended = phone.client.call_event("call:ended", &call);
    assert_eq!((&ended["reason"], &ended["endedBy"]), (&json!("cancelled"), &json!("agent")));
    assert_eq!((&ended["duration"], &ended["durationMs"]), (&json!(0), &json!(0)));
    assert_eq!(phone.client.told_of(&call), ["ack call:dial", "call:ringing", "ack call:hangup", "call:ended"]);
}

fn a_hangup_right_behind_the_dial_cancels(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "waverer", Codec::Opus);
    let call = phone.dial("6408");
    phone.client.ask("call:hangup", json!({"callId": call}));
    let ended = phone.client.call_event("call:ended", &call);
    assert_eq!((&ended["reason"], &ended["endedBy"]), (&json!("cancelled"), &json!("agent")));
}

fn the_far_side_can_hang_up(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "hung-up-on", Codec::Opus);
    let call = phone.call("9320");
    let ended = phone.client.call_event("call:ended", &call);
    assert_eq!((&ended["reason"], &ended["endedBy"]), (&json!("hangup"), &json!("remote")));
    // It counts from when its 200 leaves, we from when that arrives.
    assert!(ended["durationMs"].as_u64().is_some_and(|millis| (2_500..4_500).contains(&millis)), "{ended}");
    assert_eq!(phone.client.told_of(&call), ["ack call:dial", "call:ringing", "call:answered", "call:ended"]);
}

fn early_media_is_heard_before_the_answer(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "early", Codec::Opus);
    let call = phone.dial("9183");
    let ringing = phone.client.call_event("call:ringing", &call);
    assert_eq!(ringing["earlyMedia"], json!(true));
    phone.hear(SOME_RINGBACK);
    assert_eq!(gateway.session(&call)["state"], json!("early"));
    assert_eq!(phone.client.told_of(&call), ["ack call:dial", "call:ringing"], "heard before it was answered");
    phone.client.call_event("call:answered", &call);
    phone.hear_own_echo();
    phone.hang_up(&call);
}

fn a_call_without_a_browser_fails_after_five_seconds(gateway: &Gateway) {
    let mut client = Client::connect(gateway, &crate::phone::auth("voiceless"));
    let dialed = client.ask("call:dial", json!({"phoneNumber": "9196"}));
    let call = dialed["callId"].as_str().expect("a callId");
    let failed = client.call_event("call:failed", call);
    assert_eq!((&failed["code"], &failed["sipCode"]), (&json!("MEDIA_NOT_READY"), &Value::Null));
    assert_eq!(client.told_of(call), ["ack call:dial", "call:failed"]);
}

fn a_call_is_terminated_by_rest(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "terminated", Codec::Opus);
    let call = phone.call("9197");
    for _ in 0..2 {
        let (status, body) = gateway.post(&format!("/api/webrtc/sessions/{call}/terminate"));
        assert_eq!((status, body), (200, json!({"success": true, "callId": call})));
    }
    let ended = phone.client.call_event("call:ended", &call);
    assert_eq!((&ended["reason"], &ended["endedBy"]), (&json!("terminated"), &json!("admin")));
}

/// In packets of 20 ms.
const TWO_SECONDS: usize = 100;

/// In packets; there are 5 s of it.
const SOME_RINGBACK: usize = 25;
