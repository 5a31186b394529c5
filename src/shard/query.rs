//! What REST and `webrtc:get-stats` are told, and what is remembered of ended calls.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use super::{Figures, Shard};
use crate::call::command::{AgentStats, LegKind, LegStats, Query, QueryReply, Reply, Scope, Session, ShardStats};
use crate::call::error::Refusal;
use crate::call::event::{CallState, CallView, EndReason, EndedBy};
use crate::ids::{AgentId, AgentKey, CallId, CallKey, ShardId, TenantId, TransportId};
use crate::limits::{ENDED_CALL_KEPT, ENDED_CALLS_PER_SHARD};
use crate::webrtc::ortc;

/// Calls that have ended, the oldest first, each until its time is over or too many have followed.
#[derive(Debug, Default)]
pub(super) struct EndedCalls(VecDeque<EndedCall>);

/// What is remembered of a call.
#[derive(Debug)]
pub(super) struct EndedCall {
    ended_at: Instant,
    client_call_id: Option<String>,
    session: Session,
}

impl EndedCall {
    /// Whether this agent had the call.
    pub fn belongs_to(&self, tenant: &TenantId, agent: &AgentId) -> bool {
        self.session.tenant == *tenant && self.session.agent == *agent
    }
}

impl EndedCalls {
    fn forget_old(&mut self, now: Instant) {
        while self.0.front().is_some_and(|call| call.ended_at + ENDED_CALL_KEPT <= now) || self.0.len() > ENDED_CALLS_PER_SHARD {
            self.0.pop_front();
        }
    }

    /// The call with this id.
    pub fn get(&mut self, id: CallId, now: Instant) -> Option<&EndedCall> {
        self.forget_old(now);
        self.0.iter().rev().find(|call| call.session.call.call == id)
    }

    /// The call that this agent dialled under its own id.
    pub fn dialed_as(&mut self, tenant: &TenantId, agent: &AgentId, client_call_id: &str, now: Instant) -> Option<CallId> {
        self.forget_old(now);
        let same = |call: &&EndedCall| call.client_call_id.as_deref() == Some(client_call_id) && call.belongs_to(tenant, agent);
        self.0.iter().rev().find(same).map(|call| call.session.call.call)
    }
}

impl Shard {
    pub(super) fn query(&mut self, query: Query, now: Instant) -> QueryReply {
        match query {
            Query::Capabilities => QueryReply::Capabilities(ortc::router_capabilities()),
            Query::Sessions(scope) => QueryReply::Sessions(self.sessions(&scope)),
            Query::Session { scope, call } => QueryReply::Session(self.session_of(&scope, call, now)),
            Query::Stats(scope) => QueryReply::Stats(self.stats(&scope)),
            Query::AgentStats { scope, agent } => QueryReply::AgentStats(self.agent_stats(&scope, &agent)),
            Query::Terminate { scope, call } => QueryReply::Terminated(self.terminate(&scope, call, now)),
        }
    }

    fn sessions(&self, scope: &Scope) -> Vec<Session> {
        self.calls.keys().filter(|&key| self.is_visible(scope, key)).map(|key| self.session(key)).collect()
    }

    fn session_of(&mut self, scope: &Scope, call: CallId, now: Instant) -> Option<Session> {
        if let Some(&key) = self.calls_by_id.get(&call) {
            return self.is_visible(scope, key).then(|| self.session(key));
        }
        let session = &self.ended.get(call, now)?.session;
        scope.includes(&session.tenant, &session.agent).then(|| session.clone())
    }

    fn terminate(&mut self, scope: &Scope, call: CallId, now: Instant) -> bool {
        match self.calls_by_id.get(&call) {
            Some(&key) if self.is_visible(scope, key) => {
                self.in_call(key, now, |shard| shard.hang_up(key, EndedBy::Admin, EndReason::Terminated, now));
                true
            }
            Some(_) => false,
            None => self.ended.get(call, now).is_some_and(|ended| scope.includes(&ended.session.tenant, &ended.session.agent)),
        }
    }

    fn is_visible(&self, scope: &Scope, key: CallKey) -> bool {
        let identity = &self.agents[self.calls[key].call.agent].identity;
        scope.includes(&identity.tenant, &identity.agent)
    }

    fn session(&self, key: CallKey) -> Session {
        let call = &self.calls[key].call;
        let identity = &self.agents[call.agent].identity;
        Session {
            call: self.call_view(key),
            tenant: identity.tenant.clone(),
            agent: identity.agent.clone(),
            shard: self.config.shard,
            legs: self.leg_stats(key),
            timeline: self.timeline(key),
        }
    }

