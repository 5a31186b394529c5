//! What the peer described.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Session};

use super::{Direction, SdpError};
use crate::codec::Codec;

/// A session description of the peer, reduced to what we use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteDescription {
    /// The peer's name for the session (`o=`).
    pub session_id: String,
    /// Its version (`o=`): the same again is the same description (RFC 3264 section 8).
    pub version: u64,
    /// The audio stream that we use.
    pub audio: RemoteAudio,
    /// Every media line in order: an answer has to name them all (RFC 3264 section 6).
    pub(super) lines: Vec<MediaLine>,
    /// Which of them is `audio`.
    pub(super) audio_line: usize,
}

/// The audio stream that a peer described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAudio {
    /// Where it receives RTP.
    pub rtp: SocketAddr,
    /// Where it receives RTCP: its `rtcp` attribute (RFC 3605), else the port above RTP.
    pub rtcp: SocketAddr,
    /// Its direction as it sees it; an address of zeros, the old way to hold, counts as not receiving (RFC 3264 section 8.4).
    pub direction: Direction,
    /// Its payload types in its order.
    pub formats: Vec<RemoteFormat>,
    /// Milliseconds of audio that it wants in a packet.
    pub ptime: Option<u32>,
    /// Whether it would take RTCP on the RTP port (RFC 5761). We neither offer nor accept it: our pair has a port for RTCP.
    pub rtcp_mux: bool,
}

/// One payload type of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteFormat {
    /// Its number in RTP.
    pub payload_type: u8,
    /// What it stands for.
    pub kind: RemoteFormatKind,
}

/// What a peer's payload type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteFormatKind {
    /// A codec of ours.
    Audio(Codec),
    /// RFC 4733, with its clock in Hz.
    TelephoneEvent(u32),
    /// Anything else, comfort noise included.
    Other,
}

impl RemoteDescription {
    /// Whether it names this codec; without one, any that we know.
    pub fn has_codec(&self, codec: Option<Codec>) -> bool {
        self.audio.formats.iter().any(|format| match format.kind {
            RemoteFormatKind::Audio(known) => codec.is_none_or(|codec| codec == known),
            RemoteFormatKind::TelephoneEvent(_) | RemoteFormatKind::Other => false,
        })
    }
}

/// A media line, as an answer repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaLine {
    pub(super) media: String,
    pub(super) proto: String,
    pub(super) fmt: String,
}

/// Reads a session description and picks the first audio stream over RTP/AVP or RTP/AVPF that is not refused.
///
/// # Errors
/// It is malformed, has no such stream, or the stream's address is no IP address.
pub fn parse(bytes: &[u8]) -> Result<RemoteDescription, SdpError> {
    let session = Session::parse(bytes).map_err(|_| SdpError::Malformed)?;
    let audio_line = session.medias.iter().position(is_usable).ok_or(SdpError::NoUsableAudio)?;
    let audio = audio(&session, &session.medias[audio_line])?;
    let lines = session.medias.iter();
    let lines = lines.map(|line| MediaLine { media: line.media.clone(), proto: line.proto.clone(), fmt: line.fmt.clone() }).collect();
    Ok(RemoteDescription { session_id: session.origin.sess_id, version: session.origin.sess_version, audio, lines, audio_line })
}

fn is_usable(line: &Media) -> bool {
    let plain = ["RTP/AVP", "RTP/AVPF"].iter().any(|proto| line.proto.eq_ignore_ascii_case(proto));
    line.media.eq_ignore_ascii_case("audio") && line.port != 0 && plain
}

