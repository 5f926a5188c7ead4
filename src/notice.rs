//! Notices of the engine → the objects that JavaScript gets. Field names: `docs/decisions/0001-first-path.md`.

use alkpubsub_engine::delivery::{Direction, Failure, Gap, GapCause, Notice};
use alkpubsub_engine::link::Peer;
use alkpubsub_engine::model::Error;
use serde_json::{Value, json};

use crate::error::code;

pub(crate) fn to_json(notice: Notice) -> Value {
    match notice {
        Notice::Open { is_reconnected, is_native } => {
            json!({ "kind": "open", "reconnected": is_reconnected, "native": is_native })
        }
        Notice::Reconnecting { attempt, delay_ms, cause } => {
            json!({ "kind": "reconnecting", "attempt": attempt, "delayMs": delay_ms, "cause": failure(&cause) })
        }
        Notice::Gap(gap) => gap_to_json(&gap),
        Notice::Error { failure: Failure { kind, message }, dropped } => {
            let mut object = json!({ "kind": "error", "code": code(kind), "message": message });
            if dropped > 0 {
                object["dropped"] = dropped.into();
            }
            object
        }
        Notice::Closed { reason, error } => {
            let mut object = json!({ "kind": "closed", "code": reason.code.0, "reason": reason.reason });
            if let Some(error) = error {
                object["error"] = failure(&error);
            }
            object
        }
        Notice::Authorize { token, peer } => with(peer_to_json("authorize", &peer), [("token", token.into())]),
        Notice::Withdrawn { token } => json!({ "kind": "withdrawn", "token": token }),
        Notice::AuthorizeSubscribe { token, connection, topic } => {
            json!({ "kind": "authorizeSubscribe", "token": token, "connection": connection, "topic": topic })
        }
        Notice::Connection { connection, serial, peer, ticket } => {
            let numbers = [("connection", connection.into()), ("serial", serial.into()), ("ticket", ticket.into())];
            with(peer_to_json("connection", &peer), numbers)
        }
        Notice::Hello { connection } => json!({ "kind": "hello", "connection": connection }),
        Notice::Disconnection { connection, reason, is_clean } => json!({
            "kind": "disconnection", "connection": connection, "code": reason.code.0, "reason": reason.reason, "clean": is_clean
        }),
        Notice::Backpressure { connection, buffered } => {
            json!({ "kind": "backpressure", "connection": connection, "bufferedAmount": buffered })
        }
        Notice::Confirmed { token, outcome: Ok(acknowledged) } => {
            json!({ "kind": "confirmed", "token": token, "acknowledged": acknowledged })
        }
        Notice::Confirmed { token, outcome: Err(error) } => {
            json!({ "kind": "confirmed", "token": token, "acknowledged": false, "error": failure(&error) })
        }
        Notice::Flushed { token } => json!({ "kind": "flushed", "token": token }),
        Notice::Drained { token } => json!({ "kind": "drained", "token": token }),
        Notice::Dial { token, attempt } => json!({ "kind": "dial", "token": token, "attempt": attempt }),
        // A notice that this table does not know yet.
        other => json!({ "kind": "error", "code": "ERR_INTERNAL", "message": format!("unknown notice {other:?}") }),
    }
}

/// An error of the engine as notices tell it.
pub(crate) fn failure_of(error: &Error) -> Failure {
    Failure { kind: error.kind(), message: error.to_string() }
}

fn failure(failure: &Failure) -> Value {
    json!({ "code": code(failure.kind), "message": failure.message })
}

fn gap_to_json(gap: &Gap) -> Value {
    let cause = match gap.cause {
        GapCause::ConnectionLost => "connection-lost",
        GapCause::SlowConsumer => "slow-consumer",
        GapCause::Overflow => "overflow",
        GapCause::Sequence => "sequence",
        _ => "upstream",
    };
    let direction = match gap.direction {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Both => "both",
    };
    let mut object = json!({
        "kind": "gap", "cause": cause, "direction": direction, "from": gap.from_ms, "to": gap.to_ms, "topics": gap.topics
    });
    if gap.dropped > 0 {
        object["dropped"] = gap.dropped.into();
    }
    object
}

fn with<const N: usize>(mut object: Value, fields: [(&str, Value); N]) -> Value {
    fields.into_iter().for_each(|(name, value)| object[name] = value);
    object
}

fn peer_to_json(kind: &str, peer: &Peer) -> Value {
    json!({
        "kind": kind,
        "transport": peer.transport,
        "remoteAddress": peer.remote_address.map(|address| address.to_string()),
        "url": peer.url,
        "headers": pack(&peer.headers),
        "protocols": peer.protocols,
        "identity": peer.identity,
    })
}

/// Header lines as one text, a name and a value after the other: JavaScript keeps it as it is until somebody asks. No header holds a line end.
fn pack(headers: &[(String, String)]) -> String {
    let parts: Vec<&str> = headers.iter().flat_map(|(name, value)| [name.as_str(), value]).collect();
    parts.join("\n")
}
