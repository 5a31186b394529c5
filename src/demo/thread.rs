//! The demo PBX's sockets and its thread: one thread for everything, woken by datagrams and by the next deadline.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxHashMap;
use rustix::event::{EventfdFlags, epoll, eventfd};

use super::pbx::{Config, DemoPbx, UdpSocketRole};
use super::sounds::Sounds;
use crate::net::MAX_DATAGRAM;

/// A running demo PBX; it hangs up and ends when this is dropped.
#[derive(Debug)]
pub struct Handle {
    /// Where it takes calls.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let woken = rustix::io::write(&*self.wake, &1u64.to_ne_bytes()).is_ok();
        if let Some(thread) = self.thread.take()
            && woken
        {
            // A panic has been reported by the thread itself; the gateway ends all the same.
            let _ = thread.join();
        }
    }
}

/// Starts the demo PBX on a free port of `bind`. It calls agents at `gateway`, the gateway's public SIP socket.
pub fn start(gateway: SocketAddr, bind: IpAddr) -> io::Result<Handle> {
    raise_open_files();
    let sip = UdpSocket::bind((bind, 0))?;
    let address = sip.local_addr()?;
    let sounds = Sounds::all().map_err(io::Error::other)?;
    let config = Config { address, gateway, calls_max: CALLS_MAX, one_media_port: false };
    let pbx = DemoPbx::new(config, sounds, rand::random(), Instant::now(), SystemTime::now());
    let stop = Arc::new(AtomicBool::new(false));
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let mut shell = Shell {
        pbx,
        bind,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        sockets: FxHashMap::default(),
        pairs: 0,
        stop: stop.clone(),
    };
    epoll::add(&shell.epoll, &*wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
    shell.add_socket(UdpSocketRole::Sip, sip)?;
    shell.top_up_ports();
    let thread = std::thread::Builder::new().name("demo-pbx".to_owned()).spawn(move || shell.run())?;
    Ok(Handle { address, stop, wake, thread: Some(thread) })
}

struct Shell {
    pbx: DemoPbx,
    bind: IpAddr,
    epoll: OwnedFd,
    sockets: FxHashMap<UdpSocketRole, UdpSocket>,
    pairs: usize,
    stop: Arc<AtomicBool>,
}

impl Shell {
    fn run(mut self) {
        let mut ready = Vec::with_capacity(EVENTS);
        while !self.stop.load(Ordering::Acquire) {
            self.top_up_ports();
            self.wait(&mut ready);
            let now = Instant::now();
            for event in ready.drain(..) {
                self.receive(role_of(event.data.u64()), now);
            }
            if self.pbx.next_deadline().is_some_and(|at| at <= now) {
                self.pbx.handle_timeout(now);
            }
            self.send();
        }
        self.pbx.hang_up_all(Instant::now());
        self.send();
    }

    /// Until something arrives or is due. With many calls there is always something: then a millisecond's worth is taken at once, which
    /// costs half the CPU of waking for every datagram.
    fn wait(&self, ready: &mut Vec<epoll::Event>) {
        if self.pbx.stats().calls > CALLS_BEFORE_TICKING {
            std::thread::sleep(TICK);
        }
        let timeout = self.pbx.next_deadline().map_or(IDLE, |at| at.saturating_duration_since(Instant::now()).min(IDLE));
        let timeout = rustix::event::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        // Interrupted or not: what is due is done, and then it waits again.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(ready), Some(&timeout));
    }

    fn receive(&mut self, role: Option<UdpSocketRole>, now: Instant) {
        let Some((role, socket)) = role.and_then(|role| self.sockets.get(&role).map(|socket| (role, socket))) else { return };
        let mut buffer = [0; MAX_DATAGRAM];
        for _ in 0..DATAGRAMS_A_TURN {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.pbx.handle(role, from, &buffer[..length], now),
                // Nothing more, or a port unreachable from an earlier send: the SIP timers find out.
                Err(_) => break,
            }
        }
    }

    fn send(&mut self) {
        while let Some(transmit) = self.pbx.poll_transmit() {
            if let Some(socket) = self.sockets.get(&transmit.socket) {
                // A datagram that cannot be sent is a lost one.
                let _ = socket.send_to(&transmit.bytes, transmit.to);
            }
        }
    }

    fn top_up_ports(&mut self) {
        while self.pbx.idle_ports() < IDLE_PAIRS && self.pairs < CALLS_MAX {
            let Some((port, rtp, rtcp)) = bind_pair(self.bind) else { return };
            let added = self.add_socket(UdpSocketRole::Rtp(port), rtp).and_then(|()| self.add_socket(UdpSocketRole::Rtcp(port), rtcp));
            if added.is_err() {
                return;
            }
            self.pairs += 1;
            self.pbx.add_port(port);
        }
    }

    fn add_socket(&mut self, role: UdpSocketRole, socket: UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(number_of(role)), epoll::EventFlags::IN)?;
        self.sockets.insert(role, socket);
        Ok(())
    }
}

/// A free even port and the one above it, both bound.
fn bind_pair(bind: IpAddr) -> Option<(u16, UdpSocket, UdpSocket)> {
    (0..BIND_TRIES).find_map(|_| {
        let first = UdpSocket::bind((bind, 0)).ok()?;
        let port = first.local_addr().ok()?.port();
        let second = UdpSocket::bind((bind, port ^ 1)).ok()?;
        Some(if port & 1 == 0 { (port, first, second) } else { (port ^ 1, second, first) })
    })
}

