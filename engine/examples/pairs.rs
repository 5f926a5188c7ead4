//! The load client of the benchmark of attached hubs: bare WebSocket connections that subscribe and count frames, and pairs of them that keep
//! events going round.
//!
//! `pairs <host:port> <connections> <topics> [window]`: connection i subscribes to `bench:t<i % topics>`. Prints a
//! line of JSON whenever a line comes on standard input: what was received since the start. Ends with its input.
//! With a window, from the first line on: connections 2k and 2k+1 (a topic each) keep so many events of 200 bytes going round between them.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alkpubsub_engine::wire::frame::{Decoder, Framing, Item};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

#[derive(Default)]
struct Counts {
    connected: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (address, connections, topics, window) = match &arguments[..] {
        [_, address, connections, topics] => (address, connections, topics, "0"),
        [_, address, connections, topics, window] => (address, connections, topics, &**window),
        _ => {
            eprintln!("usage: pairs <host:port> <connections> <topics> [window]");
            std::process::exit(2);
        }
    };
    let number = |text: &str| text.parse::<usize>().map_err(io::Error::other);
    let (connections, topics, window) = (number(connections)?, number(topics)?, number(window)?);
    let (go, going) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let counts = Arc::new(Counts::default());
    for index in 0..connections {
        let (address, counts, going) = (address.clone(), Arc::clone(&counts), going.clone());
        runtime.spawn(async move {
            if let Err(error) = connection(&address, index % topics, &counts, window, going).await {
                eprintln!("connection {index}: {error}");
            }
            counts.lost.fetch_add(1, Ordering::Relaxed);
        });
    }
    for line in io::stdin().lock().lines() {
        line?;
        go.send_replace(true);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut out = io::stdout().lock();
        writeln!(
            out,
            r#"{{"connected":{},"frames":{},"bytes":{},"lost":{}}}"#,
            read(&counts.connected),
            read(&counts.frames),
            read(&counts.bytes),
            read(&counts.lost)
        )?;
        out.flush()?;
    }
    Ok(())
}

async fn connection(
    address: &str,
    topic: usize,
    counts: &Counts,
    window: usize,
    mut going: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 64 << 10];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let subscribe = format!(r#"{{"type":"__subscribe","id":"","payload":{{"topic":"bench:t{topic}"}}}}"#);
    let mut out = Vec::new();
    Framing::WebSocketClient.write_message(&mut out, &subscribe, [0; 4]);
    stream.write_all(&out).await?;
    counts.connected.fetch_add(1, Ordering::Relaxed);
    let event = event_for(topic ^ 1);
    if window > 0 {
        going.wait_for(|is_going| *is_going).await.map_err(io::Error::other)?;
        stream.write_all(&event.repeat(window)).await?;
    }
    let mut decoder: Decoder = Framing::WebSocketClient.peer_decoder(64 << 20);
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        let mut frames = 0;
        let decoded = decoder.feed(&mut buffer[..len], &mut |item| frames += u64::from(matches!(item, Item::Text(_))));
        decoded.map_err(io::Error::other)?;
        counts.frames.fetch_add(frames, Ordering::Relaxed);
        counts.bytes.fetch_add(len as u64, Ordering::Relaxed);
        if window > 0 {
            stream.write_all(&event.repeat(frames as usize)).await?;
        }
    }
}

/// An event of 200 bytes as a frame.
fn event_for(topic: usize) -> Vec<u8> {
    let head = format!(r#"{{"type":"bench","id":"t{topic}","payload":""#);
    let text = format!(r#"{head}{}"}}"#, "x".repeat(200 - 2 - head.len()));
    let mut frame = Vec::new();
    Framing::WebSocketClient.write_message(&mut frame, &text, [0; 4]);
    frame
}
