//! The first byte of a datagram says what it is.

/// What a datagram on the browsers' port holds (RFC 7983 section 7, with RFC 5761 section 4 for RTCP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// RFC 8489.
    Stun,
    /// RFC 6347.
    Dtls,
    /// RTP or SRTP (RFC 3550).
    Rtp,
    /// RTCP or SRTCP: payload types 192 to 223 (RFC 5761 section 4).
    Rtcp,
    /// Anything else, an empty datagram included.
    Unknown,
}

/// Tells what a datagram holds from its first two bytes.
pub fn classify(datagram: &[u8]) -> PacketKind {
    match datagram {
        [0..=3, ..] => PacketKind::Stun,
        [20..=63, ..] => PacketKind::Dtls,
        [128..=191, 192..=223, ..] => PacketKind::Rtcp,
        [128..=191, _, ..] => PacketKind::Rtp,
        _ => PacketKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_fall_into_the_ranges_of_rfc_7983() {
        let kinds = |range: std::ops::RangeInclusive<u8>, second: u8| -> Vec<PacketKind> {
            let mut kinds: Vec<_> = range.map(|first| classify(&[first, second])).collect();
            kinds.dedup();
            kinds
        };
        assert_eq!(kinds(0..=3, 0), [PacketKind::Stun]);
        assert_eq!(kinds(4..=19, 0), [PacketKind::Unknown]);
        assert_eq!(kinds(20..=63, 0), [PacketKind::Dtls]);
        assert_eq!(kinds(64..=127, 0), [PacketKind::Unknown]);
        assert_eq!(kinds(128..=191, 111), [PacketKind::Rtp]);
        assert_eq!(kinds(128..=191, 200), [PacketKind::Rtcp]);
        assert_eq!(kinds(192..=255, 0), [PacketKind::Unknown]);
    }

    #[test]
    fn a_marked_payload_type_is_not_taken_for_rtcp() {
        assert_eq!(classify(&[0x80, 0x80 | 63]), PacketKind::Rtp);
        assert_eq!(classify(&[0x80, 0x80 | 96]), PacketKind::Rtp);
        assert_eq!(classify(&[]), PacketKind::Unknown);
        assert_eq!(classify(&[0x80]), PacketKind::Unknown);
    }
}
