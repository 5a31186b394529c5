//! The forms that one message may have (RFC 3261 section 7.3): whichever a peer chooses, what comes of it is the same.

use crate::edge::{Edge, Outcome};
use crate::user_agent::Callee;

/// An INVITE of these header lines, beside its start line and its offer.
fn invite(lines: &str) -> String {
    let body = "v=0\r\no=- 1 1 IN IP4 203.0.113.2\r\ns=-\r\nc=IN IP4 203.0.113.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    format!("INVITE sip:100@example.com SIP/2.0\r\n{lines}\r\n{body}")
}

const PLAIN: &str = "Via: SIP/2.0/UDP 203.0.113.2:40060;rport;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK0\r\n\
                     Record-Route: <sip:203.0.113.2;lr>\r\nRecord-Route: <sip:203.0.113.9;lr>\r\nMax-Forwards: 70\r\n\
                     From: \"Bob, B\" <sip:bob@example.com>;tag=b\r\nTo: <sip:100@example.com>\r\nCall-ID: syntax@203.0.113.2\r\nCSeq: 1 INVITE\r\n\
                     Contact: <sip:bob@203.0.113.2:40060>\r\nAllow: INVITE\r\nAllow: ACK\r\nSupported: timer\r\nSupported: replaces\r\n\
                     Accept: application/sdp\r\nContent-Type: application/sdp\r\nContent-Length: 91\r\nX-Campaign-Id: 9\r\n";

/// All that others see of an outcome: what was sent and what the agent was told, but for our tags, which follow from the order of things.
fn seen(outcome: &Outcome) -> String {
    let mut seen = format!("{:?} {:?} {:?}", outcome.told, outcome.looked_up, outcome.dropped);
    for sent in &outcome.sent {
        seen.push_str(&format!("\n{:?} {} {} {:?}", sent.socket, sent.to, sent.message.start, sent.message.fields));
    }
    seen
}

/// Checks that this INVITE is the plain one in other words.
fn assert_same(other: &str) {
    let expected = Edge::new().receive(invite(PLAIN).as_bytes());
    expected.rings();
    // The ids of a call and of an agent are of the one seed that all edges have.
    assert_eq!(seen(&Edge::new().receive(other.as_bytes())), seen(&expected), "{other}");
}

#[test]
fn compact_names_are_the_long_ones() {
    let mut compact = PLAIN.to_owned();
    for (long, short) in [
        ("Via", "v"),
        ("From", "f"),
        ("To", "t"),
        ("Call-ID", "i"),
        ("Contact", "m"),
        ("Supported", "k"),
        ("Content-Type", "c"),
        ("Content-Length", "l"),
    ] {
        compact = compact.replace(&format!("\n{long}:"), &format!("\n{short}:"));
    }
    assert_same(&invite(&compact.replacen("Via:", "v:", 1)));
    let upper = compact.split_inclusive("\r\n").map(|line| line[..1].to_ascii_uppercase() + &line[1..]).collect::<String>();
    assert_same(&invite(&upper));
}

#[test]
fn compact_names_count_where_they_decide() {
    // e: Content-Encoding, c: Content-Type.
    for (short, long) in [("e: gzip\r\n", "Content-Encoding: gzip\r\n"), ("c: text/plain\r\n", "Content-Type: text/plain\r\n")] {
        let lines = if short.starts_with('c') { PLAIN.replace("Content-Type: application/sdp\r\n", "") } else { PLAIN.to_owned() };
        let outcome = Edge::new().receive(invite(&format!("{lines}{short}")).as_bytes());
        outcome.refused(415);
        assert_eq!(seen(&outcome), seen(&Edge::new().receive(invite(&format!("{lines}{long}")).as_bytes())));
    }
    // l: Content-Length.
    Edge::new().receive(invite(&PLAIN.replace("Content-Length: 91", "l: 9999")).as_bytes()).refused(400);
    // r: Refer-To, o: Event.
    for (refer, status) in
        [("r: <sip:x@example.com>\r\n", 0), ("Refer-To: <sip:x@example.com>\r\n", 0), ("X: <sip:x@example.com>\r\n", 400)]
    {
        let mut callee = Callee::new();
        let sent: Vec<u16> = callee.request("REFER", refer).iter().map(|response| response.status()).collect();
        assert_eq!(sent, if status == 0 { Vec::new() } else { vec![status] }, "{refer}: its owner is asked, or it is refused at once");
    }
    for (event, status) in [("o: refer\r\n", 481), ("Event: refer\r\n", 481), ("o: presence\r\n", 489)] {
        assert_eq!(Callee::new().request("NOTIFY", event)[0].status(), status, "{event}: nobody asked for reports, or ever does");
    }
}

