//! The audio codecs that calls are made of: names, numbers and payload types.

/// An audio codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 6716, carried as RFC 7587.
    Opus,
    /// G.711 mu-law (RFC 3551 section 4.5.14).
    Pcmu,
    /// G.711 A-law (RFC 3551 section 4.5.14).
    Pcma,
}

impl Codec {
    /// In the order in which they are announced to browsers: a stock client sends the first.
    pub const ALL: [Codec; 3] = [Codec::Opus, Codec::Pcmu, Codec::Pcma];

    /// The encoding name of its `rtpmap` (RFC 8866 section 6.6).
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// Finds a codec by its encoding name, in any case.
    pub fn by_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The RTP clock in Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::Pcmu | Codec::Pcma => 8_000,
        }
    }

    /// The channels of its `rtpmap`; Opus always says 2 (RFC 7587 section 7).
    pub fn channels(self) -> u8 {
        match self {
            Codec::Opus => 2,
            Codec::Pcmu | Codec::Pcma => 1,
        }
    }

    /// The payload type in our offers and towards browsers: static where RFC 3551 has one.
    pub fn payload_type(self) -> u8 {
        match self {
            Codec::Opus => 111,
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// The payload type of telephone-event (RFC 4733) with this codec's clock, in our offers and towards browsers.
    pub fn telephone_event_payload_type(self) -> u8 {
        match self {
            Codec::Opus => 110,
            Codec::Pcmu | Codec::Pcma => 101,
        }
    }
}
