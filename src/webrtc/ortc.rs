//! mediasoup-client's parameters (ORTC), as they stand on the wire: what its `Device`, `Transport`, `Producer` and `Consumer` take and give.
//!
//! Unknown fields are ignored, as mediasoup does. Names are mediasoup's.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::credentials::IceCredentials;
use crate::codec::Codec;

/// `RtpCapabilities` of the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCapabilities {
    #[serde(default)]
    pub codecs: Vec<RtpCodecCapability>,
    #[serde(default)]
    pub header_extensions: Vec<RtpHeaderExtension>,
}

/// One codec that the router can carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCodecCapability {
    pub kind: MediaKind,
    pub mime_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_payload_type: Option<u8>,
    pub clock_rate: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    #[serde(default)]
    pub rtcp_feedback: Vec<RtcpFeedback>,
}

/// A header extension that the router can carry, and in which direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpHeaderExtension {
    pub kind: MediaKind,
    pub uri: String,
    pub preferred_id: u8,
    #[serde(default)]
    pub preferred_encrypt: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
}

/// `audio` is the one kind that a telephone has; `video` is known so that it can be refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    Audio,
    Video,
}

/// RTCP feedback of a codec; none is announced, it is carried for the shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RtcpFeedback {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub parameter: String,
}

/// What one stream is made of: of a producer as the browser sends it, of a consumer as we send it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpParameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid: Option<String>,
    pub codecs: Vec<RtpCodecParameters>,
    #[serde(default)]
    pub header_extensions: Vec<RtpHeaderExtensionParameters>,
    #[serde(default)]
    pub encodings: Vec<RtpEncoding>,
    #[serde(default)]
    pub rtcp: RtcpParameters,
}

/// One codec of a stream, with its payload type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCodecParameters {
    pub mime_type: String,
    pub payload_type: u8,
    pub clock_rate: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    #[serde(default)]
    pub rtcp_feedback: Vec<RtcpFeedback>,
}

/// A header extension of a stream, with its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RtpHeaderExtensionParameters {
    pub uri: String,
    pub id: u8,
    #[serde(default)]
    pub encrypt: bool,
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

/// One encoding of a stream; audio has one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpEncoding {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssrc: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtx: Option<bool>,
}

/// The RTCP side of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtcpParameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cname: Option<String>,
    #[serde(default = "yes")]
    pub reduced_size: bool,
    #[serde(default = "yes")]
    pub mux: bool,
}

fn yes() -> bool {
    true
}

/// Our side's ICE credentials (RFC 8445 section 5.3); we are ICE-lite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceParameters {
    pub username_fragment: String,
    pub password: String,
    pub ice_lite: bool,
}

/// One of our host candidates (RFC 8445 section 5.1.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    pub foundation: String,
    pub priority: u32,
    /// mediasoup-client reads `ip` in older and `address` in newer releases: both are given.
    pub ip: String,
    pub address: String,
    pub protocol: String,
    pub port: u16,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_type: Option<String>,
}

/// DTLS role and certificate fingerprints of one side (RFC 8122).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DtlsParameters {
    #[serde(default)]
    pub role: DtlsRole,
    pub fingerprints: Vec<DtlsFingerprint>,
}

/// Who starts the DTLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtlsRole {
    #[default]
    Auto,
    Client,
    Server,
}

/// A certificate's hash: `sha-256`, and its bytes as colon-separated hex.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DtlsFingerprint {
    pub algorithm: String,
    pub value: String,
}

/// An ICE server handed to the browser (W3C `RTCIceServer`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Exactly what mediasoup-client's `createSendTransport` and `createRecvTransport` take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransportOptions {
    pub id: crate::ids::TransportId,
    pub ice_parameters: IceParameters,
    pub ice_candidates: Vec<IceCandidate>,
    pub dtls_parameters: DtlsParameters,
    #[serde(default)]
    pub ice_servers: Vec<IceServer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ice_transport_policy: Option<String>,
}

