//! What the hub's task has to do with its backplane: what is wanted there, what comes from there, who is told. Does not queue.
//!
//! Invariants: events of other hubs are never handed back; a native peer gets nothing of a topic before it was told that it is subscribed;
//! nothing here waits for the backplane.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::{debug, warn};

use super::HubActor;
use crate::delivery::{Direction, Gap, GapCause, Notice};
use crate::hub::inlet::Arrival;
use crate::hub::loss::Loss;
use crate::hub::uplink::{Released, Uplink};
use crate::hub::{count, now_ms};
use crate::link::backplane::{Backplane, Handed, Hole, HoleCause, HoleSide, Landing, Outbound};
use crate::mailbox::{Batch, lock};
use crate::model::{Error, ErrorKind, EventSpan};
use crate::route::ConnKey;
use crate::trace;
use crate::wire::control;

/// Topics that were told to be active before they were, since when the first of them.
#[derive(Default)]
struct Early {
    since_ms: u64,
    topics: Vec<Box<str>>,
}

impl HubActor {
    pub(super) fn join(&mut self, backplane: Arc<dyn Backplane>) {
        if self.uplink.is_some() {
            return;
        }
        lock(&self.shared.router).watch();
        let landing = Arc::clone(&self.shared.inlet) as Arc<dyn Landing>;
        self.uplink = Some(Uplink::new(backplane.join(landing)));
        self.tend_wants();
    }

    /// Subscribes to what somebody has begun to want, and unsubscribes from what nobody wants any more.
    pub(super) fn tend_wants(&mut self) {
        let Some(uplink) = &mut self.uplink else { return };
        let turned = lock(&self.shared.router).take_turned();
        if turned.is_empty() {
            return;
        }
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut defects = 0;
        for topic in turned {
            let is_wanted = lock(&self.shared.router).is_wanted(&topic);
            match uplink.turn(&topic, is_wanted, now, now_ms) {
                Ok(vain) => vain.iter().for_each(|vain| self.shared.confirm(&vain.waiting.tokens, false)),
                Err(_) => defects += 1,
            }
        }
        self.shared.counters.backplane_topics.store(uplink.topics() as u64, Ordering::Relaxed);
        self.blame_backplane(defects);
    }

    /// Those who have waited for long enough wait no longer; true if there were some.
    pub(super) fn release_overdue(&mut self) -> bool {
        let Some(uplink) = &mut self.uplink else { return false };
        let now = Instant::now();
        if uplink.next_overdue().is_none_or(|until| now < until) {
            return false;
        }
        let released = uplink.overdue(now, now_ms());
        let is_somebody = !released.is_empty();
        self.release(released, &mut Early::default());
        is_somebody
    }

    /// Subscribes to what is wanted, and tells of what was dropped.
    pub(super) fn tend_backplane(&mut self) {
        self.tend_wants();
        let Some(uplink) = &mut self.uplink else { return };
        let unsent = std::mem::take(&mut uplink.unreported);
        let lost = self.shared.inlet.take_unreported();
        if unsent > 0 {
            let message = "events for other hubs dropped: the backplane has no room for them".into();
            self.raise(ErrorKind::BufferFull, message, unsent);
        }
        if lost > 0 {
            let message = format!(
                "events of other hubs dropped: more than maxPendingBytes ({}) wait to be fanned out",
                self.shared.config.max_pending
            );
            self.raise(ErrorKind::BufferFull, message, lost);
        }
    }

    /// The next batch of what came, unless the mailbox has its turn.
    pub(super) fn take_arrivals(&mut self, fits: impl FnOnce(usize, usize) -> bool) -> Option<Batch<Arrival>> {
        let is_turn = self.shared.inlet.is_due() && !(self.had_arrivals && self.shared.mailbox.has_some());
        let batch = is_turn.then(|| self.shared.inlet.take_if(fits)).flatten();
        self.had_arrivals = batch.is_some();
        batch
    }

    /// One pass over what came from other hubs.
    pub(super) async fn pass_arrivals(&mut self, mut batch: Batch<Arrival>) {
        let mut arrivals = batch.ops.drain(..);
        let mut early = Early::default();
        loop {
            let work = AssertUnwindSafe(|| {
                arrivals.by_ref().for_each(|arrival| self.arrive(arrival, &batch.text, &mut early));
                self.end_run();
                self.make_good(std::mem::take(&mut early));
            });
            if catch_unwind(work).is_ok() {
                break;
            }
            self.contain(ConnKey::BACKPLANE, &batch.text);
        }
        drop(arrivals);
        self.end_expelled();
        self.write_touched().await;
        self.shared.inlet.done(batch);
        self.settle();
        tokio::task::yield_now().await;
    }

