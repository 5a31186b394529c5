//! Digits as RTP events (RFC 4733): a queue that is played into a stream, and a reader that tells one digit once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::clock::in_clock;
use crate::limits::DTMF_QUEUE;

/// The event code of a tone: `0-9 * # A-D` in either case (RFC 4733 section 3.2).
pub fn event_of_tone(tone: char) -> Option<u8> {
    EVENTS.iter().position(|&known| known == tone.to_ascii_uppercase()).map(|place| place as u8)
}

/// The tone of an event code below 16.
pub fn tone_of_event(event: u8) -> Option<char> {
    EVENTS.get(usize::from(event)).copied()
}

/// Why digits were not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DtmfError {
    /// Empty, or holds something other than `0-9 * # A-D` and the comma.
    #[error("not a tone")]
    NotATone,
    /// The queue is full; nothing of the request was queued.
    #[error("too many digits queued")]
    Full,
}

/// Plays queued digits: the caller asks for packets when the deadline has passed and sends each under the stream's next sequence number.
#[derive(Debug)]
pub struct DtmfSender {
    clock: u32,
    queue: VecDeque<Queued>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum Queued {
    Tone { event: u8, duration: Duration, gap: Duration },
    Pause,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is played; before this time nothing may start.
    Silent {
        until: Option<Instant>,
    },
    Playing(Playing),
}

#[derive(Clone, Copy, Debug)]
struct Playing {
    event: u8,
    gap: Duration,
    /// The RTP timestamp of the event, or of its current segment.
    timestamp: u32,
    /// How much was told in segments before (RFC 4733 section 2.5.1.3), and how much is to be told in all.
    told: Duration,
    total: Duration,
    /// How much of this segment the next packet tells.
    elapsed: Duration,
    first: bool,
    ends_left: u8,
    next_at: Instant,
}

/// A packet to send: see [`super::Rewriter::make`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtmfPacket {
    /// On the first packet of an event (RFC 4733 section 2.5.1.1).
    pub marker: bool,
    /// The event's, the same on all its packets.
    pub timestamp: u32,
    /// Event code, end flag, volume, duration.
    pub payload: [u8; 4],
}

impl DtmfSender {
    /// For telephone events with this clock in Hz.
    pub fn new(clock: u32) -> Self {
        Self { clock, queue: VecDeque::new(), state: State::Silent { until: None } }
    }

    /// Queues tones, each `duration` long and followed by `gap`; a comma is a pause of two seconds. Times are rounded up to 20 ms,
    /// a tone lasts 40 ms to 6 s.
    ///
    /// # Errors
    /// Something is no tone, or the queue has no room for all of them: then none was queued.
    pub fn enqueue(&mut self, tones: &str, duration: Duration, gap: Duration) -> Result<(), DtmfError> {
        let count = tones.chars().count();
        if count == 0 || tones.chars().any(|tone| tone != ',' && event_of_tone(tone).is_none()) {
            return Err(DtmfError::NotATone);
        }
        if self.queue.len() + count > DTMF_QUEUE {
            return Err(DtmfError::Full);
        }
        let (duration, gap) = (steps(duration.clamp(TONE_MIN, TONE_MAX)), gap.min(TONE_MAX));
        self.queue.extend(tones.chars().map(|tone| match event_of_tone(tone) {
            Some(event) => Queued::Tone { event, duration, gap },
            None => Queued::Pause,
        }));
        Ok(())
    }

    /// Forgets what is queued and playing.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.state = State::Silent { until: None };
    }

    /// Whether an event is being sent: audio is held back meanwhile.
    pub fn is_playing(&self) -> bool {
        matches!(self.state, State::Playing(_))
    }

    /// Whether nothing is queued or playing.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.is_playing()
    }

    /// When [`poll`](Self::poll) has something to do.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Playing(playing) => Some(playing.next_at),
            State::Silent { until } => (!self.queue.is_empty()).then(|| until.unwrap_or(now)),
        }
    }

    /// The next packet that is due, if one is. `timestamp` is the stream's at `now`: it becomes that of an event that begins. Call again until `None`.
    pub fn poll(&mut self, now: Instant, timestamp: u32) -> Option<DtmfPacket> {
        if let State::Silent { until } = self.state {
            if until.is_some_and(|until| now < until) {
                return None;
            }
            match self.queue.pop_front()? {
                Queued::Pause => {
                    self.state = State::Silent { until: Some(now + PAUSE) };
                    return None;
                }
                Queued::Tone { event, duration, gap } => {
                    self.state = State::Playing(Playing {
                        event,
                        gap,
                        timestamp,
                        told: Duration::ZERO,
                        total: duration,
                        elapsed: STEP,
                        first: true,
                        ends_left: ENDS,
                        next_at: now,
                    });
                }
            }
        }
        let State::Playing(mut playing) = self.state else { return None };
        if now < playing.next_at {
            return None;
        }
        let is_end = playing.told + playing.elapsed >= playing.total;
        let duration = in_clock(playing.elapsed, self.clock).min(u32::from(u16::MAX)) as u16;
        let [high, low] = duration.to_be_bytes();
        let flags = if is_end { END | VOLUME } else { VOLUME };
        let packet = DtmfPacket { marker: playing.first, timestamp: playing.timestamp, payload: [playing.event, flags, high, low] };

        playing.first = false;
        playing.next_at += STEP;
        if is_end {
            playing.ends_left -= 1;
        } else if in_clock(playing.elapsed + STEP, self.clock) > u32::from(u16::MAX) {
            playing.told += playing.elapsed;
            playing.timestamp = playing.timestamp.wrapping_add(u32::from(duration));
            playing.elapsed = STEP;
        } else {
            playing.elapsed += STEP;
        }
        self.state = if playing.ends_left == 0 { State::Silent { until: Some(now + playing.gap) } } else { State::Playing(playing) };
        Some(packet)
    }
}

