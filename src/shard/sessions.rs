//! What the PBX says about a call: SIP events become changes of the call and events for its agent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::io::IngressTarget;
use super::{Shard, Timer};
use crate::call::command::Reply;
use crate::call::error::{Code, Refusal};
use crate::call::event::{CallDirection, CallEvent, EndReason, EndedBy, HeldBy, Incoming};
use crate::call::{Activity, Answering, Call, Control, ControlKind, Phase, SipLeg, Told};
use crate::ids::{AgentKey, CallKey};
use crate::limits;
use crate::net::{Datagram, PortPair};
use crate::sdp::{self, Negotiated, RemoteDescription};
use crate::sip::{IncomingCall, InviteFailure, Reason, SessionKey, SipEvent, UserAgentStats};

/// How long the NOTIFY of a transfer is awaited once the far side has hung up (api.md section 4).
const LAST_NOTIFY: Duration = Duration::from_secs(5);

/// How long the far side may go without saying how a transfer went: the transferee's phone may ring for a while.
const TRANSFER_REPORT: Duration = Duration::from_secs(120);

/// How often a peer that did not answer is asked whether it is there again (OPTIONS).
const PEER_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a digit by INFO lasted where it does not say, and at most, in milliseconds.
const INFO_DIGIT_MS: u64 = 100;
const INFO_DIGIT_MS_MAX: u64 = 60_000;

/// RFC 3261 section 21.4.26.
const NOT_ACCEPTABLE_HERE: u16 = 488;

impl Shard {
    pub(super) fn on_sip(&mut self, datagram: Datagram, target: IngressTarget, now: Instant) {
        self.sip_received.count(datagram.packet.bytes());
        self.sip.handle_datagram(datagram.packet.bytes(), datagram.from, datagram.socket, now);
        self.packets.give_back(datagram.packet);
        self.drive_sip_for(&target, now);
    }

    pub(super) fn on_unreachable(&mut self, peer: SocketAddr, now: Instant) {
        self.sip.handle_unreachable(peer, now);
        self.drive_sip(now);
    }

    /// Does everything that SIP wants done, then arms its next deadline.
    pub(super) fn drive_sip(&mut self, now: Instant) {
        self.drive_sip_for(&IngressTarget::Any, now);
    }

    fn drive_sip_for(&mut self, target: &IngressTarget, now: Instant) {
        loop {
            while let Some(transmit) = self.sip.poll_transmit() {
                self.sip_sent.count(&transmit.bytes);
                self.transmit_copy(transmit.socket, transmit.to, &transmit.bytes);
            }
            match self.sip.poll_event() {
                Some(event) => self.on_sip_event(event, target, now),
                None => break,
            }
        }
        self.deadlines.set(Timer::Sip, &mut self.sip_deadline, self.sip.next_deadline());
    }

    fn on_sip_event(&mut self, event: SipEvent, target: &IngressTarget, now: Instant) {
        match event {
            SipEvent::Incoming { session, call } => {
                if self.caught(|shard| shard.on_incoming(session, *call, target, now)).is_none() {
                    self.end_broken_session(session, now);
                }
            }
            SipEvent::Pong { peer, status } => self.note_reachable(peer, status.is_some(), now),
            SipEvent::Progress { session, status, body } => {
                self.with_call(session, now, |shard, key| shard.on_progress(key, status, body, now))
            }
            SipEvent::Answered { session, body, headers: _ } => {
                self.with_call(session, now, |shard, key| shard.on_answered(key, session, body, now))
            }
            SipEvent::Failed { session, failure } => {
                self.with_lost_call(session, now, |shard, key| shard.on_invite_failed(key, failure, now))
            }
            SipEvent::Cancelled { session, reason } => self.with_lost_call(session, now, |shard, key| {
                let q850 = reason.as_ref().and_then(Reason::q850_cause);
                shard.end_call_with(key, EndedBy::Remote, EndReason::Cancelled, None, q850, now);
            }),
            SipEvent::Acknowledged { session, body } => {
                self.with_call(session, now, |shard, key| shard.on_acknowledged(key, session, body, now))
            }
            SipEvent::Ended { session, reason } => self.with_lost_call(session, now, |shard, key| shard.on_bye(key, reason, now)),
            SipEvent::Lost { session, status } => self.with_lost_call(session, now, |shard, key| {
                let reason = if status == 408 { EndReason::SessionTimeout } else { EndReason::Hangup };
                shard.end_call(key, EndedBy::Remote, reason, Some(status), now);
            }),
            SipEvent::Reoffered { session, body } => self.with_call(session, now, |shard, key| shard.on_reoffered(key, session, body, now)),
            SipEvent::OfferAnswered { session, body } => self.with_call(session, now, |shard, key| shard.on_offer_answered(key, body, now)),
            SipEvent::OfferRefused { session, status } => {
                self.with_call(session, now, |shard, key| shard.on_offer_refused(key, status, now))
            }
            SipEvent::ReferAccepted { session } => self.with_call(session, now, |shard, key| shard.on_refer_answered(key, Ok(()), now)),
            SipEvent::ReferRefused { session, status } => {
                self.with_call(session, now, |shard, key| shard.on_refer_answered(key, Err(status), now))
            }
            SipEvent::Notified { session, status, terminated } => {
                self.with_call(session, now, |shard, key| shard.on_notified(key, status, terminated, now));
            }
            SipEvent::Refered { session, target: _ } => self.sip.respond_refer(session, 603, now),
            SipEvent::Info { session, content_type, body } => {
                self.with_call(session, now, |shard, key| shard.on_info(key, &content_type, &body))
            }
        }
    }

