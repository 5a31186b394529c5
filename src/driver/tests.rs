//! A shard in its thread, over loopback: real sockets, real executor, nothing of HTTP.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::mailbox::{OutputSink, ShardMailbox, mailbox};
use super::placement::{Placement, Spread};
use super::{Load, Seat, ShardEnd, ShardExit, SharedSockets, SipSources, Socket, spawn_shard};
use crate::call::command::{Answer, Command, Query, QueryReply, Scope, ShardStats};
use crate::config::DialPolicy;
use crate::ids::{RequestId, ShardId};
use crate::shard::io::{Input, Output};
use crate::shard::{Policy, ShardConfig, Trunk};
use crate::webrtc::DtlsIdentity;

/// Far longer than anything here takes, far shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(10);

/// A front that can be told to have no room, or to panic so many times.
struct Sink {
    outputs: Sender<Output>,
    full: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    panics: Arc<AtomicUsize>,
}

impl OutputSink for Sink {
    fn push(&mut self, _shard: ShardId, output: Output) -> Result<(), Output> {
        let panics = self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(panics.is_err(), "on purpose");
        if self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(output);
        }
        let _ = self.outputs.send(output);
        Ok(())
    }
}

struct Lab {
    mailbox: ShardMailbox,
    outputs: Receiver<Output>,
    ends: Receiver<ShardEnd>,
    thread: JoinHandle<()>,
    sip: SocketAddr,
    full: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    panics: Arc<AtomicUsize>,
}

impl Lab {
    fn new(mailbox_size: usize) -> Self {
        let any = || Socket::bind("127.0.0.1:0".parse().unwrap(), Load::Shared).unwrap();
        let sockets = SharedSockets { browser: any(), sip: any(), sip_public: any(), rtp: any(), rtcp: any() };
        let (mailbox, inbox) = mailbox(mailbox_size);
        let (sender, outputs) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let (full, refused, panics) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let sink = Sink { outputs: sender, full: full.clone(), refused: refused.clone(), panics: panics.clone() };
        let sip = sockets.sip.address();
        let seat = Seat {
            config: config(&sockets),
            sockets,
            media_ip: sip.ip(),
            inbox,
            sink: Box::new(sink),
            placement: Arc::new(Placement::new(1, Spread::Auto, 10)),
            sources: Arc::new(SipSources::new(None, [sip.ip()])),
        };
        let thread = spawn_shard(seat, None, move |news| drop(end.send(news))).unwrap();
        Self { mailbox, outputs, ends, thread, sip, full, refused, panics }
    }

    /// Asks the shard for its figures, under a number.
    fn ask(&self, number: u64) {
        let command = Command::Rest(Query::Stats(Scope::Everything));
        self.mailbox.push(Input::Command { request: Some(RequestId(number)), command }).unwrap();
    }

    /// The number of the next answer.
    fn answered(&self) -> u64 {
        match self.outputs.recv_timeout(PATIENCE).expect("an answer in time") {
            Output::Answer { request, .. } => request.0,
            other => panic!("not an answer: {other:?}"),
        }
    }

    /// The figures, once they have been asked for.
    fn stats(&self) -> ShardStats {
        match self.outputs.recv_timeout(PATIENCE).expect("an answer in time") {
            Output::Answer { answer: Answer::Rest(reply), .. } => match *reply {
                QueryReply::Stats(stats) => stats,
                other => panic!("not the figures: {other:?}"),
            },
            other => panic!("not an answer: {other:?}"),
        }
    }

    fn end(self) -> ShardExit {
        let end = self.ends.recv_timeout(PATIENCE).expect("the thread ends in time");
        self.thread.join().unwrap();
        end.exit
    }
}

fn config(sockets: &SharedSockets) -> ShardConfig {
    let second = Duration::from_secs(1);
    ShardConfig {
        shard: ShardId(0),
        origin: (Instant::now(), SystemTime::now()),
        seed: [7; 32],
        dtls: Arc::new(DtlsIdentity::generate().unwrap()),
        candidates: vec![sockets.browser.address()],
        ice_servers: Vec::new(),
        sip_contact: sockets.sip.address(),
        media_address: sockets.rtp.address().ip(),
        shared_pair: sockets.rtp.address().port(),
        own_pairs: Vec::new(),
        trunk: Trunk { peers: Vec::new(), domain: "pbx.example".to_owned(), credentials: None },
        policy: Policy {
            max_calls_per_agent: 2,
            ring_timeout: 60 * second,
            incoming_timeout: 120 * second,
            media_timeout: 30 * second,
            resume_grace: 30 * second,
            resume_media_max: 600 * second,
            header_prefixes: Vec::new(),
            dial: DialPolicy::default(),
        },
    }
}

