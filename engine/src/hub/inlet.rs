//! What comes to a hub from its backplane: checked, and queued within a bound until the hub's task takes it. Does not route.
//!
//! Invariants: what comes is taken in order; the queue holds at most its bound, or one event; what found no room leaves a mark in its place,
//! and an outage lasts until half of the queue is free: one mark, and not one per event that left. Own events that come back go nowhere.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use rand::RngExt;

use super::loss::Loss;
use super::{HubConfig, now_ms};
use crate::delivery::Delivery;
use crate::link::backplane::{Hole, Landing};
use crate::mailbox::{Batch, Mailbox, Operation, lock};
use crate::model::{Error, EventSpan, Limits, Published, is_reserved};
use crate::route::ConnKey;
use crate::wire::envelope;

/// One thing that a backplane says.
pub(super) enum Arrival {
    Event(EventSpan),
    Active {
        topic: Box<str>,
        number: u64,
    },
    Refused {
        topic: Box<str>,
        number: u64,
        why: Error,
    },
    Up,
    Down(Error),
    Trouble {
        why: Error,
        times: u64,
    },
    Hole(Hole),
    Closed,
    /// Events came that are none, or too large: how many is counted.
    Unfit,
    Losing(u64),
    Lost(Box<Loss>),
}

impl Operation for Arrival {
    fn rebase(&mut self, by: u32) {
        if let Self::Event(span) = self {
            span.rebase(by);
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

pub(super) struct Inlet {
    arrivals: Mailbox<Arrival>,
    delivery: Arc<dyn Delivery>,
    origin: Box<str>,
    max_pending: usize,
    max_message: usize,
    max_topic: usize,
    is_outage: AtomicBool,
    /// Counted since that was told last.
    unfit: AtomicU64,
    /// Some of it was for the application since that last had room: if it falls behind, nothing more is taken.
    pub(super) reaches_application: AtomicBool,
    /// Whoever waits for room.
    waiting: Mutex<Vec<Waker>>,
}

impl Inlet {
    pub(super) fn new(config: &HubConfig, delivery: Arc<dyn Delivery>, pass_bytes: usize) -> Self {
        Self {
            arrivals: Mailbox::new(pass_bytes),
            delivery,
            origin: format!("{:032x}", rand::rng().random::<u128>()).into(),
            max_pending: config.max_pending,
            max_message: config.limits.max_message_bytes,
            max_topic: config.limits.max_topic_bytes,
            is_outage: AtomicBool::new(false),
            unfit: AtomicU64::new(0),
            reaches_application: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// Events that came, and those of them that found no room.
    pub(super) fn totals(&self) -> (u64, u64) {
        let (accepted, refused) = self.arrivals.totals();
        (accepted + refused, refused)
    }

    /// Whether something seems to wait that may be taken; costs no lock.
    pub(super) fn is_due(&self) -> bool {
        self.arrivals.has_some() && !(self.reaches_application.load(Ordering::Relaxed) && self.delivery.is_full())
    }

    /// Ready while something may be taken; else wakes when it may.
    pub(super) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.arrivals.poll_some(cx));
        if self.reaches_application.load(Ordering::Relaxed) {
            ready!(self.delivery.poll_room(cx));
        }
        Poll::Ready(())
    }

    /// As [`Mailbox::take_if`].
    pub(super) fn take_if(&self, fits: impl FnOnce(usize, usize) -> bool) -> Option<Batch<Arrival>> {
        if !self.delivery.is_full() {
            self.reaches_application.store(false, Ordering::Relaxed);
        }
        self.arrivals.take_if(fits)
    }

    /// As [`Mailbox::next_size`].
    pub(super) fn next_size(&self) -> (usize, usize) {
        self.arrivals.next_size()
    }

    pub(super) fn done(&self, batch: Batch<Arrival>) {
        self.arrivals.done(batch);
        if self.has_room() {
            std::mem::take(&mut *lock(&self.waiting)).into_iter().for_each(Waker::wake);
        }
    }

    pub(super) fn take_loss(&self, number: u64) -> Option<Box<Loss>> {
        self.arrivals.take_loss(number)
    }

    /// Events dropped for lack of room since this was asked last.
    pub(super) fn take_unreported(&self) -> u64 {
        self.arrivals.take_unreported()
    }

    pub(super) fn take_unfit(&self) -> u64 {
        self.unfit.swap(0, Ordering::Relaxed)
    }

    /// Asks the hub's task for something, in its place. What comes after the hub has closed has nothing left to do.
    pub(super) fn command(&self, arrival: Arrival) {
        let _closed = self.arrivals.command(arrival);
    }

    /// Nothing is taken any more.
    pub(super) fn close(&self) {
        let _dropped = self.arrivals.close();
        std::mem::take(&mut *lock(&self.waiting)).into_iter().for_each(Waker::wake);
    }

    fn has_room(&self) -> bool {
        self.arrivals.published_bytes() < Limits::MAX_READ_BYTES.min(self.max_pending)
    }

    fn is_fit(&self, type_: &str, id: &str) -> bool {
        !type_.is_empty() && !is_reserved(type_) && type_.len() + 1 + id.len() <= self.max_topic
    }

    fn refuse(&self) {
        if self.unfit.fetch_add(1, Ordering::Relaxed) == 0 {
            self.command(Arrival::Unfit);
        }
    }

    fn push(&self, type_: &str, id: &str, payload: &str) -> Published {
        let len = envelope::len(type_, id, payload.len());
        let is_outage = self.is_outage.load(Ordering::Relaxed);
        let bound = if is_outage { self.max_pending / 2 } else { self.max_pending };
        let write = |text: &mut String| Arrival::Event(EventSpan::write(text, type_, id, payload));
        self.arrivals.publish(len, self.max_message, bound, write, |loss| {
            loss.add(ConnKey::APPLICATION, &format!("{type_}:{id}"), now_ms());
        })
    }
}

impl Landing for Inlet {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn event(&self, origin: Option<&str>, type_: &str, id: &str, payload: &str) {
        if origin == Some(&*self.origin) {
            return;
        }
        if !self.is_fit(type_, id) {
            return self.refuse();
        }
        match self.push(type_, id, payload) {
            Published::Accepted => self.is_outage.store(false, Ordering::Relaxed),
            Published::Full => self.is_outage.store(true, Ordering::Relaxed),
            Published::TooLarge => self.refuse(),
            Published::Closed => {}
        }
    }

    fn active(&self, topic: &str, number: u64) {
        self.command(Arrival::Active { topic: topic.into(), number });
    }

    fn refused(&self, topic: &str, number: u64, why: Error) {
        self.command(Arrival::Refused { topic: topic.into(), number, why });
    }

    fn up(&self) {
        self.command(Arrival::Up);
    }

    fn down(&self, why: Error) {
        self.command(Arrival::Down(why));
    }

    fn trouble(&self, why: Error, times: u64) {
        self.command(Arrival::Trouble { why, times });
    }

    fn hole(&self, hole: Hole) {
        self.command(Arrival::Hole(hole));
    }

    fn closed(&self) {
        self.command(Arrival::Closed);
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.waiting);
        if self.has_room() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
