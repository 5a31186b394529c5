//! What happens within a session: hanging up, offers in mid-call, REFER, INFO (RFC 3261 sections 12.2, 14, 15; RFC 3311, 3515, 6086).

use std::time::{Duration, Instant};

use super::compose::{SDP, SIPFRAG, clean_uri, reason_of, sdp_of, sipfrag_status};
use super::session::{Cancel, ClientKey, Established, OwnOffer, Purpose, Referred, Role, ServerKey, Session, State};
use super::{RETRY_AFTER, UserAgent};
use crate::sip::dialog::Dialog;
use crate::sip::digest::Challenge;
use crate::sip::event::{OfferPending, Reason, SessionKey, SipEvent, SipTransmit};
use crate::sip::field::NameAddr;
use crate::sip::message::{Method, Request, Response};
use crate::sip::normalise::is_token;
use crate::sip::timers::{T1, TIMER_F};

/// How often an offer that met one of the peer's (491) is made again.
const OFFER_TRIES: u8 = 4;

impl Session {
    /// Whether its INVITE is to come to nothing.
    pub(super) fn is_giving_up(&self) -> bool {
        match &self.state {
            State::Calling(calling) => self.released || calling.cancel != Cancel::No,
            State::Ringing(_) | State::Established(_) | State::Referring { .. } => false,
        }
    }
}

impl UserAgent {
    /// Hangs up. The session is gone for the owner at once, without an event; what protocol remains happens inside. Before the answer
    /// it is a [`cancel`](Self::cancel) or a rejection with 480.
    pub fn bye(&mut self, session: SessionKey, reason: Option<Reason>, now: Instant) {
        let Some(kept) = self.sessions.get_mut(session) else { return };
        match &mut kept.state {
            State::Calling(_) => {
                kept.released = true;
                self.cancel(session, now);
            }
            State::Ringing(_) => self.reject(session, 480, Vec::new(), now),
            State::Established(established) => {
                if established.awaits_first_ack() {
                    established.hangup = Some(reason);
                    kept.released = true;
                } else {
                    self.hang_up(session, reason.as_ref(), now);
                }
            }
            State::Referring { .. } => drop(self.remove_session(session)),
        }
    }

    /// Hangs up while our REFER is reported on: the session stays for the last [`SipEvent::Notified`], at most 32 s (RFC 5057 section 4.2).
    /// Without such a REFER, or before the ACK to our 200, it is a [`bye`](Self::bye).
    pub fn bye_behind_refer(&mut self, session: SessionKey, reason: Option<Reason>, now: Instant) {
        let early = self.sessions.get_mut(session).and_then(Session::established).is_some_and(|established| established.awaits_first_ack());
        let dialog = if early { None } else { self.await_reports(session, now) };
        let Some(dialog) = dialog else { return self.bye(session, reason, now) };
        self.send_bye(dialog, reason.as_ref(), now);
    }

    /// Makes an offer in mid-call by re-INVITE. [`SipEvent::OfferAnswered`] or [`SipEvent::OfferRefused`] follows, or the session ends.
    pub fn offer(&mut self, session: SessionKey, body: Vec<u8>, now: Instant) -> Result<(), OfferPending> {
        let established = self.sessions.get_mut(session).and_then(Session::established).ok_or(OfferPending)?;
        let free = matches!(established.offer, OwnOffer::None) && established.reoffer.is_none() && established.unacknowledged.is_none();
        if !free || established.hangup.is_some() {
            return Err(OfferPending);
        }
        self.send_offer(session, body, 0, now);
        Ok(())
    }

    /// Answers a [`SipEvent::Reoffered`] with SDP or with a status.
    pub fn answer_offer(&mut self, session: SessionKey, answer: Result<Vec<u8>, u16>, now: Instant) {
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        let Some(server) = established.reoffer.take() else { return };
        match answer {
            Ok(body) => {
                self.respond_with(server, 200, &[], Some((SDP, body)), now);
                if self.servers.get(server).is_some_and(|server| server.request.method == Method::Invite) {
                    self.await_ack(session, server, false, now);
                }
            }
            Err(status) => self.respond(server, if (300..700).contains(&status) { status } else { 500 }, now),
        }
    }

