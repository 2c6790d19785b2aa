//! The kernel side, loaded: maps to configure it, programs to link, the ring to read from, counters to account for.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{ProgramError, RawTracePoint, loaded_programs},
};
use aya_log::EbpfLogger;
use tracer_common::{
    config::{Image, Name, NameKey, Point, Recipe, RecipeKey, ScopeKey, Target, UseKey, Uses, global},
    stats::{PROBES, Probe, ProbeStats, Stage},
};

use super::{
    kernel::{KernelError, KernelOffsets},
    links::Links,
    namespace::{self, NamespaceError},
    object::{BpfObject, ObjectError},
    run_time::{Measured, RunTimes},
    sys::{LoadError, Multi, Offset, Program, Shared, UprobeBackend, When, load_types, set_program},
};

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
    Maps(#[source] Box<aya::EbpfError>),
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
        error: Box<ProgramError>,
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
            Self::Load(e) => Some(&e.error),
            Self::Link { error, .. } => Some(error),
            Self::Maps(e) => {
                let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&**e);
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

/// The programs that are linked to points in files, and whether at their return.
const UPROBES: [(Probe, When); 11] = [
    (Probe::ContextGet, When::Entry),
    (Probe::ContextSet, When::Entry),
    (Probe::ContextReset, When::Entry),
    (Probe::ContextFree, When::Entry),
    (Probe::ContextLookup, When::Entry),
    (Probe::QueuePut, When::Entry),
    (Probe::QueueGet, When::Entry),
    (Probe::QueueGot, When::Return),
    (Probe::ThreadStart, When::Entry),
    (Probe::Random, When::Entry),
    (Probe::InterpreterStart, When::Entry),
];

/// The programs that follow processes.
const TRACEPOINTS: [(Probe, &str); 3] = [
    (Probe::Fork, "sched_process_fork"),
    (Probe::Exec, "sched_process_exec"),
    (Probe::Exit, "sched_process_exit"),
];

/// The map of the programs that others go on with.
const STAGES: &str = "PROGRAMS";

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
    /// Follow ids that programs draw.
    pub random: bool,
    /// Paths lead on from the values of some variables.
    pub paths: bool,
}

/// The loaded kernel side. Dropping it detaches everything.
pub struct Programs {
    links: Links,
    uprobes: BTreeMap<Probe, OwnedFd>,
    ids: BTreeMap<u32, Probe>,
    images: Array<MapData, Shared<Image>>,
    points: Array<MapData, Shared<Point>>,
    names: HashMap<MapData, Shared<NameKey>, Shared<Name>>,
    recipes: HashMap<MapData, Shared<RecipeKey>, Shared<Recipe>>,
    targets: HashMap<MapData, u32, Shared<Target>>,
    scopes: HashMap<MapData, Shared<ScopeKey>, u8>,
    uses: HashMap<MapData, Shared<UseKey>, Shared<Uses>>,
    stats: PerCpuArray<MapData, Shared<ProbeStats>>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    ebpf: Ebpf,
    run_times: RunTimes,
}

