//! The files behind `AGENT_DIRECTORY` and `TENANT_DIRECTORY`, and what follows from them.

use std::path::Path;

use super::FrontError;
use crate::call::command::SipIdentity;
use crate::config::{AgentDirectory, AgentEntry, Config, TenantDirectory};
use crate::driver::Placement;
use crate::ids::{AgentId, TenantId};

/// Who is who, and which tenants there are.
pub(super) struct Directories {
    agents: AgentDirectory,
    /// `None`: every tenant that a token names.
    tenants: Option<TenantDirectory>,
}

impl Directories {
    pub(super) fn load(config: &Config) -> Result<Self, FrontError> {
        let agents = match &config.agent_directory {
            Some(path) => AgentDirectory::parse(&read("AGENT_DIRECTORY", path)?)?,
            None => AgentDirectory::default(),
        };
        let tenants = match &config.tenant_directory {
            Some(path) => Some(TenantDirectory::parse(&read("TENANT_DIRECTORY", path)?)?),
            None => None,
        };
        Ok(Self { agents, tenants })
    }

    /// Tells the receiver of the public SIP socket whom it may get calls for, connected or not.
    pub(super) fn announce(&self, placement: &Placement) {
        for entry in self.agents.entries() {
            placement.list(&entry.tenant_id, &entry.agent_id, &sip_of(entry), &entry.extensions);
        }
    }

    /// An agent's name towards SIP: from the directory, else the agent id.
    pub(super) fn sip_identity(&self, tenant: &TenantId, agent: &AgentId) -> SipIdentity {
        match self.agents.entry(tenant, agent) {
            Some(entry) => sip_of(entry),
            None => SipIdentity { user: agent.to_string(), domain: None, display_name: None },
        }
    }

    /// Whether a token of this tenant is worth anything here.
    pub(super) fn knows_tenant(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

fn sip_of(entry: &AgentEntry) -> SipIdentity {
    SipIdentity { user: entry.sip_user().to_owned(), domain: entry.domain.clone(), display_name: entry.display_name.clone() }
}

fn read(key: &'static str, path: &Path) -> Result<String, FrontError> {
    std::fs::read_to_string(path).map_err(|source| FrontError::Read { key, path: path.to_owned(), source })
}
