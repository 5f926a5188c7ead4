//! A carried side as a link of whole messages.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::link::{LinkError, LinkRead, LinkWrite, Read};
use crate::model::{CloseCode, CloseReason};
use crate::wire::frame::{Decoder, FrameError, Framing, Item};

use super::side::{Handle, Piece};

/// Reads messages that are carried one by one.
pub struct MessageReader {
    handle: Arc<Handle>,
    max: usize,
    is_over: bool,
}

impl MessageReader {
    pub(super) fn new(handle: Arc<Handle>, max: usize) -> Self {
        Self { handle, max, is_over: false }
    }
}

impl LinkRead for MessageReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        let mut excess = None;
        let (max, is_over) = (self.max, &mut self.is_over);
        let read = self.handle.poll_read(cx, &mut |_, piece| {
            if piece.len() > max {
                excess.get_or_insert(piece.len());
            }
            *is_over |= excess.is_some();
            match &piece {
                _ if *is_over => {}
                Piece::Text(text) => sink(Item::Text(text)),
                Piece::Bytes(bytes) => sink(Item::Binary(bytes)),
            }
            None
        });
        if let Some(len) = excess {
            return Poll::Ready(Err(FrameError::TooLarge { len: len as u64, max }.into()));
        }
        read.map(|ended| match ended {
            None => Ok(Read::More),
            Some(farewell) => {
                if let Some(CloseReason { code, reason }) = &farewell {
                    sink(Item::Close(*code, reason));
                }
                Ok(Read::Ended)
            }
        })
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

/// Writes messages, framed by [`Framing::Length`], for somebody who takes them apart with [`split_messages`].
pub struct MessageWriter {
    handle: Arc<Handle>,
}

impl MessageWriter {
    /// How messages have to be framed for it.
    pub const FRAMING: Framing = Framing::Length;

    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self { handle }
    }

    /// Says that nothing comes, and why.
    pub fn refuse(self, code: CloseCode, reason: &str) {
        self.handle.shut(CloseReason::new(code, reason));
    }
}

impl LinkWrite for MessageWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.handle.poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>, code: CloseCode, reason: &str) -> Poll<io::Result<()>> {
        self.handle.shut(CloseReason::new(code, reason));
        Poll::Ready(Ok(()))
    }
}

/// The messages in what a [`MessageWriter`] sent, in order.
pub fn split_messages(bytes: &[u8], mut give: impl FnMut(&str)) {
    let mut bytes = bytes.to_vec();
    let mut decoder: Decoder = MessageWriter::FRAMING.peer_decoder(usize::MAX >> 1);
    let whole = decoder.feed(&mut bytes, &mut |item| {
        if let Item::Text(message) = item {
            give(message);
        }
    });
    debug_assert!(whole.is_ok(), "these frames are our own");
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::{Carrier, Task};
    use super::*;

    fn read(reader: &mut MessageReader) -> (Vec<String>, Poll<Result<Read, LinkError>>) {
        let mut items = Vec::new();
        let result =
            reader.poll_read(&mut Context::from_waker(Waker::noop()), &mut |item| items.push(format!("{item:?}")));
        (items, result)
    }

    #[test]
    fn messages_come_one_by_one_up_to_their_limit_and_end_with_the_reason_of_the_socket() {
        let carrier = Carrier::new(|| {});
        let (mut reader, mut writer, id) = carrier.messages(4);
        assert!(read(&mut reader).1.is_pending());
        carrier.receive(id, "four".into());
        carrier.feed(id, &[0xff]);
        assert!(
            matches!(read(&mut reader), (items, Poll::Ready(Ok(Read::More))) if items == ["Text(\"four\")", "Binary([255])"])
        );
        carrier.end(id, Some(CloseReason::new(CloseCode(4000), "bye")));
        assert!(
            matches!(read(&mut reader), (items, Poll::Ready(Ok(Read::Ended))) if items == ["Close(CloseCode(4000), \"bye\")"])
        );

        let mut frames = Vec::new();
        for message in ["a", "žluť"] {
            MessageWriter::FRAMING.write_message(&mut frames, message, [0; 4]);
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writer.poll_write(&mut cx, &[IoSlice::new(&frames)]).is_ready());
        assert!(writer.poll_close(&mut cx, CloseCode::TOO_SLOW, "slow").is_ready());
        assert!(matches!(writer.poll_write(&mut cx, &[IoSlice::new(&frames)]), Poll::Ready(Err(_))));
        let (load, _) = carrier.take();
        let mut messages = Vec::new();
        split_messages(&load.bytes, |message| messages.push(message.to_owned()));
        assert_eq!(messages, ["a", "žluť"]);
        assert_eq!(load.items[1].1, Task::End(CloseReason::new(CloseCode::TOO_SLOW, "slow")));

        let (mut reader, _writer, id) = carrier.messages(4);
        carrier.receive(id, "fives".into());
        assert!(matches!(
            read(&mut reader).1,
            Poll::Ready(Err(LinkError::Frame(FrameError::TooLarge { len: 5, max: 4 })))
        ));
    }
}
