//! The processes of this machine: which can be traced, and why the others cannot.

use serde::Serialize;

/// Why a process cannot be attached to, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// This machine, or this user, can trace nothing.
    Machine,
    /// It belongs to somebody else.
    Permission,
    /// Its interpreter was deleted or replaced, and can only be reached with more capabilities.
    Deleted,
    /// Its interpreter is one that is not supported.
    Unsupported,
    /// It switches stacks under the interpreter.
    Greenlet,
    /// It runs no CPython.
    NotCpython,
    /// It could not be looked at for another reason.
    Unreadable,
}

/// How an interpreter was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Build {
    /// In a shared libpython, rather than in the executable.
    pub shared: bool,
    /// Without symbols; none when that cannot be read.
    pub stripped: Option<bool>,
    /// With the interpreter's own checks (`--with-pydebug`); none when that cannot be read.
    pub debug: Option<bool>,
    /// Without a GIL.
    pub free_threaded: bool,
}

/// One process, as it leaves the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessLine {
    /// Always `process`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its number.
    pub pid: u32,
    /// Whom it belongs to.
    pub user: String,
    /// Its service.
    pub service: String,
    /// Its interpreter's version, when that could be told.
    pub version: Option<String>,
    /// How that was built; none when there is none, or it could not be looked at.
    pub build: Option<Build>,
    /// Whether `trace` would attach to it.
    pub attachable: bool,
    /// Why not.
    pub obstacle: Option<Obstacle>,
    /// The same in words.
    pub reason: Option<String>,
}

impl Build {
    /// In words.
    pub fn words(&self) -> String {
        let mut words = vec![if self.shared { "shared" } else { "static" }];
        words.extend(
            self.stripped
                .map(|stripped| if stripped { "stripped" } else { "with symbols" }),
        );
        if self.debug == Some(true) {
            words.push("debug");
        }
        if self.free_threaded {
            words.push("free-threaded");
        }
        words.join(", ")
    }
}

/// What can be traced first, then what runs Python, then by number.
pub fn sort(lines: &mut [ProcessLine]) {
    lines.sort_by_key(|line| {
        let rank = match line.obstacle {
            None => 0,
            Some(Obstacle::NotCpython) => 2,
            Some(_) => 1,
        };
        (rank, line.pid)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_in_words() {
        let build = |shared, stripped, debug, free_threaded| {
            Build {
                shared,
                stripped,
                debug,
                free_threaded,
            }
            .words()
        };
        assert_eq!(build(true, Some(true), Some(false), false), "shared, stripped");
        assert_eq!(
            build(false, Some(false), Some(true), true),
            "static, with symbols, debug, free-threaded"
        );
        assert_eq!(build(false, None, None, false), "static");
    }
}
