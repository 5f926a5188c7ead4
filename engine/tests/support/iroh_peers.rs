//! Hubs that put links on a shelf, for tests of Iroh links: what comes out of them, what is written into them.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alkpubsub_engine::link::{Accept, Admission, BoxFuture, Link, LinkError, Peer, Read, Refusal};
use alkpubsub_engine::model::{Error, Grants};
use alkpubsub_engine::transport::iroh::{ALPN, AcceptConfig, Acceptance, EndpointConfig, IrohEndpoint};
use alkpubsub_engine::wire::frame::Item;
use iroh::EndpointAddr;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Who may wait at once to be let in.
pub(crate) const MAX_WAITING: usize = 8;

/// Everything here ends, or says that it did not.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(180), work).await.expect("it ends")
}

/// Takes links and does nothing with them.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) links: Mutex<Vec<Link>>,
    came: Notify,
    refuses: bool,
}

impl Accept for Shelf {
    fn room(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }

    fn has_room(&self) -> bool {
        true
    }

    fn authorize(&self, peer: Peer) -> BoxFuture<Result<Admission, Refusal>> {
        let admission =
            if self.refuses { Err(Refusal::Forbidden) } else { Ok(Admission::free(Grants::everything(peer.identity))) };
        Box::pin(async move { admission })
    }

    fn take(&self, link: Link, admission: Admission) -> bool {
        let _grants = admission.redeem();
        self.links.lock().expect("no panic").push(link);
        self.came.notify_one();
        true
    }

    fn report(&self, error: Error) {
        unreachable!("nothing is reported here: {error}");
    }
}

impl Shelf {
    pub(crate) async fn link(&self) -> Link {
        self.came.notified().await;
        self.links.lock().expect("no panic").pop().expect("one came")
    }
}

pub(crate) struct Hub {
    pub(crate) endpoint: IrohEndpoint,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) accepting: Acceptance,
}

pub(crate) async fn loopback() -> IrohEndpoint {
    let bind = vec!["127.0.0.1:0".parse().expect("an address")];
    IrohEndpoint::bind(EndpointConfig { bind, ..EndpointConfig::default() }).await.expect("it binds")
}

pub(crate) async fn hub(refuses: bool) -> Hub {
    hub_at(loopback().await, refuses)
}

pub(crate) fn hub_at(endpoint: IrohEndpoint, refuses: bool) -> Hub {
    hub_with(endpoint, refuses, 64 << 20)
}

pub(crate) fn hub_with(endpoint: IrohEndpoint, refuses: bool, max_inbound: usize) -> Hub {
    let shelf = Arc::new(Shelf { refuses, ..Shelf::default() });
    let config = AcceptConfig {
        alpn: ALPN.into(),
        anyone: true,
        is_guarded: false,
        max_message: 1 << 20,
        max_inbound,
        handshake: Duration::from_secs(10),
        max_waiting: MAX_WAITING,
    };
    let accepting = endpoint.take_for(config, Arc::clone(&shelf) as Arc<dyn Accept>).expect("the protocol is free");
    Hub { endpoint, shelf, accepting }
}

pub(crate) fn address(endpoint: &IrohEndpoint) -> EndpointAddr {
    endpoint.sockets().into_iter().fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr)
}

pub(crate) fn frame(message: &str) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message.as_bytes()].concat()
}

/// An event whose message has `len` bytes.
pub(crate) fn event(len: usize) -> String {
    let message = format!(r#"{{"type":"{}","id":""}}"#, "e".repeat(len - 19));
    assert_eq!(message.len(), len);
    message
}

/// Reads messages until `enough` says so of their number; how many came, and how it ended if it did.
pub(crate) async fn read_until(link: &mut Link, enough: impl Fn(usize) -> bool) -> (usize, Option<(u16, String)>) {
    let (mut count, mut close) = (0, None);
    while !enough(count) {
        let read = poll_fn(|cx| {
            link.reader.poll_read(cx, &mut |item| match item {
                Item::Close(code, reason) => close = Some((code.0, reason.to_owned())),
                _ => count += 1,
            })
        });
        match read.await {
            Ok(Read::More) => {}
            Ok(Read::Ended) => break,
            Err(LinkError::Frame(error)) => return (count, Some((error.close_code().0, error.to_string()))),
            Err(LinkError::Io(error)) => return (count, Some((1006, error.to_string()))),
        }
    }
    (count, close)
}

pub(crate) async fn write_all(link: &mut Link, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| link.writer.poll_write(cx, &[IoSlice::new(bytes)])).await.expect("the link lives");
        bytes = &bytes[written..];
    }
}
