//! `GET /metrics`: what the shards count, in the Prometheus text format. No label names an agent, a call or a number.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::auth::is_local;
use super::hub::Hub;
use super::rest::{refused, shard_stats};
use super::server::Peer;
use crate::call::command::{Scope, ShardStats};
use crate::call::error::{Code, Refusal};
use crate::config::Config;

/// The format that Prometheus and its kin read.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfShard {
    shard: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Dropped {
    shard: u32,
    reason: &'static str,
}

pub(super) async fn metrics(State(hub): State<Arc<Hub>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    if !is_local(peer.0, &headers) && !has_token(&hub.config, &headers) {
        return refused(&Refusal::new(Code::Unauthorized, "metrics are open on loopback, elsewhere by METRICS_TOKEN"));
    }
    let (shards, _) = shard_stats(&hub, Scope::Everything).await;
    match text(&shards) {
        Ok(text) => ([(CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(std::fmt::Error) => refused(&Refusal::new(Code::Internal, "the metrics cannot be written")),
    }
}

fn has_token(config: &Config, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    config
        .metrics_token
        .as_ref()
        .zip(given)
        .is_some_and(|(token, given)| verify_slices_are_equal(token.expose().as_bytes(), given.as_bytes()).is_ok())
}

/// The shards' figures of this moment.
fn text(shards: &[ShardStats]) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("nexus_gateway");
    let mut gauge = |name: &str, help: &str, figure: fn(&ShardStats) -> usize| {
        let family = Family::<OfShard, Gauge>::default();
        for stats in shards {
            family.get_or_create(&OfShard { shard: stats.shard.into() }).set(figure(stats) as i64);
        }
        registry.register(name, help, family);
    };
    gauge("agents", "Agents, connected or within their grace time", |stats| stats.agents);
    gauge("calls", "Live calls", |stats| stats.calls);
    gauge("transports", "Browser transports", |stats| stats.transports);
    gauge("sip_transactions", "Open SIP transactions", |stats| stats.sip_transactions);
    gauge("sip_dialogs", "Established SIP dialogs", |stats| stats.dialogs);
    gauge("port_pairs_in_use", "Port pairs that a SIP leg has for its own", |stats| stats.ports_in_use);
    gauge("deadlines", "Pending deadlines", |stats| stats.deadlines);

    let calls = Family::<OfShard, Counter>::default();
    let dropped = Family::<Dropped, Counter>::default();
    for stats in shards {
        let shard = stats.shard.into();
        calls.get_or_create(&OfShard { shard }).inc_by(stats.calls_total);
        for &(reason, count) in &stats.dropped {
            dropped.get_or_create(&Dropped { shard, reason }).inc_by(count);
        }
    }
    registry.register("calls_started", "Calls since the start", calls);
    registry.register("datagrams_dropped", "Datagrams dropped, by reason", dropped);

    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_stands_with_its_shard_and_reason() {
        let stats = ShardStats { shard: 1, calls: 2, calls_total: 7, dropped: vec![("srtp_rejected", 3)], ..ShardStats::default() };
        let text = text(&[stats]).unwrap();
        for line in [
            "nexus_gateway_calls{shard=\"1\"} 2",
            "nexus_gateway_calls_started_total{shard=\"1\"} 7",
            "nexus_gateway_datagrams_dropped_total{shard=\"1\",reason=\"srtp_rejected\"} 3",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} is not in\n{text}");
        }
    }
}
