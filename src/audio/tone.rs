//! Test tones.

use std::f64::consts::TAU;

/// A sine that goes on where it stopped, and may come and go.
#[derive(Clone, Debug)]
pub struct Tone {
    /// Turns a sample.
    step: f64,
    /// Turns so far, below 1.
    phase: f64,
    amplitude: f64,
    sample_rate: u32,
    /// Samples of sound and of silence that alternate; no silence is a steady tone.
    on: u32,
    off: u32,
    place: u32,
}

impl Tone {
    /// A steady tone at half of full scale.
    pub fn steady(frequency: f64, sample_rate: u32) -> Self {
        Self { step: frequency / f64::from(sample_rate), phase: 0.0, amplitude: 16_384.0, sample_rate, on: 1, off: 0, place: 0 }
    }

    /// The ringback tone of most of Europe: 425 Hz, one second in five (ETSI TR 101 041-2).
    pub fn ringback(sample_rate: u32) -> Self {
        Self { on: sample_rate, off: 4 * sample_rate, ..Self::steady(425.0, sample_rate) }
    }

    /// Samples a second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Writes the next samples.
    pub fn fill(&mut self, samples: &mut [i16]) {
        samples.iter_mut().for_each(|sample| *sample = self.next_sample());
    }

    /// The next sample.
    pub fn next_sample(&mut self) -> i16 {
        let audible = self.place < self.on;
        self.place = (self.place + 1) % (self.on + self.off);
        let sample = if audible { (TAU * self.phase).sin() * self.amplitude } else { 0.0 };
        self.phase = (self.phase + self.step).fract();
        sample as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_has_its_frequency_however_it_is_cut() {
        let mut tone = Tone::steady(1_000.0, 48_000);
        let mut samples = vec![0; 480_000];
        samples.chunks_mut(777).for_each(|chunk| tone.fill(chunk));
        let rises = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((9_998..=10_000).contains(&rises), "{rises}");
        assert!((16_300..=16_384).contains(samples.iter().max().unwrap()));
    }

    #[test]
    fn ringback_sounds_one_second_in_five() {
        let mut tone = Tone::ringback(8_000);
        let mut samples = vec![0; 80_000];
        tone.fill(&mut samples);
        let sounds = |second: usize| samples[8_000 * second..][..8_000].iter().any(|&sample| sample != 0);
        assert_eq!((0..10).filter(|&second| sounds(second)).collect::<Vec<_>>(), [0, 5]);
    }
}
