//! The four machines against the tables of RFC 3261 section 17 and RFC 6026, under random responses, repetitions, timers and transport
//! errors. After every event both must have said the same and wait for the same moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_harness::model::Model;
use proptest::prelude::*;

use super::client::{self, ClientTransaction};
use super::server::{self, ServerTransaction};
use crate::sip::timers::{PROVISIONAL_REPEAT, RINGING_MAX};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const T4: Duration = Duration::from_secs(5);

#[test]
fn the_invite_client_is_that_of_rfc_6026_figure_8_point_4() {
    Model { name: "INVITE client", share: 5 }.check(&steps(), |_, steps, loud| run_client(true, steps, loud));
}

#[test]
fn the_non_invite_client_is_that_of_rfc_3261_figure_6() {
    Model { name: "non-INVITE client", share: 5 }.check(&steps(), |_, steps, loud| run_client(false, steps, loud));
}

#[test]
fn the_invite_server_is_that_of_rfc_6026_figure_8_point_2() {
    Model { name: "INVITE server", share: 5 }.check(&steps(), |_, steps, loud| run_server(true, steps, loud));
}

#[test]
fn the_non_invite_server_is_that_of_rfc_3261_figure_8() {
    Model { name: "non-INVITE server", share: 5 }.check(&steps(), |_, steps, loud| run_server(false, steps, loud));
}

/// What can happen to a transaction.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client gets a response; a server's user sends one.
    Response(u16),
    /// A server gets its request again.
    Repetition,
    /// A server gets an ACK.
    Ack,
    /// The transport says that nothing can be sent.
    TransportError,
    /// Time passes, and every timer is served when it is due.
    Wait(u32),
    /// Time passes, and the timers are served only at its end.
    Stall(u32),
    /// Time passes until the next timer is due.
    NextTimer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let status = prop_oneof![
        4 => Just(100), 4 => Just(180), 1 => 100u16..200, 4 => Just(200), 1 => 200u16..300,
        3 => Just(487), 3 => 300u16..700, 1 => Just(401),
    ];
    let step = prop_oneof![
        5 => status.prop_map(Step::Response),
        3 => Just(Step::Repetition),
        2 => Just(Step::Ack),
        1 => Just(Step::TransportError),
        6 => (0u32..10_000).prop_map(Step::Wait),
        2 => (0u32..1_000_000).prop_map(Step::Wait),
        2 => (0u32..80_000).prop_map(Step::Stall),
        10 => Just(Step::NextTimer),
    ];
    prop::collection::vec(step, 1..200)
}

// ---- the tables ----

/// The RFCs' letters. `P` and `X` are ours: the provisional response that is repeated each minute (RFC 3261 section 13.3.1.1) and the end of
/// a transaction that neither side ever finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    A,
    B,
    D,
    E,
    F,
    G,
    H,
    I,
    J,
    K,
    L,
    M,
    P,
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Trying,
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

/// What a machine is told, in the words of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Provisional { repeatable: bool },
    Success,
    Failure,
    Request,
    Ack,
    TransportError,
    Fired(Timer),
}

/// What it does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Nothing,
    /// The response goes to the transaction user, or on the wire.
    Pass,
    /// An ACK goes out once more.
    AckAgain,
    /// The request, or the last response, goes out once more.
    Resend,
    /// The transaction user is told that nobody answered.
    Timeout,
}

use Told::{Ack, Failure, Fired, Provisional, Request, Success, TransportError};

/// A machine as the RFC draws it.
struct Table {
    invite: bool,
    server: bool,
    state: State,
    /// When each armed timer fires.
    timers: BTreeMap<Timer, Instant>,
    /// The interval that A, E or G was last set to.
    gap: Duration,
}

impl Table {
    fn new(invite: bool, server: bool, now: Instant) -> Self {
        let mut table = Self { invite, server, state: State::Trying, timers: BTreeMap::new(), gap: T1 };
        match (server, invite) {
            (false, true) => table.enter(State::Calling, &[(Timer::A, T1), (Timer::B, T1 * 64)], now),
            (false, false) => table.enter(State::Trying, &[(Timer::E, T1), (Timer::F, T1 * 64)], now),
            (true, true) => table.enter(State::Proceeding, &[(Timer::X, RINGING_MAX)], now),
            (true, false) => table.enter(State::Trying, &[(Timer::X, T1 * 64)], now),
        }
        table
    }

