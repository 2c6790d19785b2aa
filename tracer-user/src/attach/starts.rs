//! What starts of programs led to: every exec on the machine asks, and most programs have nothing to do with Python.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::file_key::{FileKey, Keys};

/// Files that are remembered because there is nothing to arm in them. A machine may run any number.
const MAX_PLAIN: usize = 8_192;
/// How long it holds that a program's start led to files that are armed. A library may be replaced at any time.
const LATELY: Duration = Duration::from_secs(1);
/// Starts of programs that are remembered for so long.
const MAX_STARTS: usize = 256;

/// What decides, besides its file, which libraries a program comes to map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// Its path.
    pub exe: PathBuf,
    /// The root directory that it sees.
    pub root: Option<(u64, u64)>,
    /// Its `LD_LIBRARY_PATH`.
    pub library_path: Option<Vec<u8>>,
}

/// A start of a program whose files are all armed.
#[derive(Clone, Copy, Debug)]
struct Led {
    image: u32,
    seen: Instant,
}

/// What is remembered of them.
#[derive(Debug, Default)]
pub struct Starts {
    /// Programs that neither carry an interpreter nor need a library that does.
    plain: HashSet<FileKey>,
    /// Starts of programs whose files were all armed, and when that was seen.
    led: HashMap<(FileKey, Start), Led>,
}

impl Starts {
    /// Whether a program was found to have nothing to do with Python.
    pub fn runs_no_python(&self, file: &File) -> bool {
        Keys::of(file).is_ok_and(|keys| self.plain.contains(&keys.own))
    }

    /// A program has nothing to do with Python. True when what was known of the others had to go for it.
    pub fn learn_plain(&mut self, file: &File) -> bool {
        let is_full = self.plain.len() >= MAX_PLAIN;
        if is_full {
            self.plain.clear();
        }
        if let Ok(keys) = Keys::of(file) {
            self.plain.insert(keys.own);
        }
        is_full
    }

    /// The image that the same start has led to a moment ago, if it did: all its files are armed.
    pub fn armed_lately(&self, file: &File, start: &Start) -> Option<u32> {
        let keys = Keys::of(file).ok()?;
        let led = self.led.get(&(keys.own, start.clone()))?;
        (led.seen.elapsed() < LATELY).then_some(led.image)
    }

    /// All that a start leads to, this image first of all, was just found and armed.
    pub fn just_armed(&mut self, file: &File, start: Start, image: u32) {
        if self.led.len() >= MAX_STARTS {
            self.led.clear();
        }
        if let Ok(keys) = Keys::of(file) {
            let seen = Instant::now();
            self.led.insert((keys.own, start), Led { image, seen });
        }
    }

    /// Something is armed no more: no start leads to it.
    pub fn disarmed(&mut self) {
        self.led.clear();
    }
}
