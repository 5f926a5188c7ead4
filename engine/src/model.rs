//! What an event is, how large it may be, and what can go wrong. No IO, no tasks, no clock.

mod close;
mod error;
mod grants;
mod limits;
mod published;
mod span;

pub use close::{CloseCode, CloseReason};
pub use error::{Error, ErrorKind};
pub use grants::{Allowed, Grants};
pub use limits::Limits;
pub use published::Published;
pub use span::{EventSpan, Prefix};

/// True for types that belong to the protocol (`__subscribe`, …) and never reach a listener.
#[must_use]
pub fn is_reserved(type_: &str) -> bool {
    type_.starts_with("__")
}
