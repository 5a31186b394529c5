//! Server transactions (RFC 3261 section 17.2, RFC 6026 section 7.1).

use std::time::{Duration, Instant};

use crate::sip::timers::{PROVISIONAL_REPEAT, RINGING_MAX, Repeat, T2, TIMER_F, TIMER_H, TIMER_I, TIMER_J, TIMER_L};

/// A request of the peer's and how far our answer has come.
#[derive(Debug)]
pub(in crate::sip) struct ServerTransaction {
    invite: bool,
    state: State,
    give_up_at: Instant,
}

#[derive(Debug)]
enum State {
    /// Trying or Proceeding: no final response yet. An INVITE's provisional response is due again at the time given.
    Proceeding { provisional_again_at: Option<Instant> },
    /// A failure to an INVITE, repeated until its ACK.
    Unacknowledged(Repeat),
    /// A final response to another request, or the ACK has come: repetitions are answered or absorbed.
    Completed { answer: bool },
    /// A 2xx to an INVITE: repetitions are absorbed, the 2xx itself is repeated by the user agent.
    Accepted,
}

/// What a repeated request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum OnRepetition {
    /// Send the last response again.
    Answer,
    /// Nothing.
    Absorb,
}

/// What the time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum OnTimeout {
    /// Send the last response again.
    Resend,
    /// Nobody ever answered the request here: it is over, answer it with a failure if that still helps.
    Abandoned,
    /// The transaction has done its job.
    Done,
    /// Not yet.
    Nothing,
}

impl ServerTransaction {
    /// A request that came at `now`.
    pub fn start(invite: bool, now: Instant) -> Self {
        let patience: Duration = if invite { RINGING_MAX } else { TIMER_F };
        Self { invite, state: State::Proceeding { provisional_again_at: None }, give_up_at: now + patience }
    }

    /// The request has come again.
    pub fn on_repetition(&self) -> OnRepetition {
        match &self.state {
            State::Proceeding { .. } | State::Unacknowledged(_) | State::Completed { answer: true } => OnRepetition::Answer,
            State::Completed { answer: false } | State::Accepted => OnRepetition::Absorb,
        }
    }

    /// A response is sent. `false`: there was a final one before, this one must not go out.
    #[must_use]
    pub fn on_response(&mut self, status: u16, now: Instant) -> bool {
        let State::Proceeding { provisional_again_at } = &mut self.state else { return false };
        match status {
            ..200 => *provisional_again_at = (self.invite && status > 100).then(|| now + PROVISIONAL_REPEAT),
            200..300 if self.invite => {
                self.state = State::Accepted;
                self.give_up_at = now + TIMER_L;
            }
            _ if self.invite => {
                self.state = State::Unacknowledged(Repeat::start(now, T2));
                self.give_up_at = now + TIMER_H;
            }
            _ => {
                self.state = State::Completed { answer: true };
                self.give_up_at = now + TIMER_J;
            }
        }
        true
    }

    /// The ACK to a failure has come.
    pub fn on_ack(&mut self, now: Instant) {
        if matches!(self.state, State::Unacknowledged(_)) {
            self.state = State::Completed { answer: false };
            self.give_up_at = now + TIMER_I;
        }
    }

    /// When [`Self::on_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        match &self.state {
            State::Proceeding { provisional_again_at: Some(at) } => self.give_up_at.min(*at),
            State::Unacknowledged(repeat) => self.give_up_at.min(repeat.at),
            State::Proceeding { provisional_again_at: None } | State::Completed { .. } | State::Accepted => self.give_up_at,
        }
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Instant) -> OnTimeout {
        let over = now >= self.give_up_at;
        match &mut self.state {
            State::Proceeding { .. } if over => OnTimeout::Abandoned,
            State::Unacknowledged(_) | State::Completed { .. } | State::Accepted if over => OnTimeout::Done,
            State::Proceeding { provisional_again_at: Some(at) } if now >= *at => {
                *at = now + PROVISIONAL_REPEAT;
                OnTimeout::Resend
            }
            State::Unacknowledged(repeat) => {
                if repeat.fire(now) {
                    OnTimeout::Resend
                } else {
                    OnTimeout::Nothing
                }
            }
            State::Proceeding { .. } | State::Completed { .. } | State::Accepted => OnTimeout::Nothing,
        }
    }

    /// Whether no final response has been sent.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::timers::T1;

    #[test]
    fn a_failure_to_an_invite_is_repeated_until_its_ack_and_then_rests_for_timer_i() {
        let start = Instant::now();
        let mut transaction = ServerTransaction::start(true, start);
        assert!(transaction.on_response(180, start));
        assert!(transaction.on_response(486, start));
        assert!(!transaction.on_response(200, start), "one final response only");
        let mut gaps = Vec::new();
        for _ in 0..5 {
            let at = transaction.deadline();
            assert_eq!(transaction.on_timeout(at), OnTimeout::Resend);
            gaps.push((at - start).as_millis() / T1.as_millis());
        }
        assert_eq!(gaps, [1, 3, 7, 15, 23]);
        let acknowledged = start + T1 * 24;
        transaction.on_ack(acknowledged);
        assert_eq!(transaction.on_repetition(), OnRepetition::Absorb);
        assert_eq!(transaction.deadline(), acknowledged + TIMER_I);
        assert_eq!(transaction.on_timeout(acknowledged + TIMER_I), OnTimeout::Done);
    }

    #[test]
    fn without_an_ack_a_failure_is_given_up_at_timer_h() {
        let start = Instant::now();
        let mut transaction = ServerTransaction::start(true, start);
        assert!(transaction.on_response(404, start));
        while transaction.on_timeout(transaction.deadline()) == OnTimeout::Resend {}
        assert_eq!(transaction.deadline(), start + TIMER_H);
    }

    #[test]
    fn repetitions_are_answered_before_and_after_a_final_response_and_absorbed_after_a_2xx_to_invite() {
        let start = Instant::now();
        let mut bye = ServerTransaction::start(false, start);
        assert!(bye.on_response(200, start));
        assert_eq!((bye.on_repetition(), bye.deadline()), (OnRepetition::Answer, start + TIMER_J));
        let mut invite = ServerTransaction::start(true, start);
        assert_eq!(invite.on_repetition(), OnRepetition::Answer);
        assert!(invite.on_response(200, start));
        assert_eq!((invite.on_repetition(), invite.deadline()), (OnRepetition::Absorb, start + TIMER_L));
    }

    #[test]
    fn a_ringing_invite_repeats_its_provisional_response_each_minute() {
        let start = Instant::now();
        let mut invite = ServerTransaction::start(true, start);
        assert!(invite.on_response(180, start));
        assert_eq!(invite.on_timeout(start + PROVISIONAL_REPEAT), OnTimeout::Resend);
        assert_eq!(invite.deadline(), start + PROVISIONAL_REPEAT * 2);
        assert_eq!(invite.on_timeout(start + RINGING_MAX), OnTimeout::Abandoned);
    }
}
