//! Heads of HTTP requests and responses, read under bounds. Does not judge them.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::Limits;

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the connection ended before the end of the head")]
    Ended,
    #[error("a head of more than {} bytes or {} lines", Limits::MAX_HEAD_BYTES, Limits::MAX_HEADERS)]
    TooLarge,
    #[error("not HTTP/1.1: {0}")]
    Malformed(String),
}

/// Reads to the empty line, behind what was read already. Returns the head and what came behind it.
pub(super) async fn read_head<S: AsyncRead + Unpin>(
    io: &mut S,
    given: Vec<u8>,
) -> Result<(Vec<u8>, Vec<u8>), HeadError> {
    let mut bytes = given;
    let mut searched = 0;
    loop {
        if let Some(end) = end_of_head(&bytes[searched..]) {
            let early = bytes.split_off(searched + end);
            return if bytes.len() > Limits::MAX_HEAD_BYTES { Err(HeadError::TooLarge) } else { Ok((bytes, early)) };
        }
        if bytes.len() > Limits::MAX_HEAD_BYTES {
            return Err(HeadError::TooLarge);
        }
        searched = bytes.len().saturating_sub(3);
        bytes.reserve(1024);
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(HeadError::Ended);
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

pub(super) fn parse_request(head: &[u8]) -> Result<Request<()>, HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; Limits::MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut lines);
    whole(parsed.parse(head), head)?;
    let uri: Uri = parsed.path.unwrap_or_default().parse().map_err(malformed)?;
    let version = if parsed.version == Some(1) { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
    let mut request = Request::builder()
        .method(parsed.method.unwrap_or_default())
        .uri(uri)
        .version(version)
        .body(())
        .map_err(malformed)?;
    *request.headers_mut() = header_map(parsed.headers)?;
    Ok(request)
}

pub(super) fn parse_response(head: &[u8]) -> Result<Response<()>, HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; Limits::MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut lines);
    whole(parsed.parse(head), head)?;
    let mut response = Response::builder().status(parsed.code.unwrap_or_default()).body(()).map_err(malformed)?;
    *response.headers_mut() = header_map(parsed.headers)?;
    Ok(response)
}

fn header_map(lines: &[httparse::Header<'_>]) -> Result<HeaderMap, HeadError> {
    let mut map = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name: HeaderName = line.name.parse().map_err(malformed)?;
        map.append(name, HeaderValue::from_bytes(line.value).map_err(malformed)?);
    }
    Ok(map)
}

/// A head ends where we looked for its end. With bare line feeds it would end before, and somebody else may read what stands between.
fn whole(parsed: Result<httparse::Status<usize>, httparse::Error>, head: &[u8]) -> Result<(), HeadError> {
    let is_whole = parsed.map_err(parse_error)? == httparse::Status::Complete(head.len());
    if is_whole { Ok(()) } else { Err(malformed("a line that does not end with CR LF")) }
}

fn parse_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        other => malformed(other),
    }
}

fn malformed(error: impl std::fmt::Display) -> HeadError {
    HeadError::Malformed(error.to_string())
}

/// The tokens of a header that lists them with commas, over all its lines.
pub(super) fn tokens(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_may_come_byte_by_byte_and_keeps_what_follows() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x00";
        let (mut near, far) = tokio::io::duplex(1);
        let reading = tokio::spawn(async move {
            let mut far = far;
            read_head(&mut far, Vec::new()).await.map(|(head, _)| head)
        });
        tokio::io::AsyncWriteExt::write_all(&mut near, &text[..text.len() - 2]).await.expect("the reader reads");
        assert_eq!(reading.await.expect("no panic").expect("a head"), text[..text.len() - 2]);
        let (head, early) = read_head(&mut &text[..], Vec::new()).await.expect("a head");
        assert_eq!((head.len(), &early[..]), (text.len() - 2, &b"\x81\x00"[..]));
    }

    #[tokio::test]
    async fn a_head_has_a_largest_size() {
        let fitting = |len: usize| {
            let frame = "GET / HTTP/1.1\r\na: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(len - frame))
        };
        assert!(read_head(&mut fitting(Limits::MAX_HEAD_BYTES).as_bytes(), Vec::new()).await.is_ok());
        let too_large = fitting(Limits::MAX_HEAD_BYTES + 1);
        assert!(matches!(read_head(&mut too_large.as_bytes(), Vec::new()).await, Err(HeadError::TooLarge)));
        assert!(matches!(read_head(&mut &[][..], too_large.into()).await, Err(HeadError::TooLarge)));
    }

    #[tokio::test]
    async fn a_head_may_have_been_read_already_in_whole_or_in_part() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x00";
        for given in 0..=text.len() {
            let (head, early) = read_head(&mut &text[given..], text[..given].into()).await.expect("a head");
            assert_eq!(
                (head.len(), early.first()),
                (text.len() - 2, (given > head.len() || given < text.len() - 2).then_some(&0x81))
            );
        }
    }

    #[test]
    fn a_head_is_one_head() {
        for head in ["GET /a HTTP/1.1\nHost: a\n\nGET /b HTTP/1.1\r\n\r\n", "\r\n\r\n", "GET /a HTTP/1.1\n\n\r\n\r\n"] {
            assert!(matches!(parse_request(head.as_bytes()), Err(HeadError::Malformed(_))), "{head:?}");
        }
        assert!(matches!(parse_response(b"HTTP/1.1 101 x\n\nrest\r\n\r\n"), Err(HeadError::Malformed(_))));
    }

    #[test]
    fn a_head_has_a_largest_number_of_lines() {
        let head = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(lines));
        assert!(parse_request(head(Limits::MAX_HEADERS).as_bytes()).is_ok());
        assert!(matches!(parse_request(head(Limits::MAX_HEADERS + 1).as_bytes()), Err(HeadError::TooLarge)));
    }
}
