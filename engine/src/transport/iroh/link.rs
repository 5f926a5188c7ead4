//! A link over one bidirectional stream: one task that reads it, one that writes it. Does not dial or accept.
//!
//! Invariants: the reading task reads until the stream ends, whatever becomes of the link; a close code is the application close code of
//! the connection, and what was sent before it has arrived, or `LINGER` has passed.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use tokio::task::coop;
use tokio::time::timeout;
use tracing::debug;

use super::endpoint::IrohEndpoint;
use super::inflow::{FIRST_CREDIT, Inflow, Overflow, StreamEnd, Taken, link_error};
use super::ledger::Claim;
use super::outflow::{Next, Outflow};
use crate::link::{Link, LinkError, LinkRead, LinkWrite, Peer, Read};
use crate::model::{CloseCode, CloseReason};
use crate::trace;
use crate::wire::frame::{Decoder, Framing, Item};
use crate::wire::{control, length};

/// Pieces of one read. Source: measured, one at a time gives a message per batch.
const CHUNKS: usize = 64;
/// How long what was sent may take to arrive before the connection is closed. Source: none, a guess.
const LINGER: Duration = Duration::from_secs(1);
/// How long a peer that has ended its stream may take to say why. Source: none, a guess.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long the first words may take before the stream is opened without. Source: none, a guess: far less than a handshake may take.
const OPENING: Duration = Duration::from_millis(250);
/// A topic that nobody can have subscribed to: its type is empty.
const NO_TOPIC: &str = ":";
/// Bytes of a close reason. Source: RFC 6455, 5.5: what fits everywhere.
const MAX_REASON: usize = 123;
/// Room for the features of a hello.
const FEATURES: &[&str] = &["credit"];

/// What a link is made of.
pub(super) struct Parts {
    pub(super) endpoint: IrohEndpoint,
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    /// The protocol's name promises that the peer says hello.
    pub(super) is_native: bool,
    /// This side has opened the stream: the peer hears of it with the first byte.
    pub(super) is_opener: bool,
    pub(super) max_message: usize,
    /// What may wait of it beyond the first credit.
    pub(super) claim: Claim,
}

/// What is known of the other end of a connection.
pub(super) fn peer_of(connection: &Connection) -> Peer {
    let paths = connection.paths();
    let selected = paths.iter().find(|path| path.is_selected());
    let remote_address = selected.and_then(|path| match path.remote_addr() {
        iroh::TransportAddr::Ip(address) => Some(*address),
        _ => None,
    });
    Peer {
        transport: "iroh",
        remote_address,
        identity: Some(format!("iroh:{}", connection.remote_id())),
        protocols: vec![String::from_utf8_lossy(connection.alpn()).into_owned()],
        ..Peer::default()
    }
}

/// Starts the tasks of a link. Must be called within a runtime.
pub(super) fn make(parts: Parts) -> Link {
    let Parts { endpoint, connection, send, recv, is_native, is_opener, max_message, claim } = parts;
    let peer = peer_of(&connection);
    let outflow = Arc::new(Outflow::new(is_native.then_some(FIRST_CREDIT as i64)));
    let inflow = Arc::new(Inflow::new(max_message, is_native, claim, Arc::clone(&outflow)));
    tokio::spawn(read_all(recv, connection.clone(), Arc::clone(&inflow), endpoint.clone()));
    // A native peer says hello at once.
    let opening = is_opener && !is_native;
    tokio::spawn(write_all(send, connection, Arc::clone(&outflow), opening, endpoint.clone()));
    let decoder = Framing::Length.peer_decoder(max_message);
    Link {
        reader: Box::new(IrohReader { inflow, decoder }),
        writer: Box::new(IrohWriter { outflow, endpoint }),
        framing: Framing::Length,
        peer,
        is_native: Some(is_native),
        features: if is_native { FEATURES } else { &[] },
    }
}

/// Moves everything that comes out of the QUIC engine, until nothing more comes.
async fn read_all(mut recv: RecvStream, connection: Connection, inflow: Arc<Inflow>, _endpoint: IrohEndpoint) {
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    let end = loop {
        match recv.read_many_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                let put = chunks[..count].iter_mut().try_for_each(|chunk| inflow.put(&std::mem::take(chunk)));
                if put == Err(Overflow) {
                    break cut(&connection);
                }
            }
            Ok(None) => break last_word(&connection).await,
            Err(ReadError::ConnectionLost(error)) => break end_of(&error),
            Err(ReadError::Reset(code)) => {
                break StreamEnd::Failed(
                    io::ErrorKind::ConnectionReset,
                    format!("the peer reset the stream with {code}"),
                );
            }
            Err(error) => break StreamEnd::Failed(io::ErrorKind::Other, error.to_string()),
        }
    };
    debug!(target: trace::IROH, id = %connection.remote_id().fmt_short(), ?end, "stream ended");
    inflow.end(end);
}

