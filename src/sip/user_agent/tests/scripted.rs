//! One user agent against a peer that says exactly what a test wants.

use super::*;
use crate::sip::event::InviteFailure;
use crate::sip::message::Message;

/// One user agent, and every message that it has sent so far.
struct Bench {
    agent: UserAgent,
    now: Instant,
}

const PEER: &str = "192.0.2.2:5060";

impl Bench {
    fn new() -> Self {
        Self { agent: UserAgent::new(config(A), [7; 32]), now: Instant::now() }
    }

    fn receive(&mut self, text: &str) {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        self.agent.handle_datagram(&bytes, PEER.parse().unwrap(), LocalSocket::Sip, self.now);
    }

    fn sent(&mut self) -> Vec<(SocketAddr, Message)> {
        std::iter::from_fn(|| self.agent.poll_transmit())
            .map(|transmit| (transmit.to, Message::parse(&transmit.bytes).expect("we send what we can read")))
            .collect()
    }

    fn responses(&mut self) -> Vec<Response> {
        self.sent()
            .into_iter()
            .filter_map(|(_, message)| match message {
                Message::Response(response) => Some(response),
                Message::Request(_) | Message::Faulty(..) => None,
            })
            .collect()
    }

    fn statuses(&mut self) -> Vec<u16> {
        self.responses().iter().map(|response| response.status).collect()
    }

    fn requests(&mut self) -> Vec<(SocketAddr, Request)> {
        self.sent()
            .into_iter()
            .filter_map(|(to, message)| match message {
                Message::Request(request) => Some((to, request)),
                Message::Response(_) | Message::Faulty(..) => None,
            })
            .collect()
    }

    fn events(&mut self) -> Vec<SipEvent> {
        std::iter::from_fn(|| self.agent.poll_event()).collect()
    }

    /// Answers a request of the agent's.
    fn answer(&mut self, request: &Request, status: u16, to_tag: &str, more: &str) {
        let mut text = format!("SIP/2.0 {status} X\nVia: {}\n", request.headers.get("Via").unwrap());
        for name in ["From", "Call-ID", "CSeq"] {
            text.push_str(&format!("{name}: {}\n", request.headers.get(name).unwrap()));
        }
        text.push_str(&format!("To: {};tag={to_tag}\n{more}\n", request.headers.get("To").unwrap()));
        self.receive(&text);
    }

    fn invite(&mut self) -> (SessionKey, Request) {
        let session = self.agent.invite(invite_to(PEER.parse().unwrap()), self.now).expect("room");
        let (to, request) = self.requests().remove(0);
        assert_eq!(to, PEER.parse().unwrap());
        (session, request)
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.agent.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.agent.handle_timeout(at);
        }
        self.now = end;
    }
}

fn request(method: &str, branch: &str, cseq: u32, more: &str) -> String {
    format!(
        "{method} sip:100@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.9:5099;rport;branch=z9hG4bK{branch}\nFrom: \"Bob \\\"B\\\"\" <sip:bob@pbx>;tag=b\n\
         Call-ID: call-1\nCSeq: {cseq} {method}\nContact: <sip:bob@192.0.2.2:5080>\nMax-Forwards: 70\n{more}\n"
    )
}

const TO: &str = "To: <sip:%31%30%30@gw.example.com>\n";

#[test]
fn an_invite_carries_what_rfc_3261_wants() {
    let mut bench = Bench::new();
    let (_, invite) = bench.invite();
    let headers = &invite.headers;
    assert_eq!(invite.uri, "sip:9196@192.0.2.2:5060");
    let via = headers.via().unwrap();
    assert!(via.branch().unwrap().starts_with("z9hG4bK") && via.params.get("rport").is_some());
    assert_eq!(via.sent_by(), "192.0.2.1:5060");
    assert_eq!(headers.get("Max-Forwards"), Some("70"));
    assert!(headers.tag_of_from().is_some_and(|tag| tag.starts_with("00-")) && headers.tag_of_to().is_none());
    assert_eq!(headers.get("Contact"), Some("<sip:192.0.2.1:5060>"));
    assert_eq!(headers.get("X-Call-Id"), Some("7"));
    assert_eq!(headers.get("Content-Length"), Some("5"));
    assert!(headers.get("Allow").is_some_and(|allow| allow.contains("UPDATE")));
}

