//! The callee's side of an INVITE (RFC 3261 sections 9.2 and 13.3).

use std::net::SocketAddr;
use std::time::Instant;

use super::RETRY_AFTER;
use super::UserAgent;
use super::compose::{SDP, push_custom, reason_of, sdp_of, takes_sdp, visible};
use super::session::{Established, Ringing, Role, ServerKey, Session, State, Unacknowledged};
use crate::sip::dialog::Dialog;
use crate::sip::event::{IncomingCall, SessionKey, SipEvent};
use crate::sip::field::{NameAddr, Uri};
use crate::sip::message::{Headers, Request};
use crate::sip::timers::{Repeat, T2, TIMER_H};
use crate::sip::transaction::ServerId;

impl UserAgent {
    /// Callee: answers 180, or 183 with early media when there is a body.
    pub fn ring(&mut self, session: SessionKey, body: Option<Vec<u8>>, now: Instant) {
        let Some(State::Ringing(ringing)) = self.sessions.get(session).map(|session| &session.state) else { return };
        let server = ringing.server;
        let status = if body.is_some() { 183 } else { 180 };
        self.respond_with(server, status, &[], body.map(|body| (SDP, body)), now);
    }

    /// Callee: answers 200, repeated until the ACK (RFC 3261 section 13.3.1.4). [`SipEvent::Acknowledged`] follows; without an ACK in
    /// 64*T1 the session is hung up and [`SipEvent::Lost`].
    pub fn accept(&mut self, session: SessionKey, body: Vec<u8>, now: Instant) {
        let Some(kept) = self.sessions.get_mut(session) else { return };
        let State::Ringing(ringing) = &kept.state else { return };
        let (server, dialog) = (ringing.server, ringing.dialog.clone());
        kept.state = State::Established(Box::new(Established::new(dialog)));
        self.respond_with(server, 200, &[], Some((SDP, body)), now);
        self.await_ack(session, server, true, now);
    }

    /// Callee: turns the call down with a status of 300 to 699. Session gone.
    pub fn reject(&mut self, session: SessionKey, status: u16, headers: Vec<(String, String)>, now: Instant) {
        let Some(State::Ringing(ringing)) = self.sessions.get(session).map(|session| &session.state) else { return };
        let server = ringing.server;
        let status = if (300..700).contains(&status) { status } else { 500 };
        let mut extra = Headers::default();
        push_custom(&mut extra, &headers);
        // A redirection is nothing without its Contact.
        extra.0.extend(headers.into_iter().filter(|(name, value)| {
            (300..400).contains(&status) && name.eq_ignore_ascii_case("Contact") && NameAddr::parse(value).is_some()
        }));
        self.remove_session(session);
        self.respond_full(server, status, &extra.0, None, now);
    }

    /// An INVITE outside of any dialog.
    pub(super) fn on_invite(&mut self, key: ServerKey, request: &Request, from: SocketAddr, now: Instant) {
        if !takes_sdp(&request.headers) {
            let warning = format!("399 {} \"only application/sdp can be answered with\"", self.config.contact);
            self.respond_with(key, 406, &[("Warning", &warning)], None, now);
            return;
        }
        let Ok(body) = sdp_of(&request.headers, &request.body) else {
            self.respond_with(key, 415, &[("Accept", SDP), ("Accept-Encoding", "identity")], None, now);
            return;
        };
        if self.sessions.len() >= self.config.sessions_max {
            self.dropped.overloaded += 1;
            self.respond_with(key, 503, &[("Retry-After", RETRY_AFTER)], None, now);
            return;
        }
        let local_tag = self.servers.get(key).map(|server| server.local_tag.clone()).unwrap_or_default();
        let dialog = Dialog::of_callee(request, &local_tag, from).filter(|dialog| Uri::parse(&dialog.remote_target).is_some());
        let addresses = (Uri::parse(&request.uri), request.headers.from(), request.headers.to());
        let (Some(dialog), (Some(uri), Some(caller), Some(called))) = (dialog, addresses) else {
            self.respond(key, 400, now);
            return;
        };
        self.respond(key, 100, now);
        let session = self.sessions.insert(Session {
            role: Role::Callee,
            call_id: dialog.call_id.clone(),
            local_tag: local_tag.clone(),
            released: false,
            state: State::Ringing(Ringing { server: key, dialog }),
        });
        self.take_in_hand(Some(session));
        self.by_local_tag.insert(local_tag, session);
        if let Some(server) = self.servers.get_mut(key) {
            server.session = Some(session);
        }
        let party = |address: &NameAddr| Uri::parse(&address.uri).map(|uri| (uri.user, uri.host)).unwrap_or_default();
        let ((from_user, from_host), (to_user, to_host)) = (party(&caller), party(&called));
        let call = IncomingCall {
            from_user,
            from_host,
            display_name: caller.display,
            to_user,
            to_host,
            request_uri: request.uri.clone(),
            request_user: uri.user,
            request_host: uri.host,
            call_id: request.headers.call_id().to_owned(),
            headers: visible(&request.headers),
            body,
            source: from,
        };
        self.events.push_back(SipEvent::Incoming { session, call: Box::new(call) });
    }

