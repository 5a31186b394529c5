//! Two user agents talk to each other.

use super::*;
use crate::sip::event::{InviteFailure, OfferPending, Reason};
use crate::sip::timers::TIMER_B;

#[test]
fn a_call_on_a_good_link_takes_one_message_each() {
    let mut lab = Lab::new(1, 0.0);
    let (caller, callee) = lab.call();
    lab.agents[B].ring(callee, None, lab.now);
    lab.await_event(A, |event| matches!(event, SipEvent::Progress { status: 180, body: None, .. }).then_some(()));
    lab.agents[B].ring(callee, Some(b"early".to_vec()), lab.now);
    let early = lab.await_event(A, |event| match event {
        SipEvent::Progress { status: 183, body, .. } => Some(body.clone()),
        _ => None,
    });
    assert_eq!(early.as_deref(), Some(&b"early"[..]));
    lab.agents[B].accept(callee, b"answer".to_vec(), lab.now);
    assert_eq!(lab.await_event(A, answered).as_deref(), Some(&b"answer"[..]));
    lab.await_event(B, |event| matches!(event, SipEvent::Acknowledged { body: None, .. }).then_some(()));
    assert_eq!(lab.agents[A].call_id(caller), lab.agents[B].call_id(callee));
    assert_eq!((lab.agents[A].stats().dialogs, lab.agents[B].stats().dialogs), (1, 1));
    lab.agents[A].bye(caller, Some(Reason::q850(16)), lab.now);
    let reason = lab.await_event(B, |event| match event {
        SipEvent::Ended { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, Some(Reason::q850(16)));
    lab.assert_all_ends();
    let lines: Vec<&str> = lab.trace.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert!(lab.events.iter().all(Vec::is_empty), "{:?}", lab.events);
}

#[test]
fn calls_survive_a_link_that_loses_every_fifth_datagram() {
    for seed in 0..60 {
        let mut lab = Lab::new(seed, 0.2);
        let (caller, callee) = lab.call();
        lab.agents[B].ring(callee, None, lab.now);
        lab.run_for(Duration::from_millis(700));
        lab.agents[B].accept(callee, b"answer".to_vec(), lab.now);
        assert_eq!(lab.await_event(A, answered).as_deref(), Some(&b"answer"[..]), "seed {seed}");
        lab.await_event(B, |event| matches!(event, SipEvent::Acknowledged { .. }).then_some(()));
        let (who, session) = if seed % 2 == 0 { (A, caller) } else { (B, callee) };
        lab.agents[who].bye(session, None, lab.now);
        lab.await_event(1 - who, |event| matches!(event, SipEvent::Ended { .. }).then_some(()));
        lab.assert_all_ends();
        lab.events[A].retain(|event| !matches!(event, SipEvent::Progress { .. }));
        assert!(lab.events.iter().all(Vec::is_empty), "seed {seed}: {:?}", lab.events);
    }
}

#[test]
fn a_cancel_at_any_moment_ends_both_sides_exactly_once() {
    for seed in 0..120 {
        let mut lab = Lab::new(seed, if seed % 3 == 0 { 0.2 } else { 0.0 });
        let caller = lab.agents[A].invite(invite_to(address(B)), lab.now).expect("room");
        // The callee answers as soon as it can; the CANCEL leaves somewhere around that.
        let cancel_at = lab.now + Duration::from_millis(seed * 7);
        let (mut cancelled, mut accepted) = (false, false);
        while lab.now - lab.start < Duration::from_secs(60) {
            if !cancelled && lab.now >= cancel_at {
                lab.agents[A].cancel(caller, lab.now);
                cancelled = true;
            }
            if let Some(callee) = lab.events[B].iter().find_map(incoming)
                && !accepted
                && lab.now >= lab.start + Duration::from_millis(300)
            {
                lab.agents[B].accept(callee, b"answer".to_vec(), lab.now);
                accepted = true;
            }
            lab.run_for(Duration::from_millis(7));
        }
        let failures = lab.events[A].iter().filter(|event| matches!(event, SipEvent::Failed { failure: InviteFailure::Cancelled, .. }));
        assert_eq!(failures.count(), 1, "seed {seed}: {:?}", lab.events[A]);
        let ends = lab.events[B]
            .iter()
            .filter(|event| matches!(event, SipEvent::Cancelled { .. } | SipEvent::Ended { .. } | SipEvent::Lost { .. }));
        let called = lab.events[B].iter().filter_map(incoming).count();
        assert_eq!(ends.count(), called, "seed {seed}: {:?}", lab.events[B]);
        lab.assert_all_ends();
    }
}

#[test]
fn a_rejection_reaches_the_caller_through_loss_and_both_forget() {
    for seed in 0..30 {
        let mut lab = Lab::new(seed, 0.2);
        let (_, callee) = lab.call();
        lab.agents[B].reject(callee, 486, vec![("Reason".to_owned(), "Q.850;cause=17".to_owned())], lab.now);
        let failure = lab.await_event(A, |event| match event {
            SipEvent::Failed { failure, .. } => Some(failure.clone()),
            _ => None,
        });
        let InviteFailure::Rejected { status: 486, phrase, reason, .. } = failure else { panic!("seed {seed}: {failure:?}") };
        assert_eq!((phrase.as_str(), reason), ("Busy Here", Some(Reason::q850(17))));
        lab.assert_all_ends();
    }
}

#[test]
fn nobody_there_is_a_timeout_after_timer_b() {
    let mut lab = Lab::new(1, 1.0);
    lab.agents[A].invite(invite_to(address(B)), lab.now).expect("room");
    lab.agents[A].options_ping(address(B), lab.now);
    lab.await_event(A, |event| matches!(event, SipEvent::Failed { failure: InviteFailure::Timeout, .. }).then_some(()));
    assert_eq!(lab.now - lab.start, TIMER_B);
    lab.await_event(A, |event| matches!(event, SipEvent::Pong { status: None, .. }).then_some(()));
    assert_eq!((lab.count(A, "INVITE"), lab.count(A, "OPTIONS")), (7, 11));
    lab.assert_all_ends();
}

#[test]
fn an_unreachable_peer_fails_what_it_has_not_answered() {
    let mut lab = Lab::new(1, 1.0);
    lab.agents[A].invite(invite_to(address(B)), lab.now).expect("room");
    lab.drain();
    lab.agents[A].handle_unreachable(address(B), lab.now);
    lab.await_event(A, |event| matches!(event, SipEvent::Failed { failure: InviteFailure::Unreachable, .. }).then_some(()));
    lab.assert_all_ends();
}

#[test]
fn a_2xx_that_is_never_acknowledged_is_hung_up_and_lost() {
    let mut lab = Lab::new(1, 0.0);
    let (_, callee) = lab.call();
    lab.loss = 1.0;
    lab.agents[B].accept(callee, b"answer".to_vec(), lab.now);
    let accepted_at = lab.now;
    lab.await_event(B, |event| matches!(event, SipEvent::Lost { status: 408, .. }).then_some(()));
    assert_eq!(lab.now - accepted_at, TIMER_B);
    assert_eq!((lab.count(B, "SIP/2.0 200"), lab.count(B, "BYE")), (11, 1));
    lab.agents[A].bye(SessionKey::default(), None, lab.now);
    let caller = lab.agents[A].sessions.keys().next().expect("still calling");
    lab.agents[A].cancel(caller, lab.now);
    lab.assert_all_ends();
}

#[test]
fn a_callee_that_hangs_up_at_once_waits_for_the_ack() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed, 0.2);
        let (_, callee) = lab.call();
        lab.agents[B].accept(callee, b"answer".to_vec(), lab.now);
        lab.agents[B].bye(callee, None, lab.now);
        assert_eq!(lab.count(B, "BYE"), 0);
        lab.await_event(A, answered);
        lab.await_event(A, |event| matches!(event, SipEvent::Ended { .. }).then_some(()));
        lab.assert_all_ends();
        assert!(lab.events[B].is_empty(), "the owner has let go: {:?}", lab.events[B]);
    }
}

