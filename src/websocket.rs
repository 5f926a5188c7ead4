//! WebSocket in the addon: where a hub listens, what a spoke dials. Convert, call, convert.

use std::sync::Arc;

use alkpubsub_engine::hub::Hub;
use alkpubsub_engine::transport::websocket::{self, ListenConfig, WebSocketConnector};
use napi_derive::napi;

use crate::convert::{ClientOptions, ListenOptions, SpokeOptions};
use crate::hub::{Address, NativeHub, Opening};
use crate::notice::failure_of;
use crate::runtime;
use crate::spoke::NativeSpoke;

#[napi]
impl NativeHub {
    /// Accepts WebSocket connections, from `begin` on.
    #[napi(catch_unwind)]
    pub fn listen_web_socket(&self, options: ListenOptions) {
        let config = options.listen_config(self.config());
        self.add_start(Box::new(move |hub, opening| {
            let serving = runtime::handle().spawn(serve(config, hub.clone(), opening.clone()));
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
async fn serve(config: ListenConfig, hub: Hub, opening: Opening) {
    let bound = match websocket::bind(config).await {
        Ok(bound) => bound,
        Err(error) => return hub.fail(failure_of(&error)),
    };
    let socket = bound.address();
    let address = Address { host: socket.ip().to_string(), port: socket.port(), url: bound.url() };
    opening.bound(&hub, Some(address));
    bound.serve(Arc::new(hub)).await;
}
