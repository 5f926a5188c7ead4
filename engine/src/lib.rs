//! Typed events between processes: hubs, spokes and the transports between them.
//!
//! Rooms, from the inside out: `model` and `wire` say what an event is and how it lies on the wire, `route` decides who gets it and
//! what happens when it is too much, `link` has the ports that transports fill, `hub`, `spoke`, `bus` and `swarm` put them to work, `delivery` is
//! the port towards the application. `model`, `wire` and `route` know no clock, no socket and no task.

pub mod bus;
pub mod delivery;
pub mod hub;
pub mod link;
pub mod model;
pub mod route;
pub mod spoke;
pub mod swarm;
pub mod transport;
pub mod wire;

mod closing;
mod defect;
mod inbound;
mod mailbox;
mod meter;

/// The names under which the engine traces. Fields are names, sizes, codes and reasons; never payloads, headers or queries.
pub mod trace {
    /// Hubs and their connections.
    pub const HUB: &str = "alkpubsub::hub";
    /// Spokes and their links.
    pub const SPOKE: &str = "alkpubsub::spoke";
    /// Connections to Redis.
    pub const REDIS: &str = "alkpubsub::redis";
    /// Handshakes.
    pub const WEBSOCKET: &str = "alkpubsub::websocket";
    /// Members of buses.
    pub const BUS: &str = "alkpubsub::bus";
    /// Members of swarms and their neighbours.
    pub const SWARM: &str = "alkpubsub::swarm";
    /// Who meets whom within the process.
    pub const PROCESS: &str = "alkpubsub::process";
    /// Iroh connections, from their handshakes to their ends.
    pub const IROH: &str = "alkpubsub::iroh";
}
