//! Socket.IO: letting agents in, their requests in the order sent, their acknowledgements and events.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use socketioxide::adapter::Adapter;
use socketioxide::extract::{AckSender, Event, SocketRef, TryData};
use socketioxide::handler::{ConnectHandler, FromMessage};
use socketioxide::layer::SocketIoLayer;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError, SocketIo};
use tokio::sync::watch;

use super::auth::{Admission, AuthPayload, is_local};
use super::hub::Hub;
use super::line::Line;
use super::metrics::Metrics;
use super::requests::overloaded;
use super::server::Peer;
use crate::call::command::{Command, Identity, Reply};
use crate::call::error::{Code, Refusal};
use crate::ids::{CallId, ShardId, SocketId};
use crate::limits::CLIENT_PAYLOAD_BYTES;
use crate::wire;

/// Makes the Socket.IO layer for `hub`.
pub(super) fn layer(hub: &Arc<Hub>) -> (SocketIoLayer, SocketIo) {
    // Twice the payload that is taken, so that one which is a little too large is refused by name and not by a closed connection.
    let frame = 2 * CLIENT_PAYLOAD_BYTES;
    let (layer, io) = SocketIo::builder()
        .req_path("/socket.io")
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_buffer_size(PACKETS_WAITING)
        .max_payload(frame as u64)
        .ws_max_message_size(frame)
        .ws_max_frame_size(frame)
        .build_layer();
    let admitting = hub.clone();
    let admit = move |socket: SocketRef, TryData(auth): TryData<Value>| {
        let admitted = admit(&admitting, &socket, auth.unwrap_or_default());
        ready(admitted.inspect_err(|turned_away| admitting.metrics.refused(turned_away.0.code)))
    };
    let entering = hub.clone();
    let enter = move |socket: SocketRef| {
        enter(&entering, socket);
        ready(())
    };
    io.ns("/", enter.with(admit));
    (layer, io)
}

/// A socket of an agent who has been let in.
pub(super) struct Session {
    pub(super) id: SocketId,
    pub(super) shard: ShardId,
    admission: Admission,
    socket: SocketRef,
    expires_at: watch::Sender<Option<SystemTime>>,
    /// The shard knows of the socket, so requests may follow.
    announced: AtomicBool,
    closing: AtomicBool,
    in_flight: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Session {
    /// Sends an event. A client that takes nothing any more is disconnected: what it misses cannot be sent later.
    pub(super) fn emit(self: &Arc<Self>, event: &'static str, payload: &Value) {
        if !self.closing.load(Ordering::Relaxed) {
            self.metrics.told(event);
            self.check(self.socket.emit(event, payload));
        }
    }

    /// Ends the socket for good: the client does not come back by itself.
    pub(super) fn disconnect(self: &Arc<Self>) {
        if self.closing.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(SocketError::InternalChannelFull) = self.socket.clone().disconnect() {
            tokio::spawn(disconnect_when_there_is_room(self.socket.clone()));
        }
    }

    /// Tells and asks nothing more; its id towards Engine.IO, to cut it off by.
    pub(super) fn close(&self) -> String {
        self.closing.store(true, Ordering::Relaxed);
        self.socket.id.to_string()
    }

    fn check(self: &Arc<Self>, sent: Result<(), SendError>) {
        match sent {
            // Closed: the disconnect handler runs anyway.
            Ok(()) | Err(SendError::Socket(SocketError::Closed)) => {}
            Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                tracing::debug!(socket = self.id.0, "a client that takes nothing any more is disconnected");
                self.disconnect();
            }
            Err(SendError::Serialize(_)) => debug_assert!(false, "a payload of ours is no JSON"),
        }
    }

    fn is_local(&self) -> bool {
        is_local_socket(&self.socket)
    }
}

/// A client event that waits for its answer.
pub(super) struct ClientRequest {
    session: Arc<Session>,
    event: String,
    /// `None`: the client gave no callback.
    ack: Option<AckSender>,
    /// The call that the payload names, for a refusal without callback.
    call: Option<CallId>,
}

impl ClientRequest {
    /// Answers: the acknowledgement, or `error` for a refusal that nobody would see.
    pub(super) fn answer(self, answer: Result<Reply, Refusal>) {
        self.session.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.session.metrics.answered(&self.event, answer.as_ref().err().map(|refusal| refusal.code));
        match (self.ack, &answer) {
            (Some(ack), _) => self.session.check(ack.send(&wire::ack(&answer))),
            (None, Err(refusal)) => self.session.emit("error", &wire::error(&self.event, refusal, self.call)),
            (None, Ok(_)) => {}
        }
    }
}

/// Why a socket is turned away; its text is the message of the client's `connect_error`.
#[derive(Debug)]
struct TurnedAway(Refusal);

impl std::fmt::Display for TurnedAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)
    }
}

/// What the middleware found out, for the connect handler.
#[derive(Clone)]
struct Admitted {
    id: SocketId,
    admission: Admission,
}

