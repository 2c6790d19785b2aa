//! Which files are armed. A file is looked at once, whatever number of processes map it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tracer_common::{
    MAX_IMAGES, MAX_POINTS,
    config::{NO_IMAGE, Point},
    stats::Probe,
};

use super::{
    programs::{AttachError, Programs},
    sys::{Offset, handle},
};
use crate::{
    elf::{Cost, read_loaded},
    runtime::cpython::{
        core::{Core, CoreError},
        coroutine,
        probe_point::{ProbePoint, When},
        queue::{QueueError, QueueModule},
        task::{TaskError, TaskModule},
        uvloop,
        wire::{Part, WireModule},
    },
    target::mapped::Mapped,
};

/// `OVERLAYFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const OVERLAY: u64 = 0x794c_7630;
/// Files that are remembered because there is nothing to arm in them. A machine may run any number.
const MAX_PLAIN: usize = 8_192;
/// What the kernel puts where it has to stop: `int3`.
const BREAKPOINT: u8 = 0xcc;

/// How long it holds that a program's start led to files that are armed. A library may be replaced at any time.
const LATELY: Duration = Duration::from_secs(1);
/// Starts of programs that are remembered for so long.
const MAX_STARTS: usize = 256;

/// What decides, besides its file, which libraries a program comes to map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// Its path.
    pub exe: PathBuf,
    /// The root directory that it sees.
    pub root: Option<(u64, u64)>,
    /// Its `LD_LIBRARY_PATH`.
    pub library_path: Option<Vec<u8>>,
}

/// A file, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    identity: Identity,
    /// Inodes are used again: size, birth and the last writing tell the next file from the last.
    size: u64,
    born: Option<SystemTime>,
    written: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Inode {
        device: u64,
        inode: u64,
    },
    /// A file that an overlay shows, below it: every container of an image has an overlay of its own.
    Layer(Vec<u8>),
}

/// What a file is known by.
struct Keys {
    own: FileKey,
    layer: Option<FileKey>,
}

/// What a file turned out to be.
#[derive(Clone, Debug)]
enum Known {
    Core(u32),
    Queue,
    Tasks,
    Wire(BTreeSet<Part>),
    Other,
    Refused(String),
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    /// Offset of a point that is armed in it.
    point: Option<u64>,
}

/// An interpreter image that is armed.
#[derive(Clone, Debug)]
pub struct Armed {
    /// Its index in the kernel side's table.
    pub index: u32,
    /// What is known of it.
    pub core: Arc<Core>,
    /// Its probes, each with the cost of its dearest point.
    pub probes: BTreeMap<Probe, Cost>,
    /// What of the wire passes through it.
    pub wire: BTreeSet<Part>,
}

/// Why a file could not be armed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// It could not be read.
    #[error("failed to read {name}: {error}")]
    Read {
        /// Its name, for messages only.
        name: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is an interpreter that cannot be traced.
    #[error("{0}")]
    Refused(String),
    /// The kernel refused.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// There are too many.
    #[error("more than {MAX_IMAGES} interpreter images or {MAX_POINTS} probe points at once")]
    Full,
}

/// The files that were looked at, and what is armed in them.
pub struct Registry {
    /// The kernel side.
    pub programs: Programs,
    files: HashMap<FileKey, Entry>,
    /// Programs that neither carry an interpreter nor need a library that does.
    plain: HashSet<FileKey>,
    /// Starts of programs whose files were all armed, and when that was seen.
    starts: HashMap<(FileKey, Start), Instant>,
    images: Vec<Armed>,
    queue: BTreeMap<Probe, Cost>,
    points: u32,
    armed_files: u32,
    parsed: u32,
    wire_probes: BTreeMap<Probe, Cost>,
    task_probes: BTreeMap<Probe, Cost>,
    wants: Wants,
}

/// What is armed only where it is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// What mints task handles.
    pub mints: bool,
    /// What processes receive and send.
    pub wire: bool,
    /// Their asyncio tasks.
    pub tasks: bool,
}

impl Registry {
    /// Arms files for these programs.
    pub fn new(programs: Programs, wants: Wants) -> Self {
        Self {
            programs,
            files: HashMap::new(),
            plain: HashSet::new(),
            starts: HashMap::new(),
            images: Vec::new(),
            queue: BTreeMap::new(),
            points: 0,
            armed_files: 0,
            parsed: 0,
            wire_probes: BTreeMap::new(),
            task_probes: BTreeMap::new(),
            wants,
        }
    }

