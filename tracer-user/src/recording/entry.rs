//! What a recording is made of, in the order in which it was told.
//!
//! The order of variants and fields here is the format: a change of it is a new version.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tracer_common::stats::{Probe, ProbeStats};

use crate::{
    config::AllowRule,
    correlate::event::{Event, TargetId},
    elf::Cost,
    report::{
        counters::{Counters, Total},
        finding::Container,
        summary::AtAttach,
    },
    target::follow::Notice,
};

/// The first frame of a recording, as JSON: what has to be known to read the rest as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Header {
    /// The version of bleedtrace that wrote it.
    pub program: String,
    /// Nanoseconds to add to the entries' times to get nanoseconds since 1970.
    pub clock_offset: i64,
    /// What processes receive and send was read.
    pub wire: bool,
    /// Asyncio tasks were followed.
    pub tasks: bool,
    /// Values are shown.
    pub reveal: bool,
    /// Findings that were accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AllowRule>,
    /// It is the end of a longer run, written because of a finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Because>,
}

/// The finding because of which a recording was written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Because {
    /// Its id in the run.
    pub finding: String,
    /// Its kind.
    pub kind: String,
    /// Its time.
    pub time: String,
}

/// One thing that was told.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Entry {
    /// Something happened in a process.
    Event(Box<Event>),
    /// A process is traced.
    Attached(Box<Attached>),
    /// A process ended, or became something else.
    Ended {
        /// How the engine numbers it.
        id: TargetId,
        /// The process.
        pid: u32,
    },
    /// A process could not be traced.
    Failed {
        /// The process.
        pid: u32,
        /// Its service.
        service: String,
        /// Why.
        reason: String,
    },
    /// A process that was come across cannot be traced, whatever is tried.
    Unsupported {
        /// The process.
        pid: u32,
        /// Its service.
        service: String,
        /// Why.
        reason: String,
    },
    /// A process ended before it could be attached to.
    Missed,
    /// Variables that are in use in a process.
    InUse(Vec<String>),
    /// A configured path is not watched.
    NotFollowed {
        /// The process.
        pid: u32,
        /// The path.
        path: Arc<str>,
        /// Why, in a sentence.
        text: String,
    },
    /// Something that a person has to know of a process.
    Remark {
        /// The process.
        pid: u32,
        /// What.
        text: String,
    },
    /// So many records so far were none.
    Malformed(u64),
    /// What the kernel side has counted so far.
    Counters(Vec<ProbeTotal>, Vec<String>),
    /// The run is over, and this was the command's exit code. Nothing comes after it.
    End(Option<u8>),
}

/// A process that is traced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Attached {
    /// How the engine numbers it.
    pub id: TargetId,
    /// The process.
    pub pid: u32,
    /// Its service.
    pub service: Arc<str>,
    /// Its interpreter's version.
    pub version: Arc<str>,
    /// Names of the probes that it has, and whether the kernel emulates the instruction that they are at.
    pub probes: Vec<(String, bool)>,
    /// Names of the probes that it needs and has not.
    pub missing: Vec<String>,
    /// Threads, variables and residue that it held already, when it ran before it was attached to.
    pub found: Option<(u64, u64, u64)>,
    /// Where it runs.
    pub container: Container,
}

/// What the kernel side has counted for a probe.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ProbeTotal {
    /// Its name.
    pub probe: String,
    /// Hits, records that were lost for want of space, of a map's entry, of an interpreter's image, of a slot; unreadable ones.
    pub counts: [u64; 6],
    /// Seconds that its programs ran.
    pub seconds: f64,
}

impl Entry {
    /// A notice; none of one that only `vars` asks for.
    pub fn of(notice: &Notice) -> Option<Self> {
        Some(match notice {
            Notice::Attached {
                id,
                pid,
                service,
                version,
                probes,
                missing,
                found,
                container,
            } => Self::Attached(Box::new(Attached {
                id: *id,
                pid: *pid,
                service: Arc::clone(service),
                version: Arc::clone(version),
                probes: probes
                    .iter()
                    .map(|(probe, cost)| (probe.name().to_owned(), *cost == Cost::Emulated))
                    .collect(),
                missing: missing.iter().map(|probe| probe.name().to_owned()).collect(),
                found: found.map(|found| (found.threads, found.variables, found.residue)),
                container: container.clone(),
            })),
            Notice::Ended { id, pid } => Self::Ended { id: *id, pid: *pid },
            Notice::Failed { pid, service, reason } => Self::Failed {
                pid: *pid,
                service: service.clone(),
                reason: reason.clone(),
            },
            Notice::Unsupported { pid, service, reason } => Self::Unsupported {
                pid: *pid,
                service: service.clone(),
                reason: reason.clone(),
            },
            Notice::Missed => Self::Missed,
            Notice::InUse(names) => Self::InUse(names.iter().cloned().collect()),
            Notice::NotFollowed { pid, path, text } => Self::NotFollowed {
                pid: *pid,
                path: Arc::clone(path),
                text: text.clone(),
            },
            Notice::Remark { pid, text } => Self::Remark {
                pid: *pid,
                text: text.clone(),
            },
            Notice::Used(_) => return None,
        })
    }

    /// What the kernel side's counters say.
    pub fn counters(counters: &Counters) -> Self {
        let totals = counters.probes.iter().map(|(probe, total)| ProbeTotal {
            probe: probe.name().to_owned(),
            counts: [
                total.stats.hits,
                total.stats.lost_ring,
                total.stats.lost_map,
                total.stats.lost_image,
                total.stats.lost_slot,
                total.stats.unreadable,
            ],
            seconds: total.seconds,
        });
        Self::Counters(totals.collect(), counters.out_of_sight.iter().cloned().collect())
    }
}

impl From<Attached> for Notice {
    fn from(attached: Attached) -> Self {
        let cost = |emulated| {
            if emulated { Cost::Emulated } else { Cost::Stepped }
        };
        Self::Attached {
            id: attached.id,
            pid: attached.pid,
            service: attached.service,
            version: attached.version,
            probes: attached
                .probes
                .iter()
                .filter_map(|(name, emulated)| Some((named(name)?, cost(*emulated))))
                .collect(),
            missing: attached.missing.iter().filter_map(|name| named(name)).collect(),
            found: attached.found.map(|(threads, variables, residue)| AtAttach {
                threads,
                variables,
                residue,
            }),
            container: attached.container,
        }
    }
}

/// What was counted, as it was told.
pub fn counters(totals: &[ProbeTotal], out_of_sight: Vec<String>) -> Counters {
    let total = |total: &ProbeTotal| {
        let [hits, lost_ring, lost_map, lost_image, lost_slot, unreadable] = total.counts;
        let stats = ProbeStats {
            hits,
            lost_ring,
            lost_map,
            lost_image,
            lost_slot,
            unreadable,
            ..ProbeStats::default()
        };
        let seconds = total.seconds;
        Some((named(&total.probe)?, Total { stats, seconds }))
    };
    Counters {
        probes: totals.iter().filter_map(total).collect::<BTreeMap<_, _>>(),
        out_of_sight: out_of_sight.into_iter().collect(),
    }
}

fn named(name: &str) -> Option<Probe> {
    Probe::ALL.into_iter().find(|probe| probe.name() == name)
}
