//! CPython's front end: what one process's records mean to the engine.

mod agreed;
mod steps;
mod streams;
mod tasks;
mod watched;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tracer_common::{
    config::{CodeKey, Recipe},
    record::{
        CodeHead, RawFrame, RawValue, Record, VALUE_CALL_DEFAULT, VALUE_FOUND, VALUE_REQUEST, flag,
        found as state, kind, work,
    },
};

use self::agreed::Agreed;
use super::{
    announce::announcement,
    by_hand::{HandWorkers, stack_then},
    names::NameSet,
    primitive::{hands_context, pool_work, primitive, started},
    sites::{Sites, Source, UNKNOWN},
    stacks::{Known as KnownStack, Stacks},
};
use crate::{
    correlate::{
        event::{
            Brings, ByHand, Carrier, Doing, Event, ItemKey, Named, Primitive, QueueKey, Scope, Slot, Stack,
            TargetId, What, Work,
        },
        value::{Content, Found, Held, Value},
    },
    runtime::cpython::{
        core::Core,
        memory::ProcessMemory,
        threads::Interpreter,
        value::{found, type_name},
    },
    wire::chunk::Context,
};

/// Types whose names are kept for one target.
const MAX_TYPES: usize = 4_096;
/// Recipes that are kept for one target.
const MAX_RECIPES: usize = 4_096;
/// Nanoseconds in which one step is looked at no more than once: records that were on their way say the same.
const AGAIN: u64 = 1_000_000;

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
    stacks: Stacks,
    types: HashMap<u64, Option<Arc<str>>>,
    queues: HashMap<u32, QueueKey>,
    /// What each thread sends, until its context is told.
    sending: HashMap<u32, Vec<Event>>,
    /// Threads that take their work by hand.
    by_hand: HandWorkers,
    /// What threads have read that the kernel side may only count when they read it again.
    agreed: Agreed,
    /// Something came up after which every read has to be told once more.
    doubt: bool,
    /// It matters where each read is made.
    every_read: bool,
    lost: u64,
    /// No Python code ran in it before it was traced.
    from_start: bool,
    /// The variables that were seen, as they were told.
    variables: Vec<What>,
    /// The watched name that each slot of the kernel side goes by.
    slot_names: Vec<u32>,
    recipes: HashMap<(u64, u32), Recipe>,
    /// Of those, the ones that the kernel side does not have yet.
    fresh: Vec<(u64, u32)>,
    /// Steps that a record could not take: from which object of which type, and their numbers.
    unresolved: Vec<(u64, u64, u32)>,
    mints_nothing: Vec<(CodeKey, u64)>,
    looked_at: HashMap<(u64, u32), u64>,
    said: BTreeSet<String>,
    /// What a person has to know.
    to_say: Vec<String>,
    /// Configured paths that are not followed, and why.
    not_followed: Vec<(Arc<str>, String)>,
}

