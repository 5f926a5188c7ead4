//! Takes the answers and messages of one Redis connection apart, as they come (RESP, <https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//! Does not know what was asked.
//!
//! Invariants: never holds more than what arrived of one reply and the read that completed it; a message larger than allowed is passed
//! over, not stored; a reply that a connection like ours cannot get ends the connection.

/// Scalars of one reply at most: `message`, channel, payload.
const MAX_SCALARS: usize = 3;
/// Bytes of a line without its length in front: errors, numbers, words. Source: none, a guess; Redis itself stops at 64 KiB.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Bytes of a message that is passed over at most. Source: `proto-max-bulk-len` of Redis, unless it was raised.
const MAX_SKIPPED_BYTES: usize = 512 << 20;
/// Above this a buffer is given back once it is empty.
const KEPT_CAPACITY: usize = 4096;

/// One part of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// `+OK`.
    Word(&'a [u8]),
    /// `-NOPERM …`.
    Error(&'a str),
    /// `:1`.
    Integer(i64),
    /// `$3 abc`.
    Bulk(&'a [u8]),
    /// A bulk that is not there.
    Null,
    /// The last part, longer than allowed: its bytes are passed over.
    TooLarge(u64),
}

impl Scalar<'_> {
    /// The bytes of words and bulks; of all else none.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Word(bytes) | Self::Bulk(bytes) => bytes,
            Self::Error(_) | Self::Integer(_) | Self::Null | Self::TooLarge(_) => &[],
        }
    }
}

