//! What must hold for any input: one function per target, bytes in, a panic when it does not hold. Knows neither libFuzzer nor files.
//!
//! `fuzz_targets/` feeds these functions with libFuzzer; `engine/tests/corpus.rs` includes this file and feeds them with the committed
//! corpus, so that every `cargo test` repeats what fuzzing has found.

pub mod controls;
pub mod envelopes;
pub mod frames;
pub mod json;
pub mod memory;
pub mod outbox;
pub mod permissions;
pub mod router;

/// A check: what it is fed may be anything.
pub type Check = fn(&[u8]);

/// Every target and its check; the corpus of each stands in `corpus/<name>`.
pub const TARGETS: [(&str, Check); 6] = [
    ("frames", frames::check),
    ("envelopes", envelopes::check),
    ("controls", controls::check),
    ("permissions", permissions::check),
    ("router", router::check),
    ("outbox", outbox::check),
];

/// Some checks compare what is allocated.
#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
