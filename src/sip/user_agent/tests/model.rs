//! Whatever two owners do, in whatever order, on whatever link: each session ends once for its owner, both sides agree on which dialogs there
//! are once the timers have run out, and nothing is left behind.

use nexus_harness::model::Model;
use proptest::prelude::*;

use super::*;

#[test]
fn whatever_two_owners_do_on_a_bad_link_they_agree_in_the_end_and_nothing_is_left() {
    Model { name: "two user agents", share: 10 }.check(&steps(), run);
}

/// The REFER was quicker than the 200: the 481 to it was followed by a BYE ahead of the ACK (RFC 3261 section 15), nobody repeated the 200, and
/// the caller had a dialog that nobody else knew.
#[test]
fn a_callee_whose_early_refer_is_not_understood_hangs_up_behind_the_ack() {
    let steps = [
        Step::Invite { who: B, offers: false },
        Step::Wait(15),
        Step::To { who: A, session: 0, does: Does::Accept },
        Step::To { who: A, session: 0, does: Does::Refer },
        Step::Settle,
    ];
    assert_eq!(run(2_000_342, &steps, false), Ok(()));
}

/// The same BYE ahead of the ACK, this time asked for by the owner.
#[test]
fn a_callee_that_hangs_up_behind_an_early_refer_waits_for_the_ack_too() {
    let steps = [
        Step::Invite { who: A, offers: false },
        Step::Wait(25),
        Step::To { who: B, session: 0, does: Does::Accept },
        Step::To { who: B, session: 0, does: Does::Refer },
        Step::To { who: B, session: 0, does: Does::ByeBehindRefer },
        Step::Settle,
    ];
    assert_eq!(run(3_002_022, &steps, false), Ok(()));
}

/// One random step: `who` does something, to any of the sessions that it believes to have.
#[derive(Clone, Copy, Debug)]
enum Step {
    Invite {
        who: usize,
        offers: bool,
    },
    To {
        who: usize,
        session: u8,
        does: Does,
    },
    Ping {
        who: usize,
    },
    /// The transport says that the other cannot be reached.
    Unreachable {
        who: usize,
    },
    /// From now on this share of datagrams is lost, in percent.
    Loss(u8),
    /// In milliseconds.
    Wait(u32),
    /// Nothing is lost for longer than any transaction takes.
    Settle,
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Ring { early_media: bool },
    Accept,
    Reject,
    Cancel,
    Bye,
    ByeBehindRefer,
    Offer,
    AnswerOffer { accepts: bool },
    Refer,
    RespondRefer { accepts: bool },
    Notify { status: u16 },
    Info,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let yes = any::<bool>;
    let does = prop_oneof![
        1 => yes().prop_map(|early_media| Does::Ring { early_media }),
        4 => Just(Does::Accept),
        1 => Just(Does::Reject),
        1 => Just(Does::Cancel),
        1 => Just(Does::Bye),
        1 => Just(Does::ByeBehindRefer),
        4 => Just(Does::Offer),
        4 => yes().prop_map(|accepts| Does::AnswerOffer { accepts }),
        2 => Just(Does::Refer),
        2 => yes().prop_map(|accepts| Does::RespondRefer { accepts }),
        2 => prop_oneof![Just(100), Just(200), Just(486)].prop_map(|status| Does::Notify { status }),
        1 => Just(Does::Info),
    ];
    let step = prop_oneof![
        6 => (0usize..2, yes()).prop_map(|(who, offers)| Step::Invite { who, offers }),
        40 => (0usize..2, any::<u8>(), does).prop_map(|(who, session, does)| Step::To { who, session, does }),
        1 => (0usize..2).prop_map(|who| Step::Ping { who }),
        1 => (0usize..2).prop_map(|who| Step::Unreachable { who }),
        1 => (0u8..=LOSS_MAX).prop_map(Step::Loss),
        20 => (0u32..300).prop_map(Step::Wait),
        4 => (0u32..5_000).prop_map(Step::Wait),
        1 => (0u32..100_000).prop_map(Step::Wait),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..300)
}

/// With one in five lost no request is lost in all of its eleven repetitions, in any number of steps that anyone runs.
const LOSS_MAX: u8 = 20;

/// A session that had its answer when the link became good is over or agreed on by then: its 200 unacknowledged, then its BYE unanswered.
const AGREEMENT: Duration = Duration::from_secs(70);

/// The link, and the sessions that each owner believes to have.
struct Owners {
    lab: Lab,
    alive: [Vec<SessionKey>; 2],
}

fn run(seed: u64, steps: &[Step], loud: bool) -> Result<(), String> {
    let mut model = Owners { lab: Lab::new(seed, 0.0), alive: [Vec::new(), Vec::new()] };
    for &step in steps {
        model.apply(step)?;
        model.check()?;
        if loud {
            println!("{step:?}: {:?}", model.lab.trace);
        }
        // Only the steps of now are of interest.
        model.lab.trace.clear();
    }
    for who in [A, B] {
        for session in std::mem::take(&mut model.alive[who]) {
            model.lab.agents[who].bye(session, None, model.lab.now);
        }
    }
    // Events of sessions that were let go just now may still lie in the queue; later ones must not come.
    model.lab.drain();
    model.lab.events = [Vec::new(), Vec::new()];
    model.lab.loss = 0.0;
    model.lab.start = model.lab.now;
    model.lab.assert_all_ends();
    Ok(())
}