#[test]
fn a_response_goes_back_where_its_request_came_from() {
    let mut bench = Bench::new();
    bench.agent.handle_datagram(
        request("OPTIONS", "1", 1, TO).replace('\n', "\r\n").as_bytes(),
        PEER.parse().unwrap(),
        LocalSocket::SipPublic,
        bench.now,
    );
    let transmit = bench.agent.poll_transmit().expect("a response");
    assert_eq!((transmit.socket, transmit.to), (LocalSocket::SipPublic, PEER.parse().unwrap()));
    let Ok(Message::Response(response)) = Message::parse(&transmit.bytes) else { panic!("a response") };
    let via = response.headers.via().unwrap();
    assert_eq!((via.params.get("received"), via.params.get("rport")), (Some("192.0.2.2"), Some("5060")));
    assert_eq!(response.status, 200);
    assert!(response.headers.tag_of_to().is_some() && response.headers.get("Allow").is_some());
}

#[test]
fn an_incoming_call_is_told_in_plain_words_and_answered_100_at_once() {
    let mut bench = Bench::new();
    let sdp = format!("{TO}X-Campaign-Id: 9\nRecord-Route: <sip:192.0.2.50;lr>\nContent-Type: application/sdp\n\nv=0");
    bench.receive(&request("INVITE", "1", 1, &sdp).replace("v=0\n", "v=0"));
    assert_eq!(bench.statuses(), [100]);
    let SipEvent::Incoming { session, call } = bench.events().remove(0) else { panic!("a call") };
    assert_eq!((call.from_user.as_str(), call.display_name.as_deref()), ("bob", Some("Bob \"B\"")));
    assert_eq!((call.to_user.as_str(), call.to_host.as_str()), ("100", "gw.example.com"));
    assert_eq!((call.request_user.as_str(), call.request_host.as_str()), ("100", "192.0.2.1"));
    assert_eq!(call.headers, [("X-Campaign-Id".to_owned(), "9".to_owned())]);
    assert_eq!(call.body.as_deref(), Some(&b"v=0"[..]));
    bench.agent.ring(session, None, bench.now);
    bench.agent.accept(session, b"answer".to_vec(), bench.now);
    let responses = bench.responses();
    assert_eq!(responses.iter().map(|response| response.status).collect::<Vec<_>>(), [180, 200]);
    assert_eq!(responses[0].headers.tag_of_to(), responses[1].headers.tag_of_to());
    let ok = &responses[1].headers;
    assert_eq!((ok.get("Record-Route"), ok.get("Contact")), (Some("<sip:192.0.2.50;lr>"), Some("<sip:192.0.2.1:5060>")));
    // The BYE goes along the route, not to where the INVITE came from.
    let tag = ok.tag_of_to().unwrap();
    bench.receive(&request("ACK", "2", 1, &format!("To: <sip:%31%30%30@gw.example.com>;tag={tag}\n")));
    bench.agent.bye(session, None, bench.now);
    let (to, bye) = bench.requests().remove(0);
    assert_eq!((to, bye.uri.as_str()), ("192.0.2.50:5060".parse().unwrap(), "sip:bob@192.0.2.2:5080"));
    assert_eq!(bye.headers.get("To"), Some("\"Bob \\\"B\\\"\" <sip:bob@pbx>;tag=b"));
}

