//! The files behind `AGENT_DIRECTORY` and `TENANT_DIRECTORY`: who is who towards SIP, and which tenants there are.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::Fault;
use crate::ids::{AgentId, TenantId};

/// One agent's entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentEntry {
    pub tenant_id: TenantId,
    pub agent_id: AgentId,
    /// The host part of the agent's address of record; `None` matches any.
    #[serde(default)]
    pub domain: Option<String>,
    /// The user part; the agent id where it is left out.
    #[serde(default)]
    pub sip_user: Option<String>,
    /// The name shown to called parties.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Further user parts under which the agent is called.
    #[serde(default)]
    pub extensions: Vec<String>,
}

impl AgentEntry {
    /// The user part of the agent's address of record.
    pub fn sip_user(&self) -> &str {
        self.sip_user.as_deref().unwrap_or(self.agent_id.as_str())
    }
}

/// The entries of `AGENT_DIRECTORY`; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct AgentDirectory {
    by_agent: HashMap<(TenantId, AgentId), AgentEntry>,
}

impl AgentDirectory {
    /// Reads the file's text: `{"agents": [{"tenantId", "agentId", ...}]}`.
    ///
    /// # Errors
    /// A [`Fault`] of `AGENT_DIRECTORY` when it is not of that shape, or names one agent twice.
    pub fn parse(json: &str) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct File {
            agents: Vec<AgentEntry>,
        }
        let file: File =
            serde_json::from_str(json).map_err(|error| Fault::unshown("AGENT_DIRECTORY", format!("the file is wrong: {error}")))?;
        let mut directory = Self::default();
        for entry in file.agents {
            let key = (entry.tenant_id.clone(), entry.agent_id.clone());
            let twice = format!("the file names agent {:?} of tenant {:?} twice", entry.agent_id.as_str(), entry.tenant_id.as_str());
            if directory.by_agent.insert(key, entry).is_some() {
                return Err(Fault::unshown("AGENT_DIRECTORY", twice));
            }
        }
        Ok(directory)
    }

    /// An agent's entry; `None` where the defaults apply.
    pub fn entry(&self, tenant: &TenantId, agent: &AgentId) -> Option<&AgentEntry> {
        self.by_agent.get(&(tenant.clone(), agent.clone()))
    }

    /// All entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &AgentEntry> {
        self.by_agent.values()
    }
}

/// The tenants of `TENANT_DIRECTORY`.
#[derive(Clone, Debug, Default)]
pub struct TenantDirectory {
    tenants: HashSet<TenantId>,
}

impl TenantDirectory {
    /// Reads the file's text: `{"tenants": [{"tenantId", ...}]}`.
    ///
    /// # Errors
    /// A [`Fault`] of `TENANT_DIRECTORY` when it is not of that shape.
    pub fn parse(json: &str) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct File {
            tenants: Vec<Entry>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            tenant_id: TenantId,
        }
        let file: File =
            serde_json::from_str(json).map_err(|error| Fault::unshown("TENANT_DIRECTORY", format!("the file is wrong: {error}")))?;
        Ok(Self { tenants: file.tenants.into_iter().map(|entry| entry.tenant_id).collect() })
    }

    /// Whether the tenant is known.
    pub fn contains(&self, tenant: &TenantId) -> bool {
        self.tenants.contains(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENTS: &str = r#"{"agents": [
        {"tenantId": "t1", "agentId": "a1", "domain": "one.example", "sipUser": "1001", "displayName": "Ann", "extensions": ["7", "1001"], "sipPassword": "x"},
        {"tenantId": "t2", "agentId": "a2", "domain": "two.example", "sipUser": "1001"},
        {"tenantId": "t3", "agentId": "a3"},
        {"tenantId": "t4", "agentId": "a3"}
    ]}"#;

    #[test]
    fn an_agent_has_its_entry_and_the_agent_id_is_its_user_where_none_is_named() {
        let directory = AgentDirectory::parse(AGENTS).unwrap();
        let ann = directory.entry(&"t1".into(), &"a1".into()).unwrap();
        assert_eq!((ann.sip_user(), ann.domain.as_deref(), ann.display_name.as_deref()), ("1001", Some("one.example"), Some("Ann")));
        assert_eq!(directory.entry(&"t3".into(), &"a3".into()).unwrap().sip_user(), "a3");
        assert_eq!(directory.entry(&"t1".into(), &"a2".into()), None);
        assert_eq!(directory.entries().count(), 4);
    }

    #[test]
    fn a_wrong_file_names_its_key() {
        assert_eq!(AgentDirectory::parse("{}").unwrap_err().key, "AGENT_DIRECTORY");
        assert_eq!(TenantDirectory::parse("[]").unwrap_err().key, "TENANT_DIRECTORY");
        let twice = r#"{"agents": [{"tenantId": "t", "agentId": "a"}, {"tenantId": "t", "agentId": "a"}]}"#;
        assert!(AgentDirectory::parse(twice).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn only_listed_tenants_are_known() {
        let tenants = TenantDirectory::parse(r#"{"tenants": [{"tenantId": "t1", "codecPolicy": "passthrough"}]}"#).unwrap();
        assert!(tenants.contains(&"t1".into()));
        assert!(!tenants.contains(&"t2".into()));
    }
}
