//! What an agent lives through, on good networks and on bad ones.

use std::time::Duration;

use nexus_gateway::call::command::{Action, RejectStatus, Reply, TransferKind};
use nexus_gateway::call::error::Code;
use nexus_gateway::call::event::{CallDirection, CallEvent, CallState, EndReason, EndedBy, Event};
use nexus_gateway::ids::CallId;
use nexus_harness::lab::Lab;
use nexus_harness::link::LinkQuality;

use crate::{SECOND, agent_with_media, end_of, is_answered, lost_consent, on, on_every_network, terminal, where_signalling_arrives};

/// Dials and waits for the answer.
fn talk(lab: &mut Lab, agent: usize, number: &str) -> CallId {
    let call = lab.dial(agent, number);
    assert!(lab.run_until(40 * SECOND, |lab| is_answered(lab, agent, call)), "{number} does not answer");
    call
}

/// The incoming call that the PBX makes five seconds after 9180 was dialled; the call to 9180 itself is over by then, or soon after.
fn called_back(lab: &mut Lab, agent: usize) -> CallId {
    let first = lab.dial(agent, "9180");
    let incoming = |lab: &Lab| {
        lab.agents[agent].events.iter().find_map(|(_, event)| match event {
            Event::Call { call, event: CallEvent::Incoming(_) } => Some(*call),
            _ => None,
        })
    };
    assert!(lab.run_until(40 * SECOND, |lab| incoming(lab).is_some()), "nobody calls back");
    assert!(lab.run_until(40 * SECOND, |lab| terminal(lab, agent, first).is_some()), "the call to 9180 does not end");
    incoming(lab).expect("seen a moment ago")
}

fn hang_up(lab: &mut Lab, agent: usize, call: CallId) -> CallEvent {
    assert!(matches!(lab.request(agent, Action::Hangup { call }), Ok(Reply::Done)));
    end_of(lab, agent, call, SECOND)
}

fn failed(event: &CallEvent) -> (Code, Option<u16>) {
    match event {
        CallEvent::Failed { code, sip_code, .. } => (*code, *sip_code),
        other => panic!("not failed: {other:?}"),
    }
}

fn ended(event: &CallEvent) -> (EndedBy, EndReason) {
    match event {
        CallEvent::Ended(ended) => (ended.ended_by, ended.reason),
        other => panic!("not ended: {other:?}"),
    }
}

#[test]
fn a_busy_number_fails_the_call_with_486() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "6486");
        assert_eq!(failed(&end_of(lab, agent, call, 40 * SECOND)), (Code::SipRejected, Some(486)));
    });
}

#[test]
fn an_unknown_number_fails_the_call_with_404() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "6404");
        assert_eq!(failed(&end_of(lab, agent, call, 40 * SECOND)), (Code::SipRejected, Some(404)));
    });
}

#[test]
fn a_number_that_never_answers_is_given_up_after_the_ring_timeout() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let dialled_at = lab.now;
        let call = lab.dial(agent, "6408");
        assert_eq!(failed(&end_of(lab, agent, call, 100 * SECOND)).0, Code::SipTimeout);
        let events = lab.call_events(agent, call);
        let (at, _) = events.last().expect("the terminal event");
        assert!((60 * SECOND..70 * SECOND).contains(&(lab.start + *at - dialled_at)));
    });
}

#[test]
fn a_call_that_rings_can_be_cancelled() {
    where_signalling_arrives(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "6408");
        let ringing = |lab: &Lab| lab.call_events(agent, call).iter().any(|(_, event)| matches!(event, CallEvent::Ringing { .. }));
        assert!(lab.run_until(20 * SECOND, ringing));
        assert_eq!(ended(&hang_up(lab, agent, call)), (EndedBy::Agent, EndReason::Cancelled));
    });
}

#[test]
fn a_call_can_be_cancelled_before_the_pbx_has_said_a_word() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "9196");
        assert_eq!(ended(&hang_up(lab, agent, call)), (EndedBy::Agent, EndReason::Cancelled));
    });
}

#[test]
fn a_far_side_that_hangs_up_ends_the_call_after_three_seconds() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = talk(lab, agent, "9320");
        let end = end_of(lab, agent, call, 40 * SECOND);
        assert_eq!(ended(&end), (EndedBy::Remote, EndReason::Hangup));
    });
    on(LinkQuality::PERFECT, &[4], |lab| {
        let agent = agent_with_media(lab, "alice");
        let call = talk(lab, agent, "9320");
        let CallEvent::Ended(end) = end_of(lab, agent, call, 10 * SECOND) else { panic!("not ended") };
        assert!(end.duration.abs_diff(3 * SECOND) < Duration::from_millis(50), "{:?}", end.duration);
    });
}

#[test]
fn an_incoming_call_is_told_answered_heard_and_hung_up() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = called_back(lab, agent);
        lab.ask(agent, Action::Answer { call });
        assert!(lab.run_until(30 * SECOND, |lab| is_answered(lab, agent, call)), "the answer is not acknowledged");
        let now = lab.now;
        lab.agents[agent].start_speaking(now);
        lab.run(5 * SECOND);
        let returned = lab.agents[agent].frames_returned();
        assert!(returned > 100 || lost_consent(lab, agent), "{returned} frames came back");
        assert_eq!(ended(&hang_up(lab, agent, call)), (EndedBy::Agent, EndReason::Hangup));
    });
}

