//! Datagrams of anybody into a shard with a live call: on every socket, from strangers, from the browser's addresses and from the PBX's.
//!
//! The first byte says whether only strangers send. Then each step is a byte that says from whom and to which socket, a length, and that many bytes.

use std::net::SocketAddr;
use std::time::Duration;

use nexus_gateway::call::command::ShardStats;
use nexus_gateway::net::classify;
use nexus_harness::browser::FakeBrowser;
use nexus_harness::lab::{browser_port, pbx_rtp, pbx_sip, public_sip, shard_sip, shared_rtp};

use crate::bytes::Bytes;
use crate::stage::{self, AGENT, Stage};

pub fn run(data: &[u8]) {
    let _ = classify(data);
    stage::with(|stage| play(stage, Bytes(data)));
}

fn play(stage: &mut Stage, mut bytes: Bytes<'_>) {
    let only_strangers = bytes.byte() & 1 == 0;
    let before = stage.lab.stats();
    let mut dropped = 0;
    for _ in 0..STEPS_MAX {
        let Some(step) = bytes.next() else { break };
        let length = usize::from(bytes.byte());
        let (to, is_signalling) = socket(step & 0x0f);
        let Some(to) = to else {
            stage.lab.run(Duration::from_millis(u64::from(bytes.byte()) << (step >> 6)));
            continue;
        };
        let known = if only_strangers { None } else { peer(stage, step >> 4) };
        let from = known.unwrap_or_else(|| stranger(step >> 4));
        let datagram = bytes.take(length);
        let sent = stage.lab.inject(from, to, datagram);
        if known.is_none() {
            dropped += u64::from(!is_signalling);
            // Signalling is answered; the driver lets none of a stranger through. Media and what builds it up is not.
            let sent: Vec<_> = sent.iter().filter(|(to, _)| to.ip() == from.ip()).collect();
            assert!(sent.len() <= if is_signalling { 2 } else { 0 }, "{} datagrams to a stranger", sent.len());
            assert!(sent.iter().all(|(_, bytes)| bytes.len() <= datagram.len() + ANSWER_LONGER), "a stranger is sent more than it sent");
        }
    }
    let after = stage.lab.stats();
    assert!(after.agents == 1 && after.transports == 2 && after.calls <= 1 + 2 * STEPS_MAX, "{after:?}");
    assert!(after.deadlines <= 16 + 4 * (after.calls + after.sip_transactions), "{after:?}");
    if !only_strangers {
        // What it has begun may show its effect later.
        stage.is_spoilt = true;
    } else {
        assert!(stage.is_talking(), "a stranger has changed something");
        assert_eq!(media_drops(&after) - media_drops(&before), dropped, "a datagram that was not counted");
        assert_eq!(stage.frames_lost(), 0, "a stranger costs the call frames");
    }
}

/// The browser's and the PBX's addresses.
fn peer(stage: &Stage, choice: u8) -> Option<SocketAddr> {
    let agent = &stage.lab.agents[AGENT];
    match choice {
        0..=3 => None,
        4..=6 => agent.send.as_ref().map(FakeBrowser::local_address),
        7..=8 => agent.recv.as_ref().map(FakeBrowser::local_address),
        9..=11 => Some(pbx_sip()),
        12..=13 => Some(pbx_rtp()),
        _ => Some(SocketAddr::new(pbx_rtp().ip(), pbx_rtp().port() + 1)),
    }
}

/// Strangers, one of them on the PBX's machine.
fn stranger(choice: u8) -> SocketAddr {
    match choice {
        3 => SocketAddr::new(pbx_rtp().ip(), 7),
        choice => SocketAddr::from(([198, 18, 0, 1], 1_000 + u16::from(choice))),
    }
}

/// Where it goes, and whether that is signalling; nowhere: time passes.
fn socket(choice: u8) -> (Option<SocketAddr>, bool) {
    match choice {
        0..=5 => (Some(browser_port()), false),
        6..=7 => (Some(shared_rtp()), false),
        8..=9 => (Some(SocketAddr::new(shared_rtp().ip(), shared_rtp().port() + 1)), false),
        10..=11 => (Some(shard_sip()), true),
        12..=13 => (Some(public_sip()), true),
        _ => (None, false),
    }
}

fn media_drops(stats: &ShardStats) -> u64 {
    stats.dropped.iter().filter(|(reason, _)| !reason.starts_with("sip_") || *reason == "sip_media_stranger").map(|(_, count)| count).sum()
}

const STEPS_MAX: usize = 16;

/// What an answer has beside the fields that it repeats: status line, tag, Allow, Accept and the like.
const ANSWER_LONGER: usize = 512;
