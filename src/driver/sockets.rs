//! A shard's sockets: what the core calls a [`LocalSocket`], as file descriptors behind one epoll.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;
use rustix::event::{Timespec, epoll};

use super::udp::{BATCH, Load, Receiver, Sender, Sent, Socket};
use crate::net::{LocalSocket, PacketPool, PortPair, Transmit};

/// The sockets of a shard that are bound at the start and live as long as it does.
#[derive(Debug)]
pub struct SharedSockets {
    /// All browsers.
    pub browser: Socket,
    /// The shard's own SIP port.
    pub sip: Socket,
    /// A duplicate of the public SIP socket; only sent from, its receiver is the ingress thread.
    pub sip_public: Socket,
    /// RTP of the pair that the SIP legs share.
    pub rtp: Socket,
    /// RTCP of that pair.
    pub rtcp: Socket,
}

impl SharedSockets {
    fn receiving(&self) -> [(LocalSocket, &Socket); 4] {
        [
            (LocalSocket::Browser, &self.browser),
            (LocalSocket::Rtp(PortPair::SHARED), &self.rtp),
            (LocalSocket::Rtcp(PortPair::SHARED), &self.rtcp),
            (LocalSocket::Sip, &self.sip),
        ]
    }
}

/// All sockets of a shard.
pub struct Sockets {
    shared: SharedSockets,
    own: FxHashMap<PortPair, OwnPair>,
    media_ip: IpAddr,
    epoll: rustix::fd::OwnedFd,
    events: [MaybeUninit<epoll::Event>; BATCH],
    browser: Sender,
    rtp: Sender,
    rtcp: Sender,
    sip: Sender,
    sip_public: Sender,
}

#[derive(Debug)]
struct OwnPair {
    rtp: Socket,
    rtcp: Socket,
}

