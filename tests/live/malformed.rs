//! Whatever a client sends instead of a request: each event gets its error answer at once, whatever breaks the protocol costs its own connection at most, and
//! the server serves everybody else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use nexus_gateway::limits::CLIENT_PAYLOAD_BYTES;
use serde_json::{Value, json};
use tungstenite::{Bytes, Message, WebSocket};

use crate::Scenario;
use crate::gateway::Gateway;
use crate::phone::{Phone, auth};
use crate::socket_io::Client;

pub const SCENARIOS: &[Scenario] = &[
    ("every_event_refuses_every_malformed_payload_and_names_the_field", every_event_refuses_every_malformed_payload_and_names_the_field),
    ("broken_frames_cost_their_own_connection_at_most", broken_frames_cost_their_own_connection_at_most),
    ("broken_polling_is_answered_with_an_http_error", broken_polling_is_answered_with_an_http_error),
];

/// A field of a payload, with a value that is right and whether it has to be there.
type Field = (&'static str, Value, bool);

/// Every client event of the contract that takes a payload, with its fields.
fn events() -> Vec<(&'static str, Vec<Field>)> {
    let id = || json!(NOBODY);
    let of = |name: &'static str| vec![(name, id(), true)];
    let value = ["AB"; 32].join(":");
    let fingerprints = json!({"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": value}]});
    let codec = json!({"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48_000, "channels": 2});
    let rtp = json!({"codecs": [codec], "encodings": [{"ssrc": 1}]});
    vec![
        ("webrtc:create-transport", vec![("direction", json!("send"), true)]),
        ("webrtc:connect-transport", vec![("transportId", id(), true), ("dtlsParameters", fingerprints, true)]),
        ("webrtc:produce", vec![("transportId", id(), true), ("kind", json!("audio"), true), ("rtpParameters", rtp, true)]),
        ("webrtc:consume", vec![("transportId", id(), true), ("producerId", id(), false), ("callId", id(), false)]),
        ("webrtc:pause-producer", of("producerId")),
        ("webrtc:resume-producer", of("producerId")),
        ("webrtc:close-producer", of("producerId")),
        ("webrtc:pause-consumer", of("consumerId")),
        ("webrtc:resume-consumer", of("consumerId")),
        ("webrtc:close-consumer", of("consumerId")),
        ("webrtc:close-transport", of("transportId")),
        ("webrtc:get-stats", vec![("transportId", id(), false), ("callId", id(), false)]),
        (
            "call:dial",
            vec![
                ("phoneNumber", json!("nobody"), true),
                ("campaignId", json!("c"), false),
                ("leadId", json!("l"), false),
                ("callerId", json!("1"), false),
                ("clientCallId", json!("x"), false),
                ("codec", json!("PCMU"), false),
            ],
        ),
        ("call:answer", of("callId")),
        ("call:reject", of("callId")),
        ("call:hangup", of("callId")),
        ("call:hold", of("callId")),
        ("call:unhold", of("callId")),
        ("call:mute", vec![("callId", id(), true), ("muted", json!(true), true)]),
        ("call:transfer", vec![("callId", id(), true), ("target", json!("9196"), true), ("transferType", json!("blind"), true)]),
        ("call:dtmf", vec![("callId", id(), true), ("tone", json!("1"), true), ("method", json!("info"), false)]),
        ("auth:refresh", vec![("token", json!("your-jwt-token"), true)]),
    ]
}

fn every_event_refuses_every_malformed_payload_and_names_the_field(gateway: &Gateway) {
    let mut client = Client::connect(gateway, &auth("malformed"));
    let mut slowest = Duration::ZERO;
    let mut asked = 0;
    for (event, fields) in events() {
        for (payload, name) in malformed(&fields) {
            let begun = Instant::now();
            let shown: String = payload.to_string().chars().take(100).collect();
            let answer = client.request(event, payload);
            let error = answer["error"].as_str().unwrap_or_default();
            assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("BAD_REQUEST")), "{event} {shown}: {answer}");
            assert!(error.contains(name), "{event} {shown}: {error:?} does not name {name}");
            slowest = slowest.max(begun.elapsed());
            asked += 1;
        }
    }
    assert!(slowest < AT_ONCE, "the slowest of {asked} answers took {slowest:?}");
    println!("{asked} malformed payloads were refused, the slowest within {slowest:?}");
    is_well(gateway, "well-1");
}

