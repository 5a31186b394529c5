//! G.711 (ITU-T G.711): mu-law and A-law, to and from 16-bit samples.

/// The mu-law byte of a sample.
pub fn mulaw_encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs().min(MULAW_CLIP) + MULAW_BIAS;
    // The bias makes bit 7 the lowest that can lead.
    let exponent = 8 - magnitude.leading_zeros() as u8;
    let mantissa = (magnitude >> (exponent + 3)) as u8 & 0x0f;
    !(sign | exponent << 4 | mantissa)
}

/// The sample of a mu-law byte.
pub fn mulaw_decode(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((u16::from(byte & 0x0f) << 3) + MULAW_BIAS) << (byte >> 4 & 7);
    let magnitude = (magnitude - MULAW_BIAS) as i16;
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The A-law byte of a sample.
pub fn alaw_encode(sample: i16) -> u8 {
    // The standard's negative values lie one below the mirror of the positive ones.
    let (mask, magnitude) = if sample < 0 { (0x55, !sample as u16) } else { (0xd5, sample as u16) };
    let magnitude = magnitude >> 4;
    // Two linear segments below 32, then one for each further bit.
    let exponent = 12u8.saturating_sub(magnitude.leading_zeros() as u8);
    let mantissa = if exponent == 0 { magnitude } else { magnitude >> (exponent - 1) } as u8 & 0x0f;
    (exponent << 4 | mantissa) ^ mask
}

/// The sample of an A-law byte.
pub fn alaw_decode(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let mantissa = i16::from(byte & 0x0f) << 4;
    let magnitude = match byte >> 4 & 7 {
        0 => mantissa + 8,
        exponent => (mantissa + 0x108) << (exponent - 1),
    };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

const MULAW_BIAS: u16 = 132;
const MULAW_CLIP: u16 = 32_635;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_for_the_values_of_the_standard() {
        // The ends and the middle of the tables 1a to 2b, scaled to 16 bits.
        let mulaw = [(0x00, -32_124), (0x0f, -16_764), (0x7e, -8), (0x7f, 0), (0x80, 32_124), (0xef, 132), (0xfe, 8), (0xff, 0)];
        mulaw.iter().for_each(|&(byte, sample)| assert_eq!(mulaw_decode(byte), sample, "{byte:#x}"));
        let alaw = [(0x2a, -32_256), (0x55, -8), (0xd5, 8), (0xd4, 24), (0xaa, 32_256), (0xc5, 264), (0x80, 5_504)];
        alaw.iter().for_each(|&(byte, sample)| assert_eq!(alaw_decode(byte), sample, "{byte:#x}"));
    }

    #[test]
    fn every_byte_survives_the_way_there_and_back() {
        for byte in 0..=255 {
            assert_eq!(alaw_encode(alaw_decode(byte)), byte);
            // Negative zero is the one that becomes positive.
            assert_eq!(mulaw_encode(mulaw_decode(byte)), if byte == 0x7f { 0xff } else { byte });
        }
    }

    #[test]
    fn every_sample_comes_back_within_its_step() {
        for sample in i16::MIN..=i16::MAX {
            let step = (i32::from(sample).abs() / 16).max(16);
            for back in [mulaw_decode(mulaw_encode(sample)), alaw_decode(alaw_encode(sample))] {
                assert!((i32::from(back) - i32::from(sample)).abs() <= step, "{sample} became {back}");
            }
        }
    }
}
