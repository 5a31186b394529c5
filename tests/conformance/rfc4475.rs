//! RFC 4475, the torture messages: each with what its section wants done.
//!
//! The gateway is an endpoint and no registrar: where the RFC tells a registrar what to do, a REGISTER is refused by RFC 3261 section 8.2.1,
//! which looks at the method before anything else but the syntax: 405 with Allow (RFC 4475 section 3.3.7 says so itself).

use std::fs;

use nexus_gateway::net::LocalSocket;
use nexus_gateway::sip::{InviteFailure, SipEvent};

use crate::edge::{Edge, PEER};
use crate::message::Message;
use crate::user_agent::{Callee, Caller};

/// What has to become of a message.
enum Treatment {
    /// It is a call: 100 and 180 go back, and the agent is told of it.
    Rings,
    /// It gets this one final response, with these fields in it, each holding all these words.
    Answered(u16, &'static [(&'static str, &'static [&'static str])]),
    /// It is dropped and counted under this reason, whether it comes out of nowhere or is made the answer to an INVITE of ours.
    Discarded(&'static str),
    /// It is a good response: out of nowhere it is dropped, as the answer to an INVITE of ours it counts.
    Counts,
}

use Treatment::{Answered, Counts, Discarded, Rings};

/// Endpoints list what they understand.
const ALLOW: (&str, &[&str]) = ("Allow", &["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"]);
const NOT_ALLOWED: Treatment = Answered(405, &[ALLOW]);
const CAPABILITIES: Treatment = Answered(200, &[ALLOW, ("Accept", &["application/sdp"]), ("Supported", &[])]);
const BAD_REQUEST: Treatment = Answered(400, &[]);

