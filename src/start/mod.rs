//! Everything joined together: from a checked configuration to a gateway that serves, and back.

pub mod banner;
pub mod panics;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::config::{Config, Mode, PortSlice, TenantSpread};
use crate::demo;
use crate::driver::{
    Bound, DriverError, IngressSeat, OutputSink, Placement, Seat, ShardEnd, ShardInbox, ShardMailbox, SharedSockets, SipSources, Socket,
    Spread, candidates, check_machine, local_towards, mailbox, resolve, spawn_ingress, spawn_shard,
};
use crate::front::{DemoNumbers, Front, FrontError};
use crate::ids::ShardId;
use crate::limits;
use crate::shard::{Policy, ShardConfig, Trunk};
use crate::sip::Credentials;
use crate::webrtc::DtlsIdentity;

/// Why the gateway did not start. Each is one line for its operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Sockets, threads, io_uring.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// HTTP and the directories.
    #[error(transparent)]
    Front(#[from] FrontError),
    /// The built-in demo PBX.
    #[error("the demo PBX cannot start: {0}")]
    Demo(io::Error),
    /// The DTLS certificate.
    #[error("cannot make a DTLS certificate: {0}")]
    Certificate(String),
    /// A test build is asked to carry real calls.
    #[error("this binary was built with inject-panics, by which a client can make calls panic: MODE=production needs one without")]
    PanicsOnRequest,
    /// The operating system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

/// A gateway that serves. Dropping it stops its threads, too.
pub struct Gateway {
    // Dropped from the top: first nobody asks for anything any more, then the shards end, the PBX last.
    front: Option<Front>,
    _ingress: IngressThread,
    _shards: ShardThreads,
    demo: Option<demo::Handle>,
    facts: Facts,
}

/// What an operator, a script or a test has to know of a gateway that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where a browser on this machine finds the agent page.
    pub http: String,
    /// Where calls from the PBX arrive.
    pub sip: SocketAddr,
    /// How many shards there are.
    pub shards: u16,
    /// How many calls the ports and the shards carry.
    pub calls_max: usize,
}

impl std::fmt::Display for Facts {
    /// The line that scripts wait for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ready http={} sip={} shards={} calls_max={}", self.http, self.sip, self.shards, self.calls_max)
    }
}

impl Gateway {
    /// Starts everything, and returns once it serves. `on_end` is told when a shard's thread ends, for whatever reason.
    ///
    /// # Errors
    ///
    /// [`StartError`]; whatever had started is stopped again.
    pub fn start(config: Config, on_end: impl Fn(ShardEnd) + Clone + Send + 'static) -> Result<Self, StartError> {
        if cfg!(feature = "inject-panics") && config.mode == Mode::Production {
            return Err(StartError::PanicsOnRequest);
        }
        check_machine()?;
        let config = Arc::new(config);
        let demo_numbers: DemoNumbers = if config.uses_demo_pbx() { &demo::NUMBERS } else { &[] };
        let mut front = Front::prepare(config.clone(), demo_numbers)?;
        let bound = Bound::new(&config)?;
        let sip = bound.sip_public.address();
        let demo = match config.uses_demo_pbx() {
            true => Some(demo::start(reachable(sip), reachable(sip).ip()).map_err(StartError::Demo)?),
            false => None,
        };
        let plan = SharedPlan::new(&config, demo.as_ref().map(|demo| demo.address))?;
        let placement = Arc::new(Placement::new(config.shards.count, spread(config.shards.tenant_spread), limits::AGENTS_PER_SHARD));
        let sources = Arc::new(SipSources::new(config.sip.allow.clone(), plan.trunk.peers.iter().map(SocketAddr::ip)));

        let cores = Cores::of_this_process(config.shards.pin_cores);
        let mut shards = ShardThreads::default();
        let seats = bound.shards.into_iter().zip(config.port_plan().slices()).zip(front.take_sinks());
        for (number, ((sockets, slice), sink)) in (0..).zip(seats) {
            let (mailbox, inbox) = mailbox(limits::MAILBOX);
            let shard_config = plan.shard_config(&config, ShardId(number), *slice, &sockets)?;
            let seat = plan.seat(shard_config, sockets, inbox, sink, &placement, &sources);
            let thread = spawn_shard(seat, cores.of_shard(number), on_end.clone())?;
            shards.0.push((mailbox, thread));
        }
        let ingress = IngressThread::start(bound.sip_public, shards.mailboxes(), placement.clone(), sources)?;
        let facts = Facts { http: front.url(), sip, shards: config.shards.count, calls_max: config.port_plan().calls_max() };
        let front = front.start(shards.mailboxes(), placement, cores.of_front(config.shards.count))?;
        Ok(Self { front: Some(front), _ingress: ingress, _shards: shards, demo, facts })
    }