impl Frontend {
    /// The front end of a process that is numbered `id`.
    pub fn new(id: TargetId, process: Interpreted) -> Self {
        process.names.is_used();
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
            stacks: Stacks::default(),
            types: HashMap::new(),
            queues: HashMap::new(),
            sending: HashMap::new(),
            by_hand: HandWorkers::default(),
            agreed: Agreed::default(),
            doubt: false,
            every_read: false,
            lost: process.lost,
            from_start: process.from_start,
            variables: Vec::new(),
            slot_names: Vec::new(),
            recipes: HashMap::new(),
            fresh: Vec::new(),
            unresolved: Vec::new(),
            mints_nothing: Vec::new(),
            looked_at: HashMap::new(),
            said: BTreeSet::new(),
            to_say: Vec::new(),
            not_followed: Vec::new(),
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
            slot_names: self.slot_names.clone(),
            fresh: self.recipes.keys().copied().collect(),
            recipes: self.recipes.clone(),
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
        if record.kind != kind::SENDING {
            // Its context was lost.
            self.sent(tid, None, out);
        }
        if record.flags & flag::OTHER_INTERPRETER != 0 {
            // Another interpreter of the process has queues, contexts and threads of its own: nothing of the main one's is missing.
            if !matches!(record.kind, kind::READ | kind::VAR) {
                return;
            }
        } else if record.flags & flag::UNREADABLE != 0 && record.kind == kind::SENDING {
            self.sent(record.tid, None, out);
            return;
        } else if record.flags & flag::UNREADABLE != 0 && record.kind != kind::READ {
            // The record is here, only what it says is not known: the losses by reason count it as unreadable.
            out.push(self.event(time, tid, What::Gap { lost: 0 }));
            return;
        }
        if record.kind == kind::SENDING {
            let held = self.held(values);
            let scope = Scope(record.scope);
            let context = Arc::new(Context { scope, held });
            self.sent(tid, Some(&context), out);
            return;
        }
        let what = self.what(record, values);
        if matches!(record.kind, kind::READ | kind::BIND) {
            self.watch_for_queues(record, out);
        }
        if let Some(what) = what {
            out.push(self.event(time, tid, what));
        }
        for (object, type_object, number) in std::mem::take(&mut self.unresolved) {
            let last = self.looked_at.insert((type_object, number), time);
            if last.is_none_or(|last| time.saturating_sub(last) > AGAIN) {
                self.learn(object, number);
            }
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
                let known = self.known_stack(record);
                // It only asks what there is before it binds what it carries over: nothing is decided by that.
                if known.restores_context {
                    self.agreed.forget(record.tid, record.slot);
                    self.tell_every_read();
                    return None;
                }
                self.saw(&known.stack);
                if record.flags & flag::IN_COPY == 0 {
                    self.agreed.told(record, self.tgid);
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
                    stack: known.stack,
                }
            }
            kind::AGREED => return self.agreed(record),
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
            kind::TAKE_END => {
                self.by_hand.forget(record.tid);
                self.take(record, values)
            }
            kind::THREAD_START => {
                let stack = self.stack(record);
                What::Submit {
                    item: ItemKey(record.callable),
                    queue: QueueKey(0),
                    work: started(&stack),
                    primitive: Primitive::Thread,
                    brings: Brings::Nothing,
                    scope,
                    held: self.held(values),
                    stack,
                }
            }
            kind::CONTEXT_HANDED => self.context_handed(record, values)?,
            kind::RANDOM => self.random(record, values)?,
            kind::COROUTINE => self.coroutine(record, values)?,
            kind::MARK => What::Announced {
                scope,
                entered,
                request: self.optional(values, VALUE_REQUEST),
                said: {
                    let payload = self.found(values.get(VALUE_FOUND)?);
                    announcement(record.slot, &payload, values)
                },
                stack: self.stack(record),
            },
            kind::SCOPE_END => What::ScopeEnd { scope },
            kind::TASK_SPAWNED | kind::TASK_CONTEXT | kind::FUTURE_SET | kind::TASK_WOKEN => {
                return self.of_task(record);
            }
            kind::EXITED => {
                self.queues.remove(&record.tid);
                self.by_hand.ended(record.tid);
                self.agreed.ended(record.tid);
                What::End
            }
            _ => return None,
        })
    }

    /// An id is drawn. That is done for many purposes: only those under a function that mints matter.
    fn random(&mut self, record: &Record, values: &[RawValue]) -> Option<What> {
        let stack = self.stack(record);
        stack.outermost(Named::Mint)?;
        self.saw(&stack);
        Some(What::Random {
            scope: Scope(record.scope),
            request: self.optional(values, VALUE_REQUEST),
            stack,
        })
    }

    /// A coroutine is made: of a function that mints, or of another one.
    fn coroutine(&mut self, record: &Record, values: &[RawValue]) -> Option<What> {
        let stack = self.stack(record);
        if !self.is_minting(record, &stack) {
            return None;
        }
        self.saw(&stack);
        Some(What::Coroutine {
            scope: Scope(record.scope),
            request: self.optional(values, VALUE_REQUEST),
            stack,
        })
    }

    /// Whether the function is configured as one that mints whose coroutine is made. If not, the kernel side is told so.
    fn is_minting(&mut self, record: &Record, stack: &Stack) -> bool {
        let own = record.stack.first().filter(|frame| frame.code == record.object);
        let Some(frame) = stack.frames.first().filter(|_| own.is_some()) else {
            return false;
        };
        let minting = frame.named.is(Named::Mint);
        if !minting && &*frame.site.function != UNKNOWN {
            let key = CodeKey {
                code: record.object,
                tgid: self.tgid,
                pad: 0,
            };
            self.mints_nothing.push((key, record.callable));
        }
        minting
    }

    /// Functions that mint nothing, by their code and a digest of it, as far as that was not told yet.
    pub fn mints_nothing(&mut self) -> Vec<(CodeKey, u64)> {
        std::mem::take(&mut self.mints_nothing)
    }

    /// Something happens under the functions that are configured.
    fn saw(&self, stack: &Stack) {
        for named in [Named::Mint, Named::Policy] {
            if let Some(frame) = stack.outermost(named) {
                self.names.saw(named, &frame.site);
            }
        }
    }

    /// anyio or trio copied a context for one of its threads.
    fn context_handed(&mut self, record: &Record, values: &[RawValue]) -> Option<What> {
        let stack = self.stack(record);
        let primitive = hands_context(&stack)?;
        Some(What::Submit {
            item: ItemKey(record.brings),
            queue: QueueKey(0),
            work: Work::InContext,
            primitive,
            brings: Brings::Scope(Scope(record.brings)),
            scope: Scope(record.scope),
            held: self.held(values),
            stack,
        })
    }

    /// Tells once of a thread, or of a piece of work of an executor, that it takes its work by hand.
    fn watch_for_queues(&mut self, record: &Record, out: &mut Vec<Event>) {
        if record.tid == self.tgid || self.by_hand.get(record.tid) == Some(ByHand::Named) {
            return;
        }
        let mut takes = self.known_stack(record).takes_work;
        // The function that a worker is all about stays where it is as long as the worker lives. Executors' are known without it.
        if record.flags & flag::MORE_FRAMES != 0
            && !self.queues.contains_key(&record.tid)
            && self.by_hand.look(record.tid, record.time)
        {
            match self.interpreter().and_then(|main| main.frames(record.tstate)) {
                Some(now) => {
                    let whole = stack_then(frames(record), now);
                    self.resolve(&whole);
                    takes = takes.max(self.sites.takes_work(&whole));
                }
                None => self.by_hand.look_again(record.tid),
            }
        }
        if let Some(sure) = self.by_hand.learn(record.tid, takes) {
            let what = What::Existing {
                doing: Doing::ByHand(sure),
                scope: Scope(record.scope),
                held: Held::default(),
            };
            out.push(self.event(record.time, record.tid, what));
        }
    }

    fn take(&mut self, record: &Record, values: &[RawValue]) -> What {
        What::Take {
            item: ItemKey(record.object),
            // The entry's record is the thread's last one before this; where it was lost, the queue is not known.
            queue: self.queues.get(&record.tid).copied().unwrap_or(QueueKey(0)),
            scope: Scope(record.scope),
            held: self.held(values),
        }
    }

    fn none(&self) -> u64 {
        self.core.image.none.wrapping_add(self.bias)
    }

    fn put(&mut self, record: &Record, values: &[RawValue]) -> What {
        let stack = self.stack(record);
        let work = match record.work {
            work::WORK_ITEM => Work::Item,
            work::POOL_TUPLE => pool_work(&stack),
            _ => Work::Data,
        };
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
            work,
            primitive: match work {
                Work::Item => primitive(&stack, brings),
                Work::Batch | Work::Piece => Primitive::Threadpool,
                _ => Primitive::Unknown,
            },
            brings,
            scope: Scope(record.scope),
            held: self.held(values),
            stack,
        }
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
        if raw.state == state::UNRESOLVED {
            self.unresolved
                .push((raw.object, raw.type_object, raw.len as u32));
        }
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
            Found::Unset | Found::Unreadable | Found::Unresolved => None,
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
        self.known_stack(record).stack
    }

    fn known_stack(&mut self, record: &Record) -> KnownStack {
        let source = Source {
            memory: self.memory.as_ref(),
            core: &self.core,
            names: &self.names,
        };
        let activations = self.names.names_mints();
        self.stacks
            .of(frames(record), activations, record.time, &mut self.sites, source)
    }

    /// Takes in a code object that the kernel side tells.
    pub fn code(&mut self, head: &CodeHead, table: &[u8]) {
        let source = Source {
            memory: self.memory.as_ref(),
            core: &self.core,
            names: &self.names,
        };
        self.sites.tell(head, table, source);
    }

    /// Resolves a stack that was read from outside.
    pub fn resolve(&mut self, frames: &[RawFrame]) -> Stack {
        let source = Source {
            memory: self.memory.as_ref(),
            core: &self.core,
            names: &self.names,
        };
        self.sites.resolve(frames, source)
    }
}

fn frames(record: &Record) -> &[RawFrame] {
    record.stack.get(..usize::from(record.frames)).unwrap_or(&[])
}
