//! What one packet costs in the whole pure core: in at [`Shard::handle`] as a browser's SRTP or as RTP of the PBX, out of
//! [`Shard::poll_output`] as what the driver would send. Its sessions are set up as real ones are, in virtual time: ICE and DTLS with
//! fake browsers, a call to a SIP user agent. Every packet that is measured is also proven not to allocate.

mod counting;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use counting::allocations;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use nexus_gateway::call::command::{
    Action, Answer, Command, Dial, Direction, Identity, Query, QueryReply, Reply, Role, Scope, SipIdentity,
};
use nexus_gateway::codec::Codec;
use nexus_gateway::config::DialPolicy;
use nexus_gateway::ids::{AgentId, RequestId, ShardId, SocketId, TenantId, UserId};
use nexus_gateway::net::{Datagram, LocalSocket, Packet, PacketKind, PortPair, classify};
use nexus_gateway::rtp::Header;
use nexus_gateway::sdp::{self, LocalDescription};
use nexus_gateway::shard::io::{Input, Output};
use nexus_gateway::shard::{Policy, Shard, ShardConfig, Trunk};
use nexus_gateway::sip::{SipEvent, UserAgent, UserAgentConfig};
use nexus_gateway::webrtc::DtlsIdentity;
use nexus_gateway::webrtc::ortc::MediaKind;
use nexus_harness::browser::{self, BrowserEvent, FakeBrowser, ReceivedRtp};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// Bridged sessions on the one shard.
const SESSIONS: [usize; 3] = [1, 100, 1_000];

/// Datagrams that the driver receives at a time, at most.
const BURST: usize = 64;

/// Packets of one stream that are made ahead of a measured stretch: a second of audio, and less than ICE would miss.
const ROUNDS: usize = 64;

/// Between two packets of a stream.
const FRAME: Duration = Duration::from_millis(20);

/// Opus at its highest rates, and as long as 20 ms of G.711.
const PAYLOAD: [u8; 160] = [0x5a; 160];

const CODEC: Codec = Codec::Opus;

const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const BROWSER_PORT: u16 = 10_000;
const RTP_PORT: u16 = 10_002;
const SIP_PORT: u16 = 5_070;
const PBX: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 5_060);

/// The number that session 0 dials.
const FIRST_NUMBER: usize = 100_000;

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
}

/// The time that this thread has had the processor: on a busy machine other programs' turns would else be counted too.
fn processor_time() -> Duration {
    /// Of Linux.
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    let mut time = [0; 2];
    // SAFETY: `time` is as large as a `timespec` of a 64-bit Linux, and lives for the call.
    let failed = unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0);
    Duration::new(time[0] as u64, time[1] as u32)
}

/// Which way a packet goes.
#[derive(Clone, Copy)]
enum Way {
    ToPbx,
    ToBrowser,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::ToPbx => "browser SRTP to PBX",
            Way::ToBrowser => "PBX RTP to browser",
        }
    }

    /// Where it comes in and where it goes out.
    fn sockets(self) -> (LocalSocket, LocalSocket) {
        let (browser, pbx) = (LocalSocket::Browser, LocalSocket::Rtp(PortPair::SHARED));
        match self {
            Way::ToPbx => (browser, pbx),
            Way::ToBrowser => (pbx, browser),
        }
    }
}

/// A packet that is about to arrive.
struct Arrival {
    from: SocketAddr,
    at: Instant,
    bytes: [u8; 200],
    length: usize,
}