#[test]
fn a_repeated_invite_is_answered_with_the_last_response_and_told_once() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "1", 1, TO);
    bench.receive(&invite);
    bench.receive(&invite);
    assert_eq!(bench.statuses(), [100, 100]);
    let SipEvent::Incoming { session, .. } = bench.events().remove(0) else { panic!("a call") };
    bench.agent.ring(session, None, bench.now);
    bench.receive(&invite);
    assert_eq!(bench.statuses(), [180, 180]);
    assert!(bench.events().is_empty());
    // The same call by another way is a merged request; to another user it is a fork.
    bench.receive(&request("INVITE", "2", 1, TO));
    assert_eq!(bench.statuses(), [482]);
    bench.receive(&request("INVITE", "3", 1, TO).replace("sip:100@192.0.2.1", "sip:101@192.0.2.1"));
    assert_eq!(bench.statuses(), [100]);
}

#[test]
fn requests_that_cannot_be_served_are_refused_by_the_book() {
    let mut bench = Bench::new();
    let cases = [
        ("MESSAGE", TO.to_owned(), 405),
        ("FOO", TO.to_owned(), 501),
        ("BYE", format!("{};tag=00-x\n", TO.trim_end()), 481),
        ("BYE", TO.to_owned(), 481),
        ("CANCEL", TO.to_owned(), 481),
        ("REFER", TO.to_owned(), 403),
        ("INVITE", format!("{TO}Require: 100rel, timer\n"), 420),
        ("INVITE", format!("{TO}Content-Type: application/xml\n\n<a/>"), 415),
        ("INVITE", format!("{TO}Content-Length: 99\n\nv=0"), 400),
    ];
    for (index, (method, more, status)) in cases.into_iter().enumerate() {
        bench.receive(&request(method, &format!("x{index}"), 10 + index as u32, &more));
        let response = bench.responses().remove(0);
        assert_eq!(response.status, status, "{method} {more}");
        match status {
            405 | 501 => assert!(response.headers.get("Allow").is_some()),
            420 => assert_eq!(response.headers.get("Unsupported"), Some("100rel, timer")),
            _ => {}
        }
    }
    assert!(bench.events().is_empty());
    // What cannot be read is copied all the same.
    bench.receive(&request("INVITE", "z", 1, "To: \"open <sip:x@y>\n"));
    assert!(bench.agent.poll_transmit().is_some_and(|transmit| transmit.bytes.starts_with(b"SIP/2.0 400 ")));
    bench.receive(&request("ACK", "y", 1, TO));
    bench.receive(
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKnone\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>\nCall-ID: x\nCSeq: 1 BYE\n\n",
    );
    bench.receive("\n\n");
    assert_eq!(bench.statuses(), [0u16; 0]);
    let dropped: Vec<_> = bench.agent.stats().dropped.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(dropped, [("sip_keep_alive", 1), ("sip_malformed", 2), ("sip_stray_response", 1), ("sip_stray_ack", 1)]);
}

#[test]
fn a_cancel_is_held_back_until_a_provisional_response() {
    let mut bench = Bench::new();
    let (session, invite) = bench.invite();
    bench.agent.cancel(session, bench.now);
    assert!(bench.requests().is_empty());
    bench.answer(&invite, 100, "x", "");
    let (_, cancel) = bench.requests().remove(0);
    assert_eq!((&cancel.method, &cancel.uri), (&Method::Cancel, &invite.uri));
    assert_eq!(cancel.headers.get("Via"), invite.headers.get("Via"));
    assert_eq!(cancel.headers.cseq(), Some((1, Method::Cancel)));
    bench.answer(&cancel, 200, "x", "");
    bench.answer(&invite, 487, "x", "");
    let (to, ack) = bench.requests().remove(0);
    assert_eq!((ack.method, to), (Method::Ack, PEER.parse().unwrap()));
    assert_eq!(ack.headers.get("Via"), invite.headers.get("Via"));
    assert_eq!(bench.events(), [SipEvent::Failed { session, failure: InviteFailure::Cancelled }]);
    // The 487 again is acknowledged again, and told no more.
    bench.answer(&invite, 487, "x", "");
    assert_eq!((bench.requests().len(), bench.events().len()), (1, 0));
}

