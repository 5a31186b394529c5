//! Panics on purpose, everywhere: what panics ends, is told, and takes nothing else with it.

use std::time::Duration;

use nexus_gateway::call::command::{Action, Reply};
use nexus_gateway::call::error::Code;
use nexus_gateway::call::event::{CallEvent, EndReason, EndedBy, Event, TransportState};
use nexus_gateway::ids::CallId;
use nexus_harness::lab::Lab;
use nexus_harness::link::LinkQuality;

use crate::{SECOND, agent_with_media, end_of, is_answered, on, terminal};

/// Dials a number whose call panics at these places.
fn dial_to_panic(lab: &mut Lab, agent: usize, number: &str, places: &str) -> CallId {
    lab.dial_with(agent, number, vec![("X-Panic".to_owned(), places.to_owned())])
}

fn talk(lab: &mut Lab, agent: usize, number: &str) -> CallId {
    let call = lab.dial(agent, number);
    assert!(lab.run_until(10 * SECOND, |lab| is_answered(lab, agent, call)), "{number} does not answer");
    call
}

fn speak(lab: &mut Lab, agent: usize) {
    let now = lab.now;
    lab.agents[agent].start_speaking(now);
}

/// An agent that talks to the echo while a scenario goes on, and has to hear every frame of its own, in order and without a gap.
fn beside_a_bystander(scenario: impl Fn(&mut Lab, usize)) {
    on(LinkQuality::PERFECT, &[0], |lab| {
        let bystander = agent_with_media(lab, "bystander");
        let call = talk(lab, bystander, "9196");
        let victim = agent_with_media(lab, "victim");
        lab.run(SECOND);
        lab.agents[bystander].heard.clear();
        speak(lab, bystander);
        scenario(lab, victim);
        lab.run(2 * SECOND);
        lab.agents[bystander].speaking = false;
        lab.run(SECOND);
        let agent = &lab.agents[bystander];
        assert_eq!(agent.frames_returned(), agent.frames_spoken(), "the bystander misses frames");
        let sequences: Vec<u64> = agent.heard.iter().map(|(_, received)| received.sequence).collect();
        assert!(sequences.len() > 100 && sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "the bystander's stream has a gap");
        assert!(terminal(lab, bystander, call).is_none());
        assert!(matches!(lab.request(bystander, Action::Hangup { call }), Ok(Reply::Done)));
    });
}

/// The call has ended by our own fault, once, and the PBX has been told.
fn is_ended_by_fault(lab: &mut Lab, agent: usize, call: CallId, pbx_calls_left: usize) {
    let CallEvent::Ended(end) = end_of(lab, agent, call, 10 * SECOND) else { panic!("not ended") };
    assert_eq!((end.ended_by, end.reason), (EndedBy::Gateway, EndReason::Internal));
    assert_eq!(lab.pbx.stats().calls, pbx_calls_left, "the PBX was not told, or too much");
}

#[test]
fn a_panic_in_one_call_ends_that_call_and_not_the_agents_other_one() {
    // How often each panics: by force takes one panic more than by the ordinary way.
    for (places, panics) in [("invited", 1), ("answered", 1), ("uplink", 1), ("downlink", 1), ("timer", 1), ("end", 1), ("end*9", 2)] {
        println!("at {places}");
        beside_a_bystander(|lab, victim| {
            lab.panics_expected = panics;
            let first = talk(lab, victim, "9196");
            let call = dial_to_panic(lab, victim, "9196", places);
            if places.starts_with("end") {
                assert!(lab.run_until(10 * SECOND, |lab| is_answered(lab, victim, call)));
                let refused = lab.request(victim, Action::Hangup { call }).unwrap_err();
                assert_eq!(refused.code, Code::Internal);
            }
            speak(lab, victim);
            is_ended_by_fault(lab, victim, call, 2);

            assert!(terminal(lab, victim, first).is_none());
            lab.ask(victim, Action::Unhold { call: first });
            lab.run(SECOND);
            let before = lab.agents[victim].frames_returned();
            lab.run(2 * SECOND);
            assert_eq!(lab.agents[victim].frames_returned() - before, 100, "the agent's first call goes on");
            lab.agents[victim].speaking = false;
            assert!(matches!(lab.request(victim, Action::Hangup { call: first }), Ok(Reply::Done)));
        });
    }
}

