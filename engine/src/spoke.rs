//! A spoke: one link to a hub that comes back by itself. This file is the handle; the task is in `spoke/actor.rs`.
//!
//! Does not know which transport carries it. Invariant: what was published leaves in order, and a hole in what was heard is told before
//! anything that came after it.

mod actor;
pub(crate) mod backoff;
mod backplane;
mod gap;
mod session;
mod stats;
mod subscriptions;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::closing::Closing;
use crate::defect;
use crate::delivery::{Delivery, Notice};
use crate::inbound::Inbound;
use crate::link::{Connect, Destination};
use crate::mailbox::{Mailbox, Operation};
use crate::model::{CloseCode, CloseReason, EventSpan, Limits, Prefix, Published};
use actor::SpokeActor;
use stats::{Counters, count};

pub use backplane::SpokeBackplane;
pub use stats::SpokeStats;

/// Whether the hub is taken for native.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerKind {
    /// Found out by saying hello.
    #[default]
    Auto,
    /// Anything but a hello is an error.
    Native,
    /// No hello is said.
    Plain,
    /// It is no hub but a bus, which answers each subscription and each event and knows no hello. The link is admitted when it has answered
    /// for every topic that was wanted when it was made.
    Bus,
}

/// How a spoke comes back.
#[derive(Debug, Clone)]
pub struct Reconnect {
    /// Try again when the very first attempt fails.
    pub initial: bool,
    /// Upper bound of the first delay; it doubles with each attempt. Source: none, a guess.
    pub min_delay: Duration,
    /// Upper bound of every delay. Source: none, a guess.
    pub max_delay: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { initial: true, min_delay: Duration::from_millis(250), max_delay: Duration::from_secs(30) }
    }
}

/// How a spoke behaves.
#[derive(Debug, Clone)]
pub struct SpokeConfig {
    /// Where to connect; with `asks`, until the application says otherwise.
    pub destination: Destination,
    /// Ask the application for the destination before each attempt.
    pub asks: bool,
    /// Do not connect before [`Spoke::connect`].
    pub waits: bool,
    /// Events are sent when 64 KiB of them wait or [`Spoke::announce`] is called: what is published in one turn then goes out in one write.
    pub gathers: bool,
    /// What the hub is taken for.
    pub peer: PeerKind,
    /// How long a hub may take to say hello before it is taken for plain. Source: none, a guess.
    pub hello_timeout: Duration,
    /// `None`: the first loss ends the target.
    pub reconnect: Option<Reconnect>,
    /// Bytes that may wait while there is no link, 64 per event added.
    pub max_buffered: usize,
    /// Bytes that may wait while there is one.
    pub max_pending: usize,
    /// How long an event may wait while there is no link. Source: none, a guess.
    pub queue_max_age: Duration,
    /// Bounds of messages and time.
    pub limits: Limits,
}

impl Default for SpokeConfig {
    fn default() -> Self {
        Self {
            destination: Destination::default(),
            asks: false,
            waits: false,
            gathers: false,
            peer: PeerKind::Auto,
            hello_timeout: Duration::from_secs(2),
            reconnect: Some(Reconnect::default()),
            max_buffered: Limits::MAX_BUFFERED_BYTES,
            max_pending: Limits::MAX_PENDING_BYTES,
            queue_max_age: Duration::from_secs(60),
            limits: Limits::default(),
        }
    }
}

enum Op {
    Publish(EventSpan),
    Read(Inbound),
    Listen {
        topic: Box<str>,
    },
    Unlisten {
        topic: Box<str>,
    },
    Confirm {
        topic: Box<str>,
        token: u32,
    },
    Connect,
    Flush(u32),
    Drained(u32),
    /// Wakes the task, which looks at what was dropped whenever it wakes.
    Report,
    Provide {
        token: u32,
        destination: Destination,
    },
    Decline {
        token: u32,
        message: String,
    },
    Close,
}

impl Operation for Op {
    fn rebase(&mut self, by: u32) {
        match self {
            Self::Publish(span) => span.rebase(by),
            Self::Read(inbound) => inbound.rebase(by),
            _ => {}
        }
    }

    type Loss = ();

    fn losing(_number: u64) -> Self {
        Self::Report
    }

    fn lost((): ()) -> Self {
        Self::Report
    }
}

struct Shared {
    config: SpokeConfig,
    mailbox: Mailbox<Op>,
    delivery: Arc<dyn Delivery>,
    counters: Counters,
    /// What may wait now: less while there is no link.
    bound: AtomicUsize,
    closing: Closing,
    /// Of a bus alone: another connector ends with the spoke's task, and with it what it holds at an endpoint.
    bus: Option<Arc<dyn Connect>>,
    runtime: Handle,
    /// What joins hubs by the same bus, once somebody has asked for it.
    backplane: OnceLock<Option<Arc<SpokeBackplane>>>,
}

