//! Watching some processes until they end, or until a person has seen enough.

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{Observer, Session, now};
use crate::{
    cli::{args::TargetArgs, error::Error, progress::Progress},
    target::{
        spawn::{Ignored, Running, Spawned},
        user::Database,
    },
};

/// How long a command's last records may take to arrive.
const LAST_RECORDS: Duration = Duration::from_millis(500);

impl Session {
    /// Watches until the end, or for so long, and lets everything go. Returns the command's exit code.
    pub fn run(
        mut self,
        target: &TargetArgs,
        patience: Option<Duration>,
        observer: &mut impl Observer,
    ) -> Result<Option<u8>, Error> {
        self.attach(&target.pids, observer)?;
        let code = self.watch(target, patience, observer)?;
        self.finish(observer);
        Ok(code)
    }

    /// Attaches to the processes that run already.
    fn attach(&mut self, pids: &[u32], observer: &mut impl Observer) -> Result<(), Error> {
        let progress = Progress::of_pieces("attaching", pids.len() as u64);
        for pid in pids {
            let started = Instant::now();
            self.follower
                .add_running(*pid, now, &mut self.events, &mut self.notices)?;
            tracing::debug!(pid, elapsed = ?started.elapsed(), "attached");
            progress.step();
        }
        drop(progress);
        self.follower
            .add_descendants(pids, now, &mut self.events, &mut self.notices)?;
        tracing::debug!(files = self.follower.registry.parsed(), "parsed");
        self.digest(observer);
        Ok(())
    }

    /// Watches until the end. Returns the command's exit code.
    fn watch(
        &mut self,
        target: &TargetArgs,
        patience: Option<Duration>,
        observer: &mut impl Observer,
    ) -> Result<Option<u8>, Error> {
        let ignored = Ignored::now();
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| {
            Error::cannot_trace(
                format!("failed to handle signals: {error}"),
                "check the limits on open files",
            )
        })?;
        let mut stops = 0;
        let mut command = self.spawn(&target.command, target.user.as_deref(), ignored)?;
        observer.started()?;
        let command_pid = command.as_ref().map(Running::pid);
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut code = None;
        let mut code_since = None;
        loop {
            let count = self.turn(observer);
            if let Some(command) = command.as_mut()
                && code.is_none()
            {
                code = command.try_wait().map_err(|error| {
                    Error::cannot_trace(format!("failed to wait for the command: {error}"), "run it again")
                })?;
                code_since = code.map(|_| Instant::now());
            }
            let command_over = match (command_pid, code_since) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(pid), Some(since)) => !self.follower.follows(pid) || since.elapsed() > LAST_RECORDS,
            };
            let pids_over = !target.pids.iter().any(|pid| self.follower.follows(*pid));
            if command_over && pids_over && count == 0 {
                break;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            for signal in signals.pending() {
                stops += 1;
                // Ctrl-C reaches a command by itself; another request to end is passed on. It may have ended meanwhile.
                if let (SIGTERM, Some(command)) = (signal, command.as_mut()) {
                    let _ = command.terminate();
                }
            }
            // What a first request means is for the command to decide; a second one is for us.
            if stops > usize::from(!command_over) {
                break;
            }
            if count == 0 {
                self.wait();
            }
        }
        if let (Some(command), None) = (command.as_mut(), code) {
            code = command.try_wait().ok().flatten();
        }
        Ok(code)
    }

    /// Starts the command, traced from its first instruction.
    fn spawn(
        &mut self,
        command: &[OsString],
        user: Option<&str>,
        ignored: Ignored,
    ) -> Result<Option<Running>, Error> {
        if command.is_empty() {
            return Ok(None);
        }
        let uid = rustix::process::getuid().as_raw();
        let variable = |name: &str| std::env::var(name).ok();
        let user = Database::read().for_command(user, uid, variable)?;
        let output = self.command_output.take();
        let spawned = Spawned::start(command, user.as_ref(), ignored, output)?;
        self.follower.add_command(spawned.pid())?;
        // exec stops the command until its records were handled, which happens here, while `release` waits for the exec.
        Ok(Some(spawned.release()?))
    }
}