/// A peer without credit has sent more than anybody took.
fn cut(connection: &Connection) -> StreamEnd {
    let reason = CloseReason::new(CloseCode::TOO_SLOW, "more came than was read, and the peer cannot be told to wait");
    close(connection, &reason);
    StreamEnd::Closed(reason)
}

/// The stream is over: the connection may say why a moment later.
async fn last_word(connection: &Connection) -> StreamEnd {
    match timeout(LAST_WORD, connection.closed()).await {
        Ok(error) => end_of(&error),
        Err(_) => StreamEnd::Silent,
    }
}

fn end_of(error: &ConnectionError) -> StreamEnd {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let (code, reason) = (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason));
            match u16::try_from(code).map(CloseCode) {
                Ok(code) if code.is_sendable() => StreamEnd::Closed(CloseReason::new(code, reason)),
                Ok(CloseCode(0)) if reason.is_empty() => StreamEnd::Silent,
                _ => StreamEnd::Failed(
                    io::ErrorKind::ConnectionReset,
                    format!("the peer closed the connection with code {code}: {reason}"),
                ),
            }
        }
        ConnectionError::LocallyClosed => StreamEnd::Silent,
        ConnectionError::TimedOut => StreamEnd::Failed(io::ErrorKind::TimedOut, "no packet came for too long".into()),
        other => StreamEnd::Failed(io::ErrorKind::ConnectionReset, other.to_string()),
    }
}

/// Writes what waits, until the link ends; then sees to it that it arrives, and closes the connection.
async fn write_all(
    mut send: SendStream,
    connection: Connection,
    outflow: Arc<Outflow>,
    opening: bool,
    _endpoint: IrohEndpoint,
) {
    let mut next = if opening { first_of(&outflow).await } else { outflow.next().await };
    loop {
        match next {
            Next::Write(bytes) => {
                if let Err(error) = send.write_chunk(bytes).await {
                    outflow.break_off(&error.to_string());
                }
            }
            Next::End(reason, _stay) => {
                if reason.code != CloseCode::ABNORMAL && send.finish().is_ok() {
                    let arrived = async {
                        tokio::select! {
                            _ = send.stopped() => {}
                            _ = connection.closed() => {}
                        }
                    };
                    let _late = timeout(LINGER, arrived).await;
                }
                return close(&connection, &reason);
            }
        }
        next = outflow.next().await;
    }
}

/// What is said first on a stream. A peer that knows no hello would not hear of the stream until somebody subscribes or publishes, and take the
/// connection for one that never comes to the point: so it is told something that changes nothing.
async fn first_of(outflow: &Outflow) -> Next {
    match timeout(OPENING, outflow.next()).await {
        Ok(next) => next,
        Err(_) => {
            let (mut text, mut frame) = (String::new(), Vec::new());
            control::write_unsubscribe(&mut text, NO_TOPIC);
            length::write_frame(&mut frame, text.as_bytes());
            Next::Write(frame.into())
        }
    }
}

/// Closes a connection; codes that are never sent stay unsaid.
pub(super) fn close(connection: &Connection, reason: &CloseReason) {
    let CloseReason { code, reason } = reason;
    if code.is_sendable() {
        let fits = reason.floor_char_boundary(MAX_REASON);
        connection.close(VarInt::from_u32(code.0.into()), &reason.as_bytes()[..fits]);
    } else {
        connection.close(VarInt::from_u32(0), b"");
    }
}

struct IrohReader {
    inflow: Arc<Inflow>,
    decoder: Decoder,
}

impl LinkRead for IrohReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        let turn = ready!(coop::poll_proceed(cx));
        let taken = ready!(self.inflow.poll_take(cx));
        turn.made_progress();
        match taken {
            Taken::Bytes(mut bytes) => {
                self.decoder.feed(&mut bytes, sink)?;
                Poll::Ready(Ok(Read::More))
            }
            Taken::End(end) => {
                if let Some(CloseReason { code, reason }) = link_error(end)? {
                    sink(Item::Close(code, &reason));
                }
                Poll::Ready(Ok(Read::Ended))
            }
        }
    }

    fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
    }
}

impl Drop for IrohReader {
    fn drop(&mut self) {
        self.inflow.abandon();
    }
}

struct IrohWriter {
    outflow: Arc<Outflow>,
    endpoint: IrohEndpoint,
}

impl LinkWrite for IrohWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let turn = ready!(coop::poll_proceed(cx));
        let taken = self.outflow.poll_take(cx, bytes);
        if taken.is_ready() {
            turn.made_progress();
        }
        taken
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>, code: CloseCode, reason: &str) -> Poll<io::Result<()>> {
        self.outflow.end(CloseReason::new(code, reason), self.endpoint.stay());
        Poll::Ready(Ok(()))
    }
}

impl Drop for IrohWriter {
    fn drop(&mut self) {
        self.outflow.end(CloseReason::new(CloseCode::ABNORMAL, ""), self.endpoint.stay());
    }
}
