//! What is legal on the wire: envelopes, control events, frames, runs. No IO, no tasks: bytes in, values out.

pub mod control;
pub mod envelope;
pub mod frame;
pub mod length;
pub mod run;
pub mod websocket;
