//! What a media packet costs in the core's media modules: SRTP both ways in each profile, the header rewrite, and all of it in a row,
//! with one session (hot caches) and with a thousand (a shard's working set). Before it measures, it proves that no packet allocates.

mod counting;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use counting::allocations;
use criterion::{BatchSize, Criterion, Throughput};
use nexus_gateway::codec::Codec;
use nexus_gateway::net::{Packet, PacketPool};
use nexus_gateway::rtp::{Header, ReceiverStats, Rewriter, SenderStats};
use nexus_gateway::srtp::{Inbound, MasterKey, Outbound, Profile};

const PROFILES: [Profile; 3] = [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

/// A browser that sends, its leg in the gateway, and a browser that receives.
struct Session {
    browser: Outbound,
    inbound: Inbound,
    received: ReceiverStats,
    rewriter: Rewriter,
    outbound: Outbound,
    sent: SenderStats,
    sequence: u16,
}

impl Session {
    fn new(profile: Profile, number: u32) -> Self {
        let key = |direction: u8| {
            let bytes: Vec<u8> = (0..46).map(|place| place ^ direction ^ number as u8).collect();
            MasterKey::new(profile, &bytes[..profile.key_length()], &bytes[32..32 + profile.salt_length()]).expect("lengths of the profile")
        };
        let mut rewriter = Rewriter::new(number, number as u16, number);
        rewriter.map(Codec::Opus.clock_rate(), &[(111, 111)]);
        assert!(rewriter.set_mid(1, "0"));
        Self {
            browser: Outbound::new(&key(1)),
            inbound: Inbound::new(&key(1)),
            received: ReceiverStats::new(Codec::Opus.clock_rate()),
            rewriter,
            outbound: Outbound::new(&key(2)),
            sent: SenderStats::default(),
            sequence: 0,
        }
    }

    /// The next packet of the browser, in the clear: 20 ms of G.711, or of Opus at its highest rates.
    fn plain(&mut self, packet: &mut Packet) {
        self.sequence = self.sequence.wrapping_add(1);
        let timestamp = 960 * u32::from(self.sequence);
        let header = Header { marker: false, payload_type: 111, sequence: self.sequence, timestamp, ssrc: 7, payload: 0..0 };
        let mut bytes = [0x5a; 172];
        bytes[..12].copy_from_slice(&header.to_bytes());
        assert!(packet.copy_from(&bytes));
    }

    fn rewrite(&mut self, packet: &mut Packet, now: Instant) {
        let header = Header::parse(packet.bytes()).expect("our own packet");
        self.received.on_packet(&header, now);
        let sent = self.rewriter.rewrite(packet, &header, now).expect("a packet in its order");
        self.sent.on_sent(&sent);
    }

    fn relay(&mut self, packet: &mut Packet, now: Instant) {
        self.inbound.unprotect_rtp(packet).expect("a packet of the browser");
        self.rewrite(packet, now);
        self.outbound.protect_rtp(packet).expect("a fresh index");
    }
}

/// Sessions that take their packets in turn.
struct Fleet {
    sessions: Vec<Session>,
    next: usize,
    pool: PacketPool,
    now: Instant,
}

impl Fleet {
    fn new(profile: Profile, sessions: u32) -> Self {
        let sessions = (0..sessions).map(|number| Session::new(profile, number)).collect();
        Self { sessions, next: 0, pool: PacketPool::new(64), now: Instant::now() }
    }

    fn next(&mut self) -> &mut Session {
        self.next = (self.next + 1) % self.sessions.len();
        if self.next == 0 {
            self.now += Duration::from_millis(20);
        }
        &mut self.sessions[self.next]
    }
}

fn nothing_allocates() {
    for profile in PROFILES {
        let mut fleet = Fleet::new(profile, 10);
        let mut packet = fleet.pool.take();
        let mut relay = |count: u32| {
            for _ in 0..count {
                let now = fleet.now;
                let session = fleet.next();
                session.plain(&mut packet);
                session.browser.protect_rtp(&mut packet).expect("a fresh index");
                session.relay(&mut packet, now);
            }
        };
        relay(1_000);
        let before = allocations();
        relay(100_000);
        let allocated = allocations() - before;
        assert_eq!(allocated, 0, "{profile:?}: 100,000 packets allocated {allocated} times");
    }
    println!("no allocation in 300,000 packets");
}

/// Measures one step on packets of a fleet of its own: each is made ready outside of the measured time.
fn step(
    criterion: &mut Criterion,
    (profile, sessions): (Profile, u32),
    name: &str,
    ready: fn(&mut Session, &mut Packet),
    measured: fn(&mut Session, &mut Packet, Instant),
) {
    let fleet = RefCell::new(Fleet::new(profile, sessions));
    let mut group = criterion.benchmark_group(format!("{profile:?}, sessions: {sessions}"));
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || {
                let fleet = &mut *fleet.borrow_mut();
                let mut packet = fleet.pool.take();
                let session = fleet.next();
                session.plain(&mut packet);
                ready(session, &mut packet);
                (fleet.next, fleet.now, packet)
            },
            |(place, now, mut packet)| {
                measured(&mut fleet.borrow_mut().sessions[place], &mut packet, now);
                packet
            },
            BatchSize::NumIterations(u64::from(sessions.max(64))),
        );
    });
    group.finish();
}

fn by_browser(session: &mut Session, packet: &mut Packet) {
    session.browser.protect_rtp(packet).expect("a fresh index");
}

fn measure(criterion: &mut Criterion) {
    for of in PROFILES.into_iter().flat_map(|profile| [(profile, 1), (profile, 1_000)]) {
        step(criterion, of, "protect", |_, _| {}, |session, packet, _| by_browser(session, packet));
        step(criterion, of, "unprotect", by_browser, |session, packet, _| {
            session.inbound.unprotect_rtp(packet).expect("a packet of the browser");
        });
        step(criterion, of, "unprotect, count, rewrite, protect", by_browser, Session::relay);
    }
    for sessions in [1, 1_000] {
        step(criterion, (Profile::AeadAes256Gcm, sessions), "count, rewrite", |_, _| {}, Session::rewrite);
    }
}

fn main() {
    nothing_allocates();
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
}
