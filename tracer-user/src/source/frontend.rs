//! CPython's front end: what one process's records mean to the engine.

use std::{collections::HashMap, sync::Arc};

use tracer_common::record::{
    CodeHead, RawValue, Record, VALUE_CALL_DEFAULT, VALUE_FOUND, VALUE_REQUEST, flag, kind, work,
};

use super::{
    names::NameSet,
    sites::{Sites, library_path},
};
use crate::{
    correlate::{
        event::{
            Brings, Carrier, Event, ItemKey, Primitive, QueueKey, Scope, Slot, Stack, TargetId, What, Work,
        },
        value::{Content, Found, Held, Value},
    },
    runtime::cpython::{
        core::Core,
        memory::ProcessMemory,
        modules,
        threads::Interpreter,
        value::{found, type_name},
    },
};

/// Types whose names are kept for one target.
const MAX_TYPES: usize = 4_096;

/// A process whose interpreter has just come up or was just found.
#[derive(Debug)]
pub struct Interpreted {
    /// The process.
    pub tgid: u32,
    /// Its interpreter.
    pub core: Arc<Core>,
    /// Load bias of that.
    pub bias: u64,
    /// What is watched in it.
    pub names: Arc<NameSet>,
    /// Its memory; none when it is gone already.
    pub memory: Option<ProcessMemory>,
    /// Records that the kernel side had lost of it before.
    pub lost: u64,
    /// No Python code ran in it before it was traced.
    pub from_start: bool,
}

/// Translates the records of one process, from the moment that its interpreter is known.
#[derive(Debug)]
pub struct Frontend {
    /// The process, as the engine numbers it.
    pub id: TargetId,
    /// The process.
    pub tgid: u32,
    /// Its interpreter.
    pub core: Arc<Core>,
    /// Load bias of that.
    pub bias: u64,
    /// What is watched in it.
    pub names: Arc<NameSet>,
    memory: Option<ProcessMemory>,
    /// The engine's number of each of the kernel side's slots; none for a variable of a module that is not meant.
    slots: Vec<Option<Slot>>,
    seen: u8,
    named: HashMap<Arc<str>, u32>,
    sites: Sites,
    types: HashMap<u64, Option<Arc<str>>>,
    queues: HashMap<u32, QueueKey>,
    lost: u64,
    /// No Python code ran in it before it was traced.
    from_start: bool,
    /// The variables that were seen, as they were told.
    variables: Vec<What>,
}

impl Frontend {
    /// The front end of a process that is numbered `id`.
    pub fn new(id: TargetId, process: Interpreted) -> Self {
        Self {
            id,
            tgid: process.tgid,
            core: process.core,
            bias: process.bias,
            names: process.names,
            memory: process.memory,
            slots: Vec::new(),
            seen: 0,
            named: HashMap::new(),
            sites: Sites::default(),
            types: HashMap::new(),
            queues: HashMap::new(),
            lost: process.lost,
            from_start: process.from_start,
            variables: Vec::new(),
        }
    }

    /// The front end of a forked child: the same memory, the same variables.
    #[must_use]
    pub fn fork(&self, id: TargetId, tgid: u32, memory: Option<ProcessMemory>) -> Self {
        let child = Interpreted {
            tgid,
            core: Arc::clone(&self.core),
            bias: self.bias,
            names: Arc::clone(&self.names),
            memory,
            lost: self.lost,
            from_start: self.from_start,
        };
        Self {
            slots: self.slots.clone(),
            seen: self.seen,
            named: self.named.clone(),
            variables: self.variables.clone(),
            ..Self::new(id, child)
        }
    }

    /// Tells the engine of this process, and of the variables that it has from the process that it was forked from.
    pub fn introduce(&self, time: u64, out: &mut Vec<Event>) {
        let from_start = self.from_start;
        out.push(self.event(time, self.tgid, What::Attach { from_start }));
        out.extend(
            self.variables
                .iter()
                .map(|variable| self.event(time, self.tgid, variable.clone())),
        );
    }

