//! A finding as it leaves the agent: the contract with everybody who reads it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

use super::{
    clock::Clock,
    explain,
    life::Life,
    privacy::{Privacy, Rendered, clean},
};
use crate::{
    config::Tier,
    correlate::{
        event,
        finding::{Finding, Kind, Source, names},
        ledger,
    },
};

/// What executes a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// CPython.
    Cpython,
}

names!(Runtime { Cpython => "cpython" });

/// What a report says about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetInfo {
    /// Its name in metrics.
    pub service: Arc<str>,
    /// Its process id.
    pub pid: u32,
    /// What executes it.
    pub runtime: Runtime,
    /// Version of that, such as `3.12`.
    pub version: Arc<str>,
    /// Where it runs, as far as its control group says that.
    pub container: Container,
    /// How much of it is watched.
    pub tier: Tier,
}

/// The container that a process runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Container {
    /// Its id.
    pub id: Option<Arc<str>>,
    /// The unique id of its pod.
    pub pod: Option<Arc<str>>,
}

/// A place in the target's source, escaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Site {
    /// Qualified name of the function.
    pub function: String,
    /// File that it was compiled from.
    pub file: String,
    /// Line; 0 when it is not known.
    pub line: u32,
}

impl From<&event::Site> for Site {
    fn from(site: &event::Site) -> Self {
        Self {
            function: clean(&site.function),
            file: clean(&site.file),
            line: site.line,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{} ({})", self.function, self.file)
        } else {
            write!(f, "{} ({}:{})", self.function, self.file, self.line)
        }
    }
}

/// The handoff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// How.
    pub primitive: &'static str,
    /// Where.
    pub site: Option<Site>,
    /// The thread that handed over.
    pub submit_tid: u32,
    /// Nanoseconds from the submit to the take.
    pub wait_ns: Option<u64>,
}

/// The asyncio task that read, and carries the identity of a request that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spawn {
    /// Where it was created.
    pub site: Option<Site>,
    /// Nanoseconds from then to the finding; null if that was not seen.
    pub age_ns: Option<u64>,
    /// Nanoseconds from the end of that request to the finding.
    pub over_ns: u64,
    /// Where the request that it works for bound its own.
    pub works_for: Option<Site>,
}

/// The bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bind {
    /// Where.
    pub site: Option<Site>,
    /// The thread that bound.
    pub tid: u32,
    /// Number of the item that bound, in its target; none for an initialiser.
    pub item: Option<u64>,
    /// Nanoseconds from the bind to the finding.
    pub age_ns: u64,
}

/// The read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Where.
    pub site: Option<Site>,
    /// The Python stack, innermost frame first.
    pub stack: Vec<Site>,
}

/// The task that was minted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Where.
    pub site: Option<Site>,
    /// What the program announced about it.
    pub announced: Option<Rendered>,
    /// Keyed hash of its handle, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// Of a poll: who got the handle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Party>,
    /// Of a poll: who asked for the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poller: Option<Party>,
    /// Of a poll: how the task came about, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
}

/// Somebody who got a task's handle, or asked for the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// The thread that answered.
    pub tid: u32,
    /// Keyed hash of the request's credentials.
    pub credential: Option<String>,
    /// What the context of the response held.
    pub identity: Option<Rendered>,
    /// Nanoseconds from the response to the finding.
    pub age_ns: u64,
}

/// A finding as it leaves the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedFinding {
    /// Stable within the run.
    pub id: String,
    /// What.
    pub kind: Kind,
    /// How much it matters.
    pub severity: &'static str,
    /// How sure it is.
    pub confidence: &'static str,
    /// Where the evidence comes from.
    pub evidence: &'static str,
    /// When: RFC 3339, UTC.
    pub time: String,
    /// The target's name in metrics.
    pub service: String,
    /// The target's process id.
    pub pid: u32,
    /// The thread that read, left the bind, or minted.
    pub tid: u32,
    /// What executes the target.
    pub runtime: &'static str,
    /// The watched variable; empty, and null in JSON, if it takes none to see it.
    #[serde(serialize_with = "unless_empty")]
    pub slot: String,
    /// What should have been found.
    pub expected: Option<Rendered>,
    /// What was found, or left.
    pub found: Option<Rendered>,
    /// Of a bleed: where the value comes from.
    pub source: Option<&'static str>,
    /// The handoff.
    pub hop: Option<Hop>,
    /// Of a bleed with the source `task`: the asyncio task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn: Option<Spawn>,
    /// The bind.
    pub bind: Option<Bind>,
    /// The read.
    pub read: Option<Read>,
    /// The task that was minted.
    pub task: Option<Task>,
    /// Of a policy check: the function that is configured, or says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Site>,
    /// The id of the container that the target runs in.
    pub container: Option<String>,
    /// The unique id of its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// No event was lost around it.
    pub window_complete: bool,
    /// Why the operator accepts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// One sentence: who saw what instead of whom, and who left it where.
    pub explain: String,
    /// One sentence: what to do.
    pub fix: String,
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn party(party: &ledger::Party, now: u64, privacy: &Privacy) -> Party {
    Party {
        tid: party.carrier.0,
        credential: party.credential.map(|credential| credential.whole.to_string()),
        identity: party.identity().map(|value| privacy.render(value)),
        age_ns: now.saturating_sub(party.time),
    }
}

