//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::{
    document::ReportArgs,
    error::Error,
    events::EventsArgs,
    kind,
    listen::{ListenArgs, ListenOptions},
    report_files::FaultArgs,
    session::Wants,
};
use crate::{
    config::{Config, Empty, FileConfig, Overrides, Tier, VarSelector, Watch, duration},
    correlate::finding::Kind,
};

/// Names the identity that bleeds between requests in a live Python program, from outside and without a change to it.
#[derive(Debug, Parser)]
#[command(
    name = "bleedtrace",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more about what is done; twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Colour the output.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto, env = "BLEEDTRACE_COLOR")]
    pub color: Color,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch processes until Ctrl-C, a duration, or the end of the command; then sum up.
    Trace(Box<TraceArgs>),
    /// Run as a daemon: find the processes to watch by itself, follow them, serve metrics.
    Agent(Box<AgentArgs>),
    /// Watch processes like `trace`, and write down what happens, so that it can be replayed.
    Record(Box<RecordArgs>),
    /// Judge what was recorded once more, without the processes and without privilege.
    Replay(ReplayArgs),
    /// Write a report that can be passed on, of a recording or of processes that are watched.
    Report(Box<ReportArgs>),
    /// List the processes that can be traced, and say of the others why not.
    Discover(DiscoverArgs),
    /// List the context variables that are in use: reads, binds, types, and what each may be for.
    Vars(VarsArgs),
    /// List every site that hands work over: what comes along, what is read and bound there, and whose it is.
    Hops(Box<HopsArgs>),
    /// Look at what is traced as it happens: findings, services, handoffs, threads that squat, what tracing costs.
    Top(Box<TopArgs>),
    /// Check whether this machine, and a process, can be traced.
    Doctor(DoctorArgs),
    /// Check the configuration, show what it amounts to, or print its schema for editors.
    Config(Box<ConfigArgs>),
    /// Say what a kind of finding means and how to mend it.
    Explain(ExplainArgs),
    /// Print a script that completes commands and flags in a shell.
    Completions(CompletionsArgs),
    /// Print a manual page.
    Man(ManArgs),
    /// Let stopped processes go on when the agent that traced them is gone. The agent starts it by itself.
    #[command(hide = true)]
    Keeper,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// Arguments that say which processes are watched, and for how long.
#[derive(Debug, Default, Args)]
pub struct TargetArgs {
    /// Process to watch; may be given again.
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    /// Stop after this long: 500ms, 10s, 2m, 1h30m.
    #[arg(long, value_parser = duration::parse, env = "BLEEDTRACE_DURATION")]
    pub duration: Option<Duration>,
    /// Run the command as this user, by name or number; under sudo the default is who called it.
    #[arg(long, requires = "command")]
    pub user: Option<String>,
    /// Attach to a process that maps greenlet (gevent, eventlet), although a return probe may crash it.
    #[arg(long)]
    pub allow_greenlet: bool,
    /// Command to run and watch from its first instruction.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments that say where the output goes, and in which form.
#[derive(Debug, Default, Args)]
pub struct OutputArgs {
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Format::Text, env = "BLEEDTRACE_FORMAT")]
    pub format: Format,
    /// Send the output to a file instead of stdout (stderr when a command is traced).
    #[arg(long = "output", value_name = "FILE", env = "BLEEDTRACE_OUTPUT")]
    pub file: Option<PathBuf>,
}

/// Arguments of `trace`.
#[derive(Debug, Default, Args)]
pub struct TraceArgs {
    /// Variables to watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Write a report that can be passed on: .html, .sarif, .xml (JUnit), .md, .json or .txt; may be given again.
    #[arg(long = "report", value_name = "FILE")]
    pub reports: Vec<PathBuf>,
    /// How findings are known again.
    #[command(flatten)]
    pub faults: FaultArgs,
    /// Exit with 1 only for these kinds of finding; the verdict stays what it is.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind::parse, env = "BLEEDTRACE_FAIL_ON")]
    pub fail_on: Option<Vec<Kind>>,
    /// How much is watched.
    #[command(flatten)]
    pub tier: TierArgs,
    /// What the kernel side tells.
    #[command(flatten)]
    pub reads: ReadsArgs,
    /// The flight recorder.
    #[command(flatten)]
    pub flight: FlightArgs,
    /// Once everything is attached, give up all privileges that tracing does not need. How long probes run is not measured then.
    #[arg(long, env = "BLEEDTRACE_CONFINE")]
    pub confine: bool,
    /// Where metrics, health and findings are served.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Where findings go besides the output.
    #[command(flatten)]
    pub events: EventsArgs,
    /// What is watched.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Which reads are told one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Reads {
    /// Those that say something new; the others are counted in the kernel.
    #[default]
    New,
    /// All of them.
    All,
}