impl Arrival {
    fn new(from: SocketAddr, at: Instant, packet: &[u8]) -> Self {
        let mut bytes = [0; 200];
        bytes[..packet.len()].copy_from_slice(packet);
        Self { from, at, bytes, length: packet.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A shard with its bridged sessions, and everyone whom it talks to.
struct World {
    shard: Shard,
    now: Instant,
    /// Two for each session: the send transport, then the recv transport.
    browsers: Vec<FakeBrowser>,
    browser_by_address: HashMap<SocketAddr, usize>,
    connected: usize,
    heard_by_browsers: Vec<(usize, ReceivedRtp)>,
    pbx: UserAgent,
    acknowledged: usize,
    heard_by_pbx: Vec<(SocketAddr, Vec<u8>)>,
    /// The order in which the sessions' packets arrive: any, but the same in each round.
    order: Vec<usize>,
    pbx_sequence: u16,
    pbx_timestamp: u32,
    /// On their way to the shard.
    datagrams: VecDeque<(LocalSocket, SocketAddr, Vec<u8>)>,
    requests: u64,
    answer: Option<Answer>,
}

impl World {
    fn new(sessions: usize) -> Self {
        let now = Instant::now();
        let mut rng = ChaCha12Rng::seed_from_u64(sessions as u64);
        let mut order: Vec<_> = (0..sessions).collect();
        order.shuffle(&mut rng);
        let pbx = UserAgentConfig {
            contact: PBX,
            product: "bench".to_owned(),
            credentials: None,
            transactions_max: 10 * sessions + 10,
            sessions_max: sessions,
            shard: None,
        };
        let mut world = Self {
            shard: Shard::new(shard_config(rng.random(), now)),
            now,
            browsers: Vec::new(),
            browser_by_address: HashMap::new(),
            connected: 0,
            heard_by_browsers: Vec::new(),
            pbx: UserAgent::new(pbx, rng.random()),
            acknowledged: 0,
            heard_by_pbx: Vec::new(),
            order,
            pbx_sequence: 0,
            pbx_timestamp: 0,
            datagrams: VecDeque::new(),
            requests: 0,
            answer: None,
        };
        world.set_up(sessions);
        world
    }

    fn set_up(&mut self, sessions: usize) {
        let mut transports = Vec::new();
        for session in 0..sessions {
            let socket = SocketId(session as u64);
            self.shard
                .handle(Input::Command { request: None, command: Command::Connect { socket, identity: identity(session) } }, self.now);
            for (direction, role) in [(Direction::Send, browser::Role::Send(CODEC)), (Direction::Recv, browser::Role::Recv)] {
                let Reply::Transport(options) = self.ask(session, Action::CreateTransport { direction }) else { panic!("no transport") };
                let address = browser_address(self.browsers.len());
                let mut browser = FakeBrowser::new(role, &options, address, self.now).expect("usable parameters");
                let dtls = browser.dtls_parameters();
                self.browser_by_address.insert(address, self.browsers.len());
                self.browsers.push(browser);
                self.ask(session, Action::ConnectTransport { transport: options.id, dtls });
                self.browsers.last_mut().expect("pushed above").connect(self.now).expect("a connection");
                transports.push(options.id);
            }
        }
        self.run_until("transports are up", |world| world.connected == 2 * sessions);
        for session in 0..sessions {
            let rtp = self.browsers[2 * session].producer_parameters().expect("a send transport");
            self.ask(session, Action::Produce { transport: transports[2 * session], kind: MediaKind::Audio, rtp });
            let consume = Action::Consume { transport: transports[2 * session + 1], producer: None, call: None };
            let Reply::Consumer(consumer) = self.ask(session, consume) else { panic!("no consumer") };
            self.browsers[2 * session + 1].consume(&consumer.rtp).expect("usable parameters");
            let dial = Dial { phone_number: (FIRST_NUMBER + session).to_string(), ..Dial::default() };
            self.ask(session, Action::Dial(dial));
        }
        self.run_until("calls are answered", |world| world.acknowledged == sessions);
        self.prove_that_everyone_is_heard(sessions);
        // From here on every queue is as long as it ever has to be.
        for way in [Way::ToPbx, Way::ToBrowser] {
            let arrivals = self.arrivals(way, 2 * BURST.div_ceil(sessions));
            self.relay_counted(way, &arrivals);
        }
    }

    /// Asks the shard something for an agent.
    fn ask(&mut self, session: usize, action: Action) -> Reply {
        match self.command(Command::Client { socket: SocketId(session as u64), action }) {
            Answer::Client(reply) => reply.expect("not refused"),
            Answer::Rest(_) => panic!("another question's answer"),
        }
    }

    fn command(&mut self, command: Command) -> Answer {
        self.requests += 1;
        self.shard.handle(Input::Command { request: Some(RequestId(self.requests)), command }, self.now);
        self.settle();
        self.answer.take().expect("an answer at once")
    }

    fn run_until(&mut self, what: &str, is_it: impl Fn(&Self) -> bool) {
        let give_up_at = self.now + Duration::from_secs(20);
        while !is_it(self) {
            assert!(self.now < give_up_at, "not in time: {what}");
            self.advance_to(self.now + FRAME / 2);
        }
    }

    /// Lets time pass for everyone.
    fn advance_to(&mut self, now: Instant) {
        self.now = now;
        for index in 0..self.browsers.len() {
            if self.browsers[index].next_deadline().is_some_and(|at| at <= now) {
                self.browsers[index].handle_timeout(now);
                self.drain_browser(index);
            }
        }
        if self.pbx.next_deadline().is_some_and(|at| at <= now) {
            self.pbx.handle_timeout(now);
        }
        if self.shard.next_deadline().is_some_and(|at| at <= now) {
            self.shard.handle(Input::Timeout, now);
        }
        self.settle();
    }

    /// Delivers datagrams until none is on its way.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                self.on_output(output);
            }
            while let Some(event) = self.pbx.poll_event() {
                self.on_pbx_event(event);
            }
            while let Some(transmit) = self.pbx.poll_transmit() {
                self.datagrams.push_back((LocalSocket::Sip, PBX, transmit.bytes));
            }
            let Some((socket, from, bytes)) = self.datagrams.pop_front() else { return };
            let mut packet = self.shard.packets.take();
            assert!(packet.copy_from(&bytes));
            self.shard.handle(Input::Datagram(Datagram { socket, from, packet }), self.now);
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => {
                let bytes = transmit.packet.bytes();
                match transmit.socket {
                    LocalSocket::Browser => {
                        let index = self.browser_by_address[&transmit.to];
                        self.browsers[index].handle_datagram(bytes, SocketAddr::new(GATEWAY, BROWSER_PORT), self.now);
                        self.drain_browser(index);
                    }
                    LocalSocket::Sip | LocalSocket::SipPublic => {
                        self.pbx.handle_datagram(bytes, SocketAddr::new(GATEWAY, SIP_PORT), LocalSocket::Sip, self.now);
                    }
                    LocalSocket::Rtp(_) => self.heard_by_pbx.push((transmit.to, bytes.to_vec())),
                    LocalSocket::Rtcp(_) => {}
                }
                self.shard.packets.give_back(transmit.packet);
            }
            Output::Answer { answer, .. } => self.answer = Some(answer),
            Output::Connected { .. } | Output::Event { .. } | Output::AgentPresent { .. } => {}
            Output::Disconnect { .. } | Output::Reconnect { .. } | Output::Died | Output::OpenPair { .. } | Output::ClosePair(_) => {
                panic!("not expected here: {output:?}")
            }
        }
    }

