//! What the engine is told. A runtime's front end translates its observations into these; the engine knows nothing else.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    announcement::Announcement,
    value::{Found, Held, few},
};
use crate::wire::{
    chunk::{Context, Direction, Transport},
    fact::Fact,
};

/// A traced process, numbered by the agent; never reused within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct TargetId(pub u32);

/// What runs code and can hold ambient identity: for CPython an OS thread, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Carrier(pub u32);

/// A context object, by its address. It stays the same object until [`What::ScopeEnd`]. 0 is a carrier's base that does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Scope(pub u64);

/// A unit of work, by the address of its object: reused as soon as it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct ItemKey(pub u64);

/// A queue, by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct QueueKey(pub u64);

/// An asyncio task, by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct TaskKey(pub u64);

/// A future that tasks wait for, by its address: reused as soon as nobody waits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct FutureKey(pub u64);

/// What passes from the one who ends another's wait to that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Conveys {
    /// Nothing that could be work: a lock, a timer, an answer.
    Nothing,
    /// Something that was sent to whoever waits.
    Gives,
    /// Something that was put into a queue: work, or a thing that is given back to a pool.
    MayGive,
    /// The other way round: what the one who waited wanted to be rid of.
    Takes,
}

/// A watched variable of one target, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Slot(pub u8);

/// What a watched variable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Role {
    /// Who the request is for: a tenant, a principal.
    Identity,
    /// Which request it is.
    Request,
    /// A pinned digest.
    Digest,
}

impl Role {
    /// Its name in output and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Request => "request",
            Self::Digest => "digest",
        }
    }
}

/// How work is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Primitive {
    /// `loop.run_in_executor`.
    RunInExecutor,
    /// `Executor.submit`.
    Submit,
    /// `asyncio.to_thread`.
    ToThread,
    /// `copy_context().run` handed to either of the first two.
    CopyContext,
    /// `anyio.to_thread.run_sync`, which Starlette and FastAPI run synchronous functions with.
    Anyio,
    /// `asgiref.sync.sync_to_async`, which Django runs synchronous functions with.
    Asgiref,
    /// `multiprocessing.pool.ThreadPool`.
    Threadpool,
    /// A bare `threading.Thread`.
    Thread,
    /// Anything else.
    Unknown,
}

impl Primitive {
    /// Every primitive.
    pub const ALL: [Self; 9] = [
        Self::RunInExecutor,
        Self::Submit,
        Self::ToThread,
        Self::CopyContext,
        Self::Anyio,
        Self::Asgiref,
        Self::Threadpool,
        Self::Thread,
        Self::Unknown,
    ];

    /// Its name in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunInExecutor => "run_in_executor",
            Self::Submit => "submit",
            Self::ToThread => "to_thread",
            Self::CopyContext => "copy_context",
            Self::Anyio => "anyio",
            Self::Asgiref => "asgiref",
            Self::Threadpool => "threadpool",
            Self::Thread => "thread",
            Self::Unknown => "unknown",
        }
    }
}

/// A place in the target's source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Site {
    /// Qualified name of the function.
    pub function: Arc<str>,
    /// File that it was compiled from.
    pub file: Arc<str>,
    /// Line; 0 when it is not known.
    pub line: u32,
}

/// What a function is configured to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// It mints task handles.
    Mint,
    /// It decides what somebody may do.
    Policy,
}

/// All that a function is configured to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Names {
    mint: bool,
    policy: bool,
}

impl Names {
    /// The same, and this.
    #[must_use]
    pub const fn and(mut self, named: Named) -> Self {
        match named {
            Named::Mint => self.mint = true,
            Named::Policy => self.policy = true,
        }
        self
    }

    /// Whether it is configured as that.
    pub const fn is(self, named: Named) -> bool {
        match named {
            Named::Mint => self.mint,
            Named::Policy => self.policy,
        }
    }
}

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Frame {
    /// Where it stands.
    pub site: Site,
    /// What its function is configured to be.
    pub named: Names,
    /// Address of the activation: tells two activations of one function apart while both are alive.
    pub activation: u64,
    /// Offset of the instruction in the function's bytecode.
    pub offset: u64,
    /// Whether it belongs to the machinery of the hop (the standard library's executors and threads), not to the program.
    pub machinery: bool,
}

/// A Python stack, innermost frame first, as deep as it travelled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Stack {
    /// The frames.
    pub frames: Vec<Frame>,
}

impl Stack {
    /// The program's own place: the innermost frame outside the machinery, else the innermost.
    pub fn site(&self) -> Option<&Site> {
        self.frames
            .iter()
            .find(|f| !f.machinery)
            .or_else(|| self.frames.first())
            .map(|f| &f.site)
    }

