//! A [`FakeBrowser`] on a real UDP socket, with a thread of its own.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nexus_gateway::webrtc::ortc::{DtlsParameters, IceParameters, RtpParameters, TransportOptions};

use crate::browser::{BrowserError, BrowserEvent, BrowserStats, FakeBrowser, Role};

/// Makes the payload of each 20 ms frame, told its number from 0.
pub type Frames = Box<dyn FnMut(u64) -> Vec<u8> + Send>;

/// A fake browser that runs by itself. Dropping it closes the transport.
pub struct LiveBrowser {
    orders: Sender<Order>,
    events: Receiver<BrowserEvent>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
    dtls: DtlsParameters,
    producer: Option<RtpParameters>,
}

enum Order {
    Connect,
    Consume(Box<RtpParameters>),
    RestartIce(IceParameters),
    Play(Frames),
    Stop,
    Stats(Sender<BrowserStats>),
    Close,
}

/// Why a live browser could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// No socket.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The gateway's parameters are not usable.
    #[error(transparent)]
    Browser(#[from] BrowserError),
}

impl LiveBrowser {
    /// Binds a port on `bind` and makes the transport. Nothing is sent before [`LiveBrowser::connect`].
    pub fn start(role: Role, options: &TransportOptions, bind: IpAddr) -> Result<Self, LiveError> {
        let socket = UdpSocket::bind((bind, 0))?;
        let address = socket.local_addr()?;
        let mut browser = FakeBrowser::new(role, options, address, Instant::now())?;
        let (dtls, producer) = (browser.dtls_parameters(), browser.producer_parameters());
        let (orders, order_queue) = mpsc::channel();
        let (event_sender, events) = mpsc::channel();
        let runner = Runner { browser, socket, orders: order_queue, events: event_sender, playing: None };
        let thread = std::thread::Builder::new().name("fake-browser".into()).spawn(move || runner.run())?;
        Ok(Self { orders, events, thread: Some(thread), address, dtls, producer })
    }

    /// What goes into `webrtc:connect-transport`.
    pub fn dtls_parameters(&self) -> &DtlsParameters {
        &self.dtls
    }

    /// What goes into `webrtc:produce`, on a send transport.
    pub fn producer_parameters(&self) -> Option<&RtpParameters> {
        self.producer.as_ref()
    }

    /// The local address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts ICE and DTLS; call it when `webrtc:connect-transport` is acknowledged.
    pub fn connect(&self) {
        self.order(Order::Connect);
    }

    /// Prepares for the stream that `webrtc:consume` describes.
    pub fn consume(&self, parameters: RtpParameters) {
        self.order(Order::Consume(Box::new(parameters)));
    }

    /// Takes new credentials of the gateway.
    pub fn restart_ice(&self, parameters: IceParameters) {
        self.order(Order::RestartIce(parameters));
    }

    /// Sends a frame every 20 ms until [`LiveBrowser::stop`].
    pub fn play(&self, frames: Frames) {
        self.order(Order::Play(frames));
    }

    /// Stops sending.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    /// What `getStats` would say now; `None` when the thread is gone.
    pub fn stats(&self) -> Option<BrowserStats> {
        let (sender, receiver) = mpsc::channel();
        self.order(Order::Stats(sender));
        receiver.recv().ok()
    }

    /// The next event, waited for at most this long.
    pub fn event(&self, patience: Duration) -> Option<BrowserEvent> {
        self.events.recv_timeout(patience).ok()
    }

    /// Waits for ICE and DTLS. `false` when they are not up in time; other events meanwhile are lost.
    pub fn wait_connected(&self, patience: Duration) -> bool {
        let give_up_at = Instant::now() + patience;
        loop {
            match self.event(give_up_at.saturating_duration_since(Instant::now())) {
                Some(BrowserEvent::Connected) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    fn order(&self, order: Order) {
        // The thread ends only when told to, or with a socket that is broken; then everything else says so too.
        let _ = self.orders.send(order);
    }
}

impl Drop for LiveBrowser {
    fn drop(&mut self) {
        self.order(Order::Close);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Runner {
    browser: FakeBrowser,
    socket: UdpSocket,
    orders: Receiver<Order>,
    events: Sender<BrowserEvent>,
    playing: Option<Playing>,
}

struct Playing {
    frames: Frames,
    number: u64,
    next_at: Instant,
}

impl Runner {
    fn run(mut self) {
        let mut buffer = [0; 2048];
        loop {
            if !self.take_orders() {
                return self.flush();
            }
            let now = Instant::now();
            self.play(now);
            if self.browser.next_deadline().is_some_and(|at| at <= now) {
                self.browser.handle_timeout(now);
            }
            self.flush();
            let until = [self.browser.next_deadline(), self.playing.as_ref().map(|playing| playing.next_at)].into_iter().flatten().min();
            let wait = until.map_or(ORDER_INTERVAL, |at| at.saturating_duration_since(Instant::now()));
            let _ = self.socket.set_read_timeout(Some(wait.clamp(SHORTEST_WAIT, ORDER_INTERVAL)));
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.browser.handle_datagram(&buffer[..length], from, Instant::now()),
                // ICMP of a gateway that is not there (yet) shows up here as a refused connection.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
                    ) => {}
                Err(_) => return,
            }
        }
    }

    /// `false` when the browser is to end.
    fn take_orders(&mut self) -> bool {
        loop {
            let done = match self.orders.try_recv() {
                Ok(Order::Connect) => self.browser.connect(Instant::now()),
                Ok(Order::Consume(parameters)) => self.browser.consume(&parameters),
                Ok(Order::RestartIce(parameters)) => self.browser.restart_ice(&parameters, Instant::now()),
                Ok(Order::Play(frames)) => {
                    self.playing = Some(Playing { frames, number: 0, next_at: Instant::now() });
                    Ok(())
                }
                Ok(Order::Stop) => {
                    self.playing = None;
                    Ok(())
                }
                Ok(Order::Stats(sender)) => {
                    let _ = sender.send(self.browser.stats());
                    Ok(())
                }
                Ok(Order::Close) | Err(TryRecvError::Disconnected) => {
                    self.browser.close();
                    return false;
                }
                Err(TryRecvError::Empty) => return true,
            };
            if let Err(error) = done {
                let _ = self.events.send(BrowserEvent::Broken(error.to_string()));
            }
        }
    }

    fn play(&mut self, now: Instant) {
        while let Some(playing) = self.playing.as_mut().filter(|playing| playing.next_at <= now) {
            let frame = (playing.frames)(playing.number);
            playing.number += 1;
            playing.next_at += FRAME;
            self.browser.send_frame(&frame, now);
        }
    }

    fn flush(&mut self) {
        while let Some((to, bytes)) = self.browser.poll_transmit() {
            // A full or refused send is a lost datagram, which is what UDP is for.
            let _ = self.socket.send_to(&bytes, to);
        }
        while let Some(event) = self.browser.poll_event() {
            let _ = self.events.send(event);
        }
    }
}

const FRAME: Duration = Duration::from_millis(20);

/// How long an order may wait behind a quiet socket.
const ORDER_INTERVAL: Duration = Duration::from_millis(10);

/// A read timeout of zero would mean for ever.
const SHORTEST_WAIT: Duration = Duration::from_micros(500);
