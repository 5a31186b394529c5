//! What RFC 3261 section 8.2 wants answered to a request, outside of a dialog and within one.

use crate::edge::Edge;
use crate::user_agent::Callee;

/// A request outside of a dialog with these header lines, and perhaps a body behind an empty one.
fn request(method: &str, uri: &str, more: &str) -> String {
    let more = if more.contains("\r\n\r\n") { more.to_owned() } else { format!("{more}\r\n") };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.2:40060;rport;branch=z9hG4bK1\r\nFrom: <sip:bob@example.com>;tag=b\r\n\
         To: <sip:100@example.com>\r\nCall-ID: requests\r\nCSeq: 1 {method}\r\nContact: <sip:bob@203.0.113.2:40060>\r\n{more}"
    )
}

const URI: &str = "sip:100@example.com";
const OFFER: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 203.0.113.2\r\ns=-\r\nc=IN IP4 203.0.113.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

#[test]
fn methods_that_are_not_allowed_are_405_and_unknown_ones_501_each_with_allow() {
    for (methods, status) in
        [(&["REGISTER", "MESSAGE", "SUBSCRIBE", "PUBLISH", "PRACK"][..], 405), (&["FOO", "invite", "Bye", "X-1.!%*_+`'~"][..], 501)]
    {
        for method in methods {
            let mut edge = Edge::new();
            let outcome = edge.receive(request(method, URI, "").as_bytes());
            let allow = outcome.refused(status).get("Allow").expect("Allow").to_owned();
            assert!(allow.split(", ").all(|allowed| allowed != *method), "{allow}");
            assert!(["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"].iter().all(|needed| allow.split(", ").any(|allowed| allowed == *needed)));
            edge.assert_all_ends();
            // Within a dialog it is the same, and the dialog lives on.
            let mut callee = Callee::new();
            let responses = callee.request(method, "");
            assert_eq!((responses[0].status(), responses[0].get("Allow")), (status, Some(allow.as_str())), "{method}");
            assert_eq!(callee.request("INFO", "")[0].status(), 200);
        }
    }
}

#[test]
fn options_tells_what_we_can_do() {
    for response in [Edge::new().receive(request("OPTIONS", URI, "").as_bytes()).refused(200), &Callee::new().request("OPTIONS", "")[0]] {
        assert!(response.get("Allow").is_some_and(|allow| allow.contains("REFER")));
        assert_eq!((response.get("Accept"), response.get("Accept-Encoding")), (Some("application/sdp"), Some("identity")));
        // No extensions (RFC 3261 section 20.37).
        assert_eq!(response.get("Supported"), Some(""));
    }
}

#[test]
fn required_extensions_are_refused_but_never_of_a_cancel_or_an_ack() {
    let more = "Require: 100rel\r\nRequire: timer, gruu\r\n";
    for method in ["INVITE", "OPTIONS", "BYE", "UPDATE", "REFER"] {
        let outcome = Edge::new().receive(request(method, URI, more).as_bytes());
        assert_eq!(outcome.refused(420).get("Unsupported"), Some("100rel, timer, gruu"));
        let responses = Callee::new().request(method, more);
        assert_eq!((responses[0].status(), responses[0].get("Unsupported")), (420, Some("100rel, timer, gruu")), "{method}");
    }
    // RFC 3261 section 8.2.2.3.
    let mut edge = Edge::new();
    edge.receive(request("INVITE", URI, OFFER).as_bytes()).rings();
    assert_eq!(edge.receive(request("CANCEL", URI, more).as_bytes()).statuses(), [200, 487]);
    assert_eq!(edge.receive(request("ACK", URI, more).as_bytes()).statuses(), [0_u16; 0]);
    // A method that is not there is refused for that, whatever it requires (section 8.2 has the order).
    Edge::new().receive(request("FOO", "unknown:x", more).as_bytes()).refused(501);
    Edge::new().receive(request("OPTIONS", "unknown:x", more).as_bytes()).refused(416);
    // What only proxies are to understand is none of our business (section 20.29).
    Edge::new().receive(request("OPTIONS", URI, "Proxy-Require: foo\r\n").as_bytes()).refused(200);
}

#[test]
fn a_request_uri_is_of_a_known_scheme_and_well_formed() {
    for uri in ["unknown:x", "http://example.com", "mailto:a@example.com", "urn:service:sos"] {
        Edge::new().receive(request("INVITE", uri, OFFER).as_bytes()).refused(416);
        Edge::new().receive(request("OPTIONS", uri, "").as_bytes()).refused(416);
    }
    for uri in ["sip:100@example.com", "sips:100@example.com", "SIP:100@example.com", "tel:100", "sip:100@[2001:db8::1]:5070;transport=udp"]
    {
        let outcome = Edge::new().receive(request("INVITE", uri, OFFER).as_bytes());
        outcome.rings();
        assert_eq!(outcome.looked_up.expect("a look-up").0, "100");
    }
    for uri in [
        "100",
        "sip:",
        "sip:@",
        "sip:100@example.com:port",
        "sip:100@example.com:99999",
        "sip:100@2001:db8::1",
        "<sip:100@example.com>",
        "*",
    ] {
        Edge::new().receive(request("INVITE", uri, OFFER).as_bytes()).refused(400);
    }
}

