//! Events of the application that were dropped for want of room: native subscribers are told by `__gap`, in the place where they are missing.

use std::collections::BTreeMap;

use tracing::warn;

use super::HubActor;
use crate::hub::loss::Loss;
use crate::mailbox::lock;
use crate::route::ConnKey;
use crate::trace;
use crate::wire::control;

/// Topics of one `__gap`; more are told by further ones. Source: none, a guess: with the longest topics it is a message of 64 KiB.
const TOPICS_PER_GAP: usize = 64;

impl HubActor {
    pub(super) fn tell_loss(&mut self, loss: &Loss) {
        warn!(target: trace::HUB, from_ms = loss.from_ms, to_ms = loss.to_ms, "events dropped: no room");
        for (key, topics) in self.losers(loss) {
            let Some(slot) = self.live_slot(key) else { continue };
            if !self.connections[slot].as_ref().is_some_and(|connection| connection.is_native) {
                continue;
            }
            for part in topics.chunks(TOPICS_PER_GAP) {
                let part = part.iter().map(|topic| &**topic);
                self.reply_text(slot, |text| control::write_gap(text, "overflow", loss.from_ms, loss.to_ms, part));
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
