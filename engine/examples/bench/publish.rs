//! One connection that publishes as fast as credit and the hub allow. Commands: `publish <window> <ids> <prefix> <ms>`; with 0 ids each event
//! has a new one.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::credit::Credit;
use crate::wire::{FrameCounter, Protocol, pong};
use crate::{number, say, unknown};

/// What goes into one write at most, as of a client that has events waiting.
const EVENTS_PER_WRITE: u64 = 64;

struct Publisher {
    protocol: Protocol,
    stream: Arc<Mutex<TcpStream>>,
    credit: Credit,
    sent: u64,
}

struct Plan<'a> {
    window: u64,
    ids: u64,
    prefix: &'a str,
    duration: Duration,
}

pub(crate) fn run(address: &str, protocol: Protocol, credit_address: &str) -> io::Result<()> {
    let stream = protocol.connect(address)?;
    let reading = stream.try_clone()?;
    let stream = Arc::new(Mutex::new(stream));
    let answering = Arc::clone(&stream);
    thread::spawn(move || answer_pings(reading, &answering));
    let credit = Credit::default();
    credit.follow(credit_address)?;
    let mut publisher = Publisher { protocol, stream, credit, sent: 0 };
    say("{}")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["publish", window, ids, prefix, ms] => {
                let duration = Duration::from_millis(number(ms)? as u64);
                publisher.publish(&Plan {
                    window: number(window)? as u64,
                    ids: number(ids)? as u64,
                    prefix,
                    duration,
                })?;
            }
            _ => return Err(unknown(&line)),
        }
    }
    Ok(())
}

impl Publisher {
    fn publish(&mut self, plan: &Plan<'_>) -> io::Result<()> {
        let (began, before) = (Instant::now(), self.sent);
        let known: Vec<Vec<u8>> =
            (0..plan.ids).map(|id| self.protocol.event(&format!("{}{id}", plan.prefix))).collect();
        let mut out = Vec::new();
        while began.elapsed() < plan.duration {
            // Room for half a window, so that a publisher wakes seldom.
            self.credit.wait_for((self.sent + plan.window / 2).saturating_sub(plan.window));
            let room = self.credit.arrived() + plan.window - self.sent;
            out.clear();
            for n in self.sent..self.sent + room.min(EVENTS_PER_WRITE) {
                match known.get((n % plan.ids.max(1)) as usize) {
                    Some(event) => out.extend_from_slice(event),
                    None => out.extend_from_slice(&self.protocol.event(&format!("{}{n}", plan.prefix))),
                }
            }
            self.sent += room.min(EVENTS_PER_WRITE);
            lock(&self.stream).write_all(&out)?;
        }
        self.credit.wait_for(self.sent);
        say(&format!(r#"{{"sent":{},"ms":{}}}"#, self.sent - before, began.elapsed().as_secs_f64() * 1e3))
    }
}

fn answer_pings(mut reading: TcpStream, answering: &Mutex<TcpStream>) -> io::Result<()> {
    let mut counter = FrameCounter::default();
    let mut buffer = [0; 4096];
    loop {
        let len = reading.read(&mut buffer)?;
        for _ in 0..counter.feed(&buffer[..len])?.pings {
            lock(answering).write_all(&pong())?;
        }
    }
}

fn lock(stream: &Mutex<TcpStream>) -> std::sync::MutexGuard<'_, TcpStream> {
    stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
