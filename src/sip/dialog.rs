//! Dialogs (RFC 3261 section 12): what makes requests of one session belong together, and where they go.

use std::net::SocketAddr;

use super::digest::Challenge;
use super::field::{NameAddr, Uri};
use super::message::{Headers, Method, Request, Response};

/// One dialog, from our side.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub call_id: String,
    /// Empty with a peer of RFC 2543 that sends none.
    pub remote_tag: String,
    /// From of our requests, with its tag.
    local: String,
    /// To of our requests, with its tag.
    remote: String,
    /// The peer's Contact: the Request-URI of our requests.
    pub remote_target: String,
    /// Route values, nearest first.
    route_set: Vec<String>,
    /// CSeq of our last request.
    pub local_cseq: u32,
    /// CSeq of the peer's last request.
    pub remote_cseq: Option<u32>,
    /// Where the dialog began: the next hop wherever the route or the target names no address that we can send to.
    pub peer: SocketAddr,
    /// Challenges answered in this dialog; later requests answer them at once.
    pub challenges: Vec<Challenge>,
}

impl Dialog {
    /// The caller's side of a dialog made by a response to our INVITE (section 12.1.2). `None` without a To.
    pub fn of_caller(invite: &Request, response: &Response, peer: SocketAddr, challenges: Vec<Challenge>) -> Option<Self> {
        let headers = &response.headers;
        Some(Self {
            call_id: invite.headers.call_id().to_owned(),
            remote_tag: headers.tag_of_to().unwrap_or_default(),
            local: invite.headers.get("From")?.to_owned(),
            remote: headers.get("To")?.to_owned(),
            remote_target: headers.contact().unwrap_or_else(|| invite.uri.clone()),
            route_set: record_route(headers).rev().map(str::to_owned).collect(),
            local_cseq: invite.headers.cseq_number(),
            remote_cseq: None,
            peer,
            challenges,
        })
    }

    /// The callee's side of a dialog made by an INVITE (section 12.1.1).
    pub fn of_callee(invite: &Request, local_tag: &str, peer: SocketAddr) -> Option<Self> {
        let headers = &invite.headers;
        let (from, to) = (headers.from()?, headers.to()?);
        let remote_tag = from.tag().unwrap_or_default().to_owned();
        Some(Self {
            call_id: headers.call_id().to_owned(),
            local: format!("{};tag={local_tag}", to.strict()),
            remote: if remote_tag.is_empty() { from.strict() } else { format!("{};tag={remote_tag}", from.strict()) },
            remote_tag,
            // A client of RFC 2543 need not name a Contact; then it is called back where it called from.
            remote_target: headers.contact().unwrap_or(from.uri),
            route_set: record_route(headers).map(str::to_owned).collect(),
            local_cseq: 0,
            remote_cseq: Some(headers.cseq_number()),
            peer,
            challenges: Vec::new(),
        })
    }

    /// A request within the dialog, still without Via (section 12.2.1.1). An ACK carries the number given.
    pub fn request(&mut self, method: Method, ack_of: Option<u32>) -> Request {
        let cseq = ack_of.unwrap_or_else(|| {
            self.local_cseq += 1;
            self.local_cseq
        });
        let (uri, routes) = self.route();
        let mut headers = Headers::default();
        headers.push("Max-Forwards", "70");
        for route in routes {
            headers.push("Route", route);
        }
        headers.push("From", self.local.as_str());
        headers.push("To", self.remote.as_str());
        headers.push("Call-ID", self.call_id.as_str());
        headers.push("CSeq", format!("{cseq} {method}"));
        Request { method, uri, headers, body: Vec::new() }
    }

    /// Where requests of this dialog go.
    pub fn next_hop(&self) -> SocketAddr {
        let first = match self.route_set.first() {
            Some(route) => NameAddr::parse(route).map(|route| route.uri),
            None => Some(self.remote_target.clone()),
        };
        // An address that no socket of ours can send to is no better than a name.
        let usable = |at: &SocketAddr| at.is_ipv4() == self.peer.is_ipv4() && !at.ip().is_unspecified() && !at.ip().is_multicast();
        first.and_then(|uri| Uri::parse(&uri)?.socket_addr()).filter(usable).unwrap_or(self.peer)
    }

