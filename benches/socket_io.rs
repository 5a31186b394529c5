//! What the JSON of Socket.IO costs the front: a client's packet read into a command, an acknowledgement and an event written into a packet, and all
//! that one call needs.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput};
use nexus_gateway::call::command::{Action, LegKind, LegStats, Reply, StreamStats};
use nexus_gateway::call::event::{CallEvent, EndReason, Ended, EndedBy, Event};
use nexus_gateway::ids::{CallId, ProducerId};
use nexus_gateway::wire;
use serde_json::{Value, json};
use uuid::Uuid;

const CALL: CallId = CallId(Uuid::max());

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (dial, hangup) = (dial(), json!(["call:hangup", {"callId": CALL}]).to_string());
    let (dialed, done) = (Reply::Dialed(CALL), Reply::Done);
    let (ringing, answered, ended) = (ringing(), answered(), ended());

    let mut group = criterion.benchmark_group("packet to command");
    for (name, packet) in [("call:dial", &dial), ("call:hangup", &hangup)] {
        group.throughput(Throughput::BytesDecimal(packet.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| read(packet)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("event to packet");
    for (name, event) in [("call:ringing", &ringing), ("call:answered", &answered), ("call:ended", &ended)] {
        group.throughput(Throughput::BytesDecimal(write(event).len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| write(event)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("acknowledgement to packet");
    group.bench_function("call:dial", |bencher| bencher.iter(|| acknowledge(&dialed)));
    group.finish();

    criterion.bench_function("everything of one call", |bencher| {
        bencher.iter(|| {
            black_box((read(&dial), acknowledge(&dialed), write(&ringing), write(&answered)));
            black_box((read(&hangup), acknowledge(&done), write(&ended)));
        });
    });
    criterion.final_summary();
}

fn dial() -> String {
    let dial = json!({
        "phoneNumber": "+1 (555) 123-0001",
        "campaignId": "018f2d9c-77aa-7f3e-9a1b-2f7a34b0c111",
        "leadId": "018f2d9c-77aa-7f3e-9a1b-2f7a34b0c222",
        "callerId": "+15551239999",
        "headers": {"X-Queue": "sales", "X-Priority": "2"},
        "clientCallId": "c-17",
    });
    json!(["call:dial", dial]).to_string()
}

/// As the front does it: the arguments as JSON, then the action.
fn read(packet: &str) -> Action {
    let arguments: Vec<Value> = serde_json::from_str(packet).expect("JSON");
    let mut arguments = arguments.into_iter();
    let name = arguments.next().expect("a name");
    wire::action(name.as_str().expect("a text"), arguments.next().expect("a payload")).expect("a good request")
}

fn write(event: &Event) -> String {
    serde_json::to_string(&wire::event(event, Some(7))).expect("JSON")
}

fn acknowledge(reply: &Reply) -> String {
    serde_json::to_string(&[wire::ack(&Ok(reply.clone()))]).expect("JSON")
}

fn ringing() -> Event {
    Event::Call { call: CALL, event: CallEvent::Ringing { producer: ProducerId(Uuid::max()), early_media: false } }
}

fn answered() -> Event {
    let (producer, answered_at) = (ProducerId(Uuid::max()), SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_861_231_123));
    let event = CallEvent::Answered { producer, codec: "opus", transcoded: false, answered_at, setup: Duration::from_millis(1234) };
    Event::Call { call: CALL, event }
}

fn ended() -> Event {
    let stream = StreamStats { packets: 9_000, bytes: 1_440_000, lost: 3, jitter_ms: Some(1.25) };
    let leg = |leg| LegStats { leg, received: stream, sent: stream, rtt_ms: Some(23.5), mos: Some(4.21) };
    let ended = Ended {
        duration: Duration::from_millis(180_321),
        ended_by: EndedBy::Agent,
        reason: EndReason::Hangup,
        sip_code: None,
        q850: Some(16),
        quality: vec![leg(LegKind::WebRtc), leg(LegKind::Sip)],
    };
    Event::Call { call: CALL, event: CallEvent::Ended(Box::new(ended)) }
}
