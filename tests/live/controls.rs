//! What an agent does to a call.

use nexus_gateway::audio::silence;
use nexus_gateway::codec::Codec;
use serde_json::{Value, json};

use crate::Scenario;
use crate::gateway::{Gateway, PATIENCE, leg, until};
use crate::phone::{Phone, spoken_number};

pub const SCENARIOS: &[Scenario] = &[
    ("a_muted_microphone_is_silent_and_the_stream_goes_on", a_muted_microphone_is_silent_and_the_stream_goes_on),
    ("a_held_call_hears_nothing_until_it_is_unheld", a_held_call_hears_nothing_until_it_is_unheld),
    ("controls_of_one_call_run_in_the_order_sent", controls_of_one_call_run_in_the_order_sent),
    ("a_paused_stream_stands_still_and_a_resumed_one_goes_on", a_paused_stream_stands_still_and_a_resumed_one_goes_on),
    ("a_hangup_right_behind_a_transfer_waits_for_it", a_hangup_right_behind_a_transfer_waits_for_it),
    ("digits_come_back_as_they_were_sent", digits_come_back_as_they_were_sent),
    ("a_blind_transfer_ends_the_call", a_blind_transfer_ends_the_call),
];

fn a_muted_microphone_is_silent_and_the_stream_goes_on(gateway: &Gateway) {
    for codec in [Codec::Opus, Codec::Pcmu, Codec::Pcma] {
        let mut phone = Phone::new(gateway, &format!("muted-{}", codec.name()), codec);
        let call = phone.call("9196");
        phone.speak();
        phone.hear_until("speech", |packet| spoken_number(packet).is_some());

        phone.client.ask("call:mute", json!({"callId": call, "muted": true}));
        let muted = phone.client.call_event("call:muted", &call);
        assert_eq!((&muted["muted"], &muted["isMuted"]), (&json!(true), &json!(true)));
        assert_eq!(gateway.session(&call)["muted"], json!(true));
        let first = phone.hear_until("silence", |packet| packet.payload == silence(codec));
        for (index, packet) in (1..).zip(phone.hear(HALF_A_SECOND)) {
            assert_eq!(
                (packet.sequence, packet.payload.as_slice()),
                (first.sequence + index, silence(codec)),
                "frame {index} of the silence"
            );
        }

        phone.client.ask("call:mute", json!({"callId": call, "muted": false}));
        assert_eq!(phone.client.call_event("call:muted", &call)["muted"], json!(false));
        phone.hear_until("speech again", |packet| spoken_number(packet).is_some());
        phone.hang_up(&call);
        let told = ["ack call:mute", "call:muted", "ack call:mute", "call:muted", "ack call:hangup", "call:ended"];
        assert_eq!(phone.client.told_of(&call)[3..], told);
    }
}

fn a_held_call_hears_nothing_until_it_is_unheld(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "holder", Codec::Opus);
    let call = phone.call("9196");
    phone.hear_own_echo();
    let held = |value: bool| json!({"held": value, "isOnHold": value, "by": "local"});
    for hold in [true, false] {
        let event = if hold { "call:hold" } else { "call:unhold" };
        // The second of them changes nothing: it succeeds, and nobody is told.
        let ids = [(); 2].map(|()| phone.client.send(event, json!({"callId": call})));
        for id in ids {
            assert_eq!(phone.client.answer(id)["success"], json!(true));
        }
        let told = phone.client.call_event("call:held", &call);
        let expected = held(hold);
        assert!(expected.as_object().is_some_and(|fields| fields.iter().all(|(field, value)| told[field] == *value)), "{told}");
        assert_eq!(gateway.session(&call)["held"], json!(hold));
    }
    phone.hear_own_echo();
    phone.hang_up(&call);
    let told = phone.client.told_of(&call);
    assert_eq!(told.iter().filter(|name| **name == "call:held").count(), 2);
    let first = |name: &str| told.iter().position(|told| *told == name).expect("told");
    assert!(first("ack call:hold") < first("call:held"), "{told:?}");
}

fn controls_of_one_call_run_in_the_order_sent(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "hurried", Codec::Pcmu);
    let call = phone.call("9196");
    let controls = ["call:hold", "call:unhold", "call:hold", "call:unhold"];
    let ids = controls.map(|event| phone.client.send(event, json!({"callId": call})));
    for id in ids {
        assert_eq!(phone.client.answer(id)["success"], json!(true));
    }
    let held = controls.map(|_| phone.client.call_event("call:held", &call)["held"].clone());
    assert_eq!(held, [true, false, true, false].map(Value::Bool));
    let told = ["ack call:hold", "call:held", "ack call:unhold", "call:held"].repeat(2);
    assert_eq!(phone.client.told_of(&call)[3..], told);
    phone.hear_own_echo();
    phone.hang_up(&call);
}