#[test]
fn offers_in_mid_call_are_answered_or_refused() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed, 0.2);
        let (caller, callee) = lab.established();
        for (from, session, other) in [(A, caller, callee), (B, callee, caller)] {
            assert_eq!(lab.agents[from].offer(session, b"hold".to_vec(), lab.now), Ok(()));
            assert_eq!(lab.agents[from].offer(session, b"again".to_vec(), lab.now), Err(OfferPending));
            let offered = lab.await_event(1 - from, |event| match event {
                SipEvent::Reoffered { body, .. } => Some(body.clone()),
                _ => None,
            });
            assert_eq!(offered.as_deref(), Some(&b"hold"[..]));
            lab.agents[1 - from].answer_offer(other, Ok(b"held".to_vec()), lab.now);
            let answer = lab.await_event(from, |event| match event {
                SipEvent::OfferAnswered { body, .. } => Some(body.clone()),
                _ => None,
            });
            assert_eq!(answer.as_deref(), Some(&b"held"[..]));
            lab.run_for(Duration::from_secs(5));
        }
        lab.run_for(Duration::from_secs(40));
        assert_eq!(lab.agents[A].offer(caller, b"other".to_vec(), lab.now), Ok(()));
        lab.await_event(B, |event| matches!(event, SipEvent::Reoffered { .. }).then_some(()));
        lab.agents[B].answer_offer(callee, Err(488), lab.now);
        lab.await_event(A, |event| matches!(event, SipEvent::OfferRefused { status: 488, .. }).then_some(()));
        lab.agents[A].bye(caller, None, lab.now);
        lab.await_event(B, |event| matches!(event, SipEvent::Ended { .. }).then_some(()));
        lab.assert_all_ends();
    }
}

