//! Somebody who is nobody's peer sends whatever the ports take, ten thousand datagrams a second, beside a call: the call notices nothing.
//!
//! With a gateway of its own and after all other scenarios, so that the machine has nothing else to do.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use nexus_gateway::config::PortPlan;
use serde_json::json;

use crate::gateway::{Gateway, leg, until};
use crate::phone::{Phone, spoken_number};

pub fn a_strangers_ten_thousand_packets_a_second_cost_a_call_nothing() {
    let gateway = Gateway::start_as("stranger");
    let mut phone = Phone::new(&gateway, "undisturbed", Codec::Opus);
    let call = phone.call("9196");
    phone.hear_own_echo();
    phone.clear();
    let targets = targets(&gateway);
    // What is allocated once, buffers for a burst, is there after the first blow.
    storm(&targets, Duration::from_secs(1));
    let before = Figures::of(&gateway);

    phone.speak();
    phone.hear_until("an echo", |packet| spoken_number(packet).is_some());
    phone.clear();
    let sent = storm(&targets, STORM);
    phone.be_quiet();
    let heard = phone.hear_the_rest();
    let after = Figures::of(&gateway);

    // Both ways: what comes back has gone there.
    let numbers: Vec<_> = heard.iter().filter_map(spoken_number).collect();
    let gaps: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0].wrapping_add(1)).collect();
    assert!(gaps.is_empty(), "frames are lost at {gaps:?} of {}", numbers.len());
    assert!(numbers.len() as u128 >= STORM.as_millis() / 22, "{} frames in {STORM:?}", numbers.len());
    let (spoken, session) = (phone.spoken(), gateway.session(&call));
    for name in ["webrtc", "sip"] {
        let leg = leg(&session, name);
        assert_eq!((&leg["received"]["lost"], &leg["received"]["packets"]), (&json!(0), &json!(spoken.packets_sent)), "{name}: {leg}");
    }

    let dropped: BTreeMap<_, _> = after.dropped.iter().map(|(reason, count)| (reason.as_str(), count - before.dropped[reason])).collect();
    let counted: u64 = dropped.values().sum();
    println!(
        "a stranger sent {sent} datagrams in {STORM:?}; dropped: {dropped:?}; resident: {} -> {} KiB",
        before.resident_kib, after.resident_kib
    );
    assert!(sent >= u64::from(A_SECOND) * STORM.as_secs() * 9 / 10, "{sent} datagrams are no such storm");
    assert_eq!(counted, sent, "each is counted: {dropped:?}");
    for reason in ["unclassified", "stun_unroutable", "unvalidated_source", "sip_media_stranger", "sip_source_not_allowed"] {
        assert!(dropped[reason] > 0, "{reason}: {dropped:?}");
    }
    assert!(after.resident_kib <= before.resident_kib + GROWTH_KIB, "{} KiB grew to {}", before.resident_kib, after.resident_kib);
    phone.hang_up(&call);
    drop(phone);
    assert_eq!(gateway.get("/api/webrtc/health").1["status"], json!("healthy"));
    assert_eq!(gateway.stop(), Some(0), "the gateway ends; its log:\n{}", gateway.log());
}

/// Every UDP port of the gateway: the browsers', the shared pair's and the SIP ports.
fn targets(gateway: &Gateway) -> Vec<SocketAddr> {
    let plan = PortPlan::new(gateway.media_ports(), gateway.shards()).expect("the range that it was started with");
    let media = plan.slices().iter().flat_map(|slice| [slice.browser, slice.shared_rtp, slice.shared_rtp + 1]);
    media.chain(gateway.sip_ports()).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
}

/// Sends for a while, each kind to each port in turn; how many datagrams that were.
fn storm(targets: &[SocketAddr], duration: Duration) -> u64 {
    // Not the address of the PBX, from which SIP is taken.
    let sockets: Vec<_> = (0..8).map(|_| UdpSocket::bind("127.0.0.2:0").expect("a socket")).collect();
    let kinds = kinds();
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < duration {
        // What is due by now; after a pause of the machine's not all of it at once, which would be a storm of another kind.
        let due = (begun.elapsed().as_secs_f64() * f64::from(A_SECOND)) as u64;
        let until = due.min(sent + BURST_MAX);
        while sent < until {
            let number = sent as usize;
            let datagram = &kinds[number / targets.len() % kinds.len()];
            sockets[number % sockets.len()].send_to(datagram, targets[number % targets.len()]).expect("loopback takes it");
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// STUN, DTLS, RTP, RTCP, SIP and noise, some of each malformed.
fn kinds() -> Vec<Vec<u8>> {
    let stun = |length: u8| [&[0, 1, 0, length, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12], &[0, 6, 0, 4, b'a', b':', b'b', b'c']].concat();
    let hello = |length: usize| [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1][..], &vec![0; length]].concat();
    let rtp = |length: usize| [&[0x80, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1][..], &vec![0x55; length]].concat();
    let rtcp = [&[0x80, 200, 0, 6][..], &[1; 24]].concat();
    let request = "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
                   To: <sip:x@127.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    let noise = (0..1_200_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8 | 0xc0).collect();
    vec![
        stun(8),
        stun(200),
        hello(40),
        hello(1_300),
        rtp(160),
        rtp(0),
        rtcp,
        vec![0x80, 200],
        request.into(),
        vec![0xff],
        noise,
        Vec::new(),
    ]
}

struct Figures {
    dropped: BTreeMap<String, u64>,
    resident_kib: u64,
}

impl Figures {
    /// The sums over all shards, once nothing is on its way any more.
    fn of(gateway: &Gateway) -> Self {
        let mut last = BTreeMap::new();
        let dropped = until("counters that rest", Duration::from_secs(5), || {
            let stats = gateway.get("/api/webrtc/stats").1;
            let mut dropped = BTreeMap::<String, u64>::new();
            for (reason, count) in
                stats["shards"].as_array().expect("shards").iter().flat_map(|shard| shard["dropped"].as_object().expect("reasons"))
            {
                *dropped.entry(reason.clone()).or_default() += count.as_u64().expect("a count");
            }
            let rests = std::mem::replace(&mut last, dropped.clone()) == dropped;
            if rests { Ok(dropped) } else { Err(stats) }
        });
        Self { dropped, resident_kib: gateway.resident_kib() }
    }
}

/// What the card asks for.
const A_SECOND: u32 = 10_000;

/// At most this at once: 5 ms of it.
const BURST_MAX: u64 = 50;

const STORM: Duration = Duration::from_secs(5);

/// Some allocator's noise, but nothing that 50,000 datagrams would leave.
const GROWTH_KIB: u64 = 2_048;
