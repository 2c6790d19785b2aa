//! What becomes of a process's files while it is followed.

use super::{FollowError, Follower, Notice, PAUSES, maps_greenlet};
use crate::{
    correlate::event::{Event, What},
    target::{arm, arm_wire, process::Process},
};

impl Follower {
    /// Looks again at the maps of processes whose time has come: a library that switches stacks may have been loaded since, or
    /// a `_queue` module from where none was expected.
    pub fn look_again(&mut self, time: u64, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let due: Vec<u32> = self
            .processes
            .iter()
            .filter(|(_, followed)| followed.frontend.is_some() && !followed.untold && followed.look <= time)
            .map(|(pid, _)| *pid)
            .collect();
        for pid in due {
            if let Some(followed) = self.processes.get_mut(&pid) {
                let (shortest, longest) = PAUSES;
                let age = time.saturating_sub(followed.since);
                followed.look = time + (age / 8).clamp(shortest, longest);
            }
            let Ok(process) = Process::open(pid) else {
                continue;
            };
            let maps = process.maps().unwrap_or_default();
            let Some((image, wire)) = self.processes.get(&pid).and_then(|followed| {
                let frontend = followed.frontend.as_ref()?;
                Some((followed.image?, frontend.names.wire))
            }) else {
                continue;
            };
            if wire && let Some(what) = arm_wire::unread(&mut self.registry, &process, &maps, image) {
                let known = self.processes.get_mut(&pid);
                if known.is_some_and(|followed| !std::mem::replace(&mut followed.said_unread, true)) {
                    notices.push(super::unread(pid, &what));
                }
            }
            if !self.allow_greenlet && maps_greenlet(&maps) {
                self.withdraw(pid, time, events, notices);
            } else if arm::late_queue(&mut self.registry, &process, &maps, image)
                && let Some(frontend) = self.processes.get(&pid).and_then(|p| p.frontend.as_ref())
            {
                events.push(frontend.event(time, pid, What::Gap { lost: 1 }));
                self.agree(pid);
            }
        }
    }

    /// Lets a process go that has come to switch stacks: what was seen of it counts, what it does from here on does not.
    fn withdraw(&mut self, pid: u32, time: u64, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let reason = format!("{}; it is traced no longer", FollowError::Greenlet(pid));
        notices.push(self.failed(pid, reason));
        self.registry.programs.remove_target(pid);
        self.forget_memory_of(pid);
        if let Some(frontend) = self.processes.remove(&pid).and_then(|p| p.frontend) {
            events.push(frontend.event(time, pid, What::Exit { detached: true }));
            notices.push(Notice::Ended { id: frontend.id, pid });
        }
    }
}