impl Programs {
    /// Loads the object.
    pub fn load(object: &BpfObject, options: Options) -> Result<Self, AttachError> {
        let shown = namespace::shown()?;
        // The loader reads the kernel's types, too, by itself.
        let (offsets, mut loader) = thread::scope(|scope| {
            let offsets = scope.spawn(|| KernelOffsets::read(shown));
            let loader = EbpfLoader::new();
            let offsets = offsets
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (offsets, loader)
        });
        let offsets = offsets?;
        // A small ring is full before a large one would wake anybody.
        let wake_at = WAKE_AT.min(options.ring_bytes / 4);
        let (count_uses, inventory) = (u32::from(options.count_uses), u32::from(options.inventory));
        // What the programs say of themselves is for debugging only; below that level the verifier removes it.
        let log_level = if tracing::enabled!(tracing::Level::DEBUG) {
            LOG_DEBUG
        } else {
            LOG_NOTHING
        };
        let mut ebpf = loader
            .btf(None)
            .override_global(aya_log::LEVEL, &log_level, true)
            .override_global(global::PATHS, &u32::from(options.paths), true)
            .override_global(global::WAKE_AT, &wake_at, true)
            .override_global(global::COUNT_USES, &count_uses, true)
            .override_global(global::INVENTORY, &inventory, true)
            .override_global(global::FSBASE_OFFSET, &offsets.fsbase, true)
            .override_global(global::PID_OFFSET, &offsets.pid, true)
            .override_global(global::TGID_OFFSET, &offsets.tgid, true)
            .override_global(global::SIGNAL_OFFSET, &offsets.signal, true)
            .override_global(global::LIVE_OFFSET, &offsets.live, true)
            .override_global(global::NAMESPACE, &offsets.namespace.number, true)
            .override_global(global::THREAD_PID_OFFSET, &offsets.namespace.thread_pid, true)
            .override_global(global::GROUP_LEADER_OFFSET, &offsets.namespace.group_leader, true)
            .override_global(global::PID_LEVEL_OFFSET, &offsets.namespace.level, true)
            .override_global(global::PID_NUMBERS_OFFSET, &offsets.namespace.numbers, true)
            .override_global(global::NAMESPACE_INUM_OFFSET, &offsets.namespace.inum, true)
            .map_max_entries("EVENTS", options.ring_bytes)
            .load(object.bytes())
            .map_err(|e| AttachError::Maps(Box::new(e)))?;
        let uprobes = load_uprobes(object, &ebpf, options)?;
        for (probe, name) in TRACEPOINTS {
            let program: &mut RawTracePoint = ebpf
                .program_mut(probe.name())
                .ok_or_else(|| AttachError::Misfit(format!("program {} is missing", probe.name())))?
                .try_into()
                .map_err(|_| AttachError::Misfit(format!("program {} has another type", probe.name())))?;
            let attached = program.load().and_then(|()| program.attach(name));
            attached.map_err(|error| AttachError::Tracepoint {
                name,
                error: Box::new(error),
            })?;
        }
        let logger = if log_level == LOG_DEBUG {
            EbpfLogger::init(&mut ebpf).ok()
        } else {
            None
        };
        let mut programs = Self {
            logger,
            links: Links::default(),
            ids: BTreeMap::new(),
            images: take(&mut ebpf, "IMAGES")?,
            points: take(&mut ebpf, "POINTS")?,
            names: take(&mut ebpf, "NAMES")?,
            recipes: take(&mut ebpf, "RECIPES")?,
            targets: take(&mut ebpf, "TARGETS")?,
            scopes: take(&mut ebpf, "SCOPES")?,
            uses: take(&mut ebpf, "USES")?,
            stats: take(&mut ebpf, "STATS")?,
            uprobes,
            ebpf,
            run_times: RunTimes::start(),
        };
        programs.ids = programs.program_ids();
        Ok(programs)
    }

    /// Passes on what the programs have said of themselves since the last time.
    pub fn log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// The ring that records arrive in. It can be taken once.
    pub fn ring(&mut self) -> Result<RingBuf<MapData>, AttachError> {
        take(&mut self.ebpf, "EVENTS")
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

    /// How often each variable was used so far, where that is counted.
    pub fn uses(&self) -> impl Iterator<Item = (UseKey, Uses)> + '_ {
        let entries = self.uses.iter().filter_map(Result::ok);
        entries.map(|(key, uses)| (key.0, uses.0))
    }

    /// Links a program to points of an opened file, in every process that maps it now or later.
    pub fn link(&mut self, probe: Probe, file: &File, points: &[Offset]) -> Result<(), AttachError> {
        let (_, when) = UPROBES
            .into_iter()
            .find(|(p, _)| *p == probe)
            .ok_or_else(|| AttachError::Misfit(format!("program {} is no uprobe", probe.name())))?;
        let program = self
            .uprobes
            .get(&probe)
            .ok_or_else(|| AttachError::Misfit(format!("program {} was not loaded", probe.name())))?;
        let link = Multi.link(program.as_fd(), file.as_fd(), points, when);
        let link = link.map_err(|error| AttachError::Link {
            probe: probe.name(),
            count: points.len(),
            error,
        })?;
        self.links.push(link);
        Ok(())
    }

    /// What every program has done so far. To be asked for at even intervals: run times are measured in some of them.
    pub fn totals(&mut self) -> BTreeMap<Probe, ProgramTotals> {
        let mut totals: BTreeMap<Probe, ProgramTotals> = BTreeMap::new();
        for (probe, index) in Probe::ALL.into_iter().zip(0..PROBES) {
            let total = totals.entry(probe).or_default();
            let Ok(per_cpu) = self.stats.get(&index, 0) else {
                continue;
            };
            for Shared(s) in per_cpu.iter() {
                total.stats.hits += s.hits;
                total.stats.filtered += s.filtered;
                total.stats.sent += s.sent;
                total.stats.lost_ring += s.lost_ring;
                total.stats.lost_map += s.lost_map;
                total.stats.lost_image += s.lost_image;
                total.stats.lost_slot += s.lost_slot;
                total.stats.unreadable += s.unreadable;
            }
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

    /// Numbers of our programs in the kernel, to find their run times by.
    fn program_ids(&self) -> BTreeMap<u32, Probe> {
        let mut ids = BTreeMap::new();
        for (probe, fd) in &self.uprobes {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
            let id = info.ok().and_then(|text| {
                text.lines()
                    .find_map(|l| l.strip_prefix("prog_id:"))
                    .and_then(|id| id.trim().parse().ok())
            });
            if let Some(id) = id {
                ids.insert(id, *probe);
            }
        }
        for (probe, _) in TRACEPOINTS {
            if let Some(info) = self.ebpf.program(probe.name()).and_then(|p| p.info().ok()) {
                ids.insert(info.id(), probe);
            }
        }
        ids
    }
}

fn take<M: TryFrom<aya::maps::Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, AttachError> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| AttachError::Misfit(format!("map {name} is missing")))?;
    map.try_into()
        .map_err(|_| AttachError::Misfit(format!("map {name} has another type")))
}

