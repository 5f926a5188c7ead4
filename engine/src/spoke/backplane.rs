//! A spoke's bus as a backplane: each hub that joins gets a spoke of its own to the same bus, which marks what it publishes and passes over
//! what comes back. Does not know which bus, nor hubs.
//!
//! Invariants: a hub that has left, or was told that the backplane is closed, is told nothing more; a subscription that was refused is
//! asked for again on the next link; what is told as a refusal of a subscription is not told as an error besides.

mod ear;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Spoke, SpokeConfig};
use crate::link::Connect;
use crate::link::backplane::{Backplane, Branch, Handed, Landing, Outbound, Standing};
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, Published};
use ear::Ear;

/// How long what a hub has published may take to leave once the hub has left. Source: the contract, as for `close()`.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Joins hubs by a bus.
pub struct SpokeBackplane {
    config: SpokeConfig,
    connector: Arc<dyn Connect>,
    runtime: Handle,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    all: Vec<Weak<Place>>,
    is_closed: bool,
}

impl std::fmt::Debug for SpokeBackplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpokeBackplane").finish_non_exhaustive()
    }
}

impl SpokeBackplane {
    /// Hubs that join this get spokes like the one that `config` describes; nothing where the connector cannot mark what they publish.
    #[must_use]
    pub fn over(config: SpokeConfig, connector: Arc<dyn Connect>, runtime: &Handle) -> Option<Arc<Self>> {
        connector.marking("")?;
        // Spokes of hubs wait to be told to connect, and send at once: a pass of a hub has no end that they would hear of.
        let config = SpokeConfig { waits: true, gathers: false, ..config };
        Some(Arc::new(Self { config, connector, runtime: runtime.clone(), places: Mutex::default() }))
    }

    /// Takes all hubs off the bus, for good, and tells them. What they have published leaves within the time.
    pub fn close(&self, reason: &CloseReason, timeout: Duration) {
        let mut places = lock(&self.places);
        places.is_closed = true;
        let all = std::mem::take(&mut places.all);
        drop(places);
        for place in all.iter().filter_map(Weak::upgrade) {
            place.ear.end();
            place.spoke.close(reason.clone(), timeout);
        }
    }
}

impl Backplane for SpokeBackplane {
    fn join(self: Arc<Self>, hub: Arc<dyn Landing>) -> Box<dyn Branch> {
        let marking = self.connector.marking(hub.origin());
        let is_useless = marking.is_none();
        let connector = marking.unwrap_or_else(|| Arc::clone(&self.connector));
        let ear = Arc::new(Ear::of(hub));
        let spoke = Spoke::start(self.config.clone(), connector, Arc::clone(&ear) as _, &self.runtime);
        ear.hold(spoke.clone());
        let place = Arc::new(Place { ear, spoke });
        let mut places = lock(&self.places);
        places.all.retain(|place| place.strong_count() > 0);
        places.all.push(Arc::downgrade(&place));
        let is_closed = places.is_closed || is_useless;
        drop(places);
        if is_closed {
            place.ear.end();
            place.spoke.abort();
        } else {
            place.spoke.connect();
        }
        Box::new(Perch { place })
    }
}

struct Place {
    ear: Arc<Ear>,
    spoke: Spoke,
}

/// What the hub holds; the backplane knows the place as long as this lives.
struct Perch {
    place: Arc<Place>,
}

impl Branch for Perch {
    fn subscribe(&self, topic: &str, number: u64) -> Standing {
        self.place.spoke.listen(topic);
        self.place.ear.ask(topic, number);
        Standing::Pending
    }

    fn unsubscribe(&self, topic: &str) {
        self.place.ear.forget(topic);
        self.place.spoke.unlisten(topic);
    }

    fn publish(&self, event: &Outbound<'_>) -> Handed {
        match self.place.spoke.publish_once(event.type_, event.id, event.payload) {
            Published::Accepted => Handed::Taken,
            Published::Full => Handed::Full,
            Published::TooLarge => Handed::TooLarge,
            Published::Closed => Handed::Closed,
        }
    }

    fn leave(&self) {
        self.place.ear.fall_silent();
        self.place.spoke.close(CloseReason::new(CloseCode::NORMAL, ""), LEAVE_TIMEOUT);
    }
}

impl Drop for Perch {
    fn drop(&mut self) {
        self.leave();
    }
}
