//! Everything that can happen to a gateway, and how often.

use proptest::prelude::*;

/// One random step. Numbers that choose among things are taken modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The agent's client connects: anew, or taking over from its older socket.
    Connect {
        agent: u8,
    },
    LoseSocket {
        agent: u8,
    },
    /// Whatever of both transports, producer and consumer the agent lacks comes up, with real ICE and DTLS.
    OpenMedia {
        agent: u8,
    },
    Agent {
        agent: u8,
        asks: Ask,
    },
    /// The same from a socket that is not the agent's any more.
    StaleSocket {
        agent: u8,
        asks: Ask,
    },
    /// The browser stops, or goes on, to consent (RFC 7675).
    Consent {
        agent: u8,
        gives: bool,
    },
    /// The browser closes a transport by DTLS.
    Goodbye {
        agent: u8,
        nth: u8,
    },
    Terminate {
        call: u8,
    },
    Pbx(Pbx),
    Network {
        to_gateway: Quality,
        to_pbx: Quality,
    },
    Packet(Stray),
    /// Time passes, in milliseconds.
    Wait(u32),
    /// The network and the PBX behave for long enough: both peers must agree.
    Settle,
}

/// What an agent's client asks for.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// A transport that never comes up, if `connect` says so after `connect-transport`.
    BareTransport {
        send: bool,
        connect: bool,
    },
    CloseTransport {
        nth: u8,
    },
    Produce {
        nth: u8,
    },
    PauseProducer {
        nth: u8,
        paused: bool,
    },
    CloseProducer {
        nth: u8,
    },
    Consume {
        nth: u8,
    },
    CloseConsumer {
        nth: u8,
    },
    Dial {
        number: Number,
        own_id: Option<u8>,
    },
    Answer {
        call: u8,
    },
    Reject {
        call: u8,
    },
    Hangup {
        call: u8,
    },
    Hold {
        call: u8,
    },
    Unhold {
        call: u8,
    },
    Mute {
        call: u8,
        muted: bool,
    },
    Dtmf {
        call: u8,
        info: bool,
    },
    Transfer {
        call: u8,
    },
    GetStats {
        call: u8,
    },
}

/// Whom an agent dials, which is what the PBX does at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    Answers,
    Rings,
    EarlyMedia,
    OnlyTries,
    Busy,
    Uri,
    Emergency,
    Blocked,
    Nonsense,
}

/// What the PBX does.
#[derive(Clone, Copy, Debug)]
pub enum Pbx {
    Call {
        agent: u8,
        offer: Offer,
        auto_answer: bool,
    },
    Ring {
        call: u8,
    },
    EarlyMedia {
        call: u8,
    },
    Answer {
        call: u8,
        offer: Offer,
    },
    /// Two forks answer: the same 200 once more, under another tag.
    AnswerTwice {
        call: u8,
    },
    Reject {
        call: u8,
        status: u16,
    },
    /// 401 with a challenge.
    Challenge {
        call: u8,
    },
    Cancel {
        call: u8,
    },
    Bye {
        call: u8,
    },
    /// Both sides hang up at the same moment.
    ByeBoth {
        call: u8,
    },
    /// The PBX drops the dialog without a word.
    Forget {
        call: u8,
    },
    Reinvite {
        call: u8,
        offer: Offer,
    },
    /// Answers the re-INVITE that it let wait.
    AnswerReinvite {
        call: u8,
        status: u16,
    },
    AnswerRefer {
        call: u8,
        status: u16,
    },
    Notify {
        call: u8,
        status: u16,
    },
    Refer {
        call: u8,
    },
    Info {
        call: u8,
        digit: u8,
    },
    /// A datagram that it sent before is sent again.
    SendAgain {
        nth: u8,
    },
    /// How it behaves from now on.
    Behave(Behaviour),
}

/// What the PBX does by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// What re-INVITEs are answered: 200, another status, or nothing for a while (100).
    pub reinvite: u16,
    /// What REFERs are answered, the same way.
    pub refer: u16,
    /// Reports on an accepted REFER at once.
    pub report: Option<u16>,
    /// Its ACKs are lost.
    pub never_acks: bool,
    /// Nothing reaches it or leaves it.
    pub silent: bool,
    /// It answers a call that is cancelled.
    pub answers_cancelled: bool,
    /// It sends no media.
    pub mute: bool,
    /// All its calls share one media port.
    pub one_port: bool,
}

