//! JSON as RFC 8259 has it, read without the parser under test. Builds no values: it cuts texts out of texts.
//!
//! Invariant: nothing recurses, so depth costs a byte a level.

/// The one value that `text` holds, without the white space around it.
#[must_use]
pub fn one_value(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let start = blank(bytes, 0);
    let end = value_end(bytes, start)?;
    (blank(bytes, end) == bytes.len()).then(|| &text[start..end])
}

/// The elements of an array; `None` for another value.
#[must_use]
pub fn elements(text: &str) -> Option<Vec<&str>> {
    parts(text, b'[').map(|parts| parts.into_iter().map(|(_, value)| value).collect())
}

/// Keys, as they are written, and values of an object; `None` for another value.
#[must_use]
pub fn members(text: &str) -> Option<Vec<(&str, &str)>> {
    parts(text, b'{')
}

/// The text that a string stands for; `None` for another value, and where an escape is half a surrogate pair.
#[must_use]
pub fn text_of(value: &str) -> Option<String> {
    let bytes = value.as_bytes();
    if bytes.first() != Some(&b'"') || string_end(bytes, 0) != Some(bytes.len()) {
        return None;
    }
    // As UTF-16, where an escape is always one unit: pairs of escapes join by themselves, halves remain halves.
    let mut units = Vec::new();
    let mut rest = &value[1..value.len() - 1];
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        if character != '\\' {
            units.extend(character.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        let (unit, len) = match rest.as_bytes()[0] {
            b'b' => (0x08, 1),
            b'f' => (0x0c, 1),
            b'n' => (0x0a, 1),
            b'r' => (0x0d, 1),
            b't' => (0x09, 1),
            b'u' => (u16::from_str_radix(&rest[1..5], 16).ok()?, 5),
            itself => (u16::from(itself), 1),
        };
        units.push(unit);
        rest = &rest[len..];
    }
    String::from_utf16(&units).ok()
}

/// A whole number without sign, fraction or exponent that fits 64 bits; `None` for another value.
#[must_use]
pub fn natural(value: &str) -> Option<u64> {
    let has_leading_zero = value.len() > 1 && value.starts_with('0');
    let is_digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits && !has_leading_zero { value.parse().ok() } else { None }
}

/// What stands between the brackets of one array or object; an element has an empty key.
fn parts(text: &str, opening: u8) -> Option<Vec<(&str, &str)>> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&opening) || value_end(bytes, 0) != Some(bytes.len()) {
        return None;
    }
    let mut found = Vec::new();
    let mut at = blank(bytes, 1);
    while at < bytes.len() - 1 {
        let key_start = at;
        let mut key = "";
        if opening == b'{' {
            key = &text[key_start..string_end(bytes, at)?];
            at = key_end(bytes, at)?;
        }
        let end = value_end(bytes, at)?;
        found.push((key, &text[at..end]));
        // A comma, or the bracket that ends it all.
        at = blank(bytes, blank(bytes, end) + 1);
    }
    Some(found)
}

/// Where the value ends that begins at `start`.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut open = Vec::new();
    let mut at = start;
    loop {
        at = match *bytes.get(at)? {
            bracket @ (b'[' | b'{') => {
                let closing = bracket + 2;
                at = blank(bytes, at + 1);
                if *bytes.get(at)? != closing {
                    open.push(closing);
                    at = part_start(bytes, at, closing)?;
                    continue;
                }
                at + 1
            }
            b'"' => string_end(bytes, at)?,
            b'-' | b'0'..=b'9' => number_end(bytes, at)?,
            _ => word_end(bytes, at)?,
        };
        // A value has ended: brackets may end with it, or another value follows.
        loop {
            let Some(&closing) = open.last() else { return Some(at) };
            at = blank(bytes, at);
            let byte = *bytes.get(at)?;
            at += 1;
            if byte == b',' {
                at = part_start(bytes, blank(bytes, at), closing)?;
                break;
            }
            if byte != closing {
                return None;
            }
            open.pop();
        }
    }
}

/// Where the value begins of the element or member that begins at `at`.
fn part_start(bytes: &[u8], at: usize, closing: u8) -> Option<usize> {
    if closing == b'}' { key_end(bytes, at) } else { Some(at) }
}

/// Behind a key, its colon and the white space around that.
fn key_end(bytes: &[u8], at: usize) -> Option<usize> {
    let colon = blank(bytes, string_end(bytes, at)?);
    (*bytes.get(colon)? == b':').then(|| blank(bytes, colon + 1))
}

fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let mut at = at + 1;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match *bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

fn number_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = if bytes[at] == b'-' { at + 1 } else { at };
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits_end(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits_end(bytes, at)?;
    }
    Some(at)
}

/// At least one digit.
fn digits_end(bytes: &[u8], at: usize) -> Option<usize> {
    let count = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}

fn word_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    ["null", "true", "false"].iter().find(|word| rest.starts_with(word.as_bytes())).map(|word| at + word.len())
}

fn blank(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}
