//! `bleedtrace trace`: watch processes, name what is wrong, sum up.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
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

use super::{
    args::{Color, TraceArgs},
    error::Error,
    output::Output,
};
use crate::{
    attach::{
        kernel::BTF,
        namespace,
        object::BpfObject,
        programs::{AttachError, Programs},
        registry::Registry,
    },
    config::Config,
    correlate::{
        engine::Engine,
        event::{Event, Slot, TargetId, What},
        fact::{Fact, FactKind},
        settings::Settings,
    },
    report::{
        clock::Clock,
        finding::{ExportedFinding, Runtime, TargetInfo},
        http::{self, ListenError},
        metrics::Metrics,
        privacy::{Privacy, clean},
        summary::{AtAttach, Ending, exit_code},
        tally::Tally,
    },
    source::ring::{Message, Ring},
    target::{
        follow::{FollowError, Follower, Notice},
        process::Process,
        spawn::{Running, Spawned},
        user::Database,
    },
};

/// Bytes of the ring; `BLEEDTRACE_RING_BYTES` sets another power of two.
const RING_BYTES: u32 = 8 << 20;
/// Records that are taken before the rest of the loop has its turn.
const BATCH: usize = 8_192;
/// How long records may wait. The kernel side wakes the agent earlier for what cannot.
const POLL: Duration = Duration::from_millis(5);
/// How often the kernel side's counters are read.
const COUNTERS: Duration = Duration::from_millis(500);
/// How long a command's last records may take to arrive.
const LAST_RECORDS: Duration = Duration::from_millis(500);

const RING_VARIABLE: &str = "BLEEDTRACE_RING_BYTES";
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

const PRIVILEGE_HINT: &str = "run it as root (sudo), or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE";
const FOLLOW_HINT: &str =
    "CPython 3.8 to 3.15 with a GIL is supported; `bleedtrace doctor --pid PID` tells more";

/// Runs the command.
pub fn run(args: &TraceArgs, color: Color) -> Result<u8, Error> {
    args.check()?;
    let config = args.watch.resolve()?;
    let sets = Follower::sets(&config);
    check_machine()?;
    let output = Output::open(args.format, args.output.as_ref(), !args.command.is_empty(), color)?;
    let privacy = privacy(&config)?;
    let object = BpfObject::find().map_err(AttachError::from)?;
    let paths = sets.iter().any(|set| set.has_paths());
    let mut programs = Programs::load(&object, ring_bytes()?, paths)?;
    let ring = Ring::new(programs.ring()?);
    let mints = sets.iter().any(|set| set.names_mints());
    let mut follower = Follower::new(Registry::new(programs, mints), config, sets)?;
    follower.allow_greenlet = args.allow_greenlet;
    let clock = Clock {
        offset: wall_offset(),
    };
    let metrics = Arc::new(Metrics::new(clock));
    let mut session = Session {
        follower,
        engine: Engine::new(Settings::default()),
        output,
        report: Report {
            privacy,
            clock,
            metrics,
            tally: Tally::default(),
            targets: HashMap::new(),
            watching: BTreeSet::new(),
        },
        in_use: BTreeSet::new(),
        events: Vec::new(),
        notices: Vec::new(),
        facts: Vec::new(),
    };
    if let Some(address) = args.listen {
        let address = http::serve(address, Arc::clone(&session.report.metrics))
            .map_err(|error| listen_error(&error))?;
        session
            .output
            .say(&format!("metrics at http://{address}/metrics"));
    }
    session.attach(args)?;
    let ended = session.watch(args, ring)?;
    session.finish(args, ended)
}

/// One run of `trace`.
struct Session {
    follower: Follower,
    engine: Engine,
    output: Output,
    report: Report,
    in_use: BTreeSet<String>,
    events: Vec<Event>,
    notices: Vec<Notice>,
    facts: Vec<Fact>,
}