#[test]
fn a_peer_that_ignores_a_cancel_is_given_up() {
    let mut bench = Bench::new();
    let (session, invite) = bench.invite();
    bench.answer(&invite, 180, "x", "");
    bench.agent.cancel(session, bench.now);
    bench.advance(Duration::from_secs(31));
    assert!(!bench.events().iter().any(|event| matches!(event, SipEvent::Failed { .. })));
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.events(), [SipEvent::Failed { session, failure: InviteFailure::Cancelled }]);
    assert_eq!(bench.agent.stats().sessions, 0);
}

#[test]
fn each_repetition_of_a_2xx_gets_its_ack_and_every_other_fork_is_hung_up() {
    let mut bench = Bench::new();
    let (session, invite) = bench.invite();
    let contact = "Contact: <sip:one@192.0.2.61>\nContent-Type: application/sdp\n\nanswer";
    bench.answer(&invite, 180, "one", "");
    bench.answer(&invite, 183, "two", "");
    bench.answer(&invite, 200, "one", contact);
    let (to, ack) = bench.requests().remove(0);
    assert_eq!((to, ack.uri.as_str()), ("192.0.2.61:5060".parse().unwrap(), "sip:one@192.0.2.61"));
    assert_eq!(ack.headers.cseq(), Some((1, Method::Ack)));
    assert_ne!(ack.headers.branch(), invite.headers.branch());
    let events = bench.events();
    assert!(matches!(events.last(), Some(SipEvent::Answered { .. })), "{events:?}");
    bench.answer(&invite, 200, "one", contact);
    assert_eq!(bench.requests(), [(to, ack)]);
    bench.answer(&invite, 200, "two", "Contact: <sip:two@192.0.2.62>\n");
    let sent = bench.requests();
    assert_eq!(sent.iter().map(|(_, request)| request.method.as_str()).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(sent.iter().all(|(_, request)| request.uri == "sip:two@192.0.2.62" && request.headers.tag_of_to().as_deref() == Some("two")));
    assert!(bench.events().is_empty());
    // Also when the session is gone already.
    bench.agent.bye(session, None, bench.now);
    bench.requests();
    bench.answer(&invite, 200, "one", contact);
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn requests_in_the_wrong_order_are_refused() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "1", 5, TO));
    let SipEvent::Incoming { session, .. } = bench.events().remove(0) else { panic!("a call") };
    bench.agent.accept(session, b"answer".to_vec(), bench.now);
    let tag = bench.responses().last().and_then(|ok| ok.headers.tag_of_to()).unwrap();
    let within = format!("To: <sip:%31%30%30@gw.example.com>;tag={tag}\n");
    bench.receive(&request("ACK", "2", 5, &within));
    bench.receive(&request("INFO", "3", 4, &within));
    assert_eq!(bench.statuses(), [500]);
    bench.receive(&request("INFO", "4", 6, &within).replace("tag=b", "tag=other"));
    assert_eq!(bench.statuses(), [481]);
    bench.receive(&request("INFO", "5", 6, &within.replace("%31", "1")));
    assert_eq!(bench.statuses(), [200], "the address of To does not matter, its tag does");
    // A session refresh without SDP, and an offerless re-INVITE that gets its answer in the ACK.
    bench.receive(&request("UPDATE", "6", 7, &within).replace("192.0.2.2:5080", "192.0.2.3:5080"));
    assert_eq!(bench.statuses(), [200]);
    bench.events();
    bench.receive(&request("INVITE", "7", 8, &within).replace("192.0.2.2:5080", "192.0.2.3:5080"));
    assert_eq!(bench.events(), [SipEvent::Reoffered { session, body: None }]);
    bench.agent.answer_offer(session, Ok(b"offer".to_vec()), bench.now);
    assert_eq!(bench.statuses(), [100, 200]);
    bench.receive(&request("ACK", "8", 8, &format!("{within}Content-Type: application/sdp\n\nanswer")).replace("answer\n", "answer"));
    assert_eq!(bench.events(), [SipEvent::Acknowledged { session, body: Some(b"answer".to_vec()) }]);
    bench.agent.bye(session, None, bench.now);
    assert_eq!(bench.requests().remove(0).0, "192.0.2.3:5080".parse().unwrap(), "the newer Contact");
}

