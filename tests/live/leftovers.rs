//! After everything: nothing is left.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::{Gateway, until};

/// Once the agents have gone and the timers of the last transactions have run out, every count is zero, and no media arrives any more that
/// the PBX would still send to a call that it believes in.
pub fn nothing_is_left_once_every_agent_has_gone(gateway: &Gateway) {
    let mut dropped_before = Value::Null;
    until("an empty gateway", TIMERS, || {
        let stats = gateway.get("/api/webrtc/stats").1;
        let Some(shards) = stats["shards"].as_array() else { return Err(stats) };
        let mut counts =
            shards.iter().flat_map(|shard| COUNTS.map(|count| &shard[count])).chain([&stats["agents"], &stats["calls"]["active"]]);
        let is_empty = !shards.is_empty() && counts.all(|count| *count == json!(0));
        let dropped: Value = shards.iter().map(|shard| shard["dropped"].clone()).collect();
        let is_quiet = dropped == dropped_before;
        dropped_before = dropped;
        if is_empty && is_quiet { Ok(()) } else { Err(stats.clone()) }
    });
}

/// What a shard holds.
const COUNTS: [&str; 7] = ["agents", "calls", "transports", "sipTransactions", "dialogs", "portsInUse", "deadlines"];

/// RFC 3261's longest, 64 times T1 of 500 ms, and some.
const TIMERS: Duration = Duration::from_secs(40);
