//! A real terminal that a test types on and looks at: a session of tmux with a shell in it.

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{setup::skip, tracer::wait_until};

/// Nothing that is waited for on a screen may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the shell asks for commands with.
const PROMPT: &str = "at your service:";

/// A terminal. It is closed when it goes.
pub struct Terminal {
    socket: String,
}

impl Terminal {
    /// Opens one of this size. Says so where there is none.
    ///
    /// # Panics
    /// When the shell in it does not come up.
    #[track_caller]
    pub fn open(test: &str, width: u16, height: u16) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if Command::new("tmux").arg("-V").output().is_err() {
            skip(test, "no tmux");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let terminal = Self {
            socket: format!("bleedtrace-{}-{number}", std::process::id()),
        };
        let (width, height) = (width.to_string(), height.to_string());
        let prompt = format!("PS1={PROMPT} ");
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "env",
            &prompt,
            "ENV=",
            "NO_COLOR=",
            "sh",
        ]);
        terminal.wait_for(PROMPT);
        Some(terminal)
    }

    /// Types a command.
    #[track_caller]
    pub fn run(&self, command: &str) {
        self.tmux(&["send-keys", "-l", command]);
        self.press(&["Enter"]);
    }

    /// Presses keys, by tmux's names for them.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Changes its size.
    #[track_caller]
    pub fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height]);
    }

    /// What is on the screen.
    #[track_caller]
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Whether a program has the whole screen to itself, and whether the cursor is shown.
    #[track_caller]
    pub fn state(&self) -> (bool, bool) {
        let state = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        (state.starts_with('1'), state.trim_end().ends_with('1'))
    }

    /// The process id of the shell.
    ///
    /// # Panics
    /// When tmux does not say.
    #[track_caller]
    pub fn shell(&self) -> u32 {
        let pid = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        pid.trim().parse().expect("a process id")
    }

    /// Waits until the screen shows this.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Waits until the screen is as it should be.
    ///
    /// # Panics
    /// When it does not come to be.
    #[track_caller]
    pub fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, PATIENCE, || {
                last = self.screen();
                holds(&last).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("the screen never showed {what}:\n{last}"))
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new("tmux")
            .args(["-u", "-L", &self.socket])
            .args(arguments)
            .output()
            .expect("tmux runs");
        let errors = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "tmux {arguments:?}: {errors}");
        String::from_utf8_lossy(&stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.socket, "kill-server"])
            .output();
    }
}
