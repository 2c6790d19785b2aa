//! What a person is told of the processes that a run comes upon.

use super::{Error, Output};
use crate::{
    report::{privacy::clean, summary::AtAttach},
    target::follow::Notice,
};

pub const FOLLOW_HINT: &str =
    "CPython 3.8 to 3.15 is supported, with a GIL or without; `bleedtrace doctor --pid PID` tells more";

/// Which processes could be traced at all.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Processes that were traced.
    pub targets: u64,
    refused: Option<String>,
}

impl Reached {
    /// Takes note, and says so.
    pub fn notice(&mut self, notice: &Notice, output: &mut Output) {
        match notice {
            Notice::Attached {
                pid,
                service,
                version,
                ..
            } => {
                output.say(&attached(*pid, service, version));
                self.targets += 1;
            }
            Notice::Failed { pid, service, reason } | Notice::Unsupported { pid, service, reason } => {
                let refused = format!(
                    "cannot trace process {pid} ({}): {}",
                    clean(service),
                    clean(reason)
                );
                output.say(&refused);
                self.refused.get_or_insert(refused);
            }
            Notice::Remark { pid, text } | Notice::NotFollowed { pid, text, .. } => {
                output.say(&remark(*pid, text));
            }
            Notice::Missed | Notice::Ended { .. } | Notice::InUse(_) | Notice::Used(_) => {}
        }
    }

    /// An error if nothing was traced.
    pub fn or_error(self) -> Result<(), Error> {
        if self.targets > 0 {
            return Ok(());
        }
        let reason = self.refused.unwrap_or_else(|| "no cpython was seen".to_owned());
        Err(Error::cannot_trace(reason, FOLLOW_HINT))
    }
}

/// What is said when a process is traced.
pub fn attached(pid: u32, service: &str, version: &str) -> String {
    format!("attached to {service} (pid {pid}, cpython {version})")
}

/// What a process held already, in words.
pub fn at_attach(found: AtAttach) -> String {
    let number = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    format!(
        "found {}, {}, {}",
        number(found.threads, "thread", "threads"),
        number(
            found.variables,
            "watched variable in use",
            "watched variables in use"
        ),
        number(
            found.residue,
            "waiting worker that holds a value from before",
            "waiting workers that hold a value from before"
        ),
    )
}

/// What a person has to know of a process.
pub fn remark(pid: u32, text: &str) -> String {
    format!("process {pid}: {}", clean(text))
}
