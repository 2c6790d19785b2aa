//! What the kernel side has counted since it was loaded.

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::stats::{Probe, ProbeStats};

/// What was counted for one probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    /// Hits, and what was lost.
    pub stats: ProbeStats,
    /// Seconds that the kernel ran its programs.
    pub seconds: f64,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Of every probe.
    pub probes: BTreeMap<Probe, Total>,
    /// Patterns of functions under which nothing was seen to happen.
    pub out_of_sight: BTreeSet<String>,
}
