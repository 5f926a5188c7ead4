//! What a member hears: checks who said it, puts it in order, and gives the application what it listens to. Does not say anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use rand::RngExt;
use tracing::info;

use super::actor::{Over, SwarmActor, now_ms};
use super::authors::{Arrived, Hole, Out, Verdict};
use super::{MAX_EVENT_BYTES, count, show};
use crate::delivery::{Failure, Notice};
use crate::link::overlay::{MemberId, Rumour};
use crate::meter::COMPLAINT_INTERVAL;
use crate::model::{ErrorKind, Limits, is_reserved};
use crate::trace;
use crate::wire::envelope;
use crate::wire::run::{self, NoRun, Run};

/// Reminders that wait to be said. Source: none, a guess.
const MAX_REMINDERS: usize = 16;

impl SwarmActor {
    pub(super) fn hear(&mut self, rumour: Rumour) -> Option<Over> {
        match rumour {
            Rumour::Up(id) => {
                self.found(Instant::now());
                self.up(id);
            }
            Rumour::Down(id) => return self.down(&id),
            Rumour::Said { bytes, by } => self.listen(bytes, &by),
            Rumour::Lagged => self.lag(Instant::now()),
        }
        None
    }

    fn listen(&mut self, message: Bytes, by: &MemberId) {
        let now = Instant::now();
        self.members.heard(by, now);
        let is_reminder = run::read_reminder(&message).is_some();
        let checked = self.check(run::read_reminder(&message).unwrap_or(&message));
        let (author, epoch, first, events) = match checked {
            Ok(Some(checked)) if !is_reminder => checked,
            Ok(_) => return count(&self.shared.counters.seen, 1),
            Err(complaint) => {
                self.complaint = complaint;
                return self.complain(now, 1);
            }
        };
        self.members.heard(&author, now);
        let bytes = message.len() + Limits::EVENT_OVERHEAD_BYTES;
        let arrived = Arrived { author, epoch, first, count: events, bytes, run: message };
        let mut out = Vec::new();
        let verdict = self.authors.take(now, arrived, &mut out);
        self.come_out(out, now);
        self.heard_ms = now_ms();
        match verdict {
            Verdict::Taken => {}
            Verdict::Seen => count(&self.shared.counters.seen, 1),
            Verdict::Stale => {
                count(&self.shared.counters.seen, 1);
                // It says so itself: its clock has gone back. Whoever only repeats it gets no answer.
                if author == *by {
                    self.remind(&author, now);
                }
            }
            Verdict::Torn => {
                count(&self.shared.counters.malformed, 1);
                self.complaint = "a member numbers two events alike".into();
                self.complain(now, 1);
            }
        }
    }

    /// Who says what; nothing for what this member said itself. Nothing of a message is used before its signature was checked.
    fn check(&mut self, message: &[u8]) -> Result<Option<(MemberId, u64, u64, u64)>, String> {
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        let malformed = |error: NoRun| {
            count(&counters.malformed, 1);
            error.to_string()
        };
        let found = run::read(message).map_err(malformed)?;
        let Run { author, epoch, serial, first, signature, body } = found;
        let text = run::signed(&self.overlay.topic(), epoch, serial, first, body);
        if !self.overlay.is_signed_by(author, &text, signature) {
            count(&counters.forged, 1);
            return Err("a signature is not that of the member that the message names".into());
        }
        let events = found.events().map_err(malformed)?.len() as u64;
        if *author != self.me {
            return Ok(Some((*author, epoch, first, events)));
        }
        self.recollect(epoch);
        Ok(None)
    }

    /// Tells an author what epoch it has come to, by its own word.
    fn remind(&mut self, author: &MemberId, now: Instant) {
        let word = self.authors.remind(author, now, self.shared.config.limits.heartbeat);
        if let Some(word) = word
            && self.reminders.len() < MAX_REMINDERS
        {
            self.reminders.push_back(run::write_reminder(rand::rng().random(), &word).into());
        }
    }

