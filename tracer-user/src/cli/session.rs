//! A run of a command that watches processes: attach, take what the kernel side sends, let go.
//!
//! What is made of it is the command's own: it is told as an [`Observer`]. `trace`, `vars` and `hops` watch until what they watch ends
//! ([`Session::run`]); the agent takes one turn after the other.

mod run;
mod words;

use std::{
    fs::File,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};

use tracer_common::{record::kind, stats::Probe};

pub use self::words::{FOLLOW_HINT, Reached, at_attach, attached, remark};
use super::{error::Error, output::Output, requirements};
use crate::{
    attach::{
        object::BpfObject,
        programs::{AttachError, Options, Programs},
        registry::{self, Registry},
        selftest,
    },
    config::Config,
    correlate::{engine::Engine, event::Event, fact::Fact, settings::Settings},
    recording::{entry::Header, seal::Sealer},
    report::{
        clock::Clock,
        privacy::{Privacy, clean},
    },
    runtime::cpython::probe_point::When,
    source::{
        ring::{Message, Ring},
        watchdog::{Turn, Watchdog},
    },
    target::follow::{FollowError, Follower, Notice},
    wire::rules::Rules,
};

/// Records that are taken before the rest of the loop has its turn: as many events are in memory at once.
const BATCH: usize = 1_024;
/// Batches that are taken at the end, at most: more than the ring holds.
const LAST_TURNS: u32 = 256;
/// How long records may wait. The kernel side wakes the agent earlier for what cannot.
const POLL: Duration = Duration::from_millis(5);
/// How often the kernel side's counters are read.
const COUNTERS: Duration = Duration::from_millis(500);
/// How often it is asked what it has counted of each thread.
const READS: Duration = Duration::from_secs(2);

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

/// How a command wants to be told.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they have nothing to do with each other"
)]
pub struct Wants {
    /// The engine tells what happens at each handoff's site.
    pub inventory: bool,
    /// Every read is told, not only those that say something new.
    pub all_reads: bool,
    /// The kernel side counts the uses of all variables.
    pub uses: bool,
    /// Every process of the machine is looked at, and those that the configuration selects are attached to.
    pub everyone: bool,
    /// Attach to processes that map greenlet all the same.
    pub allow_greenlet: bool,
    /// What processes receive and send is read where that is configured, and their tasks are followed; by this key secrets are known.
    pub wire: Option<[u8; 32]>,
    /// Events are sealed, so that they can be recorded: how values are shown.
    pub seal: Option<Privacy>,
    /// What is armed in files that nobody has run from for so long is undone; never, if nothing is said.
    pub disarm_after: Option<Duration>,
    /// A function of our own is called now and then, to see that what is probed arrives.
    pub selftest: bool,
}

/// One run.
pub struct Session {
    follower: Follower,
    engine: Engine,
    sealer: Option<Sealer>,
    ring: Ring,
    watchdog: Option<Watchdog>,
    disarm_after: Option<Duration>,
    counted: Instant,
    reads_counted: Instant,
    events: Vec<Event>,
    notices: Vec<Notice>,
    facts: Vec<Fact>,
    /// Where a command's output goes, if not where ours does.
    command_output: Option<File>,
}

impl Session {
    /// Loads the kernel side. Nothing is watched yet.
    pub fn open(config: Config, wants: Wants) -> Result<Self, Error> {
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
            everyone: wants.everyone,
            // Who counts what happens at each site needs all of it.
            all_reads: wants.all_reads || wants.inventory,
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
        follower.allow_greenlet = wants.allow_greenlet;
        follower.everyone = wants.everyone;
        let sealer = wants.seal.map(|privacy| Sealer::new(privacy, rules.clone()));
        let settings = Settings {
            inventory: wants.inventory,
            wire: rules,
            tasks: options.tasks,
            ..Settings::default()
        };
        Ok(Self {
            follower,
            engine: Engine::new(settings),
            sealer,
            ring,
            watchdog,
            disarm_after: wants.disarm_after,
            counted: Instant::now(),
            reads_counted: Instant::now(),
            events: Vec::new(),
            notices: Vec::new(),
            facts: Vec::new(),
            command_output: None,
        })
    }

    /// Keeps a command that is started away from our terminal: it reads nothing, and writes into this file.
    pub fn command_writes_to(&mut self, file: File) {
        self.command_output = Some(file);
    }

    /// Goes on with the numbers of another run's findings.
    pub const fn continue_numbers(&mut self, of: &Self) {
        self.engine.number_after(of.engine.findings());
    }

    /// What a recording has to say of the run first.
    pub fn header(&self, config: &Config, clock: Clock) -> Header {
        let settings = self.engine.settings();
        Header {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            clock_offset: clock.offset,
            wire: settings.wire.is_some(),
            tasks: settings.tasks,
            reveal: config.reveal,
            allow: config.allow.clone(),
            because: None,
        }
    }

