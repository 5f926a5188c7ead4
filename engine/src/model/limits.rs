//! The bounds of a hub and of a spoke, with their defaults. The one place where these numbers stand.

use std::time::Duration;

/// What one peer may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; one more is refused with 503. Source: none, a guess.
    pub max_connections: usize,
    /// Bytes of one message (`__hello` and other control events included). Source: none, a guess.
    pub max_message_bytes: usize,
    /// Bytes of `type:id` in UTF-8. Source: none, a guess.
    pub max_topic_bytes: usize,
    /// Topics one connection may be subscribed to. Source: none, a guess.
    pub max_topics_per_connection: usize,
    /// Topics with at least one subscriber. Source: none, a guess.
    pub max_topics: usize,
    /// Malformed messages per minute before a link is closed with 1008. Source: none, a guess.
    pub max_malformed_per_minute: u32,
    /// Bytes of half-received messages of all connections together; above it the largest goes with 1009. Source: none, a guess.
    pub max_inbound_bytes: usize,
    /// Events per second that one connection may publish before its reading pauses.
    pub max_publish_per_second: Option<u64>,
    /// Their bytes per second.
    pub max_publish_bytes_per_second: Option<u64>,
    /// From the accepted socket to the end of its handshake. Source: none, a guess.
    pub handshake: Duration,
    /// How often a silent link is pinged; it is dead after 2.5 intervals without a byte. Source: none, a guess.
    pub heartbeat: Duration,
}

impl Limits {
    /// Heartbeats without a byte after which a link is dead, in tenths. Source: the contract.
    pub const DEAD_AFTER_TENTHS: u32 = 25;
    /// No option can raise `max_message_bytes` above this.
    pub const HARD_MAX_MESSAGE_BYTES: usize = 64 << 20;
    /// Default of `max_pending` on hubs and spokes: bytes accepted from the application and not yet sent, 64 per event added.
    /// Source: none, a guess.
    pub const MAX_PENDING_BYTES: usize = 64 << 20;
    /// Default of `max_buffered`: bytes that wait for one connection. Source: none, a guess.
    pub const MAX_BUFFERED_BYTES: usize = 1 << 20;
    /// What an event costs in a queue besides its bytes. Source: measured, the entry of a batch and its share of the allocation.
    pub const EVENT_OVERHEAD_BYTES: usize = 64;
    /// Default of `stall`: what all readers together wait for one slow reader, once. Source: none, a guess.
    pub const STALL: Duration = Duration::from_millis(250);
    /// Events that wait for JavaScript before sockets are no longer read. Source: none, a guess: some 20 000 small events.
    pub const INBOX_BYTES: usize = 4 << 20;
    /// Events read from sockets that wait for the hub before sockets are no longer read. Source: none, a guess.
    pub const MAX_READ_BYTES: usize = 1 << 20;
    /// Bytes of a request head. Source: the contract; nginx and Node use 8 and 16 KiB.
    pub const MAX_HEAD_BYTES: usize = 16 << 10;
    /// Header lines of a request head. Source: the contract.
    pub const MAX_HEADERS: usize = 64;
}

impl Limits {
    /// How long a link may be silent before it is dead.
    #[must_use]
    pub fn dead_after(&self) -> Duration {
        self.heartbeat * Self::DEAD_AFTER_TENTHS / 10
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_message_bytes: 1 << 20,
            max_topic_bytes: 1024,
            max_topics_per_connection: 10_000,
            max_topics: 1_000_000,
            max_malformed_per_minute: 100,
            max_inbound_bytes: 256 << 20,
            max_publish_per_second: None,
            max_publish_bytes_per_second: None,
            handshake: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
        }
    }
}