    /// Runs `act` with the session's call; a session that is only being wound up has none.
    fn with_call(&mut self, session: SessionKey, now: Instant, act: impl FnOnce(&mut Self, CallKey)) {
        if let Some(&key) = self.calls_by_session.get(session) {
            self.in_call(key, now, |shard| act(shard, key));
        }
    }

    /// As [`Shard::with_call`], for an event after which SIP no longer knows the session.
    fn with_lost_call(&mut self, session: SessionKey, now: Instant, act: impl FnOnce(&mut Self, CallKey)) {
        if let Some(key) = self.calls_by_session.remove(session) {
            self.in_call(key, now, |shard| act(shard, key));
        }
    }

    fn on_incoming(&mut self, session: SessionKey, incoming: IncomingCall, target: &IngressTarget, now: Instant) {
        let refuse = |shard: &mut Self, status| shard.sip.reject(session, status, Vec::new(), now);
        let agent = match target {
            IngressTarget::Agent(tenant, agent) => self.agents_by_id.get(&(tenant.clone(), agent.clone())).copied(),
            IngressTarget::Refuse(status) => return refuse(self, *status),
            // On the shard's own port only the user part can tell whom it is for: an agent without a directory entry.
            IngressTarget::Any => return refuse(self, 404),
        };
        let Some(agent) = agent.filter(|&key| self.agents[key].socket.is_some()) else { return refuse(self, 480) };
        if self.agents[agent].calls.len() >= self.config.policy.max_calls_per_agent {
            return refuse(self, 486);
        }
        if self.calls.len() >= limits::CALLS_PER_SHARD {
            return self.sip.reject(session, 503, vec![("Retry-After".to_owned(), "5".to_owned())], now);
        }
        let offer = match incoming.body.as_deref().map(sdp::parse) {
            Some(Ok(offer)) => offer,
            Some(Err(error)) => return refuse(self, error.sip_status()),
            None => return refuse(self, NOT_ACCEPTABLE_HERE),
        };
        // From an address of the other family we cannot be heard, and it cannot be reached.
        if offer.audio.rtp.is_ipv4() != self.config.media_address.is_ipv4() {
            return refuse(self, NOT_ACCEPTABLE_HERE);
        }
        let sent = self.agents[agent].microphone().map(|producer| producer.media.codec);
        if !offer.has_codec(sent) {
            return refuse(self, NOT_ACCEPTABLE_HERE);
        }
        self.sip.ring(session, None, now);
        self.injected.point("ringing", None);
        self.announce_incoming(agent, session, incoming, offer, now);
    }

