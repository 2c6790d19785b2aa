//! Processes that nobody asked for by number: those that run already, and those that the kernel side tells of when they exec.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::Duration,
};

use tracer_common::{
    config::NO_IMAGE,
    record::{Record, kind},
    stats::Probe,
};

use super::{
    FollowError, Followed, Follower, Identity, Notice, TIER_FLAGS, lives::let_go_on, target, tier_flags,
};
use crate::{
    attach::{
        programs::AttachError,
        registry::{ArmError, Use},
    },
    config::Tier,
    correlate::event::Event,
    source::names::NameSet,
    target::{
        arm,
        process::{Process, ProcessError},
    },
};

/// Processes that cannot be traced before those among them that have ended are forgotten.
const MAX_REFUSED: usize = 4_096;
/// Looks at all processes until none is new: what is not followed yet may fork meanwhile.
const MAX_ROUNDS: usize = 16;
/// Nanoseconds between two looks at all processes that are taken because something was lost.
const BETWEEN_SCANS: u64 = 10_000_000_000;

impl Follower {
    /// Looks at every process of the machine, and attaches to those that the configuration selects.
    pub fn scan(&mut self, clock: impl Fn() -> u64, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        self.forget_refused();
        let mut seen = HashSet::from([std::process::id()]);
        for _ in 0..MAX_ROUNDS {
            let fresh: Vec<u32> = numbers().into_iter().filter(|pid| seen.insert(*pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in fresh {
                self.look_at(pid, &clock, events, notices);
            }
        }
    }

    pub(super) fn look_at(
        &mut self,
        pid: u32,
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) {
        if self.follows(pid) {
            return;
        }
        let Ok(process) = Process::open(pid) else {
            return;
        };
        match self.identify(&process) {
            Ok(Identity { selected: true, .. }) => self.meet(&process, clock, events, notices),
            // The kernel side may think that it is one, if its exec could not be told.
            Ok(Identity { hidden, .. }) => {
                self.may_be_meant(&process, hidden, notices);
                self.let_go(pid);
            }
            Err(error) => self.refuse(&process, &error.into(), notices),
        }
    }

    /// Scans once more if the kernel side could not tell of an exec or a fork since the last time.
    pub fn catch_up(&mut self, clock: impl Fn() -> u64, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let time = clock();
        if !self.everyone || time.saturating_sub(self.caught_up) < BETWEEN_SCANS {
            return;
        }
        let lost = |probe| {
            let stats = self.registry.programs.stats(probe);
            stats.lost_ring + stats.lost_map
        };
        let untold = lost(Probe::Exec) + lost(Probe::Fork);
        if untold > self.untold {
            self.untold = untold;
            tracing::warn!(
                untold,
                "execs or forks could not be told: all processes are looked at again"
            );
            self.scan(&clock, events, notices);
            self.caught_up = clock();
        }
    }

    /// A process has become another program.
    pub(super) fn discovered(
        &mut self,
        record: &Record,
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) {
        let pid = record.tgid;
        let was_python = self.has_come_up(pid);
        self.ended(pid, record.time, events, notices);
        self.processes.remove(&pid);
        let undecided = match Process::open(pid) {
            Ok(process) => !self.consider(&process, record, clock, events, notices) && has_ended(&process),
            Err(_) => true,
        };
        if undecided {
            // If its files were armed its interpreter has told that it came up; else there is only its name to go by.
            self.processes.insert(pid, Followed::default());
            if called(record).starts_with(b"python") {
                self.missed(pid, notices);
            }
        }
        if was_python && !self.follows(pid) {
            self.forget_memory_of(pid);
        }
        let_go_on(record);
    }

    /// Attaches to a process that has just exec'd, if it is one to attach to; else it is let go. False when that cannot be told.
    fn consider(
        &mut self,
        process: &Process,
        record: &Record,
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let pid = process.pid();
        let set = match self.identify(process) {
            Ok(identity) if identity.selected => identity.set,
            Ok(Identity { hidden, .. }) => {
                self.may_be_meant(process, hidden, notices);
                self.let_go(pid);
                // Of one that ends meanwhile nothing was read that a rule could select.
                return !has_ended(process);
            }
            Err(error) => {
                self.refuse(process, &error.into(), notices);
                self.let_go(pid);
                return false;
            }
        };
        let armed = arm::program(&mut self.registry, process).and_then(|image| {
            if let Some(image) = image {
                self.arm_reads(&set, image)?;
            }
            Ok(image)
        });
        if self.registry.ever_armed() != self.ever_armed {
            (self.ever_armed, self.armed_at) = (self.registry.ever_armed(), clock());
        }
        let image = match armed {
            Ok(Some(image)) => image,
            Ok(None) => {
                self.let_go(pid);
                return false;
            }
            Err(error) => {
                self.refuse(process, &FollowError::Arm { pid, error }, notices);
                self.let_go(pid);
                return false;
            }
        };
        // Else it may have come up unseen, or under other names.
        let in_time = record.time > self.armed_at;
        let known = self.registry.programs.target(pid).filter(|_| in_time);
        if known.is_some_and(|known| known.image == NO_IMAGE || is_watched(&known, &set)) {
            if let Err(error) = self.expect(pid, &set, image) {
                self.refuse(process, &error.into(), notices);
            }
        } else {
            self.meet(process, clock, events, notices);
        }
        self.follows(pid)
    }

    /// Attaches to a process as it is.
    fn meet(
        &mut self,
        process: &Process,
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) {
        let pid = process.pid();
        if let Err(error) = self.add_running(pid, clock, events, notices) {
            self.refuse(process, &error, notices);
            self.let_go(pid);
        }
    }

    /// No rule selects a process as far as can be told; what hides its environment from rules that ask for it is said.
    fn may_be_meant(&mut self, process: &Process, hidden: Option<ProcessError>, notices: &mut Vec<Notice>) {
        if let Some(cause) = hidden {
            let pid = process.pid();
            self.refuse(process, &FollowError::Hidden { pid, cause }, notices);
        }
    }

    /// Its interpreter is yet to come up: what it will be watched for is told before.
    pub(super) fn expect(&mut self, pid: u32, set: &NameSet, image: u32) -> Result<(), AttachError> {
        let known = self.registry.programs.target(pid);
        if !known.is_some_and(|known| is_watched(&known, set)) {
            self.registry
                .programs
                .add_target(pid, target(NO_IMAGE, 0, set, 0, &[]))?;
        }
        self.processes.insert(
            pid,
            Followed {
                image: Some(image),
                ..Followed::default()
            },
        );
        Ok(())
    }

    /// Undoes what is armed in files that nobody has run from for as long as this.
    pub fn disarm_idle(&mut self, patience: Duration) {
        let used = self.processes.values().filter_map(|followed| {
            let frontend = followed.frontend.as_ref();
            // One that has not come up yet may want them.
            let reads = frontend.is_none_or(|frontend| frontend.names.tier == Tier::Full);
            Some(
                [Use::Image(followed.image?)]
                    .into_iter()
                    .chain(reads.then_some(Use::Reads(followed.image?))),
            )
        });
        self.registry.disarm_idle(&used.flatten().collect(), patience);
    }

    /// A process is none of ours.
    pub(super) fn let_go(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.registry.programs.remove_target(pid);
    }

    /// A process of Python ended before it could be attached to.
    pub(super) fn missed(&mut self, pid: u32, notices: &mut Vec<Notice>) {
        let followed = self.processes.entry(pid).or_default();
        if !std::mem::replace(&mut followed.missed, true) {
            tracing::info!(pid, "a process of Python ended before it could be attached to");
            notices.push(Notice::Missed);
        }
    }

    /// Whether an interpreter of the process was seen.
    pub(super) fn has_come_up(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|p| p.frontend.is_some())
    }

    /// Whether a record tells what was read when its process was attached to.
    pub(super) fn is_stale(&self, record: &Record) -> bool {
        let followed = self.processes.get(&record.tgid);
        let of_life = matches!(record.kind, kind::EXITED | kind::FORKED);
        !of_life && followed.is_some_and(|followed| record.time < followed.deaf_until)
    }

    /// Says, once, that a process cannot be attached to. Nobody wants to know it of what runs no Python, or is gone.
    pub(super) fn refuse(&mut self, process: &Process, error: &FollowError, notices: &mut Vec<Notice>) {
        let pid = process.pid();
        if matches!(
            error,
            FollowError::NotPython(_) | FollowError::Process(ProcessError::NoSuchProcess(_))
        ) || has_ended(process)
            || !is_python(process)
        {
            return;
        }
        if self.refused.len() >= MAX_REFUSED {
            self.forget_refused();
        }
        let started = process.stat().map_or(0, |stat| stat.start_time);
        if self.refused.insert(pid, started) == Some(started) {
            return;
        }
        let unsupported = matches!(
            error,
            FollowError::Greenlet(_)
                | FollowError::Arm {
                    error: ArmError::Refused(_),
                    ..
                }
        );
        let notice = self.failed(pid, error.reason());
        notices.push(match notice {
            Notice::Failed { pid, service, reason } if unsupported => {
                Notice::Unsupported { pid, service, reason }
            }
            notice => notice,
        });
    }

    /// Whether it was said of a process that it cannot be attached to.
    pub(super) fn was_refused(&self, pid: u32) -> bool {
        let started = self.refused.get(&pid);
        started.is_some_and(|started| is_life(pid, *started))
    }

    fn forget_refused(&mut self) {
        let refused = std::mem::take(&mut self.refused).into_iter();
        self.refused = refused
            .filter(|(pid, started)| is_life(*pid, *started))
            .collect::<HashMap<_, _>>();
    }
}

/// Whether this process runs, and has since this time.
fn is_life(pid: u32, started: u64) -> bool {
    let stat = Process::open(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.start_time == started)
}

/// Whether the kernel side looks for just these names in a process.
fn is_watched(known: &tracer_common::config::Target, set: &NameSet) -> bool {
    known.names == set.number && known.flags & TIER_FLAGS == tier_flags(set)
}

/// What a process is called that has just exec'd: two words of the record hold it.
fn called(record: &Record) -> [u8; 16] {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&record.object.to_ne_bytes());
    name[8..].copy_from_slice(&record.queue.to_ne_bytes());
    name
}

