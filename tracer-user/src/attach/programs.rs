//! The kernel side, loaded: maps to configure it, programs to link, the ring to read from, counters to account for.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    thread,
};

use aya::{
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::loaded_programs,
};
use aya_log::EbpfLogger;
use aya_obj::Object;
use tracer_common::{
    config::{
        CodeKey, Image, Name, NameKey, Point, Recipe, RecipeKey, ScopeKey, Target, UseKey, Uses, WireKey,
        WireState, global,
    },
    stats::{PROBES, Probe, ProbeStats, Stage},
    told::Told,
};

use super::{
    kernel::{KernelError, KernelOffsets},
    links::Links,
    load,
    namespace::{self, NamespaceError},
    object::{BpfObject, ObjectError},
    run_time::{Measured, RunTimes},
    sys::{Kind, LoadError, Multi, Offset, Shared, UprobeBackend, open_tracepoint, set_program},
};

use crate::runtime::cpython::probe_point::When;

/// Why the kernel side could not be loaded, configured or linked.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel's structs are not known.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The object with the programs is not there.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Processes cannot be numbered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// Maps could not be created.
    #[error("failed to create the BPF maps: {0}")]
    Maps(#[source] MapError),
    /// The programs' constants could not be set.
    #[error("failed to set the constants of the BPF programs: {0}")]
    Constants(#[source] io::Error),
    /// The object is not what this agent expects.
    #[error("the BPF object does not fit this agent: {0}")]
    Misfit(String),
    /// The types of the programs were refused.
    #[error("failed to load the types of the BPF programs: {0}")]
    Types(#[source] io::Error),
    /// A uprobe program was refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A program could not be put where others go on with it.
    #[error("failed to put program {program} where others go on with it: {error}")]
    Stage {
        /// The program.
        program: &'static str,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// A tracepoint program was refused.
    #[error("failed to attach to tracepoint {name}: {error}")]
    Tracepoint {
        /// The tracepoint.
        name: &'static str,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// A map refused an entry.
    #[error("failed to update BPF map {map}: {error}")]
    Map {
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        #[source]
        error: MapError,
    },
    /// A link was refused.
    #[error("failed to link {probe} to {count} points: {error}")]
    Link {
        /// The program.
        probe: &'static str,
        /// How many points.
        count: usize,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
}

impl AttachError {
    /// Whether the kernel refused for lack of privilege.
    pub fn is_permission(&self) -> bool {
        let io = match self {
            Self::Load(e) => Some(&e.error).filter(|_| e.verdict.is_none()),
            Self::Link { error, .. } => Some(error),
            Self::Maps(e) => {
                let mut source: Option<&(dyn std::error::Error + 'static)> = Some(e);
                while let Some(error) = source {
                    if let Some(io) = error.downcast_ref::<io::Error>() {
                        return io.kind() == io::ErrorKind::PermissionDenied;
                    }
                    source = error.source();
                }
                None
            }
            _ => None,
        };
        io.is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// The programs that are linked to points in files.
const UPROBES: [Probe; 21] = [
    Probe::ContextGet,
    Probe::ContextSet,
    Probe::ContextReset,
    Probe::ContextFree,
    Probe::ContextLookup,
    Probe::QueuePut,
    Probe::QueueGet,
    Probe::QueueGot,
    Probe::ThreadStart,
    Probe::Random,
    Probe::InterpreterStart,
    Probe::WireSend,
    Probe::WireReceive,
    Probe::WireReceived,
    Probe::WireClose,
    Probe::WireVector,
    Probe::TaskSpawn,
    Probe::FutureSet,
    Probe::TaskWake,
    Probe::Coroutine,
    Probe::Selftest,
];

/// The programs that follow processes.
const TRACEPOINTS: [(Probe, &str); 3] = [
    (Probe::Fork, "sched_process_fork"),
    (Probe::Exec, "sched_process_exec"),
    (Probe::Exit, "sched_process_exit"),
];

/// `AYA_LOG_LEVEL`: everything up to debug, or nothing.
const LOG_DEBUG: u8 = 4;
const LOG_NOTHING: u8 = 0;

/// Pending bytes at which the agent is woken, where the ring has room for several times that.
const WAKE_AT: u32 = 64 << 10;

/// What a program has done so far, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProgramTotals {
    /// Its own counters.
    pub stats: ProbeStats,
    /// Seconds that it ran, estimated from those runs that the kernel measured.
    pub seconds: f64,
}

/// What is decided when the kernel side is loaded.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub struct Options {
    /// Size of the ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Count the uses of all variables, watched or not.
    pub count_uses: bool,
    /// Say where things are put into queues that are no work.
    pub inventory: bool,
    /// See what mints task handles: ids that programs draw, and coroutines that they make.
    pub mints: bool,
    /// Paths lead on from the values of some variables.
    pub paths: bool,
    /// Read what some processes receive and send.
    pub wire: bool,
    /// Follow asyncio tasks of some processes.
    pub tasks: bool,
    /// Every exec on the machine is told.
    pub everyone: bool,
    /// Reads are told that say the same again.
    pub all_reads: bool,
}

/// The loaded kernel side. Dropping it detaches everything.
pub struct Programs {
    links: Links,
    by_name: BTreeMap<&'static str, OwnedFd>,
    /// As long as it is open, programs can go on with others.
    #[expect(dead_code, reason = "it is kept open, no more")]
    stages: MapData,
    ring: Option<RingBuf<MapData>>,
    ids: BTreeMap<u32, Probe>,
    images: Array<MapData, Shared<Image>>,
    points: Array<MapData, Shared<Point>>,
    names: HashMap<MapData, Shared<NameKey>, Shared<Name>>,
    recipes: HashMap<MapData, Shared<RecipeKey>, Shared<Recipe>>,
    targets: HashMap<MapData, u32, Shared<Target>>,
    scopes: HashMap<MapData, Shared<ScopeKey>, u8>,
    wires: HashMap<MapData, Shared<WireKey>, Shared<WireState>>,
    uses: HashMap<MapData, Shared<UseKey>, Shared<Uses>>,
    mints_nothing: HashMap<MapData, Shared<CodeKey>, u64>,
    told: HashMap<MapData, u32, Shared<Told>>,
    epochs: HashMap<MapData, u32, u64>,
    readers: HashMap<MapData, Shared<CodeKey>, u8>,
    epoch: u64,
    all_reads: bool,
    stats: PerCpuArray<MapData, Shared<ProbeStats>>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    run_times: RunTimes,
}

impl Programs {
    /// Loads the object.
    pub fn load(object: &BpfObject, options: Options) -> Result<Self, AttachError> {
        let shown = namespace::shown()?;
        let (offsets, parsed) = thread::scope(|scope| {
            let offsets = scope.spawn(|| KernelOffsets::read(shown));
            let parsed = Object::parse(object.bytes());
            let offsets = offsets
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (offsets, parsed)
        });
        let parsed = parsed.map_err(|error| AttachError::Misfit(error.to_string()))?;
        // What the programs say of themselves is for debugging only; below that level the verifier removes it.
        let log_level = if tracing::enabled!(tracing::Level::DEBUG) {
            LOG_DEBUG
        } else {
            LOG_NOTHING
        };
        let mut globals = globals(&offsets?, options);
        globals.push((aya_log::LEVEL, vec![log_level]));
        let mut loaded = load::load(parsed, &globals, options.ring_bytes, &wanted(options))?;
        let stages = loaded.take_data("PROGRAMS")?;
        for stage in Stage::ALL {
            let program = loaded.program(stage.name())?.as_fd();
            set_program(stages.fd().as_fd(), stage as u32, program).map_err(|error| AttachError::Stage {
                program: stage.name(),
                error,
            })?;
        }
        let mut links = Links::default();
        for (probe, name) in TRACEPOINTS {
            let link = open_tracepoint(loaded.program(probe.name())?.as_fd(), name);
            links.push(link.map_err(|error| AttachError::Tracepoint { name, error })?);
        }
        let ids = program_ids(&loaded.programs);
        let logger = if log_level == LOG_DEBUG {
            // Whichever program says something.
            let exec = ids.iter().find(|(_, probe)| **probe == Probe::Exec);
            exec.and_then(|(id, _)| EbpfLogger::init_from_id_with_logger(*id, log::logger()).ok())
        } else {
            None
        };
        Ok(Self {
            links,
            logger,
            ids,
            stages,
            ring: Some(loaded.take(load::RING)?),
            images: loaded.take("IMAGES")?,
            points: loaded.take("POINTS")?,
            names: loaded.take("NAMES")?,
            recipes: loaded.take("RECIPES")?,
            targets: loaded.take("TARGETS")?,
            scopes: loaded.take("SCOPES")?,
            wires: loaded.take("WIRES")?,
            uses: loaded.take("USES")?,
            mints_nothing: loaded.take("MINTS_NOTHING")?,
            told: loaded.take("TOLD")?,
            epochs: loaded.take("EPOCHS")?,
            readers: loaded.take("READERS")?,
            epoch: 0,
            all_reads: options.all_reads,
            stats: loaded.take("STATS")?,
            by_name: loaded.programs,
            run_times: RunTimes::start(),
        })
    }

    /// Passes on what the programs have said of themselves since the last time.
    pub fn log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// The ring that records arrive in. It can be taken once.
    pub fn ring(&mut self) -> Result<RingBuf<MapData>, AttachError> {
        let ring = self.ring.take();
        ring.ok_or_else(|| AttachError::Misfit("the ring was taken before".to_owned()))
    }

    /// Describes an interpreter image.
    pub fn set_image(&mut self, index: u32, image: Image) -> Result<(), AttachError> {
        let outcome = self.images.set(index, Shared(image), 0);
        outcome.map_err(|error| AttachError::Map { map: "IMAGES", error })
    }

    /// Describes a probe point.
    pub fn set_point(&mut self, index: u32, point: Point) -> Result<(), AttachError> {
        let outcome = self.points.set(index, Shared(point), 0);
        outcome.map_err(|error| AttachError::Map { map: "POINTS", error })
    }

    /// Watches a name.
    pub fn add_name(&mut self, key: NameKey, name: Name) -> Result<(), AttachError> {
        let outcome = self.names.insert(Shared(key), Shared(name), 0);
        outcome.map_err(|error| AttachError::Map { map: "NAMES", error })
    }

    /// Says how to take a step of a path.
    pub fn add_recipe(&mut self, key: RecipeKey, recipe: Recipe) -> Result<(), AttachError> {
        let outcome = self.recipes.insert(Shared(key), Shared(recipe), 0);
        outcome.map_err(|error| AttachError::Map {
            map: "RECIPES",
            error,
        })
    }

    /// Forgets how to take a step.
    pub fn remove_recipe(&mut self, key: RecipeKey) {
        // It may never have been added.
        let _ = self.recipes.remove(&Shared(key));
    }

    /// Says that a function mints nothing, of whose code this is the digest.
    pub fn mints_nothing(&mut self, key: CodeKey, digest: u64) -> Result<(), AttachError> {
        let outcome = self.mints_nothing.insert(Shared(key), digest, 0);
        outcome.map_err(|error| AttachError::Map {
            map: "MINTS_NOTHING",
            error,
        })
    }

    /// Traces a process from here on.
    pub fn add_target(&mut self, tgid: u32, target: Target) -> Result<(), AttachError> {
        let outcome = self.targets.insert(tgid, Shared(target), 0);
        outcome.map_err(|error| AttachError::Map {
            map: "TARGETS",
            error,
        })
    }

    /// What the kernel side knows of a process; none when it is not traced (any more).
    pub fn target(&self, tgid: u32) -> Option<Target> {
        self.targets.get(&tgid, 0).ok().map(|t| t.0)
    }

    /// Stops tracing a process.
    pub fn remove_target(&mut self, tgid: u32) {
        // It may have ended by itself.
        let _ = self.targets.remove(&tgid);
        self.tell_all_reads(tgid);
    }

    /// From here on a process's reads need not be told that say the same again, if they may be counted at all. What was told before is
    /// told once more.
    pub fn count_reads(&mut self, tgid: u32) {
        if self.all_reads {
            return;
        }
        self.epoch += 1;
        if let Err(error) = self.epochs.insert(tgid, self.epoch, 0) {
            self.tell_all_reads(tgid);
            tracing::debug!(pid = tgid, %error, "every read is told");
        }
    }

    /// Says of code that its reads are the program's own.
    pub fn reads(&mut self, key: CodeKey) -> Result<(), AttachError> {
        let outcome = self.readers.insert(Shared(key), 1, 0);
        outcome.map_err(|error| AttachError::Map {
            map: "READERS",
            error,
        })
    }

    /// From here on every read of a process is told.
    pub fn tell_all_reads(&mut self, tgid: u32) {
        // They may have been all along.
        let _ = self.epochs.remove(&tgid);
    }

    /// What threads have told of what they read, and how often they have found it again.
    pub fn told(&self) -> impl Iterator<Item = (u32, Told)> + '_ {
        let entries = self.told.iter().filter_map(Result::ok);
        entries.map(|(tid, told)| (tid, told.0))
    }

    /// Forgets the contexts of a process that has ended.
    pub fn forget_scopes(&mut self, tgid: u32) {
        let of_process = |key: &Shared<ScopeKey>| key.0.tgid == tgid;
        let keys: Vec<_> = self
            .scopes
            .keys()
            .filter_map(Result::ok)
            .filter(of_process)
            .collect();
        for key in keys {
            // Nobody else removes them now.
            let _ = self.scopes.remove(&key);
        }
    }

    /// Forgets the streams of a process that has ended, or is let go.
    pub fn forget_streams(&mut self, tgid: u32) {
        let of_process = |key: &Shared<WireKey>| key.0.tgid == tgid;
        let keys: Vec<_> = self
            .wires
            .keys()
            .filter_map(Result::ok)
            .filter(of_process)
            .collect();
        for key in keys {
            // It may have been closed meanwhile.
            let _ = self.wires.remove(&key);
        }
    }

    /// How often each variable was used so far, where that is counted.
    pub fn uses(&self) -> impl Iterator<Item = (UseKey, Uses)> + '_ {
        let entries = self.uses.iter().filter_map(Result::ok);
        entries.map(|(key, uses)| (key.0, uses.0))
    }

    /// Links a program to points of an opened file, in every process that maps it now or later, for as long as the link is kept.
    pub fn link(
        &self,
        probe: Probe,
        when: When,
        file: &File,
        points: &[Offset],
    ) -> Result<OwnedFd, AttachError> {
        let program = self
            .by_name
            .get(probe.name())
            .ok_or_else(|| AttachError::Misfit(format!("program {} was not loaded", probe.name())))?;
        let link = Multi.link(program.as_fd(), file.as_fd(), points, when);
        link.map_err(|error| AttachError::Link {
            probe: probe.name(),
            count: points.len(),
            error,
        })
    }

    /// Keeps a link until the end.
    pub fn keep(&mut self, link: OwnedFd) {
        self.links.push(link);
    }

    /// What one program has counted so far.
    pub fn stats(&self, probe: Probe) -> ProbeStats {
        let index = Probe::ALL.iter().position(|other| *other == probe);
        index.map_or_else(ProbeStats::default, |index| self.counted(index as u32))
    }

    fn counted(&self, index: u32) -> ProbeStats {
        let mut sum = ProbeStats::default();
        let per_cpu = self.stats.get(&index, 0);
        for Shared(s) in per_cpu.iter().flat_map(|per_cpu| per_cpu.iter()) {
            sum.hits += s.hits;
            sum.filtered += s.filtered;
            sum.sent += s.sent;
            sum.lost_ring += s.lost_ring;
            sum.lost_map += s.lost_map;
            sum.lost_image += s.lost_image;
            sum.lost_slot += s.lost_slot;
            sum.unreadable += s.unreadable;
            sum.agreed += s.agreed;
        }
        sum
    }

    /// What every program has done so far. To be asked for at even intervals: run times are measured in some of them.
    pub fn totals(&mut self) -> BTreeMap<Probe, ProgramTotals> {
        let mut totals: BTreeMap<Probe, ProgramTotals> = BTreeMap::new();
        for (probe, index) in Probe::ALL.into_iter().zip(0..PROBES) {
            let total = totals.entry(probe).or_default();
            total.stats = self.counted(index);
        }
        let mut measured: BTreeMap<Probe, (u64, Measured)> = totals
            .iter()
            .map(|(probe, total)| (*probe, (total.stats.hits, Measured::default())))
            .collect();
        for program in loaded_programs().filter_map(Result::ok) {
            let probe = self.ids.get(&program.id());
            if let Some((_, measured)) = probe.and_then(|probe| measured.get_mut(probe)) {
                *measured = Measured {
                    runs: program.run_count(),
                    seconds: program.run_time().as_secs_f64(),
                };
            }
        }
        for (probe, seconds) in self.run_times.round(&measured) {
            totals.entry(probe).or_default().seconds = seconds;
        }
        totals
    }
}

/// The programs that are needed, and what they are called by. What the verifier takes longest for comes first.
fn wanted(options: Options) -> Vec<(&'static str, Kind)> {
    let uprobes = UPROBES.into_iter();
    let uprobes = uprobes.filter(|probe| options.mints || !probe.is_mint());
    let uprobes = uprobes.filter(|probe| options.wire || !probe.is_wire());
    let uprobes = uprobes.filter(|probe| options.tasks || !probe.is_task());
    let names: Vec<&str> = Stage::ALL.into_iter().map(Stage::name).collect();
    let more = uprobes.map(Probe::name).filter(|name| !names.contains(name));
    let uprobes = names.iter().copied().chain(more).map(|name| (name, Kind::Uprobe));
    let tracepoints = TRACEPOINTS
        .into_iter()
        .map(|(probe, _)| (probe.name(), Kind::Tracepoint));
    uprobes.chain(tracepoints).collect()
}

/// The constants that the object leaves open.
fn globals(offsets: &KernelOffsets, options: Options) -> Vec<(&'static str, Vec<u8>)> {
    let namespace = &offsets.namespace;
    // A small ring is full before a large one would wake anybody.
    let wake_at = WAKE_AT.min(options.ring_bytes / 4);
    let numbers = [
        (global::PATHS, u32::from(options.paths)),
        (global::WAKE_AT, wake_at),
        (global::COUNT_USES, u32::from(options.count_uses)),
        (global::INVENTORY, u32::from(options.inventory)),
        (global::TASKS, u32::from(options.tasks)),
        (global::EVERYONE, u32::from(options.everyone)),
        (global::FSBASE_OFFSET, offsets.fsbase),
        (global::PID_OFFSET, offsets.pid),
        (global::TGID_OFFSET, offsets.tgid),
        (global::SIGNAL_OFFSET, offsets.signal),
        (global::LIVE_OFFSET, offsets.live),
        (global::NAMESPACE, namespace.number),
        (global::THREAD_PID_OFFSET, namespace.thread_pid),
        (global::GROUP_LEADER_OFFSET, namespace.group_leader),
        (global::PID_LEVEL_OFFSET, namespace.level),
        (global::PID_NUMBERS_OFFSET, namespace.numbers),
        (global::NAMESPACE_INUM_OFFSET, namespace.inum),
    ];
    let bytes = numbers.map(|(name, number)| (name, number.to_ne_bytes().to_vec()));
    bytes.into_iter().collect()
}

/// Numbers of our programs in the kernel, to find their run times by.
fn program_ids(programs: &BTreeMap<&str, OwnedFd>) -> BTreeMap<u32, Probe> {
    let id = |probe: Probe| {
        let program = programs.get(probe.name())?;
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
        let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
        Some((id.trim().parse().ok()?, probe))
    };
    Probe::ALL.into_iter().filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not wanted is removed by the verifier; what is left must pass whatever that is.
    #[test]
    fn every_choice_of_options_is_verified() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP every_choice_of_options_is_verified: not root");
            return;
        }
        let object = BpfObject::find().expect("the object");
        for bits in 0..1 << 7 {
            let is = |bit: u32| bits & 1 << bit != 0;
            let options = Options {
                ring_bytes: 1 << 20,
                count_uses: is(0),
                inventory: is(1),
                mints: is(2),
                paths: is(3),
                wire: is(4),
                tasks: is(5),
                all_reads: false,
                everyone: is(6),
            };
            let loaded = Programs::load(&object, options);
            loaded.unwrap_or_else(|error| panic!("{options:?}: {error}"));
        }
    }

    #[test]
    fn a_verdict_of_the_verifier_is_no_lack_of_privilege() {
        let refused = |verdict: Option<&str>| {
            AttachError::from(LoadError {
                program: "tell".to_owned(),
                error: io::Error::from_raw_os_error(13),
                verdict: verdict.map(str::to_owned),
            })
        };
        assert!(refused(None).is_permission());
        let too_large = refused(Some("combined stack size of 4 calls is 560. Too large"));
        assert!(!too_large.is_permission());
        assert!(
            too_large.to_string().contains("combined stack size"),
            "{too_large}"
        );
    }
}
