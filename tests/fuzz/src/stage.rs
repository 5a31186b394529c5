//! A shard in the middle of its work: an agent whose browser is up and who talks to the demo PBX's echo.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use nexus_gateway::call::command::Action;
use nexus_gateway::call::event::{CallEvent, Event};
use nexus_gateway::codec::Codec;
use nexus_gateway::ids::CallId;
use nexus_harness::lab::Lab;
use nexus_harness::link::LinkQuality;

/// The lab, its one agent and the call.
pub struct Stage {
    pub lab: Lab,
    pub call: CallId,
    /// Something was done that may have its effect in a later run.
    pub is_spoilt: bool,
    uses: u32,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Lets `play` have the stage. The call is dialled anew when it is over or was touched, and all is built anew when
/// a transport was, when the run asked for it, and after [`USES`] runs:
/// two DTLS handshakes take longer than all the rest.
pub fn with(play: impl FnOnce(&mut Stage)) {
    STAGE.with_borrow_mut(|stage| {
        if stage.as_mut().is_some_and(|stage| !stage.is_set()) {
            stage.take().into_iter().for_each(Stage::strike);
        }
        let stage = stage.get_or_insert_with(Stage::build);
        stage.uses += 1;
        stage.lab.agents[AGENT].events.clear();
        stage.lab.agents[AGENT].heard.clear();
        play(stage);
    });
}

impl Stage {
    fn build() -> Self {
        let mut lab = Lab::new(LinkQuality::PERFECT, 1);
        let agent = lab.connect("100");
        assert_eq!(agent, AGENT);
        lab.open_media(agent, Codec::Pcmu);
        assert!(lab.run_until(Duration::from_secs(30), |lab| lab.is_media_up(agent)), "the media does not come up");
        let call = dial(&mut lab).expect("the call is not answered");
        Self { lab, call, is_spoilt: false, uses: 0 }
    }

    /// Whether the stage can be used again; a call that was touched is replaced.
    fn is_set(&mut self) -> bool {
        let touched = |event: &Event| matches!(event, Event::TransportState { .. });
        let agent = &self.lab.agents[AGENT];
        if self.is_spoilt || self.uses >= USES || agent.socket.is_none() || agent.events.iter().any(|(_, event)| touched(event)) {
            return false;
        }
        if self.is_talking() {
            return true;
        }
        self.hang_up_all();
        if self.lab.stats().calls > 0 {
            return false;
        }
        let Some(call) = dial(&mut self.lab) else { return false };
        self.call = call;
        true
    }

    /// Whether the call still is as it was set up.
    pub fn is_talking(&self) -> bool {
        let agent = &self.lab.agents[AGENT];
        agent.socket.is_some() && agent.events.iter().all(|(_, event)| !matches!(event, Event::Call { .. } | Event::TransportState { .. }))
    }

    fn hang_up_all(&mut self) {
        if self.lab.agents[AGENT].socket.is_none() {
            return;
        }
        let calls: BTreeSet<_> = self.lab.agents[AGENT].events.iter().filter_map(|(_, event)| call_of(event)).chain([self.call]).collect();
        for call in calls {
            self.lab.ask(AGENT, Action::Hangup { call });
        }
        self.lab.run(Duration::from_secs(3));
    }

    /// Speaks for a while and tells how many frames did not come back as an echo.
    pub fn frames_lost(&mut self) -> usize {
        let now = self.lab.now;
        let agent = &mut self.lab.agents[AGENT];
        agent.start_counting_from(agent.next_frame());
        agent.heard.clear();
        agent.start_speaking(now);
        self.lab.run(Duration::from_millis(200));
        self.lab.agents[AGENT].speaking = false;
        self.lab.run(Duration::from_millis(100));
        let agent = &self.lab.agents[AGENT];
        agent.frames_spoken() - agent.frames_returned()
    }

    /// The agent leaves; nothing may stay in the gateway.
    fn strike(mut self) {
        self.hang_up_all();
        self.lab.agents[AGENT].send = None;
        self.lab.agents[AGENT].recv = None;
        self.lab.disconnect(AGENT);
        self.lab.run(Duration::from_secs(200));
        // The gateway asks a lost PBX all the time whether it is there: looked at between two questions.
        self.lab.set_pbx_quality(LinkQuality { loss: 1.0, ..LinkQuality::PERFECT });
        let mut held = [1; 7];
        for _ in 0..600 {
            let stats = self.lab.stats();
            held =
                [stats.agents, stats.calls, stats.transports, stats.sip_transactions, stats.dialogs, stats.ports_in_use, stats.deadlines];
            if held == [0; 7] {
                break;
            }
            self.lab.run(Duration::from_secs(1));
        }
        assert_eq!(held, [0; 7], "the gateway holds agents, calls, transports, transactions, dialogs, ports, deadlines");
    }
}

/// Calls the PBX's echo and waits for its answer.
fn dial(lab: &mut Lab) -> Option<CallId> {
    let call = lab.dial(AGENT, "9196");
    let answered = |lab: &Lab| lab.call_events(AGENT, call).iter().any(|(_, event)| matches!(event, CallEvent::Answered { .. }));
    lab.run_until(Duration::from_secs(5), answered).then_some(call)
}

fn call_of(event: &Event) -> Option<CallId> {
    match event {
        Event::Call { call, .. } => Some(*call),
        _ => None,
    }
}

/// The one agent of the lab.
pub const AGENT: usize = 0;

const USES: u32 = 64;