    /// The outermost frame whose function is configured as `named`.
    pub fn outermost(&self, named: Named) -> Option<&Frame> {
        self.frames.iter().rev().find(|f| f.named.is(named))
    }
}

/// What an item brings along, as its callable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Brings {
    /// Nothing: it runs in the worker's base scope.
    Nothing,
    /// It runs in this copied context.
    Scope(Scope),
    /// Its callable could not be read.
    Unknown,
}

/// What kind of work is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Work {
    /// An executor's work item.
    Item,
    /// A thread; the item lasts as long as it does. `pool` says that an executor starts it as a worker.
    Thread {
        /// The thread is a pool's worker: its start hands over nothing.
        pool: bool,
    },
    /// A thread of a pool that runs each piece of work in a context that was copied for it; its start hands over nothing.
    ContextThread,
    /// A thread that is started for one request or connection.
    RequestThread,
    /// A piece of work for such a thread. Its key is the address of that context.
    InContext,
    /// Work that whoever takes it hands on, piece by piece.
    Batch,
    /// A piece of the batch that the carrier took last.
    Piece,
    /// Some object that is not work.
    Data,
}

/// How sure it is that a thread takes its work by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum ByHand {
    /// A function that calls others takes something from somewhere.
    Caller,
    /// The one does that the thread, or an executor's work, is all about.
    Outermost,
    /// It says that it is a queue.
    Named,
}

/// What a carrier was doing when the agent attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Doing {
    /// A pool's worker inside an item whose take nobody saw.
    UnseenItem,
    /// A pool's worker that waits for work.
    Waiting,
    /// Some other thread, of whose start nobody saw what it was handed.
    Thread,
    /// A thread that takes its work from where no event tells: if nothing else says what it works on, nobody can know.
    ByHand(ByHand),
    /// It is a main thread, or runs a loop.
    Loop,
}

/// One event, in the order of the target's interpreter lock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Event {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// The process.
    pub target: TargetId,
    /// The carrier; of [`What::Gap`] and [`What::Exit`] the process's first thread.
    pub carrier: Carrier,
    /// What happened.
    pub what: What,
}

/// A stream of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// What carries it.
    pub transport: Transport,
    /// File descriptor, or address of the TLS connection.
    pub number: u64,
    /// Which of those that had this number or address.
    pub generation: u32,
}

/// Bytes of a call that receives or sends; see [`crate::wire::chunk::Chunk`].
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes {
    /// The stream.
    pub stream: Handle,
    /// Which way.
    pub direction: Direction,
    /// Where in the call's bytes these stand.
    pub offset: u64,
    /// How many bytes the call moves.
    pub total: u64,
    /// No more bytes of this call will come.
    pub last: bool,
    /// Calls on this stream, in this direction, were lost before this one.
    pub lost_before: bool,
    /// The bytes.
    pub bytes: Box<[u8]>,
    /// The carrier's context, where that matters and could be read.
    pub context: Option<Arc<Context>>,
}

// Bytes on the wire hold credentials.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes")
            .field("stream", &self.stream)
            .field("direction", &self.direction)
            .field("offset", &self.offset)
            .field("total", &self.total)
            .field("last", &self.last)
            .field("lost_before", &self.lost_before)
            .field("bytes", &self.bytes.len())
            .field("context", &self.context)
            .finish()
    }
}

