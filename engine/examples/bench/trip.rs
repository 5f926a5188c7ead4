//! Round trips with a bound on how many are under way: `trip <ms>`. Blocks in reads, so that nothing but the hub is waited for.
//! Invariant: answers come in the order of their questions.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::wire::{FrameCounter, Protocol, pong};
use crate::{number, say, unknown};

struct Trips {
    /// Where events go.
    there: TcpStream,
    /// Where they come from.
    back: TcpStream,
    counter: FrameCounter,
    event: Vec<u8>,
    depth: usize,
}

/// The hub's listener of `bench:ask` publishes to `bench:answer`.
pub(crate) fn answered(address: &str, protocol: Protocol, depth: usize) -> io::Result<()> {
    let mut stream = protocol.connect(address)?;
    stream.write_all(&protocol.subscription("bench:answer"))?;
    let back = stream.try_clone()?;
    serve(Trips { there: stream, back, counter: FrameCounter::default(), event: protocol.event("ask"), depth })
}

/// One client publishes, the hub relays, the other has it.
pub(crate) fn relayed(address: &str, protocol: Protocol, depth: usize) -> io::Result<()> {
    let mut back = protocol.connect(address)?;
    back.write_all(&protocol.subscription("bench:answer"))?;
    let there = protocol.connect(address)?;
    serve(Trips { there, back, counter: FrameCounter::default(), event: protocol.event("answer"), depth })
}

fn serve(mut trips: Trips) -> io::Result<()> {
    say("{}")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["trip", ms] => trips.measure(Duration::from_millis(number(ms)? as u64))?,
            _ => return Err(unknown(&line)),
        }
    }
    Ok(())
}

impl Trips {
    fn measure(&mut self, duration: Duration) -> io::Result<()> {
        let began = Instant::now();
        let mut under_way = VecDeque::new();
        let mut took: Vec<Duration> = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        self.send(self.depth, &mut under_way)?;
        while !under_way.is_empty() {
            let len = self.back.read(&mut buffer)?;
            let fed = self.counter.feed(&buffer[..len])?;
            for _ in 0..fed.pings {
                self.back.write_all(&pong())?;
            }
            let now = Instant::now();
            took.extend(under_way.drain(..fed.messages as usize).map(|sent| now - sent));
            if began.elapsed() < duration {
                self.send(fed.messages as usize, &mut under_way)?;
            }
        }
        let elapsed = began.elapsed();
        took.sort_unstable();
        let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1e6;
        say(&format!(
            r#"{{"trips":{},"ms":{},"p50us":{},"p99us":{}}}"#,
            took.len(),
            elapsed.as_secs_f64() * 1e3,
            at(50),
            at(99)
        ))
    }

    fn send(&mut self, count: usize, under_way: &mut VecDeque<Instant>) -> io::Result<()> {
        under_way.extend(std::iter::repeat_n(Instant::now(), count));
        self.there.write_all(&self.event.repeat(count))
    }
}
