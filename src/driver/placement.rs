//! Which shard an agent is on: a stable choice for a new one, and where a present one is found by its SIP name.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustc_hash::FxHashMap;

use crate::call::command::SipIdentity;
use crate::ids::{AgentId, ShardId, TenantId};

/// Over how many shards one tenant's agents may spread (`TENANT_SPREAD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The first shard of the tenant's rendezvous order that is less than 70 % full.
    Auto,
    /// So many shards, at least one; an agent always gets the same of them.
    Shards(u16),
}

/// Whom a SIP name belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// One agent, and it is on this shard.
    Agent { shard: ShardId, tenant: TenantId, agent: AgentId },
    /// One agent, and it is not connected: 480.
    Absent,
    /// Several agents have this name: 485.
    Ambiguous,
    /// Nobody has it: 404.
    Unknown,
}

/// Where agents are. Shared by the front, the receiver of the public SIP socket and the shards' threads.
///
/// The front calls [`Placement::shard_for`] and [`Placement::expect`] before it hands a `Command::Connect` to the shard; the shard's
/// own word that the agent came or went arrives through [`Placement::present`], which the driver calls.
#[derive(Debug)]
pub struct Placement {
    shards: u16,
    spread: Spread,
    /// Agents that one shard carries.
    shard_capacity: usize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    agents: FxHashMap<(TenantId, AgentId), Entry>,
    /// By SIP user, those who answer to it. A list has few members: an honest name has one.
    names: FxHashMap<String, Vec<Name>>,
    /// Agents of each shard in `agents`.
    load: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    shard: ShardId,
    user: String,
    /// The shard has said that it has the agent, and not yet that it has lost it.
    present: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Name {
    domain: Option<String>,
    tenant: TenantId,
    agent: AgentId,
    /// From the directory: stays while the agent is away.
    listed: bool,
}

impl Placement {
    /// For `shards` shards (at least one) that carry `shard_capacity` agents each.
    pub fn new(shards: u16, spread: Spread, shard_capacity: usize) -> Self {
        let shards = shards.max(1);
        let state = State { load: vec![0; usize::from(shards)], ..State::default() };
        Self { shards, spread, shard_capacity, state: RwLock::new(state) }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Makes an agent of the directory known while it is away, by its SIP user and its extensions.
    pub fn list(&self, tenant: &TenantId, agent: &AgentId, sip: &SipIdentity, extensions: &[String]) {
        let mut state = self.write();
        for user in std::iter::once(&sip.user).chain(extensions) {
            let name = Name { domain: sip.domain.clone(), tenant: tenant.clone(), agent: agent.clone(), listed: true };
            let names = state.names.entry(user.clone()).or_default();
            names.retain(|known| known.domain != name.domain || known.tenant != name.tenant || known.agent != name.agent);
            names.push(name);
        }
    }

    /// The shard that an agent belongs to: where it is, else where its tenant's hash puts it.
    pub fn shard_for(&self, tenant: &TenantId, agent: &AgentId) -> ShardId {
        let state = self.read();
        if let Some(entry) = state.agents.get(&(tenant.clone(), agent.clone())) {
            return entry.shard;
        }
        let order = rendezvous_order(self.shards, &[tenant.as_str()]);
        match self.spread {
            Spread::Shards(count) => {
                let count = usize::from(count.clamp(1, self.shards));
                best(order.into_iter().take(count), &[tenant.as_str(), agent.as_str()])
            }
            Spread::Auto => {
                let load = |shard: &ShardId| state.load.get(usize::from(shard.0)).copied().unwrap_or(usize::MAX);
                let roomy = order.iter().find(|shard| load(shard) < self.shard_capacity / 10 * 7);
                roomy.or_else(|| order.iter().min_by_key(|shard| load(shard))).copied().unwrap_or(ShardId(0))
            }
        }
    }

    /// Notes that an agent is about to connect to this shard, and its SIP name. It can be called once its shard says that it is there.
    pub fn expect(&self, tenant: &TenantId, agent: &AgentId, sip: &SipIdentity, shard: ShardId) {
        let mut state = self.write();
        if state.agents.len() >= self.shard_capacity.saturating_mul(usize::from(self.shards)) {
            // Only those whom no shard ever took or who have left may be here beyond the shards' own limit.
            state.forget_the_absent();
        }
        let key = (tenant.clone(), agent.clone());
        let present = match state.agents.get(&key) {
            Some(entry) if entry.shard == shard && entry.user == sip.user => entry.present,
            Some(_) | None => {
                state.forget(&key);
                false
            }
        };
        let names = state.names.entry(sip.user.clone()).or_default();
        if !names.iter().any(|name| name.tenant == *tenant && name.agent == *agent && name.domain == sip.domain) {
            names.push(Name { domain: sip.domain.clone(), tenant: tenant.clone(), agent: agent.clone(), listed: false });
        }
        let known = state.agents.insert(key, Entry { shard, user: sip.user.clone(), present });
        if known.is_none()
            && let Some(load) = state.load.get_mut(usize::from(shard.0))
        {
            *load += 1;
        }
    }

    /// The shard says that an agent's presence on it began or ended.
    pub fn present(&self, tenant: &TenantId, agent: &AgentId, shard: ShardId, present: bool) {
        if let Some(entry) = self.write().agents.get_mut(&(tenant.clone(), agent.clone())).filter(|entry| entry.shard == shard) {
            // An entry that went absent stays until room is needed: the agent may be on its way back already, with its
            // Connect waiting in the mailbox behind the end of its grace time.
            entry.present = present;
        }
    }

    /// A shard has lost all its agents: nobody there can be called until it is back.
    pub fn shard_died(&self, shard: ShardId) {
        self.write().agents.values_mut().filter(|entry| entry.shard == shard).for_each(|entry| entry.present = false);
    }

    /// Whom a SIP request for `user` at `domain` is for.
    ///
    /// A name with exactly this domain counts more than one without; a host that is an address names no domain, so there every name counts.
    pub fn lookup(&self, user: &str, domain: &str) -> Callee {
        let state = self.read();
        let Some(names) = state.names.get(user) else { return Callee::Unknown };
        let same = |name: &&Name| name.domain.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(domain));
        let open = |name: &&Name| name.domain.is_none();
        let mut found: Vec<&Name> = names.iter().filter(same).collect();
        if found.is_empty() {
            let address = domain.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
            found = names.iter().filter(|name| address || open(name)).collect();
        }
        // Without a directory a name is known only as long as its agent is about.
        found.retain(|name| name.listed || state.entry(name).is_some());
        let Some(first) = found.first() else { return Callee::Unknown };
        if found.iter().any(|name| name.tenant != first.tenant || name.agent != first.agent) {
            return Callee::Ambiguous;
        }
        match state.entry(first) {
            Some(entry) if entry.present => Callee::Agent { shard: entry.shard, tenant: first.tenant.clone(), agent: first.agent.clone() },
            Some(_) | None => Callee::Absent,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn entry(&self, name: &Name) -> Option<&Entry> {
        self.agents.get(&(name.tenant.clone(), name.agent.clone()))
    }

    fn forget(&mut self, key: &(TenantId, AgentId)) {
        let Some(entry) = self.agents.remove(key) else { return };
        if let Some(load) = self.load.get_mut(usize::from(entry.shard.0)) {
            *load = load.saturating_sub(1);
        }
        if let Some(names) = self.names.get_mut(&entry.user) {
            names.retain(|name| name.listed || name.tenant != key.0 || name.agent != key.1);
            if names.is_empty() {
                self.names.remove(&entry.user);
            }
        }
    }

    fn forget_the_absent(&mut self) {
        let absent: Vec<_> = self.agents.iter().filter(|(_, entry)| !entry.present).map(|(key, _)| key.clone()).collect();
        absent.iter().for_each(|key| self.forget(key));
    }
}

/// All shards, best first, by rendezvous hashing: taking a shard away moves only what was on it.
fn rendezvous_order(shards: u16, key: &[&str]) -> Vec<ShardId> {
    let mut order: Vec<ShardId> = (0..shards).map(ShardId).collect();
    order.sort_by_key(|shard| std::cmp::Reverse(weight(key, *shard)));
    order
}

fn best(shards: impl Iterator<Item = ShardId>, key: &[&str]) -> ShardId {
    shards.max_by_key(|shard| weight(key, *shard)).unwrap_or(ShardId(0))
}

/// FNV-1a over the key's parts and the shard, then the finaliser of SplitMix64: written out because it must not change with a
/// library's version, or agents would move at an upgrade while another node still places them by the old one.
fn weight(key: &[&str], shard: ShardId) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in key {
        // 0xff ends a part: it occurs in no UTF-8 text, so ("a", "bc") and ("ab", "c") differ.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    for byte in shard.0.to_be_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::from(name)
    }

    fn agent(name: &str) -> AgentId {
        AgentId::from(name)
    }

    fn sip(user: &str, domain: Option<&str>) -> SipIdentity {
        SipIdentity { user: user.into(), domain: domain.map(str::to_owned), display_name: None }
    }

    fn connect(placement: &Placement, tenant: &TenantId, agent: &AgentId, sip: &SipIdentity) -> ShardId {
        let shard = placement.shard_for(tenant, agent);
        placement.expect(tenant, agent, sip, shard);
        placement.present(tenant, agent, shard, true);
        shard
    }

    #[test]
    fn tenants_spread_evenly_and_one_shard_more_moves_only_what_the_new_one_takes() {
        let eight = Placement::new(8, Spread::Auto, 1000);
        let nine = Placement::new(9, Spread::Auto, 1000);
        let mut counts = [0; 8];
        for number in 0..4000 {
            let tenant = tenant(&format!("tenant-{number}"));
            let before = eight.shard_for(&tenant, &agent("a"));
            let after = nine.shard_for(&tenant, &agent("a"));
            counts[usize::from(before.0)] += 1;
            assert!(after == before || after == ShardId(8), "a tenant moved between old shards");
        }
        assert!(counts.iter().all(|count| (400..600).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_choice_is_the_same_in_every_process_and_version() {
        let choose = |name: &str| Placement::new(16, Spread::Auto, 1000).shard_for(&tenant(name), &agent("a")).0;
        assert_eq!(["acme", "tenant-123", "Ünïcode", ""].map(choose), [6, 6, 0, 5]);
    }

    #[test]
    fn a_tenant_that_may_use_two_shards_uses_both_and_no_third() {
        let placement = Placement::new(8, Spread::Shards(2), 1000);
        let mut used: Vec<_> = (0..200).map(|n| placement.shard_for(&tenant("acme"), &agent(&format!("agent-{n}")))).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 2);
    }

    #[test]
    fn a_shard_that_is_seventy_percent_full_passes_newcomers_on() {
        let placement = Placement::new(4, Spread::Auto, 10);
        let shards: Vec<_> =
            (0..9).map(|n| connect(&placement, &tenant("acme"), &agent(&format!("agent-{n}")), &sip(&format!("{n}"), None))).collect();
        assert!(shards[..7].iter().all(|shard| *shard == shards[0]), "{shards:?}");
        assert_ne!(shards[7], shards[0]);
        assert_eq!(shards[8], shards[7]);
    }

    #[test]
    fn a_present_agent_stays_where_it_is() {
        let placement = Placement::new(4, Spread::Auto, 100);
        let first = placement.shard_for(&tenant("acme"), &agent("a"));
        let other = ShardId((first.0 + 1) % 4);
        placement.expect(&tenant("acme"), &agent("a"), &sip("1001", None), other);
        assert_eq!(placement.shard_for(&tenant("acme"), &agent("a")), other);
    }

    #[test]
    fn a_call_finds_an_agent_from_the_moment_its_shard_has_it_until_it_is_gone() {
        let placement = Placement::new(2, Spread::Auto, 100);
        assert_eq!(placement.lookup("1001", "pbx.example"), Callee::Unknown);
        placement.expect(&tenant("acme"), &agent("a"), &sip("1001", None), ShardId(1));
        assert_eq!(placement.lookup("1001", "pbx.example"), Callee::Absent);
        placement.present(&tenant("acme"), &agent("a"), ShardId(1), true);
        assert_eq!(placement.lookup("1001", "pbx.example"), Callee::Agent { shard: ShardId(1), tenant: tenant("acme"), agent: agent("a") });
        placement.present(&tenant("acme"), &agent("a"), ShardId(1), false);
        assert_eq!(placement.lookup("1001", "pbx.example"), Callee::Absent);
    }

    #[test]
    fn an_agent_that_comes_back_while_its_end_is_announced_can_be_called() {
        let placement = Placement::new(1, Spread::Auto, 100);
        let (tenant, agent, sip) = (tenant("acme"), agent("a"), sip("1001", None));
        connect(&placement, &tenant, &agent, &sip);
        placement.expect(&tenant, &agent, &sip, ShardId(0));
        placement.present(&tenant, &agent, ShardId(0), false);
        placement.present(&tenant, &agent, ShardId(0), true);
        assert!(matches!(placement.lookup("1001", "x"), Callee::Agent { .. }));
    }

    #[test]
    fn one_user_in_two_domains_is_told_apart_by_domain_and_ambiguous_without() {
        let placement = Placement::new(1, Spread::Auto, 100);
        connect(&placement, &tenant("acme"), &agent("a"), &sip("1001", Some("acme.example")));
        connect(&placement, &tenant("beta"), &agent("b"), &sip("1001", Some("beta.example")));
        assert!(matches!(placement.lookup("1001", "ACME.example"), Callee::Agent { agent, .. } if agent.as_str() == "a"));
        assert!(matches!(placement.lookup("1001", "beta.example"), Callee::Agent { agent, .. } if agent.as_str() == "b"));
        assert_eq!(placement.lookup("1001", "other.example"), Callee::Unknown);
        assert_eq!(placement.lookup("1001", "192.0.2.1"), Callee::Ambiguous);
        assert_eq!(placement.lookup("1001", "[2001:db8::1]"), Callee::Ambiguous);
    }

    #[test]
    fn an_agent_of_the_directory_is_known_by_all_its_names_while_it_is_away() {
        let placement = Placement::new(1, Spread::Auto, 100);
        placement.list(&tenant("acme"), &agent("a"), &sip("1001", None), &["+43123".into()]);
        assert_eq!(placement.lookup("1001", "x"), Callee::Absent);
        assert_eq!(placement.lookup("+43123", "x"), Callee::Absent);
        connect(&placement, &tenant("acme"), &agent("a"), &sip("1001", None));
        assert!(matches!(placement.lookup("+43123", "x"), Callee::Agent { .. }));
    }

    #[test]
    fn agents_that_left_make_room_and_their_names_go_with_them() {
        let placement = Placement::new(1, Spread::Auto, 10);
        for number in 0..1000 {
            let (agent, sip) = (agent(&format!("agent-{number}")), sip(&format!("{number}"), None));
            let shard = connect(&placement, &tenant("acme"), &agent, &sip);
            placement.present(&tenant("acme"), &agent, shard, false);
        }
        let state = placement.read();
        assert!(state.agents.len() <= 10 && state.names.len() <= 10);
        assert_eq!(state.load.iter().sum::<usize>(), state.agents.len());
    }
}
