//! The account of what a bus has published and what still waits for slow members. Does not hold any event.
//!
//! Invariants: an event counts once, however many members keep it, until the last of them let go; a flush is answered when everything
//! published before it has gone, and flushes are answered in order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::delivery::{Delivery, Notice};
use crate::link::medium::{Ledger, Receipt};
use crate::mailbox::lock;

struct Account {
    delivery: Arc<dyn Delivery>,
    max_buffered: usize,
    buffered: AtomicUsize,
    drains: Mutex<Vec<u32>>,
}

impl Account {
    fn is_drained(&self) -> bool {
        self.buffered.load(Ordering::SeqCst) < self.max_buffered.div_ceil(2)
    }

    fn answer_drains(&self) {
        let mut drains = lock(&self.drains);
        if self.is_drained() {
            drains.drain(..).for_each(|token| self.delivery.notice(Notice::Drained { token }));
        }
    }
}

/// What was published between two flushes. Gone when its last event has gone, and those of the pages before it.
struct Page {
    account: Arc<Account>,
    /// The flush that ended the page, and the page behind it.
    next: Mutex<Option<(u32, Arc<Page>)>>,
}

impl Page {
    fn new(account: &Arc<Account>) -> Arc<Self> {
        Arc::new(Self { account: Arc::clone(account), next: Mutex::default() })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // A loop and not a recursion: a page behind a page behind a page would need a stack of their number.
        let mut next = lock(&self.next).take();
        while let Some((token, page)) = next {
            self.account.delivery.notice(Notice::Flushed { token });
            next = Arc::into_inner(page).and_then(|page| lock(&page.next).take());
        }
    }
}

/// Held by an event that waits.
struct Slip {
    page: Arc<Page>,
    bytes: usize,
}

impl Drop for Slip {
    fn drop(&mut self) {
        let account = &self.page.account;
        account.buffered.fetch_sub(self.bytes, Ordering::SeqCst);
        // Rarely more than a look: nobody waits.
        account.answer_drains();
    }
}

pub(super) struct Outward {
    account: Arc<Account>,
    page: Mutex<Arc<Page>>,
    is_closed: AtomicBool,
}

impl Outward {
    pub(super) fn new(delivery: Arc<dyn Delivery>, max_buffered: usize) -> Self {
        let (buffered, drains) = (AtomicUsize::new(0), Mutex::default());
        let account = Arc::new(Account { delivery, max_buffered, buffered, drains });
        Self { page: Mutex::new(Page::new(&account)), account, is_closed: AtomicBool::new(false) }
    }

    pub(super) fn buffered(&self) -> usize {
        self.account.buffered.load(Ordering::Relaxed)
    }

    pub(super) fn flush(&self, token: u32) {
        let fresh = Page::new(&self.account);
        let full = std::mem::replace(&mut *lock(&self.page), Arc::clone(&fresh));
        *lock(&full.next) = Some((token, fresh));
        // Dropped here: with nothing that waits, it is answered at once.
    }

    pub(super) fn drained(&self, token: u32) {
        lock(&self.account.drains).push(token);
        self.account.answer_drains();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

impl Ledger for Outward {
    fn enter(&self, bytes: usize) -> Receipt {
        self.account.buffered.fetch_add(bytes, Ordering::SeqCst);
        let page = Arc::clone(&lock(&self.page));
        Box::new(Slip { page, bytes })
    }
}