/// Payloads that are wrong, each with the name that its refusal has to hold.
fn malformed(fields: &[Field]) -> Vec<(Value, &'static str)> {
    let right: Value = Value::Object(fields.iter().map(|(name, value, _)| ((*name).to_owned(), value.clone())).collect());
    let mut wrong: Vec<(Value, &str)> = vec![
        (json!([]), "payload"),
        (json!([right]), "payload"),
        (json!("text"), "payload"),
        (json!(7), "payload"),
        (json!(true), "payload"),
    ];
    for (name, value, is_required) in fields {
        let mut with = |value: Value| {
            let mut payload = right.clone();
            payload[*name] = value;
            wrong.push((payload, *name));
        };
        let kinds = [json!(true), json!(-1), json!(1.5e300), json!("\u{0}"), json!([]), json!([[[{}]]]), json!({"a": {"b": null}})];
        // Text may be wrong text, which has other answers where it is an id; null is as good as nothing where nothing is needed.
        kinds
            .into_iter()
            .filter(|other| !(other.is_string() && value.is_string()) && other.is_boolean() != value.is_boolean())
            .for_each(&mut with);
        if *is_required {
            with(Value::Null);
            let mut payload = right.clone();
            payload.as_object_mut().expect("an object").remove(*name);
            wrong.push((payload, name));
        }
    }
    if let Some((name, ..)) = fields.iter().find(|(_, _, is_required)| *is_required) {
        wrong.extend([(Value::Null, *name), (json!({}), *name), (json!({"": [], "__proto__": {}}), *name)]);
    }
    let deep = (0..DEEPER_THAN_JSON_MAY_BE).fold(json!({}), |inner, _| json!([inner]));
    let mut nested = right.clone();
    nested["appData"] = deep;
    let mut huge = right;
    huge["appData"] = json!("x".repeat(CLIENT_PAYLOAD_BYTES));
    wrong.extend([(nested, "payload"), (huge, "payload")]);
    wrong
}

fn broken_frames_cost_their_own_connection_at_most(gateway: &Gateway) {
    let text = |text: &str| vec![Message::text(text)];
    let placeholder = "451-7[\"call:hangup\",{\"_placeholder\":true,\"num\":0}]";
    let cases: Vec<Vec<Message>> = vec![
        text(""),
        text("4"),
        text("9"),
        text("7"),
        text("\u{0}"),
        text("2probe"),
        text("5"),
        text("6"),
        text("42"),
        text("42["),
        text("42]"),
        text("42{}"),
        text("42[]"),
        text("42[5]"),
        text("42[null]"),
        text("42[[\"call:dial\"]]"),
        text("427[]"),
        text("427[{}]"),
        text("427{\"a\":1}"),
        text("4299999999999999999999[\"call:dial\"]"),
        text("42-1[\"call:dial\"]"),
        text("42/elsewhere,7[\"call:dial\"]"),
        text("42[\"call:dial\",{\"phoneNumber\":\"\u{fffd}"),
        text("43"),
        text("437[]"),
        text("43999[{}]"),
        text("40"),
        text("40{"),
        text("40[]"),
        text("40/elsewhere,{}"),
        text("41"),
        text("44{\"message\":\"x\"}"),
        text("45"),
        text("45-[]"),
        text("459999999999-[\"call:dial\"]"),
        text("461-[{\"_placeholder\":true,\"num\":0}]"),
        text("48"),
        text(placeholder),
        vec![Message::text(placeholder), Message::Binary(Bytes::from_static(&[1, 2, 3]))],
        vec![Message::text(placeholder), Message::text("42[\"call:dial\"]")],
        vec![
            Message::text("452-[\"call:hangup\",{\"_placeholder\":true,\"num\":9}]"),
            Message::Binary(Bytes::new()),
            Message::Binary(Bytes::new()),
        ],
        vec![Message::Binary(Bytes::from_static(b"4"))],
        vec![Message::Binary(Bytes::from(vec![0xff; 4_096]))],
        text(&format!("42[\"call:dial\",{}", "[".repeat(60_000))),
        text(&format!("42[\"call:dial\",\"{}\"]", "x".repeat(3 * CLIENT_PAYLOAD_BYTES))),
        text(&format!("42[\"{}\"]", "x".repeat(60_000))),
        (0..300).map(|_| Message::text("42[\"call:dial\"]")).collect(),
    ];
    for messages in cases {
        let shown: String = format!("{messages:?}").chars().take(120).collect();
        let begun = Instant::now();
        let outcome = after(gateway, messages);
        assert!(begun.elapsed() < AT_ONCE, "{shown}: {outcome} after {:?}", begun.elapsed());
    }
    is_well(gateway, "well-2");
}

