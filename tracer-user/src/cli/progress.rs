//! How far long work has come, for somebody who waits at a terminal. Elsewhere nothing is said.

use std::{env, io::Read};

use indicatif::{ProgressBar, ProgressBarIter, ProgressDrawTarget, ProgressStyle};

/// Bytes that are read before anybody begins to wait.
const LARGE: u64 = 256 << 10;
/// Pieces of work that are done before anybody begins to wait.
const MANY: u64 = 4;

/// A bar on stderr, if that is a terminal. It has no colours, and is gone when this is.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of reading so many bytes. `alone`: nothing else is written to the terminal meanwhile.
    pub fn of_bytes(what: &'static str, bytes: u64, alone: bool) -> Self {
        Self::new(
            what,
            bytes,
            alone && bytes > LARGE,
            "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left",
        )
    }

    /// Of so many pieces of work.
    pub fn of_pieces(what: &'static str, pieces: u64) -> Self {
        Self::new(what, pieces, pieces > MANY, "{msg} {wide_bar} {pos} of {len}")
    }

    fn new(what: &'static str, length: u64, shown: bool, template: &str) -> Self {
        let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        // It is hidden by itself where stderr is no terminal.
        let target = if shown && !dumb {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), target);
        Self(bar.with_style(style.progress_chars("=> ")).with_message(what))
    }

    /// A reader whose bytes count.
    pub fn reads<R: Read>(&self, from: R) -> ProgressBarIter<R> {
        self.0.wrap_read(from)
    }

    /// One piece more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
