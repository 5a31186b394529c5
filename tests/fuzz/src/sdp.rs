//! A peer's session description, as an offer to us and as the answer to ours.

use std::net::{IpAddr, Ipv4Addr};

use nexus_gateway::codec::Codec;
use nexus_gateway::sdp::{Direction, LocalDescription, Negotiated, RemoteDescription, parse};

pub fn run(data: &[u8]) {
    let Ok(remote) = parse(data) else { return };
    let audio = &remote.audio;
    assert!(audio.rtp.port() != 0 && audio.rtcp.port() != 0);
    assert!(audio.formats.iter().all(|format| format.payload_type < 128));
    assert!(audio.ptime.is_none_or(|ptime| (1..=200).contains(&ptime)));
    for direction in [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive] {
        for codecs in [&CODECS[..], &CODECS[1..2]] {
            let local = LocalDescription {
                address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
                rtp_port: 20_002,
                rtcp_port: 20_003,
                session_id: 1,
                version: 2,
                direction,
                codecs: codecs.to_vec(),
            };
            as_offer(&local, &remote, data);
            as_answer(&local, &remote);
        }
    }
}

/// Our answer names every line of the offer, repeats nothing that could be taken for another line, and is understood.
fn as_offer(local: &LocalDescription, remote: &RemoteDescription, offer: &[u8]) {
    let Ok((answer, negotiated)) = local.answer(remote) else { return };
    common(local, remote, &negotiated);
    let formats = remote.audio.formats.iter();
    assert!({ formats }.any(|format| format.payload_type == negotiated.payload_type_out));
    assert_eq!(negotiated.payload_type_in, negotiated.payload_type_out);
    assert!(answer.len() <= 2 * offer.len() + 512, "{} bytes for {}", answer.len(), offer.len());
    let media_lines = |text: &[u8]| text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=")).count();
    assert_eq!(media_lines(&answer), media_lines(offer));
    let read = parse(&answer).expect("our answer is a session description");
    assert_eq!((read.audio.rtp.port(), read.audio.rtcp.port()), (local.rtp_port, local.rtcp_port));
    assert_eq!((read.audio.direction, read.audio.rtp.ip()), (negotiated.direction, local.address));
    assert!(read.has_codec(Some(negotiated.codec)));
}

fn as_answer(local: &LocalDescription, remote: &RemoteDescription) {
    let Ok(negotiated) = local.complete(remote) else { return };
    common(local, remote, &negotiated);
    let ours = parse(&local.offer()).expect("our offer is a session description");
    assert!(ours.audio.formats.iter().any(|format| format.payload_type == negotiated.payload_type_in));
}

fn common(local: &LocalDescription, remote: &RemoteDescription, negotiated: &Negotiated) {
    assert!(local.codecs.contains(&negotiated.codec) && remote.has_codec(Some(negotiated.codec)));
    assert_eq!((negotiated.remote_rtp, negotiated.remote_rtcp), (remote.audio.rtp, remote.audio.rtcp));
    assert!(!negotiated.direction.sends() || local.direction.sends() && remote.audio.direction.receives());
    assert!(!negotiated.direction.receives() || local.direction.receives() && remote.audio.direction.sends());
    if let Some(event) = negotiated.telephone_event {
        assert!(event.payload_type_in < 128 && event.payload_type_out < 128 && event.clock > 0);
    }
}

const CODECS: [Codec; 3] = [Codec::Opus, Codec::Pcmu, Codec::Pcma];
