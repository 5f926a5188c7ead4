//! Publications on their way to the owners of their slots: what waits, what is in flight, what came back. Does not write or read.
//!
//! Invariants: publications of one slot are sent in order: what came back goes before what waits, and nothing goes to another node while an
//! answer about the slot is awaited; each publication ends exactly once, and `proven` counts those before the oldest that has not.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::super::address::Place;
use super::super::publishing::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};

/// Bytes that may wait for slots that no node serves; the next publication to one of them is refused. Source: as `maxBufferedAmount`.
const MAX_PARKED_BYTES: usize = 1 << 20;

/// How long a publication may wait for a node, or be sent from one to the other. Source: none, a guess: failing over takes the time-out of
/// the nodes, 15 s by default, and some seconds.
const MAX_PARKED_AGE: Duration = Duration::from_secs(30);

/// One publication.
pub(super) struct Parcel {
    number: u64,
    pub(super) slot: u16,
    pub(super) topic: Arc<str>,
    pub(super) command: Box<[u8]>,
    since: Instant,
    /// Times that it came back.
    pub(super) returns: u32,
    /// The node to ask once, although it does not own the slot.
    pub(super) ask: Option<Arc<Place>>,
    /// What a node said when it came back.
    pub(super) why: Option<String>,
}

impl Parcel {
    fn cost(&self) -> usize {
        self.topic.len() + self.command.len()
    }
}

/// The publications of one slot.
#[derive(Default)]
struct Lane {
    at: Option<Arc<Place>>,
    in_flight: usize,
    /// Something came back: the others of that journey may as well.
    is_turning: bool,
    /// Nothing goes until more is known of the cluster.
    is_held: bool,
    returned: VecDeque<Parcel>,
    waiting: VecDeque<Parcel>,
}

impl Lane {
    fn next(&mut self) -> Option<&mut VecDeque<Parcel>> {
        [&mut self.returned, &mut self.waiting].into_iter().find(|queue| !queue.is_empty())
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.returned.is_empty() && self.waiting.is_empty()
    }
}

/// Which of the numbers from 0 on have ended.
#[derive(Default)]
struct Ended {
    base: u64,
    ahead: VecDeque<bool>,
}

impl Ended {
    fn begin(&mut self) -> u64 {
        self.ahead.push_back(false);
        self.base + self.ahead.len() as u64 - 1
    }

    fn end(&mut self, number: u64) {
        if let Some(ended) = self.ahead.get_mut((number - self.base) as usize) {
            *ended = true;
        }
        while self.ahead.front() == Some(&true) {
            self.ahead.pop_front();
            self.base += 1;
        }
    }
}

#[derive(Default)]
pub(super) struct Outgoing {
    lanes: HashMap<u16, Lane, RandomState>,
    ended: Ended,
    count: usize,
    bytes: usize,
    parked_bytes: usize,
}

