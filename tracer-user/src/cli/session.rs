//! A run of a command that watches processes: attach, take what the kernel side sends until the end, let go.
//!
//! What is made of it is the command's own: it is told as an [`Observer`].

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use tracer_common::{record::kind, stats::Probe};

use super::{args::TargetArgs, error::Error, output::Output, requirements};
use crate::{
    attach::{
        object::BpfObject,
        programs::{AttachError, Options, Programs},
        registry::{self, Registry},
        selftest,
    },
    config::Config,
    correlate::{engine::Engine, event::Event, fact::Fact, settings::Settings},
    report::{clock::Clock, privacy::clean, summary::AtAttach},
    runtime::cpython::probe_point::When,
    source::{
        ring::{Message, Ring},
        watchdog::{Turn, Watchdog},
    },
    target::{
        follow::{FollowError, Follower, Notice},
        spawn::{Ignored, Running, Spawned},
        user::Database,
    },
    wire::rules::Rules,
};

/// Records that are taken before the rest of the loop has its turn.
const BATCH: usize = 8_192;
/// How long records may wait. The kernel side wakes the agent earlier for what cannot.
const POLL: Duration = Duration::from_millis(5);
/// How often the kernel side's counters are read.
const COUNTERS: Duration = Duration::from_millis(500);
/// How long a command's last records may take to arrive.
const LAST_RECORDS: Duration = Duration::from_millis(500);

pub const FOLLOW_HINT: &str =
    "CPython 3.8 to 3.15 is supported, with a GIL or without; `bleedtrace doctor --pid PID` tells more";

/// What a command makes of a run.
pub trait Observer {
    /// A process came, went, or could not be traced. That one ended is told after its last events.
    fn notice(&mut self, notice: Notice);
    /// Everything is attached, and a command that is to be traced was started. Nothing else will be.
    fn started(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// Something happened in a process.
    fn event(&mut self, _event: &Event) {}
    /// What the engine made of it.
    fn fact(&mut self, _fact: &Fact) {}
    /// The kernel side has sent this many records so far that are none.
    fn malformed(&mut self, _records: u64) {}
    /// The agent was this many nanoseconds behind.
    fn lag(&mut self, _nanos: u64) {}
    /// Whether a call of our own function, which is probed like a target's, has come out of the ring in time.
    fn selftest(&mut self, _arrived: bool) {}
    /// What has come in was told.
    fn settled(&mut self, _follower: &Follower) {}
    /// It is time to read the kernel side's counters; also at the very end, before the processes are let go.
    fn counters(&mut self, follower: &mut Follower);
}

/// Which processes could be traced at all.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Processes that were traced.
    pub targets: u64,
    refused: Option<String>,
}

impl Reached {
    /// Takes note, and says so.
    pub fn notice(&mut self, notice: &Notice, output: &mut Output) {
        match notice {
            Notice::Attached {
                pid,
                service,
                version,
                ..
            } => {
                output.say(&attached(*pid, service, version));
                self.targets += 1;
            }
            Notice::Failed { pid, service, reason } => {
                let refused = format!(
                    "cannot trace process {pid} ({}): {}",
                    clean(service),
                    clean(reason)
                );
                output.say(&refused);
                self.refused.get_or_insert(refused);
            }
            Notice::Remark { pid, text } | Notice::NotFollowed { pid, text, .. } => {
                output.say(&remark(*pid, text));
            }
            Notice::Ended { .. } | Notice::InUse(_) | Notice::Used(_) => {}
        }
    }

    /// An error if nothing was traced.
    pub fn or_error(self) -> Result<(), Error> {
        if self.targets > 0 {
            return Ok(());
        }
        let reason = self.refused.unwrap_or_else(|| "no cpython was seen".to_owned());
        Err(Error::cannot_trace(reason, FOLLOW_HINT))
    }
}

/// What is said when a process is traced.
pub fn attached(pid: u32, service: &str, version: &str) -> String {
    format!("attached to {service} (pid {pid}, cpython {version})")
}

/// What a process held already, in words.
pub fn at_attach(found: AtAttach) -> String {
    let number = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    format!(
        "found {}, {}, {}",
        number(found.threads, "thread", "threads"),
        number(
            found.variables,
            "watched variable in use",
            "watched variables in use"
        ),
        number(
            found.residue,
            "waiting worker that holds a value from before",
            "waiting workers that hold a value from before"
        ),
    )
}

/// What a person has to know of a process.
pub fn remark(pid: u32, text: &str) -> String {
    format!("process {pid}: {}", clean(text))
}

/// How a command wants to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// The engine tells what happens at each handoff's site.
    pub inventory: bool,
    /// The kernel side counts the uses of all variables.
    pub uses: bool,
    /// What processes receive and send is read where that is configured, and their tasks are followed; by this key secrets are known.
    pub wire: Option<[u8; 32]>,
    /// A function of our own is called now and then, to see that what is probed arrives.
    pub selftest: bool,
}