fn admit(hub: &Arc<Hub>, socket: &SocketRef, auth: Value) -> Result<(), TurnedAway> {
    let auth: Option<AuthPayload> = if auth.is_null() { Some(AuthPayload::default()) } else { serde_json::from_value(auth).ok() };
    let auth = auth.ok_or_else(|| TurnedAway(Refusal::new(Code::AuthInvalid, "auth has to be an object of texts")))?;
    let admission = hub.verifier.admit(&auth, is_local_socket(socket)).map_err(TurnedAway)?;
    if !hub.directories.knows_tenant(&admission.tenant) {
        return Err(TurnedAway(Refusal::new(Code::TenantUnknown, "this tenant is not served here")));
    }
    let id = hub.next_socket_id();
    socket.extensions.insert(Admitted { id, admission });
    // Before CONNECT is answered: a handler that is set later could miss the first request. A closure that works before it returns its
    // future is called in the order in which packets arrive; the futures are spawned and keep none.
    let requests = hub.clone();
    socket.on_fallback(move |Event(event): Event, ack: AckSender, payload: Payload| {
        request(&requests, id, event, ack, payload);
        ready(())
    });
    let leaving = hub.clone();
    socket.on_disconnect(move || {
        leave(&leaving, id);
        ready(())
    });
    Ok(())
}

fn enter(hub: &Arc<Hub>, socket: SocketRef) {
    let Some(Admitted { id, admission }) = socket.extensions.remove::<Admitted>() else { return };
    let identity = Identity {
        tenant: admission.tenant.clone(),
        agent: admission.agent.clone(),
        user: admission.user.clone(),
        role: admission.role,
        sip: hub.directories.sip_identity(&admission.tenant, &admission.agent),
    };
    let shard = hub.placement.shard_for(&identity.tenant, &identity.agent);
    hub.placement.expect(&identity.tenant, &identity.agent, &identity.sip, shard);
    if let Some(line) = socket.req_parts().extensions.get::<Line>() {
        // Engine.IO may have moved on to another one already; that one is noted.
        hub.lines.note_first(&socket.id.to_string(), line);
    }
    let (expires_at, expiry) = watch::channel(admission.expires_at);
    let session = Arc::new(Session {
        id,
        shard,
        admission,
        socket,
        expires_at,
        announced: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        in_flight: AtomicUsize::new(0),
        metrics: hub.metrics.clone(),
    });
    hub.enter(session.clone());
    tokio::spawn(watch_expiry(Arc::downgrade(hub), id, expiry));
    let connect = Command::Connect { socket: id, identity };
    if hub.requests.tell(shard, connect.clone()).is_ok() {
        session.announced.store(true, Ordering::Relaxed);
    } else {
        tokio::spawn(announce_later(hub.clone(), session, connect));
    }
}

/// The handshake was answered before the mailbox filled up: the socket is in, its shard is told as soon as it listens again.
async fn announce_later(hub: Arc<Hub>, session: Arc<Session>, connect: Command) {
    loop {
        tokio::time::sleep(RETRY).await;
        if hub.session(session.id).is_none() {
            return;
        }
        if hub.requests.tell(session.shard, connect.clone()).is_ok() {
            session.announced.store(true, Ordering::Relaxed);
            return;
        }
    }
}

fn leave(hub: &Arc<Hub>, id: SocketId) {
    let Some(session) = hub.leave(id) else { return };
    if !session.announced.load(Ordering::Relaxed) {
        return;
    }
    let disconnect = Command::Disconnect { socket: id };
    if hub.requests.tell(session.shard, disconnect.clone()).is_err() {
        // This one must not be lost: the shard would take the agent for connected.
        let hub = hub.clone();
        tokio::spawn(async move {
            while !hub.requests.has_ended(session.shard) && hub.requests.tell(session.shard, disconnect.clone()).is_err() {
                tokio::time::sleep(RETRY).await;
            }
        });
    }
}

fn request(hub: &Arc<Hub>, id: SocketId, event: String, ack: AckSender, payload: Payload) {
    // Without a session the socket has just gone, and an answer would have nowhere to go.
    let Some(session) = hub.session(id) else { return };
    let waiting = session.in_flight.fetch_add(1, Ordering::Relaxed);
    let call = payload.value.as_ref().ok().and_then(|value| value.get("callId")).and_then(Value::as_str).and_then(CallId::parse);
    let event_shown = event.chars().take(EVENT_NAME_SHOWN).collect();
    let request = ClientRequest { session: session.clone(), event: event_shown, ack: payload.wants_ack.then_some(ack), call };
    if waiting >= IN_FLIGHT_MAX {
        return request.answer(Err(Refusal::new(Code::RateLimited, format!("more than {IN_FLIGHT_MAX} requests wait for an answer"))));
    }
    if !session.announced.load(Ordering::Relaxed) {
        return request.answer(Err(overloaded()));
    }
    if session.closing.load(Ordering::Relaxed) {
        return request.answer(Err(Refusal::new(Code::Internal, "this socket is about to be closed: connect again")));
    }
    let value = match payload.value {
        Ok(value) => value,
        Err(refusal) => return request.answer(Err(refusal)),
    };
    if event == "auth:refresh" {
        let answer = refresh(hub, &session, value);
        return request.answer(answer);
    }
    match wire::action(&event, value) {
        Ok(action) => hub.requests.ask_for_client(session.shard, Command::Client { socket: id, action }, request),
        Err(refusal) => request.answer(Err(refusal)),
    }
}

