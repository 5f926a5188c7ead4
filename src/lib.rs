//! The addon: registers modules, nothing else.

#[cfg(feature = "bench")]
mod bench;
mod convert;
mod error;
mod inbox;
mod notice;
mod port;
mod publisher;
mod runtime;
mod text;
mod websocket;
