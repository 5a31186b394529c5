//! RTP and RTCP (RFC 3550) on packets in place: headers, one outgoing stream out of changing sources, statistics, reports, digits.
//!
//! Both legs of a call use the same parts. The hot path allocates nothing.

mod clock;
mod dtmf;
mod header;
mod mos;
mod rewrite;
mod rtcp;
mod stats;

pub use clock::{NtpClock, NtpTime};
pub use dtmf::{DtmfError, DtmfPacket, DtmfReceiver, DtmfSender, ReceivedDigit, event_of_tone, tone_of_event};
pub use header::{FIXED_HEADER, Header};
pub use mos::mos;
pub use rewrite::{RewriteError, Rewriter, Sent};
pub use rtcp::{Blocks, Bye, ReportBlock, Rtcp, RtcpPackets, RtcpWriter, SenderInfo, packets};
pub use stats::{ReceiverStats, SenderStats};
