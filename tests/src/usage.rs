//! What a process uses, and how that goes on.

use std::fs;

/// What a process uses at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub resident_kib: u64,
    /// The same, with each page by its share: what is mapped twice counts once.
    pub proportional_kib: u64,
    /// The most that was ever resident.
    pub peak_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Those that are links of BPF programs.
    pub links: u64,
    /// Those that are BPF maps.
    pub maps: u64,
}

impl Usage {
    /// Of a process; none when it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let shares = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let kib = |text: &str, key: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let mut usage = Self {
            resident_kib: kib(&status, "VmRSS:")?,
            proportional_kib: kib(&shares, "Pss:")?,
            peak_kib: kib(&status, "VmHWM:")?,
            descriptors: 0,
            links: 0,
            maps: 0,
        };
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
            let Ok(what) = fs::read_link(entry.path()) else {
                continue;
            };
            let what = what.to_string_lossy().into_owned();
            usage.descriptors += 1;
            usage.links += u64::from(what.contains("bpf_link") || what.contains("bpf-link"));
            usage.maps += u64::from(what.contains("bpf-map"));
        }
        Some(usage)
    }
}

/// A figure in the course of a run.
#[derive(Clone, Debug, Default)]
pub struct Course(Vec<u64>);

impl Course {
    /// The most of the second quarter of the run, when everything has been seen once.
    pub fn early(&self) -> u64 {
        let quarter = self.0.len() / 4;
        most(&self.0[quarter..2 * quarter])
    }

    /// The most of the last quarter.
    pub fn late(&self) -> u64 {
        most(&self.0[3 * (self.0.len() / 4)..])
    }

    /// The most of the whole run.
    pub fn most(&self) -> u64 {
        most(&self.0)
    }

    /// Whether the last quarter is no higher than the second, but for what an allocator does not give back.
    pub fn is_flat(&self) -> bool {
        self.late() <= self.early() + self.early() / 10
    }
}

impl Extend<u64> for Course {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, figures: I) {
        self.0.extend(figures);
    }
}

fn most(figures: &[u64]) -> u64 {
    figures.iter().copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Course, Usage};

    fn course(figures: impl IntoIterator<Item = u64>) -> Course {
        let mut course = Course::default();
        course.extend(figures);
        course
    }

    #[test]
    fn what_grows_after_the_second_quarter_is_not_flat() {
        assert!(course([1, 50, 100, 100, 100, 100, 100, 109]).is_flat());
        let grows = course([1, 50, 100, 100, 100, 100, 100, 120]);
        assert!(!grows.is_flat());
        assert_eq!((grows.early(), grows.late(), grows.most()), (100, 120, 120));
        assert_eq!(course([]).most(), 0);
    }

    #[test]
    fn a_process_uses_something() {
        let usage = Usage::of(std::process::id()).expect("it runs");
        assert!(usage.resident_kib > 0 && usage.peak_kib >= usage.resident_kib);
        assert!(usage.descriptors > 2);
        assert_eq!((usage.links, usage.maps), (0, 0));
    }
}