impl Outgoing {
    /// So many publications are under way that no more may be.
    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_IN_FLIGHT || self.bytes >= MAX_IN_FLIGHT_BYTES
    }

    /// So much waits for nodes that nobody knows that no more may.
    pub(super) fn is_parking_full(&self) -> bool {
        self.parked_bytes >= MAX_PARKED_BYTES
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.count > 0
    }

    /// Publications before the oldest that has not ended.
    pub(super) fn proven(&self) -> u64 {
        self.ended.base
    }

    /// A publication that ends at once.
    pub(super) fn refuse(&mut self) {
        let number = self.ended.begin();
        self.ended.end(number);
    }

    pub(super) fn accept(&mut self, slot: u16, topic: Arc<str>, command: Box<[u8]>) {
        let number = self.ended.begin();
        let since = Instant::now();
        let parcel = Parcel { number, slot, topic, command, since, returns: 0, ask: None, why: None };
        self.count += 1;
        self.bytes += parcel.cost();
        self.parked_bytes += parcel.cost();
        self.lanes.entry(slot).or_default().waiting.push_back(parcel);
    }

    /// Sends what may go now to where `route` says that it goes.
    pub(super) fn release(
        &mut self,
        slot: u16,
        route: &mut dyn FnMut(&Parcel) -> Option<Arc<Place>>,
        send: &mut dyn FnMut(&Arc<Place>, Parcel),
    ) {
        let Some(lane) = self.lanes.get_mut(&slot).filter(|lane| !lane.is_held) else { return };
        loop {
            let (in_flight, is_turning, at) = (lane.in_flight, lane.is_turning, lane.at.clone());
            let Some(queue) = lane.next() else { return };
            let Some(to) = queue.front().and_then(&mut *route) else { return };
            if in_flight > 0 && (is_turning || at.as_ref() != Some(&to)) {
                return;
            }
            let Some(parcel) = queue.pop_front() else { return };
            lane.in_flight += 1;
            lane.is_turning = false;
            self.parked_bytes -= parcel.cost();
            send(&to, parcel);
            lane.at = Some(to);
        }
    }

    /// A publication was answered, or will never be.
    pub(super) fn end(&mut self, parcel: &Parcel) {
        self.finish(parcel);
        if let Some(lane) = self.lanes.get_mut(&parcel.slot) {
            lane.in_flight -= 1;
            if lane.is_idle() {
                self.lanes.remove(&parcel.slot);
            }
        }
    }

    fn finish(&mut self, parcel: &Parcel) {
        self.ended.end(parcel.number);
        self.count -= 1;
        self.bytes -= parcel.cost();
    }

    /// A node did not take a publication; with `is_held` it stays until more is known.
    pub(super) fn take_back(&mut self, mut parcel: Parcel, is_held: bool) {
        parcel.returns += 1;
        self.parked_bytes += parcel.cost();
        let lane = self.lanes.entry(parcel.slot).or_default();
        lane.in_flight = lane.in_flight.saturating_sub(1);
        lane.is_turning = true;
        lane.is_held |= is_held;
        lane.returned.push_back(parcel);
    }

    /// More is known of the cluster.
    pub(super) fn let_go(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.is_held = false);
    }

    /// Slots of which something waits.
    pub(super) fn stuck(&self) -> Vec<u16> {
        let stuck = self.lanes.iter().filter(|(_, lane)| !(lane.returned.is_empty() && lane.waiting.is_empty()));
        stuck.map(|(slot, _)| *slot).collect()
    }

    /// What has waited too long; it has ended.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Parcel> {
        let mut expired = Vec::new();
        for lane in self.lanes.values_mut() {
            while let Some(queue) = lane
                .next()
                .filter(|queue| queue.front().is_some_and(|parcel| now.duration_since(parcel.since) > MAX_PARKED_AGE))
            {
                expired.extend(queue.pop_front());
            }
        }
        self.lanes.retain(|_, lane| !lane.is_idle());
        for parcel in &expired {
            self.parked_bytes -= parcel.cost();
            self.finish(parcel);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Arc<Place> {
        Arc::new(Place::Tcp { host: "h".into(), port, is_tls: false })
    }

    struct Net {
        outgoing: Outgoing,
        sent: Vec<(u16, Parcel)>,
    }

    impl Net {
        fn publish(&mut self, text: &str, owner: u16) {
            self.outgoing.accept(7, "t:".into(), text.as_bytes().into());
            self.release(owner);
        }

        fn release(&mut self, owner: u16) {
            let sent = &mut self.sent;
            self.outgoing.release(7, &mut |parcel| parcel.ask.clone().or(Some(at(owner))), &mut |place, parcel| {
                let Place::Tcp { port, .. } = **place else { return };
                sent.push((port, parcel));
            });
        }

        fn texts(&self) -> Vec<(u16, &str)> {
            self.sent
                .iter()
                .map(|(port, parcel)| (*port, std::str::from_utf8(&parcel.command).expect("text")))
                .collect()
        }
    }

    fn net() -> Net {
        Net { outgoing: Outgoing::default(), sent: Vec::new() }
    }

    #[test]
    fn a_slot_that_moved_takes_everything_along_in_order() {
        let mut net = net();
        net.publish("1", 1);
        net.publish("2", 1);
        let (first, second) = (net.sent.remove(0).1, net.sent.remove(0).1);
        net.outgoing.take_back(first, false);
        net.publish("3", 2);
        net.release(2);
        assert!(net.sent.is_empty(), "the second has no answer yet");
        net.outgoing.take_back(second, false);
        net.release(2);
        assert_eq!(net.texts(), [(2, "1"), (2, "2"), (2, "3")]);
        let sent: Vec<Parcel> = net.sent.drain(..).map(|(_, parcel)| parcel).collect();
        net.outgoing.end(&sent[1]);
        assert_eq!(net.outgoing.proven(), 0);
        net.outgoing.end(&sent[0]);
        assert_eq!((net.outgoing.proven(), net.outgoing.is_waiting()), (2, true));
        net.outgoing.end(&sent[2]);
        assert_eq!((net.outgoing.proven(), net.outgoing.is_waiting(), net.outgoing.lanes.len()), (3, false, 0));
        assert_eq!((net.outgoing.bytes, net.outgoing.parked_bytes), (0, 0));
    }

    #[test]
    fn nothing_overtakes_what_another_node_is_asked_for() {
        let mut net = net();
        net.publish("1", 1);
        let mut first = net.sent.remove(0).1;
        first.ask = Some(at(9));
        net.outgoing.take_back(first, false);
        net.publish("2", 1);
        net.release(1);
        assert_eq!(net.texts(), [(9, "1")]);
        let first = net.sent.remove(0).1;
        net.outgoing.end(&first);
        net.release(1);
        assert_eq!(net.texts(), [(1, "2")]);
    }

    #[test]
    fn what_is_held_waits_until_more_is_known_and_ends_when_it_is_too_old() {
        let mut net = net();
        net.publish("1", 1);
        let first = net.sent.remove(0).1;
        net.outgoing.take_back(first, true);
        net.publish("2", 1);
        net.release(1);
        assert!(net.sent.is_empty() && net.outgoing.stuck() == [7]);
        assert!(net.outgoing.expire(Instant::now()).is_empty());
        net.outgoing.refuse();
        assert_eq!(net.outgoing.expire(Instant::now() + MAX_PARKED_AGE * 2).len(), 2);
        assert_eq!((net.outgoing.proven(), net.outgoing.is_waiting(), net.outgoing.lanes.len()), (3, false, 0));
        assert_eq!((net.outgoing.bytes, net.outgoing.parked_bytes), (0, 0));
    }
}
