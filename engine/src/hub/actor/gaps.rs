//! Events that were dropped for want of room, or never came from other hubs: native subscribers are told by `__gap`, in the place where they are missing.

use std::collections::BTreeMap;

use tracing::warn;

use super::HubActor;
use crate::hub::loss::Loss;
use crate::mailbox::lock;
use crate::route::ConnKey;
use crate::trace;
use crate::wire::control;

/// Topics of one `__gap`, and their bytes, one topic above it; more are told by further ones. Source: none, a guess: spokes may take
/// smaller messages than the hub does.
const TOPICS_PER_GAP: usize = 64;
const BYTES_PER_GAP: usize = 16 << 10;

impl HubActor {
    pub(super) fn tell_loss(&mut self, loss: &Loss) {
        warn!(target: trace::HUB, from_ms = loss.from_ms, to_ms = loss.to_ms, "events dropped: no room");
        self.tell_gap("overflow", loss);
    }

    pub(super) fn tell_gap(&mut self, cause: &str, loss: &Loss) {
        for (key, topics) in self.losers(loss) {
            let Some(slot) = self.live_slot(key) else { continue };
            if !self.connections[slot].as_ref().is_some_and(|connection| connection.is_native) {
                continue;
            }
            for part in parts(&topics) {
                let part = part.iter().map(|topic| &**topic);
                self.reply_text(slot, |text| control::write_gap(text, cause, loss.from_ms, loss.to_ms, part));
            }
        }
    }

    /// Who has lost events, and of which topics.
    fn losers(&self, loss: &Loss) -> BTreeMap<ConnKey, Vec<Box<str>>> {
        let mut losers: BTreeMap<ConnKey, Vec<Box<str>>> = BTreeMap::new();
        let router = lock(&self.shared.router);
        if loss.is_everything {
            for connection in self.connections.iter().flatten() {
                losers.insert(connection.key, router.topics_of(connection.key).into_iter().map(Box::from).collect());
            }
            return losers;
        }
        for (to, topics) in &loss.topics {
            for topic in topics {
                let receivers = match *to {
                    ConnKey::APPLICATION => router.find(topic).map_or(&[][..], |id| router.subscribers(id)),
                    _ => std::slice::from_ref(to),
                };
                receivers.iter().for_each(|key| losers.entry(*key).or_default().push(topic.clone()));
            }
        }
        losers
    }
}

/// Cuts a list where a message would become too long.
fn parts(topics: &[Box<str>]) -> Vec<&[Box<str>]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, topic) in topics.iter().enumerate() {
        if index > start && (index - start == TOPICS_PER_GAP || bytes + topic.len() > BYTES_PER_GAP) {
            parts.push(&topics[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += topic.len();
    }
    if start < topics.len() {
        parts.push(&topics[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_by_number_and_by_bytes_and_nothing_is_left_out() {
        let topics = |len: usize, count: usize| vec![Box::<str>::from("x".repeat(len)); count];
        let lens = |topics: &[Box<str>]| parts(topics).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lens(&topics(2, 130)), [64, 64, 2]);
        assert_eq!(lens(&topics(1024, 33)), [16, 16, 1]);
        assert_eq!(lens(&topics(20_000, 2)), [1, 1]);
        assert!(lens(&[]).is_empty());
    }
}