#[test]
fn folded_lines_are_one_line() {
    for fold in ["\r\n ", "\r\n\t", " \r\n   ", "\t\r\n\t "] {
        let folded = PLAIN
            .replace("To: <", &format!("To:{fold}<"))
            .replace("CSeq: 1 INVITE", &format!("CSeq: 1{fold}INVITE"))
            .replace("Call-ID: ", &format!("Call-ID:{fold}"))
            .replace("Content-Length: ", &format!("Content-Length:{fold}"))
            .replace("X-Campaign-Id: ", &format!("X-Campaign-Id:{fold}"))
            .replace("Contact: ", &format!("Contact:{fold}"));
        let outcome = Edge::new().receive(invite(&folded).as_bytes());
        let incoming = outcome.rings();
        assert_eq!((incoming.to.as_str(), incoming.campaign_id.as_deref()), ("100", Some("9")));
        assert_eq!(outcome.response().get("CSeq").map(|value| value.split_whitespace().collect::<Vec<_>>()), Some(vec!["1", "INVITE"]));
    }
    // A fold within a Via and within quotes.
    let folded = PLAIN.replace(";rport;branch=z9hG4bK1", " ;\r\n rport ;\r\n branch = z9hG4bK1").replace("Bob, B", "Bob,\r\n B");
    let outcome = Edge::new().receive(invite(&folded).as_bytes());
    assert_eq!(outcome.rings().caller_name.as_deref(), Some("Bob, B"));
    assert_eq!(outcome.sent[0].to, crate::edge::PEER);
}

#[test]
fn a_list_is_the_same_field_again_and_again() {
    let listed = PLAIN
        .replace("branch=z9hG4bK1\r\nVia: ", "branch=z9hG4bK1 , ")
        .replace("2;lr>\r\nRecord-Route: ", "2;lr>,")
        .replace("INVITE\r\nAllow: ", "INVITE, ")
        .replace("timer\r\nSupported: ", "timer,");
    assert_same(&invite(&listed));
    // The elements of Require, of Accept and of Content-Encoding decide.
    for more in ["Require: foo, bar\r\n", "Require: foo\r\nRequire: bar\r\n", "rEqUiRe: foo ,bar ,\r\n"] {
        let outcome = Edge::new().receive(invite(&format!("{PLAIN}{more}")).as_bytes());
        assert_eq!(outcome.refused(420).get("Unsupported"), Some("foo, bar"));
    }
    for accept in ["text/plain, application/sdp;level=1", "text/plain\r\nAccept: Application/SDP", "application/*", "*/*;q=0.1"] {
        Edge::new().receive(invite(&PLAIN.replace("Accept: application/sdp", &format!("Accept: {accept}"))).as_bytes()).rings();
    }
    for accept in ["text/plain, text/html", "text/plain\r\nAccept: text/*", ""] {
        Edge::new().receive(invite(&PLAIN.replace("Accept: application/sdp", &format!("Accept: {accept}"))).as_bytes()).refused(406);
    }
}

#[test]
fn routes_and_contacts_in_a_list_are_taken_in_their_order() {
    for more in [
        "Record-Route: <sip:203.0.113.7;lr>,<sip:203.0.113.8;lr>\r\n",
        "Record-Route: <sip:203.0.113.7;lr>\r\nRecord-Route: <sip:203.0.113.8;lr>\r\n",
    ] {
        let mut callee = Callee::answering("<sip:bob@example.com>;tag=bob", more);
        callee.hang_up();
        let sent = callee.sent();
        assert_eq!(sent[0].all("Route"), ["<sip:203.0.113.7;lr>", "<sip:203.0.113.8;lr>"]);
        assert_eq!(sent[0].start, "BYE sip:bob@203.0.113.2 SIP/2.0");
    }
    // Of several Contacts the first; a comma in a name or in a URI separates nothing.
    for contact in ["\"a, b\" <sip:x,y@203.0.113.5>, <sip:z@203.0.113.6>", "<sip:x,y@203.0.113.5>\r\nContact: <sip:z@203.0.113.6>"] {
        let mut callee = Callee::new();
        callee.request("UPDATE", &format!("Contact: {contact}\r\n"));
        callee.hang_up();
        assert_eq!(callee.sent()[0].start, "BYE sip:x,y@203.0.113.5 SIP/2.0");
    }
}

#[test]
fn names_have_no_case_but_methods_have() {
    // A name that is handed on stays as it is written.
    let is_handed_on = |line: &str| line.starts_with("X-");
    let swap = |line: &str| if is_handed_on(line) { line.to_owned() } else { swap_case_of_name(line) };
    assert_same(&invite(&PLAIN.split_inclusive("\r\n").map(swap).collect::<String>()));
    let outcome = Edge::new().receive(invite(&PLAIN.replace("X-Campaign-Id", "x-cAMPAIGN-iD")).as_bytes());
    assert_eq!(outcome.rings().campaign_id.as_deref(), Some("9"));
    // RFC 3261 section 7.1.
    let lower = invite(PLAIN).replace("INVITE sip", "invite sip").replace("1 INVITE", "1 invite");
    Edge::new().receive(lower.as_bytes()).refused(501);
    // The version, the transport, the scheme and the names of parameters have none (sections 7.1, 20.42, 19.1.4, 7.3.1).
    let outcome =
        Edge::new().receive(invite(PLAIN).replace("SIP/2.0", "sip/2.0").replace("/UDP", "/udp").replace(";tag=", ";TAG=").as_bytes());
    outcome.rings();
}

fn swap_case_of_name(line: &str) -> String {
    let (name, value) = line.split_once(':').expect("a header line");
    let swap = |(at, c): (usize, char)| if at % 2 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
    format!("{}  :{value}", name.chars().enumerate().map(swap).collect::<String>())
}
