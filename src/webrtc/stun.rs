//! Just enough of STUN (RFC 8489) to know a binding request's owner and to check its integrity, before a library that does
//! the rest sees a byte of it.

use aws_lc_rs::hmac;

/// A well-formed binding request that carries `USERNAME` and `MESSAGE-INTEGRITY`. Nothing in it is true until
/// [`BindingRequest::is_signed_with`] says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct BindingRequest<'a> {
    /// The username fragment of the side that the request was sent to: ours.
    pub local_ufrag: &'a str,
    /// The username fragment of the side that sent it.
    pub remote_ufrag: &'a str,
    /// The sender nominates the pair that the request travelled on (RFC 8445 section 7.1.2).
    pub use_candidate: bool,
    /// The sender thinks itself controlled (RFC 8445 section 7.1.3), which a full agent opposite to a lite one never is.
    pub sender_is_controlled: bool,
    /// Everything ahead of the `MESSAGE-INTEGRITY` attribute.
    signed: &'a [u8],
    tag: &'a [u8],
}

impl<'a> BindingRequest<'a> {
    /// Reads a binding request; `None` for anything else and for what is malformed.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = message.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE || length != rest.len() || length % 4 != 0 {
            return None;
        }
        let (mut username, mut use_candidate, mut sender_is_controlled) = (None, false, false);
        while let Some((attribute, after)) = rest.split_first_chunk::<4>() {
            let (kind, length) = ([attribute[0], attribute[1]], usize::from(u16::from_be_bytes([attribute[2], attribute[3]])));
            let value = after.get(..length)?;
            match kind {
                // Attributes behind this one are not covered by it and do not count (RFC 8489 section 14.5).
                MESSAGE_INTEGRITY => {
                    let (local_ufrag, remote_ufrag) = std::str::from_utf8(username?).ok()?.split_once(':')?;
                    if remote_ufrag.is_empty() || length != TAG {
                        return None;
                    }
                    let signed = &message[..message.len() - rest.len()];
                    return Some(Self { local_ufrag, remote_ufrag, use_candidate, sender_is_controlled, signed, tag: value });
                }
                USERNAME => username = Some(value),
                USE_CANDIDATE => use_candidate = true,
                ICE_CONTROLLED => sender_is_controlled = true,
                _ => {}
            }
            rest = after.get(length.next_multiple_of(4)..)?;
        }
        None
    }

    /// Whether the sender knows the password that the key was made of (RFC 8489 section 9.1.3, 14.5).
    pub fn is_signed_with(&self, key: &hmac::Key) -> bool {
        let Some((header, attributes)) = self.signed.split_first_chunk::<HEADER>() else { return false };
        let length = (attributes.len() + 4 + TAG) as u16;
        let mut context = hmac::Context::with_key(key);
        context.update(&header[..2]);
        context.update(&length.to_be_bytes());
        context.update(&header[4..]);
        context.update(attributes);
        aws_lc_rs::constant_time::verify_slices_are_equal(context.sign().as_ref(), self.tag).is_ok()
    }
}

/// The key of a short-term password (RFC 8489 section 9.1.1).
pub(super) fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

const HEADER: usize = 20;
const TAG: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: [u8; 2] = [0x00, 0x06];
const MESSAGE_INTEGRITY: [u8; 2] = [0x00, 0x08];
const USE_CANDIDATE: [u8; 2] = [0x00, 0x25];
const ICE_CONTROLLED: [u8; 2] = [0x80, 0x29];

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample request of RFC 5769 section 2.1; its password is `VOkJxbRl1RmTxUk/WvJxBt`.
    const SAMPLE: [u8; 108] = [
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22,
        0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04,
        0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76,
        0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56,
        0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
    ];

    #[test]
    fn the_sample_request_of_rfc_5769_verifies_with_its_password_only() {
        let request = BindingRequest::parse(&SAMPLE).expect("a binding request");
        assert_eq!((request.local_ufrag, request.remote_ufrag), ("evtj", "h6vY"));
        assert!(request.sender_is_controlled && !request.use_candidate);
        assert!(request.is_signed_with(&integrity_key("VOkJxbRl1RmTxUk/WvJxBt")));
        assert!(!request.is_signed_with(&integrity_key("VOkJxbRl1RmTxUk/WvJxBu")));
    }

    #[test]
    fn one_changed_bit_ahead_of_the_tag_is_noticed() {
        let key = integrity_key("VOkJxbRl1RmTxUk/WvJxBt");
        for bit in 0..76 * 8 {
            let mut changed = SAMPLE;
            changed[bit / 8] ^= 1 << (bit % 8);
            let accepted = BindingRequest::parse(&changed).is_some_and(|request| request.is_signed_with(&key));
            assert!(!accepted, "bit {bit}");
        }
    }

    #[test]
    fn an_attribute_behind_the_integrity_does_not_count() {
        let mut message = SAMPLE[..100].to_vec();
        message.extend([0x00, 0x25, 0x00, 0x00]);
        message[3] = (message.len() - HEADER) as u8;
        let request = BindingRequest::parse(&message).expect("a binding request");
        assert!(!request.use_candidate);
    }

    #[test]
    fn every_truncation_is_refused() {
        for length in 0..SAMPLE.len() {
            assert!(BindingRequest::parse(&SAMPLE[..length]).is_none(), "{length} bytes");
        }
    }
}
