//! Following processes: attaching to them, and staying with them through fork, exec and exit.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tracer_common::{
    MAX_SLOTS,
    config::{NO_IMAGE, SlotVar, Target, target_flag},
    record::{CodeHead, RawValue, Record, WireHead, flag, kind},
    stats::Probe,
};

mod around;
mod discover;
mod lives;
mod look;
mod notice;
mod running;

pub use notice::{FollowError, Notice};

use super::{
    arm_tasks, arm_wire,
    container::container,
    identify::{Identified, identify},
    keeper::Keeper,
    maps::Mapping,
    process::{Process, ProcessError},
    user::Database,
};
use crate::{
    attach::{
        programs::AttachError,
        registry::{ArmError, Registry},
    },
    config::{Config, Tier},
    correlate::event::{Carrier, Event, Role, TargetId, What},
    report::{finding::Container, summary::AtAttach},
    runtime::cpython::modules::{self, Holders},
    source::{frontend::Frontend, names::NameSet, used::Used},
};

/// What every traced process needs. `thread_start` and the like are part of it: without them a hop would go unseen.
const NEEDED: [Probe; 7] = [
    Probe::ContextSet,
    Probe::ContextReset,
    Probe::ContextFree,
    Probe::QueuePut,
    Probe::QueueGet,
    Probe::QueueGot,
    Probe::ThreadStart,
];

/// What every process needs of which it is watched what it reads.
const READS: [Probe; 1] = [Probe::ContextGet];

/// What every process needs of which it is read what it receives and sends.
const WIRE: [Probe; 4] = [
    Probe::WireSend,
    Probe::WireReceive,
    Probe::WireReceived,
    Probe::WireClose,
];

/// And those that it takes to follow asyncio tasks.
const TASKS: [Probe; 3] = [Probe::TaskSpawn, Probe::FutureSet, Probe::TaskWake];

/// After how long a process's map is looked at again, in nanoseconds: after an eighth of the time that it has been followed, within
/// these bounds. Libraries are loaded when a program starts.
const PAUSES: (u64, u64) = (50_000_000, 30_000_000_000);

/// A process that the kernel side knows.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they have nothing to do with each other"
)]
struct Followed {
    frontend: Option<Frontend>,
    /// The image that it runs from, or will.
    image: Option<u32>,
    service: Option<Arc<str>>,
    container: Container,
    queue: bool,
    /// Forked, and nothing of its own seen yet.
    untold: bool,
    /// Since when, and when its map is looked at again.
    since: u64,
    look: u64,
    /// It was said through what its wire is not read.
    said_unread: bool,
    /// What was recorded before this time is part of what it held when it was attached to.
    deaf_until: u64,
    /// It was told that it ended before it could be attached to.
    missed: bool,
}

/// What a process is to the operator.
struct Identity {
    set: Arc<NameSet>,
    service: String,
    container: Container,
    selected: bool,
    hidden: Option<ProcessError>,
}

/// Follows processes.
pub struct Follower {
    /// The kernel side and the files that are armed.
    pub registry: Registry,
    /// Attach to processes that map greenlet all the same.
    pub allow_greenlet: bool,
    /// Processes are looked at without being asked for: the kernel side tells every exec.
    pub everyone: bool,
    config: Config,
    sets: Vec<Arc<NameSet>>,
    users: Database,
    processes: HashMap<u32, Followed>,
    /// Those that the kernel side did not know any more when it was last asked.
    missing: BTreeSet<u32>,
    /// Lets what is stopped go on if we cannot.
    keeper: Option<Keeper>,
    next: u32,
    /// Processes of which it was said that they cannot be traced, with the time of their start.
    refused: HashMap<u32, u64>,
    /// Execs and forks of which the kernel side could not tell so far.
    untold: u64,
    /// When all processes were looked at for that.
    caught_up: u64,
    /// What the registry said of files that were ever armed when it was last looked, and when that was.
    ever_armed: u32,
    armed_at: u64,
    around: around::Around,
}

impl Follower {
    /// Follows nothing yet. Loads the watched names into the kernel side.
    pub fn new(mut registry: Registry, config: Config, sets: Vec<Arc<NameSet>>) -> Result<Self, AttachError> {
        for set in &sets {
            for (key, name) in set.keys() {
                registry.programs.add_name(key, name)?;
            }
        }
        Ok(Self {
            registry,
            allow_greenlet: false,
            everyone: false,
            config,
            sets,
            users: Database::read(),
            processes: HashMap::new(),
            missing: BTreeSet::new(),
            keeper: None,
            next: 0,
            refused: HashMap::new(),
            untold: 0,
            caught_up: 0,
            ever_armed: 0,
            armed_at: 0,
            around: around::Around::default(),
        })
    }

