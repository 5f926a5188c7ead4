//! Lag and jitter.

use std::io::ErrorKind as IoErrorKind;
use std::task::Poll;
use std::time::Duration;

use alkpubsub_engine::transport::memory::{Lag, MemoryNetwork};
use tokio::time::Instant;

use crate::support::*;
use crate::{Door, SEED, Seen, dial, joined, lag, refusal, text};

/// Milliseconds after which each of `count` messages arrived; they leave 1 ms after each other.
async fn arrivals(network: &MemoryNetwork, door: &Door, count: u64) -> Vec<u128> {
    let (mut near, mut far) = joined(network, door).await;
    let began = Instant::now();
    let sending = async {
        for number in 0..count {
            near.say(&number.to_string());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let receiving = async {
        let mut arrivals = Vec::new();
        for number in 0..count {
            assert_eq!(far.next().await, text(&number.to_string()), "order is kept");
            arrivals.push(began.elapsed().as_millis());
        }
        arrivals
    };
    tokio::join!(sending, receiving).1
}

#[tokio::test(start_paused = true)]
async fn with_lag_a_link_takes_a_round_trip_and_each_byte_its_time() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag(lag(100, 0));
        let began = Instant::now();
        let (mut near, mut far) = joined(&network, &door).await;
        assert_eq!(began.elapsed().as_millis(), 200);
        near.say("1");
        assert!(far.is_quiet());
        assert_eq!(far.next().await, text("1"));
        assert_eq!(began.elapsed().as_millis(), 300);
        // What is on its way is not hurried on by less lag, and what follows does not overtake it.
        near.say("2");
        network.set_lag(Lag::default());
        near.say("3");
        near.close(4000, "behind");
        assert!(far.is_quiet());
        assert_eq!((far.next().await, far.next().await), (text("2"), text("3")));
        assert_eq!((far.next().await, far.next().await), (Seen::Close(4000, "behind".into()), Seen::Ended));
        assert_eq!(began.elapsed().as_millis(), 400);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_has_gone_is_heard_of_late_and_never_before_its_last_words() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag(lag(100, 0));
        let (mut near, mut far) = joined(&network, &door).await;
        far.say("last words");
        far.close(1013, "too slow");
        drop(far);
        near.say("nobody reads this");
        tokio::time::sleep(Duration::from_millis(99)).await;
        near.say("nor this");
        assert!(near.is_quiet());
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::BrokenPipe)));
        assert_eq!((near.next().await, near.next().await), (text("last words"), Seen::Close(1013, "too slow".into())));
        let (mut near, mut far) = joined(&network, &door).await;
        far.say("last words");
        network.set_lag(Lag::default());
        drop(far);
        near.say("less lag changes nothing about what is on its way");
        assert_eq!((near.next().await, near.next().await), (text("last words"), Seen::Ended));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn jitter_comes_from_the_seed_and_keeps_the_order() {
    const COUNT: u64 = 50;
    within(async {
        let run = async |seed: u64, has_neighbours: bool| {
            let network = MemoryNetwork::new(seed);
            let door = Door::open(&network, "b");
            network.set_lag(lag(20, 30));
            if has_neighbours {
                let mut other = dial(&network, "c", "b").await.expect("nothing is wrong");
                other.say("what happens elsewhere changes nothing");
                door.take();
            }
            arrivals(&network, &door, COUNT).await
        };
        let first = run(SEED, false).await;
        assert_eq!(first, run(SEED, false).await, "the same seed");
        assert_eq!(first, run(SEED, true).await, "the same seed, with a neighbour");
        assert_ne!(first, run(SEED + 1, false).await, "another seed");
        for (number, arrival) in first.iter().enumerate() {
            let left = number as u128;
            let latest = left + 50 + 1;
            assert!((left + 20..=latest).contains(arrival), "{number} arrived after {arrival} ms: {first:?}");
        }
        assert!(first.windows(2).any(|pair| pair[1] - pair[0] > 1), "some waited: {first:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pair_has_its_own_lag_before_that_of_the_network() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag_between("b", "a", lag(10, 0));
        network.set_lag(lag(500, 0));
        let took = async |from: &str| {
            let began = Instant::now();
            let mut near = dial(&network, from, "b").await.expect("nothing is wrong");
            near.say("x");
            door.take().next().await;
            began.elapsed().as_millis()
        };
        assert_eq!((took("a").await, took("c").await), (30, 1500));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_when_a_link_breaks_is_lost() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag(lag(100, 0));
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("there in time");
        tokio::time::sleep(Duration::from_millis(60)).await;
        near.say("on its way");
        near.close(4000, "as this is");
        tokio::time::sleep(Duration::from_millis(60)).await;
        network.sever("a", "b");
        assert_eq!(far.next().await, text("there in time"));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        let cut_on_the_way = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            network.cut("a", "b");
        };
        let (refused, ()) = tokio::join!(refusal(&network, "a", "b"), cut_on_the_way);
        assert!(refused.contains("cut"), "{refused}");
    })
    .await;
}
