//! What is known of a run at one moment.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::super::{
    finding::Site,
    hops::HopLine,
    store::{Condition, Group, Targets},
    summary::Summary,
};

/// What is known of a run at one moment. Nothing in it needs escaping any more.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// What it is, for who reads JSON.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// When: RFC 3339, UTC.
    pub time: String,
    /// Seconds since the run began.
    pub seconds: f64,
    /// Nothing will happen any more.
    pub ended: bool,
    /// Events in a second, lately.
    pub events_per_second: f64,
    /// Seconds that the reader was behind at most, lately.
    pub lag_seconds: f64,
    /// What the run amounts to so far.
    pub summary: Summary,
    /// Whether everything is attached, and what comes in is taken in.
    pub condition: Condition,
    /// The services.
    pub services: Vec<ServiceLine>,
    /// The processes.
    pub targets: Targets,
    /// The sites that hand work over, the most dangerous first.
    pub hops: Vec<HopLine>,
    /// Threads of pools that hold an identity for whoever comes next.
    pub squatting: Vec<SquatLine>,
    /// The findings, equal ones together, the latest first.
    pub findings: Vec<Arc<Group>>,
    /// Findings that are not listed any more.
    pub findings_dropped: u64,
    /// What the probes cost.
    pub probes: Vec<ProbeLine>,
    /// What was logged.
    pub log: Vec<String>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceLine {
    /// Its name.
    pub service: String,
    /// Its processes that are traced now.
    pub processes: u64,
    /// Events in a second, lately.
    pub events_per_second: f64,
    /// Handoffs whose two ends were paired.
    pub handoffs: u64,
    /// Reads by result.
    pub reads: BTreeMap<&'static str, u64>,
    /// Threads of its pools that hold an identity now.
    pub squatting: u64,
    /// Findings by severity.
    pub findings: BTreeMap<&'static str, u64>,
    /// Findings that the operator accepts.
    pub allowed: u64,
}

/// A thread that holds an identity for whoever comes next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SquatLine {
    /// The service.
    pub service: String,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Since when: RFC 3339, UTC.
    pub since: String,
    /// Seconds since then.
    pub seconds: f64,
    /// Times that work left something there.
    pub times: u64,
    /// What was left last; none if that was not seen.
    pub left: Option<LeftLine>,
}

/// What work left in its thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftLine {
    /// The variable.
    pub slot: String,
    /// What it holds.
    pub value: Option<String>,
    /// Where it was bound.
    pub bind: Option<Site>,
    /// Where that work was handed over.
    pub hop: Option<Site>,
}

/// What one probe costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProbeLine {
    /// Its name.
    pub probe: &'static str,
    /// Times that it was hit.
    pub hits: u64,
    /// Times in a second, lately.
    pub hits_per_second: f64,
    /// Nanoseconds that a hit takes the kernel on average; none where it does not measure that.
    pub nanos_per_hit: Option<f64>,
    /// Which part of one processor it takes, lately; none where that is not measured.
    pub busy: Option<f64>,
    /// Events that it lost.
    pub lost: u64,
}
