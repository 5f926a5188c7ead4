//! The addon: registers modules, nothing else.

mod attached;
mod backplane;
#[cfg(feature = "bench")]
mod bench;
#[cfg(all(feature = "bench", feature = "iroh"))]
mod bench_iroh;
mod bus;
mod convert;
mod error;
mod heap;
mod hub;
mod inbox;
#[cfg(feature = "iroh")]
mod iroh;
#[cfg(feature = "iroh")]
mod iroh_connection;
#[cfg(feature = "iroh")]
mod iroh_facts;
#[cfg(feature = "iroh")]
mod iroh_incoming;
mod memory;
mod notice;
mod port;
mod process;
mod publisher;
#[cfg(feature = "redis")]
mod redis;
mod runtime;
mod spoke;
#[cfg(feature = "iroh")]
mod swarm;
mod text;
mod trace;
mod websocket;
