//! Finds the nodes of a cluster, and makes links to any one of them (classic channels) or to their shards. Does not retry.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rand::seq::SliceRandom;
use tokio::time::timeout;
use tracing::debug;

use super::address::{Address, Login, Place};
use super::answer::command;
use super::dial::{RedisConfig, ask_another, open, pair_at, refused, temporary, terminal};
use super::shards;
use super::slots::SlotMap;
use crate::link::{ConnectError, Destination, Link};
use crate::mailbox::lock;
use crate::model::{Error, ErrorKind};
use crate::trace;

/// So many nodes may be tried in the time of one attempt, though none answers. Source: none, a guess.
const TRIED_PER_ATTEMPT: u32 = 4;

/// The node that took us last is tried first: another one may still be about to say what this one has said.
pub(super) type Last = Mutex<Option<Place>>;

pub(super) async fn dial(
    config: &Arc<RedisConfig>,
    urls: &[String],
    is_sharded: bool,
    (first, last): (&AtomicUsize, &Last),
    to: &Destination,
) -> Result<Link, ConnectError> {
    let given = Login::given(to, "username", "password");
    let seeds: Result<Vec<Address>, Error> = urls.iter().map(|url| Address::read(url, given.clone())).collect();
    let seeds = seeds.map_err(terminal)?;
    // Users are those of the cluster, not of a node.
    let Some(login) = seeds.first().map(|seed| seed.login.clone()) else {
        return Err(terminal(Error::new(ErrorKind::InvalidOption, "nodes must name at least one node")));
    };
    let mut places: Vec<Place> = seeds.into_iter().map(|seed| seed.place).collect();
    let count = places.len();
    places.rotate_left(first.load(Ordering::Relaxed) % count);
    let map = map_of(config, &login, &places).await.inspect_err(|_| ask_another(first))?;
    if is_sharded {
        return Ok(shards::link(config, login, places, map));
    }
    any_node(config, &login, map.all, last).await
}

/// The first of these nodes that answers says who owns what.
pub(super) async fn map_of(config: &RedisConfig, login: &Login, places: &[Place]) -> Result<SlotMap, ConnectError> {
    first_of(config, places, "says where the slots are", |place| async move {
        let (_socket, answers) = open(config, place, login, &[command(&["CLUSTER", "SLOTS"])]).await?;
        match answers.first() {
            Some(answer) if answer.error().is_none() => Ok(SlotMap::read(answer, place)),
            answer => Err(refused(place, answer.and_then(|answer| answer.error()).unwrap_or("no answer"))),
        }
    })
    .await
}

/// A link to whichever node takes it: publications reach all nodes from any.
async fn any_node(
    config: &RedisConfig,
    login: &Login,
    mut places: Vec<Place>,
    last: &Last,
) -> Result<Link, ConnectError> {
    places.shuffle(&mut rand::rng());
    let known = lock(last).clone();
    places.sort_by_key(|place| Some(place) != known.as_ref());
    first_of(config, &places, "lets us in", |place| async move {
        debug!(target: trace::REDIS, %place, "dialing a node");
        let link = pair_at(config, place, login, &[]).await?;
        *lock(last) = Some(place.clone());
        Ok(link)
    })
    .await
}

/// What the first place gives that gives it; the time of an attempt is shared among those that do not answer.
async fn first_of<'a, T, Got>(
    config: &RedisConfig,
    places: &'a [Place],
    what: &str,
    get: impl Fn(&'a Place) -> Got,
) -> Result<T, ConnectError>
where
    Got: Future<Output = Result<T, ConnectError>>,
{
    let mut failures = Vec::new();
    for place in places {
        match timeout(config.limits.handshake / TRIED_PER_ATTEMPT, get(place)).await {
            Ok(Ok(got)) => return Ok(got),
            Ok(Err(failed)) if failed.is_terminal => return Err(failed),
            Ok(Err(failed)) => failures.push(failed.error),
            Err(_) => failures.push(Error::new(ErrorKind::TimedOut, format!("no answer of {place} in time"))),
        }
    }
    let kind = failures.first().map_or(ErrorKind::Connect, Error::kind);
    let whys: Vec<String> = failures.iter().take(8).map(ToString::to_string).collect();
    Err(temporary(Error::new(kind, format!("no node of the cluster {what}: {}", whys.join("; ")))))
}
