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
    topics: HashSet<Box<str>>,
    missing: HashSet<Box<str>>,
    /// The link goes on for all other topics: their events do not wait.
    is_partial: bool,
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
        let topics: HashSet<_> = topics.into_iter().collect();
        Some(Self {
            cause,
            direction,
            from_ms,
            missing: topics.clone(),
            topics,
            is_partial: false,
            detained: String::new(),
            spans: Vec::new(),
            dropped: 0,
        })
    }

    /// A link that goes on has lost some topics.
    pub(super) fn begin_partial(from_ms: u64, topics: Vec<Box<str>>, is_out: bool) -> Option<Self> {
        let gap = Self::begin(GapCause::ConnectionLost, from_ms, topics, is_out)?;
        Some(Self { is_partial: true, ..gap })
    }

    /// The link was lost again before the gap was over: what had become active meanwhile is missing too.
    pub(super) fn prolong(&mut self, active: Vec<Box<str>>, is_out: bool) {
        self.is_partial = false;
        self.add(active, is_out);
        self.missing = self.topics.clone();
        self.dropped += self.spans.len() as u64;
        self.detained = String::new();
        self.spans = Vec::new();
    }

    /// A link that goes on has lost more topics before the gap was over.
    pub(super) fn widen(&mut self, from_ms: u64, topics: Vec<Box<str>>, is_out: bool) {
        self.from_ms = self.from_ms.min(from_ms);
        let lost: HashSet<_> = topics.iter().cloned().collect();
        let spans = std::mem::take(&mut self.spans);
        let before = spans.len();
        self.spans = spans.into_iter().filter(|span| !lost.contains(span.topic(&self.detained))).collect();
        self.dropped += (before - self.spans.len()) as u64;
        self.add(topics, is_out);
        self.missing.extend(lost);
    }

    fn add(&mut self, topics: Vec<Box<str>>, is_out: bool) {
        self.topics.extend(topics);
        self.direction = match (self.topics.is_empty(), is_out || self.direction != Direction::In) {
            (true, _) => Direction::Out,
            (false, true) => Direction::Both,
            (false, false) => Direction::In,
        };
    }

    /// True for topics whose events wait until the gap was told.
    pub(super) fn is_about(&self, topic: &str) -> bool {
        !self.is_partial || self.topics.contains(topic)
    }

    /// A topic is active again, or not wanted any more.
    pub(super) fn settle(&mut self, topic: &str) {
        self.missing.remove(topic);
    }

    /// A topic has lost its last listener.
    pub(super) fn drop_topic(&mut self, topic: &str) {
        self.missing.remove(topic);
        self.topics.remove(topic);
    }

    /// True when every topic is active again, or when no more can be kept waiting.
    pub(super) fn is_over(&self) -> bool {
        self.missing.is_empty() || self.detained.len() > MAX_DETAINED_BYTES
    }

    /// Keeps an event of the new link.
    pub(super) fn detain(&mut self, type_: &str, id: &str, payload: &str) {
        self.spans.push(EventSpan::write(&mut self.detained, type_, id, payload));
    }

    /// Topics that are not active although no more can be kept waiting: a gap of theirs follows.
    pub(super) fn take_missing(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.missing).into_iter().collect()
    }

    /// The gap as it is told, and what came behind it.
    pub(super) fn end(self, to_ms: u64) -> (Gap, String, Vec<EventSpan>) {
        let Self { cause, direction, from_ms, topics, detained, spans, dropped, .. } = self;
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort_unstable();
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
    fn a_partial_gap_keeps_the_events_of_its_own_topics_alone_and_grows_with_what_is_lost_besides() {
        let mut gap = OpenGap::begin_partial(5, vec!["a:".into()], false).expect("topics");
        assert!(gap.is_about("a:") && !gap.is_about("b:"));
        gap.settle("a:");
        gap.detain("a", "", "1");
        gap.widen(4, vec!["b:".into()], true);
        gap.detain("b", "", "2");
        assert!(!gap.is_over() && gap.is_about("b:"));
        gap.widen(9, vec!["b:".into()], false);
        gap.settle("b:");
        assert!(gap.is_over());
        let (gap, text, spans) = gap.end(9);
        assert_eq!((gap.from_ms, gap.direction, gap.dropped), (4, Direction::Both, 1));
        assert_eq!(spans.iter().map(|span| span.payload(&text)).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn nothing_can_be_missing_where_nothing_was_wanted_and_nothing_sent() {
        assert!(OpenGap::begin(GapCause::ConnectionLost, 0, Vec::new(), false).is_none());
    }
}
