//! A bus: one member of a medium that knows topics. This file is the handle; `bus/inward.rs` is the way in, `bus/outward.rs` the account
//! of what goes out.
//!
//! Does not know which medium carries it, and has no task: publishing happens on the caller's thread. Invariants: what one handle publishes
//! is heard in order; a member that is too slow loses events of its own and nobody else's, and hears of each; `Open` comes first, `Closed`
//! last.

pub(crate) mod inward;
mod outward;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::debug;

use crate::delivery::{Delivery, Failure, Notice};
use crate::link::backplane::MediumBackplane;
use crate::link::medium::{Carried, Medium, Member, Seat};
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, ErrorKind, Limits, Prefix, Published};
use crate::trace;
use inward::Inward;
use outward::Outward;

/// How a bus behaves.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// Below half of so many bytes that wait, the bus is drained.
    pub max_buffered: usize,
    /// Bytes that may wait for this member when its application falls behind, 64 per event added.
    pub max_pending: usize,
    /// Bounds of messages; those of connections and of time mean nothing here.
    pub limits: Limits,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            max_buffered: Limits::MAX_BUFFERED_BYTES,
            max_pending: Limits::MAX_PENDING_BYTES,
            limits: Limits::default(),
        }
    }
}

/// Counters of a bus since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusStats {
    /// Events published here.
    pub published: u64,
    /// Those of them that nobody else wanted.
    pub unrouted: u64,
    /// Events of others that the application got.
    pub delivered: u64,
    /// Events of others that it lost, because it fell behind.
    pub dropped: u64,
    /// How often it was told of that.
    pub gaps: u64,
    /// Topics it listens to.
    pub topics: u64,
    /// Events that wait for it now.
    pub waiting: u64,
    /// Members of the medium now.
    pub members: u64,
}

#[derive(Default)]
struct Course {
    has_begun: bool,
    is_closed: bool,
    /// Asked before the beginning.
    confirmations: Vec<(Box<str>, u32)>,
}

struct Shared {
    config: BusConfig,
    delivery: Arc<dyn Delivery>,
    seat: Box<dyn Seat>,
    inward: Arc<Inward>,
    outward: Outward,
    backplane: Arc<MediumBackplane>,
    published: AtomicU64,
    unrouted: AtomicU64,
    course: Mutex<Course>,
}

