//! The front over real sockets, with a shard that is only a thread.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};
use uuid::Uuid;

use super::{DemoNumbers, Front};
use crate::call::command::{Action, Answer, Command, Identity, Query, QueryReply, Reply, Session, ShardStats, Welcome};
use crate::call::error::{Code, Refusal};
use crate::call::event::{CallDirection, CallEvent, CallState, CallView, EndReason, Ended, EndedBy, Event};
use crate::config::{Config, Machine};
use crate::driver::{OutputSink, Placement, ShardInbox, Spread, mailbox};
use crate::ids::{CallId, PeerId, ProducerId, RequestId, ShardId, SocketId};
use crate::limits::CLIENT_PAYLOAD_BYTES;
use crate::shard::io::{Input, Output};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CALL: CallId = CallId(Uuid::max());
const DEMO_NUMBERS: DemoNumbers = &[("9196", "echo")];

/// A front, and the other ends of its shards.
struct Lab {
    front: Option<Front>,
    url: String,
    shards: Vec<(ShardInbox, Box<dyn OutputSink>)>,
}

impl Lab {
    fn start(environment: &[(&str, &str)], mailbox_size: usize) -> Self {
        let basics = [("PORT", "0"), ("HOST", "127.0.0.1"), ("JWT_SECRET", SECRET), ("SHARDS", "1"), ("NODE_ID", "node")];
        let pairs = basics.iter().chain(environment).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = Config::from_env(pairs, &Machine { cores: 2, host_name: "host".to_owned(), random: [0; 32] }).unwrap();
        let shards = config.shards.count;
        let mut prepared = Front::prepare(Arc::new(config), DEMO_NUMBERS).unwrap();
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..shards).map(|_| mailbox(mailbox_size)).unzip();
        let shards = inboxes.into_iter().zip(prepared.take_sinks()).collect();
        let url = prepared.url();
        let placement = Arc::new(Placement::new(mailboxes.len() as u16, Spread::Auto, 100));
        let front = prepared.start(mailboxes, placement, None).unwrap();
        Self { front: Some(front), url, shards }
    }

    /// Runs every shard as a thread that answers with `shard`, until the front has stopped; tells what was commanded.
    fn serve(&mut self, shard: fn(Option<RequestId>, &Command) -> Vec<Output>) -> mpsc::Receiver<Command> {
        let (told, commands) = mpsc::channel();
        for (number, (inbox, mut sink)) in (0..).zip(self.shards.drain(..)) {
            let told = told.clone();
            thread::spawn(move || {
                loop {
                    futures_lite::future::block_on(poll_fn(|cx| inbox.poll_ready(cx)));
                    while let Some(input) = inbox.pop() {
                        let Input::Command { request, command } = input else { panic!("{input:?}") };
                        for output in shard(request, &command) {
                            assert!(sink.push(ShardId(number), output).is_ok());
                        }
                        if told.send(command).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        commands
    }

    fn client(&self) -> Client {
        let authority = self.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{authority}/socket.io/?EIO=4&transport=websocket"), stream).unwrap();
        let mut client = Client { socket };
        assert!(client.receive().starts_with('0'), "Engine.IO opens");
        client
    }

    fn agent(&self) -> Client {
        let mut client = self.client();
        client.send(&format!("40{}", json!({"token": "your-jwt-token", "agentId": "a1", "tenantId": "t1", "userId": "u1"})));
        assert!(client.receive().starts_with("40{"));
        client
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, axum::http::HeaderMap, Value) {
        let authority = self.url.strip_prefix("http://").unwrap().to_owned();
        let mut request = Request::builder().method(method).uri(path).header("host", &authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(&authority).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            let bytes = to_bytes(Body::new(body), 1 << 20).await.unwrap();
            (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        })
    }

    fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.request("GET", path, &[]);
        (status, body)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(front) = self.front.take() {
            front.stop();
        }
    }
}

struct Client {
    socket: WebSocket<TcpStream>,
}

impl Client {
    fn send(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).unwrap();
    }

    /// The next packet that is not a ping.
    fn receive(&mut self) -> String {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) if text.as_str() != "2" => return text.as_str().to_owned(),
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
                Message::Close(_) => return "closed".to_owned(),
            }
        }
    }

    /// The next packet's prefix (its type and acknowledgement id) and arguments.
    fn packet(&mut self) -> (String, Value) {
        let text = self.receive();
        let at = text.find(['[', '{']).unwrap_or(text.len());
        (text[..at].to_owned(), serde_json::from_str(&text[at..]).unwrap_or(Value::Null))
    }

    fn ack(&mut self, id: u32) -> Value {
        let (prefix, arguments) = self.packet();
        assert_eq!(prefix, format!("43{id}"), "{arguments}");
        arguments[0].clone()
    }

    fn event(&mut self) -> (String, Value) {
        let (prefix, arguments) = self.packet();
        assert_eq!(prefix, "42", "{arguments}");
        (arguments[0].as_str().unwrap().to_owned(), arguments[1].clone())
    }

    fn skip_greeting(&mut self) {
        assert_eq!(self.event().0, "connected");
        assert_eq!(self.event().0, "webrtc:peer-connected");
    }
}