    fn on_pbx_event(&mut self, event: SipEvent) {
        match event {
            SipEvent::Incoming { session, call } => {
                let number: usize = call.request_user.parse().expect("a number that was dialled");
                let address = media_address(number - FIRST_NUMBER);
                let local = LocalDescription {
                    address: address.ip(),
                    rtp_port: address.port(),
                    rtcp_port: address.port() + 1,
                    session_id: 1,
                    version: 1,
                    direction: sdp::Direction::SendRecv,
                    codecs: vec![CODEC],
                };
                let offer = sdp::parse(&call.body.expect("an offer")).expect("a description");
                let (answer, _) = local.answer(&offer).expect("a common codec");
                self.pbx.accept(session, answer, self.now);
            }
            SipEvent::Acknowledged { .. } => self.acknowledged += 1,
            other => panic!("not expected here: {other:?}"),
        }
    }

    fn drain_browser(&mut self, index: usize) {
        let browser = &mut self.browsers[index];
        while let Some((_, bytes)) = browser.poll_transmit() {
            self.datagrams.push_back((LocalSocket::Browser, browser.local_address(), bytes));
        }
        while let Some(event) = browser.poll_event() {
            match event {
                BrowserEvent::Connected => self.connected += 1,
                BrowserEvent::Rtp(rtp) => self.heard_by_browsers.push((index, rtp)),
                BrowserEvent::IceDisconnected | BrowserEvent::Closed | BrowserEvent::Broken(_) => panic!("browser {index}: {event:?}"),
            }
        }
    }

