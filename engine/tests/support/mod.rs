//! What the engine's integration tests share: a recording application, bare peers, waiting for facts under a generous time-out.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::link::{Link, LinkError, Peer, Read};
use alkpubsub_engine::model::{CloseCode, ErrorKind, Limits, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory;
use alkpubsub_engine::transport::websocket::{ListenConfig, bind};
use alkpubsub_engine::wire::frame::Item;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WsCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Nothing here takes long; a test that comes to this hangs.
const GENEROUS: Duration = Duration::from_secs(60);

/// The end of a test that hangs.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(GENEROUS, work).await.expect("the test ends within a minute")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- The application -----------------------------------------------------------------------------------------------------------------

/// An event as the application heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) connection: u32,
    pub(crate) type_: String,
    pub(crate) id: String,
    pub(crate) payload: String,
}

/// What the application heard, in order.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Event(Event),
    Notice(Notice),
}

/// An application that writes down what it hears. It can say that it is full.
#[derive(Default)]
pub(crate) struct Recorder {
    log: Mutex<Vec<Heard>>,
    changed: Notify,
    is_full: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Delivery for Recorder {
    fn event(&self, connection: u32, type_: &str, id: &str, payload: &str) {
        self.push(Heard::Event(Event { connection, type_: type_.into(), id: id.into(), payload: payload.into() }));
    }

    fn notice(&self, notice: Notice) {
        self.push(Heard::Notice(notice));
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wakers = lock(&self.wakers);
        if !self.is_full() {
            return Poll::Ready(());
        }
        wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn push(&self, heard: Heard) {
        lock(&self.log).push(heard);
        self.changed.notify_waiters();
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
        if !is_full {
            std::mem::take(&mut *lock(&self.wakers)).into_iter().for_each(Waker::wake);
        }
    }

    /// Everything so far.
    pub(crate) fn log(&self) -> Vec<Heard> {
        lock(&self.log).clone()
    }

    pub(crate) fn notices(&self) -> Vec<Notice> {
        let notices = self.log().into_iter().filter_map(|heard| match heard {
            Heard::Notice(notice) => Some(notice),
            Heard::Event(_) => None,
        });
        notices.collect()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let events = self.log().into_iter().filter_map(|heard| match heard {
            Heard::Event(event) => Some(event),
            Heard::Notice(_) => None,
        });
        events.collect()
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        self.events().into_iter().map(|event| event.payload).collect()
    }

    /// Waits until `found` finds something in the log.
    pub(crate) async fn until<T>(&self, what: &str, mut found: impl FnMut(&[Heard]) -> Option<T>) -> T {
        let search = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                let answer = found(&lock(&self.log));
                if let Some(answer) = answer {
                    return answer;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(GENEROUS / 2, search).await {
            Ok(answer) => answer,
            Err(_) => {
                let log = self.log();
                let tail = &log[log.len().saturating_sub(30)..];
                unreachable!("waited for {what}; the last of {} entries: {tail:#?}", log.len())
            }
        }
    }

    /// The first notice that `read` takes.
    pub(crate) async fn notice<T>(&self, what: &str, read: impl FnMut(&Notice) -> Option<T>) -> T {
        self.nth_notice(1, what, read).await
    }

    /// The `n`th notice that `read` takes, counted from one.
    pub(crate) async fn nth_notice<T>(&self, n: usize, what: &str, mut read: impl FnMut(&Notice) -> Option<T>) -> T {
        self.until(what, |log| {
            log.iter()
                .filter_map(|heard| match heard {
                    Heard::Notice(notice) => read(notice),
                    Heard::Event(_) => None,
                })
                .nth(n - 1)
        })
        .await
    }

    /// The payloads of the first `n` events.
    pub(crate) async fn payloads_of(&self, n: usize) -> Vec<String> {
        self.until(&format!("{n} events"), |log| {
            let events = log.iter().filter_map(|heard| match heard {
                Heard::Event(event) => Some(event.payload.clone()),
                Heard::Notice(_) => None,
            });
            // Most calls come too early: do not copy for them.
            (log.len() >= n).then(|| events.collect::<Vec<_>>()).filter(|all| all.len() >= n)
        })
        .await
    }

    pub(crate) async fn connection(&self, nth: usize) -> (ConnKey, Box<Peer>) {
        self.nth_notice(nth, "a connection", |notice| match notice {
            Notice::Connection { connection, peer, .. } => Some((ConnKey::from_bits(*connection), peer.clone())),
            _ => None,
        })
        .await
    }

    /// Code, reason and cleanness of the end of a connection.
    pub(crate) async fn disconnection(&self, key: ConnKey) -> (u16, String, bool) {
        self.notice("a disconnection", |notice| match notice {
            Notice::Disconnection { connection, reason, is_clean } if *connection == key.to_bits() => {
                Some((reason.code.0, reason.reason.clone(), *is_clean))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn disconnections(&self, n: usize) {
        self.nth_notice(n, "disconnections", |notice| matches!(notice, Notice::Disconnection { .. }).then_some(()))
            .await;
    }

    /// The first error of a kind: message and how many more it stands for.
    pub(crate) async fn error(&self, kind: ErrorKind) -> (String, u64) {
        self.notice(&format!("an error of kind {kind:?}"), |notice| match notice {
            Notice::Error { failure, dropped } if failure.kind == kind => Some((failure.message.clone(), *dropped)),
            _ => None,
        })
        .await
    }

    pub(crate) async fn closed(&self) -> (u16, String, Option<ErrorKind>) {
        self.notice("closed", |notice| match notice {
            Notice::Closed { reason, error } => {
                Some((reason.code.0, reason.reason.clone(), error.as_ref().map(|error| error.kind)))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn confirmed(&self, wanted: u32) -> Result<bool, ErrorKind> {
        self.notice(&format!("the answer to confirm {wanted}"), |notice| match notice {
            Notice::Confirmed { token, outcome } if *token == wanted => {
                Some(outcome.clone().map_err(|failure| failure.kind))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn flushed(&self, wanted: u32) {
        self.notice(&format!("flushed {wanted}"), |notice| {
            matches!(notice, Notice::Flushed { token } if *token == wanted).then_some(())
        })
        .await;
    }

    pub(crate) async fn drained(&self, wanted: u32) {
        self.notice(&format!("drained {wanted}"), |notice| {
            matches!(notice, Notice::Drained { token } if *token == wanted).then_some(())
        })
        .await;
    }

    /// `(is_reconnected, is_native)` of the `n`th `open`.
    pub(crate) async fn open(&self, n: usize) -> (bool, bool) {
        self.nth_notice(n, "open", |notice| match notice {
            Notice::Open { is_reconnected, is_native } => Some((*is_reconnected, *is_native)),
            _ => None,
        })
        .await
    }

    /// `(attempt, delay_ms, kind, message)` of the `n`th `reconnecting`.
    pub(crate) async fn reconnecting(&self, n: usize) -> (u32, u64, ErrorKind, String) {
        self.nth_notice(n, "reconnecting", |notice| match notice {
            Notice::Reconnecting { attempt, delay_ms, cause } => {
                Some((*attempt, *delay_ms, cause.kind, cause.message.clone()))
            }
            _ => None,
        })
        .await
    }
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

// ---- A hub and its peers -------------------------------------------------------------------------------------------------------------

/// What carries the links of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    WebSocket,
    Memory,
}

pub(crate) const EVERY_WAY: [Via; 2] = [Via::WebSocket, Via::Memory];

/// A hub, its application and how to reach it.
pub(crate) struct Net {
    pub(crate) hub: Hub,
    pub(crate) app: Arc<Recorder>,
    pub(crate) url: String,
    pub(crate) limits: Limits,
    pub(crate) via: Via,
}

pub(crate) fn loopback() -> ListenConfig {
    ListenConfig { host: "127.0.0.1".into(), ..ListenConfig::default() }
}

impl Net {
    pub(crate) async fn start(config: HubConfig, via: Via) -> Self {
        Self::start_at(config, via, loopback()).await
    }

    pub(crate) async fn relay(via: Via) -> Self {
        let config = HubConfig { relay: true, ..HubConfig::default() };
        Self::start(config, via).await
    }

    pub(crate) async fn start_at(config: HubConfig, via: Via, listen: ListenConfig) -> Self {
        let app = Recorder::new();
        let limits = config.limits.clone();
        let hub = Hub::start(config, Arc::clone(&app) as Arc<dyn Delivery>, &Handle::current());
        let mut url = String::new();
        if via == Via::WebSocket {
            let listen = ListenConfig { limits: limits.clone(), ..listen };
            let bound = bind(listen).await.expect("port 0 is free");
            url = bound.url();
            hub.own(tokio::spawn(bound.serve(Arc::new(hub.clone()))).abort_handle());
        }
        Self { hub, app, url, limits, via }
    }

    pub(crate) fn address(&self) -> String {
        self.url.split('/').nth(2).expect("ws://host:port/").to_owned()
    }

    /// A peer that knows envelopes and frames and nothing of the engine (memory: of its hubs and spokes).
    pub(crate) async fn peer(&self) -> BarePeer {
        match self.via {
            Via::WebSocket => BarePeer::Ws(Bare::connect(&self.url).await),
            Via::Memory => {
                let (ours, theirs) = memory::pair(&self.limits);
                assert!(self.hub.add(theirs), "the hub is open");
                BarePeer::Link(LinkPeer::new(ours))
            }
        }
    }

    pub(crate) async fn subscriber(&self, topics: &[&str]) -> BarePeer {
        let mut peer = self.peer().await;
        for topic in topics {
            peer.subscribe(topic).await;
        }
        peer.settle().await;
        peer
    }

    /// Hears a topic, from now on.
    pub(crate) async fn listen(&self, topic: &str) {
        const TOKEN: u32 = 900_000;
        self.hub.listen(ConnKey::APPLICATION, topic);
        self.hub.confirm(TOKEN);
        self.app.confirmed(TOKEN).await.expect("a hub has no one to refuse it");
    }

    pub(crate) fn publish(&self, type_: &str, id: &str, payload: &str) {
        let published = self.hub.publish_once(type_, id, payload, ConnKey::APPLICATION);
        assert_eq!(published, Published::Accepted);
    }
}

/// One envelope as a peer writes it.
pub(crate) fn event(type_: &str, id: &str, payload: &str) -> String {
    format!(r#"{{"type":"{type_}","id":"{id}","payload":{payload}}}"#)
}

pub(crate) fn subscribe(topic: &str) -> String {
    event("__subscribe", "", &format!(r#"{{"topic":"{topic}"}}"#))
}

pub(crate) fn subscribe_n(topic: &str, n: u32) -> String {
    event("__subscribe", "", &format!(r#"{{"topic":"{topic}","n":{n}}}"#))
}

pub(crate) fn subscribed(topic: &str, n: u64) -> String {
    event("__subscribed", "", &format!(r#"{{"topic":"{topic}","n":{n}}}"#))
}

pub(crate) const HELLO: &str =
    r#"{"type":"__hello","id":"","payload":{"version":1,"role":"spoke","features":["ping"]}}"#;
pub(crate) const HUB_HELLO: &str =
    r#"{"type":"__hello","id":"","payload":{"version":1,"role":"hub","features":["ping"]}}"#;

/// One peer over either transport.
pub(crate) enum BarePeer {
    Ws(Bare<TcpStream>),
    Link(LinkPeer),
}

impl BarePeer {
    pub(crate) async fn send(&mut self, message: &str) {
        match self {
            Self::Ws(bare) => bare.send(message).await,
            Self::Link(link) => link.send(message).await,
        }
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) {
        self.send(&subscribe(topic)).await;
    }

    pub(crate) async fn unsubscribe(&mut self, topic: &str) {
        self.send(&event("__unsubscribe", "", &format!(r#"{{"topic":"{topic}"}}"#))).await;
    }

    /// The next message.
    pub(crate) async fn text(&mut self) -> String {
        match self {
            Self::Ws(bare) => bare.text().await,
            Self::Link(link) => link.text().await,
        }
    }

    pub(crate) async fn texts(&mut self, n: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(n);
        for _ in 0..n {
            texts.push(self.text().await);
        }
        texts
    }

    /// Returns once the hub has dealt with all that was sent. What comes meanwhile is kept.
    pub(crate) async fn settle(&mut self) {
        match self {
            Self::Ws(bare) => bare.settle().await,
            Self::Link(link) => link.settle().await,
        }
    }

    /// Everything that the hub sent until it has dealt with all that this peer sent.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        self.settle().await;
        match self {
            Self::Ws(bare) => bare.kept.drain(..).collect(),
            Self::Link(link) => link.kept.drain(..).collect(),
        }
    }

    /// Reads to the end: what came, and the close code and reason if there was one.
    pub(crate) async fn until_end(&mut self) -> (Vec<String>, Option<(u16, String)>) {
        match self {
            Self::Ws(bare) => bare.until_end().await,
            Self::Link(link) => link.until_end().await,
        }
    }

    pub(crate) fn ws(&mut self) -> &mut Bare<TcpStream> {
        match self {
            Self::Ws(bare) => bare,
            Self::Link(_) => unreachable!("a WebSocket test"),
        }
    }
}

/// A WebSocket peer made of tokio-tungstenite.
pub(crate) struct Bare<S> {
    pub(crate) ws: WebSocketStream<S>,
    pub(crate) kept: VecDeque<String>,
    pings: u32,
}

impl Bare<TcpStream> {
    pub(crate) async fn connect(url: &str) -> Self {
        let address = url.split('/').nth(2).expect("ws://host:port/");
        let stream = TcpStream::connect(address).await.expect("the hub listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self::over(stream, url).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Bare<S> {
    pub(crate) async fn over(stream: S, url: &str) -> Self {
        let (ws, _) = tokio_tungstenite::client_async(url, stream).await.expect("the hub shakes hands");
        Self::new(ws)
    }

    /// The other side of a handshake: a hub that is made by hand.
    pub(crate) async fn accept(stream: S) -> Self {
        let limits = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let ws =
            tokio_tungstenite::accept_async_with_config(stream, Some(limits)).await.expect("the spoke shakes hands");
        Self::new(ws)
    }

    fn new(ws: WebSocketStream<S>) -> Self {
        Self { ws, kept: VecDeque::new(), pings: 0 }
    }

    pub(crate) async fn send(&mut self, message: &str) {
        self.send_message(Message::text(message)).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        self.ws.send(message).await.expect("the hub reads");
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) {
        self.send(&subscribe(topic)).await;
    }

    /// The next frame, whatever it is.
    pub(crate) async fn message(&mut self) -> Message {
        self.ws.next().await.expect("the hub goes on").expect("the hub follows the rules")
    }

    pub(crate) async fn text(&mut self) -> String {
        if let Some(kept) = self.kept.pop_front() {
            return kept;
        }
        loop {
            match self.message().await {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => unreachable!("a hub sends text messages, not {other:?}"),
            }
        }
    }

    pub(crate) async fn settle(&mut self) {
        self.pings += 1;
        let token = format!("settle {}", self.pings);
        self.send_message(Message::Ping(token.clone().into())).await;
        loop {
            match self.message().await {
                Message::Text(text) => self.kept.push_back(text.to_string()),
                Message::Pong(data) if data == token.as_bytes() => return,
                Message::Pong(_) | Message::Ping(_) => {}
                other => unreachable!("a hub sends text messages, not {other:?}"),
            }
        }
    }

    pub(crate) async fn until_end(&mut self) -> (Vec<String>, Option<(u16, String)>) {
        let mut texts: Vec<String> = self.kept.drain(..).collect();
        let mut close = None;
        loop {
            match self.ws.next().await {
                Some(Ok(Message::Text(text))) => texts.push(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    close = Some(
                        frame.map_or((1005, String::new()), |frame| (u16::from(frame.code), frame.reason.to_string())),
                    );
                }
                Some(Ok(_)) => {}
                None | Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Io(_))) => {
                    return (texts, close);
                }
                // A hub that is cut off ends without a closing handshake.
                Some(Err(WsError::Protocol(_))) => return (texts, close),
                Some(Err(other)) => unreachable!("{other}"),
            }
        }
    }

    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: WsCode::from(code), reason: reason.into() };
        self.ws.close(Some(frame)).await.expect("the other end reads");
    }
}

/// A peer over the memory transport: frames by the engine's wire, everything else by hand.
pub(crate) struct LinkPeer {
    link: Link,
    items: VecDeque<String>,
    pub(crate) kept: VecDeque<String>,
    pub(crate) close: Option<(u16, String)>,
    has_ended: bool,
    pings: u32,
}

impl LinkPeer {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, items: VecDeque::new(), kept: VecDeque::new(), close: None, has_ended: false, pings: 0 }
    }

    pub(crate) async fn send(&mut self, message: &str) {
        let mut frame = Vec::new();
        self.link.framing.write_message(&mut frame, message, [7; 4]);
        self.send_bytes(&frame).await;
    }

    pub(crate) async fn send_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.link.writer.poll_write(cx, &[IoSlice::new(bytes)])).await;
            bytes = &bytes[written.expect("the hub reads")..];
        }
        poll_fn(|cx| self.link.writer.poll_flush(cx)).await.expect("the hub reads");
    }

    pub(crate) async fn end(&mut self, code: u16, reason: &str) {
        poll_fn(|cx| self.link.writer.poll_close(cx, CloseCode(code), reason)).await.expect("a pipe can be closed");
    }

    async fn read(&mut self) {
        let Self { link, items, close, has_ended, .. } = self;
        let read = poll_fn(|cx| {
            link.reader.poll_read(cx, &mut |item| match item {
                Item::Text(text) => items.push_back(text.into()),
                Item::Close(code, reason) => *close = Some((code.0, reason.into())),
                other => unreachable!("{other:?}"),
            })
        })
        .await;
        match read {
            Ok(Read::More) => {}
            Ok(Read::Ended) | Err(LinkError::Io(_)) => *has_ended = true,
            Err(error) => unreachable!("the hub follows the rules: {error}"),
        }
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            // Behind a close frame nothing comes.
            if self.has_ended || self.close.is_some() {
                return None;
            }
            self.read().await;
        }
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.kept.pop_front() {
            Some(kept) => kept,
            None => self.next().await.expect("the hub goes on"),
        }
    }

    pub(crate) async fn settle(&mut self) {
        self.pings += 1;
        let t = format!(r#"{{"t":{}}}"#, self.pings);
        self.send(&event("__ping", "", &t)).await;
        let pong = event("__pong", "", &t);
        loop {
            let text = self.next().await.expect("the hub goes on");
            if text == pong {
                return;
            }
            self.kept.push_back(text);
        }
    }

    pub(crate) async fn until_end(&mut self) -> (Vec<String>, Option<(u16, String)>) {
        let mut texts: Vec<String> = self.kept.drain(..).collect();
        while let Some(text) = self.next().await {
            texts.push(text);
        }
        (texts, self.close.clone())
    }
}

// ---- Raw sockets ---------------------------------------------------------------------------------------------------------------------

/// The request of a WebSocket handshake, with further header lines.
pub(crate) fn upgrade(host: &str, path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

/// A TCP connection with the handshake behind it and nothing else.
pub(crate) async fn raw(net: &Net) -> TcpStream {
    let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
    stream.write_all(upgrade(&net.address(), "/", "").as_bytes()).await.expect("the hub reads");
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

/// Reads to the empty line, and no further.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("a head is ASCII")
}

/// A masked frame; `first` is its first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [9, 8, 7, 6];
    let mut out = vec![first];
    match payload.len() {
        len @ ..=125 => out.push(0x80 | len as u8),
        len @ ..=65_535 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]));
    out
}

/// Reads one unmasked frame: first byte and payload.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let len = match stream.read_u8().await.ok()? {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        len => u64::from(len),
    };
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((first, payload))
}
