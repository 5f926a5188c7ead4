//! Links without faults: bytes, their bound, closes, and names of nodes.

use std::future::poll_fn;
use std::io::{ErrorKind as IoErrorKind, IoSlice};
use std::sync::atomic::Ordering;
use std::task::Poll;

use alkpubsub_engine::transport::memory::MemoryNetwork;

use crate::support::*;
use crate::{Door, End, PIPE_BYTES, SEED, Seen, dial, joined, refusal, text};

// ---- Pipes ---------------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn bytes_arrive_whole_and_in_order_whatever_the_pieces() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        // From nothing to several pipes full, in both directions at once.
        let sizes: Vec<usize> = (0..400).map(|n| n * n * 7 % 200_003).collect();
        let messages: Vec<String> = sizes.iter().map(|size| format!("{size} {}", "x".repeat(*size))).collect();
        let exchange = |end: &'static str, mut link: End, expected: Vec<String>| async move {
            let mut frames = Vec::new();
            expected.iter().for_each(|message| link.link.framing.write_message(&mut frames, message, [0; 4]));
            let (mut written, mut heard) = (0, 0);
            poll_fn(|cx| {
                while let Poll::Ready(seen) = link.poll_seen(cx) {
                    assert_eq!(seen, Seen::Text(expected[heard].clone()), "{end}");
                    heard += 1;
                }
                while written < frames.len() {
                    let piece = &frames[written..frames.len().min(written + 10_007)];
                    match link.link.writer.poll_write(cx, &[IoSlice::new(&piece[..1]), IoSlice::new(&piece[1..])]) {
                        Poll::Pending => break,
                        Poll::Ready(result) => written += result.expect("the other end is there"),
                    }
                }
                if written == frames.len() && heard == expected.len() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            link
        };
        near.say("first");
        far.say("first");
        assert_eq!((near.next().await, far.next().await), (text("first"), text("first")));
        tokio::join!(exchange("near", near, messages.clone()), exchange("far", far, messages));
    })
    .await;
}

#[tokio::test]
async fn a_pipe_takes_64_kib_and_no_byte_more_until_it_is_read() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        let message = "x".repeat(2 * PIPE_BYTES);
        let mut frame = Vec::new();
        near.link.framing.write_message(&mut frame, &message, [0; 4]);
        assert_eq!(near.try_write(&frame), Poll::Ready(Ok(PIPE_BYTES)));
        assert_eq!(near.try_write(&frame[PIPE_BYTES..]), Poll::Pending);
        far.say("the other direction is another pipe");
        let (_, seen) = tokio::join!(near.write(&frame[PIPE_BYTES..]), far.next());
        assert_eq!(seen, Seen::Text(message), "a writer that waits is woken by the reader");
    })
    .await;
}

#[tokio::test]
async fn a_close_arrives_behind_the_bytes_and_a_dropped_end_is_no_close() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("last");
        near.close(4001, "bye");
        near.close(4002, "once is enough");
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::BrokenPipe)));
        assert_eq!((far.next().await, far.next().await), (text("last"), Seen::Close(4001, "bye".into())));
        assert_eq!(far.next().await, Seen::Ended);
        far.say("one direction alone is closed");
        assert_eq!(near.next().await, text("one direction alone is closed"));
        let (mut near, far) = joined(&network, &door).await;
        drop(far);
        assert_eq!(near.next().await, Seen::Ended);
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::BrokenPipe)));
    })
    .await;
}

// ---- Nodes ---------------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn links_go_to_who_listens_under_a_name_and_the_last_one_has_it() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let message = refusal(&network, "a", "b").await;
        assert_eq!(message, r#""a" cannot reach "b" in the memory network with seed 7: nobody listens there"#);
        let first = Door::open(&network, "b");
        let second = Door::open(&network, "b");
        let (_near, far) = joined(&network, &second).await;
        assert_eq!(
            (far.link.peer.transport, far.link.peer.url.as_deref(), far.link.peer.remote_address),
            ("memory", Some("/a"), None)
        );
        drop(first);
        joined(&network, &second).await;
        drop(second);
        refusal(&network, "a", "b").await;
        let leaving = Door::open(&network, "b");
        leaving.is_open.store(false, Ordering::SeqCst);
        assert!(refusal(&network, "a", "b").await.ends_with("it takes no more links"));
    })
    .await;
}

#[tokio::test]
async fn a_closed_network_breaks_its_links_and_makes_no_more() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.stall("a");
        let waiting = tokio::spawn({
            let network = network.clone();
            async move { dial(&network, "a", "b").await.err().expect("refused") }
        });
        network.close();
        assert!(waiting.await.expect("no panic").is_terminal, "trying again is in vain");
        network.resume("a");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
    })
    .await;
}
