//! Giving up what is not needed: capabilities, new privileges, system calls. Nothing that was given up comes back.
#![deny(unsafe_code)]

mod syscalls;

use std::io;

use crate::patience;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What tracing needs once it has started, where it is held: to load and link programs for processes that come later, to read those of
/// others, and to reach files that were deleted since.
const TRACING: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHECKPOINT_RESTORE);
/// What replacing files takes in a folder of somebody else, such as the one who called sudo.
const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER);

/// Why something could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The capabilities.
    #[error("failed to drop capabilities: {0}")]
    Capabilities(#[source] io::Error),
    /// New privileges.
    #[error("failed to set no_new_privs: {0}")]
    NewPrivileges(#[source] io::Error),
    /// System calls.
    #[error("failed to filter system calls: {0}")]
    Syscalls(String),
}

/// Keeps what tracing needs and gives up the rest, for this thread and those that it starts. Threads that run already keep their
/// capabilities, but can neither gain new ones nor make the system calls that are forbidden from here on.
///
/// `signals` keeps what it takes to end a command of another user, and to let it go on.
pub fn confine(signals: bool) -> Result<(), ConfineError> {
    let held = held().map_err(ConfineError::Capabilities)?;
    let kept = kept_of(held, signals);
    if held.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(kept) {
            // The kernel may be older than some of them.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    keep(kept).map_err(ConfineError::Capabilities)?;
    // Of all threads the one that reads what a target controls must not keep what it was started with.
    patience::dismiss();
    set_no_new_privs(true).map_err(|error| ConfineError::NewPrivileges(error.into()))?;
    syscalls::forbid().map_err(ConfineError::Syscalls)
}

/// The names of what [`confine`] would leave this thread of its capabilities, where no command is traced.
pub fn would_keep() -> io::Result<Vec<String>> {
    let held = held()?;
    let kept = held & kept_of(held, false);
    Ok(kept.iter_names().map(|(name, _)| format!("CAP_{name}")).collect())
}

/// What tracing needs of these capabilities.
fn kept_of(held: CapabilitySet, signals: bool) -> CapabilitySet {
    let mut kept = TRACING;
    if signals {
        kept |= CapabilitySet::KILL;
    }
    if !held.contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
        // It stands in for the two.
        kept |= CapabilitySet::SYS_ADMIN;
    }
    if !held.contains(CapabilitySet::DAC_READ_SEARCH) {
        // Who was given this one instead reads by it.
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    kept
}

/// Gives up all capabilities of this thread: it is about to take in what others send.
pub fn drop_all() {
    told(keep(CapabilitySet::empty()));
}

/// Gives up the capabilities of this thread but those for writing files.
pub fn drop_all_but_files() {
    told(keep(FILES));
}

/// Gives up the capabilities of this thread but those for making files, and for giving them to who called sudo.
pub fn drop_all_but_giving_files() {
    told(keep(FILES.union(CapabilitySet::CHOWN)));
}

fn told(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "a thread keeps its capabilities");
    }
}

fn held() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.permitted)
}

/// Keeps those of these that this thread holds.
fn keep(kept: CapabilitySet) -> io::Result<()> {
    let kept = held()? & kept;
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command, thread};

    use super::*;

    #[test]
    fn a_thread_gives_up_its_own_capabilities_only() {
        let before = held().unwrap();
        thread::spawn(|| {
            drop_all_but_files();
            assert!(FILES.contains(held().unwrap()));
            drop_all();
            assert!(held().unwrap().is_empty());
        })
        .join()
        .unwrap();
        assert_eq!(held().unwrap(), before);
    }

    /// In a process of its own: nothing of it can be undone.
    #[test]
    fn what_is_given_up_is_gone() {
        const SELF: &str = "BLEEDTRACE_TEST_CONFINE";
        if std::env::var_os(SELF).is_none() {
            let test = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "privilege::tests::what_is_given_up_is_gone",
                    "--test-threads=1",
                ])
                .env(SELF, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&test.stdout);
            assert!(test.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let other = thread::spawn(|| {
            thread::park();
            Command::new("true")
                .status()
                .map_err(|error| error.raw_os_error())
        });
        confine(false).unwrap();
        assert!(TRACING.contains(held().unwrap()));
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
        };
        assert_eq!(
            (field("NoNewPrivs:"), field("Seccomp:"), field("CapAmb:")),
            ("1", "2", "0000000000000000")
        );
        let refused = Some(rustix::io::Errno::PERM.raw_os_error());
        assert_eq!(Command::new("true").status().unwrap_err().raw_os_error(), refused);
        assert!(
            thread::spawn(|| ()).join().is_ok(),
            "threads can still be started"
        );
        other.thread().unpark();
        assert_eq!(
            other.join().unwrap().unwrap_err(),
            refused,
            "threads that ran already are bound, too"
        );
    }
}
