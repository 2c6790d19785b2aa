//! What is armed, for which interpreters, and since when nobody has had any use for them.
//!
//! A link keeps its file: neither its blocks nor its mount are free as long as a point is armed in it. Where processes come and go from
//! ever other files, as containers do, what nobody runs from any more has to be let go.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tracer_common::stats::Probe;

use crate::elf::Cost;

/// A file with points that are armed.
#[derive(Debug, Default)]
pub struct ArmedFile {
    /// What arms them.
    pub links: Vec<OwnedFd>,
    /// Their numbers in the kernel side's table.
    pub points: Vec<u32>,
    /// Its probes, each with the cost of its dearest point.
    pub probes: BTreeMap<Probe, Cost>,
    /// The interpreter images that it is armed for.
    pub serves: BTreeSet<u32>,
}

/// All that is armed.
#[derive(Debug, Default)]
pub struct Shelf {
    files: HashMap<u32, ArmedFile>,
    /// When somebody last had use for an image.
    used: HashMap<u32, Instant>,
}

/// What nobody has had any use for.
#[derive(Debug, Default)]
pub struct Idle {
    /// Interpreter images.
    pub images: BTreeSet<u32>,
    /// Files that serve no other image, by number.
    pub files: Vec<(u32, ArmedFile)>,
}

impl Shelf {
    /// A file was armed.
    pub fn put(&mut self, number: u32, file: ArmedFile, now: Instant) {
        for image in &file.serves {
            self.used.insert(*image, now);
        }
        self.files.insert(number, file);
    }

    /// A file that is armed serves this image, too, which is of use to somebody now.
    pub fn serve(&mut self, number: u32, image: u32, now: Instant) {
        if let Some(file) = self.files.get_mut(&number) {
            file.serves.insert(image);
            self.used.insert(image, now);
        }
    }

    /// How many files are armed.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// The probes that are armed, each with the cost of its dearest point.
    pub fn probes(&self, which: impl Fn(Probe) -> bool) -> BTreeMap<Probe, Cost> {
        let mut all = BTreeMap::new();
        for (probe, cost) in self.files.values().flat_map(|file| &file.probes) {
            if which(*probe) && (*cost == Cost::Stepped || !all.contains_key(probe)) {
                all.insert(*probe, *cost);
            }
        }
        all
    }

    /// Takes out what nobody has had any use for in all of this time. `used` are the images that processes run from.
    pub fn take_idle(&mut self, used: &BTreeSet<u32>, patience: Duration, now: Instant) -> Idle {
        for image in used {
            self.used.insert(*image, now);
        }
        let idle = self
            .used
            .extract_if(|_, last| now.saturating_duration_since(*last) >= patience);
        let images: BTreeSet<u32> = idle.map(|(image, _)| image).collect();
        if images.is_empty() {
            return Idle::default();
        }
        let files = self.files.extract_if(|_, file| {
            file.serves.retain(|image| !images.contains(image));
            file.serves.is_empty()
        });
        Idle {
            files: files.collect(),
            images,
        }
    }

    /// Takes out every link.
    pub fn take_links(&mut self) -> impl Iterator<Item = OwnedFd> {
        std::mem::take(&mut self.files)
            .into_values()
            .flat_map(|file| file.links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn serving(images: &[u32]) -> ArmedFile {
        ArmedFile {
            serves: images.iter().copied().collect(),
            ..ArmedFile::default()
        }
    }

    fn idle(shelf: &mut Shelf, used: &[u32], now: Instant) -> (Vec<u32>, Vec<u32>) {
        let idle = shelf.take_idle(&used.iter().copied().collect(), PATIENCE, now);
        let mut files: Vec<u32> = idle.files.iter().map(|(number, _)| *number).collect();
        files.sort_unstable();
        (idle.images.into_iter().collect(), files)
    }

    #[test]
    fn what_nobody_uses_goes_and_what_somebody_shares_stays() {
        let start = Instant::now();
        let mut shelf = Shelf::default();
        shelf.put(1, serving(&[0]), start);
        shelf.put(2, serving(&[1]), start);
        // A module of both.
        shelf.put(3, serving(&[0]), start);
        shelf.serve(3, 1, start);
        assert_eq!(idle(&mut shelf, &[], start + PATIENCE / 2), (vec![], vec![]));
        assert_eq!(idle(&mut shelf, &[1], start + PATIENCE), (vec![0], vec![1]));
        assert_eq!(idle(&mut shelf, &[], start + PATIENCE * 3 / 2), (vec![], vec![]));
        assert_eq!(idle(&mut shelf, &[], start + PATIENCE * 2), (vec![1], vec![2, 3]));
        assert_eq!(shelf.len(), 0);
    }

    #[test]
    fn an_image_that_is_armed_for_somebody_again_stays() {
        let start = Instant::now();
        let mut shelf = Shelf::default();
        shelf.put(1, serving(&[0]), start);
        shelf.serve(1, 0, start + PATIENCE / 2);
        assert_eq!(idle(&mut shelf, &[], start + PATIENCE), (vec![], vec![]));
        assert_eq!(
            idle(&mut shelf, &[], start + PATIENCE * 3 / 2),
            (vec![0], vec![1])
        );
    }

    #[test]
    fn the_dearest_point_counts() {
        let mut shelf = Shelf::default();
        for cost in [Cost::Emulated, Cost::Stepped, Cost::Emulated] {
            let mut file = serving(&[0]);
            file.probes.insert(Probe::QueuePut, cost);
            shelf.put(shelf.len() as u32, file, Instant::now());
        }
        let probes = shelf.probes(|probe| probe == Probe::QueuePut);
        assert_eq!(probes.get(&Probe::QueuePut), Some(&Cost::Stepped));
        assert!(shelf.probes(Probe::is_wire).is_empty());
    }
}
