//! What a run amounts to: its verdict, the reasons, the counts, and the exit code that follows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::correlate::finding::{Kind, names};

/// What a run concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Coverage is proven, and nothing was found.
    Clean,
    /// Something was found.
    Findings,
    /// Nothing was found, and nothing is proven.
    NoVerdict,
}

names!(Verdict { Clean => "clean", Findings => "findings", NoVerdict => "no_verdict" });

/// Why nothing is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Nothing was traced.
    NoTarget,
    /// No watched variable was seen.
    NoWatchedVariable,
    /// No handoff was paired where a watched variable was seen.
    NoHandoff,
    /// Reads are not watched in a process that uses a watched variable.
    ReadsNotWatched,
    /// Handoffs were paired, but of a variable that was read there it could never be told whose it is.
    Unjudged,
    /// What targets receive and send is read, and no message was seen.
    NoMessage,
    /// A path cannot be followed because another one is.
    NotFollowed,
    /// Events were lost.
    EventsLost,
    /// Memory could not be read.
    Unreadable,
    /// A probe that is needed is not attached.
    ProbesMissing,
    /// A target could not be traced.
    TargetFailed,
    /// A Python child could not be traced.
    ChildNotAttached,
    /// A target has more watched variables than can be watched.
    TooManyVariables,
    /// A target has more threads or more waiting work than can be remembered.
    TooMuchState,
    /// What is replayed is not all that happened.
    Recording,
}

/// A reason, for machines and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// One word.
    pub code: ReasonCode,
    /// One sentence.
    pub message: String,
}

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// It is traced.
    Attached,
    /// It cannot be traced: no supported runtime.
    Unsupported,
    /// It should be traced, and that failed.
    Failed,
    /// It was traced until it ended.
    Exited,
}

names!(TargetState {
    Attached => "attached",
    Unsupported => "unsupported",
    Failed => "failed",
    Exited => "exited",
});

/// What a process held already when it was attached to in mid-flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AtAttach {
    /// Threads of Python.
    pub threads: u64,
    /// Watched variables that some thread's context held.
    pub variables: u64,
    /// Waiting workers of a pool whose context held a watched variable: the next work can read it.
    pub residue: u64,
}

/// What the summary says about one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetLine {
    /// Its name in metrics.
    pub service: String,
    /// Its process id.
    pub pid: u32,
    /// What executes it, with its version.
    pub runtime: Option<String>,
    /// How much of it is watched, if that is not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<&'static str>,
    /// How it stands.
    pub state: TargetState,
    /// Why it is not traced.
    pub reason: Option<String>,
    /// Watched variables that were seen.
    pub slots: u64,
    /// Handoffs that count as coverage.
    pub handoffs: u64,
    /// Findings.
    pub findings: u64,
    /// Probes that it needs and does not have.
    pub probes_missing: Vec<&'static str>,
    /// What it held already, when it ran before it was attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_attach: Option<AtAttach>,
}

/// Events of the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// How many arrived.
    pub received: u64,
    /// Reads that found again what their thread had just told: they are counted in the kernel, and no event of their own.
    pub agreed: u64,
    /// How many did not, by reason.
    pub lost: BTreeMap<&'static str, u64>,
}

/// What tracing cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overhead {
    /// Times that a probe ran.
    pub probe_hits: u64,
    /// Seconds that probes ran, where the kernel counts them.
    pub bpf_seconds: Option<f64>,
}

