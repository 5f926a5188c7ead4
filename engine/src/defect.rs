//! What becomes of a target whose task dies of a defect: it ends, and its application is told. Does not contain defects of less than a task.

use tokio::runtime::Handle;

use crate::delivery::{Failure, Notice};
use crate::model::{CloseCode, CloseReason, ErrorKind};

/// Runs a target's task on `runtime`, and `fail` if the task panics.
pub(crate) fn watch(
    runtime: &Handle,
    task: impl Future<Output = ()> + Send + 'static,
    fail: impl FnOnce() + Send + 'static,
) {
    let task = runtime.spawn(task);
    runtime.spawn(async move {
        if task.await.is_err() {
            fail();
        }
    });
}

impl Notice {
    /// The last one of a target that has failed; `target` is what users call it.
    pub(crate) fn of_defect(target: &str) -> Self {
        let message = format!("the {target} failed because of a defect in it; close it and make another");
        Self::Closed {
            reason: CloseReason::new(CloseCode::INTERNAL, "internal error"),
            error: Some(Failure { kind: ErrorKind::Internal, message }),
        }
    }
}
