//! RFC 5118, the torture messages for IPv6. The files are transcriptions of the RFC's text; their Content-Length was counted anew, since what
//! is printed there is not what their bodies have.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use nexus_gateway::net::LocalSocket;

use crate::edge::{Edge, PEER};
use crate::message::Message;

/// Each message with the status that it is finally answered with. A REGISTER is refused as in RFC 4475, and a request within a dialog that
/// nobody knows with 481: both show that it was read.
const MESSAGES: [(&str, &str, u16); 12] = [
    // "A SIP implementation receiving this request should process [it]" as any other.
    ("ipv6-good", "4.1", 405),
    // "should respond with a 400 Bad Request error"
    ("ipv6-bad", "4.2", 400),
    // "From a parsing perspective, the request below is well-formed."
    ("port-ambiguous", "4.3", 405),
    ("port-unambiguous", "4.4", 405),
    // "A SIP implementation receiving either of these messages must parse them successfully."
    ("via-received-param-with-delim", "4.5", 481),
    ("via-received-param-no-delim", "4.5", 200),
    // Its only audio codec is G.726, which we do not have: 488 once all of it was read.
    ("ipv6-in-sdp", "4.6", 488),
    ("mult-ip-in-header", "4.7", 481),
    // The audio is on IPv4, the video that we do not want on IPv6.
    ("mult-ip-in-sdp", "4.8", 180),
    // G.726 again.
    ("ipv4-mapped-ipv6", "4.9", 488),
    // "an implementation must tolerate both of the above constructs"
    ("ipv6-bug-abnf-3-colons", "4.10", 200),
    ("ipv6-correct-abnf-2-colons", "4.10", 200),
];

fn bytes_of(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/conformance/rfc5118/{name}.dat", env!("CARGO_MANIFEST_DIR"))).expect("the message is in the repository")
}

fn text_of(name: &str) -> String {
    String::from_utf8(bytes_of(name)).expect("text")
}

/// A peer on IPv6.
fn peer() -> SocketAddr {
    "[2001:db8::9:1]:5060".parse().expect("an address")
}

#[test]
fn every_message_gets_the_treatment_that_its_section_asks_for() {
    for (name, section, status) in MESSAGES {
        for from in [PEER, peer()] {
            println!("{name}, section {section}, from {from}");
            let bytes = bytes_of(name);
            let mut edge = Edge::new();
            let outcome = edge.receive_from(LocalSocket::SipPublic, &bytes, from);
            if status == 180 {
                outcome.rings();
            } else {
                outcome.refused(status);
            }
            let request = Message::read(&bytes);
            for sent in &outcome.sent {
                request.assert_echoed_by(&sent.message);
                assert_eq!(sent.to.ip(), from.ip(), "a response goes to where its request came from (RFC 3261 section 18.2.2)");
            }
            edge.assert_all_ends();
        }
    }
}

#[test]
fn the_brackets_alone_tell_an_address_from_a_port() {
    // Sections 4.3 and 4.4, asked for as calls.
    for (name, host) in [("port-ambiguous", "2001:db8::10:5070"), ("port-unambiguous", "2001:db8::10")] {
        let outcome = Edge::new().receive(text_of(name).replace("REGISTER", "INVITE").as_bytes());
        assert_eq!(outcome.looked_up, Some((String::new(), host.to_owned())));
    }
}

#[test]
fn what_the_receiver_saw_takes_the_place_of_what_came_with_the_via() {
    // Section 4.5: with and without delimiters it is understood, and replaced, since it is ours to write (RFC 3261 section 18.2.1); without
    // delimiters then, as the grammar has it.
    let from: SocketAddr = "[2001:db8::9:254]:6000".parse().expect("an address");
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let outcome = Edge::new().receive_from(LocalSocket::SipPublic, &bytes_of(name), from);
        let via = outcome.response().get("Via").expect("a Via").to_owned();
        assert!(via.ends_with(";received=2001:db8::9:254") && via.matches("received").count() == 1, "{via}");
        assert_eq!(outcome.sent[0].to, "[2001:db8::9:254]:5060".parse().expect("an address"));
        // With rport (RFC 3581 section 4) it goes to the very port, also on IPv6.
        let asks = text_of(name).replace(";branch", ";rport;branch");
        let outcome = Edge::new().receive_from(LocalSocket::SipPublic, asks.as_bytes(), from);
        assert!(outcome.response().get("Via").is_some_and(|via| via.ends_with(";rport=6000")));
        assert_eq!(outcome.sent[0].to, from);
    }
    // Section 4.7: only the top Via is ours to stamp.
    let outcome = Edge::new().receive_from(LocalSocket::SipPublic, &bytes_of("mult-ip-in-header"), from);
    assert_eq!(outcome.response().all("Via")[2], "SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200");
    assert_eq!(outcome.sent[0].to, "[2001:db8::9:254]:6050".parse().expect("an address"));
}

#[test]
fn a_via_with_a_mapped_address_is_that_ipv4_peers() {
    // Section 4.9: nothing to add where the top Via says the same in other words.
    let from: SocketAddr = "192.0.2.10:19823".parse().expect("an address");
    let outcome = Edge::new().receive_from(LocalSocket::SipPublic, &bytes_of("ipv4-mapped-ipv6"), from);
    assert_eq!(outcome.response().get("Via"), Some("SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19"));
    assert_eq!(outcome.sent[0].to, from);
}

#[test]
fn an_offer_rings_where_its_address_can_be_reached_from_ours() {
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    // The same offers with a codec of ours; without a Content-Length the body is what there is (RFC 3261 section 18.3).
    let with_a_codec = |name: &str| {
        let text = text_of(name).replace("RTP/AVP 2\r\na=rtpmap:2 G726-32/8000", "RTP/AVP 0");
        let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Content-Length"));
        lines.collect::<String>()
    };
    // Section 4.6: the media of an IPv6 peer, on IPv6.
    let offer = with_a_codec("ipv6-in-sdp");
    Edge::with_media(v6).receive(offer.as_bytes()).rings();
    Edge::new().receive(offer.as_bytes()).refused(488);
    // Section 4.8: the audio's own address counts.
    Edge::new().receive(&bytes_of("mult-ip-in-sdp")).rings();
    Edge::with_media(v6).receive(&bytes_of("mult-ip-in-sdp")).refused(488);
    // Section 4.9: a mapped address is an IPv4 address.
    let offer = with_a_codec("ipv4-mapped-ipv6");
    Edge::new().receive(offer.as_bytes()).rings();
    Edge::with_media(v6).receive(offer.as_bytes()).refused(488);
}
