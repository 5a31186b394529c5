//! Two calls of one agent: it talks on one at a time.

use nexus_gateway::codec::Codec;
use serde_json::json;

use crate::Scenario;
use crate::gateway::Gateway;
use crate::phone::Phone;

pub const SCENARIOS: &[Scenario] =
    &[("a_second_call_holds_the_first_and_unhold_swaps_them", a_second_call_holds_the_first_and_unhold_swaps_them)];

fn a_second_call_holds_the_first_and_unhold_swaps_them(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "juggler", Codec::Opus);
    let first = phone.call("9196");
    let second = phone.call("9197");
    let held = phone.client.call_event("call:held", &first);
    assert_eq!((&held["held"], &held["isOnHold"], &held["by"]), (&json!(true), &json!(true), &json!("local")));
    assert_eq!(phone.client.refused("call:dial", json!({"phoneNumber": "9196"})), "CALL_LIMIT");
    assert_eq!([&first, &second].map(|call| gateway.session(call)["state"].clone()), [json!("held"), json!("answered")]);

    phone.client.ask("call:unhold", json!({"callId": first}));
    let swapped = [&first, &second].map(|call| phone.client.call_event("call:held", call)["held"].clone());
    assert_eq!(swapped, [json!(false), json!(true)]);
    assert_eq!([&first, &second].map(|call| gateway.session(call)["state"].clone()), [json!("answered"), json!("held")]);
    // The first is the echo: nothing of the second is mixed in.
    phone.hear_own_echo();

    phone.client.ask("call:unhold", json!({"callId": second}));
    let swapped = [&first, &second].map(|call| phone.client.call_event("call:held", call)["held"].clone());
    assert_eq!(swapped, [json!(true), json!(false)]);
    phone.clear();
    phone.hear(ONE_SECOND);

    // A held call is hung up like any other, and the talking one goes on.
    phone.hang_up(&first);
    phone.clear();
    phone.hear(ONE_SECOND);
    phone.hang_up(&second);
    let told = ["ack call:dial", "call:ringing", "call:answered", "ack call:unhold"];
    assert_eq!(phone.client.told_of(&second).iter().filter(|name| **name != "call:held").copied().collect::<Vec<_>>()[..4], told);
}

/// In packets of 20 ms.
const ONE_SECOND: usize = 50;
