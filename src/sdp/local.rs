//! What we describe: an offer, an answer, and what both together mean.

use std::net::IpAddr;

use sdp_types::{Connection, Media, Origin, Session, Time};

use super::{
    DEFAULT_PTIME, Direction, Negotiated, NoCommonCodec, RemoteDescription, RemoteFormat, RemoteFormatKind, SdpError, TelephoneEvent,
};
use crate::codec::Codec;

/// Our side of a session. Made anew, with the next `version`, for each offer or answer that says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDescription {
    /// The address that the peer reaches us at.
    pub address: IpAddr,
    /// Where we receive RTP: even.
    pub rtp_port: u16,
    /// Where we receive RTCP: the odd port above it. Always said (RFC 3605), since a shared pair is easily guessed wrong.
    pub rtcp_port: u16,
    /// The session's number (`o=`), the same for a whole dialog.
    pub session_id: u64,
    /// One more for each change (RFC 3264 section 8).
    pub version: u64,
    /// The direction that we want.
    pub direction: Direction,
    /// The codecs that we can take, the best first.
    pub codecs: Vec<Codec>,
}

impl LocalDescription {
    /// An offer of all our codecs, with telephone events for each of their clocks.
    pub fn offer(&self) -> Vec<u8> {
        let mut media = self.audio("RTP/AVP", self.direction);
        let mut clocks: Vec<u32> = Vec::new();
        for &codec in &self.codecs {
            add_codec(&mut media, codec, codec.payload_type());
        }
        for &codec in &self.codecs {
            if !clocks.contains(&codec.clock_rate()) {
                clocks.push(codec.clock_rate());
                add_telephone_event(&mut media, codec.telephone_event_payload_type(), codec.clock_rate());
            }
        }
        write(self.session(vec![media]))
    }

    /// The answer to an offer: the first of our codecs that the peer offered, under the peer's payload types; other media lines are
    /// refused with port 0.
    ///
    /// # Errors
    /// No codec of ours is in the offer.
    pub fn answer(&self, offer: &RemoteDescription) -> Result<(Vec<u8>, Negotiated), NoCommonCodec> {
        let (codec, payload_type) = self.codecs.iter().find_map(|&codec| Some((codec, offer.payload_type(codec)?))).ok_or(NoCommonCodec)?;
        let direction = self.direction.limited_by(offer.audio.direction);
        let event = offer.telephone_event(codec);

        let mut lines = Vec::with_capacity(offer.lines.len());
        for (place, line) in offer.lines.iter().enumerate() {
            if place == offer.audio_line {
                let mut media = self.audio(&line.proto, direction);
                add_codec(&mut media, codec, payload_type);
                if let Some((payload_type, clock)) = event {
                    add_telephone_event(&mut media, payload_type, clock);
                }
                lines.push(media);
            } else {
                lines.push(refused(line.media.clone(), line.proto.clone(), line.fmt.clone()));
            }
        }

        let event =
            event.map(|(payload_type, clock)| TelephoneEvent { payload_type_out: payload_type, payload_type_in: payload_type, clock });
        Ok((write(self.session(lines)), negotiated(offer, codec, (payload_type, payload_type), event, direction)))
    }

    /// What the peer's answer to our [`offer`](Self::offer) means.
    ///
    /// # Errors
    /// The answer names no codec that we offered.
    pub fn complete(&self, answer: &RemoteDescription) -> Result<Negotiated, SdpError> {
        let chosen = answer.audio.formats.iter().find_map(|format| match format.kind {
            RemoteFormatKind::Audio(codec) if self.codecs.contains(&codec) => Some((codec, format.payload_type)),
            RemoteFormatKind::Audio(_) | RemoteFormatKind::TelephoneEvent(_) | RemoteFormatKind::Other => None,
        });
        let (codec, payload_type_out) = chosen.ok_or(SdpError::NoCommonCodec)?;
        let event = answer.telephone_event(codec).and_then(|(payload_type_out, clock)| {
            // Only a clock that we offered is known to us by a payload type.
            let offered = self.codecs.iter().find(|codec| codec.clock_rate() == clock)?;
            Some(TelephoneEvent { payload_type_out, payload_type_in: offered.telephone_event_payload_type(), clock })
        });
        let direction = self.direction.limited_by(answer.audio.direction);
        Ok(negotiated(answer, codec, (payload_type_out, codec.payload_type()), event, direction))
    }