    fn announce_incoming(&mut self, agent: AgentKey, session: SessionKey, incoming: IncomingCall, offer: RemoteDescription, now: Instant) {
        let auto_answer = asks_for_auto_answer(&incoming);
        let phase = Phase::Incoming {
            session,
            offer: Box::new(offer),
            give_up_at: now + self.config.policy.incoming_timeout,
            answering: None,
            auto_answer,
        };
        let id = self.new_call_id(now);
        let mut call = Call::new(id, agent, CallDirection::Inbound, incoming.from_user.clone(), phase, now);
        call.caller_name = incoming.display_name.clone();
        call.campaign_id = incoming.header("X-Campaign-Id").map(str::to_owned);
        call.lead_id = incoming.header("X-Lead-Id").map(str::to_owned);
        call.sip_call_id = incoming.call_id.clone();
        let told = Incoming {
            phone_number: call.phone_number.clone(),
            caller_name: call.caller_name.clone(),
            to: incoming.request_user.clone(),
            campaign_id: call.campaign_id.clone(),
            lead_id: call.lead_id.clone(),
            auto_answer,
            headers: self.headers_for_client(incoming.headers),
        };
        let key = self.add_call(call, now);
        self.calls_by_session.insert(session, key);
        self.tell_call(key, CallEvent::Incoming(Box::new(told)));
        if auto_answer {
            let give_up_at = now + limits::MEDIA_READY;
            if let Phase::Incoming { answering, .. } = &mut self.calls[key].call.phase {
                *answering = Some(Answering { request: None, give_up_at });
            }
            self.hold_bridged(agent, Some(key), now);
            self.schedule_call(key);
            self.accept_if_ready(key, now);
        }
    }

    fn headers_for_client(&self, headers: Vec<(String, String)>) -> Vec<(String, String)> {
        let prefixes = &self.config.policy.header_prefixes;
        let allowed = |name: &str| prefixes.iter().any(|prefix| name.to_ascii_lowercase().starts_with(prefix.as_str()));
        let short = |name: &str, value: &str| name.len() + value.len() <= limits::CUSTOM_HEADER_BYTES;
        let kept = headers.into_iter().filter(|(name, value)| allowed(name) && short(name, value));
        kept.take(limits::CUSTOM_HEADERS).collect()
    }

    fn on_progress(&mut self, key: CallKey, status: u16, body: Option<Vec<u8>>, now: Instant) {
        self.note_reachable(self.config.trunk.peers[0], true, now);
        if let Some(Ok(answer)) = body.as_deref().map(sdp::parse) {
            self.take_answer(key, &answer, now);
        }
        let Some(slot) = self.calls.get_mut(key) else { return };
        let early_media = slot.call.leg.as_ref().is_some_and(|leg| leg.negotiated.is_some());
        let Phase::Inviting { told, .. } = &mut slot.call.phase else { return };
        let news = match (*told, early_media) {
            (Told::Nothing, false) if (180..=183).contains(&status) => Told::Ringing,
            (Told::Nothing | Told::Ringing, true) => Told::EarlyMedia,
            (Told::Nothing | Told::Ringing | Told::EarlyMedia, _) => return,
        };
        *told = news;
        slot.call.note(if early_media { "early-media" } else { "ringing" }, now);
        let producer = self.agents[self.calls[key].call.agent].remote_producer;
        self.tell_call(key, CallEvent::Ringing { producer, early_media });
        self.schedule_call(key);
    }

    fn on_answered(&mut self, key: CallKey, session: SessionKey, body: Option<Vec<u8>>, now: Instant) {
        self.calls[key].call.phase = Phase::Talking { session };
        let agreed = match body.as_deref().map(sdp::parse) {
            Some(Ok(answer)) => self.take_answer(key, &answer, now),
            Some(Err(_)) => false,
            // The answer came in an early dialog already.
            None => self.calls[key].call.leg.as_ref().is_some_and(|leg| leg.negotiated.is_some()),
        };
        if !self.calls.contains_key(key) {
            return;
        }
        if !agreed {
            let refusal =
                Refusal { sip_code: Some(NOT_ACCEPTABLE_HERE), ..Refusal::new(Code::UnsupportedCodec, "the PBX's answer cannot be used") };
            return self.fail_call(key, refusal, None, now);
        }
        self.begin_talking(key, now);
    }

