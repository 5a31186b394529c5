//! RTCP (RFC 3550 section 6): reads compound and reduced-size (RFC 5506) packets, writes SR or RR with SDES, and BYE.

use super::clock::NtpTime;
use crate::net::Packet;

/// Sender information of an SR (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report was sent.
    pub ntp: NtpTime,
    /// The same time on the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far; wraps.
    pub packets: u32,
    /// Payload bytes sent so far; wraps.
    pub octets: u32,
}

/// A report block (RFC 3550 section 6.4.1): what its sender received of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream that is reported on.
    pub ssrc: u32,
    /// Packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost so far; 24 bits, negative where duplicates arrived.
    pub cumulative_lost: i32,
    /// The highest sequence number so far, wraps counted in the upper 16 bits.
    pub highest_sequence: u32,
    /// In units of the stream's clock.
    pub jitter: u32,
    /// The middle of the last SR's NTP time; 0 if there was none.
    pub last_sender_report: u32,
    /// Time from that SR to this report, in 1/65536 s.
    pub delay: u32,
}

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum Rtcp<'a> {
    /// Sender report.
    SenderReport {
        /// Whose report it is.
        ssrc: u32,
        /// What it says of its own stream.
        info: SenderInfo,
        /// What it says of others.
        blocks: Blocks<'a>,
    },
    /// Receiver report.
    ReceiverReport {
        /// Whose report it is.
        ssrc: u32,
        /// What it says of others.
        blocks: Blocks<'a>,
    },
    /// Goodbye: these streams end.
    Bye(Bye<'a>),
    /// Source description, feedback or anything else that we have no use for, by its packet type.
    Other(u8),
}

/// The packets of a datagram; stops at the first malformed one.
#[derive(Clone, Debug)]
pub struct RtcpPackets<'a> {
    rest: &'a [u8],
}

/// The report blocks of one report.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    rest: &'a [u8],
}

/// The SSRCs of a BYE.
#[derive(Clone, Debug)]
pub struct Bye<'a> {
    rest: &'a [u8],
}

/// Reads the packets of a datagram. Nothing is copied.
pub fn packets(datagram: &[u8]) -> RtcpPackets<'_> {
    RtcpPackets { rest: datagram }
}

impl<'a> Iterator for RtcpPackets<'a> {
    type Item = Rtcp<'a>;

    fn next(&mut self) -> Option<Rtcp<'a>> {
        let header = self.rest.first_chunk::<4>()?;
        let length = 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (first, kind) = (header[0], header[1]);
        if first >> 6 != 2 || length > self.rest.len() {
            self.rest = &[];
            return None;
        }
        let (packet, rest) = self.rest.split_at(length);
        self.rest = rest;
        let mut body = &packet[4..];
        if first & 0x20 != 0 {
            let padding = usize::from(packet[length - 1]);
            body = body.get(..body.len().checked_sub(padding)?)?;
        }
        read(kind, usize::from(first & 0x1f), body)
    }
}

fn read(kind: u8, count: usize, body: &[u8]) -> Option<Rtcp<'_>> {
    match kind {
        SENDER_REPORT => {
            let info = SenderInfo {
                ntp: NtpTime(u64::from(word(body, 1)?) << 32 | u64::from(word(body, 2)?)),
                rtp_timestamp: word(body, 3)?,
                packets: word(body, 4)?,
                octets: word(body, 5)?,
            };
            Some(Rtcp::SenderReport { ssrc: word(body, 0)?, info, blocks: Blocks { rest: body.get(24..24 + BLOCK * count)? } })
        }
        RECEIVER_REPORT => Some(Rtcp::ReceiverReport { ssrc: word(body, 0)?, blocks: Blocks { rest: body.get(4..4 + BLOCK * count)? } }),
        BYE => Some(Rtcp::Bye(Bye { rest: body.get(..4 * count)? })),
        other => Some(Rtcp::Other(other)),
    }
}

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_at_checked(BLOCK)?;
        self.rest = rest;
        let lost = word(block, 1)?;
        Some(ReportBlock {
            ssrc: word(block, 0)?,
            fraction_lost: (lost >> 24) as u8,
            // Its sign is bit 23.
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_sequence: word(block, 2)?,
            jitter: word(block, 3)?,
            last_sender_report: word(block, 4)?,
            delay: word(block, 5)?,
        })
    }
}

impl Iterator for Bye<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let ssrc = word(self.rest, 0)?;
        self.rest = &self.rest[4..];
        Some(ssrc)
    }
}

/// The nth 32-bit word.
fn word(bytes: &[u8], n: usize) -> Option<u32> {
    bytes.get(4 * n..)?.first_chunk::<4>().map(|word| u32::from_be_bytes(*word))
}

/// Writes a compound packet: a report, then what else is called for. Every one begins with an SR or RR and holds a CNAME, as
/// RFC 3550 section 6.1 asks.
pub struct RtcpWriter<'a> {
    packet: &'a mut Packet,
    ssrc: u32,
    fits: bool,
}