impl Behaviour {
    /// A PBX as one wishes it.
    pub const GOOD: Self = Self {
        reinvite: 200,
        refer: 202,
        report: None,
        never_acks: false,
        silent: false,
        answers_cancelled: false,
        mute: false,
        one_port: false,
    };
}

/// An SDP offer or answer of the PBX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Usual,
    SendOnly,
    RecvOnly,
    Inactive,
    /// Held the old way, at 0.0.0.0 (RFC 3264 section 8.4).
    Nowhere,
    OtherCodec,
    Garbage,
    None,
    /// At the port of another call.
    TakenPort,
}

/// A direction of the link between the gateway and the PBX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    Perfect,
    Jittery,
    Bad,
    Terrible,
    Out,
}

/// Media and noise.
#[derive(Clone, Copy, Debug)]
pub enum Stray {
    /// The browser's next SRTP packet.
    Frame {
        agent: u8,
    },
    /// One that it sent before.
    FrameAgain {
        agent: u8,
    },
    /// RTP of a call's PBX side.
    Rtp {
        call: u8,
    },
    /// A digit as RTP event.
    Event {
        call: u8,
        digit: u8,
    },
    Rtcp {
        call: u8,
    },
    /// From an address that nobody knows, to one of the gateway's sockets.
    Noise {
        socket: u8,
        kind: u8,
    },
}

/// A case.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..600)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u8>().prop_map(|agent| Step::Connect { agent }),
        2 => any::<u8>().prop_map(|agent| Step::LoseSocket { agent }),
        6 => any::<u8>().prop_map(|agent| Step::OpenMedia { agent }),
        70 => (any::<u8>(), ask()).prop_map(|(agent, asks)| Step::Agent { agent, asks }),
        2 => (any::<u8>(), ask()).prop_map(|(agent, asks)| Step::StaleSocket { agent, asks }),
        1 => (any::<u8>(), prop::bool::weighted(0.7)).prop_map(|(agent, gives)| Step::Consent { agent, gives }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(agent, nth)| Step::Goodbye { agent, nth }),
        2 => any::<u8>().prop_map(|call| Step::Terminate { call }),
        60 => pbx().prop_map(Step::Pbx),
        4 => (quality(), quality()).prop_map(|(to_gateway, to_pbx)| Step::Network { to_gateway, to_pbx }),
        20 => stray().prop_map(Step::Packet),
        25 => (0u32..50).prop_map(Step::Wait),
        15 => (0u32..2_000).prop_map(Step::Wait),
        5 => (0u32..20_000).prop_map(Step::Wait),
        1 => (0u32..200_000).prop_map(Step::Wait),
        2 => Just(Step::Settle),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let call = any::<u8>;
    prop_oneof![
        1 => (any::<bool>(), any::<bool>()).prop_map(|(send, connect)| Ask::BareTransport { send, connect }),
        1 => any::<u8>().prop_map(|nth| Ask::CloseTransport { nth }),
        1 => any::<u8>().prop_map(|nth| Ask::Produce { nth }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(nth, paused)| Ask::PauseProducer { nth, paused }),
        1 => any::<u8>().prop_map(|nth| Ask::CloseProducer { nth }),
        1 => any::<u8>().prop_map(|nth| Ask::Consume { nth }),
        1 => any::<u8>().prop_map(|nth| Ask::CloseConsumer { nth }),
        20 => (number(), prop::option::weighted(0.3, 0u8..4)).prop_map(|(number, own_id)| Ask::Dial { number, own_id }),
        8 => call().prop_map(|call| Ask::Answer { call }),
        3 => call().prop_map(|call| Ask::Reject { call }),
        7 => call().prop_map(|call| Ask::Hangup { call }),
        8 => call().prop_map(|call| Ask::Hold { call }),
        8 => call().prop_map(|call| Ask::Unhold { call }),
        2 => (call(), any::<bool>()).prop_map(|(call, muted)| Ask::Mute { call, muted }),
        3 => (call(), any::<bool>()).prop_map(|(call, info)| Ask::Dtmf { call, info }),
        6 => call().prop_map(|call| Ask::Transfer { call }),
        2 => call().prop_map(|call| Ask::GetStats { call }),
    ]
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        8 => Just(Number::Answers), 4 => Just(Number::Rings), 2 => Just(Number::EarlyMedia), 2 => Just(Number::OnlyTries),
        1 => Just(Number::Busy), 1 => Just(Number::Uri), 1 => Just(Number::Emergency), 1 => Just(Number::Blocked), 1 => Just(Number::Nonsense),
    ]
}

