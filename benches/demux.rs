//! Whose datagram is it? The one hash look-up that every packet pays, in random order over so many flows, and what strangers cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use criterion::{BenchmarkId, Criterion, Throughput};
use nexus_gateway::ids::{CallKey, TransportKey};
use nexus_gateway::net::PortPair;
use nexus_gateway::shard::demux::Demux;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use slotmap::SlotMap;

const FLOWS: [usize; 3] = [100, 1_000, 5_000];

/// Look-ups of one round: more than there are flows, so that neither the order nor its end is learnt by the processor.
const ROUND: usize = 64 * 1024;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for flows in FLOWS {
        measure(&mut criterion, flows);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, flows: usize) {
    let mut rng = ChaCha12Rng::seed_from_u64(flows as u64);
    let mut demux = Demux::new(rng.random());
    let (mut transports, mut calls) = (SlotMap::<TransportKey, ()>::with_key(), SlotMap::<CallKey, ()>::with_key());
    let browsers: Vec<_> = (0..flows).map(|_| address(&mut rng, 10)).collect();
    browsers.iter().for_each(|&browser| demux.add_browser(browser, transports.insert(())));
    // A PBX is one host with many ports.
    let legs: Vec<_> = (0..flows as u16).map(|leg| SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 16_384 + 2 * leg)).collect();
    for &leg in &legs {
        demux.add_leg(PortPair::SHARED, leg, SocketAddr::new(leg.ip(), leg.port() + 1), calls.insert(()));
    }
    let strangers: Vec<_> = (0..flows).map(|_| address(&mut rng, 172)).collect();

    let mut look_up = |name: &str, from: &[SocketAddr], known: bool, find: &dyn Fn(&Demux, SocketAddr) -> bool| {
        let mut order: Vec<SocketAddr> = from.iter().copied().cycle().take(ROUND).collect();
        order.shuffle(&mut rng);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(format!("flows: {flows}")), |bencher| {
            let mut next = 0;
            bencher.iter(|| {
                next = (next + 1) % ROUND;
                assert_eq!(find(&demux, order[next]), known);
            });
        });
        group.finish();
    };
    look_up("a browser's address", &browsers, true, &|demux, from| demux.browser(from).is_some());
    look_up("the PBX's address", &legs, true, &|demux, from| demux.rtp(PortPair::SHARED, from).is_some());
    look_up("a stranger's address", &strangers, false, &|demux, from| demux.browser(from).is_some());
}

/// Anywhere in a network of class A, so that strangers are never friends.
fn address(rng: &mut ChaCha12Rng, network: u8) -> SocketAddr {
    let [b, c, d] = rng.random();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(network, b, c, d)), rng.random_range(1024..u16::MAX))
}