    /// The interpreter, to be read from outside.
    pub fn interpreter(&self) -> Option<Interpreter<'_, ProcessMemory>> {
        let memory = self.memory.as_ref()?;
        Some(Interpreter {
            memory,
            core: &self.core,
            bias: self.bias,
        })
    }

    /// An event of this process.
    pub const fn event(&self, time: u64, tid: u32, what: What) -> Event {
        Event {
            time,
            target: self.id,
            carrier: Carrier(tid),
            what,
        }
    }

    /// Says what is missing if the kernel side has lost records since the last one.
    pub fn lost_until(&mut self, lost: u64, time: u64, out: &mut Vec<Event>) {
        if lost > self.lost {
            out.push(self.event(
                time,
                self.tgid,
                What::Gap {
                    lost: lost - self.lost,
                },
            ));
            self.lost = lost;
        }
    }

    /// Translates one record.
    pub fn translate(&mut self, record: &Record, values: &[RawValue], out: &mut Vec<Event>) {
        self.lost_until(record.lost, record.time, out);
        let (time, tid) = (record.time, record.tid);
        if record.flags & flag::UNREADABLE != 0 && record.kind != kind::READ {
            out.push(self.event(time, tid, What::Gap { lost: 1 }));
            return;
        }
        if let Some(what) = self.what(record, values) {
            out.push(self.event(time, tid, what));
        }
    }

    fn what(&mut self, record: &Record, values: &[RawValue]) -> Option<What> {
        let scope = Scope(record.scope);
        let entered = record.flags & flag::ENTERED != 0;
        Some(match record.kind {
            kind::VAR => {
                let default = self.value(values.first()?);
                return self.variable(record.slot, record.name, record.object, default);
            }
            kind::READ => {
                let stack = self.stack(record);
                // It only asks what there is before it binds what it carries over: nothing is decided by that.
                if restores_context(&stack) {
                    return None;
                }
                What::Read {
                    slot: self.slot(record)?,
                    scope,
                    entered,
                    found: self.found(values.get(VALUE_FOUND)?),
                    call_default: self
                        .optional(values, VALUE_CALL_DEFAULT)
                        .filter(|_| record.flags & flag::HAS_DEFAULT != 0),
                    request: self.optional(values, VALUE_REQUEST),
                    stack,
                }
            }
            kind::BIND => What::Bind {
                slot: self.slot(record)?,
                scope,
                entered,
                value: self.found(values.get(VALUE_FOUND)?),
                request: self.optional(values, VALUE_REQUEST),
                stack: self.stack(record),
            },
            kind::UNBIND => What::Unbind {
                slot: self.slot(record)?,
                scope,
                entered,
                restored: self.found(values.get(VALUE_FOUND)?),
                stack: self.stack(record),
            },
            // None is how an executor tells its workers to end.
            kind::PUT | kind::TAKE_END if record.object == self.none() => return None,
            kind::PUT => self.put(record, values),
            kind::TAKE_BEGIN => {
                let queue = QueueKey(record.queue);
                self.queues.insert(record.tid, queue);
                What::Idle {
                    queue,
                    scope,
                    held: self.held(values),
                }
            }
            kind::TAKE_END => What::Take {
                item: ItemKey(record.object),
                // The entry's record is the thread's last one before this; where it was lost, the queue is not known.
                queue: self.queues.get(&record.tid).copied().unwrap_or(QueueKey(0)),
                scope,
                held: self.held(values),
            },
            kind::THREAD_START => {
                let stack = self.stack(record);
                What::Submit {
                    item: ItemKey(record.callable),
                    queue: QueueKey(0),
                    work: Work::Thread {
                        pool: calls(&stack, "concurrent/futures/thread.py", "_adjust_thread_count"),
                    },
                    primitive: Primitive::Thread,
                    brings: Brings::Nothing,
                    scope,
                    held: self.held(values),
                    stack,
                }
            }
            kind::RANDOM => {
                let stack = self.stack(record);
                // Ids are drawn for many purposes: only those under a function that mints matter.
                stack.outermost(crate::correlate::event::Named::Mint)?;
                What::Random {
                    scope,
                    request: self.optional(values, VALUE_REQUEST),
                    stack,
                }
            }
            kind::MARK => What::TaskMinted {
                scope,
                request: self.optional(values, VALUE_REQUEST),
                payload: self.found(values.get(VALUE_FOUND)?),
                stack: self.stack(record),
            },
            kind::SCOPE_END => What::ScopeEnd { scope },
            kind::EXITED => {
                self.queues.remove(&record.tid);
                What::End
            }
            _ => return None,
        })
    }

    fn none(&self) -> u64 {
        self.core.image.none.wrapping_add(self.bias)
    }

    fn put(&mut self, record: &Record, values: &[RawValue]) -> What {
        let stack = self.stack(record);
        let item = record.work == work::WORK_ITEM;
        let brings = if record.brings != 0 {
            Brings::Scope(Scope(record.brings))
        } else if record.flags & flag::OPAQUE_ITEM != 0 {
            Brings::Unknown
        } else {
            Brings::Nothing
        };
        What::Submit {
            item: ItemKey(record.object),
            queue: QueueKey(record.queue),
            work: if item { Work::Item } else { Work::Data },
            primitive: if item {
                primitive(&stack, brings)
            } else {
                Primitive::Unknown
            },
            brings,
            scope: Scope(record.scope),
            held: self.held(values),
            stack,
        }
    }

    /// Gives a variable its number, unless it belongs to a module that is not meant. `slot` is the kernel side's number.
    pub fn variable(&mut self, slot: u8, name: u32, address: u64, default: Option<Value>) -> Option<What> {
        let index = usize::from(slot);
        if index >= tracer_common::MAX_SLOTS || self.slots.get(index).is_some_and(Option::is_some) {
            return None;
        }
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        let watched = self.names.names.get(name as usize)?.clone();
        match self.is_of(address, &watched.modules) {
            Some(true) => {}
            Some(false) => return None,
            // Whether it is watched cannot be told: what follows is not the whole truth.
            None => return Some(What::Gap { lost: 1 }),
        }
        let number = Slot(self.seen);
        self.seen += 1;
        self.slots[index] = Some(number);
        let count = self.named.entry(Arc::clone(&watched.name)).or_default();
        *count += 1;
        let name = if *count == 1 {
            watched.name
        } else {
            Arc::from(format!("{}#{count}", watched.name))
        };
        let variable = What::Variable {
            slot: number,
            name,
            role: watched.role,
            default,
            empty: watched.empty,
        };
        self.variables.push(variable.clone());
        Some(variable)
    }

    /// Whether one of these modules, if there are any, holds the variable; none if that cannot be told.
    fn is_of(&self, address: u64, modules: &[String]) -> Option<bool> {
        if modules.is_empty() {
            return Some(true);
        }
        let holders = modules::holders(self.interpreter()?, &[address]).ok()?;
        let found = holders
            .found
            .iter()
            .any(|holder| modules.contains(&holder.module));
        (found || holders.unread == 0).then_some(found)
    }

    fn slot(&self, record: &Record) -> Option<Slot> {
        self.slots.get(usize::from(record.slot)).copied().flatten()
    }

    /// What every slot of the engine holds, from what every slot of the kernel side does.
    pub fn held(&mut self, values: &[RawValue]) -> Held {
        let mut held = vec![Found::Unset; usize::from(self.seen)];
        for (index, raw) in values.iter().enumerate() {
            if let Some(Some(slot)) = self.slots.get(index).copied() {
                held[usize::from(slot.0)] = self.found(raw);
            }
        }
        held
    }

    /// What a raw value says.
    pub fn found(&mut self, raw: &RawValue) -> Found {
        found(raw, |address| self.type_name(address))
    }

    /// A value that only travels when there is one.
    fn optional(&mut self, values: &[RawValue], index: usize) -> Option<Value> {
        self.value(values.get(index)?)
    }

    /// The characters of a raw `str`.
    pub fn text(&mut self, raw: &RawValue) -> Option<String> {
        match self.found(raw) {
            Found::Value(Value {
                content: Content::Str(text),
                ..
            }) => Some(text.shown.to_string()),
            _ => None,
        }
    }

    fn value(&mut self, raw: &RawValue) -> Option<Value> {
        match self.found(raw) {
            Found::Value(value) => Some(value),
            Found::Unset | Found::Unreadable => None,
        }
    }

    fn type_name(&mut self, address: u64) -> Option<Arc<str>> {
        if let Some(name) = self.types.get(&address) {
            return name.clone();
        }
        if self.types.len() >= MAX_TYPES {
            self.types.clear();
        }
        let memory = self.memory.as_ref()?;
        let name = type_name(memory, &self.core, address).ok().map(Arc::from);
        self.types.insert(address, name.clone());
        name
    }

    fn stack(&mut self, record: &Record) -> Arc<Stack> {
        let frames = record.stack.get(..usize::from(record.frames)).unwrap_or(&[]);
        Arc::new(self.resolve(frames))
    }

    /// Takes in a code object that the kernel side tells.
    pub fn code(&mut self, head: &CodeHead, table: &[u8]) {
        self.sites
            .tell(head, table, self.memory.as_ref(), &self.core, &self.names);
    }

    /// Resolves a stack that was read from outside or travelled with a record.
    pub fn resolve(&mut self, frames: &[tracer_common::record::RawFrame]) -> Stack {
        self.sites
            .resolve(frames, self.memory.as_ref(), &self.core, &self.names)
    }
}

