//! The spoke's task: connects, hands the link to a session, and decides what its end means. Does not read or write links.
//!
//! Invariants: what was published leaves in order, also across links; each loss of an admitted link opens one gap, however many
//! attempts it takes to end it.

mod verdict;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use rand::RngExt;
use tracing::info;

use super::gap::OpenGap;
use super::session::{Session, SessionEnd};
use super::subscriptions::Subscriptions;
use super::{Op, Shared, backoff, count};
use crate::delivery::{Failure, GapCause, Notice};
use crate::link::{Connect, ConnectError, Destination, Link};
use crate::mailbox::Batch;
use crate::meter::ErrorMeter;
use crate::model::{CloseCode, CloseReason, Error, ErrorKind, Limits};
use crate::trace;
use verdict::{Lost, Over};

/// While there is no link, ages and deadlines are looked at so often.
const OFFLINE_TICK: Duration = Duration::from_millis(100);

/// An event that waits for a link.
pub(super) struct Held {
    pub(super) body: Box<str>,
    pub(super) since: Instant,
}

impl Held {
    /// What the event was charged when it was published.
    pub(super) fn cost(&self) -> usize {
        self.body.len() + Limits::EVENT_OVERHEAD_BYTES
    }
}

pub(super) struct SpokeActor {
    pub(super) shared: Arc<Shared>,
    connector: Arc<dyn Connect>,
    pub(super) subscriptions: Subscriptions,
    pub(super) held: VecDeque<Held>,
    pub(super) flushes: Vec<u32>,
    pub(super) drains: Vec<u32>,
    pub(super) meter: ErrorMeter,
    pub(super) gap: Option<OpenGap>,
    /// `close()` was reached in the mailbox: nothing comes behind it.
    pub(super) is_closing: bool,
    provided: Option<(u32, Result<Destination, String>)>,
    dial_token: u32,
    may_connect: bool,
    was_open: bool,
    attempt: u32,
    protocol_errors: u32,
    was_unidentified: bool,
}

impl SpokeActor {
    pub(super) fn new(shared: Arc<Shared>, connector: Arc<dyn Connect>) -> Self {
        Self {
            may_connect: !shared.config.waits,
            shared,
            connector,
            subscriptions: Subscriptions::default(),
            held: VecDeque::new(),
            flushes: Vec::new(),
            drains: Vec::new(),
            meter: ErrorMeter::default(),
            gap: None,
            is_closing: false,
            provided: None,
            dial_token: 0,
            was_open: false,
            attempt: 0,
            protocol_errors: 0,
            was_unidentified: false,
        }
    }

    pub(super) async fn run(mut self) {
        let over = self.live().await;
        self.finish(over);
    }

    async fn live(&mut self) -> Over {
        if let Err(over) = self.wait_until(|spoke| spoke.may_connect).await {
            return over;
        }
        loop {
            let cause = match self.connect().await {
                Err(over) => return over,
                Ok(Ok(link)) => match self.hold(link).await {
                    // A link that was never admitted is an attempt that failed.
                    Ok(lost) if !self.may_retry() => return Over { reason: lost.reason, error: Some(lost.failure) },
                    Ok(lost) => lost,
                    Err(over) => return over,
                },
                Ok(Err(failed)) => match self.judge_attempt(failed) {
                    Ok(lost) => lost,
                    Err(over) => return over,
                },
            };
            if let Err(over) = self.back_off(cause).await {
                return over;
            }
        }
    }

    fn may_retry(&self) -> bool {
        self.was_open || self.shared.config.reconnect.as_ref().is_some_and(|policy| policy.initial)
    }

    // ---- Between links ---------------------------------------------------------------------------------------------------------

    async fn connect(&mut self) -> Result<Result<Link, ConnectError>, Over> {
        let destination = match self.destination().await? {
            Ok(destination) => destination,
            Err(message) => {
                let error = Error::new(ErrorKind::Connect, message);
                return Ok(Err(ConnectError { error, is_terminal: false }));
            }
        };
        if self.connector.is_called() {
            let called = self.connector.connect(destination);
            return self.meanwhile(called).await;
        }
        let limit = self.shared.config.limits.handshake;
        let attempt = tokio::time::timeout(limit, self.connector.connect(destination));
        Ok(self.meanwhile(attempt).await?.unwrap_or_else(|_| {
            let message = format!("no connection within {} ms", limit.as_millis());
            Err(ConnectError { error: Error::new(ErrorKind::TimedOut, message), is_terminal: false })
        }))
    }

    /// The destination of the next attempt, from the application if it wants to be asked.
    async fn destination(&mut self) -> Result<Result<Destination, String>, Over> {
        if !self.shared.config.asks {
            return Ok(Ok(self.shared.config.destination.clone()));
        }
        self.dial_token += 1;
        let token = self.dial_token;
        self.shared.delivery.notice(Notice::Dial { token, attempt: self.attempt + 1 });
        self.wait_until(|spoke| spoke.provided.as_ref().is_some_and(|(answered, _)| *answered == token)).await?;
        Ok(self.provided.take().map_or_else(|| Err("no answer".into()), |(_, answer)| answer))
    }

