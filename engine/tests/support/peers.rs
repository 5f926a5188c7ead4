//! Bare peers: they know envelopes and frames, and nothing else of the engine.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;

use alkpubsub_engine::link::{Link, LinkError, Read};
use alkpubsub_engine::model::CloseCode;
use alkpubsub_engine::wire::frame::Item;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WsCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::{event, subscribe};

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
