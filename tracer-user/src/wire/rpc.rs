//! JSON-RPC messages of MCP, as far as tasks need them.
//!
//! Only the first bytes of a long message are known. serde_json reads a document from its beginning and stops at the first byte that
//! is missing; what was read up to there is kept, because every member is written down as soon as it is complete. So one reader
//! does for whole and for cut messages. Members that do not matter are skipped without being built, however deep they are.

mod members;

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeSeed as _};

use super::{
    reason::Reason,
    secret::{Fingerprint, Hasher},
};
use members::Messages;

/// The code of an error by which a server says that it does not know a task: invalid params, by the specification.
const INVALID_PARAMS: i64 = -32_602;
/// The code for a resource that does not exist, which some servers use.
const NOT_FOUND: i64 = -32_002;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Method {
    /// `tools/call`.
    CallTool,
    /// `tasks/get`.
    GetTask,
    /// `tasks/update`.
    UpdateTask,
    /// `tasks/cancel`.
    CancelTask,
    /// `tasks/result`.
    TaskResult,
    /// `tasks/list`.
    ListTasks,
    /// A notification.
    Notification,
    /// Anything else.
    Other,
}

impl Method {
    /// The method of that name.
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"tools/call" => Self::CallTool,
            b"tasks/get" => Self::GetTask,
            b"tasks/update" => Self::UpdateTask,
            b"tasks/cancel" => Self::CancelTask,
            b"tasks/result" => Self::TaskResult,
            b"tasks/list" => Self::ListTasks,
            _ if name.starts_with(b"notifications/") => Self::Notification,
            _ => Self::Other,
        }
    }

    /// Whether it asks about tasks.
    pub const fn is_poll(self) -> bool {
        matches!(
            self,
            Self::GetTask | Self::UpdateTask | Self::CancelTask | Self::TaskResult | Self::ListTasks
        )
    }
}

/// What tells a request of a conversation from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A text, or a number that is no integer.
    Text(Fingerprint),
}

/// One message.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub(super) id: Option<Id>,
    pub(super) method: Option<Method>,
    pub(super) params: Params,
    pub(super) result: Option<Outcome>,
    pub(super) error: Option<Error>,
    pub(super) cut: bool,
    versioned: bool,
}

/// What a request says.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pub(super) tool: Option<Arc<str>>,
    pub(super) task: Option<Fingerprint>,
    /// It asks for a task (2025-11-25).
    pub(super) wants_task: bool,
}

/// What a result says.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Its `resultType` is `task` (2026-07-28).
    pub(super) is_task: bool,
    /// The task's id, status and lifetime in milliseconds, at the top level.
    pub(super) task: Task,
    /// The same, one level below (2025-11-25).
    pub(super) nested: Option<Task>,
    /// The tasks of a list.
    pub(super) tasks: Vec<Fingerprint>,
    /// What a tool has made, which a task's handle does not come with.
    pub(super) content: bool,
}

/// What is said of a task.
#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) id: Option<Fingerprint>,
    pub(super) status: bool,
    pub(super) ttl: Option<u64>,
}

/// Why a request failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Error {
    pub(super) code: Option<i64>,
    says_not_found: bool,
}

impl Error {
    /// Whether it says that there is no such task.
    pub(super) fn is_unknown(&self) -> bool {
        self.says_not_found || matches!(self.code, Some(INVALID_PARAMS | NOT_FOUND))
    }
}

/// What a body or a line says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) messages: Vec<Message>,
    /// Why there is not more.
    pub(super) unparsed: Option<Reason>,
}

/// Reads messages; `cut` says that more would follow.
pub(super) fn read(mut bytes: &[u8], cut: bool, hasher: &Hasher) -> Said {
    if cut {
        // A number at the end may go on.
        while let [rest @ .., b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'] = bytes {
            bytes = rest;
        }
    }
    let mut said = Said::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let seed = Messages {
        hasher,
        said: &mut said,
    };
    let read = seed.deserialize(&mut json).and_then(|()| json.end());
    match read {
        Ok(()) => {}
        Err(error) if cut && error.is_eof() => {
            let Some(last) = said.messages.last_mut() else {
                said.unparsed = Some(Reason::Cut);
                return said;
            };
            last.cut = true;
            if last.method.is_none() && last.result.is_none() && last.error.is_none() {
                said.messages.pop();
                said.unparsed = Some(Reason::Cut);
            }
        }
        Err(_) => {
            said.messages.clear();
            said.unparsed = Some(Reason::BadJson);
        }
    }
    // JSON that is no JSON-RPC is somebody else's.
    said.messages.retain(|message| message.versioned || message.cut);
    said
}
