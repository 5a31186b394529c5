//! What Prometheus scrapes, read by a parser that is not ours.

use std::collections::HashSet;
use std::time::Duration;

use nexus_gateway::codec::Codec;
use prometheus_parse::{Scrape, Value};
use serde_json::json;

use crate::Scenario;
use crate::gateway::{Gateway, PATIENCE, until};
use crate::phone::Phone;

pub const SCENARIOS: &[Scenario] = &[("metrics_count_one_call_once_and_name_nobody", metrics_count_one_call_once_and_name_nobody)];

/// On a gateway of its own: the others' calls would be counted too.
fn metrics_count_one_call_once_and_name_nobody(_: &Gateway) {
    let gateway = Gateway::start_as("metrics");
    let mut phone = Phone::new(&gateway, "somebody", Codec::Opus);
    let call = phone.call("9196");
    phone.hang_up(&call);
    phone.client.refused("call:explode", json!({}));
    let text = until("the call in the metrics", PATIENCE, || {
        let (status, text) = gateway.text("/metrics");
        assert_eq!(status, 200, "{text}");
        let finished = total(&text, "nexus_gateway_calls_finished_total", &[]);
        if finished == 0.0 { Err(json!(text)) } else { Ok(text) }
    });

    let outbound: &[(&str, &str)] = &[("direction", "outbound")];
    for (name, labels, expected) in [
        ("nexus_gateway_calls_started_total", &[][..], 1.0),
        ("nexus_gateway_calls_answered_total", outbound, 1.0),
        ("nexus_gateway_calls_finished_total", &[], 1.0),
        ("nexus_gateway_calls_finished_total", &[("direction", "outbound"), ("result", "ended"), ("reason", "hangup")], 1.0),
        ("nexus_gateway_call_setup_seconds_count", outbound, 1.0),
        ("nexus_gateway_call_setup_seconds_count", &[("direction", "inbound")], 0.0),
        ("nexus_gateway_agents_connected", &[], 1.0),
        ("nexus_gateway_transports", &[], 2.0),
        ("nexus_gateway_calls", &[], 0.0),
        ("nexus_gateway_socketio_connections", &[], 1.0),
        ("nexus_gateway_socketio_requests_total", &[("event", "call:dial"), ("code", "OK")], 1.0),
        ("nexus_gateway_socketio_requests_total", &[("event", "unknown"), ("code", "BAD_REQUEST")], 1.0),
        ("nexus_gateway_socketio_events_total", &[("event", "call:answered")], 1.0),
        ("nexus_gateway_http_requests_total", &[("route", "/socket.io/"), ("status", "101")], 1.0),
        ("nexus_gateway_sip_requests_total", &[("direction", "out"), ("method", "INVITE")], 1.0),
        ("nexus_gateway_sip_requests_total", &[("direction", "out"), ("method", "BYE")], 1.0),
        ("nexus_gateway_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        assert_eq!(total(&text, name, labels), expected, "{name} {labels:?} in\n{text}");
    }
    let setup = total(&text, "nexus_gateway_call_setup_seconds_sum", outbound);
    assert!(setup > 0.0 && setup < PATIENCE.as_secs_f64(), "{setup} s");
    for name in
        ["nexus_gateway_tick_seconds_count", "nexus_gateway_asleep_seconds_total", "process_resident_memory_bytes", "process_open_fds"]
    {
        assert!(total(&text, name, &[]) > 0.0, "{name} in\n{text}");
    }

    every_sample_is_described(&text);
    buckets_add_up(&text);
    for secret in ["somebody", "9196", call.as_str(), phone.welcome["peerId"].as_str().expect("an id")] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    drop(phone);
    until("the agent's end in the metrics", Duration::from_secs(30), || {
        let (_, text) = gateway.text("/metrics");
        let left = total(&text, "nexus_gateway_agents", &[]) + total(&text, "nexus_gateway_socketio_connections", &[]);
        if left == 0.0 { Ok(()) } else { Err(json!(text)) }
    });
}

fn parse(text: &str) -> Scrape {
    Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).expect("metrics that can be parsed")
}

/// The sum of all samples of this name that have these labels.
fn total(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = parse(text).samples;
    let fitting =
        samples.iter().filter(|sample| sample.metric == name && labels.iter().all(|(key, value)| sample.labels.get(key) == Some(*value)));
    fitting
        .map(|sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            Value::Histogram(_) | Value::Summary(_) => panic!("{name} is no number"),
        })
        .sum()
}

/// HELP and TYPE for each, counters named as such, each series once, the end marked.
fn every_sample_is_described(text: &str) {
    let described = |what: &str| -> HashSet<&str> { text.lines().filter_map(|line| line.strip_prefix(what)?.split(' ').nth(1)).collect() };
    let (helped, typed) = (described("# HELP"), described("# TYPE"));
    let mut seen = HashSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a series and its value");
        assert!(seen.insert(series), "{series} twice");
        let name = series.split('{').next().expect("a name");
        let family = ["_total", "_bucket", "_sum", "_count", "_info"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|family| typed.contains(family));
        let family = family.unwrap_or(name);
        assert!(helped.contains(family) && typed.contains(family), "{name} has no HELP or no TYPE");
        let counts = text.contains(&format!("# TYPE {family} counter\n"));
        assert_eq!(counts, name.ends_with("_total"), "{name}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// Each histogram's buckets ascend, and the last one has everything.
fn buckets_add_up(text: &str) {
    let scrape = parse(text);
    let mut histograms = 0;
    for sample in &scrape.samples {
        let Value::Histogram(buckets) = &sample.value else { continue };
        histograms += 1;
        assert!(buckets.is_sorted_by_key(|bucket| bucket.count) && buckets.is_sorted_by_key(|bucket| bucket.less_than), "{sample:?}");
        let labels: Vec<(&str, &str)> = sample.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let last = buckets.last().expect("buckets");
        assert!(last.less_than.is_infinite(), "{sample:?}");
        assert_eq!(last.count, total(text, &format!("{}_count", sample.metric), &labels), "{sample:?}");
    }
    assert!(histograms >= 3, "two directions' set-up, one shard's ticks");
}