#[test]
fn a_call_panics_in_the_sip_layer_and_ends_like_any_other() {
    beside_a_bystander(|lab, victim| {
        lab.panics_expected = 1;
        let call = talk(lab, victim, "9196");
        lab.shard.inject("sip", None);
        // The answer to the re-INVITE is what panics.
        let hold = lab.ask(victim, Action::Hold { call });
        is_ended_by_fault(lab, victim, call, 1);
        assert_eq!(lab.answer(hold).expect("an answer").unwrap_err().code, Code::Internal);
    });
}

#[test]
fn a_request_whose_call_panics_while_the_far_side_is_waited_for_is_answered() {
    beside_a_bystander(|lab, victim| {
        lab.panics_expected = 1;
        let call = dial_to_panic(lab, victim, "9196", "offered");
        assert!(lab.run_until(10 * SECOND, |lab| is_answered(lab, victim, call)));
        let hold = lab.ask(victim, Action::Hold { call });
        is_ended_by_fault(lab, victim, call, 1);
        let refusal = lab.answer(hold).expect("an answer").unwrap_err();
        assert_eq!((refusal.code, refusal.code.retryable()), (Code::Internal, true));
    });
}

#[test]
fn a_request_that_panics_outside_of_any_call_is_refused_and_nothing_ends() {
    beside_a_bystander(|lab, victim| {
        lab.panics_expected = 1;
        lab.shard.inject("request", None);
        assert_eq!(lab.request(victim, Action::GetRouterCapabilities).unwrap_err().code, Code::Internal);
        assert!(lab.request(victim, Action::GetRouterCapabilities).is_ok());
    });
}

#[test]
fn an_incoming_call_that_panics_before_it_is_one_is_answered_500() {
    beside_a_bystander(|lab, victim| {
        lab.panics_expected = 1;
        lab.dial(victim, "9180");
        // It calls back five seconds later.
        lab.run(4 * SECOND);
        lab.shard.inject("ringing", None);
        lab.run(4 * SECOND);
        assert_eq!((lab.stats().calls, lab.pbx.stats().calls), (1, 1), "only the bystander's is left");
        let is_incoming = |event: &Event| matches!(event, Event::Call { event: CallEvent::Incoming(_), .. });
        assert!(!lab.agents[victim].events.iter().any(|(_, event)| is_incoming(event)));
    });
}

#[test]
fn a_transport_that_panics_is_closed_and_its_agents_call_lives() {
    beside_a_bystander(|lab, victim| {
        lab.panics_expected = 1;
        let call = talk(lab, victim, "9196");
        // The next check of whoever's ICE comes first: the bystander's transports rest for that moment.
        let count = |lab: &Lab, agent: usize| {
            let closed = |event: &Event| matches!(event, Event::TransportState { state: TransportState::Closed, .. });
            lab.agents[agent].events.iter().filter(|(_, event)| closed(event)).count()
        };
        let dying = lab.connect("dying");
        lab.shard.inject("transport", None);
        lab.open_media(dying, nexus_gateway::codec::Codec::Pcmu);
        lab.run(5 * SECOND);
        assert_eq!((count(lab, dying), count(lab, victim)), (1, 0), "one transport is closed, and its owner was told");
        lab.agents[dying].send = None;
        lab.agents[dying].recv = None;
        assert!(terminal(lab, victim, call).is_none());
        assert!(matches!(lab.request(victim, Action::Hangup { call }), Ok(Reply::Done)));
    });
}

#[test]
fn a_connect_that_panics_cuts_the_socket_off_and_the_next_one_is_let_in() {
    beside_a_bystander(|lab, victim| {
        lab.panics_expected = 1;
        let call = talk(lab, victim, "9196");
        lab.disconnect(victim);
        lab.shard.inject("connect", None);
        lab.reconnect(victim);
        assert_eq!(lab.agents[victim].socket, None);
        lab.reconnect(victim);
        assert_eq!(lab.agents[victim].welcome.as_ref().expect("a welcome").calls[0].call, call);
        assert!(matches!(lab.request(victim, Action::Hangup { call }), Ok(Reply::Done)));
    });
}

