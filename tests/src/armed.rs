//! Whether a process is probed.

use std::{fs, os::unix::fs::FileExt as _};

/// The first byte of a function that is probed, as the process maps it, can only be seen in the process: whether anything of
/// the interpreter's differs from its file.
///
/// # Panics
/// When it does not run, or is not ours to look into.
pub fn is_armed(pid: u32) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("it is ours");
    maps.lines().filter(|line| line.contains(" r-xp ")).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(path) = words
            .get(5)
            .filter(|path| path.contains("python") || path.contains("_queue"))
        else {
            return false;
        };
        let (start, end) = words[0].split_once('-').expect("a range");
        let number = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
        let (start, end, offset) = (number(start), number(end), number(words[2]));
        let mut mapped = vec![0; (end - start) as usize];
        let mut written = mapped.clone();
        let file = fs::File::open(path).expect("the interpreter's file");
        let got = file.read_at(&mut written, offset).expect("it is readable");
        memory.read_exact_at(&mut mapped, start).expect("it is mapped");
        mapped[..got] != written[..got]
    })
}
