//! Where lines of the log go: to stderr, or, while the live view has the terminal, into a list of which it shows the end.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines that are kept while they are kept.
const LINES: usize = 1_000;

static KEPT: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

/// Takes a line at a time, as the log writes them.
#[derive(Debug, Default)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = lock();
        let Some(lines) = kept.as_mut() else {
            return io::stderr().write(line);
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
