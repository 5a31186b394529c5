//! Which shard a request on the public SIP socket belongs to.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::field::Uri;
use super::message::{Message, Method};
use super::timers::{RINGING_MAX, T1};
use super::transaction::ServerId;
use crate::ids::ShardId;

/// How long an INVITE is remembered at least, counted from its last message: its CANCEL may come late in the ringing.
const LIFE: Duration = RINGING_MAX.saturating_add(T1.saturating_mul(64));

/// The router of the public SIP socket. It keeps an INVITE, its repetitions, its CANCEL and the ACK to a failure on one shard, since they
/// all arrive here (RFC 3261 sections 9.1 and 17.1.1.3); later requests of a dialog find their shard by our tag.
#[derive(Debug)]
pub struct Ingress {
    shards: u16,
    capacity: usize,
    routes: BTreeMap<ServerId, Route>,
    /// Oldest first; an entry is void when its route has been seen again or is gone.
    ages: VecDeque<(Instant, ServerId)>,
}

#[derive(Debug)]
struct Route {
    shard: ShardId,
    seen: Instant,
}

impl Ingress {
    /// A router for this many shards that remembers up to `capacity` INVITEs; past it the oldest is forgotten.
    pub fn new(shards: u16, capacity: usize) -> Self {
        Self { shards, capacity, routes: BTreeMap::new(), ages: VecDeque::new() }
    }

    /// Finds the shard of a datagram. `lookup` is asked for INVITEs outside of a dialog, with the user (unescaped) and the host of the
    /// Request-URI; what it says beside the shard is handed on, also with repetitions of the INVITE, which stay on the shard that got
    /// the first. Without it the SIP layer alone decides (in-dialog requests, CANCEL, ACK, OPTIONS, ...), also about what is to be
    /// dropped, so that every datagram is counted by some shard.
    pub fn route<T>(
        &mut self,
        bytes: &[u8],
        from: SocketAddr,
        now: Instant,
        lookup: impl FnOnce(&str, &str) -> (ShardId, T),
    ) -> (ShardId, Option<T>) {
        let request = match Message::parse(bytes) {
            Ok(Message::Request(request) | Message::Faulty(request, ..)) => request,
            // Our requests leave from the shards' own ports, their responses go there.
            Ok(Message::Response(_)) | Err(_) => return (self.shard_for(from), None),
        };
        let by_tag = request.headers.tag_of_to().and_then(|tag| self.shard_of(&tag));
        if let Some(shard) = by_tag {
            return (shard, None);
        }
        self.forget_old(now);
        let is_cancel = request.method == Method::Cancel;
        let id = if is_cancel { ServerId::of_cancelled(&request) } else { ServerId::of(&request) };
        let Some(id) = id else { return (self.shard_for(from), None) };
        let known = self.routes.get(&id).map(|route| route.shard);
        let new_invite = request.method == Method::Invite && request.headers.tag_of_to().is_none();
        if new_invite {
            let uri = Uri::parse(&request.uri);
            let (user, host) = uri.as_ref().map_or(("", ""), |uri| (&uri.user, &uri.host));
            let (shard, target) = lookup(user, host);
            let shard = known.unwrap_or(shard);
            self.remember(id, shard, now);
            return (shard, Some(target));
        }
        (known.unwrap_or_else(|| self.shard_for(from)), None)
    }

    /// How many INVITEs are remembered.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    fn remember(&mut self, id: ServerId, shard: ShardId, now: Instant) {
        self.routes.insert(id.clone(), Route { shard, seen: now });
        self.ages.push_back((now, id));
        while self.routes.len() > self.capacity || self.ages.len() > self.capacity.saturating_mul(8) {
            self.forget_oldest();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.ages.front().is_some_and(|(seen, _)| now.saturating_duration_since(*seen) > LIFE) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((seen, id)) = self.ages.pop_front() else { return };
        if self.routes.get(&id).is_some_and(|route| route.seen == seen) {
            self.routes.remove(&id);
        }
    }

    /// The shard that made a tag.
    fn shard_of(&self, tag: &str) -> Option<ShardId> {
        let (shard, _random) = tag.split_once('-')?;
        u16::from_str_radix(shard, 16).ok().filter(|shard| *shard < self.shards).map(ShardId)
    }

