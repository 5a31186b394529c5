//! Whether everything that the shard keeps in two places agrees. The models ask it after each of their steps; nothing else does, since what it
//! finds can only be our own bug.

use std::collections::BTreeSet;

use super::{Shard, Timer};
use crate::call::Phase;
use crate::net::PortPair;

impl Shard {
    /// Holds the indexes, deadlines, ports and SIP sessions against the agents, transports and calls that they are for.
    ///
    /// # Errors
    /// What does not fit: something leaked, or nobody would wake for it.
    pub fn audit(&self) -> Result<(), String> {
        self.audit_agents()?;
        self.audit_transports()?;
        self.audit_calls()?;
        self.audit_flows()?;
        self.audit_deadlines()?;
        let is_gone = |call: &Option<crate::ids::CallId>| call.is_none_or(|call| !self.calls_by_id.contains_key(&call));
        require(!self.waiting.values().any(is_gone), "a request that nothing will answer any more")?;
        self.sip.audit(|session| self.calls_by_session.contains_key(session))
    }

    fn audit_agents(&self) -> Result<(), String> {
        require(self.agents_by_id.len() == self.agents.len(), "agents by id")?;
        let sockets = self.agents.values().filter(|agent| agent.socket.is_some()).count();
        require(self.agents_by_socket.len() == sockets, "agents by socket")?;
        for (key, agent) in &self.agents {
            let id = (agent.identity.tenant.clone(), agent.identity.agent.clone());
            require(self.agents_by_id.get(&id) == Some(&key), "an agent is not found by its id")?;
            let by_socket = agent.socket.is_none_or(|socket| self.agents_by_socket.get(&socket) == Some(&key));
            require(by_socket, "an agent is not found by its socket")?;
            require(agent.bridged.is_none_or(|call| agent.calls.contains(&call)), "the bridged call is none of the agent's")?;
            let current = [agent.send, agent.recv].into_iter().flatten();
            require(current.into_iter().all(|key| agent.transports.contains(&key)), "a current transport is none of the agent's")?;
            let homeless = agent.producers.iter().any(|producer| !agent.transports.contains(&producer.transport));
            require(!homeless, "a producer outlived its transport")?;
        }
        Ok(())
    }

    fn audit_transports(&self) -> Result<(), String> {
        let listed: usize = self.agents.values().map(|agent| agent.transports.len()).sum();
        require(listed == self.transports.len(), "transports without an agent")?;
        for (key, transport) in &self.transports {
            let owner = self.agents.get(transport.agent);
            require(owner.is_some_and(|agent| agent.transports.contains(&key)), "a transport that its agent does not know")?;
        }
        let known = |(address, key)| self.transports.get(key).is_some_and(|transport| transport.has_source(address));
        require(self.demux.browsers().all(known), "an address of a transport that does not have it")
    }

    fn audit_calls(&self) -> Result<(), String> {
        require(self.calls_by_id.len() == self.calls.len(), "calls by id")?;
        let listed: usize = self.agents.values().map(|agent| agent.calls.len()).sum();
        require(listed == self.calls.len(), "calls without an agent")?;
        let mut pairs = BTreeSet::new();
        for (key, slot) in &self.calls {
            let call = &slot.call;
            require(self.calls_by_id.get(&call.id) == Some(&key), "a call is not found by its id")?;
            require(self.agents.get(call.agent).is_some_and(|agent| agent.calls.contains(&key)), "a call that its agent does not know")?;
            let found = call.session().is_none_or(|session| self.calls_by_session.get(session) == Some(&key));
            require(found, "a call is not found by its session")?;
            let early = matches!(call.phase, Phase::AwaitingMedia { .. } | Phase::Incoming { .. });
            require(!early || call.leg.is_none(), "ports before they are needed")?;
            let own = call.leg.as_ref().map(|leg| leg.pair).filter(|&pair| pair != PortPair::SHARED);
            require(own.is_none_or(|pair| pairs.insert(pair)), "two legs on one pair")?;
        }
        require(pairs.len() == self.ports.in_use(), "ports in use without a leg")?;
        let with_session = self.calls.values().filter(|slot| slot.call.session().is_some()).count();
        require(self.calls_by_session.len() == with_session, "sessions of calls that are over")
    }

    fn audit_flows(&self) -> Result<(), String> {
        let flow_of = |key| self.calls.get(key).and_then(|slot| slot.call.flow());
        let rtp = |(at, key)| flow_of(key).is_some_and(|(pair, negotiated)| at == (pair, negotiated.remote_rtp));
        let rtcp = |(at, key)| flow_of(key).is_some_and(|(pair, negotiated)| at == (pair, negotiated.remote_rtcp));
        require(self.demux.legs_rtp().all(rtp), "RTP of a call that is over or elsewhere")?;
        require(self.demux.legs_rtcp().all(rtcp), "RTCP of a call that is over or elsewhere")?;
        let heard = |(key, (pair, negotiated)): (_, (_, &crate::sdp::Negotiated))| self.demux.rtp(pair, negotiated.remote_rtp) == Some(key);
        let flows = self.calls.iter().filter_map(|(key, slot)| Some((key, slot.call.flow()?)));
        require({ flows }.all(heard), "a flow that the demultiplexer does not know")
    }

    /// Each deadline has its owner, and each owner that waits for a moment is woken by then.
    fn audit_deadlines(&self) -> Result<(), String> {
        for (at, timer) in self.deadlines.pending() {
            let armed = match timer {
                Timer::Agent(key) => self.agents.get(key).and_then(super::agents::Agent::armed),
                Timer::Call(key) => self.calls.get(key).and_then(|slot| slot.deadline.at()),
                Timer::Sip => self.sip_deadline.at(),
                Timer::Transport(key) => self.transports.get(key).and_then(super::transports::Transport::armed),
            };
            require(armed == Some(at), &format!("a deadline without an owner: {timer:?}"))?;
        }
        let armed = self.agents.values().filter(|agent| agent.armed().is_some()).count()
            + self.calls.values().filter(|slot| slot.deadline.at().is_some()).count()
            + self.transports.values().filter(|transport| transport.armed().is_some()).count()
            + usize::from(self.sip_deadline.at().is_some());
        require(armed == self.deadlines.len(), "an owner waits for a deadline that is not kept")?;
        require(self.sip_deadline.at() == self.sip.next_deadline(), "SIP is not woken when it has to be")?;
        for slot in self.calls.values() {
            let due = [slot.call.give_up_at(), slot.media_due(self.config.policy.media_timeout)].into_iter().flatten().min();
            let woken = due.is_none_or(|due| slot.deadline.at().is_some_and(|at| at <= due));
            require(woken, &format!("a call is not woken when it has to be: {:?}", slot.call.phase))?;
        }
        for transport in self.transports.values() {
            let woken = transport.due().is_none_or(|due| transport.armed().is_some_and(|at| at <= due));
            require(woken, "a transport is not woken when it has to be")?;
        }
        let forsaken = self.agents.values().any(|agent| agent.socket.is_none() && agent.armed().is_none());
        require(!forsaken, "an agent without a socket that is never given up")
    }
}

fn require(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
