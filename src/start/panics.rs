//! What the log says of a panic: where it was, and never with whose data. What it costs is `shard::contain`'s to decide.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// So many panics are logged in this time: whoever finds a packet that makes us panic must not fill the disk with it. All of them are counted.
const LINES: u32 = 10;
const LINES_WINDOW: Duration = Duration::from_secs(10);

/// When the present window began, and how many panics it has seen.
static WINDOW: Mutex<Option<(Instant, u32)>> = Mutex::new(None);

/// Has every panic of the process logged in this way, in place of Rust's.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if is_worth_a_line(Instant::now()) {
            log(panic);
        }
    }));
}

fn log(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // A text that was made at run time may hold the number, the SDP or the token that made us panic; one that stands in the code cannot.
    let words = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("its words are not shown, they may hold data");
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!(thread, location, words, %backtrace, "a panic: this is a bug of the gateway"),
        _ => tracing::error!(thread, location, words, "a panic: this is a bug of the gateway"),
    }
}

fn is_worth_a_line(now: Instant) -> bool {
    let mut window = WINDOW.lock().unwrap_or_else(PoisonError::into_inner);
    let (began, count) = window.filter(|(began, _)| now.saturating_duration_since(*began) < LINES_WINDOW).unwrap_or((now, 0));
    *window = Some((began, count + 1));
    count < LINES
}
