//! Maps and load-time constants.

use aya_ebpf::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use tracer_common::{
    MAX_IMAGES, MAX_POINTS, MAX_SLOTS, MAX_TARGETS,
    config::{
        CodeKey, Image, Name, NameKey, Point, Recipe, RecipeKey, ScopeKey, Target, UseKey, Uses, Var, VarKey,
        WireKey, WireState,
    },
    record::{FullCode, FullRecord, FullWire},
    stats::{PROBES, Probe, ProbeStats, STAGES, Stage},
    told::Told,
};

/// Records on their way to the agent, which sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Traced processes, by tgid.
#[map]
pub static TARGETS: HashMap<u32, Target> = HashMap::with_max_entries(MAX_TARGETS, BPF_F_NO_PREALLOC);

/// Interpreter images.
#[map]
pub static IMAGES: Array<Image> = Array::with_max_entries(MAX_IMAGES, 0);

/// Probe points; the attach cookie is the index.
#[map]
pub static POINTS: Array<Point> = Array::with_max_entries(MAX_POINTS, 0);

/// Watched names.
#[map]
pub static NAMES: HashMap<NameKey, Name> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// What is known of each ContextVar's address. The least used are forgotten: they are looked at anew.
#[map]
pub static VARS: LruHashMap<VarKey, Var> = LruHashMap::with_max_entries(65_536, 0);

/// How to take the steps of paths, by the type that each starts from. The agent fills it in.
#[map]
pub static RECIPES: HashMap<RecipeKey, Recipe> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
/// How often each ContextVar was used, when that is asked for.
#[map]
pub static USES: HashMap<UseKey, Uses> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Context objects that records have named and that are still alive.
#[map]
pub static SCOPES: HashMap<ScopeKey, u8> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// Stacks that were sent before: the code objects of a new one may have to be told.
#[map]
pub static STACKS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Code objects that were told, with a digest of what they were: addresses are reused.
#[map]
pub static CODES: LruHashMap<CodeKey, u64> = LruHashMap::with_max_entries(16_384, 0);

/// Where each thread puts a code object together.
#[map]
pub static CODE_SCRATCH: HashMap<u32, FullCode> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// What a new entry of [`CODE_SCRATCH`] is copied from; all zero.
#[map]
pub static BLANK_CODE: Array<FullCode> = Array::with_max_entries(1, 0);

/// What a thread needs to put a record together.
#[repr(C)]
pub struct Scratch {
    /// The record.
    pub record: FullRecord,
    /// The state of the interpreter that it is about. Kept here and read back, so that the verifier forgets how it was found and
    /// follows what comes next once, not for every way there.
    pub state: [u64; 5],
    /// What is still to be done for the record.
    pub ask: Ask,
}

/// What the program that tells is asked to do.
#[repr(C)]
pub struct Ask {
    /// Whose hit it is.
    pub probe: Probe,
    /// Where to go on when it has told.
    pub then: Option<Stage>,
    /// Whether the Python stack travels.
    pub frames: bool,
    /// Which values travel.
    pub fill: Fill,
    /// For a while, the object that is being described.
    pub object: u64,
    /// What a variable was found to be that is about to be told: its `var_hash` and its slot.
    pub hash: u64,
    pub slot: u32,
    /// The values, where they are [`Fill::Given`].
    pub values: [Wanted; MAX_SLOTS],
}

/// Which values travel with a record.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// As many of the wanted ones as the record says.
    Given = 0,
    /// What the context holds for each slot.
    All = 1,
    /// The same, each with a record of its own.
    Each = 2,
}

/// A value that is wanted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Wanted {
    /// Where it comes from.
    pub source: Source,
    /// The slot, or the object's address.
    pub number: u64,
}

impl Wanted {
    pub const UNSET: Self = Self {
        source: Source::Unset,
        number: 0,
    };
    pub const UNREADABLE: Self = Self {
        source: Source::Unreadable,
        number: 0,
    };

    #[inline(always)]
    pub const fn held(slot: u32) -> Self {
        Self {
            source: Source::Held,
            number: slot as u64,
        }
    }

    #[inline(always)]
    pub const fn object(address: u64) -> Self {
        Self {
            source: Source::Object,
            number: address,
        }
    }

    #[inline(always)]
    pub const fn rest(address: u64) -> Self {
        Self {
            source: Source::Rest,
            number: address,
        }
    }
}

/// Where a value comes from.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// There is none.
    Unset = 0,
    /// It could not be read.
    Unreadable = 1,
    /// What the context holds for a slot.
    Held = 2,
    /// An object that the record's slot holds, or is about to.
    Object = 3,
    /// More of a `str` that did not fit into the first value, by where among the others this one stands.
    Rest = 4,
}

/// Programs that others go on with: what all do alike is verified once.
#[map]
pub static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(STAGES, 0);

/// Where each thread puts its record together.
#[map]
pub static SCRATCH: HashMap<u32, Scratch> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// What a new entry of [`SCRATCH`] is copied from; all zero.
#[map]
pub static BLANK: Array<Scratch> = Array::with_max_entries(1, 0);