fn audio(session: &Session, line: &Media) -> Result<RemoteAudio, SdpError> {
    // A line's own address counts before the session's; that of `o=` never does (another interface's, often).
    let connection = line.connections.first().or(session.connection.as_ref()).ok_or(SdpError::Address)?;
    let address = ip_address(connection)?;
    let rtp = SocketAddr::new(address, line.port);
    let rtcp_mux = line.attributes.iter().any(|attribute| attribute.attribute.eq_ignore_ascii_case("rtcp-mux"));
    let named = value(&line.attributes, "rtcp").and_then(|text| rtcp_attribute(text, address));
    let above = SocketAddr::new(address, line.port.checked_add(1).unwrap_or(line.port));
    let said = direction(&line.attributes).or_else(|| direction(&session.attributes)).unwrap_or_default();
    let ptime = value(&line.attributes, "ptime").and_then(|text| text.trim().parse().ok());
    Ok(RemoteAudio {
        rtp,
        rtcp: named.unwrap_or(above),
        direction: Direction::of(said.sends(), said.receives() && !address.is_unspecified()),
        formats: formats(line),
        ptime: ptime.filter(|ptime| (1..=200).contains(ptime)),
        rtcp_mux,
    })
}

/// The address of a connection; one that was mapped into IPv6 is the IPv4 address that it stands for (RFC 5118 section 4.9).
fn ip_address(connection: &Connection) -> Result<IpAddr, SdpError> {
    connection.try_address().map(|address| address.ip.to_canonical()).map_err(|_| SdpError::Address)
}

/// The value of the first attribute with this name.
fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.attribute.eq_ignore_ascii_case(name))?.value.as_deref()
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    let all = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    attributes.iter().find_map(|attribute| all.into_iter().find(|direction| attribute.attribute.eq_ignore_ascii_case(direction.as_str())))
}

/// `a=rtcp:53020` or `a=rtcp:53020 IN IP4 192.0.2.1` (RFC 3605 section 2.1).
fn rtcp_attribute(text: &str, address: IpAddr) -> Option<SocketAddr> {
    let mut words = text.split_ascii_whitespace();
    let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
    let named = words.nth(2).and_then(|word| word.parse().ok());
    Some(SocketAddr::new(named.unwrap_or(address), port))
}

fn formats(line: &Media) -> Vec<RemoteFormat> {
    let payload_types = line.fmt.split_ascii_whitespace().filter_map(|word| word.parse::<u8>().ok()).filter(|number| *number < 128);
    payload_types.map(|payload_type| RemoteFormat { payload_type, kind: kind(line, payload_type) }).collect()
}

fn kind(line: &Media, payload_type: u8) -> RemoteFormatKind {
    let maps = line.attributes.iter().filter(|attribute| attribute.attribute.eq_ignore_ascii_case("rtpmap"));
    let mut maps = maps.filter_map(|attribute| attribute.value.as_deref()?.trim().split_once(' '));
    match maps.find(|(number, _)| number.parse() == Ok(payload_type)) {
        Some((_, encoding)) => mapped_kind(encoding.trim()),
        // Static payload types need no rtpmap (RFC 3551 section 6).
        None => match payload_type {
            0 => RemoteFormatKind::Audio(Codec::Pcmu),
            8 => RemoteFormatKind::Audio(Codec::Pcma),
            _ => RemoteFormatKind::Other,
        },
    }
}

/// The meaning of `opus/48000/2`.
fn mapped_kind(encoding: &str) -> RemoteFormatKind {
    let mut parts = encoding.split('/');
    let name = parts.next().unwrap_or_default();
    let Some(clock) = parts.next().and_then(|clock| clock.parse::<u32>().ok()) else { return RemoteFormatKind::Other };
    let channels = parts.next().and_then(|channels| channels.parse::<u8>().ok()).unwrap_or(1);
    if name.eq_ignore_ascii_case("telephone-event") && clock > 0 {
        return RemoteFormatKind::TelephoneEvent(clock);
    }
    match Codec::by_name(name) {
        Some(codec) if codec.clock_rate() == clock && codec.channels() == channels => RemoteFormatKind::Audio(codec),
        Some(_) | None => RemoteFormatKind::Other,
    }
}
