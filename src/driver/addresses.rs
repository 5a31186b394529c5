//! Our addresses as others have to see them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::ptr;

use super::error::DriverError;
use crate::config::SipPeer;

/// The addresses that go into candidates: those announced, else the bound one, else each of this host's that is of the bound family and
/// not loopback (loopback where there is no other).
///
/// # Errors
///
/// The system does not tell its addresses.
pub fn candidates(bind: IpAddr, announced: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    if !announced.is_empty() {
        return Ok(announced.to_vec());
    }
    if !bind.is_unspecified() {
        return Ok(vec![bind]);
    }
    Ok(choose(bind, host_addresses()?))
}

fn choose(bind: IpAddr, mut host: Vec<IpAddr>) -> Vec<IpAddr> {
    host.retain(|ip| bind.is_ipv6() || ip.is_ipv4());
    if host.iter().any(|ip| !ip.is_loopback()) {
        host.retain(|ip| !ip.is_loopback());
    }
    host.dedup();
    host
}

/// The local address that a socket bound to `bind` has towards `peer`.
///
/// # Errors
///
/// [`DriverError::NoRoute`].
pub fn local_towards(bind: IpAddr, peer: SocketAddr) -> Result<IpAddr, DriverError> {
    if !bind.is_unspecified() {
        return Ok(bind);
    }
    let any = if peer.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    // Connecting a UDP socket sends nothing: it asks the routing table.
    let local = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    local.map(|address| address.ip()).map_err(|source| DriverError::NoRoute { peer, source })
}

/// The address of a peer that sockets bound to `bind` can reach.
///
/// # Errors
///
/// [`DriverError::Unresolved`].
pub fn resolve(peer: &SipPeer, bind: IpAddr) -> Result<SocketAddr, DriverError> {
    let unresolved = |reason: String| DriverError::Unresolved { key: "FREESWITCH_HOST", host: peer.host.clone(), reason };
    let reachable = |address: &SocketAddr| match bind {
        IpAddr::V4(_) => address.is_ipv4(),
        IpAddr::V6(_) => address.is_ipv6() || bind.is_unspecified(),
    };
    let mut addresses = (peer.host.as_str(), peer.port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
    addresses.find(reachable).ok_or_else(|| unresolved("it has no address of the family of SIP_BIND_IP".to_owned()))
}

/// Every address of every interface that is up; without link-local ones, which mean nothing elsewhere.
fn host_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer to a list that it allocates; it is freed below, once, and not used after.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = list;
    // SAFETY: `next` is null or an entry of the list that getifaddrs made and that is not freed yet.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        if entry.ifa_flags & libc::IFF_UP as libc::c_uint == 0 || entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: the address is not null, and its family says which structure it is; each is copied out unaligned-safe.
        let ip = unsafe {
            match i32::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
                }
                libc::AF_INET6 => {
                    let v6 = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
                }
                _ => None,
            }
        };
        let link_local = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        addresses.extend(ip.filter(|ip| !link_local(ip)));
    }
    // SAFETY: the list came from getifaddrs and no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn announced_addresses_win_over_bound_ones_and_those_over_the_hosts() {
        assert_eq!(candidates(ip("0.0.0.0"), &[ip("203.0.113.9")]).unwrap(), [ip("203.0.113.9")]);
        assert_eq!(candidates(ip("127.0.0.1"), &[]).unwrap(), [ip("127.0.0.1")]);
        let host = || vec![ip("127.0.0.1"), ip("192.0.2.7"), ip("::1"), ip("2001:db8::7")];
        assert_eq!(choose(ip("0.0.0.0"), host()), [ip("192.0.2.7")]);
        assert_eq!(choose(ip("::"), host()), [ip("192.0.2.7"), ip("2001:db8::7")]);
        assert_eq!(choose(ip("0.0.0.0"), vec![ip("127.0.0.1")]), [ip("127.0.0.1")]);
    }

    #[test]
    fn this_host_knows_its_loopback_address() {
        assert!(host_addresses().unwrap().contains(&ip("127.0.0.1")));
    }

    #[test]
    fn towards_a_peer_on_loopback_we_are_on_loopback() {
        let peer = "127.0.0.9:5060".parse().unwrap();
        assert!(local_towards(ip("0.0.0.0"), peer).unwrap().is_loopback());
        assert_eq!(local_towards(ip("192.0.2.1"), peer).unwrap(), ip("192.0.2.1"));
    }

    #[test]
    fn a_peer_of_the_wrong_family_is_an_error_that_names_the_key() {
        let peer = SipPeer::parse("[::1]:5060").unwrap();
        assert!(resolve(&peer, ip("127.0.0.1")).unwrap_err().to_string().contains("FREESWITCH_HOST"));
        assert_eq!(resolve(&peer, ip("::")).unwrap(), "[::1]:5060".parse().unwrap());
        assert!(resolve(&SipPeer::parse("localhost:5070").unwrap(), ip("127.0.0.1")).unwrap().is_ipv4());
    }
}