    /// What to tell the operator.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where the built-in demo PBX is, if it is the SIP peer.
    pub fn demo_pbx(&self) -> Option<SocketAddr> {
        self.demo.as_ref().map(|demo| demo.address)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(front) = self.front.take() {
            front.stop();
        }
    }
}

/// What all shards share.
struct SharedPlan {
    origin: (Instant, SystemTime),
    dtls: Arc<DtlsIdentity>,
    trunk: Trunk,
    policy: Policy,
    /// Our addresses in candidates.
    announced: Vec<IpAddr>,
    sip_address: IpAddr,
    media_address: IpAddr,
    media_bind: IpAddr,
}

impl SharedPlan {
    fn new(config: &Config, demo: Option<SocketAddr>) -> Result<Self, StartError> {
        let peers = match demo {
            Some(demo) => vec![demo],
            None => config.sip.peers.iter().map(|peer| resolve(peer, config.sip.bind)).collect::<Result<Vec<_>, _>>()?,
        };
        // The configuration without peers is the demo PBX.
        let first = peers.first().copied().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        let ours = |bind| config.sip.announced.map_or_else(|| local_towards(bind, first), Ok);
        let domain = match (&config.sip.domain, config.sip.peers.first()) {
            (Some(domain), _) => domain.clone(),
            (None, Some(peer)) => peer.address().map_or_else(|| peer.host.clone(), |address| host_of(address.ip())),
            (None, None) => host_of(first.ip()),
        };
        let credentials = config.sip.credentials.as_ref().map(|given| Credentials {
            username: given.username.clone(),
            password: given.password.expose().to_owned(),
            realm: given.realm.clone(),
        });
        Ok(Self {
            origin: (Instant::now(), SystemTime::now()),
            dtls: Arc::new(DtlsIdentity::generate().map_err(|error| StartError::Certificate(error.to_string()))?),
            sip_address: ours(config.sip.bind)?,
            media_address: ours(config.rtc.bind)?,
            announced: candidates(config.rtc.bind, &config.rtc.announced).map_err(DriverError::from)?,
            media_bind: config.rtc.bind,
            trunk: Trunk { peers, domain, credentials },
            policy: policy(config),
        })
    }

    fn shard_config(&self, config: &Config, shard: ShardId, slice: PortSlice, sockets: &SharedSockets) -> Result<ShardConfig, StartError> {
        debug_assert_eq!(config.port_plan().slice(shard), Some(slice));
        let mut seed = [0; 32];
        OsRng.try_fill_bytes(&mut seed).map_err(|error| StartError::Random(error.to_string()))?;
        Ok(ShardConfig {
            shard,
            origin: self.origin,
            seed,
            dtls: self.dtls.clone(),
            candidates: self.announced.iter().map(|ip| SocketAddr::new(*ip, slice.browser)).collect(),
            ice_servers: Vec::new(),
            sip_contact: SocketAddr::new(self.sip_address, sockets.sip.address().port()),
            media_address: self.media_address,
            shared_pair: slice.shared_rtp,
            own_pairs: slice.own_pairs().map(|pair| pair.0).collect(),
            trunk: self.trunk.clone(),
            policy: self.policy.clone(),
        })
    }

