//! What the tests of the links to Redis share: an application that keeps what it is given, and waiting for facts.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::{Delivery, Gap, Notice};
use alkpubsub_engine::model::ErrorKind;
use alkpubsub_engine::spoke::{PeerKind, Reconnect, SpokeConfig};
use alkpubsub_engine::transport::redis::RedisConfig;

/// A fact that has not come after so long will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps what it is given; full when it is told so.
#[derive(Default)]
pub(crate) struct Heard {
    events: Mutex<Vec<(String, String)>>,
    notices: Mutex<Vec<Notice>>,
    is_full: Mutex<bool>,
    waiting: Mutex<Vec<Waker>>,
}

impl Heard {
    pub(crate) fn set_full(&self, is_full: bool) {
        *self.is_full.lock().expect("sound") = is_full;
        self.waiting.lock().expect("sound").drain(..).for_each(Waker::wake);
    }

    pub(crate) fn events(&self) -> Vec<(String, String)> {
        self.events.lock().expect("sound").clone()
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let notices = self.notices.lock().expect("sound");
        notices
            .iter()
            .filter_map(|notice| if let Notice::Gap(gap) = notice { Some(gap.clone()) } else { None })
            .collect()
    }

    pub(crate) fn errors(&self) -> Vec<(ErrorKind, String)> {
        let notices = self.notices.lock().expect("sound");
        let error = |notice: &Notice| match notice {
            Notice::Error { failure, .. } => Some((failure.kind, failure.message.clone())),
            _ => None,
        };
        notices.iter().filter_map(error).collect()
    }

    pub(crate) fn count(&self, is_it: impl Fn(&Notice) -> bool) -> usize {
        self.notices.lock().expect("sound").iter().filter(|notice| is_it(notice)).count()
    }

    pub(crate) fn has(&self, is_it: impl Fn(&Notice) -> bool) -> bool {
        self.notices.lock().expect("sound").iter().any(is_it)
    }
}

impl Delivery for Heard {
    fn event(&self, _connection: u32, type_: &str, id: &str, payload: &str) {
        self.events.lock().expect("sound").push((format!("{type_}:{id}"), payload.into()));
    }

    fn notice(&self, notice: Notice) {
        self.notices.lock().expect("sound").push(notice);
    }

    fn is_full(&self) -> bool {
        *self.is_full.lock().expect("sound")
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        self.waiting.lock().expect("sound").push(cx.waker().clone());
        Poll::Pending
    }
}

pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// How a spoke at a Redis behaves: it connects when it is told to, and tries again at once.
pub(crate) fn at_redis(redis: &RedisConfig) -> SpokeConfig {
    SpokeConfig {
        peer: PeerKind::Bus,
        waits: true,
        reconnect: Some(Reconnect {
            min_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
            ..Reconnect::default()
        }),
        limits: redis.limits.clone(),
        ..SpokeConfig::default()
    }
}
