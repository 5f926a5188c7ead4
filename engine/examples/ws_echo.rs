//! Echoes WebSocket messages over the engine's own transport and wire, so that a conformance suite can be pointed at it.
//!
//! Usage: `cargo run --example ws_echo -- 127.0.0.1:9001`. No hub and no envelopes: a text message comes back as text, a binary one as
//! binary. Port 0 takes any free one; the address is printed to stderr.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::link::{Accept, Admission, BoxFuture, Link, LinkError, Peer, Read, Refusal};
use alkpubsub_engine::model::{CloseCode, Error, Grants, Limits};
use alkpubsub_engine::transport::websocket::{ListenConfig, bind};
use alkpubsub_engine::wire::frame::{Framing, Item};
use alkpubsub_engine::wire::websocket::write_frame;

/// RFC 6455, 5.2.
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

/// How long a peer may take to end its side after the last frame.
const LINGER: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let address: SocketAddr = address.parse()?;
    let config = ListenConfig {
        host: address.ip().to_string(),
        port: address.port(),
        anyone: true,
        limits: Limits {
            // Suites send messages of 16 MiB.
            max_message_bytes: Limits::HARD_MAX_MESSAGE_BYTES,
            ..Limits::default()
        },
        ..ListenConfig::default()
    };
    let bound = bind(config).await?;
    eprintln!("listening on {}", bound.url());
    bound.serve(Arc::new(Everybody)).await;
    Ok(())
}

/// Lets everybody in, and answers.
struct Everybody;

impl Accept for Everybody {
    fn room(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }

    fn has_room(&self) -> bool {
        true
    }

    fn authorize(&self, _peer: Peer) -> BoxFuture<Result<Admission, Refusal>> {
        Box::pin(async { Ok(Admission::free(Grants::everything(None))) })
    }

    fn take(&self, link: Link, _admission: Admission) -> bool {
        tokio::spawn(async move {
            if let Err(error) = echo(link).await {
                eprintln!("{error}");
            }
        });
        true
    }

    fn report(&self, error: Error) {
        eprintln!("{error}");
    }
}

/// Answers until the link ends: what a read brought is written before the next read.
async fn echo(mut link: Link) -> io::Result<()> {
    let framing = link.framing;
    let mut out = Vec::new();
    loop {
        let mut last = None;
        let read = poll_fn(|cx| {
            link.reader.poll_read(cx, &mut |item| {
                if let Some(code) = answer(framing, item, &mut out) {
                    last = Some(code);
                }
            })
        })
        .await;
        match read {
            Ok(Read::More) => {}
            Ok(Read::Ended) => return Ok(()),
            Err(LinkError::Io(error)) => return Err(error),
            Err(LinkError::Frame(error)) => {
                framing.write_close(&mut out, error.close_code(), &error.to_string(), [0; 4]);
                last = Some(error.close_code());
            }
        }
        write(&mut link, &out).await?;
        out = Vec::new();
        if let Some(code) = last {
            return end(link, code).await;
        }
    }
}

/// Appends the answer to one item; the code of a close frame ends the link.
fn answer(framing: Framing, item: Item<'_>, out: &mut Vec<u8>) -> Option<CloseCode> {
    match item {
        Item::Text(text) => write_frame(out, TEXT, text.as_bytes(), None),
        Item::Binary(bytes) => write_frame(out, BINARY, bytes, None),
        // No framing gives them.
        Item::Malformed(_) | Item::Interrupted(_) => {}
        Item::Ping(data) => {
            framing.write_pong(out, data, [0; 4]);
        }
        Item::Pong(_) => {}
        Item::Close(code, _) => {
            framing.write_close(out, code, "", [0; 4]);
            return Some(code);
        }
    }
    None
}

async fn write(link: &mut Link, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| link.writer.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        bytes = &bytes[written..];
    }
    poll_fn(|cx| link.writer.poll_flush(cx)).await
}

/// Ends our side and waits for the peer's end: a socket that is dropped with unread bytes takes the close frame along.
async fn end(mut link: Link, code: CloseCode) -> io::Result<()> {
    poll_fn(|cx| link.writer.poll_close(cx, code, "")).await?;
    let rest = async {
        while !matches!(
            poll_fn(|cx| link.reader.poll_read(cx, &mut |_| {})).await,
            Ok(Read::Ended) | Err(LinkError::Io(_))
        ) {}
    };
    let _impolite = tokio::time::timeout(LINGER, rest).await;
    Ok(())
}
