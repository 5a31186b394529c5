//! A Socket.IO client: Engine.IO 4 over a WebSocket. It keeps everything that it is told, and checks what holds for every client.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::gateway::{Gateway, PATIENCE};

/// A connected client. Dropping it cuts the TCP connection.
pub struct Client {
    stream: TcpStream,
    writer: Arc<Mutex<WebSocket<TcpStream>>>,
    arrivals: Receiver<Arrival>,
    /// Everything that arrived, in order.
    history: Vec<Entry>,
    /// Event and call of each request, by the id of its acknowledgement.
    requests: HashMap<u64, (String, Value)>,
    last_event_id: u64,
    closed_calls: HashSet<String>,
}

/// A packet from the server.
enum Arrival {
    Event(String, Value),
    Ack(u64, Value),
    /// Socket.IO's own disconnect: the server wants no reconnect.
    Disconnect,
}

/// An entry of the history.
struct Entry {
    /// `call:ringing`; of an acknowledgement `ack call:dial`; of the end `disconnect`.
    name: String,
    ack: Option<u64>,
    payload: Value,
    call: Value,
    /// Somebody has waited for it and has it.
    taken: bool,
}

impl Client {
    /// Connects and is let in; `connected` is the first event to come.
    pub fn connect(gateway: &Gateway, auth: &Value) -> Self {
        Self::try_connect(gateway, auth).unwrap_or_else(|refusal| panic!("refused: {refusal}"))
    }

    /// Connects; the error is the payload of `connect_error`.
    pub fn try_connect(gateway: &Gateway, auth: &Value) -> Result<Self, Value> {
        let authority = gateway.authority();
        let stream = TcpStream::connect(authority).expect("the gateway listens");
        stream.set_nodelay(true).expect("an option of TCP");
        let url = format!("ws://{authority}/socket.io/?EIO=4&transport=websocket");
        let (mut reader, _) = tungstenite::client(url, stream.try_clone().expect("a handle")).expect("a WebSocket");
        assert!(next_text(&mut reader).is_some_and(|text| text.starts_with("0{")), "Engine.IO opens");
        reader.send(Message::text(format!("40{auth}"))).expect("sent");
        let answer = loop {
            match next_text(&mut reader).expect("an answer to CONNECT") {
                // The first ping may come before it.
                text if text == PING => reader.send(Message::text(PONG)).expect("sent"),
                text => break text,
            }
        };
        if let Some(refusal) = answer.strip_prefix("44") {
            return Err(serde_json::from_str(refusal).expect("JSON"));
        }
        assert!(answer.starts_with("40{\"sid\":"), "{answer}");
        let writer = Arc::new(Mutex::new(WebSocket::from_raw_socket(stream.try_clone().expect("a handle"), Role::Client, None)));
        let (sender, arrivals) = mpsc::channel();
        let pongs = writer.clone();
        thread::Builder::new().name("socket.io".to_owned()).spawn(move || read(reader, &pongs, &sender)).expect("a thread");
        Ok(Self { stream, writer, arrivals, history: Vec::new(), requests: HashMap::new(), last_event_id: 0, closed_calls: HashSet::new() })
    }

    /// Sends an event and waits for its acknowledgement, which has to say that it succeeded.
    pub fn ask(&mut self, event: &str, payload: Value) -> Value {
        let answer = self.request(event, payload);
        assert_eq!(answer["success"], json!(true), "{event}: {answer}");
        answer
    }

    /// Sends an event that has to be refused; gives the code.
    pub fn refused(&mut self, event: &str, payload: Value) -> String {
        let answer = self.request(event, payload);
        assert_eq!(answer["success"], json!(false), "{event}: {answer}");
        assert!(answer["error"].is_string() && answer["retryable"].is_boolean(), "{event}: {answer}");
        answer["code"].as_str().expect("a code").to_owned()
    }

    /// Sends an event and waits for its acknowledgement.
    pub fn request(&mut self, event: &str, payload: Value) -> Value {
        let id = self.send(event, payload);
        self.answer(id)
    }

    /// Sends an event that wants to be acknowledged, and does not wait.
    pub fn send(&mut self, event: &str, payload: Value) -> u64 {
        let id = self.requests.len() as u64;
        self.requests.insert(id, (event.to_owned(), payload["callId"].clone()));
        let arguments = if payload.is_null() { json!([event]) } else { json!([event, payload]) };
        self.write(format!("42{id}{arguments}"));
        id
    }

    /// Sends an event without a callback.
    pub fn emit(&mut self, event: &str, payload: Value) {
        self.write(format!("42{}", json!([event, payload])));
    }

    /// The acknowledgement of [`Client::send`].
    pub fn answer(&mut self, id: u64) -> Value {
        let what = format!("the acknowledgement of {}", self.requests[&id].0);
        self.take(&what, |entry| entry.ack == Some(id))
    }

    /// The next event of this name that nobody has waited for yet.
    pub fn event(&mut self, name: &str) -> Value {
        self.take(name, |entry| entry.name == name)
    }

    /// The next such event about a call.
    pub fn call_event(&mut self, name: &str, call: &str) -> Value {
        self.take(&format!("{name} of {call}"), |entry| entry.name == name && entry.call == call)
    }

    /// The next such event about a transport.
    pub fn transport_event(&mut self, name: &str, transport: &Value) -> Value {
        self.take(&format!("{name} of {transport}"), |entry| entry.name == name && entry.payload["transportId"] == *transport)
    }

