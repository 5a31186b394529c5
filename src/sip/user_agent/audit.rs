//! Whether everything that the user agent keeps in two places agrees: see [`crate::shard::Shard::audit`].

use super::session::{Cancel, OwnOffer, Owner, ServerKey, Session, State};
use super::{SessionKey, UserAgent};

impl UserAgent {
    /// Holds the indexes and deadlines against the transactions and sessions that they are for. `is_owned` tells whether the owner still
    /// knows a session: one that it let go of must be on its way out.
    ///
    /// # Errors
    /// What does not fit.
    pub fn audit(&self, is_owned: impl Fn(SessionKey) -> bool) -> Result<(), String> {
        require(self.client_ids.len() == self.clients.len(), "client transactions by id")?;
        require(self.server_ids.len() == self.servers.len(), "server transactions by id")?;
        require(self.by_local_tag.len() == self.sessions.len(), "sessions by tag")?;
        let merging = self.servers.values().filter(|server| server.merge.is_some()).count();
        require(self.merge_ids.len() == merging, "merged requests")?;
        for (key, client) in &self.clients {
            require(self.client_ids.get(&client.id) == Some(&key), "a client transaction is not found by its id")?;
            require(self.deadlines.of(Owner::Client(key)) == Some(client.transaction.deadline()), "a client transaction's deadline")?;
        }
        for (key, server) in &self.servers {
            require(self.server_ids.get(&server.id) == Some(&key), "a server transaction is not found by its id")?;
            require(self.deadlines.of(Owner::Server(key)) == Some(server.transaction.deadline()), "a server transaction's deadline")?;
        }
        let mut waiting = 0;
        for (key, session) in &self.sessions {
            require(self.by_local_tag.get(&session.local_tag) == Some(&key), "a session is not found by its tag")?;
            require(self.deadlines.of(Owner::Session(key)) == session.deadline(), "a session's deadline")?;
            waiting += usize::from(session.deadline().is_some());
            self.audit_session(session)?;
            require(is_owned(key) || session.is_on_its_way_out(), "a session that its owner forgot")?;
        }
        require(self.deadlines.len() == self.clients.len() + self.servers.len() + waiting, "deadlines without an owner")
    }

    /// What a session waits for exists.
    fn audit_session(&self, session: &Session) -> Result<(), String> {
        let is_pending = |key: ServerKey| self.servers.get(key).is_some_and(|server| server.transaction.is_pending());
        match &session.state {
            State::Calling(calling) => require(self.clients.contains_key(calling.client), "a caller without its INVITE"),
            State::Ringing(ringing) => require(is_pending(ringing.server), "a callee without an INVITE to answer"),
            State::Established(established) => {
                let asked = [established.reoffer, established.refer].into_iter().flatten();
                require({ asked }.all(is_pending), "a request that nobody can answer any more")?;
                match established.offer {
                    OwnOffer::Sent { client, .. } => require(self.clients.contains_key(client), "an offer without its INVITE"),
                    OwnOffer::None | OwnOffer::BackingOff { .. } => Ok(()),
                }
            }
            State::Referring { .. } => Ok(()),
        }
    }
}

impl Session {
    /// Whether it ends without its owner.
    fn is_on_its_way_out(&self) -> bool {
        match &self.state {
            State::Calling(calling) => self.released || calling.cancel != Cancel::No,
            State::Ringing(_) => false,
            State::Established(established) => established.hangup.is_some(),
            State::Referring { .. } => true,
        }
    }
}

fn require(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
