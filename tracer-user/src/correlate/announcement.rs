//! What a program announces about its tasks and checks, by setting a reserved variable.

use serde::{Deserialize, Serialize};

use super::value::Value;

/// One announcement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Announcement {
    /// A task was minted.
    TaskMinted {
        /// The task.
        task: Value,
        /// Whose it is.
        owner: Said,
    },
    /// A task was shown to somebody.
    TaskServed {
        /// The task.
        task: Value,
        /// To whom.
        principal: Said,
    },
    /// A policy was evaluated.
    PolicyCheck {
        /// For whom.
        principal: Said,
    },
    /// A digest was pinned.
    DigestPinned {
        /// The digest.
        digest: Said,
    },
    /// A digest was compared with what was pinned.
    DigestVerified {
        /// The digest that was found to compare with.
        digest: Said,
        /// The task for which it was pinned, if that is said.
        task: Option<Value>,
    },
    /// It could not be read, or says nothing that is understood.
    Malformed,
}

/// Somebody or something in an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Said {
    /// Nothing is said about it.
    Nothing,
    /// There is none.
    Empty,
    /// It is this.
    Is(Value),
}