/// Each call takes two descriptors: asks for as many as the system allows without privilege. Failing that, fewer calls fit.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn number_of(role: UdpSocketRole) -> u64 {
    match role {
        UdpSocketRole::Sip => 0,
        UdpSocketRole::Rtp(port) => 1 << 16 | u64::from(port),
        UdpSocketRole::Rtcp(port) => 2 << 16 | u64::from(port),
    }
}

fn role_of(number: u64) -> Option<UdpSocketRole> {
    let port = (number & 0xFFFF) as u16;
    match number >> 16 {
        0 => Some(UdpSocketRole::Sip),
        1 => Some(UdpSocketRole::Rtp(port)),
        2 => Some(UdpSocketRole::Rtcp(port)),
        // The stop flag is what woke us.
        _ => None,
    }
}

/// The event number of the waker.
const WAKE: u64 = 3 << 16;

/// Calls at one time.
const CALLS_MAX: usize = 1_000;

/// Pairs bound ahead of the calls that will want them, as many as one turn can bring INVITEs: none waits for a bind.
const IDLE_PAIRS: usize = DATAGRAMS_A_TURN;

/// Tries for an even port whose neighbour is free too.
const BIND_TRIES: usize = 64;

/// Ready sockets taken at once.
const EVENTS: usize = 256;

/// Datagrams taken from one socket before the next has its turn.
const DATAGRAMS_A_TURN: usize = 64;

/// How many calls make it worth to wait for more than one datagram.
const CALLS_BEFORE_TICKING: usize = 8;

/// How long datagrams are gathered then.
const TICK: Duration = Duration::from_millis(1);

/// The longest sleep.
const IDLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::net::LocalSocket;
    use crate::rtp::Header;
    use crate::sdp::{Direction, LocalDescription};
    use crate::sip::{Address, Invite, SipEvent, UserAgent, UserAgentConfig};

    #[test]
    fn a_pair_is_even_and_its_neighbour() {
        let (port, rtp, rtcp) = bind_pair(IpAddr::from([127, 0, 0, 1])).unwrap();
        assert_eq!(port % 2, 0);
        assert_eq!(rtp.local_addr().unwrap().port(), port);
        assert_eq!(rtcp.local_addr().unwrap().port(), port + 1);
    }

    /// On real sockets and real time: what virtual time cannot show.
    #[test]
    fn a_tone_comes_over_real_sockets_and_ends_with_the_pbx() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let (sip, rtp) = (UdpSocket::bind((loopback, 0)).unwrap(), UdpSocket::bind((loopback, 0)).unwrap());
        let contact = sip.local_addr().unwrap();
        let pbx = start(contact, loopback).unwrap();
        let mut phone = UserAgent::new(
            UserAgentConfig { contact, product: "test".to_owned(), credentials: None, shard: None, transactions_max: 10, sessions_max: 10 },
            [7; 32],
        );
        let rtp_port = rtp.local_addr().unwrap().port();
        let local = LocalDescription {
            address: loopback,
            rtp_port,
            rtcp_port: rtp_port ^ 1,
            session_id: 1,
            version: 1,
            direction: Direction::SendRecv,
            codecs: vec![Codec::Opus],
        };
        let invite = Invite {
            peer: pbx.address,
            target: format!("sip:9197@{}", pbx.address),
            from: Address::new("alice", "test"),
            to: Address::new("9197", "test"),
            headers: Vec::new(),
            body: Some(local.offer()),
        };
        phone.invite(invite, Instant::now()).unwrap();
        let mut buffer = [0; MAX_DATAGRAM];
        let mut wait_for = |phone: &mut UserAgent, what: fn(&SipEvent) -> bool| {
            for _ in 0..20 {
                let mut seen = false;
                while let Some(event) = phone.poll_event() {
                    seen |= what(&event);
                }
                while let Some(transmit) = phone.poll_transmit() {
                    sip.send_to(&transmit.bytes, transmit.to).unwrap();
                }
                if seen {
                    return;
                }
                let (length, from) = sip.recv_from(&mut buffer).unwrap();
                phone.handle_datagram(&buffer[..length], from, LocalSocket::Sip, Instant::now());
            }
            panic!("20 datagrams without what was waited for");
        };
        sip.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        rtp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        wait_for(&mut phone, |event| matches!(event, SipEvent::Answered { .. }));
        let first_at = {
            rtp.recv_from(&mut [0; MAX_DATAGRAM]).unwrap();
            Instant::now()
        };
        let mut sequences = Vec::new();
        for _ in 0..50 {
            let mut packet = [0; MAX_DATAGRAM];
            let (length, _) = rtp.recv_from(&mut packet).unwrap();
            let header = Header::parse(&packet[..length]).unwrap();
            assert_eq!(header.payload_type, 111);
            sequences.push(header.sequence);
        }
        let took = first_at.elapsed();
        assert!(took.abs_diff(Duration::from_secs(1)) < Duration::from_millis(300), "50 frames took {took:?}");
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
        drop(pbx);
        wait_for(&mut phone, |event| matches!(event, SipEvent::Ended { .. }));
    }

    #[test]
    fn every_role_is_found_again_by_its_number() {
        for role in [UdpSocketRole::Sip, UdpSocketRole::Rtp(0xFFFE), UdpSocketRole::Rtcp(2)] {
            assert_eq!(role_of(number_of(role)), Some(role));
        }
        assert_eq!(role_of(WAKE), None);
    }
}
