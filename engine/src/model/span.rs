//! How one event lies in a buffer of many: `type:id` followed by its envelope. Does not own the buffer.
//!
//! Invariant: a span is read only against the buffer that it was written to, or one that it was rebased onto.

use crate::wire::envelope;

/// Where the parts of one event stand in a buffer.
#[derive(Debug, Clone, Copy)]
pub struct EventSpan {
    start: u32,
    type_len: u32,
    topic_len: u32,
    prefix_len: u32,
    body_len: u32,
}

impl EventSpan {
    /// Appends the event to `buffer` and returns where it lies. `payload` is one JSON value.
    pub fn write(buffer: &mut String, type_: &str, id: &str, payload: &str) -> Self {
        let start = buffer.len();
        buffer.reserve(2 * (type_.len() + id.len()) + payload.len() + 64);
        buffer.push_str(type_);
        buffer.push(':');
        buffer.push_str(id);
        let topic_end = buffer.len();
        envelope::write_prefix(buffer, type_, id);
        Self::finish(buffer, start, type_.len(), topic_end, payload)
    }

    /// Appends an event whose names were encoded before.
    pub fn write_prefixed(buffer: &mut String, prefix: &Prefix, payload: &str) -> Self {
        let start = buffer.len();
        buffer.reserve(prefix.text.len() + payload.len() + 1);
        buffer.push_str(&prefix.text);
        Self::finish(buffer, start, prefix.type_len, start + prefix.topic_len, payload)
    }

    fn finish(buffer: &mut String, start: usize, type_len: usize, topic_end: usize, payload: &str) -> Self {
        let prefix_len = buffer.len() - topic_end;
        buffer.push_str(payload);
        buffer.push('}');
        Self {
            start: start as u32,
            type_len: type_len as u32,
            topic_len: (topic_end - start) as u32,
            prefix_len: prefix_len as u32,
            body_len: (buffer.len() - topic_end) as u32,
        }
    }

    /// The same event after its buffer was appended to one that held `by` bytes.
    pub fn rebase(&mut self, by: u32) {
        self.start += by;
    }

    /// `type:id`.
    #[must_use]
    pub fn topic<'a>(&self, buffer: &'a str) -> &'a str {
        &buffer[self.start as usize..][..self.topic_len as usize]
    }

    /// The type.
    #[must_use]
    pub fn type_<'a>(&self, buffer: &'a str) -> &'a str {
        &self.topic(buffer)[..self.type_len as usize]
    }

    /// The id.
    #[must_use]
    pub fn id<'a>(&self, buffer: &'a str) -> &'a str {
        &self.topic(buffer)[self.type_len as usize + 1..]
    }

    /// The whole envelope as JSON.
    #[must_use]
    pub fn body<'a>(&self, buffer: &'a str) -> &'a str {
        &buffer[(self.start + self.topic_len) as usize..][..self.body_len as usize]
    }

    /// The payload as JSON.
    #[must_use]
    pub fn payload<'a>(&self, buffer: &'a str) -> &'a str {
        let body = self.body(buffer);
        &body[self.prefix_len as usize..body.len() - 1]
    }

    /// Bytes of the envelope.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body_len as usize
    }
}

/// The encoded names of one (type, id) pair, kept for many events.
#[derive(Debug, Clone)]
pub struct Prefix {
    text: String,
    type_len: usize,
    topic_len: usize,
}

impl Prefix {
    /// Encodes the names once.
    #[must_use]
    pub fn new(type_: &str, id: &str) -> Self {
        let mut text = format!("{type_}:{id}");
        let topic_len = text.len();
        envelope::write_prefix(&mut text, type_, id);
        Self { text, type_len: type_.len(), topic_len }
    }

    /// `type:id`.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.text[..self.topic_len]
    }

    /// The type.
    #[must_use]
    pub fn type_(&self) -> &str {
        &self.text[..self.type_len]
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[self.type_len + 1..self.topic_len]
    }

    /// Bytes of `type:id`.
    #[must_use]
    pub fn topic_len(&self) -> usize {
        self.topic_len
    }

    /// Bytes of an envelope with this prefix around a payload of `payload_len` bytes.
    #[must_use]
    pub fn body_len(&self, payload_len: usize) -> usize {
        self.text.len() - self.topic_len + payload_len + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        let mut buffer = String::from("before");
        let span = EventSpan::write(&mut buffer, "a:b", "c", "{\"n\":1}");
        assert_eq!(span.topic(&buffer), "a:b:c");
        assert_eq!((span.type_(&buffer), span.id(&buffer)), ("a:b", "c"));
        assert_eq!(span.body(&buffer), r#"{"type":"a:b","id":"c","payload":{"n":1}}"#);
        assert_eq!(span.payload(&buffer), "{\"n\":1}");
    }

    #[test]
    fn a_kept_prefix_writes_the_same_bytes_as_the_names() {
        let (mut by_name, mut by_prefix) = (String::new(), String::new());
        EventSpan::write(&mut by_name, "chat\"", "r\u{1}", "null");
        let prefix = Prefix::new("chat\"", "r\u{1}");
        let span = EventSpan::write_prefixed(&mut by_prefix, &prefix, "null");
        assert_eq!(by_name, by_prefix);
        assert_eq!(span.body_len(), prefix.body_len(4));
        assert_eq!((prefix.type_(), prefix.id()), ("chat\"", "r\u{1}"));
    }
}