    /// Any shard will do, but a repetition has to come to the same one: it comes from the same place.
    fn shard_for(&self, from: SocketAddr) -> ShardId {
        let address = match from.ip() {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let mixed = address.wrapping_add(u128::from(from.port())).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ShardId((mixed % u128::from(self.shards.max(1))) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: &str, branch: &str, to_tag: &str) -> Vec<u8> {
        format!(
            "{method} sip:100@pbx.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:100@pbx.example.com>{to_tag}\r\nCall-ID: x\r\nCSeq: 1 {method}\r\nContact: <sip:a@192.0.2.1>\r\n\r\n"
        )
        .into_bytes()
    }

    const FROM: &str = "192.0.2.1:5060";

    #[test]
    fn an_invite_and_all_that_belongs_to_it_go_to_one_shard() {
        let (mut ingress, start) = (Ingress::new(4, 10), Instant::now());
        let from = FROM.parse().unwrap();
        let asked = |user: &str, host: &str| {
            assert_eq!((user, host), ("100", "pbx.example.com"));
            (ShardId(3), "agent")
        };
        assert_eq!(ingress.route(&message("INVITE", "1", ""), from, start, asked), (ShardId(3), Some("agent")));
        // The agent has moved meanwhile; the transaction has not.
        let moved = |_: &str, _: &str| (ShardId(0), "agent");
        assert_eq!(ingress.route(&message("INVITE", "1", ""), from, start, moved), (ShardId(3), Some("agent")));
        let late = start + Duration::from_secs(120);
        assert_eq!(ingress.route(&message("CANCEL", "1", ""), from, late, moved), (ShardId(3), None));
        assert_eq!(ingress.route(&message("ACK", "1", ""), from, late, moved), (ShardId(3), None));
        let elsewhere = ingress.shard_for(from);
        assert_eq!(ingress.route(&message("ACK", "2", ""), from, late, moved), (elsewhere, None));
        assert_eq!(ingress.route(&message("INVITE", "3", ""), from, late + LIFE * 2, moved), (ShardId(0), Some("agent")));
        assert_eq!(ingress.len(), 1);
    }

    #[test]
    fn a_request_of_a_dialog_is_found_by_the_shard_in_our_tag() {
        let (mut ingress, now, from) = (Ingress::new(4, 10), Instant::now(), FROM.parse().unwrap());
        let nobody = |_: &str, _: &str| -> (ShardId, ()) { panic!("not an INVITE outside of a dialog") };
        assert_eq!(ingress.route(&message("BYE", "1", ";tag=02-abcd"), from, now, nobody), (ShardId(2), None));
        assert_eq!(ingress.route(&message("INVITE", "2", ";tag=01-abcd"), from, now, nobody), (ShardId(1), None));
        let first = ingress.route(&message("OPTIONS", "3", ""), from, now, nobody);
        assert_eq!(first, ingress.route(&message("OPTIONS", "3", ""), from, now, nobody));
    }

    #[test]
    fn what_cannot_be_routed_goes_to_a_shard_to_be_counted() {
        let (mut ingress, now, from) = (Ingress::new(4, 10), Instant::now(), FROM.parse().unwrap());
        let nobody = |_: &str, _: &str| -> (ShardId, ()) { panic!("not an INVITE") };
        let response = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n";
        for bytes in [&b"\r\n\r\n"[..], b"", b"\x00\x01\x00\x00", b"GET / HTTP/1.1\r\n\r\n", response] {
            assert_eq!(ingress.route(bytes, from, now, nobody), (ingress.shard_for(from), None));
        }
        assert!(ingress.is_empty());
    }

    #[test]
    fn the_oldest_invite_is_forgotten_when_the_router_is_full() {
        let (mut ingress, now, from) = (Ingress::new(2, 3), Instant::now(), FROM.parse().unwrap());
        for branch in 0..100 {
            let routed = ingress.route(&message("INVITE", &branch.to_string(), ""), from, now, |_, _| (ShardId(0), ()));
            assert_eq!(routed, (ShardId(0), Some(())));
        }
        assert_eq!(ingress.len(), 3);
        let nobody = |_: &str, _: &str| -> (ShardId, ()) { panic!("not an INVITE") };
        assert_eq!(ingress.shard_for(from), ShardId(1), "else the next line shows nothing");
        assert_eq!(ingress.route(&message("ACK", "0", ""), from, now, nobody), (ShardId(1), None));
        assert_eq!(ingress.route(&message("ACK", "99", ""), from, now, nobody), (ShardId(0), None));
    }
}
