//! Running the agent. It is told by a rule which processes are meant: there may be others on the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::{
    metrics,
    outcome::Finding,
    setup::Setup,
    tracer::{Ended, Program, wait_until},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The variable of the environment that a test's processes have.
pub const MARK: &str = "BLEEDTRACE_TEST_MARK";

/// An agent that runs.
pub struct Agent {
    /// It.
    pub program: Program,
    /// Where its metrics are.
    pub address: String,
    /// Its configuration.
    pub config: PathBuf,
    /// What processes that are meant have in their environment as [`MARK`].
    pub mark: String,
    findings: PathBuf,
    log: PathBuf,
}

impl Agent {
    /// Starts one with a configuration, in which `{mark}` stands for this agent's mark; returns once it has looked at all processes.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(setup: &Setup, config: &str) -> Self {
        Self::start_as(setup, config, &[], &[])
    }

    /// The same, by words that come before its own and with more flags. The words begin with what they set in its environment.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start_as(setup: &Setup, config: &str, before: &[&str], flags: &[&str]) -> Self {
        let mut program = Command::new("env");
        program.args(before).arg(&setup.bleedtrace);
        Self::start_by(&program, flags, config)
    }

    /// The same, by a command that runs the program.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start_by(program: &Command, flags: &[&str], config: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}", std::process::id());
        let place = |kind: &str| std::env::temp_dir().join(format!("bleedtrace-agent-{mark}.{kind}"));
        let (path, findings, log) = (place("toml"), place("json"), place("log"));
        fs::write(&path, config.replace("{mark}", &mark)).expect("the configuration is written");
        let address = format!("127.0.0.1:{}", metrics::free_port());
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 2>\"$LOG\""])
            .env("LOG", &log)
            .arg(program.get_program())
            .args(program.get_args())
            .args(["agent", "--reveal", "--format", "json", "--listen", &address])
            .arg("--config")
            .arg(&path)
            .arg("--output")
            .arg(&findings)
            .args(flags);
        let mut agent = Self {
            program: Program::start(&mut command),
            address,
            config: path,
            mark,
            findings,
            log,
        };
        agent.wait_to_say("all processes were looked at");
        agent
    }

    /// A command that runs a fixture under the mark.
    pub fn command(&self, setup: &Setup, fixture: &str) -> Command {
        let mut command = setup.command();
        command.env(MARK, &self.mark).arg(setup.fixture(fixture));
        command
    }

    /// Waits until its log says something.
    ///
    /// # Panics
    /// When it does not, or the agent ends.
    #[track_caller]
    pub fn wait_to_say(&mut self, words: &str) {
        let program = &mut self.program;
        let log = &self.log;
        wait_until(&format!("the agent says {words:?}"), PATIENCE, || {
            let said = fs::read_to_string(log).unwrap_or_default();
            assert!(program.runs() || said.contains(words), "the agent ended: {said}");
            said.contains(words).then_some(())
        });
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Replaces its configuration, at once and in place.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn configure(&self, config: &str) {
        let beside = self.config.with_extension("new");
        fs::write(&beside, config.replace("{mark}", &self.mark)).expect("the configuration is written");
        fs::rename(beside, &self.config).expect("it takes the old one's place");
    }

    /// Its metrics, as Prometheus is given them.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn metrics(&self) -> String {
        metrics::get(&self.address, "/metrics").expect("the agent answers")
    }

    /// A sample of its metrics; 0 when there is none.
    #[track_caller]
    pub fn sample(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        metrics::sample(&self.metrics(), name, labels).unwrap_or(0.0) as u64
    }

    /// Waits until a sample is at least so high.
    #[track_caller]
    pub fn wait_for(&self, name: &str, labels: &[(&str, &str)], least: u64) {
        wait_until(&format!("{name}{labels:?} is {least}"), PATIENCE, || {
            (self.sample(name, labels) >= least).then_some(())
        });
    }

    /// The findings so far.
    ///
    /// # Panics
    /// When a line is no finding.
    #[track_caller]
    pub fn findings(&self) -> Vec<Finding> {
        let text = fs::read_to_string(&self.findings).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| serde_json::from_str(line).expect("one finding a line");
        whole.lines().map(parse).collect()
    }

    /// How many bleeds it has found in a process.
    #[track_caller]
    pub fn bleeds_of(&self, pid: u32) -> usize {
        let bleeds = self.findings();
        bleeds
            .iter()
            .filter(|finding| finding["kind"] == "bleed" && finding["pid"] == pid)
            .count()
    }

    /// What it answers in JSON at a path, well or not.
    ///
    /// # Panics
    /// When it does not answer, or not so.
    #[track_caller]
    pub fn ask(&self, path: &str) -> (u16, Value) {
        let (status, body) = metrics::ask(&self.address, path).expect("the agent answers");
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    /// Tells it to end, and waits for that.
    #[track_caller]
    pub fn end(self) -> (Ended, String) {
        self.program.signal("TERM");
        self.ended()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn ended(self) -> (Ended, String) {
        let Self {
            program,
            config,
            findings,
            log,
            ..
        } = self;
        let ended = program.end();
        let said = fs::read_to_string(&log).unwrap_or_default();
        for file in [config, findings, log] {
            let _ = fs::remove_file::<&Path>(file.as_ref());
        }
        (ended, said)
    }
}
