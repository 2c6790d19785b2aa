//! Processes that run already when they are attached to: their state is read from outside, once.

use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

use super::{FollowError, Follower, Notice, instruct, maps_greenlet, target};
use crate::{
    correlate::{
        event::{Doing, Event, What},
        value::{Content, Found, Held},
    },
    report::summary::AtAttach,
    runtime::cpython::memory::{MemoryError, ProcessMemory},
    source::{
        frontend::{Frontend, Interpreted},
        snapshot::Snapshot,
    },
    target::{
        arm,
        descendants::descendants,
        process::{Process, ProcessError},
    },
};

/// How often a running process is looked at again when it changed meanwhile; after the first few times with a pause before.
const SNAPSHOT_TRIES: usize = 40;
const HASTY_TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(2);
/// How often descendants are looked for again: those that were found may have forked before they were traced.
const MAX_ROUNDS: usize = 16;
impl Follower {
    /// Attaches to a process in mid-flight.
    pub fn add_running(
        &mut self,
        pid: u32,
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), FollowError> {
        let time = clock();
        if self.follows(pid) {
            return Ok(());
        }
        let process = Process::open(pid)?;
        let maps = process.maps()?;
        if !self.allow_greenlet && maps_greenlet(&maps) {
            return Err(FollowError::Greenlet(pid));
        }
        let Some((index, bias)) = arm::mapped_core(&mut self.registry, &process, &maps)? else {
            // Its loader may not have come to the library yet: then the interpreter will tell that it comes up.
            let armed = arm::program(&mut self.registry, &process);
            let Some(index) = armed.map_err(|error| FollowError::Arm { pid, error })? else {
                return Err(FollowError::NotPython(pid));
            };
            return self.await_interpreter(pid, Some(index));
        };
        let queue = arm::mapped_queue(&mut self.registry, &process, &maps, index);
        let identity = self.identify(&process)?;
        self.arm_reads(&identity.set, index)
            .map_err(|error| FollowError::Arm { pid, error })?;
        self.arm_tiers(&identity.set, &process, &maps, index, notices);
        let memory = ProcessMemory::new(process.memory()?);
        let core = self
            .registry
            .image(index)
            .map(|armed| Arc::clone(&armed.core))
            .ok_or(FollowError::NotPython(pid))?;
        let mut frontend = Frontend::new(
            self.number(),
            Interpreted {
                tgid: pid,
                core,
                bias,
                names: Arc::clone(&identity.set),
                memory: Some(memory),
                lost: 0,
                from_start: false,
            },
        );
        // Once to know the variables before the first event ...
        let before =
            settled(|| Snapshot::take(&frontend)).map_err(|error| FollowError::State { pid, error })?;
        if self.everyone && before.is_empty() {
            // It has yet to come up, and will tell.
            return Ok(self.expect(pid, &identity.set, index)?);
        }
        frontend.introduce(time, events);
        before.variables(&mut frontend, time, events);
        self.registry
            .programs
            .add_target(pid, target(index, bias, &frontend.names, 0, &before.slots))?;
        let added = clock();
        // ... and once more for the carriers, now that every event is seen: what they do from here on is known.
        let after = settled(|| Snapshot::take(&frontend)).map_err(|error| FollowError::State { pid, error });
        let known = events.len();
        match after {
            Ok(after) => after.carriers(&before.slots, &mut frontend, clock(), events),
            Err(error) => {
                self.registry.programs.remove_target(pid);
                return Err(error);
            }
        }
        instruct(&mut self.registry, &mut frontend, notices);
        let found = at_attach(before.slots.len(), &events[known..]);
        notices.push(Notice::InUse(before.in_use));
        self.follow(frontend, index, identity, queue, Some(found), time, notices);
        if let Some(followed) = self.processes.get_mut(&pid).filter(|_| self.everyone) {
            followed.deaf_until = added;
        }
        Ok(())
    }

    /// Attaches to what processes, which are followed, had started before. What cannot be traced is told; what runs no Python
    /// may still start some.
    pub fn add_descendants(
        &mut self,
        pids: &[u32],
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), FollowError> {
        if pids.is_empty() {
            return Ok(());
        }
        let mut tried = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            // Those that were born since are known to the kernel side: they are told of by a record.
            let fresh: Vec<u32> = descendants(pids)
                .into_iter()
                .filter(|pid| !self.follows(*pid) && self.registry.programs.target(*pid).is_none())
                .filter(|pid| tried.insert(*pid))
                .collect();
            if fresh.is_empty() {
                break;
            }
            for child in fresh {
                match self.add_running(child, &clock, events, notices) {
                    Ok(()) | Err(FollowError::Process(ProcessError::NoSuchProcess(_))) => {}
                    Err(FollowError::NotPython(_)) => self.await_interpreter(child, None)?,
                    Err(error @ FollowError::Attach(_)) => return Err(error),
                    Err(error) => notices.push(self.failed(child, error.reason())),
                }
            }
        }
        Ok(())
    }
}

/// Tries again while the process changes under the reader's eyes.
fn settled<T>(take: impl Fn() -> Result<T, MemoryError>) -> Result<T, String> {
    let mut outcome = take();
    for tried in 0..SNAPSHOT_TRIES {
        if outcome.is_ok() {
            break;
        }
        if tried > HASTY_TRIES {
            thread::sleep(PAUSE);
        }
        outcome = take();
    }
    outcome.map_err(|error| error.to_string())
}

/// Sums up what the carriers of a process held when it was attached to.
fn at_attach(variables: usize, carriers: &[Event]) -> AtAttach {
    let holds = |held: &Held| {
        held.iter()
            .any(|found| matches!(found, Found::Value(value) if value.content != Content::None))
    };
    let existing = |event: &&Event| matches!(event.what, What::Existing { .. });
    let residue = |event: &&Event| matches!(&event.what, What::Existing { doing: Doing::Waiting, held, .. } if holds(held));
    AtAttach {
        threads: carriers.iter().filter(existing).count() as u64,
        variables: variables as u64,
        residue: carriers.iter().filter(residue).count() as u64,
    }
}
