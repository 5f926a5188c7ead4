//! A hub: many links, one router, one task that is router and writer in one. This file is the handle; the task is in `hub/actor.rs`.
//!
//! Does not listen for connections: transports make links and hand them over. Invariant: from one publisher to one subscriber order is
//! kept, control events included, because everything passes one mailbox.

mod actor;
mod admission;
mod connection;
mod credit;
mod fanout;
mod halves;
mod high_water;
mod inlet;
mod linger;
mod loss;
mod reader;
mod seldom;
mod stats;
mod uplink;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::closing::Closing;
use crate::defect;
use crate::delivery::{Delivery, Failure, Notice};
use crate::inbound::Inbound;
use crate::link::backplane::Backplane;
use crate::link::{Admission, Link};
use crate::mailbox::{Mailbox, Operation, lock};
use crate::model::{CloseCode, CloseReason, EventSpan, Grants, Limits, Prefix, Published};
use crate::route::{ConnKey, Router};
use actor::HubActor;
use admission::{Expelled, Questions};
use connection::ConnShared;
use halves::Halves;
use inlet::Inlet;
use loss::Loss;
use stats::{Counters, count};

pub use admission::Judgement;
pub use stats::HubStats;

/// How a hub behaves.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Pass a connection's events on to the other subscribers.
    pub relay: bool,
    /// Read nothing from a connection until [`Hub::admit`].
    pub admit_by_hand: bool,
    /// Ask the application about every peer, before it is let in.
    pub authorize: bool,
    /// Ask the application about topics that a connection's grants do not allow.
    pub authorize_subscribe: bool,
    /// Bytes that may wait for one connection.
    pub max_buffered: usize,
    /// Bytes that may wait to be fanned out.
    pub max_pending: usize,
    /// What all readers together wait for one slow reader, once.
    pub stall: Duration,
    /// What one peer may cost.
    pub limits: Limits,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            relay: false,
            admit_by_hand: false,
            authorize: false,
            authorize_subscribe: false,
            max_buffered: Limits::MAX_BUFFERED_BYTES,
            max_pending: Limits::MAX_PENDING_BYTES,
            stall: Limits::STALL,
            limits: Limits::default(),
        }
    }
}