/// What the router can carry: the audio codecs in the order in which a stock client takes the first, and telephone-event with
/// both clocks.
///
/// The one header extension is `sdes:mid`, and only towards the browser: none is asked of it. Neither NACK nor
/// transport-wide congestion control is announced, since nothing is sent a second time.
pub fn router_capabilities() -> RtpCapabilities {
    let codecs = codecs().into_iter().map(|codec| RtpCodecCapability {
        kind: MediaKind::Audio,
        mime_type: codec.mime_type,
        preferred_payload_type: Some(codec.payload_type),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        parameters: codec.parameters,
        rtcp_feedback: Vec::new(),
    });
    let mid = RtpHeaderExtension {
        kind: MediaKind::Audio,
        uri: MID_EXTENSION.into(),
        preferred_id: MID_EXTENSION_ID,
        preferred_encrypt: false,
        direction: Some("sendonly".into()),
    };
    RtpCapabilities { codecs: codecs.collect(), header_extensions: vec![mid] }
}

/// What a producer sends, as far as a call has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerMedia {
    /// The codec that the browser encodes with.
    pub codec: Codec,
    /// Its payload type, the browser's own choice.
    pub payload_type: u8,
    /// The stream's SSRC, where the browser names it.
    pub ssrc: Option<u32>,
    /// The payload type of telephone-event with the codec's clock, where the browser can send it.
    pub telephone_event: Option<u8>,
}

/// Why a producer's parameters cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParametersError {
    /// The first codec is none of ours.
    #[error("the codec is not supported")]
    UnsupportedCodec,
    /// A field makes no sense; it is named by its path.
    #[error("{0} is not valid")]
    Malformed(&'static str),
}

/// Reads what a producer sends: its first codec is the one in use.
///
/// # Errors
/// [`ParametersError`].
pub fn producer_media(parameters: &RtpParameters) -> Result<ProducerMedia, ParametersError> {
    let used = parameters.codecs.first().ok_or(ParametersError::Malformed("rtpParameters.codecs"))?;
    let codec = audio_subtype(&used.mime_type).and_then(Codec::by_name).ok_or(ParametersError::UnsupportedCodec)?;
    if used.clock_rate != codec.clock_rate() || used.channels.unwrap_or(1) != codec.channels() {
        return Err(ParametersError::UnsupportedCodec);
    }
    if !is_rtp_payload_type(used.payload_type) {
        return Err(ParametersError::Malformed("rtpParameters.codecs[0].payloadType"));
    }
    let telephone_event = parameters.codecs.iter().skip(1).find(|other| {
        audio_subtype(&other.mime_type).is_some_and(|name| name.eq_ignore_ascii_case("telephone-event"))
            && other.clock_rate == codec.clock_rate()
            && is_rtp_payload_type(other.payload_type)
    });
    Ok(ProducerMedia {
        codec,
        payload_type: used.payload_type,
        ssrc: parameters.encodings.first().and_then(|encoding| encoding.ssrc),
        telephone_event: telephone_event.map(|other| other.payload_type),
    })
}

/// What a consumer is told of the stream that it gets: every codec, so that the payload type may change from call to call.
/// `mid` has to be unique within the transport and `ssrc` has to be what is sent, exactly.
pub fn consumer_parameters(mid: &str, ssrc: u32, cname: &str) -> RtpParameters {
    RtpParameters {
        mid: Some(mid.into()),
        codecs: codecs(),
        header_extensions: vec![RtpHeaderExtensionParameters {
            uri: MID_EXTENSION.into(),
            id: MID_EXTENSION_ID,
            encrypt: false,
            parameters: Map::new(),
        }],
        encodings: vec![RtpEncoding { ssrc: Some(ssrc), dtx: None }],
        rtcp: RtcpParameters { cname: Some(cname.into()), reduced_size: true, mux: true },
    }
}

