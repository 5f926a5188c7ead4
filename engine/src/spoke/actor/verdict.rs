//! What the end of a link, or of an attempt to make one, means: whether another one is made, and when at the earliest. Does not wait.

use std::time::Duration;

use super::SpokeActor;
use crate::delivery::Failure;
use crate::link::ConnectError;
use crate::model::{CloseCode, CloseReason, ErrorKind};
use crate::spoke::session::SessionEnd;

/// Protocol errors in a row after which the other end is taken for something else. Source: the contract.
const MAX_PROTOCOL_ERRORS: u32 = 3;

/// Why a spoke is over.
pub(super) struct Over {
    pub(super) reason: CloseReason,
    pub(super) error: Option<Failure>,
}

/// A link or an attempt that failed and may be made good.
pub(super) struct Lost {
    pub(super) reason: CloseReason,
    pub(super) failure: Failure,
    /// What the hub asked to wait.
    pub(super) delay: Option<Duration>,
}

impl SpokeActor {
    /// What the end of a link means: the table of close codes in `docs/protocol.md`.
    pub(super) fn judge(&mut self, end: SessionEnd) -> Result<Lost, Over> {
        if let Some(reason) = self.shared.closing.reason() {
            return Err(Over { reason, error: None });
        }
        let code = end.reason.code;
        let is_protocol_error = matches!(code, CloseCode::PROTOCOL | CloseCode::NOT_UTF8 | CloseCode::TOO_LARGE);
        self.protocol_errors = if is_protocol_error { self.protocol_errors + 1 } else { 0 };
        let is_unidentified_again = self.is_unidentified_again(end.kind);
        let failure = Failure { kind: end.kind, message: end.message() };
        let is_final = match code {
            CloseCode::NORMAL => {
                return Err(Over { reason: end.reason, error: None });
            }
            CloseCode::REFUSED => true,
            CloseCode::NOT_IDENTIFIED => is_unidentified_again,
            _ => end.kind == ErrorKind::NoHello || self.protocol_errors >= MAX_PROTOCOL_ERRORS,
        };
        if is_final {
            return Err(Over { reason: end.reason, error: Some(failure) });
        }
        let delay = retry_after(&end.reason);
        Ok(Lost { reason: end.reason, failure, delay })
    }

    /// As [`Self::judge`], for an attempt that led to no link.
    pub(super) fn judge_attempt(&mut self, ConnectError { error, is_terminal }: ConnectError) -> Result<Lost, Over> {
        let failure = Failure { kind: error.kind(), message: error.to_string() };
        let reason = CloseReason::new(CloseCode::ABNORMAL, failure.message.clone());
        if is_terminal || self.is_unidentified_again(failure.kind) || !self.may_retry() {
            return Err(Over { reason, error: Some(failure) });
        }
        Ok(Lost { reason, failure, delay: None })
    }

    /// Who is not known is asked for credentials anew once; a second time in a row is the end.
    fn is_unidentified_again(&mut self, kind: ErrorKind) -> bool {
        let is_unidentified = kind == ErrorKind::NotIdentified;
        std::mem::replace(&mut self.was_unidentified, is_unidentified) && is_unidentified
    }
}

/// `retryAfterMs=…` in a close reason, at most a minute.
fn retry_after(reason: &CloseReason) -> Option<Duration> {
    const MAX: u64 = 60_000;
    let (_, value) = reason.reason.split_once("retryAfterMs=")?;
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    Some(Duration::from_millis(digits.parse::<u64>().ok()?.min(MAX)))
}