    /// Patterns of functions under which nothing was seen to happen.
    pub fn out_of_sight(&self) -> BTreeSet<String> {
        let patterns = self.sets.iter().flat_map(|set| set.out_of_sight());
        patterns.map(str::to_owned).collect()
    }

    /// The sets of names of a configuration: that of `[watch]` first, then one a rule.
    pub fn sets(config: &Config) -> Vec<Arc<NameSet>> {
        let watches = std::iter::once(&config.watch).chain(config.services.iter().map(|s| &s.watch));
        watches
            .zip(0..)
            .map(|(watch, number)| Arc::new(NameSet::new(number, watch)))
            .collect()
    }

    /// Which modules of a process hold these variables; none when it cannot be read (any more).
    pub fn holders(&self, pid: u32, variables: &[u64]) -> Option<Holders> {
        let frontend = self.processes.get(&pid)?.frontend.as_ref()?;
        modules::holders(frontend.interpreter()?, variables).ok()
    }

    /// Whether this process is followed.
    pub fn follows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// Follows a command that has not started yet, and everything that it starts, from their first instructions.
    pub fn add_command(&mut self, pid: u32) -> Result<(), FollowError> {
        let target = target(NO_IMAGE, 0, &self.sets[0], target_flag::HOLD_AT_EXEC, &[]);
        let mut keeper = Keeper::start().map_err(FollowError::Keeper)?;
        keeper.keep(pid);
        self.keeper = Some(keeper);
        self.registry.programs.add_target(pid, target)?;
        self.processes.insert(pid, Followed::default());
        Ok(())
    }

    /// Follows a process that runs no Python yet: it may exec or fork some.
    fn await_interpreter(&mut self, pid: u32, image: Option<u32>) -> Result<(), FollowError> {
        let identified = Process::open(pid).and_then(|process| self.identify(&process));
        let set = identified.map_or_else(|_| Arc::clone(&self.sets[0]), |identity| identity.set);
        if let Some(image) = image {
            self.arm_reads(&set, image)
                .map_err(|error| FollowError::Arm { pid, error })?;
        }
        let target = target(NO_IMAGE, 0, &set, 0, &[]);
        self.registry.programs.add_target(pid, target)?;
        self.processes.insert(
            pid,
            Followed {
                image,
                ..Followed::default()
            },
        );
        Ok(())
    }

    fn failed(&self, pid: u32, reason: String) -> Notice {
        let known = self
            .processes
            .get(&pid)
            .and_then(|p| p.service.as_deref().map(str::to_owned));
        let identified = || {
            self.identify(&Process::open(pid).ok()?)
                .ok()
                .map(|identity| identity.service)
        };
        Notice::Failed {
            pid,
            service: known.or_else(identified).unwrap_or_else(|| "?".to_owned()),
            reason,
        }
    }

    /// Takes a record: lives of processes are handled here, everything else is translated.
    pub fn record(
        &mut self,
        record: &Record,
        values: &[RawValue],
        clock: impl Fn() -> u64,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) {
        let pid = record.tgid;
        if self.is_stale(record) {
            return;
        }
        let mut others = BTreeSet::new();
        let mut used = None;
        match record.kind {
            kind::FORKED => self.forked(record, events),
            kind::EXECED if self.everyone => self.discovered(record, clock, events, notices),
            kind::EXECED => self.execed(record, events, notices),
            kind::INTERPRETER_START => self.started(record, events, notices),
            kind::EXITED => {
                self.frontend(record, events, notices, |frontend, events| {
                    frontend.translate(record, values, events);
                });
                if record.flags & flag::LAST != 0 {
                    // Most processes of the machine are nobody's target; to forget takes a look at all that is remembered.
                    if !self.everyone || self.has_come_up(pid) {
                        self.forget_memory_of(pid);
                    }
                    self.ended(pid, record.time, events, notices);
                    self.processes.remove(&pid);
                }
            }
            kind::VAR => self.frontend(record, events, notices, |frontend, events| {
                // It may be of a module that is not meant: then its name is what to offer.
                others.extend(
                    frontend
                        .names
                        .names
                        .get(record.name as usize)
                        .map(|n| n.name.to_string()),
                );
                frontend.translate(record, values, events);
            }),
            kind::OTHER_VAR => self.frontend(record, events, notices, |frontend, _| {
                if let Some(name) = values.first().and_then(|name| frontend.text(name)) {
                    others.insert(name);
                }
            }),
            kind::USED => self.frontend(record, events, notices, |frontend, _| {
                used = Some(Used::new(frontend, record, values));
            }),
            kind::THREAD_CREATED => self.frontend(record, events, notices, |frontend, events| {
                frontend.lost_until(record.lost, record.time, events);
                let begin = What::Begin {
                    parent: Carrier(record.tid),
                };
                events.push(frontend.event(record.time, record.child_tid, begin));
            }),
            _ => self.frontend(record, events, notices, |frontend, events| {
                frontend.translate(record, values, events);
            }),
        }
        notices.extend(used.map(Notice::Used));
        if !others.is_empty() {
            notices.push(Notice::InUse(others));
        }
    }