/// Our addresses as host candidates over UDP, the first preferred (RFC 8445 section 5.1.2.1).
pub fn ice_candidates(addresses: &[SocketAddr]) -> Vec<IceCandidate> {
    const HOST_PREFERENCE: u32 = 126;
    const RTP_COMPONENT: u32 = 1;
    let candidate = |(index, address): (usize, &SocketAddr)| {
        let local_preference = u32::from(u16::MAX.saturating_sub(index.min(usize::from(u16::MAX)) as u16));
        let ip = address.ip().to_string();
        IceCandidate {
            foundation: format!("host{index}"),
            priority: (HOST_PREFERENCE << 24) + (local_preference << 8) + (256 - RTP_COMPONENT),
            address: ip.clone(),
            ip,
            protocol: "udp".into(),
            port: address.port(),
            kind: "host".into(),
            tcp_type: None,
        }
    };
    addresses.iter().enumerate().map(candidate).collect()
}

/// Our ICE credentials as the browser is told them.
pub fn ice_parameters(credentials: &IceCredentials) -> IceParameters {
    IceParameters { username_fragment: credentials.ufrag.clone(), password: credentials.password.to_string(), ice_lite: true }
}

/// The URI of the header extension that names a packet's media section (RFC 9143 section 15).
pub const MID_EXTENSION: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// Its id towards browsers (RFC 8285 section 4.2).
pub const MID_EXTENSION_ID: u8 = 1;

/// Every codec with our payload types, telephone-event last.
fn codecs() -> Vec<RtpCodecParameters> {
    let audio = Codec::ALL.into_iter().map(|codec| RtpCodecParameters {
        mime_type: format!("audio/{}", codec.name()),
        payload_type: codec.payload_type(),
        clock_rate: codec.clock_rate(),
        channels: (codec.channels() > 1).then(|| codec.channels()),
        parameters: format_parameters(codec),
        rtcp_feedback: Vec::new(),
    });
    let telephone_event = [Codec::Pcmu, Codec::Opus].into_iter().map(|codec| RtpCodecParameters {
        mime_type: "audio/telephone-event".into(),
        payload_type: codec.telephone_event_payload_type(),
        clock_rate: codec.clock_rate(),
        channels: None,
        parameters: Map::new(),
        rtcp_feedback: Vec::new(),
    });
    audio.chain(telephone_event).collect()
}

/// The `fmtp` of a codec (RFC 7587 section 6.1). DTX is not asked for; a browser that uses it is understood.
fn format_parameters(codec: Codec) -> Map<String, Value> {
    match codec {
        Codec::Opus => Map::from_iter([("minptime".to_owned(), Value::from(10)), ("useinbandfec".to_owned(), Value::from(1))]),
        Codec::Pcmu | Codec::Pcma => Map::new(),
    }
}

fn audio_subtype(mime_type: &str) -> Option<&str> {
    let (kind, subtype) = mime_type.split_once('/')?;
    kind.eq_ignore_ascii_case("audio").then_some(subtype)
}

