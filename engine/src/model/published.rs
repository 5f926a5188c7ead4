//! What became of an event that the application published.

/// The answer of `publish`, known at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It will be sent to whoever wants it.
    Accepted,
    /// It is larger than `max_message_bytes`, or its topic than `max_topic_bytes`, and was not taken.
    TooLarge,
    /// No room: it was dropped, counted and will be reported.
    Full,
    /// The target is closed: it was dropped.
    Closed,
}