/// Loads the uprobe programs with the attach type that `uprobe_multi` wants: aya creates the maps, and its object parser
/// prepares the instructions against them.
fn load_uprobes(
    object: &BpfObject,
    ebpf: &Ebpf,
    options: Options,
) -> Result<BTreeMap<Probe, OwnedFd>, AttachError> {
    let misfit = |what: &dyn std::fmt::Display| AttachError::Misfit(what.to_string());
    let mut parsed = aya_obj::Object::parse(object.bytes()).map_err(|e| misfit(&e))?;
    let text: HashSet<usize> = parsed.functions.keys().map(|(section, _)| *section).collect();
    let descriptors: BTreeMap<&str, BorrowedFd<'_>> = ebpf
        .maps()
        .filter_map(|(name, map)| Some((name, descriptor(map)?)))
        .collect();
    let maps = parsed.maps.clone();
    let located = maps
        .iter()
        .filter_map(|(name, map)| Some((name.as_str(), descriptors.get(name.as_str())?.as_raw_fd(), map)));
    parsed.relocate_maps(located, &text).map_err(|e| misfit(&e))?;
    parsed.relocate_calls(&text).map_err(|e| misfit(&e))?;
    parsed.sanitize_functions(aya::features());
    let types = types(&mut parsed)?;
    let license = parsed.license.to_string_lossy().into_owned();
    let (parsed, license, types) = (&parsed, license.as_str(), types.as_fd());
    let load = |name: &'static str| {
        let program = parsed
            .programs
            .get(name)
            .ok_or_else(|| AttachError::Misfit(format!("program {name} is missing")))?;
        let function = &parsed.functions[&program.function_key()];
        let loaded = Multi.load(Program {
            name,
            instructions: &function.instructions,
            license,
            types: Some((types, &function.func_info.func_info)),
        })?;
        Ok((name, loaded))
    };
    let probes = || {
        let probes = UPROBES.into_iter().map(|(probe, _)| probe);
        probes.filter(|probe| options.random || *probe != Probe::Random)
    };
    // What the verifier takes longest for comes first.
    let mut names: Vec<&str> = Stage::ALL.into_iter().map(Stage::name).collect();
    for probe in probes() {
        if !names.contains(&probe.name()) {
            names.push(probe.name());
        }
    }
    // The verifier takes its time: every program is checked on a thread of its own.
    let loaded: Result<BTreeMap<&str, OwnedFd>, AttachError> = thread::scope(|scope| {
        let loading: Vec<_> = names
            .into_iter()
            .map(|name| scope.spawn(move || load(name)))
            .collect();
        loading
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut loaded = loaded?;
    let stages = descriptors
        .get(STAGES)
        .ok_or_else(|| AttachError::Misfit(format!("map {STAGES} is missing")))?;
    for stage in Stage::ALL {
        let program = loaded[stage.name()].as_fd();
        set_program(*stages, stage as u32, program).map_err(|error| AttachError::Stage {
            program: stage.name(),
            error,
        })?;
    }
    Ok(probes()
        .filter_map(|probe| Some((probe, loaded.remove(probe.name())?)))
        .collect())
}

/// The types of the programs' functions, as the kernel knows them.
fn types(object: &mut aya_obj::Object) -> Result<OwnedFd, AttachError> {
    let features = aya::features()
        .btf()
        .ok_or_else(|| AttachError::Misfit("the kernel takes no types".to_owned()))?;
    let types = object
        .fixup_and_sanitize_btf(features)
        .map_err(|error| AttachError::Misfit(error.to_string()))?
        .ok_or_else(|| AttachError::Misfit("it has no types".to_owned()))?;
    load_types(&types.to_bytes()).map_err(AttachError::Types)
}

fn descriptor(map: &aya::maps::Map) -> Option<BorrowedFd<'_>> {
    use aya::maps::Map;
    match map {
        Map::Array(m)
        | Map::PerCpuArray(m)
        | Map::HashMap(m)
        | Map::LruHashMap(m)
        | Map::ProgramArray(m)
        | Map::RingBuf(m) => Some(m.fd().as_fd()),
        _ => None,
    }
}
