//! Redis as the other end of a link: events become PUBLISH, subscriptions SUBSCRIBE, and what Redis answers becomes what a hub would say.
//!
//! Does not know targets, queues or reconnecting. One link is two connections, one that publishes and one that subscribes, which live and
//! die together. Messages are read from the socket only when the link is read: whoever stops reading stops the socket.

mod address;
mod channel;
mod dial;
mod link;
mod publishing;
mod reply;
mod subscribing;

pub use dial::{RedisConfig, RedisConnector};
