//! The state of one call: what it is, how far it has come, and which of its agent's requests it is busy with.

use std::collections::VecDeque;
use std::time::Instant;

use crate::call::command::{Dial, Reply};
use crate::call::error::Refusal;
use crate::call::event::{CallDirection, CallState, EndReason, EndedBy};
use crate::codec::Codec;
use crate::ids::{AgentKey, CallId, RequestId};
use crate::net::PortPair;
use crate::sdp::{LocalDescription, Negotiated, RemoteDescription};
use crate::sip::SessionKey;

/// A live call. An ended one is only remembered, by its view.
#[derive(Debug)]
pub struct Call {
    pub id: CallId,
    /// The agent it belongs to, for ever.
    pub agent: AgentKey,
    pub direction: CallDirection,
    /// The far party's number as the agent is told it.
    pub phone_number: String,
    pub caller_name: Option<String>,
    pub campaign_id: Option<String>,
    pub lead_id: Option<String>,
    /// The agent's own id of an outbound call.
    pub client_call_id: Option<String>,
    pub sip_call_id: String,
    pub muted: bool,
    /// Held by our agent.
    pub held_local: bool,
    /// Held by the far party.
    pub held_remote: bool,
    pub started_at: Instant,
    pub answered_at: Option<Instant>,
    pub phase: Phase,
    /// The SIP leg's media, from when its ports are chosen.
    pub leg: Option<SipLeg>,
    /// What happened when, oldest first.
    pub timeline: Vec<(Instant, &'static str)>,
    /// The request that is being worked on, and those behind it.
    pub activity: Activity,
    waiting: VecDeque<Control>,
    /// A hangup that came while a transfer was asked for: it waits for the REFER to be answered, until a moment.
    pub leaving: Option<Leaving>,
}

/// A hangup that waits.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    pub request: Option<RequestId>,
    pub give_up_at: Instant,
}

/// How far a call has come; each state owns what only it has.
#[derive(Debug)]
pub enum Phase {
    /// Outbound: the INVITE waits for the browser's media.
    AwaitingMedia { dial: Box<Dial>, user: String, host: Option<String>, give_up_at: Instant },
    /// Outbound: the INVITE is out.
    Inviting { session: SessionKey, told: Told, give_up_at: Instant },
    /// Inbound: the agent has not answered. `answering` once it has asked to, while its media is awaited.
    Incoming { session: SessionKey, offer: Box<RemoteDescription>, give_up_at: Instant, answering: Option<Answering>, auto_answer: bool },
    /// Inbound: our 200 waits for its ACK.
    Accepted { session: SessionKey },
    /// Both sides talk, or one of them holds.
    Talking { session: SessionKey },
    /// One side has hung up during a transfer; the far side's last NOTIFY is awaited.
    Departed { session: SessionKey, by: EndedBy, reason: EndReason, give_up_at: Instant },
}

/// What the agent has been told about an outbound call so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Ringing,
    EarlyMedia,
}

/// An answer that waits for the browser's media.
#[derive(Clone, Copy, Debug)]
pub struct Answering {
    pub request: Option<RequestId>,
    pub give_up_at: Instant,
}

/// The media of the SIP side.
#[derive(Debug)]
pub struct SipLeg {
    pub pair: PortPair,
    /// What we last offered or answered.
    pub local: LocalDescription,
    /// What both sides agreed on.
    pub negotiated: Option<Negotiated>,
}

/// A request of the agent that has to wait for its turn or for the far side.
#[derive(Debug)]
pub struct Control {
    /// Absent when the gateway itself asks (holding one call for another).
    pub request: Option<RequestId>,
    pub kind: ControlKind,
}

/// What such a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlKind {
    Hold,
    Unhold,
    Transfer {
        /// As the agent wrote it.
        target: String,
        /// What the far side is told to call.
        uri: String,
    },
    /// Tell the far side our new media port, after a collision on the shared one.
    MoveMedia,
}

/// What a call is busy with: one thing at a time.
#[derive(Debug, Default)]
pub enum Activity {
    #[default]
    Idle,
    /// A re-INVITE of ours is out.
    Offering { control: Control, purpose: OfferPurpose },
    /// A REFER is out.
    Referring { control: Control },
    /// The REFER was accepted; the far side tells how it goes on, until a moment: one that never tells must not keep other requests waiting.
    Transferring { target: String, give_up_at: Instant },
}

/// What a re-INVITE of ours changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferPurpose {
    Hold,
    Unhold,
    MoveMedia,
}

/// Controls that may wait on one call.
const CONTROLS_WAITING: usize = 16;

/// Entries of a timeline; a call held and unheld more often keeps its first ones.
const TIMELINE_ENTRIES: usize = 64;

impl Call {
    /// A new call of `agent`.
    pub fn new(id: CallId, agent: AgentKey, direction: CallDirection, phone_number: String, phase: Phase, now: Instant) -> Self {
        let first = match direction {
            CallDirection::Outbound => "dialed",
            CallDirection::Inbound => "incoming",
        };
        Self {
            id,
            agent,
            direction,
            phone_number,
            caller_name: None,
            campaign_id: None,
            lead_id: None,
            client_call_id: None,
            sip_call_id: String::new(),
            muted: false,
            held_local: false,
            held_remote: false,
            started_at: now,
            answered_at: None,
            phase,
            leg: None,
            timeline: vec![(now, first)],
            activity: Activity::Idle,
            waiting: VecDeque::new(),
            leaving: None,
        }
    }

