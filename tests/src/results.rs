//! What ran on which interpreter, and how it ended: one JSON object a line, from which the support matrix is made.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::interpreters::{Interpreter, roots};

/// One test on one interpreter.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Ran {
    /// `3.14 debian-sid stripped executable`.
    pub interpreter: String,
    /// `3.14.10`.
    pub version: String,
    /// The file that the test stands in.
    pub suite: String,
    /// Its name.
    pub test: String,
    /// How it ended.
    pub passed: bool,
    /// When, in seconds since 1970.
    pub time: u64,
}

/// Where results are kept until the next whole run.
pub fn results_file() -> PathBuf {
    roots().join("results.jsonl")
}

/// What ran, in order.
pub fn results() -> Vec<Ran> {
    let text = fs::read_to_string(results_file()).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Notes how a test ended. What cannot be noted counts as not run.
pub(crate) fn note(interpreter: &Interpreter, test: &str, passed: bool) {
    let executable = env::current_exe().unwrap_or_default();
    // Cargo adds a hash to a test's name.
    let suite = executable
        .file_stem()
        .and_then(|name| name.to_str()?.rsplit_once('-'))
        .map_or_else(String::new, |(name, _)| name.to_owned());
    let ran = Ran {
        interpreter: interpreter.name(),
        version: interpreter.version.clone(),
        suite,
        test: test.to_owned(),
        passed,
        time: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    // In one go: another test may write at the same time.
    let line = serde_json::to_string(&ran).expect("plain data") + "\n";
    let _ = fs::create_dir_all(roots());
    let file = OpenOptions::new().create(true).append(true).open(results_file());
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("{}: {error}", results_file().display());
    }
}