impl Sockets {
    /// Takes the shared sockets over; own pairs will be bound to `media_ip`.
    ///
    /// # Errors
    ///
    /// The process is out of file descriptors.
    pub fn new(shared: SharedSockets, media_ip: IpAddr) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        shared.sip.report_unreachable()?;
        for (name, socket) in shared.receiving() {
            epoll::add(&epoll, socket, token(name), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            shared,
            own: FxHashMap::default(),
            media_ip,
            epoll,
            events: [MaybeUninit::uninit(); BATCH],
            browser: Sender::new(),
            rtp: Sender::new(),
            rtcp: Sender::new(),
            sip: Sender::new(),
            sip_public: Sender::new(),
        })
    }

    /// Duplicates of the shared sockets that are received from, to wait on while the shard is parked.
    ///
    /// # Errors
    ///
    /// The process is out of file descriptors.
    pub fn duplicates(&self) -> io::Result<Vec<std::os::fd::OwnedFd>> {
        self.shared.receiving().into_iter().map(|(_, socket)| socket.duplicate_fd()).collect()
    }

    /// How many own pairs are open.
    pub fn own_pairs(&self) -> usize {
        self.own.len()
    }

    /// Which sockets have something to receive right now, [`BATCH`] of them at most; `ready` is filled anew.
    pub fn poll(&mut self, ready: &mut Vec<LocalSocket>) {
        ready.clear();
        // An error could only be EINTR, and then the next tick looks again.
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut self.events[..], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            ready.extend(events.iter().map(|event| name_of(event.data)));
        }
    }

    /// The next SIP peer that a message could not be delivered to, as the network reports it. To be asked until there are no more: a report
    /// left lying counts as something to receive.
    pub fn take_unreachable(&self) -> Option<SocketAddr> {
        self.shared.sip.take_unreachable()
    }

    /// Receives one batch from a socket into `receiver`, and says how many datagrams that were; less than [`BATCH`] was all of it.
    pub fn receive(&self, name: LocalSocket, receiver: &mut Receiver) -> usize {
        // An error is an earlier datagram's (see `take_unreachable`) and hides nothing: what waits is still there at the next look. A socket
        // that vanished has nothing to say any more.
        self.socket(name).and_then(|socket| receiver.receive(socket).ok()).unwrap_or(0)
    }

    /// Sends a datagram, or queues it for the next [`Sockets::flush`], and gives its buffer back in the end.
    pub fn send(&mut self, transmit: Transmit, pool: &mut PacketPool) -> Sent {
        let Transmit { socket: name, to, packet } = transmit;
        let (sender, socket) = match name {
            LocalSocket::Browser => (&mut self.browser, &self.shared.browser),
            LocalSocket::Sip => (&mut self.sip, &self.shared.sip),
            LocalSocket::SipPublic => (&mut self.sip_public, &self.shared.sip_public),
            LocalSocket::Rtp(PortPair::SHARED) => (&mut self.rtp, &self.shared.rtp),
            LocalSocket::Rtcp(PortPair::SHARED) => (&mut self.rtcp, &self.shared.rtcp),
            // A leg of its own has one packet in most ticks: a batch would hold one.
            LocalSocket::Rtp(_) | LocalSocket::Rtcp(_) => {
                let sent = self.socket(name).is_some_and(|socket| socket.send(packet.bytes(), to).is_ok());
                pool.give_back(packet);
                return Sent { sent: u64::from(sent), failed: u64::from(!sent) };
            }
        };
        if sender.push(to, packet) { sender.flush(socket, pool) } else { Sent::default() }
    }

    /// Sends all that is queued.
    pub fn flush(&mut self, pool: &mut PacketPool) -> Sent {
        let shared = &self.shared;
        let queues = [
            (&mut self.browser, &shared.browser),
            (&mut self.rtp, &shared.rtp),
            (&mut self.rtcp, &shared.rtcp),
            (&mut self.sip, &shared.sip),
            (&mut self.sip_public, &shared.sip_public),
        ];
        queues
            .into_iter()
            .map(|(sender, socket)| sender.flush(socket, pool))
            .fold(Sent::default(), |total, sent| Sent { sent: total.sent + sent.sent, failed: total.failed + sent.failed })
    }

    /// Binds a pair: RTP on `rtp_port`, RTCP on the port above.
    ///
    /// # Errors
    ///
    /// One of the ports is taken by someone else; then neither is bound.
    pub fn open(&mut self, pair: PortPair, rtp_port: u16) -> io::Result<()> {
        let bind = |port| Socket::bind(SocketAddr::new(self.media_ip, port), Load::Own);
        let rtcp_port = rtp_port.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        let own = OwnPair { rtp: bind(rtp_port)?, rtcp: bind(rtcp_port)? };
        epoll::add(&self.epoll, &own.rtp, token(LocalSocket::Rtp(pair)), epoll::EventFlags::IN)?;
        epoll::add(&self.epoll, &own.rtcp, token(LocalSocket::Rtcp(pair)), epoll::EventFlags::IN)?;
        self.own.insert(pair, own);
        Ok(())
    }

    /// Closes a pair; closing takes its sockets out of the epoll, which holds the only other reference to none of them.
    pub fn close(&mut self, pair: PortPair) {
        self.own.remove(&pair);
    }

    /// Closes every pair of a shard that is no more.
    pub fn close_own_pairs(&mut self) {
        self.own.clear();
    }

    fn socket(&self, name: LocalSocket) -> Option<&Socket> {
        match name {
            LocalSocket::Browser => Some(&self.shared.browser),
            LocalSocket::Sip => Some(&self.shared.sip),
            LocalSocket::SipPublic => Some(&self.shared.sip_public),
            LocalSocket::Rtp(PortPair::SHARED) => Some(&self.shared.rtp),
            LocalSocket::Rtcp(PortPair::SHARED) => Some(&self.shared.rtcp),
            LocalSocket::Rtp(pair) => self.own.get(&pair).map(|own| &own.rtp),
            LocalSocket::Rtcp(pair) => self.own.get(&pair).map(|own| &own.rtcp),
        }
    }
}

/// What epoll hands back for a socket: the pair in the upper bits, the kind in the lowest three.
fn token(name: LocalSocket) -> epoll::EventData {
    let (pair, kind) = match name {
        LocalSocket::Browser => (0, 0),
        LocalSocket::Sip => (0, 1),
        LocalSocket::SipPublic => (0, 2),
        LocalSocket::Rtp(pair) => (pair.0, 3),
        LocalSocket::Rtcp(pair) => (pair.0, 4),
    };
    epoll::EventData::new_u64(u64::from(pair) << 3 | kind)
}

