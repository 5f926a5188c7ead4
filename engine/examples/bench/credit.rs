//! How many events the slowest reader has, told to publishers over TCP. Only the latest number counts.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// The publishers' end.
#[derive(Clone, Default)]
pub(crate) struct Credit {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    arrived: AtomicU64,
    guard: Mutex<()>,
    moved: Condvar,
}

impl Credit {
    pub(crate) fn follow(&self, address: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let credit = self.clone();
        thread::spawn(move || {
            let mut number = [0; 4];
            while stream.read_exact(&mut number).is_ok() {
                credit.set(u32::from_le_bytes(number).into());
            }
        });
        Ok(())
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.inner.arrived.load(Ordering::Acquire)
    }

    /// Waits until so many events have arrived.
    pub(crate) fn wait_for(&self, count: u64) {
        if self.arrived() >= count {
            return;
        }
        let mut guard = self.inner.guard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while self.arrived() < count {
            guard = self.inner.moved.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn set(&self, arrived: u64) {
        let _guard = self.inner.guard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.inner.arrived.store(arrived, Ordering::Release);
        self.inner.moved.notify_all();
    }
}