const MESSAGES: [(&str, &str, Treatment); 49] = [
    // "All elements should treat this as a well-formed request." It is one within a dialog, which nobody here knows: RFC 3261 section 12.2.2.
    ("wsinv", "3.1.1.1", Answered(481, &[])),
    // "Endpoints will generate a 501 listing the methods they understand in an Allow header field."
    ("intmeth", "3.1.1.2", Answered(501, &[ALLOW])),
    // "A parser must accept this as a well-formed message."
    ("esc01", "3.1.1.3", Rings),
    // "The message is well formed - parsers must accept this message."
    ("escnull", "3.1.1.4", NOT_ALLOWED),
    // "It is NOT equivalent to REGISTER. [..] An endpoint would reject this message with a 501."
    ("esc02", "3.1.1.5", Answered(501, &[ALLOW])),
    // "Elements should accept this request as well formed."
    ("lwsdisp", "3.1.1.6", CAPABILITIES),
    // "This well-formed request contains header fields with many values and values that are very long."
    ("longreq", "3.1.1.7", Rings),
    // "handle the REGISTER request normally and ignore the extra bits that look like an INVITE request"
    ("dblreq", "3.1.1.8", NOT_ALLOWED),
    // "Receiving elements will accept this as a well-formed message."
    ("semiuri", "3.1.1.9", CAPABILITIES),
    // "Parsers must accept this message as well formed."
    ("transports", "3.1.1.10", CAPABILITIES),
    // "Parsers must accept this message as well formed": a MESSAGE, which is not allowed here.
    ("mpart01", "3.1.1.11", NOT_ALLOWED),
    // "A parser must accept this message."
    ("unreason", "3.1.1.12", Counts),
    ("noreason", "3.1.1.13", Counts),
    // "should respond with a 400 Bad Request error"
    ("badinv01", "3.1.2.1", BAD_REQUEST),
    // "When sent over UDP (as this message ostensibly was), the receiving element should respond with a 400 Bad Request error."
    ("clerr", "3.1.2.2", BAD_REQUEST),
    // "should respond with an error"
    ("ncl", "3.1.2.3", BAD_REQUEST),
    // "should respond with a 400 Bad Request due to the CSeq error"
    ("scalar02", "3.1.2.4", BAD_REQUEST),
    // "An element receiving this response will simply discard it."
    ("scalarlg", "3.1.2.5", Discarded("sip_malformed")),
    // "should return a 400 Bad Request error"
    ("quotbal", "3.1.2.6", BAD_REQUEST),
    // "It is reasonable always to reject a request with this error with a 400 Bad Request."
    ("ltgtruri", "3.1.2.7", BAD_REQUEST),
    // "should respond with a 400 Bad Request"
    ("lwsruri", "3.1.2.8", BAD_REQUEST),
    // "It is acceptable to reject this request as malformed."
    ("lwsstart", "3.1.2.9", BAD_REQUEST),
    ("trws", "3.1.2.10", BAD_REQUEST),
    // "It is acceptable for an element to reject this request with a 400 Bad Request."
    ("escruri", "3.1.2.11", BAD_REQUEST),
    // "an element shouldn't do that [reject it] unless the contents of the Date header field were actually important to its processing"
    ("baddate", "3.1.2.12", Rings),
    // "It is reasonable for an element receiving this request to respond with a 400": here its method is refused before its Contact is read.
    ("regbadct", "3.1.2.13", NOT_ALLOWED),
    // "Elements attempting to be liberal may ignore the spaces."
    ("badaspec", "3.1.2.14", CAPABILITIES),
    // "An element may attempt to be liberal in what it receives and infer the missing quotes": for the umlauts of an old PBX's display names.
    ("baddn", "3.1.2.15", CAPABILITIES),
    // "should respond to the request with a 505 Version Not Supported error"
    ("badvers", "3.1.2.16", Answered(505, &[])),
    // "Any element receiving this request will respond with a 400 Bad Request."
    ("mismatch01", "3.1.2.17", BAD_REQUEST),
    // "should respond with a 501 Not Implemented. A 400 Bad Request is also acceptable"
    ("mismatch02", "3.1.2.18", Answered(501, &[ALLOW])),
    // "An element receiving this response should simply drop it."
    ("bigcode", "3.1.2.19", Discarded("sip_not_sip")),
    // "could reject the request with a 400 Response [..], or it could fall back to the RFC 2543-style transaction identifier"
    ("badbranch", "3.2.1", CAPABILITIES),
    // "Ideally, it will respond with a 400 Bad Request error."
    ("insuf", "3.3.1", BAD_REQUEST),
    // "will reject it with a 416 Unsupported URI Scheme response"
    ("unkscm", "3.3.2", Answered(416, &[])),
    // "If an element will never accept this scheme as meaningful in a Request-URI, it is appropriate to [..] return a 416"
    ("novelsc", "3.3.3", Answered(416, &[])),
    // "Parsers must not fail when receiving this message."
    ("unksm2", "3.3.4", NOT_ALLOWED),
    // "a 420 Bad Extension response, containing an Unsupported header field listing these features": those of Require, not of Proxy-Require.
    ("bext01", "3.3.5", Answered(420, &[("Unsupported", &["nothingSupportsThis,", "nothingSupportsThisEither"])])),
    // "An endpoint receiving this request would reject it with a 415 Unsupported Media Type error."
    ("invut", "3.3.6", Answered(415, &[("Accept", &["application/sdp"])])),
    // "Endpoints choosing not to act as registrars will simply reject the request. A 405 Method Not Allowed is appropriate."
    ("regaut01", "3.3.7", NOT_ALLOWED),
    // "would respond with a 400 Bad Request error"
    ("multi01", "3.3.8", BAD_REQUEST),
    // "should respond with an error"
    ("mcl01", "3.3.9", BAD_REQUEST),
    // "an endpoint receiving this message should simply discard it"
    ("bcast", "3.3.10", Discarded("sip_stray_response")),
    // "An endpoint should process the request as if the Max-Forwards field value were still positive."
    ("zeromf", "3.3.11", CAPABILITIES),
    // What a registrar does with these three is beyond us.
    ("cparam01", "3.3.12", NOT_ALLOWED),
    ("cparam02", "3.3.13", NOT_ALLOWED),
    ("regescrt", "3.3.14", NOT_ALLOWED),
    // "could respond with a 406 Not Acceptable, with a Warning/399 indicating that a response cannot be formulated"
    ("sdp01", "3.3.15", Answered(406, &[("Warning", &["399"])])),
    // "should be accepted by RFC 3261 elements that want to maintain backwards compatibility"
    ("inv2543", "3.4.1", Rings),
];

fn bytes_of(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/conformance/rfc4475/{name}.dat", env!("CARGO_MANIFEST_DIR"))).expect("the message is in the repository")
}