    fn seat(
        &self,
        config: ShardConfig,
        sockets: SharedSockets,
        inbox: ShardInbox,
        sink: Box<dyn OutputSink>,
        placement: &Arc<Placement>,
        sources: &Arc<SipSources>,
    ) -> Seat {
        let (placement, sources) = (placement.clone(), sources.clone());
        Seat { config, sockets, media_ip: self.media_bind, inbox, sink, placement, sources }
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        max_calls_per_agent: config.max_calls_per_agent,
        ring_timeout: config.times.ring,
        incoming_timeout: config.times.incoming,
        media_timeout: config.times.media,
        resume_grace: config.times.resume_grace,
        resume_media_max: config.times.resume_media_max,
        header_prefixes: config.sip.header_prefixes.clone(),
        dial: config.dial.clone(),
    }
}

fn spread(spread: TenantSpread) -> Spread {
    match spread {
        TenantSpread::Auto => Spread::Auto,
        TenantSpread::Fixed(count) => Spread::Shards(count),
    }
}

/// The shards' threads; dropping it ends them.
#[derive(Default)]
struct ShardThreads(Vec<(ShardMailbox, JoinHandle<()>)>);

impl ShardThreads {
    fn mailboxes(&self) -> Vec<ShardMailbox> {
        self.0.iter().map(|(mailbox, _)| mailbox.clone()).collect()
    }
}

impl Drop for ShardThreads {
    fn drop(&mut self) {
        self.0.iter().for_each(|(mailbox, _)| mailbox.stop());
        // A thread that panicked has told so itself.
        self.0.drain(..).for_each(|(_, thread)| drop(thread.join()));
    }
}

/// The public SIP socket's thread; dropping it ends it.
struct IngressThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl IngressThread {
    fn start(
        socket: Socket,
        mailboxes: Vec<ShardMailbox>,
        placement: Arc<Placement>,
        sources: Arc<SipSources>,
    ) -> Result<Self, DriverError> {
        let stop = Arc::<AtomicBool>::default();
        let thread = spawn_ingress(IngressSeat { socket, mailboxes, placement, sources, stop: stop.clone() })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for IngressThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// The cores that threads are bound to; none: they are not.
struct Cores(Vec<usize>);

impl Cores {
    fn of_this_process(pin: bool) -> Self {
        let cores = if pin { core_affinity::get_core_ids() } else { None };
        Self(cores.unwrap_or_default().into_iter().map(|core| core.id).collect())
    }

    /// More shards than cores share them.
    fn of_shard(&self, number: u16) -> Option<usize> {
        let count = self.0.len().max(1);
        self.0.get(usize::from(number) % count).copied()
    }

    /// The front gets the first core that no shard has, and where there is none it floats.
    fn of_front(&self, shards: u16) -> Option<usize> {
        self.0.get(usize::from(shards)).copied()
    }
}

/// An address as a host of a SIP uri (RFC 3261 section 25.1: IPv6 in brackets).
fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// How a program on this machine reaches a socket that is bound to every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        false => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_a_core_and_the_front_the_next() {
        let cores = Cores(vec![0, 2, 4]);
        assert_eq!((0..4).map(|shard| cores.of_shard(shard)).collect::<Vec<_>>(), [Some(0), Some(2), Some(4), Some(0)]);
        assert_eq!((cores.of_front(2), cores.of_front(3)), (Some(4), None));
        assert_eq!((Cores(vec![]).of_shard(0), Cores(vec![]).of_front(0)), (None, None));
    }

    #[test]
    fn an_ipv6_host_is_written_in_brackets() {
        assert_eq!(host_of("2001:db8::1".parse().unwrap()), "[2001:db8::1]");
        assert_eq!(reachable("[::]:5070".parse().unwrap()), "127.0.0.1:5070".parse().unwrap());
    }

    #[test]
    fn the_ready_line_is_what_scripts_wait_for() {
        let facts =
            Facts { http: "http://127.0.0.1:3005".to_owned(), sip: "127.0.0.1:5070".parse().unwrap(), shards: 1, calls_max: 10_000 };
        assert_eq!(facts.to_string(), "ready http=http://127.0.0.1:3005 sip=127.0.0.1:5070 shards=1 calls_max=10000");
    }
}