#[test]
fn offers_that_cross_are_both_made_in_the_end() {
    for seed in 0..30 {
        let mut lab = Lab::new(seed, if seed % 2 == 0 { 0.0 } else { 0.1 });
        let (caller, callee) = lab.established();
        let sessions = [caller, callee];
        for who in [A, B] {
            assert_eq!(lab.agents[who].offer(sessions[who], b"mine".to_vec(), lab.now), Ok(()));
        }
        let mut answered = 0;
        while answered < 2 {
            assert!(lab.step(), "seed {seed}: {:?}", lab.trace);
            for who in [A, B] {
                for event in std::mem::take(&mut lab.events[who]) {
                    match event {
                        SipEvent::Reoffered { session, .. } => lab.agents[who].answer_offer(session, Ok(b"yours".to_vec()), lab.now),
                        SipEvent::OfferAnswered { .. } => answered += 1,
                        SipEvent::Acknowledged { .. } => {}
                        other => panic!("seed {seed}: {other:?}"),
                    }
                }
            }
        }
        assert!(seed % 2 == 1 || lab.trace.iter().any(|(_, line)| line.starts_with("SIP/2.0 491")));
        lab.agents[B].bye(callee, None, lab.now);
        lab.assert_all_ends();
    }
}

#[test]
fn a_refer_is_accepted_and_reported_on_until_the_end() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed, 0.2);
        let (caller, callee) = lab.established();
        lab.agents[A].refer(caller, "sip:200@pbx.example.com".to_owned(), lab.now);
        let target = lab.await_event(B, |event| match event {
            SipEvent::Refered { target, .. } => Some(target.clone()),
            _ => None,
        });
        assert_eq!(target, "sip:200@pbx.example.com");
        lab.agents[B].respond_refer(callee, 202, lab.now);
        lab.await_event(A, |event| matches!(event, SipEvent::ReferAccepted { .. }).then_some(()));
        lab.agents[B].notify_refer(callee, 100, "Trying", lab.now);
        lab.await_event(A, |event| matches!(event, SipEvent::Notified { status: 100, terminated: false, .. }).then_some(()));
        lab.agents[B].notify_refer(callee, 200, "OK", lab.now);
        lab.await_event(A, |event| matches!(event, SipEvent::Notified { status: 200, terminated: true, .. }).then_some(()));
        lab.agents[A].bye(caller, None, lab.now);
        lab.await_event(B, |event| matches!(event, SipEvent::Ended { .. }).then_some(()));
        lab.assert_all_ends();
    }
}

#[test]
fn the_last_notify_is_told_even_behind_a_bye() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed, 0.0);
        let (caller, callee) = lab.established();
        lab.agents[A].refer(caller, "sip:200@pbx.example.com".to_owned(), lab.now);
        lab.await_event(B, |event| matches!(event, SipEvent::Refered { .. }).then_some(()));
        lab.agents[B].respond_refer(callee, 202, lab.now);
        lab.await_event(A, |event| matches!(event, SipEvent::ReferAccepted { .. }).then_some(()));
        // Both leave together and overtake each other on some seeds.
        lab.agents[B].notify_refer(callee, 200, "OK", lab.now);
        lab.agents[B].bye(callee, None, lab.now);
        lab.await_event(A, |event| matches!(event, SipEvent::Notified { status: 200, terminated: true, .. }).then_some(()));
        lab.await_event(A, |event| matches!(event, SipEvent::Ended { .. }).then_some(()));
        lab.assert_all_ends();
    }
}

#[test]
fn an_info_arrives_once_and_a_session_that_the_peer_forgot_is_lost() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed, 0.2);
        let (caller, callee) = lab.established();
        lab.agents[A].info(caller, "application/dtmf-relay", b"Signal=5".to_vec(), lab.now);
        let (content_type, body) = lab.await_event(B, |event| match event {
            SipEvent::Info { content_type, body, .. } => Some((content_type.clone(), body.clone())),
            _ => None,
        });
        assert_eq!((content_type.as_str(), body.as_slice()), ("application/dtmf-relay", &b"Signal=5"[..]));
        lab.run_for(Duration::from_secs(40));
        assert!(lab.events[B].is_empty(), "seed {seed}: repetitions are not told: {:?}", lab.events[B]);
        lab.agents[B].remove_session(callee);
        lab.agents[A].info(caller, "application/dtmf-relay", b"Signal=6".to_vec(), lab.now);
        lab.await_event(A, |event| matches!(event, SipEvent::Lost { status: 481, .. }).then_some(()));
        lab.assert_all_ends();
    }
}