/// What comes out of a run, beside the findings.
struct Report {
    privacy: Privacy,
    clock: Clock,
    metrics: Arc<Metrics>,
    tally: Tally,
    targets: HashMap<TargetId, Reported>,
    /// Services and variables that were said to be watched.
    watching: BTreeSet<(Arc<str>, Arc<str>)>,
}

struct Reported {
    info: TargetInfo,
    slots: BTreeMap<Slot, Arc<str>>,
}

impl Session {
    /// Attaches to the processes that run already.
    fn attach(&mut self, args: &TraceArgs) -> Result<(), Error> {
        for pid in &args.pids {
            let started = Instant::now();
            self.follower
                .add_running(*pid, now, &mut self.events, &mut self.notices)?;
            self.follower
                .add_descendants(*pid, now, &mut self.events, &mut self.notices)?;
            tracing::debug!(pid, elapsed = ?started.elapsed(), "attached");
        }
        self.digest();
        Ok(())
    }

    /// Watches until the end. Returns the command's exit code.
    fn watch(&mut self, args: &TraceArgs, mut ring: Ring) -> Result<Option<u8>, Error> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| {
            Error::cannot_trace(
                format!("failed to handle signals: {error}"),
                "check the limits on open files",
            )
        })?;
        let mut stops = 0;
        let mut command = self.spawn(args)?;
        let command_pid = command.as_ref().map(Running::pid);
        let deadline = args.duration.map(|duration| Instant::now() + duration);
        let mut counters = Instant::now();
        let mut code = None;
        let mut code_since = None;
        loop {
            let follower = &mut self.follower;
            let (events, notices) = (&mut self.events, &mut self.notices);
            let mut last = 0;
            let count = ring.drain(BATCH, |message| match message {
                Message::Record(record, values) => {
                    last = record.time;
                    follower.record(record, values, events, notices);
                }
                Message::Code(head, table) => follower.code(head, table),
            });
            self.report.tally.malformed(ring.malformed());
            self.follower
                .look_again(now(), &mut self.events, &mut self.notices);
            if last > 0 {
                self.report.metrics.ring_lag(now().saturating_sub(last));
            }
            self.digest();
            if counters.elapsed() >= COUNTERS {
                counters = Instant::now();
                self.counters();
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
            let pids_over = !args.pids.iter().any(|pid| self.follower.follows(*pid));
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
                wait(&ring);
            }
        }
        if let (Some(command), None) = (command.as_mut(), code) {
            code = command.try_wait().ok().flatten();
        }
        Ok(code)
    }

    /// Starts the command, traced from its first instruction.
    fn spawn(&mut self, args: &TraceArgs) -> Result<Option<Running>, Error> {
        if args.command.is_empty() {
            return Ok(None);
        }
        let uid = rustix::process::getuid().as_raw();
        let variable = |name: &str| std::env::var(name).ok();
        let user = Database::read().for_command(args.user.as_deref(), uid, variable)?;
        let spawned = Spawned::start(&args.command, user.as_ref())?;
        self.follower.add_command(spawned.pid())?;
        // exec stops the command until its records were handled, which happens here, while `release` waits for the exec.
        Ok(Some(spawned.release()?))
    }

    /// Feeds the engine and the reports with what has come in.
    fn digest(&mut self) {
        let (mut ended, mut notices) = (Vec::new(), std::mem::take(&mut self.notices));
        for notice in notices.drain(..) {
            match notice {
                Notice::Ended { id, .. } => ended.push(id),
                Notice::InUse(names) => self.in_use.extend(names),
                notice => self.report.notice(notice, &mut self.output),
            }
        }
        self.notices = notices;
        for event in self.events.drain(..) {
            tracing::trace!(?event);
            self.report.event(&event, &mut self.output);
            self.engine.apply(&event, &mut self.facts);
            for fact in self.facts.drain(..) {
                self.report.fact(&fact, &mut self.output);
            }
        }
        for id in ended {
            self.report.tally.exited(id);
            self.report.metrics.target_gone(id);
        }
    }

    fn counters(&mut self) {
        self.follower.registry.programs.log();
        let totals = self.follower.registry.programs.totals();
        let stats: Vec<_> = totals
            .iter()
            .map(|(probe, total)| (*probe, total.stats))
            .collect();
        let seconds = totals.values().map(|total| total.seconds).sum();
        self.report.tally.kernel(&stats, Some(seconds));
        for (probe, total) in &totals {
            self.report.metrics.kernel(*probe, &total.stats);
            self.report.metrics.probe_seconds(*probe, total.seconds);
        }
        self.report.metrics.targets(&self.report.tally.states());
    }

    /// Lets everything go and sums up.
    fn finish(mut self, args: &TraceArgs, code: Option<u8>) -> Result<u8, Error> {
        self.counters();
        self.follower.detach(now(), &mut self.events);
        self.digest();
        self.engine.finish(&mut self.facts);
        for fact in self.facts.drain(..) {
            self.report.fact(&fact, &mut self.output);
        }
        self.report.tally.variables_in_use(&self.in_use);
        let summary = self.report.tally.finish(code.map(i32::from));
        let unsupported = self
            .report
            .targets
            .is_empty()
            .then(|| self.report.tally.first_refusal())
            .flatten();
        self.output.finish(&summary).map_err(|error| {
            Error::usage(
                format!("failed to write the output: {error}"),
                "check the disk and who reads the output",
            )
        })?;
        if let Some(reason) = unsupported {
            return Err(Error::cannot_trace(reason, FOLLOW_HINT));
        }
        let fail_on = args.fail_on.as_ref().map(|kinds| kinds.iter().copied().collect());
        Ok(exit_code(Ending::Summary(&summary), fail_on.as_ref()) as u8)
    }
}

