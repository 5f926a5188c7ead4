//! Error kinds of the engine → codes in JavaScript. The one table; `docs/errors.md` lists it, and a test compares them.

use alkpubsub_engine::model::ErrorKind;
use napi_derive::napi;

/// The code of an error in JavaScript.
pub(crate) fn code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidOption => "ERR_INVALID_OPTION",
        ErrorKind::Listen => "ERR_LISTEN",
        ErrorKind::NoAuthorize => "ERR_NO_AUTHORIZE",
        ErrorKind::Connect => "ERR_CONNECT",
        ErrorKind::Handshake => "ERR_HANDSHAKE",
        ErrorKind::Tls => "ERR_TLS",
        ErrorKind::ConnectionLost => "ERR_CONNECTION_LOST",
        ErrorKind::TimedOut => "ERR_TIMED_OUT",
        ErrorKind::NoHello => "ERR_NO_HELLO",
        ErrorKind::Closed => "ERR_CLOSED",
        ErrorKind::Malformed => "ERR_MALFORMED",
        ErrorKind::Protocol => "ERR_PROTOCOL",
        ErrorKind::MessageTooLarge => "ERR_MESSAGE_TOO_LARGE",
        ErrorKind::BufferFull => "ERR_BUFFER_FULL",
        ErrorKind::SlowConsumer => "ERR_SLOW_CONSUMER",
        ErrorKind::NotSubscribed => "ERR_NOT_SUBSCRIBED",
        ErrorKind::NotIdentified => "ERR_NOT_IDENTIFIED",
        ErrorKind::Forbidden => "ERR_FORBIDDEN",
        ErrorKind::InvalidId => "ERR_INVALID_ID",
        ErrorKind::Limit => "ERR_LIMIT",
        ErrorKind::StreamEnded => "ERR_STREAM_ENDED",
        ErrorKind::Refused => "ERR_REFUSED",
        ErrorKind::OutOfDescriptors => "ERR_OUT_OF_DESCRIPTORS",
        ErrorKind::Internal => "ERR_INTERNAL",
        // A kind that this table does not know yet.
        _ => "ERR_INTERNAL",
    }
}

/// Every code that the engine can raise.
#[napi(catch_unwind)]
pub(crate) fn error_codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| code(*kind)).collect()
}