    /// Goes to a state in which only these timers run.
    fn enter(&mut self, state: State, timers: &[(Timer, Duration)], now: Instant) {
        self.state = state;
        self.timers = timers.iter().map(|&(timer, after)| (timer, now + after)).collect();
    }

    fn set(&mut self, timer: Timer, after: Duration, now: Instant) {
        self.timers.insert(timer, now + after);
    }

    fn tell(&mut self, told: Told, now: Instant) -> Does {
        match (self.server, self.invite) {
            (false, true) => self.invite_client(told, now),
            (false, false) => self.other_client(told, now),
            (true, true) => self.invite_server(told, now),
            (true, false) => self.other_server(told, now),
        }
    }

    /// RFC 3261 section 17.1.1.2 and RFC 6026 section 8.4.
    fn invite_client(&mut self, told: Told, now: Instant) -> Does {
        match (self.state, told) {
            (State::Calling | State::Proceeding, Provisional { .. }) => {
                self.enter(State::Proceeding, &[(Timer::X, RINGING_MAX)], now);
                Does::Pass
            }
            (State::Calling | State::Proceeding, Success) => {
                self.enter(State::Accepted, &[(Timer::M, T1 * 64)], now);
                Does::Pass
            }
            (State::Calling | State::Proceeding, Failure) => {
                self.enter(State::Completed, &[(Timer::D, Duration::from_secs(32))], now);
                Does::Pass
            }
            (State::Calling, Fired(Timer::A)) => {
                self.gap *= 2;
                self.set(Timer::A, self.gap, now);
                Does::Resend
            }
            (State::Calling, Fired(Timer::B) | TransportError) | (State::Proceeding, Fired(Timer::X)) => self.end(Does::Timeout),
            (State::Accepted, Success) => Does::Pass,
            (State::Completed, Failure) => Does::AckAgain,
            (State::Accepted, Fired(Timer::M)) | (State::Completed, Fired(Timer::D)) => self.end(Does::Nothing),
            _ => Does::Nothing,
        }
    }

    /// RFC 3261 section 17.1.2.2.
    fn other_client(&mut self, told: Told, now: Instant) -> Does {
        match (self.state, told) {
            (State::Trying | State::Proceeding, Provisional { .. }) => {
                self.state = State::Proceeding;
                Does::Pass
            }
            (State::Trying | State::Proceeding, Success | Failure) => {
                self.enter(State::Completed, &[(Timer::K, T4)], now);
                Does::Pass
            }
            (State::Trying, Fired(Timer::E)) => {
                self.gap = T2.min(self.gap * 2);
                self.set(Timer::E, self.gap, now);
                Does::Resend
            }
            (State::Proceeding, Fired(Timer::E)) => {
                self.set(Timer::E, T2, now);
                Does::Resend
            }
            (State::Trying | State::Proceeding, Fired(Timer::F)) | (State::Trying, TransportError) => self.end(Does::Timeout),
            (State::Completed, Fired(Timer::K)) => self.end(Does::Nothing),
            _ => Does::Nothing,
        }
    }

    /// RFC 3261 section 17.2.1 and RFC 6026 section 8.2; a 2xx is repeated by the transaction user, not here.
    fn invite_server(&mut self, told: Told, now: Instant) -> Does {
        match (self.state, told) {
            (State::Proceeding, Provisional { repeatable }) => {
                self.timers.remove(&Timer::P);
                if repeatable {
                    self.set(Timer::P, PROVISIONAL_REPEAT, now);
                }
                Does::Pass
            }
            (State::Proceeding, Success) => {
                self.enter(State::Accepted, &[(Timer::L, T1 * 64)], now);
                Does::Pass
            }
            (State::Proceeding, Failure) => {
                self.gap = T1;
                self.enter(State::Completed, &[(Timer::G, T1), (Timer::H, T1 * 64)], now);
                Does::Pass
            }
            (State::Proceeding | State::Completed, Request) => Does::Resend,
            (State::Proceeding, Fired(Timer::P)) => {
                self.set(Timer::P, PROVISIONAL_REPEAT, now);
                Does::Resend
            }
            (State::Completed, Fired(Timer::G)) => {
                self.gap = T2.min(self.gap * 2);
                self.set(Timer::G, self.gap, now);
                Does::Resend
            }
            (State::Completed, Ack) => {
                self.enter(State::Confirmed, &[(Timer::I, T4)], now);
                Does::Nothing
            }
            (State::Proceeding, Fired(Timer::X)) => self.end(Does::Timeout),
            // Without its ACK a failure needs no further word: there is no session (section 17.2.1 lets the user be told).
            (State::Completed, Fired(Timer::H)) | (State::Confirmed, Fired(Timer::I)) | (State::Accepted, Fired(Timer::L)) => {
                self.end(Does::Nothing)
            }
            _ => Does::Nothing,
        }
    }

