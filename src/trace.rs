//! Writes what the engine tells of itself to standard error, when the environment asks for it. Decides nothing about what is told.
//!
//! `ALKPUBSUB_LOG` is a filter such as `info` or `warn,alkpubsub::spoke=debug`; `NODE_DEBUG` with the section `alkpubsub` is the filter
//! `alkpubsub=debug`. Release builds know no level `trace` (Cargo.toml): the engine has no such events, those of iroh were a megabyte.

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Begins to write, once per process. A host that has set a subscriber of its own keeps it.
pub(crate) fn begin() {
    let Some(text) = filter() else { return };
    let targets = match text.parse::<Targets>() {
        Ok(targets) => targets,
        Err(error) => {
            return eprintln!(
                "alkpubsub: ALKPUBSUB_LOG is no filter ({error}); write a level, or target=level, divided by commas"
            );
        }
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(targets);
    let _there_is_another = tracing_subscriber::registry().with(layer).try_init();
}

fn filter() -> Option<String> {
    let asked = std::env::var("ALKPUBSUB_LOG").ok().filter(|text| !text.trim().is_empty());
    asked.or_else(|| {
        let sections = std::env::var("NODE_DEBUG").ok()?;
        let is_named = sections.split(',').any(|section| section.trim().eq_ignore_ascii_case("alkpubsub"));
        is_named.then(|| "alkpubsub=debug".to_owned())
    })
}