    /// Forgets the addresses that the kernel side remembers of a process's memory.
    fn forget_memory_of(&mut self, pid: u32) {
        self.registry.programs.forget_scopes(pid);
        if self.registry.wants_wire() {
            self.registry.programs.forget_streams(pid);
        }
    }

    /// Ends what ended without telling, its last record lost. A process is given up when it was missing twice in a row.
    pub fn reap(&mut self, time: u64, events: &mut Vec<Event>, notices: &mut Vec<Notice>) {
        let gone: BTreeSet<u32> = self
            .processes
            .keys()
            .copied()
            .filter(|pid| self.registry.programs.target(*pid).is_none())
            .collect();
        let lost: Vec<u32> = gone.intersection(&self.missing).copied().collect();
        for pid in lost {
            if let Some(frontend) = self.processes.get(&pid).and_then(|p| p.frontend.as_ref()) {
                events.push(frontend.event(time, pid, What::Gap { lost: 1 }));
            }
            self.ended(pid, time, events, notices);
            self.processes.remove(&pid);
        }
        self.missing = gone;
    }

    /// Lets every process go. They run on.
    pub fn detach(&mut self, time: u64, events: &mut Vec<Event>) {
        for (pid, followed) in self.processes.drain() {
            let lost = self.registry.programs.target(pid).map(|t| t.lost);
            self.registry.programs.remove_target(pid);
            if let Some(mut frontend) = followed.frontend.filter(|_| !followed.untold) {
                if let Some(lost) = lost {
                    frontend.lost_until(lost, time, events);
                }
                events.push(frontend.event(time, pid, What::Exit { detached: true }));
            }
        }
    }

    /// Takes in a code object that the kernel side tells, ahead of the record that names it.
    pub fn code(&mut self, head: &CodeHead, table: &[u8]) {
        let process = self.processes.get_mut(&head.tgid);
        if let Some(frontend) = process.and_then(|p| p.frontend.as_mut()) {
            frontend.code(head, table);
        }
    }

    /// Takes in bytes of a process's stream, or its end.
    pub fn wire(
        &mut self,
        head: &WireHead,
        bytes: &[u8],
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
    ) {
        if self
            .processes
            .get(&head.tgid)
            .is_some_and(|followed| head.time < followed.deaf_until)
        {
            return;
        }
        self.tell(head.tgid, head.time, events, notices);
        let told = self.processes.get_mut(&head.tgid).filter(|p| !p.untold);
        if let Some(frontend) = told.and_then(|p| p.frontend.as_mut()) {
            frontend.wire(head, bytes, events);
        }
    }

    fn frontend(
        &mut self,
        record: &Record,
        events: &mut Vec<Event>,
        notices: &mut Vec<Notice>,
        then: impl FnOnce(&mut Frontend, &mut Vec<Event>),
    ) {
        let pid = record.tgid;
        if self.processes.get(&pid).is_none_or(|p| p.frontend.is_none()) {
            // An interpreter that came up before its files were armed makes itself known by its first hit.
            let Some(target) = self.registry.programs.target(pid).filter(|t| t.image != NO_IMAGE) else {
                return;
            };
            if matches!(record.kind, kind::THREAD_CREATED | kind::EXITED | kind::AGREED) {
                return;
            }
            self.come_up(pid, target.image, target.bias, record, false, events, notices);
        }
        if record.kind != kind::EXITED {
            self.tell(pid, record.time, events, notices);
        }
        let told = self.processes.get_mut(&pid).filter(|p| !p.untold);
        if let Some(frontend) = told.and_then(|p| p.frontend.as_mut()) {
            then(frontend, events);
            instruct(&mut self.registry, frontend, notices);
        }
    }

