//! The wire contract: Socket.IO and REST payloads to and from what the core works with. Pure; the types here are the contract's one source.

mod ack;
mod action;
mod event;
mod rest;
mod view;

pub use ack::{ack, error};
pub use action::{action, known_event, refreshed_token};
pub use event::{ConnectedFacts, connected, event, expiring};
pub use rest::{
    AgentStatsBody, CapabilitiesBody, FailureBody, Health, HealthBody, HealthChecks, Service, ServiceFacts, SessionBody, SessionsBody,
    StatsBody, TerminatedBody,
};
pub use view::{LegView, SessionView};

use serde::Serialize;
use serde_json::Value;

/// The version of the contract, told in `connected`. It grows when a client could notice a difference.
pub const PROTOCOL_VERSION: u32 = 1;

/// None of our bodies can fail to become JSON: their keys are text and their numbers finite or `null`.
fn to_json(body: &impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or(Value::Null)
}