/// The reply is not one of ours to get.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reply of Redis that was asked for: {0}")]
pub(super) struct Violation(pub(super) &'static str);

/// Why a reply cannot be read yet, or at all.
pub(super) enum Stop {
    Incomplete,
    Violation(&'static str),
}

/// What is kept between reads.
#[derive(Debug)]
pub(super) struct Replies {
    partial: Vec<u8>,
    /// Bytes of a message that is too large, and still to be passed over.
    to_skip: u64,
    max_bulk: usize,
}

impl Replies {
    pub(super) fn new(max_bulk: usize) -> Self {
        Self { partial: Vec::new(), to_skip: 0, max_bulk }
    }

    /// Bulks of this length are read as well.
    pub(super) fn allow(&mut self, len: usize) {
        self.max_bulk = self.max_bulk.max(len);
    }

    /// Bytes kept of a reply that is not complete.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Takes what one read brought.
    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[Scalar<'_>])) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let used = self.split(bytes, sink)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.partial);
        held.extend_from_slice(bytes);
        let used = self.split(&held, sink)?;
        held.drain(..used);
        if !held.is_empty() || held.capacity() <= KEPT_CAPACITY {
            self.partial = held;
        }
        Ok(())
    }

    /// Hands over every whole reply; returns how many bytes those were.
    fn split(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[Scalar<'_>])) -> Result<usize, Violation> {
        let mut at = 0;
        loop {
            let skipped = self.to_skip.min((bytes.len() - at) as u64);
            self.to_skip -= skipped;
            at += skipped as usize;
            if at == bytes.len() {
                return Ok(at);
            }
            let mut cursor = Cursor { bytes, at, max_bulk: self.max_bulk };
            match cursor.reply() {
                Ok((scalars, count)) => {
                    sink(&scalars[..count]);
                    at = cursor.at;
                    if let Scalar::TooLarge(len) = scalars[count - 1] {
                        self.to_skip = len + 2;
                    }
                }
                Err(Stop::Incomplete) => return Ok(at),
                Err(Stop::Violation(what)) => return Err(Violation(what)),
            }
        }
    }
}

/// Reads parts of replies, one behind the other.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) max_bulk: usize,
}

impl<'a> Cursor<'a> {
    fn reply(&mut self) -> Result<([Scalar<'a>; MAX_SCALARS], usize), Stop> {
        let mut scalars = [Scalar::Null; MAX_SCALARS];
        // RESP2 sends messages as arrays, RESP3 as pushes.
        let count = if matches!(self.bytes.get(self.at), Some(b'*' | b'>')) {
            self.at += 1;
            usize::try_from(self.integer()?).unwrap_or_default()
        } else {
            1
        };
        if count == 0 || count > MAX_SCALARS {
            return Err(Stop::Violation("an array of an odd length"));
        }
        for (index, scalar) in scalars[..count].iter_mut().enumerate() {
            *scalar = self.scalar(index + 1 == count)?;
        }
        Ok((scalars, count))
    }

    pub(super) fn scalar(&mut self, is_last: bool) -> Result<Scalar<'a>, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        self.at += 1;
        match kind {
            b'+' => self.line().map(Scalar::Word),
            b':' => self.integer().map(Scalar::Integer),
            b'_' => self.line().map(|_| Scalar::Null),
            b'-' => std::str::from_utf8(self.line()?)
                .map(Scalar::Error)
                .map_err(|_| Stop::Violation("an error that is not UTF-8")),
            b'$' => self.bulk(is_last),
            _ => Err(Stop::Violation("an unknown kind of value")),
        }
    }

    fn bulk(&mut self, is_last: bool) -> Result<Scalar<'a>, Stop> {
        let len = self.integer()?;
        let Ok(len) = usize::try_from(len) else {
            return if len == -1 { Ok(Scalar::Null) } else { Err(Stop::Violation("a negative length")) };
        };
        if len > self.max_bulk {
            // Who announces more than there can be would never be listened to again.
            return if is_last && len <= MAX_SKIPPED_BYTES {
                Ok(Scalar::TooLarge(len as u64))
            } else {
                Err(Stop::Violation("a value too long"))
            };
        }
        let end = self.at + len;
        match self.bytes.get(end..end + 2) {
            None => Err(Stop::Incomplete),
            Some(b"\r\n") => {
                let value = &self.bytes[self.at..end];
                self.at = end + 2;
                Ok(Scalar::Bulk(value))
            }
            Some(_) => Err(Stop::Violation("a value without an end")),
        }
    }

    pub(super) fn integer(&mut self) -> Result<i64, Stop> {
        let line = self.line()?;
        let number = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        number.ok_or(Stop::Violation("a number that is none"))
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let searched = &rest[..rest.len().min(MAX_LINE_BYTES + 2)];
        let mut ends = searched.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at - 1);
        let Some(len) = ends.find(|at| searched[*at] == b'\r') else {
            let is_too_long = searched.len() == MAX_LINE_BYTES + 2;
            return Err(if is_too_long { Stop::Violation("a line too long") } else { Stop::Incomplete });
        };
        self.at += len + 2;
        Ok(&rest[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"+OK\r\n:17\r\n-NOPERM no\r\n*3\r\n$7\r\nmessage\r\n$3\r\na:b\r\n$5\r\nh\r\nlo\r\n\
        *2\r\n$4\r\npong\r\n$0\r\n\r\n>3\r\n$9\r\nsubscribe\r\n$2\r\na:\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n";

    fn read(max_bulk: usize, pieces: &[&[u8]]) -> Result<Vec<String>, Violation> {
        let mut replies = Replies::new(max_bulk);
        let mut seen = Vec::new();
        for piece in pieces {
            replies.feed(piece, &mut |scalars| seen.push(format!("{scalars:?}")))?;
        }
        assert_eq!(replies.held_bytes(), 0, "everything was whole");
        Ok(seen)
    }

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_cut() {
        let whole = read(100, &[STREAM]).expect("legal");
        assert_eq!(whole.len(), 7);
        assert!(whole[3].contains("Bulk([104, 13, 10, 108, 111])"), "{}", whole[3]);
        for cut in 1..STREAM.len() {
            assert_eq!(read(100, &[&STREAM[..cut], &STREAM[cut..]]).expect("legal"), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(read(100, &single).expect("legal"), whole);
    }

    #[test]
    fn a_message_over_the_limit_is_passed_over_and_what_follows_is_read() {
        let stream = b"*3\r\n$7\r\nmessage\r\n$2\r\na:\r\n$11\r\nhello world\r\n:1\r\n";
        for (max, expected) in [(11, "Bulk([104"), (10, "TooLarge(11)")] {
            for cut in 1..stream.len() {
                let seen = read(max, &[&stream[..cut], &stream[cut..]]).expect("legal");
                assert_eq!(seen.len(), 2, "{seen:?}");
                assert!(seen[0].contains(expected) && seen[1] == "[Integer(1)]", "{seen:?}");
            }
        }
    }

    #[test]
    fn what_redis_does_not_send_ends_the_connection() {
        let long = [b"+".as_slice(), &[b'x'; MAX_LINE_BYTES + 2]].concat();
        let illegal: [&[u8]; 13] = [
            b"GET / HTTP/1.1\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*4\r\n",
            b"*1\r\n*1\r\n",
            b"$-2\r\n",
            b":x\r\n",
            b"$1\r\nabc",
            b"*2\r\n$2147483648\r\n",
            b"*3\r\n$7\r\nmessage\r\n$2\r\na:\r\n$536870913\r\n",
            b"$9223372036854775807\r\n",
            b"$9223372036854775808\r\n",
            &long,
        ];
        for bytes in illegal {
            assert!(read(100, &[bytes]).is_err(), "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
        }
    }
}
