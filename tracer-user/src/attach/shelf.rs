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

/// What a file's points are armed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// For processes that run from this interpreter image.
    Image(u32),
    /// For those of them of which it is watched what they read.
    Reads(u32),
}

/// A file with points that are armed.
#[derive(Debug, Default)]
pub struct ArmedFile {
    /// What arms them.
    pub links: Vec<OwnedFd>,
    /// Their numbers in the kernel side's table.
    pub points: Vec<u32>,
    /// Its probes, each with the cost of its dearest point.
    pub probes: BTreeMap<Probe, Cost>,
    /// What it is armed for.
    pub serves: BTreeSet<Use>,
}

/// All that is armed.
#[derive(Debug, Default)]
pub struct Shelf {
    files: HashMap<u32, ArmedFile>,
    /// When somebody last had use for it.
    used: HashMap<Use, Instant>,
}

/// What nobody has had any use for.
#[derive(Debug, Default)]
pub struct Idle {
    /// What it was armed for.
    pub uses: BTreeSet<Use>,
    /// Files that serve nothing else, by number.
    pub files: Vec<(u32, ArmedFile)>,
}

impl Shelf {
    /// A file was armed.
    pub fn put(&mut self, number: u32, file: ArmedFile, now: Instant) {
        for of in &file.serves {
            self.used.insert(*of, now);
        }
        self.files.insert(number, file);
    }

    /// A file that is armed serves this, too, which is of use to somebody now.
    pub fn serve(&mut self, number: u32, of: Use, now: Instant) {
        if let Some(file) = self.files.get_mut(&number) {
            file.serves.insert(of);
            self.used.insert(of, now);
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

    /// Takes out what nobody has had any use for in all of this time. `used` is what processes have use for.
    pub fn take_idle(&mut self, used: &BTreeSet<Use>, patience: Duration, now: Instant) -> Idle {
        for of in used {
            self.used.insert(*of, now);
        }
        let idle = self
            .used
            .extract_if(|_, last| now.saturating_duration_since(*last) >= patience);
        let uses: BTreeSet<Use> = idle.map(|(of, _)| of).collect();
        if uses.is_empty() {
            return Idle::default();
        }
        let files = self.files.extract_if(|_, file| {
            file.serves.retain(|of| !uses.contains(of));
            file.serves.is_empty()
        });
        Idle {
            files: files.collect(),
            uses,
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
            serves: images.iter().copied().map(Use::Image).collect(),
            ..ArmedFile::default()
        }
    }

    fn idle(shelf: &mut Shelf, used: &[u32], now: Instant) -> (Vec<Use>, Vec<u32>) {
        let used = used.iter().copied().map(Use::Image).collect();
        let idle = shelf.take_idle(&used, PATIENCE, now);
        let mut files: Vec<u32> = idle.files.iter().map(|(number, _)| *number).collect();
        files.sort_unstable();
        (idle.uses.into_iter().collect(), files)
    }

    #[test]
    fn reads_that_nobody_wants_go_while_their_image_stays() {
        let start = Instant::now();
        let mut shelf = Shelf::default();
        shelf.put(1, serving(&[0]), start);
        let reads = ArmedFile {
            serves: BTreeSet::from([Use::Reads(0)]),
            ..ArmedFile::default()
        };
        shelf.put(2, reads, start);
        assert_eq!(
            idle(&mut shelf, &[0], start + PATIENCE),
            (vec![Use::Reads(0)], vec![2])
        );
        assert_eq!(shelf.len(), 1);
    }

    #[test]
    fn what_nobody_uses_goes_and_what_somebody_shares_stays() {
        let start = Instant::now();
        let mut shelf = Shelf::default();
        shelf.put(1, serving(&[0]), start);
        shelf.put(2, serving(&[1]), start);
        // A module of both.
        shelf.put(3, serving(&[0]), start);
        shelf.serve(3, Use::Image(1), start);
        assert_eq!(idle(&mut shelf, &[], start + PATIENCE / 2), (vec![], vec![]));
        assert_eq!(
            idle(&mut shelf, &[1], start + PATIENCE),
            (vec![Use::Image(0)], vec![1])
        );
        assert_eq!(idle(&mut shelf, &[], start + PATIENCE * 3 / 2), (vec![], vec![]));
        assert_eq!(
            idle(&mut shelf, &[], start + PATIENCE * 2),
            (vec![Use::Image(1)], vec![2, 3])
        );
        assert_eq!(shelf.len(), 0);
    }

    #[test]
    fn an_image_that_is_armed_for_somebody_again_stays() {
        let start = Instant::now();
        let mut shelf = Shelf::default();
        shelf.put(1, serving(&[0]), start);
        shelf.serve(1, Use::Image(0), start + PATIENCE / 2);
        assert_eq!(idle(&mut shelf, &[], start + PATIENCE), (vec![], vec![]));
        assert_eq!(
            idle(&mut shelf, &[], start + PATIENCE * 3 / 2),
            (vec![Use::Image(0)], vec![1])
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