    fn on_acknowledged(&mut self, key: CallKey, session: SessionKey, body: Option<Vec<u8>>, now: Instant) {
        match self.calls[key].call.phase {
            Phase::Accepted { .. } => {
                self.calls[key].call.phase = Phase::Talking { session };
                self.begin_talking(key, now);
            }
            // The answer to the offer that a re-INVITE without one made us make. One that cannot be used changes nothing.
            Phase::Talking { .. } => {
                let Some(Ok(answer)) = body.as_deref().map(sdp::parse) else { return };
                if self.take_answer(key, &answer, now) {
                    self.note_remote_hold(key, now);
                    self.next_control(key, now);
                }
            }
            Phase::AwaitingMedia { .. } | Phase::Inviting { .. } | Phase::Incoming { .. } | Phase::Departed { .. } => {}
        }
    }

    /// Both sides have agreed: the call is answered.
    fn begin_talking(&mut self, key: CallKey, now: Instant) {
        let slot = &mut self.calls[key];
        slot.bridge.heard_at = now;
        let call = &mut slot.call;
        call.answered_at = Some(now);
        call.note("answered", now);
        self.injected.point("answered", Some(call.id));
        let setup = now.duration_since(call.started_at);
        self.call_counts.of(call.direction).answered(setup);
        let codec = call.codec().map_or("", |codec| codec.name());
        let agent = call.agent;
        let producer = self.agents[agent].remote_producer;
        let answered_at = self.wall_clock(now);
        self.tell_call(key, CallEvent::Answered { producer, codec, transcoded: false, answered_at, setup });
        // A second call may have been dialled while this one rang: only one of them is talked on.
        self.talk_on(key, now);
        self.rewire(agent);
        self.next_control(key, now);
        self.schedule_call(key);
    }

    fn on_invite_failed(&mut self, key: CallKey, failure: InviteFailure, now: Instant) {
        let peer = self.config.trunk.peers[0];
        match failure {
            InviteFailure::Timeout | InviteFailure::Unreachable => self.note_reachable(peer, false, now),
            InviteFailure::Rejected { .. } => self.note_reachable(peer, true, now),
            InviteFailure::Cancelled => {}
        }
        let (refusal, q850) = match failure {
            InviteFailure::Rejected { status, phrase, reason, contact: _ } => {
                let q850 = reason.as_ref().and_then(Reason::q850_cause);
                let refusal = Refusal::sip(status, &phrase);
                let code = if status == NOT_ACCEPTABLE_HERE { Code::UnsupportedCodec } else { refusal.code };
                (Refusal { code, ..refusal }, q850)
            }
            InviteFailure::Timeout => (Refusal::new(Code::SipTimeout, "the PBX did not answer"), None),
            InviteFailure::Unreachable => (Refusal::new(Code::SipUnreachable, "the PBX cannot be reached"), None),
            InviteFailure::Cancelled => (Refusal::new(Code::SipTimeout, "the call was cancelled"), None),
        };
        self.fail_call(key, refusal, q850, now);
    }

    fn on_bye(&mut self, key: CallKey, reason: Option<Reason>, now: Instant) {
        let call = &mut self.calls[key].call;
        let transfers = matches!(call.activity, Activity::Referring { .. } | Activity::Transferring { .. });
        if let (true, Phase::Talking { session }) = (transfers, &call.phase) {
            // The NOTIFY that tells how the transfer went may follow the BYE, and so may the answer to the REFER.
            let session = *session;
            return self.depart(key, session, EndedBy::Remote, EndReason::Hangup, now);
        }
        let q850 = reason.as_ref().and_then(Reason::q850_cause);
        self.end_call_with(key, EndedBy::Remote, EndReason::Hangup, None, q850, now);
    }

    /// One side has hung up while a transfer is under way: only the NOTIFY that tells how it went is waited for.
    pub(super) fn depart(&mut self, key: CallKey, session: SessionKey, by: EndedBy, reason: EndReason, now: Instant) {
        self.remove_flow(key);
        let call = &mut self.calls[key].call;
        call.phase = Phase::Departed { session, by, reason, give_up_at: now + LAST_NOTIFY };
        call.note("departed", now);
        let waiting = call.take_waiting_for_end();
        let agent = call.agent;
        for (request, outcome) in waiting {
            self.acknowledge(request, outcome);
        }
        self.calls_by_session.insert(session, key);
        if let Some(leg) = &mut self.calls[key].call.leg {
            leg.negotiated = None;
        }
        self.agents[agent].bridged = self.agents[agent].bridged.filter(|&bridged| bridged != key);
        self.rewire(agent);
        self.schedule_call(key);
    }

