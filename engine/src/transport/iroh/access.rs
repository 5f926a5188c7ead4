//! Which endpoints may have connections with this one: lists by id that change while it runs. Does not ask anybody else.
//!
//! Invariant: an id that the lists do not let in has no live connection a moment after they changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use iroh::EndpointId;
use iroh::endpoint::{Connection, VarInt, WeakConnectionHandle};
use tracing::debug;

use crate::mailbox::lock;
use crate::model::CloseCode;
use crate::trace;

/// What a peer is told that the lists do not let in.
pub(super) const DENIED: &str = "this endpoint does not let you in";

/// Lists of ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    /// Nobody else; everybody if `None`.
    pub(super) allow: Option<HashSet<EndpointId>>,
    /// Not these, also when they are allowed.
    pub(super) deny: HashSet<EndpointId>,
}

impl Lists {
    fn lets_in(&self, id: &EndpointId) -> bool {
        self.allow.as_ref().is_none_or(|allowed| allowed.contains(id)) && !self.deny.contains(id)
    }
}

/// The lists, and the connections that are to go when they change.
#[derive(Debug, Default)]
pub(super) struct Access {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lists: Lists,
    live: HashMap<usize, (EndpointId, WeakConnectionHandle)>,
}

impl Access {
    pub(super) fn new(lists: Lists) -> Self {
        Self { state: Mutex::new(State { lists, live: HashMap::new() }) }
    }

    /// True when somebody is kept out unless named.
    pub(super) fn is_guarded(&self) -> bool {
        lock(&self.state).lists.allow.is_some()
    }

    pub(super) fn lets_in(&self, id: &EndpointId) -> bool {
        lock(&self.state).lists.lets_in(id)
    }

    /// Enters a connection until it is closed; false when the lists refuse it.
    pub(super) fn enter(this: &Arc<Self>, connection: &Connection) -> bool {
        let (id, stable_id) = (connection.remote_id(), connection.stable_id());
        let mut state = lock(&this.state);
        if !state.lists.lets_in(&id) {
            return false;
        }
        state.live.insert(stable_id, (id, connection.weak_handle()));
        drop(state);
        let (this, closed) = (Arc::clone(this), connection.weak_handle().closed());
        tokio::spawn(async move {
            closed.await;
            this.forget(stable_id);
        });
        true
    }

    fn forget(&self, stable_id: usize) {
        lock(&self.state).live.remove(&stable_id);
    }

    /// Changes the lists; who is not let in any more goes.
    pub(super) fn change(&self, lists: Lists) {
        let mut state = lock(&self.state);
        let gone: Vec<_> =
            state.live.values().filter(|(id, _)| !lists.lets_in(id)).map(|(_, weak)| weak.clone()).collect();
        state.lists = lists;
        drop(state);
        gone.iter().filter_map(WeakConnectionHandle::upgrade).for_each(|connection| deny(&connection));
    }

    /// How many live.
    pub(super) fn count(&self) -> usize {
        lock(&self.state).live.len()
    }

    /// The connections with one endpoint that live.
    pub(super) fn live_with(&self, id: &EndpointId) -> Vec<Connection> {
        let state = lock(&self.state);
        state.live.values().filter(|(other, _)| other == id).filter_map(|(_, weak)| weak.upgrade()).collect()
    }

    /// All connections that live.
    pub(super) fn live(&self) -> Vec<Connection> {
        lock(&self.state).live.values().filter_map(|(_, weak)| weak.upgrade()).collect()
    }
}

pub(super) fn deny(connection: &Connection) {
    debug!(target: trace::IROH, id = %connection.remote_id().fmt_short(), "denied");
    connection.close(VarInt::from_u32(CloseCode::REFUSED.0.into()), DENIED.as_bytes());
}
