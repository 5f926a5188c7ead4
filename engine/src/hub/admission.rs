//! Who may come in, and what they may do: puts the questions to the application and carries its answers. Does not decide anything.
//!
//! Invariants: a question that nobody waits for any more is withdrawn; an answer takes effect before the call that gave it returns, so that
//! whoever revokes something can rely on it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::{Hub, Op, Shared};
use crate::delivery::{Failure, Notice};
use crate::link::{Accept, Admission, BoxFuture, Link, Peer, Refusal};
use crate::mailbox::lock;
use crate::model::{Allowed, CloseCode, CloseReason, Error, Grants};
use crate::route::{ConnKey, Permissions};

/// What the application says of a peer.
pub type Judgement = Result<Grants, Refusal>;

/// Questions without an answer. As many as there are handshakes under way, at most.
#[derive(Default)]
pub(super) struct Questions {
    last: AtomicU32,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    senders: HashMap<u32, oneshot::Sender<Judgement>>,
    /// The hub is closed: nobody is asked any more.
    is_over: bool,
}

impl Questions {
    /// Nobody will answer any more.
    pub(super) fn give_up(&self) {
        *lock(&self.waiting) = Waiting { senders: HashMap::new(), is_over: true };
    }
}

/// A question that is withdrawn unless an answer came.
struct Question {
    token: u32,
    shared: Arc<Shared>,
    is_answered: bool,
}

impl Question {
    /// Nothing once the hub is closed.
    fn ask(shared: Arc<Shared>, peer: Peer) -> Option<(Self, oneshot::Receiver<Judgement>)> {
        let (sender, answer) = oneshot::channel();
        // Zero means that nobody was asked.
        let token = shared.questions.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        let mut waiting = lock(&shared.questions.waiting);
        if waiting.is_over {
            return None;
        }
        waiting.senders.insert(token, sender);
        // Under the lock: no question follows the end of the hub.
        shared.delivery.notice(Notice::Authorize { token, peer: Box::new(peer) });
        drop(waiting);
        Some((Self { token, shared, is_answered: false }, answer))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.shared.questions.waiting).senders.remove(&self.token);
        if !self.is_answered {
            self.shared.delivery.notice(Notice::Withdrawn { token: self.token });
        }
    }
}

async fn authorize(shared: Arc<Shared>, peer: Peer) -> Result<Admission, Refusal> {
    poll_fn(|cx| shared.delivery.poll_room(cx)).await;
    if shared.closing.deadline().is_some() {
        return Err(Refusal::Unavailable);
    }
    if !shared.config.authorize {
        return Ok(Admission::free(Grants::everything(peer.identity)));
    }
    let Some((mut question, answer)) = Question::ask(Arc::clone(&shared), peer) else {
        return Err(Refusal::Unavailable);
    };
    let Ok(judgement) = answer.await else { return Err(Refusal::Unavailable) };
    question.is_answered = true;
    let withdraw = move |token| shared.delivery.notice(Notice::Withdrawn { token });
    judgement.map(|grants| Admission::with_ticket(grants, question.token, withdraw))
}

impl Accept for Hub {
    fn room(&self) -> BoxFuture<()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { poll_fn(|cx| shared.delivery.poll_room(cx)).await })
    }

    fn has_room(&self) -> bool {
        self.shared.connection_count.load(Ordering::Relaxed) < self.shared.config.limits.max_connections
    }

    fn authorize(&self, peer: Peer) -> BoxFuture<Result<Admission, Refusal>> {
        Box::pin(authorize(Arc::clone(&self.shared), peer))
    }

    fn take(&self, link: Link, admission: Admission) -> bool {
        self.shared.mailbox.command(Op::Add(Box::new(link), admission)).is_ok()
    }

    fn report(&self, error: Error) {
        let failure = Failure { kind: error.kind(), message: error.to_string() };
        self.shared.delivery.notice(Notice::Error { failure, dropped: 1 });
    }
}

impl Hub {
    /// Answers [`Notice::Authorize`]. An answer that comes too late is of no use and does no harm.
    pub fn judge(&self, token: u32, judgement: Judgement) {
        if let Some(waiting) = lock(&self.shared.questions.waiting).senders.remove(&token) {
            let _too_late = waiting.send(judgement);
        }
    }

    /// Answers [`Notice::AuthorizeSubscribe`].
    pub fn allow(&self, token: u32, is_allowed: bool) {
        self.command(Op::Allow { token, is_allowed });
    }

    /// Changes what a connection may do, at once: it is no longer subscribed to what it may not hear any more, and is told.
    pub fn set_grants(&self, connection: ConnKey, grants: &Grants) {
        let topics = self.shared.grant(connection, grants);
        if !topics.is_empty() {
            self.command(Op::Revoked { connection, topics });
        }
    }

    /// Ends a connection that has lost its right to be here: it is neither heard nor sent anything from now on, and what waits for it or
    /// for the hub does not put its end off.
    pub fn expel(&self, connection: ConnKey, reason: CloseReason) {
        let nothing = Grants { identity: None, subscribe: Allowed::nothing(), publish: Allowed::nothing() };
        self.shared.grant(connection, &nothing);
        self.shared.expelled.add(connection, reason);
        self.command(Op::Wake);
    }

    /// Ends a connection: those that are refused at once, others after what waits for them was written.
    pub fn disconnect(&self, connection: ConnKey, reason: CloseReason) {
        if matches!(reason.code, CloseCode::NOT_IDENTIFIED | CloseCode::REFUSED) {
            self.expel(connection, reason);
        } else {
            self.command(Op::Disconnect(connection, reason));
        }
    }
}

impl Shared {
    /// The lock on the connections is kept meanwhile: a connection that goes just now would leave its grants behind.
    fn grant(&self, connection: ConnKey, grants: &Grants) -> Vec<Box<str>> {
        let permissions = Permissions::compile(grants);
        let connections = lock(&self.connections);
        if !connections.contains_key(&connection) {
            return Vec::new();
        }
        lock(&self.router).grant(connection, permissions)
    }
}

/// Connections to be ended before anything else.
#[derive(Debug, Default)]
pub(super) struct Expelled {
    is_some: AtomicBool,
    list: Mutex<Vec<(ConnKey, CloseReason)>>,
}

impl Expelled {
    fn add(&self, connection: ConnKey, reason: CloseReason) {
        lock(&self.list).push((connection, reason));
        self.is_some.store(true, Ordering::Release);
    }

    /// Takes them; costs no lock when there is none.
    pub(super) fn take(&self) -> Vec<(ConnKey, CloseReason)> {
        if !self.is_some.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut lock(&self.list))
    }
}
