//! The second port that transports fill: a *medium* knows topics and carries what one member publishes to every other member that wants
//! it. Does not know hubs, spokes, buses or queues.
//!
//! Invariant: an event is copied out of its publisher's buffer at most once, however many members keep it.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::model::{EventSpan, Limits, Prefix};

/// Where members meet.
pub trait Medium: Send + Sync + 'static {
    /// Takes a member; it hears nothing before it subscribes.
    fn join(self: Arc<Self>, member: Arc<dyn Member>) -> Box<dyn Seat>;
}

/// One member's place at a medium. Dropping it is leaving.
pub trait Seat: Send + Sync {
    /// The member hears the topic: whatever is published after this returns.
    fn subscribe(&self, topic: &str);

    /// The member no longer does.
    fn unsubscribe(&self, topic: &str);

    /// Carries an event to all other members that want it; returns how many that are.
    fn publish(&self, event: &Carried<'_>) -> usize;

    /// The member hears nothing any more, once this returns.
    fn leave(&self);

    /// Members of the medium, this one among them.
    fn members(&self) -> usize;
}

/// Whoever hears what others publish.
pub trait Member: Send + Sync {
    /// An event came. Called on the publisher's thread: must not block.
    fn hear(&self, event: &Carried<'_>);
}

/// Whoever wants to know how much of what it published still waits somewhere.
pub trait Ledger {
    /// An event of so many bytes waits, until the receipt is dropped.
    fn enter(&self, bytes: usize) -> Receipt;
}

/// Dropped when an event waits nowhere any more.
pub type Receipt = Box<dyn Send + Sync>;

/// An event on its way, still in its publisher's buffer.
pub struct Carried<'a> {
    prefix: &'a Prefix,
    payload: &'a str,
    ledger: &'a dyn Ledger,
    kept: OnceCell<Arc<Kept>>,
}

impl<'a> Carried<'a> {
    /// `payload` is exactly one JSON value.
    pub fn new(prefix: &'a Prefix, payload: &'a str, ledger: &'a dyn Ledger) -> Self {
        Self { prefix, payload, ledger, kept: OnceCell::new() }
    }

    /// The encoded names.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        self.prefix
    }

    /// The payload as JSON.
    #[must_use]
    pub fn payload(&self) -> &str {
        self.payload
    }

    /// What it costs in a queue.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.prefix.body_len(self.payload.len()) + Limits::EVENT_OVERHEAD_BYTES
    }

    /// The event for a queue; all queues share one.
    #[must_use]
    pub fn keep(&self) -> Arc<Kept> {
        let kept = self.kept.get_or_init(|| {
            let mut text = String::new();
            let span = EventSpan::write_prefixed(&mut text, self.prefix, self.payload);
            Arc::new(Kept { text, span, cost: self.cost(), _receipt: self.ledger.enter(self.cost()) })
        });
        Arc::clone(kept)
    }
}

impl std::fmt::Debug for Carried<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried").field("bytes", &self.cost()).finish_non_exhaustive()
    }
}

/// An event that waits in queues.
pub struct Kept {
    text: String,
    span: EventSpan,
    cost: usize,
    _receipt: Receipt,
}

impl Kept {
    /// The type.
    #[must_use]
    pub fn type_(&self) -> &str {
        self.span.type_(&self.text)
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.span.id(&self.text)
    }

    /// The payload as JSON.
    #[must_use]
    pub fn payload(&self) -> &str {
        self.span.payload(&self.text)
    }

    /// What it costs in a queue.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.cost
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("bytes", &self.cost).finish_non_exhaustive()
    }
}
