//! Why bytes gave no facts, counted.

use serde::{Deserialize, Serialize};

use crate::correlate::finding::names;

/// Why bytes gave no facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Reason {
    /// They are no beginning of a message: the stream was joined in its middle, or speaks something else.
    NoStart,
    /// A message's head is longer than what was copied of it.
    HeadCut,
    /// A message's head is longer than the limit.
    HeadTooLong,
    /// A message's head makes no sense.
    BadHead,
    /// The length of a message's body makes no sense.
    BadLength,
    /// The body is compressed.
    Encoded,
    /// The stream changed to another protocol.
    Upgraded,
    /// The body is no JSON.
    BadJson,
    /// What was copied of the body, or of a part of the stream, does not tell what it says.
    Cut,
    /// Too many messages at once, or requests without a response.
    TooMany,
    /// A response to no request that was seen.
    Unmatched,
    /// Calls were lost.
    Lost,
}

names!(Reason {
    NoStart => "no_start",
    HeadCut => "head_cut",
    HeadTooLong => "head_too_long",
    BadHead => "bad_head",
    BadLength => "bad_length",
    Encoded => "encoded",
    Upgraded => "upgraded",
    BadJson => "bad_json",
    Cut => "cut",
    TooMany => "too_many",
    Unmatched => "unmatched",
    Lost => "lost",
});
