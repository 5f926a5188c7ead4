//! Asks Sentinels where the master is (<https://redis.io/docs/latest/develop/reference/sentinel-clients/>). Does not watch it: that
//! is `follow.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;
use tracing::debug;

use super::address::{Address, Login, Place};
use super::answer::{Answer, command};
use super::dial::{RedisConfig, ask_another, open, temporary};
use crate::link::{ConnectError, Destination};
use crate::model::{Error, ErrorKind};
use crate::trace;

/// So many may be asked in the time of one attempt, though none answers. Source: none, a guess: three is what people run.
const ASKED_PER_ATTEMPT: u32 = 4;

/// A master's host and port, as Sentinels name it.
pub(super) type Master = (String, u16);

/// A master that was named: where it is, who we are there, and which of the Sentinels named it.
pub(super) struct Named {
    pub(super) place: Place,
    pub(super) login: Login,
    pub(super) master: Master,
    pub(super) sentinel: usize,
}

/// The master. One after the other is asked, the one that knew the last time first.
pub(super) async fn find(
    config: &RedisConfig,
    urls: &[String],
    service: &str,
    is_tls: bool,
    first: &AtomicUsize,
    to: &Destination,
) -> Result<Named, ConnectError> {
    let login = Login::given(to, "username", "password");
    let mut failures = Vec::new();
    for _ in urls {
        let sentinel = first.load(Ordering::Relaxed) % urls.len();
        let patience = config.limits.handshake / ASKED_PER_ATTEMPT;
        let asked = timeout(patience, ask_one(config, &urls[sentinel], service, to)).await;
        match asked.unwrap_or_else(|_| Err(temporary(Error::new(ErrorKind::TimedOut, "no answer in time")))) {
            Ok(master) => {
                let place = Place::Tcp { host: master.0.clone(), port: master.1, is_tls };
                debug!(target: trace::REDIS, %place, service, "the master");
                return Ok(Named { place, login, master, sentinel });
            }
            Err(failed) if failed.is_terminal => return Err(failed),
            Err(failed) => failures.push(failed.error),
        }
        ask_another(first);
    }
    let is_unknown = failures.iter().any(|error| error.kind() == ErrorKind::NotIdentified);
    let kind = if is_unknown { ErrorKind::NotIdentified } else { ErrorKind::Connect };
    let whys: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(temporary(Error::new(kind, format!("no Sentinel names a master {service:?}: {}", whys.join("; ")))))
}

pub(super) async fn ask_one(
    config: &RedisConfig,
    url: &str,
    service: &str,
    to: &Destination,
) -> Result<Master, ConnectError> {
    let given = Login::given(to, "sentinelUsername", "sentinelPassword");
    let invalid = |error| ConnectError { error, is_terminal: true };
    let Address { place, login } = Address::read(url, given).map_err(invalid)?;
    let question = command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service]);
    let (_socket, answers) = open(config, &place, &login, &[question]).await?;
    let failed = |why: String| temporary(Error::new(ErrorKind::Handshake, format!("Sentinel {place}: {why}")));
    match answers.as_slice() {
        [Answer::Null] => Err(failed("it knows no such master".into())),
        [Answer::Error(error)] => Err(failed(error.clone())),
        [answer] => {
            let [host, port] = answer.list() else { return Err(failed("no host and port".into())) };
            let port = port.integer().and_then(|port| u16::try_from(port).ok());
            host.text().map(Into::into).zip(port).ok_or_else(|| failed("no host and port".into()))
        }
        _ => Err(failed("no answer".into())),
    }
}

/// The answer to ROLE is that of a master. Who may not ask cannot know, and is let in.
pub(super) fn check_role(place: &Place, answer: &Answer) -> Result<(), ConnectError> {
    let role = answer.list().first().and_then(Answer::text);
    match (role, answer.error()) {
        (Some("master"), _) => Ok(()),
        (_, Some(error)) if error.starts_with("NOPERM") => Ok(()),
        _ => {
            let why = format!("{place} is no master: a failover is under way, or a Sentinel is behind");
            Err(temporary(Error::new(ErrorKind::Handshake, why)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_master_is_taken_and_who_may_not_ask_is_let_in() {
        let place = Place::Tcp { host: "h".into(), port: 1, is_tls: false };
        let role = |word: &str| Answer::List(vec![Answer::Text(word.into()), Answer::Integer(0)]);
        assert!(check_role(&place, &role("master")).is_ok());
        assert!(check_role(&place, &Answer::Error("NOPERM no".into())).is_ok());
        for answer in [role("slave"), role("sentinel"), Answer::Error("ERR".into()), Answer::Null] {
            let refused = check_role(&place, &answer).expect_err("no master");
            assert!(!refused.is_terminal && refused.error.to_string().contains("h:1"), "{}", refused.error);
        }
    }
}