    /// RFC 3261 section 17.2.2. Trying has no response that a repetition could be answered with, so both may say "once more".
    fn other_server(&mut self, told: Told, now: Instant) -> Does {
        match (self.state, told) {
            (State::Trying | State::Proceeding, Provisional { .. }) => {
                self.state = State::Proceeding;
                Does::Pass
            }
            (State::Trying | State::Proceeding, Success | Failure) => {
                self.enter(State::Completed, &[(Timer::J, T1 * 64)], now);
                Does::Pass
            }
            (State::Trying | State::Proceeding | State::Completed, Request) => Does::Resend,
            (State::Trying | State::Proceeding, Fired(Timer::X)) => self.end(Does::Timeout),
            (State::Completed, Fired(Timer::J)) => self.end(Does::Nothing),
            _ => Does::Nothing,
        }
    }

    fn end(&mut self, does: Does) -> Does {
        self.state = State::Terminated;
        self.timers.clear();
        does
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.values().min().copied()
    }

    /// The timer that a late service finds first: the one that ends the state, if it has fired, else any other.
    fn fired(&self, now: Instant) -> Option<Timer> {
        let repeats = |timer: Timer| matches!(timer, Timer::A | Timer::E | Timer::G | Timer::P);
        let due = self.timers.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| *timer);
        due.min_by_key(|timer| repeats(*timer))
    }
}

// ---- the implementation beside its table ----

/// One implementation, as the driver below sees it.
trait Machine {
    fn start(invite: bool, now: Instant) -> Self;
    fn deadline(&self) -> Instant;
    /// What the time does, and whether the transaction is over.
    fn serve(&mut self, now: Instant) -> (Does, bool);
}

impl Machine for ClientTransaction {
    fn start(invite: bool, now: Instant) -> Self {
        Self::start(invite, now)
    }

    fn deadline(&self) -> Instant {
        self.deadline()
    }

    fn serve(&mut self, now: Instant) -> (Does, bool) {
        match self.on_timeout(now) {
            client::OnTimeout::Resend => (Does::Resend, false),
            client::OnTimeout::TimedOut => (Does::Timeout, true),
            client::OnTimeout::Done => (Does::Nothing, true),
            client::OnTimeout::Nothing => (Does::Nothing, false),
        }
    }
}

impl Machine for ServerTransaction {
    fn start(invite: bool, now: Instant) -> Self {
        Self::start(invite, now)
    }

    fn deadline(&self) -> Instant {
        self.deadline()
    }

    fn serve(&mut self, now: Instant) -> (Does, bool) {
        match self.on_timeout(now) {
            server::OnTimeout::Resend => (Does::Resend, false),
            server::OnTimeout::Abandoned => (Does::Timeout, true),
            server::OnTimeout::Done => (Does::Nothing, true),
            server::OnTimeout::Nothing => (Does::Nothing, false),
        }
    }
}

/// A machine and its table; a terminated pair is replaced by a new one.
struct Pair<M> {
    now: Instant,
    machine: M,
    table: Table,
}

impl<M: Machine> Pair<M> {
    fn new(invite: bool, server: bool) -> Self {
        let now = Instant::now();
        Self { now, machine: M::start(invite, now), table: Table::new(invite, server, now) }
    }

    fn renew(&mut self) {
        self.machine = M::start(self.table.invite, self.now);
        self.table = Table::new(self.table.invite, self.table.server, self.now);
    }

