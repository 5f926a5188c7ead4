//! The one tokio runtime of the process, and what happens to targets when their environment ends. Not napi's own runtime: that one is
//! rebuilt with other settings after the last environment has gone.

use std::cell::{Cell, RefCell};
use std::sync::{OnceLock, Weak};

use napi::{Env, Result};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::trace;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// More threads cost round-trip time and gain nothing before there are shards. Source: measured, one thread wins on two cores.
const MAX_THREADS: usize = 4;

/// The runtime, made on first use.
pub(crate) fn handle() -> &'static Handle {
    RUNTIME.get_or_init(build).handle()
}

fn build() -> Runtime {
    trace::begin();
    Builder::new_multi_thread()
        .worker_threads(threads())
        .thread_name("alkpubsub")
        .enable_all()
        .build()
        .expect("a process that runs JavaScript can start a thread")
}

fn threads() -> usize {
    let asked = std::env::var("ALKPUBSUB_THREADS").ok().and_then(|text| text.parse().ok());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    asked.filter(|threads| (1..=64).contains(threads)).unwrap_or_else(|| cores.saturating_sub(1).clamp(1, MAX_THREADS))
}

/// Something that must not outlive its environment.
pub(crate) trait EndsWithEnvironment: Send + Sync {
    fn environment_ends(&self);
}

thread_local! {
    static TARGETS: RefCell<Vec<Weak<dyn EndsWithEnvironment>>> = const { RefCell::new(Vec::new()) };
    static IS_HOOKED: Cell<bool> = const { Cell::new(false) };
}

/// Ties a target to the environment of this thread: a worker that is terminated leaves no task, socket or queue behind.
pub(crate) fn end_with_environment(env: &Env, target: Weak<dyn EndsWithEnvironment>) -> Result<()> {
    if !IS_HOOKED.replace(true) {
        env.add_env_cleanup_hook((), |()| {
            IS_HOOKED.set(false);
            let targets = TARGETS.take();
            targets.iter().filter_map(Weak::upgrade).for_each(|target| target.environment_ends());
        })?;
    }
    TARGETS.with_borrow_mut(|targets| {
        targets.retain(|target| target.strong_count() > 0);
        targets.push(target);
    });
    Ok(())
}
