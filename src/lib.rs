//! The addon: registers modules, nothing else.

mod convert;
mod error;
mod inbox;
mod notice;
mod port;
mod runtime;
mod text;
mod websocket;
