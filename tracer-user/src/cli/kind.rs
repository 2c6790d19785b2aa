//! A kind of finding, by its name.

use crate::{config::nearest::nearest, correlate::finding::Kind};

/// Parses a kind; the message of the error is for a person.
pub fn parse(text: &str) -> Result<Kind, String> {
    Kind::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| {
            let names = || Kind::ALL.iter().map(|kind| kind.name());
            match nearest(text, names()) {
                Some(name) => format!("unknown kind of finding; did you mean `{name}`?"),
                None => format!(
                    "unknown kind of finding; there are {}",
                    names().collect::<Vec<_>>().join(", ")
                ),
            }
        })
}
