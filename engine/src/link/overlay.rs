//! The port of swarms: an *overlay* carries what one member of a topic says to all others, by way of its neighbours, and tells who those
//! are. Does not know events, authors or order.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{BoxFuture, ConnectError};
use crate::model::Error;

/// A member's public key: who it is, and what its signatures are checked with.
pub type MemberId = [u8; 32];

/// What a topic is called in the overlay.
pub type TopicId = [u8; 32];

/// A member's signature.
pub type Signature = [u8; 64];

/// Something that an overlay tells of a topic.
#[derive(Debug)]
pub enum Rumour {
    /// A member is a neighbour now.
    Up(MemberId),
    /// It no longer is.
    Down(MemberId),
    /// A message came, passed on by a neighbour.
    Said { bytes: Bytes, by: MemberId },
    /// Messages came and were dropped, because this was not asked for them in time.
    Lagged,
}

/// One topic of an overlay, seen by one member. Dropping what `join` gave is leaving.
pub trait Overlay: Send + Sync + 'static {
    /// Who this member is.
    fn me(&self) -> MemberId;

    /// The topic.
    fn topic(&self) -> TopicId;

    /// Where this member's own numbers begin: grows with each target.
    fn epoch(&self) -> u64;

    /// Signs as this member.
    fn sign(&self, text: &[u8]) -> Signature;

    /// Whether `author` has signed the text.
    fn is_signed_by(&self, author: &MemberId, text: &[u8], signature: &Signature) -> bool;

    /// Joins the topic; nobody is dialled for it.
    fn join(&self) -> BoxFuture<Result<Joined, Error>>;

    /// Resolves when the overlay ends by itself.
    fn ended(&self) -> BoxFuture<()>;
}

/// Both sides of a topic.
pub type Joined = (Box<dyn Ear>, Box<dyn Mouth>);

/// What is heard of a topic.
pub trait Ear: Send {
    /// The next thing; nothing when the overlay has ended.
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Option<Rumour>>;
}

/// What is said in a topic, and to whom it is made known.
pub trait Mouth: Send {
    /// Says something to all members; done when the overlay has taken it. False when it never will.
    fn say(&self, message: Bytes) -> BoxFuture<bool>;

    /// Dials a member and asks it to be a neighbour. Done when that was asked; the answer is [`Rumour::Up`].
    fn call(&self, member: MemberId) -> BoxFuture<Result<(), ConnectError>>;
}
