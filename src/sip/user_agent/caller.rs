//! The caller's side of an INVITE (RFC 3261 sections 9.1 and 13.2).

use std::time::Instant;

use super::UserAgent;
use super::compose::{
    ALLOW, SDP, cancel_of, clean_uri, copy_credentials, name_addr, push_custom, reason_of, reason_value, sdp_of, visible,
};
use super::session::{Ack, Calling, Cancel, ClientKey, Established, Purpose, Role, Session, State};
use crate::sip::dialog::Dialog;
use crate::sip::event::{Invite, InviteFailure, Reason, SessionKey, SipEvent, UserAgentFull};
use crate::sip::message::{Headers, Method, Request, Response};
use crate::sip::timers::TIMER_B;

/// How many forks of one INVITE may answer; the 2xx of others get no ACK.
const FORKS_MAX: usize = 8;

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Timeout,
    Unreachable,
}

impl UserAgent {
    /// Calls someone. Results come as [`SipEvent::Progress`], [`SipEvent::Answered`] or [`SipEvent::Failed`].
    pub fn invite(&mut self, invite: Invite, now: Instant) -> Result<SessionKey, UserAgentFull> {
        if self.is_full() || self.sessions.len() >= self.config.sessions_max {
            return Err(UserAgentFull);
        }
        let (local_tag, call_id) = (self.new_tag(), self.new_call_id());
        let mut headers = Headers::default();
        headers.push("Max-Forwards", "70");
        headers.push("From", format!("{};tag={local_tag}", name_addr(&invite.from, self.config.contact)));
        headers.push("To", name_addr(&invite.to, invite.peer));
        headers.push("Call-ID", call_id.as_str());
        headers.push("CSeq", "1 INVITE");
        headers.push("Contact", self.contact());
        headers.push("Allow", ALLOW);
        headers.push("Accept", SDP);
        push_custom(&mut headers, &invite.headers);
        if invite.body.is_some() {
            headers.push("Content-Type", SDP);
        }
        let body = invite.body.unwrap_or_default();
        let request = Request { method: Method::Invite, uri: clean_uri(&invite.target), headers, body };
        let session = self.sessions.insert_with_key(|_| Session {
            role: Role::Caller,
            call_id,
            local_tag: local_tag.clone(),
            released: false,
            state: State::Calling(Calling { client: ClientKey::default(), cancel: Cancel::No, challenges: Vec::new() }),
        });
        self.take_in_hand(Some(session));
        self.by_local_tag.insert(local_tag, session);
        let client = self.send_request(request, invite.peer, Purpose::Invite(session), now);
        self.replace_client(session, ClientKey::default(), client);
        self.in_hand = None;
        Ok(session)
    }

    /// Caller: gives up; CANCEL is held back until a provisional response came (RFC 3261 section 9.1). [`SipEvent::Failed`] follows: with
    /// [`InviteFailure::Cancelled`] also when a 2xx crosses the CANCEL, which is acknowledged and hung up here.
    pub fn cancel(&mut self, session: SessionKey, now: Instant) {
        let Some(kept) = self.sessions.get_mut(session) else { return };
        match &mut kept.state {
            State::Calling(calling) if calling.cancel == Cancel::No => {
                calling.cancel = Cancel::Wanted;
                let client = calling.client;
                self.send_cancel(session, client, now);
            }
            State::Established(_) if kept.role == Role::Caller => {
                // The answer is known here, but perhaps not yet to the owner.
                self.bye(session, None, now);
                self.events.push_back(SipEvent::Failed { session, failure: InviteFailure::Cancelled });
            }
            State::Calling(_) | State::Ringing(_) | State::Established(_) | State::Referring { .. } => {}
        }
    }

    /// Sends the CANCEL that is wanted, if a provisional response has come.
    fn send_cancel(&mut self, session: SessionKey, client: ClientKey, now: Instant) {
        let Some(client) = self.clients.get(client).filter(|client| client.transaction.is_answered()) else { return };
        let (request, branch, to) = (cancel_of(&client.request), client.id.branch.clone(), client.to);
        self.start_client(request, branch, to, Purpose::Cancel, now);
        if let Some(State::Calling(calling)) = self.sessions.get_mut(session).map(|session| &mut session.state) {
            calling.cancel = Cancel::Sent { give_up_at: now + TIMER_B };
        }
        self.arm_session(session);
    }

    /// A new response to an INVITE that makes a session.
    pub(super) fn on_invite_response(&mut self, key: ClientKey, session: SessionKey, response: &Response, now: Instant) {
        match response.status {
            ..200 => self.on_provisional(key, session, response, now),
            200..300 => self.on_2xx(key, session, response, now),
            status => {
                let cancelled = self.sessions.get(session).is_some_and(Session::is_giving_up);
                let failure = if cancelled && matches!(status, 401 | 407 | 487) {
                    InviteFailure::Cancelled
                } else {
                    InviteFailure::Rejected {
                        status,
                        phrase: response.phrase.clone(),
                        reason: reason_of(&response.headers),
                        contact: response.headers.contact(),
                    }
                };
                self.fail(session, failure);
            }
        }
    }

