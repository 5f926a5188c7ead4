//! An application that writes down what it hears, and ways to wait for it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use alkpubsub_engine::delivery::{Delivery, Gap, Notice};
use alkpubsub_engine::link::Peer;
use alkpubsub_engine::model::ErrorKind;
use alkpubsub_engine::route::ConnKey;
use tokio::sync::Notify;

use super::GENEROUS;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An event as the application heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) connection: u32,
    pub(crate) type_: String,
    pub(crate) id: String,
    pub(crate) payload: String,
}

/// What the application heard, in order.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Event(Event),
    Notice(Notice),
}

/// An application that writes down what it hears. It can say that it is full.
#[derive(Default)]
pub(crate) struct Recorder {
    log: Mutex<Vec<Heard>>,
    changed: Notify,
    is_full: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Delivery for Recorder {
    fn event(&self, connection: u32, type_: &str, id: &str, payload: &str) {
        self.push(Heard::Event(Event { connection, type_: type_.into(), id: id.into(), payload: payload.into() }));
    }

    fn notice(&self, notice: Notice) {
        self.push(Heard::Notice(notice));
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wakers = lock(&self.wakers);
        if !self.is_full() {
            return Poll::Ready(());
        }
        wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn push(&self, heard: Heard) {
        lock(&self.log).push(heard);
        self.changed.notify_waiters();
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
        if !is_full {
            std::mem::take(&mut *lock(&self.wakers)).into_iter().for_each(Waker::wake);
        }
    }

    /// Everything so far.
    pub(crate) fn log(&self) -> Vec<Heard> {
        lock(&self.log).clone()
    }

    pub(crate) fn notices(&self) -> Vec<Notice> {
        let notices = self.log().into_iter().filter_map(|heard| match heard {
            Heard::Notice(notice) => Some(notice),
            Heard::Event(_) => None,
        });
        notices.collect()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let events = self.log().into_iter().filter_map(|heard| match heard {
            Heard::Event(event) => Some(event),
            Heard::Notice(_) => None,
        });
        events.collect()
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        self.events().into_iter().map(|event| event.payload).collect()
    }

    /// Waits until `found` finds something in the log.
    pub(crate) async fn until<T>(&self, what: &str, mut found: impl FnMut(&[Heard]) -> Option<T>) -> T {
        let search = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                let answer = found(&lock(&self.log));
                if let Some(answer) = answer {
                    return answer;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(GENEROUS / 2, search).await {
            Ok(answer) => answer,
            Err(_) => {
                let log = self.log();
                let tail = &log[log.len().saturating_sub(30)..];
                unreachable!("waited for {what}; the last of {} entries: {tail:#?}", log.len())
            }
        }
    }

    /// The first notice that `read` takes.
    pub(crate) async fn notice<T>(&self, what: &str, read: impl FnMut(&Notice) -> Option<T>) -> T {
        self.nth_notice(1, what, read).await
    }

    /// The `n`th notice that `read` takes, counted from one.
    pub(crate) async fn nth_notice<T>(&self, n: usize, what: &str, mut read: impl FnMut(&Notice) -> Option<T>) -> T {
        self.until(what, |log| {
            log.iter()
                .filter_map(|heard| match heard {
                    Heard::Notice(notice) => read(notice),
                    Heard::Event(_) => None,
                })
                .nth(n - 1)
        })
        .await
    }

    /// The payloads of the first `n` events.
    pub(crate) async fn payloads_of(&self, n: usize) -> Vec<String> {
        self.until(&format!("{n} events"), |log| {
            let events = log.iter().filter_map(|heard| match heard {
                Heard::Event(event) => Some(event.payload.clone()),
                Heard::Notice(_) => None,
            });
            // Most calls come too early: do not copy for them.
            (log.len() >= n).then(|| events.collect::<Vec<_>>()).filter(|all| all.len() >= n)
        })
        .await
    }

    pub(crate) async fn connection(&self, nth: usize) -> (ConnKey, Box<Peer>) {
        self.nth_notice(nth, "a connection", |notice| match notice {
            Notice::Connection { connection, peer, .. } => Some((ConnKey::from_bits(*connection), peer.clone())),
            _ => None,
        })
        .await
    }

    /// Code, reason and cleanness of the end of a connection.
    pub(crate) async fn disconnection(&self, key: ConnKey) -> (u16, String, bool) {
        self.notice("a disconnection", |notice| match notice {
            Notice::Disconnection { connection, reason, is_clean } if *connection == key.to_bits() => {
                Some((reason.code.0, reason.reason.clone(), *is_clean))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn disconnections(&self, n: usize) {
        self.nth_notice(n, "disconnections", |notice| matches!(notice, Notice::Disconnection { .. }).then_some(()))
            .await;
    }

    /// The first error of a kind: message and how many more it stands for.
    pub(crate) async fn error(&self, kind: ErrorKind) -> (String, u64) {
        self.notice(&format!("an error of kind {kind:?}"), |notice| match notice {
            Notice::Error { failure, dropped } if failure.kind == kind => Some((failure.message.clone(), *dropped)),
            _ => None,
        })
        .await
    }

    /// The `n`th gap.
    pub(crate) async fn gap(&self, n: usize) -> Gap {
        self.nth_notice(n, "a gap", |notice| match notice {
            Notice::Gap(gap) => Some(gap.clone()),
            _ => None,
        })
        .await
    }

    /// The gaps so far.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let gaps = self.notices().into_iter().filter_map(|notice| match notice {
            Notice::Gap(gap) => Some(gap),
            _ => None,
        });
        gaps.collect()
    }

    pub(crate) async fn closed(&self) -> (u16, String, Option<ErrorKind>) {
        self.notice("closed", |notice| match notice {
            Notice::Closed { reason, error } => {
                Some((reason.code.0, reason.reason.clone(), error.as_ref().map(|error| error.kind)))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn confirmed(&self, wanted: u32) -> Result<bool, ErrorKind> {
        self.notice(&format!("the answer to confirm {wanted}"), |notice| match notice {
            Notice::Confirmed { token, outcome } if *token == wanted => {
                Some(outcome.clone().map_err(|failure| failure.kind))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn flushed(&self, wanted: u32) {
        self.notice(&format!("flushed {wanted}"), |notice| {
            matches!(notice, Notice::Flushed { token } if *token == wanted).then_some(())
        })
        .await;
    }

    pub(crate) async fn drained(&self, wanted: u32) {
        self.notice(&format!("drained {wanted}"), |notice| {
            matches!(notice, Notice::Drained { token } if *token == wanted).then_some(())
        })
        .await;
    }

    /// `(is_reconnected, is_native)` of the `n`th `open`.
    pub(crate) async fn open(&self, n: usize) -> (bool, bool) {
        self.nth_notice(n, "open", |notice| match notice {
            Notice::Open { is_reconnected, is_native } => Some((*is_reconnected, *is_native)),
            _ => None,
        })
        .await
    }

    /// `(attempt, delay_ms, kind, message)` of the `n`th `reconnecting`.
    pub(crate) async fn reconnecting(&self, n: usize) -> (u32, u64, ErrorKind, String) {
        self.nth_notice(n, "reconnecting", |notice| match notice {
            Notice::Reconnecting { attempt, delay_ms, cause } => {
                Some((*attempt, *delay_ms, cause.kind, cause.message.clone()))
            }
            _ => None,
        })
        .await
    }
}
