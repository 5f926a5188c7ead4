//! WebSocket: handshakes as server and client over TCP and TLS; frames are `wire/websocket`.
//!
//! Does not know topics. No extension is negotiated, no redirect followed, `X-Forwarded-*` is not believed.

mod attached;
mod client;
mod head;
mod server;
mod tcp;
mod tls;
mod upgrade;

pub use attached::{Doorway, Visitor};
pub use client::{ClientConfig, WebSocketConnector};
pub use server::{Bound, ListenConfig, bind};
pub use tls::ServerTls;
pub use upgrade::LocalEnd;