    /// Takes the peer's answer to what we last offered. `false` where it names nothing that we can use; the call may have ended on the way.
    fn take_answer(&mut self, key: CallKey, answer: &RemoteDescription, now: Instant) -> bool {
        let Some(leg) = &self.calls[key].call.leg else { return false };
        let Ok(negotiated) = leg.local.complete(answer) else { return false };
        self.install_flow(key, negotiated, now)
    }

    /// Makes the negotiated flow the call's. On a collision the leg is moved to a pair of its own; `false` when there is none left and the call
    /// has ended.
    pub(super) fn install_flow(&mut self, key: CallKey, negotiated: Negotiated, now: Instant) -> bool {
        self.remove_flow(key);
        let Some(leg) = &mut self.calls[key].call.leg else { return false };
        let old_pair = leg.pair;
        leg.negotiated = Some(negotiated);
        if self.demux.collides(old_pair, negotiated.remote_rtp, key) {
            debug_assert_eq!(old_pair, PortPair::SHARED, "an own pair has one leg");
            self.note_colliding_peer(negotiated.remote_rtp.ip());
            let Some(pair) = self.take_own_pair(now) else {
                self.end_call(key, EndedBy::Gateway, EndReason::Internal, Some(503), now);
                return false;
            };
            let rtp_port = self.ports.rtp_port(pair);
            let call = &mut self.calls[key].call;
            if let Some(leg) = &mut call.leg {
                leg.pair = pair;
                leg.local.rtp_port = rtp_port;
                leg.local.rtcp_port = rtp_port + 1;
            }
            // Behind whatever the call is busy with; a full queue would be our own bug, and the move is repeated by the next re-INVITE anyway.
            let _ = call.enqueue(Control { request: None, kind: ControlKind::MoveMedia });
        }
        let pair = self.calls[key].call.leg.as_ref().map_or(old_pair, |leg| leg.pair);
        self.demux.add_leg(pair, negotiated.remote_rtp, negotiated.remote_rtcp, key);
        self.adopt_flow(key, now);
        true
    }

    /// Forgets the call's flow: nothing from the PBX reaches it any more.
    pub(super) fn remove_flow(&mut self, key: CallKey) {
        let Some(leg) = &self.calls[key].call.leg else { return };
        if let Some(negotiated) = &leg.negotiated {
            self.demux.remove_leg(leg.pair, negotiated.remote_rtp, negotiated.remote_rtcp, key);
        }
    }

    fn on_reoffered(&mut self, key: CallKey, session: SessionKey, body: Option<Vec<u8>>, now: Instant) {
        let Some(leg) = &mut self.calls[key].call.leg else { return self.sip.answer_offer(session, Err(NOT_ACCEPTABLE_HERE), now) };
        let mut local = leg.local.clone();
        local.version += 1;
        let offer = match body.as_deref().map(sdp::parse) {
            Some(Ok(offer)) => offer,
            Some(Err(error)) => return self.sip.answer_offer(session, Err(error.sip_status()), now),
            // Asked for an offer: we make the one that stands; the answer is in the ACK.
            None => {
                let body = local.offer();
                leg.local = local;
                return self.sip.answer_offer(session, Ok(body), now);
            }
        };
        // Where its media would meet another call's, the answer names a pair of the leg's own at once.
        let mut pair = leg.pair;
        if self.demux.collides(pair, offer.audio.rtp, key) {
            let Some(own) = self.pair_for_offer(offer.audio.rtp, key, now) else {
                return self.sip.answer_offer(session, Err(NOT_ACCEPTABLE_HERE), now);
            };
            pair = own;
            local.rtp_port = self.ports.rtp_port(own);
            local.rtcp_port = local.rtp_port + 1;
        }
        match local.answer(&offer) {
            Ok((answer, negotiated)) => {
                self.remove_flow(key);
                if let Some(leg) = &mut self.calls[key].call.leg {
                    *leg = SipLeg { pair, local, negotiated: None };
                }
                self.sip.answer_offer(session, Ok(answer), now);
                if self.install_flow(key, negotiated, now) {
                    self.note_remote_hold(key, now);
                }
            }
            Err(_) => {
                if self.calls[key].call.leg.as_ref().is_some_and(|leg| leg.pair != pair) {
                    self.release_pair(pair, now);
                }
                self.sip.answer_offer(session, Err(NOT_ACCEPTABLE_HERE), now);
            }
        }
    }

