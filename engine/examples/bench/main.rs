//! The cheap processes of the benchmarks: clients that count frames, and a bare yardstick. Never shipped; `npm run bench` drives them.
//!
//! - `bench load <address> <plain|socketio> <connections> <topics> <step>`: connection i subscribes to `bench:t<i % topics>` and counts
//! - `bench publish <address> <plain|socketio> <credit address>`: one connection publishes, with a bound on what is under way
//! - `bench trip <address> <plain|socketio> <answer|relay> <depth>`: round trips to the hub's listener, or from one client to another
//! - `bench bare <each|shared>`: a server without routing; `each` writes every delivery by itself, with `shared` waiting events share a write
//! - `bench wakes`: what waking a thread takes on this machine, and ends
//!
//! Each prints one line of JSON when it is ready, and one for each command, a line of words on standard input. It ends with its input.
//!
//! Credit: whoever counts frames listens for publishers and tells them, as four bytes, how many events the slowest has: what is under way
//! stays bounded in the same way for every hub, and no hub can be fast by losing events.

mod bare;
mod credit;
mod load;
mod publish;
mod trip;
mod wakes;
mod wire;

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["load", address, protocol, connections, topics, step] => {
            load::run(address, protocol.parse()?, number(connections)?, number(topics)?, number(step)?)
        }
        ["publish", address, protocol, credit] => publish::run(address, protocol.parse()?, credit),
        ["trip", address, protocol, "answer", depth] => trip::answered(address, protocol.parse()?, number(depth)?),
        ["trip", address, protocol, "relay", depth] => trip::relayed(address, protocol.parse()?, number(depth)?),
        ["bare", "each"] => bare::run(false),
        ["bare", "shared"] => bare::run(true),
        ["wakes"] => wakes::run(),
        _ => Err(io::Error::other("usage: see the head of engine/examples/bench/main.rs")),
    }
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(io::Error::other)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn unknown(line: &str) -> io::Error {
    io::Error::other(format!("unknown command {line:?}"))
}
