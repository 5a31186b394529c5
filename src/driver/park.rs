//! Sleeping until something happens: a datagram, an input in the mailbox, a deadline.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::io::FromRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::net::UdpSocket;
use glommio::timer::Timer;

use super::mailbox::ShardInbox;

/// Wakes a shard that has gone to sleep. It belongs to the executor that it was made in.
///
/// Each socket has a task that, once armed, peeks through io_uring until a datagram waits, says so, and rests until it is armed again: while
/// the shard ticks it is asked for nothing, and a peek that outlasts a sleep serves the next one, so that none is ever cancelled.
pub struct Parker {
    watches: Vec<Rc<Watch>>,
    alarm: Rc<Alarm>,
    /// Dropping a task ends it.
    _tasks: Vec<glommio::Task<()>>,
}

/// One socket's gate between resting and peeking.
#[derive(Default)]
struct Watch {
    armed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What the sleeper waits on, beside its mailbox.
#[derive(Default)]
struct Alarm {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Parker {
    /// Watches these UDP sockets. To be called inside the shard's executor.
    pub fn new(sockets: Vec<OwnedFd>) -> Self {
        let alarm = Rc::<Alarm>::default();
        let mut watches = Vec::new();
        let mut tasks = Vec::new();
        for socket in sockets {
            // SAFETY: the descriptor is owned, a UDP socket, and given up right here: the glommio socket is its only owner and closes it.
            let socket = unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) };
            let watch = Rc::<Watch>::default();
            tasks.push(glommio::spawn_local(peek_when_armed(socket, watch.clone(), alarm.clone())));
            watches.push(watch);
        }
        Self { watches, alarm, _tasks: tasks }
    }

    /// Sleeps until a datagram waits on one of the sockets, an input waits in the mailbox, the shard is to stop, or `longest` is over.
    pub async fn park(&self, inbox: &ShardInbox, longest: Duration) {
        self.alarm.rung.set(false);
        self.watches.iter().for_each(|watch| watch.arm());
        let mut timer = Timer::new(longest);
        poll_fn(|cx| match inbox.poll_ready(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending if self.alarm.poll(cx).is_ready() => Poll::Ready(()),
            Poll::Pending => Pin::new(&mut timer).poll(cx).map(|_| ()),
        })
        .await;
        inbox.disarm();
    }
}

impl Watch {
    fn arm(&self) {
        if !self.armed.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Alarm {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.rung.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

async fn peek_when_armed(socket: UdpSocket, watch: Rc<Watch>, alarm: Rc<Alarm>) {
    loop {
        poll_fn(|cx| watch.poll(cx)).await;
        // An error is a reason to look, too: the tick will meet it, or find nothing and the shard parks again.
        let _ = socket.peek_from(&mut [0; 1]).await;
        watch.armed.set(false);
        alarm.ring();
    }
}
