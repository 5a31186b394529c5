//! A lost socket does not end a call; a lost agent does.

use nexus_gateway::codec::Codec;
use serde_json::json;

use crate::Scenario;
use crate::gateway::{Gateway, PATIENCE, until};
use crate::phone::{Phone, auth};
use crate::socket_io::Client;

pub const SCENARIOS: &[Scenario] = &[
    ("a_call_outlives_its_socket_and_is_found_again", a_call_outlives_its_socket_and_is_found_again),
    ("an_agent_who_connects_elsewhere_takes_over", an_agent_who_connects_elsewhere_takes_over),
    ("a_reloaded_page_goes_on_with_transports_of_its_own", a_reloaded_page_goes_on_with_transports_of_its_own),
    ("a_call_ends_once_socket_and_browser_are_gone", a_call_ends_once_socket_and_browser_are_gone),
];

fn a_call_outlives_its_socket_and_is_found_again(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "cut-off", Codec::Opus);
    let call = phone.call("9197");
    let producer = phone.welcome["producerId"].clone();
    let peer = phone.welcome["peerId"].clone();
    let (client, media) = phone.split();
    client.cut();
    until("the lost socket in the agent's figures", PATIENCE, || {
        let stats = gateway.get("/api/webrtc/stats/agent/cut-off").1;
        if stats["connected"] == json!(false) { Ok(()) } else { Err(stats) }
    });
    // Longer than the grace time, which does not run as long as the media is there.
    media.hear(THREE_SECONDS);
    assert_eq!(gateway.session(&call)["state"], json!("answered"));

    let mut client = Client::connect(gateway, &auth("cut-off"));
    let welcome = client.event("connected");
    assert_eq!((&welcome["resumed"], &welcome["producerId"]), (&json!(false), &producer));
    assert_ne!(welcome["peerId"], peer);
    let listed = &welcome["calls"][0];
    assert_eq!((&listed["callId"], &listed["state"], &listed["phoneNumber"]), (&json!(call), &json!("answered"), &json!("9197")));
    assert_eq!(client.event("webrtc:peer-connected")["eventId"], json!(1));
    let mut phone = Phone::resume(client, welcome, media);
    phone.hang_up(&call);
    assert_eq!(phone.client.told_of(&call), ["ack call:hangup", "call:ended"]);
    // The transports are the same as before.
    let call = phone.call("9196");
    phone.hear_own_echo();
    phone.hang_up(&call);
}

fn an_agent_who_connects_elsewhere_takes_over(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "twice", Codec::Opus);
    let call = phone.call("9196");
    let mut newer = Client::connect(gateway, &auth("twice"));
    let welcome = newer.event("connected");
    assert_eq!(welcome["calls"][0]["callId"], json!(call));
    assert_eq!(phone.client.event("error")["code"], json!("SESSION_TAKEN_OVER"));
    phone.client.event("disconnect");
    let told = phone.client.told();
    assert_eq!(told[told.len() - 2..], ["error", "disconnect"]);
    phone.client = newer;
    phone.hear_own_echo();
    phone.hang_up(&call);
}

fn a_reloaded_page_goes_on_with_transports_of_its_own(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "reloader", Codec::Pcma);
    let call = phone.call("9196");
    phone.hear_own_echo();
    // The old page's network is still there for a moment, as after a crash.
    let (client, media) = phone.split();
    client.cut();
    let mut phone = Phone::with(Client::connect(gateway, &auth("reloader")), Codec::Pcma);
    assert_eq!(phone.welcome["calls"][0]["callId"], json!(call));
    media.wait_closed();
    phone.hear_own_echo();
    phone.hang_up(&call);
}

fn a_call_ends_once_socket_and_browser_are_gone(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "gone", Codec::Opus);
    let call = phone.call("9197");
    drop(phone);
    until("the end of the agent", PATIENCE, || match gateway.get("/api/webrtc/stats/agent/gone") {
        (404, _) => Ok(()),
        (_, stats) => Err(stats),
    });
    let session = gateway.session(&call);
    assert_eq!(session["state"], json!("ended"));
    assert_eq!(gateway.get("/api/webrtc/sessions?agentId=gone").1["count"], json!(0));
}

/// In packets of 20 ms.
const THREE_SECONDS: usize = 150;
