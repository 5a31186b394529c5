//! The RTP header (RFC 3550 section 5.1 and 5.3.1).

use std::ops::Range;

/// Bytes of a header without CSRCs and extension.
pub const FIXED_HEADER: usize = 12;

/// An RTP header, and where in its packet the payload lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Audio: the first packet of a talk spurt (RFC 3551 section 4.1).
    pub marker: bool,
    /// Below 128.
    pub payload_type: u8,
    /// Wraps.
    pub sequence: u16,
    /// In units of the payload type's clock; wraps.
    pub timestamp: u32,
    /// The stream.
    pub ssrc: u32,
    /// The payload without padding.
    pub payload: Range<usize>,
}

impl Header {
    /// Reads a packet's header. `None` when it is malformed: not version 2, or CSRCs, extension or padding run past the end.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<FIXED_HEADER>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut start = FIXED_HEADER + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let words = packet.get(start + 2..start + 4)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        let mut end = packet.len();
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*packet.last()?);
            if padding == 0 {
                return None;
            }
            end = end.checked_sub(padding)?;
        }
        if start > end {
            return None;
        }
        Some(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload: start..end,
        })
    }

    /// The header as bytes, without CSRCs, extension and padding; `payload` does not matter.
    pub fn to_bytes(&self) -> [u8; FIXED_HEADER] {
        let mut bytes = [0; FIXED_HEADER];
        bytes[0] = 0x80;
        bytes[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { marker: true, payload_type: 111, sequence: 0x1234, timestamp: 0xdeca_fbad, ssrc: 0xcafe_babe, payload: 12..12 }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(Header::parse(&header().to_bytes()), Some(header()));
    }

    #[test]
    fn csrcs_extension_and_padding_are_no_payload() {
        let mut packet = header().to_bytes().to_vec();
        packet[0] = 0x80 | 0x20 | 0x10 | 2;
        packet.extend([1; 8]);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, b'0', 0, 0]);
        packet.extend(b"speech");
        packet.extend([0, 0, 3]);
        let parsed = Header::parse(&packet).unwrap();
        assert_eq!(&packet[parsed.payload.clone()], b"speech");
        assert_eq!(Header { payload: 12..12, ..parsed }, header());
    }

    #[test]
    fn a_header_that_runs_past_the_end_is_malformed() {
        let with = |first: u8, rest: &[u8]| {
            let mut packet = header().to_bytes().to_vec();
            packet[0] = first;
            packet.extend(rest);
            Header::parse(&packet)
        };
        assert_eq!(with(0x40, b"payload"), None);
        assert_eq!(with(0x8f, b"payload"), None);
        assert_eq!(with(0x90, &[0xbe, 0xde, 0]), None);
        assert_eq!(with(0x90, &[0xbe, 0xde, 0xff, 0xff, 0]), None);
        assert_eq!(with(0xa0, &[1, 2, 4]), None);
        assert_eq!(with(0xa0, &[1, 2, 0]), None);
        assert_eq!(with(0xa0, &[1, 2, 3]).unwrap().payload, 12..12);
        for length in 0..FIXED_HEADER {
            assert_eq!(Header::parse(&header().to_bytes()[..length]), None);
        }
    }
}
