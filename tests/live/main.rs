//! The real binary on loopback, with real sockets on both sides: agents over Socket.IO, their media over ICE, DTLS and SRTP, and the
//! built-in demo PBX. Every scenario has an agent of its own and all run at once, so that the whole takes no longer than the slowest.
//!
//! `cargo test --test live [-- PART_OF_A_NAME..]`; `SHARDS` is passed on.

mod connecting;
mod controls;
mod dialing;
mod gateway;
mod incoming;
mod leftovers;
mod lost_socket;
mod malformed;
mod metrics;
#[cfg(feature = "inject-panics")]
mod panics;
mod phone;
mod refusals;
mod rest;
mod socket_io;
mod stranger;
mod tokens;
mod two_calls;
mod unreachable;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use gateway::Gateway;

/// A scenario: its name is a sentence.
type Scenario = (&'static str, fn(&Gateway));

const SCENARIOS: &[&[Scenario]] = &[
    connecting::SCENARIOS,
    dialing::SCENARIOS,
    incoming::SCENARIOS,
    two_calls::SCENARIOS,
    controls::SCENARIOS,
    lost_socket::SCENARIOS,
    refusals::SCENARIOS,
    malformed::SCENARIOS,
    rest::SCENARIOS,
    unreachable::SCENARIOS,
    metrics::SCENARIOS,
    #[cfg(feature = "inject-panics")]
    panics::SCENARIOS,
];

fn main() -> ExitCode {
    // Options of libtest, which some tools give to every test, mean nothing here.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let begun = Instant::now();
    let gateway = Arc::new(Gateway::start_as("live"));
    let running = SCENARIOS.iter().copied().flatten().filter(|(name, _)| is_wanted(name)).map(|&(name, scenario)| {
        let gateway = gateway.clone();
        let run = move || {
            let begun = Instant::now();
            scenario(&gateway);
            begun.elapsed()
        };
        (name, thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread"))
    });
    let running: Vec<_> = running.collect();
    let mut failed = Vec::new();
    for (name, thread) in running {
        match thread.join() {
            Ok(took) => println!("{name} ... ok ({:.1} s)", took.as_secs_f64()),
            Err(_) => failed.push(name),
        }
    }
    // Whatever the scenarios did, nothing of it is left; asked for only when no failed one has left something behind.
    if failed.is_empty() {
        let last = gateway.clone();
        failed.extend(alone("nothing_is_left_once_every_agent_has_gone", move || {
            leftovers::nothing_is_left_once_every_agent_has_gone(&last);
        }));
    }
    let ended = gateway.stop();
    if ended != Some(0) {
        println!("the gateway ended with {ended:?} when it was told to by SIGTERM");
        failed.push("the_gateway_ends_with_0_on_sigterm");
    }
    let name = "a_strangers_ten_thousand_packets_a_second_cost_a_call_nothing";
    if is_wanted(name) {
        failed.extend(alone(name, stranger::a_strangers_ten_thousand_packets_a_second_cost_a_call_nothing));
    }
    println!("\nall scenarios took {:.1} s", begun.elapsed().as_secs_f64());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("the gateway's log:\n{}", gateway.log());
    println!("FAILED: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Runs a scenario beside nothing else; gives its name back if it failed.
fn alone(name: &'static str, scenario: impl FnOnce() + Send + 'static) -> Option<&'static str> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(scenario).expect("a thread");
    match thread.join() {
        Ok(()) => println!("{name} ... ok"),
        Err(_) => return Some(name),
    }
    None
}
