//! What the engine's integration tests share: a recording application, bare peers, waiting for facts under a generous time-out.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of this")]

mod envelopes;
mod net;
mod peers;
mod recorder;
mod sockets;

use std::future::Future;
use std::time::Duration;

pub(crate) use envelopes::*;
pub(crate) use net::*;
pub(crate) use peers::*;
pub(crate) use recorder::*;
pub(crate) use sockets::*;

/// Nothing here takes long; a test that comes to this hangs.
const GENEROUS: Duration = Duration::from_secs(60);

/// Longer than any test: who waits for it to pass fails.
pub(crate) const FOREVER: Duration = Duration::from_secs(600);

/// The end of a test that hangs.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(GENEROUS, work).await.expect("the test ends within a minute")
}

/// Waits for a fact that nobody announces, such as a counter: looks again each time other tasks had a turn.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let look = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GENEROUS / 2, look).await.unwrap_or_else(|_| unreachable!("waited for {what}"));
}
