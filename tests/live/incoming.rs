//! Calls from the PBX: 9180 calls back, five seconds after it was dialled.

use nexus_gateway::codec::Codec;
use serde_json::{Value, json};

use crate::Scenario;
use crate::gateway::Gateway;
use crate::phone::Phone;

pub const SCENARIOS: &[Scenario] =
    &[("an_incoming_call_is_answered", an_incoming_call_is_answered), ("an_incoming_call_is_rejected", an_incoming_call_is_rejected)];

fn an_incoming_call_is_answered(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "answerer", Codec::Opus);
    let call = called_back(&mut phone);
    assert_eq!(gateway.session(&call)["state"], json!("incoming"));
    phone.client.ask("call:answer", json!({"callId": call}));
    let answered = phone.client.call_event("call:answered", &call);
    assert_eq!((&answered["producerId"], &answered["codec"]), (&phone.welcome["producerId"], &json!("opus")));
    phone.hear_own_echo();
    phone.hang_up(&call);
    let told = ["call:incoming", "ack call:answer", "call:answered", "ack call:hangup", "call:ended"];
    assert_eq!(phone.client.told_of(&call), told);
}

fn an_incoming_call_is_rejected(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "rejecter", Codec::Pcmu);
    let call = called_back(&mut phone);
    phone.client.ask("call:reject", json!({"callId": call, "code": 603}));
    let ended = phone.client.call_event("call:ended", &call);
    assert_eq!((&ended["reason"], &ended["endedBy"], &ended["duration"]), (&json!("rejected"), &json!("agent"), &json!(0)));
    assert_eq!(phone.client.told_of(&call), ["call:incoming", "ack call:reject", "call:ended"]);
    assert_eq!(phone.client.refused("call:answer", json!({"callId": call})), "CALL_NOT_FOUND");
}

/// Has the PBX call back, and gives the id of that call.
fn called_back(phone: &mut Phone) -> String {
    let call = phone.call("9180");
    let ended = phone.client.call_event("call:ended", &call);
    assert_eq!(ended["endedBy"], json!("remote"));
    let incoming = phone.client.event("call:incoming");
    assert_eq!((&incoming["phoneNumber"], &incoming["callerName"]), (&json!("9180"), &json!("Demo PBX")));
    assert_eq!((&incoming["to"], &incoming["autoAnswer"]), (&phone.welcome["agentId"], &Value::Bool(false)));
    assert!(incoming["headers"].is_object());
    incoming["callId"].as_str().expect("a callId").to_owned()
}
