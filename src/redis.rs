//! Redis in the addon. Convert, call, convert.

use std::sync::Arc;

use alkpubsub_engine::spoke::{PeerKind, SpokeConfig};
use alkpubsub_engine::transport::redis::RedisConnector;
use napi_derive::napi;

use crate::convert::{RedisOptions, SpokeOptions};
use crate::spoke::NativeSpoke;

/// A target at a Redis: a spoke whose hub is the server.
#[napi(catch_unwind)]
pub(crate) fn redis_target(options: SpokeOptions, redis: RedisOptions) -> NativeSpoke {
    let config = SpokeConfig { peer: PeerKind::Bus, gathers: true, ..options.spoke_config() };
    let connector = RedisConnector::new(redis.redis_config(&config.limits));
    NativeSpoke::over(Arc::new(connector), config)
}
