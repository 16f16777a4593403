//! Who wakes whom, and how often.
//!
//! A runtime that is woken from another thread takes a lock for each wake, and a system call while
//! it sleeps. A log answers a whole group of appends from its own thread, so these wakes are taken
//! together: [`Mailbox`]. And a task that waits for several things is woken as a whole by each of
//! them; [`Gate`] spares it the look at those that seldom happen.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// Wakes for the tasks of one thread. The first that is posted wakes the thread, the others lie
/// ready when it looks. Holds at most one wake for each task that waits.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<Letters>,
}

#[derive(Debug, Default)]
struct Letters {
    posted: Vec<Arc<Letter>>,
    /// Wakes [`Mailbox::deliver`], when that waits.
    reader: Option<Waker>,
}

/// One task that is to be woken through a mailbox.
#[derive(Debug)]
struct Letter {
    mailbox: Arc<Mailbox>,
    task: Waker,
}

impl Wake for Letter {
    fn wake(self: Arc<Self>) {
        let mailbox = Arc::clone(&self.mailbox);
        let reader = {
            let mut letters = mailbox.state.lock();
            letters.posted.push(self);
            letters.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Mailbox {
    /// Wakes the tasks whose wakes have been posted, for ever. To be awaited on the thread of
    /// these tasks.
    pub(super) async fn deliver(&self) -> Infallible {
        let mut letters = Vec::new();
        loop {
            poll_fn(|cx| {
                let mut state = self.state.lock();
                if state.posted.is_empty() {
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                std::mem::swap(&mut state.posted, &mut letters);
                Poll::Ready(())
            })
            .await;
            for letter in letters.drain(..) {
                letter.task.wake_by_ref();
            }
        }
    }
}

/// A future that is woken through a mailbox, where there is one.
#[derive(Debug)]
pub(super) struct Through<'a, F> {
    mailbox: Option<&'a Arc<Mailbox>>,
    future: F,
}

impl<'a, F> Through<'a, F> {
    pub(super) fn new(mailbox: Option<&'a Arc<Mailbox>>, future: F) -> Self {
        Self { mailbox, future }
    }
}

impl<F: Future + Unpin> Future for Through<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(mailbox) = self.mailbox else {
            return Pin::new(&mut self.future).poll(cx);
        };
        let letter = Arc::new(Letter {
            mailbox: Arc::clone(mailbox),
            task: cx.waker().clone(),
        });
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&letter.into()))
    }
}

/// Lets a poll through only when what is polled has asked for it.
///
/// To be used by one task for all of its life: the waker of the last poll that was let through is
/// the one that is kept.
#[derive(Debug)]
pub(super) struct Gate(Arc<Knock>);

#[derive(Debug)]
struct Knock {
    open: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        self.open.store(true, Ordering::Release);
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Default for Gate {
    /// Open, so that the first poll passes.
    fn default() -> Self {
        Self(Arc::new(Knock {
            open: AtomicBool::new(true),
            task: Mutex::new(None),
        }))
    }
}

impl Gate {
    /// Polls, if the gate is open. Closes it, unless the poll was ready: more may be.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.0.open.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.0.open.store(false, Ordering::Release);
        *self.0.task.lock() = Some(cx.waker().clone());
        let outcome = poll(&mut Context::from_waker(&Arc::clone(&self.0).into()));
        if outcome.is_ready() {
            self.0.open.store(true, Ordering::Release);
        }
        outcome
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_group_of_wakes_wakes_the_reader_once_and_each_task() {
        let mailbox = Arc::new(Mailbox::default());
        let reader = Arc::new(Count::default());
        let reader_waker = Waker::from(Arc::clone(&reader));
        let mut deliver = std::pin::pin!(mailbox.deliver());
        let mut look = || {
            assert!(
                deliver
                    .as_mut()
                    .poll(&mut Context::from_waker(&reader_waker))
                    .is_pending()
            );
        };
        look();
        let tasks: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let (senders, mut waits): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| oneshot::channel::<u8>())
            .map(|(sender, receiver)| (sender, Through::new(Some(&mailbox), receiver)))
            .unzip();
        for (wait, task) in waits.iter_mut().zip(&tasks) {
            let waker = Waker::from(Arc::clone(task));
            assert!(
                Pin::new(wait)
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        for sender in senders {
            sender.send(7).unwrap();
        }
        assert_eq!(reader.0.load(Ordering::SeqCst), 1);
        let woken = || tasks.iter().map(|task| task.0.load(Ordering::SeqCst));
        assert_eq!(woken().collect::<Vec<_>>(), [0, 0, 0]);
        look();
        assert_eq!(woken().collect::<Vec<_>>(), [1, 1, 1]);
        for wait in &mut waits {
            let outcome = Pin::new(wait).poll(&mut Context::from_waker(&reader_waker));
            assert_eq!(outcome, Poll::Ready(Ok(7)));
        }
    }

    #[test]
    fn a_gate_lets_through_what_knocked() {
        let gate = Gate::default();
        let task = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&task));
        let cx = Context::from_waker(&waker);
        let mut inner = None;
        let mut polls = 0;
        let mut poll = |outcome: Poll<u8>| {
            gate.poll(&cx, |cx| {
                polls += 1;
                inner = Some(cx.waker().clone());
                outcome
            })
        };
        assert!(poll(Poll::Pending).is_pending(), "the first passes");
        assert!(poll(Poll::Ready(1)).is_pending(), "nobody knocked");
        inner.take().unwrap().wake();
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        let poll = |outcome: Poll<u8>| gate.poll(&cx, |_| outcome);
        assert_eq!(poll(Poll::Ready(2)), Poll::Ready(2));
        assert_eq!(poll(Poll::Ready(3)), Poll::Ready(3), "more may be ready");
        assert!(poll(Poll::Pending).is_pending());
        assert!(poll(Poll::Ready(4)).is_pending());
    }
}