/// What a run amounts to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The conclusion.
    pub verdict: Verdict,
    /// Why coverage is not proven; empty when it is.
    pub reasons: Vec<Reason>,
    /// Findings of every kind, zero included.
    pub findings: BTreeMap<&'static str, u64>,
    /// Findings that the operator accepts.
    pub allowed: u64,
    /// Every process that was looked at.
    pub targets: Vec<TargetLine>,
    /// Handoffs by primitive; objects that are no work count as `unknown`.
    pub hops: BTreeMap<&'static str, u64>,
    /// Reads by result.
    pub reads: BTreeMap<&'static str, u64>,
    /// Binds by place.
    pub binds: BTreeMap<&'static str, u64>,
    /// Minted tasks by attribution.
    pub tasks: BTreeMap<&'static str, u64>,
    /// Patterns of functions that mint or check, under which nothing was seen to happen: they were not called, or nothing in them shows.
    pub out_of_sight: Vec<String>,
    /// What the program announced, by whether it was understood.
    pub announced: BTreeMap<&'static str, u64>,
    /// Polls by outcome; none while the wire is not watched, and none was announced.
    pub polls: Option<BTreeMap<&'static str, u64>>,
    /// Bytes of the wire that gave no facts, by reason; none while the wire is not watched.
    pub unparsed: Option<BTreeMap<&'static str, u64>>,
    /// Events.
    pub events: Events,
    /// What tracing cost.
    pub overhead: Overhead,
    /// Exit code of the command that was traced.
    pub command_exit: Option<i32>,
}

/// How a run ended, as far as the exit code is concerned.
#[derive(Clone, Copy, Debug)]
pub enum Ending<'a> {
    /// Nothing can be traced: permission, kernel, unsupported target.
    CannotTrace,
    /// The command line or the configuration is wrong.
    Usage,
    /// There is a summary.
    Summary(&'a Summary),
}

/// The process's exit code. `fail_on` names the kinds that fail a run; none means every kind.
///
/// A run whose findings do not fail it still needs proof of coverage to pass.
pub fn exit_code(ending: Ending<'_>, fail_on: Option<&BTreeSet<Kind>>) -> i32 {
    let summary = match ending {
        Ending::CannotTrace => return 3,
        Ending::Usage => return 2,
        Ending::Summary(summary) => summary,
    };
    let fails = Kind::ALL.iter().any(|kind| {
        summary.findings.get(kind.name()).is_some_and(|&count| count > 0)
            && fail_on.is_none_or(|kinds| kinds.contains(kind))
    });
    if fails {
        1
    } else if !summary.reasons.is_empty() {
        4
    } else {
        summary.command_exit.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tally::Tally;

    fn summary(findings: &[(Kind, u64)], covered: bool, command_exit: Option<i32>) -> Summary {
        let mut summary = Tally::default().finish(command_exit);
        for (kind, count) in findings {
            summary.findings.insert(kind.name(), *count);
        }
        if covered {
            summary.reasons.clear();
        }
        summary
    }

    type Row<'a> = (
        &'a [(Kind, u64)],
        bool,
        Option<i32>,
        Option<&'a BTreeSet<Kind>>,
        i32,
    );

    #[test]
    fn exit_codes() {
        let bleed_only = BTreeSet::from([Kind::Bleed]);
        let nothing = BTreeSet::new();
        let rows: [Row<'_>; 13] = [
            (&[], true, None, None, 0),
            (&[], true, Some(0), None, 0),
            (&[], true, Some(7), None, 7),
            (&[], false, None, None, 4),
            (&[], false, Some(7), None, 4),
            (&[(Kind::Squat, 1)], true, None, None, 1),
            (&[(Kind::Squat, 1)], false, Some(7), None, 1),
            (&[(Kind::Squat, 0)], true, None, None, 0),
            (&[(Kind::Squat, 1)], true, None, Some(&bleed_only), 0),
            (&[(Kind::Squat, 1)], false, None, Some(&bleed_only), 4),
            (
                &[(Kind::Squat, 1), (Kind::Bleed, 2)],
                false,
                Some(7),
                Some(&bleed_only),
                1,
            ),
            (&[(Kind::Bleed, 2)], true, Some(7), Some(&nothing), 7),
            (&[(Kind::Bleed, 2)], true, None, Some(&nothing), 0),
        ];
        for (findings, covered, command_exit, fail_on, expected) in rows {
            let summary = summary(findings, covered, command_exit);
            assert_eq!(
                exit_code(Ending::Summary(&summary), fail_on),
                expected,
                "{findings:?} {covered} {fail_on:?}"
            );
        }
        assert_eq!(exit_code(Ending::CannotTrace, None), 3);
        assert_eq!(exit_code(Ending::Usage, None), 2);
    }
}
