//! Running the tracer and its targets.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{interpreters::EMPTY_CONTEXTS, metrics, outcome::Outcome, setup::Setup, truth::Truth};

/// Nothing that is waited for may take longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until something holds.
///
/// # Panics
/// When it does not come to hold.
#[track_caller]
pub fn wait_until<T>(what: &str, patience: Duration, mut holds: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(
            start.elapsed() < patience,
            "waited {patience:?} in vain until {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// How a program ended, and what it printed.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A program that runs beside the test.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    errors: Option<thread::JoinHandle<String>>,
    printed: String,
}

impl Program {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let errors = Some(thread::spawn(move || {
            let mut text = Vec::new();
            let _ = BufReader::new(stderr).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }));
        Self {
            child,
            stdin,
            lines,
            errors,
            printed: String::new(),
        }
    }

    /// Starts a fixture without a tracer.
    #[track_caller]
    pub fn fixture(setup: &Setup, name: &str, arguments: &[&str]) -> Self {
        Self::start(setup.command().arg(setup.fixture(name)).args(arguments))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it prints a line.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for(&mut self, wanted: &str) {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!(
                    "the program never printed {wanted}; it printed:\n{}",
                    self.printed
                );
            };
            self.printed.push_str(&line);
            self.printed.push('\n');
            if line == wanted {
                return;
            }
        }
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// When it prints none.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self
            .lines
            .recv_timeout(PATIENCE)
            .expect("the program prints a line");
        self.printed.push_str(&line);
        self.printed.push('\n');
        line
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it reads no more.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").expect("the program reads");
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        send(signal, self.pid());
    }

    /// Process ids of its children.
    pub fn children(&self) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid()))
            .into_iter()
            .flatten();
        let lists =
            threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
        lists
            .flat_map(|list| {
                list.split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the child's state").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn end(self) -> Ended {
        self.end_within(PATIENCE)
    }

    /// Waits for its end for so long.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn end_within(mut self, patience: Duration) -> Ended {
        drop(self.stdin.take());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child's state") {
                break status;
            }
            if start.elapsed() > patience {
                let _ = self.child.kill();
                panic!(
                    "the program did not end in {patience:?}; it printed:\n{}",
                    self.printed
                );
            }
            thread::sleep(Duration::from_millis(5));
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.printed.push_str(&line);
            self.printed.push('\n');
        }
        let stderr = self
            .errors
            .take()
            .and_then(|errors| errors.join().ok())
            .unwrap_or_default();
        Ended {
            code: status.code(),
            stdout: std::mem::take(&mut self.printed),
            stderr,
        }
    }
}

/// A test that fails leaves nothing behind.
impl Drop for Program {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            for child in self.children() {
                let _ = Command::new("kill")
                    .args(["-s", "KILL", &child.to_string()])
                    .status();
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn send(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success(), "no process {pid} to signal");
}

/// A trace to run: the fixture, and how it is watched.
pub struct Trace {
    command: Command,
    output: PathBuf,
    listen: Option<String>,
}

impl Trace {
    /// A trace that watches `variable` and writes JSON where the test finds it.
    pub fn new(setup: &Setup, variable: &str) -> Self {
        Self::with(setup, &["trace"], ["--identity", variable])
    }

    /// The same, and it is recorded to a file.
    pub fn recording(setup: &Setup, variable: &str, file: &str) -> Self {
        Self::with(setup, &["record", "-o", file], ["--identity", variable])
    }

    /// A trace that watches what a configuration says.
    pub fn configured(setup: &Setup, file: &str) -> Self {
        Self::with(setup, &["trace"], ["--config", file])
    }

    fn with(setup: &Setup, words: &[&str], flags: [&str; 2]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let output =
            std::env::temp_dir().join(format!("bleedtrace-test-{}-{number}.json", std::process::id()));
        let mut command = Command::new(&setup.bleedtrace);
        command
            .args(words)
            .args(["--format", "json"])
            .args(flags)
            .arg("--output")
            .arg(&output);
        Self {
            command,
            output,
            listen: None,
        }
    }