impl<'a> RtcpWriter<'a> {
    /// Begins with a report of the stream `ssrc`: an SR with `sender`, an RR without. At most 31 blocks are written.
    pub fn report(packet: &'a mut Packet, ssrc: u32, sender: Option<&SenderInfo>, blocks: &[ReportBlock]) -> Self {
        packet.copy_from(&[]);
        let mut writer = Self { packet, ssrc, fits: true };
        let blocks = &blocks[..blocks.len().min(31)];
        let kind = if sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
        let length = 4 + if sender.is_some() { 20 } else { 0 } + BLOCK * blocks.len();
        writer.header(blocks.len() as u8, kind, length);
        writer.word(ssrc);
        if let Some(sender) = sender {
            writer.word((sender.ntp.0 >> 32) as u32);
            writer.word(sender.ntp.0 as u32);
            writer.word(sender.rtp_timestamp);
            writer.word(sender.packets);
            writer.word(sender.octets);
        }
        for block in blocks {
            let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
            writer.word(block.ssrc);
            writer.word(u32::from(block.fraction_lost) << 24 | lost);
            writer.word(block.highest_sequence);
            writer.word(block.jitter);
            writer.word(block.last_sender_report);
            writer.word(block.delay);
        }
        writer
    }

    /// Adds the stream's canonical name (RFC 3550 section 6.5.1), cut at 255 bytes.
    pub fn cname(mut self, cname: &str) -> Self {
        let text = &cname.as_bytes()[..cname.len().min(255)];
        // Item header and text, then one to four zeros up to the next word.
        let items = (2 + text.len() + 1).div_ceil(4) * 4;
        self.header(1, SOURCE_DESCRIPTION, 4 + items);
        self.word(self.ssrc);
        self.bytes(&[CNAME, text.len() as u8]);
        self.bytes(text);
        self.bytes(&[0; 4][..items - 2 - text.len()]);
        self
    }

    /// Adds a BYE of the stream.
    pub fn bye(mut self) -> Self {
        self.header(1, BYE, 4);
        self.word(self.ssrc);
        self
    }

    /// Ends the packet. `false` if it did not fit; what is in it then may not be sent.
    pub fn finish(self) -> bool {
        self.fits
    }

    fn header(&mut self, count: u8, kind: u8, body: usize) {
        let words = (body / 4) as u16;
        self.bytes(&[0x80 | count, kind, (words >> 8) as u8, words as u8]);
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let start = self.packet.len();
        if self.packet.append(bytes.len()) {
            self.packet.bytes_mut()[start..].copy_from_slice(bytes);
        } else {
            self.fits = false;
        }
    }
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const CNAME: u8 = 1;

/// Bytes of a report block.
const BLOCK: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::PacketPool;

    fn block(ssrc: u32) -> ReportBlock {
        ReportBlock {
            ssrc,
            fraction_lost: 12,
            cumulative_lost: -3,
            highest_sequence: 0x1_0042,
            jitter: 77,
            last_sender_report: 5,
            delay: 65_536,
        }
    }

    #[test]
    fn a_compound_that_we_write_is_read_again() {
        let mut packet = PacketPool::new(0).take();
        let info = SenderInfo { ntp: NtpTime(0x0123_4567_89ab_cdef), rtp_timestamp: 960, packets: 3, octets: 480 };
        assert!(RtcpWriter::report(&mut packet, 7, Some(&info), &[block(8), block(9)]).cname("nexus@192.0.2.1").bye().finish());
        assert_eq!(packet.len() % 4, 0);
        let mut read = packets(packet.bytes());
        let Some(Rtcp::SenderReport { ssrc: 7, info: read_info, blocks }) = read.next() else { panic!("no SR") };
        assert_eq!(read_info, info);
        assert_eq!(blocks.collect::<Vec<_>>(), [block(8), block(9)]);
        assert!(matches!(read.next(), Some(Rtcp::Other(202))));
        let Some(Rtcp::Bye(bye)) = read.next() else { panic!("no BYE") };
        assert_eq!(bye.collect::<Vec<_>>(), [7]);
        assert!(read.next().is_none());
    }

    #[test]
    fn a_cname_ends_with_a_zero_and_fills_its_word() {
        for length in 0..10 {
            let mut packet = PacketPool::new(0).take();
            assert!(RtcpWriter::report(&mut packet, 7, None, &[]).cname(&"x".repeat(length)).finish());
            let sdes = &packet.bytes()[8..];
            assert_eq!(sdes.len() % 4, 0);
            assert_eq!(sdes.len(), 4 + 4 * usize::from(sdes[3]));
            assert_eq!(sdes.last(), Some(&0));
        }
    }

    #[test]
    fn a_reduced_size_report_is_read() {
        // A bare RR on one stream, as Chromium sends them.
        let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
        bytes.extend([0, 0, 0, 9, 26, 0xff, 0xff, 0xfe, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 8]);
        let Some(Rtcp::ReceiverReport { ssrc: 1, mut blocks }) = packets(&bytes).next() else { panic!("no RR") };
        let block = blocks.next().unwrap();
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost, block.highest_sequence), (9, 26, -2, 5));
        assert_eq!((block.jitter, block.last_sender_report, block.delay), (6, 7, 8));
    }

    #[test]
    fn damage_of_any_kind_ends_the_reading() {
        let mut packet = PacketPool::new(0).take();
        let info = SenderInfo { ntp: NtpTime(1), rtp_timestamp: 2, packets: 3, octets: 4 };
        assert!(RtcpWriter::report(&mut packet, 7, Some(&info), &[block(8)]).cname("name").bye().finish());
        let whole = packet.bytes().to_vec();
        for length in 0..whole.len() {
            assert!(packets(&whole[..length]).count() < 3);
        }
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            for read in packets(&damaged) {
                match read {
                    Rtcp::SenderReport { blocks, .. } | Rtcp::ReceiverReport { blocks, .. } => assert!(blocks.count() < 32),
                    Rtcp::Bye(bye) => assert!(bye.count() < 32),
                    Rtcp::Other(_) => {}
                }
            }
        }
    }
}