impl Report {
    fn notice(&mut self, notice: Notice, output: &mut Output) {
        match notice {
            Notice::Attached {
                id,
                pid,
                service,
                version,
                probes,
                missing,
                found,
            } => {
                output.say(&format!("attached to {service} (pid {pid}, cpython {version})"));
                if let Some(found) = found {
                    output.say(&at_attach(found));
                }
                self.metrics.attach_service(&service, Runtime::Cpython);
                for (probe, cost) in probes {
                    self.metrics.probe(&service, probe, Some(cost));
                }
                for probe in &missing {
                    self.metrics.probe(&service, *probe, None);
                }
                let info = TargetInfo {
                    service,
                    pid,
                    runtime: Runtime::Cpython,
                    version,
                };
                self.tally.attached(id, info.clone(), missing);
                if let Some(found) = found {
                    self.tally.found(id, found);
                }
                self.targets.insert(
                    id,
                    Reported {
                        info,
                        slots: BTreeMap::new(),
                    },
                );
            }
            Notice::Failed { pid, service, reason } => {
                let reason = clean(&reason);
                output.say(&format!(
                    "process {pid} ({}) cannot be traced: {reason}",
                    clean(&service)
                ));
                self.tally.child_not_attached(&service, pid, &reason);
            }
            Notice::Remark { pid, text } => output.say(&format!("process {pid}: {}", clean(&text))),
            Notice::Ended { .. } | Notice::InUse(_) => {}
        }
    }

    fn event(&mut self, event: &Event, output: &mut Output) {
        self.tally.received(1);
        self.metrics.received(&event.what);
        if let What::Variable { slot, name, role, .. } = &event.what
            && let Some(target) = self.targets.get_mut(&event.target)
        {
            target.slots.insert(*slot, Arc::clone(name));
            let service = Arc::clone(&target.info.service);
            if self.watching.insert((Arc::clone(&service), Arc::clone(name))) {
                output.say(&format!("watching {name} as {} in {service}", role.name()));
            }
        }
    }

