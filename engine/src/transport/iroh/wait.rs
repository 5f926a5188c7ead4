//! Links of a spoke that a hub calls: takes the hub's connections, and opens the stream in each. Does not dial.
//!
//! Invariants: nobody but the hubs that were named gets a stream, others are closed with 4403; at most one connection waits for the spoke,
//! the newest.

use std::sync::{Arc, Mutex};

use iroh::EndpointId;
use iroh::endpoint::{Connection, ConnectionError};
use tokio::sync::Notify;

use super::connect::{DialConfig, IrohConnector, Speaks, terminal};
use super::endpoint::{Door, IrohEndpoint, Registered};
use super::{alpns, called, link};
use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link};
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, Error, ErrorKind};

/// Who may call, and what it is answered.
#[derive(Debug, Clone)]
pub struct WaitConfig {
    /// The hub; any if `None`.
    pub hub: Option<EndpointId>,
    /// The protocol of links that are dialled by spokes; what marks called ones is appended.
    pub alpn: String,
    /// What is accepted.
    pub speaks: Speaks,
    /// Bytes of one message.
    pub max_message: usize,
}

/// Makes links of the connections that hubs dial.
pub struct IrohWaiter {
    endpoint: IrohEndpoint,
    config: WaitConfig,
    callers: Arc<Callers>,
    _registered: Registered,
}

impl std::fmt::Debug for IrohWaiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IrohWaiter").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Callers {
    newest: Mutex<Option<Connection>>,
    came: Notify,
}

impl IrohWaiter {
    /// Begins to take calls.
    ///
    /// # Errors
    /// `Listen` when another spoke waits for this protocol at the endpoint, `Closed`.
    pub fn new(endpoint: IrohEndpoint, config: WaitConfig) -> Result<Self, Error> {
        let [native, plain] = alpns(&called(&config.alpn));
        let names = match config.speaks {
            Speaks::Both => vec![native, plain],
            Speaks::Native => vec![native],
            Speaks::Plain => vec![plain],
        };
        let callers = Arc::new(Callers::default());
        let (hub, taken) = (config.hub, Arc::clone(&callers));
        let door: Door = Arc::new(move |connection| -> BoxFuture<()> {
            taken.receive(connection, hub);
            Box::pin(async {})
        });
        let registered = endpoint.register(&names, &door)?;
        Ok(Self { endpoint, config, callers, _registered: registered })
    }
}

impl Connect for IrohWaiter {
    fn connect(&self, _to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let (callers, endpoint, config) = (Arc::clone(&self.callers), self.endpoint.clone(), self.config.clone());
        Box::pin(async move {
            let connection = tokio::select! {
                connection = callers.next() => connection,
                () = endpoint.closed() => return Err(terminal(Error::new(ErrorKind::Closed, "the endpoint is closed"))),
            };
            let WaitConfig { alpn, speaks, max_message, .. } = config;
            let dial = DialConfig { hub: connection.remote_id(), alpn: called(&alpn), speaks, max_message };
            IrohConnector::new(endpoint, dial).open(connection).await
        })
    }

    fn is_called(&self) -> bool {
        true
    }
}

impl Callers {
    fn receive(&self, connection: Connection, hub: Option<EndpointId>) {
        if hub.is_some_and(|hub| hub != connection.remote_id()) {
            let reason = CloseReason::new(CloseCode::REFUSED, "the spoke waits for another hub");
            return link::close(&connection, &reason);
        }
        let before = lock(&self.newest).replace(connection);
        self.came.notify_one();
        if let Some(before) = before {
            link::close(&before, &CloseReason::new(CloseCode::TOO_SLOW, "another call came before this was answered"));
        }
    }

    /// The newest connection that lives, or by which the hub has said that it does not let the spoke in. Cancel safe.
    async fn next(&self) -> Connection {
        loop {
            let newest = lock(&self.newest).take();
            if let Some(connection) = newest.filter(|it| it.close_reason().is_none_or(|error| is_refusal(&error))) {
                return connection;
            }
            self.came.notified().await;
        }
    }
}

/// A hub that asks about the spoke before the spoke has looked at its call: the call is over, and what it said is all that comes of it.
fn is_refusal(error: &ConnectionError) -> bool {
    let ConnectionError::ApplicationClosed(close) = error else { return false };
    let refusals = [CloseCode::REFUSED, CloseCode::NOT_IDENTIFIED];
    u16::try_from(close.error_code.into_inner()).is_ok_and(|code| refusals.contains(&CloseCode(code)))
}
