//! Silence in each codec, and the muting of payloads in place: the stream goes on, the speech does not.

use crate::codec::Codec;

/// The payload of 20 ms of silence.
pub fn silence(codec: Codec) -> &'static [u8] {
    match codec {
        Codec::Opus => &[CELT_20_MS << 3, SILENT_FRAME[0], SILENT_FRAME[1]],
        Codec::Pcmu => &[MULAW_ZERO; 160],
        Codec::Pcma => &[ALAW_ZERO; 160],
    }
}

/// Makes a payload silence of the same duration, in place. Tells its length, which is never more than it was.
pub fn mute(codec: Codec, payload: &mut [u8]) -> usize {
    match codec {
        Codec::Opus => mute_opus(payload),
        Codec::Pcmu => fill(payload, MULAW_ZERO),
        Codec::Pcma => fill(payload, ALAW_ZERO),
    }
}

fn fill(payload: &mut [u8], byte: u8) -> usize {
    payload.fill(byte);
    payload.len()
}

fn mute_opus(payload: &mut [u8]) -> usize {
    let Some(&toc) = payload.first() else { return 0 };
    // The longest frames that the duration is a whole number of; 0, an invalid packet, becomes 20 ms.
    let duration = match opus_duration(payload) {
        0 => 8,
        duration => duration,
    };
    let (configuration, frame) = match duration {
        d if d % 8 == 0 => (CELT_20_MS, 8),
        d if d % 4 == 0 => (CELT_20_MS - 1, 4),
        d if d % 2 == 0 => (CELT_20_MS - 2, 2),
        _ => (CELT_20_MS - 3, 1),
    };
    let frames = duration / frame;
    let head: &[u8] = if frames == 1 { &[configuration << 3] } else { &[configuration << 3 | 3, frames] };
    let length = head.len() + SILENT_FRAME.len() * usize::from(frames);
    match payload.get_mut(..length) {
        Some(payload) => {
            payload[..head.len()].copy_from_slice(head);
            payload[head.len()..].chunks_exact_mut(SILENT_FRAME.len()).for_each(|frame| frame.copy_from_slice(&SILENT_FRAME));
            length
        }
        // So short that it is a packet of discontinuous transmission: one frame without bytes, which holds nothing to hear.
        None => {
            payload[0] = toc & !3;
            1
        }
    }
}

/// How long an Opus packet plays, in units of 2.5 ms, at most 48 (RFC 6716 section 3.1 and 3.2).
fn opus_duration(payload: &[u8]) -> u8 {
    let Some(&toc) = payload.first() else { return 0 };
    let configuration = toc >> 3;
    let frame = match configuration {
        0..=11 => [4, 8, 16, 24][usize::from(configuration & 3)],
        12..=15 => [4, 8][usize::from(configuration & 1)],
        _ => [1, 2, 4, 8][usize::from(configuration & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => payload.get(1).map_or(0, |count| count & 0x3f),
    };
    frame * frames.min(48 / frame)
}

/// The configuration of fullband CELT in 20 ms frames; those of 10, 5 and 2.5 ms are below it (RFC 6716 table 2).
const CELT_20_MS: u8 = 31;

/// A CELT frame whose silence flag is set (RFC 6716 section 4.3).
const SILENT_FRAME: [u8; 2] = [0xff, 0xfe];

const MULAW_ZERO: u8 = 0xff;
const ALAW_ZERO: u8 = 0xd5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_keeps_its_length_and_says_nothing() {
        let mut speech: Vec<u8> = (0..=239).collect();
        assert_eq!(mute(Codec::Pcmu, &mut speech), 240);
        assert!(speech.iter().all(|&byte| super::super::g711::mulaw_decode(byte) == 0));
        assert_eq!(mute(Codec::Pcma, &mut speech), 240);
        assert!(speech.iter().all(|&byte| super::super::g711::alaw_decode(byte) == 8));
    }

    #[test]
    fn opus_keeps_its_duration() {
        for configuration in 0..32u8 {
            for (code, count) in [(0, 1), (1, 2), (2, 2), (3, 1), (3, 3), (3, 48)] {
                let mut packet = vec![configuration << 3 | code, count];
                packet.resize(120, 0x5a);
                let duration = opus_duration(&packet);
                let length = mute(Codec::Opus, &mut packet);
                assert_eq!(opus_duration(&packet[..length]), duration);
                assert!(!packet[..length].contains(&0x5a));
            }
        }
    }

    #[test]
    fn an_opus_packet_without_room_becomes_an_empty_frame() {
        let mut packet = [31 << 3 | 1, 0x5a];
        assert_eq!((mute(Codec::Opus, &mut packet), packet[0]), (1, 31 << 3));
        assert_eq!(mute(Codec::Opus, &mut []), 0);
        assert_eq!(mute(Codec::Opus, &mut [31 << 3 | 3]), 1);
    }
}