/// `auth:refresh`: a newer token of the same agent.
fn refresh(hub: &Hub, session: &Session, payload: Value) -> Result<Reply, Refusal> {
    let token = wire::refreshed_token(payload)?;
    let known = &session.admission;
    let auth = AuthPayload {
        token: Some(token),
        agent_id: Some(known.agent.to_string()),
        tenant_id: Some(known.tenant.to_string()),
        user_id: Some(known.user.to_string()),
    };
    let admission = hub.verifier.admit(&auth, session.is_local())?;
    session.expires_at.send_replace(admission.expires_at);
    Ok(Reply::Done)
}

/// Warns ahead of a token's end, and ends the socket with it; its calls live on.
async fn watch_expiry(hub: std::sync::Weak<Hub>, id: SocketId, mut expiry: watch::Receiver<Option<SystemTime>>) {
    let session = || hub.upgrade().and_then(|hub| hub.session(id));
    let mut warned = false;
    loop {
        let expires_at = *expiry.borrow_and_update();
        let left = expires_at.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        let wait = match left {
            None => Duration::MAX,
            Some(left) if warned => left,
            Some(left) => left.saturating_sub(EXPIRY_WARNING),
        };
        tokio::select! {
            changed = expiry.changed() => match changed {
                Ok(()) => warned = false,
                // The session is gone.
                Err(_) => return,
            },
            () = tokio::time::sleep(wait) => {
                let Some(session) = session() else { return };
                if !warned {
                    warned = true;
                    let millis = left.unwrap_or_default().min(EXPIRY_WARNING).as_millis();
                    session.emit("auth:expiring", &wire::expiring(u64::try_from(millis).unwrap_or(u64::MAX)));
                } else {
                    let refusal = Refusal::new(Code::AuthExpired, "the token has expired");
                    session.emit("error", &wire::error("auth:refresh", &refusal, None));
                    session.disconnect();
                    return;
                }
            }
        }
    }
}

async fn disconnect_when_there_is_room(socket: SocketRef) {
    // Ends with the transport at the latest, which a client that answers no ping loses.
    while let Err(SocketError::InternalChannelFull) = socket.clone().disconnect() {
        tokio::time::sleep(RETRY).await;
    }
}

fn is_local_socket(socket: &SocketRef) -> bool {
    let parts = socket.req_parts();
    parts.extensions.get::<Peer>().is_some_and(|peer| is_local(peer.0, &parts.headers))
}

/// The arguments of a client event: `(payload?, ack?)`. Never fails to be extracted, since a failure would mean no answer.
struct Payload {
    /// Null where none was sent.
    value: Result<Value, Refusal>,
    wants_ack: bool,
}

impl<A: Adapter> FromMessage<A> for Payload {
    type Error = Infallible;

    fn from_message(_socket: Arc<Socket<A>>, value: socketioxide_core::Value, ack: Option<i64>) -> Result<Self, Infallible> {
        Ok(Self { value: first_argument(value), wants_ack: ack.is_some() })
    }
}

fn first_argument(packet: socketioxide_core::Value) -> Result<Value, Refusal> {
    let refusal = |message: String| Refusal::new(Code::BadRequest, message);
    let text = match packet {
        socketioxide_core::Value::Str(text, binary) if binary.as_ref().is_none_or(|parts| parts.is_empty()) => text,
        socketioxide_core::Value::Str(..) | socketioxide_core::Value::Bytes(_) => {
            return Err(refusal("payload: must be JSON without binary parts".to_owned()));
        }
    };
    if text.len() > CLIENT_PAYLOAD_BYTES {
        return Err(refusal(format!("payload: is larger than {CLIENT_PAYLOAD_BYTES} bytes")));
    }
    let arguments: Vec<Value> = serde_json::from_str(&text).map_err(|_| refusal("payload: is no JSON that can be read".to_owned()))?;
    // The first element is the event's name.
    Ok(arguments.into_iter().nth(1).unwrap_or_default())
}

/// How often a client is asked for a sign of life, and how long it may take: a lost agent is noticed within their sum.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a transport may stay open without its `auth`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Packets that wait for one client.
const PACKETS_WAITING: usize = 1024;

/// Requests of one socket that wait for an answer.
const IN_FLIGHT_MAX: usize = 256;

/// How much of an event's name is repeated in a refusal.
const EVENT_NAME_SHOWN: usize = 64;

/// How long ahead of a token's end its client is warned.
const EXPIRY_WARNING: Duration = Duration::from_secs(60);

/// How soon something that met a full queue is tried again.
const RETRY: Duration = Duration::from_millis(50);
