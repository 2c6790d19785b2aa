//! `bleedtrace agent`: the daemon. It finds the processes to watch by itself, follows them through their lives, and serves metrics.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    args::{AgentArgs, Color},
    changes::Changes,
    error::{Error, exit},
    output::Output,
    recorder::Recorder,
    report::{Report, Voice},
    requirements::{check_machine, privacy},
    session::{self, Observer as _, Session, Wants},
};
use crate::{
    config::Config,
    report::{
        metrics::{Metrics, Reload},
        privacy::Privacy,
        store::{Need, Store},
    },
};

/// Where metrics are served when nothing else is said.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// How long nobody has run from a file before it is let go, when nothing else is said.
pub(super) const DISARM_AFTER: Duration = Duration::from_secs(60);

/// The priority at which the agent takes what the kernel side tells, if it may (`CAP_SYS_NICE`).
const PRIORITY: i32 = -10;

/// Runs the command, until it is told to end.
pub fn run(args: &AgentArgs, color: Color) -> Result<u8, Error> {
    let mut changes = Changes::of(args.source.watch.config.clone());
    let config = args.source.resolve()?;
    check_machine()?;
    allow_many_files();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| {
        Error::cannot_trace(
            format!("failed to handle signals: {error}"),
            "check the limits on open files",
        )
    })?;
    let output = Output::open(&args.output, false, color)?;
    let mut agent = Agent::start(args, config, output)?;
    loop {
        let count = agent.session.turn(&mut agent.report);
        let mut reload = changes.happened();
        for signal in signals.pending() {
            if signal != SIGHUP {
                return agent.end();
            }
            reload = true;
        }
        if reload {
            agent.reload(args);
        }
        if count == 0 {
            agent.session.wait();
        }
    }
}

/// The daemon.
struct Agent {
    config: Config,
    /// The address that it was told to serve at when it started.
    serves: SocketAddr,
    privacy: Privacy,
    metrics: Arc<Metrics>,
    report: Report,
    session: Session,
}

impl Agent {
    /// Attaches to what there is.
    fn start(args: &AgentArgs, config: Config, output: Output) -> Result<Self, Error> {
        let privacy = privacy(&config)?;
        let clock = session::clock();
        let metrics = Arc::new(Metrics::new(clock));
        let listen = config.listen.unwrap_or(LISTEN);
        let store = Arc::new(Store::new(clock, Need::Nothing, session::now()));
        let mut report = Report::new(
            config.clone(),
            privacy.clone(),
            clock,
            Arc::clone(&metrics),
            Arc::clone(&store),
            output,
            Voice::Log,
        );
        report.confine = args.confine.then_some(false);
        report.sinks = args.events.start(&metrics)?;
        // Before the kernel side is loaded: whoever asks meanwhile is told that it starts.
        report.say(&args.listen.serve(listen, &metrics, &store, clock)?);
        let recorder = Recorder::new(None, &args.flight)?;
        come_first();
        let session = Session::open(config.clone(), wants(args, &config, &recorder, &privacy))?;
        report.recorder = recorder;
        report.recorder.start(session.header(&config, clock))?;
        let mut agent = Self {
            config,
            serves: listen,
            privacy,
            metrics,
            report,
            session,
        };
        agent.session.scan(&mut agent.report);
        agent.report.started()?;
        agent.report.say("all processes were looked at");
        Ok(agent)
    }

    /// Goes on with the configuration as it is now, or with the one before if that cannot be used.
    fn reload(&mut self, args: &AgentArgs) {
        match self.reloaded(args) {
            Ok(true) => {
                self.metrics.reloaded(Reload::Applied);
                self.report
                    .say("the configuration has changed and was taken over");
            }
            Ok(false) => self.report.say("the configuration has not changed"),
            Err(error) => {
                self.metrics.reloaded(Reload::Refused);
                self.report.warn(&format!(
                    "the configuration has changed and cannot be used, the one before holds: {error}"
                ));
            }
        }
    }

    /// False when nothing is different. What can fail comes first: until it is done, all stays as it was.
    fn reloaded(&mut self, args: &AgentArgs) -> Result<bool, Error> {
        let config = args.source.resolve()?;
        if config == self.config {
            return Ok(false);
        }
        let listen = config.listen.unwrap_or(LISTEN);
        args.listen.allows(listen)?;
        let privacy = if config.key_file.is_none() && self.config.key_file.is_none() {
            self.privacy.with_reveal(config.reveal)
        } else {
            privacy(&config)?
        };
        let mut session = Session::open(
            config.clone(),
            wants(args, &config, &self.report.recorder, &privacy),
        )?;
        if listen != self.serves {
            self.report
                .say("another address to listen on takes effect when the agent starts again");
        }
        self.session.finish(&mut self.report);
        let header = session.header(&config, session::clock());
        self.report.recorder.start_over(header);
        session.continue_numbers(&self.session);
        self.report.start_over(config.clone(), privacy.clone());
        (self.config, self.privacy) = (config, privacy);
        let former = std::mem::replace(&mut self.session, session);
        self.session.scan(&mut self.report);
        // To let go of its probes takes a while: that comes last.
        drop(former);
        Ok(true)
    }

    /// Lets everything go.
    fn end(mut self) -> Result<u8, Error> {
        self.session.finish(&mut self.report);
        self.report.close_sinks();
        self.report.recorder.finish(None)?;
        self.report.say("ended");
        Ok(exit::CLEAN)
    }
}

/// Each process that is traced takes a descriptor.
pub(super) fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    ) {
        tracing::info!(%error, "the limit on open files stays as it is");
    }
}

/// A process that starts is to be looked at before it ends, however busy the machine is. Threads that are started from here on come
/// first as well; the one that serves HTTP does not.
pub(super) fn come_first() {
    if let Err(error) = setpriority_process(None, PRIORITY) {
        tracing::info!(%error, "the agent runs at the priority that it was given: on a busy machine it may come late to what is short-lived");
    }
}

fn wants(args: &AgentArgs, config: &Config, recorder: &Recorder, privacy: &Privacy) -> Wants {
    Wants {
        everyone: true,
        disarm_after: Some(config.disarm_after.unwrap_or(DISARM_AFTER)),
        seal: recorder.records().then(|| privacy.clone()),
        selftest: true,
        allow_greenlet: args.allow_greenlet,
        all_reads: args.reads.all(),
        wire: Some(privacy.derived_key(b"wire")),
        ..Wants::default()
    }
}
