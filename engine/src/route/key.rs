//! Names connections within their hub. Does not know what they are.
//!
//! Invariant: two connections that live at the same time never share a key; one that comes to the slot of another that has gone gets another.

/// Names one connection of a hub while it lives: a slot and a generation, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnKey(u32);

/// Slots are the low 20 bits, so a hub holds a million connections at most.
const SLOT_BITS: u32 = 20;

impl ConnKey {
    /// The application itself: not a connection.
    pub const APPLICATION: Self = Self(0);
    /// Other hubs: not a connection either.
    pub const BACKPLANE: Self = Self(1);
    /// The most slots there can be.
    pub const MAX_SLOTS: usize = (1 << SLOT_BITS) - 1;

    /// The key of a slot in its `generation`, which counts from one and wraps.
    #[must_use]
    pub fn new(slot: usize, generation: u32) -> Self {
        let generation = generation % ((1 << (32 - SLOT_BITS)) - 1) + 1;
        Self(generation << SLOT_BITS | slot as u32)
    }

    /// False for what is no connection.
    #[must_use]
    pub fn is_connection(self) -> bool {
        self.0 >> SLOT_BITS != 0
    }

    /// The slot.
    #[must_use]
    pub fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }

    /// The number that stands for this connection outside.
    #[must_use]
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// The key that [`Self::to_bits`] came from.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_slot_and_are_never_the_application() {
        for generation in [0, 1, 4094, 4095, 4096, u32::MAX] {
            let key = ConnKey::new(77, generation);
            assert_eq!(key.slot(), 77);
            assert!(
                key.is_connection() && !ConnKey::APPLICATION.is_connection() && !ConnKey::BACKPLANE.is_connection()
            );
            assert_eq!(ConnKey::from_bits(key.to_bits()), key);
        }
        assert_ne!(ConnKey::new(1, 1), ConnKey::new(1, 2));
    }
}
