//! Transports: each makes links or is a medium, and knows the wire, none knows another, or who is subscribed to what.

#[cfg(feature = "websocket")]
pub mod carried;
#[cfg(feature = "iroh")]
pub mod iroh;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "process")]
pub mod process;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "memory", feature = "websocket"))]
mod stream;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "websocket")]
pub mod websocket;
