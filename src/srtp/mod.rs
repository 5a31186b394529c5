//! SRTP and SRTCP (RFC 3711, RFC 7714) in place on pooled packets: [`Inbound`] for what a peer sends, [`Outbound`] for what we send.
//!
//! Nothing is allocated per packet: the cipher contexts are made once from the [`MasterKey`], and the few streams that one
//! association carries live in fixed tables.

mod cipher;
mod inbound;
mod index;
mod kdf;
mod outbound;

pub use inbound::Inbound;
pub use outbound::Outbound;

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A protection profile that DTLS-SRTP or SDES can negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// RFC 7714, with a 16-byte tag.
    AeadAes256Gcm,
    /// RFC 7714, with a 16-byte tag.
    AeadAes128Gcm,
    /// RFC 3711 with RFC 5764 section 4.1.2: AES in counter mode, HMAC-SHA1 cut to 10 bytes.
    Aes128CmSha1_80,
}

impl Profile {
    /// Bytes of the master key.
    pub fn key_length(self) -> usize {
        match self {
            Profile::AeadAes256Gcm => 32,
            Profile::AeadAes128Gcm | Profile::Aes128CmSha1_80 => 16,
        }
    }

    /// Bytes of the master salt.
    pub fn salt_length(self) -> usize {
        match self {
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes that the authentication tag adds to a packet.
    pub fn tag_length(self) -> usize {
        match self {
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => 16,
            Profile::Aes128CmSha1_80 => 10,
        }
    }
}

/// The master key and salt of one direction. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    profile: Profile,
    key: [u8; 32],
    salt: [u8; 14],
}

impl MasterKey {
    /// A master key of the lengths that `profile` asks for, else `None`.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != profile.key_length() || salt.len() != profile.salt_length() {
            return None;
        }
        let mut master = Self { profile, key: [0; 32], salt: [0; 14] };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        Some(master)
    }

    /// Cuts what the DTLS exporter `EXTRACTOR-dtls_srtp` gave (RFC 5764 section 4.2) into the keys with which the DTLS client
    /// and the DTLS server send, in this order. `None` when it is too short for the profile.
    pub fn client_and_server(profile: Profile, exported: &[u8]) -> Option<(Self, Self)> {
        let (client_key, rest) = exported.split_at_checked(profile.key_length())?;
        let (server_key, rest) = rest.split_at_checked(profile.key_length())?;
        let (client_salt, rest) = rest.split_at_checked(profile.salt_length())?;
        let (server_salt, _) = rest.split_at_checked(profile.salt_length())?;
        Some((Self::new(profile, client_key, client_salt)?, Self::new(profile, server_key, server_salt)?))
    }

    /// The profile that the key is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    fn key(&self) -> &[u8] {
        &self.key[..self.profile.key_length()]
    }

    /// The salt, with zeros behind a 12-byte one: in key derivation it stands at the left (RFC 7714 section 11).
    fn padded_salt(&self) -> &[u8; 14] {
        &self.salt
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({:?})", self.profile)
    }
}

/// Why a packet was not protected or not accepted. A packet that failed may hold anything: drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SrtpError {
    /// Too short, not version 2, or a header that runs past the end.
    #[error("malformed packet")]
    Malformed,
    /// The tag does not fit: forged, damaged, or protected with another key.
    #[error("authentication failed")]
    Authentication,
    /// Seen before, or too old for the replay window to tell (RFC 3711 section 3.3.2).
    #[error("replayed packet")]
    Replayed,
    /// More streams than one association may carry.
    #[error("too many streams")]
    TooManyStreams,
    /// Sending it would use an index, and with it a nonce, a second time.
    #[error("transmit index used before")]
    IndexReused,
    /// The index space of this key is used up (RFC 3711 section 9.2).
    #[error("key exhausted")]
    KeyExhausted,
    /// No room behind the packet for the tag.
    #[error("packet too long")]
    NoRoom,
}

impl SrtpError {
    /// The stable name under which such packets are counted.
    pub fn code(self) -> &'static str {
        match self {
            SrtpError::Malformed => "srtp-malformed",
            SrtpError::Authentication => "srtp-authentication",
            SrtpError::Replayed => "srtp-replayed",
            SrtpError::TooManyStreams => "srtp-too-many-streams",
            SrtpError::IndexReused => "srtp-index-reused",
            SrtpError::KeyExhausted => "srtp-key-exhausted",
            SrtpError::NoRoom => "srtp-no-room",
        }
    }
}

/// Streams of one association in one direction. A browser's transport sends one; a renegotiation can add a few.
const STREAMS: usize = 8;

/// Bytes of the word behind an SRTCP packet that holds the E flag and the index (RFC 3711 section 3.4).
const INDEX_LENGTH: usize = 4;

/// The part of an RTCP packet that is never encrypted: the first header and the sender's SSRC.
const RTCP_HEADER: usize = 8;

/// What SRTP has to know of an RTP header: SSRC, sequence number and where the payload starts (RFC 3550 section 5.1, 5.3.1).
#[derive(Clone, Copy)]
struct RtpHeader {
    ssrc: u32,
    sequence: u16,
    length: usize,
}

impl RtpHeader {
    fn parse(packet: &[u8]) -> Result<Self, SrtpError> {
        let Some(fixed) = packet.first_chunk::<12>() else { return Err(SrtpError::Malformed) };
        if fixed[0] >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let mut length = 12 + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let Some(words) = packet.get(length + 2..length + 4) else { return Err(SrtpError::Malformed) };
            length += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        if length > packet.len() {
            return Err(SrtpError::Malformed);
        }
        let sequence = u16::from_be_bytes([fixed[2], fixed[3]]);
        let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        Ok(Self { ssrc, sequence, length })
    }
}

/// The sender's SSRC of an RTCP packet (RFC 3550 section 6.4).
fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    let Some(header) = packet.first_chunk::<RTCP_HEADER>() else { return Err(SrtpError::Malformed) };
    if header[0] >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    Ok(u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
}

#[cfg(test)]
mod tests;
