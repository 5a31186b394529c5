//! ICE credentials (RFC 8445 section 5.3) whose username fragment says whose they are.
//!
//! A browser's first datagram comes from an address that nobody knows yet. What it does carry is our username fragment, so
//! that fragment holds the slot and the generation of the transport, and random bits that only the browser was told.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::RngCore;
use zeroize::Zeroizing;

use super::stun::BindingRequest;

/// Our side's credentials of one transport.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// The username fragment: the transport's key and 32 random bits, in `ice-char`s.
    pub ufrag: String,
    /// The password: 192 random bits, where RFC 8445 section 5.3 asks for 128.
    pub password: Zeroizing<String>,
}

impl IceCredentials {
    /// Makes credentials for the transport with this key, which is slot and generation in one number.
    pub fn generate(key: u64, rng: &mut impl RngCore) -> Self {
        let mut fragment = [0; FRAGMENT_BYTES];
        fragment[..KEY_BYTES].copy_from_slice(&key.to_be_bytes());
        rng.fill_bytes(&mut fragment[KEY_BYTES..]);
        let mut password = Zeroizing::new([0; PASSWORD_BYTES]);
        rng.fill_bytes(password.as_mut());
        Self { ufrag: STANDARD_NO_PAD.encode(fragment), password: Zeroizing::new(STANDARD_NO_PAD.encode(password.as_ref())) }
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// The key that a username fragment was made with. Anyone can write any key into a fragment: what it leads to still has to
/// compare the whole fragment and check the request's integrity.
pub fn slot_of(ufrag: &str) -> Option<u64> {
    let mut fragment = [0; FRAGMENT_BYTES];
    let length = STANDARD_NO_PAD.decode_slice(ufrag, &mut fragment).ok()?;
    if length != FRAGMENT_BYTES {
        return None;
    }
    fragment.first_chunk::<KEY_BYTES>().map(|key| u64::from_be_bytes(*key))
}

/// Our username fragment in a STUN binding request (RFC 8445 section 7.2.2: `USERNAME` is ours, a colon, theirs). `None` for
/// any other message.
pub fn local_ufrag(stun: &[u8]) -> Option<&str> {
    BindingRequest::parse(stun).map(|request| request.local_ufrag)
}

/// Slot and generation.
const KEY_BYTES: usize = size_of::<u64>();

/// The key and 32 random bits: 16 characters without padding.
const FRAGMENT_BYTES: usize = KEY_BYTES + 4;

const PASSWORD_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    use super::*;

    #[test]
    fn a_fragment_leads_back_to_its_key() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        for key in [0, 1, 0xffff_ffff, 0x0000_0003_0000_0007, u64::MAX] {
            assert_eq!(slot_of(&IceCredentials::generate(key, &mut rng).ufrag), Some(key));
        }
    }

    #[test]
    fn credentials_are_of_ice_chars_and_never_alike() {
        let mut rng = ChaCha12Rng::seed_from_u64(2);
        let (one, two) = (IceCredentials::generate(5, &mut rng), IceCredentials::generate(5, &mut rng));
        assert_ne!(one.ufrag, two.ufrag);
        assert_ne!(one.password, two.password);
        for text in [&one.ufrag, &*one.password] {
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'), "{text}");
        }
        // RFC 8445 section 5.3: at least 4 and 22 characters, at most 256.
        assert_eq!((one.ufrag.len(), one.password.len()), (16, 32));
    }

    #[test]
    fn the_password_is_not_printed() {
        let credentials = IceCredentials::generate(9, &mut ChaCha12Rng::seed_from_u64(3));
        assert!(!format!("{credentials:?}").contains(credentials.password.as_str()));
    }

    proptest! {
        #[test]
        fn strange_fragments_lead_nowhere_or_somewhere_but_never_panic(ufrag in ".{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(key) = slot_of(&ufrag) {
                prop_assert_eq!(ufrag.len(), 16);
                let _ = key;
            }
            let _ = local_ufrag(&bytes);
        }
    }
}