    fn timeline(&self, key: CallKey) -> Vec<(SystemTime, &'static str)> {
        self.calls[key].call.timeline.iter().map(|&(at, what)| (self.wall_clock(at), what)).collect()
    }

    /// Keeps what is told of a call after its end.
    pub(super) fn remember(&mut self, key: CallKey, state: CallState, now: Instant) {
        let session = self.session(key);
        let session = Session { call: CallView { state, held: false, ..session.call }, ..session };
        let client_call_id = self.calls[key].call.client_call_id.clone();
        self.ended.0.push_back(EndedCall { ended_at: now, client_call_id, session });
        self.ended.forget_old(now);
    }

    fn stats(&self, scope: &Scope) -> ShardStats {
        let visible_agents = self.agents.values().filter(|agent| scope.includes(&agent.identity.tenant, &agent.identity.agent));
        let agents = visible_agents.clone().count();
        let calls = visible_agents.map(|agent| agent.calls.len()).sum();
        let ShardId(shard) = self.config.shard;
        let sip = self.sip_stats();
        ShardStats {
            shard,
            agents,
            calls,
            calls_total: self.call_counts.started(),
            transports: self.transports.len(),
            sip_transactions: sip.transactions,
            dialogs: sip.dialogs,
            ports_in_use: self.ports.in_use(),
            deadlines: self.deadlines.len(),
            panics: self.panics(),
            // The driver's to count.
            restarts: 0,
            dropped: self.drops.by_reason().chain(sip.dropped).collect(),
            sip_peers: self.peers_reachable.clone(),
        }
    }

    /// Everything that is counted, as it stands now.
    pub fn figures(&self) -> Figures {
        let sip = self.sip_stats();
        Figures {
            agents: self.agents.len(),
            agents_connected: self.agents_by_socket.len(),
            transports: self.transports.len(),
            calls: self.calls.len(),
            sip_transactions: sip.transactions,
            sip_dialogs: sip.dialogs,
            port_pairs_in_use: self.ports.in_use(),
            deadlines: self.deadlines.len(),
            panics: self.panics(),
            dropped: self.drops.by_reason().chain(sip.dropped).collect(),
            outbound: self.call_counts.outbound.clone(),
            inbound: self.call_counts.inbound.clone(),
            sip_received: self.sip_received.clone(),
            sip_sent: self.sip_sent.clone(),
        }
    }

    fn agent_stats(&self, scope: &Scope, id: &AgentId) -> Option<AgentStats> {
        let mut visible = self.agents.values().filter(|agent| agent.identity.agent == *id);
        let agent = visible.find(|agent| scope.includes(&agent.identity.tenant, &agent.identity.agent))?;
        let (mos_sum, mos_count) = agent.mos;
        Some(AgentStats {
            tenant: agent.identity.tenant.clone(),
            agent: agent.identity.agent.clone(),
            connected: agent.socket.is_some(),
            connected_at: self.wall_clock(agent.connected_at),
            calls_active: agent.calls.len(),
            calls_today: agent.calls_today,
            talk_time: agent.talk_time,
            mos_mean: (mos_count > 0).then(|| mos_sum / f64::from(mos_count)),
        })
    }

    /// `webrtc:get-stats`: a call's legs, a transport's leg, or, with neither, the legs of the call that the agent talks on.
    pub(super) fn stats_of(&self, agent: AgentKey, transport: Option<TransportId>, call: Option<CallId>) -> Result<Reply, Refusal> {
        if let Some(call) = call {
            return Ok(Reply::Stats(self.leg_stats(self.call_of(agent, call)?)));
        }
        if let Some(transport) = transport {
            self.transport_by_id(agent, transport)?;
            return Ok(Reply::Stats(vec![self.browser_stats(agent)]));
        }
        Ok(Reply::Stats(match self.agents[agent].bridged {
            Some(key) => self.leg_stats(key),
            None => vec![self.browser_stats(agent)],
        }))
    }

    /// The worse leg's score, for the agent's day.
    pub(super) fn worst_mos(legs: &[LegStats]) -> Option<f64> {
        legs.iter().filter(|leg| matches!(leg.leg, LegKind::WebRtc | LegKind::Sip)).filter_map(|leg| leg.mos).reduce(f64::min)
    }
}
