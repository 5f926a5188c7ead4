//! The bus of a process in the addon. Convert, call, convert.

use alkpubsub_engine::bus::BusConfig;
use alkpubsub_engine::transport::process;
use napi_derive::napi;

use crate::bus::NativeBus;
use crate::convert::BusOptions;

/// A member of the process's bus of that name.
#[napi(catch_unwind)]
pub(crate) fn process_bus(name: String, options: BusOptions) -> NativeBus {
    let config: BusConfig = options.bus_config();
    NativeBus::at(process::named(&name), config)
}
