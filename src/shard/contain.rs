//! A panic ends what it happened in, and nothing else. Each is a bug of ours; the process's hook says where it was, here is decided what it costs.
//!
//! [`Shard::handle`] catches whatever unwinds and asks [`Work`] whose slot was in hand. Work on a call that is part of other work has a catch of its
//! own ([`Shard::in_call`]), so that the other work goes on. The broken thing is ended in the ordinary way; if that panics too, by force, out of
//! every table; and if even that panics the shard is not to be trusted any more: it ends all that it holds and dies ([`Shard::die`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::io::Output;
use super::{Shard, Timer};
use crate::call::Phase;
use crate::call::error::{Code, Refusal};
use crate::call::event::{CallEvent, CallState, EndReason, Ended, EndedBy, Event, TransportState};
use crate::ids::{CallId, CallKey, RequestId, SocketId, TransportKey};
use crate::sip::{Interrupted, SessionKey};

/// Whose slot the shard has in hand, outside of [`Shard::in_call`]. On the media path it is one store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Nobody's, and nothing has been changed yet: parsing, look-ups, questions.
    Nobody,
    Call(CallKey),
    Transport(TransportKey),
}

/// How far the shard can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Alive,
    /// Something broken could not be taken out of it.
    Doomed,
    /// Everything has been ended; it takes nothing in any more.
    Dead,
}

/// What panics have cost so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Panics {
    pub count: u64,
    /// When one left the SIP layer's tables perhaps half-changed, with no session to blame.
    unexplained: Vec<Instant>,
}

/// So many unexplained panics of the SIP layer in this time are too many: media may go on, but nobody can call or hang up.
const UNEXPLAINED_MAX: usize = 5;
const UNEXPLAINED_WINDOW: Duration = Duration::from_secs(60);

/// RFC 3261 section 21.5.1.
const SERVER_INTERNAL_ERROR: u16 = 500;

