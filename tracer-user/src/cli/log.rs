//! Where lines of the log go: to stderr, or, while the live view has the terminal, into a list of which it shows the end.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept while they are kept.
const LINES: usize = 1_000;

static KEPT: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

/// The log.
#[derive(Debug)]
pub struct Log {
    /// Who reads stderr wants each line's priority in front of it.
    priorities: bool,
}

impl Log {
    /// The log of this process.
    pub fn new() -> Self {
        Self {
            priorities: is_journal(),
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines { priority: "" }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Lines {
        let priority = if self.priorities {
            priority(*about.level())
        } else {
            ""
        };
        Lines { priority }
    }
}

/// Whether stderr goes to systemd's journal, which then says so in the environment (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stderr) = rustix::fs::fstat(io::stderr()) else {
        return false;
    };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// What stands for a level in front of a line (sd-daemon(3)).
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Takes a line at a time, as the log writes them.
#[derive(Debug)]
pub struct Lines {
    priority: &'static str,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = lock();
        let Some(lines) = kept.as_mut() else {
            let mut stderr = io::stderr().lock();
            stderr.write_all(self.priority.as_bytes())?;
            stderr.write_all(line)?;
            return Ok(line.len());
        };
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// From now on, lines are kept. They are printed when what is returned goes.
pub fn keep() -> Keeping {
    *lock() = Some(VecDeque::new());
    Keeping
}

/// The last lines that are kept, without colours.
pub fn kept(most: usize) -> Vec<String> {
    let kept = lock();
    let lines = kept.iter().flatten().rev().take(most);
    let mut lines: Vec<_> = lines
        .map(|line| anstream::adapter::strip_str(line).to_string())
        .collect();
    lines.reverse();
    lines
}

/// As long as it lives, lines are kept.
#[derive(Debug)]
pub struct Keeping;

impl Drop for Keeping {
    fn drop(&mut self) {
        // Lines that come meanwhile wait: none is lost, and they stay in order.
        let mut kept = lock();
        for line in kept.take().into_iter().flatten() {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

fn lock() -> MutexGuard<'static, Option<VecDeque<String>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