    /// More flags.
    #[must_use]
    pub fn flags<I: AsRef<OsStr>>(mut self, flags: impl IntoIterator<Item = I>) -> Self {
        self.command.args(flags);
        self
    }

    /// Shows values: comparisons with a fixture's truth need them.
    #[must_use]
    pub fn revealing(self) -> Self {
        self.flags(["--reveal"])
    }

    /// An environment variable for the tracer.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Serves metrics, by which a test can tell that the target is traced.
    #[must_use]
    pub fn listening(mut self) -> Self {
        let address = format!("127.0.0.1:{}", metrics::free_port());
        self.command.args(["--listen", &address]);
        self.listen = Some(address);
        self
    }

    /// Starts it on a fixture.
    #[track_caller]
    pub fn start(mut self, setup: &Setup, name: &str, arguments: &[&str]) -> Running {
        self.command
            .env(EMPTY_CONTEXTS.0, EMPTY_CONTEXTS.1)
            .arg("--")
            .args(setup.interpreter.words())
            .arg(setup.fixture(name))
            .args(arguments);
        self.begin()
    }

    /// Starts it on any command.
    #[track_caller]
    pub fn command<I: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = I>) -> Running {
        self.command.arg("--").args(words);
        self.begin()
    }

    /// Starts it on a process; returns once that is traced.
    ///
    /// # Panics
    /// When it is not traced in time.
    #[track_caller]
    pub fn attach(self, pid: u32) -> Running {
        let trace = self.flags(["--pid", &pid.to_string()]).listening();
        let wanted = trace
            .command
            .get_args()
            .filter(|argument| *argument == "--pid")
            .count() as f64;
        let mut running = trace.begin();
        let address = running.address.clone();
        wait_until("the target is traced", PATIENCE, || {
            assert!(running.program.runs(), "the tracer ended");
            let metrics = metrics::get(&address, "/metrics").ok()?;
            let attached = metrics::sample(&metrics, "bleedtrace_targets", &[("state", "attached")])?;
            (attached >= wanted).then_some(())
        });
        running
    }

    /// Runs it on a fixture to the end; gives the outcome and the fixture's truth.
    #[track_caller]
    pub fn run(self, setup: &Setup, name: &str, arguments: &[&str]) -> (Outcome, Truth) {
        let outcome = self.start(setup, name, arguments).end();
        let truth = Truth::parse(&outcome.ended.stdout);
        (outcome, truth)
    }

    #[track_caller]
    fn begin(mut self) -> Running {
        Running {
            address: self.listen.unwrap_or_default(),
            program: Program::start(&mut self.command),
            output: self.output,
        }
    }
}

/// A trace that runs.
pub struct Running {
    /// The tracer; its standard input and output are the program's.
    pub program: Program,
    /// Where its metrics are, if it listens.
    pub address: String,
    output: PathBuf,
}

impl Running {
    /// Waits for its end and reads what it wrote.
    ///
    /// # Panics
    /// When it wrote nothing.
    #[track_caller]
    pub fn end(self) -> Outcome {
        self.end_within(PATIENCE)
    }

    /// Waits for its end for so long and reads what it wrote.
    ///
    /// # Panics
    /// When it wrote nothing.
    #[track_caller]
    pub fn end_within(self, patience: Duration) -> Outcome {
        let ended = self.program.end_within(patience);
        let text = fs::read_to_string(&self.output)
            .unwrap_or_else(|error| panic!("the tracer wrote nothing ({error}); it ended with {ended:?}"));
        let _ = fs::remove_file(&self.output);
        Outcome::parse(&text, ended)
    }

    /// Signals the traced command.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn signal_command(&self, signal: &str) {
        // The tracer's other child is its own program.
        let exe = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
        let own = exe(self.program.pid());
        let command = self
            .program
            .children()
            .into_iter()
            .find(|child| exe(*child) != own);
        send(signal, command.expect("the tracer has a child"));
    }
}
