//! What the shard promises, kept beside it: who is connected, which calls live, what has been asked and not been answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_gateway::call::command::{Reply, Session};
use nexus_gateway::call::error::{Code, Refusal};
use nexus_gateway::call::event::{CallDirection, CallEvent, CallState, EndReason, EndedBy, Event, HeldBy};
use nexus_gateway::ids::{CallId, RequestId, SocketId};
use nexus_gateway::limits::ENDED_CALL_KEPT;

use super::step::Number;

/// An agent as its client sees it.
#[derive(Default)]
pub struct Agent {
    pub socket: Option<SocketId>,
    /// Its socket before this one.
    pub stale: Option<SocketId>,
    pub events: u64,
    /// It had no socket at some moment since the last check, so it may have missed an event.
    pub deaf: bool,
}

/// A call as its agent was told of it.
pub struct Call {
    pub id: CallId,
    pub agent: usize,
    pub direction: CallDirection,
    pub own_id: Option<u8>,
    /// When it was found to be over.
    pub ended_at: Option<Instant>,
    /// Its agent has missed events, so only that it lives or not is known.
    pub vague: bool,
    told_end: bool,
    answered: bool,
    muted: bool,
    held_local: bool,
    held_remote: bool,
}

/// A request that is not answered yet.
pub struct Pending {
    pub since: Instant,
    pub what: Expected,
}

/// Which answers are right.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Whatever it is, but at once.
    AtOnce,
    /// Exactly this, at once.
    Done,
    Refused(Code),
    /// A dial: a new call of the agent.
    Dialed {
        agent: usize,
        own_id: Option<u8>,
    },
    /// A dial under an id that the agent used before.
    DialedBefore(CallId),
    /// An answer that waits for the browser.
    Within(Duration),
}

/// All of it.
#[derive(Default)]
pub struct Reference {
    pub agents: Vec<Agent>,
    pub calls: Vec<Call>,
    pub pending: BTreeMap<u64, Pending>,
}

/// Longer than a re-INVITE that the PBX is still trying can take, and every one that waits behind another.
const CONTROL_MAX: Duration = Duration::from_secs(16 * 60 * 17);

impl Reference {
    /// Live calls of an agent.
    pub fn live(&self, agent: usize) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.agent == agent && call.ended_at.is_none())
    }

    /// What a dial has to be answered.
    pub fn expect_dial(&self, agent: usize, number: Number, own_id: Option<u8>, calls_max: usize, now: Instant) -> Expected {
        let remembered = |call: &&Call| call.ended_at.is_none_or(|at| at + ENDED_CALL_KEPT > now);
        let same = |call: &&Call| call.agent == agent && own_id.is_some() && call.own_id == own_id;
        let live_first = self.calls.iter().rev().filter(same).filter(remembered).min_by_key(|call| call.ended_at.is_some());
        if let Some(call) = live_first {
            return Expected::DialedBefore(call.id);
        }
        match number {
            Number::Nonsense => Expected::Refused(Code::InvalidNumber),
            Number::Blocked => Expected::Refused(Code::DestinationBlocked),
            Number::Emergency => Expected::Dialed { agent, own_id },
            _ if self.live(agent).count() >= calls_max => Expected::Refused(Code::CallLimit),
            _ => Expected::Dialed { agent, own_id },
        }
    }

    /// What a request about a call has to be answered.
    pub fn expect_control(&self, agent: usize, id: CallId, hangs_up: bool, now: Instant) -> Expected {
        let own = self.calls.iter().find(|call| call.id == id && call.agent == agent);
        match own {
            Some(call) if call.ended_at.is_none() => Expected::Within(CONTROL_MAX),
            Some(call) if hangs_up && call.ended_at.is_some_and(|at| at + ENDED_CALL_KEPT > now) => Expected::Done,
            Some(_) | None => Expected::Refused(Code::CallNotFound),
        }
    }

    /// A request was answered.
    pub fn on_answer(&mut self, request: RequestId, outcome: &Result<Reply, Refusal>, now: Instant) -> Result<(), String> {
        let Some(Pending { since, what }) = self.pending.remove(&request.0) else {
            return Err(format!("{request:?} is answered that nobody asked, or for a second time: {outcome:?}"));
        };
        let fits = match (&what, outcome) {
            (Expected::AtOnce, _) => since == now,
            (Expected::Done, Ok(Reply::Done)) => since == now,
            (Expected::Refused(code), Err(refusal)) => since == now && refusal.code == *code,
            (Expected::DialedBefore(id), Ok(Reply::Dialed(call))) => since == now && call == id,
            (Expected::Dialed { agent, own_id }, Ok(Reply::Dialed(id))) => {
                let (agent, own_id) = (*agent, *own_id);
                let fresh = self.calls.iter().all(|call| call.id != *id);
                self.calls.push(Call::new(*id, agent, CallDirection::Outbound, own_id));
                since == now && fresh
            }
            (Expected::Within(limit), _) => now <= since + *limit,
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("{request:?}, {what:?}, is answered {:?} later: {outcome:?}", now - since)) }
    }

    /// An agent was told something on its socket.
    pub fn on_event(&mut self, agent: usize, number: Option<u64>, event: &Event) -> Result<(), String> {
        if !matches!(event, Event::Error { .. }) {
            self.agents[agent].events += 1;
            if number != Some(self.agents[agent].events) {
                return Err(format!("event {number:?} comes where {} has to: {event:?}", self.agents[agent].events));
            }
        }
        let Event::Call { call: id, event } = event else { return Ok(()) };
        if let CallEvent::Incoming(_) = event {
            if self.calls.iter().any(|call| call.id == *id) {
                return Err(format!("{id} comes in twice"));
            }
            self.calls.push(Call::new(*id, agent, CallDirection::Inbound, None));
            return Ok(());
        }
        let Some(call) = self.calls.iter_mut().find(|call| call.id == *id) else {
            return Err(format!("{event:?} of a call that never was"));
        };
        if call.agent != agent {
            return Err(format!("{event:?} of another agent's call"));
        }
        if call.ended_at.is_some() || call.told_end {
            return Err(format!("{event:?} of a call that is over"));
        }
        call.on_event(event)
    }

    /// Holds the live calls against what their agents were told. Those that have ended since the last time get their `ended_at` from `end_of`.
    pub fn check_calls(
        &mut self,
        sessions: &[Session],
        mut end_of: impl FnMut(CallId) -> Result<Instant, String>,
        now: Instant,
    ) -> Result<(), String> {
        for session in sessions {
            let view = &session.call;
            let Some(call) = self.calls.iter_mut().find(|call| call.id == view.call) else {
                return Err(format!("a call lives that no agent was told of: {}", view.call));
            };
            if call.ended_at.is_some() || call.told_end {
                return Err(format!("{} lives although it is over", call.id));
            }
            call.vague |= self.agents[call.agent].deaf;
            let told = (call.answered, call.muted, call.held_local || call.held_remote);
            let lives = (view.answered_at.is_some(), view.muted, view.held);
            if !call.vague && told != lives {
                return Err(format!("answered, muted, held: {} was told as {told:?} and is {lives:?}", call.id));
            }
            if matches!(view.state, CallState::Ended | CallState::Failed) {
                return Err(format!("{} lives and has ended", call.id));
            }
        }
        for call in self.calls.iter_mut().filter(|call| call.ended_at.is_none()) {
            if sessions.iter().any(|session| session.call.call == call.id) {
                continue;
            }
            if !call.told_end && !call.vague && !self.agents[call.agent].deaf {
                return Err(format!("{} is gone, and its agent was not told", call.id));
            }
            call.ended_at = Some(end_of(call.id)?);
        }
        for agent in &mut self.agents {
            agent.deaf = agent.socket.is_none();
        }
        match self.pending.iter().find(|(_, pending)| now > pending.latest()) {
            Some((request, pending)) => Err(format!("request {request}, {:?}, is not answered", pending.what)),
            None => Ok(()),
        }
    }
}

