//! What a bad network does to a call.

use std::time::Duration;

use nexus_gateway::call::command::{Action, Reply};
use nexus_gateway::call::event::{CallEvent, EndReason};
use nexus_gateway::shard::io::Input;
use nexus_harness::lab::{Lab, pbx_sip};
use nexus_harness::link::LinkQuality;

use crate::{SECOND, agent_with_media, end_of, is_answered, lost_consent, on, terminal};

#[test]
fn a_call_comes_up_and_is_heard_under_ten_percent_loss_jitter_and_reordering() {
    let seeds: Vec<u64> = (100..120).collect();
    on(LinkQuality::BAD, &seeds, |lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "+4930123456");
        assert!(lab.run_until(40 * SECOND, |lab| is_answered(lab, agent, call)), "not answered");
        let now = lab.now;
        lab.agents[agent].start_speaking(now);
        lab.run(20 * SECOND);
        lab.agents[agent].speaking = false;
        lab.run(SECOND);

        // Four crossings of a link that loses a tenth leave two thirds.
        let (spoken, returned) = (lab.agents[agent].frames_spoken(), lab.agents[agent].frames_returned());
        let share = returned as f64 / spoken as f64;
        println!("{returned} of {spoken} frames came back");
        assert!((0.58..0.73).contains(&share) || lost_consent(lab, agent), "{returned} of {spoken} frames came back");

        assert!(matches!(lab.request(agent, Action::Hangup { call }), Ok(Reply::Done)));
        let CallEvent::Ended(end) = end_of(lab, agent, call, SECOND) else { panic!("not ended") };
        assert_eq!(end.reason, EndReason::Hangup);
    });
}

#[test]
fn a_perfect_network_returns_every_frame_in_order() {
    on(LinkQuality::PERFECT, &[0], |lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "9196");
        assert!(lab.run_until(10 * SECOND, |lab| is_answered(lab, agent, call)));
        lab.run(SECOND);
        let now = lab.now;
        lab.agents[agent].start_speaking(now);
        lab.run(20 * SECOND);
        lab.agents[agent].speaking = false;
        lab.run(SECOND);
        assert_eq!(lab.agents[agent].frames_returned(), lab.agents[agent].frames_spoken());
        let sequences: Vec<u64> = lab.agents[agent].heard.iter().map(|(_, received)| received.sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "the stream has a gap");
        let marked = lab.agents[agent].heard.iter().filter(|(_, received)| received.marker).count();
        assert!(marked <= 3, "{marked} packets are marked: each makes a receiver start anew");
        assert!(matches!(lab.request(agent, Action::Hangup { call }), Ok(Reply::Done)));
    });
}

/// Every agent dials the echo and speaks; each must hear itself, and nobody else, `settle` after all were answered.
fn everybody_hears_only_itself(lab: &mut Lab, settle: Duration) {
    let agents: Vec<usize> = (0..10).map(|number| agent_with_media(lab, &format!("agent-{number}"))).collect();
    let calls: Vec<_> = agents.iter().map(|agent| lab.dial(*agent, "9196")).collect();
    let answered = |lab: &Lab| agents.iter().zip(&calls).all(|(agent, call)| is_answered(lab, *agent, *call));
    assert!(lab.run_until(40 * SECOND, answered), "not all are answered");
    lab.run(settle);
    // Each begins at another number: a frame tells whose it is.
    for (position, agent) in agents.iter().enumerate() {
        let now = lab.now;
        lab.agents[*agent].start_counting_from(1_000_000 * (position as u32 + 1));
        lab.agents[*agent].start_speaking(now);
    }
    lab.run(5 * SECOND);
    for (position, agent) in agents.iter().enumerate() {
        let own = 1_000_000 * (position as u32 + 1)..1_000_000 * (position as u32 + 2);
        let numbers = lab.agents[*agent].frame_numbers_heard();
        assert!(numbers.len() > 100 || lost_consent(lab, *agent), "agent {position} heard {} frames", numbers.len());
        assert!(numbers.iter().all(|number| own.contains(number)), "agent {position} heard somebody else");
    }
    for (agent, call) in agents.iter().zip(&calls) {
        assert!(matches!(lab.request(*agent, Action::Hangup { call: *call }), Ok(Reply::Done)));
    }
}

#[test]
fn ten_agents_hear_their_own_echo_and_nobody_elses() {
    on(LinkQuality::BAD, &[200, 201], |lab| everybody_hears_only_itself(lab, Duration::ZERO));
}

