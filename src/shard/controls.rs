//! What an agent does to a call that is established: hold, mute, digits, transfer. One after another, in the order asked.

use std::time::Instant;

use super::Shard;
use crate::call::command::{DtmfMethod, Reply, SendDtmf, TransferKind};
use crate::call::error::{Code, Refusal};
use crate::call::event::{CallEvent, EndReason, EndedBy, HeldBy};
use crate::call::number::Destination;
use crate::call::{Activity, Control, ControlKind, OfferPurpose, Phase};
use crate::ids::{AgentKey, CallId, CallKey, RequestId};
use crate::sdp::Direction;

type Outcome = Option<Result<Reply, Refusal>>;

impl Shard {
    pub(super) fn hold(&mut self, agent: AgentKey, id: CallId, request: Option<RequestId>, now: Instant) -> Outcome {
        self.control(agent, id, Control { request, kind: ControlKind::Hold }, now)
    }

    pub(super) fn unhold(&mut self, agent: AgentKey, id: CallId, request: Option<RequestId>, now: Instant) -> Outcome {
        self.control(agent, id, Control { request, kind: ControlKind::Unhold }, now)
    }

    pub(super) fn transfer(
        &mut self,
        agent: AgentKey,
        id: CallId,
        target: &str,
        kind: TransferKind,
        request: Option<RequestId>,
        now: Instant,
    ) -> Outcome {
        if let TransferKind::Attended { consult } = kind {
            let refusal = match self.call_of(agent, consult) {
                Ok(_) => Refusal::new(Code::BadRequest, "transferType: attended transfer is not available yet"),
                Err(refusal) => refusal,
            };
            return Some(Err(refusal));
        }
        let policy = &self.config.policy.dial;
        let destination = match Destination::parse(target).and_then(|destination| destination.check(policy).map(|()| destination)) {
            Ok(destination) => destination,
            Err(refusal) => return Some(Err(refusal)),
        };
        let host = destination.host.as_deref().unwrap_or(&self.config.trunk.domain);
        let uri = format!("sip:{}@{host}", destination.uri_user());
        let target = target.to_owned();
        self.control(agent, id, Control { request, kind: ControlKind::Transfer { target, uri } }, now)
    }

    /// Queues a control and starts it if the call is free.
    fn control(&mut self, agent: AgentKey, id: CallId, control: Control, now: Instant) -> Outcome {
        let key = match self.call_of(agent, id) {
            Ok(key) => key,
            Err(refusal) => return Some(Err(refusal)),
        };
        let call = &mut self.calls[key].call;
        if let Err(refusal) = call.talking() {
            return Some(Err(refusal));
        }
        if call.enqueue(control).is_err() {
            return Some(Err(Refusal::new(Code::RateLimited, "too many requests wait on this call")));
        }
        self.next_control(key, now);
        None
    }

    /// Starts the controls that wait, until one has to wait for the far side.
    pub(super) fn next_control(&mut self, key: CallKey, now: Instant) {
        while let Some(call) = self.calls.get_mut(key).map(|slot| &mut slot.call) {
            // Until the dialog is confirmed nothing can be asked of the far side.
            if !matches!(call.phase, Phase::Talking { .. }) {
                break;
            }
            let Some(control) = call.next_control() else { break };
            self.start_control(key, control, now);
        }
        // A hangup that waited for a transfer waits no longer once none is asked for any more.
        if self.calls.get(key).is_some_and(|slot| slot.call.leaving.is_some() && !slot.call.is_about_to_transfer()) {
            return self.hang_up(key, EndedBy::Agent, EndReason::Hangup, now);
        }
        self.schedule_call(key);
    }

    fn start_control(&mut self, key: CallKey, control: Control, now: Instant) {
        let call = &mut self.calls[key].call;
        let (held, agent) = (call.held_local, call.agent);
        match &control.kind {
            ControlKind::Hold if held => self.acknowledge(control.request, Ok(Reply::Done)),
            ControlKind::Unhold if !held => {
                // It may be held in all but name: not talked on, because the far side refused the hold.
                self.talk_on(key, now);
                self.acknowledge(control.request, Ok(Reply::Done));
            }
            ControlKind::Hold => {
                // The agent is no longer heard from now on, whatever the far side makes of it.
                if self.agents[agent].bridged == Some(key) {
                    self.agents[agent].bridged = None;
                    self.rewire(agent);
                }
                self.start_offer(key, control, OfferPurpose::Hold, now);
            }
            ControlKind::Unhold => {
                self.hold_bridged(agent, Some(key), now);
                self.start_offer(key, control, OfferPurpose::Unhold, now);
            }
            ControlKind::MoveMedia => self.start_offer(key, control, OfferPurpose::MoveMedia, now),
            ControlKind::Transfer { uri, .. } => {
                let Ok(session) = call.talking() else { return };
                let uri = uri.clone();
                call.activity = Activity::Referring { control };
                call.note("referring", now);
                self.sip.refer(session, uri, now);
            }
        }
    }