    /// Serves the timers now, on both sides.
    fn serve(&mut self) -> Result<(), String> {
        let expected = match self.table.fired(self.now) {
            Some(timer) => self.table.tell(Fired(timer), self.now),
            None => Does::Nothing,
        };
        let (done, over) = self.machine.serve(self.now);
        agree("a timer", expected, done)?;
        agree("the end", self.table.state == State::Terminated, over)?;
        if over {
            self.renew();
        }
        Ok(())
    }

    /// The steps that are the same for all: time. `false`: it was another one.
    fn pass_time(&mut self, step: Step) -> Result<bool, String> {
        match step {
            Step::Wait(ms) => {
                let until = self.now + Duration::from_millis(ms.into());
                while self.machine.deadline() <= until {
                    self.now = self.machine.deadline();
                    self.serve()?;
                }
                self.now = until;
            }
            Step::Stall(ms) => {
                self.now += Duration::from_millis(ms.into());
                while self.machine.deadline() <= self.now {
                    self.serve()?;
                }
            }
            Step::NextTimer => {
                self.now = self.machine.deadline();
                self.serve()?;
            }
            Step::Response(_) | Step::Repetition | Step::Ack | Step::TransportError => return Ok(false),
        }
        // Served too early it does nothing.
        self.serve()?;
        Ok(true)
    }

    fn check(&self, step: Step, loud: bool) -> Result<(), String> {
        if loud {
            println!("{step:?}: {:?}, timers {:?}", self.table.state, self.table.timers.keys());
        }
        let until = |at: Instant| at.saturating_duration_since(self.now);
        agree("the next deadline", self.table.deadline().map(until), Some(until(self.machine.deadline())))
    }
}

fn told_of(status: u16) -> Told {
    match status {
        ..200 => Provisional { repeatable: status > 100 },
        200..300 => Success,
        _ => Failure,
    }
}

fn agree<T: std::fmt::Debug + PartialEq>(what: &str, expected: T, found: T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what}: the RFC has {expected:?}, we {found:?}")) }
}

fn run_client(invite: bool, steps: &[Step], loud: bool) -> Result<(), String> {
    let mut pair = Pair::<ClientTransaction>::new(invite, false);
    for &step in steps {
        if !pair.pass_time(step)? {
            match step {
                Step::Response(status) => {
                    let expected = pair.table.tell(told_of(status), pair.now);
                    let done = match pair.machine.on_response(status, pair.now) {
                        client::OnResponse::Deliver => Does::Pass,
                        client::OnResponse::AckAgain => Does::AckAgain,
                        client::OnResponse::Absorb => Does::Nothing,
                    };
                    agree("a response", expected, done)?;
                }
                Step::TransportError => {
                    // The user agent asks whether there was an answer and, if not, takes the transaction away.
                    let expected = pair.table.tell(TransportError, pair.now) == Does::Timeout;
                    agree("a transport error", expected, !pair.machine.is_answered())?;
                    if expected {
                        pair.renew();
                    }
                }
                _ => {}
            }
        }
        let answered = !matches!(pair.table.state, State::Calling | State::Trying);
        agree("whether it is answered", answered, pair.machine.is_answered())?;
        pair.check(step, loud)?;
    }
    Ok(())
}

fn run_server(invite: bool, steps: &[Step], loud: bool) -> Result<(), String> {
    let mut pair = Pair::<ServerTransaction>::new(invite, true);
    for &step in steps {
        if !pair.pass_time(step)? {
            match step {
                Step::Response(status) => {
                    let expected = pair.table.tell(told_of(status), pair.now);
                    let sent = pair.machine.on_response(status, pair.now);
                    agree("a response", expected, if sent { Does::Pass } else { Does::Nothing })?;
                }
                Step::Repetition => {
                    let expected = pair.table.tell(Request, pair.now);
                    let done = match pair.machine.on_repetition() {
                        server::OnRepetition::Answer => Does::Resend,
                        server::OnRepetition::Absorb => Does::Nothing,
                    };
                    agree("a repetition", expected, done)?;
                }
                Step::Ack => {
                    pair.table.tell(Ack, pair.now);
                    pair.machine.on_ack(pair.now);
                }
                _ => {}
            }
        }
        let pending = matches!(pair.table.state, State::Trying | State::Proceeding);
        agree("whether it waits for its user", pending, pair.machine.is_pending())?;
        pair.check(step, loud)?;
    }
    Ok(())
}