    /// Arms what sees the reads of processes of an image, if they are watched. True when it was not armed before.
    fn arm_reads(&mut self, set: &NameSet, image: u32) -> Result<bool, ArmError> {
        match set.tier {
            Tier::Full => self.registry.arm_reads(image),
            Tier::Handoffs => Ok(false),
        }
    }

    /// Arms what is wanted of some processes only, if it is of this one, and says what of it cannot be had.
    fn arm_tiers(
        &mut self,
        set: &NameSet,
        process: &Process,
        maps: &[Mapping],
        image: u32,
        notices: &mut Vec<Notice>,
    ) {
        if set.wire {
            notices.extend(self.arm_wire(process, maps, image));
        }
        if set.tasks && !arm_tasks::tasks(&mut self.registry, process, maps, image) {
            notices.push(Notice::Remark {
                pid: process.pid(),
                text: "asyncio tasks are not followed: no _asyncio module was found".to_owned(),
            });
        }
    }

    /// Arms what a process receives and sends with, and says what of it cannot be read.
    fn arm_wire(&mut self, process: &Process, maps: &[Mapping], image: u32) -> Option<Notice> {
        let missing = arm_wire::wire(&mut self.registry, process, maps, image);
        // What of it cannot be read is said when the process is looked at again, and once.
        arm_wire::unread(&mut self.registry, process, maps, image);
        if missing.is_empty() {
            return None;
        }
        let names: Vec<_> = missing.iter().map(|part| part.name()).collect();
        Some(Notice::Remark {
            pid: process.pid(),
            text: format!(
                "the wire is not read through {}: no such module was found",
                names.join(", ")
            ),
        })
    }

    /// Follows a process from here on, and tells the reports.
    #[expect(clippy::too_many_arguments, reason = "all that is known of a new target")]
    fn follow(
        &mut self,
        frontend: Frontend,
        image: u32,
        identity: Identity,
        queue: bool,
        found: Option<AtAttach>,
        time: u64,
        notices: &mut Vec<Notice>,
    ) {
        let service: Arc<str> = Arc::from(identity.service);
        let container = identity.container;
        let pid = frontend.tgid;
        notices.push(self.attached(&frontend, Arc::clone(&service), container.clone(), queue, found));
        self.processes.insert(
            pid,
            Followed {
                frontend: Some(frontend),
                image: Some(image),
                service: Some(service),
                container,
                queue,
                since: time,
                look: time + PAUSES.0,
                ..Followed::default()
            },
        );
        self.agree(pid);
    }

    /// From here on a process's reads are told once more, and then only when they say something new.
    fn agree(&mut self, pid: u32) {
        let frontend = self.processes.get(&pid).and_then(|p| p.frontend.as_ref());
        if let Some(frontend) = frontend {
            agree(&mut self.registry, frontend);
        }
    }

    /// Takes in how often threads have found again what they told of.
    pub fn count_reads(&mut self, events: &mut Vec<Event>) {
        for (tid, told) in self.registry.programs.told() {
            let process = self.processes.get_mut(&told.tgid).filter(|p| !p.untold);
            if let Some(frontend) = process.and_then(|p| p.frontend.as_mut()) {
                frontend.counted(tid, &told, events);
            }
        }
    }

    fn attached(
        &self,
        frontend: &Frontend,
        service: Arc<str>,
        container: Container,
        queue: bool,
        found: Option<AtAttach>,
    ) -> Notice {
        let armed = self
            .registry
            .images()
            .find(|armed| Arc::ptr_eq(&armed.core, &frontend.core));
        let mut probes = armed.map(|armed| armed.probes.clone()).unwrap_or_default();
        let reads = frontend.names.tier == Tier::Full;
        if reads {
            probes.extend(armed.map(|armed| armed.reads.clone()).unwrap_or_default());
        }
        if queue {
            probes.extend(self.registry.probes(is_queue));
        }
        let wire = frontend.names.wire;
        if wire {
            probes.extend(self.registry.probes(Probe::is_wire));
        }
        let tasks = frontend.names.tasks;
        if tasks {
            probes.extend(self.registry.probes(Probe::is_task));
        }
        let missing = NEEDED
            .into_iter()
            .chain(READS.into_iter().filter(|_| reads))
            .chain(WIRE.into_iter().filter(|_| wire))
            .chain(TASKS.into_iter().filter(|_| tasks))
            .filter(|probe| !probes.contains_key(probe))
            .collect();
        Notice::Attached {
            id: frontend.id,
            pid: frontend.tgid,
            service,
            version: Arc::from(frontend.core.version.to_string()),
            probes,
            missing,
            found,
            container,
        }
    }

