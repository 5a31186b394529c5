//! Whole calls in virtual time: a browser, the gateway's core, the demo PBX, and a network that is as bad as a test wants it.
//!
//! Every test prints its seeds; `NEXUS_SIM_SEED=<n>` repeats one of them alone. Each ends with nothing left: no call, transaction,
//! dialog, port or deadline, in the gateway and in the PBX.

mod calls;
mod models;
mod network;
#[cfg(feature = "inject-panics")]
mod panics;

use std::time::Duration;

use nexus_gateway::call::event::{CallEvent, Event, TransportState};
use nexus_gateway::codec::Codec;
use nexus_gateway::ids::CallId;
use nexus_harness::lab::Lab;
use nexus_harness::link::LinkQuality;

const SECOND: Duration = Duration::from_secs(1);

/// Runs a scenario on a perfect network and on a few bad ones.
fn on_every_network(scenario: impl Fn(&mut Lab)) {
    on(LinkQuality::PERFECT, &[0], &scenario);
    on(LinkQuality::BAD, &[1, 2, 3], &scenario);
}

/// Runs a scenario on networks that lose nothing on the way to the PBX: what SIP does not repeat, a 180 or 183 (RFC 3261 section 13.2.2.1), arrives.
fn where_signalling_arrives(scenario: impl Fn(&mut Lab)) {
    on(LinkQuality::PERFECT, &[0], &scenario);
    on(LinkQuality::JITTERY, &[1, 2, 3], &scenario);
    on(LinkQuality::JITTERY, &[4, 5, 6], |lab| {
        lab.set_browser_quality(LinkQuality::BAD);
        scenario(lab);
    });
}

/// Runs a scenario once for each seed, or for the one in the environment, and then looks for what is left.
fn on(quality: LinkQuality, seeds: &[u64], scenario: impl Fn(&mut Lab)) {
    let given = std::env::var("NEXUS_SIM_SEED").ok().map(|text| vec![text.parse().expect("NEXUS_SIM_SEED is a number")]);
    for &seed in given.as_deref().unwrap_or(seeds) {
        println!("seed {seed}, {quality:?}");
        let mut lab = Lab::new(quality, seed);
        scenario(&mut lab);
        lab.assert_nothing_left();
    }
}

/// An agent whose browser is up.
fn agent_with_media(lab: &mut Lab, name: &str) -> usize {
    let agent = lab.connect(name);
    lab.open_media(agent, Codec::Pcmu);
    assert!(lab.run_until(30 * SECOND, |lab| lab.is_media_up(agent)), "the media of {name} does not come up");
    agent
}

/// Whether the call has been answered.
fn is_answered(lab: &Lab, agent: usize, call: CallId) -> bool {
    lab.call_events(agent, call).iter().any(|(_, event)| matches!(event, CallEvent::Answered { .. }))
}

/// Whether so many of the browser's checks in a row were lost that the gateway stopped its media for a while (RFC 7675): it happens once in
/// some thousand transports on a bad network, and then the media of that time cannot be counted.
fn lost_consent(lab: &Lab, agent: usize) -> bool {
    let lost = |event: &Event| matches!(event, Event::TransportState { state: TransportState::Disconnected, .. });
    lab.agents[agent].events.iter().any(|(_, event)| lost(event))
}

/// The event that ended the call; there must be exactly one once there is any.
fn terminal(lab: &Lab, agent: usize, call: CallId) -> Option<CallEvent> {
    let mut events = lab.call_events(agent, call).into_iter().map(|(_, event)| event);
    let first = events.find(|event| matches!(event, CallEvent::Ended(_) | CallEvent::Failed { .. }))?;
    assert!(events.next().is_none(), "an event behind the terminal one");
    Some(first)
}

/// Waits for the end of a call.
fn end_of(lab: &mut Lab, agent: usize, call: CallId, limit: Duration) -> CallEvent {
    assert!(lab.run_until(limit, |lab| terminal(lab, agent, call).is_some()), "the call does not end");
    lab.run(SECOND);
    terminal(lab, agent, call).expect("seen a moment ago")
}