    fn start_offer(&mut self, key: CallKey, control: Control, purpose: OfferPurpose, now: Instant) {
        let call = &mut self.calls[key].call;
        let Ok(session) = call.talking() else { return };
        let Some(leg) = &mut call.leg else { return };
        leg.local.version += 1;
        leg.local.direction = match purpose {
            OfferPurpose::Hold => Direction::SendOnly,
            OfferPurpose::Unhold => Direction::SendRecv,
            OfferPurpose::MoveMedia => leg.local.direction,
        };
        let offer = leg.local.offer();
        match self.sip.offer(session, offer, now) {
            Ok(()) => call.activity = Activity::Offering { control, purpose },
            Err(pending) => {
                let refusal = Refusal::invalid_state(call.state(), pending.to_string());
                self.offer_came_to_nothing(key, purpose);
                self.acknowledge(control.request, Err(refusal));
            }
        }
    }

    /// Our offer was not agreed to: the session goes on as it was before (RFC 3261 section 14.1).
    pub(super) fn offer_came_to_nothing(&mut self, key: CallKey, purpose: OfferPurpose) {
        let call = &mut self.calls[key].call;
        let agent = call.agent;
        if let Some(leg) = &mut call.leg {
            leg.local.direction = match purpose {
                OfferPurpose::Hold => Direction::SendRecv,
                OfferPurpose::Unhold => Direction::SendOnly,
                OfferPurpose::MoveMedia => leg.local.direction,
            };
        }
        // The agent talks on, unless it has another call by now.
        if purpose == OfferPurpose::Hold && self.agents[agent].bridged.is_none() {
            self.agents[agent].bridged = Some(key);
            self.rewire(agent);
        }
    }

    /// Makes this the call that the agent talks on; one that it talked on before is held.
    pub(super) fn talk_on(&mut self, key: CallKey, now: Instant) {
        let agent = self.calls[key].call.agent;
        if self.agents[agent].bridged != Some(key) {
            self.hold_bridged(agent, Some(key), now);
            self.agents[agent].bridged = Some(key);
            self.rewire(agent);
        }
    }

    /// The far side has agreed to our offer.
    pub(super) fn offer_took_effect(&mut self, key: CallKey, purpose: OfferPurpose, now: Instant) {
        let call = &mut self.calls[key].call;
        let agent = call.agent;
        match purpose {
            OfferPurpose::Hold => {
                call.held_local = true;
                call.note("held", now);
            }
            OfferPurpose::Unhold => {
                call.held_local = false;
                call.note("unheld", now);
                // Another call may have been answered meanwhile.
                self.talk_on(key, now);
            }
            OfferPurpose::MoveMedia => call.note("media-moved", now),
        }
        self.calls[key].bridge.heard_at = now;
        self.rewire(agent);
        self.schedule_call(key);
    }

    /// What the agent is told once an offer has taken effect.
    pub(super) fn held_event(&self, key: CallKey, purpose: OfferPurpose) -> Option<CallEvent> {
        match purpose {
            OfferPurpose::Hold | OfferPurpose::Unhold => Some(CallEvent::Held { held: self.calls[key].call.held_local, by: HeldBy::Local }),
            OfferPurpose::MoveMedia => None,
        }
    }

    /// An agent talks on one call at a time: holds the one that it talks on, unless that is `except`.
    pub(super) fn hold_bridged(&mut self, agent: AgentKey, except: Option<CallKey>, now: Instant) {
        let Some(key) = self.agents[agent].bridged.filter(|&key| Some(key) != except) else { return };
        let call = &mut self.calls[key].call;
        if call.talking().is_ok() && !call.held_local && call.enqueue(Control { request: None, kind: ControlKind::Hold }).is_ok() {
            self.in_call(key, now, |shard| shard.next_control(key, now));
        }
        self.agents[agent].bridged = None;
        self.rewire(agent);
    }

    pub(super) fn mute(&mut self, agent: AgentKey, id: CallId, muted: bool, now: Instant) -> Result<Reply, Refusal> {
        let key = self.call_of(agent, id)?;
        let call = &mut self.calls[key].call;
        let changed = call.muted != muted;
        call.muted = muted;
        if changed {
            call.note(if muted { "muted" } else { "unmuted" }, now);
            self.tell_call(key, CallEvent::Muted { muted });
        }
        Ok(Reply::Done)
    }

    pub(super) fn send_dtmf(&mut self, agent: AgentKey, digits: &SendDtmf, now: Instant) -> Result<Reply, Refusal> {
        let key = self.call_of(agent, digits.call)?;
        let call = &self.calls[key].call;
        let session = call.talking()?;
        let negotiated = call.leg.as_ref().and_then(|leg| leg.negotiated.as_ref());
        let as_events = match digits.method {
            DtmfMethod::Auto => negotiated.is_some_and(|negotiated| negotiated.telephone_event.is_some()),
            DtmfMethod::Rfc4733 => true,
            DtmfMethod::Info => false,
        };
        if as_events {
            self.queue_dtmf_events(key, digits)?;
        } else {
            let duration_ms = digits.duration.as_millis();
            for tone in digits.tones.chars().filter(|&tone| tone != ',') {
                let body = format!("Signal={tone}\r\nDuration={duration_ms}\r\n");
                self.sip.info(session, "application/dtmf-relay", body.into_bytes(), now);
            }
        }
        self.calls[key].call.note("dtmf", now);
        self.schedule_call(key);
        self.on_media_timers(key, now);
        self.schedule_call(key);
        Ok(Reply::Done)
    }
}
