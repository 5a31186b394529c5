//! Session keys from a master key (RFC 3711 section 4.3, with AES-256 as RFC 6188 section 3, for AEAD as RFC 7714 section 11). The key derivation rate is 0.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::{MasterKey, Profile};

/// What a session key is for: the first of three labels for RTP, and of three for RTCP (RFC 3711 section 4.3.1 and 4.3.2).
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Rtp = 0,
    Rtcp = 3,
}

/// The keys of RTP or RTCP in one direction. Wiped when dropped.
pub(super) struct SessionKeys {
    pub(super) profile: Profile,
    pub(super) encryption: Zeroizing<Vec<u8>>,
    pub(super) authentication: Zeroizing<Vec<u8>>,
    pub(super) salt: Zeroizing<Vec<u8>>,
}

impl SessionKeys {
    pub(super) fn derive(master: &MasterKey, purpose: Purpose) -> Self {
        let first = purpose as u8;
        let profile = master.profile();
        let authentication_length = match profile {
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => 0,
            Profile::Aes128CmSha1_80 => 20,
        };
        Self {
            profile,
            encryption: derive(master, first, profile.key_length()),
            authentication: derive(master, first + 1, authentication_length),
            salt: derive(master, first + 2, profile.salt_length()),
        }
    }
}

/// The first `length` bytes of the pseudo-random function with this label (RFC 3711 section 4.3.3).
fn derive(master: &MasterKey, label: u8, length: usize) -> Zeroizing<Vec<u8>> {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(master.padded_salt());
    iv[7] ^= label;
    let mut stream = Zeroizing::new(vec![0; length]);
    counter_mode(&counter_key(master.key()), iv, &mut stream);
    stream
}

/// AES in counter mode over `in_out`, in place (RFC 3711 section 4.1.1).
pub(super) fn counter_mode(key: &EncryptingKey, iv: [u8; 16], in_out: &mut [u8]) {
    // It fails for a context of another length than the cipher's block only, and this one has it.
    let done = key.less_safe_encrypt(in_out, EncryptionContext::Iv128(FixedLength::from(iv)));
    debug_assert!(done.is_ok());
}

/// A key for [`counter_mode`] of 16 or 32 bytes.
pub(super) fn counter_key(key: &[u8]) -> EncryptingKey {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr).expect("the profile sets the length of the key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let key = hex::decode("E1F97A0D3E018BE0D64FA32C06DE4139").unwrap();
        let salt = hex::decode("0EC675AD498AFEEBB6960B3AABE6").unwrap();
        let master = MasterKey::new(Profile::Aes128CmSha1_80, &key, &salt).unwrap();
        let session = SessionKeys::derive(&master, Purpose::Rtp);
        assert_eq!(hex::encode_upper(&*session.encryption), "C61E7A93744F39EE10734AFE3FF7A087");
        assert_eq!(hex::encode_upper(&*session.salt), "30CBBC08863D8C85D49DB34A9AE1");
        assert_eq!(hex::encode_upper(&*session.authentication), "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    }

    #[test]
    fn session_keys_of_a_256_bit_master_key_are_those_of_rfc_6188_section_7_4() {
        let key = hex::decode("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6").unwrap();
        let salt = hex::decode("3b04803de51ee7c96423ab5b78d2").unwrap();
        // No profile of ours has a 256-bit key with a 14-byte salt, but the derivation is the same.
        let master = MasterKey { profile: Profile::AeadAes256Gcm, key: key.try_into().unwrap(), salt: salt.try_into().unwrap() };
        assert_eq!(hex::encode(&*derive(&master, 0, 32)), "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4");
        assert_eq!(hex::encode(&*derive(&master, 2, 14)), "fa31791685ca444a9e07c6c64e93");
        assert_eq!(hex::encode(&*derive(&master, 1, 20)), "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05");
    }

    #[test]
    fn the_key_stream_is_that_of_rfc_3711_appendix_b_2() {
        let key = counter_key(&hex::decode("2B7E151628AED2A6ABF7158809CF4F3C").unwrap());
        let iv: [u8; 16] = hex::decode("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").unwrap().try_into().unwrap();
        let mut stream = vec![0; 16 * 0xff02];
        counter_mode(&key, iv, &mut stream);
        let block = |n: usize| hex::encode_upper(&stream[16 * n..16 * n + 16]);
        assert_eq!(block(0), "E03EAD0935C95E80E166B16DD92B4EB4");
        assert_eq!(block(1), "D23513162B02D0F72A43A2FE4A5F97AB");
        assert_eq!(block(2), "41E95B3BB0A2E8DD477901E4FCA894C0");
        assert_eq!(block(0xfeff), "EC8CDF7398607CB0F2D21675EA9EA1E4");
        assert_eq!(block(0xff00), "362B7C3C6773516318A077D7FC5073AE");
        assert_eq!(block(0xff01), "6A2CC3787889374FBEB4C81B17BA6C44");
    }
}
