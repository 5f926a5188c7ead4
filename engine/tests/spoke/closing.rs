//! A close in each state, and who delays it.

use std::time::Duration;

use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind};
use alkpubsub_engine::spoke::Reconnect;

use crate::support::*;
use crate::{ByHand, Side, normal_close, reset};

#[tokio::test]
async fn close_while_connecting_ends_at_once_if_nothing_waits() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let _never_answered = hub.tcp().await;
        side.spoke.close(normal_close(), FOREVER);
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
    })
    .await;
}

#[tokio::test]
async fn close_while_connecting_drops_what_waits_when_its_time_is_over() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let _never_answered = hub.tcp().await;
        side.publish("e", "", "1");
        side.publish("e", "", "2");
        side.spoke.flush(1);
        side.spoke.drained(2);
        side.spoke.close(normal_close(), Duration::from_millis(20));
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
        let (_, dropped) = side.app.error(ErrorKind::Closed).await;
        assert_eq!((dropped, side.spoke.stats().dropped), (2, 2));
        assert_eq!(side.spoke.buffered(), 0);
        side.app.flushed(1).await;
        side.app.drained(2).await;
        assert_eq!(side.story().last().map(String::as_str), Some("closed 1000"));
    })
    .await;
}

#[tokio::test]
async fn close_between_attempts_ends_at_once() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.reconnect = Some(Reconnect { min_delay: FOREVER, max_delay: FOREVER, ..Reconnect::default() });
        let side = Side::dial(config);
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        side.app.reconnecting(1).await;
        side.spoke.close(normal_close(), FOREVER);
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_does_not_answer_a_close_delays_it_no_longer_than_asked() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let _deaf = hub.accept_native().await;
        side.app.open(1).await;
        side.spoke.close(CloseReason::new(CloseCode(4000), "so long"), Duration::from_millis(30));
        assert_eq!(side.app.closed().await, (4000, "so long".into(), None));
    })
    .await;
}

#[tokio::test]
async fn the_hub_reads_the_code_and_reason_of_a_close() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.publish("e", "", "1");
        side.spoke.close(CloseReason::new(CloseCode(4000), "so long"), FOREVER);
        let (texts, close) = far.until_end().await;
        assert_eq!(texts, [event("e", "", "1")]);
        assert_eq!(close, Some((4000, "so long".into())));
        assert_eq!(side.app.closed().await, (4000, "so long".into(), None));
    })
    .await;
}