    /// Asks the peer to call `target`, a URI (RFC 3515). [`SipEvent::ReferAccepted`] and [`SipEvent::Notified`], or
    /// [`SipEvent::ReferRefused`] follow. While it is reported on, a session that the peer ends stays for the last [`SipEvent::Notified`],
    /// at most 32 s behind [`SipEvent::Ended`].
    pub fn refer(&mut self, session: SessionKey, target: String, now: Instant) {
        let contact = self.contact();
        let sent = self.send_within(session, Method::Refer, Purpose::Refer(session), now, |request| {
            request.headers.push("Contact", contact);
            request.headers.push("Refer-To", format!("<{}>", clean_uri(&target)));
        });
        if sent && let Some(established) = self.sessions.get_mut(session).and_then(Session::established) {
            established.referring = true;
        }
    }

    /// Sends an INFO.
    pub fn info(&mut self, session: SessionKey, content_type: &str, body: Vec<u8>, now: Instant) {
        let clean = content_type.split('/').all(is_token);
        if clean {
            self.send_within(session, Method::Info, Purpose::Info(session), now, |request| {
                request.headers.push("Content-Type", content_type);
                request.body = body;
            });
        }
    }

    /// Answers a [`SipEvent::Refered`], with 202 or a failure.
    pub fn respond_refer(&mut self, session: SessionKey, status: u16, now: Instant) {
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        let Some(server) = established.refer.take() else { return };
        let cseq = self.servers.get(server).map_or(0, |server| server.request.headers.cseq_number());
        if (200..300).contains(&status) {
            let count = established.referred.map_or(0, |referred| referred.count) + 1;
            established.referred = Some(Referred { cseq, count });
        }
        self.respond(server, status.clamp(200, 699), now);
    }

    /// Tells the peer how far its REFER has come; a final status ends the subscription (RFC 3515 section 2.4.4).
    pub fn notify_refer(&mut self, session: SessionKey, status: u16, reason: &str, now: Instant) {
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        let Some(referred) = established.referred else { return };
        let words: String = reason.chars().filter(|c| !c.is_control()).collect();
        self.send_notify(session, referred, status, &words, now);
    }

    fn send_notify(&mut self, session: SessionKey, referred: Referred, status: u16, words: &str, now: Instant) {
        let contact = self.contact();
        self.send_within(session, Method::Notify, Purpose::Notify, now, |request| {
            // The first may go without an id, later ones must not (section 2.4.6).
            let event = if referred.count > 1 { format!("refer;id={}", referred.cseq) } else { "refer".to_owned() };
            request.headers.push("Contact", contact);
            request.headers.push("Event", event);
            request.headers.push("Subscription-State", if status >= 200 { "terminated;reason=noresource" } else { "active;expires=60" });
            request.headers.push("Content-Type", format!("{SIPFRAG};version=2.0"));
            request.body = format!("SIP/2.0 {status} {words}\r\n").into_bytes();
        });
    }