/// RFC 5761 section 4: on a shared port, 64 to 95 with the marker would be taken for RTCP.
fn is_rtp_payload_type(payload_type: u8) -> bool {
    matches!(payload_type, 0..=63 | 96..=127)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(value: Value) -> RtpParameters {
        serde_json::from_value(value).expect("RtpParameters")
    }

    #[test]
    fn a_browsers_opus_producer_is_understood() {
        let media = producer_media(&parameters(json!({
            "mid": "0",
            "codecs": [
                {"mimeType": "audio/opus", "payloadType": 109, "clockRate": 48000, "channels": 2, "parameters": {"minptime": 10}, "rtcpFeedback": [{"type": "transport-cc", "parameter": ""}]},
                {"mimeType": "audio/telephone-event", "payloadType": 126, "clockRate": 8000},
                {"mimeType": "audio/telephone-event", "payloadType": 110, "clockRate": 48000},
            ],
            "headerExtensions": [],
            "encodings": [{"ssrc": 3_735_928_559_u32, "dtx": false, "maxBitrate": 1}],
            "rtcp": {"cname": "browser", "reducedSize": true},
        })));
        let expected = ProducerMedia { codec: Codec::Opus, payload_type: 109, ssrc: Some(0xdead_beef), telephone_event: Some(110) };
        assert_eq!(media, Ok(expected));
    }

    #[test]
    fn mono_codecs_may_say_one_channel_or_none() {
        for channels in [json!(1), Value::Null] {
            let media = producer_media(&parameters(json!({"codecs": [
                {"mimeType": "audio/pcma", "payloadType": 8, "clockRate": 8000, "channels": channels},
                {"mimeType": "audio/telephone-event", "payloadType": 110, "clockRate": 48000},
            ]})));
            assert_eq!(media, Ok(ProducerMedia { codec: Codec::Pcma, payload_type: 8, ssrc: None, telephone_event: None }));
        }
    }

    #[test]
    fn what_we_cannot_carry_is_refused_by_name() {
        let refused = |codec: Value| producer_media(&parameters(json!({"codecs": [codec]})));
        let unsupported = Err(ParametersError::UnsupportedCodec);
        assert_eq!(refused(json!({"mimeType": "video/VP8", "payloadType": 96, "clockRate": 90000})), unsupported);
        assert_eq!(refused(json!({"mimeType": "audio/G722", "payloadType": 9, "clockRate": 8000})), unsupported);
        assert_eq!(refused(json!({"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000})), unsupported);
        assert_eq!(refused(json!({"mimeType": "opus", "payloadType": 111, "clockRate": 48000, "channels": 2})), unsupported);
        for payload_type in [64, 72, 95, 128, 255] {
            let codec = json!({"mimeType": "audio/PCMU", "payloadType": payload_type, "clockRate": 8000});
            assert_eq!(refused(codec), Err(ParametersError::Malformed("rtpParameters.codecs[0].payloadType")));
        }
        let none = producer_media(&parameters(json!({"codecs": []})));
        assert_eq!(none, Err(ParametersError::Malformed("rtpParameters.codecs")));
    }

    #[test]
    fn a_consumers_codecs_are_the_routers() {
        let router = router_capabilities();
        let consumer = consumer_parameters("0", 42, "gateway");
        let preferred: Vec<_> = router.codecs.iter().map(|codec| codec.preferred_payload_type).collect();
        let used: Vec<_> = consumer.codecs.iter().map(|codec| Some(codec.payload_type)).collect();
        assert_eq!(preferred, used);
        assert_eq!(preferred, [111, 0, 8, 101, 110].map(Some));
        assert_eq!(router.header_extensions[0].preferred_id, consumer.header_extensions[0].id);
    }

    #[test]
    fn the_shape_on_the_wire_is_mediasoups() {
        let codec = serde_json::to_value(&router_capabilities().codecs[0]).expect("JSON");
        assert_eq!(
            codec,
            json!({"kind": "audio", "mimeType": "audio/opus", "preferredPayloadType": 111, "clockRate": 48000, "channels": 2,
                "parameters": {"minptime": 10, "useinbandfec": 1}, "rtcpFeedback": []})
        );
        let candidates =
            ice_candidates(&["192.0.2.1:40000".parse().expect("an address"), "[2001:db8::1]:40000".parse().expect("an address")]);
        let first = serde_json::to_value(&candidates[0]).expect("JSON");
        assert_eq!(
            first,
            json!({"foundation": "host0", "priority": 2_130_706_431_u32, "ip": "192.0.2.1", "address": "192.0.2.1", "protocol": "udp", "port": 40000, "type": "host"})
        );
        assert_eq!((candidates[1].ip.as_str(), candidates[1].priority), ("2001:db8::1", 2_130_706_431 - 256));
    }
}
