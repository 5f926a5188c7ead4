//! The load client of the benchmarks: many bare WebSocket connections that subscribe and count frames, cheaply.
//!
//! `load <host:port> <connections> <topics> [window]`: connection i subscribes to `bench:t<i % topics>`. Each line on standard input is a command
//! and is answered by a line of JSON with the counts since the start. Ends with its input.
//!
//! With a window, from the first command on: connections 2k and 2k+1 (a topic each) keep so many events of 200 bytes going round between them.
//!
//! - an empty line: nothing but the answer
//! - `stop <i>`: connection i reads no more, and is left out of what is said of the others
//! - `mark`: pauses, and the number of frames that the slowest has, count from here
//! - `publish <count> <bytes>`: one more connection publishes so many events of so many bytes to `bench:t0`, as fast as the hub takes them

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use alkpubsub_engine::wire::frame::{Decoder, Framing, Item};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Between two reads of one connection while frames flow, in microseconds. Source: a guess, well above what a busy machine does by itself.
const LONG_PAUSE_US: u64 = 50_000;

/// What one connection has got.
#[derive(Default)]
struct Reader {
    connected: AtomicBool,
    lost: AtomicBool,
    stopped: AtomicBool,
    frames: AtomicU64,
    bytes: AtomicU64,
    frames_at_mark: AtomicU64,
    /// Microseconds since the start at which the last bytes came.
    last_read: AtomicU64,
    longest_pause: AtomicU64,
    long_pauses: AtomicU64,
    paused: AtomicU64,
}

