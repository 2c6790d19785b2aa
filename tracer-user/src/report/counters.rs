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

impl Total {
    /// Events that there was no room for.
    pub const fn lost(&self) -> u64 {
        self.stats.lost_ring + self.stats.lost_map
    }

    /// Both together: what these have counted since they were loaded, after what others had counted before.
    #[must_use]
    pub const fn after(&self, former: &Self) -> Self {
        let (a, b) = (&self.stats, &former.stats);
        Self {
            stats: ProbeStats {
                hits: a.hits + b.hits,
                filtered: a.filtered + b.filtered,
                sent: a.sent + b.sent,
                lost_ring: a.lost_ring + b.lost_ring,
                lost_map: a.lost_map + b.lost_map,
                lost_image: a.lost_image + b.lost_image,
                lost_slot: a.lost_slot + b.lost_slot,
                agreed: a.agreed + b.agreed,
                unreadable: a.unreadable + b.unreadable,
            },
            seconds: self.seconds + former.seconds,
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Of every probe.
    pub probes: BTreeMap<Probe, Total>,
    /// Patterns of functions under which nothing was seen to happen.
    pub out_of_sight: BTreeSet<String>,
}