#[test]
fn a_datagram_that_panics_before_anything_is_known_of_it_is_only_lost() {
    on(LinkQuality::PERFECT, &[0], |lab| {
        lab.panics_expected = 7;
        let agent = agent_with_media(lab, "alice");
        let call = talk(lab, agent, "9197");
        lab.shard.inject("datagram*7", None);
        lab.run(5 * SECOND);
        assert_eq!((lab.restarts, terminal(lab, agent, call).is_none()), (0, true));
        assert!(matches!(lab.request(agent, Action::Hangup { call }), Ok(Reply::Done)));
    });
}

#[test]
fn a_call_that_cannot_even_be_thrown_out_kills_the_shard_which_tells_everybody_and_has_a_successor() {
    on(LinkQuality::PERFECT, &[0, 1], |lab| {
        let agents = [0, 1, 2].map(|number| agent_with_media(lab, &format!("agent-{number}")));
        let calls = [0, 1].map(|number| talk(lab, agents[number], "9196"));
        let rings = lab.dial(agents[1], "6408");
        let hold = lab.ask(agents[0], Action::Hold { call: calls[0] });
        // How many a dying shard has is its own affair.
        lab.panics_expected = u64::MAX;
        let worst = dial_to_panic(lab, agents[2], "9196", "uplink,end*9,drop*9");
        assert!(lab.run_until(10 * SECOND, |lab| is_answered(lab, agents[2], worst)));
        let held = lab.answer(hold);
        assert!(matches!(held, Some(Ok(Reply::Done))), "{held:?}");
        let died_at = lab.now;
        speak(lab, agents[2]);
        assert!(lab.run_until(SECOND, |lab| lab.restarts == 1), "the shard is not replaced");
        assert!(lab.now - died_at < Duration::from_millis(100));
        for (agent, call) in [(0, calls[0]), (1, calls[1]), (1, rings), (2, worst)] {
            let Some(CallEvent::Ended(end)) = terminal(lab, agents[agent], call) else { panic!("call of agent {agent} has no end") };
            assert_eq!((end.ended_by, end.reason), (EndedBy::Gateway, EndReason::Internal));
        }
        assert!(agents.iter().all(|agent| lab.agents[*agent].socket.is_none()), "a client is not cut off");
        lab.panics_expected = lab.shard.panics();
        lab.run(SECOND);
        assert_eq!(lab.pbx.stats().calls, 0, "calls of the PBX that were not hung up");

        for agent in agents {
            lab.agents[agent].speaking = false;
            lab.agents[agent].events.clear();
            lab.reconnect(agent);
            assert!(lab.agents[agent].welcome.as_ref().expect("a welcome").calls.is_empty());
        }
        // What has been is still known.
        assert!(matches!(lab.request(agents[0], Action::Hangup { call: calls[0] }), Ok(Reply::Done)));
        lab.open_media(agents[0], nexus_gateway::codec::Codec::Pcmu);
        let again = talk(lab, agents[0], "9196");
        assert!(matches!(lab.request(agents[0], Action::Hangup { call: again }), Ok(Reply::Done)));
    });
}

#[test]
fn sip_that_panics_with_nobody_to_blame_is_borne_four_times_a_minute_and_no_more() {
    on(LinkQuality::PERFECT, &[0], |lab| {
        let agent = agent_with_media(lab, "alice");
        for time in 1..=5 {
            lab.panics_expected = time;
            let call = talk(lab, agent, "9197");
            lab.shard.inject("sip-stray", None);
            // The answer to the BYE is what panics.
            assert!(matches!(lab.request(agent, Action::Hangup { call }), Ok(Reply::Done)));
            lab.run(2 * SECOND);
            assert_eq!(lab.restarts, u64::from(time == 5));
        }
    });
}
