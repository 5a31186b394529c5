//! Panics on purpose, in a gateway of their own: with the feature `inject-panics`, a call whose INVITE has `X-Panic` panics where that says.

use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use serde_json::{Value, json};

use crate::Scenario;
use crate::gateway::{Gateway, PATIENCE, until};
use crate::phone::{Phone, auth, spoken_number};
use crate::socket_io::Client;

pub const SCENARIOS: &[Scenario] = &[("a_panic_is_contained_in_its_call_and_a_dead_shard_is_back_within_a_second", panics_are_contained)];

fn panics_are_contained(_: &Gateway) {
    let gateway = Gateway::start_as("panics");
    a_call_that_panics_ends_alone_and_both_sides_are_told(&gateway);
    a_dead_shard_is_back_within_a_second(&gateway);
    assert_eq!(gateway.stop(), Some(0));
}

fn a_call_that_panics_ends_alone_and_both_sides_are_told(gateway: &Gateway) {
    let mut victim = Phone::new(gateway, "victim", Codec::Opus);
    let other = victim.call("9196");
    let shard = gateway.session(&other)["shard"].clone();
    let (mut calm, calm_call) = talker_on(gateway, "calm", |on| *on == shard).expect("the victim's shard has room");
    let listening = Listening::new(&calm);
    // A tone comes from the PBX for as long as it believes in the call.
    let call = dial_to_panic(&mut victim, "uplink");
    victim.client.call_event("call:answered", &call);
    victim.speak();
    is_ended_by_fault(&victim.client.call_event("call:ended", &call));

    let strangers = || shard_stats(gateway, &shard)["dropped"]["sip_media_stranger"].clone();
    let mut before = Value::Null;
    until("the PBX to fall silent", PATIENCE, || {
        let count = strangers();
        let is_silent = count == before;
        before.clone_from(&count);
        std::thread::sleep(Duration::from_millis(200));
        if is_silent { Ok(()) } else { Err(count) }
    });
    let stats = shard_stats(gateway, &shard);
    assert_eq!((&stats["panics"], &stats["restarts"], &stats["calls"], &stats["dialogs"]), (&json!(1), &json!(0), &json!(2), &json!(2)));
    let log = gateway.log();
    assert!(log.lines().any(|line| line.contains("a panic in a call") && line.contains(&call)), "{log}");
    assert!(log.lines().any(|line| line.contains("a panic:") && line.contains("src/shard/inject.rs:")), "{log}");
    assert!(!log.contains("9197"), "a number stands in the log: {log}");

    victim.client.ask("call:unhold", json!({"callId": other}));
    victim.hear_own_echo();
    victim.hang_up(&other);
    println!("a call that panicked: {} packets of another one on its shard, none lost", listening.every_packet_has_come(&calm));
    calm.hang_up(&calm_call);
}

fn a_dead_shard_is_back_within_a_second(gateway: &Gateway) {
    let mut victim = Phone::new(gateway, "doomed", Codec::Opus);
    let call = dial_to_panic(&mut victim, "uplink,end*9,drop*9");
    victim.client.call_event("call:answered", &call);
    let shard = gateway.session(&call)["shard"].clone();
    let (mut neighbour, beside) = talker_on(gateway, "neighbour", |on| *on == shard).expect("the victim's shard has room");
    let far = talker_on(gateway, "far", |on| *on != shard);
    let listening = far.as_ref().map(|(phone, _)| Listening::new(phone));

    let died_at = Instant::now();
    victim.speak();
    for (phone, call) in [(&mut victim, &call), (&mut neighbour, &beside)] {
        is_ended_by_fault(&phone.client.call_event("call:ended", call));
        phone.client.wait_cut_off();
    }
    let mut client = Client::connect(gateway, &auth("doomed"));
    let welcome = client.event("connected");
    let back_after = died_at.elapsed();
    assert_eq!(welcome["calls"], json!([]));
    assert_eq!(client.event("webrtc:peer-connected")["eventId"], json!(1));
    println!("a dead shard: its agents told, cut off and let in again after {} ms", back_after.as_millis());
    assert!(back_after < Duration::from_secs(1), "{back_after:?}");
    drop(client);
    assert_eq!(shard_stats(gateway, &shard)["restarts"], json!(1));
    assert_eq!(gateway.get("/api/webrtc/health").1["status"], json!("healthy"));
    assert_eq!(gateway.session(&beside)["state"], json!("ended"), "what has been is still known");

    let mut again = Phone::new(gateway, "doomed", Codec::Opus);
    let call = again.call("9196");
    again.hear_own_echo();
    again.hang_up(&call);
    match (far, listening) {
        (Some((mut phone, call)), Some(listening)) => {
            println!("a dead shard: {} packets of a call on the other one, none lost", listening.every_packet_has_come(&phone));
            phone.hang_up(&call);
        }
        _ => println!("a dead shard: with one shard there is nobody who is not touched"),
    }
}

/// Dials a number with a tone, and whose call panics at these places.
fn dial_to_panic(phone: &mut Phone, places: &str) -> String {
    let answer = phone.client.ask("call:dial", json!({"phoneNumber": "9197", "headers": {"X-Panic": places}}));
    answer["callId"].as_str().expect("a callId").to_owned()
}

/// An agent who talks to the echo on a shard that is wanted, if there is one among some tenants.
fn talker_on(gateway: &Gateway, name: &str, wanted: impl Fn(&Value) -> bool) -> Option<(Phone, String)> {
    (0..TENANTS_TRIED).find_map(|number| {
        let mut phone = Phone::new(gateway, &format!("{name}-{number}"), Codec::Opus);
        let call = phone.call("9196");
        if wanted(&gateway.session(&call)["shard"]) {
            return Some((phone, call));
        }
        phone.hang_up(&call);
        None
    })
}

fn shard_stats(gateway: &Gateway, shard: &Value) -> Value {
    let (status, stats) = gateway.get("/api/webrtc/stats");
    assert_eq!(status, 200, "{stats}");
    let shards = stats["shards"].as_array().expect("shards");
    shards.iter().find(|stats| stats["shard"] == *shard).expect("the shard").clone()
}

fn is_ended_by_fault(ended: &Value) {
    assert_eq!((&ended["reason"], &ended["endedBy"]), (&json!("internal"), &json!("gateway")));
}

/// Somebody who hears its own voice from now on.
struct Listening {
    since: Instant,
}

impl Listening {
    fn new(phone: &Phone) -> Self {
        phone.speak();
        phone.hear_until("the first echo", |packet| spoken_number(packet).is_some());
        phone.clear();
        Self { since: Instant::now() }
    }

    /// Every packet since then, and for a second more, came in order and without a gap; how many they were.
    fn every_packet_has_come(self, phone: &Phone) -> usize {
        let heard = phone.hear(self.since.elapsed().as_millis() as usize / 20 + 50);
        for pair in heard.windows(2) {
            let place = |index: usize| (spoken_number(&pair[index]).expect("own speech"), pair[index].sequence);
            let ((number, sequence), next) = (place(0), place(1));
            assert_eq!(next, (number.wrapping_add(1), sequence + 1));
        }
        phone.be_quiet();
        heard.len()
    }
}

/// A tenant's name decides its shard.
const TENANTS_TRIED: usize = 12;