    fn fact(&mut self, fact: &Fact, output: &mut Output) {
        self.tally.fold(fact);
        let Some(target) = self.targets.get(&fact.target) else {
            return;
        };
        let slot = match &fact.what {
            FactKind::SlotSeen(slot) | FactKind::Read(slot, _) | FactKind::Bind(slot, _) => {
                target.slots.get(slot).map_or("?", |name| name)
            }
            FactKind::Finding(finding) => &finding.slot_name,
            _ => "",
        };
        self.metrics.fold(fact, &target.info.service, slot);
        if let FactKind::Finding(finding) = &fact.what {
            output.finding(&ExportedFinding::new(
                finding,
                &target.info,
                self.clock,
                &self.privacy,
            ));
        }
    }
}

/// What a process held already, in words.
fn at_attach(found: AtAttach) -> String {
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

/// Waits for the kernel side to wake us, or for as long as records may wait.
fn wait(ring: &Ring) {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: POLL.as_nanos() as _,
    };
    // An interrupted wait is only a shorter one.
    let _ = poll(&mut [PollFd::new(ring, PollFlags::IN)], Some(&timeout));
}

/// Says early, and in words, what the kernel would only refuse.
fn check_machine() -> Result<(), Error> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Error::cannot_trace(
            "only x86-64 is supported",
            "run `bleedtrace doctor`",
        ));
    }
    if !Path::new(BTF).exists() {
        return Err(Error::cannot_trace(
            format!("this kernel publishes no type information at {BTF}"),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions do",
        ));
    }
    namespace::shown().map_err(AttachError::from)?;
    let own = Process::open(std::process::id())?.status()?.capabilities;
    let has = |bit: u32| own & (1 << bit) != 0;
    let missing: Vec<&str> = [
        (CAP_BPF, "CAP_BPF"),
        (CAP_PERFMON, "CAP_PERFMON"),
        (CAP_SYS_PTRACE, "CAP_SYS_PTRACE"),
    ]
    .into_iter()
    .filter(|(bit, _)| !has(*bit) && (*bit == CAP_SYS_PTRACE || !has(CAP_SYS_ADMIN)))
    .map(|(_, name)| name)
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::cannot_trace(
        format!("tracing needs {}, which this process lacks", missing.join(", ")),
        PRIVILEGE_HINT,
    ))
}

fn ring_bytes() -> Result<u32, Error> {
    let Some(text) = std::env::var_os(RING_VARIABLE) else {
        return Ok(RING_BYTES);
    };
    let bytes = text.to_str().and_then(|text| text.parse::<u32>().ok());
    bytes
        .filter(|bytes| bytes.is_power_of_two() && (4_096..=1 << 30).contains(bytes))
        .ok_or_else(|| {
            Error::usage(
                format!("{RING_VARIABLE} is {}", text.display()),
                "give a power of two between 4096 and 1073741824, in bytes",
            )
        })
}

fn privacy(config: &Config) -> Result<Privacy, Error> {
    match &config.key_file {
        Some(path) => Privacy::from_key_file(config.reveal, path),
        None => Privacy::random(config.reveal),
    }
    .map_err(|error| {
        Error::usage(
            error.to_string(),
            "give a readable file of at least 16 random bytes as key_file",
        )
    })
}

/// Nanoseconds of the monotonic clock, which stamps the records.
fn now() -> u64 {
    nanos(ClockId::Monotonic)
}

fn wall_offset() -> i64 {
    nanos(ClockId::Realtime) as i64 - now() as i64
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn listen_error(error: &ListenError) -> Error {
    let text = error.to_string();
    let (message, hint) = text
        .split_once("\nhint: ")
        .unwrap_or((&text, "give another address with --listen"));
    Error::usage(message, hint)
}

impl From<AttachError> for Error {
    fn from(error: AttachError) -> Self {
        let hint = match &error {
            error if error.is_permission() => PRIVILEGE_HINT,
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