/// A shard that is glad about everything.
fn obliging(request: Option<RequestId>, command: &Command) -> Vec<Output> {
    match command {
        Command::Connect { socket, identity } => greeting(*socket, identity),
        Command::Disconnect { .. } => vec![],
        Command::Client { socket, action } => {
            let reply = match action {
                Action::Dial(_) => Reply::Dialed(CALL),
                Action::Hangup { .. } => return vec![answer(request, Err(Refusal::new(Code::CallNotFound, "no such call")))],
                _ => Reply::Done,
            };
            let muted = Event::Call { call: CALL, event: CallEvent::Muted { muted: true } };
            vec![answer(request, Ok(reply)), Output::Event { socket: *socket, number: Some(2), event: muted }]
        }
        Command::Rest(query) => {
            let reply = match query {
                Query::Capabilities => {
                    QueryReply::Capabilities(crate::webrtc::ortc::RtpCapabilities { codecs: vec![], header_extensions: vec![] })
                }
                Query::Sessions(_) => QueryReply::Sessions(vec![session(2, CallState::Held), session(1, CallState::Answered)]),
                Query::Session { call, .. } => QueryReply::Session((*call == CALL).then(|| session(1, CallState::Answered))),
                Query::Stats(_) => {
                    QueryReply::Stats(ShardStats { sip_peers: vec![("127.0.0.1:5060".parse().unwrap(), true)], ..ShardStats::default() })
                }
                Query::AgentStats { .. } => QueryReply::AgentStats(None),
                Query::Terminate { call, .. } => QueryReply::Terminated(*call == CALL),
            };
            vec![Output::Answer { request: request.unwrap(), answer: Answer::Rest(Box::new(reply)) }]
        }
    }
}

fn answer(request: Option<RequestId>, answer: Result<Reply, Refusal>) -> Output {
    Output::Answer { request: request.unwrap(), answer: Answer::Client(answer) }
}

fn greeting(socket: SocketId, identity: &Identity) -> Vec<Output> {
    let welcome = Welcome {
        peer: PeerId(Uuid::nil()),
        identity: identity.clone(),
        server_time: SystemTime::UNIX_EPOCH,
        producer: ProducerId(Uuid::nil()),
        calls: vec![],
        ice_servers: vec![],
        resume_token: "r".into(),
        grace: Duration::from_secs(30),
        max_calls: 2,
        event_id: 0,
    };
    let peer = Event::PeerConnected { peer: PeerId(Uuid::nil()) };
    vec![Output::Connected { socket, welcome: Box::new(welcome) }, Output::Event { socket, number: Some(1), event: peer }]
}

fn session(number: u128, state: CallState) -> Session {
    let call = CallView {
        call: CallId(Uuid::from_u128(number)),
        sip_call_id: String::new(),
        direction: CallDirection::Outbound,
        state,
        phone_number: "9196".into(),
        caller_name: None,
        campaign_id: None,
        lead_id: None,
        muted: false,
        held: false,
        started_at: SystemTime::UNIX_EPOCH,
        answered_at: None,
        producer: ProducerId(Uuid::nil()),
    };
    Session {
        call,
        tenant: "t1".into(),
        agent: "a1".into(),
        shard: ShardId(0),
        legs: vec![],
        timeline: vec![(SystemTime::UNIX_EPOCH, "dialing")],
    }
}

