//! `GET /metrics`: what the shards, the front and the process count, as Prometheus reads it (OpenMetrics text). Every label has few values: none
//! names an agent, a tenant, a call or a number.

mod process;
mod shards;

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::process::ProcessCollector;
pub(super) use self::shards::Outputs;
use self::shards::ShardCollector;
use super::auth::is_local;
use super::hub::Hub;
use super::rest::refused;
use super::server::Peer;
use crate::call::error::{Code, Refusal};
use crate::config::Config;
use crate::driver::ShardMailbox;
use crate::wire;

/// The format that Prometheus and its kin read.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that `/metrics` shows; what the front itself counts is counted here.
pub(super) struct Metrics {
    registry: Registry,
    connections: Gauge,
    connects: Counter,
    refusals: Family<Refused, Counter>,
    requests: Family<ClientRequest, Counter>,
    events: Family<Event, Counter>,
    http: Family<HttpRequest, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refused {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientRequest {
    event: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Event {
    event: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HttpRequest {
    method: &'static str,
    route: String,
    status: u16,
}

impl Metrics {
    pub(super) fn new(mailboxes: Vec<ShardMailbox>, outputs: Outputs) -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(ProcessCollector));
        let registry = all.sub_registry_with_prefix("nexus_gateway");
        registry.register("build", "What runs here", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register_collector(Box::new(ShardCollector::new(mailboxes, outputs)));
        let (connections, connects, refusals) = (Gauge::default(), Counter::default(), Family::default());
        registry.register("socketio_connections", "Socket.IO connections of agents", connections.clone());
        registry.register("socketio_connects", "Socket.IO connections that were let in", connects.clone());
        registry.register("socketio_refusals", "Socket.IO connections that were turned away, by code", refusals.clone());
        let (requests, events) = (Family::default(), Family::default());
        registry.register("socketio_requests", "Client events, by what they were answered with", requests.clone());
        registry.register("socketio_events", "Events told to clients", events.clone());
        let http = Family::default();
        registry.register("http_requests", "HTTP requests, by route and status", http.clone());
        Self { registry: all, connections, connects, refusals, requests, events, http }
    }

    /// An agent's socket was let in.
    pub(super) fn entered(&self) {
        self.connects.inc();
        self.connections.inc();
    }

    /// One that was let in is gone.
    pub(super) fn left(&self) {
        self.connections.dec();
    }

    /// A socket was turned away.
    pub(super) fn refused(&self, code: Code) {
        self.refusals.get_or_create(&Refused { code: code.as_str() }).inc();
    }

    /// A client event was answered; `event` is the name that the client gave.
    pub(super) fn answered(&self, event: &str, refused: Option<Code>) {
        let event = wire::known_event(event).unwrap_or("unknown");
        self.requests.get_or_create(&ClientRequest { event, code: refused.map_or("OK", Code::as_str) }).inc();
    }

    /// An event was told to a client.
    pub(super) fn told(&self, event: &'static str) {
        self.events.get_or_create(&Event { event }).inc();
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts HTTP requests; the layer around all others.
pub(super) async fn count(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    // The route's pattern, never the path: paths hold ids.
    let route = match request.extensions().get::<MatchedPath>() {
        Some(route) => route.as_str(),
        None if request.uri().path().starts_with("/socket.io") => "/socket.io/",
        None => "other",
    };
    let route = route.to_owned();
    let response = next.run(request).await;
    hub.metrics.http.get_or_create(&HttpRequest { method, route, status: response.status().as_u16() }).inc();
    response
}

pub(super) async fn metrics(State(hub): State<Arc<Hub>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    if !is_local(peer.0, &headers) && !has_token(&hub.config, &headers) {
        return refused(&Refusal::new(Code::Unauthorized, "metrics are open on loopback, elsewhere by METRICS_TOKEN"));
    }
    match hub.metrics.text() {
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
