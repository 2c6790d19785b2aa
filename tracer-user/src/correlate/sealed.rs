//! What a recording keeps of a value: enough to compare it and to show it as it was shown, and nothing that gives it away.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::value::Sameness;
use crate::wire::secret::Fingerprint;

/// What kind of content was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Kind {
    /// `None`.
    None,
    /// A `str`.
    Str,
    /// A `bytes`.
    Bytes,
    /// An `int`.
    Int,
    /// Any other type.
    Opaque,
}

/// The content of a value, sealed.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Sealed {
    /// What kind of content.
    pub kind: Kind,
    /// Units (characters, bytes, digits) of the whole.
    pub len: u64,
    /// Whether all of it travelled.
    pub whole: bool,
    /// Keyed hash of what travelled: equal for equal contents.
    pub content: [u8; 16],
    /// Keyed hash by which the value is shown.
    pub hash: [u8; 8],
    /// The value as it is shown, if the operator said so.
    pub shown: Option<Arc<str>>,
    /// What it is as a task's handle on the wire, if it is a task's name and the wire is read.
    pub handle: Option<Fingerprint>,
}

impl Sealed {
    /// Compares by the rule of equality, as the contents would compare.
    pub(super) fn compare(&self, other: &Self) -> Sameness {
        match (self.kind, other.kind) {
            (Kind::Opaque, _) | (_, Kind::Opaque) => Sameness::Unknown,
            (a, b) if a != b => Sameness::Different,
            _ if self.len != other.len || self.content != other.content => Sameness::Different,
            _ if self.whole => Sameness::Same,
            _ => Sameness::Unknown,
        }
    }

    /// How a configured value that counts as nothing is spelled if it is this content.
    pub fn spelled(content: &[u8; 16]) -> String {
        use std::fmt::Write as _;
        let mut out = String::from("sealed:");
        for byte in content {
            let _ = write!(out, "{byte:02x}");
        }
        out
    }
}

// What is shown is an identity.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed")
            .field("kind", &self.kind)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
