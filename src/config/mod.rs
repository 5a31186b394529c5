//! The configuration: the environment as it was read, made into values that cannot be wrong. All faults are reported at once.

mod check;
mod dial;
mod directory;
mod fault;
mod network;
mod ports;
mod raw;

pub use dial::DialPolicy;
pub use directory::{AgentDirectory, AgentEntry, TenantDirectory};
pub use fault::Fault;
pub use network::{Network, SipPeer};
pub use ports::{PORTS_PER_SHARD_MIN, PortPlan, PortRange, PortSlice};

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use zeroize::Zeroizing;

use crate::ids::ShardId;

/// Everything that the gateway can be told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MODE`.
    pub mode: Mode,
    /// `NODE_ID`: names this process in answers and call facts.
    pub node_id: String,
    /// `HOST` and `PORT`.
    pub http: HttpConfig,
    /// `SHARDS`, `TENANT_SPREAD` and `PIN_CORES`.
    pub shards: ShardsConfig,
    /// The browsers' side, and the range that both sides' media ports come from.
    pub rtc: RtcConfig,
    /// The trunk.
    pub sip: SipConfig,
    /// Who is let in.
    pub auth: AuthConfig,
    /// `ALLOWED_ORIGINS`: the pages that may talk to us from a browser.
    pub origins: Origins,
    /// `METRICS_TOKEN`: opens `/metrics` away from loopback.
    pub metrics_token: Option<Secret>,
    /// `AGENT_DIRECTORY`: a file for [`AgentDirectory::parse`].
    pub agent_directory: Option<PathBuf>,
    /// `TENANT_DIRECTORY`: a file for [`TenantDirectory::parse`].
    pub tenant_directory: Option<PathBuf>,
    /// `DIAL_ALLOW`, `DIAL_DENY` and `EMERGENCY_NUMBERS`.
    pub dial: DialPolicy,
    /// Time-outs of calls and sessions.
    pub times: Times,
    /// `MAX_CALLS_PER_AGENT`.
    pub max_calls_per_agent: usize,
    /// `LOG_FORMAT` and `LOG_LEVEL`.
    pub log: LogConfig,
    port_plan: PortPlan,
}

/// What the configuration depends on beside the environment.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The host's name, the default of `NODE_ID`.
    pub host_name: String,
    /// Fresh random bytes: the default of `JWT_SECRET` in dev mode.
    pub random: [u8; 32],
}

/// What kind of installation this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On a developer's machine: loopback, dev tokens, the built-in demo PBX.
    Dev,
    /// Refuses dev tokens, unset secrets, wildcard origins and the demo PBX.
    Production,
}

/// Where HTTP and Socket.IO are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The addresses to listen on.
    pub hosts: Vec<IpAddr>,
    /// The port, the same on all; 0: a free one.
    pub port: u16,
}

/// How the work is spread over the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardsConfig {
    /// How many shards there are, 1 or more.
    pub count: u16,
    /// How many shards one tenant may use.
    pub tenant_spread: TenantSpread,
    /// Whether each shard and the front are bound to a core of their own.
    pub pin_cores: bool,
}

/// How many shards one tenant may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantSpread {
    /// One until it is 70 % full, then the next of the tenant's rendezvous order.
    Auto,
    /// This many, at most all.
    Fixed(u16),
}

/// The browsers' side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtcConfig {
    /// What the media ports of both sides are bound to.
    pub bind: IpAddr,
    /// Addresses put in candidates; none: what is bound, and where that is every address, each that is not loopback.
    pub announced: Vec<IpAddr>,
    /// Media ports of both sides.
    pub ports: PortRange,
}

/// The trunk.
#[derive(Clone, Debug)]
pub struct SipConfig {
    /// The PBXs in order of preference; none: the built-in demo PBX.
    pub peers: Vec<SipPeer>,
    /// What the SIP ports are bound to.
    pub bind: IpAddr,
    /// Where calls from the PBX arrive; 0: free ports for this and every shard's.
    pub port: u16,
    /// The address in Contact, Via and SDP; `None`: the local one that routes to the peer.
    pub announced: Option<IpAddr>,
    /// The domain of From and To; `None`: the peer's host.
    pub domain: Option<String>,
    /// The trunk's user and password.
    pub credentials: Option<SipCredentials>,
    /// Networks that requests are taken from; `None`: the peers' addresses only.
    pub allow: Option<Vec<Network>>,
    /// Beginnings of header names that clients may set and see, in lower case.
    pub header_prefixes: Vec<String>,
}

impl SipConfig {
    /// The port that a shard signals from; 0 where any free one will do.
    pub fn shard_port(&self, shard: ShardId) -> u16 {
        if self.port == 0 { 0 } else { self.port.saturating_add(1).saturating_add(shard.0) }
    }

    /// Whether a client may set, and is told, a header of this name.
    pub fn passes_header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.header_prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// What the trunk is authenticated with (RFC 8760).
#[derive(Clone, Debug)]
pub struct SipCredentials {
    pub username: String,
    pub password: Secret,
    /// The one realm that is answered; `None`: any of a configured peer.
    pub realm: Option<String>,
}

/// Who is let in.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The key of HS256 tokens.
    pub secret: Secret,
    /// Whether [`AuthConfig::secret`] was made at start, and so has to be printed.
    pub secret_made: bool,
    /// What `iss` has to be.
    pub issuer: Option<String>,
    /// What `aud` has to name.
    pub audience: Option<String>,
}

/// The pages that may talk to us from a browser, beside those that we serve ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// `*`, in dev mode only.
    Any,
    /// Any port of this machine: the default in dev mode.
    Localhost,
    /// These; none is allowed.
    Listed(Vec<String>),
}

impl Origins {
    /// Whether a page of this origin (RFC 6454 section 6.2) may talk to us.
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Origins::Any => true,
            Origins::Localhost => {
                let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                let is_port = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
                host.is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| host.strip_prefix(own).is_some_and(is_port)))
            }
            Origins::Listed(origins) => origins.iter().any(|own| own.eq_ignore_ascii_case(origin)),
        }
    }
}

/// Time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// `RESUME_GRACE_SECONDS`: how long calls outlive both socket and consent.
    pub resume_grace: Duration,
    /// `RESUME_MEDIA_MAX_SECONDS`: how long calls outlive the socket while consent holds.
    pub resume_media_max: Duration,
    /// `RING_TIMEOUT_SECONDS`: how long an outbound call may ring.
    pub ring: Duration,
    /// `INCOMING_TIMEOUT_SECONDS`: how long an inbound call may ring.
    pub incoming: Duration,
    /// `MEDIA_TIMEOUT_SECONDS`: how long the PBX may be silent on RTP and RTCP.
    pub media: Duration,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    pub level: LevelFilter,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// Text that is never shown, and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, to compute with; showing it is up to the caller's conscience.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Config {
    /// Checks an environment; `.env` files and defaults of the machine come in as arguments, nothing is read here.
    ///
    /// # Errors
    /// Every [`Fault`] there is, in the order of the keys' documentation.
    pub fn from_env(environment: impl IntoIterator<Item = (String, String)>, machine: &Machine) -> Result<Self, Vec<Fault>> {
        check::check(environment, machine)
    }

    /// How the port range is split: which ports each shard binds.
    pub fn port_plan(&self) -> &PortPlan {
        &self.port_plan
    }

    /// Whether the built-in demo PBX is the SIP peer.
    pub fn uses_demo_pbx(&self) -> bool {
        self.sip.peers.is_empty()
    }
}