/// What bytes of a call say, instead of the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Said {
    /// The stream was closed.
    pub closed: bool,
    /// The carrier's context, where that matters and could be read.
    pub context: Option<Arc<Context>>,
    /// What follows from the bytes.
    pub facts: Vec<Fact>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum What {
    /// The target is traced from here on.
    Attach {
        /// No Python code ran before that was not traced, in the target or in what it was forked from.
        from_start: bool,
    },
    /// At attach, or as soon as it shows: what a carrier that exists already does, and what its current scope holds.
    Existing {
        /// What it does.
        doing: Doing,
        /// Its current scope.
        scope: Scope,
        /// What that holds.
        #[serde(deserialize_with = "few")]
        held: Held,
    },
    /// A watched variable was seen for the first time. Slots are numbered in this order.
    Variable {
        /// Its number.
        slot: Slot,
        /// Its name, made unique within the target.
        name: Arc<str>,
        /// What it is for.
        role: Role,
        /// Its default.
        default: Option<super::value::Value>,
        /// What else counts as nothing in it.
        empty: Arc<[super::settings::EmptyValue]>,
    },
    /// A thread was created by `parent`, by the `Submit` of a thread that is its last.
    Begin {
        /// Who created it.
        parent: Carrier,
    },
    /// The carrier ended.
    End,
    /// A context object ended; its address may be reused from here on.
    ScopeEnd {
        /// The context.
        scope: Scope,
    },
    /// Work is handed over.
    Submit {
        /// The item; of a thread the address of what it runs.
        item: ItemKey,
        /// What kind of work.
        work: Work,
        /// Through which queue; of a thread 0.
        queue: QueueKey,
        /// How.
        primitive: Primitive,
        /// What the item brings along.
        brings: Brings,
        /// The submitter's current scope.
        scope: Scope,
        /// What it holds.
        #[serde(deserialize_with = "few")]
        held: Held,
        /// Where.
        stack: Arc<Stack>,
    },
    /// The carrier tries to dequeue.
    Idle {
        /// From which queue.
        queue: QueueKey,
        /// Its current scope.
        scope: Scope,
        /// What it holds.
        #[serde(deserialize_with = "few")]
        held: Held,
    },
    /// The carrier dequeued something.
    Take {
        /// What.
        item: ItemKey,
        /// From which queue.
        queue: QueueKey,
        /// Its current scope: its base, if this is an item.
        scope: Scope,
        /// What it holds.
        #[serde(deserialize_with = "few")]
        held: Held,
    },
    /// A variable was read.
    Read {
        /// Which.
        slot: Slot,
        /// The current scope.
        scope: Scope,
        /// Whether the scope was entered through `Context.run`.
        entered: bool,
        /// What it holds.
        found: Found,
        /// The default that the caller passed.
        call_default: Option<super::value::Value>,
        /// The value of the `request` slot.
        request: Option<super::value::Value>,
        /// Where.
        stack: Arc<Stack>,
    },
    /// A variable was bound.
    Bind {
        /// Which.
        slot: Slot,
        /// The current scope; 0 when this bind creates the carrier's base.
        scope: Scope,
        /// Whether the scope was entered through `Context.run`.
        entered: bool,
        /// The new value.
        value: Found,
        /// The value of the `request` slot.
        request: Option<super::value::Value>,
        /// Where.
        stack: Arc<Stack>,
    },
    /// A variable was reset by its token.
    Unbind {
        /// Which.
        slot: Slot,
        /// The current scope.
        scope: Scope,
        /// Whether the scope was entered through `Context.run`.
        entered: bool,
        /// What it holds afterwards.
        restored: Found,
        /// Where.
        stack: Arc<Stack>,
    },
    /// A random id was drawn under a function that mints.
    Random {
        /// The current scope.
        scope: Scope,
        /// The value of the `request` slot.
        request: Option<super::value::Value>,
        /// Where.
        stack: Arc<Stack>,
    },
    /// A coroutine was made of a function that mints: the innermost frame's.
    Coroutine {
        /// The current scope.
        scope: Scope,
        /// The value of the `request` slot.
        request: Option<super::value::Value>,
        /// Where.
        stack: Arc<Stack>,
    },
    /// The program announced something about a task or a check.
    Announced {
        /// The current scope.
        scope: Scope,
        /// The value of the `request` slot.
        request: Option<super::value::Value>,
        /// Whether the scope was entered through `Context.run`.
        entered: bool,
        /// What it said.
        said: Announcement,
        /// Where.
        stack: Arc<Stack>,
    },
    /// An asyncio task is being created.
    Spawn {
        /// The task.
        task: TaskKey,
        /// The scope of whoever creates it.
        scope: Scope,
        /// Whether that scope was entered through `Context.run`, as those of callbacks are.
        entered: bool,
        /// Where.
        stack: Arc<Stack>,
    },
    /// The scope of the task that the carrier created last.
    TaskScope {
        /// The task.
        task: TaskKey,
        /// Its own scope.
        scope: Scope,
    },
    /// A future gets its result: whoever waits for it will be woken.
    Complete {
        /// The future.
        future: FutureKey,
        /// The current scope.
        scope: Scope,
        /// What passes on by that.
        conveys: Conveys,
    },
    /// A task is woken by a future that it waited for.
    Wake {
        /// The future.
        future: FutureKey,
        /// The task's scope.
        scope: Scope,
    },
    /// What bytes said, or a stream's end, where they were read before the engine.
    Said(Box<Said>),
    /// Events of this target were lost, or its state could not be read, between its event before and its next.
    Gap {
        /// How many events, if they could be counted.
        lost: u64,
    },
    /// The target ended, or is let go. `detached` says that it goes on running.
    Exit {
        /// It still runs.
        detached: bool,
    },
    /// The carrier's last read was made again: the same was found, in the same scope, and nothing else happened in the target but reads
    /// of the carrier's that found something. That changes nothing but counts.
    Agreed {
        /// Of which variable.
        slot: Slot,
        /// How often.
        times: u64,
    },
    // What holds secrets in the clear can be written nowhere. It stands last, so that no number of the others is skipped.
    /// Bytes of a call that receives or sends.
    #[serde(skip)]
    Wire(Box<Bytes>),
    /// A stream was closed.
    #[serde(skip)]
    WireClosed(Handle),
}
