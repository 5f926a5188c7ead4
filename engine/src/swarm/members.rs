//! Who was heard of, who is a neighbour now, and who should be called. Does not call anybody and does not read the clock.
//!
//! Invariants: whoever is a neighbour or was heard lately is not called while there are neighbours; what is known is bounded.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::link::overlay::MemberId;

/// Members that are remembered besides the bootstrap. Source: none, a guess.
pub(super) const MAX_MEMBERS: usize = 256;

/// A silent member that is no bootstrap is forgotten after this. Source: none, a guess.
pub(super) const FORGET: Duration = Duration::from_secs(3600);

struct Member {
    is_bootstrap: bool,
    /// It is bootstrap, or was a neighbour once: it can be reached, which of others is only heard.
    is_proven: bool,
    /// When something of it, or through it, came last.
    heard: Option<Instant>,
}

pub(super) struct Members {
    met: HashMap<MemberId, Member>,
    neighbours: HashSet<MemberId>,
    /// Silent for so long, a member is missing.
    silence: Duration,
}

impl Members {
    pub(super) fn new(bootstrap: &[MemberId], silence: Duration) -> Self {
        let met =
            bootstrap.iter().map(|id| (*id, Member { is_bootstrap: true, is_proven: true, heard: None })).collect();
        Self { met, neighbours: HashSet::new(), silence }
    }

    pub(super) fn neighbours(&self) -> usize {
        self.neighbours.len()
    }

    pub(super) fn up(&mut self, id: MemberId, now: Instant) {
        self.neighbours.insert(id);
        if !self.met.contains_key(&id) {
            self.make_room();
            self.met.insert(id, Member { is_bootstrap: false, is_proven: true, heard: None });
        }
        if let Some(member) = self.met.get_mut(&id) {
            (member.is_proven, member.heard) = (true, Some(now));
        }
    }

    pub(super) fn down(&mut self, id: &MemberId) {
        self.neighbours.remove(id);
    }

    /// Something came of a member, or through it. Who was never a neighbour is remembered while there is room.
    pub(super) fn heard(&mut self, id: &MemberId, now: Instant) {
        if let Some(member) = self.met.get_mut(id) {
            member.heard = Some(now);
        } else if self.met.len() < MAX_MEMBERS {
            self.met.insert(*id, Member { is_bootstrap: false, is_proven: false, heard: Some(now) });
        }
    }

    /// Those that fell silent.
    pub(super) fn missing(&self, now: Instant) -> usize {
        let is_silent = |member: &Member| member.heard.is_none_or(|heard| now.duration_since(heard) >= self.silence);
        self.met.iter().filter(|(id, member)| !self.neighbours.contains(*id) && is_silent(member)).count()
    }

    /// Who should be called: without neighbours everybody, the bootstrap first; else who is missing.
    pub(super) fn wanted(&mut self, now: Instant) -> Vec<MemberId> {
        let (neighbours, silence) = (&self.neighbours, self.silence);
        let silent_for = |member: &Member| member.heard.map_or(Duration::MAX, |heard| now.duration_since(heard));
        self.met.retain(|id, member| member.is_bootstrap || neighbours.contains(id) || silent_for(member) < FORGET);
        let is_alone = neighbours.is_empty();
        let mut wanted: Vec<(bool, MemberId)> = self
            .met
            .iter()
            .filter(|(id, member)| !neighbours.contains(*id) && (is_alone || silent_for(member) >= silence))
            .map(|(id, member)| (!(is_alone && member.is_bootstrap), *id))
            .collect();
        wanted.sort_unstable();
        wanted.into_iter().map(|(_, id)| id).collect()
    }

    /// Whether it can be reached as far as is known, and is not only somebody's word.
    pub(super) fn is_proven(&self, id: &MemberId) -> bool {
        self.met.get(id).is_some_and(|member| member.is_proven)
    }

    fn make_room(&mut self) {
        let others = self.met.iter().filter(|(_, member)| !member.is_bootstrap);
        if others.clone().count() < MAX_MEMBERS {
            return;
        }
        let oldest = others.min_by_key(|(id, member)| (self.neighbours.contains(*id), member.is_proven, member.heard));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.met.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(25);
    const A: MemberId = [1; 32];
    const B: MemberId = [2; 32];
    const C: MemberId = [3; 32];

    #[test]
    fn alone_everybody_is_called_and_the_bootstrap_first() {
        let now = Instant::now();
        let mut members = Members::new(&[C], SILENCE);
        members.up(A, now);
        members.up(B, now);
        [A, B].iter().for_each(|id| members.down(id));
        assert_eq!(members.wanted(now), [C, A, B]);
    }

    #[test]
    fn with_neighbours_only_who_fell_silent_is_called() {
        let now = Instant::now();
        let mut members = Members::new(&[C], SILENCE);
        members.up(A, now);
        members.up(B, now);
        members.down(&B);
        assert_eq!((members.wanted(now), members.missing(now)), (vec![C], 1));
        members.heard(&C, now);
        assert_eq!((members.wanted(now), members.missing(now)), (vec![], 0));
        assert_eq!(members.wanted(now + SILENCE), [B, C]);
        members.heard(&B, now + SILENCE);
        assert_eq!(members.wanted(now + SILENCE), [C]);
        assert_eq!(members.wanted(now + 2 * FORGET), [C]);
        // An author that was never a neighbour.
        members.heard(&[4; 32], now + 2 * FORGET);
        assert_eq!(members.wanted(now + 2 * FORGET + SILENCE), [C, [4; 32]]);
        assert_eq!([C, [4; 32]].map(|id| members.is_proven(&id)), [true, false]);
    }

    #[test]
    fn who_is_remembered_is_bounded_and_neighbours_and_bootstrap_stay() {
        let now = Instant::now();
        let mut members = Members::new(&[A], SILENCE);
        for number in 0..1000u32 {
            let mut id = [9; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            members.up(id, now + Duration::from_millis(number.into()));
            if number > 0 {
                members.down(&id);
            }
        }
        assert_eq!((members.met.len(), members.neighbours()), (MAX_MEMBERS + 1, 1));
        assert!(members.met.contains_key(&A) && members.met.keys().any(|id| id[..4] == [0; 4] && id[4] == 9));
    }
}
