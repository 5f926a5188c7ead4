//! A carried side as a byte stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::model::{CloseCode, CloseReason};

use super::side::{Handle, Piece};

/// A byte stream whose bytes are carried.
pub struct CarriedStream {
    handle: Arc<Handle>,
}

impl CarriedStream {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle: Arc::new(handle) }
    }

    /// Two halves that share the side.
    #[must_use]
    pub fn into_split(self) -> (Self, Self) {
        (Self { handle: Arc::clone(&self.handle) }, self)
    }
}

impl AsyncRead for CarriedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.handle.is_lost() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = self.handle.poll_read(cx, &mut |state, piece| {
            let Piece::Bytes(bytes) = piece else { return None };
            let rest = &bytes[state.read..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            if count == rest.len() {
                return None;
            }
            state.read += count;
            Some(Piece::Bytes(bytes))
        });
        read.map(|_| Ok(()))
    }
}

impl AsyncWrite for CarriedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.handle.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.handle.poll_write(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.shut(CloseReason::new(CloseCode::NORMAL, ""));
        Poll::Ready(Ok(()))
    }
}
