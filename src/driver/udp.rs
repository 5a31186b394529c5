//! Batches of datagrams: `recvmmsg` and `sendmmsg`, the cheapest way measured to move many small datagrams through one socket.
//!
//! Everything that reads or writes a shard's sockets is behind [`Socket`], [`Receiver`] and [`Sender`], so that a ring can replace them.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use socket2::{Domain, Protocol, Type};

use crate::net::{Packet, PacketPool};

/// Datagrams of one system call: more gain nothing that could be measured.
pub const BATCH: usize = 64;

/// What is asked of the kernel for a socket that many flows share; it grants at most `net.core.rmem_max` and `wmem_max`.
const SHARED_BUFFER_BYTES: usize = 4 << 20;

/// Enough for one leg's media while its shard is busy with other things.
const OWN_BUFFER_BYTES: usize = 64 << 10;

/// How many flows a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// All of a shard's.
    Shared,
    /// One leg's.
    Own,
}

/// An unconnected UDP socket that is never waited for: each call says for itself that it must not block.
///
/// The file stays in blocking mode, because io_uring, which waits for the socket while the shard is parked, refuses to wait otherwise.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Socket {
    /// Binds a socket; port 0 is any free one. `::` takes IPv4 too.
    ///
    /// # Errors
    ///
    /// Those of bind(2): the address is taken, not ours, or of a family that this host lacks.
    pub fn bind(address: SocketAddr, load: Load) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        let bytes = match load {
            Load::Shared => SHARED_BUFFER_BYTES,
            Load::Own => OWN_BUFFER_BYTES,
        };
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        Ok(Self { address: socket.local_addr()?, socket })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same socket once more, for a thread of its own.
    ///
    /// # Errors
    ///
    /// The process is out of file descriptors.
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, address: self.address })
    }

    /// The same socket once more, as a plain descriptor.
    ///
    /// # Errors
    ///
    /// The process is out of file descriptors.
    pub fn duplicate_fd(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Sends one datagram without waiting.
    ///
    /// # Errors
    ///
    /// Those of sendto(2).
    pub fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        socket2::SockRef::from(&self.socket).send_to_with_flags(bytes, &self.towards(to).into(), flags).map(|_| ())
    }

    /// An IPv4 address as this socket's family writes it.
    fn towards(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.address.is_ipv6() => SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => to,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes datagrams off sockets, a batch at a time. One is enough for all sockets of a shard.
pub struct Receiver {
    packets: Vec<Packet>,
    headers: Box<Headers>,
    /// Datagrams of the last batch.
    received: usize,
}

impl Receiver {
    /// A receiver whose buffers come from `pool`.
    pub fn new(pool: &mut PacketPool) -> Self {
        Self { packets: (0..BATCH).map(|_| pool.take()).collect(), headers: Headers::new(), received: 0 }
    }

    /// Receives what waits on a socket, [`BATCH`] datagrams at most, without waiting; fewer than that means that it was all.
    /// What was not taken of the last batch is dropped.
    ///
    /// # Errors
    ///
    /// Those of recvmmsg(2); nothing waiting is not one of them.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        for slot in 0..BATCH {
            let room = self.packets[slot].receive_room();
            self.headers.point(slot, room.as_mut_ptr(), room.len());
        }
        self.received = 0;
        // SAFETY: the headers were just pointed at BATCH distinct buffers of `self.packets`, at their own I/O vectors and at their own
        // address slots, all with their true lengths; all live in boxes that `self` owns and nothing else touches them during the call.
        let count = unsafe {
            let headers = self.headers.messages.as_mut_ptr();
            // MSG_TRUNC: the length is that of the datagram, also where it found no room.
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            libc::recvmmsg(socket.socket.as_raw_fd(), headers, BATCH as libc::c_uint, flags, ptr::null_mut())
        };
        match usize::try_from(count) {
            Ok(count) => {
                self.received = count.min(BATCH);
                Ok(self.received)
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Takes a datagram of the last batch, by its place in it, and puts a buffer of `pool` in its stead.
    /// `None` beyond the batch's end, or when the sender's address is of no family that we know.
    pub fn take(&mut self, place: usize, pool: &mut PacketPool) -> Option<(SocketAddr, Packet)> {
        if place >= self.received {
            return None;
        }
        let from = self.headers.addresses[place].read()?;
        let length = self.headers.messages[place].msg_len as usize;
        let mut packet = std::mem::replace(&mut self.packets[place], pool.take());
        packet.set_received(length);
        Some((from, packet))
    }
}

/// Datagrams that wait to be sent from one socket.
pub struct Sender {
    waiting: Vec<(SocketAddr, Packet)>,
    headers: Box<Headers>,
}

/// What became of the datagrams of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Given to the kernel.
    pub sent: u64,
    /// Not taken by the kernel: no route, forbidden, or no room. They are lost, as on the wire.
    pub failed: u64,
}

impl Sender {
    /// An empty one.
    pub fn new() -> Self {
        Self { waiting: Vec::with_capacity(BATCH), headers: Headers::new() }
    }

    /// Adds a datagram; `true` when a whole batch waits and [`Sender::flush`] is due.
    pub fn push(&mut self, to: SocketAddr, packet: Packet) -> bool {
        self.waiting.push((to, packet));
        self.waiting.len() >= BATCH
    }

    /// Sends all that waits, without waiting for the network, and gives the buffers back to `pool`.
    pub fn flush(&mut self, socket: &Socket, pool: &mut PacketPool) -> Sent {
        let mut result = Sent::default();
        for batch in self.waiting.chunks_mut(BATCH) {
            let mut done = 0;
            for (slot, (to, packet)) in batch.iter_mut().enumerate() {
                let bytes = packet.bytes_mut();
                self.headers.point(slot, bytes.as_mut_ptr(), bytes.len());
                self.headers.messages[slot].msg_hdr.msg_namelen = self.headers.addresses[slot].write(socket.towards(*to));
            }
            let mut tried = false;
            while done < batch.len() {
                // SAFETY: the headers from `done` up to the batch's length were just pointed at the batch's buffers and at their own I/O
                // vectors and addresses with their true lengths; `waiting` is borrowed for the whole loop and the kernel only reads.
                let count = unsafe {
                    let headers = self.headers.messages.as_mut_ptr().add(done);
                    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                    libc::sendmmsg(socket.socket.as_raw_fd(), headers, (batch.len() - done) as libc::c_uint, flags)
                };
                match usize::try_from(count) {
                    Ok(count) if count > 0 => {
                        done += count;
                        tried = false;
                        result.sent += count as u64;
                    }
                    // The error may be an earlier datagram's, reported only now (udp(7)): then the second try is the first real one.
                    Ok(_) | Err(_) if !tried => tried = true,
                    // The first one of the rest failed; the others may have another way.
                    Ok(_) | Err(_) => {
                        done += 1;
                        tried = false;
                        result.failed += 1;
                    }
                }
            }
        }
        self.waiting.drain(..).for_each(|(_, packet)| pool.give_back(packet));
        result
    }
}

/// What the kernel is told about a batch. It holds pointers, to its own parts and to the buffers of the batch; [`Headers::point`] renews
/// them before each call, so that nothing depends on what an earlier call left.
struct Headers {
    messages: [libc::mmsghdr; BATCH],
    vectors: [libc::iovec; BATCH],
    addresses: [RawAddress; BATCH],
}

impl Headers {
    fn new() -> Box<Self> {
        // SAFETY: all parts are plain C structures of integers and pointers, for which all zeros is a valid value.
        unsafe { Box::new(MaybeUninit::<Self>::zeroed().assume_init()) }
    }

    /// Makes a slot name these bytes, and its own place for an address of the greatest length.
    fn point(&mut self, slot: usize, bytes: *mut u8, length: usize) {
        self.vectors[slot] = libc::iovec { iov_base: bytes.cast(), iov_len: length };
        let header = &mut self.messages[slot].msg_hdr;
        header.msg_iov = &raw mut self.vectors[slot];
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut self.addresses[slot]).cast();
        header.msg_namelen = size_of::<RawAddress>() as libc::socklen_t;
    }
}