    fn arrive(&mut self, arrival: Arrival, text: &str, early: &mut Early) {
        if !matches!(arrival, Arrival::Active { .. }) && !early.topics.is_empty() {
            self.end_run();
            self.make_good(std::mem::take(early));
        }
        if let Arrival::Event(span) = arrival {
            return self.route(text, span, ConnKey::BACKPLANE);
        }
        self.end_run();
        let Some(uplink) = &mut self.uplink else { return };
        match arrival {
            Arrival::Event(_) => {}
            Arrival::Active { topic, number } => {
                let released = uplink.activate(&topic, number);
                self.release(released, early);
            }
            Arrival::Refused { topic, number, why } => {
                let released = uplink.give_up(&topic, number, now_ms());
                self.release(released, early);
                let message = format!("\"{topic}\" cannot be heard from other hubs: {why}");
                self.raise(why.kind(), message, 1);
            }
            Arrival::Up => {
                debug!(target: trace::HUB, "the backplane is up");
                uplink.up();
            }
            Arrival::Down(why) => {
                let released = uplink.down(now_ms());
                self.lose_backplane(released, &why, early);
            }
            Arrival::Closed => {
                let released = uplink.gone(now_ms());
                let why = Error::new(ErrorKind::Closed, "it was closed");
                self.lose_backplane(released, &why, early);
                // It has begun and will not end.
                self.tell_hole(&Hole::of(HoleCause::ConnectionLost, now_ms(), now_ms(), None));
            }
            Arrival::Trouble { why, times } => self.hear_trouble(&why, times),
            Arrival::Hole(hole) => self.tell_hole(&hole),
            Arrival::Losing(number) => {
                if let Some(loss) = self.shared.inlet.take_loss(number) {
                    self.tell_overflow(&loss);
                }
            }
            Arrival::Lost(loss) => self.tell_overflow(&loss),
            Arrival::Unfit => {
                let unfit = self.shared.inlet.take_unfit();
                count(&self.shared.counters.malformed, unfit);
                let message = "the backplane brought events that are none, or larger than this hub's limits".into();
                self.raise(ErrorKind::Malformed, message, unfit);
            }
        }
    }

    fn hear_trouble(&mut self, why: &Error, times: u64) {
        let counters = &self.shared.counters;
        match why.kind() {
            ErrorKind::Malformed => count(&counters.malformed, times),
            ErrorKind::BufferFull => count(&counters.backplane_dropped, times),
            _ => {}
        }
        self.raise(why.kind(), format!("the backplane: {why}"), times);
    }

    fn lose_backplane(&mut self, released: Vec<Released>, why: &Error, early: &mut Early) {
        warn!(target: trace::HUB, reason = %why, "the backplane is lost");
        self.release(released, early);
        let message = format!("events of other hubs do not come, and events do not go there: the backplane: {why}");
        self.raise(why.kind(), message, 1);
    }

    /// Tells those who waited that they are subscribed.
    fn release(&mut self, released: impl IntoIterator<Item = Released>, early: &mut Early) {
        for Released { topic, waiting, is_active, told_ms } in released {
            self.shared.confirm(&waiting.tokens, is_active);
            for (key, n) in waiting.spokes {
                let is_subscribed = lock(&self.shared.router).is_subscribed(key, &topic);
                if let Some(slot) = self.live_slot(key).filter(|_| is_subscribed) {
                    self.reply_text(slot, |text| control::write_subscribed(text, &topic, n));
                }
            }
            if let Some(told_ms) = told_ms {
                early.since_ms = if early.topics.is_empty() { told_ms } else { early.since_ms.min(told_ms) };
                early.topics.push(topic);
            }
        }
    }

    /// What was told to be active before it was has a hole, from then to now.
    fn make_good(&mut self, Early { since_ms, topics }: Early) {
        if !topics.is_empty() {
            self.tell_hole(&Hole::of(HoleCause::ConnectionLost, since_ms, now_ms(), Some(topics)));
        }
    }

