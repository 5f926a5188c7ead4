//! A medium as a backplane: hubs and other members of it hear each other. Nothing of it is remote, so subscriptions are active at once and
//! it is cut off only when whoever owns it closes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Backplane, Branch, Handed, Landing, Outbound, Standing};
use crate::link::medium::{Carried, Ledger, Medium, Member, Receipt, Seat};
use crate::model::Prefix;

/// Joins hubs by a medium.
pub struct MediumBackplane {
    medium: Arc<dyn Medium>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    all: Vec<Weak<Place>>,
    is_closed: bool,
}

impl MediumBackplane {
    /// Hubs that join this join `medium`.
    #[must_use]
    pub fn over(medium: Arc<dyn Medium>) -> Arc<Self> {
        Arc::new(Self { medium, places: Mutex::default() })
    }

    /// Takes all hubs off the medium, for good, and tells them.
    pub fn close(&self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.is_closed = true;
        let all = std::mem::take(&mut places.all);
        drop(places);
        all.iter().filter_map(Weak::upgrade).for_each(|place| place.end());
    }
}

impl std::fmt::Debug for MediumBackplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediumBackplane").finish_non_exhaustive()
    }
}

impl Backplane for MediumBackplane {
    fn join(self: Arc<Self>, hub: Arc<dyn Landing>) -> Box<dyn Branch> {
        let seat = Arc::clone(&self.medium).join(Arc::new(Ear { hub: Arc::clone(&hub) }));
        let place = Arc::new(Place { seat, hub, is_closed: AtomicBool::new(false) });
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.all.retain(|place| place.strong_count() > 0);
        places.all.push(Arc::downgrade(&place));
        let is_closed = places.is_closed;
        drop(places);
        if is_closed {
            place.end();
        } else {
            place.hub.up();
        }
        Box::new(Perch { place })
    }
}

/// Hears for a hub.
struct Ear {
    hub: Arc<dyn Landing>,
}

impl Member for Ear {
    fn hear(&self, event: &Carried<'_>) {
        // A medium does not bring own events back.
        self.hub.event(None, event.prefix().type_(), event.prefix().id(), event.payload());
    }
}

struct Place {
    seat: Box<dyn Seat>,
    hub: Arc<dyn Landing>,
    is_closed: AtomicBool,
}

impl Place {
    fn end(&self) {
        if !self.is_closed.swap(true, Ordering::AcqRel) {
            self.seat.leave();
            self.hub.closed();
        }
    }
}

/// What the hub holds; the backplane knows the place as long as this lives.
struct Perch {
    place: Arc<Place>,
}

impl Branch for Perch {
    fn subscribe(&self, topic: &str, _number: u64) -> Standing {
        self.place.seat.subscribe(topic);
        // Closed meanwhile: the hub is told, or was.
        if self.place.is_closed.load(Ordering::Acquire) { Standing::Pending } else { Standing::Active }
    }

    fn unsubscribe(&self, topic: &str) {
        self.place.seat.unsubscribe(topic);
    }

    fn publish(&self, event: &Outbound<'_>) -> Handed {
        if self.place.is_closed.load(Ordering::Acquire) {
            return Handed::Closed;
        }
        let prefix = Prefix::new(event.type_, event.id);
        let heard = self.place.seat.publish(&Carried::new(&prefix, event.payload, &NoLedger));
        if heard == 0 { Handed::Unwanted } else { Handed::Taken }
    }

    fn leave(&self) {
        self.place.seat.leave();
    }
}

impl Drop for Perch {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A hub does not wait for members that are slow, so it keeps no account of what waits for them.
struct NoLedger;

impl Ledger for NoLedger {
    fn enter(&self, _bytes: usize) -> Receipt {
        Box::new(())
    }
}
