//! Which files are armed. A file is looked at once, whatever number of processes map it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tracer_common::{
    MAX_IMAGES, MAX_POINTS,
    config::{NO_IMAGE, Point},
    stats::Probe,
};

pub use super::shelf::Use;
use super::{
    file_key::{FileKey, Keys},
    links::Links,
    numbers::Numbers,
    programs::{AttachError, Programs},
    shelf::{ArmedFile, Idle, Shelf},
    starts::Starts,
    sys::Offset,
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

/// A user whose files are the system's.
const ROOT: u32 = 0;
/// Interpreters of one other user's that are armed at once. Nobody can use up what there is for all, nor have file after file read.
const MAX_OF_A_USER: usize = 64;
/// What the kernel puts where it has to stop: `int3`.
const BREAKPOINT: u8 = 0xcc;

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
    /// Its number, if it is armed.
    armed: Option<u32>,
    /// Offset of a point that is armed in it.
    point: Option<u64>,
}

/// An interpreter image that is armed.
#[derive(Clone, Debug)]
pub struct Armed {
    /// Whose its file is.
    pub owner: u32,
    /// Its index in the kernel side's table.
    pub index: u32,
    /// What is known of it.
    pub core: Arc<Core>,
    /// Its probes, each with the cost of its dearest point.
    pub probes: BTreeMap<Probe, Cost>,
    /// Those that see what is read, where that is watched.
    pub reads: BTreeMap<Probe, Cost>,
    /// What of the wire passes through it.
    pub wire: BTreeSet<Part>,
    /// Its file.
    file: Arc<File>,
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
    /// There are too many of one user's.
    #[error("more than {MAX_OF_A_USER} interpreter images at once that belong to user {0}")]
    OneUser(u32),
}

