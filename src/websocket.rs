//! WebSocket in the addon: where a hub listens, what a spoke dials. Convert, call, convert.

use std::sync::{Arc, OnceLock};

use alkpubsub_engine::delivery::Failure;
use alkpubsub_engine::hub::Hub;
use alkpubsub_engine::model::Error;
use alkpubsub_engine::transport::websocket::{self, ListenConfig, WebSocketConnector};
use napi_derive::napi;

use crate::convert::{ClientOptions, ListenOptions, SpokeOptions};
use crate::hub::{Address, NativeHub};
use crate::runtime;
use crate::spoke::NativeSpoke;

#[napi]
impl NativeHub {
    /// Accepts WebSocket connections, from `begin` on.
    #[napi(catch_unwind)]
    pub fn listen_web_socket(&self, options: ListenOptions) {
        let config = options.listen_config(self.config());
        self.add_start(Box::new(move |hub, address| {
            let serving = runtime::handle().spawn(serve(config, hub.clone(), Arc::clone(address)));
            hub.own(serving.abort_handle());
        }));
    }
}

/// A spoke that dials a WebSocket hub.
#[napi(catch_unwind)]
pub(crate) fn web_socket_spoke(options: SpokeOptions, client: ClientOptions) -> NativeSpoke {
    let config = options.spoke_config();
    let connector = WebSocketConnector::new(client.client_config(&config.limits));
    NativeSpoke::over(Arc::new(connector), config)
}

/// Binds and accepts; a hub that cannot bind is closed with the reason.
async fn serve(config: ListenConfig, hub: Hub, address: Arc<OnceLock<Address>>) {
    let bound = match websocket::bind(config).await {
        Ok(bound) => bound,
        Err(error) => return hub.fail(failure(&error)),
    };
    let socket = bound.address();
    address.get_or_init(|| Address { host: socket.ip().to_string(), port: socket.port(), url: bound.url() });
    hub.announce_open();
    bound.serve(Arc::new(hub)).await;
}

fn failure(error: &Error) -> Failure {
    Failure { kind: error.kind(), message: error.to_string() }
}