#[test]
fn a_ping_is_answered_with_what_we_can_do() {
    let mut lab = Lab::new(1, 0.0);
    lab.agents[A].options_ping(address(B), lab.now);
    lab.await_event(A, |event| matches!(event, SipEvent::Pong { status: Some(200), .. }).then_some(()));
    lab.assert_all_ends();
}

#[test]
fn a_full_user_agent_says_so_and_recovers() {
    let mut lab = Lab::new(1, 0.0);
    lab.agents[B].config.sessions_max = 1;
    let (first, first_callee) = lab.call();
    let second = lab.agents[A].invite(invite_to(address(B)), lab.now).expect("room");
    let failed = lab.await_event(A, |event| match event {
        SipEvent::Failed { session, failure } => Some((*session, failure.status())),
        _ => None,
    });
    assert_eq!(failed, (second, 503));
    lab.agents[A].config.sessions_max = 1;
    assert!(lab.agents[A].invite(invite_to(address(B)), lab.now).is_err());
    lab.agents[B].reject(first_callee, 486, Vec::new(), lab.now);
    let failed = lab.await_event(A, |event| match event {
        SipEvent::Failed { session, failure } => Some((*session, failure.status())),
        _ => None,
    });
    assert_eq!(failed, (first, 486));
    assert!(lab.agents[A].invite(invite_to(address(B)), lab.now).is_ok());
    lab.agents[B].config.transactions_max = 0;
    let failed = lab.await_event(A, |event| match event {
        SipEvent::Failed { failure, .. } => Some(failure.status()),
        _ => None,
    });
    assert_eq!(failed, 503);
    lab.assert_all_ends();
}

#[test]
fn credentials_are_sent_when_asked_for_and_at_once_within_the_dialog() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed, if seed == 0 { 0.0 } else { 0.2 });
        let challenge = |algorithm: &str| {
            let value = format!("Digest realm=\"pbx\", nonce=\"n{algorithm}\", algorithm={algorithm}, qop=\"auth\"");
            ("Proxy-Authenticate".to_owned(), value)
        };
        let caller = lab.agents[A].invite(invite_to(address(B)), lab.now).expect("room");
        let first = lab.await_event(B, incoming);
        lab.agents[B].reject(first, 407, vec![challenge("MD5"), challenge("SHA-256")], lab.now);
        let (second, authorization) = lab.await_event(B, |event| match event {
            SipEvent::Incoming { session, call } => Some((*session, call.header("Proxy-Authorization")?.to_owned())),
            _ => None,
        });
        assert!(authorization.contains("algorithm=SHA-256") && authorization.contains("username=\"trunk\""), "{authorization}");
        assert!(authorization.contains("nc=00000001") && authorization.contains("uri=\"sip:9196@"), "{authorization}");
        lab.agents[B].accept(second, b"answer".to_vec(), lab.now);
        lab.await_event(A, answered);
        lab.await_event(B, |event| matches!(event, SipEvent::Acknowledged { .. }).then_some(()));
        // The nonce is used again, counted on.
        lab.agents[A].bye(caller, None, lab.now);
        let bye = lab.agents[A].clients.values().find(|client| client.purpose == Purpose::Bye).expect("a BYE").request.clone();
        assert!(bye.headers.get("Proxy-Authorization").is_some_and(|value| value.contains("nc=00000002")));
        assert_eq!(bye.headers.cseq_number(), 3);
        lab.await_event(B, |event| matches!(event, SipEvent::Ended { .. }).then_some(()));
        lab.assert_all_ends();
    }
}

#[test]
fn wrong_credentials_are_refused_once_but_a_stale_nonce_is_not_a_refusal() {
    let mut lab = Lab::new(1, 0.0);
    lab.agents[A].invite(invite_to(address(B)), lab.now).expect("room");
    let challenge = |stale: &str| vec![("WWW-Authenticate".to_owned(), format!("Digest realm=\"pbx\", nonce=\"{stale}\"{stale}"))];
    for stale in ["", ", stale=true", ""] {
        let session = lab.await_event(B, incoming);
        lab.agents[B].reject(session, 401, challenge(stale), lab.now);
    }
    let failed = lab.await_event(A, |event| match event {
        SipEvent::Failed { failure, .. } => Some(failure.status()),
        _ => None,
    });
    assert_eq!((failed, lab.count(A, "INVITE")), (401, 3));
    lab.assert_all_ends();
}