#[test]
fn an_early_update_without_an_offer_does_not_harm_the_call() {
    let mut bench = Bench::new();
    let (_, invite) = bench.invite();
    bench.answer(&invite, 183, "x", "");
    let tag = invite.headers.tag_of_from().unwrap();
    let update = request("UPDATE", "1", 1, &format!("To: <sip:100@gw>;tag={tag}\n"));
    bench.receive(&update.replace("call-1", invite.headers.call_id()));
    assert_eq!(bench.statuses(), [200]);
}

#[test]
fn a_bye_before_the_answer_ends_the_ringing() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "1", 1, TO));
    let SipEvent::Incoming { session, .. } = bench.events().remove(0) else { panic!("a call") };
    bench.agent.ring(session, None, bench.now);
    let tag = bench.responses().last().and_then(|ringing| ringing.headers.tag_of_to()).unwrap();
    bench.receive(&request("BYE", "2", 2, &format!("To: <sip:%31%30%30@gw.example.com>;tag={tag}\n")));
    assert_eq!(bench.statuses(), [200, 487]);
    assert_eq!(bench.events(), [SipEvent::Cancelled { session, reason: None }]);
}

/// A client of RFC 2543 has no magic cookie in its branch, or no branch at all.
#[test]
fn a_client_of_rfc_2543_is_served() {
    let mut bench = Bench::new();
    let old = |method: &str, tag: &str| request(method, "1", 1, &format!("{}{tag}\n", TO.trim_end())).replace(";branch=z9hG4bK1", "");
    bench.receive(&old("INVITE", ""));
    bench.receive(&old("INVITE", ""));
    assert_eq!(bench.events().len(), 1);
    bench.receive(&old("CANCEL", ""));
    let responses = bench.responses();
    assert_eq!(responses.iter().map(|response| response.status).collect::<Vec<_>>(), [100, 100, 200, 487]);
    let tag = responses[3].headers.tag_of_to().unwrap();
    bench.receive(&old("ACK", &format!(";tag={tag}")));
    bench.advance(Duration::from_secs(3));
    assert!(bench.statuses().is_empty(), "the ACK was matched, the 487 is not repeated");
}

#[test]
fn the_torture_messages_of_rfc_4475_harm_nobody() {
    let mut bench = Bench::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/rfc4475");
    let mut dice = ChaCha12Rng::seed_from_u64(1);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the RFC 4475 messages are in the repository") {
        let bytes = std::fs::read(entry.expect("a folder entry").path()).expect("a readable message");
        bench.agent.handle_datagram(&bytes, PEER.parse().unwrap(), LocalSocket::Sip, bench.now);
        for end in 0..bytes.len() {
            bench.agent.handle_datagram(&bytes[..end], PEER.parse().unwrap(), LocalSocket::Sip, bench.now);
            while bench.agent.poll_transmit().is_some() {}
        }
        for _ in 0..50 {
            let mut broken = bytes.clone();
            for _ in 0..dice.random_range(1..8) {
                let at = dice.random_range(0..broken.len());
                broken[at] = dice.random();
            }
            bench.agent.handle_datagram(&broken, PEER.parse().unwrap(), LocalSocket::Sip, bench.now);
        }
        for event in bench.events() {
            if let SipEvent::Incoming { session, .. } = event {
                bench.agent.reject(session, 486, Vec::new(), bench.now);
            }
        }
        count += 1;
    }
    assert_eq!(count, 49);
    bench.advance(Duration::from_secs(200));
    let stats = bench.agent.stats();
    assert_eq!((stats.transactions, stats.sessions, stats.deadlines), (0, 0, 0));
}
