//! What the PBX plays, encoded once at the start: a frame of 20 ms is then a look-up, whatever the number of calls.

#[cfg(feature = "driver")]
use crate::audio::opus::{Encoder, OpusError};
use crate::audio::{self, Tone, g711};
use crate::codec::Codec;

/// A sound that the PBX plays over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    /// 1 kHz without a pause.
    Tone,
    /// 425 Hz, 1 s on and 4 s off.
    Ringback,
    /// Nothing.
    Silence,
}

/// Every sound in every codec, as frames of 20 ms.
#[derive(Clone, Debug)]
pub struct Sounds {
    tone: Frames,
    ringback: Frames,
}

/// A loop of frames in each codec. The loop holds whole periods of its tone, so that its end fits its beginning.
#[derive(Clone, Debug, Default)]
struct Frames {
    opus: Vec<Vec<u8>>,
    pcmu: Vec<Vec<u8>>,
    pcma: Vec<Vec<u8>>,
}

impl Sounds {
    /// G.711 only: in Opus there is silence. For tests, which need no encoder.
    pub fn g711() -> Self {
        Self { tone: Frames::g711(tone), ringback: Frames::g711(Tone::ringback) }
    }

    /// All codecs, Opus as mono in frames of 20 ms at 48 kHz. Encodes 20 s of sound: a fifth of a second of work.
    #[cfg(feature = "driver")]
    pub fn all() -> Result<Self, OpusError> {
        let mut sounds = Self::g711();
        sounds.tone.opus = opus_loop(tone(48_000))?;
        sounds.ringback.opus = opus_loop(Tone::ringback(48_000))?;
        Ok(sounds)
    }

    /// The payload of the `index`th frame of a sound.
    pub(super) fn frame(&self, sound: Sound, codec: Codec, index: u64) -> &[u8] {
        let frames = match sound {
            Sound::Tone => &self.tone,
            Sound::Ringback => &self.ringback,
            Sound::Silence => return audio::silence(codec),
        };
        let frames = match codec {
            Codec::Opus => &frames.opus,
            Codec::Pcmu => &frames.pcmu,
            Codec::Pcma => &frames.pcma,
        };
        match frames.len() {
            0 => audio::silence(codec),
            count => &frames[(index % count as u64) as usize],
        }
    }
}

impl Frames {
    fn g711(tone: fn(u32) -> Tone) -> Self {
        let frames = |encode: fn(i16) -> u8| {
            let mut tone = tone(Codec::Pcmu.clock_rate());
            (0..FRAMES).map(|_| (0..160).map(|_| encode(tone.next_sample())).collect()).collect()
        };
        Self { opus: Vec::new(), pcmu: frames(g711::mulaw_encode), pcma: frames(g711::alaw_encode) }
    }
}

/// One loop as the encoder gives it after another one has passed through it: by then it has settled, and since the sound repeats with the
/// loop, the last frame is followed by the first as by any other.
#[cfg(feature = "driver")]
fn opus_loop(mut tone: Tone) -> Result<Vec<Vec<u8>>, OpusError> {
    let mut encoder = Encoder::new()?;
    let (mut samples, mut packet) = ([0; audio::opus::FRAME], [0; 1_000]);
    let mut frame = || {
        tone.fill(&mut samples);
        let length = encoder.encode(&samples, &mut packet)?;
        Ok(packet[..length].to_vec())
    };
    for _ in 0..FRAMES {
        frame()?;
    }
    (0..FRAMES).map(|_| frame()).collect()
}

fn tone(sample_rate: u32) -> Tone {
    Tone::steady(1_000.0, sample_rate)
}

/// 5 s: a whole number of periods of 1 kHz and of 425 Hz, and one turn of the ringback.
const FRAMES: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean frequency of a signal that is one sine, from its rising zero crossings, in Hz.
    fn frequency(samples: &[i16], rate: f64) -> f64 {
        let crossings: Vec<f64> = (samples.windows(2).enumerate())
            .filter(|(_, pair)| pair[0] < 0 && pair[1] >= 0)
            .map(|(at, pair)| at as f64 - f64::from(pair[0]) / f64::from(i32::from(pair[1]) - i32::from(pair[0])))
            .collect();
        (crossings.len() - 1) as f64 * rate / (crossings[crossings.len() - 1] - crossings[0])
    }

    #[test]
    fn the_g711_tone_is_1000_hz_to_the_tenth_over_a_loop_and_its_seam() {
        let sounds = Sounds::g711();
        for (codec, decode) in [(Codec::Pcmu, g711::mulaw_decode as fn(u8) -> i16), (Codec::Pcma, g711::alaw_decode)] {
            let samples: Vec<i16> = (200..300)
                .flat_map(|index| sounds.frame(Sound::Tone, codec, index).iter().map(|byte| decode(*byte)).collect::<Vec<_>>())
                .collect();
            assert_eq!(samples.len(), 100 * 160);
            let hertz = frequency(&samples, 8_000.0);
            assert!((hertz - 1_000.0).abs() < 0.1, "{codec:?}: {hertz} Hz");
        }
    }

    #[test]
    fn the_ringback_sounds_one_second_of_five() {
        let sounds = Sounds::g711();
        let loud =
            |index| sounds.frame(Sound::Ringback, Codec::Pcma, index).iter().any(|byte| g711::alaw_decode(*byte).unsigned_abs() > 1_000);
        let on: Vec<u64> = (0..500).filter(|index| loud(*index)).collect();
        assert_eq!(on, (0..50).chain(250..300).collect::<Vec<_>>());
    }

    #[cfg(feature = "driver")]
    #[test]
    fn the_opus_tone_is_1000_hz_at_an_even_level_over_a_loop_and_its_seam() {
        let sounds = Sounds::all().unwrap();
        let mut decoder = audio::opus::Decoder::new().unwrap();
        let mut samples = Vec::new();
        for index in 150..350 {
            let mut frame = [0; 960];
            let count = decoder.decode(sounds.frame(Sound::Tone, Codec::Opus, index), &mut frame).unwrap();
            assert_eq!(count, 960);
            samples.extend_from_slice(&frame);
        }
        let settled = &samples[48_000..];
        let hertz = frequency(settled, 48_000.0);
        assert!((hertz - 1_000.0).abs() < 0.1, "{hertz} Hz");
        let levels = settled.chunks(960).map(|frame| (frame.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 960.0).sqrt());
        let expected = 16_384.0 / 2f64.sqrt();
        for (at, level) in levels.enumerate() {
            assert!((level / expected - 1.0).abs() < 0.1, "frame {at}: level {level} instead of {expected}");
        }
    }
}
