//! Being let in, and being refused.

use serde_json::json;

use crate::Scenario;
use crate::gateway::{GRACE, Gateway};
use crate::phone::auth;
use crate::socket_io::Client;
use crate::tokens::token;

pub const SCENARIOS: &[Scenario] = &[
    ("the_greeting_comes_first_and_says_everything", the_greeting_comes_first_and_says_everything),
    ("the_token_is_the_truth", the_token_is_the_truth),
    ("a_wrong_token_is_refused_with_its_code", a_wrong_token_is_refused_with_its_code),
];

fn the_greeting_comes_first_and_says_everything(gateway: &Gateway) {
    let mut client = Client::connect(gateway, &auth("greeted"));
    let welcome = client.event("connected");
    let peer = client.event("webrtc:peer-connected");
    assert_eq!(client.told(), ["connected", "webrtc:peer-connected"]);
    assert_eq!((&peer["peerId"], &peer["eventId"]), (&welcome["peerId"], &json!(1)));
    let expected = json!({
        "success": true, "agentId": "greeted", "tenantId": "tenant-of-greeted", "userId": "greeted", "resumed": false, "gap": false,
        "eventId": 0, "graceMs": GRACE.as_millis() as u64, "iceServers": [], "sip": {"registered": false}, "calls": [],
        "limits": {"maxCalls": 2},
    });
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(welcome[field], *value, "{field}");
    }
    for field in ["peerId", "nodeId", "resumeToken", "producerId"] {
        assert!(welcome[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {welcome}");
    }
    assert!(welcome["protocolVersion"].is_u64());
    let time = welcome["serverTime"].as_str().expect("a time");
    assert!(time.len() == "2026-01-01T00:00:00.000Z".len() && time.ends_with('Z'), "{time}");
}

fn the_token_is_the_truth(gateway: &Gateway) {
    let mut client = Client::connect(gateway, &json!({"token": token("a1", "agent", 600)}));
    let welcome = client.event("connected");
    assert_eq!((&welcome["agentId"], &welcome["tenantId"], &welcome["userId"]), (&json!("a1"), &json!("tenant-of-a1"), &json!("u1")));
}

fn a_wrong_token_is_refused_with_its_code(gateway: &Gateway) {
    let good = token("a1", "agent", 600);
    let (signed, _) = good.rsplit_once('.').expect("a JWT");
    let cases = [
        ("AUTH_REQUIRED", json!({})),
        ("AUTH_REQUIRED", json!({"agentId": "a1", "tenantId": "t1"})),
        ("AUTH_INVALID", json!({"token": "your-jwt-token"})),
        ("AUTH_INVALID", json!({"token": format!("{signed}.AAAA")})),
        ("AUTH_INVALID", json!("text")),
        ("AUTH_INVALID", json!({"token": 7})),
        ("AUTH_EXPIRED", json!({"token": token("a1", "agent", -600)})),
        ("AUTH_MISMATCH", json!({"token": good, "agentId": "somebody else"})),
    ];
    for (code, auth) in cases {
        let refusal = Client::try_connect(gateway, &auth).err().unwrap_or_else(|| panic!("{auth} is let in"));
        let message = refusal["message"].as_str().expect("a message");
        assert!(message.starts_with(&format!("{code}: ")), "{auth}: {message}");
    }
}