#[test]
fn a_body_that_cannot_be_understood_is_415_unless_it_may_be_passed_over() {
    let offer = OFFER.split_once("\r\n\r\n").expect("a body").1;
    for fields in [
        "Content-Type: application/isup\r\n",
        "Content-Type: text/plain\r\n",
        "",
        "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n",
        "Content-Type: application/sdp\r\nContent-Encoding: identity, gzip\r\n",
        "Content-Type: multipart/mixed;boundary=x\r\n",
        "Content-Type: application/isup\r\nContent-Disposition: signal;handling=required\r\n",
    ] {
        let outcome = Edge::new().receive(request("INVITE", URI, &format!("{fields}\r\n{offer}")).as_bytes());
        let response = outcome.refused(415);
        assert_eq!((response.get("Accept"), response.get("Accept-Encoding")), (Some("application/sdp"), Some("identity")), "{fields}");
        assert_eq!(Callee::new().request("INVITE", &format!("{fields}\r\n{offer}"))[0].status(), 415);
    }
    let multipart = format!(
        "Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\n--a b\r\nContent-Type: application/isup\r\n\r\n\0\u{1}\r\n--a b\r\nc: Application/SDP;x=y\r\n\r\n{offer}\r\n--a b--\r\n"
    );
    let identity = format!("Content-Type: Application/SDP; charset=x\r\nContent-Encoding: identity\r\n\r\n{offer}");
    for more in [&multipart, &identity] {
        Edge::new().receive(request("INVITE", URI, more).as_bytes()).rings();
    }
    // Passed over, it is no offer: one is made in the 200, which the gateway does not do: 488 (RFC 3261 section 13.2.1, 20.11).
    let optional = "Content-Type: application/isup\r\nContent-Disposition: signal ; Handling=Optional\r\n\r\nx";
    Edge::new().receive(request("INVITE", URI, optional).as_bytes()).refused(488);
    // What is no description at all.
    Edge::new().receive(request("INVITE", URI, "Content-Type: application/sdp\r\n\r\nhello").as_bytes()).refused(400);
}

#[test]
fn hops_do_not_matter_to_an_endpoint_but_their_syntax_does() {
    for hops in ["0", "1", "70", "255", "0070"] {
        Edge::new().receive(request("OPTIONS", URI, &format!("Max-Forwards: {hops}\r\n")).as_bytes()).refused(200);
        Edge::new().receive(request("INVITE", URI, &format!("Max-Forwards: {hops}\r\n{OFFER}")).as_bytes()).rings();
    }
    for hops in ["-1", "many", "", "256", "7 0", "70\r\nMax-Forwards: 70"] {
        Edge::new().receive(request("OPTIONS", URI, &format!("Max-Forwards: {hops}\r\n")).as_bytes()).refused(400);
    }
}

#[test]
fn requests_of_unknown_dialogs_are_481() {
    let within = |method: &str| request(method, URI, "").replace("To: <sip:100@example.com>", "To: <sip:100@example.com>;tag=00-0123");
    for method in ["INVITE", "BYE", "INFO", "UPDATE", "NOTIFY", "REFER", "OPTIONS"] {
        let mut edge = Edge::new();
        edge.receive(within(method).as_bytes()).refused(481);
        edge.assert_all_ends();
    }
    // Those that make only sense within one, and a CANCEL of nothing.
    for method in ["BYE", "INFO", "UPDATE", "NOTIFY", "CANCEL"] {
        Edge::new().receive(request(method, URI, "").as_bytes()).refused(481);
    }
    // An ACK is never answered (section 17).
    Edge::new().receive(within("ACK").as_bytes()).assert_dropped("sip_stray_ack");
    Edge::new().receive(request("ACK", URI, "").as_bytes()).assert_dropped("sip_stray_ack");
}

#[test]
fn a_request_that_came_by_two_ways_is_482() {
    // RFC 3261 section 8.2.2.2: the same request in another transaction.
    let mut edge = Edge::new();
    let invite = request("INVITE", URI, OFFER);
    edge.receive(invite.as_bytes()).rings();
    edge.receive(invite.replace("branch=z9hG4bK1", "branch=z9hG4bK2").as_bytes()).refused(482);
    assert_eq!(edge.receive(invite.as_bytes()).statuses(), [180], "a repetition is none");
    edge.assert_all_ends();
}

#[test]
fn what_every_request_must_have_is_asked_for() {
    let whole = request("OPTIONS", URI, "Max-Forwards: 70\r\n");
    for name in ["From", "To", "Call-ID", "CSeq"] {
        let line = whole.split_inclusive("\r\n").find(|line| line.starts_with(&format!("{name}:"))).expect("the line");
        Edge::new().receive(whole.replace(line, "").as_bytes()).refused(400);
        Edge::new().receive(whole.replace(line, &format!("{line}{line}")).as_bytes()).refused(400);
        Edge::new().receive(whole.replace(line, &format!("{name}:\r\n")).as_bytes()).refused(400);
    }
    for cseq in ["1", "OPTIONS", "x OPTIONS", "-1 OPTIONS", "2147483648 OPTIONS", "4294967296 OPTIONS", "1 OPTIONS x", "1 BYE"] {
        Edge::new().receive(whole.replace("1 OPTIONS", cseq).as_bytes()).refused(400);
    }
    Edge::new().receive(whole.replace("1 OPTIONS", "2147483647 OPTIONS").as_bytes()).refused(200);
    // Without a Via nobody can be answered.
    let line = whole.split_inclusive("\r\n").find(|line| line.starts_with("Via:")).expect("the line");
    Edge::new().receive(whole.replace(line, "").as_bytes()).assert_dropped("sip_malformed");
    // A header line that is none.
    for broken in ["no colon\r\n", ": no name\r\n", "two words: x\r\n"] {
        Edge::new().receive(whole.replace("Max-Forwards: 70\r\n", broken).as_bytes()).refused(400);
    }
}
