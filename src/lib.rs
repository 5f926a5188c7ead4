//! The addon: registers modules, nothing else.

mod attached;
#[cfg(feature = "bench")]
mod bench;
mod convert;
mod error;
mod hub;
mod inbox;
mod memory;
mod notice;
mod port;
mod publisher;
mod runtime;
mod spoke;
mod text;
mod trace;
mod websocket;