pub(super) fn has_ended(process: &Process) -> bool {
    process
        .stat()
        .map_or(true, |stat| stat.is_dead || !stat.has_memory)
}

/// Whether a process looks like one of Python, as far as it can be looked at.
fn is_python(process: &Process) -> bool {
    let base = |path: &[u8]| {
        path.rsplit(|b| *b == b'/')
            .next()
            .is_some_and(|name| name.starts_with(b"python"))
    };
    process.exe().is_ok_and(|path| base(&path))
        || process
            .cmdline()
            .is_ok_and(|arguments| arguments.first().is_some_and(|path| base(path)))
        || process.maps().is_ok_and(|maps| {
            maps.iter()
                .any(|mapping| mapping.file_name().starts_with(b"libpython"))
        })
}

/// The numbers of all processes.
pub(super) fn numbers() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn a_name_is_read_from_two_words() {
        let word = |text: &[u8; 8]| u64::from_ne_bytes(*text);
        let record = Record {
            object: word(b"python3."),
            queue: word(b"12\0\0\0\0\0\0"),
            ..Record::zeroed()
        };
        assert!(called(&record).starts_with(b"python3.12\0"));
    }

    #[test]
    fn what_is_no_python_does_not_look_like_it() {
        let own = Process::open(std::process::id()).unwrap();
        assert!(!is_python(&own) && !has_ended(&own));
        assert!(numbers().contains(&std::process::id()));
    }
}
