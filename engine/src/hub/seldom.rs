//! What the hub keeps of few connections: complaints, refusals, questions about topics. Does not count or ask.
//!
//! Invariant: a connection of which there is nothing to keep costs a pointer.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::meter::{COMPLAINT_INTERVAL, Pacer, PerMinute};

/// A peer is told of publications that were refused so often. Source: that of merged errors.
pub(super) const REFUSAL_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Seldom {
    pub(super) malformed: PerMinute,
    /// Malformed messages are told of so often.
    pub(super) complaints: Pacer,
    /// So are publications that were refused, to the peer, with the topic of the last one.
    pub(super) refusals: Pacer,
    pub(super) refused_topic: Box<str>,
    /// Topics that the application was asked about: the question, and the number that the answer goes to.
    pub(super) asked: HashMap<Box<str>, (u32, Option<u64>), foldhash::fast::RandomState>,
    /// Questions whose answer the peer does not wait for any more. The application still works on them, so they count.
    pub(super) given_up: HashSet<u32, foldhash::fast::RandomState>,
}

impl Seldom {
    /// When something is to be told.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let complaints = self.complaints.due_at(COMPLAINT_INTERVAL);
        complaints.into_iter().chain(self.refusals.due_at(REFUSAL_INTERVAL)).min()
    }

    /// Questions that the application has not answered.
    pub(super) fn question_count(&self) -> usize {
        self.asked.len() + self.given_up.len()
    }
}

impl Connection {
    /// What there is to keep, made when first needed.
    pub(super) fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }
}
