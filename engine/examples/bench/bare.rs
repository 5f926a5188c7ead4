//! The yardstick: every event to every connection, with no routing, no permissions, no bound on what a reader leaves lying. The main thread
//! publishes, another writes. Commands: `credit <address>`, `publish <window> <burst> <per second or 0> <ms>`, `subscribers`, `begin`, `end`.

use std::io::{self, BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use alkpubsub_engine::wire::websocket::write_frame;

use crate::credit::Credit;
use crate::wire::{envelope, read_head};
use crate::{number, say, unknown};

/// RFC 6455, 5.2.
const TEXT: u8 = 0x1;

#[derive(Default)]
struct Server {
    streams: Mutex<Vec<TcpStream>>,
    waiting: Mutex<Vec<Vec<u8>>>,
    pushed: Condvar,
}

pub(crate) fn run(shares: bool) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = Arc::new(Server::default());
    let (accepting, writing) = (Arc::clone(&server), Arc::clone(&server));
    thread::spawn(move || accepting.accept(&listener));
    thread::spawn(move || writing.write(shares));
    say(&format!(r#"{{"address":"{address}"}}"#))?;
    let credit = Credit::default();
    let mut sent = 0;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["credit", address] => {
                credit.follow(address)?;
                say("{}")?;
            }
            ["subscribers"] => say(&format!(r#"{{"subscribers":{}}}"#, lock(&server.streams).len()))?,
            ["publish", window, burst, per_second, ms] => {
                let pace = Pace {
                    window: number(window)? as u64,
                    burst: number(burst)? as u64,
                    per_second: number(per_second)? as u32,
                    duration: Duration::from_millis(number(ms)? as u64),
                };
                server.publish(&pace, &credit, &mut sent)?;
            }
            ["begin" | "end"] => say("{}")?,
            _ => return Err(unknown(&line)),
        }
    }
    Ok(())
}

struct Pace {
    window: u64,
    burst: u64,
    per_second: u32,
    duration: Duration,
}

impl Server {
    fn publish(&self, pace: &Pace, credit: &Credit, sent: &mut u64) -> io::Result<()> {
        let (began, before) = (Instant::now(), *sent);
        while began.elapsed() < pace.duration {
            credit.wait_for((*sent + pace.burst).saturating_sub(pace.window));
            for _ in 0..pace.burst {
                let mut frame = Vec::new();
                write_frame(&mut frame, TEXT, envelope("t0").as_bytes(), None);
                lock(&self.waiting).push(frame);
            }
            self.pushed.notify_one();
            *sent += pace.burst;
            if pace.per_second > 0 {
                let due = Duration::from_secs(1) / pace.per_second * ((*sent - before) / pace.burst) as u32;
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
        }
        credit.wait_for(*sent);
        say(&format!(r#"{{"sent":{},"ms":{}}}"#, *sent - before, began.elapsed().as_secs_f64() * 1e3))
    }

    fn accept(&self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            read_head(&mut stream)?;
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
            lock(&self.streams).push(stream);
        }
    }

    fn write(&self, shares: bool) -> io::Result<()> {
        loop {
            let mut events = self.take();
            if shares {
                events = vec![events.concat()];
            }
            for event in &events {
                for stream in lock(&self.streams).iter_mut() {
                    stream.write_all(event)?;
                }
            }
        }
    }

    fn take(&self) -> Vec<Vec<u8>> {
        let mut waiting = lock(&self.waiting);
        while waiting.is_empty() {
            waiting = self.pushed.wait(waiting).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        std::mem::take(&mut waiting)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
