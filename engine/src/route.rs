//! Who gets an event, and what happens when it is too much for them. No IO, no tasks, no clock.

mod key;
pub mod outbox;
pub mod permissions;
pub mod router;

pub use key::ConnKey;
pub use outbox::Outbox;
pub use permissions::{Action, Permissions};
pub use router::Router;