/// A socket address as the kernel writes it.
#[repr(C)]
pub(super) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    /// Room for any.
    pub(super) fn empty() -> Self {
        // SAFETY: all members are made of integers, for which all zeros is a valid value.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    /// The address; one that was mapped into IPv6 comes back as IPv4, so that a peer has one name.
    pub(super) fn read(&self) -> Option<SocketAddr> {
        // SAFETY: the union starts all zero and is only written as a whole member, by us or by the kernel, so each member is
        // initialised; all are made of integers, for which every bit pattern is valid.
        let (family, v4, v6) = unsafe { (self.family, self.v4, self.v6) };
        match i32::from(family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(match ip.to_ipv4_mapped() {
                    Some(mapped) => SocketAddr::V4(SocketAddrV4::new(mapped, port)),
                    None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)),
                })
            }
            _ => None,
        }
    }

    /// Writes an address; its length.
    fn write(&mut self, address: SocketAddr) -> libc::socklen_t {
        match address {
            SocketAddr::V4(v4) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: &str) -> Socket {
        Socket::bind(address.parse().unwrap(), Load::Shared).unwrap()
    }

    fn packet(pool: &mut PacketPool, bytes: &[u8]) -> Packet {
        let mut packet = pool.take();
        assert!(packet.copy_from(bytes));
        packet
    }

    /// Everything that waits on a socket, in batches: loopback delivers within the send call.
    fn receive_all(receiver: &mut Receiver, socket: &Socket, pool: &mut PacketPool) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let count = receiver.receive(socket).unwrap();
            for place in 0..count {
                let (from, packet) = receiver.take(place, pool).unwrap();
                all.push((from, packet.bytes().to_vec()));
                pool.give_back(packet);
            }
            if count < BATCH {
                return all;
            }
        }
    }

    #[test]
    fn two_hundred_datagrams_cross_loopback_in_batches_whole_and_in_order() {
        let (a, b) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut pool = PacketPool::new(2 * BATCH);
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new(&mut pool));
        let expected: Vec<Vec<u8>> = (0..200_u32).map(|number| number.to_be_bytes().repeat(1 + number as usize % 100)).collect();
        let mut due = 0;
        for bytes in &expected {
            due += usize::from(sender.push(b.address(), packet(&mut pool, bytes)));
        }
        assert!(due > 0, "a full batch is announced");
        assert_eq!(sender.flush(&a, &mut pool), Sent { sent: 200, failed: 0 });
        let received = receive_all(&mut receiver, &b, &mut pool);
        assert!(received.iter().all(|(from, _)| *from == a.address()));
        assert_eq!(received.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), expected);
        assert_eq!(receiver.receive(&b).unwrap(), 0, "an empty socket is no error");
        assert!(receiver.take(0, &mut pool).is_none());
    }

    #[test]
    fn buffers_come_home_to_the_pool() {
        let (a, b) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut pool = PacketPool::new(BATCH + 10);
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new(&mut pool));
        assert_eq!(pool.idle(), 10);
        for _ in 0..50 {
            (0..10).for_each(|_| _ = sender.push(b.address(), packet(&mut pool, b"x")));
            sender.flush(&a, &mut pool);
            assert_eq!(receive_all(&mut receiver, &b, &mut pool).len(), 10);
        }
        assert_eq!(pool.idle(), 10);
    }

    #[test]
    fn a_datagram_that_cannot_leave_does_not_hold_back_the_others() {
        let (a, b) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut pool = PacketPool::new(BATCH);
        let mut sender = Sender::new();
        sender.push(b.address(), packet(&mut pool, b"first"));
        // An IPv6 destination on an IPv4 socket.
        sender.push("[::1]:9".parse().unwrap(), packet(&mut pool, b"lost"));
        sender.push(b.address(), packet(&mut pool, b"last"));
        assert_eq!(sender.flush(&a, &mut pool), Sent { sent: 2, failed: 1 });
        let mut receiver = Receiver::new(&mut pool);
        let received: Vec<_> = receive_all(&mut receiver, &b, &mut pool).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(received, [b"first".to_vec(), b"last".to_vec()]);
    }

    #[test]
    fn a_datagram_longer_than_a_buffer_is_cut_and_its_neighbours_are_whole() {
        let (a, b) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        a.send(&[7; crate::net::MAX_DATAGRAM + 1], b.address()).unwrap();
        a.send(b"", b.address()).unwrap();
        a.send(b"whole", b.address()).unwrap();
        let mut pool = PacketPool::new(BATCH);
        let mut receiver = Receiver::new(&mut pool);
        assert_eq!(receiver.receive(&b).unwrap(), 3);
        let received: Vec<_> = (0..3).map(|place| receiver.take(place, &mut pool).unwrap().1).collect();
        assert_eq!(received.iter().map(Packet::is_cut).collect::<Vec<_>>(), [true, false, false]);
        let bytes: Vec<_> = received.iter().map(Packet::bytes).collect();
        assert_eq!(bytes, [&[7; crate::net::MAX_DATAGRAM][..], b"", b"whole"]);
    }

    #[test]
    fn a_dual_stack_socket_talks_to_both_families_and_names_ipv4_peers_as_ipv4() {
        let Ok(dual) = Socket::bind("[::]:0".parse().unwrap(), Load::Shared) else { return };
        let (v4, v6) = (socket("127.0.0.1:0"), socket("[::1]:0"));
        let mut pool = PacketPool::new(BATCH);
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new(&mut pool));
        let port = dual.address().port();
        v4.send(b"4", SocketAddr::new(v4.address().ip(), port)).unwrap();
        v6.send(b"6", SocketAddr::new(v6.address().ip(), port)).unwrap();
        let received = receive_all(&mut receiver, &dual, &mut pool);
        assert_eq!(received.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [v4.address(), v6.address()]);
        received.iter().for_each(|(from, bytes)| _ = sender.push(*from, packet(&mut pool, bytes)));
        assert_eq!(sender.flush(&dual, &mut pool), Sent { sent: 2, failed: 0 });
        assert_eq!(receive_all(&mut receiver, &v4, &mut pool).len(), 1);
        assert_eq!(receive_all(&mut receiver, &v6, &mut pool).len(), 1);
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let taken = socket("127.0.0.1:0");
        let error = Socket::bind(taken.address(), Load::Own).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