    /// Tells the agent if the far party has put the call on hold or taken it off, as what was agreed on says.
    fn note_remote_hold(&mut self, key: CallKey, now: Instant) {
        let call = &mut self.calls[key].call;
        let held = call.flow().is_some_and(|(_, negotiated)| negotiated.is_held_by_peer());
        if held != call.held_remote {
            call.held_remote = held;
            call.note(if held { "held-by-remote" } else { "unheld-by-remote" }, now);
            let agent = call.agent;
            self.rewire(agent);
            self.schedule_call(key);
            self.tell_call(key, CallEvent::Held { held, by: HeldBy::Remote });
        }
    }

    fn on_offer_answered(&mut self, key: CallKey, body: Option<Vec<u8>>, now: Instant) {
        let agreed = match body.as_deref().map(sdp::parse) {
            Some(Ok(answer)) => self.take_answer(key, &answer, now),
            Some(Err(_)) | None => false,
        };
        if !self.calls.contains_key(key) {
            return;
        }
        let Activity::Offering { control, purpose } = std::mem::take(&mut self.calls[key].call.activity) else { return };
        self.injected.point("offered", Some(self.calls[key].call.id));
        if agreed {
            self.offer_took_effect(key, purpose, now);
            self.acknowledge(control.request, Ok(Reply::Done));
            if let Some(event) = self.held_event(key, purpose) {
                self.tell_call(key, event);
            }
        } else {
            self.offer_came_to_nothing(key, purpose);
            self.acknowledge(control.request, Err(Refusal::new(Code::SipRejected, "the PBX's answer cannot be used")));
        }
        self.next_control(key, now);
    }

    fn on_offer_refused(&mut self, key: CallKey, status: u16, now: Instant) {
        let Activity::Offering { control, purpose } = std::mem::take(&mut self.calls[key].call.activity) else { return };
        self.offer_came_to_nothing(key, purpose);
        self.acknowledge(control.request, Err(Refusal::sip(status, "")));
        self.next_control(key, now);
    }

    fn on_refer_answered(&mut self, key: CallKey, outcome: Result<(), u16>, now: Instant) {
        let call = &mut self.calls[key].call;
        // A NOTIFY may have been here first, be it a late one of an earlier REFER.
        if let (Activity::Transferring { .. }, Err(status)) = (&call.activity, outcome) {
            return self.transfer_failed(key, Some(status), now);
        }
        if !matches!(call.activity, Activity::Referring { .. }) {
            return;
        }
        let Activity::Referring { control } = std::mem::take(&mut call.activity) else { return };
        let ControlKind::Transfer { target, .. } = control.kind else { return };
        match outcome {
            Ok(()) => {
                call.activity = Activity::Transferring { target, give_up_at: now + TRANSFER_REPORT };
                call.note("transferring", now);
                self.acknowledge(control.request, Ok(Reply::Done));
            }
            Err(status) => {
                let departed = call.departed_by();
                self.acknowledge(control.request, Err(Refusal::sip(status, "")));
                if let Some((by, reason)) = departed {
                    return self.end_call(key, by, reason, None, now);
                }
            }
        }
        self.next_control(key, now);
    }

    fn on_notified(&mut self, key: CallKey, status: u16, terminated: bool, now: Instant) {
        // A NOTIFY may overtake the answer to its REFER, or come where that was lost: the REFER was accepted (RFC 3515 section 2.4.4).
        if matches!(self.calls[key].call.activity, Activity::Referring { .. }) {
            self.on_refer_answered(key, Ok(()), now);
        }
        let Some(call) = self.calls.get_mut(key).map(|slot| &mut slot.call) else { return };
        let Activity::Transferring { target, .. } = &call.activity else { return };
        if (200..300).contains(&status) {
            let target = target.clone();
            call.note("transferred", now);
            self.tell_call(key, CallEvent::Transferred { target, kind: "blind" });
            self.end_call(key, EndedBy::Agent, EndReason::Transferred, None, now);
        } else if status >= 300 || terminated {
            self.transfer_failed(key, (status >= 300).then_some(status), now);
        }
    }

