//! Asks the application about each connection that has come in, before anybody else hears of it. Does not decide, and does not close
//! connections; the endpoint does.
//!
//! Invariants: questions are bounded, one more is refused; who is not asked about, or not answered in time, is not let in; a question that
//! nobody waits for any more is withdrawn; there is at most one wake between two `take`s, however long the application does not look.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use iroh::EndpointId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::facts::PathEnd;
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason};

/// Questions that wait for their answers at once. Source: none, a guess.
const MAX_QUESTIONS: usize = 256;

/// Who has come in: the handshake is over, so the id is proven and packets do reach the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Who it is.
    pub id: EndpointId,
    /// The protocol that it wants.
    pub alpn: String,
    /// Where its first packet came from.
    pub from: PathEnd,
}

/// What the application says of somebody who has come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Let in.
    Admitted,
    /// Not let in, and need not come again.
    Refused,
    /// It could not decide.
    Failed,
}

/// A question that the application has to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// For [`Screening::answer`].
    pub token: u32,
    /// Who it is about.
    pub newcomer: Newcomer,
}

/// The questions about those who come in.
pub struct Screening {
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Tells the application to `take`; `None` once nobody is asked any more.
    wake: Option<Box<dyn Fn() + Send + Sync>>,
    is_woken: bool,
    untaken: VecDeque<Question>,
    senders: HashMap<u32, oneshot::Sender<Answer>>,
    last: u32,
}

impl std::fmt::Debug for Screening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screening").field("waiting", &lock(&self.state).senders.len()).finish_non_exhaustive()
    }
}

/// Withdrawn when dropped.
struct Asked<'a> {
    screening: &'a Screening,
    token: u32,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.screening.state);
        state.senders.remove(&self.token);
        state.untaken.retain(|question| question.token != self.token);
    }
}

impl Screening {
    /// `wake` is called when there are questions to `take`; it must not wait. Nobody waits for an answer longer than `patience`.
    #[must_use]
    pub fn new(patience: Duration, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { patience, state: Mutex::new(State { wake: Some(Box::new(wake)), ..State::default() }) }
    }

    /// The questions that came since the last time.
    pub fn take(&self) -> Vec<Question> {
        let mut state = lock(&self.state);
        state.is_woken = false;
        state.untaken.drain(..).collect()
    }

    /// Answers a question. An answer that comes too late is of no use and does no harm.
    pub fn answer(&self, token: u32, answer: Answer) {
        let sender = lock(&self.state).senders.remove(&token);
        if let Some(sender) = sender {
            let _too_late = sender.send(answer);
        }
    }

    /// Nobody is asked any more, and nobody is let in.
    pub fn give_up(&self) {
        let over = std::mem::take(&mut *lock(&self.state));
        // What `wake` holds may want the lock when it goes.
        drop(over);
    }

    /// Asks, and waits for the answer. Cancel safe: then the question is withdrawn.
    ///
    /// # Errors
    /// What the peer is to be told.
    pub(super) async fn screen(&self, newcomer: Newcomer) -> Result<(), CloseReason> {
        let mut asked = self.ask(newcomer)?;
        match timeout(self.patience, &mut asked.answer).await {
            Ok(Ok(Answer::Admitted)) => Ok(()),
            Ok(Ok(Answer::Refused)) => Err(CloseReason::new(CloseCode::REFUSED, super::access::DENIED)),
            Ok(Ok(Answer::Failed)) => {
                let why = "this endpoint cannot decide now whether you may come in";
                Err(CloseReason::new(CloseCode::INTERNAL, why))
            }
            Ok(Err(_)) => Err(over()),
            Err(_) => Err(CloseReason::new(CloseCode::TIMED_OUT, "not let in in time")),
        }
    }

    fn ask(&self, newcomer: Newcomer) -> Result<Asked<'_>, CloseReason> {
        let (sender, answer) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.wake.is_none() {
            return Err(over());
        }
        if state.senders.len() >= MAX_QUESTIONS {
            return Err(CloseReason::new(CloseCode::TOO_SLOW, "too many wait to be let in"));
        }
        state.last = state.last.wrapping_add(1);
        let token = state.last;
        state.senders.insert(token, sender);
        state.untaken.push_back(Question { token, newcomer });
        if !std::mem::replace(&mut state.is_woken, true)
            && let Some(wake) = &state.wake
        {
            wake();
        }
        Ok(Asked { screening: self, token, answer })
    }
}

fn over() -> CloseReason {
    CloseReason::new(CloseCode::GOING_AWAY, "the endpoint was closed")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use iroh::SecretKey;

    use super::*;

    fn somebody() -> Newcomer {
        let from = PathEnd::Direct(([127, 0, 0, 1], 1).into());
        Newcomer { id: SecretKey::generate().public(), alpn: "a/1".into(), from }
    }

    fn screening(patience: Duration) -> (Arc<Screening>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let wake = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Arc::new(Screening::new(patience, wake)), wakes)
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn each_answer_is_told_by_its_code_and_no_answer_is_a_refusal() {
        let (screening, _) = screening(LONG);
        for (answer, code) in [
            (Some(Answer::Admitted), None),
            (Some(Answer::Refused), Some(CloseCode::REFUSED)),
            (Some(Answer::Failed), Some(CloseCode::INTERNAL)),
            (None, Some(CloseCode::TIMED_OUT)),
        ] {
            let newcomer = somebody();
            let (asking, asked) = (Arc::clone(&screening), newcomer.clone());
            let waiting = tokio::spawn(async move { asking.screen(asked).await });
            tokio::task::yield_now().await;
            let mut questions = screening.take();
            let Question { token, newcomer: about } = questions.pop().expect("a question");
            assert_eq!((about, questions.len()), (newcomer, 0));
            if let Some(answer) = answer {
                screening.answer(token, answer);
            }
            let outcome = waiting.await.expect("no panic");
            assert_eq!(outcome.err().map(|reason| reason.code), code, "{answer:?}");
            screening.answer(token, Answer::Admitted);
        }
        assert!(lock(&screening.state).senders.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_that_does_not_look_is_woken_once_and_asked_about_so_many_and_no_more() {
        let (screening, wakes) = screening(Duration::from_secs(1));
        let ask_all = |count: usize| {
            let asking = (0..count).map(|_| {
                let screening = Arc::clone(&screening);
                tokio::spawn(async move { screening.screen(somebody()).await })
            });
            asking.collect::<Vec<_>>()
        };
        for _ in 0..3 {
            let mut codes = Vec::new();
            for waiting in ask_all(MAX_QUESTIONS + 1) {
                codes.push(waiting.await.expect("no panic").expect_err("nobody is let in").code);
            }
            codes.sort_by_key(|code| code.0);
            assert_eq!(codes.first(), Some(&CloseCode::TOO_SLOW));
            assert!(codes[1..].iter().all(|code| *code == CloseCode::TIMED_OUT));
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert!(screening.take().is_empty(), "they were withdrawn");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_when_the_endpoint_closes_and_whoever_comes_later_is_told_so() {
        let (screening, wakes) = screening(LONG);
        let asking = Arc::clone(&screening);
        let waiting = tokio::spawn(async move { asking.screen(somebody()).await });
        tokio::task::yield_now().await;
        screening.give_up();
        let outcomes = [waiting.await.expect("no panic"), screening.screen(somebody()).await];
        for outcome in outcomes {
            assert_eq!(outcome.expect_err("closed").code, CloseCode::GOING_AWAY);
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&wakes), 1, "the way to the application is given back");
    }
}