struct Load {
    address: String,
    window: usize,
    going: watch::Sender<bool>,
    started: Instant,
    marked: AtomicU64,
    published: AtomicU64,
    readers: Vec<Reader>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (address, connections, topics, window) = match &arguments[..] {
        [_, address, connections, topics] => (address, connections, topics, "0"),
        [_, address, connections, topics, window] => (address, connections, topics, &**window),
        _ => {
            eprintln!("usage: load <host:port> <connections> <topics> [window]");
            std::process::exit(2);
        }
    };
    let number = |text: &str| text.parse::<usize>().map_err(io::Error::other);
    let (connections, topics, window) = (number(connections)?, number(topics)?, number(window)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let load = Arc::new(Load {
        address: address.clone(),
        window,
        going: watch::Sender::new(false),
        started: Instant::now(),
        marked: AtomicU64::new(0),
        published: AtomicU64::new(0),
        readers: (0..connections).map(|_| Reader::default()).collect(),
    });
    for index in 0..connections {
        let load = Arc::clone(&load);
        runtime.spawn(async move {
            if let Err(error) = load.read(index, index % topics).await {
                eprintln!("connection {index}: {error}");
            }
            load.readers[index].lost.store(true, Ordering::Relaxed);
        });
    }
    for line in io::stdin().lock().lines() {
        load.going.send_replace(true);
        perform(&line?, &load, &runtime)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", load.counts())?;
        out.flush()?;
    }
    Ok(())
}

fn perform(line: &str, load: &Arc<Load>, runtime: &tokio::runtime::Runtime) -> io::Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| text.parse::<usize>().map_err(io::Error::other);
    match words[..] {
        [] => {}
        ["mark"] => load.mark(),
        ["stop", index] => load.readers[number(index)?].stopped.store(true, Ordering::Relaxed),
        ["publish", count, bytes] => {
            let (load, count, bytes) = (Arc::clone(load), number(count)?, number(bytes)?);
            runtime.spawn(async move {
                if let Err(error) = load.publish(count, bytes).await {
                    eprintln!("publisher: {error}");
                }
            });
        }
        _ => return Err(io::Error::other(format!("unknown command {line:?}"))),
    }
    Ok(())
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Load {
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn mark(&self) {
        self.marked.store(self.now_us(), Ordering::Relaxed);
        for reader in &self.readers {
            reader.frames_at_mark.store(get(&reader.frames), Ordering::Relaxed);
            for counter in [&reader.last_read, &reader.longest_pause, &reader.long_pauses, &reader.paused] {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }

    fn counts(&self) -> String {
        let total = |count: fn(&Reader) -> u64| self.readers.iter().map(count).sum::<u64>();
        let others = || self.readers.iter().filter(|reader| !reader.stopped.load(Ordering::Relaxed));
        let most = |count: fn(&Reader) -> u64| others().map(count).max().unwrap_or(0);
        let least = others().map(|reader| get(&reader.frames) - get(&reader.frames_at_mark)).min().unwrap_or(0);
        format!(
            r#"{{"connected":{},"frames":{},"bytes":{},"lost":{},"othersLost":{},"published":{},"least":{},"elapsedUs":{},"longestPauseUs":{},"longPauses":{},"pausedUs":{}}}"#,
            total(|reader| u64::from(reader.connected.load(Ordering::Relaxed))),
            total(|reader| get(&reader.frames)),
            total(|reader| get(&reader.bytes)),
            total(|reader| u64::from(reader.lost.load(Ordering::Relaxed))),
            others().filter(|reader| reader.lost.load(Ordering::Relaxed)).count(),
            get(&self.published),
            least,
            most(|reader| get(&reader.last_read)).saturating_sub(get(&self.marked)),
            most(|reader| get(&reader.longest_pause)),
            most(|reader| get(&reader.long_pauses)),
            most(|reader| get(&reader.paused)),
        )
    }

    async fn read(&self, index: usize, topic: usize) -> io::Result<()> {
        let reader = &self.readers[index];
        let mut stream = self.connect().await?;
        let subscribe = format!(r#"{{"type":"__subscribe","id":"","payload":{{"topic":"bench:t{topic}"}}}}"#);
        let mut out = Vec::new();
        Framing::WebSocketClient.write_message(&mut out, &subscribe, [0; 4]);
        stream.write_all(&out).await?;
        reader.connected.store(true, Ordering::Relaxed);
        let event = event_for(topic ^ 1);
        if self.window > 0 {
            self.going.subscribe().wait_for(|is_going| *is_going).await.map_err(io::Error::other)?;
            stream.write_all(&event.repeat(self.window)).await?;
        }
        let mut buffer = vec![0; 64 << 10];
        let mut decoder: Decoder = Framing::WebSocketClient.peer_decoder(64 << 20);
        while !reader.stopped.load(Ordering::Relaxed) {
            let len = stream.read(&mut buffer).await?;
            if len == 0 {
                return Ok(());
            }
            let mut frames = 0;
            let mut count = |item: Item<'_>| frames += u64::from(matches!(item, Item::Text(_)));
            decoder.feed(&mut buffer[..len], &mut count).map_err(io::Error::other)?;
            if frames > 0 {
                reader.note_pause(self.now_us());
            }
            reader.frames.fetch_add(frames, Ordering::Relaxed);
            reader.bytes.fetch_add(len as u64, Ordering::Relaxed);
            if self.window > 0 {
                stream.write_all(&event.repeat(frames as usize)).await?;
            }
        }
        // The socket stays open and nobody reads it.
        std::future::pending::<()>().await;
        drop(stream);
        Ok(())
    }

    async fn publish(&self, count: usize, bytes: usize) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let envelope = |text: &str| format!(r#"{{"type":"bench","id":"t0","payload":"{text}"}}"#);
        let message = envelope(&"x".repeat(bytes.saturating_sub(envelope("").len())));
        let mut one = Vec::new();
        Framing::WebSocketClient.write_message(&mut one, &message, [1, 2, 3, 4]);
        let per_write = (64 << 10) / one.len() + 1;
        let many = one.repeat(per_write);
        let mut left = count;
        while left > 0 {
            let now = left.min(per_write);
            stream.write_all(&many[..now * one.len()]).await?;
            left -= now;
            self.published.fetch_add(now as u64, Ordering::Relaxed);
        }
        // It does not subscribe: nothing comes but the end, which it waits for.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        Ok(stream)
    }
}

impl Reader {
    /// Frames have come: how long had none come before?
    fn note_pause(&self, now: u64) {
        let before = self.last_read.swap(now, Ordering::Relaxed);
        if before == 0 {
            return;
        }
        let pause = now - before;
        self.longest_pause.fetch_max(pause, Ordering::Relaxed);
        if pause >= LONG_PAUSE_US {
            self.long_pauses.fetch_add(1, Ordering::Relaxed);
            self.paused.fetch_add(pause, Ordering::Relaxed);
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
