//! A call's beginning and end, as its agent asks for them; what the PBX says about it is in `sessions`.

use std::net::SocketAddr;
use std::time::Instant;

use rand::RngCore;

use super::agents::Agent;
use super::io::Output;
use super::media::{Bridge, CallSlot};
use super::{Shard, Timer, Work};
use crate::call::command::{Dial, RejectStatus, Reply};
use crate::call::error::{Code, Refusal};
use crate::call::event::{CallDirection, CallEvent, CallView, EndReason, Ended, EndedBy, Event};
use crate::call::number::Destination;
use crate::call::{Activity, Answering, Call, Leaving, Phase, SipLeg, Told};
use crate::codec::Codec;
use crate::ids::{AgentKey, CallId, CallKey, RequestId};
use crate::limits;
use crate::net::PortPair;
use crate::sdp::{Direction, LocalDescription};
use crate::sip::{Address, Invite, Reason};

/// Q.850 cause 16, normal call clearing.
const NORMAL_CLEARING: u16 = 16;

/// How long a hangup waits for the answer to a REFER that is out (api.md section 4).
const REFER_ANSWER: std::time::Duration = std::time::Duration::from_secs(2);

impl Shard {
    pub(super) fn dial(&mut self, agent: AgentKey, dial: Dial, now: Instant) -> Result<Reply, Refusal> {
        if let Some(call) = dial.client_call_id.as_deref().and_then(|id| self.call_dialed_as(agent, id, now)) {
            return Ok(Reply::Dialed(call));
        }
        let policy = &self.config.policy;
        let destination = Destination::parse(&dial.phone_number)?;
        destination.check(&policy.dial)?;
        check_headers(&dial.headers, &policy.header_prefixes)?;
        if let Some(caller) = &dial.caller_id {
            Destination::parse(caller).map_err(|_| Refusal::new(Code::BadRequest, "callerId: no number"))?;
        }
        if let Some(wanted) = &dial.codec {
            let codec = Codec::by_name(wanted).ok_or_else(|| Refusal::new(Code::UnsupportedCodec, "codec: not one of ours"))?;
            let microphone = self.agents[agent].microphone().map(|producer| producer.media.codec);
            if microphone.is_some_and(|sent| sent != codec) {
                return Err(Refusal::new(Code::UnsupportedCodec, "codec: not the one that the browser sends"));
            }
        }
        let emergency = policy.dial.is_emergency(&destination.user);
        if self.agents[agent].calls.len() >= policy.max_calls_per_agent && !emergency {
            return Err(Refusal::new(Code::CallLimit, "the agent has as many calls as allowed"));
        }
        if self.calls.len() >= limits::CALLS_PER_SHARD {
            return Err(Refusal::new(Code::Overloaded, "this shard has no room for another call"));
        }

        self.hold_bridged(agent, None, now);
        let id = self.new_call_id(now);
        let phone_number = match &destination.host {
            Some(host) => format!("sip:{}@{host}", destination.user),
            None => destination.user.clone(),
        };
        #[cfg(feature = "inject-panics")]
        self.inject_by(&dial.headers, id);
        let (campaign_id, lead_id, client_call_id) = (dial.campaign_id.clone(), dial.lead_id.clone(), dial.client_call_id.clone());
        let (user, host) = (destination.uri_user(), destination.host);
        let phase = Phase::AwaitingMedia { dial: Box::new(dial), user, host, give_up_at: now + limits::MEDIA_READY };
        let mut call = Call::new(id, agent, CallDirection::Outbound, phone_number, phase, now);
        (call.campaign_id, call.lead_id, call.client_call_id) = (campaign_id, lead_id, client_call_id);
        let key = self.add_call(call, now);
        self.in_call(key, now, |shard| shard.send_invite_if_ready(key, now));
        Ok(Reply::Dialed(id))
    }

    /// The call, live or just ended, that this agent dialled under its own id.
    fn call_dialed_as(&mut self, agent: AgentKey, client_call_id: &str, now: Instant) -> Option<CallId> {
        let live = self.agents[agent].calls.iter().map(|&call| &self.calls[call].call);
        let live = live.into_iter().find(|call| call.client_call_id.as_deref() == Some(client_call_id)).map(|call| call.id);
        let Agent { identity, .. } = &self.agents[agent];
        live.or_else(|| self.ended.dialed_as(&identity.tenant, &identity.agent, client_call_id, now))
    }