/// A handle to a spoke. Cheap to clone; the spoke lives until it is closed.
#[derive(Clone)]
pub struct Spoke {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Spoke {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spoke").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Bytes encoded for one write. Source: measured on hubs, 64 to 256 KiB are alike.
const WRITE_BYTES: usize = 64 << 10;

impl Spoke {
    /// Starts a spoke's task on `runtime`; it connects at once, or when it is told.
    #[must_use]
    pub fn start(
        config: SpokeConfig,
        connector: Arc<dyn Connect>,
        delivery: Arc<dyn Delivery>,
        runtime: &Handle,
    ) -> Self {
        let bound = AtomicUsize::new(config.max_buffered);
        let mailbox = if config.gathers { Mailbox::gathering(WRITE_BYTES) } else { Mailbox::new(WRITE_BYTES) };
        let shared = Arc::new(Shared {
            config,
            mailbox,
            delivery,
            counters: Counters::default(),
            bound,
            closing: Closing::default(),
            bus: connector.marking("").map(|_| Arc::clone(&connector)),
            runtime: runtime.clone(),
            backplane: OnceLock::new(),
        });
        let watched = Arc::clone(&shared);
        defect::watch(runtime, SpokeActor::new(Arc::clone(&shared), connector).run(), move || watched.fail());
        Self { shared }
    }

    /// Begins to connect, where the configuration says to wait. Topics that are listened to by now are subscribed with the first link, so
    /// an event that a hub sends unasked finds its listener.
    pub fn connect(&self) {
        self.command(Op::Connect);
    }

    /// Publishes to the hub. `payload` is one JSON value.
    pub fn publish(&self, prefix: &Prefix, payload: &str) -> Published {
        let Shared { config, mailbox, bound, .. } = &*self.shared;
        if prefix.topic_len() > config.limits.max_topic_bytes {
            return Published::TooLarge;
        }
        let (len, max_waiting) = (prefix.body_len(payload.len()), bound.load(Ordering::Relaxed));
        let write = |text: &mut String| Op::Publish(EventSpan::write_prefixed(text, prefix, payload));
        mailbox.publish(len, config.limits.max_message_bytes, max_waiting, write, |()| {})
    }

    /// As [`Self::publish`], for a pair of names that is not kept.
    pub fn publish_once(&self, type_: &str, id: &str, payload: &str) -> Published {
        self.publish(&Prefix::new(type_, id), payload)
    }

    /// Sends what was gathered.
    pub fn announce(&self) {
        self.shared.mailbox.announce();
    }

    /// The application listens to a topic.
    pub fn listen(&self, topic: &str) {
        self.command(Op::Listen { topic: topic.into() });
    }

    /// The application no longer listens.
    pub fn unlisten(&self, topic: &str) {
        self.command(Op::Unlisten { topic: topic.into() });
    }

    /// Answers with [`Notice::Confirmed`] when the latest `listen` to the topic is active at the hub.
    pub fn confirm(&self, topic: &str, token: u32) {
        self.command(Op::Confirm { topic: topic.into(), token });
    }

    /// Answers with [`Notice::Flushed`] when all that was published before was handed to the transport or dropped.
    pub fn flush(&self, token: u32) {
        self.command(Op::Flush(token));
    }

    /// Answers with [`Notice::Drained`] when less than half of `max_buffered` waits.
    pub fn drained(&self, token: u32) {
        self.command(Op::Drained(token));
    }

    /// Answers [`Notice::Dial`].
    pub fn provide(&self, token: u32, destination: Destination) {
        self.command(Op::Provide { token, destination });
    }

    /// Answers [`Notice::Dial`]: the attempt fails.
    pub fn decline(&self, token: u32, message: String) {
        self.command(Op::Decline { token, message });
    }

    /// What joins hubs by the bus that this spoke is at, until this is closed; nothing where it is at no bus.
    #[must_use]
    pub fn backplane(&self) -> Option<Arc<SpokeBackplane>> {
        let Shared { config, bus, runtime, backplane, .. } = &*self.shared;
        let over = |bus: &Arc<dyn Connect>| SpokeBackplane::over(config.clone(), Arc::clone(bus), runtime);
        let backplane = backplane.get_or_init(|| bus.as_ref().and_then(over));
        if let (Some(backplane), Some(reason)) = (backplane, self.shared.closing.reason()) {
            backplane.close(&reason, Duration::ZERO);
        }
        backplane.clone()
    }

    /// Closes: what was published is written until the time-out, then [`Notice::Closed`].
    pub fn close(&self, reason: CloseReason, timeout: Duration) {
        self.shared.closing.ask(reason.clone(), timeout);
        self.command(Op::Close);
        if let Some(Some(backplane)) = self.shared.backplane.get() {
            backplane.close(&reason, timeout);
        }
    }

    /// Closes without writing anything more; for environments that end.
    pub fn abort(&self) {
        self.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::ZERO);
    }

    /// Bytes that were published and not yet written, 64 per event added.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.shared.mailbox.published_bytes()
    }

    /// Counters since the spoke was made.
    #[must_use]
    pub fn stats(&self) -> SpokeStats {
        let (published, refused) = self.shared.mailbox.totals();
        let counted = self.shared.counters.snapshot();
        SpokeStats { published, dropped: refused + counted.dropped, ..counted }
    }

    /// A command to a spoke that is closed has nothing left to do.
    fn command(&self, op: Op) {
        let _closed = self.shared.mailbox.command(op);
    }
}

impl Shared {
    /// The task died of a defect: the application is told, nothing waits for ever.
    fn fail(&self) {
        count(&self.counters.panics, 1);
        let _unsent = self.mailbox.close();
        self.delivery.notice(Notice::of_defect("spoke"));
    }
}