/// A handle to a bus. Cheap to clone; the member leaves with the last one.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Joins a medium. Topics are subscribed from [`Bus::begin`] on.
    #[must_use]
    pub fn join(config: BusConfig, medium: Arc<dyn Medium>, delivery: Arc<dyn Delivery>, runtime: &Handle) -> Self {
        let inward = Inward::new(Arc::clone(&delivery), config.max_pending, runtime.clone());
        let backplane = MediumBackplane::over(Arc::clone(&medium));
        let seat = medium.join(Arc::clone(&inward) as Arc<dyn Member>);
        let outward = Outward::new(Arc::clone(&delivery), config.max_buffered);
        let shared = Shared {
            config,
            delivery,
            seat,
            inward,
            outward,
            backplane,
            published: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            course: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Opens: [`Notice::Open`], then the events of the topics that are listened to by now.
    pub fn begin(&self) {
        let Shared { delivery, seat, inward, .. } = &*self.shared;
        let mut course = lock(&self.shared.course);
        if course.has_begun || course.is_closed {
            return;
        }
        course.has_begun = true;
        debug!(target: trace::BUS, members = seat.members(), "open");
        delivery.notice(Notice::Open { is_reconnected: false, is_native: true });
        inward.for_each_topic(|topic| seat.subscribe(topic));
        for (topic, token) in std::mem::take(&mut course.confirmations) {
            self.answer(&topic, token);
        }
    }

    /// Publishes to all other members. `payload` is one JSON value. Never waits, and never refuses for want of room: a member that is too
    /// slow loses the event and is told.
    pub fn publish(&self, prefix: &Prefix, payload: &str) -> Published {
        let Shared { config, seat, outward, .. } = &*self.shared;
        let Limits { max_topic_bytes, max_message_bytes, .. } = config.limits;
        if prefix.topic_len() > max_topic_bytes || prefix.body_len(payload.len()) > max_message_bytes {
            return Published::TooLarge;
        }
        if outward.is_closed() {
            return Published::Closed;
        }
        self.shared.published.fetch_add(1, Ordering::Relaxed);
        if seat.publish(&Carried::new(prefix, payload, outward)) == 0 {
            self.shared.unrouted.fetch_add(1, Ordering::Relaxed);
        }
        Published::Accepted
    }

    /// As [`Self::publish`], for a pair of names that is not kept.
    pub fn publish_once(&self, type_: &str, id: &str, payload: &str) -> Published {
        self.publish(&Prefix::new(type_, id), payload)
    }

    /// The application listens to a topic: what is published by anybody after this returns is heard.
    pub fn listen(&self, topic: &str) {
        let course = lock(&self.shared.course);
        if course.is_closed {
            return;
        }
        self.shared.inward.listen(topic);
        if course.has_begun {
            self.shared.seat.subscribe(topic);
        }
    }

    /// The application no longer listens.
    pub fn unlisten(&self, topic: &str) {
        self.shared.seat.unsubscribe(topic);
        self.shared.inward.unlisten(topic);
    }

    /// Answers with [`Notice::Confirmed`]: at once, if the bus has begun.
    pub fn confirm(&self, topic: &str, token: u32) {
        let mut course = lock(&self.shared.course);
        if course.has_begun {
            self.answer(topic, token);
        } else if !course.is_closed {
            course.confirmations.push((topic.into(), token));
        }
    }

    fn answer(&self, topic: &str, token: u32) {
        let outcome = if self.shared.inward.listens_to(topic) {
            Ok(true)
        } else {
            let message = format!("nobody listens to \"{topic}\" on this target any more");
            Err(Failure { kind: ErrorKind::NotSubscribed, message })
        };
        self.shared.delivery.notice(Notice::Confirmed { token, outcome });
    }

    /// Answers with [`Notice::Flushed`] when all that was published before is with its members' applications, or was dropped.
    pub fn flush(&self, token: u32) {
        self.shared.outward.flush(token);
    }

    /// Answers with [`Notice::Drained`] when less than half of `max_buffered` waits.
    pub fn drained(&self, token: u32) {
        self.shared.outward.drained(token);
    }

    /// Leaves, at once: what was published is with the other members already, so nothing needs the time.
    pub fn close(&self, reason: CloseReason, _timeout: Duration) {
        let mut course = lock(&self.shared.course);
        if std::mem::replace(&mut course.is_closed, true) {
            return;
        }
        drop(course);
        self.shared.leave();
        debug!(target: trace::BUS, code = reason.code.0, reason = reason.reason, "closed");
        self.shared.delivery.notice(Notice::Closed { reason, error: None });
    }

    /// As [`Self::close`], for environments that end.
    pub fn abort(&self) {
        self.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::ZERO);
    }

    /// Bytes that were published here and wait for slow members, each event once, 64 per event added.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.shared.outward.buffered()
    }

    /// What joins hubs by the medium of this bus, until the bus is closed. They are members of their own.
    #[must_use]
    pub fn backplane(&self) -> Arc<MediumBackplane> {
        Arc::clone(&self.shared.backplane)
    }

    /// Counters since the bus was made.
    #[must_use]
    pub fn stats(&self) -> BusStats {
        let Shared { inward, seat, published, unrouted, .. } = &*self.shared;
        BusStats {
            published: published.load(Ordering::Relaxed),
            unrouted: unrouted.load(Ordering::Relaxed),
            members: seat.members() as u64,
            ..inward.stats()
        }
    }
}

impl Shared {
    fn leave(&self) {
        self.outward.close();
        self.seat.leave();
        self.inward.close();
        self.backplane.close();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.leave();
    }
}