    fn on_provisional(&mut self, key: ClientKey, session: SessionKey, response: &Response, now: Instant) {
        let Some(State::Calling(calling)) = self.sessions.get(session).map(|session| &session.state) else { return };
        match calling.cancel {
            Cancel::Wanted => self.send_cancel(session, key, now),
            Cancel::No if response.status > 100 => {
                let body = sdp_of(&response.headers, &response.body).unwrap_or_default();
                self.tell(session, SipEvent::Progress { session, status: response.status, body });
            }
            Cancel::No | Cancel::Sent { .. } => {}
        }
    }

    /// A 2xx: the first makes the session, every other fork's is hung up, repetitions get their ACK again.
    fn on_2xx(&mut self, key: ClientKey, session: SessionKey, response: &Response, now: Instant) {
        let remote_tag = response.headers.tag_of_to().unwrap_or_default();
        let Some(client) = self.clients.get(key) else { return };
        if let Some(ack) = client.acks.iter().find(|ack| ack.remote_tag == remote_tag) {
            let (to, bytes) = (ack.to, ack.bytes.clone());
            self.transmit(to, bytes);
            return;
        }
        if client.acks.len() >= FORKS_MAX {
            self.dropped.stray_response += 1;
            return;
        }
        let (request, peer) = (client.request.clone(), client.to);
        let challenges = self.challenges_of(session).cloned().unwrap_or_default();
        let Some(mut dialog) = Dialog::of_caller(&request, response, peer, challenges) else { return };
        self.acknowledge(key, &request, &mut dialog);
        let calling = self.sessions.get_mut(session).filter(|session| matches!(session.state, State::Calling(_)));
        match calling {
            Some(kept) if !kept.is_giving_up() => {
                kept.state = State::Established(Box::new(Established::new(dialog)));
                let body = sdp_of(&response.headers, &response.body).unwrap_or_default();
                self.tell(session, SipEvent::Answered { session, body, headers: visible(&response.headers) });
                self.arm_session(session);
            }
            Some(_) => {
                self.send_bye(dialog, None, now);
                self.fail(session, InviteFailure::Cancelled);
            }
            None => self.send_bye(dialog, None, now),
        }
    }

    /// Sends the ACK to a 2xx of this INVITE, and keeps it to be repeated.
    pub(super) fn acknowledge(&mut self, key: ClientKey, invite: &Request, dialog: &mut Dialog) {
        let mut ack = dialog.request(Method::Ack, Some(invite.headers.cseq_number()));
        copy_credentials(invite, &mut ack.headers);
        let (bytes, to) = (self.finish_ack(ack), dialog.next_hop());
        if let Some(client) = self.clients.get_mut(key) {
            client.acks.push(Ack { remote_tag: dialog.remote_tag.clone(), bytes: bytes.clone(), to });
        }
        self.transmit(to, bytes);
    }

    /// Ends a dialog whose session is over; the transaction lives on by itself.
    pub(super) fn send_bye(&mut self, mut dialog: Dialog, reason: Option<&Reason>, now: Instant) {
        let mut request = dialog.request(Method::Bye, None);
        if let Some(reason) = reason {
            request.headers.push("Reason", reason_value(reason));
        }
        self.send_answering(request, dialog.next_hop(), Purpose::Bye, &mut dialog.challenges, now);
    }

    /// An INVITE came to nothing.
    pub(super) fn fail(&mut self, session: SessionKey, failure: InviteFailure) {
        if self.sessions.get(session).is_some_and(|session| matches!(session.state, State::Calling(_))) {
            self.tell(session, SipEvent::Failed { session, failure });
            self.remove_session(session);
        }
    }

    /// A request of ours got no answer.
    pub(super) fn on_no_answer(&mut self, purpose: Purpose, why: NoAnswer, now: Instant) {
        match purpose {
            Purpose::Invite(session) => {
                let giving_up = self.sessions.get(session).is_some_and(Session::is_giving_up);
                let failure = match why {
                    NoAnswer::Timeout | NoAnswer::Unreachable if giving_up => InviteFailure::Cancelled,
                    NoAnswer::Timeout => InviteFailure::Timeout,
                    NoAnswer::Unreachable => InviteFailure::Unreachable,
                };
                self.fail(session, failure);
            }
            Purpose::Reinvite(session) | Purpose::Refer(session) | Purpose::Info(session) => self.lose(session, 408, now),
            Purpose::Ping(peer) => self.events.push_back(SipEvent::Pong { peer, status: None }),
            Purpose::Cancel | Purpose::Bye | Purpose::Notify => {}
        }
    }

    /// A CANCEL has been out for 64*T1 without a final response to its INVITE (RFC 3261 section 9.1).
    pub(super) fn on_cancel_timeout(&mut self, session: SessionKey, client: ClientKey) {
        self.remove_client(client);
        self.fail(session, InviteFailure::Cancelled);
    }
}