impl Op {
    /// Whom it comes from.
    fn connection(&self) -> ConnKey {
        match self {
            Self::From { connection, .. } => *connection,
            _ => ConnKey::APPLICATION,
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

enum Op {
    Publish {
        span: EventSpan,
        to: ConnKey,
    },
    From {
        connection: ConnKey,
        inbound: Inbound,
    },
    Add(Box<Link>, Admission),
    Admit(ConnKey),
    /// What a connection was subscribed to until its grants became narrower.
    Revoked {
        connection: ConnKey,
        topics: Vec<Box<str>>,
    },
    Allow {
        token: u32,
        is_allowed: bool,
    },
    Disconnect(ConnKey, CloseReason),
    Listen {
        from: ConnKey,
        topic: Box<str>,
    },
    Unlisten {
        from: ConnKey,
        topic: Box<str>,
    },
    Confirm {
        token: u32,
    },
    ConfirmTopic {
        topic: Box<str>,
        token: u32,
    },
    Join(Arc<dyn Backplane>),
    Flush(u32),
    Drained(u32),
    /// Wakes the task, which looks at what was dropped and who was expelled whenever it wakes.
    Wake,
    Losing(u64),
    Lost(Box<Loss>),
    /// Half-received messages have become too much.
    Relieve,
    Fail(Failure),
    Close,
}

impl Operation for Op {
    fn rebase(&mut self, by: u32) {
        match self {
            Self::Publish { span, .. } => span.rebase(by),
            Self::From { inbound, .. } => inbound.rebase(by),
            _ => {}
        }
    }

    type Loss = Box<Loss>;

    fn losing(number: u64) -> Self {
        Self::Losing(number)
    }

    fn lost(loss: Box<Loss>) -> Self {
        Self::Lost(loss)
    }
}

struct Shared {
    config: HubConfig,
    mailbox: Mailbox<Op>,
    router: Mutex<Router>,
    delivery: Arc<dyn Delivery>,
    counters: Counters,
    connections: Mutex<HashMap<ConnKey, Arc<ConnShared>, foldhash::fast::RandomState>>,
    connection_count: AtomicUsize,
    acceptors: Mutex<Vec<AbortHandle>>,
    closing: Closing,
    questions: Questions,
    expelled: Expelled,
    halves: Halves,
    inlet: Arc<Inlet>,
}

/// A handle to a hub. Cheap to clone; the hub lives until it is closed.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts a hub's task on `runtime`.
    #[must_use]
    pub fn start(config: HubConfig, delivery: Arc<dyn Delivery>, runtime: &Handle) -> Self {
        let pass_bytes = fanout::pass_bytes(config.max_buffered);
        let router = Router::new(config.limits.max_topics, config.limits.max_topics_per_connection);
        let halves = Halves::new(config.limits.max_inbound_bytes);
        let inlet = Arc::new(Inlet::new(&config, Arc::clone(&delivery), pass_bytes));
        let shared = Arc::new(Shared {
            config,
            mailbox: Mailbox::new(pass_bytes),
            router: Mutex::new(router),
            delivery,
            counters: Counters::default(),
            connections: Mutex::default(),
            connection_count: AtomicUsize::new(0),
            acceptors: Mutex::default(),
            closing: Closing::default(),
            questions: Questions::default(),
            expelled: Expelled::default(),
            halves,
            inlet,
        });
        let watched = Arc::clone(&shared);
        let task = tokio::task::unconstrained(HubActor::new(Arc::clone(&shared)).run());
        defect::watch(runtime, task, move || watched.fail());
        Self { shared }
    }

    /// Takes a link into the hub without asking anybody; its peer may do everything. False when the hub is closed.
    pub fn add(&self, link: Link) -> bool {
        let admission = Admission::free(Grants::everything(link.peer.identity.clone()));
        self.shared.mailbox.command(Op::Add(Box::new(link), admission)).is_ok()
    }

    /// Joins the hub to others: what is published on one reaches the subscribers of all. A hub has one backplane at most, for its life.
    pub fn join(&self, backplane: Arc<dyn Backplane>) {
        self.command(Op::Join(backplane));
    }

    /// Ties a task that makes links to the hub: it ends when the hub closes.
    pub fn own(&self, acceptor: AbortHandle) {
        lock(&self.shared.acceptors).push(acceptor);
        if self.shared.closing.deadline().is_some() {
            self.shared.stop_accepting();
        }
    }

    /// How the hub was told to behave, for whoever makes its links.
    #[must_use]
    pub fn config(&self) -> &HubConfig {
        &self.shared.config
    }

    /// The hub can be reached.
    pub fn announce_open(&self) {
        self.shared.delivery.notice(Notice::Open { is_reconnected: false, is_native: true });
    }

    /// Publishes to every subscriber, or to one connection whether or not it subscribed. `payload` is one JSON value.
    pub fn publish(&self, prefix: &Prefix, payload: &str, to: ConnKey) -> Published {
        let Shared { config, mailbox, .. } = &*self.shared;
        if prefix.topic_len() > config.limits.max_topic_bytes {
            return Published::TooLarge;
        }
        let len = prefix.body_len(payload.len());
        let write = |text: &mut String| Op::Publish { span: EventSpan::write_prefixed(text, prefix, payload), to };
        mailbox.publish(len, config.limits.max_message_bytes, config.max_pending, write, |loss| {
            loss.add(to, prefix.topic(), now_ms());
        })
    }

    /// As [`Self::publish`], for a pair of names that is not kept.
    pub fn publish_once(&self, type_: &str, id: &str, payload: &str, to: ConnKey) -> Published {
        self.publish(&Prefix::new(type_, id), payload, to)
    }

    /// The application listens to a topic: of every connection ([`ConnKey::APPLICATION`]), or of one.
    pub fn listen(&self, from: ConnKey, topic: &str) {
        self.command(Op::Listen { from, topic: topic.into() });
    }

    /// The application no longer listens.
    pub fn unlisten(&self, from: ConnKey, topic: &str) {
        self.command(Op::Unlisten { from, topic: topic.into() });
    }

    /// Answers with [`Notice::Confirmed`] when every `listen` before it is in force on this hub.
    pub fn confirm(&self, token: u32) {
        self.command(Op::Confirm { token });
    }

    /// As [`Self::confirm`], and in force on the backplane as well: true if events of other hubs come, false if they do not for now.
    pub fn confirm_topic(&self, topic: &str, token: u32) {
        self.command(Op::ConfirmTopic { topic: topic.into(), token });
    }

    /// Begins to read a connection of a hub with `admit_by_hand`.
    pub fn admit(&self, connection: ConnKey) {
        self.command(Op::Admit(connection));
    }

    /// Answers with [`Notice::Flushed`] when all that was published before was handed to a transport or dropped.
    pub fn flush(&self, token: u32) {
        self.command(Op::Flush(token));
    }

    /// Answers with [`Notice::Drained`] when less than half of `max_pending` waits.
    pub fn drained(&self, token: u32) {
        self.command(Op::Drained(token));
    }

    /// Closes: no new connections, what was published is written until the time-out, then [`Notice::Closed`].
    pub fn close(&self, reason: CloseReason, timeout: Duration) {
        self.shared.closing.ask(reason, timeout);
        self.shared.stop_accepting();
        self.command(Op::Close);
    }

    /// Closes because the hub cannot be reached at all.
    pub fn fail(&self, failure: Failure) {
        self.shared.stop_accepting();
        self.command(Op::Fail(failure));
    }

    /// Closes without writing anything more; for environments that end.
    pub fn abort(&self) {
        self.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::ZERO);
    }

    /// Bytes that were published and not yet fanned out, 64 per event added.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.shared.mailbox.published_bytes()
    }

