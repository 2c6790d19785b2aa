//! The report that people pass on: what a run amounts to, its findings by cause, the sites that hand work over, and the tasks' lives.
//!
//! [`Collector`] gathers it while a run goes on; the other files of this folder write it down, each in one form.

pub mod baseline;
mod cause;
mod collect;
pub mod fingerprint;
mod form;
mod html;
mod junit;
pub mod leak;
mod markdown;
mod sarif;
pub mod source_root;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use self::fingerprint::Trait;
pub use self::{
    cause::{Cause, Effect},
    collect::Collector,
    form::Form,
};
use super::{
    hops::{HopLine, TaskLine},
    summary::Summary,
};

/// A report.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// Where it comes from.
    pub about: About,
    /// What the run amounts to.
    pub summary: Summary,
    /// What is to be mended, the gravest first.
    pub causes: Vec<Cause>,
    /// Findings that are in none of them, because there are too many, by kind.
    pub beyond: BTreeMap<&'static str, u64>,
    /// The sites that hand work over, the most dangerous first.
    pub hops: Vec<HopLine>,
    /// What happened at sites beyond those that are kept.
    pub hops_beyond: u64,
    /// The ways in which tasks came about.
    pub tasks: Vec<TaskLine>,
    /// What the baseline accepts and nobody met with.
    pub unmet: Vec<Trait>,
}

/// Where a report comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The version of bleedtrace that judged.
    pub program: &'static str,
    /// The recording's name; none of a run that was watched.
    pub recording: Option<String>,
    /// When the first event was.
    pub first: Option<String>,
    /// When the last event was.
    pub last: Option<String>,
    /// Values are shown.
    pub revealed: bool,
    /// The watched variables that were in use.
    pub watched: Vec<Watched>,
}

/// A watched variable that was in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Watched {
    /// Where.
    pub service: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: &'static str,
}

impl Document {
    /// All groups of equal findings, cause by cause.
    pub fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.causes.iter().flat_map(|cause| &cause.effects)
    }

    /// Findings that count, and are in no cause.
    pub fn beyond(&self) -> u64 {
        self.beyond.values().sum()
    }

    /// Findings that count.
    pub fn findings(&self) -> u64 {
        self.summary.findings.values().sum()
    }
}

/// A count with its noun.
pub(super) fn plural(count: u64, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {many}")
    }
}

/// The verdict, for a headline.
pub(super) fn headline(summary: &Summary) -> String {
    use super::summary::Verdict;
    let total = plural(summary.findings.values().sum(), "finding", "findings");
    match summary.verdict {
        Verdict::Clean if summary.allowed > 0 => {
            format!(
                "clean: {} accepted",
                plural(summary.allowed, "finding is", "findings are")
            )
        }
        Verdict::Clean => "clean: nothing was found, and there was something to see".to_owned(),
        Verdict::Findings if summary.reasons.is_empty() => total,
        Verdict::Findings => format!("{total}, and there may be more"),
        Verdict::NoVerdict => "no verdict: nothing was found, and nothing is proven".to_owned(),
    }
}