impl Shard {
    /// Runs `work`; `None` if it panicked. What it leaves half-changed is then for the caller to end.
    pub(super) fn caught<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self)));
        self.panics.count += u64::from(outcome.is_err());
        outcome.ok()
    }

    /// Does something to one call in the course of other work, which goes on if it panics.
    pub(super) fn in_call(&mut self, key: CallKey, now: Instant, work: impl FnOnce(&mut Self)) {
        if self.caught(work).is_none() {
            let made = self.sip.interrupted();
            self.end_broken_call(key, now);
            // An INVITE that panicked on its way out has a session that its call has not heard of.
            if let Some(Interrupted::Session(session)) = made {
                self.end_broken_session(session, now);
            }
        }
    }

    /// The same with a browser transport.
    pub(super) fn in_transport(&mut self, key: TransportKey, now: Instant, work: impl FnOnce(&mut Self)) {
        if self.caught(work).is_none() {
            self.close_broken_transport(key, now);
        }
    }

    /// Ends what was in hand when the shard panicked.
    #[cold]
    pub(super) fn contain(&mut self, now: Instant) {
        match (self.sip.interrupted(), self.work) {
            (Some(Interrupted::Session(session)), _) => self.end_broken_session(session, now),
            (Some(Interrupted::NoSession), _) => self.suspect_sip(now),
            (None, Work::Call(key)) => self.end_broken_call(key, now),
            (None, Work::Transport(key)) => self.close_broken_transport(key, now),
            (None, Work::Nobody) => {}
        }
        // What SIP still had to say, and its deadline, which may have been taken and not set again.
        self.clean_up(|shard| shard.drive_sip(now), |shard| shard.drive_sip(now));
    }

    /// Nobody can say what a session-less request left behind: at most a transaction that nobody ends. That may happen a few times.
    fn suspect_sip(&mut self, now: Instant) {
        let unexplained = &mut self.panics.unexplained;
        unexplained.retain(|&at| now.duration_since(at) < UNEXPLAINED_WINDOW);
        unexplained.push(now);
        if unexplained.len() >= UNEXPLAINED_MAX {
            self.life = Life::Doomed;
        }
    }

    /// Ends a call that has panicked. Its agent is told, and the far side in the way that the dialog's state asks for.
    fn end_broken_call(&mut self, key: CallKey, now: Instant) {
        if let Some(slot) = self.calls.get(key) {
            tracing::error!(shard = self.config.shard.0, call = %slot.call.id, "a panic in a call: it is ended");
            self.end_by_all_means(key, now);
        }
    }

    fn end_by_all_means(&mut self, key: CallKey, now: Instant) {
        let Some(slot) = self.calls.get(key) else { return };
        let (id, phase) = (slot.call.id, &slot.call.phase);
        let (ringing, known) = match phase {
            Phase::Incoming { session, .. } => (Some(*session), true),
            _ => (None, slot.call.session().is_some()),
        };
        // The INVITE may be out although the call does not know it yet.
        let invited = self.calls_by_session.iter().find(|&(_, &of)| of == key && !known).map(|(session, _)| session);
        self.refuse_waiting(Some(id));
        let ordinary = |shard: &mut Self| {
            if let Some(session) = ringing {
                shard.sip.reject(session, SERVER_INTERNAL_ERROR, Vec::new(), now);
            }
            if let Some(session) = invited {
                shard.sip.bye(session, None, now);
            }
            shard.end_call(key, EndedBy::Gateway, EndReason::Internal, None, now);
        };
        self.clean_up(ordinary, |shard| shard.drop_call(key, now));
    }

    /// Takes a call out of every table and trusts none of them.
    fn drop_call(&mut self, key: CallKey, now: Instant) {
        let Some(id) = self.calls.get(key).map(|slot| slot.call.id) else { return };
        if self.ended.get(id, now).is_none() {
            // Nobody can be told of a call whose own state panics; the shard goes on without.
            let _ = self.caught(|shard| shard.remember(key, CallState::Ended, now));
        }
        let Some(slot) = self.calls.remove(key) else { return };
        let call = slot.call;
        if let Some(agent) = self.agents.get_mut(call.agent) {
            agent.calls.retain(|&other| other != key);
            agent.bridged = agent.bridged.filter(|&bridged| bridged != key);
            let duration = call.answered_at.map_or(Duration::ZERO, |at| now.duration_since(at));
            let (ended_by, reason) = (EndedBy::Gateway, EndReason::Internal);
            let ended = Ended { duration, ended_by, reason, sip_code: None, q850: None, quality: Vec::new() };
            let event = CallEvent::Ended(Box::new(ended));
            self.call_counts.of(call.direction).closed(&event);
            self.tell(call.agent, Event::Call { call: call.id, event });
        }
        self.calls_by_id.remove(&call.id);
        self.calls_by_session.retain(|_, &mut of| of != key);
        self.demux.forget_call(key);
        self.deadlines.forget(Timer::Call(key));
        if let Some(leg) = &call.leg {
            self.release_pair(leg.pair, now);
        }
        self.injected.point("drop", Some(call.id));
        self.rewire(call.agent);
        if let Some(session) = call.session() {
            self.sip.bye(session, None, now);
        }
        self.drive_sip(now);
    }

    /// Ends a SIP session that has panicked, and its call.
    pub(super) fn end_broken_session(&mut self, session: SessionKey, now: Instant) {
        if let Some(&key) = self.calls_by_session.get(session) {
            self.end_broken_call(key, now);
        }
        // Nothing is left of it here, unless it never had a call or its call did not know it.
        let end = |shard: &mut Self| {
            shard.sip.reject(session, SERVER_INTERNAL_ERROR, Vec::new(), now);
            shard.sip.bye(session, None, now);
        };
        self.clean_up(end, |shard| shard.sip.forget(session));
    }

    /// Closes a browser transport that has panicked. Its agent keeps its calls and can make another one.
    fn close_broken_transport(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get(key) else { return };
        tracing::error!(shard = self.config.shard.0, transport = %transport.id, "a panic in a transport: it is closed");
        let ordinary = |shard: &mut Self| {
            shard.set_transport_state(key, TransportState::Failed, now);
            shard.close_transport(key, now);
        };
        self.clean_up(ordinary, |shard| shard.drop_transport(key, now));
    }

    /// Takes a transport out of every table and trusts none of them.
    fn drop_transport(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.remove(key) else { return };
        if let Some(agent) = self.agents.get_mut(transport.agent) {
            agent.transports.retain(|&other| other != key);
            agent.producers.retain(|producer| producer.transport != key);
            agent.send = agent.send.filter(|&send| send != key);
            agent.recv = agent.recv.filter(|&recv| recv != key);
            let (state, direction) = (TransportState::Closed, transport.direction);
            self.tell(transport.agent, Event::TransportState { transport: transport.id, direction, state });
        }
        self.demux.forget_transport(key);
        self.deadlines.forget(Timer::Transport(key));
        self.rewire(transport.agent);
        self.note_media_of(transport.agent, now);
    }

    /// A socket whose agent could not be taken in goes, and its client tries again.
    pub(super) fn refuse_socket(&mut self, socket: SocketId, now: Instant) {
        self.clean_up(
            |shard| shard.disconnect(socket, now),
            |shard| {
                shard.agents_by_socket.remove(&socket);
            },
        );
        self.outputs.push_back(Output::Reconnect { socket });
    }

    /// Ends something broken: in the ordinary way, else by force. A shard that can do neither is doomed.
    fn clean_up(&mut self, ordinary: impl FnOnce(&mut Self), by_force: impl FnOnce(&mut Self)) {
        if self.caught(ordinary).is_none() && self.caught(by_force).is_none() {
            self.life = Life::Doomed;
        }
    }

    /// Answers the requests that wait, on a call or all of them.
    fn refuse_waiting(&mut self, call: Option<CallId>) {
        let of_call = |on: &Option<CallId>| call.is_none() || *on == call;
        let refused: Vec<RequestId> = self.waiting.iter().filter(|(_, on)| of_call(on)).map(|(&request, _)| request).collect();
        for request in refused {
            self.acknowledge(Some(request), Err(internal()));
        }
    }

    /// Ends every call and transport, answers every request, and says [`Output::Died`]: another shard has to go on in its place. Whoever drives
    /// the shard calls it when it panicked itself, and so can no longer tell what has become of the shard's outputs.
    #[cold]
    pub fn die(&mut self, now: Instant) {
        if self.life == Life::Dead {
            return;
        }
        tracing::error!(shard = self.config.shard.0, calls = self.calls.len(), agents = self.agents.len(), "the shard dies");
        for key in self.calls.keys().collect::<Vec<_>>() {
            self.end_by_all_means(key, now);
        }
        for key in self.transports.keys().collect::<Vec<_>>() {
            self.in_transport(key, now, |shard| shard.close_transport(key, now));
        }
        self.refuse_waiting(None);
        self.outputs.push_back(Output::Died);
        self.life = Life::Dead;
    }

    /// The shard that takes a dead one's place. It knows what has been, and has nothing of what was going on.
    pub fn successor(&mut self, seed: [u8; 32]) -> Shard {
        let mut next = Shard::new(super::ShardConfig { seed, ..self.config.clone() });
        next.ended = std::mem::take(&mut self.ended);
        next.drops = std::mem::take(&mut self.drops);
        next.call_counts = std::mem::take(&mut self.call_counts);
        next.sip_received = std::mem::take(&mut self.sip_received);
        next.sip_sent = std::mem::take(&mut self.sip_sent);
        next.panics.count = self.panics.count;
        next
    }

    /// How many panics have been contained, in this shard and in those before it.
    pub fn panics(&self) -> u64 {
        self.panics.count
    }
}

/// The refusal of what could not be done because we panicked.
pub(super) fn internal() -> Refusal {
    Refusal::new(Code::Internal, "the gateway has made a mistake; it has been noted")
}
