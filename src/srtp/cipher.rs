//! The transforms of one direction of RTP or RTCP: cached contexts, and nonces from SSRC and index.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::kdf::{SessionKeys, counter_key, counter_mode};
use super::{INDEX_LENGTH, Profile, RTCP_HEADER, SrtpError};
use crate::net::MAX_DATAGRAM;

/// The E flag of an SRTCP packet: it is encrypted (RFC 3711 section 3.4).
pub(super) const ENCRYPTED: u32 = 1 << 31;

/// The session keys of RTP or RTCP in one direction, ready for use.
pub(super) enum Cipher {
    /// RFC 7714.
    Gcm { key: LessSafeKey, salt: [u8; 12] },
    /// RFC 3711 section 4.
    CounterMode { key: Box<EncryptingKey>, salt: [u8; 14], mac: Box<hmac::Key> },
}

/// Bytes of an AEAD tag.
const GCM_TAG: usize = 16;

/// Bytes of a truncated HMAC-SHA1 tag.
const SHA1_TAG: usize = 10;

impl Cipher {
    pub(super) fn new(session: &SessionKeys) -> Self {
        match session.profile {
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => {
                let algorithm = if session.encryption.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
                let key = UnboundKey::new(algorithm, &session.encryption).expect("the profile sets the length of the key");
                Cipher::Gcm { key: LessSafeKey::new(key), salt: fixed(&session.salt) }
            }
            Profile::Aes128CmSha1_80 => Cipher::CounterMode {
                key: Box::new(counter_key(&session.encryption)),
                salt: fixed(&session.salt),
                mac: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &session.authentication)),
            },
        }
    }

    pub(super) fn tag_length(&self) -> usize {
        match self {
            Cipher::Gcm { .. } => GCM_TAG,
            Cipher::CounterMode { .. } => SHA1_TAG,
        }
    }

    /// Encrypts an RTP packet whose last bytes are room for the tag.
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, rest) = packet.split_at_mut_checked(header).ok_or(SrtpError::Malformed)?;
                let (payload, tag) = split_tag::<GCM_TAG>(rest)?;
                seal_gcm(key, gcm_rtp_nonce(salt, ssrc, index), header, payload, tag)
            }
            Cipher::CounterMode { key, salt, mac } => {
                let (body, tag) = split_tag::<SHA1_TAG>(packet)?;
                counter_mode(key, counter_iv(salt, ssrc, index), body.get_mut(header..).ok_or(SrtpError::Malformed)?);
                *tag = rtp_tag(mac, body, index);
                Ok(())
            }
        }
    }

    /// Authenticates and decrypts an RTP packet in place; its tag stays behind it.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, rest) = packet.split_at_mut_checked(header).ok_or(SrtpError::Malformed)?;
                let (payload, tag) = split_tag::<GCM_TAG>(rest)?;
                open_gcm(key, gcm_rtp_nonce(salt, ssrc, index), header, payload, tag)
            }
            Cipher::CounterMode { key, salt, mac } => {
                let (body, tag) = split_tag::<SHA1_TAG>(packet)?;
                let payload = header..body.len();
                if payload.start > payload.end {
                    return Err(SrtpError::Malformed);
                }
                verify_slices_are_equal(&rtp_tag(mac, body, index), tag).map_err(|_| SrtpError::Authentication)?;
                counter_mode(key, counter_iv(salt, ssrc, index), &mut body[payload]);
                Ok(())
            }
        }
    }

    /// Encrypts an RTCP packet whose last bytes are room for tag and index word, and writes both: tag first with AEAD
    /// (RFC 7714 section 9.2), index first otherwise (RFC 3711 section 3.4).
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let word = (ENCRYPTED | index).to_be_bytes();
        match self {
            Cipher::Gcm { key, salt } => {
                let (body, word_room) = split_tag::<INDEX_LENGTH>(packet)?;
                *word_room = word;
                let (header, rest) = body.split_at_mut_checked(RTCP_HEADER).ok_or(SrtpError::Malformed)?;
                let (payload, tag) = split_tag::<GCM_TAG>(rest)?;
                seal_gcm(key, gcm_rtcp_nonce(salt, ssrc, index), &rtcp_aad(header, word), payload, tag)
            }
            Cipher::CounterMode { key, salt, mac } => {
                let (authenticated, tag) = split_tag::<SHA1_TAG>(packet)?;
                let (body, word_room) = split_tag::<INDEX_LENGTH>(authenticated)?;
                *word_room = word;
                counter_mode(key, counter_iv(salt, ssrc, u64::from(index)), body.get_mut(RTCP_HEADER..).ok_or(SrtpError::Malformed)?);
                *tag = cut(hmac::sign(mac, authenticated));
                Ok(())
            }
        }
    }

    /// The E flag and index of an SRTCP packet. `None` when it is too short.
    pub(super) fn rtcp_word(&self, packet: &[u8]) -> Option<u32> {
        let end = match self {
            Cipher::Gcm { .. } => packet.len(),
            Cipher::CounterMode { .. } => packet.len().checked_sub(SHA1_TAG)?,
        };
        packet.get(..end)?.last_chunk::<INDEX_LENGTH>().map(|word| u32::from_be_bytes(*word))
    }

    /// Authenticates an RTCP packet and, where its E flag says so, decrypts it in place; tag and index word stay behind it.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Result<(), SrtpError> {
        let (index, encrypted) = (word & !ENCRYPTED, word & ENCRYPTED != 0);
        match self {
            Cipher::Gcm { key, salt } => {
                let (body, word) = split_tag::<INDEX_LENGTH>(packet)?;
                let nonce = gcm_rtcp_nonce(salt, ssrc, index);
                if encrypted {
                    let (header, rest) = body.split_at_mut_checked(RTCP_HEADER).ok_or(SrtpError::Malformed)?;
                    let (payload, tag) = split_tag::<GCM_TAG>(rest)?;
                    open_gcm(key, nonce, &rtcp_aad(header, *word), payload, tag)
                } else {
                    // All of it is associated data, which has to be in one piece (RFC 7714 section 9.3).
                    let (plain, tag) = split_tag::<GCM_TAG>(body)?;
                    let mut whole = [0; MAX_DATAGRAM];
                    let length = plain.len() + INDEX_LENGTH;
                    whole.get_mut(..plain.len()).ok_or(SrtpError::Malformed)?.copy_from_slice(plain);
                    whole.get_mut(plain.len()..length).ok_or(SrtpError::Malformed)?.copy_from_slice(word);
                    open_gcm(key, nonce, &whole[..length], &mut [], tag)
                }
            }
            Cipher::CounterMode { key, salt, mac } => {
                let (authenticated, tag) = split_tag::<SHA1_TAG>(packet)?;
                verify_slices_are_equal(&cut::<SHA1_TAG>(hmac::sign(mac, authenticated)), tag).map_err(|_| SrtpError::Authentication)?;
                let (body, _) = split_tag::<INDEX_LENGTH>(authenticated)?;
                let payload = body.get_mut(RTCP_HEADER..).ok_or(SrtpError::Malformed)?;
                if encrypted {
                    counter_mode(key, counter_iv(salt, ssrc, u64::from(index)), payload);
                }
                Ok(())
            }
        }
    }
}

