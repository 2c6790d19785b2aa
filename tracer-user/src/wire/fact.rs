//! What bytes on the wire say: requests, their responses, and what could not be told.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    chunk::{Moment, StreamKey},
    reason::Reason,
    rpc::{Id, Method},
    secret::{Credential, Fingerprint},
};
use crate::correlate::{event::TargetId, finding::names};

/// Which end of the conversation the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Side {
    /// It was asked.
    Server,
    /// It asked.
    Client,
}

/// A request of MCP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Request {
    /// Its number in the run.
    pub number: u64,
    /// Where it was received or sent.
    pub stream: StreamKey,
    /// Whether the process was asked, or asked.
    pub side: Side,
    /// When, by whom: of its first byte.
    pub moment: Moment,
    /// What it asks for, if that could be told.
    pub method: Option<Method>,
    /// Its id in its conversation.
    pub id: Option<Id>,
    /// The tool that it calls.
    pub tool: Option<Arc<str>>,
    /// The task that it asks about.
    pub task: Option<Fingerprint>,
    /// It asks for a task instead of a result (2025-11-25).
    pub wants_task: bool,
    /// The session that it belongs to.
    pub session: Option<Fingerprint>,
    /// Who asks.
    pub credential: Option<Credential>,
}

/// A response of MCP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Response {
    /// Where it was sent or received.
    pub stream: StreamKey,
    /// Whether the process answered, or was answered.
    pub side: Side,
    /// When, by whom, under which context: of its first byte.
    pub moment: Moment,
    /// The request that it answers, if that was seen.
    pub request: Option<Arc<Request>>,
    /// What it says.
    pub outcome: Outcome,
}

/// The two ways in which a task's handle is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Generation {
    /// `result.taskId` with `resultType: "task"` (2026-07-28).
    Flat,
    /// `result.task.taskId` (2025-11-25).
    Nested,
}

/// What a response says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Outcome {
    /// Here is the handle of a task.
    Minted {
        /// The task.
        task: Fingerprint,
        /// How it is told.
        generation: Generation,
        /// Milliseconds that it is kept for certain; none if no limit was told.
        ttl: Option<u64>,
    },
    /// Here is the state, or the result, of a task.
    State {
        /// The task.
        task: Fingerprint,
    },
    /// It was done, says no more of the task.
    Acknowledged,
    /// Here are tasks; no more than the first of a long list.
    Listed(Vec<Fingerprint>),
    /// No: an error of JSON-RPC.
    Refused {
        /// There is no such task.
        unknown: bool,
    },
    /// No: a status of HTTP, and nothing that says more.
    Failed(u16),
    /// The result of something else.
    Other,
    /// Too little is known of it.
    Unclear,
}

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Bounded {
    /// Streams.
    Streams,
    /// Requests without a response.
    Open,
}

names!(Bounded { Streams => "streams", Open => "open_requests" });

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Fact {
    /// A request was seen.
    Request(Arc<Request>),
    /// A response was seen.
    Response(Box<Response>),
    /// Bytes gave no facts.
    Unparsed(TargetId, Reason),
    /// Something was forgotten to stay within a bound.
    Evicted(Bounded, u64),
}
