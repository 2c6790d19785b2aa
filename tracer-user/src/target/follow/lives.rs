//! Lives of processes: forks, execs, interpreters that come up, ends.

use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tracer_common::record::{Record, flag};

use super::{
    Followed, Follower, Identity, Notice, TIER_FLAGS, discover::has_ended, instruct, is_queue, tier_flags,
};
use crate::{
    correlate::event::{Event, What},
    report::finding::Container,
    runtime::cpython::memory::ProcessMemory,
    source::frontend::{Frontend, Interpreted},
    target::{arm, process::Process},
};

impl Follower {
    /// Most children only exec something else: a child becomes a target with the first that its interpreter does.
    pub(super) fn forked(&mut self, record: &Record, events: &mut Vec<Event>) {
        let child = self.processes.get(&record.child_tgid);
        if child.is_some_and(|child| record.time < child.deaf_until) {
            // It was attached to as it is since then.
            return;
        }
        let id = self.number();
        let Some(parent) = self.processes.get_mut(&record.tgid) else {
            if self.everyone {
                // Its parent was let go meanwhile.
                self.registry.programs.remove_target(record.child_tgid);
            }
            return;
        };
        let mut child = Followed {
            service: parent.service.clone(),
            container: parent.container.clone(),
            queue: parent.queue,
            image: parent.image,
            untold: true,
            ..Followed::default()
        };
        if let Some(frontend) = parent.frontend.as_mut() {
            if !parent.untold {
                frontend.lost_until(record.lost, record.time, events);
            }
            let memory = Process::open(record.child_tgid).and_then(|p| p.memory());
            let mut forked = frontend.fork(id, record.child_tgid, memory.ok().map(ProcessMemory::new));
            instruct(&mut self.registry, &mut forked, &mut Vec::new());
            child.frontend = Some(forked);
        }
        self.processes.insert(record.child_tgid, child);
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(record.child_tgid);
        }
    }

    /// Tells the engine and the reports of a forked child.
    pub(super) fn tell(&mut self, pid: u32, time: u64, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let Some(followed) = self.processes.get_mut(&pid).filter(|p| p.untold) else {
            return;
        };
        let (Some(frontend), Some(service)) = (&followed.frontend, &followed.service) else {
            return;
        };
        followed.untold = false;
        frontend.introduce(time, events);
        let (service, queue, container) = (Arc::clone(service), followed.queue, followed.container.clone());
        if let Some(frontend) = self.processes.get(&pid).and_then(|p| p.frontend.as_ref()) {
            notices.push(self.attached(frontend, service, container, queue, None));
        }
        self.agree(pid);
    }

    /// The old program is gone. Arms the new one, and lets it go on if it was stopped for that.
    pub(super) fn execed(&mut self, record: &Record, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let pid = record.tgid;
        // No thread of the old program has told how often it has read again, but those that ended before.
        self.count_reads(events);
        self.ended(pid, record.time, events, notices);
        let followed = self.processes.entry(pid).or_default();
        *followed = Followed::default();
        if let Ok(process) = Process::open(pid) {
            match arm::program(&mut self.registry, &process) {
                Ok(image) => self.processes.entry(pid).or_default().image = image,
                Err(error) => notices.push(self.failed(pid, error.to_string())),
            }
            self.arm_reads_before(pid, &process, notices);
            if let Ok(Identity { set, .. }) = self.identify(&process)
                && let Some(mut target) = self.registry.programs.target(pid)
                && target.names != set.number
            {
                target.names = set.number;
                target.flags = target.flags & !TIER_FLAGS | tier_flags(&set);
                if let Err(error) = self.registry.programs.add_target(pid, target) {
                    notices.push(Notice::Failed {
                        pid,
                        service: "?".to_owned(),
                        reason: error.to_string(),
                    });
                }
            }
        }
        let_go_on(record);
    }

    /// Arms what sees the reads of a process before its interpreter comes up.
    fn arm_reads_before(&mut self, pid: u32, process: &Process, notices: &mut Vec<Notice>) {
        let set = self.identify(process).map(|identity| identity.set);
        let set = set.unwrap_or_else(|_| Arc::clone(&self.sets[0]));
        let image = self.processes.get(&pid).and_then(|followed| followed.image);
        if let Some(image) = image
            && let Err(error) = self.arm_reads(&set, image)
        {
            notices.push(self.failed(pid, error.to_string()));
        }
    }

    /// An interpreter comes up in a process.
    pub(super) fn started(&mut self, record: &Record, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let pid = record.tgid;
        self.ended(pid, record.time, events, notices);
        self.come_up(pid, record.name, record.object, record, true, events, notices);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place where a process becomes a target"
    )]
    pub(super) fn come_up(
        &mut self,
        pid: u32,
        image: u32,
        bias: u64,
        record: &Record,
        from_start: bool,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) {
        let Some(core) = self.registry.image(image).map(|armed| Arc::clone(&armed.core)) else {
            return;
        };
        let Ok(process) = Process::open(pid) else {
            if self.everyone {
                self.missed(pid, notices);
                return;
            }
            // Whatever it did went unseen: that must not pass for clean.
            notices.push(Notice::Failed {
                pid,
                service: "?".to_owned(),
                reason: "it ended before it could be looked at".to_owned(),
            });
            return;
        };
        let identity = match self.identify(&process) {
            Ok(identity) if self.everyone && !identity.selected => return self.let_go(pid),
            Ok(identity) => identity,
            Err(_) if self.everyone && has_ended(&process) => return self.missed(pid, notices),
            // Every record of it would have it looked at again.
            Err(error) if self.everyone => {
                self.refuse(&process, &error.into(), notices);
                return self.let_go(pid);
            }
            Err(_) => Identity {
                set: Arc::clone(&self.sets[0]),
                service: "?".to_owned(),
                container: Container::default(),
                selected: true,
                hidden: None,
            },
        };
        let memory = match process.memory() {
            Ok(memory) => Some(ProcessMemory::new(memory)),
            // Without it what the records point to has no names: that would be half a truth.
            Err(error) if self.everyone && error.is_refusal() => {
                self.refuse(&process, &error.into(), notices);
                return self.let_go(pid);
            }
            Err(_) => None,
        };
        let maps = process.maps().unwrap_or_default();
        // A process that has ended meanwhile maps nothing: what was armed for it at its exec is all that it could need.
        let queue = if maps.is_empty() {
            !self.registry.probes(is_queue).is_empty()
        } else {
            arm::mapped_queue(&mut self.registry, &process, &maps, image)
        };
        if !maps.is_empty() {
            self.arm_tiers(&identity.set, &process, &maps, image, notices);
        }
        // What it has read until now went unseen.
        let late = self.arm_reads(&identity.set, image).unwrap_or(false);
        let frontend = Frontend::new(
            self.number(),
            Interpreted {
                tgid: pid,
                core,
                bias,
                names: Arc::clone(&identity.set),
                memory,
                lost: record.lost,
                from_start,
            },
        );
        frontend.introduce(record.time, events);
        if late {
            events.push(frontend.event(record.time, pid, What::Gap { lost: 1 }));
        }
        self.follow(frontend, image, identity, queue, None, record.time, notices);
    }

    pub(super) fn ended(&mut self, pid: u32, time: u64, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let Some(followed) = self.processes.get_mut(&pid) else {
            return;
        };
        let frontend = followed.frontend.take();
        self.registry.programs.tell_all_reads(pid);
        for key in frontend.iter().flat_map(Frontend::recipe_keys) {
            self.registry.programs.remove_recipe(key);
        }
        if let Some(frontend) = frontend.filter(|_| !followed.untold) {
            events.push(frontend.event(time, pid, What::Exit { detached: false }));
            notices.push(Notice::Ended { id: frontend.id, pid });
        }
    }
}

/// Lets a process go on that was stopped at its exec.
pub(super) fn let_go_on(record: &Record) {
    if record.flags & flag::HELD != 0
        && let Some(pid) = Pid::from_raw(record.tgid as i32)
    {
        // It can only have ended.
        let _ = kill_process(pid, Signal::CONT);
    }
}