fn a_paused_stream_stands_still_and_a_resumed_one_goes_on(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "pauser", Codec::Opus);
    let call = phone.call("9197");
    let figure = |session: &Value, leg_name: &str, way: &str| leg(session, leg_name)[way]["packets"].as_u64().expect("a count");
    let last = phone.hear(1)[0].sequence;
    for (pause, resume, id) in [
        ("webrtc:pause-consumer", "webrtc:resume-consumer", json!({"consumerId": phone.consumer})),
        ("webrtc:pause-producer", "webrtc:resume-producer", json!({"producerId": phone.producer})),
    ] {
        phone.speak();
        phone.client.ask(pause, id.clone());
        let before = gateway.session(&call);
        let after = until("half a second of the far side", PATIENCE, || {
            let session = gateway.session(&call);
            let came = figure(&session, "sip", "received") >= figure(&before, "sip", "received") + HALF_A_SECOND as u64;
            if came { Ok(session) } else { Err(session) }
        });
        let (leg, way) = if pause.ends_with("consumer") { ("webrtc", "sent") } else { ("sip", "sent") };
        assert_eq!(figure(&before, leg, way), figure(&after, leg, way), "{pause}");
        phone.client.ask(resume, id);
        until("packets again", PATIENCE, || {
            let session = gateway.session(&call);
            if figure(&session, leg, way) > figure(&after, leg, way) { Ok(()) } else { Err(session) }
        });
        phone.be_quiet();
    }
    // To the browser the pause is no loss.
    for (index, packet) in (1..).zip(phone.hear(HALF_A_SECOND)) {
        assert_eq!(packet.sequence, last + index);
    }
    let stats = phone.client.ask("webrtc:get-stats", json!({"callId": call}))["stats"].clone();
    let names: Vec<_> = stats.as_array().expect("legs").iter().map(|leg| leg["leg"].clone()).collect();
    assert_eq!(names, [json!("webrtc"), json!("sip")]);
    phone.hang_up(&call);
}

fn a_hangup_right_behind_a_transfer_waits_for_it(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "leaver", Codec::Opus);
    let call = phone.call("9196");
    let transfer = phone.client.send("call:transfer", json!({"callId": call, "target": "9197", "transferType": "blind"}));
    let hangup = phone.client.send("call:hangup", json!({"callId": call}));
    for id in [transfer, hangup] {
        assert_eq!(phone.client.answer(id)["success"], json!(true));
    }
    let ended = phone.client.call_event("call:ended", &call);
    assert!(["hangup", "transferred"].iter().any(|reason| ended["reason"] == *reason), "{ended}");
    assert_eq!(phone.client.told_of(&call)[3..5], ["ack call:transfer", "ack call:hangup"]);
}

fn digits_come_back_as_they_were_sent(gateway: &Gateway) {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut phone = Phone::new(gateway, &format!("digits-{}", codec.name()), codec);
        let call = phone.call("7001");
        phone.client.ask("call:dtmf", json!({"callId": call, "tone": "19*#"}));
        phone.client.ask("call:dtmf", json!({"callId": call, "tone": "D", "duration": 200}));
        for (tone, duration) in [("1", 100), ("9", 100), ("*", 100), ("#", 100), ("D", 200)] {
            let digit = phone.client.call_event("call:dtmf-received", &call);
            assert_eq!(digit["tone"], json!(tone));
            let millis = digit["durationMs"].as_u64().expect("a duration");
            assert!((duration - 20..=duration + 20).contains(&millis), "{digit}");
        }
        phone.client.ask("call:dtmf", json!({"callId": call, "tone": "5", "method": "info"}));
        assert_eq!(phone.client.call_event("call:dtmf-received", &call)["tone"], json!("5"));
        phone.hang_up(&call);
    }
}

fn a_blind_transfer_ends_the_call(gateway: &Gateway) {
    let mut phone = Phone::new(gateway, "transferrer", Codec::Opus);
    let call = phone.call("9196");
    phone.client.ask("call:transfer", json!({"callId": call, "target": "+1987654321", "transferType": "blind"}));
    let transferred = phone.client.call_event("call:transferred", &call);
    assert_eq!(transferred["transferType"], json!("blind"));
    assert_eq!(transferred["target"], json!("+1987654321"));
    let ended = phone.client.call_event("call:ended", &call);
    assert_eq!((&ended["reason"], &ended["q850"]), (&json!("transferred"), &Value::Null));
    let told = ["ack call:dial", "call:ringing", "call:answered", "ack call:transfer", "call:transferred", "call:ended"];
    assert_eq!(phone.client.told_of(&call), told);
}

/// In packets of 20 ms.
const HALF_A_SECOND: usize = 25;
