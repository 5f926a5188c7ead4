//! Transports: each makes links and knows the wire, none knows another, or who is subscribed to what.

#[cfg(feature = "websocket")]
pub mod carried;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(any(feature = "memory", feature = "websocket"))]
mod stream;
#[cfg(feature = "websocket")]
pub mod websocket;