impl Pending {
    fn latest(&self) -> Instant {
        match self.what {
            Expected::Within(limit) => self.since + limit,
            // Not even a moment of virtual time.
            _ => self.since - Duration::from_nanos(1),
        }
    }
}

impl Call {
    fn new(id: CallId, agent: usize, direction: CallDirection, own_id: Option<u8>) -> Self {
        Self {
            id,
            agent,
            direction,
            own_id,
            ended_at: None,
            vague: false,
            told_end: false,
            answered: false,
            muted: false,
            held_local: false,
            held_remote: false,
        }
    }

    /// What may follow on what, as api.md section 4 has it.
    fn on_event(&mut self, event: &CallEvent) -> Result<(), String> {
        let outbound = self.direction == CallDirection::Outbound;
        let allowed = self.vague
            || match event {
                CallEvent::Incoming(_) => false,
                CallEvent::Ringing { .. } => outbound && !self.answered,
                CallEvent::Answered { .. } => !self.answered,
                CallEvent::Held { .. } | CallEvent::Transferred { .. } | CallEvent::TransferFailed { .. } => self.answered,
                CallEvent::Muted { muted } => *muted != self.muted,
                CallEvent::DtmfReceived { .. } => true,
                CallEvent::Ended(ended) => {
                    let cancelled = ended.ended_by != EndedBy::Remote;
                    let terminated = (ended.ended_by == EndedBy::Admin) == (ended.reason == EndReason::Terminated);
                    terminated && (self.answered || ended.duration.is_zero()) && (!outbound || self.answered || cancelled)
                }
                CallEvent::Failed { .. } => outbound && !self.answered,
            };
        match event {
            CallEvent::Answered { .. } => self.answered = true,
            CallEvent::Held { held, by: HeldBy::Local } => self.held_local = *held,
            CallEvent::Held { held, by: HeldBy::Remote } => self.held_remote = *held,
            CallEvent::Muted { muted } => self.muted = *muted,
            CallEvent::Ended(_) | CallEvent::Failed { .. } => self.told_end = true,
            CallEvent::Incoming(_)
            | CallEvent::Ringing { .. }
            | CallEvent::Transferred { .. }
            | CallEvent::TransferFailed { .. }
            | CallEvent::DtmfReceived { .. } => {}
        }
        if allowed { Ok(()) } else { Err(format!("{event:?} of {} is out of place", self.id)) }
    }
}
