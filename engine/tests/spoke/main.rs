//! A spoke as its application sees it: against our hub over both transports, and against hubs made by hand.

mod attempts;
mod closing;
mod coming_back;
mod falling_behind;
mod hello;
mod no_link;
#[path = "../support/mod.rs"]
mod support;
mod verdicts;
mod with_hub;

use std::sync::Arc;

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::link::{Connect, Destination};
use alkpubsub_engine::model::{CloseCode, CloseReason, Published};
use alkpubsub_engine::spoke::{Spoke, SpokeConfig};
use alkpubsub_engine::transport::memory::MemoryConnector;
use alkpubsub_engine::transport::websocket::{ClientConfig, WebSocketConnector};
use support::*;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// A spoke and its application.
struct Side {
    spoke: Spoke,
    app: Arc<Recorder>,
}

impl Side {
    fn start(config: SpokeConfig, connector: Arc<dyn Connect>) -> Self {
        let app = Recorder::new();
        let delivery = Arc::clone(&app) as Arc<dyn Delivery>;
        Self { spoke: Spoke::start(config, connector, delivery, &Handle::current()), app }
    }

    fn dial(config: SpokeConfig) -> Self {
        let client = ClientConfig { limits: config.limits.clone(), ..ClientConfig::default() };
        Self::start(config, Arc::new(WebSocketConnector::new(client)))
    }

    /// A spoke of our hub, by the hub's own transport.
    fn of(net: &Net, mut config: SpokeConfig) -> Self {
        config.destination.url.clone_from(&net.url);
        match net.via {
            Via::WebSocket => Self::dial(config),
            Via::Memory => {
                let hub = net.hub.clone();
                let connector = MemoryConnector::new(Arc::new(move |link| hub.add(link)), net.limits.clone());
                Self::start(config, Arc::new(connector))
            }
        }
    }

    fn publish(&self, type_: &str, id: &str, payload: &str) {
        assert_eq!(self.spoke.publish_once(type_, id, payload), Published::Accepted);
    }

    /// Listens and waits until the hub knows.
    async fn listen(&self, topic: &str, token: u32) -> bool {
        self.spoke.listen(topic);
        self.spoke.confirm(topic, token);
        self.app.confirmed(token).await.expect("granted")
    }

    /// The log as short words, for questions of order.
    fn story(&self) -> Vec<String> {
        let word = |heard| match heard {
            Heard::Event(event) => format!("event {}", event.payload),
            Heard::Notice(Notice::Open { is_reconnected, .. }) => format!("open {is_reconnected}"),
            Heard::Notice(Notice::Reconnecting { .. }) => "reconnecting".into(),
            Heard::Notice(Notice::Gap(_)) => "gap".into(),
            Heard::Notice(Notice::Error { failure, .. }) => format!("error {:?}", failure.kind),
            Heard::Notice(Notice::Closed { reason, .. }) => format!("closed {}", reason.code.0),
            Heard::Notice(Notice::Confirmed { token, .. }) => format!("confirmed {token}"),
            Heard::Notice(other) => format!("{other:?}"),
        };
        self.app.log().into_iter().map(word).collect()
    }
}

fn normal_close() -> CloseReason {
    CloseReason::new(CloseCode::NORMAL, "")
}

/// A hub made by hand: it does what a test tells it to.
struct ByHand {
    listener: TcpListener,
}

impl ByHand {
    /// A hub, a spoke of it that hears `topic`, and what the hub has of the link.
    async fn open(topic: &str) -> (Self, Side, Bare<TcpStream>) {
        let hub = Self::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen(topic);
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        (hub, side, far)
    }

    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
        Self { listener }
    }

    fn config(&self) -> SpokeConfig {
        let port = self.listener.local_addr().expect("bound").port();
        SpokeConfig {
            destination: Destination { url: format!("ws://127.0.0.1:{port}/"), headers: Vec::new() },
            ..impatient()
        }
    }

    async fn tcp(&self) -> TcpStream {
        self.listener.accept().await.expect("it listens").0
    }

    async fn accept(&self) -> Bare<TcpStream> {
        Bare::accept(self.tcp().await).await
    }

    /// Takes the next link and says hello. What the spoke says from its hello on is still to be read.
    async fn accept_native(&self) -> Bare<TcpStream> {
        let mut far = self.accept().await;
        assert_eq!(far.text().await, HELLO);
        far.send(HUB_HELLO).await;
        far
    }
}

/// Reads one `__subscribe` and answers it.
async fn grant(far: &mut Bare<TcpStream>) -> String {
    let (topic, n) = wish(&far.text().await);
    far.send(&subscribed(&topic, n)).await;
    topic
}

fn wish(text: &str) -> (String, u64) {
    let envelope: serde_json::Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(envelope["type"], "__subscribe", "{text}");
    let payload = &envelope["payload"];
    let topic = payload["topic"].as_str().expect("a topic");
    (topic.to_owned(), payload["n"].as_u64().expect("a number"))
}

/// A reset: what a crash of the machine's hub looks like.
fn reset(far: Bare<TcpStream>) {
    far.ws.get_ref().set_zero_linger().expect("a TCP socket");
}
