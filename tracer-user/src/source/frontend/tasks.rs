//! Lives of asyncio tasks, as the kernel side tells them.

use tracer_common::record::{Record, flag, kind};

use super::Frontend;
use crate::{
    correlate::event::{FutureKey, Scope, TaskKey, What},
    source::conveys::conveys,
};

impl Frontend {
    /// What happened to a task, or to a future that tasks wait for.
    pub(super) fn of_task(&mut self, record: &Record) -> Option<What> {
        let (task, future) = (TaskKey(record.object), FutureKey(record.object));
        let scope = Scope(record.scope);
        Some(match record.kind {
            kind::TASK_SPAWNED => What::Spawn {
                task,
                scope,
                entered: record.flags & flag::ENTERED != 0,
                stack: self.stack(record),
            },
            kind::TASK_CONTEXT => What::TaskScope {
                task,
                scope: Scope(record.brings),
            },
            kind::FUTURE_SET => What::Complete {
                future,
                scope,
                conveys: conveys(&self.stack(record)),
            },
            kind::TASK_WOKEN => What::Wake { future, scope },
            _ => return None,
        })
    }
}