fn name_of(token: epoll::EventData) -> LocalSocket {
    let token = token.u64();
    let pair = PortPair((token >> 3) as u16);
    match token & 7 {
        0 => LocalSocket::Browser,
        1 => LocalSocket::Sip,
        2 => LocalSocket::SipPublic,
        3 => LocalSocket::Rtp(pair),
        _ => LocalSocket::Rtcp(pair),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Socket {
        Socket::bind("127.0.0.1:0".parse().unwrap(), Load::Shared).unwrap()
    }

    fn sockets() -> Sockets {
        let shared = SharedSockets { browser: any(), sip: any(), sip_public: any(), rtp: any(), rtcp: any() };
        Sockets::new(shared, "127.0.0.1".parse().unwrap()).unwrap()
    }

    fn open_somewhere(sockets: &mut Sockets, pair: PortPair) -> u16 {
        let base = any().address().port() & !1;
        (0..200).map(|n| base.saturating_sub(2 * n)).find(|port| sockets.open(pair, *port).is_ok()).unwrap()
    }

    fn transmit(pool: &mut PacketPool, socket: LocalSocket, to: SocketAddr) -> Transmit {
        let mut packet = pool.take();
        assert!(packet.copy_from(b"hello"));
        Transmit { socket, to, packet }
    }

    #[test]
    fn every_socket_is_polled_by_its_name_and_sends_from_its_own_port() {
        let mut sockets = sockets();
        let mut pool = PacketPool::new(BATCH * 2);
        let mut receiver = Receiver::new(&mut pool);
        let rtp_port = open_somewhere(&mut sockets, PortPair(7));
        let peer = any();
        let names = [
            LocalSocket::Browser,
            LocalSocket::Sip,
            LocalSocket::Rtp(PortPair::SHARED),
            LocalSocket::Rtcp(PortPair::SHARED),
            LocalSocket::Rtp(PortPair(7)),
            LocalSocket::Rtcp(PortPair(7)),
        ];
        let mut ready = Vec::new();
        sockets.poll(&mut ready);
        assert!(ready.is_empty());
        for name in names {
            let address = sockets.socket(name).unwrap().address();
            peer.send(b"x", address).unwrap();
            sockets.poll(&mut ready);
            assert_eq!(ready, [name]);
            assert_eq!(sockets.receive(name, &mut receiver), 1);
            assert_eq!(receiver.take(0, &mut pool).unwrap().0, peer.address());
            let transmit = transmit(&mut pool, name, peer.address());
            let direct = sockets.send(transmit, &mut pool);
            assert_eq!(direct.sent + sockets.flush(&mut pool).sent, 1);
            assert_eq!(receiver.receive(&peer).unwrap(), 1);
            assert_eq!(receiver.take(0, &mut pool).unwrap().0, address);
        }
        assert_eq!(sockets.socket(LocalSocket::Rtcp(PortPair(7))).unwrap().address().port(), rtp_port + 1);
    }

    #[test]
    fn a_closed_pair_frees_its_ports_and_is_polled_no_more() {
        let mut sockets = sockets();
        let mut pool = PacketPool::new(4);
        let port = open_somewhere(&mut sockets, PortPair(1));
        let peer = any();
        peer.send(b"late", SocketAddr::new(peer.address().ip(), port)).unwrap();
        sockets.close(PortPair(1));
        let mut ready = Vec::new();
        sockets.poll(&mut ready);
        assert!(ready.is_empty());
        let transmit = transmit(&mut pool, LocalSocket::Rtp(PortPair(1)), peer.address());
        assert_eq!(sockets.send(transmit, &mut pool), Sent { sent: 0, failed: 1 });
        sockets.open(PortPair(2), port).unwrap();
        assert_eq!(sockets.own_pairs(), 1);
    }

    #[test]
    fn a_pair_with_one_port_taken_is_not_opened_by_halves() {
        let mut sockets = sockets();
        let port = open_somewhere(&mut sockets, PortPair(1));
        sockets.close(PortPair(1));
        let taken = Socket::bind(format!("127.0.0.1:{}", port + 1).parse().unwrap(), Load::Own).unwrap();
        assert_eq!(sockets.open(PortPair(2), port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(sockets.own_pairs(), 0);
        drop(taken);
        sockets.open(PortPair(2), port).unwrap();
    }
}
