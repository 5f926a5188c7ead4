//! Links that are cut, severed, stalled or half-open.

use std::future::poll_fn;
use std::io::{ErrorKind as IoErrorKind, IoSlice};
use std::task::Poll;

use alkpubsub_engine::link::LinkError;
use alkpubsub_engine::transport::memory::MemoryNetwork;

use crate::support::*;
use crate::{Door, PIPE_BYTES, SECOND, SEED, Seen, dial, joined, refusal, text};

// ---- Cut, sever ----------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_cut_is_an_abnormal_end_at_both_ends_and_lasts_until_it_is_healed() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("arrived");
        // The order of the two names means nothing.
        network.cut("b", "a");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::ConnectionReset)));
        assert_eq!(far.next().await, text("arrived"), "what had arrived can be read");
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert!(refusal(&network, "a", "b").await.ends_with("the network is cut between the two"));
        let mut others = dial(&network, "c", "b").await.expect("only one pair was cut");
        others.say("hello");
        assert_eq!(door.take().next().await, text("hello"));
        network.heal("a", "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("again");
        assert_eq!(far.next().await, text("again"));
    })
    .await;
}

#[tokio::test]
async fn a_cut_wakes_who_waits_to_read_or_to_write() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        assert_eq!(near.try_write(&[0; PIPE_BYTES]), Poll::Ready(Ok(PIPE_BYTES)));
        let writing = async { poll_fn(|cx| near.link.writer.poll_write(cx, &[IoSlice::new(b"x")])).await };
        let reading = tokio::spawn(async move {
            // The zeros are frames of length 0.
            let error = poll_fn(|cx| far.link.reader.poll_read(cx, &mut |_| {})).await;
            assert!(matches!(error, Err(LinkError::Frame(_))));
            poll_fn(|cx| far.link.reader.poll_read(cx, &mut |_| {})).await
        });
        let (written, read, ()) = tokio::join!(writing, reading, async {
            tokio::task::yield_now().await;
            network.cut("a", "b");
        });
        assert_eq!(written.expect_err("broken").kind(), IoErrorKind::ConnectionReset);
        assert!(matches!(read.expect("no panic"), Err(LinkError::Io(_))));
    })
    .await;
}

#[tokio::test]
async fn sever_breaks_the_links_there_are_and_no_others() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.sever("a", "b");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("at once");
        assert_eq!(far.next().await, text("at once"));
    })
    .await;
}

// ---- Stall ---------------------------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_stalled_node_neither_takes_nor_gives_and_loses_nothing() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        for (stalled, is_near) in [("a", true), ("b", false)] {
            let (quiet, loud) = if is_near { (&mut near, &mut far) } else { (&mut far, &mut near) };
            network.stall(stalled);
            network.stall(stalled);
            loud.say("waits");
            assert!(quiet.is_quiet());
            assert_eq!(quiet.try_write(b"x"), Poll::Pending);
            let room = PIPE_BYTES - "waits".len() - 4;
            let mut filler = Vec::new();
            loud.link.framing.write_message(&mut filler, &"x".repeat(room - 4), [0; 4]);
            assert_eq!(loud.try_write(&filler), Poll::Ready(Ok(room)), "up to the bound");
            assert_eq!(loud.try_write(b"x"), Poll::Pending);
            let resume = async {
                tokio::time::sleep(SECOND).await;
                network.resume(stalled);
            };
            let ((), seen) = tokio::join!(resume, quiet.next());
            assert_eq!(seen, text("waits"), "{stalled} is woken");
            quiet.next().await;
            quiet.say("goes on");
            assert_eq!(loud.next().await, text("goes on"));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_node_hears_of_a_cut_when_it_goes_on_and_answers_nobody_before() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.stall("b");
        network.sever("a", "b");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert!(far.is_quiet());
        let attempt = tokio::time::timeout(SECOND, dial(&network, "a", "b")).await;
        assert!(attempt.is_err(), "no answer and no refusal");
        let resume = async {
            tokio::time::sleep(SECOND).await;
            network.resume("b");
        };
        let (attempt, ()) = tokio::join!(dial(&network, "a", "b"), resume);
        attempt.expect("made once the node goes on");
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
    })
    .await;
}

// ---- Half-open -----------------------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn on_a_half_open_link_bytes_vanish_and_nothing_ends() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("arrived");
        network.half_open("b", "a");
        assert_eq!(near.try_write(&[0; 3 * PIPE_BYTES]), Poll::Ready(Ok(3 * PIPE_BYTES)), "taken, and gone");
        far.say("gone as well");
        assert_eq!(far.next().await, text("arrived"));
        far.close(4000, "nobody hears this");
        drop(far);
        assert!(near.is_quiet());
        near.say("and nobody learns that the other end has gone");
        let attempt = tokio::time::timeout(10 * SECOND, dial(&network, "a", "b")).await;
        assert!(attempt.is_err(), "no answer and no refusal");
        let heal = async {
            tokio::time::sleep(SECOND).await;
            network.heal("a", "b");
        };
        let (attempt, ()) = tokio::join!(dial(&network, "a", "b"), heal);
        attempt.expect("made once it is healed");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset), "what had lost bytes cannot go on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_a_half_open_link() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.half_open("a", "b");
        network.cut("a", "b");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert!(refusal(&network, "a", "b").await.contains("cut"), "refused, not left waiting");
        network.heal("a", "b");
        joined(&network, &door).await;
    })
    .await;
}