    /// A CANCEL: it is answered itself, and ends an INVITE that has no final response (RFC 3261 section 9.2).
    pub(super) fn on_cancel(&mut self, key: ServerKey, request: &Request, now: Instant) {
        let invite = ServerId::of_cancelled(request).and_then(|id| self.server_ids.get(&id).copied());
        let Some((invite, server)) = invite.and_then(|key| Some((key, self.servers.get(key)?))) else {
            self.respond(key, 481, now);
            return;
        };
        // Both responses carry the same To tag.
        let (local_tag, session, pending) = (server.local_tag.clone(), server.session, server.transaction.is_pending());
        if let Some(cancel) = self.servers.get_mut(key) {
            cancel.local_tag = local_tag;
        }
        self.respond(key, 200, now);
        if !pending {
            return;
        }
        self.respond(invite, 487, now);
        let Some(session) = session else { return };
        if let Some(established) = self.sessions.get_mut(session).and_then(Session::established) {
            // A re-INVITE: the session goes on as it was.
            established.reoffer = None;
            return;
        }
        self.tell(session, SipEvent::Cancelled { session, reason: reason_of(&request.headers) });
        self.remove_session(session);
    }

    /// An ACK: to a failure it belongs to the INVITE's transaction, to a 2xx it is the dialog's.
    pub(super) fn on_ack(&mut self, request: &Request, id: &ServerId, now: Instant) {
        if let Some(key) = self.server_ids.get(id).copied() {
            if let Some(server) = self.servers.get_mut(key) {
                server.transaction.on_ack(now);
            }
            self.arm_server(key);
        }
        let session = self.session_of(request);
        let acknowledged = session.and_then(|session| {
            let established = self.sessions.get_mut(session)?.established()?;
            let ok = established.unacknowledged.take_if(|ok| ok.cseq == request.headers.cseq_number())?;
            Some((session, ok.initial, established.hangup.take()))
        });
        self.take_in_hand(session);
        let Some((session, initial, hangup)) = acknowledged else {
            self.dropped.stray_ack += u64::from(session.is_none() && !self.server_ids.contains_key(id));
            return;
        };
        self.arm_session(session);
        if let Some(reason) = hangup {
            self.hang_up(session, reason.as_ref(), now);
            return;
        }
        let body = sdp_of(&request.headers, &request.body).unwrap_or_default();
        if initial || body.is_some() {
            self.tell(session, SipEvent::Acknowledged { session, body });
        }
    }

    /// A 2xx to an INVITE has been sent: it is repeated until its ACK comes.
    pub(super) fn await_ack(&mut self, session: SessionKey, server: ServerKey, initial: bool, now: Instant) {
        let Some(server) = self.servers.get(server) else { return };
        let unacknowledged = Unacknowledged {
            cseq: server.request.headers.cseq_number(),
            bytes: server.last.clone().unwrap_or_default(),
            socket: server.socket,
            to: server.reply_to,
            repeat: Repeat::start(now, T2),
            give_up_at: now + TIMER_H,
            initial,
        };
        if let Some(established) = self.sessions.get_mut(session).and_then(Session::established) {
            established.unacknowledged = Some(unacknowledged);
        }
        self.arm_session(session);
    }

    /// A request has been waiting for its owner's answer for longer than makes sense.
    pub(super) fn abandon(&mut self, key: ServerKey, now: Instant) {
        let session = self.servers.get(key).and_then(|server| server.session);
        self.respond(key, 480, now);
        let Some(session) = session else { return };
        match self.sessions.get_mut(session).map(|session| &mut session.state) {
            Some(State::Ringing(_)) => {
                self.tell(session, SipEvent::Cancelled { session, reason: None });
                self.remove_session(session);
            }
            Some(State::Established(established)) => {
                established.reoffer.take_if(|reoffer| *reoffer == key);
                established.refer.take_if(|refer| *refer == key);
            }
            Some(State::Calling(_) | State::Referring { .. }) | None => {}
        }
    }
}