    fn tell_hole(&mut self, hole: &Hole) {
        let cause = match hole.cause {
            HoleCause::ConnectionLost => GapCause::ConnectionLost,
            HoleCause::SlowConsumer => GapCause::SlowConsumer,
            HoleCause::Overflow => GapCause::Overflow,
        };
        let loss = Loss::elsewhere(hole.from_ms, hole.to_ms, hole.topics.as_deref());
        let topics = match hole.side {
            HoleSide::Out => Vec::new(),
            HoleSide::In | HoleSide::Both => self.tell_peers(&loss),
        };
        let direction = match (hole.side, topics.is_empty()) {
            // Nobody here listens to what is missing.
            (HoleSide::In, true) => return,
            (HoleSide::In, false) => Direction::In,
            (HoleSide::Both, false) => Direction::Both,
            (HoleSide::Out, _) | (HoleSide::Both, true) => Direction::Out,
        };
        self.tell_application(cause, direction, &loss, topics);
    }

    /// What came found no room here.
    fn tell_overflow(&mut self, loss: &Loss) {
        let topics = self.tell_peers(loss);
        if !topics.is_empty() {
            self.tell_application(GapCause::Overflow, Direction::In, loss, topics);
        }
    }

    /// Native subscribers hear of it; returns those topics that the application listens to.
    fn tell_peers(&mut self, loss: &Loss) -> Vec<Box<str>> {
        count(&self.shared.counters.backplane_gaps, 1);
        self.tell_gap("upstream", loss);
        let router = lock(&self.shared.router);
        if loss.is_everything {
            return router.topics_listened_to().into_iter().map(Box::from).collect();
        }
        let lost = loss.topics.values().flatten();
        lost.filter(|topic| router.is_listened_to(topic)).cloned().collect()
    }

    fn tell_application(&self, cause: GapCause, direction: Direction, loss: &Loss, topics: Vec<Box<str>>) {
        let Loss { from_ms, to_ms, events: dropped, .. } = *loss;
        self.shared.delivery.notice(Notice::Gap(Gap { cause, direction, from_ms, to_ms, topics, dropped }));
    }

    /// Answers a question of the application, now or when the backplane has.
    pub(super) fn confirm(&mut self, topic: &str, token: u32) {
        self.tend_wants();
        let is_active = match &mut self.uplink {
            Some(uplink) => uplink.wait_for_application(topic, token),
            None => Some(true),
        };
        if let Some(is_active) = is_active {
            self.shared.confirm(&[token], is_active);
        }
    }

    /// True: the peer is told later that it is subscribed.
    pub(super) fn waits_for_backplane(&mut self, slot: usize, topic: &str, n: Option<u64>) -> bool {
        if self.uplink.is_none() {
            return false;
        }
        self.tend_wants();
        match (&mut self.uplink, &self.connections[slot]) {
            (Some(uplink), Some(connection)) => uplink.wait(topic, connection.key, n),
            _ => false,
        }
    }

    /// Hands an event to the other hubs; true if one may want it.
    pub(super) fn hand_over(&mut self, text: &str, span: EventSpan) -> bool {
        let Some(uplink) = &mut self.uplink else { return false };
        let event = Outbound {
            origin: self.shared.inlet.origin(),
            topic: span.topic(text),
            type_: span.type_(text),
            id: span.id(text),
            payload: span.payload(text),
            envelope: span.body(text),
        };
        let counters = &self.shared.counters;
        match uplink.hand_over(&event) {
            Ok(Handed::Taken) => count(&counters.backplane_published, 1),
            Ok(Handed::Unwanted) => return false,
            Ok(Handed::Closed) => count(&counters.backplane_dropped, 1),
            Ok(Handed::Full) => {
                count(&counters.backplane_dropped, 1);
                uplink.unreported += 1;
            }
            Ok(Handed::TooLarge) => {
                count(&counters.backplane_dropped, 1);
                let message = "events for other hubs dropped: larger than the limits of the backplane".into();
                self.raise(ErrorKind::MessageTooLarge, message, 1);
            }
            Err(_) => {
                count(&counters.backplane_dropped, 1);
                self.blame_backplane(1);
            }
        }
        true
    }

    fn blame_backplane(&mut self, defects: u64) {
        if defects > 0 {
            count(&self.shared.counters.panics, defects);
            self.raise(ErrorKind::Internal, "a defect of the backplane was contained".into(), defects);
        }
    }
}
