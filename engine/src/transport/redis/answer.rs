//! Questions to a fresh connection, said in one write, and their answers, nested or not. Not for what a link reads later: that is `reply.rs`.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::Socket;
use super::reply::{Cursor, Scalar, Stop, Violation};

/// Bytes of all answers to one set of questions. Source: none, a guess: the slots of a cluster of a thousand nodes are 200 KiB.
const MAX_ANSWERS_BYTES: usize = 4 << 20;
/// How deep answers may be nested. Source: CLUSTER SLOTS has four levels.
const MAX_DEPTH: usize = 8;

/// A command and its arguments.
pub(super) type Command = Vec<Vec<u8>>;

/// A command of texts.
pub(super) fn command(words: &[&str]) -> Command {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// One whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Text(String),
    Error(String),
    Integer(i64),
    Null,
    List(Vec<Answer>),
}

impl Answer {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The items of a list; of all else none.
    pub(super) fn list(&self) -> &[Answer] {
        if let Self::List(items) = self { items } else { &[] }
    }

    pub(super) fn error(&self) -> Option<&str> {
        if let Self::Error(error) = self { Some(error) } else { None }
    }

    /// A number, also one that is written as a text.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// Why there are no answers.
pub(super) enum Unanswered {
    Io(io::Error),
    /// The connection was closed behind these answers.
    Closed(Vec<Answer>),
    Nonsense(Violation),
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Asks everything and waits for all answers, in order.
pub(super) async fn ask(socket: &mut dyn Socket, commands: &[Command]) -> Result<Vec<Answer>, Unanswered> {
    let questions: Vec<u8> = commands.iter().flat_map(|command| ::redis::pack_command(command)).collect();
    socket.write_all(&questions).await?;
    socket.flush().await?;
    let (mut reading, mut buffer) = (Reading::default(), [0; 4096]);
    while reading.answers.len() < commands.len() {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Err(Unanswered::Closed(reading.answers));
        }
        reading.feed(&buffer[..count]).map_err(Unanswered::Nonsense)?;
    }
    Ok(reading.answers)
}

/// What has come so far. What was read is not read again, however long an answer is.
#[derive(Default)]
struct Reading {
    answers: Vec<Answer>,
    /// Lists that are not complete, the outermost first, and how many items each is to have.
    open: Vec<(usize, Vec<Answer>)>,
    /// Bytes of a value that is not complete.
    partial: Vec<u8>,
    total: usize,
}

impl Reading {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.total += bytes.len();
        if self.total > MAX_ANSWERS_BYTES {
            return Err(Violation("answers too long"));
        }
        let mut held = std::mem::take(&mut self.partial);
        held.extend_from_slice(bytes);
        let mut cursor = Cursor { bytes: &held, at: 0, max_bulk: MAX_ANSWERS_BYTES };
        let used = loop {
            let at = cursor.at;
            match self.step(&mut cursor) {
                Ok(()) => {}
                Err(Stop::Incomplete) => break at,
                Err(Stop::Violation(what)) => return Err(Violation(what)),
            }
        };
        held.drain(..used);
        self.partial = held;
        Ok(())
    }

    /// Reads a value, or the head of a list.
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let value = match cursor.bytes.get(cursor.at) {
            Some(b'*' | b'>' | b'~') => {
                cursor.at += 1;
                match usize::try_from(cursor.integer()?) {
                    Err(_) => Answer::Null,
                    Ok(0) => Answer::List(Vec::new()),
                    Ok(_) if self.open.len() == MAX_DEPTH => {
                        return Err(Stop::Violation("an answer nested too deeply"));
                    }
                    // Nothing is reserved for what was only announced: each item takes bytes of its own.
                    Ok(count) => {
                        self.open.push((count, Vec::new()));
                        return Ok(());
                    }
                }
            }
            _ => value_of(cursor.scalar(false)?),
        };
        self.put(value);
        Ok(())
    }

    /// Takes a whole value, and every list that is whole with it.
    fn put(&mut self, mut value: Answer) {
        while let Some((count, mut items)) = self.open.pop() {
            items.push(value);
            if items.len() < count {
                return self.open.push((count, items));
            }
            value = Answer::List(items);
        }
        self.answers.push(value);
    }
}

fn value_of(scalar: Scalar<'_>) -> Answer {
    match scalar {
        Scalar::Word(bytes) | Scalar::Bulk(bytes) => Answer::Text(String::from_utf8_lossy(bytes).into_owned()),
        Scalar::Error(error) => Answer::Error(error.into()),
        Scalar::Integer(number) => Answer::Integer(number),
        Scalar::Null | Scalar::TooLarge(_) => Answer::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"+PONG\r\n*3\r\n$6\r\nmaster\r\n:7\r\n*1\r\n*2\r\n$-1\r\n$1\r\nx\r\n-NOPERM no\r\n*-1\r\n";

    #[test]
    fn nested_answers_are_read_wherever_they_are_cut() {
        let mut whole = Reading::default();
        whole.feed(STREAM).expect("legal");
        let inner = Answer::List(vec![Answer::Null, Answer::Text("x".into())]);
        let role = vec![Answer::Text("master".into()), Answer::Integer(7), Answer::List(vec![inner])];
        let no = Answer::Error("NOPERM no".into());
        assert_eq!(whole.answers, [Answer::Text("PONG".into()), Answer::List(role), no, Answer::Null]);
        for cut in 0..STREAM.len() {
            let mut reading = Reading::default();
            [&STREAM[..cut], &STREAM[cut..]].iter().for_each(|part| reading.feed(part).expect("legal"));
            assert_eq!(reading.answers, whole.answers, "cut at {cut}");
            assert!(reading.partial.is_empty() && reading.open.is_empty());
        }
    }

    #[test]
    fn what_is_announced_takes_no_room_and_what_is_too_deep_or_too_long_is_refused() {
        let mut reading = Reading::default();
        assert!(reading.feed(b"*2147483647\r\n:1\r\n").is_ok() && reading.answers.is_empty());
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 1);
        assert!(Reading::default().feed(&deep).is_err() && Reading::default().feed(&deep[4..]).is_ok());
        assert!(Reading::default().feed(b"GET / HTTP/1.1\r\n").is_err());
        let piece = b":1\r\n".repeat(1024);
        let fed = (0..).take_while(|_| reading.feed(&piece).is_ok()).count();
        assert_eq!(fed, (MAX_ANSWERS_BYTES - 17) / piece.len());
    }

    #[test]
    fn an_empty_list_is_a_list() {
        let mut reading = Reading::default();
        reading.feed(b"*0\r\n*2\r\n*0\r\n:1\r\n").expect("legal");
        let inner = Answer::List(vec![Answer::List(vec![]), Answer::Integer(1)]);
        assert_eq!(reading.answers, [Answer::List(vec![]), inner]);
    }
}
