//! Many connections that subscribe and count. One thread; a read buffer for all. Does not look into events.
//! Invariant: `slowest` is the smallest count, and `at_slowest` of the connections have it.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::wire::{FrameCounter, Protocol, pong};
use crate::{say, unknown};

/// What a read takes at most.
const READ_BYTES: usize = 256 << 10;

/// Counts that are no multiple of the step are told so late.
const REST_AFTER: Duration = Duration::from_millis(2);

struct Load {
    /// Publishers hear each time so many more have arrived.
    step: u64,
    counts: Vec<Cell<u64>>,
    slowest: Cell<u64>,
    at_slowest: Cell<usize>,
    told: Cell<u64>,
    lost: Cell<usize>,
    publishers: RefCell<Vec<TcpStream>>,
    scratch: RefCell<Vec<u8>>,
}

pub(crate) fn run(address: &str, protocol: Protocol, connections: usize, topics: usize, step: usize) -> io::Result<()> {
    let mut streams = Vec::with_capacity(connections);
    for index in 0..connections {
        let mut stream = protocol.connect(address)?;
        stream.write_all(&protocol.subscription(&format!("bench:t{}", index % topics)))?;
        stream.set_nonblocking(true)?;
        streams.push(stream);
    }
    let load = Rc::new(Load {
        step: step as u64,
        counts: vec![Cell::new(0); connections],
        slowest: Cell::new(0),
        at_slowest: Cell::new(connections),
        told: Cell::new(0),
        lost: Cell::new(0),
        publishers: RefCell::default(),
        scratch: RefCell::new(vec![0; READ_BYTES]),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(load, streams))
}

async fn serve(load: Rc<Load>, streams: Vec<std::net::TcpStream>) -> io::Result<()> {
    for (index, stream) in streams.into_iter().enumerate() {
        let (load, stream) = (Rc::clone(&load), TcpStream::from_std(stream)?);
        spawn_local(async move {
            let error = match load.read(index, &stream).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            eprintln!("connection {index}: {error}");
            load.lost.set(load.lost.get() + 1);
        });
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&format!(r#"{{"credit":"{}"}}"#, listener.local_addr()?))?;
    let accepting = Rc::clone(&load);
    spawn_local(async move {
        while let Ok((publisher, _)) = listener.accept().await {
            accepting.publishers.borrow_mut().push(publisher);
        }
    });
    let telling = Rc::clone(&load);
    spawn_local(async move {
        loop {
            tokio::time::sleep(REST_AFTER).await;
            telling.tell(1);
        }
    });
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = commands.next_line().await? {
        match &*line {
            "counts" => say(&load.describe())?,
            _ => return Err(unknown(&line)),
        }
    }
    // The runtime would wait for the thread that reads standard input.
    std::process::exit(0)
}

enum Never {}

impl Load {
    async fn read(&self, index: usize, stream: &TcpStream) -> io::Result<Never> {
        let mut counter = FrameCounter::default();
        loop {
            stream.readable().await?;
            let fed = {
                let scratch = &mut *self.scratch.borrow_mut();
                match stream.try_read(scratch) {
                    Ok(len) => counter.feed(&scratch[..len])?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
            };
            for _ in 0..fed.pings {
                stream.try_write(&pong())?;
            }
            self.count(index, fed.messages);
        }
    }

    fn count(&self, index: usize, messages: u64) {
        let before = self.counts[index].get();
        self.counts[index].set(before + messages);
        if messages == 0 || before > self.slowest.get() {
            return;
        }
        self.at_slowest.set(self.at_slowest.get() - 1);
        if self.at_slowest.get() == 0 {
            let slowest = self.counts.iter().map(Cell::get).min().unwrap_or(0);
            self.slowest.set(slowest);
            self.at_slowest.set(self.counts.iter().filter(|count| count.get() == slowest).count());
            self.tell(self.step);
        }
    }

    /// When at least so many are new.
    fn tell(&self, step: u64) {
        let slowest = self.slowest.get();
        if slowest - self.told.get() < step {
            return;
        }
        self.told.set(slowest);
        let number = (slowest as u32).to_le_bytes();
        self.publishers.borrow_mut().retain(|publisher| publisher.try_write(&number).is_ok());
    }

    fn describe(&self) -> String {
        let frames: u64 = self.counts.iter().map(Cell::get).sum();
        format!(r#"{{"frames":{frames},"slowest":{},"lost":{}}}"#, self.slowest.get(), self.lost.get())
    }
}