    fn session(&self, lines: Vec<Media>) -> Session {
        let origin = Origin::with_ip_addr(self.session_id, self.version, self.address);
        let mut session = Session::new(origin, "-");
        session.set_connection(Connection::from_ip_addr(self.address));
        session.add_time(Time::new(0, 0));
        session.add_medias(lines);
        session
    }

    /// Our audio line, its payload types still to come.
    fn audio(&self, proto: &str, direction: Direction) -> Media {
        let mut media = line("audio".to_owned(), self.rtp_port, proto.to_owned(), String::new());
        media.add_attribute_with_value("rtcp", self.rtcp_port);
        media.add_attribute_with_value("ptime", DEFAULT_PTIME);
        media.add_attribute_from_str(direction.as_str());
        media
    }
}

impl RemoteDescription {
    fn payload_type(&self, codec: Codec) -> Option<u8> {
        let found = self.audio.formats.iter().find(|format| format.kind == RemoteFormatKind::Audio(codec));
        found.map(|format| format.payload_type)
    }

    /// Payload type and clock of the telephone events that go with a codec: those of its own clock (RFC 4733 section 2.1), else of
    /// 8 kHz, which peers offer with any codec.
    fn telephone_event(&self, codec: Codec) -> Option<(u8, u32)> {
        let of = |wanted| {
            let is_it = |format: &&RemoteFormat| format.kind == RemoteFormatKind::TelephoneEvent(wanted);
            self.audio.formats.iter().find(is_it).map(|format| (format.payload_type, wanted))
        };
        of(codec.clock_rate()).or_else(|| of(8_000))
    }
}

fn negotiated(
    remote: &RemoteDescription,
    codec: Codec,
    (payload_type_out, payload_type_in): (u8, u8),
    telephone_event: Option<TelephoneEvent>,
    direction: Direction,
) -> Negotiated {
    Negotiated {
        codec,
        payload_type_out,
        payload_type_in,
        telephone_event,
        remote_rtp: remote.audio.rtp,
        remote_rtcp: remote.audio.rtcp,
        direction,
        ptime: remote.audio.ptime.unwrap_or(DEFAULT_PTIME),
    }
}

fn add_format(media: &mut Media, payload_type: u8) {
    if !media.fmt.is_empty() {
        media.fmt.push(' ');
    }
    media.fmt.push_str(&payload_type.to_string());
}

fn add_codec(media: &mut Media, codec: Codec, payload_type: u8) {
    add_format(media, payload_type);
    let (name, clock) = (codec.name(), codec.clock_rate());
    match codec {
        Codec::Opus => {
            media.add_attribute_with_value("rtpmap", format!("{payload_type} {name}/{clock}/{}", codec.channels()));
            media.add_attribute_with_value("fmtp", format!("{payload_type} useinbandfec=1"));
        }
        Codec::Pcmu | Codec::Pcma => media.add_attribute_with_value("rtpmap", format!("{payload_type} {name}/{clock}")),
    }
}

fn add_telephone_event(media: &mut Media, payload_type: u8, clock: u32) {
    add_format(media, payload_type);
    media.add_attribute_with_value("rtpmap", format!("{payload_type} telephone-event/{clock}"));
    media.add_attribute_with_value("fmtp", format!("{payload_type} 0-15"));
}

/// A media line refused (RFC 3264 section 6).
fn refused(media: String, proto: String, fmt: String) -> Media {
    line(media, 0, proto, fmt)
}

fn line(media: String, port: u16, proto: String, fmt: String) -> Media {
    Media {
        media,
        port,
        num_ports: None,
        proto,
        fmt,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

fn write(session: Session) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    // Writing to memory does not fail.
    let written = session.write(&mut bytes);
    debug_assert!(written.is_ok());
    bytes
}
