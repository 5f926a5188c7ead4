//! Iroh: endpoints that are named by their keys, and links over one bidirectional QUIC stream between two of them, with length frames.
//!
//! Does not know topics. Nothing here contacts a server that nobody asked for: relays and address lookups are options. Invariants: every
//! task of a link owns its endpoint, so no link dies because somebody forgot an object; the task that reads a stream never stops reading
//! (`inflow.rs` says why).

mod accept;
mod access;
mod address;
mod connect;
mod endpoint;
mod entrance;
mod facts;
mod gossip;
mod halves;
mod id;
mod inflow;
mod key_file;
mod ledger;
mod link;
mod neighbours;
mod outflow;
mod raw;
mod screening;
mod standstill;
mod wait;

use crate::model::{Error, ErrorKind};

pub use accept::{AcceptConfig, Acceptance, Caller};
pub use address::{AddressWatch, parse_address, parse_ticket, ticket};
pub use connect::{DialConfig, IrohConnector, Speaks};
pub use endpoint::{EndpointConfig, IrohEndpoint, Relay, Relays};
pub use facts::{ConnectionFacts, EndpointFacts, PathEnd, PathFacts, RelayFacts};
pub use gossip::{GOSSIP_ALPN, IrohGossip, topic_id};
pub use halves::{IrohRecv, IrohSend};
pub use id::{parse_id, parse_secret_key};
pub use iroh::{EndpointAddr, TransportAddr};
pub use key_file::key_in_file;
pub use raw::{Arrivals, ConnectionEnd, IrohConnection};
pub use screening::{Answer, Newcomer, Question, Screening};
pub use wait::{IrohWaiter, WaitConfig};

/// The protocol of links to plain peers, and what is appended to it for native ones.
pub const ALPN: &str = "alkpubsub/1";
const HELLO_SUFFIX: &[u8] = b"+hello";

/// Marks links that a hub dials. Without it a hub that calls another hub would wait for its stream, and that one for this one's.
const CALL_SUFFIX: &str = "+call";

/// The protocol of links that a hub dials.
fn called(alpn: &str) -> String {
    format!("{alpn}{CALL_SUFFIX}")
}

/// Bytes of a protocol's name. Source: RFC 7301, section 3.1: its length is one byte, and it is not empty.
const MAX_ALPN: usize = 255;

/// One name that cannot be written makes every handshake fail of those who offer it, and of those who accept it.
fn check_alpn(alpn: &[u8]) -> Result<(), Error> {
    if (1..=MAX_ALPN).contains(&alpn.len()) {
        return Ok(());
    }
    let shown: String = String::from_utf8_lossy(alpn).chars().take(40).collect();
    let message = format!("alpn {shown:?} has {} bytes with what is appended, expected 1 to {MAX_ALPN}", alpn.len());
    Err(Error::new(ErrorKind::InvalidOption, message))
}

/// Both names of a protocol, the native one first.
fn alpns(alpn: &str) -> [Vec<u8>; 2] {
    let plain = alpn.as_bytes().to_vec();
    [[&plain, HELLO_SUFFIX].concat(), plain]
}
