//! Close codes: WebSocket's numbers, the same on every transport. Does not decide who retries; `spoke` does.

/// Why a link ended, as its two ends tell each other.
///
/// Numbers: RFC 6455, section 7.4, and the range for applications from 4000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Orderly.
    pub const NORMAL: Self = Self(1000);
    /// The peer goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// A frame broke the rules of the wire.
    pub const PROTOCOL: Self = Self(1002);
    /// No close frame carried a code; never sent.
    pub const NONE: Self = Self(1005);
    /// The link broke; never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// Text that is not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// Too many malformed messages, or a rule of the hub.
    pub const POLICY: Self = Self(1008);
    /// Larger than the receiver allows.
    pub const TOO_LARGE: Self = Self(1009);
    /// The closing side failed.
    pub const INTERNAL: Self = Self(1011);
    /// The hub restarts.
    pub const RESTART: Self = Self(1012);
    /// The receiver reads too slowly.
    pub const TOO_SLOW: Self = Self(1013);
    /// The hub does not know who this is.
    pub const NOT_IDENTIFIED: Self = Self(4401);
    /// The hub knows, and refuses.
    pub const REFUSED: Self = Self(4403);
    /// Handshake or authorisation took too long.
    pub const TIMED_OUT: Self = Self(4408);

    /// True for codes that a close frame may carry (RFC 6455, 7.4.1 and 7.4.2).
    #[must_use]
    pub fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// A close code and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// The number.
    pub code: CloseCode,
    /// At most 123 bytes on the wire.
    pub reason: String,
}

impl CloseReason {
    /// Puts a code and a text together.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}
