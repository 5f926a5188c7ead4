//! The questions of an endpoint about those who come in, in the addon. Convert, call, convert.

use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::transport::iroh::{Answer, PathEnd, Question, Screening};
use napi::Result;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;

/// How long the application may think about somebody. Source: none, a guess: as long as a hub.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who has come in.
#[napi(object)]
pub struct Incoming {
    pub token: u32,
    pub id: String,
    pub alpn: String,
    /// `direct`, `relay` or `other`.
    pub kind: String,
    pub address: String,
}

impl From<Question> for Incoming {
    fn from(Question { token, newcomer }: Question) -> Self {
        let (kind, address) = match newcomer.from {
            PathEnd::Direct(address) => ("direct", address.to_string()),
            PathEnd::Relay(url) => ("relay", url.to_string()),
            PathEnd::Other(text) => ("other", text),
        };
        Self { token, id: newcomer.id.to_string(), alpn: newcomer.alpn, kind: kind.into(), address }
    }
}

pub(crate) fn screening(wake: Function<'_, (), ()>, timeout_ms: Option<f64>) -> Result<Arc<Screening>> {
    let wake = wake
        .build_threadsafe_function::<()>()
        .weak::<true>()
        .callee_handled::<false>()
        .max_queue_size::<0>()
        .build()?;
    let patience = timeout_ms.map_or(PATIENCE, |given| Duration::from_millis(given as u64));
    Ok(Arc::new(Screening::new(patience, move || {
        // An environment that has ended answers nothing, and so lets nobody in.
        let _status = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
    })))
}

pub(crate) fn answer_of(answer: &str) -> Answer {
    match answer {
        "admitted" => Answer::Admitted,
        "refused" => Answer::Refused,
        _ => Answer::Failed,
    }
}
