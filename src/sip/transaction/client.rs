//! Client transactions (RFC 3261 section 17.1, RFC 6026 section 7.2).

use std::time::{Duration, Instant};

use crate::sip::timers::{RINGING_MAX, Repeat, T2, TIMER_B, TIMER_D, TIMER_F, TIMER_K, TIMER_M};

/// A request of ours and how far it has come.
#[derive(Debug)]
pub(in crate::sip) struct ClientTransaction {
    invite: bool,
    state: State,
    /// When the state ends by itself.
    give_up_at: Instant,
}

#[derive(Debug)]
enum State {
    /// Calling or Trying: nothing has come back.
    Trying(Repeat),
    /// A provisional response came. Only a non-INVITE goes on repeating itself.
    Proceeding(Option<Repeat>),
    /// A 2xx to our INVITE; more may come.
    Accepted,
    /// Any other final response; repetitions are absorbed.
    Completed,
}

/// What a response means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum OnResponse {
    /// New: the user agent has to see it.
    Deliver,
    /// The final response again: the ACK has to go out again.
    AckAgain,
    /// Nothing new.
    Absorb,
}

/// What the time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum OnTimeout {
    /// Send the request again.
    Resend,
    /// No answer in time: the transaction is over.
    TimedOut,
    /// The transaction has done its job.
    Done,
    /// Not yet.
    Nothing,
}

impl ClientTransaction {
    /// A request that is sent at `now`.
    pub fn start(invite: bool, now: Instant) -> Self {
        let (cap, patience) = if invite { (Duration::MAX, TIMER_B) } else { (T2, TIMER_F) };
        Self { invite, state: State::Trying(Repeat::start(now, cap)), give_up_at: now + patience }
    }

    /// A response has come.
    pub fn on_response(&mut self, status: u16, now: Instant) -> OnResponse {
        match (&mut self.state, status) {
            (State::Trying(repeat), 100..200) => {
                repeat.slow_down();
                self.state = State::Proceeding((!self.invite).then_some(*repeat));
                if self.invite {
                    self.give_up_at = now + RINGING_MAX;
                }
                OnResponse::Deliver
            }
            (State::Proceeding(_), 100..200) => {
                if self.invite {
                    self.give_up_at = now + RINGING_MAX;
                }
                OnResponse::Deliver
            }
            (State::Trying(_) | State::Proceeding(_), 200..300) if self.invite => {
                self.state = State::Accepted;
                self.give_up_at = now + TIMER_M;
                OnResponse::Deliver
            }
            (State::Trying(_) | State::Proceeding(_), _) => {
                self.state = State::Completed;
                self.give_up_at = now + if self.invite { TIMER_D } else { TIMER_K };
                OnResponse::Deliver
            }
            (State::Accepted, 200..300) => OnResponse::Deliver,
            (State::Completed, 300..) if self.invite => OnResponse::AckAgain,
            (State::Accepted | State::Completed, _) => OnResponse::Absorb,
        }
    }

    /// When [`Self::on_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        match &self.state {
            State::Trying(repeat) | State::Proceeding(Some(repeat)) => repeat.at.min(self.give_up_at),
            State::Proceeding(None) | State::Accepted | State::Completed => self.give_up_at,
        }
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Instant) -> OnTimeout {
        let over = now >= self.give_up_at;
        match &mut self.state {
            State::Trying(_) | State::Proceeding(_) if over => OnTimeout::TimedOut,
            State::Accepted | State::Completed if over => OnTimeout::Done,
            State::Trying(repeat) | State::Proceeding(Some(repeat)) => {
                if repeat.fire(now) {
                    OnTimeout::Resend
                } else {
                    OnTimeout::Nothing
                }
            }
            State::Proceeding(None) | State::Accepted | State::Completed => OnTimeout::Nothing,
        }
    }

    /// Whether any response has come.
    pub fn is_answered(&self) -> bool {
        !matches!(self.state, State::Trying(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::timers::T1;

    /// The moments, in units of T1 after the start, at which the request is sent again, until the transaction is over.
    fn resends(mut transaction: ClientTransaction, start: Instant) -> (Vec<u64>, OnTimeout, u64) {
        let units = |at: Instant| ((at - start).as_millis() / T1.as_millis()) as u64;
        let mut sent = Vec::new();
        loop {
            let at = transaction.deadline();
            match transaction.on_timeout(at) {
                OnTimeout::Resend => sent.push(units(at)),
                OnTimeout::Nothing => {}
                end @ (OnTimeout::TimedOut | OnTimeout::Done) => return (sent, end, units(at)),
            }
        }
    }

    #[test]
    fn invite_is_resent_with_doubling_gaps_until_timer_b() {
        let start = Instant::now();
        assert_eq!(resends(ClientTransaction::start(true, start), start), (vec![1, 3, 7, 15, 31, 63], OnTimeout::TimedOut, 64));
    }

    #[test]
    fn another_request_is_resent_with_gaps_capped_at_t2_until_timer_f() {
        let start = Instant::now();
        let expected = (vec![1, 3, 7, 15, 23, 31, 39, 47, 55, 63], OnTimeout::TimedOut, 64);
        assert_eq!(resends(ClientTransaction::start(false, start), start), expected);
    }

    #[test]
    fn a_provisional_response_silences_an_invite_and_slows_another_request_down() {
        let start = Instant::now();
        let mut invite = ClientTransaction::start(true, start);
        assert_eq!(invite.on_response(180, start), OnResponse::Deliver);
        assert_eq!(invite.deadline(), start + RINGING_MAX);
        let mut info = ClientTransaction::start(false, start);
        assert_eq!(info.on_response(100, start), OnResponse::Deliver);
        assert_eq!(resends(info, start), (vec![1, 9, 17, 25, 33, 41, 49, 57], OnTimeout::TimedOut, 64));
    }

    #[test]
    fn each_2xx_reaches_the_user_agent_but_only_one_failure_does() {
        let start = Instant::now();
        let mut accepted = ClientTransaction::start(true, start);
        assert_eq!(accepted.on_response(200, start), OnResponse::Deliver);
        assert_eq!(accepted.on_response(200, start), OnResponse::Deliver);
        assert_eq!(accepted.on_response(180, start), OnResponse::Absorb);
        assert_eq!(resends(accepted, start), (vec![], OnTimeout::Done, 64));
        let mut failed = ClientTransaction::start(true, start);
        assert_eq!(failed.on_response(486, start), OnResponse::Deliver);
        assert_eq!(failed.on_response(486, start), OnResponse::AckAgain);
        assert_eq!(failed.on_response(200, start), OnResponse::Absorb);
        assert_eq!(resends(failed, start), (vec![], OnTimeout::Done, 64));
        let mut bye = ClientTransaction::start(false, start);
        assert_eq!(bye.on_response(200, start), OnResponse::Deliver);
        assert_eq!(bye.on_response(200, start), OnResponse::Absorb);
        assert_eq!(resends(bye, start), (vec![], OnTimeout::Done, 10));
    }
}
