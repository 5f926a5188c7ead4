//! A hole in the stream, from the moment the link was lost until every topic of it is active again. Does not read the clock.
//!
//! Invariant: events of the new link wait here until the gap was told, so it stands where it belongs.

use std::collections::HashSet;

use crate::delivery::{Direction, Gap, GapCause};
use crate::model::EventSpan;

/// Events of a new link that wait for the gap to be told. Source: none, a guess: as much as may wait for JavaScript.
const MAX_DETAINED_BYTES: usize = 4 << 20;

/// A gap that is not over.
#[derive(Debug)]
pub(super) struct OpenGap {
    cause: GapCause,
    direction: Direction,
    from_ms: u64,
    topics: Vec<Box<str>>,
    missing: HashSet<Box<str>>,
    detained: String,
    spans: Vec<EventSpan>,
    /// Events of links that came and went meanwhile: delivered behind the gap, they would hide the hole that followed them.
    dropped: u64,
}

impl OpenGap {
    /// A link was lost: `topics` were active, `is_out` says that events may not have reached the hub. Nothing if nothing can be missing.
    pub(super) fn begin(cause: GapCause, from_ms: u64, topics: Vec<Box<str>>, is_out: bool) -> Option<Self> {
        let direction = match (topics.is_empty(), is_out) {
            (true, false) => return None,
            (true, true) => Direction::Out,
            (false, true) => Direction::Both,
            (false, false) => Direction::In,
        };
        let missing = topics.iter().cloned().collect();
        Some(Self {
            cause,
            direction,
            from_ms,
            topics,
            missing,
            detained: String::new(),
            spans: Vec::new(),
            dropped: 0,
        })
    }

    /// The link was lost again before the gap was over: what had become active meanwhile is missing too.
    pub(super) fn prolong(&mut self, active: Vec<Box<str>>, is_out: bool) {
        let new: Vec<_> = active.into_iter().filter(|topic| !self.topics.contains(topic)).collect();
        self.topics.extend(new);
        self.direction = match (self.topics.is_empty(), is_out || self.direction != Direction::In) {
            (true, _) => Direction::Out,
            (false, true) => Direction::Both,
            (false, false) => Direction::In,
        };
        self.missing = self.topics.iter().cloned().collect();
        self.dropped += self.spans.len() as u64;
        self.detained = String::new();
        self.spans = Vec::new();
    }

    /// A topic is active again, or not wanted any more.
    pub(super) fn settle(&mut self, topic: &str) {
        self.missing.remove(topic);
    }

    /// A topic has lost its last listener.
    pub(super) fn drop_topic(&mut self, topic: &str) {
        self.missing.remove(topic);
        self.topics.retain(|kept| **kept != *topic);
    }

    /// True when every topic is active again, or when no more can be kept waiting.
    pub(super) fn is_over(&self) -> bool {
        self.missing.is_empty() || self.detained.len() > MAX_DETAINED_BYTES
    }

    /// Keeps an event of the new link.
    pub(super) fn detain(&mut self, type_: &str, id: &str, payload: &str) {
        self.spans.push(EventSpan::write(&mut self.detained, type_, id, payload));
    }

    /// The gap as it is told, and what came behind it.
    pub(super) fn end(self, to_ms: u64) -> (Gap, String, Vec<EventSpan>) {
        let Self { cause, direction, from_ms, topics, detained, spans, dropped, .. } = self;
        (Gap { cause, direction, from_ms, to_ms, topics, dropped }, detained, spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_loss_joins_the_gap_and_what_came_between_is_dropped_and_counted() {
        let mut gap =
            OpenGap::begin(GapCause::ConnectionLost, 5, vec!["a:".into(), "b:".into()], false).expect("topics");
        gap.settle("a:");
        gap.detain("a", "", "1");
        assert!(!gap.is_over());
        gap.prolong(vec!["a:".into(), "c:".into()], true);
        gap.detain("a", "", "2");
        for topic in ["a:", "b:", "c:"] {
            assert!(!gap.is_over(), "{topic}");
            gap.settle(topic);
        }
        assert!(gap.is_over());
        let (gap, text, spans) = gap.end(9);
        let topics = vec!["a:".into(), "b:".into(), "c:".into()];
        let cause = GapCause::ConnectionLost;
        assert_eq!(gap, Gap { cause, direction: Direction::Both, from_ms: 5, to_ms: 9, topics, dropped: 1 });
        assert_eq!(spans.iter().map(|span| span.payload(&text)).collect::<Vec<_>>(), ["2"]);
    }

    #[test]
    fn nothing_can_be_missing_where_nothing_was_wanted_and_nothing_sent() {
        assert!(OpenGap::begin(GapCause::ConnectionLost, 0, Vec::new(), false).is_none());
    }
}
