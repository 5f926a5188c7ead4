//! Errors of the engine: a kind that can be compared, a text for people, the cause. Codes for JavaScript are the glue's.

use std::error::Error as StdError;

/// What went wrong, from the caller's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option has a value that cannot work.
    InvalidOption,
    /// A hub could not bind its address.
    Listen,
    /// Binding anything but loopback needs `authorize`, or `anyone: true`.
    NoAuthorize,
    /// No connection could be made.
    Connect,
    /// The peer's answer was not a WebSocket handshake, or refused it.
    Handshake,
    /// TLS failed: certificate, name or protocol.
    Tls,
    /// An established link broke.
    ConnectionLost,
    /// Something took longer than allowed.
    TimedOut,
    /// `peer: "native"` was asked for and no hello came.
    NoHello,
    /// The target is closed.
    Closed,
    /// A message was not an envelope.
    Malformed,
    /// A frame broke the rules of the wire.
    Protocol,
    /// A message is larger than allowed.
    MessageTooLarge,
    /// A queue was full, events were dropped.
    BufferFull,
    /// The peer reads too slowly and was cut off.
    SlowConsumer,
    /// The topic has no listener.
    NotSubscribed,
    /// The hub does not know who this is.
    NotIdentified,
    /// The hub refused for lack of permission.
    Forbidden,
    /// A text that names no Iroh endpoint: neither an id nor a ticket.
    InvalidId,
    /// A limit of the hub was reached.
    Limit,
    /// A stream ended before everything that was asked for had come or gone.
    StreamEnded,
    /// The hub refused for another reason.
    Refused,
    /// The system has no descriptors left.
    OutOfDescriptors,
    /// A defect of ours.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables that must be complete.
    pub const ALL: &'static [Self] = &[
        Self::InvalidOption,
        Self::Listen,
        Self::NoAuthorize,
        Self::Connect,
        Self::Handshake,
        Self::Tls,
        Self::ConnectionLost,
        Self::TimedOut,
        Self::NoHello,
        Self::Closed,
        Self::Malformed,
        Self::Protocol,
        Self::MessageTooLarge,
        Self::BufferFull,
        Self::SlowConsumer,
        Self::NotSubscribed,
        Self::NotIdentified,
        Self::Forbidden,
        Self::InvalidId,
        Self::Limit,
        Self::StreamEnded,
        Self::Refused,
        Self::OutOfDescriptors,
        Self::Internal,
    ];
}

/// An error with its kind, a message that says what to do, and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a cause below it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error that keeps its cause; the cause's text is appended to the message.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self { kind, message: format!("{}: {source}", message.into()), source: Some(source) }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
