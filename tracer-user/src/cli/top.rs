//! `bleedtrace top`: what is traced, as it happens, on a terminal; or one look at it, for scripts.

mod live;
mod patient;
mod screen;
mod watch;

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _},
    sync::Arc,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use self::{live::Live, watch::Watch};
use super::{
    agent,
    args::{Color, TargetArgs, TopArgs},
    error::{Error, exit},
    log,
    output::Output,
    private_file,
    report::{Report, Voice},
    requirements::{check_machine, privacy},
    session::{self, Observer as _, Session, Wants},
    table,
};
use crate::{
    config::Config,
    report::{
        metrics::Metrics,
        privacy::Privacy,
        store::{Need, Store},
        top::{books::Books, snapshot::Snapshot, text},
    },
};

/// How long processes are watched for one look, unless something else is said.
const ONE_LOOK: Duration = Duration::from_secs(5);
/// The picture does not change more often than this.
const FASTEST: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &TopArgs, color: Color) -> Result<u8, Error> {
    if args.interval < FASTEST {
        return Err(Error::usage(
            format!("an interval of {:?} is too short", args.interval),
            "give 100ms or more with --interval",
        ));
    }
    if !args.once && !io::stdout().is_terminal() {
        return Err(Error::usage(
            "stdout is no terminal, which a live view takes",
            "--once prints one snapshot; `bleedtrace trace` prints findings as they happen",
        ));
    }
    let config = args.watch.resolve(&args.tier)?;
    check_machine()?;
    let privacy = privacy(&config)?;
    if args.once {
        once(args, config, privacy, color)
    } else {
        live(args, config, &privacy, color)
    }
}

/// One look.
fn once(args: &TopArgs, config: Config, privacy: Privacy, color: Color) -> Result<u8, Error> {
    let output = Output::open(&args.output, !args.target.command.is_empty(), color)?;
    let session = Session::open(config.clone(), wants(args, &config, &privacy))?;
    let run = Run {
        args,
        config,
        privacy,
    };
    let mut watch = run.watch(output.at_the_end(), Duration::MAX, |_| {});
    let duration = args.target.duration;
    let patience = duration.or_else(|| args.target.command.is_empty().then_some(ONE_LOOK));
    run.session(session, &mut watch, patience)?;
    let snapshot = last(&mut watch);
    let drawn = |head: &[&str], rows: Vec<Vec<String>>| table::render(head, rows);
    let output = watch.report.into_output()?;
    output.list(|| text::whole(&snapshot, drawn), std::slice::from_ref(&snapshot))?;
    Ok(exit::CLEAN)
}

/// The live view.
fn live(args: &TopArgs, config: Config, privacy: &Privacy, color: Color) -> Result<u8, Error> {
    let output = Output::open(&args.output, false, color)?;
    let output = if args.output.file.is_some() {
        output
    } else {
        output.at_the_end()
    };
    let aside = (!args.target.command.is_empty())
        .then(|| command_output(args))
        .transpose()?;
    let keeping = log::keep();
    let live = Live::start(coloured(color)).map_err(|error| {
        Error::usage(
            format!("the terminal cannot be taken over: {error}"),
            "--once prints one snapshot without one",
        )
    })?;
    let mut session = Session::open(config.clone(), wants(args, &config, privacy))?;
    if let Some(aside) = aside {
        session.command_writes_to(aside);
    }
    let run = Run {
        args,
        config,
        privacy: privacy.clone(),
    };
    let mut watch = run.watch(output, args.interval, live.show());
    let done = run.session(session, &mut watch, args.target.duration);
    if done.is_ok() && args.target.duration.is_none() {
        let snapshot = last(&mut watch);
        live.show()(snapshot);
        live.wait_for_quit();
    }
    // The terminal is given back before anything else is said.
    drop(live);
    drop(keeping);
    let code = done?;
    watch.report.finish(None, code)?;
    Ok(exit::CLEAN)
}

struct Run<'a> {
    args: &'a TopArgs,
    config: Config,
    privacy: Privacy,
}

impl Run<'_> {
    /// Whether every process that can be is watched.
    fn everyone(&self) -> bool {
        is_everyone(&self.args.target)
    }

    fn watch<S: FnMut(Snapshot)>(&self, output: Output, interval: Duration, show: S) -> Watch<S> {
        let clock = session::clock();
        let metrics = Arc::new(Metrics::new(clock));
        let (need, voice) = if self.everyone() {
            (Need::Nothing, Voice::Log)
        } else {
            (Need::Target, Voice::Output)
        };
        let store = Arc::new(Store::new(clock, need, session::now()));
        let report = Report::new(
            self.config.clone(),
            self.privacy.clone(),
            clock,
            metrics,
            Arc::clone(&store),
            output,
            voice,
        );
        let books = Books::new(clock, self.privacy.clone(), session::now());
        Watch::new(report, books, self.config.clone(), store, interval, show)
    }

    /// Watches, for so long if that is said. Returns a command's exit code.
    fn session<S: FnMut(Snapshot)>(
        &self,
        mut session: Session,
        watch: &mut Watch<S>,
        patience: Option<Duration>,
    ) -> Result<Option<u8>, Error> {
        if self.everyone() {
            everyone(&mut session, watch, patience)?;
            return Ok(None);
        }
        session.run(&self.args.target, patience, watch)
    }
}

/// What is known when nothing will happen any more.
fn last<S: FnMut(Snapshot)>(watch: &mut Watch<S>) -> Snapshot {
    Snapshot {
        ended: true,
        ..watch.snapshot()
    }
}

/// Watches every process that can be, as the agent does, for so long or until a person has seen enough.
fn everyone<S: FnMut(Snapshot)>(
    session: &mut Session,
    watch: &mut Watch<S>,
    patience: Option<Duration>,
) -> Result<(), Error> {
    agent::allow_many_files();
    agent::come_first();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| {
        Error::cannot_trace(
            format!("failed to handle signals: {error}"),
            "check the limits on open files",
        )
    })?;
    session.scan(watch);
    watch.started()?;
    let deadline = patience.map(|patience| Instant::now() + patience);
    while deadline.is_none_or(|deadline| Instant::now() < deadline) && signals.pending().next().is_none() {
        if session.turn(watch) == 0 {
            session.wait();
        }
    }
    session.finish(watch);
    Ok(())
}

fn is_everyone(target: &TargetArgs) -> bool {
    target.pids.is_empty() && target.command.is_empty()
}

fn wants(args: &TopArgs, config: &Config, privacy: &Privacy) -> Wants {
    let everyone = is_everyone(&args.target);
    Wants {
        inventory: true,
        selftest: true,
        wire: Some(privacy.derived_key(b"wire")),
        everyone,
        disarm_after: everyone.then(|| config.disarm_after.unwrap_or(agent::DISARM_AFTER)),
        ..args.target.wants()
    }
}

/// Where a command writes that does not have the terminal.
fn command_output(args: &TopArgs) -> Result<File, Error> {
    let opened = match &args.command_output {
        Some(path) => private_file::create_or_open(path, OpenOptions::new().append(true))
            .map_err(|error| format!("failed to open {}: {error}", path.display())),
        None => OpenOptions::new()
            .write(true)
            .open("/dev/null")
            .map_err(|error| format!("failed to open /dev/null: {error}")),
    };
    opened.map_err(|message| Error::usage(message, "give a path that can be written with --command-output"))
}

fn coloured(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}