#[test]
fn every_message_gets_the_treatment_that_its_section_asks_for() {
    let mut names: Vec<&str> = MESSAGES.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), MESSAGES.len());
    for (name, section, treatment) in &MESSAGES {
        println!("{name}, section {section}");
        let bytes = bytes_of(name);
        match treatment {
            Rings | Answered(..) => {
                // Not on the public port alone: a peer that has our Contact sends to the shard's own.
                let mut own = Edge::new();
                let on_own = own.receive_from(LocalSocket::Sip, &bytes, PEER);
                own.assert_all_ends();
                let mut public = Edge::new();
                let outcome = public.receive(&bytes);
                let expected = match treatment {
                    Rings => {
                        outcome.rings();
                        assert!(outcome.looked_up.is_some());
                        // There, nobody knows whom it is for.
                        on_own.refused(404);
                        180
                    }
                    Answered(status, fields) => {
                        let response = outcome.refused(*status);
                        for (field, words) in *fields {
                            let value = response.get(field).unwrap_or_else(|| panic!("no {field} in {response:?}"));
                            assert!(words.iter().all(|word| value.contains(word)), "{field}: {value}");
                        }
                        on_own.refused(*status);
                        *status
                    }
                    Counts | Discarded(_) => unreachable!("a response"),
                };
                assert_eq!(outcome.response().status(), expected);
                if !["badinv01", "multi01", "insuf"].contains(name) {
                    let request = Message::read(&bytes);
                    outcome.sent.iter().for_each(|sent| request.assert_echoed_by(&sent.message));
                }
                public.assert_all_ends();
            }
            Discarded(reason) => {
                Edge::new().receive(&bytes).assert_dropped(reason);
                Edge::new().receive_from(LocalSocket::Sip, &bytes, PEER).assert_dropped(reason);
                let mut caller = Caller::new();
                caller.receive(&as_answer_to(&bytes, &caller.invite));
                assert!(caller.events().is_empty() && caller.sent().is_empty());
                assert_eq!(caller.dropped(), [(*reason, 1)]);
            }
            Counts => Edge::new().receive(&bytes).assert_dropped("sip_stray_response"),
        }
    }
}

/// The response with the fields that make it the answer to this request of ours, all else left as it is.
fn as_answer_to(response: &[u8], request: &Message) -> Vec<u8> {
    let mut replaced: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for (number, line) in response.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = String::from_utf8_lossy(line);
        let name = text.split(':').next().unwrap_or_default().to_owned();
        // The number of CSeq may be what is wrong; the branch and the method are what it is found by.
        let name = ["Via", "From", "Call-ID", "CSeq"].into_iter().find(|known| number > 0 && *known == name && !replaced.contains(known));
        match name {
            Some("CSeq") if text.len() > 20 => out.extend_from_slice(text.replace("OPTIONS", "INVITE").as_bytes()),
            Some(name) => out.extend_from_slice(format!("{name}: {}\r\n", request.get(name).unwrap_or_default()).as_bytes()),
            None => out.extend_from_slice(line),
        }
        replaced.extend(name);
    }
    out
}