/// Sends this on a connection of its own, and a right request behind it; tells what came of that: its answer, or the connection's end.
fn after(gateway: &Gateway, messages: Vec<Message>) -> &'static str {
    let stream = TcpStream::connect(gateway.authority()).expect("the gateway listens");
    stream.set_read_timeout(Some(AT_ONCE)).expect("a time-out");
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", gateway.authority());
    let (mut socket, _) = tungstenite::client(url, stream).expect("a WebSocket");
    socket.send(Message::text(format!("40{}", auth("broken-frames")))).expect("sent");
    assert!(awaited(&mut socket, "42[\"connected\""), "connected");
    for message in messages {
        if socket.send(message).is_err() {
            return "closed";
        }
    }
    let asked = socket.send(Message::text("429876[\"webrtc:get-router-capabilities\"]")).is_ok();
    if asked && awaited(&mut socket, "439876[{\"") { "answered" } else { "closed" }
}

/// Whether a text with this beginning comes before the connection ends. That nothing comes at all is the one thing that must not be.
fn awaited(socket: &mut WebSocket<TcpStream>, beginning: &str) -> bool {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) if text.starts_with(beginning) => return true,
            Ok(Message::Close(_)) => return false,
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("neither an answer nor an end within {AT_ONCE:?}")
            }
            Err(_) => return false,
        }
    }
}

fn broken_polling_is_answered_with_an_http_error(gateway: &Gateway) {
    let open = "/socket.io/?EIO=4&transport=polling";
    let session = || {
        let (status, body) = http(gateway, "GET", open, b"");
        let sid = body.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{status} {body}"));
        format!("{open}&sid={sid}")
    };
    // Requests that belong to no session.
    for (method, path) in [
        ("GET", "/socket.io/"),
        ("GET", "/socket.io/?EIO=3&transport=polling"),
        ("GET", "/socket.io/?EIO=4"),
        ("GET", "/socket.io/?EIO=4&transport=pigeon"),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=nobody"),
        ("POST", "/socket.io/?EIO=4&transport=polling"),
        ("POST", "/socket.io/?EIO=4&transport=polling&sid=nobody"),
        ("PUT", "/socket.io/?EIO=4&transport=polling"),
        ("GET", "/socket.io/?EIO=4&transport=websocket"),
        ("GET", "/socket.io/?EIO=4&transport=websocket&sid=nobody"),
    ] {
        let (status, body) = http(gateway, method, path, b"x");
        assert!((400..500).contains(&status), "{method} {path}: {status} {body}");
    }
    // Bodies that are no packets, each in a session of its own.
    let huge = vec![b'x'; 3 * CLIENT_PAYLOAD_BYTES];
    for body in [&b""[..], b"\xff\xfe", b"9", b"42[\"call:dial\"]", b"\x1e\x1e\x1e", b"b!!!", b"40{\x1e40[", &huge] {
        let path = session();
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let (status, _) = http(gateway, "POST", &path, body);
        assert!((200..500).contains(&status), "{shown:?}: {status}");
    }
    is_well(gateway, "well-3");
}

/// One HTTP request on a connection of its own, answered at once.
fn http(gateway: &Gateway, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(gateway.authority()).expect("the gateway listens");
    stream.set_read_timeout(Some(AT_ONCE)).expect("a time-out");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        gateway.authority(),
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    // A body that is refused may not be read to its end.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    // Reset by a server that has answered and left the rest unread is as good as an end.
    while let Ok(length @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..length]);
    }
    assert!(begun.elapsed() < AT_ONCE, "{method} {path} took {:?}", begun.elapsed());
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{method} {path} was answered with {answer:?}")), answer)
}

/// The server is healthy, and a call still works.
fn is_well(gateway: &Gateway, agent: &str) {
    let (status, health) = gateway.get("/api/webrtc/health");
    assert_eq!((status, &health["status"]), (200, &json!("healthy")), "{health}");
    let mut phone = Phone::new(gateway, agent, Codec::Opus);
    let call = phone.call("9196");
    phone.hear_own_echo();
    phone.hang_up(&call);
}

/// An id of the right form that nobody has.
const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// The bound of every answer here. Nothing of this waits for anything but its turn.
const AT_ONCE: Duration = Duration::from_secs(2);

/// serde_json gives up at 128.
const DEEPER_THAN_JSON_MAY_BE: usize = 120 + 80;