    /// Connections subscribed to a topic.
    #[must_use]
    pub fn subscriber_count(&self, topic: &str) -> usize {
        lock(&self.shared.router).subscriber_count(topic)
    }

    /// Bytes that wait for a connection; zero once it is gone.
    #[must_use]
    pub fn connection_buffered(&self, connection: ConnKey) -> usize {
        self.connection(connection).map_or(0, |shared| shared.buffered())
    }

    /// What a connection has sent and was sent, in events: `(received, sent)`.
    #[must_use]
    pub fn connection_stats(&self, connection: ConnKey) -> (u64, u64) {
        self.connection(connection).map_or((0, 0), |shared| shared.stats())
    }

    fn connection(&self, key: ConnKey) -> Option<Arc<ConnShared>> {
        lock(&self.shared.connections).get(&key).cloned()
    }

    /// Counters since the hub was made.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        let (published, refused) = self.shared.mailbox.totals();
        let (arrived, lost) = self.shared.inlet.totals();
        let counted = self.shared.counters.snapshot();
        HubStats {
            connections: self.shared.connection_count.load(Ordering::Relaxed) as u64,
            topics: lock(&self.shared.router).topic_count() as u64,
            published,
            dropped: refused + counted.dropped,
            backplane_received: arrived,
            backplane_dropped: lost + counted.backplane_dropped,
            ..counted
        }
    }

    /// A command to a hub that is closed has nothing left to do.
    fn command(&self, op: Op) {
        let _closed = self.shared.mailbox.command(op);
    }
}

impl Shared {
    fn confirm(&self, tokens: &[u32], is_acknowledged: bool) {
        for token in tokens {
            self.delivery.notice(Notice::Confirmed { token: *token, outcome: Ok(is_acknowledged) });
        }
    }

    fn stop_accepting(&self) {
        lock(&self.acceptors).drain(..).for_each(|acceptor| acceptor.abort());
        self.questions.give_up();
    }

    /// The task died of a defect: the application is told, nothing waits for ever.
    fn fail(&self) {
        count(&self.counters.panics, 1);
        self.stop_accepting();
        let _unsent = self.mailbox.close();
        self.inlet.close();
        self.delivery.notice(Notice::of_defect("hub"));
    }
}
