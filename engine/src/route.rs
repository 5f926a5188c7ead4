//! Who gets an event, and what happens when it is too much for them. No IO, no tasks, no clock.

pub mod outbox;
pub mod permissions;
pub mod router;

pub use outbox::Outbox;
pub use permissions::{Action, Permissions};
pub use router::{ConnKey, Router};
