//! Which node of a cluster has which channel (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>). Does not ask
//! anybody.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::address::Place;
use super::answer::Answer;

/// Slots of a cluster. Source: the specification.
const SLOTS: u16 = 16_384;

/// Places that are remembered. Source: the specification names a thousand nodes as the most; what redirections name counts as well.
const MAX_PLACES: usize = 4096;

/// The slot of a channel: of what stands between the first `{` and the next `}`, if anything does.
pub(super) fn slot_of(channel: &[u8]) -> u16 {
    let tag = channel.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &channel[open + 1..];
        let len = rest.iter().position(|byte| *byte == b'}').filter(|len| *len > 0)?;
        Some(&rest[..len])
    });
    crc16(tag.unwrap_or(channel)) % SLOTS
}

/// CRC-16/XMODEM, which is what the specification asks for.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

/// Who owns the slots, as far as is known.
#[derive(Debug, Clone)]
pub(super) struct SlotMap {
    places: Vec<Arc<Place>>,
    /// By slot: one more than an index of `places`, 0 where nobody is known.
    owners: Vec<u16>,
    /// Every node that was named, replicas included.
    pub(super) all: Vec<Place>,
}

impl SlotMap {
    /// Reads CLUSTER SLOTS, as the node at `from` has answered it.
    pub(super) fn read(answer: &Answer, from: &Place) -> Self {
        let mut map = Self { places: Vec::new(), owners: vec![0; SLOTS.into()], all: Vec::new() };
        let mut known = HashMap::<Place, usize, RandomState>::default();
        // Ranges do not overlap: what has more slots than there are is nonsense, and takes no more time.
        let mut left = SLOTS;
        for range in answer.list() {
            let [first, last, nodes @ ..] = range.list() else { continue };
            let bound = |answer: &Answer| u16::try_from(answer.integer()?).ok().filter(|slot| *slot < SLOTS);
            let (Some(first), Some(last)) = (bound(first), bound(last)) else { continue };
            let Some(rest) = last.checked_sub(first).and_then(|others| left.checked_sub(others + 1)) else { continue };
            left = rest;
            for (rank, node) in nodes.iter().enumerate() {
                let Some(place) = place_of(node, from) else { continue };
                let next = known.len();
                if next == MAX_PLACES && !known.contains_key(&place) {
                    continue;
                }
                let index = *known.entry(place).or_insert_with_key(|place| {
                    map.all.push(place.clone());
                    next
                });
                if rank == 0 {
                    map.owners[usize::from(first)..=usize::from(last)].fill(index as u16 + 1);
                }
            }
        }
        map.places = map.all.iter().cloned().map(Arc::new).collect();
        map
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Place>> {
        let index = *self.owners.get(usize::from(slot))?;
        self.places.get(usize::from(index).checked_sub(1)?)
    }

    /// A node has told that the slot is elsewhere.
    pub(super) fn set(&mut self, slot: u16, place: Place) {
        let known = self.places.iter().position(|known| **known == place);
        let index = known.unwrap_or_else(|| {
            if self.places.len() >= MAX_PLACES {
                self.places.clear();
                self.owners.fill(0);
            }
            self.places.push(Arc::new(place));
            self.places.len() - 1
        });
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = index as u16 + 1;
        }
    }
}

/// Host and port of a node; where the cluster does not name a host, it is the one that was asked.
fn place_of(node: &Answer, from: &Place) -> Option<Place> {
    let [host, port, ..] = node.list() else { return None };
    let port = u16::try_from(port.integer()?).ok().filter(|port| *port > 0)?;
    match host {
        Answer::Text(host) if host == "?" => None,
        Answer::Text(host) if !host.is_empty() => Some(from.with(host, port)),
        Answer::Text(_) | Answer::Null => Some(from.with("", port)),
        _ => None,
    }
}

/// Where an error sends us: `MOVED 3999 127.0.0.1:6381` or `ASK …`.
pub(super) fn redirection(error: &str, from: &Place) -> Option<(u16, Place)> {
    let mut words = error.split(' ').skip(1);
    let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    Some((slot, from.with(host, port.parse().ok().filter(|port| *port > 0)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Place {
        Place::Tcp { host: host.into(), port, is_tls: false }
    }

    fn text(text: &str) -> Answer {
        Answer::Text(text.into())
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // CLUSTER KEYSLOT of a real server.
        for (channel, slot) in
            [("foo", 12_182), ("{user1000}.following", 3443), ("{user1000}.followers", 3443), ("", 0)]
        {
            assert_eq!(slot_of(channel.as_bytes()), slot, "{channel}");
        }
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS, "an empty tag is none");
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"), "the first brace counts");
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn a_cluster_tells_its_nodes_and_the_host_that_it_does_not_know_is_the_one_that_was_asked() {
        let node = |host, port| Answer::List(vec![host, Answer::Integer(port), text("id"), Answer::List(vec![])]);
        let range = |first, last, nodes: Vec<Answer>| {
            Answer::List([vec![Answer::Integer(first), Answer::Integer(last)], nodes].concat())
        };
        let answer = Answer::List(vec![
            range(0, 5, vec![node(text("10.0.0.1"), 7000), node(text("10.0.0.2"), 7001)]),
            range(6, 8, vec![node(Answer::Null, 7002)]),
            range(9, 9, vec![node(text("?"), 7003)]),
            range(10, 99_999, vec![node(text("x"), 1)]),
            text("nonsense"),
        ]);
        let mut map = SlotMap::read(&answer, &at("asked", 1));
        let owner = |map: &SlotMap, slot| map.owner(slot).map(|place| (**place).clone());
        assert_eq!((owner(&map, 5), owner(&map, 6)), (Some(at("10.0.0.1", 7000)), Some(at("asked", 7002))));
        assert_eq!((map.owner(9), map.owner(10), map.owner(u16::MAX)), (None, None, None));
        assert_eq!(map.all, [at("10.0.0.1", 7000), at("10.0.0.2", 7001), at("asked", 7002)]);
        map.set(9, at("asked", 7002));
        assert_eq!((owner(&map, 9), map.places.len()), (Some(at("asked", 7002)), 3));
        let whole = |port| range(0, 16_383, vec![node(text("h"), port)]);
        let overlapping = Answer::List(vec![range(7, 5, vec![node(text("h"), 3)]), whole(1), whole(2)]);
        let map = SlotMap::read(&overlapping, &at("asked", 1));
        assert_eq!((owner(&map, 0), owner(&map, 16_383), map.all.len()), (Some(at("h", 1)), Some(at("h", 1)), 1));
    }

    #[test]
    fn redirections_name_a_slot_and_a_place_and_nonsense_names_none() {
        let from = at("me", 1);
        assert_eq!(redirection("MOVED 3999 127.0.0.1:6381", &from), Some((3999, at("127.0.0.1", 6381))));
        assert_eq!(redirection("ASK 0 ::1:6381", &from), Some((0, at("::1", 6381))));
        assert_eq!(redirection("MOVED 1 :7", &from), Some((1, at("me", 7))));
        for error in ["MOVED", "MOVED 1", "MOVED x y:1", "MOVED 16384 h:1", "MOVED 1 h:0", "MOVED 1 h:99999"] {
            assert_eq!(redirection(error, &from), None, "{error}");
        }
    }
}
