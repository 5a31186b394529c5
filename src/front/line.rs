//! A client's TCP connection, and how it is cut from our side: the way to make a stock client come back, which a Socket.IO disconnect tells not to.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, join};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::Instant;

/// A connection's handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    reader: Option<Waker>,
    /// The session that came on it last; HTTP/1.1 serves one at a time.
    session: Option<String>,
}

impl Line {
    /// The connection's two directions, the reading one of which this line cuts.
    pub(super) fn over(&self, stream: TcpStream) -> impl AsyncRead + AsyncWrite + Unpin + Send + use<> {
        let (reader, writer) = stream.into_split();
        join(Reader { reader, line: self.clone() }, writer)
    }

    /// From now on nothing more is read, as if the client had closed; what waits to be written still is.
    pub(super) fn cut(&self) {
        let mut state = self.state();
        state.is_cut = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    reader: OwnedReadHalf,
    line: Line,
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        {
            let mut state = self.line.state();
            if state.is_cut {
                return Poll::Ready(Ok(()));
            }
            if !state.reader.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                state.reader = Some(cx.waker().clone());
            }
        }
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

/// The lines that Socket.IO sessions use, by the sessions' Engine.IO ids: a session may change from one to another.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    by_session: HashMap<String, Use>,
    /// So many entries are worth a look for old ones.
    tidy_at: usize,
}

#[derive(Debug)]
enum Use {
    Line(Weak<Mutex<State>>),
    /// Cut off at that time; Engine.IO forgets the session a while later.
    Cut(Instant),
}

impl Lines {
    /// Notes that a session now uses this line; `false` if the session has been cut off.
    pub(super) fn note(&self, session: &str, line: &Line) -> bool {
        let mut noted = self.noted();
        if let Some(Use::Cut(_)) = noted.by_session.get(session) {
            return false;
        }
        noted.set(session, line);
        true
    }

    /// Notes the line that a session began on, unless it has changed to another one already.
    pub(super) fn note_first(&self, session: &str, line: &Line) {
        let mut noted = self.noted();
        if !noted.by_session.contains_key(session) {
            noted.set(session, line);
        }
    }

    /// Cuts a session off: what it uses now, and whatever else it comes with.
    pub(super) fn cut(&self, session: &str) {
        let before = self.noted().by_session.insert(session.to_owned(), Use::Cut(Instant::now()));
        if let Some(Use::Line(line)) = before
            && let Some(state) = line.upgrade()
        {
            Line(state).cut();
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    /// A line has one entry: whoever makes up sessions on it fills no memory with them.
    fn set(&mut self, session: &str, line: &Line) {
        if let Some(before) = line.state().session.replace(session.to_owned())
            && matches!(self.by_session.get(&before), Some(Use::Line(known)) if known.as_ptr() == Arc::as_ptr(&line.0))
        {
            self.by_session.remove(&before);
        }
        self.by_session.insert(session.to_owned(), Use::Line(Arc::downgrade(&line.0)));
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.by_session.len() > self.tidy_at {
            self.by_session.retain(|_, entry| match entry {
                Use::Line(line) => line.strong_count() > 0,
                Use::Cut(at) => at.elapsed() < CUT_REMEMBERED,
            });
            self.tidy_at = 2 * self.by_session.len() + TIDY_AT_LEAST;
        }
    }
}

/// Longer than Engine.IO takes to find out that nobody comes any more.
const CUT_REMEMBERED: Duration = Duration::from_secs(60);

/// Below it nobody looks for old entries.
const TIDY_AT_LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_makes_up_sessions_on_one_connection_has_one_entry() {
        let (lines, line, other) = (Lines::default(), Line::default(), Line::default());
        assert!(lines.note("0", &line) && lines.note("0", &other));
        for session in 1..10_000 {
            assert!(lines.note(&session.to_string(), &line));
        }
        assert_eq!(lines.noted().by_session.len(), 2, "the moved one and the last");
        lines.cut("0");
        assert!(other.state().is_cut && !line.state().is_cut && !lines.note("0", &other));
    }
}
