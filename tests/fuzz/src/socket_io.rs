//! Client events: each line is an event's name, a space and its payload, which may be anything.
//!
//! In the payload `@transport`, `@producer`, `@consumer` and `@call` stand for the agent's own ids, the newest one of each kind.

use std::collections::HashMap;
use std::time::Duration;

use nexus_gateway::call::command::{RejectStatus, Reply};
use nexus_gateway::call::error::Code;
use nexus_gateway::ids::RequestId;
use nexus_gateway::limits::CLIENT_PAYLOAD_BYTES;
use nexus_gateway::wire;
use serde_json::Value;

use crate::stage::{self, AGENT, Stage};

pub fn run(data: &[u8]) {
    stage::with(|stage| play(stage, data));
}

fn play(stage: &mut Stage, data: &[u8]) {
    assert_eq!(RejectStatus::default().status(), 486);
    let mut ids: HashMap<&str, String> = HashMap::from([("@call", stage.call.to_string())]);
    let mut waiting: Vec<RequestId> = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(LINES_MAX) {
        let text = String::from_utf8_lossy(line);
        let (event, payload) = text.split_once(' ').unwrap_or((&text, ""));
        if let Some(millis) = event.strip_prefix("wait").and_then(|_| payload.trim().parse::<u16>().ok()) {
            stage.lab.run(Duration::from_millis(millis.into()).min(WAIT_MAX));
            continue;
        }
        // What is no JSON is refused by the front and never comes so far.
        let Ok(mut payload) = serde_json::from_str(if payload.is_empty() { "null" } else { payload }) else { continue };
        fill_in(&mut payload, &ids);
        match wire::action(event, payload) {
            Ok(action) => {
                let request = stage.lab.ask(AGENT, action);
                match stage.lab.answer(request) {
                    Some(answer) => answered(&answer, &mut ids),
                    None => waiting.push(request),
                }
            }
            Err(refusal) => {
                let known =
                    [Code::BadRequest, Code::UnsupportedKind, Code::TransportNotFound, Code::ProducerNotFound, Code::ConsumerNotFound];
                assert!(known.contains(&refusal.code) || refusal.code == Code::CallNotFound, "{refusal:?}");
                answered(&Err(refusal), &mut ids);
            }
        }
        if stage.lab.agents[AGENT].socket.is_none() {
            break;
        }
    }
    // Everything is answered in time, or when the calls end.
    let give_up_at = stage.lab.now + ANSWER_TIME;
    while !waiting.is_empty() {
        assert!(stage.lab.now < give_up_at, "{} requests have no answer", waiting.len());
        stage.lab.run(Duration::from_millis(200));
        waiting.retain(|&request| stage.lab.answer(request).map(|answer| answered(&answer, &mut ids)).is_none());
    }
    for (_, event) in &stage.lab.agents[AGENT].events {
        let (name, body) = wire::event(event, Some(1));
        assert!(!name.is_empty() && body.is_object() && body.to_string().len() <= BODY_MAX);
    }
    let stats = stage.lab.stats();
    assert!(stats.calls <= 2 && stats.transports <= nexus_gateway::limits::TRANSPORTS_PER_AGENT, "{stats:?}");
}

/// Every answer is an object that says whether it succeeded, and a refusal repeats little of what was sent.
fn answered(answer: &Result<Reply, nexus_gateway::call::error::Refusal>, ids: &mut HashMap<&str, String>) {
    let body = wire::ack(answer);
    assert_eq!(body["success"], Value::Bool(answer.is_ok()));
    match answer {
        Ok(reply) => {
            assert!(body.to_string().len() <= BODY_MAX);
            match reply {
                Reply::Transport(options) => drop(ids.insert("@transport", options.id.to_string())),
                Reply::Producer(producer) => drop(ids.insert("@producer", producer.to_string())),
                Reply::Consumer(consumer) => drop(ids.insert("@consumer", consumer.id.to_string())),
                Reply::Dialed(call) => drop(ids.insert("@call", call.to_string())),
                Reply::Done | Reply::RouterCapabilities(_) | Reply::Stats(_) => {}
            }
        }
        Err(refusal) => {
            assert!(!refusal.message.is_empty() && refusal.message.len() <= MESSAGE_MAX, "{}", refusal.message.len());
            assert!(body["code"].is_string() && body["error"].is_string() && body["retryable"].is_boolean());
        }
    }
}

fn fill_in(value: &mut Value, ids: &HashMap<&str, String>) {
    match value {
        Value::String(text) => {
            if let Some(id) = ids.get(text.as_str()) {
                text.clone_from(id);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| fill_in(value, ids)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill_in(value, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

const LINES_MAX: usize = 16;

/// Longer than a dial waits for media.
const WAIT_MAX: Duration = Duration::from_secs(6);

/// A hold that the PBX does not answer is given up after 32 s (RFC 3261 section 17.1.1.2), behind as many others.
const ANSWER_TIME: Duration = Duration::from_secs(40);

/// A name is cut to 64 characters, of which each may be shown as `\u{10ffff}`, and there are words around it.
const MESSAGE_MAX: usize = 64 * 10 + 128;

const BODY_MAX: usize = CLIENT_PAYLOAD_BYTES;
