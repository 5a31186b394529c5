//! A browser transport that was really connected once, and from then on lives of what was recorded: its last connectivity check keeps the
//! consent, its first packets are the microphone's. That is hundreds of times cheaper than a browser, and no less true to the gateway.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nexus_gateway::ids::{ConsumerId, ProducerId, TransportId};
use nexus_gateway::webrtc::ortc::RtpParameters;
use nexus_harness::browser::FakeBrowser;

/// How often the gateway hears of the browser: well within its 8 s of patience.
pub const CONSENT_EVERY: Duration = Duration::from_secs(5);

/// Packets of a recorded microphone.
const FRAMES: usize = 40;

/// A transport as its client knows it.
pub struct Transport {
    pub id: TransportId,
    pub send: bool,
    /// What brings it up, and later plays its browser; a bare one has nobody.
    pub side: Side,
    pub producers: Vec<ProducerId>,
    pub consumers: Vec<ConsumerId>,
    /// What a microphone on it said of itself.
    pub rtp: Option<RtpParameters>,
    /// The browser says that it is up.
    pub up: bool,
    /// The last binding request that its browser sent.
    pub last_check: Vec<u8>,
}

impl Transport {
    pub fn new(id: TransportId, send: bool, side: Side) -> Self {
        Self { id, send, side, producers: Vec::new(), consumers: Vec::new(), rtp: None, up: false, last_check: Vec::new() }
    }
}

/// The browser's side of a transport.
pub enum Side {
    Nobody,
    Connecting(Box<FakeBrowser>),
    Recorded(Recording),
}

/// What a connected browser said.
pub struct Recording {
    pub address: SocketAddr,
    pub check: Vec<u8>,
    pub check_at: Instant,
    pub frames: Vec<Vec<u8>>,
    pub next_frame: usize,
    pub goodbye: Vec<Vec<u8>>,
}

impl Recording {
    /// Takes from a connected browser what it will ever say; `check` is the last binding request that it sent.
    pub fn of(mut browser: FakeBrowser, check: Vec<u8>, now: Instant) -> Self {
        let address = browser.local_address();
        let said = |browser: &mut FakeBrowser| -> Vec<Vec<u8>> {
            std::iter::from_fn(|| browser.poll_transmit()).map(|(_, bytes)| bytes).collect()
        };
        said(&mut browser);
        for _ in 0..FRAMES {
            browser.send_frame(&[0x5a; 160], now);
        }
        // RTP and RTCP have 2 in their two highest bits (RFC 7983).
        let frames = said(&mut browser).into_iter().filter(|bytes| bytes[0] >> 6 == 2).collect();
        browser.close();
        let goodbye = said(&mut browser).into_iter().filter(|bytes| (20..64).contains(&bytes[0])).collect();
        Self { address, check, check_at: now + CONSENT_EVERY, frames, next_frame: 0, goodbye }
    }
}
