//! Sources of events without a socket, to measure the border alone. Only in builds with the feature `bench`.

use std::sync::Arc;
use std::task::{Context, Wake as TaskWake, Waker};
use std::thread::{self, Thread};

use alkpubsub_engine::delivery::Delivery;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use napi_derive::napi;

use crate::inbox::{Inbox, Resume};
use crate::text::{Numbers, TextOut};

/// Calls wait without a bound: a bounded queue would cost the baseline more.
type PerEvent = ThreadsafeFunction<String, (), String, Status, false, true, 0>;

/// Feeds events from a thread of its own, as fast as they are taken.
#[napi]
pub struct NativeBenchSource {
    inbox: Arc<Inbox>,
}

#[napi]
impl NativeBenchSource {
    /// A source that is silent until `flood`.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        Self { inbox: Arc::new(Inbox::new(Resume::AtHalf)) }
    }

    /// As the port's.
    #[napi(catch_unwind, ts_args_type = "onWake: () => void")]
    pub fn attach(&self, on_wake: Function<'_, (), ()>) -> Result<()> {
        let builder = on_wake.build_threadsafe_function::<()>().weak::<true>().callee_handled::<false>();
        self.inbox.attach(builder.max_queue_size::<0>().build()?);
        Ok(())
    }

    /// As the port's.
    #[napi(catch_unwind, ts_args_type = "meta: Uint32Array", ts_return_type = "string")]
    pub fn take(&self, mut meta: Numbers) -> TextOut {
        self.inbox.take(meta.as_mut())
    }

    /// Delivers `count` events over `ids` ids through the inbox.
    #[napi(catch_unwind)]
    pub fn flood(&self, type_: String, ids: u32, payload: String, count: u32) {
        let inbox = Arc::clone(&self.inbox);
        thread::spawn(move || {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let ids: Vec<String> = (0..ids).map(|id| format!("id{id}")).collect();
            for number in 0..count as usize {
                while inbox.poll_room(&mut Context::from_waker(&waker)).is_pending() {
                    thread::park();
                }
                inbox.event(0, &type_, &ids[number % ids.len()], &payload);
            }
        });
    }

    /// Delivers `count` envelopes, each by a call of its own: what most addons do.
    #[napi(catch_unwind, ts_args_type = "onEvent: (envelope: string) => void, envelopes: string[], count: number")]
    pub fn flood_calls(&self, on_event: Function<'_, String, ()>, envelopes: Vec<String>, count: u32) -> Result<()> {
        let builder = on_event.build_threadsafe_function::<String>().weak::<true>().callee_handled::<false>();
        let call: PerEvent = builder.max_queue_size::<0>().build()?;
        thread::spawn(move || {
            for number in 0..count as usize {
                let envelope = &envelopes[number % envelopes.len()];
                call.call(envelope.clone(), ThreadsafeFunctionCallMode::NonBlocking);
            }
        });
        Ok(())
    }
}

struct Unpark(Thread);

impl TaskWake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Nanoseconds that the calling thread has spent on a processor, user and system; to the nanosecond, unlike what `/proc` says of a thread that
/// runs. NaN where the clock cannot be read.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[napi]
pub(crate) fn bench_thread_cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes into `time`, which lives during the call (clock_gettime(2)).
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    if failed == 0 { time.tv_sec as f64 * 1e9 + time.tv_nsec as f64 } else { f64::NAN }
}
