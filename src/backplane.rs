//! What a target gives to a hub that it joins to others. The file of each target makes it; the hub takes it. Does not carry anything.

use std::sync::Arc;

use alkpubsub_engine::link::backplane::Backplane;
use napi_derive::napi;

/// A backplane on its way from the target that has it to a hub.
#[napi]
pub struct NativeBackplane {
    backplane: Arc<dyn Backplane>,
}

impl NativeBackplane {
    pub(crate) fn of(backplane: Arc<dyn Backplane>) -> Self {
        Self { backplane }
    }

    pub(crate) fn backplane(&self) -> Arc<dyn Backplane> {
        Arc::clone(&self.backplane)
    }
}