/// Rounded up to whole packets.
fn steps(duration: Duration) -> Duration {
    STEP * duration.as_millis().div_ceil(STEP.as_millis()) as u32
}

/// Reads the events of one stream and tells each digit once, however many packets of it arrive.
#[derive(Debug)]
pub struct DtmfReceiver {
    clock: u32,
    current: Option<Receiving>,
    /// The timestamp of the last digit told: its end is sent three times.
    told: Option<u32>,
}

#[derive(Debug)]
struct Receiving {
    event: u8,
    timestamp: u32,
    /// Of earlier segments, and of this one.
    before: u32,
    duration: u16,
    last_packet: Instant,
}

/// A digit that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedDigit {
    /// `0-9 * # A-D`.
    pub tone: char,
    /// How long it was.
    pub duration: Duration,
}

impl DtmfReceiver {
    /// For telephone events with this clock in Hz.
    pub fn new(clock: u32) -> Self {
        Self { clock, current: None, told: None }
    }

    /// Reads an event packet. Tells the digit that it ends, or the one before it whose end was lost.
    pub fn on_packet(&mut self, timestamp: u32, payload: &[u8], now: Instant) -> Option<ReceivedDigit> {
        let &[event, flags, high, low] = payload.first_chunk::<4>()?;
        tone_of_event(event)?;
        let duration = u16::from_be_bytes([high, low]);
        if self.told == Some(timestamp) {
            return None;
        }
        let mut unfinished = self.handle_timeout(now);
        match &mut self.current {
            Some(current) if current.timestamp == timestamp && current.event == event => {
                current.duration = current.duration.max(duration);
                current.last_packet = now;
            }
            // The next segment of a long event begins where the last one stopped (RFC 4733 section 2.5.1.3).
            Some(current) if current.event == event && timestamp == current.timestamp.wrapping_add(u32::from(current.duration)) => {
                current.before = current.before.saturating_add(current.duration.into());
                (current.timestamp, current.duration, current.last_packet) = (timestamp, duration, now);
            }
            // Older than what is being heard: reordered, and already counted.
            Some(current) if (timestamp.wrapping_sub(current.timestamp) as i32) < 0 => return None,
            Some(_) | None => {
                unfinished = self.finish().or(unfinished);
                self.current = Some(Receiving { event, timestamp, before: 0, duration, last_packet: now });
            }
        }
        // With an unfinished one to tell, this one's end is told by one of its repetitions or by time.
        if flags & END != 0 && unfinished.is_none() { self.finish() } else { unfinished }
    }

    /// Tells a digit of which nothing was heard for a while: its end was lost.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<ReceivedDigit> {
        if self.next_deadline()? <= now { self.finish() } else { None }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.last_packet + END_LOST)
    }

    fn finish(&mut self) -> Option<ReceivedDigit> {
        let current = self.current.take()?;
        self.told = Some(current.timestamp);
        let units = u64::from(current.before) + u64::from(current.duration);
        let duration = Duration::from_millis(units * 1000 / u64::from(self.clock.max(1)));
        Some(ReceivedDigit { tone: tone_of_event(current.event)?, duration })
    }
}

const EVENTS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// The E bit (RFC 4733 section 2.3.2).
const END: u8 = 0x80;

/// Minus 10 dBm0 (RFC 4733 section 2.3.4).
const VOLUME: u8 = 10;

/// How often a packet is sent while a tone lasts.
const STEP: Duration = Duration::from_millis(20);

/// How often the end is sent (RFC 4733 section 2.5.1.4).
const ENDS: u8 = 3;

/// What a comma waits, as in W3C `insertDTMF`.
const PAUSE: Duration = Duration::from_secs(2);

/// The shortest and the longest tone, as in W3C `insertDTMF`.
const TONE_MIN: Duration = Duration::from_millis(40);
const TONE_MAX: Duration = Duration::from_secs(6);

/// Packets come every 20 to 50 ms: after this silence a tone is over.
const END_LOST: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