    pub(super) fn add_call(&mut self, call: Call, now: Instant) -> CallKey {
        let (id, agent, direction) = (call.id, call.agent, call.direction);
        let baseline = self.browser_totals(agent);
        let key = self.calls.insert(CallSlot::new(call, Bridge::new(&mut self.rng, baseline, now)));
        self.calls_by_id.insert(id, key);
        self.call_counts.of(direction).started += 1;
        let agent = &mut self.agents[agent];
        agent.calls.push(key);
        agent.calls_today += 1;
        self.schedule_call(key);
        key
    }

    /// The browser's media came up: whatever waited for it goes on.
    pub(super) fn media_became_ready(&mut self, agent: AgentKey, now: Instant) {
        for call in self.agents[agent].calls.clone() {
            self.in_call(call, now, |shard| {
                shard.send_invite_if_ready(call, now);
                shard.accept_if_ready(call, now);
            });
        }
    }

    fn send_invite_if_ready(&mut self, key: CallKey, now: Instant) {
        let Some(call) = self.calls.get(key).map(|slot| &slot.call) else { return };
        let agent = &self.agents[call.agent];
        let (Phase::AwaitingMedia { dial, user, host, .. }, Some(microphone)) = (&call.phase, agent.microphone()) else { return };

        let codec = microphone.media.codec;
        if dial.codec.as_deref().is_some_and(|wanted| Codec::by_name(wanted) != Some(codec)) {
            let refusal = Refusal::new(Code::UnsupportedCodec, "codec: not the one that the browser sends");
            return self.fail_call(key, refusal, None, now);
        }
        let trunk = &self.config.trunk;
        let peer = trunk.peers[0];
        let domain = host.as_deref().unwrap_or(&trunk.domain);
        let identity = &agent.identity;
        let own_domain = identity.sip.domain.as_deref().unwrap_or(&trunk.domain);
        let caller = dial.caller_id.as_deref().and_then(|caller| Destination::parse(caller).ok());
        let from_user = caller.map_or_else(|| identity.sip.user.clone(), |caller| caller.user);
        let mut headers = vec![("X-Call-Id".to_owned(), call.id.to_string())];
        headers.extend(call.campaign_id.iter().map(|id| ("X-Campaign-Id".to_owned(), id.clone())));
        headers.extend(call.lead_id.iter().map(|id| ("X-Lead-Id".to_owned(), id.clone())));
        headers.extend(dial.headers.iter().cloned());
        let mut invite = Invite {
            peer,
            target: format!("sip:{user}@{domain}"),
            from: Address { display: identity.sip.display_name.clone(), ..Address::new(from_user, own_domain) },
            to: Address::new(user.clone(), domain),
            headers,
            body: None,
        };

        let Some(pair) = self.pair_for_peer(peer.ip(), now) else { return self.fail_call(key, out_of_ports(), None, now) };
        let local = self.local_description(pair, vec![codec]);
        invite.body = Some(local.offer());
        match self.sip.invite(invite, now) {
            Ok(session) => {
                let sip_call_id = self.sip.call_id(session).unwrap_or_default().to_owned();
                self.calls_by_session.insert(session, key);
                let give_up_at = now + self.config.policy.ring_timeout;
                let call = &mut self.calls[key].call;
                self.injected.point("invited", Some(call.id));
                call.phase = Phase::Inviting { session, told: Told::Nothing, give_up_at };
                call.leg = Some(SipLeg { pair, local, negotiated: None });
                call.sip_call_id = sip_call_id;
                call.note("invited", now);
                let agent = call.agent;
                self.agents[agent].bridged = Some(key);
                self.rewire(agent);
                self.schedule_call(key);
                self.drive_sip(now);
            }
            Err(full) => {
                self.release_pair(pair, now);
                self.fail_call(key, Refusal::new(Code::Overloaded, full.to_string()), None, now);
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        agent: AgentKey,
        id: CallId,
        request: Option<RequestId>,
        now: Instant,
    ) -> Option<Result<Reply, Refusal>> {
        let key = match self.call_of(agent, id) {
            Ok(key) => key,
            Err(refusal) => return Some(Err(refusal)),
        };
        let call = &mut self.calls[key].call;
        let state = call.state();
        let Phase::Incoming { answering, .. } = &mut call.phase else {
            return Some(Err(Refusal::invalid_state(state, "the call does not wait for an answer")));
        };
        if answering.is_some() {
            return Some(Err(Refusal::invalid_state(state, "the call is being answered")));
        }
        *answering = Some(Answering { request, give_up_at: now + limits::MEDIA_READY });
        self.hold_bridged(agent, Some(key), now);
        self.schedule_call(key);
        self.accept_if_ready(key, now);
        None
    }

    pub(super) fn accept_if_ready(&mut self, key: CallKey, now: Instant) {
        let Some(call) = self.calls.get(key).map(|slot| &slot.call) else { return };
        let Some(codec) = self.agents[call.agent].microphone().map(|producer| producer.media.codec) else { return };
        let Phase::Incoming { session, offer, answering: Some(answering), .. } = &call.phase else { return };
        let (session, request, offer) = (*session, answering.request, offer.clone());

        let Some(pair) = self.pair_for_offer(offer.audio.rtp, key, now) else {
            self.refuse_answer(key, out_of_ports());
            self.sip.reject(session, 503, Vec::new(), now);
            return self.end_call(key, EndedBy::Gateway, EndReason::Internal, Some(503), now);
        };
        let local = self.local_description(pair, vec![codec]);
        match local.answer(&offer) {
            Ok((body, negotiated)) => {
                self.sip.accept(session, body, now);
                let call = &mut self.calls[key].call;
                call.phase = Phase::Accepted { session };
                call.leg = Some(SipLeg { pair, local, negotiated: None });
                call.note("accepted", now);
                let agent = call.agent;
                self.agents[agent].bridged = Some(key);
                self.install_flow(key, negotiated, now);
                self.acknowledge(request, Ok(Reply::Done));
                self.schedule_call(key);
            }
            Err(_) => {
                self.release_pair(pair, now);
                self.refuse_answer(key, Refusal::new(Code::UnsupportedCodec, "the PBX does not offer the browser's codec"));
                self.sip.reject(session, 488, Vec::new(), now);
                self.end_call(key, EndedBy::Gateway, EndReason::Rejected, Some(488), now);
            }
        }
        self.drive_sip(now);
    }

    /// The agent's answer comes to nothing.
    fn refuse_answer(&mut self, key: CallKey, refusal: Refusal) {
        let Phase::Incoming { answering, .. } = &mut self.calls[key].call.phase else { return };
        let request = answering.take().and_then(|answering| answering.request);
        self.acknowledge(request, Err(refusal));
    }

    pub(super) fn reject(&mut self, agent: AgentKey, id: CallId, status: RejectStatus, now: Instant) -> Result<Reply, Refusal> {
        let key = self.call_of(agent, id)?;
        let call = &self.calls[key].call;
        let Phase::Incoming { session, .. } = call.phase else {
            return Err(Refusal::invalid_state(call.state(), "only an incoming call can be rejected"));
        };
        self.sip.reject(session, status.status(), Vec::new(), now);
        self.end_call(key, EndedBy::Agent, EndReason::Rejected, Some(status.status()), now);
        Ok(Reply::Done)
    }

    pub(super) fn hangup(
        &mut self,
        agent: AgentKey,
        id: CallId,
        request: Option<RequestId>,
        now: Instant,
    ) -> Option<Result<Reply, Refusal>> {
        let key = match self.call_of(agent, id) {
            Ok(key) => key,
            Err(refusal) => {
                let Agent { identity, .. } = &self.agents[agent];
                let ended = self.ended.get(id, now).is_some_and(|call| call.belongs_to(&identity.tenant, &identity.agent));
                return Some(if ended { Ok(Reply::Done) } else { Err(refusal) });
            }
        };
        let call = &mut self.calls[key].call;
        // Hanging up twice is hanging up once: what is waited for is still waited for.
        if call.leaving.is_some() || matches!(call.phase, Phase::Departed { .. }) {
            return Some(Ok(Reply::Done));
        }
        if call.is_about_to_transfer() {
            call.leaving = Some(Leaving { request, give_up_at: now + REFER_ANSWER });
            self.schedule_call(key);
            return None;
        }
        self.hang_up(key, EndedBy::Agent, EndReason::Hangup, now);
        Some(Ok(Reply::Done))
    }

    /// Ends a call from our side in the way that its state asks for.
    pub(super) fn hang_up(&mut self, key: CallKey, by: EndedBy, reason: EndReason, now: Instant) {
        if let (Activity::Transferring { .. }, Phase::Talking { session }) = (&self.calls[key].call.activity, &self.calls[key].call.phase) {
            let session = *session;
            self.sip.bye_behind_refer(session, Some(Reason::q850(NORMAL_CLEARING)), now);
            self.depart(key, session, by, reason, now);
            return self.drive_sip(now);
        }
        let reason = match &self.calls[key].call.phase {
            Phase::AwaitingMedia { .. } | Phase::Inviting { .. } if by == EndedBy::Agent => EndReason::Cancelled,
            Phase::Incoming { .. } if by == EndedBy::Agent => EndReason::Rejected,
            Phase::AwaitingMedia { .. }
            | Phase::Inviting { .. }
            | Phase::Incoming { .. }
            | Phase::Accepted { .. }
            | Phase::Talking { .. }
            | Phase::Departed { .. } => reason,
        };
        self.end_call(key, by, reason, None, now);
    }

    /// Ends a call that has, or never had, an answer: `call:ended`. The SIP session is ended with it, if it still lives.
    pub(super) fn end_call(&mut self, key: CallKey, by: EndedBy, reason: EndReason, sip_code: Option<u16>, now: Instant) {
        self.end_call_with(key, by, reason, sip_code, None, now);
    }

    /// As [`Shard::end_call`], with the Q.850 cause that the far side gave.
    pub(super) fn end_call_with(
        &mut self,
        key: CallKey,
        by: EndedBy,
        reason: EndReason,
        sip_code: Option<u16>,
        q850: Option<u16>,
        now: Instant,
    ) {
        let slot = &self.calls[key];
        let duration = slot.call.answered_at.map_or(std::time::Duration::ZERO, |at| now.duration_since(at));
        let ended = Ended { duration, ended_by: by, reason, sip_code, q850, quality: self.leg_stats(key) };
        self.close_call(key, CallEvent::Ended(Box::new(ended)), "ended", now);
    }

    /// Ends an outbound call that was never answered: `call:failed`.
    pub(super) fn fail_call(&mut self, key: CallKey, refusal: Refusal, q850: Option<u16>, now: Instant) {
        let Refusal { code, message, sip_code, sip_reason, state: _ } = refusal;
        self.close_call(key, CallEvent::Failed { message, code, sip_code, sip_reason, q850 }, "failed", now);
    }

    /// Takes everything back that the call held, then tells its one terminal event.
    fn close_call(&mut self, key: CallKey, event: CallEvent, what: &'static str, now: Instant) {
        let state = match event {
            CallEvent::Failed { .. } => crate::call::event::CallState::Failed,
            _ => crate::call::event::CallState::Ended,
        };
        for (request, outcome) in self.calls[key].call.take_waiting_for_end() {
            self.acknowledge(request, outcome);
        }
        for control in self.calls[key].call.take_controls() {
            self.acknowledge(control.request, Err(Refusal::invalid_state(state, "the call has ended")));
        }
        if let Some(session) = self.calls[key].call.session()
            && self.calls_by_session.remove(session).is_some()
        {
            self.end_session(key, session, now);
        }
        self.injected.point("end", Some(self.calls[key].call.id));
        self.remove_flow(key);
        if let Some(leg) = self.calls[key].call.leg.take() {
            self.release_pair(leg.pair, now);
        }
        self.calls[key].call.note(what, now);
        let worst = Self::worst_mos(&self.leg_stats(key));
        self.remember(key, state, now);
        self.call_counts.of(self.calls[key].call.direction).closed(&event);

        let mut slot = self.calls.remove(key).expect("only live calls are closed");
        self.deadlines.set(Timer::Call(key), &mut slot.deadline, None);
        self.calls_by_id.remove(&slot.call.id);
        // Told as soon as it is gone: exactly once, wherever anything here panics.
        self.tell(slot.call.agent, Event::Call { call: slot.call.id, event });
        let agent = &mut self.agents[slot.call.agent];
        agent.calls.retain(|&other| other != key);
        agent.talk_time += slot.call.answered_at.map_or(std::time::Duration::ZERO, |at| now.duration_since(at));
        if let Some(worst) = worst {
            agent.mos = (agent.mos.0 + worst, agent.mos.1 + 1);
        }
        agent.bridged = agent.bridged.filter(|&bridged| bridged != key);
        self.rewire(slot.call.agent);
        self.drive_sip(now);
    }

    /// Ends the SIP session of a call that we end.
    fn end_session(&mut self, key: CallKey, session: crate::sip::SessionKey, now: Instant) {
        match self.calls[key].call.phase {
            Phase::AwaitingMedia { .. } | Phase::Departed { .. } => {}
            Phase::Inviting { .. } => self.sip.cancel(session, now),
            Phase::Incoming { .. } => self.sip.reject(session, 480, Vec::new(), now),
            Phase::Accepted { .. } | Phase::Talking { .. } => self.sip.bye(session, Some(Reason::q850(NORMAL_CLEARING)), now),
        }
    }

    pub(super) fn on_call_timeout(&mut self, key: CallKey, now: Instant) {
        self.work = Work::Call(key);
        let Some(slot) = self.calls.get_mut(key) else { return };
        slot.deadline.fired();
        self.injected.point("timer", Some(slot.call.id));
        if slot.call.give_up_at().is_some_and(|at| at <= now) {
            self.give_up(key, now);
        }
        if self.calls.contains_key(key) {
            self.on_media_timers(key, now);
        }
        if self.calls.contains_key(key) {
            self.schedule_call(key);
        }
    }

    /// The call's state has lasted as long as it may.
    fn give_up(&mut self, key: CallKey, now: Instant) {
        let call = &mut self.calls[key].call;
        match &mut call.phase {
            Phase::AwaitingMedia { .. } => {
                let refusal = Refusal::new(Code::MediaNotReady, "the browser's send transport did not come up");
                self.fail_call(key, refusal, None, now);
            }
            Phase::Inviting { .. } => self.fail_call(key, Refusal::new(Code::SipTimeout, "nobody answered"), None, now),
            Phase::Incoming { give_up_at, .. } if *give_up_at <= now => {
                self.end_call(key, EndedBy::Gateway, EndReason::NoAnswer, Some(480), now);
            }
            Phase::Incoming { .. } => {
                self.refuse_answer(key, Refusal::new(Code::MediaNotReady, "the browser's send transport did not come up"));
            }
            Phase::Accepted { .. } | Phase::Talking { .. } if call.leaving.is_none() => self.transfer_failed(key, None, now),
            Phase::Accepted { .. } | Phase::Talking { .. } => {
                self.hang_up(key, EndedBy::Agent, EndReason::Hangup, now);
            }
            Phase::Departed { by, reason, .. } => {
                let (by, reason) = (*by, *reason);
                self.end_call(key, by, reason, None, now);
            }
        }
    }

    /// Arms the call's next deadline: of its state, or of its media.
    pub(super) fn schedule_call(&mut self, key: CallKey) {
        let Some(slot) = self.calls.get_mut(key) else { return };
        let due = [slot.call.give_up_at(), slot.media_due(self.config.policy.media_timeout)].into_iter().flatten().min();
        self.deadlines.set(Timer::Call(key), &mut slot.deadline, due);
    }

    /// A call as its agent sees it.
    pub(super) fn call_view(&self, key: CallKey) -> CallView {
        let call = &self.calls[key].call;
        CallView {
            call: call.id,
            sip_call_id: call.sip_call_id.clone(),
            direction: call.direction,
            state: call.state(),
            phone_number: call.phone_number.clone(),
            caller_name: call.caller_name.clone(),
            campaign_id: call.campaign_id.clone(),
            lead_id: call.lead_id.clone(),
            muted: call.muted,
            held: call.is_held(),
            started_at: self.wall_clock(call.started_at),
            answered_at: call.answered_at.map(|at| self.wall_clock(at)),
            producer: self.agents[call.agent].remote_producer,
        }
    }

    /// The pair for a new leg towards this address: shared, unless the peer is known to send several calls' media from one port.
    fn pair_for_peer(&mut self, peer: std::net::IpAddr, now: Instant) -> Option<PortPair> {
        if !self.colliding_peers.contains(&peer) {
            return Some(PortPair::SHARED);
        }
        self.take_own_pair(now)
    }

    /// The pair for a leg of `call` whose RTP comes from this address: shared, unless another leg hears the same address there.
    pub(super) fn pair_for_offer(&mut self, rtp: SocketAddr, call: CallKey, now: Instant) -> Option<PortPair> {
        if !self.demux.collides(PortPair::SHARED, rtp, call) {
            return Some(PortPair::SHARED);
        }
        self.note_colliding_peer(rtp.ip());
        self.take_own_pair(now)
    }

    /// Takes a pair that no other leg uses, and has it opened.
    pub(super) fn take_own_pair(&mut self, now: Instant) -> Option<PortPair> {
        let pair = self.ports.take(now)?;
        self.outputs.push_back(Output::OpenPair { pair, rtp_port: self.ports.rtp_port(pair) });
        Some(pair)
    }

    pub(super) fn release_pair(&mut self, pair: PortPair, now: Instant) {
        if pair != PortPair::SHARED {
            self.ports.give_back(pair, now);
            self.outputs.push_back(Output::ClosePair(pair));
        }
    }

    /// Remembers that this peer uses one media port for several calls; the oldest such peer is forgotten first.
    pub(super) fn note_colliding_peer(&mut self, peer: std::net::IpAddr) {
        if !self.colliding_peers.contains(&peer) {
            if self.colliding_peers.len() >= COLLIDING_PEERS {
                self.colliding_peers.remove(0);
            }
            self.colliding_peers.push(peer);
        }
    }

    /// What we say about ourselves in a new offer or answer.
    pub(super) fn local_description(&mut self, pair: PortPair, codecs: Vec<Codec>) -> LocalDescription {
        let rtp_port = self.ports.rtp_port(pair);
        LocalDescription {
            address: self.config.media_address,
            rtp_port,
            rtcp_port: rtp_port + 1,
            session_id: self.rng.next_u64() >> 2,
            version: 1,
            direction: Direction::SendRecv,
            codecs,
        }
    }
}

/// Peers known to share a media port among calls.
const COLLIDING_PEERS: usize = 64;

/// What an agent's header fields may come to together: with them the INVITE still has to fit a datagram ([`crate::net::MAX_DATAGRAM`]).
const HEADERS_BYTES: usize = 4096;

/// The refusal when no pair of ports is left.
pub(super) fn out_of_ports() -> Refusal {
    Refusal::new(Code::Overloaded, "no media ports are left")
}

/// Headers that a client wants to send: named under an allowed prefix, short, and without anything that could start another header.
fn check_headers(headers: &[(String, String)], prefixes: &[String]) -> Result<(), Refusal> {
    let bad = |what: &str| Err(Refusal::new(Code::BadRequest, format!("headers: {what}")));
    if headers.len() > limits::CUSTOM_HEADERS {
        return bad("too many");
    }
    if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > HEADERS_BYTES {
        return bad("too long together");
    }
    for (name, value) in headers {
        if name.len() + value.len() > limits::CUSTOM_HEADER_BYTES {
            return bad("one is too long");
        }
        let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b));
        if !is_token || value.chars().any(char::is_control) {
            return bad("one holds a character that is not allowed");
        }
        let lower = name.to_ascii_lowercase();
        if !prefixes.iter().any(|prefix| lower.starts_with(prefix.as_str())) {
            return bad("a name is not under an allowed prefix");
        }
    }
    Ok(())
}
