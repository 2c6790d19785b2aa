//! Counters that the kernel side keeps, one [`ProbeStats`] per program and CPU.

/// Programs, as indices of the statistics map. Their names are the program names in the object and the `probe` label of the metrics.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// `PyContextVar_Get`.
    ContextGet = 0,
    /// `PyContextVar_Set`.
    ContextSet = 1,
    /// `PyContextVar_Reset`.
    ContextReset = 2,
    /// Deallocation of a context object.
    ContextFree = 3,
    /// `SimpleQueue.put`, `put_nowait`.
    QueuePut = 4,
    /// Entry of `SimpleQueue.get`, `get_nowait`.
    QueueGet = 5,
    /// Return of the same.
    QueueGot = 6,
    /// `_thread.start_new_thread`, `start_joinable_thread`.
    ThreadStart = 7,
    /// `os.urandom`.
    Random = 8,
    /// `Py_InitializeFromConfig`.
    InterpreterStart = 9,
    /// `sched_process_fork`.
    Fork = 10,
    /// `sched_process_exec`.
    Exec = 11,
    /// `sched_process_exit`.
    Exit = 12,
    /// Look-ups in a context object: `ctx[var]`, `ctx.get(var)`, `ctx.items()`, `ctx.values()`.
    ContextLookup = 13,
    /// Methods that send.
    WireSend = 14,
    /// Entry of methods that receive.
    WireReceive = 15,
    /// Return of the same.
    WireReceived = 16,
    /// Methods that end a stream, or begin one with a handle that may have been another's.
    WireClose = 17,
    /// What sends several parts at once, `socket.sendmsg` and `posix.writev`; and `write`, `writev` and `sendmsg` of the C library, called by uvloop.
    WireVector = 18,
    /// `Task.__init__` of `_asyncio`.
    TaskSpawn = 19,
    /// `Future.set_result` of `_asyncio`.
    FutureSet = 20,
    /// A task of `_asyncio` that is woken by what it waited for.
    TaskWake = 21,
    /// `_Py_MakeCoro`: a call of an `async` function (of a generator's, too, which is let go at once).
    Coroutine = 22,
    /// A function of the agent itself.
    Selftest = 23,
}

impl Probe {
    /// Every probe, in order of its number.
    pub const ALL: [Self; 24] = [
        Self::ContextGet,
        Self::ContextSet,
        Self::ContextReset,
        Self::ContextFree,
        Self::QueuePut,
        Self::QueueGet,
        Self::QueueGot,
        Self::ThreadStart,
        Self::Random,
        Self::InterpreterStart,
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::ContextLookup,
        Self::WireSend,
        Self::WireReceive,
        Self::WireReceived,
        Self::WireClose,
        Self::WireVector,
        Self::TaskSpawn,
        Self::FutureSet,
        Self::TaskWake,
        Self::Coroutine,
        Self::Selftest,
    ];

    /// Name of the program in the object and of the probe in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContextGet => "context_get",
            Self::ContextSet => "context_set",
            Self::ContextReset => "context_reset",
            Self::ContextFree => "context_free",
            Self::QueuePut => "queue_put",
            Self::QueueGet => "queue_get",
            Self::QueueGot => "queue_got",
            Self::ThreadStart => "thread_start",
            Self::Random => "random",
            Self::InterpreterStart => "interpreter_start",
            Self::Fork => "process_fork",
            Self::Exec => "process_exec",
            Self::Exit => "process_exit",
            Self::ContextLookup => "context_lookup",
            Self::WireSend => "wire_send",
            Self::WireReceive => "wire_receive",
            Self::WireReceived => "wire_received",
            Self::WireClose => "wire_close",
            Self::WireVector => "wire_vector",
            Self::TaskSpawn => "task_spawn",
            Self::FutureSet => "future_set",
            Self::TaskWake => "task_wake",
            Self::Coroutine => "coroutine",
            Self::Selftest => "selftest",
        }
    }

    /// Whether it sees what is read, which is wanted or not.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::ContextGet | Self::ContextLookup)
    }

    /// Whether it reads the wire, which is wanted or not.
    pub const fn is_wire(self) -> bool {
        matches!(
            self,
            Self::WireSend | Self::WireReceive | Self::WireReceived | Self::WireClose | Self::WireVector
        )
    }

    /// Whether it sees what mints task handles, which is configured or not.
    pub const fn is_mint(self) -> bool {
        matches!(self, Self::Random | Self::Coroutine)
    }

    /// Whether it follows asyncio tasks, which is wanted or not.
    pub const fn is_task(self) -> bool {
        matches!(self, Self::TaskSpawn | Self::FutureSet | Self::TaskWake)
    }
}

/// Number of programs.
pub const PROBES: u32 = Probe::ALL.len() as u32;

/// Programs that others go on with, as indices of the map that holds them. What is done there counts for the probe that was hit.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Completes a record and sends it.
    Tell = 0,
    /// Finds out what a variable is that was not seen before.
    Look = 1,
    /// [`Probe::ContextGet`] once more, when it has been found out.
    ContextGet = 2,
    /// [`Probe::ContextSet`], likewise.
    ContextSet = 3,
}

impl Stage {
    /// Every stage, in order of its number.
    pub const ALL: [Self; 4] = [Self::Tell, Self::Look, Self::ContextGet, Self::ContextSet];

    /// Name of the program in the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tell => "tell",
            Self::Look => "look",
            Self::ContextGet => Probe::ContextGet.name(),
            Self::ContextSet => Probe::ContextSet.name(),
        }
    }
}

/// Number of stages.
pub const STAGES: u32 = Stage::ALL.len() as u32;

/// What one program did on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ProbeStats {
    /// Times the program ran.
    pub hits: u64,
    /// Runs that concerned no target or no watched variable.
    pub filtered: u64,
    /// Records sent.
    pub sent: u64,
    /// Records lost because the ring was full.
    pub lost_ring: u64,
    /// Records lost because a map that they need was full.
    pub lost_map: u64,
    /// Hits in a process whose interpreter was not known yet.
    pub lost_image: u64,
    /// Watched variables that found no free slot.
    pub lost_slot: u64,
    /// Records sent with [`crate::record::flag::UNREADABLE`]: the thread state or the context could not be read.
    pub unreadable: u64,
    /// Reads that found what their thread had just told, and are only counted.
    pub agreed: u64,
}

const _: () = assert!(size_of::<ProbeStats>() == 72);
