//! What a running process holds already when the agent comes to it: no event will tell.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
};

use tracer_common::{
    MAX_SLOTS,
    config::SlotVar,
    record::{RawValue, found},
};

use super::{frontend::Frontend, sites::library_path};
use crate::{
    correlate::{
        event::{Doing, Event, Scope, Stack, What},
        value::Found,
    },
    runtime::cpython::{
        memory::MemoryError,
        threads::{Context, ThreadState},
    },
    target::robust_list::{belongs, robust_list},
};

/// Contexts whose variables are looked at.
const MAX_CONTEXTS: usize = 4_096;

/// A process, read from outside while it goes on running.
#[derive(Debug, Default)]
pub struct Snapshot {
    threads: Vec<ThreadState>,
    contexts: HashMap<u64, Context>,
    /// Names of all variables that are bound anywhere, watched or not.
    pub in_use: BTreeSet<String>,
    tids: HashMap<u64, u32>,
    /// The watched variables that are bound somewhere, for the kernel side's table.
    pub slots: Vec<SlotVar>,
    defaults: Vec<RawValue>,
}

impl Snapshot {
    /// Reads all threads and their current contexts. Threads that end meanwhile are left out.
    pub fn take(frontend: &Frontend) -> Result<Self, MemoryError> {
        let mut snapshot = Self {
            tids: host_tids(frontend.tgid),
            ..Self::default()
        };
        let Some(interpreter) = frontend.interpreter() else {
            return Ok(snapshot);
        };
        snapshot.threads = interpreter.threads()?;
        let mut seen = BTreeSet::new();
        for thread in &snapshot.threads {
            if thread.context == 0 || snapshot.contexts.len() >= MAX_CONTEXTS {
                continue;
            }
            let Ok(context) = interpreter.context(thread.context) else {
                continue;
            };
            for (variable, _) in &context.bindings {
                if !seen.insert(*variable) {
                    continue;
                }
                let Ok(variable) = interpreter.variable(*variable) else {
                    continue;
                };
                let number = frontend
                    .names
                    .names
                    .iter()
                    .position(|n| *n.variable == *variable.name);
                if let Some(name) = number
                    && snapshot.slots.len() < MAX_SLOTS
                {
                    let watched = &frontend.names.names[name];
                    let slot = SlotVar {
                        var: variable.address,
                        hash: variable.hash,
                        name: name as u32,
                        steps: watched.path.len() as u32,
                        flags: watched.flags(),
                        pad: 0,
                    };
                    snapshot.slots.push(slot);
                    snapshot.defaults.push(variable.default);
                }
                snapshot.in_use.insert(variable.name);
            }
            snapshot.contexts.insert(thread.context, context);
        }
        Ok(snapshot)
    }

    /// There is no thread: the interpreter has not come up yet.
    pub const fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// The variables, in the order of [`Self::slots`].
    pub fn variables(&self, frontend: &mut Frontend, time: u64, out: &mut Vec<Event>) {
        for (index, (slot, default)) in self.slots.iter().zip(&self.defaults).enumerate() {
            let default = match default.state {
                found::OBJECT => frontend.describe(slot, default.object),
                _ => *default,
            };
            let default = match frontend.found(&default) {
                Found::Value(value) => Some(value),
                Found::Unset | Found::Unreadable | Found::Unresolved => None,
            };
            let what = frontend.variable(index as u8, slot.name, slot.var, default);
            out.extend(what.map(|what| frontend.event(time, frontend.tgid, what)));
        }
    }

    /// What each thread did and held in these slots when it was looked at, at the latest at `time`.
    pub fn carriers(&self, slots: &[SlotVar], frontend: &mut Frontend, time: u64, out: &mut Vec<Event>) {
        for thread in &self.threads {
            let Some(tid) = self.tid(thread) else {
                continue;
            };
            let stack = frontend.resolve(&thread.frames);
            let held = self.held(frontend, slots, thread.context);
            let what = What::Existing {
                doing: doing(&stack, tid == frontend.tgid),
                scope: Scope(thread.context),
                held: frontend.held(&held),
            };
            out.push(frontend.event(time, tid, what));
        }
    }

    /// The thread's id, as we see it.
    fn tid(&self, thread: &ThreadState) -> Option<u32> {
        if let Some(native) = thread.native_thread_id {
            return self.tids.get(&native).copied();
        }
        let is_it = |tid: &&u32| robust_list(**tid).is_some_and(|list| belongs(list, thread.thread_id));
        self.tids.values().find(is_it).copied()
    }

    fn held(&self, frontend: &mut Frontend, slots: &[SlotVar], address: u64) -> Vec<RawValue> {
        // All zero means unreadable.
        let unreadable: RawValue = bytemuck::Zeroable::zeroed();
        let unset = RawValue {
            state: found::UNSET,
            ..unreadable
        };
        let context = self.contexts.get(&address);
        let mut of_slot = |slot: &SlotVar| match context {
            None if address == 0 => unset,
            None => unreadable,
            Some(context) => context
                .bindings
                .iter()
                .find(|(variable, _)| *variable == slot.var)
                .map_or(unset, |(_, value)| frontend.describe(slot, *value)),
        };
        slots.iter().map(&mut of_slot).collect()
    }
}

/// A pool's worker and a loop are known by the functions that they run in.
fn doing(stack: &Stack, main: bool) -> Doing {
    let of_pool = |name: &str| {
        stack.frames.iter().any(|f| {
            library_path(&f.site.file) == Some("concurrent/futures/thread.py")
                && f.site.function.rsplit('.').next() == Some(name)
        })
    };
    match (of_pool("_worker"), of_pool("run")) {
        (true, true) => Doing::UnseenItem,
        (true, false) => Doing::Waiting,
        (false, _) if main || runs_loop(stack) => Doing::Loop,
        (false, _) => Doing::Thread,
    }
}

fn runs_loop(stack: &Stack) -> bool {
    let in_asyncio = |file: &str| library_path(file).is_some_and(|path| path.starts_with("asyncio/"));
    stack.frames.iter().any(|f| in_asyncio(&f.site.file))
}

/// From thread ids as the process itself sees them to ours.
fn host_tids(tgid: u32) -> HashMap<u64, u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{tgid}/task")) else {
        return HashMap::new();
    };
    tasks
        .flatten()
        .filter_map(|task| {
            let tid: u32 = task.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let inner = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))?
                .split_whitespace()
                .last()?;
            Some((inner.parse().ok()?, tid))
        })
        .collect()
}