/// Streams that began like a message.
#[map]
pub static WIRES: HashMap<WireKey, WireState> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// What each thread is about to receive.
#[map]
pub static RECEIVING: HashMap<u32, Receiving> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// What a call that receives was asked for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Receiving {
    /// The stream; of no process when nothing is about to be received.
    pub stream: WireKey,
    /// Where the bytes are put; 0 when the call returns them.
    pub buffer: u64,
}

/// Where each thread puts bytes of the wire together.
#[map]
pub static WIRE_SCRATCH: HashMap<u32, FullWire> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// What a new entry of [`WIRE_SCRATCH`] is copied from; all zero.
#[map]
pub static BLANK_WIRE: Array<FullWire> = Array::with_max_entries(1, 0);

/// The state that each thread of an interpreter without a GIL was last found to have.
#[map]
pub static TSTATES: HashMap<u32, u64> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// The task that each thread created last, until its context is told.
#[map]
pub static SPAWNED: HashMap<u32, u64> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// Functions that mint nothing, by the digest of their code. The agent fills it in; the least used are forgotten: they are told anew.
#[map]
pub static MINTS_NOTHING: LruHashMap<CodeKey, u64> = LruHashMap::with_max_entries(16_384, 0);

/// What each thread has told of what it reads.
#[map]
pub static TOLD: HashMap<u32, Told> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// What a new entry of [`TOLD`] is copied from; all zero.
#[map]
pub static BLANK_TOLD: Array<Told> = Array::with_max_entries(1, 0);

/// Processes of which reads need not be told that say the same again, each with a number that is another whenever they have to be told
/// once more. The agent fills it in.
#[map]
pub static EPOCHS: HashMap<u32, u64> = HashMap::with_max_entries(MAX_TARGETS, BPF_F_NO_PREALLOC);

/// Code whose reads are the program's own. The agent fills it in; the least used are forgotten: their reads are told.
#[map]
pub static READERS: LruHashMap<CodeKey, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Counters by program.
#[map]
pub static STATS: PerCpuArray<ProbeStats> = PerCpuArray::with_max_entries(PROBES, 0);

#[unsafe(no_mangle)]
static FSBASE_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PID_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TGID_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SIGNAL_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static LIVE_OFFSET: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static NAMESPACE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static THREAD_PID_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static GROUP_LEADER_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PID_LEVEL_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PID_NUMBERS_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NAMESPACE_INUM_OFFSET: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static COUNT_USES: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static INVENTORY: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static TASKS: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static EVERYONE: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static WAKE_AT: Global<u32> = Global::new(64 << 10);

#[unsafe(no_mangle)]
static PATHS: Global<u32> = Global::new(0);

/// Whether paths lead on from the values of some variables.
pub fn paths() -> bool {
    PATHS.load() != 0
}

/// Pending bytes at which the agent is woken; a power of two.
pub fn wake_at() -> u64 {
    u64::from(WAKE_AT.load())
}

/// Whether the uses of all variables are counted. Known at load: what depends on it is removed where it is not wanted.
pub fn count_uses() -> bool {
    COUNT_USES.load() != 0
}

/// Whether asyncio tasks of some processes are followed.
pub fn tasks() -> bool {
    TASKS.load() != 0
}

/// Whether every exec on the machine is told.
pub fn everyone() -> bool {
    EVERYONE.load() != 0
}

/// Whether it is wanted where things are put into queues that are no work.
pub fn inventory() -> bool {
    INVENTORY.load() != 0
}

/// Offsets inside the kernel's own structs, from its BTF.
pub mod kernel {
    pub fn fsbase() -> u64 {
        u64::from(super::FSBASE_OFFSET.load())
    }
    pub fn pid() -> u64 {
        u64::from(super::PID_OFFSET.load())
    }
    pub fn tgid() -> u64 {
        u64::from(super::TGID_OFFSET.load())
    }
    pub fn signal() -> u64 {
        u64::from(super::SIGNAL_OFFSET.load())
    }
    pub fn live() -> u64 {
        u64::from(super::LIVE_OFFSET.load())
    }
}

/// The PID namespace that the agent's `/proc` shows, when that is not the initial one.
pub mod namespace {
    /// Its inode; 0 for the initial one.
    pub fn number() -> u32 {
        super::NAMESPACE.load()
    }
    pub fn thread_pid() -> u64 {
        u64::from(super::THREAD_PID_OFFSET.load())
    }
    pub fn group_leader() -> u64 {
        u64::from(super::GROUP_LEADER_OFFSET.load())
    }
    pub fn level() -> u64 {
        u64::from(super::PID_LEVEL_OFFSET.load())
    }
    pub fn numbers() -> u64 {
        u64::from(super::PID_NUMBERS_OFFSET.load())
    }
    pub fn inum() -> u64 {
        u64::from(super::NAMESPACE_INUM_OFFSET.load())
    }
}
