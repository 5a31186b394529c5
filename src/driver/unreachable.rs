//! What the network says about datagrams that it could not deliver (ICMP), off a socket's error queue (ip(7), IP_RECVERR).

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use super::udp::{RawAddress, Socket};

impl Socket {
    /// Has the kernel keep what the network reports, for [`Socket::take_unreachable`]. Each report also fails the next call on the socket, once
    /// and whomever that is about: `Sender::flush` tries again.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn report_unreachable(&self) -> io::Result<()> {
        self.switch_on(libc::SOL_IP, libc::IP_RECVERR)?;
        // A dual-stack socket wants both: its IPv4 peers are reported by IPv4.
        if self.address().is_ipv6() { self.switch_on(libc::SOL_IPV6, libc::IPV6_RECVERR) } else { Ok(()) }
    }

    fn switch_on(&self, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open as long as `self`, and the option's value is an int, whose address and length are given.
        let result = unsafe {
            let length = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(self.as_fd().as_raw_fd(), level, name, (&raw const on).cast(), length)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Whom a datagram could not be delivered to; `None` when nothing is reported any more.
    pub fn take_unreachable(&self) -> Option<SocketAddr> {
        loop {
            let (address, report) = self.take_report()?;
            if let Some(address) = address.filter(|_| report.is_some_and(is_unreachable)) {
                return Some(address);
            }
        }
    }

    /// Takes one report off the queue: the destination of the datagram that it is about, and what happened to it.
    fn take_report(&self) -> Option<(Option<SocketAddr>, Option<libc::sock_extended_err>)> {
        let (mut address, mut control) = (RawAddress::empty(), Control([0; CONTROL_BYTES]));
        // SAFETY: the structure is made of integers and pointers, for which all zeros is a valid value.
        let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        header.msg_name = (&raw mut address).cast();
        header.msg_namelen = size_of::<RawAddress>() as libc::socklen_t;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES;
        // SAFETY: the header names one address and one buffer for control messages with their true lengths, and no room for data; both live
        // on this stack and nothing else touches them during the call.
        let result = unsafe { libc::recvmsg(self.as_fd().as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        (result >= 0).then(|| (address.read(), report_of(&header)))
    }
}

/// The report among the control messages that the kernel wrote.
fn report_of(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    let mut found = None;
    // SAFETY: the kernel has filled the buffer that the header names and set its length; CMSG_FIRSTHDR and CMSG_NXTHDR stay within it. It is
    // aligned for their headers. A report is read unaligned, and only out of a message that is long enough to hold one.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(head) = message.as_ref() {
            let kind = (head.cmsg_level, head.cmsg_type);
            let is_report = kind == (libc::SOL_IP, libc::IP_RECVERR) || kind == (libc::SOL_IPV6, libc::IPV6_RECVERR);
            if is_report && head.cmsg_len >= libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as libc::c_uint) as usize {
                found = Some(libc::CMSG_DATA(message).cast::<libc::sock_extended_err>().read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    found
}

/// Whether it says that the destination cannot be reached; time exceeded and the like are to be ignored (RFC 3261 section 18.4).
fn is_unreachable(report: libc::sock_extended_err) -> bool {
    match (report.ee_origin, report.ee_type) {
        // RFC 792; not of a datagram too long for the path, which goes out in fragments the next time.
        (libc::SO_EE_ORIGIN_ICMP, 3) => report.ee_code != 4,
        // RFC 4443 section 3.1.
        (libc::SO_EE_ORIGIN_ICMP6, 1) => true,
        _ => false,
    }
}

/// Room for control messages, aligned for their headers.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// A report takes a header, 16 bytes and the address of whoever reports; no other control message is asked for.
const CONTROL_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::udp::{BATCH, Load, Receiver, Sender, Sent};
    use super::*;
    use crate::net::{Packet, PacketPool};

    fn socket(address: &str) -> Socket {
        Socket::bind(address.parse().unwrap(), Load::Own).unwrap()
    }

    fn packet(pool: &mut PacketPool) -> Packet {
        let mut packet = pool.take();
        assert!(packet.copy_from(b"hello"));
        packet
    }

    /// A port that was free a moment ago.
    fn refusing(host: &str) -> SocketAddr {
        socket(&format!("{host}:0")).address()
    }

    #[test]
    fn a_refused_datagram_is_reported_with_its_address_and_holds_back_no_other() {
        for host in ["127.0.0.1", "[::1]"] {
            let (a, b) = (socket(&format!("{host}:0")), socket(&format!("{host}:0")));
            a.report_unreachable().unwrap();
            let refusing = refusing(host);
            let mut pool = PacketPool::new(2 * BATCH);
            let (mut sender, mut receiver) = (Sender::new(), Receiver::new(&mut pool));
            // Loopback reports within the send call, so that the second datagram is the one to meet the first one's error.
            for to in [refusing, b.address()] {
                sender.push(to, packet(&mut pool));
            }
            assert_eq!(sender.flush(&a, &mut pool), Sent { sent: 2, failed: 0 });
            assert_eq!(receiver.receive(&b).unwrap(), 1);
            assert_eq!((a.take_unreachable(), a.take_unreachable()), (Some(refusing), None));
            // Both kinds of trouble in one call: the error of before, and a datagram that cannot leave.
            sender.push(refusing, packet(&mut pool));
            sender.push("[::1]:0".parse().unwrap(), packet(&mut pool));
            sender.push(b.address(), packet(&mut pool));
            assert_eq!(sender.flush(&a, &mut pool), Sent { sent: 2, failed: 1 });
            assert_eq!(receiver.receive(&b).unwrap(), 1);
        }
    }

    #[test]
    fn a_dual_stack_socket_names_a_refusing_ipv4_peer_as_ipv4() {
        let Ok(dual) = Socket::bind("[::]:0".parse().unwrap(), Load::Own) else { return };
        dual.report_unreachable().unwrap();
        let refusing = refusing("127.0.0.1");
        dual.send(b"hello", refusing).unwrap();
        assert_eq!(dual.take_unreachable(), Some(refusing));
    }

    #[test]
    fn a_socket_that_was_not_told_to_reports_nothing() {
        let plain = socket("127.0.0.1:0");
        plain.send(b"hello", refusing("127.0.0.1")).unwrap();
        assert_eq!(plain.take_unreachable(), None);
    }
}