    fn number(&mut self) -> TargetId {
        self.next += 1;
        TargetId(self.next)
    }

    fn identify(&self, process: &Process) -> Result<Identity, ProcessError> {
        let Identified {
            watch,
            service,
            selected,
            hidden,
        } = identify(process, &self.config, &self.users)?;
        let rules = self.config.services.iter().map(|s| &s.watch);
        let rule = rules
            .zip(1..)
            .find(|(rule, _)| std::ptr::eq(*rule, watch))
            .map_or(0, |(_, number)| number);
        Ok(Identity {
            set: Arc::clone(&self.sets[rule]),
            service,
            container: process
                .cgroups()
                .map_or_else(|_| Container::default(), |text| container(&text)),
            selected,
            hidden,
        })
    }
}

/// Whether it sees what goes through queues.
const fn is_queue(probe: Probe) -> bool {
    matches!(probe, Probe::QueuePut | Probe::QueueGet | Probe::QueueGot)
}

/// Whether a process switches stacks under the interpreter.
pub fn maps_greenlet(maps: &[Mapping]) -> bool {
    maps.iter()
        .any(|m| m.executable && m.file_name().starts_with(b"_greenlet."))
}

/// Tells the kernel side what a process's front end has found out: how to take the steps of paths, which functions mint nothing, and
/// which read on their own account.
fn instruct(registry: &mut Registry, frontend: &mut Frontend, notices: &mut Vec<Notice>) {
    for (key, digest) in frontend.mints_nothing() {
        // Without it the function is told again.
        if let Err(error) = registry.programs.mints_nothing(key, digest) {
            tracing::debug!(pid = frontend.tgid, %error, "a function is told again");
        }
    }
    for key in frontend.readers() {
        // Without it all that the code reads is told.
        if let Err(error) = registry.programs.reads(key) {
            tracing::debug!(pid = frontend.tgid, %error, "every read of a function is told");
        }
    }
    for (key, recipe) in frontend.fresh_recipes() {
        // Without it values stay unresolved, which is counted.
        if let Err(error) = registry.programs.add_recipe(key, recipe) {
            tracing::warn!(pid = frontend.tgid, %error, "a path cannot be followed");
        }
    }
    if frontend.take_doubt() {
        agree(registry, frontend);
    }
    let pid = frontend.tgid;
    notices.extend(
        frontend
            .not_followed()
            .into_iter()
            .map(|(path, text)| Notice::NotFollowed { pid, path, text }),
    );
    notices.extend(
        frontend
            .to_say()
            .into_iter()
            .map(|text| Notice::Remark { pid, text }),
    );
}

/// See [`Follower::agree`].
fn agree(registry: &mut Registry, frontend: &Frontend) {
    if frontend.may_agree() {
        registry.programs.count_reads(frontend.tgid);
    } else {
        registry.programs.tell_all_reads(frontend.tgid);
    }
}

/// Something is mapped that receives and sends, and is not read.
fn unread(pid: u32, what: &str) -> Notice {
    Notice::Remark {
        pid,
        text: format!("the wire is not read through {what}"),
    }
}

/// What is wanted of these processes only, as the kernel side knows it.
const fn tier_flags(names: &NameSet) -> u32 {
    let wire = if names.wire { target_flag::WIRE } else { 0 };
    let tasks = if names.tasks { target_flag::TASKS } else { 0 };
    let reads = match names.tier {
        Tier::Full => 0,
        Tier::Handoffs => target_flag::NO_READS,
    };
    wire | tasks | reads
}

/// All that [`tier_flags`] can be.
const TIER_FLAGS: u32 = target_flag::WIRE | target_flag::TASKS | target_flag::NO_READS;

fn target(image: u32, bias: u64, names: &NameSet, flags: u32, known: &[SlotVar]) -> Target {
    let mut slots = [SlotVar::default(); MAX_SLOTS];
    for (to, from) in slots.iter_mut().zip(known) {
        *to = *from;
    }
    let is_request = |slot: &SlotVar| {
        let name = names.names.get(slot.name as usize);
        name.is_some_and(|name| name.role == Role::Request)
    };
    let request = known.iter().position(is_request);
    Target {
        bias,
        tstate_slot: 0,
        lost: 0,
        turn: 0,
        image,
        names: names.number,
        flags: flags | tier_flags(names),
        request_slot: request.map_or(u32::MAX, |slot| slot as u32),
        slots,
        module: 0,
    }
}