    /// Deals with what the application wants until that has led to something.
    async fn wait_until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<(), Over> {
        let mut ticks = tokio::time::interval(OFFLINE_TICK);
        poll_fn(|cx| {
            loop {
                self.take_offline();
                if let Some(over) = self.over_while_offline() {
                    return Poll::Ready(Err(over));
                }
                if is_so(self) {
                    return Poll::Ready(Ok(()));
                }
                while ticks.poll_tick(cx).is_ready() {
                    self.on_offline_tick();
                }
                if self.shared.mailbox.poll_some(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    async fn back_off(&mut self, lost: Lost) -> Result<(), Over> {
        let Some(policy) = self.shared.config.reconnect.clone() else {
            return Err(Over { reason: lost.reason, error: Some(lost.failure) });
        };
        // Delays may be shorter than a tick.
        self.on_offline_tick();
        self.attempt += 1;
        let jitter = backoff::delay(&policy, self.attempt, rand::rng().random());
        let delay = match lost.delay {
            _ if self.connector.is_called() => Duration::ZERO,
            Some(asked) => asked + jitter,
            None => jitter,
        };
        let (attempt, delay_ms) = (self.attempt, delay.as_millis() as u64);
        info!(target: trace::SPOKE, attempt, delay_ms, cause = lost.failure.message, "reconnecting");
        self.shared.delivery.notice(Notice::Reconnecting { attempt, delay_ms, cause: lost.failure });
        self.meanwhile(tokio::time::sleep(delay)).await
    }

    /// Waits for `future` and deals with what the application wants meanwhile.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Over> {
        let mut future = pin!(future);
        let mut timer = pin!(tokio::time::sleep(OFFLINE_TICK));
        poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            loop {
                self.take_offline();
                if let Some(over) = self.over_while_offline() {
                    return Poll::Ready(Err(over));
                }
                if self.shared.mailbox.poll_some(cx).is_pending() {
                    break;
                }
            }
            while timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset(tokio::time::Instant::now() + OFFLINE_TICK);
                self.on_offline_tick();
                if let Some(over) = self.over_while_offline() {
                    return Poll::Ready(Err(over));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn take_offline(&mut self) {
        self.report_dropped();
        while let Some(batch) = self.shared.mailbox.take() {
            self.take_batch(batch);
        }
        self.answer_drains();
        if self.held.is_empty() {
            self.answer_flushes();
        }
    }

    fn take_batch(&mut self, mut batch: Batch<Op>) {
        let ops = std::mem::take(&mut batch.ops);
        self.take_ops(&batch.text, ops);
    }

    /// Events wait for a link; everything else is dealt with at once.
    pub(super) fn take_ops(&mut self, text: &str, ops: impl IntoIterator<Item = Op>) {
        for op in ops {
            match op {
                Op::Publish(span) => {
                    self.held.push_back(Held { body: span.body(text).into(), since: Instant::now() });
                }
                Op::Listen { topic } => {
                    self.subscriptions.listen(&topic);
                }
                Op::Unlisten { topic } => {
                    self.unlisten(&topic);
                }
                other => self.command(other),
            }
        }
        self.count_topics();
    }

    fn on_offline_tick(&mut self) {
        self.drop_aged(Instant::now());
        self.tell_due_errors();
    }

    /// Events that waited too long for a link are dropped, counted and reported.
    pub(super) fn drop_aged(&mut self, now: Instant) {
        let max_age = self.shared.config.queue_max_age;
        let mut dropped = 0;
        while self.held.front().is_some_and(|held| now.duration_since(held.since) > max_age) {
            let aged = self.held.pop_front().map_or(0, |held| held.cost());
            self.shared.mailbox.release(aged);
            dropped += 1;
        }
        if dropped > 0 {
            count(&self.shared.counters.dropped, dropped);
            count(&self.shared.counters.aged, dropped);
            let message =
                format!("events dropped: they waited longer than queueMaxAgeMs ({}) for a link", max_age.as_millis());
            self.raise(ErrorKind::BufferFull, message, dropped);
        }
    }

    fn over_while_offline(&self) -> Option<Over> {
        let closing = &self.shared.closing;
        let is_over = self.is_closing && self.held.is_empty() || closing.is_overdue(Instant::now());
        is_over.then(|| closing.reason().map(|reason| Over { reason, error: None })).flatten()
    }

    // ---- Commands --------------------------------------------------------------------------------------------------------------

    /// What means the same with and without a link.
    pub(super) fn command(&mut self, op: Op) {
        match op {
            Op::Confirm { topic, token } => {
                let answer = self.subscriptions.confirm(topic, token);
                self.tell(answer);
            }
            Op::Flush(token) => self.flushes.push(token),
            Op::Drained(token) => self.drains.push(token),
            Op::Provide { token, destination } => self.provided = Some((token, Ok(destination))),
            Op::Decline { token, message } => self.provided = Some((token, Err(message))),
            Op::Connect => self.may_connect = true,
            Op::Close => self.is_closing = true,
            Op::Publish(_) | Op::Read(_) | Op::Listen { .. } | Op::Unlisten { .. } | Op::Report => {}
        }
    }

    /// Returns whether the hub was told of the topic.
    pub(super) fn unlisten(&mut self, topic: &str) -> bool {
        let (was_told, answers) = self.subscriptions.unlisten(topic);
        self.tell(answers);
        if let Some(gap) = &mut self.gap {
            gap.drop_topic(topic);
        }
        was_told
    }

    pub(super) fn report_dropped(&mut self) {
        let dropped = self.shared.mailbox.take_unreported();
        if dropped > 0 {
            let bound = self.shared.bound.load(Ordering::Relaxed);
            let message = format!(
                "events dropped: more than {bound} bytes wait to be sent; await drain() when bufferedAmount grows, or raise \
                 maxBufferedAmount (no link) or maxPendingBytes (link)"
            );
            self.raise(ErrorKind::BufferFull, message, dropped);
        }
    }

    pub(super) fn answer_flushes(&mut self) {
        let answered = std::mem::take(&mut self.flushes);
        self.tell(answered.into_iter().map(|token| Notice::Flushed { token }));
    }

    pub(super) fn answer_drains(&mut self) {
        if !self.drains.is_empty() && self.shared.mailbox.published_bytes() <= self.shared.config.max_buffered / 2 {
            let answered = std::mem::take(&mut self.drains);
            self.tell(answered.into_iter().map(|token| Notice::Drained { token }));
        }
    }

    pub(super) fn count_topics(&self) {
        self.shared.counters.topics.store(self.subscriptions.len() as u64, Ordering::Relaxed);
    }

    pub(super) fn tell(&self, notices: impl IntoIterator<Item = Notice>) {
        notices.into_iter().for_each(|notice| self.shared.delivery.notice(notice));
    }

    pub(super) fn raise(&mut self, kind: ErrorKind, message: String, times: u64) {
        let notice = self.meter.raise(Instant::now(), kind, message, times);
        self.tell(notice);
    }

    pub(super) fn tell_due_errors(&mut self) {
        let due = self.meter.due(Instant::now());
        self.tell(due);
    }

    // ---- One link after the other ----------------------------------------------------------------------------------------------

    /// Uses a link until it ends; says why another one should be made, or why not.
    async fn hold(&mut self, link: Link) -> Result<Lost, Over> {
        count(&self.shared.counters.connects, 1);
        self.drop_aged(Instant::now());
        let end = Session::new(self, link, self.was_open).run().await;
        self.shared.bound.store(self.shared.config.max_buffered, Ordering::Relaxed);
        if end.was_admitted {
            self.was_open = true;
            self.open_gap(&end);
        }
        self.subscriptions.reset();
        if end.lasted > backoff::STABLE {
            self.attempt = 0;
            self.protocol_errors = 0;
        }
        self.judge(end)
    }

    fn open_gap(&mut self, end: &SessionEnd) {
        let cause =
            if end.reason.code == CloseCode::TOO_SLOW { GapCause::SlowConsumer } else { GapCause::ConnectionLost };
        match &mut self.gap {
            Some(gap) => gap.prolong(self.subscriptions.active(), end.is_unproven),
            None => self.gap = OpenGap::begin(cause, end.last_read_ms, self.subscriptions.active(), end.is_unproven),
        }
    }

    fn finish(mut self, over: Over) {
        let CloseReason { code, reason } = &over.reason;
        info!(target: trace::SPOKE, code = code.0, reason, "closed");
        self.take_offline();
        let (unsent, ops) = self.shared.mailbox.close();
        ops.into_iter().filter(|op| !matches!(op, Op::Publish(_))).for_each(|op| self.command(op));
        let left = self.held.len() as u64 + unsent;
        let reason =
            format!("closed: {}", if over.reason.reason.is_empty() { "by close()" } else { &over.reason.reason });
        let closed = over.error.clone().unwrap_or(Failure { kind: ErrorKind::Closed, message: reason });
        let answers = self.subscriptions.fail_all(&closed);
        self.tell(answers);
        if left > 0 {
            count(&self.shared.counters.dropped, left);
            self.held.drain(..).for_each(|held| self.shared.mailbox.release(held.cost()));
            self.raise(
                ErrorKind::Closed,
                "events dropped: the target was closed before they could be sent".into(),
                left,
            );
        }
        let rest = self.meter.rest();
        self.tell(rest);
        self.answer_flushes();
        let drains = std::mem::take(&mut self.drains);
        self.tell(drains.into_iter().map(|token| Notice::Drained { token }));
        self.tell(over.error.clone().map(|failure| Notice::Error { failure, dropped: 0 }));
        self.tell([Notice::Closed { reason: over.reason, error: over.error }]);
    }
}