/// Arguments that say what the kernel side tells.
#[derive(Debug, Default, Args)]
pub struct ReadsArgs {
    /// Which reads are told one by one. The findings are the same; a recording has every read in it with `all`.
    #[arg(long, value_enum, default_value_t = Reads::New, env = "BLEEDTRACE_READS")]
    pub reads: Reads,
}

impl ReadsArgs {
    /// Whether every read is told.
    pub fn all(&self) -> bool {
        self.reads == Reads::All
    }
}

/// Arguments of the flight recorder.
#[derive(Debug, Default, Args)]
pub struct FlightArgs {
    /// Keep so much of what happened in memory, and write it to a file with each critical finding: 30s, 2m.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "flight_dir", env = "BLEEDTRACE_FLIGHT_RECORDER")]
    pub flight_recorder: Option<Duration>,
    /// Directory of these files.
    #[arg(
        long,
        value_name = "DIR",
        requires = "flight_recorder",
        env = "BLEEDTRACE_FLIGHT_DIR"
    )]
    pub flight_dir: Option<PathBuf>,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Recording to write: a file that does not exist yet.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub recording: PathBuf,
    /// How to trace.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Recording to replay.
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Exit with 1 only for these kinds of finding; the verdict stays what it is.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind::parse, env = "BLEEDTRACE_FAIL_ON")]
    pub fail_on: Option<Vec<Kind>>,
}

/// Arguments of `vars`.
#[derive(Debug, Args)]
pub struct VarsArgs {
    /// Configuration file (TOML): it names the services.
    #[arg(long, value_name = "FILE", env = "BLEEDTRACE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What is watched.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `hops`.
#[derive(Debug, Args)]
pub struct HopsArgs {
    /// Variables to watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// What is watched besides variables.
    #[command(flatten)]
    pub wire: WireArgs,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What is watched.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Variables to watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// How much is watched.
    #[command(flatten)]
    pub tier: TierArgs,
    /// Print one snapshot and end: after --duration (5s unless given), or when the command has ended.
    #[arg(long)]
    pub once: bool,
    /// How often the picture changes.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    pub interval: Duration,
    /// Where the command's output goes while the terminal shows something else; it is thrown away if nothing is said.
    #[arg(long, value_name = "FILE", requires = "command", conflicts_with = "once")]
    pub command_output: Option<PathBuf>,
    /// Where the snapshot goes; without --once, the findings and the summary at the end.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What is watched; every process that can be, if nothing is said.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// List processes that run no Python, too.
    #[arg(long)]
    pub all: bool,
    /// Configuration file (TOML): it names the services.
    #[arg(long, value_name = "FILE", env = "BLEEDTRACE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments that say what is watched besides variables.
#[derive(Clone, Debug, Default, Args)]
pub struct WireArgs {
    /// Read what the processes receive and send: requests of MCP, and whose tasks they mint and poll.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "BLEEDTRACE_WIRE")]
    pub wire: Option<bool>,
    /// Follow asyncio tasks: which of them serve other requests than the one that created them. Comes with --wire.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "BLEEDTRACE_TASKS")]
    pub tasks: Option<bool>,
}

/// Arguments that say how much is watched.
#[derive(Clone, Debug, Default, Args)]
pub struct TierArgs {
    /// What is watched besides variables.
    #[command(flatten)]
    pub wire: WireArgs,
    /// With `handoffs` no reads are watched, which cost most where identities are read most.
    #[arg(long, value_name = "TIER", value_enum, env = "BLEEDTRACE_TIER")]
    pub tier: Option<Tier>,
}

impl TierArgs {
    /// For commands that are about what is read.
    pub const fn full(wire: WireArgs) -> Self {
        Self {
            wire,
            tier: Some(Tier::Full),
        }
    }
}

/// Arguments that say what is watched.
#[derive(Debug, Default, Args)]
pub struct WatchArgs {
    /// ContextVar that says who a request is for; `module:name` where two share a name; may be given again.
    #[arg(long, value_name = "VAR")]
    pub identity: Vec<VarSelector>,
    /// ContextVar that says which request it is.
    #[arg(long, value_name = "VAR")]
    pub request: Vec<VarSelector>,
    /// ContextVar that holds a pinned digest.
    #[arg(long, value_name = "VAR")]
    pub digest: Vec<VarSelector>,
    /// Value that counts as empty, for one variable or all.
    #[arg(long, value_name = "[VAR=]VALUE")]
    pub empty: Vec<Empty>,
    /// Glob over `module.qualname` of functions that mint task handles.
    #[arg(long, value_name = "PATTERN")]
    pub mint: Vec<String>,
    /// Glob over `module.qualname` of functions that decide what somebody may do: finding nobody there is reported.
    #[arg(long, value_name = "PATTERN")]
    pub policy: Vec<String>,
    /// Show values instead of keyed hashes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "BLEEDTRACE_REVEAL")]
    pub reveal: Option<bool>,
    /// File with the key of the hashes, so that they agree between runs.
    #[arg(long, value_name = "FILE", env = "BLEEDTRACE_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "BLEEDTRACE_CONFIG")]
    pub config: Option<PathBuf>,
}

impl WatchArgs {
    /// The configuration that these, the environment and the file amount to.
    pub fn resolve(&self, tier: &TierArgs) -> Result<Config, Error> {
        self.resolve_with(tier, &DaemonArgs::default())
    }

