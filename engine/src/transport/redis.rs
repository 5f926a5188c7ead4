//! Redis as the other end of a link: events become PUBLISH, subscriptions SUBSCRIBE, and what Redis answers becomes what a hub would say.
//!
//! Does not know targets or queues. One link is two connections, one that publishes and one that subscribes, which live and
//! die together; over the shards of a cluster it is such a pair for each node, and lives as long as any node answers (`shards.rs`). Messages
//! are read from the sockets only when the link is read: whoever stops reading stops the sockets.

mod address;
mod answer;
mod channel;
mod cluster;
mod dial;
mod follow;
mod link;
mod pipe;
mod publishing;
mod reply;
mod sentinel;
mod shards;
mod slots;
mod subscribing;

pub use dial::{RedisConfig, RedisConnector, RedisServers};
