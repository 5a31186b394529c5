//! Listening, and what every HTTP request passes first.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower::Service;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::hub::Hub;
use super::line::Line;
use super::requests::overloaded;
use super::{FrontError, metrics, rest, sockets};
use crate::call::error::{Code, Refusal};
use crate::config::HttpConfig;
use crate::ids::ShardId;
use crate::shard::io::Output;

/// Who is at the other end of the TCP connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The bound HTTP ports.
pub(super) struct Listeners {
    bound: Vec<(SocketAddr, std::net::TcpListener)>,
}

impl Listeners {
    /// Binds every address of `HOST`, all on one port.
    pub(super) fn bind(config: &HttpConfig) -> Result<Self, FrontError> {
        let mut bound: Vec<(SocketAddr, std::net::TcpListener)> = Vec::new();
        for host in &config.hosts {
            // With `PORT=0` the first address gets a free port, and the others the same.
            let port = bound.first().map_or(config.port, |(address, _)| address.port());
            let address = SocketAddr::new(*host, port);
            match listen(address) {
                Ok(listener) => bound.push((listener.local_addr().map_err(|source| FrontError::Bind { address, source })?, listener)),
                // `::1` of a default on a machine without IPv6, or a free port of one address that another program has on the next.
                Err(error) if !bound.is_empty() && (is_absent(&error) || config.port == 0) => {
                    tracing::debug!(%address, %error, "not listening");
                }
                Err(error) if is_absent(&error) && host.is_unspecified() => {
                    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                    let listener = listen(address).map_err(|source| FrontError::Bind { address, source })?;
                    bound.push((listener.local_addr().map_err(|source| FrontError::Bind { address, source })?, listener));
                }
                Err(source) => return Err(FrontError::Bind { address, source }),
            }
        }
        Ok(Self { bound })
    }

    /// Where a browser on this machine reaches us.
    pub(super) fn url(&self) -> String {
        let Some((address, _)) = self.bound.first() else { return String::new() };
        match address.ip() {
            ip if ip.is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
            IpAddr::V4(_) | IpAddr::V6(_) => format!("http://{address}"),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for the connections of the process before it to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Serves until `stopped` says so, or its sender is gone.
pub(super) async fn serve(hub: Arc<Hub>, listeners: Listeners, outputs: Vec<mpsc::Receiver<Output>>, stopped: oneshot::Receiver<()>) {
    for (shard, outputs) in (0..).map(ShardId).zip(outputs) {
        tokio::spawn(deliver(hub.clone(), shard, outputs));
    }
    let (socket_io, io) = sockets::layer(&hub);
    let origins = hub.clone();
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, parts| is_welcome(&origins, origin, &parts.headers)))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE]);
    let router = rest::router(hub.clone()).layer(socket_io).layer(from_fn_with_state(hub.clone(), guard)).layer(cors);
    let router = router.layer(from_fn_with_state(hub.clone(), metrics::count));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = Vec::new();
    for (address, listener) in listeners.bound {
        match TcpListener::from_std(listener) {
            Ok(listener) => accepting.push(tokio::spawn(accept(listener, router.clone(), connections.clone()))),
            Err(error) => tracing::error!(%address, %error, "cannot listen"),
        }
    }
    // An error is a dropped handle, which means the same.
    let _ = stopped.await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    if tokio::time::timeout(CLOSE_PATIENCE, io.close()).await.is_err() {
        tracing::warn!("some clients did not close in time");
    }
}

/// Carries one shard's outputs out, in their order.
async fn deliver(hub: Arc<Hub>, shard: ShardId, mut outputs: mpsc::Receiver<Output>) {
    while let Some(output) = outputs.recv().await {
        // One output that cannot be told is lost; those behind it must not be.
        let _ = catch_unwind(AssertUnwindSafe(|| hub.deliver(shard, output)));
    }
    hub.requests.shard_ended(shard);
}

async fn accept(listener: TcpListener, router: Router, connections: Arc<Semaphore>) {
    loop {
        // Waiting here leaves newcomers in the kernel's backlog.
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    connection(stream, peer, router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back as others leave.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router) {
    // Small packets that somebody waits for: the kernel must not collect them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let line = Line::default();
    let wire = line.over(stream);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request.extensions_mut().insert(line.clone());
        detach_head(&mut request);
        router.clone().call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Copies the head's texts out of the buffer that hyper has read them into. A Socket.IO connection keeps the head of its handshake for as long
/// as it lives, and each slice of the buffer would keep all 8 KiB of it.
fn detach_head<B>(request: &mut hyper::Request<B>) {
    for value in request.headers_mut().values_mut() {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
    if let Ok(copy) = Uri::try_from(request.uri().to_string()) {
        *request.uri_mut() = copy;
    }
}

/// Turns away pages of strangers, and newcomers when there is no room: by HTTP, because a stock client comes back after that.
async fn guard(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Some(origin) = headers.get(ORIGIN)
        && !is_welcome(&hub, origin, headers)
    {
        return rest::refused(&Refusal::new(Code::Forbidden, "pages of this origin may not talk to the gateway (ALLOWED_ORIGINS)"));
    }
    let uri = request.uri();
    if uri.path().starts_with("/socket.io") && request.method() == Method::GET {
        let session = uri.query().unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("sid="));
        let is_cut = |session| request.extensions().get::<Line>().is_some_and(|line| !hub.lines.note(session, line));
        match session {
            Some(session) if session.len() <= SESSION_ID_MAX && is_cut(session) => {
                return rest::refused(&Refusal::new(Code::BadRequest, "this session has been cut off: begin another"));
            }
            None if hub.is_full() => {
                return ([(RETRY_AFTER, RETRY_AFTER_SECONDS)], rest::refused(&overloaded())).into_response();
            }
            Some(_) | None => {}
        }
    }
    next.run(request).await
}

/// Whether a page of this origin may talk to us: one that we serve, or one that is allowed.
fn is_welcome(hub: &Hub, origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = |host: &str| origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    host.is_some_and(own) || hub.config.origins.allow(origin)
}

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 1024;

/// HTTP connections at a time, until they become WebSockets.
const CONNECTIONS_MAX: usize = 16 * 1024;

/// How long a client may take to send its request's head, idle connections included.
const HEADER_PATIENCE: Duration = Duration::from_secs(60);

/// A request's head.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Engine.IO's have 16 characters; a longer one is not worth remembering.
const SESSION_ID_MAX: usize = 32;

/// How long accepting rests after a failure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long clients may take to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// When a client that was turned away may come back.
const RETRY_AFTER_SECONDS: &str = "2";