    /// One packet each way on every session arrives, decrypted, where it should.
    fn prove_that_everyone_is_heard(&mut self, sessions: usize) {
        for way in [Way::ToPbx, Way::ToBrowser] {
            for arrival in self.arrivals(way, 1) {
                self.datagrams.push_back((way.sockets().0, arrival.from, arrival.bytes().to_vec()));
            }
            self.settle();
        }
        let mut pbx: Vec<_> = self.heard_by_pbx.drain(..).filter(|(_, packet)| packet[12..] == PAYLOAD).map(|(to, _)| to).collect();
        pbx.sort();
        assert!(pbx.into_iter().eq((0..sessions).map(media_address)), "not every browser is heard");
        let mut browsers: Vec<_> =
            self.heard_by_browsers.drain(..).filter(|(_, rtp)| rtp.payload == PAYLOAD).map(|(index, _)| index).collect();
        browsers.sort_unstable();
        assert!(browsers.into_iter().eq((0..sessions).map(|session| 2 * session + 1)), "the PBX is not heard by every browser");
    }

    /// The packets of the next `rounds`. Whatever else is due meanwhile comes first, all at once.
    fn arrivals(&mut self, way: Way, rounds: usize) -> Vec<Arrival> {
        self.advance_to(self.now);
        let mut arrivals = Vec::with_capacity(rounds * self.order.len());
        for _ in 0..rounds {
            self.now += FRAME;
            let now = self.now;
            match way {
                Way::ToPbx => {
                    for place in 0..self.order.len() {
                        let index = 2 * self.order[place];
                        let browser = &mut self.browsers[index];
                        browser.send_frame(&PAYLOAD, now);
                        while let Some((_, bytes)) = browser.poll_transmit() {
                            if classify(&bytes) == PacketKind::Rtp {
                                arrivals.push(Arrival::new(browser.local_address(), now, &bytes));
                            } else {
                                self.datagrams.push_back((LocalSocket::Browser, browser.local_address(), bytes));
                            }
                        }
                    }
                }
                Way::ToBrowser => {
                    self.pbx_sequence = self.pbx_sequence.wrapping_add(1);
                    self.pbx_timestamp = self.pbx_timestamp.wrapping_add(CODEC.clock_rate() / 50);
                    for &session in &self.order {
                        let header = Header {
                            marker: false,
                            payload_type: CODEC.payload_type(),
                            sequence: self.pbx_sequence,
                            timestamp: self.pbx_timestamp,
                            ssrc: session as u32,
                            payload: 0..0,
                        };
                        let bytes = [&header.to_bytes()[..], &PAYLOAD].concat();
                        arrivals.push(Arrival::new(media_address(session), now, &bytes));
                    }
                }
            }
        }
        assert_eq!(arrivals.len(), rounds * self.order.len());
        arrivals
    }

    /// What is measured: burst after burst comes in, goes through the core, and goes out, without an allocation.
    fn relay(&mut self, way: Way, arrivals: &[Arrival]) -> Duration {
        let (elapsed, allocated) = self.relay_counted(way, arrivals);
        assert_eq!(allocated, 0, "{}: {} packets allocated {allocated} times", way.name(), arrivals.len());
        elapsed
    }

    fn relay_counted(&mut self, way: Way, arrivals: &[Arrival]) -> (Duration, u64) {
        let (arrives, leaves) = way.sockets();
        let before = allocations();
        let mut sent = 0;
        let start = processor_time();
        for burst in arrivals.chunks(BURST) {
            for arrival in burst {
                let mut packet = self.shard.packets.take();
                packet.copy_from(arrival.bytes());
                self.shard.handle(Input::Datagram(Datagram { socket: arrives, from: arrival.from, packet }), arrival.at);
            }
            while let Some(output) = self.shard.poll_output() {
                let Output::Transmit(transmit) = output else { panic!("not a packet: {output:?}") };
                sent += usize::from(black_box(&transmit).socket == leaves);
                self.shard.packets.give_back(transmit.packet);
            }
        }
        let elapsed = processor_time() - start;
        let allocated = allocations() - before;
        assert_eq!(sent, arrivals.len(), "{}: packets were dropped", way.name());
        (elapsed, allocated)
    }

    /// What of [`World::relay`] the kernel does in the gateway: packets come into the buffers of a burst.
    fn copy_in(&mut self, arrivals: &[Arrival], held: &mut Vec<Packet>) -> Duration {
        let start = processor_time();
        for burst in arrivals.chunks(BURST) {
            for arrival in burst {
                let mut packet = self.shard.packets.take();
                packet.copy_from(arrival.bytes());
                held.push(packet);
            }
            for packet in held.drain(..) {
                self.shard.packets.give_back(black_box(packet));
            }
        }
        processor_time() - start
    }

