//! Patterns of grants against their definition.
//!
//! Input: lines of text: a topic, an identity (empty: none), then patterns.

use alkpubsub_engine::model::{Allowed, Grants};
use alkpubsub_engine::route::permissions::{Action, Permissions};

use super::envelopes::valid_text;

/// What must hold for any patterns.
pub fn check(data: &[u8]) {
    let mut lines = valid_text(data).split('\n');
    let (topic, identity) = (lines.next().unwrap_or_default(), lines.next().filter(|line| !line.is_empty()));
    let patterns: Vec<String> = lines.map(Into::into).collect();
    let expected = patterns.iter().any(|pattern| allows(pattern, identity, topic));
    let list = Allowed::Matching(patterns);
    for (subscribe, publish) in [(list.clone(), Allowed::nothing()), (Allowed::nothing(), list)] {
        let may_hear = subscribe != Allowed::nothing();
        let permissions = Permissions::compile(&Grants { identity: identity.map(Into::into), subscribe, publish });
        assert_eq!(permissions.allow(Action::Subscribe, topic), expected && may_hear);
        assert_eq!(permissions.allow(Action::Publish, topic), expected && !may_hear);
        assert!(!permissions.is_everything(), "a list of patterns, be it `*`, is not everything");
    }
    let everything = Permissions::compile(&Grants::everything(identity.map(Into::into)));
    assert!(everything.allow(Action::Subscribe, topic) && everything.allow(Action::Publish, topic));
}

#[derive(Debug, Clone, Copy)]
enum Token {
    Run,
    Character(char),
}

/// `*` is any run of characters, `\` takes the next one as it is, `{identity}` is the identity, character by character.
fn tokens(pattern: &str, identity: Option<&str>) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("{identity}") {
            tokens.extend(identity?.chars().map(Token::Character));
            rest = behind;
            continue;
        }
        let mut characters = rest.chars();
        tokens.push(match characters.next()? {
            '*' => Token::Run,
            '\\' => Token::Character(characters.next().unwrap_or('\\')),
            other => Token::Character(other),
        });
        rest = characters.as_str();
    }
    Some(tokens)
}

/// Follows all ways at once: which beginnings of the topic the tokens so far can be.
fn allows(pattern: &str, identity: Option<&str>, topic: &str) -> bool {
    let Some(tokens) = tokens(pattern, identity) else { return false };
    let topic: Vec<char> = topic.chars().collect();
    let mut reached = vec![false; topic.len() + 1];
    reached[0] = true;
    for token in tokens {
        match token {
            Token::Run => {
                let first = reached.iter().position(|is_reached| *is_reached).unwrap_or(reached.len());
                reached[first..].fill(true);
            }
            Token::Character(wanted) => {
                for at in (0..topic.len()).rev() {
                    reached[at + 1] = reached[at] && topic[at] == wanted;
                }
                reached[0] = false;
            }
        }
    }
    reached.ends_with(&[true])
}