/// How an item was handed over, by the frames between the program and the queue.
fn primitive(stack: &Stack, brings: Brings) -> Primitive {
    if calls(stack, "asyncio/threads.py", "to_thread") {
        Primitive::ToThread
    } else if matches!(brings, Brings::Scope(_)) {
        Primitive::CopyContext
    } else if calls(stack, "asyncio/base_events.py", "run_in_executor") {
        Primitive::RunInExecutor
    } else if calls(stack, "concurrent/futures/thread.py", "submit") {
        Primitive::Submit
    } else {
        Primitive::Unknown
    }
}

/// Whether the machinery that leads to the probe, up to the program's own frame, includes this function.
fn calls(stack: &Stack, file: &str, function: &str) -> bool {
    stack.frames.iter().take_while(|f| f.machinery).any(|f| {
        library_path(&f.site.file) == Some(file)
            && f.site
                .function
                .rsplit('.')
                .next()
                .is_some_and(|name| name == function)
    })
}

/// Whether this is asgiref carrying a context over: it compares each variable with what it brings, and binds that where they differ.
fn restores_context(stack: &Stack) -> bool {
    stack.frames.first().is_some_and(|frame| {
        &*frame.site.function == "_restore_context" && frame.site.file.ends_with("/asgiref/sync.py")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::event::{Frame, Site};

    fn stack(frames: &[(&str, &str)]) -> Stack {
        let frame = |(function, file): &(&str, &str)| Frame {
            site: Site {
                function: Arc::from(*function),
                file: Arc::from(*file),
                line: 1,
            },
            named: None,
            activation: 0,
            offset: 0,
            machinery: false,
        };
        Stack {
            frames: frames.iter().map(frame).collect(),
        }
    }

    #[test]
    fn only_asgiref_itself_carries_a_context_over() {
        let restore = (
            "_restore_context",
            "/v/lib/python3.12/site-packages/asgiref/sync.py",
        );
        let view = ("view", "/srv/app/views.py");
        assert!(restores_context(&stack(&[restore, view])));
        assert!(!restores_context(&stack(&[view, restore])));
        assert!(!restores_context(&stack(&[(
            "_restore_context",
            "/srv/app/views.py"
        )])));
        assert!(!restores_context(&stack(&[("__call__", restore.1)])));
        assert!(!restores_context(&stack(&[])));
    }
}
