//! Answers that clients read as slowly as they like, within a bound on all of them together.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Kibibytes of all answers that are on their way.
const BUDGET: usize = 16 * 1024;

/// What answers may take.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

struct Charged {
    text: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }

    /// Makes a body of a text, if there is room. The room is free again when the last of its bytes was sent, or its connection is gone.
    pub(super) fn charge(&self, text: Vec<u8>) -> Result<Bytes, Problem> {
        let size = text.len().div_ceil(1024).clamp(1, BUDGET);
        let room = Arc::clone(&self.0).try_acquire_many_owned(size as u32);
        let room = room.map_err(|_| Problem::busy())?;
        Ok(Bytes::from_owner(Charged { text, _room: room }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back() {
        let budget = Budget::new();
        let half = || budget.charge(vec![b'x'; BUDGET * 1024 / 2]);
        let (first, second) = (half().unwrap(), half().unwrap());
        assert!(half().is_err());
        let part = first.slice(0..1);
        drop(first);
        assert!(half().is_err(), "a part of it is still to be sent");
        drop(part);
        assert!(half().is_ok());
        drop(second);
        assert!(
            budget.charge(vec![b'x'; 2 * BUDGET * 1024]).is_ok(),
            "alone, anything goes"
        );
    }
}