fn pbx() -> impl Strategy<Value = Pbx> {
    let call = any::<u8>;
    let failure = || prop_oneof![Just(302u16), Just(404), Just(486), Just(488), Just(491), Just(500), Just(503), Just(600)];
    let any_final = move || prop_oneof![3 => Just(200u16), 2 => failure()];
    prop_oneof![
        10 => (any::<u8>(), offer(), prop::bool::weighted(0.2)).prop_map(|(agent, offer, auto_answer)| Pbx::Call { agent, offer, auto_answer }),
        2 => call().prop_map(|call| Pbx::Ring { call }),
        2 => call().prop_map(|call| Pbx::EarlyMedia { call }),
        6 => (call(), offer()).prop_map(|(call, offer)| Pbx::Answer { call, offer }),
        1 => call().prop_map(|call| Pbx::AnswerTwice { call }),
        2 => (call(), failure()).prop_map(|(call, status)| Pbx::Reject { call, status }),
        1 => call().prop_map(|call| Pbx::Challenge { call }),
        3 => call().prop_map(|call| Pbx::Cancel { call }),
        3 => call().prop_map(|call| Pbx::Bye { call }),
        2 => call().prop_map(|call| Pbx::ByeBoth { call }),
        1 => call().prop_map(|call| Pbx::Forget { call }),
        8 => (call(), offer()).prop_map(|(call, offer)| Pbx::Reinvite { call, offer }),
        4 => (call(), any_final()).prop_map(|(call, status)| Pbx::AnswerReinvite { call, status }),
        2 => (call(), any_final()).prop_map(|(call, status)| Pbx::AnswerRefer { call, status }),
        8 => (call(), prop_oneof![Just(100u16), Just(180), Just(200), Just(200), Just(486)]).prop_map(|(call, status)| Pbx::Notify { call, status }),
        1 => call().prop_map(|call| Pbx::Refer { call }),
        1 => (call(), any::<u8>()).prop_map(|(call, digit)| Pbx::Info { call, digit }),
        5 => any::<u8>().prop_map(|nth| Pbx::SendAgain { nth }),
        5 => behaviour().prop_map(Pbx::Behave),
    ]
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let reinvite = prop_oneof![6 => Just(200u16), 2 => Just(100), 1 => Just(488), 1 => Just(491), 1 => Just(500), 1 => Just(481)];
    let refer = prop_oneof![4 => Just(202u16), 2 => Just(100), 1 => Just(603), 1 => Just(481)];
    let report = prop::option::of(prop_oneof![Just(100u16), Just(200), Just(486)]);
    let rarely = || prop::bool::weighted(0.06);
    (reinvite, refer, report, rarely(), rarely(), rarely(), rarely(), rarely()).prop_map(
        |(reinvite, refer, report, never_acks, silent, answers_cancelled, mute, one_port)| Behaviour {
            reinvite,
            refer,
            report,
            never_acks,
            silent,
            answers_cancelled,
            mute,
            one_port,
        },
    )
}

fn offer() -> impl Strategy<Value = Offer> {
    prop_oneof![
        10 => Just(Offer::Usual), 2 => Just(Offer::SendOnly), 1 => Just(Offer::RecvOnly), 1 => Just(Offer::Inactive), 1 => Just(Offer::Nowhere),
        1 => Just(Offer::OtherCodec), 1 => Just(Offer::Garbage), 1 => Just(Offer::None), 2 => Just(Offer::TakenPort),
    ]
}

fn quality() -> impl Strategy<Value = Quality> {
    prop_oneof![
        9 => Just(Quality::Perfect), 3 => Just(Quality::Jittery), 3 => Just(Quality::Bad), 1 => Just(Quality::Terrible), 1 => Just(Quality::Out),
    ]
}

fn stray() -> impl Strategy<Value = Stray> {
    prop_oneof![
        3 => any::<u8>().prop_map(|agent| Stray::Frame { agent }),
        1 => any::<u8>().prop_map(|agent| Stray::FrameAgain { agent }),
        3 => any::<u8>().prop_map(|call| Stray::Rtp { call }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(call, digit)| Stray::Event { call, digit }),
        1 => any::<u8>().prop_map(|call| Stray::Rtcp { call }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(socket, kind)| Stray::Noise { socket, kind }),
    ]
}