fn seal_gcm(key: &LessSafeKey, nonce: Nonce, aad: &[u8], payload: &mut [u8], tag: &mut [u8; GCM_TAG]) -> Result<(), SrtpError> {
    // It fails for a payload of gigabytes only.
    let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(aad), payload).map_err(|_| SrtpError::NoRoom)?;
    *tag = cut(sealed);
    Ok(())
}

fn open_gcm(key: &LessSafeKey, nonce: Nonce, aad: &[u8], payload: &mut [u8], tag: &[u8; GCM_TAG]) -> Result<(), SrtpError> {
    match key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, payload) {
        Ok(_) => Ok(()),
        Err(_) => Err(SrtpError::Authentication),
    }
}

/// RFC 7714 section 8.1.
fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    xor(&mut nonce, salt);
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 section 9.1.
fn gcm_rtcp_nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    xor(&mut nonce, salt);
    Nonce::assume_unique_for_key(nonce)
}

/// The associated data of an encrypted SRTCP packet: its first 8 bytes and the index word (RFC 7714 section 9.2).
fn rtcp_aad(header: &[u8], word: [u8; INDEX_LENGTH]) -> [u8; RTCP_HEADER + INDEX_LENGTH] {
    let mut aad = [0; RTCP_HEADER + INDEX_LENGTH];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(&word);
    aad
}

/// RFC 3711 section 4.1.1.
fn counter_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
    iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    xor(&mut iv, salt);
    iv
}

