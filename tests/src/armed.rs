//! Whether a process is probed.

use std::{fs, os::unix::fs::FileExt as _};

/// A place in a process at which a probe sits.
pub struct Armed {
    memory: fs::File,
    address: u64,
    /// What stands there in the file.
    written: u8,
}

impl Armed {
    /// The first byte of a function that is probed, as the process maps it, can only be seen in the process: the first that differs
    /// there from the interpreter's files.
    ///
    /// # Panics
    /// When the process does not run, or is not ours to look into.
    pub fn find(pid: u32) -> Option<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
        let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("it is ours");
        for line in maps.lines().filter(|line| line.contains(" r-xp ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(path) = words
                .get(5)
                .filter(|path| path.contains("python") || path.contains("_queue"))
            else {
                continue;
            };
            let (start, end) = words[0].split_once('-').expect("a range");
            let number = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
            let (start, end, offset) = (number(start), number(end), number(words[2]));
            let mut mapped = vec![0; (end - start) as usize];
            let mut written = mapped.clone();
            let file = fs::File::open(path).expect("the interpreter's file");
            let got = file.read_at(&mut written, offset).expect("it is readable");
            memory.read_exact_at(&mut mapped, start).expect("it is mapped");
            if let Some(place) = (0..got).find(|&place| mapped[place] != written[place]) {
                return Some(Self {
                    memory,
                    address: start + place as u64,
                    written: written[place],
                });
            }
        }
        None
    }

    /// Whether the probe still sits there.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn is_armed(&self) -> bool {
        let mut byte = [0];
        self.memory
            .read_exact_at(&mut byte, self.address)
            .expect("it is mapped");
        byte[0] != self.written
    }
}

/// Whether anything of the interpreter's differs from its files in a process.
///
/// # Panics
/// When it does not run, or is not ours to look into.
pub fn is_armed(pid: u32) -> bool {
    Armed::find(pid).is_some()
}
