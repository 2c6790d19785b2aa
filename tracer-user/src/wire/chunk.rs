//! What the kernel side tells of a call that moved bytes.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::correlate::{
    event::{Carrier, Scope, TargetId},
    value::{Held, few},
};

/// A stream of bytes of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct StreamKey {
    /// The process.
    pub process: TargetId,
    /// What carries it.
    pub transport: Transport,
    /// File descriptor, or address of the TLS connection.
    pub handle: u64,
    /// Which of those that had this number or address.
    pub generation: u32,
}

/// What carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Transport {
    /// A socket, in plaintext.
    Socket,
    /// TLS, in plaintext, before it is encrypted or after it was decrypted.
    Tls,
    /// A pipe that speaks JSON, a message a line.
    Stdio,
}

/// Which way bytes go, seen from the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// It received them.
    In,
    /// It sends them.
    Out,
}

/// What the carrier's current context was, and held, when a call was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Context {
    /// The context.
    pub scope: Scope,
    /// What it held.
    #[serde(deserialize_with = "few")]
    pub held: Held,
}

/// Bytes of one call that receives or sends.
///
/// Chunks of one stream come in the order of its bytes; where two threads write at once, those of different calls may be mixed.
#[derive(Clone)]
pub struct Chunk<'a> {
    /// The stream.
    pub stream: StreamKey,
    /// Which way.
    pub direction: Direction,
    /// Who made the call.
    pub thread: Carrier,
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Where in the call's bytes these stand.
    pub offset: u64,
    /// How many bytes the call moved.
    pub total: u64,
    /// No more bytes of this call will come. Those between the end of `bytes` and `total` are missing.
    pub last: bool,
    /// Calls on this stream, in this direction, were lost before this one.
    pub lost_before: bool,
    /// The bytes.
    pub bytes: &'a [u8],
    /// The context of the call, if it could be read.
    pub context: Option<Arc<Context>>,
}

// Bytes on the wire hold credentials: Debug shows how many there are, never which.
impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("stream", &self.stream)
            .field("direction", &self.direction)
            .field("thread", &self.thread)
            .field("time", &self.time)
            .field("offset", &self.offset)
            .field("total", &self.total)
            .field("last", &self.last)
            .field("lost_before", &self.lost_before)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// When, by whom and under which context something was received or sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Moment {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// The thread.
    pub thread: Carrier,
    /// The context, if it could be read.
    pub context: Option<Arc<Context>>,
}

impl Moment {
    pub(super) fn of(chunk: &Chunk<'_>) -> Self {
        Self {
            time: chunk.time,
            thread: chunk.thread,
            context: chunk.context.clone(),
        }
    }
}
