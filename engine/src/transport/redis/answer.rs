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
    let (mut answers, mut held, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    while answers.len() < commands.len() {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Err(Unanswered::Closed(answers));
        }
        held.extend_from_slice(&buffer[..count]);
        let used = read_all(&held, &mut answers).map_err(Unanswered::Nonsense)?;
        held.drain(..used);
        if held.len() > MAX_ANSWERS_BYTES {
            return Err(Unanswered::Nonsense(Violation("an answer too long")));
        }
    }
    Ok(answers)
}

/// Appends every whole answer; returns how many bytes those were.
fn read_all(bytes: &[u8], answers: &mut Vec<Answer>) -> Result<usize, Violation> {
    let mut cursor = Cursor { bytes, at: 0, max_bulk: MAX_ANSWERS_BYTES };
    loop {
        let at = cursor.at;
        match read(&mut cursor, MAX_DEPTH) {
            Ok(answer) => answers.push(answer),
            Err(Stop::Incomplete) => return Ok(at),
            Err(Stop::Violation(what)) => return Err(Violation(what)),
        }
    }
}

fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Answer, Stop> {
    if !matches!(cursor.bytes.get(cursor.at), Some(b'*' | b'>' | b'~')) {
        return Ok(match cursor.scalar(false)? {
            Scalar::Word(bytes) | Scalar::Bulk(bytes) => Answer::Text(String::from_utf8_lossy(bytes).into_owned()),
            Scalar::Error(error) => Answer::Error(error.into()),
            Scalar::Integer(number) => Answer::Integer(number),
            Scalar::Null | Scalar::TooLarge(_) => Answer::Null,
        });
    }
    if depth == 0 {
        return Err(Stop::Violation("an answer nested too deeply"));
    }
    cursor.at += 1;
    let Ok(count) = usize::try_from(cursor.integer()?) else { return Ok(Answer::Null) };
    // Nothing is reserved for what was only announced: each item takes bytes of its own.
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(cursor, depth - 1)?);
    }
    Ok(Answer::List(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"+PONG\r\n*3\r\n$6\r\nmaster\r\n:7\r\n*1\r\n*2\r\n$-1\r\n$1\r\nx\r\n-NOPERM no\r\n*-1\r\n";

    #[test]
    fn nested_answers_are_read_wherever_they_are_cut() {
        let mut whole = Vec::new();
        assert_eq!(read_all(STREAM, &mut whole).ok(), Some(STREAM.len()));
        let inner = Answer::List(vec![Answer::Null, Answer::Text("x".into())]);
        let role = vec![Answer::Text("master".into()), Answer::Integer(7), Answer::List(vec![inner])];
        let no = Answer::Error("NOPERM no".into());
        assert_eq!(whole, [Answer::Text("PONG".into()), Answer::List(role), no, Answer::Null]);
        for cut in 0..STREAM.len() {
            let mut answers = Vec::new();
            let used = read_all(&STREAM[..cut], &mut answers).expect("legal");
            read_all(&STREAM[used..], &mut answers).expect("legal");
            assert_eq!(answers, whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_announced_takes_no_room_and_what_is_too_deep_is_refused() {
        let mut answers = Vec::new();
        assert_eq!(read_all(b"*2147483647\r\n:1\r\n", &mut answers).ok(), Some(0));
        assert!(read_all(&b"*1\r\n".repeat(MAX_DEPTH + 1), &mut answers).is_err() && answers.is_empty());
        assert!(read_all(b"GET / HTTP/1.1\r\n", &mut answers).is_err());
    }
}
