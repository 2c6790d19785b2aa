//! What a person is told of the processes that are followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracer_common::stats::Probe;

use crate::{
    attach::{programs::AttachError, registry::ArmError},
    correlate::event::TargetId,
    elf::Cost,
    report::{finding::Container, summary::AtAttach},
    source::used::Used,
    target::process::ProcessError,
};

/// Why a process cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It could not be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Whether it is to be traced depends on what it does not show.
    #[error("process {pid} may be one to trace, which its environment would tell: {cause}")]
    Hidden {
        /// The process.
        pid: u32,
        /// Why it is not read.
        #[source]
        cause: ProcessError,
    },
    /// It runs no CPython.
    #[error("process {0} runs no cpython")]
    NotPython(u32),
    /// It switches stacks under the interpreter, which return probes do not survive.
    #[error("process {0} maps greenlet, which switches stacks under a return probe: it could crash")]
    Greenlet(u32),
    /// Nobody could let it go on if the agent were killed while it is stopped.
    #[error("failed to start the keeper of stopped processes: {0}")]
    Keeper(#[source] std::io::Error),
    /// Its interpreter cannot be armed.
    #[error("process {pid} cannot be traced: {error}")]
    Arm {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        error: ArmError,
    },
    /// The kernel refused.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Its memory does not hold what its interpreter's tables say.
    #[error("process {pid} cannot be traced: its interpreter's state could not be read: {error}")]
    State {
        /// The process.
        pid: u32,
        /// Why.
        error: String,
    },
}

impl FollowError {
    /// What stands behind "the process cannot be traced". What to do about it comes first: it may be cut behind a path that a target chose.
    pub fn reason(&self) -> String {
        match self {
            Self::Process(error) => format!("{} ({error})", error.hint()),
            Self::Arm { error, .. } => error.to_string(),
            Self::State { error, .. } => format!("its interpreter's state could not be read: {error}"),
            other => other.to_string(),
        }
    }
}

/// What the caller has to know, beside the events for the engine.
#[derive(Debug)]
pub enum Notice {
    /// A process is traced.
    Attached {
        /// How the engine numbers it.
        id: TargetId,
        /// The process.
        pid: u32,
        /// Its service.
        service: Arc<str>,
        /// Its interpreter's version.
        version: Arc<str>,
        /// The probes that it has.
        probes: BTreeMap<Probe, Cost>,
        /// The probes that it needs and has not.
        missing: Vec<Probe>,
        /// What it held already, when it ran before it was attached to.
        found: Option<AtAttach>,
        /// Where it runs.
        container: Container,
    },
    /// It ended, or became something else.
    Ended {
        /// How the engine numbers it.
        id: TargetId,
        /// The process.
        pid: u32,
    },
    /// A Python process that belongs to a target could not be traced.
    Failed {
        /// The process.
        pid: u32,
        /// Its service.
        service: String,
        /// Why.
        reason: String,
    },
    /// A Python process that was come across cannot be traced, whatever is tried.
    Unsupported {
        /// The process.
        pid: u32,
        /// Its service.
        service: String,
        /// Why.
        reason: String,
    },
    /// A Python process ended before it could be attached to.
    Missed,
    /// Variables that are in use in a process.
    InUse(BTreeSet<String>),
    /// A configured path is not watched.
    NotFollowed {
        /// The process.
        pid: u32,
        /// The path.
        path: Arc<str>,
        /// Why, in a sentence.
        text: String,
    },
    /// What is told of one variable, where uses are counted.
    Used(Used),
    /// Something that a person has to know of a process.
    Remark {
        /// The process.
        pid: u32,
        /// What.
        text: String,
    },
}