    /// How many files are armed.
    pub const fn armed_files(&self) -> u32 {
        self.armed_files
    }

    /// How many files were read and parsed.
    pub const fn parsed(&self) -> u32 {
        self.parsed
    }

    /// The image with this index.
    pub fn image(&self, index: u32) -> Option<&Armed> {
        self.images.get(index as usize)
    }

    /// All images that are armed.
    pub fn images(&self) -> impl Iterator<Item = &Armed> {
        self.images.iter()
    }

    /// The probes of the `_queue` modules that are armed, each with the cost of its dearest point.
    pub const fn queue_probes(&self) -> &BTreeMap<Probe, Cost> {
        &self.queue
    }

    /// Whether a program was found to have nothing to do with Python. Every exec on the machine may ask.
    pub fn runs_no_python(&self, file: &File) -> bool {
        keys(file, "").is_ok_and(|keys| self.plain.contains(&keys.own))
    }

    /// Whether the same start has led to files a moment ago that are armed.
    pub fn armed_lately(&self, file: &File, start: &Start) -> bool {
        let seen = keys(file, "")
            .ok()
            .and_then(|keys| self.starts.get(&(keys.own, start.clone())));
        seen.is_some_and(|seen| seen.elapsed() < LATELY)
    }

    /// All that a start leads to was just found and armed.
    pub fn just_armed(&mut self, file: &File, start: Start) {
        if self.starts.len() >= MAX_STARTS {
            self.starts.clear();
        }
        if let Ok(keys) = keys(file, "") {
            self.starts.insert((keys.own, start), Instant::now());
        }
    }

    /// A program has nothing to do with Python.
    pub fn learn_plain(&mut self, file: &File) {
        if self.plain.len() >= MAX_PLAIN {
            self.plain.clear();
            self.files.retain(|_, entry| !matches!(entry.known, Known::Other));
        }
        if let Ok(keys) = keys(file, "") {
            self.plain.insert(keys.own);
        }
    }