    /// The far side says that the transfer came to nothing, or has not said anything for too long: the call stays, if it is still there.
    pub(super) fn transfer_failed(&mut self, key: CallKey, sip_code: Option<u16>, now: Instant) {
        let call = &mut self.calls[key].call;
        call.activity = Activity::Idle;
        call.note("transfer-failed", now);
        let departed = call.departed_by();
        self.tell_call(key, CallEvent::TransferFailed { sip_code });
        if let Some((by, reason)) = departed {
            return self.end_call(key, by, reason, None, now);
        }
        self.next_control(key, now);
    }

    /// Digits as SIP INFO: `application/dtmf-relay` has `Signal=` and `Duration=` lines, `application/dtmf` the bare digit.
    fn on_info(&mut self, key: CallKey, content_type: &str, body: &[u8]) {
        let Ok(text) = std::str::from_utf8(body) else { return };
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let (signal, duration) = match content_type {
            "application/dtmf-relay" => (field("Signal"), field("Duration").and_then(|value| value.parse().ok())),
            "application/dtmf" => (Some(text.trim()), None),
            _ => return,
        };
        let tone = match signal {
            Some("10") => Some('*'),
            Some("11") => Some('#'),
            Some(signal) => signal.chars().next().map(|tone| tone.to_ascii_uppercase()),
            None => None,
        };
        let Some(tone) = tone.filter(|tone| matches!(tone, '0'..='9' | '*' | '#' | 'A'..='D')) else { return };
        let duration = Duration::from_millis(duration.unwrap_or(INFO_DIGIT_MS).min(INFO_DIGIT_MS_MAX));
        self.tell_call(key, CallEvent::DtmfReceived { tone, duration });
    }

    /// A pair of a leg of its own could not be bound: its call cannot be heard.
    pub(super) fn on_pair_failed(&mut self, pair: PortPair, now: Instant) {
        let uses = |call: &Call| call.leg.as_ref().is_some_and(|leg| leg.pair == pair);
        let Some(key) = self.calls.iter().find(|(_, slot)| uses(&slot.call)).map(|(key, _)| key) else { return };
        self.remove_flow(key);
        if let Some(leg) = &mut self.calls[key].call.leg {
            leg.pair = PortPair::SHARED;
            leg.negotiated = None;
        }
        self.ports.retire(pair);
        self.in_call(key, now, |shard| shard.end_call(key, EndedBy::Gateway, EndReason::Internal, None, now));
        self.drive_sip(now);
    }

    /// Whether a peer answers, as its calls show. Only one that did not is asked by OPTIONS, until it does: a healthy peer gets nothing but calls.
    fn note_reachable(&mut self, peer: SocketAddr, reachable: bool, now: Instant) {
        self.peers_reachable.iter_mut().filter(|(known, _)| *known == peer).for_each(|entry| entry.1 = reachable);
        let lost = self.peers_reachable.iter().any(|(_, reachable)| !reachable);
        self.ask_peers_at = lost.then_some(now + PEER_CHECK_INTERVAL);
    }

    /// Asks every lost peer whether it is there again.
    pub(super) fn ask_peers(&mut self, now: Instant) {
        self.ask_peers_at = None;
        let lost: Vec<SocketAddr> = self.peers_reachable.iter().filter(|(_, reachable)| !reachable).map(|&(peer, _)| peer).collect();
        for peer in lost {
            self.sip.options_ping(peer, now);
        }
        self.drive_sip(now);
    }

    /// What the SIP side holds, for `/stats`.
    pub(super) fn sip_stats(&self) -> UserAgentStats {
        self.sip.stats()
    }
}

/// Whether an INVITE asks to be answered at once: `Call-Info: ...;answer-after=0` or an `Alert-Info` that says so.
fn asks_for_auto_answer(incoming: &IncomingCall) -> bool {
    let says = |name: &str, words: &[&str]| {
        let values = incoming.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.into_iter().any(|(_, value)| {
            let value: String = value.to_ascii_lowercase().split_whitespace().collect();
            words.iter().any(|word| value.contains(word))
        })
    };
    says("Call-Info", &["answer-after=0"]) || says("Alert-Info", &["auto-answer", "autoanswer", "info=alert-autoanswer"])
}