#[test]
fn calls_that_share_the_pbxs_one_media_port_are_told_apart_by_pairs_of_their_own() {
    for (quality, seed) in [(LinkQuality::PERFECT, 0), (LinkQuality::JITTERY, 300), (LinkQuality::BAD, 301)] {
        println!("seed {seed}, {quality:?}");
        let mut lab = Lab::with_ports(quality, seed, 16, true);
        // By then every leg that collided has been moved by a re-INVITE.
        everybody_hears_only_itself(&mut lab, 10 * SECOND);
        lab.assert_nothing_left();
    }
}

#[test]
fn a_call_without_a_pair_of_its_own_to_move_to_is_overloaded() {
    let mut lab = Lab::with_ports(LinkQuality::PERFECT, 0, 2, true);
    let agents: Vec<usize> = (0..4).map(|number| agent_with_media(&mut lab, &format!("agent-{number}"))).collect();
    let calls: Vec<_> = (agents.iter())
        .map(|agent| {
            let call = lab.dial(*agent, "9196");
            lab.run(5 * SECOND);
            call
        })
        .collect();
    let answered: Vec<bool> = agents.iter().zip(&calls).map(|(agent, call)| is_answered(&lab, *agent, *call)).collect();
    assert_eq!(answered, [true, true, true, false]);
    let CallEvent::Failed { code, .. } = end_of(&mut lab, agents[3], calls[3], SECOND) else { panic!("not failed") };
    assert_eq!(code, nexus_gateway::call::error::Code::Overloaded);
    for (agent, call) in agents.iter().zip(&calls).take(3) {
        assert!(matches!(lab.request(*agent, Action::Hangup { call: *call }), Ok(Reply::Done)));
    }
    lab.assert_nothing_left();
}

#[test]
fn a_pbx_that_falls_silent_ends_the_call_by_the_media_timeout() {
    on(LinkQuality::PERFECT, &[0], |lab| {
        let agent = agent_with_media(lab, "alice");
        let call = lab.dial(agent, "9197");
        assert!(lab.run_until(10 * SECOND, |lab| is_answered(lab, agent, call)));
        lab.set_pbx_quality(LinkQuality { loss: 1.0, ..LinkQuality::PERFECT });
        let CallEvent::Ended(end) = end_of(lab, agent, call, 60 * SECOND) else { panic!("not ended") };
        assert_eq!(end.reason, EndReason::MediaTimeout);
        assert!(end.duration.abs_diff(30 * SECOND) < 2 * SECOND, "{:?}", end.duration);
        lab.set_pbx_quality(LinkQuality::PERFECT);
        // Our BYE was lost with all its repetitions: the PBX must be told by other means.
        let now = lab.now;
        lab.pbx.hang_up_all(now);
    });
}

#[test]
fn an_unreachable_pbx_fails_the_call_when_the_invite_times_out() {
    on(LinkQuality::PERFECT, &[0], |lab| {
        let agent = agent_with_media(lab, "alice");
        lab.set_pbx_quality(LinkQuality { loss: 1.0, ..LinkQuality::PERFECT });
        let call = lab.dial(agent, "9196");
        let CallEvent::Failed { code, .. } = end_of(lab, agent, call, 60 * SECOND) else { panic!("not failed") };
        assert_eq!(code, nexus_gateway::call::error::Code::SipTimeout);
        lab.set_pbx_quality(LinkQuality::PERFECT);
        lab.run(Duration::from_secs(1));
    });
}

#[test]
fn a_pbx_that_the_network_says_cannot_be_reached_fails_the_call_at_once() {
    on(LinkQuality::PERFECT, &[0], |lab| {
        let agent = agent_with_media(lab, "alice");
        lab.set_pbx_quality(LinkQuality { loss: 1.0, ..LinkQuality::PERFECT });
        let dialled_at = lab.now;
        let call = lab.dial(agent, "9196");
        lab.run(Duration::from_millis(1));
        // About another peer it means nothing to this call.
        lab.shard.handle(Input::Unreachable("203.0.113.99:5060".parse().expect("an address")), lab.now);
        lab.run(Duration::from_millis(1));
        assert!(terminal(lab, agent, call).is_none());
        lab.shard.handle(Input::Unreachable(pbx_sip()), lab.now);
        let CallEvent::Failed { code, sip_code, .. } = end_of(lab, agent, call, SECOND) else { panic!("not failed") };
        assert_eq!((code, sip_code), (nexus_gateway::call::error::Code::SipUnreachable, None));
        assert!(lab.now - dialled_at < 3 * SECOND);
        lab.set_pbx_quality(LinkQuality::PERFECT);
        lab.run(Duration::from_secs(10));
    });
}
