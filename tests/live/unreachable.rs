//! A PBX that is not there.

use std::net::UdpSocket;
use std::time::Instant;

use nexus_gateway::codec::Codec;
use serde_json::json;

use crate::Scenario;
use crate::gateway::{Gateway, PATIENCE};
use crate::phone::Phone;

pub const SCENARIOS: &[Scenario] = &[("a_dial_to_a_port_that_refuses_fails_at_once", a_dial_to_a_port_that_refuses_fails_at_once)];

fn a_dial_to_a_port_that_refuses_fails_at_once(_: &Gateway) {
    let nobody = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port that is free a moment later");
    let gateway = Gateway::start_with("unreachable", &[("FREESWITCH_HOST", &nobody.to_string())]);
    let mut phone = Phone::new(&gateway, "unheard", Codec::Opus);
    // The first fails by itself, and does not spoil the second.
    for _ in 0..2 {
        let begun = Instant::now();
        let call = phone.dial("9196");
        let failed = phone.client.call_event("call:failed", &call);
        assert_eq!((&failed["code"], &failed["sipCode"]), (&json!("SIP_UNREACHABLE"), &json!(null)), "{failed}");
        // Unheard of, the INVITE would be repeated for 32 s (RFC 3261 section 17.1.1.2).
        assert!(begun.elapsed() < PATIENCE);
    }
    drop(phone);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
