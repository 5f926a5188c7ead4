//! The load client of the benchmarks: many bare WebSocket connections that subscribe and count frames, cheaply.
//!
//! `load <host:port> <connections> <topics>`: connection i subscribes to `bench:t<i % topics>`. Prints a
//! line of JSON whenever a line comes on standard input: what was received since the start. Ends with its input.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alkpubsub_engine::wire::frame::{Decoder, Framing, Item};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Default)]
struct Counts {
    connected: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, connections, topics] = &arguments[..] else {
        eprintln!("usage: load <host:port> <connections> <topics>");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<usize>().map_err(io::Error::other);
    let (connections, topics) = (number(connections)?, number(topics)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let counts = Arc::new(Counts::default());
    for index in 0..connections {
        let (address, counts) = (address.clone(), Arc::clone(&counts));
        runtime.spawn(async move {
            if let Err(error) = connection(&address, index % topics, &counts).await {
                eprintln!("connection {index}: {error}");
            }
            counts.lost.fetch_add(1, Ordering::Relaxed);
        });
    }
    for line in io::stdin().lock().lines() {
        line?;
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

async fn connection(address: &str, topic: usize, counts: &Counts) -> io::Result<()> {
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
    }
}
