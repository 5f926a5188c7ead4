//! May a peer subscribe to a topic, may it publish there. Does not know peers, connections or the application.
//!
//! A pattern matches whole topics: `*` is any run of characters, `\` takes the next character as it is, `{identity}` is the peer's
//! identity, character by character. Invariants: what no pattern allows is refused; a pattern with `{identity}` allows a peer without one
//! nothing; matching takes time in proportion to the topic times the pattern at worst.

use crate::model::{Allowed, Grants};

/// What a peer wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Hear its events.
    Subscribe,
    /// Send events to it.
    Publish,
}

const IDENTITY: &str = "{identity}";

/// The literal parts of a pattern; between two of them is a star.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Box<[Box<str>]>);

impl Pattern {
    /// `None` for a pattern with `{identity}` where there is none.
    fn compile(text: &str, identity: Option<&str>) -> Option<Self> {
        let (mut parts, mut part, mut rest) = (Vec::new(), String::new(), text);
        while let Some(character) = rest.chars().next() {
            if let Some(behind) = rest.strip_prefix(IDENTITY) {
                part.push_str(identity?);
                rest = behind;
                continue;
            }
            rest = &rest[character.len_utf8()..];
            match character {
                '*' => parts.push(std::mem::take(&mut part).into()),
                // A lone one at the end stands for itself.
                '\\' => {
                    let literal = rest.chars().next().unwrap_or(character);
                    part.push(literal);
                    rest = rest.get(literal.len_utf8()..).unwrap_or_default();
                }
                literal => part.push(literal),
            }
        }
        parts.push(part.into());
        Some(Self(parts.into()))
    }

    fn matches(&self, topic: &str) -> bool {
        let Some((first, others)) = self.0.split_first() else { return false };
        let Some(mut rest) = topic.strip_prefix(&**first) else { return false };
        let Some((last, middle)) = others.split_last() else { return rest.is_empty() };
        for part in middle {
            // The leftmost place leaves the most for what follows, so no other one needs to be tried.
            let Some(at) = rest.find(&**part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(&**last)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rules {
    Everything,
    Matching(Box<[Pattern]>),
}

impl Rules {
    fn compile(allowed: &Allowed, identity: Option<&str>) -> Self {
        match allowed {
            Allowed::Everything => Self::Everything,
            Allowed::Matching(patterns) => {
                Self::Matching(patterns.iter().filter_map(|text| Pattern::compile(text, identity)).collect())
            }
        }
    }

    fn allow(&self, topic: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(topic)),
        }
    }
}

/// What one peer may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    subscribe: Rules,
    publish: Rules,
}

impl Permissions {
    /// Reads the patterns of `grants` for its identity.
    #[must_use]
    pub fn compile(grants: &Grants) -> Self {
        let identity = grants.identity.as_deref();
        Self {
            subscribe: Rules::compile(&grants.subscribe, identity),
            publish: Rules::compile(&grants.publish, identity),
        }
    }

    /// True when nothing is refused.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.subscribe == Rules::Everything && self.publish == Rules::Everything
    }

    /// Whether the action is allowed.
    #[must_use]
    pub fn allow(&self, action: Action, topic: &str) -> bool {
        match action {
            Action::Subscribe => self.subscribe.allow(topic),
            Action::Publish => self.publish.allow(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::compile(pattern, Some("app:ann*")).is_some_and(|pattern| pattern.matches(topic))
    }

    #[test]
    fn a_pattern_matches_the_whole_topic() {
        for (pattern, yes, no) in [
            ("chat:r1", vec!["chat:r1"], vec!["chat:r12", "xchat:r1", "chat:", ""]),
            ("*", vec!["", "a:", "a:b:c"], vec![]),
            ("chat:*", vec!["chat:", "chat:r1", "chat:a:b"], vec!["chat", "cha:t"]),
            ("*:r1", vec![":r1", "a:r1", "a:b:r1"], vec!["r1", "a:r1x"]),
            ("a*b*c", vec!["abc", "axbxc", "abbcc", "abcbc"], vec!["acb", "ab", "abcd"]),
            ("a*a", vec!["aa", "aba"], vec!["a"]),
            ("**", vec!["", "x"], vec![]),
            (r"a\*:*", vec!["a*:", "a*:x"], vec!["ab:", "a:"]),
            (r"a\\:", vec![r"a\:"], vec![r"a\\:"]),
            (r"a\", vec![r"a\"], vec!["a"]),
            (r"\{identity}", vec!["{identity}"], vec!["app:ann*"]),
            ("direct:{identity}", vec!["direct:app:ann*"], vec!["direct:app:annx", "direct:{identity}", "direct:"]),
            ("{identity", vec!["{identity"], vec![]),
            ("ü*ß", vec!["üß", "üxß"], vec!["u", "ü"]),
        ] {
            yes.iter().for_each(|topic| assert!(matches(pattern, topic), "{pattern} {topic}"));
            no.iter().for_each(|topic| assert!(!matches(pattern, topic), "{pattern} {topic}"));
        }
    }

    #[test]
    fn without_an_identity_its_patterns_allow_nothing() {
        let lists = Allowed::Matching(vec!["direct:{identity}".into(), "{identity}*".into(), "news:*".into()]);
        let grants = Grants { identity: None, subscribe: lists, publish: Allowed::nothing() };
        let permissions = Permissions::compile(&grants);
        assert!(permissions.allow(Action::Subscribe, "news:1"));
        for topic in ["direct:", "direct:{identity}", "", "x"] {
            assert!(!permissions.allow(Action::Subscribe, topic), "{topic}");
        }
        assert!(!permissions.allow(Action::Publish, "news:1"));
        assert!(!permissions.is_everything() && Permissions::compile(&Grants::everything(None)).is_everything());
    }

    /// The definition: a star takes any run, everything else itself.
    fn matches_by_definition(pattern: &[char], topic: &[char]) -> bool {
        match pattern.split_first() {
            None => topic.is_empty(),
            Some(('*', rest)) => (0..=topic.len()).any(|taken| matches_by_definition(rest, &topic[taken..])),
            Some((literal, rest)) => {
                topic.split_first().is_some_and(|(first, topic)| first == literal && matches_by_definition(rest, topic))
            }
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_its_definition_says(pattern in "[ab*]{0,8}", topic in "[ab]{0,10}") {
            let (chars, topic_chars): (Vec<char>, Vec<char>) = (pattern.chars().collect(), topic.chars().collect());
            prop_assert_eq!(matches(&pattern, &topic), matches_by_definition(&chars, &topic_chars));
        }
    }
}