    /// The state that a client is told.
    pub fn state(&self) -> CallState {
        match &self.phase {
            Phase::AwaitingMedia { .. } | Phase::Inviting { told: Told::Nothing, .. } => CallState::Dialing,
            Phase::Inviting { told: Told::Ringing, .. } => CallState::Ringing,
            Phase::Inviting { told: Told::EarlyMedia, .. } => CallState::Early,
            Phase::Incoming { .. } => CallState::Incoming,
            Phase::Accepted { .. } | Phase::Talking { .. } if self.is_held() => CallState::Held,
            Phase::Accepted { .. } | Phase::Talking { .. } => CallState::Answered,
            Phase::Departed { .. } => CallState::Answered,
        }
    }

    /// Whether either side holds it.
    pub fn is_held(&self) -> bool {
        self.held_local || self.held_remote
    }

    /// The SIP session, once there is one.
    pub fn session(&self) -> Option<SessionKey> {
        match self.phase {
            Phase::AwaitingMedia { .. } => None,
            Phase::Inviting { session, .. }
            | Phase::Incoming { session, .. }
            | Phase::Accepted { session }
            | Phase::Talking { session }
            | Phase::Departed { session, .. } => Some(session),
        }
    }

    /// Who hung up and why, if only the report on a transfer is still waited for.
    pub fn departed_by(&self) -> Option<(EndedBy, EndReason)> {
        match self.phase {
            Phase::Departed { by, reason, .. } => Some((by, reason)),
            Phase::AwaitingMedia { .. }
            | Phase::Inviting { .. }
            | Phase::Incoming { .. }
            | Phase::Accepted { .. }
            | Phase::Talking { .. } => None,
        }
    }

    /// The session of an established call, for what only such a one can do; else the refusal.
    pub fn talking(&self) -> Result<SessionKey, Refusal> {
        match self.phase {
            Phase::Talking { session } => Ok(session),
            Phase::AwaitingMedia { .. }
            | Phase::Inviting { .. }
            | Phase::Incoming { .. }
            | Phase::Accepted { .. }
            | Phase::Departed { .. } => Err(Refusal::invalid_state(self.state(), "the call is not established")),
        }
    }

    /// When this state is given up, if it does not change before.
    pub fn give_up_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::AwaitingMedia { give_up_at, .. } | Phase::Inviting { give_up_at, .. } | Phase::Departed { give_up_at, .. } => {
                Some(*give_up_at)
            }
            Phase::Incoming { give_up_at, answering, .. } => {
                Some(answering.map_or(*give_up_at, |answering| answering.give_up_at.min(*give_up_at)))
            }
            Phase::Accepted { .. } | Phase::Talking { .. } => {
                let leaving = self.leaving.map(|leaving| leaving.give_up_at);
                leaving.into_iter().chain(self.transfer_give_up_at()).min()
            }
        }
    }

    /// Until when the far side may report on a transfer.
    pub fn transfer_give_up_at(&self) -> Option<Instant> {
        match self.activity {
            Activity::Transferring { give_up_at, .. } => Some(give_up_at),
            Activity::Idle | Activity::Offering { .. } | Activity::Referring { .. } => None,
        }
    }

    /// The pair and the agreed media of the SIP leg.
    pub fn flow(&self) -> Option<(PortPair, &Negotiated)> {
        let leg = self.leg.as_ref()?;
        leg.negotiated.as_ref().map(|negotiated| (leg.pair, negotiated))
    }

    /// The codec that both legs carry, once it is agreed on.
    pub fn codec(&self) -> Option<Codec> {
        self.leg.as_ref()?.negotiated.as_ref().map(|negotiated| negotiated.codec)
    }

    /// Puts a control behind those that wait; gives it back when too many do.
    pub fn enqueue(&mut self, control: Control) -> Result<(), Control> {
        if self.waiting.len() >= CONTROLS_WAITING {
            return Err(control);
        }
        self.waiting.push_back(control);
        Ok(())
    }

    /// The next control, if the call is free for one.
    pub fn next_control(&mut self) -> Option<Control> {
        match self.activity {
            Activity::Idle => self.waiting.pop_front(),
            Activity::Offering { .. } | Activity::Referring { .. } | Activity::Transferring { .. } => None,
        }
    }

    /// Whether a transfer has been asked for whose REFER is not answered yet.
    pub fn is_about_to_transfer(&self) -> bool {
        let is_transfer = |control: &Control| matches!(control.kind, ControlKind::Transfer { .. });
        matches!(self.activity, Activity::Referring { .. }) || self.waiting.iter().any(is_transfer)
    }

    /// Everything that waits or is under way, because the call ends.
    pub fn take_controls(&mut self) -> Vec<Control> {
        let active = match std::mem::take(&mut self.activity) {
            Activity::Idle | Activity::Transferring { .. } => None,
            Activity::Offering { control, .. } | Activity::Referring { control } => Some(control),
        };
        active.into_iter().chain(self.waiting.drain(..)).collect()
    }

    /// Takes the requests that can only be answered with the call's end: an answer that waits for media fails, a hangup that waits for a REFER succeeds.
    pub fn take_waiting_for_end(&mut self) -> Vec<(Option<RequestId>, Result<Reply, Refusal>)> {
        let mut waiting = Vec::new();
        if let Phase::Incoming { answering, .. } = &mut self.phase {
            let refusal = Refusal::invalid_state(CallState::Ended, "the call has ended");
            waiting.extend(answering.take().map(|answering| (answering.request, Err(refusal))));
        }
        waiting.extend(self.leaving.take().map(|leaving| (leaving.request, Ok(Reply::Done))));
        waiting
    }

    /// Notes what happened.
    pub fn note(&mut self, what: &'static str, now: Instant) {
        if self.timeline.len() < TIMELINE_ENTRIES {
            self.timeline.push((now, what));
        }
    }
}