    /// Takes a newer Contact (section 12.2).
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Some(contact) = headers.contact() {
            self.remote_target = contact;
        }
    }

    /// Request-URI and Route values; a strict router on top changes both (section 12.2.1.1).
    fn route(&self) -> (String, Vec<String>) {
        let Some((first, rest)) = self.route_set.split_first() else { return (self.remote_target.clone(), Vec::new()) };
        let uri = NameAddr::parse(first).map(|route| route.uri).unwrap_or_default();
        let loose = Uri::parse(&uri).is_none_or(|uri| uri.has_headers || uri.params.get("lr").is_some());
        if loose {
            return (self.remote_target.clone(), self.route_set.clone());
        }
        let mut routes = rest.to_vec();
        routes.push(format!("<{}>", self.remote_target));
        (uri, routes)
    }
}

fn record_route(headers: &Headers) -> impl DoubleEndedIterator<Item = &str> {
    headers.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Record-Route")).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Message;

    fn response(text: &str) -> Response {
        match Message::parse(text.replace('\n', "\r\n").as_bytes()) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn invite() -> Request {
        let text = "INVITE sip:bob@pbx SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=our\nTo: <sip:bob@pbx>\n\
                    Call-ID: c\nCSeq: 4 INVITE\nContact: <sip:a@192.0.2.1>\n\n";
        match Message::parse(text.replace('\n', "\r\n").as_bytes()) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    const OK: &str = "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=our\nTo: <sip:bob@pbx>;tag=their\n\
                      Call-ID: c\nCSeq: 4 INVITE\nContact: <sip:bob@192.0.2.77:5080>\n";

    #[test]
    fn a_loose_route_set_is_reversed_and_leads() {
        let text = format!("{OK}Record-Route: <sip:192.0.2.20;lr>,<sip:192.0.2.10:5062;lr>\n\n");
        let peer = "192.0.2.99:5060".parse().unwrap();
        let mut dialog = Dialog::of_caller(&invite(), &response(&text), peer, Vec::new()).unwrap();
        let bye = dialog.request(Method::Bye, None);
        assert_eq!(bye.uri, "sip:bob@192.0.2.77:5080");
        assert_eq!(bye.headers.all("Route").collect::<Vec<_>>(), ["<sip:192.0.2.10:5062;lr>", "<sip:192.0.2.20;lr>"]);
        assert_eq!(bye.headers.cseq(), Some((5, Method::Bye)));
        assert_eq!(dialog.next_hop(), "192.0.2.10:5062".parse().unwrap());
    }

    #[test]
    fn a_strict_router_takes_the_place_of_the_target() {
        let text = format!("{OK}Record-Route: <sip:192.0.2.20;lr>\nRecord-Route: <sip:192.0.2.10>\n\n");
        let mut dialog = Dialog::of_caller(&invite(), &response(&text), "192.0.2.99:5060".parse().unwrap(), Vec::new()).unwrap();
        let bye = dialog.request(Method::Bye, None);
        assert_eq!(bye.uri, "sip:192.0.2.10");
        assert_eq!(bye.headers.all("Route").collect::<Vec<_>>(), ["<sip:192.0.2.20;lr>", "<sip:bob@192.0.2.77:5080>"]);
    }

    #[test]
    fn without_a_route_the_contact_is_the_next_hop_and_a_host_name_falls_back_to_the_peer() {
        let peer: SocketAddr = "192.0.2.99:5060".parse().unwrap();
        let mut dialog = Dialog::of_caller(&invite(), &response(&format!("{OK}\n")), peer, Vec::new()).unwrap();
        assert_eq!(dialog.next_hop(), "192.0.2.77:5080".parse().unwrap());
        let mut headers = Headers::default();
        headers.push("Contact", "<sip:bob@pbx.example.com>");
        dialog.refresh_target(&headers);
        assert_eq!(dialog.next_hop(), peer);
    }

    #[test]
    fn what_may_not_stand_in_a_request_line_is_no_target() {
        let peer: SocketAddr = "192.0.2.99:5060".parse().unwrap();
        for contact in ["\u{fffd}sip:bob@pbx>", "<sip:bob\"@pbx>", "<sip:bob@pbx?Subject=x>", "bob", "<sip:a b@pbx>"] {
            let text = OK.replace("<sip:bob@192.0.2.77:5080>", contact);
            let mut dialog = Dialog::of_caller(&invite(), &response(&format!("{text}\n")), peer, Vec::new()).unwrap();
            assert_eq!(dialog.request(Method::Bye, None).uri, "sip:bob@pbx", "{contact}");
        }
        let text = format!("{OK}Record-Route: <sip:192.0.2.10?Subject=x>\n\n");
        let mut dialog = Dialog::of_caller(&invite(), &response(&text), peer, Vec::new()).unwrap();
        assert_eq!(dialog.request(Method::Bye, None).uri, "sip:bob@192.0.2.77:5080");
    }
}
