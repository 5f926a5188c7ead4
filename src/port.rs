//! What every native target shares: kept pairs, the inbox, tokens, and the methods of the port. Does not know what a target is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use alkpubsub_engine::model::{CloseCode, CloseReason, Prefix, Published};
use napi::Result;

use crate::inbox::Inbox;
use crate::text::JsText;

/// Pairs that are kept. Source: the contract.
const MAX_PAIRS: usize = 4096;
const SLOT_BITS: u32 = 12;

/// The answers of `publish`.
pub(crate) const STALE: u32 = 1;

/// What became of an event, as JavaScript is told.
pub(crate) fn status(published: Published) -> u32 {
    match published {
        Published::Accepted => 0,
        Published::TooLarge => 2,
        Published::Full => 3,
        Published::Closed => 4,
    }
}

/// Names that JavaScript publishes to by number. The oldest is forgotten for a new one; its number is then stale.
#[derive(Default)]
pub(crate) struct Prefixes {
    slots: Vec<(u32, Prefix)>,
    made: u32,
}

impl Prefixes {
    pub(crate) fn intern(&mut self, type_: &str, id: &str) -> u32 {
        let slot = self.made as usize % MAX_PAIRS;
        let generation = self.made / MAX_PAIRS as u32 % (1 << (31 - SLOT_BITS)) + 1;
        self.made = self.made.wrapping_add(1);
        let pair = generation << SLOT_BITS | slot as u32;
        let kept = (pair, Prefix::new(type_, id));
        if slot < self.slots.len() {
            self.slots[slot] = kept;
        } else {
            self.slots.push(kept);
        }
        pair
    }

    pub(crate) fn find(&self, pair: u32) -> Option<&Prefix> {
        let (kept, prefix) = self.slots.get(pair as usize % MAX_PAIRS)?;
        (*kept == pair).then_some(prefix)
    }
}

/// Kept pairs, and the buffer that payloads are read into.
#[derive(Default)]
pub(crate) struct Outgoing {
    prefixes: Prefixes,
    scratch: Vec<u8>,
}

/// A scratch buffer that has grown beyond this is given back.
const KEPT_BYTES: usize = 1 << 20;

impl Outgoing {
    /// Publishes under a kept pair: the payload is read once, into a buffer that stays.
    pub(crate) fn publish(
        &mut self,
        pair: u32,
        json: &JsText,
        send: impl Fn(&Prefix, &str) -> Published,
    ) -> Result<u32> {
        let payload = json.read(&mut self.scratch)?;
        let Some(prefix) = self.prefixes.find(pair) else {
            return Ok(STALE);
        };
        let answer = status(send(prefix, payload));
        self.shrink();
        Ok(answer)
    }

    fn publish_once(&mut self, json: &JsText, send: impl Fn(&str) -> Published) -> Result<u32> {
        let answer = status(send(json.read(&mut self.scratch)?));
        self.shrink();
        Ok(answer)
    }

    fn shrink(&mut self) {
        if self.scratch.capacity() > KEPT_BYTES {
            self.scratch = Vec::new();
        }
    }
}

/// The part of a native target that is the same for all of them.
pub(crate) struct Port {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) outgoing: Rc<RefCell<Outgoing>>,
    tokens: AtomicU32,
}

impl Port {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox, outgoing: Rc::default(), tokens: AtomicU32::new(0) }
    }

    pub(crate) fn token(&self) -> u32 {
        self.tokens.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn intern(&self, type_: &str, id: &str) -> u32 {
        self.outgoing.borrow_mut().prefixes.intern(type_, id)
    }

    /// Publishes under a kept pair.
    pub(crate) fn publish(&self, pair: u32, json: &JsText, send: impl Fn(&Prefix, &str) -> Published) -> Result<u32> {
        self.outgoing.borrow_mut().publish(pair, json, send)
    }

    /// Publishes under names that are not kept.
    pub(crate) fn publish_once(&self, json: &JsText, send: impl Fn(&str) -> Published) -> Result<u32> {
        self.outgoing.borrow_mut().publish_once(json, send)
    }
}

/// A close code and reason from JavaScript.
pub(crate) fn close_reason(code: u32, reason: String) -> CloseReason {
    CloseReason::new(CloseCode(u16::try_from(code).unwrap_or(CloseCode::NORMAL.0)), reason)
}

/// Counters as JavaScript has numbers: exact up to 2⁵³.
pub(crate) fn counters<const N: usize>(named: [(&'static str, u64); N]) -> BTreeMap<&'static str, f64> {
    named.into_iter().map(|(name, count)| (name, count as f64)).collect()
}

/// The methods of the port that are the same on every class; `$target` is the engine's handle, `$publish` sends an event to all it
/// reaches.
macro_rules! port_methods {
    ($class:ident, $target:ident, $publish:expr) => {
        #[napi]
        impl $class {
            /// Names a pair for `publish`.
            #[napi(catch_unwind)]
            pub fn intern(&self, type_: String, id: String) -> u32 {
                self.port.intern(&type_, &id)
            }

            /// Calls `onWake` whenever the empty inbox got its first entry, and puts a faster `publish` on the object.
            #[napi(catch_unwind, ts_args_type = "onWake: () => void")]
            pub fn attach(&self, env: &Env, this: This<'_>, on_wake: Function<'_, (), ()>) -> Result<()> {
                let wake = on_wake
                    .build_threadsafe_function::<()>()
                    .weak::<true>()
                    .callee_handled::<false>()
                    .max_queue_size::<0>()
                    .build()?;
                let weak: std::sync::Weak<dyn EndsWithEnvironment> = Arc::downgrade(&self.shared) as _;
                end_with_environment(env, weak)?;
                let target = self.shared.$target.clone();
                let send = Box::new(move |prefix: &Prefix, payload: &str| $publish(&target, prefix, payload));
                publisher::define(env.raw(), this.object.raw(), Rc::clone(&self.port.outgoing), send)?;
                self.port.inbox.attach(wake);
                Ok(())
            }

            /// One batch: its text, and in `meta` what stands where.
            #[napi(catch_unwind, ts_args_type = "meta: Uint32Array", ts_return_type = "string")]
            pub fn take(&self, mut meta: Numbers) -> TextOut {
                self.port.inbox.take(meta.as_mut())
            }

            /// Bytes that were published and wait.
            #[napi(catch_unwind)]
            pub fn buffered_amount(&self) -> f64 {
                self.shared.$target.buffered() as f64
            }

            /// A token: notice `flushed` follows.
            #[napi(catch_unwind)]
            pub fn flush(&self) -> u32 {
                let token = self.port.token();
                self.shared.$target.flush(token);
                token
            }

            /// A token: notice `drained` follows.
            #[napi(catch_unwind)]
            pub fn drained(&self) -> u32 {
                let token = self.port.token();
                self.shared.$target.drained(token);
                token
            }

            /// Notice `closed` follows.
            #[napi(catch_unwind)]
            pub fn close(&self, code: u32, reason: String, timeout_ms: u32) {
                self.shared.$target.close(close_reason(code, reason), Duration::from_millis(timeout_ms.into()));
            }
        }
    };
}
pub(crate) use port_methods;
