//! What the operator decides about the wire.

use super::secret::Hasher;

/// What the operator decides about the wire.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Makes fingerprints, with the run's key.
    pub hasher: Hasher,
    /// Headers that say who asks, in lower case.
    pub credentials: Vec<String>,
    /// How much is remembered.
    pub bounds: Bounds,
}

/// How much is remembered; what is oldest goes first.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Streams.
    pub streams: usize,
    /// Bytes of unfinished messages, of all streams.
    pub bytes: usize,
    /// Requests without a response.
    pub open: usize,
    /// Tasks, with whom they were given to.
    pub tasks: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            streams: 16_384,
            bytes: 64 << 20,
            open: 100_000,
            tasks: 200_000,
        }
    }
}

impl Rules {
    /// The headers that everybody uses, and those that are configured.
    pub fn new(key: &[u8; 32], configured: &[impl AsRef<str>]) -> Self {
        let known = ["authorization", "x-api-key"];
        Self {
            hasher: Hasher::new(key),
            credentials: known
                .into_iter()
                .chain(configured.iter().map(AsRef::as_ref))
                .map(str::to_ascii_lowercase)
                .collect(),
            bounds: Bounds::default(),
        }
    }
}
