//! Somebody who lets stopped processes go on when the agent cannot.
//!
//! A traced command and what it starts are stopped at exec until their probes are armed. If the agent is killed at such a
//! moment, nobody would ever let them go on: the keeper, a process of its own, does. It learns of the agent's end by the
//! end of a pipe.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long processes may be stopped after the agent's end: its probes go away a little later than it does.
const WATCH: Duration = Duration::from_secs(2);
/// How often they are looked at in that time.
const PAUSE: Duration = Duration::from_millis(20);
/// Processes that are remembered; descendants of one that is remembered are found all the same.
const MAX_KEPT: usize = 65_536;
/// What the agent writes when it ends in good order.
const DISMISSED: u32 = 0;

/// The agent's end of the keeper.
#[derive(Debug)]
pub struct Keeper {
    pipe: Option<ChildStdin>,
    child: Child,
}

impl Keeper {
    /// Starts a keeper: this program, with the hidden command `keeper`.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("keeper")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // In a process group of its own: what is meant for the agent must not end it.
        let mut child = command.process_group(0).spawn()?;
        Ok(Self {
            pipe: child.stdin.take(),
            child,
        })
    }

    /// Tells of a process that may be stopped.
    pub fn keep(&mut self, pid: u32) {
        // A keeper that is gone leaves the agent no worse than without one.
        if let Some(pipe) = &mut self.pipe {
            let _ = pipe.write_all(&pid.to_ne_bytes());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.keep(DISMISSED);
        self.pipe = None;
        let _ = self.child.wait();
    }
}

/// What the keeper does: listens until the agent ends, then lets go on whatever it left stopped.
pub fn run() -> io::Result<()> {
    let mut kept = BTreeSet::new();
    let mut stdin = io::stdin().lock();
    let mut pid = [0; 4];
    while stdin.read_exact(&mut pid).is_ok() {
        match u32::from_ne_bytes(pid) {
            DISMISSED => return Ok(()),
            pid if kept.len() < MAX_KEPT => _ = kept.insert(pid),
            _ => {}
        }
    }
    let end = Instant::now() + WATCH;
    while Instant::now() < end {
        let_go_on(&mut kept)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Continues every stopped process that is kept, or descends from one that is.
fn let_go_on(kept: &mut BTreeSet<u32>) -> io::Result<()> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        // It may have ended meanwhile.
        let stat = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        if let (Some(pid), Some((state, parent))) = (pid, stat.as_deref().and_then(state_and_parent)) {
            processes.insert(pid, (state, parent));
        }
    }
    // Children have higher numbers than their parents but after the numbers wrapped; the next round finds those.
    for (pid, (state, parent)) in &processes {
        if kept.contains(parent) {
            kept.insert(*pid);
        }
        if *state == 'T'
            && kept.contains(pid)
            && let Some(pid) = Pid::from_raw(*pid as i32)
        {
            // It can only have ended.
            let _ = kill_process(pid, Signal::CONT);
        }
    }
    Ok(())
}

/// State and parent of a process, from its `stat`; its name, between parentheses, may contain anything.
fn state_and_parent(stat: &str) -> Option<(char, u32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_mislead() {
        assert_eq!(state_and_parent("7 (a) T 1 (b) T 12 7 7"), Some(('T', 12)));
        assert_eq!(state_and_parent("7 (sh) S 1 7"), Some(('S', 1)));
        assert_eq!(state_and_parent("nonsense"), None);
    }
}