    /// Arms an interpreter's core. None when the file carries none. `name` is for messages only.
    pub fn arm_core(&mut self, file: &File, name: &str) -> Result<Option<u32>, ArmError> {
        let keys = keys(file, name)?;
        match self.known(&keys, file) {
            Some(Known::Core(index)) => return Ok(Some(index)),
            Some(Known::Refused(reason)) => return Err(ArmError::Refused(reason)),
            Some(Known::Queue | Known::Tasks | Known::Wire(_) | Known::Other) => return Ok(None),
            None => {}
        }
        let bytes = self.read(file, name)?;
        let core = match Core::inspect(&bytes, name) {
            Ok(core) => core,
            Err(CoreError::NotCPython | CoreError::Elf(_)) => {
                self.learn(keys, Known::Other, &[]);
                return Ok(None);
            }
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()), &[]);
                return Err(ArmError::Refused(error.to_string()));
            }
        };
        let index = self.images.len() as u32;
        if index >= MAX_IMAGES {
            return Err(ArmError::Full);
        }
        self.programs.set_image(index, core.image)?;
        let mut points = core.points.clone();
        points.retain(|point| self.wants.mints || !point.probe.is_mint());
        if self.wants.mints {
            // What is missing without it, `doctor` says.
            points.extend(coroutine::point(file, &bytes, core.layout));
        }
        self.armed_files += 1;
        let mut probes = self.link(file, &points, index)?;
        // Some distributions build `_queue` into the interpreter.
        if let Ok(queue) = QueueModule::inspect(&bytes) {
            let linked = self.link(file, &queue.points, NO_IMAGE)?;
            self.queue.extend(&linked);
            probes.extend(linked);
        }
        // And some `_asyncio`.
        if self.wants.tasks
            && let Ok(tasks) = TaskModule::inspect(&bytes)
        {
            let linked = self.link(file, &tasks.points, NO_IMAGE)?;
            self.task_probes.extend(&linked);
            probes.extend(linked);
        }
        let wire = self.link_wire(file, &bytes)?;
        self.images.push(Armed {
            index,
            core: Arc::new(core),
            probes,
            wire,
        });
        self.learn(keys, Known::Core(index), &points);
        Ok(Some(index))
    }

    /// Arms a `_queue` extension module. False when the file is none.
    pub fn arm_queue(&mut self, file: &File, name: &str) -> Result<bool, ArmError> {
        let keys = keys(file, name)?;
        match self.known(&keys, file) {
            Some(Known::Queue) => return Ok(true),
            Some(Known::Refused(reason)) => return Err(ArmError::Refused(reason)),
            Some(Known::Core(_) | Known::Tasks | Known::Wire(_) | Known::Other) => return Ok(false),
            None => {}
        }
        let bytes = self.read(file, name)?;
        match QueueModule::inspect(&bytes) {
            Ok(queue) => {
                self.armed_files += 1;
                let linked = self.link(file, &queue.points, NO_IMAGE)?;
                self.queue.extend(linked);
                self.learn(keys, Known::Queue, &queue.points);
                Ok(true)
            }
            Err(QueueError::Elf(_)) => {
                self.learn(keys, Known::Other, &[]);
                Ok(false)
            }
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()), &[]);
                Err(ArmError::Refused(error.to_string()))
            }
        }
    }

    /// Arms an `_asyncio` extension module. False when the file is none.
    pub fn arm_tasks(&mut self, file: &File) -> Result<bool, ArmError> {
        let keys = keys(file, "_asyncio")?;
        match self.known(&keys, file) {
            Some(Known::Tasks) => return Ok(true),
            Some(Known::Refused(reason)) => return Err(ArmError::Refused(reason)),
            Some(Known::Core(_) | Known::Queue | Known::Wire(_) | Known::Other) => return Ok(false),
            None => {}
        }
        let bytes = self.read(file, "_asyncio")?;
        match TaskModule::inspect(&bytes) {
            Ok(tasks) => {
                self.armed_files += 1;
                let linked = self.link(file, &tasks.points, NO_IMAGE)?;
                self.task_probes.extend(linked);
                self.learn(keys, Known::Tasks, &tasks.points);
                Ok(true)
            }
            Err(TaskError::Elf(_)) => {
                self.learn(keys, Known::Other, &[]);
                Ok(false)
            }
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()), &[]);
                Err(ArmError::Refused(error.to_string()))
            }
        }
    }

    /// Whether asyncio tasks are followed in some processes.
    pub const fn wants_tasks(&self) -> bool {
        self.wants.tasks
    }

    /// The probes of the `_asyncio` modules that are armed, each with the cost of its dearest point.
    pub const fn task_probes(&self) -> &BTreeMap<Probe, Cost> {
        &self.task_probes
    }

    /// Arms an extension module that receives or sends; what passes through it.
    pub fn arm_wire(&mut self, file: &File, name: &str) -> Result<BTreeSet<Part>, ArmError> {
        let keys = keys(file, name)?;
        match self.known(&keys, file) {
            Some(Known::Wire(parts)) => return Ok(parts),
            Some(Known::Refused(reason)) => return Err(ArmError::Refused(reason)),
            Some(Known::Core(_) | Known::Queue | Known::Tasks | Known::Other) => return Ok(BTreeSet::new()),
            None => {}
        }
        let bytes = self.read(file, name)?;
        self.armed_files += 1;
        let parts = self.link_wire(file, &bytes)?;
        self.learn(keys, Known::Wire(parts.clone()), &[]);
        Ok(parts)
    }

    /// Arms uvloop's extension module. True when it was not armed before.
    pub fn arm_uvloop(&mut self, file: &File) -> Result<bool, ArmError> {
        let keys = keys(file, "uvloop")?;
        if self.known(&keys, file).is_some() {
            return Ok(false);
        }
        let bytes = self.read(file, "uvloop")?;
        let points = match uvloop::inspect(&bytes) {
            Ok(points) => points,
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()), &[]);
                return Err(ArmError::Refused(error.to_string()));
            }
        };
        self.armed_files += 1;
        let linked = self.link(file, &points, NO_IMAGE)?;
        self.wire_probes.extend(linked);
        self.learn(keys, Known::Wire(BTreeSet::new()), &points);
        Ok(true)
    }

    /// Whether what processes receive and send is wanted of some.
    pub const fn wants_wire(&self) -> bool {
        self.wants.wire
    }

    /// The probes of the wire that are armed, each with the cost of its dearest point.
    pub const fn wire_probes(&self) -> &BTreeMap<Probe, Cost> {
        &self.wire_probes
    }

    /// Links what a file has of the wire, if it is wanted.
    fn link_wire(&mut self, file: &File, bytes: &[u8]) -> Result<BTreeSet<Part>, ArmError> {
        if !self.wants.wire {
            return Ok(BTreeSet::new());
        }
        let found = WireModule::inspect(bytes).map_err(|error| ArmError::Refused(error.to_string()))?;
        let linked = self.link(file, &found.points, NO_IMAGE)?;
        self.wire_probes.extend(linked);
        Ok(found.parts.into_iter().collect())
    }

    fn read(&mut self, file: &File, name: &str) -> Result<Vec<u8>, ArmError> {
        self.parsed += 1;
        read_loaded(file).map_err(|error| ArmError::Read {
            name: name.to_owned(),
            error,
        })
    }

    /// Links every program once to all of its points in a file.
    fn link(
        &mut self,
        file: &File,
        points: &[ProbePoint],
        image: u32,
    ) -> Result<BTreeMap<Probe, Cost>, ArmError> {
        let mut offsets: BTreeMap<(Probe, When), Vec<Offset>> = BTreeMap::new();
        let mut costs: BTreeMap<Probe, Cost> = BTreeMap::new();
        for point in points {
            // Index 0 stays free: a hit without a cookie must not look like a point.
            self.points += 1;
            if self.points >= MAX_POINTS {
                return Err(ArmError::Full);
            }
            let described = Point {
                vaddr: point.vaddr,
                image,
                arguments: point.arguments,
                file: self.armed_files,
                tap: point.tap,
            };
            self.programs.set_point(self.points, described)?;
            let offset = Offset {
                file_offset: point.file_offset,
                cookie: u64::from(self.points),
            };
            offsets.entry((point.probe, point.when)).or_default().push(offset);
            let cost = costs.entry(point.probe).or_insert(point.cost);
            if point.cost == Cost::Stepped {
                *cost = Cost::Stepped;
            }
        }
        for ((probe, when), offsets) in offsets {
            self.programs.link(probe, when, file, &offsets)?;
        }
        Ok(costs)
    }

    /// What is known of a file.
    fn known(&self, keys: &Keys, file: &File) -> Option<Known> {
        let layer = keys.layer.as_ref().and_then(|key| self.files.get(key));
        // Copies of one disk image give the same handles, too: what is armed shows a breakpoint in every mapping.
        let is_armed = |entry: &&Entry| entry.point.is_none_or(|offset| shows_breakpoint(file, offset));
        let entry = layer.filter(is_armed).or_else(|| self.files.get(&keys.own));
        entry.map(|entry| entry.known.clone())
    }

    fn learn(&mut self, keys: Keys, known: Known, points: &[ProbePoint]) {
        let point = points.first().map(|point| point.file_offset);
        let entry = Entry { known, point };
        if let Some(layer) = keys.layer {
            self.files.entry(layer).or_insert_with(|| entry.clone());
        }
        self.files.insert(keys.own, entry);
    }
}

fn shows_breakpoint(file: &File, offset: u64) -> bool {
    Mapped::new(file, offset)
        .and_then(|mapped| mapped.first_byte())
        .is_ok_and(|byte| byte == BREAKPOINT)
}

fn keys(file: &File, name: &str) -> Result<Keys, ArmError> {
    let meta = file.metadata().map_err(|error| ArmError::Read {
        name: name.to_owned(),
        error,
    })?;
    let key = |identity| FileKey {
        identity,
        size: meta.size(),
        born: meta.created().ok(),
        written: (meta.mtime(), meta.mtime_nsec()),
    };
    let is_overlay = rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type as u64 == OVERLAY);
    let layer = is_overlay.then(|| handle(file.as_fd()).ok()).flatten();
    Ok(Keys {
        own: key(Identity::Inode {
            device: meta.dev(),
            inode: meta.ino(),
        }),
        layer: layer.map(|handle| key(Identity::Layer(handle))),
    })
}