fn unless_empty<S: Serializer>(text: &String, serializer: S) -> Result<S::Ok, S::Error> {
    Some(text).filter(|text| !text.is_empty()).serialize(serializer)
}

impl ExportedFinding {
    /// The same, accepted for a reason.
    #[must_use]
    pub fn allowed(self, reason: &str) -> Self {
        Self {
            allowed: Some(clean(reason)),
            ..self
        }
    }

    /// The same, with the files of all its places under other names.
    #[must_use]
    pub fn renamed(mut self, rename: impl Fn(&str) -> Option<String>) -> Self {
        for site in self.places_mut() {
            if let Some(name) = rename(&site.file) {
                site.file = name;
            }
        }
        self.explain = explain::sentence(&self);
        self.fix = explain::fix(&self);
        self
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Site> {
        let read = self.read.iter_mut();
        let read = read.flat_map(|read| read.site.iter_mut().chain(&mut read.stack));
        let spawn = self.spawn.iter_mut();
        let spawn = spawn.flat_map(|spawn| spawn.site.iter_mut().chain(&mut spawn.works_for));
        let task = self.task.iter_mut();
        let task = task.flat_map(|task| {
            task.site
                .iter_mut()
                .chain(task.life.iter_mut().flat_map(Life::places_mut))
        });
        let hop = self.hop.iter_mut().filter_map(|hop| hop.site.as_mut());
        let bind = self.bind.iter_mut().filter_map(|bind| bind.site.as_mut());
        hop.chain(bind)
            .chain(read)
            .chain(spawn)
            .chain(task)
            .chain(&mut self.policy)
    }

    /// What may be said about a finding.
    pub fn new(finding: &Finding, target: &TargetInfo, clock: Clock, privacy: &Privacy) -> Self {
        let site = |site: &Option<event::Site>| site.as_ref().map(Site::from);
        let render = |value: &Option<_>| value.as_ref().map(|value| privacy.render(value));
        let mut exported = Self {
            id: format!("f-{:06}", finding.number),
            kind: finding.kind,
            severity: finding.kind.severity().name(),
            confidence: finding.confidence.name(),
            evidence: finding.evidence.name(),
            time: clock.rfc3339(finding.time),
            service: clean(&target.service),
            pid: target.pid,
            tid: finding.carrier.0,
            runtime: target.runtime.name(),
            slot: clean(&finding.slot_name),
            expected: render(&finding.expected),
            found: render(&finding.found),
            source: finding.source.map(Source::name),
            hop: finding.hop.as_ref().map(|hop| Hop {
                primitive: hop.primitive.name(),
                site: site(&hop.site),
                submit_tid: hop.submitter.0,
                wait_ns: hop.wait,
            }),
            spawn: finding.spawn.as_ref().map(|spawn| Spawn {
                site: site(&spawn.site),
                age_ns: spawn.age,
                over_ns: spawn.over,
                works_for: site(&spawn.works_for),
            }),
            bind: finding.bind.as_ref().map(|bind| Bind {
                site: site(&bind.site),
                tid: bind.carrier.0,
                item: bind.item,
                age_ns: bind.age,
            }),
            read: finding.read.as_ref().map(|read| Read {
                site: site(&read.site),
                stack: read
                    .stack
                    .frames
                    .iter()
                    .map(|frame| Site::from(&frame.site))
                    .collect(),
            }),
            task: match (&finding.mint, &finding.poll) {
                (Some(mint), _) => Some(Task {
                    site: site(&mint.site),
                    announced: render(&mint.announced),
                    handle: mint.handle.map(|handle| handle.to_string()),
                    owner: None,
                    poller: None,
                    life: None,
                }),
                (None, Some(poll)) => Some(Task {
                    site: None,
                    announced: None,
                    handle: Some(poll.handle.to_string()),
                    owner: Some(party(&poll.owner, finding.time, privacy)),
                    poller: Some(party(&poll.poller, finding.time, privacy)),
                    life: poll.life.as_deref().map(Life::from),
                }),
                (None, None) => None,
            },
            policy: site(&finding.policy),
            container: target.container.id.as_deref().map(clean),
            pod: target.container.pod.as_deref().map(clean),
            window_complete: finding.window_complete,
            allowed: None,
            explain: String::new(),
            fix: String::new(),
        };
        exported.explain = explain::sentence(&exported);
        exported.fix = explain::fix(&exported);
        exported
    }
}