    /// Looks at every process of the machine, and attaches to those that the configuration selects.
    pub fn scan(&mut self, observer: &mut impl Observer) {
        let started = Instant::now();
        self.follower.scan(now, &mut self.events, &mut self.notices);
        tracing::debug!(elapsed = ?started.elapsed(), files = self.follower.registry.parsed(), "scanned");
        self.digest(observer);
    }

    /// Takes what has come in, up to a bound, and does what time has come for. Returns how many records it took.
    pub fn turn(&mut self, observer: &mut impl Observer) -> usize {
        let follower = &mut self.follower;
        let (events, notices) = (&mut self.events, &mut self.notices);
        let mut last = 0;
        let mut own_call = None;
        let count = self.ring.drain(BATCH, |message| match message {
            Message::Record(record, _) if record.kind == kind::SELFTEST => own_call = Some(record.object),
            Message::Record(record, values) => {
                last = record.time;
                follower.record(record, values, now, events, notices);
            }
            Message::Code(head, table) => follower.code(head, table),
            Message::Wire(head, bytes) => {
                last = head.time;
                follower.wire(head, bytes, events, notices);
            }
        });
        observer.malformed(self.ring.malformed());
        self.watch_ourselves(own_call, observer);
        self.follower
            .look_again(now(), &mut self.events, &mut self.notices);
        if last > 0 {
            observer.lag(now().saturating_sub(last));
        }
        self.digest(observer);
        observer.settled(&self.follower);
        if self.counted.elapsed() >= COUNTERS {
            self.counted = Instant::now();
            observer.counters(&mut self.follower);
            if self.reads_counted.elapsed() >= READS {
                self.reads_counted = Instant::now();
                self.follower.count_reads(&mut self.events);
            }
            self.follower.catch_up(now, &mut self.events, &mut self.notices);
            // Else ends may have been told that were not taken yet.
            if count < BATCH {
                self.follower.reap(now(), &mut self.events, &mut self.notices);
            }
            self.follower
                .look_around(now, &mut self.events, &mut self.notices);
            if let Some(patience) = self.disarm_after {
                self.follower.disarm_idle(patience);
            }
        }
        count
    }

    /// Waits for the kernel side to wake us, or for as long as records may wait.
    pub fn wait(&self) {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: POLL.as_nanos() as _,
        };
        // An interrupted wait is only a shorter one.
        let _ = poll(&mut [PollFd::new(&self.ring, PollFlags::IN)], Some(&timeout));
    }

    /// Lets every process go, and tells what follows from that.
    pub fn finish(&mut self, observer: &mut impl Observer) {
        // What has come in is told first; a target may never stop telling.
        for _ in 0..LAST_TURNS {
            if self.turn(observer) == 0 {
                break;
            }
        }
        observer.counters(&mut self.follower);
        self.follower.count_reads(&mut self.events);
        self.follower.detach(now(), &mut self.events);
        self.digest(observer);
        self.engine.finish(&mut self.facts);
        for fact in self.facts.drain(..) {
            observer.fact(&fact);
        }
    }

    /// Calls our own function when it is time to, and tells whether that came out of the ring.
    fn watch_ourselves(&mut self, arrived: Option<u64>, observer: &mut impl Observer) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        if arrived.is_some_and(|number| watchdog.arrived(number, now())) {
            observer.selftest(true);
        }
        match watchdog.turn(now()) {
            Some(Turn::Call(number)) => selftest::call(number),
            Some(Turn::Missing) => observer.selftest(false),
            None => {}
        }
    }

    /// Feeds the engine and the observer with what has come in.
    fn digest(&mut self, observer: &mut impl Observer) {
        let mut ended = Vec::new();
        for notice in self.notices.drain(..) {
            match notice {
                notice @ Notice::Ended { .. } => ended.push(notice),
                notice @ Notice::Attached { .. } => {
                    if let Notice::Attached { id, service, .. } = &notice {
                        self.engine.serves(*id, service);
                    }
                    observer.notice(notice);
                }
                notice => observer.notice(notice),
            }
        }
        for mut event in self.events.drain(..) {
            if let Some(sealer) = &mut self.sealer {
                sealer.seal(&mut event);
            }
            tracing::trace!(?event);
            observer.event(&event);
            self.engine.apply(&event, &mut self.facts);
            for fact in self.facts.drain(..) {
                observer.fact(&fact);
            }
        }
        for notice in ended {
            observer.notice(notice);
        }
    }
}

/// Probes our own function.
fn probe_ourselves(programs: &mut Programs) -> Result<(), Box<dyn std::error::Error>> {
    let (file, point) = selftest::point()?;
    let link = programs.link(Probe::Selftest, When::Entry, &file, &[point])?;
    programs.keep(link);
    Ok(())
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
