//! An agent at work: a Socket.IO client with a microphone and a loudspeaker.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use nexus_gateway::codec::Codec;
use nexus_harness::browser::{BrowserEvent, BrowserStats, ReceivedRtp, Role};
use nexus_harness::live::LiveBrowser;
use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE};
use crate::socket_io::Client;

/// An agent with both transports connected.
pub struct Phone {
    pub client: Client,
    /// What `connected` said.
    pub welcome: Value,
    /// The id of the microphone's stream, and of the loudspeaker's.
    pub producer: Value,
    pub consumer: Value,
    microphone: LiveBrowser,
    loudspeaker: LiveBrowser,
    codec: Codec,
}

/// What an agent of this name gives in `auth`: a tenant of its own, so that several shards share the work.
pub fn auth(agent: &str) -> Value {
    json!({"token": "your-jwt-token", "agentId": agent, "tenantId": format!("tenant of {agent}").replace(' ', "-"), "userId": agent})
}

impl Phone {
    /// Connects, and does what mediasoup-client does to speak and to hear.
    pub fn new(gateway: &Gateway, agent: &str, codec: Codec) -> Self {
        Self::with(Client::connect(gateway, &auth(agent)), codec)
    }

    /// The same for a client that has just connected.
    pub fn with(mut client: Client, codec: Codec) -> Self {
        let welcome = client.event("connected");
        client.event("webrtc:peer-connected");
        let microphone = transport(&mut client, "send", Role::Send(codec));
        let (id, browser) = &microphone;
        let parameters = browser.producer_parameters().expect("a send transport produces");
        let producer = client.ask("webrtc:produce", json!({"transportId": id, "kind": "audio", "rtpParameters": parameters}));
        assert!(producer["id"].is_string() && producer["id"] == producer["producerId"], "{producer}");
        let loudspeaker = transport(&mut client, "recv", Role::Recv);
        let (id, browser) = &loudspeaker;
        let consumer = client.ask("webrtc:consume", json!({"transportId": id, "producerId": welcome["producerId"]}));
        assert_eq!((&consumer["kind"], &consumer["type"], &consumer["paused"]), (&json!("audio"), &json!("simple"), &json!(false)));
        browser.consume(serde_json::from_value(consumer["rtpParameters"].clone()).expect("RtpParameters"));
        for (id, browser) in [&microphone, &loudspeaker] {
            assert!(browser.wait_connected(PATIENCE), "ICE and DTLS are up");
            for state in ["new", "connecting", "connected"] {
                assert_eq!(client.transport_event("webrtc:transport-state", id)["state"], state);
            }
        }
        let (producer, consumer) = (producer["id"].clone(), consumer["id"].clone());
        Self { client, welcome, producer, consumer, microphone: microphone.1, loudspeaker: loudspeaker.1, codec }
    }

    /// Dials, and gives the call's id.
    pub fn dial(&mut self, number: &str) -> String {
        let answer = self.client.ask("call:dial", json!({"phoneNumber": number}));
        answer["callId"].as_str().expect("a callId").to_owned()
    }

    /// Dials, and waits for the answer.
    pub fn call(&mut self, number: &str) -> String {
        let call = self.dial(number);
        self.client.call_event("call:answered", &call);
        call
    }

    /// Hangs up, and gives what `call:ended` said.
    pub fn hang_up(&mut self, call: &str) -> Value {
        self.client.ask("call:hangup", json!({"callId": call}));
        let ended = self.client.call_event("call:ended", call);
        assert_eq!((&ended["endedBy"], &ended["reason"]), (&json!("agent"), &json!("hangup")));
        ended
    }

    /// Speaks numbered frames until told to stop.
    pub fn speak(&self) {
        self.microphone.play(Box::new(|number| speech(number as u16)));
    }

    /// Says nothing more.
    pub fn be_quiet(&self) {
        self.microphone.stop();
    }

    /// What the microphone's browser would show as statistics.
    pub fn spoken(&self) -> BrowserStats {
        self.microphone.stats().expect("the browser runs")
    }

    /// Forgets what was heard up to now.
    pub fn clear(&self) {
        clear(&self.loudspeaker);
    }

    /// The next packets that are heard, so many.
    pub fn hear(&self, count: usize) -> Vec<ReceivedRtp> {
        (0..count).map(|_| self.hear_one()).collect()
    }

    /// What is heard until nothing comes for a while.
    pub fn hear_the_rest(&self) -> Vec<ReceivedRtp> {
        let heard = std::iter::from_fn(|| self.loudspeaker.event(QUIET));
        let packets = heard.filter_map(|event| match event {
            BrowserEvent::Rtp(packet) => Some(packet),
            BrowserEvent::Connected => None,
            event @ (BrowserEvent::IceDisconnected | BrowserEvent::Closed | BrowserEvent::Broken(_)) => panic!("{event:?}"),
        });
        packets.collect()
    }

