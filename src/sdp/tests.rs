//! Offers and answers, ours against each other and against what real peers send.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn local(codecs: &[Codec]) -> LocalDescription {
    LocalDescription {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        rtp_port: 10_002,
        rtcp_port: 10_003,
        session_id: 42,
        version: 1,
        direction: Direction::SendRecv,
        codecs: codecs.to_vec(),
    }
}

fn remote(text: &str) -> RemoteDescription {
    parse(text.replace('\n', "\r\n").as_bytes()).unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const FREESWITCH: &str = "v=0
o=FreeSWITCH 1700000000 1700000001 IN IP4 10.0.0.9
s=FreeSWITCH
c=IN IP4 203.0.113.7
t=0 0
m=audio 16384 RTP/AVP 102 0 8 13 101 103
a=rtpmap:102 opus/48000/2
a=fmtp:102 useinbandfec=1; maxaveragebitrate=30000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:101 telephone-event/48000
a=fmtp:101 0-15
a=rtpmap:103 telephone-event/8000
a=ptime:20
";

#[test]
fn an_offer_reads_as_it_is_meant() {
    let text = String::from_utf8(local(&[Codec::Opus, Codec::Pcmu, Codec::Pcma]).offer()).unwrap();
    let expected = "v=0
o=- 42 1 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 10002 RTP/AVP 111 0 8 110 101
a=rtcp:10003
a=ptime:20
a=sendrecv
a=rtpmap:111 opus/48000/2
a=fmtp:111 useinbandfec=1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:110 telephone-event/48000
a=fmtp:110 0-15
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
";
    assert_eq!(text, expected.replace('\n', "\r\n"));
}

#[test]
fn our_answer_to_our_offer_means_the_same_to_both() {
    for codec in Codec::ALL {
        let (offerer, mut answerer) = (local(&Codec::ALL), local(&[codec]));
        answerer.rtp_port = 20_000;
        answerer.rtcp_port = 20_001;
        let (answer, at_answerer) = answerer.answer(&parse(&offerer.offer()).unwrap()).unwrap();
        let at_offerer = offerer.complete(&parse(&answer).unwrap()).unwrap();
        assert_eq!(at_offerer.codec, codec);
        assert_eq!(at_offerer.remote_rtp, address("192.0.2.1:20000"));
        assert_eq!(at_offerer.remote_rtcp, address("192.0.2.1:20001"));
        assert_eq!(at_answerer.remote_rtcp, address("192.0.2.1:10003"));
        assert_eq!(at_offerer.telephone_event.unwrap().clock, codec.clock_rate());
        assert_eq!(at_offerer.payload_type_out, codec.payload_type());
        assert_eq!(at_answerer, Negotiated { remote_rtp: at_answerer.remote_rtp, remote_rtcp: at_answerer.remote_rtcp, ..at_offerer });
    }
}

#[test]
fn only_the_connection_line_names_the_media_address() {
    let audio = remote(FREESWITCH).audio;
    assert_eq!((audio.rtp, audio.rtcp), (address("203.0.113.7:16384"), address("203.0.113.7:16385")));
    assert_eq!(audio.direction, Direction::SendRecv);
    let own_line = FREESWITCH.replace("101 103\n", "101 103\nc=IN IP4 198.51.100.3\na=rtcp:9001 IN IP4 198.51.100.4\n");
    let audio = remote(&own_line).audio;
    assert_eq!((audio.rtp, audio.rtcp), (address("198.51.100.3:16384"), address("198.51.100.4:9001")));
}

#[test]
fn an_answer_uses_the_payload_types_of_the_offer() {
    let (answer, negotiated) = local(&[Codec::Opus]).answer(&remote(FREESWITCH)).unwrap();
    assert_eq!((negotiated.codec, negotiated.payload_type_out, negotiated.payload_type_in), (Codec::Opus, 102, 102));
    assert_eq!(negotiated.telephone_event, Some(TelephoneEvent { payload_type_out: 101, payload_type_in: 101, clock: 48_000 }));
    assert!(String::from_utf8(answer).unwrap().contains("m=audio 10002 RTP/AVP 102 101\r\n"));
    let (_, negotiated) = local(&[Codec::Pcma, Codec::Opus]).answer(&remote(FREESWITCH)).unwrap();
    assert_eq!((negotiated.codec, negotiated.telephone_event.unwrap().payload_type_out), (Codec::Pcma, 103));
}

#[test]
fn an_answer_under_other_payload_types_is_sent_under_theirs_and_received_under_ours() {
    let answer = remote(&FREESWITCH.replace("102 0 8 13 101 103", "102 101"));
    let negotiated = local(&[Codec::Opus]).complete(&answer).unwrap();
    assert_eq!((negotiated.payload_type_out, negotiated.payload_type_in), (102, 111));
    assert_eq!(negotiated.telephone_event, Some(TelephoneEvent { payload_type_out: 101, payload_type_in: 110, clock: 48_000 }));
}

#[test]
fn static_payload_types_need_no_rtpmap() {
    let offer = remote("v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\nm=audio 4000 RTP/AVP 18 8 0\n");
    let (_, negotiated) = local(&Codec::ALL).answer(&offer).unwrap();
    assert_eq!((negotiated.codec, negotiated.telephone_event, negotiated.ptime), (Codec::Pcmu, None, 20));
    assert_eq!(local(&[Codec::Opus]).answer(&offer), Err(NoCommonCodec));
    assert_eq!(local(&[Codec::Opus]).complete(&offer), Err(SdpError::NoCommonCodec));
}

#[test]
fn other_media_lines_are_refused_in_their_places() {
    let offer = remote(
        "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\nm=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\nm=audio 4000 RTP/AVP 0\nm=video 4002 RTP/AVP 96\na=rtpmap:96 VP8/90000\nm=image 0 udptl t38\n",
    );
    let (answer, negotiated) = local(&Codec::ALL).answer(&offer).unwrap();
    let text = String::from_utf8(answer).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(lines, ["m=audio 0 RTP/SAVP 0", "m=audio 10002 RTP/AVP 0", "m=video 0 RTP/AVP 96", "m=image 0 udptl t38"]);
    assert_eq!(negotiated.remote_rtp, address("10.0.0.1:4000"));
}

#[test]
fn every_way_to_hold_is_understood() {
    let held = |attribute: &str| {
        let (answer, negotiated) = local(&[Codec::Pcmu]).answer(&remote(&format!("{FREESWITCH}{attribute}\n"))).unwrap();
        let text = String::from_utf8(answer).unwrap();
        assert!(text.contains(&format!("a={}\r\n", negotiated.direction.as_str())));
        negotiated.direction
    };
    assert_eq!(held("a=sendrecv"), Direction::SendRecv);
    assert_eq!(held("a=sendonly"), Direction::RecvOnly);
    assert_eq!(held("a=recvonly"), Direction::SendOnly);
    assert_eq!(held("a=inactive"), Direction::Inactive);
    let zeros = remote(&FREESWITCH.replace("203.0.113.7", "0.0.0.0"));
    assert_eq!(zeros.audio.direction, Direction::SendOnly);
    assert!(local(&[Codec::Pcmu]).answer(&zeros).unwrap().1.is_held_by_peer());
    let of_session = remote(&FREESWITCH.replace("t=0 0", "t=0 0\na=inactive"));
    assert_eq!(of_session.audio.direction, Direction::Inactive);
}

#[test]
fn our_hold_is_answered_and_stays_ours() {
    let mut holding = local(&[Codec::Pcmu]);
    holding.direction = Direction::SendOnly;
    let (answer, theirs) = local(&[Codec::Pcmu]).answer(&parse(&holding.offer()).unwrap()).unwrap();
    assert_eq!(theirs.direction, Direction::RecvOnly);
    assert_eq!(holding.complete(&parse(&answer).unwrap()).unwrap().direction, Direction::SendOnly);
}

#[test]
fn telephone_events_of_another_clock_are_better_than_none() {
    let offer = remote(&FREESWITCH.replace("a=rtpmap:101 telephone-event/48000\n", "a=rtpmap:101 x/1\n"));
    let (_, negotiated) = local(&[Codec::Opus]).answer(&offer).unwrap();
    assert_eq!(negotiated.telephone_event, Some(TelephoneEvent { payload_type_out: 103, payload_type_in: 103, clock: 8_000 }));
}

#[test]
fn a_stream_that_was_refused_or_is_encrypted_is_not_used() {
    assert_eq!(parse(FREESWITCH.replace("16384", "0").as_bytes()), Err(SdpError::NoUsableAudio));
    assert_eq!(parse(FREESWITCH.replace("RTP/AVP", "RTP/SAVPF").as_bytes()), Err(SdpError::NoUsableAudio));
    assert_eq!(parse(FREESWITCH.replace("c=IN IP4 203.0.113.7\n", "").as_bytes()), Err(SdpError::Address));
    assert_eq!(parse(FREESWITCH.replace("203.0.113.7", "pbx.example").as_bytes()), Err(SdpError::Address));
    assert_eq!(parse(b""), Err(SdpError::Malformed));
    assert_eq!(parse(b"\xff\xfe\x00"), Err(SdpError::Malformed));
}

#[test]
fn ipv6_and_its_rtcp_are_understood() {
    let offer = remote("v=0\no=- 1 1 IN IP6 ::1\ns=-\nc=IN IP6 2001:db8::1\nt=0 0\nm=audio 65535 RTP/AVPF 0\na=rtcp-mux\na=ptime:40\n");
    assert_eq!((offer.audio.rtp, offer.audio.rtcp), (address("[2001:db8::1]:65535"), address("[2001:db8::1]:65535")));
    let (answer, negotiated) = local(&[Codec::Pcmu]).answer(&offer).unwrap();
    assert_eq!(negotiated.ptime, 40);
    // We do not answer with rtcp-mux, so the peer may not count on it.
    let text = String::from_utf8(answer).unwrap();
    assert!(text.contains("RTP/AVPF 0\r\n") && !text.contains("rtcp-mux"));
}

#[test]
fn a_cut_description_is_an_error_or_a_description_but_no_panic() {
    for length in 0..FREESWITCH.len() {
        if let Ok(description) = parse(&FREESWITCH.as_bytes()[..length]) {
            let _ = local(&Codec::ALL).answer(&description);
        }
    }
}