/// The files that were looked at, and what is armed in them.
pub struct Registry {
    /// The kernel side.
    pub programs: Programs,
    /// What starts of programs led to.
    pub starts: Starts,
    files: HashMap<FileKey, Entry>,
    images: BTreeMap<u32, Armed>,
    image_numbers: Numbers,
    point_numbers: Numbers,
    shelf: Shelf,
    /// One more than files were armed so far, whether they still are or not: the next one's number.
    ever_armed: u32,
    parsed: u32,
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
            starts: Starts::default(),
            images: BTreeMap::new(),
            image_numbers: Numbers::new(0, MAX_IMAGES),
            // 0 stays free: a hit without a cookie must not look like a point.
            point_numbers: Numbers::new(1, MAX_POINTS),
            shelf: Shelf::default(),
            ever_armed: 1,
            parsed: 0,
            wants,
        }
    }

    /// How many files are armed.
    pub fn armed_files(&self) -> usize {
        self.shelf.len()
    }

    /// Another number than before says that a file was armed meanwhile.
    pub const fn ever_armed(&self) -> u32 {
        self.ever_armed
    }

    /// How many files were read and parsed.
    pub const fn parsed(&self) -> u32 {
        self.parsed
    }

    /// The image with this index.
    pub fn image(&self, index: u32) -> Option<&Armed> {
        self.images.get(&index)
    }

    /// All images that are armed.
    pub fn images(&self) -> impl Iterator<Item = &Armed> {
        self.images.values()
    }

    /// The probes of this kind that are armed, each with the cost of its dearest point.
    pub fn probes(&self, which: impl Fn(Probe) -> bool) -> BTreeMap<Probe, Cost> {
        self.shelf.probes(which)
    }

    /// Undoes what is armed in files for which nobody has had any use in all of this time. `used` is what processes have use for, or
    /// will.
    pub fn disarm_idle(&mut self, used: &BTreeSet<Use>, patience: Duration) {
        let now = Instant::now();
        let Idle { uses, files } = self.shelf.take_idle(used, patience, now);
        if uses.is_empty() {
            return;
        }
        tracing::info!(files = files.len(), "what nobody has any use for is let go");
        let mut images = Vec::new();
        for of in uses {
            match of {
                Use::Image(index) => {
                    self.images.remove(&index);
                    images.push(index);
                }
                Use::Reads(index) => {
                    if let Some(armed) = self.images.get_mut(&index) {
                        armed.reads.clear();
                    }
                }
            }
        }
        self.starts.disarmed();
        let gone: BTreeSet<u32> = files.iter().map(|(number, _)| *number).collect();
        self.files
            .retain(|_, entry| entry.armed.is_none_or(|number| !gone.contains(&number)));
        let mut links = Links::default();
        for (_, file) in files {
            self.point_numbers.give_back(file.points, now);
            file.links.into_iter().for_each(|link| links.push(link));
        }
        self.image_numbers.give_back(images, now);
        // It takes a while. Where there is no thread to be had, it is done here.
        let _ = thread::Builder::new().spawn(move || drop(links));
    }

    /// A program has nothing to do with Python.
    pub fn learn_plain(&mut self, file: &File) {
        if self.starts.learn_plain(file) {
            self.files.retain(|_, entry| !matches!(entry.known, Known::Other));
        }
    }

    /// Arms an interpreter's core. None when the file carries none. `name` is for messages only.
    pub fn arm_core(&mut self, file: &File, name: &str) -> Result<Option<u32>, ArmError> {
        let keys = keys(file, name)?;
        match self.known(&keys, file) {
            Some(Entry {
                known: Known::Core(index),
                armed,
                ..
            }) => {
                self.serve(armed, index);
                return Ok(Some(index));
            }
            Some(Entry {
                known: Known::Refused(reason),
                ..
            }) => return Err(ArmError::Refused(reason)),
            Some(_) => return Ok(None),
            None => {}
        }
        let owner = keys.owner;
        let of_owner = || self.images.values().filter(|armed| armed.owner == owner).count();
        if owner != ROOT && of_owner() >= MAX_OF_A_USER {
            return Err(ArmError::OneUser(owner));
        }
        let bytes = self.read(file, name)?;
        let core = match Core::inspect(&bytes, name) {
            Ok(core) => core,
            Err(CoreError::NotCPython | CoreError::Elf(_)) => {
                self.learn(keys, Known::Other);
                return Ok(None);
            }
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()));
                return Err(ArmError::Refused(error.to_string()));
            }
        };
        let index = self.image_numbers.take(Instant::now()).ok_or(ArmError::Full)?;
        let mut arming = Arming::new(Use::Image(index));
        let armed = self.arm_image(&mut arming, index, core, (file, &bytes, owner));
        match armed {
            Ok(armed) => {
                self.images.insert(index, armed);
                self.put(keys, Known::Core(index), arming);
                Ok(Some(index))
            }
            Err(error) => {
                self.give_up(arming);
                self.image_numbers.give_back([index], Instant::now());
                Err(error)
            }
        }
    }

    /// Arms what an interpreter's own file has.
    fn arm_image(
        &mut self,
        arming: &mut Arming,
        index: u32,
        core: Core,
        (file, bytes, owner): (&File, &[u8], u32),
    ) -> Result<Armed, ArmError> {
        self.programs.set_image(index, core.image)?;
        let mut points = core.points.clone();
        points.retain(|point| (self.wants.mints || !point.probe.is_mint()) && !point.probe.is_read());
        if self.wants.mints {
            // What is missing without it, `doctor` says.
            points.extend(coroutine::point(file, bytes, core.layout));
        }
        self.link(arming, file, &points, index)?;
        // Some distributions build `_queue` into the interpreter.
        if let Ok(queue) = QueueModule::inspect(bytes) {
            self.link(arming, file, &queue.points, NO_IMAGE)?;
        }
        // And some `_asyncio`.
        if self.wants.tasks
            && let Ok(tasks) = TaskModule::inspect(bytes)
        {
            self.link(arming, file, &tasks.points, NO_IMAGE)?;
        }
        // What of the wire passes through it is asked for by itself.
        let mut probes = arming.file.probes.clone();
        probes.retain(|probe, _| !probe.is_wire());
        Ok(Armed {
            owner,
            index,
            core: Arc::new(core),
            probes,
            reads: BTreeMap::new(),
            wire: self.link_wire(arming, file, bytes)?,
            file: Arc::new(file.try_clone().map_err(|error| ArmError::Read {
                name: "the interpreter".to_owned(),
                error,
            })?),
        })
    }

    /// Arms what sees reads in an image's file. True when it was not armed before.
    pub fn arm_reads(&mut self, index: u32) -> Result<bool, ArmError> {
        let Some(armed) = self.images.get(&index).filter(|armed| armed.reads.is_empty()) else {
            return Ok(false);
        };
        let (core, file) = (Arc::clone(&armed.core), Arc::clone(&armed.file));
        let points: Vec<_> = core
            .points
            .iter()
            .filter(|point| point.probe.is_read())
            .copied()
            .collect();
        let mut arming = Arming::new(Use::Reads(index));
        if let Err(error) = self.link(&mut arming, &file, &points, index) {
            self.give_up(arming);
            return Err(error);
        }
        if let Some(armed) = self.images.get_mut(&index) {
            armed.reads = arming.file.probes.clone();
        }
        self.shelve(arming);
        Ok(true)
    }

    /// Arms a `_queue` extension module for an image. False when the file is none.
    pub fn arm_queue(&mut self, file: &File, name: &str, image: u32) -> Result<bool, ArmError> {
        let keys = keys(file, name)?;
        match self.known(&keys, file) {
            Some(Entry {
                known: Known::Queue,
                armed,
                ..
            }) => {
                self.serve(armed, image);
                return Ok(true);
            }
            Some(Entry {
                known: Known::Refused(reason),
                ..
            }) => return Err(ArmError::Refused(reason)),
            Some(_) => return Ok(false),
            None => {}
        }
        let bytes = self.read(file, name)?;
        match QueueModule::inspect(&bytes) {
            Ok(queue) => {
                self.arm(keys, Known::Queue, image, |registry, arming| {
                    registry.link(arming, file, &queue.points, NO_IMAGE)
                })?;
                Ok(true)
            }
            Err(QueueError::Elf(_)) => {
                self.learn(keys, Known::Other);
                Ok(false)
            }
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()));
                Err(ArmError::Refused(error.to_string()))
            }
        }
    }

    /// Arms an `_asyncio` extension module for an image. False when the file is none.
    pub fn arm_tasks(&mut self, file: &File, image: u32) -> Result<bool, ArmError> {
        let keys = keys(file, "_asyncio")?;
        match self.known(&keys, file) {
            Some(Entry {
                known: Known::Tasks,
                armed,
                ..
            }) => {
                self.serve(armed, image);
                return Ok(true);
            }
            Some(Entry {
                known: Known::Refused(reason),
                ..
            }) => return Err(ArmError::Refused(reason)),
            Some(_) => return Ok(false),
            None => {}
        }
        let bytes = self.read(file, "_asyncio")?;
        match TaskModule::inspect(&bytes) {
            Ok(tasks) => {
                self.arm(keys, Known::Tasks, image, |registry, arming| {
                    registry.link(arming, file, &tasks.points, NO_IMAGE)
                })?;
                Ok(true)
            }
            Err(TaskError::Elf(_)) => {
                self.learn(keys, Known::Other);
                Ok(false)
            }
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()));
                Err(ArmError::Refused(error.to_string()))
            }
        }
    }

    /// Whether asyncio tasks are followed in some processes.
    pub const fn wants_tasks(&self) -> bool {
        self.wants.tasks
    }

    /// Arms an extension module that receives or sends, for an image; what passes through it.
    pub fn arm_wire(&mut self, file: &File, name: &str, image: u32) -> Result<BTreeSet<Part>, ArmError> {
        let keys = keys(file, name)?;
        match self.known(&keys, file) {
            Some(Entry {
                known: Known::Wire(parts),
                armed,
                ..
            }) => {
                self.serve(armed, image);
                return Ok(parts);
            }
            Some(Entry {
                known: Known::Refused(reason),
                ..
            }) => return Err(ArmError::Refused(reason)),
            Some(_) => return Ok(BTreeSet::new()),
            None => {}
        }
        let bytes = self.read(file, name)?;
        let mut arming = Arming::new(Use::Image(image));
        match self.link_wire(&mut arming, file, &bytes) {
            Ok(parts) => {
                self.put(keys, Known::Wire(parts.clone()), arming);
                Ok(parts)
            }
            Err(error) => {
                self.give_up(arming);
                Err(error)
            }
        }
    }

    /// Arms uvloop's extension module for an image. True when it was not armed before.
    pub fn arm_uvloop(&mut self, file: &File, image: u32) -> Result<bool, ArmError> {
        let keys = keys(file, "uvloop")?;
        if let Some(known) = self.known(&keys, file) {
            self.serve(known.armed, image);
            return Ok(false);
        }
        let bytes = self.read(file, "uvloop")?;
        let points = match uvloop::inspect(&bytes) {
            Ok(points) => points,
            Err(error) => {
                self.learn(keys, Known::Refused(error.to_string()));
                return Err(ArmError::Refused(error.to_string()));
            }
        };
        self.arm(keys, Known::Wire(BTreeSet::new()), image, |registry, arming| {
            registry.link(arming, file, &points, NO_IMAGE)
        })?;
        Ok(true)
    }

    /// Whether what processes receive and send is wanted of some.
    pub const fn wants_wire(&self) -> bool {
        self.wants.wire
    }

    /// Links what a file has of the wire, if it is wanted.
    fn link_wire(
        &mut self,
        arming: &mut Arming,
        file: &File,
        bytes: &[u8],
    ) -> Result<BTreeSet<Part>, ArmError> {
        if !self.wants.wire {
            return Ok(BTreeSet::new());
        }
        let found = WireModule::inspect(bytes).map_err(|error| ArmError::Refused(error.to_string()))?;
        self.link(arming, file, &found.points, NO_IMAGE)?;
        Ok(found.parts.into_iter().collect())
    }

    /// Arms a file as this does it, or not at all.
    fn arm(
        &mut self,
        keys: Keys,
        known: Known,
        image: u32,
        how: impl FnOnce(&mut Self, &mut Arming) -> Result<(), ArmError>,
    ) -> Result<(), ArmError> {
        let mut arming = Arming::new(Use::Image(image));
        match how(self, &mut arming) {
            Ok(()) => {
                self.put(keys, known, arming);
                Ok(())
            }
            Err(error) => {
                self.give_up(arming);
                Err(error)
            }
        }
    }

    /// A file is armed.
    fn put(&mut self, keys: Keys, known: Known, arming: Arming) {
        self.enter(
            keys,
            Entry {
                known,
                armed: Some(self.ever_armed),
                point: arming.first,
            },
        );
        self.shelve(arming);
    }

    fn shelve(&mut self, arming: Arming) {
        self.shelf.put(self.ever_armed, arming.file, Instant::now());
        self.ever_armed += 1;
    }

    /// A file could not be armed.
    fn give_up(&mut self, arming: Arming) {
        self.point_numbers.give_back(arming.file.points, Instant::now());
        drop(arming.file.links);
    }

    fn serve(&mut self, armed: Option<u32>, image: u32) {
        if let Some(number) = armed {
            self.shelf.serve(number, Use::Image(image), Instant::now());
        }
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
        arming: &mut Arming,
        file: &File,
        points: &[ProbePoint],
        image: u32,
    ) -> Result<(), ArmError> {
        let mut offsets: BTreeMap<(Probe, When), Vec<Offset>> = BTreeMap::new();
        for point in points {
            let number = self.point_numbers.take(Instant::now()).ok_or(ArmError::Full)?;
            arming.file.points.push(number);
            arming.first.get_or_insert(point.file_offset);
            let described = Point {
                vaddr: point.vaddr,
                image,
                arguments: point.arguments,
                // Only ever compared with that of another file, of which its last bits are enough.
                file: self.ever_armed,
                tap: point.tap,
            };
            self.programs.set_point(number, described)?;
            let offset = Offset {
                file_offset: point.file_offset,
                cookie: u64::from(number),
            };
            offsets.entry((point.probe, point.when)).or_default().push(offset);
            let cost = arming.file.probes.entry(point.probe).or_insert(point.cost);
            if point.cost == Cost::Stepped {
                *cost = Cost::Stepped;
            }
        }
        for ((probe, when), offsets) in offsets {
            let link = self.programs.link(probe, when, file, &offsets)?;
            arming.file.links.push(link);
        }
        Ok(())
    }

    /// What is known of a file.
    fn known(&self, keys: &Keys, file: &File) -> Option<Entry> {
        let layer = keys.layer.as_ref().and_then(|key| self.files.get(key));
        // Copies of one disk image give the same handles, too: what is armed shows a breakpoint in every mapping.
        let is_armed = |entry: &&Entry| entry.point.is_none_or(|offset| shows_breakpoint(file, offset));
        let entry = layer.filter(is_armed).or_else(|| self.files.get(&keys.own));
        entry.cloned()
    }

    /// There is nothing to arm in a file.
    fn learn(&mut self, keys: Keys, known: Known) {
        self.enter(
            keys,
            Entry {
                known,
                armed: None,
                point: None,
            },
        );
    }

    fn enter(&mut self, keys: Keys, entry: Entry) {
        if let Some(layer) = keys.layer {
            self.files.entry(layer).or_insert_with(|| entry.clone());
        }
        self.files.insert(keys.own, entry);
    }
}

impl Drop for Registry {
    /// All links are undone side by side.
    fn drop(&mut self) {
        for link in self.shelf.take_links() {
            self.programs.keep(link);
        }
    }
}

/// A file that is being armed.
#[derive(Debug)]
struct Arming {
    file: ArmedFile,
    /// Offset of its first point.
    first: Option<u64>,
}

impl Arming {
    /// For this.
    fn new(of: Use) -> Self {
        Self {
            file: ArmedFile {
                serves: BTreeSet::from([of]),
                ..ArmedFile::default()
            },
            first: None,
        }
    }
}

fn shows_breakpoint(file: &File, offset: u64) -> bool {
    Mapped::new(file, offset)
        .and_then(|mapped| mapped.first_byte())
        .is_ok_and(|byte| byte == BREAKPOINT)
}

fn keys(file: &File, name: &str) -> Result<Keys, ArmError> {
    Keys::of(file).map_err(|error| ArmError::Read {
        name: name.to_owned(),
        error,
    })
}
