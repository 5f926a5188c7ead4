//! What the machine itself takes to wake a thread: the floor below every hub whose threads sleep between events.
//! Two medians: how long waking keeps the caller when both have slept, and a round trip between two threads that wake each other.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Events of the paced half: 40 a second, as in the scenario it is a floor for.
const PACED: usize = 200;
const PAUSE: Duration = Duration::from_millis(25);
const TRIPS: usize = 20_000;

pub(crate) fn run() -> io::Result<()> {
    let (mut here, mut there) = UnixStream::pair()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        while there.read(&mut byte)? > 0 {
            there.write_all(&byte)?;
        }
        Ok(())
    });
    let mut paced = Vec::with_capacity(PACED);
    let mut trips = Vec::with_capacity(TRIPS);
    let mut byte = [0];
    for _ in 0..PACED {
        thread::sleep(PAUSE);
        let begun = Instant::now();
        here.write_all(&byte)?;
        paced.push(nanoseconds(begun));
        here.read_exact(&mut byte)?;
    }
    for _ in 0..TRIPS {
        let begun = Instant::now();
        here.write_all(&byte)?;
        here.read_exact(&mut byte)?;
        trips.push(nanoseconds(begun));
    }
    drop(here);
    echo.join().map_err(|_| io::Error::other("the echo ended badly"))??;
    let [paced, trips] = [paced, trips].map(median);
    crate::say(&format!(r#"{{"wakeNs":{paced},"roundTripNs":{trips}}}"#))
}

fn nanoseconds(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}
