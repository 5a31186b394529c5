//! What REST shows, and to whom.

use nexus_gateway::codec::Codec;
use serde_json::{Value, json};

use crate::Scenario;
use crate::gateway::Gateway;
use crate::phone::Phone;
use crate::tokens::token;

pub const SCENARIOS: &[Scenario] = &[
    ("an_agent_is_seen_by_rest", an_agent_is_seen_by_rest),
    ("rest_shows_a_call_to_whom_it_belongs", rest_shows_a_call_to_whom_it_belongs),
];

fn an_agent_is_seen_by_rest(gateway: &Gateway) {
    let agent = "seen";
    let path = format!("/api/webrtc/stats/agent/{agent}");
    assert_eq!(gateway.get(&path).0, 404);
    let phone = Phone::new(gateway, agent, Codec::Opus);
    let (status, stats) = gateway.get(&path);
    assert_eq!((status, &stats["connected"], &stats["callsActive"], &stats["callsToday"]), (200, &json!(true), &json!(0), &json!(0)));
    let (status, health) = gateway.get("/api/webrtc/health");
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    let (_, capabilities) = gateway.get("/api/webrtc/capabilities/tenant-of-seen");
    let Phone { mut client, .. } = phone;
    assert_eq!(client.ask("webrtc:get-router-capabilities", Value::Null)["capabilities"], capabilities["capabilities"]);
    let codecs = capabilities["capabilities"]["codecs"].as_array().expect("codecs");
    let codecs: Vec<_> = codecs.iter().map(|codec| (codec["mimeType"].as_str().expect("text"), codec["clockRate"].as_u64())).collect();
    let expected = [
        ("audio/opus", 48_000),
        ("audio/PCMU", 8_000),
        ("audio/PCMA", 8_000),
        ("audio/telephone-event", 8_000),
        ("audio/telephone-event", 48_000),
    ];
    assert_eq!(codecs, expected.map(|(name, rate)| (name, Some(rate))));
}

fn rest_shows_a_call_to_whom_it_belongs(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "shown", Codec::Opus);
    let call = phone.call("9196");
    let path = format!("/api/webrtc/sessions/{call}");
    for (agent, role, sees) in [
        ("shown", "agent", true),
        ("shown", "supervisor", true),
        ("other", "agent", false),
        ("other", "supervisor", false),
        ("other", "admin", true),
    ] {
        let token = token(agent, role, 600);
        let (status, body) = gateway.get_as(&token, &path);
        let expected = if sees { (200, Value::Null) } else { (404, json!("CALL_NOT_FOUND")) };
        assert_eq!((status, body["code"].clone()), expected, "{role} {agent}");
        let (_, listed) = gateway.get_as(&token, "/api/webrtc/sessions?agentId=shown");
        assert_eq!(listed["count"], json!(u8::from(sees)), "{role} {agent}");
    }
    let (status, body) = gateway.get_as(&token("shown", "agent", -600), &path);
    assert_eq!((status, &body["code"]), (401, &json!("AUTH_EXPIRED")));
    phone.hang_up(&call);
}