    /// The same, with the agent's own settings.
    fn resolve_with(&self, tier: &TierArgs, daemon: &DaemonArgs) -> Result<Config, Error> {
        let file = match &self.config {
            Some(path) => FileConfig::read(path)?,
            None => FileConfig::default(),
        };
        let overrides = Overrides {
            watch: Watch {
                identity: self.identity.clone(),
                request: self.request.clone(),
                digest: self.digest.clone(),
                empties: self.empty.clone(),
                mint: self.mint.clone(),
                policy: self.policy.clone(),
                wire: tier.wire.wire,
                tasks: tier.wire.tasks,
                tier: tier.tier,
                defaults: false,
            },
            reveal: self.reveal,
            key_file: self.key_file.clone(),
            listen: daemon.listen,
            only_services: daemon.only_services,
            disarm_after: daemon.disarm_after,
        };
        Ok(Config::resolve(file, &overrides)?)
    }
}

impl TargetArgs {
    /// How processes are watched, as far as that is said here.
    pub fn wants(&self) -> Wants {
        Wants {
            allow_greenlet: self.allow_greenlet,
            ..Wants::default()
        }
    }

    /// Refuses to watch nothing.
    pub fn check(&self, command: &str) -> Result<(), Error> {
        if self.pids.is_empty() && self.command.is_empty() {
            return Err(Error::usage(
                "nothing to trace",
                format!("give --pid PID, or a command behind `--`: bleedtrace {command} -- python3 app.py"),
            ));
        }
        Ok(())
    }
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Check this process, too.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Format::Text, env = "BLEEDTRACE_FORMAT")]
    pub format: Format,
}

/// Arguments of `agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The configuration.
    #[command(flatten)]
    pub source: ConfigSource,
    /// Where findings go; what else is to be said goes to stderr.
    #[command(flatten)]
    pub output: OutputArgs,
    /// For whom metrics, health and findings are served.
    #[command(flatten)]
    pub listen: ListenOptions,
    /// Where findings go besides the output.
    #[command(flatten)]
    pub events: EventsArgs,
    /// What the kernel side tells.
    #[command(flatten)]
    pub reads: ReadsArgs,
    /// The flight recorder.
    #[command(flatten)]
    pub flight: FlightArgs,
    /// Give up all privileges that tracing does not need once the processes that run were looked at. How long probes run is not
    /// measured then.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", env = "BLEEDTRACE_CONFINE")]
    pub confine: bool,
    /// Attach to processes that map greenlet (gevent, eventlet), although a return probe may crash them.
    #[arg(long)]
    pub allow_greenlet: bool,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the configuration can be used, and what is wrong with it.
    Check(ConfigSource),
    /// Print what the file, the environment and the flags amount to, as TOML.
    Show(ConfigSource),
    /// Print a JSON schema of the configuration file, for editors.
    Schema,
}

/// Arguments that make up a configuration.
#[derive(Debug, Args)]
pub struct ConfigSource {
    /// Variables to watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// The agent's own settings.
    #[command(flatten)]
    pub daemon: DaemonArgs,
    /// How much is watched.
    #[command(flatten)]
    pub tier: TierArgs,
}

/// Settings of the agent.
#[derive(Debug, Default, Args)]
pub struct DaemonArgs {
    /// Serve HTTP at this address.
    #[arg(long, value_name = "ADDR", env = "BLEEDTRACE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Attach to processes that a [[service]] selects only; so it is by default where there is one.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "BLEEDTRACE_ONLY_SERVICES")]
    pub only_services: Option<bool>,
    /// Let go of an interpreter's files when nobody has run from them for so long; a minute by default.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, env = "BLEEDTRACE_DISARM_AFTER")]
    pub disarm_after: Option<Duration>,
}

impl ConfigSource {
    /// The configuration that these, the environment and the file amount to.
    pub fn resolve(&self) -> Result<Config, Error> {
        self.watch.resolve_with(&self.tier, &self.daemon)
    }
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Command whose page is wanted; the program's own when none is given.
    pub command: Option<String>,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Kind of finding; all of them when none is given.
    #[arg(value_parser = kind::parse)]
    pub kind: Option<Kind>,
}