    /// Everything about a call so far, in order: names of events, and `ack` with the name of what is acknowledged.
    pub fn told_of(&mut self, call: &str) -> Vec<&str> {
        self.take_what_is_there();
        self.history.iter().filter(|entry| entry.call == call).map(|entry| entry.name.as_str()).collect()
    }

    /// Every event and acknowledgement so far, in order.
    pub fn told(&mut self) -> Vec<&str> {
        self.take_what_is_there();
        self.history.iter().map(|entry| entry.name.as_str()).collect()
    }

    /// Waits until the server has closed the connection, without Socket.IO's disconnect, after which a client would not come back.
    pub fn wait_cut_off(&mut self) {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            match self.arrivals.recv_timeout(give_up_at.saturating_duration_since(Instant::now())) {
                Ok(Arrival::Disconnect) => panic!("a disconnect of Socket.IO;{}", self.story()),
                Ok(arrival) => self.keep(arrival),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("the server does not cut the connection;{}", self.story()),
            }
        }
    }

    /// Cuts the TCP connection, without a word of Socket.IO or of the WebSocket.
    pub fn cut(self) {}

    fn write(&self, packet: String) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).send(Message::text(packet)).expect("sent");
    }

    /// The first entry that fits and that nobody has; waited for.
    fn take(&mut self, what: &str, fits: impl Fn(&Entry) -> bool) -> Value {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            if let Some(entry) = self.history.iter_mut().find(|entry| !entry.taken && fits(entry)) {
                entry.taken = true;
                return entry.payload.clone();
            }
            match self.arrivals.recv_timeout(give_up_at.saturating_duration_since(Instant::now())) {
                Ok(arrival) => self.keep(arrival),
                Err(error) => panic!("waited in vain for {what} ({error}); what came:{}", self.story()),
            }
        }
    }

    fn take_what_is_there(&mut self) {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.keep(arrival);
        }
    }

    fn keep(&mut self, arrival: Arrival) {
        let entry = match arrival {
            Arrival::Event(name, payload) => {
                let call = payload["callId"].clone();
                self.history.push(Entry { name: name.clone(), ack: None, payload: payload.clone(), call, taken: false });
                return self.check(&name, &payload);
            }
            Arrival::Ack(id, payload) => {
                let (event, call) = self.requests[&id].clone();
                let repeated = self.history.iter().any(|entry| entry.ack == Some(id));
                assert!(!repeated, "{event} is acknowledged twice");
                let call = if call.is_null() { payload["callId"].clone() } else { call };
                Entry { name: format!("ack {event}"), ack: Some(id), payload, call, taken: false }
            }
            Arrival::Disconnect => {
                Entry { name: "disconnect".to_owned(), ack: None, payload: Value::Null, call: Value::Null, taken: false }
            }
        };
        self.history.push(entry);
    }

    /// What holds for every event: numbered without a gap, and nothing about a call after its one end.
    fn check(&mut self, name: &str, payload: &Value) {
        match payload["eventId"].as_u64() {
            Some(number) if name == "connected" => self.last_event_id = number,
            Some(number) => {
                assert_eq!(number, self.last_event_id + 1, "the number of {name};{}", self.story());
                self.last_event_id = number;
            }
            None => assert!(matches!(name, "error" | "auth:expiring" | "webrtc:quality"), "{name} has no number: {payload}"),
        }
        if let (true, Some(call)) = (name.starts_with("call:"), payload["callId"].as_str()) {
            assert!(!self.closed_calls.contains(call), "{name} after the call's end: {payload};{}", self.story());
            if matches!(name, "call:ended" | "call:failed") {
                self.closed_calls.insert(call.to_owned());
            }
        }
    }

    fn story(&self) -> String {
        self.history.iter().fold(String::new(), |mut story, entry| {
            let _ = write!(story, "\n  {} {}", entry.name, entry.payload);
            story
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads until the connection ends; answers Engine.IO's pings.
fn read(mut reader: WebSocket<TcpStream>, writer: &Mutex<WebSocket<TcpStream>>, arrivals: &Sender<Arrival>) {
    while let Some(text) = next_text(&mut reader) {
        if text == PING {
            let _ = writer.lock().unwrap_or_else(PoisonError::into_inner).send(Message::text(PONG));
            continue;
        }
        let at = text.find('[').unwrap_or(text.len());
        let (head, arguments) = text.split_at(at);
        let mut arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
        let arrival = match (head, head.strip_prefix("43").and_then(|id| id.parse().ok())) {
            ("41", _) => Arrival::Disconnect,
            ("42", _) => Arrival::Event(arguments[0].as_str().expect("a name").to_owned(), arguments[1].take()),
            (_, Some(id)) => Arrival::Ack(id, arguments[0].take()),
            (_, None) => panic!("a packet of no known kind: {text}"),
        };
        if arrivals.send(arrival).is_err() {
            return;
        }
    }
}

fn next_text(reader: &mut WebSocket<TcpStream>) -> Option<String> {
    loop {
        match reader.read().ok()? {
            Message::Text(text) => return Some(text.as_str().to_owned()),
            Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            Message::Close(_) => return None,
        }
    }
}

/// Engine.IO's sign of life, and the answer to it.
const PING: &str = "2";
const PONG: &str = "3";
