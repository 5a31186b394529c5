//! One agent: a Socket.IO client on a WebSocket and two peer connections, served by one task.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use nexus_gateway::codec::Codec;
use nexus_harness::browser::{BrowserError, BrowserEvent, FakeBrowser, Role};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

/// An agent whose socket is connected.
pub struct Agent {
    socket: WebSocketStream<TcpStream>,
    browsers: Vec<Browser>,
    requests: u64,
    answer: Option<(u64, Value)>,
    /// The gateway's one stream, to be consumed.
    remote_producer: Value,
}

/// One transport.
struct Browser {
    browser: FakeBrowser,
    udp: UdpSocket,
    connected: bool,
}

/// Why an agent could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("nobody asks this agent for anything any more")]
    Dismissed,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    WebSocket(#[from] tungstenite::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Browser(#[from] BrowserError),
    #[error("the gateway closed the socket")]
    Closed,
    #[error("unexpected: {0}")]
    Unexpected(String),
    #[error("{0} was refused: {1}")]
    Refused(&'static str, Value),
}

/// Something that arrived, or whose time has come.
enum Arrival {
    Message(Message),
    Datagram(usize, Vec<u8>, SocketAddr),
    Deadline,
}

impl Agent {
    /// Connects the socket and waits for `connected`.
    pub async fn connect(number: usize, authority: &str) -> Result<Self, AgentError> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{authority}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let mut agent = Self { socket, browsers: Vec::new(), requests: 0, answer: None, remote_producer: Value::Null };
        agent.expect("0{").await?;
        let name = format!("agent-{number}");
        let auth = json!({"token": "your-jwt-token", "agentId": name, "tenantId": format!("tenant-{}", number % TENANTS), "userId": name});
        agent.socket.send(Message::text(format!("40{auth}"))).await?;
        agent.expect("40{").await?;
        let connected = agent.expect("42[\"connected\",").await?;
        let connected: Value = serde_json::from_str(&connected[2..])?;
        agent.remote_producer = connected[1]["producerId"].clone();
        Ok(agent)
    }

    /// Makes both transports, a producer and a consumer, as mediasoup-client does, and waits until ICE and DTLS are up.
    pub async fn connect_media(&mut self) -> Result<(), AgentError> {
        for (direction, role) in [("send", Role::Send(Codec::Opus)), ("recv", Role::Recv)] {
            let options = self.ask("webrtc:create-transport", json!({"direction": direction})).await?;
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let parsed = serde_json::from_value(options.clone())?;
            let mut browser = FakeBrowser::new(role, &parsed, udp.local_addr()?, Instant::now())?;
            let (id, dtls) = (&options["id"], browser.dtls_parameters());
            self.ask("webrtc:connect-transport", json!({"transportId": id, "dtlsParameters": dtls})).await?;
            browser.connect(Instant::now())?;
            let produced = browser.producer_parameters();
            self.browsers.push(Browser { browser, udp, connected: false });
            self.flush().await?;
            if let Some(parameters) = produced {
                self.ask("webrtc:produce", json!({"transportId": id, "kind": "audio", "rtpParameters": parameters})).await?;
            } else {
                let consumer = json!({"transportId": id, "producerId": self.remote_producer});
                let consumer = self.ask("webrtc:consume", consumer).await?;
                let parameters = serde_json::from_value(consumer["rtpParameters"].clone())?;
                self.browsers.last_mut().expect("just made").browser.consume(&parameters)?;
            }
        }
        while self.browsers.iter().any(|browser| !browser.connected) {
            self.step().await?;
        }
        Ok(())
    }

    /// Answers pings and connectivity checks until `ready` is.
    pub async fn serve_until<F: Future>(&mut self, ready: F) -> Result<F::Output, AgentError> {
        tokio::pin!(ready);
        loop {
            tokio::select! {
                output = &mut ready => return Ok(output),
                arrival = self.arrival() => self.handle(arrival?).await?,
            }
        }
    }

    /// Closes the transports and then the socket, as a page that is closed does.
    pub async fn leave(mut self) -> Result<(), AgentError> {
        self.browsers.iter_mut().for_each(|browser| browser.browser.close());
        self.flush().await?;
        self.socket.send(Message::text("41")).await?;
        self.socket.close(None).await?;
        Ok(())
    }

    async fn ask(&mut self, event: &'static str, payload: Value) -> Result<Value, AgentError> {
        self.requests += 1;
        let id = self.requests;
        self.socket.send(Message::text(format!("42{id}{}", json!([event, payload])))).await?;
        loop {
            match self.answer.take() {
                Some((answered, answer)) if answered == id => {
                    return if answer["success"] == true { Ok(answer) } else { Err(AgentError::Refused(event, answer)) };
                }
                Some(_) | None => self.step().await?,
            }
        }
    }

    /// The next text from the gateway, which has to begin like this.
    async fn expect(&mut self, beginning: &str) -> Result<String, AgentError> {
        loop {
            match self.socket.next().await.ok_or(AgentError::Closed)?? {
                Message::Text(text) if text.starts_with(beginning) => return Ok(text.as_str().to_owned()),
                Message::Text(text) if text.as_str() == PING => self.socket.send(Message::text(PONG)).await?,
                message => return Err(AgentError::Unexpected(message.to_string())),
            }
        }
    }

    async fn step(&mut self) -> Result<(), AgentError> {
        let arrival = self.arrival().await?;
        self.handle(arrival).await
    }

    /// Waits for something to do; giving up waiting loses nothing.
    async fn arrival(&mut self) -> Result<Arrival, AgentError> {
        let deadline = self.browsers.iter().filter_map(|browser| browser.browser.next_deadline()).min();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + NOTHING_TO_DO);
        let (send, recv) = (self.browsers.first(), self.browsers.get(1));
        tokio::select! {
            message = self.socket.next() => Ok(Arrival::Message(message.ok_or(AgentError::Closed)??)),
            datagram = receive(send) => datagram.map(|(bytes, from)| Arrival::Datagram(0, bytes, from)),
            datagram = receive(recv) => datagram.map(|(bytes, from)| Arrival::Datagram(1, bytes, from)),
            () = tokio::time::sleep_until(deadline.into()) => Ok(Arrival::Deadline),
        }
    }

    async fn handle(&mut self, arrival: Arrival) -> Result<(), AgentError> {
        match arrival {
            Arrival::Message(Message::Text(text)) => self.on_packet(text.as_str()).await?,
            Arrival::Message(Message::Close(_)) => return Err(AgentError::Closed),
            Arrival::Message(_) => {}
            Arrival::Datagram(place, bytes, from) => self.browsers[place].browser.handle_datagram(&bytes, from, Instant::now()),
            Arrival::Deadline => {
                let now = Instant::now();
                let due = self.browsers.iter_mut().map(|browser| &mut browser.browser);
                due.filter(|browser| browser.next_deadline().is_some_and(|at| at <= now)).for_each(|browser| browser.handle_timeout(now));
            }
        }
        self.flush().await
    }

    async fn on_packet(&mut self, text: &str) -> Result<(), AgentError> {
        if text == PING {
            return Ok(self.socket.send(Message::text(PONG)).await?);
        }
        if let Some((id, answer)) = text.strip_prefix("43").and_then(|ack| ack.split_once('[')) {
            let id = id.parse().map_err(|_| AgentError::Unexpected(text.to_owned()))?;
            let mut answer: Value = serde_json::from_str(&format!("[{answer}"))?;
            self.answer = Some((id, answer[0].take()));
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), AgentError> {
        for Browser { browser, udp, connected } in &mut self.browsers {
            while let Some((to, bytes)) = browser.poll_transmit() {
                // What the system does not take is a lost datagram.
                let _ = udp.try_send_to(&bytes, to);
            }
            while let Some(event) = browser.poll_event() {
                match event {
                    BrowserEvent::Connected => *connected = true,
                    BrowserEvent::Rtp(_) => {}
                    event @ (BrowserEvent::IceDisconnected | BrowserEvent::Closed | BrowserEvent::Broken(_)) => {
                        return Err(AgentError::Unexpected(format!("{event:?}")));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A datagram for this browser; never, if there is none yet.
async fn receive(browser: Option<&Browser>) -> Result<(Vec<u8>, SocketAddr), AgentError> {
    let Some(Browser { udp, .. }) = browser else { return std::future::pending().await };
    let mut buffer = [0; 2048];
    let (length, from) = udp.recv_from(&mut buffer).await?;
    Ok((buffer[..length].to_vec(), from))
}

/// Engine.IO's sign of life, and the answer to it.
const PING: &str = "2";
const PONG: &str = "3";

/// Tenants that the agents belong to, so that several shards share them.
const TENANTS: usize = 20;

/// Until the next look around where nothing is due.
const NOTHING_TO_DO: Duration = Duration::from_secs(60);