#[test]
fn a_reason_phrase_may_be_anything_and_nothing() {
    let mut caller = Caller::new();
    caller.receive(&as_answer_to(&bytes_of("unreason"), &caller.invite));
    assert!(matches!(caller.events().as_slice(), [SipEvent::Answered { body: Some(body), .. }] if body.starts_with(b"v=0")));
    assert_eq!(caller.sent().iter().map(Message::method).collect::<Vec<_>>(), ["ACK"]);

    let mut caller = Caller::new();
    caller.receive(&as_answer_to(&bytes_of("noreason"), &caller.invite));
    assert!(caller.events().is_empty());
    // It counts as provisional: the INVITE is not repeated any more, and may be cancelled (RFC 3261 section 9.1).
    caller.cancel();
    assert_eq!(caller.sent().iter().map(Message::method).collect::<Vec<_>>(), ["CANCEL"]);
    let mut unheard = Caller::new();
    unheard.cancel();
    assert!(unheard.sent().is_empty(), "else the line above shows nothing");

    // The words are handed on as they came.
    let mut caller = Caller::new();
    let refusal = String::from_utf8(bytes_of("unreason")).expect("UTF-8").replacen("SIP/2.0 200 ", "SIP/2.0 403 ", 1);
    caller.receive(&as_answer_to(refusal.as_bytes(), &caller.invite));
    let events = caller.events();
    let [SipEvent::Failed { failure: InviteFailure::Rejected { status: 403, phrase, .. }, .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(phrase.starts_with("= 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}"), "{phrase}");
}

#[test]
fn what_the_valid_calls_say_is_understood() {
    // Section 3.1.1.1: the same call outside of a dialog; three Vias, folded and in a list, all come back.
    let wsinv = String::from_utf8(bytes_of("wsinv")).expect("text").replace(" ;   tag    = 1918181833n", "");
    let outcome = Edge::new().receive(wsinv.as_bytes());
    assert_eq!(outcome.rings().caller_name.as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(outcome.looked_up, Some(("vivekg".to_owned(), "chair-dnrc.example.com".to_owned())));
    Message::read(wsinv.as_bytes()).assert_echoed_by(outcome.response());
    assert_eq!(outcome.response().all("Via").len(), 3);

    // Section 3.1.1.3: unescaped where % is an escape, and never twice.
    let outcome = Edge::new().receive(&bytes_of("esc01"));
    assert_eq!(outcome.rings().phone_number, "I have spaces");
    assert_eq!(outcome.looked_up, Some(("sips:user@example.com".to_owned(), "example.net".to_owned())));

    // Section 3.1.1.7: nothing of it is shortened.
    let outcome = Edge::new().receive(&bytes_of("longreq"));
    assert_eq!(outcome.rings().phone_number, "amazinglylongcallername".repeat(5));
    assert_eq!(outcome.response().all("Via").len(), 34);

    // Section 3.1.1.9, asked for as a call: "the user part is user;par=u@example.net".
    let semiuri = String::from_utf8(bytes_of("semiuri")).expect("text").replace("OPTIONS", "INVITE");
    let outcome = Edge::new().receive(semiuri.as_bytes());
    assert_eq!(outcome.looked_up, Some(("user;par=u@example.net".to_owned(), "example.com".to_owned())));

    // Section 3.4.1: without a Contact the caller is called back where it called from; here it ends the ringing as RFC 2543 does it.
    let mut edge = Edge::new();
    let inv2543 = bytes_of("inv2543");
    let outcome = edge.receive(&inv2543);
    assert_eq!((outcome.rings().phone_number.as_str(), outcome.response().get("Contact").is_some()), ("+13035551111", true));
    assert_eq!(outcome.response().get("Record-Route"), Some("<sip:UserB@example.com;maddr=ss1.example.com>"));
    assert_eq!(edge.receive(&inv2543).statuses(), [180], "a repetition is known by more than its branch");
    let text = String::from_utf8(inv2543).expect("text");
    let cancel = text.replacen("INVITE sip", "CANCEL sip", 1).replace("56 INVITE", "56 CANCEL");
    let (head, _) = cancel.split_once("Content-Type").expect("a body");
    assert_eq!(edge.receive(format!("{head}\r\n").as_bytes()).statuses(), [200, 487]);
}

#[test]
fn the_noise_behind_a_datagrams_message_is_no_message() {
    // Section 3.1.1.8.
    let outcome = Edge::new().receive(&bytes_of("dblreq"));
    assert_eq!((outcome.statuses(), outcome.looked_up), (vec![405], None));
    // Section 3.1.1.11: a body may hold NULs; the one here is as long as it says.
    let mpart01 = bytes_of("mpart01");
    let read = Message::read(&mpart01);
    assert_eq!(read.get("Content-Length"), Some(read.body.len().to_string().as_str()));
    assert!(read.body.contains(&0));
}

#[test]
fn what_a_peer_got_wrong_in_its_names_is_not_passed_on() {
    // Sections 3.1.2.14 and 3.1.2.15: such a call is taken, and whatever we send within its dialog names the peer by the book.
    for (wrong, right) in [
        ("Bell, Alexander <sip:a.g.bell@example.com>;tag=43", "\"Bell, Alexander\" <sip:a.g.bell@example.com>;tag=43"),
        ("\"Bell\" < sip:a.g.bell@example.com >;tag=43", "\"Bell\" <sip:a.g.bell@example.com>;tag=43"),
    ] {
        let mut callee = Callee::answering(wrong, "");
        callee.hang_up();
        let sent = callee.sent();
        let [bye] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!((bye.method(), bye.get("To")), ("BYE", Some(right)));
    }
}