    /// Goes through `packets` packets of the sessions in turn, `measured` on each stretch of them.
    fn measure(&mut self, way: Way, packets: u64, mut measured: impl FnMut(&mut Self, &[Arrival]) -> Duration) -> Duration {
        let mut left = usize::try_from(packets).expect("a count");
        let mut elapsed = Duration::ZERO;
        while left > 0 {
            let arrivals = self.arrivals(way, left.div_ceil(self.order.len()).min(ROUNDS) + 1);
            // The caches hold the browsers that made the packets. The first round, which does not count, makes them the shard's again.
            let (first, arrivals) = arrivals.split_at(self.order.len());
            measured(self, first);
            let (wanted, rest) = arrivals.split_at(left.min(arrivals.len()));
            elapsed += measured(self, wanted);
            measured(self, rest);
            left -= wanted.len();
        }
        elapsed
    }

    fn nothing_was_dropped(&mut self) {
        let Answer::Rest(reply) = self.command(Command::Rest(Query::Stats(Scope::Everything))) else { panic!("no figures") };
        let QueryReply::Stats(stats) = *reply else { panic!("no figures") };
        let dropped: Vec<_> = stats.dropped.iter().filter(|(_, count)| *count > 0).collect();
        assert!(dropped.is_empty(), "{dropped:?}");
        assert_eq!((stats.calls, stats.transports), (self.order.len(), self.browsers.len()));
    }
}

fn shard_config(seed: [u8; 32], now: Instant) -> ShardConfig {
    let second = Duration::from_secs(1);
    ShardConfig {
        shard: ShardId(0),
        origin: (now, SystemTime::now()),
        seed,
        dtls: Arc::new(DtlsIdentity::generate().expect("an identity")),
        candidates: vec![SocketAddr::new(GATEWAY, BROWSER_PORT)],
        ice_servers: Vec::new(),
        sip_contact: SocketAddr::new(GATEWAY, SIP_PORT),
        media_address: GATEWAY,
        shared_pair: RTP_PORT,
        own_pairs: Vec::new(),
        trunk: Trunk { peers: vec![PBX], domain: "pbx.example".to_owned(), credentials: None },
        policy: Policy {
            max_calls_per_agent: 1,
            ring_timeout: 60 * second,
            incoming_timeout: 60 * second,
            // Only one way is measured at a time, for hours of virtual time.
            media_timeout: 1_000_000 * second,
            resume_grace: 30 * second,
            resume_media_max: 600 * second,
            header_prefixes: Vec::new(),
            dial: DialPolicy::default(),
        },
    }
}

fn identity(session: usize) -> Identity {
    let agent = format!("agent-{session}");
    Identity {
        tenant: TenantId::from("tenant"),
        agent: AgentId::from(&*agent),
        user: UserId::from(&*agent),
        role: Role::Agent,
        sip: SipIdentity { user: agent, domain: None, display_name: None },
    }
}

/// In 198.18.0.0/15, which is there for benchmarks (RFC 2544).
fn browser_address(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0xc612_0001 + index as u32)), 40_000)
}

fn media_address(session: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0xc613_0001 + session as u32)), 16_384)
}

/// One line of the report.
fn report(
    criterion: &mut Criterion,
    world: &RefCell<World>,
    way: Way,
    name: &str,
    mut measured: impl FnMut(&mut World, &[Arrival]) -> Duration,
) {
    let sessions = world.borrow().order.len();
    let mut group = criterion.benchmark_group(name);
    // Each sample many rounds, so that all sessions weigh the same.
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::from_parameter(format!("sessions: {sessions}")), |bencher| {
        bencher.iter_custom(|packets| world.borrow_mut().measure(way, packets, &mut measured));
    });
    group.finish();
}

fn main() {
    let criterion = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    let mut criterion = criterion.configure_from_args();
    for sessions in SESSIONS {
        let world = RefCell::new(World::new(sessions));
        for way in [Way::ToPbx, Way::ToBrowser] {
            report(&mut criterion, &world, way, way.name(), |world, arrivals| world.relay(way, arrivals));
        }
        let mut held = Vec::with_capacity(BURST);
        report(&mut criterion, &world, Way::ToBrowser, "of which the copy in", |world, arrivals| world.copy_in(arrivals, &mut held));
        world.borrow_mut().nothing_was_dropped();
    }
    criterion.final_summary();
}