fn options(from: SocketAddr, number: u32) -> String {
    format!(
        "OPTIONS sip:gateway@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKtest{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:tester@127.0.0.1>;tag=t{number}\r\nTo: <sip:gateway@127.0.0.1>\r\nCall-ID: call-{number}\r\nCSeq: {number} OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_parked_shard_wakes_for_every_command_and_for_every_datagram() {
    let lab = Lab::new(64);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut slowest = Duration::ZERO;
    for number in 1..=20_u32 {
        // Long enough for the shard to have parked; that it has is shown by nothing but the time that an answer takes.
        std::thread::sleep(Duration::from_millis(20));
        let asked = Instant::now();
        lab.ask(number.into());
        assert_eq!(lab.answered(), u64::from(number));
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
        let asked = Instant::now();
        peer.send_to(options(peer.local_addr().unwrap(), number).as_bytes(), lab.sip).unwrap();
        let mut answer = [0; 2048];
        let (length, from) = peer.recv_from(&mut answer).expect("an answer in time");
        assert_eq!(from, lab.sip);
        let text = String::from_utf8_lossy(&answer[..length]);
        assert!(text.starts_with("SIP/2.0 200") && text.contains(&format!("call-{number}")), "{text}");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(900), "it slept through: only the longest sleep ended the wait ({slowest:?})");
    lab.mailbox.stop();
    assert_eq!(lab.end(), ShardExit::Stopped);
}

#[test]
fn a_full_front_loses_nothing_and_stops_the_taking_of_commands() {
    let lab = Lab::new(64);
    lab.ask(0);
    assert_eq!(lab.answered(), 0);
    lab.full.store(true, Ordering::SeqCst);
    (1..=64).for_each(|number| lab.ask(number));
    let since = Instant::now();
    while lab.refused.load(Ordering::SeqCst) < 5 {
        assert!(since.elapsed() < PATIENCE, "the answer is not offered again");
        std::thread::yield_now();
    }
    // One command was taken, and its answer is held; the others wait, so a mailbox of 64 has room for one and no more.
    lab.ask(65);
    let command = Command::Rest(Query::Stats(Scope::Everything));
    assert!(lab.mailbox.push(Input::Command { request: None, command }).is_err());
    lab.full.store(false, Ordering::SeqCst);
    assert_eq!((1..=65).map(|_| lab.answered()).collect::<Vec<_>>(), (1..=65).collect::<Vec<_>>());
    lab.mailbox.stop();
    assert_eq!(lab.end(), ShardExit::Stopped);
}

#[test]
fn sip_from_a_stranger_is_dropped_and_counted() {
    let lab = Lab::new(64);
    let Ok(stranger) = UdpSocket::bind("127.0.0.2:0") else { return };
    stranger.send_to(options(stranger.local_addr().unwrap(), 1).as_bytes(), lab.sip).unwrap();
    let since = Instant::now();
    loop {
        lab.ask(1);
        let dropped = lab.stats().dropped.iter().find(|(reason, _)| *reason == "sip_source_not_allowed").unwrap().1;
        if dropped == 1 {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "the datagram was not counted");
    }
    stranger.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(stranger.recv(&mut [0; 64]).is_err());
    lab.mailbox.stop();
    assert_eq!(lab.end(), ShardExit::Stopped);
}

#[test]
fn a_shard_whose_driver_panics_has_a_successor_on_the_same_sockets_at_once() {
    let lab = Lab::new(64);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    for death in 1..=4 {
        lab.panics.store(1, Ordering::SeqCst);
        let begun = Instant::now();
        lab.ask(1);
        assert!(matches!(lab.outputs.recv_timeout(PATIENCE), Ok(Output::Died)), "the front is told");
        peer.send_to(options(peer.local_addr().unwrap(), death).as_bytes(), lab.sip).unwrap();
        assert!(peer.recv(&mut [0; 2048]).is_ok(), "the successor answers SIP");
        let took = begun.elapsed();
        println!("back after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        lab.ask(2);
        let stats = lab.stats();
        assert_eq!(stats.restarts, u64::from(death));
    }
    lab.mailbox.stop();
    assert_eq!(lab.end(), ShardExit::Stopped);
}

#[test]
fn shards_that_die_again_and_again_end_their_thread() {
    let lab = Lab::new(64);
    lab.panics.store(usize::MAX, Ordering::SeqCst);
    (1..=5).for_each(|number| lab.ask(number));
    assert_eq!(lab.end(), ShardExit::Broken("it died 5 times in 60 s".to_owned()));
}

#[test]
fn a_busy_shard_hears_a_stop_too() {
    let lab = Lab::new(1024);
    (0..1024).for_each(|number| lab.ask(number));
    lab.mailbox.stop();
    assert_eq!(lab.end(), ShardExit::Stopped);
}