/// One run.
pub struct Session<O> {
    follower: Follower,
    engine: Engine,
    ring: Ring,
    observer: O,
    watchdog: Option<Watchdog>,
    events: Vec<Event>,
    notices: Vec<Notice>,
    facts: Vec<Fact>,
}

impl<O: Observer> Session<O> {
    /// Loads the kernel side. Nothing is watched yet.
    pub fn open(config: Config, wants: Wants, target: &TargetArgs, observer: O) -> Result<Self, Error> {
        let started = Instant::now();
        let sets = Follower::sets(&config);
        let object = BpfObject::find().map_err(AttachError::from)?;
        let mints = sets.iter().any(|set| set.names_mints());
        let options = Options {
            ring_bytes: requirements::ring_bytes()?,
            count_uses: wants.uses,
            inventory: wants.inventory,
            mints,
            paths: sets.iter().any(|set| set.has_paths()),
            wire: wants.wire.is_some() && sets.iter().any(|set| set.wire),
            tasks: wants.wire.is_some() && sets.iter().any(|set| set.tasks),
        };
        let mut programs = Programs::load(&object, options)?;
        tracing::debug!(elapsed = ?started.elapsed(), "loaded");
        let ring = Ring::new(programs.ring()?);
        let watchdog = wants.selftest.then(Watchdog::default);
        if watchdog.is_some()
            && let Err(error) = probe_ourselves(&mut programs)
        {
            // It is tried all the same, and told that it fails.
            tracing::warn!(%error, "the self-test cannot be probed");
        }
        let armed = registry::Wants {
            mints,
            wire: options.wire,
            tasks: options.tasks,
        };
        let rules = wants
            .wire
            .filter(|_| options.wire)
            .map(|key| Rules::new(&key, &config.credentials));
        let mut follower = Follower::new(Registry::new(programs, armed), config, sets)?;
        follower.allow_greenlet = target.allow_greenlet;
        let settings = Settings {
            inventory: wants.inventory,
            wire: rules,
            tasks: options.tasks,
            ..Settings::default()
        };
        Ok(Self {
            follower,
            engine: Engine::new(settings),
            ring,
            observer,
            watchdog,
            events: Vec::new(),
            notices: Vec::new(),
            facts: Vec::new(),
        })
    }

    /// Watches until the end and lets everything go. Returns what was made of it, and the command's exit code.
    pub fn run(mut self, target: &TargetArgs) -> Result<(O, Option<u8>), Error> {
        self.attach(&target.pids)?;
        let code = self.watch(target)?;
        self.observer.counters(&mut self.follower);
        self.follower.detach(now(), &mut self.events);
        self.digest();
        self.engine.finish(&mut self.facts);
        for fact in self.facts.drain(..) {
            self.observer.fact(&fact);
        }
        Ok((self.observer, code))
    }

    /// Attaches to the processes that run already.
    fn attach(&mut self, pids: &[u32]) -> Result<(), Error> {
        for pid in pids {
            let started = Instant::now();
            self.follower
                .add_running(*pid, now, &mut self.events, &mut self.notices)?;
            tracing::debug!(pid, elapsed = ?started.elapsed(), "attached");
        }
        self.follower
            .add_descendants(pids, now, &mut self.events, &mut self.notices)?;
        tracing::debug!(files = self.follower.registry.parsed(), "parsed");
        self.digest();
        Ok(())
    }