#[test]
fn an_agent_is_greeted_and_its_requests_reach_the_shard_in_the_order_sent() {
    let mut lab = Lab::start(&[], 4096);
    let commands = lab.serve(obliging);
    let mut client = lab.agent();
    let (name, connected) = client.event();
    assert_eq!((name.as_str(), &connected["agentId"], &connected["nodeId"]), ("connected", &json!("a1"), &json!("node")));
    let (name, peer) = client.event();
    assert_eq!((name.as_str(), &peer["eventId"]), ("webrtc:peer-connected", &json!(1)));
    assert!(matches!(commands.recv().unwrap(), Command::Connect { identity, .. } if identity.sip.user == "a1"));
    for number in 0..200 {
        client.send(&format!("42{number}{}", json!(["call:dial", {"phoneNumber": number.to_string()}])));
    }
    for number in 0..200 {
        let Command::Client { action: Action::Dial(dial), .. } = commands.recv().unwrap() else { panic!("no dial") };
        assert_eq!(dial.phone_number, number.to_string());
        assert_eq!(client.ack(number), json!({"success": true, "callId": CALL}));
        assert_eq!(client.event().0, "call:muted", "the event follows the acknowledgement");
    }
}

#[test]
fn every_bad_request_is_answered_once_and_names_what_is_wrong() {
    let mut lab = Lab::start(&[], 64);
    let _commands = lab.serve(obliging);
    let mut client = lab.agent();
    client.skip_greeting();
    let mut refused = |packet: String| {
        client.send(&packet);
        let ack = client.ack(7);
        (ack["code"].as_str().unwrap().to_owned(), ack["error"].as_str().unwrap().to_owned())
    };
    let bad = |text: &str| ("BAD_REQUEST".to_owned(), text.to_owned());
    assert_eq!(refused(r#"427["call:explode",{}]"#.into()), bad("unknown event \"call:explode\""));
    assert_eq!(refused(r#"427["call:dial"]"#.into()), bad("phoneNumber: is missing"));
    assert_eq!(refused(r#"427["call:dial",[1]]"#.into()), bad("payload: must be an object"));
    let nested = format!(r#"427["call:dial",{}{}]"#, "[".repeat(1000), "]".repeat(1000));
    assert_eq!(refused(nested), bad("payload: is no JSON that can be read"));
    let large = format!(r#"427["call:dial",{{"phoneNumber":"{}"}}]"#, "1".repeat(CLIENT_PAYLOAD_BYTES));
    assert_eq!(refused(large), bad("payload: is larger than 65536 bytes"));
    client.send(&format!("42{}", json!(["call:hangup", {"callId": CALL}])));
    let (name, error) = client.event();
    assert_eq!((name.as_str(), &error["event"], &error["code"]), ("error", &json!("call:hangup"), &json!("CALL_NOT_FOUND")));
    assert_eq!(error["callId"], json!(CALL));
    client.send(r#"428["webrtc:get-router-capabilities"]"#);
    assert_eq!(client.ack(8)["success"], true);
}

#[test]
fn strangers_are_turned_away_by_name() {
    let lab = Lab::start(&[], 64);
    let turned_away = |auth: &str| {
        let mut client = lab.client();
        client.send(&format!("40{auth}"));
        let (prefix, error) = client.packet();
        assert_eq!(prefix, "44");
        error["message"].as_str().unwrap().split(':').next().unwrap().to_owned()
    };
    assert_eq!(turned_away(""), "AUTH_REQUIRED");
    assert_eq!(turned_away(r#"{"agentId":"a"}"#), "AUTH_REQUIRED");
    assert_eq!(turned_away(r#"{"token":5}"#), "AUTH_INVALID");
    assert_eq!(turned_away(r#"{"token":"dev"}"#), "AUTH_INVALID");
    assert_eq!(turned_away(r#"{"token":"a.b.c","agentId":"a","tenantId":"t"}"#), "AUTH_INVALID");
}

#[test]
fn a_closed_socket_is_told_to_its_shard_and_a_taken_over_one_is_closed() {
    let mut lab = Lab::start(&[], 64);
    let commands = lab.serve(|request, command| match command {
        Command::Client { socket, .. } => vec![answer(request, Ok(Reply::Done)), Output::Disconnect { socket: *socket }],
        command => obliging(request, command),
    });
    let mut first = lab.agent();
    first.skip_greeting();
    let Command::Connect { socket, .. } = commands.recv().unwrap() else { panic!("no connect") };
    first.socket.close(None).unwrap();
    assert!(matches!(commands.recv_timeout(Duration::from_secs(10)).unwrap(), Command::Disconnect { socket: gone } if gone == socket));
    let mut second = lab.agent();
    second.skip_greeting();
    second.send(r#"421["webrtc:get-router-capabilities"]"#);
    assert_eq!(second.ack(1)["success"], true);
    assert_eq!(second.receive(), "41", "a Socket.IO disconnect, after which a client does not come back by itself");
}

#[test]
fn a_full_mailbox_is_overloaded_for_requests_and_a_503_for_newcomers() {
    let lab = Lab::start(&[], 1);
    let mut client = lab.agent();
    // Nobody reads the mailbox: the agent's own Connect fills it.
    client.send(r#"421["webrtc:get-router-capabilities"]"#);
    let ack = client.ack(1);
    assert_eq!((&ack["code"], &ack["retryable"]), (&json!("OVERLOADED"), &json!(true)));
    let (status, headers, body) = lab.request("GET", "/socket.io/?EIO=4&transport=polling", &[]);
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("OVERLOADED")));
    assert!(headers.contains_key("retry-after"));
}

#[test]
fn a_request_that_a_stopped_shard_never_answers_is_answered_for_it() {
    let mut lab = Lab::start(&[], 64);
    let mut client = lab.agent();
    client.send(r#"421["webrtc:get-router-capabilities"]"#);
    while !matches!(lab.shards[0].0.pop(), Some(Input::Command { command: Command::Client { .. }, .. })) {
        thread::yield_now();
    }
    lab.shards.clear();
    assert_eq!(client.ack(1)["code"], "INTERNAL");
    client.send(r#"422["webrtc:get-router-capabilities"]"#);
    assert_eq!(client.ack(2)["code"], "INTERNAL");
}

#[test]
fn a_token_is_renewed_by_its_own_agent_only_and_its_end_is_announced() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let token = |agent: &str, seconds: u64| {
        let claims = json!({"sub": "u1", "agentId": agent, "tenantId": "t1", "exp": now + seconds});
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    };
    let mut lab = Lab::start(&[], 64);
    let _commands = lab.serve(obliging);
    let mut client = lab.client();
    client.send(&format!("40{}", json!({"token": token("a1", 600)})));
    assert!(client.receive().starts_with("40{"));
    client.skip_greeting();
    client.send(&format!("421{}", json!(["auth:refresh", {"token": token("a2", 900)}])));
    assert_eq!(client.ack(1)["code"], "AUTH_MISMATCH");
    client.send(&format!("422{}", json!(["auth:refresh", {}])));
    assert_eq!(client.ack(2)["code"], "BAD_REQUEST");
    client.send(&format!("423{}", json!(["auth:refresh", {"token": token("a1", 50)}])));
    assert_eq!(client.ack(3), json!({"success": true}));
    let (name, expiring) = client.event();
    assert_eq!(name, "auth:expiring");
    assert!(expiring["expiresInMs"].as_u64().unwrap() <= 50_000);
}

#[test]
fn rest_answers_are_joined_and_filtered() {
    let mut lab = Lab::start(&[("SHARDS", "2")], 64);
    let _commands = lab.serve(obliging);
    let (status, body) = lab.get("/api/webrtc/sessions");
    assert_eq!((status, &body["count"]), (StatusCode::OK, &json!(4)));
    let (_, body) = lab.get("/api/webrtc/sessions?state=held&agentId=a1&limit=1");
    assert_eq!((&body["count"], &body["sessions"][0]["state"]), (&json!(1), &json!("held")));
    assert_eq!(body["nextCursor"], json!(Uuid::from_u128(2)));
    let (status, body) = lab.get("/api/webrtc/sessions?limit=lots");
    assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("limit: must be 1 to 1000")));
    let (status, body) = lab.get(&format!("/api/webrtc/sessions/{CALL}"));
    assert_eq!((status, &body["session"]["timeline"][0]["event"]), (StatusCode::OK, &json!("dialing")));
    for path in ["/api/webrtc/sessions/x".to_owned(), format!("/api/webrtc/sessions/{}", Uuid::nil())] {
        let (status, body) = lab.get(&path);
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("CALL_NOT_FOUND")));
    }
    let (status, _, body) = lab.request("POST", &format!("/api/webrtc/sessions/{CALL}/terminate"), &[]);
    assert_eq!((status, body), (StatusCode::OK, json!({"success": true, "callId": CALL})));
    assert_eq!(lab.get("/api/webrtc/stats").1["shards"].as_array().unwrap().len(), 2);
    assert_eq!(lab.get("/api/webrtc/stats/agent/nobody").0, StatusCode::NOT_FOUND);
    assert_eq!(lab.get("/api/webrtc/capabilities/t1").1, json!({"success": true, "capabilities": {"codecs": [], "headerExtensions": []}}));
    let (status, health) = lab.get("/api/webrtc/health");
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("healthy")));
    assert_eq!(lab.get("/").1["service"], "nexus-gateway");
    assert_eq!(lab.get("/nothing").0, StatusCode::NOT_FOUND);
    assert_eq!(lab.request("POST", "/api/webrtc/stats", &[]).0, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn rest_is_closed_to_strangers_in_production_and_health_is_not() {
    let environment = [("MODE", "production"), ("FREESWITCH_HOST", "127.0.0.1")];
    let mut lab = Lab::start(&environment, 64);
    let _commands = lab.serve(obliging);
    let (status, body) = lab.get("/api/webrtc/sessions");
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("AUTH_REQUIRED")));
    assert_eq!(lab.get("/api/webrtc/health").0, StatusCode::OK);
    assert_eq!(lab.get("/api/webrtc/health/live").0, StatusCode::OK);
}

#[test]
fn a_shard_that_says_nothing_makes_rest_wait_a_second_and_no_longer() {
    let lab = Lab::start(&[], 64);
    let begun = std::time::Instant::now();
    let (status, health) = lab.get("/api/webrtc/health");
    assert_eq!((status, &health["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unhealthy")));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let (status, body) = lab.get("/api/webrtc/sessions");
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("OVERLOADED")));
}

#[test]
fn pages_of_foreign_origins_are_turned_away_and_allowed_ones_get_their_headers() {
    let mut lab = Lab::start(&[("ALLOWED_ORIGINS", "https://crm.example")], 64);
    let _commands = lab.serve(obliging);
    let from = |origin: &str| lab.request("GET", "/api/webrtc/sessions", &[("origin", origin)]);
    assert_eq!(from("https://evil.example").0, StatusCode::FORBIDDEN);
    let (status, headers, _) = from("https://crm.example");
    assert_eq!((status, headers["access-control-allow-origin"].to_str().unwrap()), (StatusCode::OK, "https://crm.example"));
    assert_eq!(from(&lab.url).0, StatusCode::OK, "the page that we serve");
    let preflight =
        lab.request("OPTIONS", "/api/webrtc/sessions", &[("origin", "https://crm.example"), ("access-control-request-method", "GET")]);
    assert_eq!(preflight.0, StatusCode::OK);
}

#[test]
fn the_service_tells_the_page_what_may_be_dialled_and_whether_one_may_sign_in_without_a_token() {
    let lab = Lab::start(&[], 64);
    let (_, service) = lab.get("/");
    assert_eq!((&service["signIn"], &service["demoNumbers"]), (&json!("dev"), &json!([{"number": "9196", "what": "echo"}])));
    let (_, _, service) = lab.request("GET", "/", &[("x-forwarded-for", "192.0.2.1")]);
    assert_eq!(service["signIn"], "token", "a dev token is taken from this machine only");
}

#[test]
fn the_page_is_sent_packed_and_with_the_headers_that_confine_it() {
    let lab = Lab::start(&[], 64);
    let (status, headers, _) = lab.request("GET", "/", &[("accept", "text/html"), ("accept-encoding", "br, gzip;q=0.9")]);
    let header = |name: &str| headers[name].to_str().unwrap();
    assert_eq!((status, header("content-type"), header("content-encoding")), (StatusCode::OK, "text/html", "gzip"));
    assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff", "no-referrer"));
    assert!(header("content-security-policy").starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    assert!(header("permissions-policy").starts_with("microphone=(self)"));
    let (_, headers, _) = lab.request("GET", "/", &[("accept", "text/html")]);
    assert!(!headers.contains_key("content-encoding"));
}

/// A shard that dies of the first request, once it has told of the end of a call.
fn dying(request: Option<RequestId>, command: &Command) -> Vec<Output> {
    match command {
        Command::Client { socket, .. } => {
            let (ended_by, reason) = (EndedBy::Gateway, EndReason::Internal);
            let ended = Ended { duration: Duration::ZERO, ended_by, reason, sip_code: None, q850: None, quality: vec![] };
            let event = Event::Call { call: CALL, event: CallEvent::Ended(Box::new(ended)) };
            vec![Output::Event { socket: *socket, number: Some(2), event }, Output::Died]
        }
        command => obliging(request, command),
    }
}

const DIAL: &str = r#"421["call:dial",{"phoneNumber":"1"}]"#;

/// The last words of a shard that dies, and then the end of the transport without a Socket.IO disconnect: a stock client comes back after that.
fn is_told_and_cut_off(client: &mut Client) {
    let (name, ended) = client.event();
    assert_eq!((name.as_str(), &ended["reason"]), ("call:ended", &json!("internal")));
    let refusal = client.ack(1);
    assert_eq!((&refusal["code"], &refusal["retryable"]), (&json!("INTERNAL"), &json!(true)));
    // A WebSocket that just ends is as good as one that is closed.
    while let Ok(message) = client.socket.read() {
        assert!(!matches!(&message, Message::Text(text) if text.as_str() != "2"), "{message:?}");
    }
}

#[test]
fn the_clients_of_a_dead_shard_are_told_answered_and_cut_off_and_its_successor_lets_them_in() {
    let mut lab = Lab::start(&[], 64);
    let _commands = lab.serve(dying);
    let mut client = lab.agent();
    client.skip_greeting();
    client.send(DIAL);
    is_told_and_cut_off(&mut client);
    lab.agent().skip_greeting();
}

#[test]
fn a_client_that_began_by_polling_is_cut_off_too() {
    let mut lab = Lab::start(&[], 64);
    let _commands = lab.serve(dying);
    let authority = lab.url.strip_prefix("http://").unwrap().to_owned();
    let http = |method: &str, query: &str, body: &str| {
        let mut stream = TcpStream::connect(&authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = body.len();
        let head = format!("{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: {authority}\r\nConnection: close");
        write!(stream, "{head}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned())
    };
    let begin = || {
        let (status, open) = http("GET", "", "");
        assert_eq!(status, "200");
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let session = format!("&sid={}", open["sid"].as_str().unwrap());
        let auth = json!({"token": "your-jwt-token", "agentId": "a1", "tenantId": "t1", "userId": "u1"});
        assert_eq!(http("POST", &session, &format!("40{auth}")).0, "200");
        let mut greeting = String::new();
        while !greeting.contains("webrtc:peer-connected") {
            greeting += &http("GET", &session, "").1;
        }
        session
    };

    let session = begin();
    assert_eq!(http("POST", &session, DIAL).0, "200");
    let mut told = String::new();
    while !(told.contains("call:ended") && told.contains("INTERNAL")) {
        told += &http("GET", &session, "").1;
    }
    // Whether it waits on a poll when it is cut off or comes with one later: there is an end, and that is an error to its client.
    assert_ne!(http("GET", &session, "").0, "200");
    assert_eq!(http("GET", &session, "").0, "400");

    // The usual client polls first and then changes to a WebSocket.
    let session = begin();
    let stream = TcpStream::connect(&authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (socket, _) = tungstenite::client(format!("ws://{authority}/socket.io/?EIO=4&transport=websocket{session}"), stream).unwrap();
    let mut client = Client { socket };
    client.send("2probe");
    assert_eq!(client.receive(), "3probe");
    client.send("5");
    client.send(DIAL);
    is_told_and_cut_off(&mut client);
}
