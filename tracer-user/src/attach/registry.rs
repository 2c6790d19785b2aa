//! Which files are armed. A file is looked at once, whatever number of processes map it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io,
    sync::Arc,
};

use tracer_common::{
    MAX_IMAGES, MAX_POINTS,
    config::{NO_IMAGE, Point},
    stats::Probe,
};

use super::{
    programs::{AttachError, Programs},
    sys::Offset,
};
use crate::{
    elf::Cost,
    runtime::cpython::{
        binaries::{Binaries, Binary},
        core::Core,
        probe_point::ProbePoint,
    },
};

/// An interpreter image that is armed.
#[derive(Clone, Debug)]
pub struct Armed {
    /// Its index in the kernel side's table.
    pub index: u32,
    /// What is known of it.
    pub core: Arc<Core>,
    /// Its probes, each with the cost of its dearest point.
    pub probes: BTreeMap<Probe, Cost>,
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
    /// The files that were looked at.
    pub binaries: Binaries,
    /// Images and `_queue` modules by the number of their file.
    cores: HashMap<u32, u32>,
    queues: BTreeSet<u32>,
    images: Vec<Armed>,
    queue: BTreeMap<Probe, Cost>,
    points: u32,
    random: bool,
}

impl Registry {
    /// Arms files for these programs. `binaries` are those that were looked at before; `random` says whether ids that programs
    /// draw matter.
    pub fn new(programs: Programs, binaries: Binaries, random: bool) -> Self {
        Self {
            programs,
            binaries,
            cores: HashMap::new(),
            queues: BTreeSet::new(),
            images: Vec::new(),
            queue: BTreeMap::new(),
            points: 0,
            random,
        }
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

    /// Arms an interpreter's core. None when the file carries none. `name` is for messages only.
    pub fn arm_core(&mut self, file: &File, name: &str) -> Result<Option<u32>, ArmError> {
        let (number, binary) = self.look(file, name)?;
        if let Some(index) = self.cores.get(&number) {
            return Ok(Some(*index));
        }
        let (core, queue) = match binary {
            Binary::Core(core, queue) => (core, queue),
            Binary::Refused { reason, .. } => return Err(ArmError::Refused(reason)),
            Binary::Queue(_) | Binary::Other(_) => return Ok(None),
        };
        let index = self.images.len() as u32;
        if index >= MAX_IMAGES {
            return Err(ArmError::Full);
        }
        self.programs.set_image(index, core.image)?;
        let mut points = core.points.clone();
        points.retain(|point| self.random || point.probe != Probe::Random);
        let mut probes = self.link(file, &points, index)?;
        if let Some(queue) = queue {
            let linked = self.link(file, &queue.points, NO_IMAGE)?;
            self.queue.extend(&linked);
            probes.extend(linked);
        }
        self.images.push(Armed { index, core, probes });
        self.cores.insert(number, index);
        Ok(Some(index))
    }

    /// Arms a `_queue` extension module. False when the file is none.
    pub fn arm_queue(&mut self, file: &File, name: &str) -> Result<bool, ArmError> {
        let (number, binary) = self.look(file, name)?;
        match binary {
            Binary::Queue(_) if self.queues.contains(&number) => Ok(true),
            Binary::Queue(queue) => {
                let linked = self.link(file, &queue.points, NO_IMAGE)?;
                self.queue.extend(linked);
                self.queues.insert(number);
                Ok(true)
            }
            Binary::Other(Some(reason)) => Err(ArmError::Refused(reason)),
            Binary::Core(..) | Binary::Refused { .. } | Binary::Other(None) => Ok(false),
        }
    }

    /// Links every program once to all of its points in a file.
    fn link(
        &mut self,
        file: &File,
        points: &[ProbePoint],
        image: u32,
    ) -> Result<BTreeMap<Probe, Cost>, ArmError> {
        let mut offsets: BTreeMap<Probe, Vec<Offset>> = BTreeMap::new();
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
            };
            self.programs.set_point(self.points, described)?;
            let offset = Offset {
                file_offset: point.file_offset,
                cookie: u64::from(self.points),
            };
            offsets.entry(point.probe).or_default().push(offset);
            let cost = costs.entry(point.probe).or_insert(point.cost);
            if point.cost == Cost::Stepped {
                *cost = Cost::Stepped;
            }
        }
        for (probe, offsets) in offsets {
            self.programs.link(probe, file, &offsets)?;
        }
        Ok(costs)
    }

    fn look(&mut self, file: &File, name: &str) -> Result<(u32, Binary), ArmError> {
        self.binaries.look(file, name).map_err(|error| ArmError::Read {
            name: name.to_owned(),
            error,
        })
    }
}