/// The tag of an RTP packet covers the roll-over counter, which is not sent (RFC 3711 section 4.2).
fn rtp_tag(mac: &hmac::Key, body: &[u8], index: u64) -> [u8; SHA1_TAG] {
    let mut context = hmac::Context::with_key(mac);
    context.update(body);
    context.update(&((index >> 16) as u32).to_be_bytes());
    cut(context.sign())
}

/// Splits the last `N` bytes off.
fn split_tag<const N: usize>(bytes: &mut [u8]) -> Result<(&mut [u8], &mut [u8; N]), SrtpError> {
    bytes.split_last_chunk_mut::<N>().ok_or(SrtpError::Malformed)
}

/// The first `N` bytes of a tag that is at least as long.
fn cut<const N: usize>(tag: impl AsRef<[u8]>) -> [u8; N] {
    fixed(tag.as_ref())
}

/// The first `N` bytes, zeros behind where there are fewer.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    array
}

fn xor(bytes: &mut [u8], salt: &[u8]) {
    bytes.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn gcm(profile: Profile) -> Cipher {
        let key: Vec<u8> = (0..profile.key_length() as u8).collect();
        let salt = hex::decode("517569642070726f2071756f").unwrap();
        let session = SessionKeys {
            profile,
            encryption: Zeroizing::new(key),
            authentication: Zeroizing::new(Vec::new()),
            salt: Zeroizing::new(salt),
        };
        Cipher::new(&session)
    }

    const RTP_HEADER: &str = "8040f17b8041f8d35501a0b2";
    const RTP_PAYLOAD: &str = "47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
    const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

    fn check_rtp(profile: Profile, expected: &str) {
        let cipher = gcm(profile);
        let plain = hex::decode(format!("{RTP_HEADER}{RTP_PAYLOAD}")).unwrap();
        let mut packet = plain.clone();
        packet.extend([0; GCM_TAG]);
        cipher.seal_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(hex::encode(&packet), format!("{RTP_HEADER}{expected}"));
        cipher.open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(packet[..plain.len()], plain);
    }

    fn check_rtcp(profile: Profile, expected: &str) {
        let cipher = gcm(profile);
        let plain = hex::decode(RTCP).unwrap();
        let mut packet = plain.clone();
        packet.extend([0; GCM_TAG + INDEX_LENGTH]);
        cipher.seal_rtcp(&mut packet, 0x4d61_7273, 0x5d4).unwrap();
        assert_eq!(hex::encode(&packet), format!("81c8000d4d617273{expected}800005d4"));
        assert_eq!(cipher.rtcp_word(&packet), Some(0x8000_05d4));
        cipher.open_rtcp(&mut packet, 0x4d61_7273, 0x8000_05d4).unwrap();
        assert_eq!(packet[..plain.len()], plain);
    }

    #[test]
    fn rtp_under_aes_128_gcm_is_that_of_rfc_7714_section_16_1() {
        check_rtp(
            Profile::AeadAes128Gcm,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        );
    }

    #[test]
    fn rtp_under_aes_256_gcm_is_that_of_rfc_7714_section_16_2() {
        check_rtp(
            Profile::AeadAes256Gcm,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        );
    }

    #[test]
    fn rtcp_under_aes_128_gcm_is_that_of_rfc_7714_section_17_1() {
        check_rtcp(
            Profile::AeadAes128Gcm,
            "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade",
        );
    }

    #[test]
    fn rtcp_under_aes_256_gcm_is_that_of_rfc_7714_section_17_2() {
        check_rtcp(
            Profile::AeadAes256Gcm,
            "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be",
        );
    }

    #[test]
    fn an_rtcp_packet_that_is_only_tagged_is_that_of_rfc_7714_section_17_3() {
        let cipher = gcm(Profile::AeadAes128Gcm);
        let mut packet = hex::decode(format!("{RTCP}841dd9683dd78ec92ae58790125f62b3000005d4")).unwrap();
        assert_eq!(cipher.rtcp_word(&packet), Some(0x5d4));
        assert_eq!(cipher.open_rtcp(&mut packet, 0x4d61_7273, 0x5d4), Ok(()));
        assert_eq!(hex::encode(&packet[..52]), RTCP);
        packet[20] ^= 1;
        assert_eq!(cipher.open_rtcp(&mut packet, 0x4d61_7273, 0x5d4), Err(SrtpError::Authentication));
    }
}