#[test]
fn an_incoming_call_can_be_rejected() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = called_back(lab, agent);
        let rejected = lab.request(agent, Action::Reject { call, status: RejectStatus::Decline });
        assert!(matches!(rejected, Ok(Reply::Done)), "{rejected:?}");
        assert_eq!(ended(&end_of(lab, agent, call, SECOND)), (EndedBy::Agent, EndReason::Rejected));
    });
}

#[test]
fn an_incoming_call_that_nobody_answers_ends_when_the_caller_gives_up() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = called_back(lab, agent);
        assert_eq!(ended(&end_of(lab, agent, call, 130 * SECOND)), (EndedBy::Remote, EndReason::Cancelled));
    });
}

#[test]
fn early_media_is_told_and_heard_before_the_answer() {
    where_signalling_arrives(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "9183");
        assert!(lab.run_until(60 * SECOND, |lab| is_answered(lab, agent, call)));
        let events = lab.call_events(agent, call);
        let early = events.iter().find(|(_, event)| matches!(event, CallEvent::Ringing { early_media: true, .. })).expect("early media");
        let answered = events.iter().find(|(_, event)| matches!(event, CallEvent::Answered { .. })).expect("an answer");
        let heard = lab.agents[agent].heard.iter().filter(|(at, _)| (early.0..answered.0).contains(at)).count();
        let expected = (answered.0 - early.0).as_millis() as usize / 20;
        assert!(heard > expected / 2, "{heard} of about {expected} frames of ringback were heard");
        assert_eq!(ended(&hang_up(lab, agent, call)), (EndedBy::Agent, EndReason::Hangup));
    });
}

#[test]
fn a_second_call_holds_the_first_and_each_ends_by_itself() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let first = talk(lab, agent, "9197");
        let second = talk(lab, agent, "9196");
        lab.run(10 * SECOND);
        let held = lab.call_events(agent, first).iter().any(|(_, event)| matches!(event, CallEvent::Held { held: true, .. }));
        assert!(held, "the first call is not held");

        let third =
            lab.request(agent, Action::Dial(nexus_gateway::call::command::Dial { phone_number: "9196".to_owned(), ..Default::default() }));
        assert_eq!(third.unwrap_err().code, Code::CallLimit);

        assert_eq!(ended(&hang_up(lab, agent, second)), (EndedBy::Agent, EndReason::Hangup));
        assert!(terminal(lab, agent, first).is_none());
        let unheld = lab.ask(agent, Action::Unhold { call: first });
        let mut outcome = None;
        lab.run(20 * SECOND);
        outcome = lab.answer(unheld).or(outcome);
        assert!(matches!(outcome, Some(Ok(Reply::Done))), "{outcome:?}");
        let before = lab.agents[agent].heard.len();
        lab.run(2 * SECOND);
        assert!(lab.agents[agent].heard.len() - before > 50, "the tone does not come back");
        assert_eq!(ended(&hang_up(lab, agent, first)), (EndedBy::Agent, EndReason::Hangup));
    });
}

#[test]
fn a_lost_socket_keeps_the_call_and_the_next_connection_finds_it() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = talk(lab, agent, "9196");
        let now = lab.now;
        lab.agents[agent].start_speaking(now);
        lab.disconnect(agent);
        lab.run(100 * SECOND);
        let before = lab.agents[agent].frames_returned();
        lab.run(2 * SECOND);
        assert!(lab.agents[agent].frames_returned() - before > 40 || lost_consent(lab, agent), "the echo stopped with the socket");

        lab.reconnect(agent);
        let welcome = lab.agents[agent].welcome.clone().expect("a welcome");
        let calls: Vec<_> = welcome.calls.iter().map(|view| (view.call, view.state, view.direction)).collect();
        assert_eq!(calls, [(call, CallState::Answered, CallDirection::Outbound)]);
        assert_eq!(ended(&hang_up(lab, agent, call)), (EndedBy::Agent, EndReason::Hangup));
    });
}

#[test]
fn an_agent_who_is_gone_with_its_media_loses_the_call_after_the_grace_time() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        talk(lab, agent, "9196");
        lab.disconnect(agent);
        lab.agents[agent].send = None;
        lab.agents[agent].recv = None;
        lab.run(20 * SECOND);
        assert_eq!((lab.stats().calls, lab.pbx.stats().calls), (1, 1), "the grace time is not over");
        lab.run(40 * SECOND);
        assert_eq!((lab.stats().calls, lab.pbx.stats().calls), (0, 0), "the PBX was not told");
    });
}

#[test]
fn a_blind_transfer_is_told_before_the_call_ends() {
    on_every_network(|lab| {
        let agent = agent_with_media(lab, "alice");
        let call = talk(lab, agent, "9196");
        lab.ask(agent, Action::Transfer { call, target: "6486".to_owned(), kind: TransferKind::Blind });
        assert_eq!(ended(&end_of(lab, agent, call, 60 * SECOND)), (EndedBy::Agent, EndReason::Transferred));
        let transferred = lab.call_events(agent, call).iter().any(|(_, event)| matches!(event, CallEvent::Transferred { .. }));
        assert!(transferred);
    });
}