    /// Watches until the end. Returns the command's exit code.
    fn watch(&mut self, target: &TargetArgs) -> Result<Option<u8>, Error> {
        let ignored = Ignored::now();
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| {
            Error::cannot_trace(
                format!("failed to handle signals: {error}"),
                "check the limits on open files",
            )
        })?;
        let mut stops = 0;
        let mut command = self.spawn(&target.command, target.user.as_deref(), ignored)?;
        self.observer.started()?;
        let command_pid = command.as_ref().map(Running::pid);
        let deadline = target.duration.map(|duration| Instant::now() + duration);
        let mut counters = Instant::now();
        let mut code = None;
        let mut code_since = None;
        loop {
            let follower = &mut self.follower;
            let (events, notices) = (&mut self.events, &mut self.notices);
            let mut last = 0;
            let mut own_call = None;
            let count = self.ring.drain(BATCH, |message| match message {
                Message::Record(record, _) if record.kind == kind::SELFTEST => own_call = Some(record.object),
                Message::Record(record, values) => {
                    last = record.time;
                    follower.record(record, values, events, notices);
                }
                Message::Code(head, table) => follower.code(head, table),
                Message::Wire(head, bytes) => {
                    last = head.time;
                    follower.wire(head, bytes, events, notices);
                }
            });
            self.observer.malformed(self.ring.malformed());
            self.watch_ourselves(own_call);
            self.follower
                .look_again(now(), &mut self.events, &mut self.notices);
            if last > 0 {
                self.observer.lag(now().saturating_sub(last));
            }
            self.digest();
            self.observer.settled(&self.follower);
            if counters.elapsed() >= COUNTERS {
                counters = Instant::now();
                self.observer.counters(&mut self.follower);
                if count == 0 {
                    self.follower.reap(now(), &mut self.events, &mut self.notices);
                }
            }
            if let Some(command) = command.as_mut()
                && code.is_none()
            {
                code = command.try_wait().map_err(|error| {
                    Error::cannot_trace(format!("failed to wait for the command: {error}"), "run it again")
                })?;
                code_since = code.map(|_| Instant::now());
            }
            let command_over = match (command_pid, code_since) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(pid), Some(since)) => !self.follower.follows(pid) || since.elapsed() > LAST_RECORDS,
            };
            let pids_over = !target.pids.iter().any(|pid| self.follower.follows(*pid));
            if command_over && pids_over && count == 0 {
                break;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            for signal in signals.pending() {
                stops += 1;
                // Ctrl-C reaches a command by itself; another request to end is passed on. It may have ended meanwhile.
                if let (SIGTERM, Some(command)) = (signal, command.as_mut()) {
                    let _ = command.terminate();
                }
            }
            // What a first request means is for the command to decide; a second one is for us.
            if stops > usize::from(!command_over) {
                break;
            }
            if count == 0 {
                wait(&self.ring);
            }
        }
        if let (Some(command), None) = (command.as_mut(), code) {
            code = command.try_wait().ok().flatten();
        }
        Ok(code)
    }

    /// Starts the command, traced from its first instruction.
    fn spawn(
        &mut self,
        command: &[OsString],
        user: Option<&str>,
        ignored: Ignored,
    ) -> Result<Option<Running>, Error> {
        if command.is_empty() {
            return Ok(None);
        }
        let uid = rustix::process::getuid().as_raw();
        let variable = |name: &str| std::env::var(name).ok();
        let user = Database::read().for_command(user, uid, variable)?;
        let spawned = Spawned::start(command, user.as_ref(), ignored)?;
        self.follower.add_command(spawned.pid())?;
        // exec stops the command until its records were handled, which happens here, while `release` waits for the exec.
        Ok(Some(spawned.release()?))
    }

    /// Calls our own function when it is time to, and tells whether that came out of the ring.
    fn watch_ourselves(&mut self, arrived: Option<u64>) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        if arrived.is_some_and(|number| watchdog.arrived(number, now())) {
            self.observer.selftest(true);
        }
        match watchdog.turn(now()) {
            Some(Turn::Call(number)) => selftest::call(number),
            Some(Turn::Missing) => self.observer.selftest(false),
            None => {}
        }
    }

    /// Feeds the engine and the observer with what has come in.
    fn digest(&mut self) {
        let mut ended = Vec::new();
        for notice in self.notices.drain(..) {
            match notice {
                notice @ Notice::Ended { .. } => ended.push(notice),
                notice @ Notice::Attached { .. } => {
                    if let Notice::Attached { id, service, .. } = &notice {
                        self.engine.serves(*id, service);
                    }
                    self.observer.notice(notice);
                }
                notice => self.observer.notice(notice),
            }
        }
        for event in self.events.drain(..) {
            tracing::trace!(?event);
            self.observer.event(&event);
            self.engine.apply(&event, &mut self.facts);
            for fact in self.facts.drain(..) {
                self.observer.fact(&fact);
            }
        }
        for notice in ended {
            self.observer.notice(notice);
        }
    }
}

/// Probes our own function.
fn probe_ourselves(programs: &mut Programs) -> Result<(), Box<dyn std::error::Error>> {
    let (file, point) = selftest::point()?;
    programs.link(Probe::Selftest, When::Entry, &file, &[point])?;
    Ok(())
}

/// Waits for the kernel side to wake us, or for as long as records may wait.
fn wait(ring: &Ring) {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: POLL.as_nanos() as _,
    };
    // An interrupted wait is only a shorter one.
    let _ = poll(&mut [PollFd::new(ring, PollFlags::IN)], Some(&timeout));
}

/// The wall clock, against which the records' times are read.
pub fn clock() -> Clock {
    Clock {
        offset: nanos(ClockId::Realtime) as i64 - now() as i64,
    }
}

/// Nanoseconds of the monotonic clock, which stamps the records.
pub fn now() -> u64 {
    nanos(ClockId::Monotonic)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl From<AttachError> for Error {
    fn from(error: AttachError) -> Self {
        let hint = match &error {
            error if error.is_permission() => requirements::PRIVILEGE_HINT,
            AttachError::Namespace(_) => "mount the procfs of this namespace: `mount -t proc proc /proc`",
            AttachError::Object(_) => "unset BLEEDTRACE_BPF_OBJECT, or name a readable object",
            AttachError::Link { .. } => "uprobe_multi needs Linux 6.6; run `bleedtrace doctor`",
            _ => "run `bleedtrace doctor`",
        };
        Self::cannot_trace(error.to_string(), hint)
    }
}

impl From<FollowError> for Error {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Process(error) => error.into(),
            FollowError::Attach(error) => error.into(),
            error @ FollowError::Greenlet(_) => {
                Self::cannot_trace(error.to_string(), "--allow-greenlet attaches all the same")
            }
            error => Self::cannot_trace(clean(&error.to_string()), FOLLOW_HINT),
        }
    }
}
