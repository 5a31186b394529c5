//! What a datagram may hold beside one well-formed message: nothing, noise, too much, too little.

use nexus_gateway::limits::{DATAGRAM_BYTES, SIP_HEADER_LINES};
use nexus_gateway::net::LocalSocket;

use crate::edge::{Edge, Outcome, PEER};

const HEAD: &str = "OPTIONS sip:100@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.2:40060;rport;branch=z9hG4bK1\r\n\
                    From: <sip:bob@example.com>;tag=b\r\nTo: <sip:100@example.com>\r\nCall-ID: datagrams\r\nCSeq: 1 OPTIONS\r\n";

/// OPTIONS with these header lines, then an empty line, then a body.
fn options(more: &str, body: &str) -> String {
    format!("{HEAD}{more}\r\n{body}")
}

fn receive(message: impl AsRef<[u8]>) -> Outcome {
    Edge::new().receive(message.as_ref())
}

/// On either port a datagram is dropped and counted.
fn assert_dropped(bytes: &[u8], reason: &'static str) {
    for socket in [LocalSocket::SipPublic, LocalSocket::Sip] {
        Edge::new().receive_from(socket, bytes, PEER).assert_dropped(reason);
    }
}

#[test]
fn keep_alives_are_not_answered() {
    // RFC 5626 section 3.5.1 has a pong on streams only.
    for bytes in [&b"\r\n\r\n"[..], b"\r\n", b"\n", b"", b"\0", b"\0\0\0\0", b"\r\n\r\n\r\n\r\n\0"] {
        assert_dropped(bytes, "sip_keep_alive");
    }
}

#[test]
fn a_stun_binding_request_is_not_answered_on_a_sip_port() {
    // RFC 5626 section 3.5.2 is for who registers through us with outbound; whoever asks sees in silence that nobody can.
    let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    binding.extend_from_slice(b"transaction!");
    assert_dropped(&binding, "sip_not_sip");
}

#[test]
fn what_is_not_sip_is_not_answered() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"OPTIONS",
        b"OPTIONS sip:x",
        b"\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\xff\xfe\xfd",
        b" \r\n",
    ] {
        assert_dropped(bytes, "sip_not_sip");
    }
    for bytes in ["SIP/2.0", "SIP/2.0 ", "SIP/2.0 20 OK", "SIP/2.0 099 OK", "SIP/2.0 700 OK", "SIP/2.0 2OO OK", "SIP/3.0 200 OK"] {
        assert_dropped(format!("{bytes}\r\n\r\n").as_bytes(), "sip_not_sip");
    }
}

#[test]
fn empty_lines_ahead_of_a_message_are_passed_over() {
    // RFC 3261 section 7.5.
    receive(format!("\r\n\r\n{}", options("", ""))).refused(200);
}

#[test]
fn a_body_ends_where_its_length_says_and_has_to_be_there() {
    // RFC 3261 section 18.3.
    for (length, status) in [
        ("0", 200),
        ("3", 200),
        ("5", 200),
        ("6", 400),
        ("99999999999999999999", 400),
        ("-1", 400),
        ("five", 400),
        ("", 400),
        ("+5", 400),
        ("5 5", 400),
    ] {
        receive(options(&format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n"), "12345")).refused(status);
    }
    for (lengths, status) in [("5\r\nContent-Length: 5", 200), ("5\r\nl: 5", 200), ("5\r\nContent-Length: 4", 400), ("5, 5", 400)] {
        receive(options(&format!("Content-Length: {lengths}\r\n"), "12345")).refused(status);
    }
    // A head that never ends is a message without a body.
    receive(HEAD).refused(200);
    // The offer ends where its length says: behind it stands what would spoil it.
    let offer = "v=0\r\no=- 1 1 IN IP4 203.0.113.2\r\ns=-\r\nc=IN IP4 203.0.113.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let invite = |length: usize| {
        let head = HEAD.replace("OPTIONS", "INVITE");
        format!("{head}Contact: <sip:b@203.0.113.2>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{offer}m=noise\r\n")
    };
    receive(invite(offer.len())).rings();
    receive(invite(offer.len() + 9)).refused(400);
}

#[test]
fn lines_may_end_in_a_lone_line_feed_but_not_in_a_lone_carriage_return() {
    receive(options("Max-Forwards: 70\r\n", "").replace("\r\n", "\n")).refused(200);
    receive(options("Max-Forwards: 70\r\n", "").replacen("\r\n", "\n", 3)).refused(200);
    // It is white space of its line, and cannot start another one.
    let outcome = receive(options("Subject: a\rRequire: b\r\n", ""));
    outcome.refused(200);
}

#[test]
fn nothing_in_a_request_can_start_a_line_of_its_response() {
    for evil in ["\rEvil: x", "\0Evil: x", "\r\rEvil: x"] {
        for name in [
            "From: <sip:bob@example.com>;tag=b",
            "To: <sip:100@example.com>",
            "Call-ID: datagrams",
            "Via: SIP/2.0/UDP 203.0.113.2:40060;rport;branch=z9hG4bK1",
        ] {
            let outcome = receive(options("", "").replace(name, &format!("{name}{evil}")));
            for sent in outcome.sent {
                assert!(
                    sent.message.get("Evil").is_none() && !sent.message.fields.iter().any(|(_, value)| value.contains('\r')),
                    "{evil:?} in {name}"
                );
            }
        }
    }
}

#[test]
fn nuls_are_just_bytes() {
    receive(options("Subject: a\0b\r\n", "")).refused(200);
    receive(options("Content-Type: application/octet-stream\r\nContent-Length: 3\r\n", "\0\0\0")).refused(200);
    for broken in [options("", "").replace("OPTIONS sip", "OPT\0IONS sip"), options("", "").replace("SIP/2.0\r\n", "SIP/2.0\0\r\n")] {
        let outcome = receive(broken);
        assert!(outcome.statuses().iter().all(|status| *status == 400 || *status == 505), "{:?}", outcome.statuses());
    }
    receive(options("", "").replace("sip:100@example.com SIP", "sip:1\0@example.com SIP")).refused(400);
}

#[test]
fn a_message_of_just_the_limit_is_taken_and_one_byte_more_is_counted_as_cut() {
    let room = DATAGRAM_BYTES - options("Subject: \r\n", "").len();
    let longest = options(&format!("Subject: {}\r\n", "x".repeat(room)), "");
    assert_eq!(longest.len(), DATAGRAM_BYTES);
    receive(&longest).refused(200);
    assert_dropped(format!("{longest}x").as_bytes(), "cut");
    assert_dropped(longest.replace("Subject: ", "Subject: x").as_bytes(), "cut");
    assert_dropped(&[b'x'; 65_507], "cut");
}

#[test]
fn header_lines_have_a_limit() {
    // The five of the head count, too.
    let more = |lines: usize| "X: y\r\n".repeat(lines);
    receive(options(&more(SIP_HEADER_LINES - 5), "")).refused(200);
    assert_dropped(options(&more(SIP_HEADER_LINES - 4), "").as_bytes(), "sip_too_long");
}