    /// Sends a request within an established session. `false`: there is none.
    fn send_within(
        &mut self,
        session: SessionKey,
        method: Method,
        purpose: Purpose,
        now: Instant,
        fill: impl FnOnce(&mut Request),
    ) -> bool {
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return false };
        if established.hangup.is_some() {
            return false;
        }
        let mut request = established.dialog.request(method, None);
        let (to, mut challenges) = (established.dialog.next_hop(), std::mem::take(&mut established.dialog.challenges));
        fill(&mut request);
        self.send_answering(request, to, purpose, &mut challenges, now);
        if let Some(kept) = self.challenges_of(session) {
            *kept = challenges;
        }
        true
    }

    fn send_offer(&mut self, session: SessionKey, body: Vec<u8>, tries: u8, now: Instant) {
        let contact = self.contact();
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        let mut request = established.dialog.request(Method::Invite, None);
        request.headers.push("Contact", contact);
        request.headers.push("Allow", super::ALLOW);
        request.headers.push("Content-Type", SDP);
        request.body.clone_from(&body);
        let dialog = established.dialog.clone();
        let (to, mut challenges) = (dialog.next_hop(), dialog.challenges.clone());
        let client = self.send_answering(request, to, Purpose::Reinvite(session), &mut challenges, now);
        if let Some(client) = self.clients.get_mut(client) {
            client.dialog = Some(Box::new(dialog));
        }
        if let Some(established) = self.sessions.get_mut(session).and_then(Session::established) {
            established.dialog.challenges = challenges;
            established.offer = OwnOffer::Sent { client, body, tries };
        }
        self.arm_session(session);
    }

    // ---- the peer's requests ----

    /// The session that a request belongs to (RFC 3261 section 12.2.2).
    pub(super) fn session_of(&self, request: &Request) -> Option<SessionKey> {
        let key = *self.by_local_tag.get(&request.headers.tag_of_to()?)?;
        let session = self.sessions.get(key).filter(|session| session.call_id == request.headers.call_id())?;
        let from_tag = request.headers.tag_of_from().unwrap_or_default();
        let same = match &session.state {
            // Any of its early dialogs.
            State::Calling(_) => true,
            State::Ringing(ringing) => ringing.dialog.remote_tag == from_tag,
            State::Established(established) => established.dialog.remote_tag == from_tag,
            State::Referring { dialog, .. } => dialog.remote_tag == from_tag,
        };
        same.then_some(key)
    }

    /// A request with a To tag, other than ACK and CANCEL.
    pub(super) fn on_request_within(&mut self, key: ServerKey, request: &Request, now: Instant) {
        let Some(session) = self.session_of(request) else {
            self.respond(key, 481, now);
            return;
        };
        self.take_in_hand(Some(session));
        let Some(kept) = self.sessions.get_mut(session) else { return };
        let cseq = request.headers.cseq_number();
        let dialog = match &mut kept.state {
            State::Calling(_) => None,
            State::Ringing(ringing) => Some(&mut ringing.dialog),
            State::Established(established) => Some(&mut established.dialog),
            State::Referring { dialog, .. } => Some(&mut **dialog),
        };
        if let Some(dialog) = dialog {
            // The last NOTIFY may be overtaken by the BYE that was sent behind it.
            let overtaken = request.method == Method::Notify;
            if dialog.remote_cseq.is_some_and(|last| cseq < last) && !overtaken {
                self.respond(key, 500, now);
                return;
            }
            dialog.remote_cseq = dialog.remote_cseq.max(Some(cseq));
        }
        match &kept.state {
            State::Calling(_) => self.on_request_before_answer(key, None, request, now),
            State::Ringing(_) => self.on_request_before_answer(key, Some(session), request, now),
            State::Established(_) => self.on_request_established(key, session, request, now),
            State::Referring { .. } if request.method == Method::Notify => self.on_notify(key, session, request, now),
            State::Referring { .. } => self.respond(key, 481, now),
        }
    }

    /// Before the 2xx; `callee` is the session if it is the peer who called.
    fn on_request_before_answer(&mut self, key: ServerKey, callee: Option<SessionKey>, request: &Request, now: Instant) {
        match &request.method {
            Method::Bye => {
                let Some(session) = callee else {
                    self.respond(key, 481, now);
                    return;
                };
                self.respond(key, 200, now);
                let invite = match self.sessions.get(session).map(|session| &session.state) {
                    Some(State::Ringing(ringing)) => Some(ringing.server),
                    Some(State::Calling(_) | State::Established(_) | State::Referring { .. }) | None => None,
                };
                if let Some(invite) = invite {
                    self.respond(invite, 487, now);
                }
                self.tell(session, SipEvent::Cancelled { session, reason: reason_of(&request.headers) });
                self.remove_session(session);
            }
            Method::Options => self.answer_options(key, now),
            Method::Info => {
                self.respond(key, 200, now);
                if let Some(session) = callee {
                    self.tell_info(session, request);
                }
            }
            Method::Update if request.body.is_empty() => self.respond(key, 200, now),
            // An offer while the first one is unanswered (RFC 3311 section 5.2, RFC 3261 section 14.2).
            Method::Update | Method::Invite => self.respond_with(key, 500, &[("Retry-After", RETRY_AFTER)], None, now),
            Method::Refer | Method::Notify | Method::Cancel | Method::Ack | Method::Known(_) | Method::Unknown(_) => {
                self.respond(key, 481, now);
            }
        }
    }

    fn on_request_established(&mut self, key: ServerKey, session: SessionKey, request: &Request, now: Instant) {
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        if established.hangup.is_some() && request.method != Method::Bye {
            self.respond(key, 481, now);
            return;
        }
        match &request.method {
            Method::Bye => {
                self.respond(key, 200, now);
                self.tell(session, SipEvent::Ended { session, reason: reason_of(&request.headers) });
                self.on_hung_up(session, now);
            }
            Method::Invite | Method::Update => self.on_reoffer(key, session, request, now),
            Method::Info => {
                self.respond(key, 200, now);
                self.tell_info(session, request);
            }
            Method::Refer => {
                let targets: Vec<&str> = request.headers.all("Refer-To").collect();
                let target = NameAddr::parse(targets.first().copied().unwrap_or_default()).filter(|_| targets.len() == 1);
                match target {
                    None => self.respond(key, 400, now),
                    Some(_) if established.refer.is_some() => self.respond_with(key, 500, &[("Retry-After", RETRY_AFTER)], None, now),
                    Some(target) => {
                        established.refer = Some(key);
                        self.attach(key, session);
                        self.tell(session, SipEvent::Refered { session, target: target.uri });
                    }
                }
            }
            Method::Notify => self.on_notify(key, session, request, now),
            Method::Options => self.answer_options(key, now),
            Method::Cancel | Method::Ack | Method::Known(_) | Method::Unknown(_) => self.respond(key, 481, now),
        }
    }

    /// A re-INVITE or UPDATE (RFC 3261 section 14.2, RFC 3311 section 5.2).
    fn on_reoffer(&mut self, key: ServerKey, session: SessionKey, request: &Request, now: Instant) {
        let is_invite = request.method == Method::Invite;
        let body = sdp_of(&request.headers, &request.body);
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        let offers = is_invite || !request.body.is_empty();
        let crossing = matches!(established.offer, OwnOffer::Sent { .. }) || established.unacknowledged.is_some();
        match body {
            Err(_) => self.respond_with(key, 415, &[("Accept", SDP), ("Accept-Encoding", "identity")], None, now),
            Ok(_) if offers && established.reoffer.is_some() => {
                self.respond_with(key, 500, &[("Retry-After", RETRY_AFTER)], None, now);
            }
            Ok(_) if offers && crossing => self.respond(key, 491, now),
            Ok(_) if !offers => {
                established.dialog.refresh_target(&request.headers);
                self.respond(key, 200, now);
            }
            Ok(body) => {
                established.dialog.refresh_target(&request.headers);
                established.reoffer = Some(key);
                self.attach(key, session);
                if is_invite {
                    self.respond(key, 100, now);
                }
                self.tell(session, SipEvent::Reoffered { session, body });
            }
        }
    }

    /// A NOTIFY about our REFER (RFC 3515 section 2.4.4).
    fn on_notify(&mut self, key: ServerKey, session: SessionKey, request: &Request, now: Instant) {
        let event = request.headers.get("Event").unwrap_or_default();
        if !event.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("refer") {
            self.respond_with(key, 489, &[("Allow-Events", "refer")], None, now);
            return;
        }
        let Some(kept) = self.sessions.get_mut(session) else { return };
        let terminated =
            request.headers.get("Subscription-State").unwrap_or_default().trim().to_ascii_lowercase().starts_with("terminated");
        let (awaited, over) = match &mut kept.state {
            State::Established(established) => {
                let awaited = established.referring;
                established.referring &= !terminated;
                (awaited, false)
            }
            State::Referring { .. } => (true, terminated),
            State::Calling(_) | State::Ringing(_) => (false, false),
        };
        if !awaited {
            self.respond(key, 481, now);
            return;
        }
        self.respond(key, 200, now);
        self.tell(session, SipEvent::Notified { session, status: sipfrag_status(&request.body), terminated });
        if over {
            self.remove_session(session);
        }
    }

    fn tell_info(&mut self, session: SessionKey, request: &Request) {
        let (content_type, body) = (request.headers.content_type(), request.body.clone());
        self.tell(session, SipEvent::Info { session, content_type, body });
    }

    /// Notes whose session a request belongs to.
    fn attach(&mut self, key: ServerKey, session: SessionKey) {
        if let Some(server) = self.servers.get_mut(key) {
            server.session = Some(session);
        }
    }

    // ---- responses ----

    pub(super) fn on_reinvite_response(&mut self, key: ClientKey, session: SessionKey, response: &Response, now: Instant) {
        match response.status {
            ..200 => {}
            200..300 => self.on_reinvite_2xx(key, session, response),
            481 | 408 => self.lose(session, response.status, now),
            491 => self.back_off(session, now),
            status => {
                if let Some(established) = self.sessions.get_mut(session).and_then(Session::established) {
                    established.offer = OwnOffer::None;
                    self.tell(session, SipEvent::OfferRefused { session, status });
                }
            }
        }
    }

    fn on_reinvite_2xx(&mut self, key: ClientKey, session: SessionKey, response: &Response) {
        let Some(client) = self.clients.get(key) else { return };
        if let Some(ack) = client.acks.first() {
            let (to, bytes) = (ack.to, ack.bytes.clone());
            self.transmit(to, bytes);
            return;
        }
        let (request, Some(mut dialog)) = (client.request.clone(), client.dialog.clone()) else { return };
        dialog.refresh_target(&response.headers);
        self.acknowledge(key, &request, &mut dialog);
        if let Some(established) = self.sessions.get_mut(session).and_then(Session::established) {
            established.dialog.refresh_target(&response.headers);
            established.offer = OwnOffer::None;
            let body = sdp_of(&response.headers, &response.body).unwrap_or_default();
            self.tell(session, SipEvent::OfferAnswered { session, body });
        }
    }

    /// Our offer met one of theirs: the caller waits longer than the callee, so that one of them gets through (RFC 3261 section 14.1).
    fn back_off(&mut self, session: SessionKey, now: Instant) {
        let Some(kept) = self.sessions.get(session) else { return };
        let (from, to) = match kept.role {
            Role::Caller => (2100, 4000),
            Role::Callee => (0, 2000),
        };
        let at = now + self.random_duration(Duration::from_millis(from), Duration::from_millis(to));
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        if let OwnOffer::Sent { body, tries, .. } = std::mem::replace(&mut established.offer, OwnOffer::None) {
            if tries < OFFER_TRIES {
                established.offer = OwnOffer::BackingOff { at, body, tries: tries + 1 };
            } else {
                self.tell(session, SipEvent::OfferRefused { session, status: 491 });
            }
        }
        self.arm_session(session);
    }

    pub(super) fn on_refer_response(&mut self, session: SessionKey, status: u16, now: Instant) {
        let Some(kept) = self.sessions.get_mut(session).filter(|_| status >= 200) else { return };
        let accepted = status < 300;
        match &mut kept.state {
            State::Established(_) if accepted => self.tell(session, SipEvent::ReferAccepted { session }),
            State::Established(_) if matches!(status, 481 | 408) => self.lose(session, status, now),
            State::Established(established) => {
                established.referring = false;
                self.tell(session, SipEvent::ReferRefused { session, status });
            }
            // The BYE was quicker: only the reports were still waited for, and now none will come.
            State::Referring { .. } if !accepted => {
                self.tell(session, SipEvent::ReferRefused { session, status });
                self.remove_session(session);
            }
            State::Referring { .. } | State::Calling(_) | State::Ringing(_) => {}
        }
    }

    pub(super) fn on_info_response(&mut self, session: SessionKey, status: u16, now: Instant) {
        if matches!(status, 481 | 408) {
            self.lose(session, status, now);
        }
    }

    // ---- the end ----

    /// The peer does not know the session any more, or does not answer (RFC 3261 section 12.2.1.2).
    pub(super) fn lose(&mut self, session: SessionKey, status: u16, now: Instant) {
        let established = self.sessions.get_mut(session).and_then(Session::established);
        if established.is_some_and(|established| established.hangup.is_none()) {
            self.tell(session, SipEvent::Lost { session, status });
            // Not before the ACK: until our 200 has come the peer knows no dialog, and its 481 may mean no more than that.
            self.bye(session, None, now);
        }
    }

    /// Ends an established session from our side.
    pub(super) fn hang_up(&mut self, session: SessionKey, reason: Option<&Reason>, now: Instant) {
        if let Some(dialog) = self.take_dialog(session, now) {
            self.send_bye(dialog, reason, now);
        }
    }

    /// The peer ended an established session.
    fn on_hung_up(&mut self, session: SessionKey, now: Instant) {
        if self.await_reports(session, now).is_none() {
            self.take_dialog(session, now);
        }
    }

    /// Keeps an ended session for the reports on our REFER; `None` where none are to come.
    fn await_reports(&mut self, session: SessionKey, now: Instant) -> Option<Dialog> {
        let kept = self.sessions.get_mut(session).filter(|kept| !kept.released)?;
        let established = kept.established().filter(|established| established.referring)?;
        let pending = [established.reoffer.take(), established.refer.take()];
        let dialog = established.dialog.clone();
        kept.state = State::Referring { dialog: Box::new(dialog.clone()), until: now + TIMER_F };
        self.end_pending(pending, now);
        self.arm_session(session);
        Some(dialog)
    }

    /// Takes an established session out, and ends what the peer still waits for.
    fn take_dialog(&mut self, session: SessionKey, now: Instant) -> Option<Dialog> {
        let established = match self.remove_session(session)?.state {
            State::Established(established) => *established,
            State::Calling(_) | State::Ringing(_) | State::Referring { .. } => return None,
        };
        let Established { dialog, reoffer, refer, .. } = established;
        self.end_pending([reoffer, refer], now);
        Some(dialog)
    }

    /// Requests that are pending when a session ends are answered 487 (RFC 3261 section 15.1.2).
    fn end_pending(&mut self, pending: [Option<ServerKey>; 2], now: Instant) {
        for server in pending.into_iter().flatten() {
            self.respond(server, 487, now);
        }
    }

    // ---- time ----

    pub(super) fn on_session_timeout(&mut self, session: SessionKey, now: Instant) {
        let Some(kept) = self.sessions.get_mut(session) else { return };
        match &mut kept.state {
            State::Calling(calling) => {
                if let Cancel::Sent { .. } = calling.cancel {
                    let client = calling.client;
                    self.on_cancel_timeout(session, client);
                }
            }
            State::Ringing(_) => {}
            State::Referring { .. } => drop(self.remove_session(session)),
            State::Established(_) => self.on_established_timeout(session, now),
        }
    }

    fn on_established_timeout(&mut self, session: SessionKey, now: Instant) {
        let Some(established) = self.sessions.get_mut(session).and_then(Session::established) else { return };
        if let Some(ok) = &mut established.unacknowledged {
            if now >= ok.give_up_at {
                // Never acknowledged: hung up (RFC 3261 section 13.3.1.4).
                let reason = established.hangup.take().flatten();
                self.tell(session, SipEvent::Lost { session, status: 408 });
                self.hang_up(session, reason.as_ref(), now);
                return;
            }
            if ok.repeat.fire(now) {
                let (socket, to, bytes) = (ok.socket, ok.to, ok.bytes.clone());
                self.transmits.push_back(SipTransmit { socket, to, bytes });
            }
        }
        let again = match &mut established.offer {
            OwnOffer::BackingOff { at, body, tries } if now >= *at => {
                if established.reoffer.is_some() || established.unacknowledged.is_some() {
                    // Theirs first.
                    *at = now + T1;
                    None
                } else {
                    Some((std::mem::take(body), *tries))
                }
            }
            OwnOffer::None | OwnOffer::Sent { .. } | OwnOffer::BackingOff { .. } => None,
        };
        match again {
            Some((body, tries)) => self.send_offer(session, body, tries, now),
            None => self.arm_session(session),
        }
    }

    // ---- what the transactions ask about sessions ----

    /// The challenges that a session's requests answer.
    pub(super) fn challenges_of(&mut self, session: SessionKey) -> Option<&mut Vec<Challenge>> {
        match &mut self.sessions.get_mut(session)?.state {
            State::Calling(calling) => Some(&mut calling.challenges),
            State::Established(established) => Some(&mut established.dialog.challenges),
            State::Ringing(_) | State::Referring { .. } => None,
        }
    }

    /// The CSeq of an established session's next request.
    pub(super) fn next_cseq(&mut self, session: SessionKey) -> Option<u32> {
        let dialog = &mut self.sessions.get_mut(session)?.established()?.dialog;
        dialog.local_cseq += 1;
        Some(dialog.local_cseq)
    }

    /// A request has been sent again in a new transaction.
    pub(super) fn replace_client(&mut self, session: SessionKey, old: ClientKey, new: ClientKey) {
        match self.sessions.get_mut(session).map(|session| &mut session.state) {
            Some(State::Calling(calling)) if calling.client == old => calling.client = new,
            Some(State::Established(established)) => {
                if let OwnOffer::Sent { client, .. } = &mut established.offer
                    && *client == old
                {
                    *client = new;
                }
            }
            Some(State::Calling(_) | State::Ringing(_) | State::Referring { .. }) | None => {}
        }
    }
}
