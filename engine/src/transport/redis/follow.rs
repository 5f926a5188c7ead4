//! Follows the master: a Sentinel says when another becomes it (`+switch-master`), and the link to the old one ends then, which may be alive and
//! reachable for long. Does not say where the new one is: the next attempt asks.
//!
//! Invariants: no link ends because of a Sentinel that only has another opinion than a second one; without any Sentinel the link goes on.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::address::{Address, Login};
use super::dial::{RedisConfig, open};
use super::reply::Replies;
use super::sentinel::{Master, ask_one};
use crate::link::{BoxFuture, Destination, Link, LinkError, LinkRead, Read};
use crate::model::Limits;
use crate::trace;
use crate::wire::frame::Item;

/// What Sentinels publish when another server is the master.
const CHANNEL: &str = "+switch-master";
/// Before the next Sentinel is asked to tell, when one does not any more; it doubles, five times at most, and has jitter. Source: none, a guess.
const PAUSE: Duration = Duration::from_secs(1);
/// One that has told for so long was no failure.
const STABLE: Duration = Duration::from_secs(60);
/// Bytes of one message of a Sentinel. Source: none, a guess: it has a name and two addresses.
const MAX_MESSAGE_BYTES: usize = 4096;

/// What is followed.
pub(super) struct Following {
    pub(super) config: Arc<RedisConfig>,
    pub(super) urls: Vec<String>,
    pub(super) service: String,
    pub(super) to: Destination,
    /// Which of the Sentinels named the master, and whom.
    pub(super) sentinel: usize,
    pub(super) master: Master,
}

/// A link that ends when its master is not the master any more.
pub(super) fn follow(link: Link, following: Following) -> Link {
    let reader = Follower { reader: link.reader, changed: Box::pin(following.changed()) };
    Link { reader: Box::new(reader), ..link }
}

struct Follower {
    reader: Box<dyn LinkRead>,
    changed: BoxFuture<Master>,
}

impl LinkRead for Follower {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        if let Poll::Ready((host, port)) = self.changed.as_mut().poll(cx) {
            let why = format!("a Sentinel says that {host}:{port} is the master now");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, why).into()));
        }
        self.reader.poll_read(cx, sink)
    }

    fn held_bytes(&self) -> usize {
        self.reader.held_bytes()
    }

    fn heard_ms(&self) -> Option<u64> {
        self.reader.heard_ms()
    }
}

impl Following {
    /// Resolves when another is the master.
    async fn changed(self) -> Master {
        let (mut said, mut failures) = (HashMap::from([(self.sentinel, self.master.clone())]), 0);
        for at in (self.sentinel..).map(|at| at % self.urls.len()) {
            let began = Instant::now();
            match self.hear(at, &mut said).await {
                Ok(master) => {
                    info!(target: trace::REDIS, service = self.service, "another master");
                    return master;
                }
                Err(error) => debug!(target: trace::REDIS, %error, "a Sentinel does not tell of masters"),
            }
            failures = if began.elapsed() >= STABLE { 0 } else { failures + 1 };
            sleep(pause_after(failures)).await;
        }
        self.master
    }

    /// Listens to one Sentinel until it names another master than it did before.
    async fn hear(&self, at: usize, said: &mut HashMap<usize, Master>) -> io::Result<Master> {
        let Self { config, urls, service, to, .. } = self;
        let given = Login::given(to, "sentinelUsername", "sentinelPassword");
        let Address { place, login } = Address::read(&urls[at], given).map_err(io::Error::other)?;
        let handshake = config.limits.handshake;
        let opened = timeout(handshake, open(config, &place, &login, &[])).await?;
        let (mut socket, _) = opened.map_err(|failed| io::Error::other(failed.error))?;
        socket.write_all(&::redis::pack_command(&["SUBSCRIBE", CHANNEL].map(|word| word.as_bytes().to_vec()))).await?;
        socket.flush().await?;
        let (mut replies, mut buffer) = (Replies::new(MAX_MESSAGE_BYTES), [0; 1024]);
        let (mut found, mut is_asked) = (None, false);
        let mut heard = Instant::now();
        loop {
            match timeout(config.limits.heartbeat, socket.read(&mut buffer)).await {
                Ok(read) => {
                    let count = read?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    heard = Instant::now();
                    let mut hear = |scalars: &[super::reply::Scalar<'_>]| {
                        if let [kind, channel, body] = scalars
                            && (kind.bytes(), channel.bytes()) == (b"message", CHANNEL.as_bytes())
                        {
                            found = named_in(body.bytes(), service).or(found.take());
                        }
                    };
                    replies.feed(&buffer[..count], &mut hear).map_err(io::Error::other)?;
                }
                Err(_) if heard.elapsed() >= config.limits.heartbeat * Limits::DEAD_AFTER_TENTHS / 10 => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(_) => {
                    socket.write_all(&::redis::pack_command(&[b"PING".to_vec()])).await?;
                    socket.flush().await?;
                }
            }
            if let Some(master) = found.take().filter(|master| *master != self.master) {
                return Ok(master);
            }
            // It listens: what it would have told before is asked for once.
            if !std::mem::replace(&mut is_asked, true) {
                let asked = timeout(handshake, ask_one(config, &urls[at], service, to)).await?;
                let master = asked.map_err(|failed| io::Error::other(failed.error))?;
                let before = said.insert(at, master.clone());
                if before.is_some_and(|before| before != master) && master != self.master {
                    return Ok(master);
                }
            }
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    (PAUSE * 2_u32.pow(failures.min(5))).mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// The new master in `name old-host old-port new-host new-port`, if it is of this name.
fn named_in(message: &[u8], service: &str) -> Option<Master> {
    let words: Vec<&str> = std::str::from_utf8(message).ok()?.split(' ').collect();
    match words.as_slice() {
        [name, _, _, host, port] if *name == service => Some(((*host).to_owned(), port.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_about_this_master_names_another() {
        let named = |message: &str| named_in(message.as_bytes(), "events");
        assert_eq!(named("events 10.0.0.1 6379 10.0.0.2 6380"), Some(("10.0.0.2".into(), 6380)));
        for other in
            ["other 10.0.0.1 6379 10.0.0.2 6380", "events 10.0.0.1 6379", "events a 1 b port", "events a 1 b 70000", ""]
        {
            assert_eq!(named(other), None, "{other}");
        }
        assert_eq!(named_in(b"events a 1 \xff 2", "events"), None);
    }
}
