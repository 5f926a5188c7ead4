//! Redis in the addon. Convert, call, convert.

use std::sync::Arc;

use alkpubsub_engine::spoke::{PeerKind, SpokeBackplane, SpokeConfig};
use alkpubsub_engine::transport::redis::RedisConnector;
use napi_derive::napi;

use crate::backplane::NativeBackplane;
use crate::convert::{RedisOptions, SpokeOptions};
use crate::runtime;
use crate::spoke::NativeSpoke;

/// A target at a Redis: a spoke whose hub is the server.
#[napi(catch_unwind)]
pub(crate) fn redis_target(options: SpokeOptions, redis: RedisOptions) -> NativeSpoke {
    let (config, connector) = parts(&options, redis);
    let config = SpokeConfig { gathers: true, ..config };
    NativeSpoke::over(Arc::new(connector), config)
}

/// What joins hubs by a Redis, without a target there.
#[napi(catch_unwind)]
pub(crate) fn redis_backplane(options: SpokeOptions, redis: RedisOptions) -> Option<NativeBackplane> {
    let (config, connector) = parts(&options, redis);
    let backplane = SpokeBackplane::over(config, Arc::new(connector), runtime::handle());
    backplane.map(|backplane| NativeBackplane::of(backplane))
}

fn parts(options: &SpokeOptions, redis: RedisOptions) -> (SpokeConfig, RedisConnector) {
    let config = SpokeConfig { peer: PeerKind::Bus, ..options.spoke_config() };
    let connector = RedisConnector::new(redis.redis_config(&config.limits));
    (config, connector)
}
