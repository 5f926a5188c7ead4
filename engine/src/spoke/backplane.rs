//! A spoke's bus as a backplane: each hub that joins gets a spoke of its own to the same bus, which marks what it publishes and passes over
//! what comes back. Does not know which bus, nor hubs.
//!
//! Invariants: a hub that has left, or was told that the backplane is closed, is told nothing more; a subscription that was refused is
//! asked for again on the next link; what is told as a refusal of a subscription is not told as an error besides.

mod ear;

use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
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

    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.place.ear.poll_over(cx)
    }
}

impl Drop for Perch {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::link::backplane::Hole;
    use crate::link::{BoxFuture, ConnectError, Destination, Link};
    use crate::model::Error;

    /// A bus that nobody reaches; remembers the origins that it was marked with.
    #[derive(Clone, Default)]
    struct Bus(Arc<Mutex<Vec<String>>>);

    impl Connect for Bus {
        fn connect(&self, _to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
            Box::pin(std::future::pending())
        }

        fn marking(&self, origin: &str) -> Option<Arc<dyn Connect>> {
            lock(&self.0).push(origin.into());
            Some(Arc::new(self.clone()))
        }
    }

    struct NoBus;

    impl Connect for NoBus {
        fn connect(&self, _to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
            Box::pin(std::future::pending())
        }
    }

    /// A hub that counts how often it is told of the end.
    #[derive(Default)]
    struct Hub {
        ends: AtomicUsize,
    }

    impl Hub {
        fn ends(&self) -> usize {
            self.ends.load(Ordering::Relaxed)
        }
    }

    impl Landing for Hub {
        fn origin(&self) -> &str {
            "me"
        }
        fn event(&self, _origin: Option<&str>, _type: &str, _id: &str, _payload: &str) {}
        fn active(&self, _topic: &str, _number: u64) {}
        fn refused(&self, _topic: &str, _number: u64, _why: Error) {}
        fn up(&self) {}
        fn down(&self, _why: Error) {}
        fn trouble(&self, _why: Error, _times: u64) {}
        fn hole(&self, _hole: Hole) {}
        fn closed(&self) {
            self.ends.fetch_add(1, Ordering::Relaxed);
        }
        fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    fn backplane(bus: &Bus) -> Arc<SpokeBackplane> {
        SpokeBackplane::over(SpokeConfig::default(), Arc::new(bus.clone()), &Handle::current()).expect("a bus")
    }

    fn join(backplane: &Arc<SpokeBackplane>) -> (Arc<Hub>, Box<dyn Branch>) {
        let hub = Arc::new(Hub::default());
        (Arc::clone(&hub), Arc::clone(backplane).join(hub))
    }

    const EVENT: Outbound<'_> = Outbound {
        origin: "me",
        topic: "a:",
        type_: "a",
        id: "",
        payload: "1",
        envelope: r#"{"type":"a","id":"","payload":1}"#,
    };

    fn normal() -> CloseReason {
        CloseReason::new(CloseCode::NORMAL, "")
    }

    #[tokio::test]
    async fn only_a_bus_that_marks_what_is_published_joins_hubs_and_each_hub_has_its_mark() {
        assert!(SpokeBackplane::over(SpokeConfig::default(), Arc::new(NoBus), &Handle::current()).is_none());
        let bus = Bus::default();
        let backplane = backplane(&bus);
        lock(&bus.0).clear();
        let _place = join(&backplane);
        assert!(lock(&bus.0).contains(&"me".into()));
    }

    #[tokio::test]
    async fn closing_it_tells_every_hub_once_and_none_that_has_left() {
        let backplane = backplane(&Bus::default());
        let ((stays, place), (left, gone), (dropped, perch)) = (join(&backplane), join(&backplane), join(&backplane));
        gone.leave();
        drop(perch);
        backplane.close(&normal(), Duration::ZERO);
        backplane.close(&normal(), Duration::ZERO);
        assert_eq!((stays.ends(), left.ends(), dropped.ends()), (1, 0, 0));
        poll_fn(|cx| place.poll_left(cx)).await;
        assert_eq!((stays.ends(), place.publish(&EVENT)), (1, Handed::Closed));
        let (late, place) = join(&backplane);
        assert_eq!(late.ends(), 1, "there is nothing to join");
        poll_fn(|cx| place.poll_left(cx)).await;
        assert_eq!(place.publish(&EVENT), Handed::Closed);
    }

    #[tokio::test]
    async fn a_hub_has_left_when_what_it_said_has_been_answered_or_given_up() {
        let backplane = backplane(&Bus::default());
        let (_hub, silent) = join(&backplane);
        silent.leave();
        poll_fn(|cx| silent.poll_left(cx)).await;

        let (_hub, place) = join(&backplane);
        assert_eq!(place.publish(&EVENT), Handed::Taken);
        place.leave();
        let left = poll_fn(|cx| place.poll_left(cx));
        assert!(tokio::time::timeout(Duration::from_millis(50), left).await.is_err(), "it waits for the bus");
        backplane.close(&normal(), Duration::ZERO);
        poll_fn(|cx| place.poll_left(cx)).await;
    }

    #[tokio::test]
    async fn what_is_larger_than_the_limits_of_the_bus_is_not_taken() {
        let limits = crate::model::Limits { max_message_bytes: 16, ..Default::default() };
        let config = SpokeConfig { limits, ..SpokeConfig::default() };
        let backplane = SpokeBackplane::over(config, Arc::new(Bus::default()), &Handle::current()).expect("a bus");
        let (_hub, place) = join(&backplane);
        assert_eq!(place.publish(&EVENT), Handed::TooLarge);
    }
}