impl Owners {
    fn apply(&mut self, step: Step) -> Result<(), String> {
        let now = self.lab.now;
        match step {
            Step::Invite { who, offers } => {
                let mut invite = invite_to(address(1 - who));
                invite.body = invite.body.filter(|_| offers);
                self.alive[who].extend(self.lab.agents[who].invite(invite, now));
            }
            Step::To { who, session, does } => {
                if let Some(nth) = self.alive[who].len().checked_sub(1).map(|last| usize::from(session) % (last + 1)) {
                    self.act(who, nth, does);
                }
            }
            Step::Ping { who } => self.lab.agents[who].options_ping(address(1 - who), now),
            Step::Unreachable { who } => self.lab.agents[who].handle_unreachable(address(1 - who), now),
            Step::Loss(percent) => self.lab.loss = f64::from(percent) / 100.0,
            Step::Wait(ms) => self.lab.run_for(Duration::from_millis(ms.into())),
            Step::Settle => {
                let loss = std::mem::replace(&mut self.lab.loss, 0.0);
                self.lab.run_for(AGREEMENT);
                self.note_events()?;
                self.check_agreement()?;
                self.lab.loss = loss;
            }
        }
        self.lab.drain();
        self.note_events()
    }

    fn act(&mut self, who: usize, nth: usize, does: Does) {
        let (agent, session, now) = (&mut self.lab.agents[who], self.alive[who][nth], self.lab.now);
        let ringing = matches!(agent.sessions.get(session).map(|kept| &kept.state), Some(State::Ringing(_)));
        match does {
            Does::Ring { early_media } => agent.ring(session, early_media.then(|| b"early".to_vec()), now),
            Does::Accept => agent.accept(session, b"answer".to_vec(), now),
            Does::Reject => agent.reject(session, 486, Vec::new(), now),
            Does::Cancel => agent.cancel(session, now),
            Does::Bye => agent.bye(session, None, now),
            Does::ByeBehindRefer => agent.bye_behind_refer(session, None, now),
            Does::Offer => drop(agent.offer(session, b"offer".to_vec(), now)),
            Does::AnswerOffer { accepts } => agent.answer_offer(session, if accepts { Ok(b"answer".to_vec()) } else { Err(488) }, now),
            Does::Refer => agent.refer(session, "sip:x@y".to_owned(), now),
            Does::RespondRefer { accepts } => agent.respond_refer(session, if accepts { 202 } else { 603 }, now),
            Does::Notify { status } => agent.notify_refer(session, status, "x", now),
            Does::Info => agent.info(session, "text/plain", b"x".to_vec(), now),
        }
        let let_go = match does {
            Does::Reject => ringing,
            Does::Bye | Does::ByeBehindRefer => true,
            _ => false,
        };
        if let_go {
            self.alive[who].swap_remove(nth);
        }
    }

    /// A session's owner hears of it until its end, and no more.
    fn note_events(&mut self) -> Result<(), String> {
        for who in [A, B] {
            for event in std::mem::take(&mut self.lab.events[who]) {
                let (session, ends) = match &event {
                    SipEvent::Incoming { session, .. } => {
                        self.alive[who].push(*session);
                        (*session, false)
                    }
                    SipEvent::Cancelled { session, .. }
                    | SipEvent::Failed { session, .. }
                    | SipEvent::Ended { session, .. }
                    | SipEvent::Lost { session, .. } => (*session, true),
                    SipEvent::Acknowledged { session, .. }
                    | SipEvent::Progress { session, .. }
                    | SipEvent::Answered { session, .. }
                    | SipEvent::Reoffered { session, .. }
                    | SipEvent::OfferAnswered { session, .. }
                    | SipEvent::OfferRefused { session, .. }
                    | SipEvent::Refered { session, .. }
                    | SipEvent::ReferAccepted { session }
                    | SipEvent::Info { session, .. } => (*session, false),
                    // What tells of a REFER may come behind the end.
                    SipEvent::ReferRefused { .. } | SipEvent::Notified { .. } | SipEvent::Pong { .. } => continue,
                };
                let position = self.alive[who].iter().position(|own| *own == session);
                let position = position.ok_or_else(|| format!("agent {who} is told of a session that has ended: {event:?}"))?;
                if ends {
                    self.alive[who].swap_remove(position);
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        for who in [A, B] {
            self.lab.agents[who].audit(|session| self.alive[who].contains(&session)).map_err(|what| format!("agent {who}: {what}"))?;
        }
        Ok(())
    }

    fn check_agreement(&self) -> Result<(), String> {
        let [ours, theirs] = [A, B].map(|who| {
            let sessions = self.lab.agents[who].sessions.values();
            let talking = sessions.filter(|session| matches!(session.state, State::Established(_)));
            let mut call_ids: Vec<String> = talking.map(|session| session.call_id.clone()).collect();
            call_ids.sort();
            call_ids
        });
        if ours == theirs { Ok(()) } else { Err(format!("one talks on {ours:?}, the other on {theirs:?}")) }
    }
}