    /// This member has said something in that epoch, before its clock went back: nobody hears it in an earlier one. Once a heartbeat: should
    /// two have one key, they do not outbid each other in a loop.
    fn recollect(&mut self, epoch: u64) {
        let now = Instant::now();
        let is_soon = self.recollected.is_some_and(|at| now.duration_since(at) < self.shared.config.limits.heartbeat);
        if let Some(next) = epoch.checked_add(1).filter(|_| epoch > self.epoch && !is_soon) {
            info!(target: trace::SWARM, "this member was in the swarm before with a clock that was ahead of this one");
            (self.epoch, self.recollected) = (next, Some(now));
            // Its numbers go on: what nobody has heard is a hole.
            self.voice.greet(now);
        }
    }

    /// What has waited long enough comes out.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut out = Vec::new();
        self.authors.expire(now, &mut out);
        self.come_out(out, now);
        let counters = &self.shared.counters;
        show(&counters.authors, self.authors.len());
        show(&counters.missing, self.members.missing(now));
        show(&counters.held_bytes, self.authors.held_bytes());
        counters.forgotten.store(self.authors.forgotten(), Ordering::Relaxed);
    }

    /// One gap for all holes of one moment, then the runs.
    fn come_out(&mut self, out: Vec<Out<Bytes>>, now: Instant) {
        let holes = || out.iter().filter_map(|one| if let Out::Hole(hole) = one { Some(hole) } else { None });
        let missed = holes().fold(0u64, |sum, hole| sum.saturating_add(hole.events));
        let untold = || holes().filter(|hole| !hole.is_excused);
        let told = untold().fold(0u64, |sum, hole| sum.saturating_add(hole.events));
        if let Some(since) = untold().map(|Hole { since, .. }| *since).min() {
            let from_ms = now_ms().saturating_sub(now.duration_since(since).as_millis() as u64);
            self.miss(from_ms, told, now);
        }
        count(&self.shared.counters.missed, missed);
        for one in out {
            if let Out::Run(message) = one {
                self.deliver(&message, now);
            }
        }
    }

    fn deliver(&mut self, message: &[u8], now: Instant) {
        // Both were read before.
        let Some(events) = run::read(message).ok().and_then(|found| found.events().ok()) else {
            return;
        };
        count(&self.shared.counters.received, events.len() as u64);
        let (mut malformed, mut unwanted) = (0, 0);
        for event in events {
            match self.deliver_event(event) {
                Ok(true) => {}
                Ok(false) => unwanted += 1,
                Err(what) => {
                    malformed += 1;
                    self.complaint = what;
                }
            }
        }
        count(&self.shared.counters.unwanted, unwanted);
        if malformed > 0 {
            count(&self.shared.counters.malformed, malformed);
            self.complain(now, malformed);
        }
    }

    /// False when nobody listens.
    fn deliver_event(&mut self, event: &str) -> Result<bool, String> {
        let limits = &self.shared.config.limits;
        let max = limits.max_message_bytes.min(MAX_EVENT_BYTES);
        if event.len() > max {
            return Err(format!("an event of {} bytes, at most {max} are allowed", event.len()));
        }
        let found = envelope::decode(event).map_err(|error| error.to_string())?;
        if found.type_.is_empty() || is_reserved(&found.type_) {
            return Err("an event with an empty or reserved type".into());
        }
        self.topic.clear();
        [&found.type_, ":", &found.id].iter().for_each(|part| self.topic.push_str(part));
        if self.topic.len() > limits.max_topic_bytes {
            let (len, max) = (self.topic.len(), limits.max_topic_bytes);
            return Err(format!("a topic of {len} bytes, at most {max} are allowed"));
        }
        let is_wanted = self.shared.inward.listens_to(&self.topic);
        if is_wanted {
            self.shared.inward.hear_from_afar(&found.type_, &found.id, found.payload);
        }
        Ok(is_wanted)
    }

    /// Something that cannot be used came so many times more; told at most once an interval.
    pub(super) fn complain(&mut self, now: Instant, times: u64) {
        let told = self.complaints.count(now, COMPLAINT_INTERVAL, times);
        if let Some(times) = told {
            let message = format!("{times} messages or events of the swarm were skipped; the last: {}", self.complaint);
            let failure = Failure { kind: ErrorKind::Malformed, message };
            self.tell([Notice::Error { failure, dropped: times }]);
        }
    }
}
