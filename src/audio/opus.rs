//! Opus (RFC 6716) by libopus: mono at 48 kHz.

use std::fmt;

use ::opus::{Application, Channels};

/// Samples of 20 ms.
pub const FRAME: usize = 960;

const SAMPLE_RATE: u32 = 48_000;

/// libopus refused: no memory, or a packet that is not Opus.
#[derive(Debug, thiserror::Error)]
#[error("opus: {0}")]
pub struct OpusError(#[from] ::opus::Error);

/// Makes Opus packets.
pub struct Encoder(::opus::Encoder);

impl Encoder {
    /// For speech, with in-band FEC.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self, OpusError> {
        let mut encoder = ::opus::Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip)?;
        encoder.set_inband_fec(true)?;
        Ok(Self(encoder))
    }

    /// Encodes [`FRAME`] samples and tells how many bytes of `packet` they took.
    ///
    /// # Errors
    /// Another number of samples, or no room.
    pub fn encode(&mut self, samples: &[i16], packet: &mut [u8]) -> Result<usize, OpusError> {
        Ok(self.0.encode(samples, packet)?)
    }
}

/// Plays Opus packets.
pub struct Decoder(::opus::Decoder);

impl Decoder {
    /// A decoder that has heard nothing yet.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self, OpusError> {
        Ok(Self(::opus::Decoder::new(SAMPLE_RATE, Channels::Mono)?))
    }

    /// Decodes a packet and tells how many samples it gave; 5,760 is the most. An empty packet is a lost one.
    ///
    /// # Errors
    /// Not an Opus packet, or more samples than there is room for.
    pub fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, OpusError> {
        Ok(self.0.decode(packet, samples, false)?)
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Tone, mute, silence};
    use crate::codec::Codec;

    #[test]
    fn a_tone_comes_back_as_loud_as_it_went() {
        let (mut encoder, mut decoder, mut tone) = (Encoder::new().unwrap(), Decoder::new().unwrap(), Tone::steady(1_000.0, SAMPLE_RATE));
        let (mut samples, mut packet, mut loudest) = ([0; FRAME], [0; 1500], 0);
        for _ in 0..50 {
            tone.fill(&mut samples);
            let length = encoder.encode(&samples, &mut packet).unwrap();
            let count = decoder.decode(&packet[..length], &mut samples).unwrap();
            assert_eq!(count, FRAME);
            loudest = samples.iter().copied().max().unwrap();
        }
        assert!((12_000..=20_000).contains(&loudest), "{loudest}");
    }

    #[test]
    fn silence_and_a_muted_packet_decode_to_zeros_of_the_same_duration() {
        let mut samples = [1; 5760];
        assert_eq!(Decoder::new().unwrap().decode(silence(Codec::Opus), &mut samples).unwrap(), FRAME);
        assert!(samples[..FRAME].iter().all(|&sample| sample == 0));
        for configuration in 0..32u8 {
            for (code, count) in [(0, 1), (1, 2), (3, 3)] {
                let mut packet = vec![configuration << 3 | code, count];
                packet.resize(120, 0x5a);
                // More than 120 ms is invalid, and muted as if it were the most.
                let expected = ::opus::packet::get_nb_samples(&packet, SAMPLE_RATE).unwrap_or(5760);
                let length = mute(Codec::Opus, &mut packet);
                samples.fill(1);
                assert_eq!(Decoder::new().unwrap().decode(&packet[..length], &mut samples).unwrap(), expected);
                assert!(samples[..expected].iter().all(|&sample| sample == 0));
            }
        }
    }
}