    /// Listens until a packet comes that fits.
    pub fn hear_until(&self, what: &str, fits: impl Fn(&ReceivedRtp) -> bool) -> ReceivedRtp {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let packet = self.hear_one();
            if fits(&packet) {
                return packet;
            }
            assert!(Instant::now() < give_up_at, "listened {PATIENCE:?} in vain for {what}");
        }
    }

    /// Speaks, and listens until one's own voice has come back for a while, every byte of it, in order and without a gap.
    pub fn hear_own_echo(&self) {
        self.speak();
        // What is still on its way of an earlier round has a greater number than that round listened to.
        let is_of_this_round = |number| usize::from(number) <= ECHO_FRAMES;
        let first = self.hear_until("the first echo", |packet| spoken_number(packet).is_some_and(is_of_this_round));
        let heard = self.hear(ECHO_FRAMES);
        let (number, sequence) = (spoken_number(&first).expect("it is speech"), first.sequence);
        for (index, packet) in (1..).zip(&heard) {
            let place = (spoken_number(packet), packet.sequence, packet.payload_type);
            assert_eq!(
                place,
                (Some(number.wrapping_add(index)), sequence + u64::from(index), self.codec.payload_type()),
                "frame {index} after the first"
            );
        }
        self.be_quiet();
    }

    /// Gives the client away, to be cut or replaced; the media goes on.
    pub fn split(self) -> (Client, Media) {
        let Self { client, producer, consumer, microphone, loudspeaker, codec, .. } = self;
        (client, Media { producer, consumer, microphone, loudspeaker, codec })
    }

    /// Goes on with media that was there before.
    pub fn resume(client: Client, welcome: Value, media: Media) -> Self {
        let Media { producer, consumer, microphone, loudspeaker, codec } = media;
        Self { client, welcome, producer, consumer, microphone, loudspeaker, codec }
    }

    fn hear_one(&self) -> ReceivedRtp {
        hear_one(&self.loudspeaker)
    }
}

/// The browser of an agent whose socket is gone.
pub struct Media {
    producer: Value,
    consumer: Value,
    microphone: LiveBrowser,
    loudspeaker: LiveBrowser,
    codec: Codec,
}

impl Media {
    /// Listens to so many packets.
    pub fn hear(&self, count: usize) {
        clear(&self.loudspeaker);
        (0..count).for_each(|_| drop(hear_one(&self.loudspeaker)));
    }

    /// Waits until the gateway has closed both transports.
    pub fn wait_closed(&self) {
        for browser in [&self.microphone, &self.loudspeaker] {
            while !matches!(browser.event(PATIENCE).expect("an event"), BrowserEvent::Closed) {}
        }
    }
}

fn clear(loudspeaker: &LiveBrowser) {
    while loudspeaker.event(Duration::ZERO).is_some() {}
}

fn hear_one(loudspeaker: &LiveBrowser) -> ReceivedRtp {
    loop {
        match loudspeaker.event(PATIENCE).expect("a packet") {
            BrowserEvent::Rtp(packet) => return packet,
            BrowserEvent::Connected => {}
            event @ (BrowserEvent::IceDisconnected | BrowserEvent::Closed | BrowserEvent::Broken(_)) => panic!("{event:?}"),
        }
    }
}

/// One transport, as mediasoup-client makes it.
fn transport(client: &mut Client, direction: &str, role: Role) -> (Value, LiveBrowser) {
    let options = client.ask("webrtc:create-transport", json!({"direction": direction}));
    let parsed = serde_json::from_value(options.clone()).expect("TransportOptions");
    let browser = LiveBrowser::start(role, &parsed, LOOPBACK).expect("usable options");
    client.ask("webrtc:connect-transport", json!({"transportId": options["id"], "dtlsParameters": browser.dtls_parameters()}));
    browser.connect();
    (options["id"].clone(), browser)
}

/// Speech that nobody else says: 160 bytes that tell their number. To Opus it is a frame of 20 ms.
fn speech(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let pattern = (0..157).map(|index: u8| index.wrapping_mul(3).wrapping_add(low));
    [OPUS_CELT_20_MS, high, low].into_iter().chain(pattern).collect()
}

/// The number of a frame of [`speech`] that came back byte for byte.
pub fn spoken_number(packet: &ReceivedRtp) -> Option<u16> {
    let &[_, high, low, ..] = packet.payload.as_slice() else { return None };
    let number = u16::from_be_bytes([high, low]);
    (packet.payload == speech(number)).then_some(number)
}

/// The demo PBX echoes nothing but what it hears.
const QUIET: Duration = Duration::from_secs(1);

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How much of an echo is listened to.
const ECHO_FRAMES: usize = 50;

/// The first byte of an Opus packet with one fullband frame of 20 ms (RFC 6716 section 3.1).
const OPUS_CELT_20_MS: u8 = 31 << 3;
