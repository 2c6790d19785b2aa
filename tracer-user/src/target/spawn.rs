//! Starting a command that waits, stopped before its exec, until its probes are armed.
//!
//! The child blocks on a pipe between fork and exec. If the agent goes away first, the pipe closes and the command is never
//! started; once released, it does not depend on the agent any more.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
};

use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, kill_process},
    thread::{Gid, Uid},
};

use super::user::User;

/// Why a command cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no command.
    #[error("no command to run")]
    NoCommand,
    /// It is not there, or is no program.
    #[error("cannot run `{command}`: {cause}")]
    Exec {
        /// The command.
        command: String,
        /// Why.
        cause: io::Error,
    },
    /// The machine refuses another process.
    #[error("cannot start a process: {0}")]
    Fork(io::Error),
}

impl SpawnError {
    /// Whether the command line is at fault, rather than the machine.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Fork(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCommand => "give a command behind `--`".into(),
            Self::Exec { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                "check the spelling; sudo often shortens PATH, so give the full path".into()
            }
            Self::Exec { .. } => "check that the file may be executed by the user it runs as".into(),
            Self::Fork(_) => "check the limits on processes and memory".into(),
        }
    }
}

/// Which of the signals that the agent handles were ignored when it was started, as they are in the background of a script. A handler
/// takes that away from what is started later.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignored(u64);

impl Ignored {
    /// As it is now: to be asked before the first handler is set.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let said = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(said.map_or(0, |bits| u64::from_str_radix(bits.trim(), 16).unwrap_or(0)))
    }

    /// Ignores them again, in the forked child.
    fn again(self) {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            if self.0 & 1 << (signal - 1) != 0 {
                #[expect(unsafe_code, reason = "no safe way to ignore a signal")]
                // SAFETY: to ignore a signal runs no code of ours.
                unsafe {
                    libc::signal(signal, libc::SIG_IGN);
                }
            }
        }
    }
}

/// A command that was forked and waits for its release.
#[derive(Debug)]
pub struct Spawned {
    pid: u32,
    command: String,
    gate: OwnedFd,
    starter: JoinHandle<io::Result<Child>>,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Spawned {
    /// Forks the command, to become `user` if there is one, and to ignore the signals that it would without us. It has our terminal,
    /// unless it is to write into a file: then it reads nothing.
    pub fn start(
        command: &[OsString],
        user: Option<&User>,
        ignored: Ignored,
        output: Option<File>,
    ) -> Result<Self, SpawnError> {
        let (program, arguments) = command.split_first().ok_or(SpawnError::NoCommand)?;
        let (report_read, report_write) = pipe()?;
        let (gate_read, gate_write) = pipe()?;
        let mut builder = Command::new(program);
        builder.args(arguments);
        if let Some(output) = output {
            let errors = output.try_clone().map_err(SpawnError::Fork)?;
            builder.stdin(Stdio::null()).stdout(output).stderr(errors);
        }
        let become_user = user.map(|user| identity(&mut builder, user));
        wait_at(
            &mut builder,
            report_write,
            gate_read,
            &gate_write,
            become_user,
            ignored,
        );
        // std reports a failed exec only when `spawn` returns, so that it has to wait in a thread of its own.
        let starter = std::thread::spawn(move || builder.spawn());
        let mut pid = [0; 4];
        let mut got = 0;
        while got < pid.len() {
            match rustix::io::read(&report_read, &mut pid[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(SpawnError::Fork(error.into())),
            }
        }
        let command = program.to_string_lossy().into_owned();
        if got < pid.len() {
            drop(gate_write);
            return Err(SpawnError::Fork(
                joined(starter)
                    .err()
                    .unwrap_or_else(|| io::Error::other("no child")),
            ));
        }
        Ok(Self {
            pid: u32::from_ne_bytes(pid),
            command,
            gate: gate_write,
            starter,
        })
    }

    /// Its process, as our PID namespace numbers it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it exec. On return the exec has succeeded or failed, but the new program's memory may not be laid out yet.
    pub fn release(self) -> Result<Running, SpawnError> {
        // A child that was killed while it waited breaks the pipe; `spawn` then tells.
        let _ = rustix::io::write(&self.gate, &[1]);
        let cause = match joined(self.starter) {
            Ok(child) => return Ok(Running { child }),
            Err(cause) => cause,
        };
        Err(SpawnError::Exec {
            command: self.command,
            cause,
        })
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, if it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<u8>> {
        Ok(self.child.try_wait()?.map(exit_code))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> io::Result<u8> {
        self.child.wait().map(exit_code)
    }

    /// Asks it to end, as the agent was asked. (Ctrl-C needs no such help: the terminal sends it to both.)
    pub fn terminate(&mut self) -> io::Result<()> {
        // Not waited for yet, so that the number is still its own.
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        }
        Ok(())
    }
}

/// The code that a shell would give: 128 and the number of the signal that ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn joined(starter: JoinHandle<io::Result<Child>>) -> io::Result<Child> {
    starter
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the starting thread failed")))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| SpawnError::Fork(error.into()))
}

/// Prepared for the child, which must not allocate.
struct Become {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Become {
    fn apply(&self) -> rustix::io::Result<()> {
        rustix::thread::set_thread_groups(&self.groups)?;
        rustix::thread::set_thread_res_gid(self.gid, self.gid, self.gid)?;
        rustix::thread::set_thread_res_uid(self.uid, self.uid, self.uid)
    }
}

fn identity(builder: &mut Command, user: &User) -> Become {
    for (key, value) in [
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
    ] {
        if let Some(value) = value {
            builder.env(key, value);
        }
    }
    for key in ["SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"] {
        builder.env_remove(key);
    }
    Become {
        uid: Uid::from_raw(user.uid),
        gid: Gid::from_raw(user.gid),
        groups: user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
    }
}

/// Has the child report its number and wait for a byte, then change its user; end of file means that it must not run.
fn wait_at(
    builder: &mut Command,
    report: OwnedFd,
    gate: OwnedFd,
    far_gate: &OwnedFd,
    user: Option<Become>,
    ignored: Ignored,
) {
    let far_gate = far_gate.as_raw_fd();
    let prepare = move || -> io::Result<()> {
        close_copy(far_gate);
        ignored.again();
        let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
        rustix::io::write(&report, &pid.to_ne_bytes())?;
        let mut byte = [0];
        loop {
            match rustix::io::read(&gate, &mut byte) {
                Ok(0) => return Err(rustix::io::Errno::CANCELED.into()),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(user) = &user {
            user.apply()?;
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "std offers no safe way to run code between fork and exec"
    )]
    // SAFETY: the closure runs in the forked child. It makes system calls and nothing else: it takes no lock and allocates
    // nothing, as the errors that it makes are bare numbers.
    unsafe {
        builder.pre_exec(prepare);
    }
}

/// Closes the child's copy of the pipe's other end, without which the end of the agent would go unnoticed.
fn close_copy(fd: RawFd) {
    #[expect(unsafe_code, reason = "the owner of the descriptor lives in the parent")]
    // SAFETY: this is the forked child, whose descriptors are copies: nothing in it uses this one, and after exec or exit
    // nothing can.
    unsafe {
        rustix::io::close(fd);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    use super::*;

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn run(words: &[&str]) -> u8 {
        Spawned::start(&command(words), None, Ignored::default(), None)
            .unwrap()
            .release()
            .unwrap()
            .wait()
            .unwrap()
    }

    #[test]
    fn nothing_runs_before_the_release() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let spawned = Spawned::start(
            &command(&["touch", mark.to_str().unwrap()]),
            None,
            Ignored::default(),
            None,
        )
        .unwrap();
        let exe = fs::read_link(format!("/proc/{}/exe", spawned.pid())).unwrap();
        assert_eq!(exe, std::env::current_exe().unwrap());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!mark.exists());
        let pid = spawned.pid();
        let mut running = spawned.release().unwrap();
        assert_eq!(running.pid(), pid);
        assert_eq!(running.wait().unwrap(), 0);
        assert!(mark.exists());
    }

    #[test]
    fn nothing_runs_without_a_release() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let spawned = Spawned::start(
            &command(&["touch", mark.to_str().unwrap()]),
            None,
            Ignored::default(),
            None,
        )
        .unwrap();
        let Spawned { gate, starter, .. } = spawned;
        drop(gate);
        assert!(joined(starter).is_err());
        assert!(!mark.exists());
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(run(&["sh", "-c", "exit 7"]), 7);
        assert_eq!(run(&["sh", "-c", "kill -TERM $$"]), 128 + 15);
    }

    #[test]
    fn what_was_ignored_is_ignored_again() {
        let ignored = Ignored(1 << (libc::SIGINT - 1));
        let words = command(&["sh", "-c", "kill -INT $$; exit 3"]);
        let code = |ignored| {
            Spawned::start(&words, None, ignored, None)
                .unwrap()
                .release()
                .unwrap()
                .wait()
                .unwrap()
        };
        assert_eq!(code(ignored), 3);
        // Whoever runs the tests may ignore it, too.
        if Ignored::now().0 & ignored.0 == 0 {
            assert_eq!(code(Ignored::default()), 128 + 2);
        }
    }

    #[test]
    fn it_can_be_kept_away_from_our_terminal() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let words = command(&["sh", "-c", "echo out; echo err >&2; read line || echo nothing"]);
        let output = Some(file.reopen().unwrap());
        let spawned = Spawned::start(&words, None, Ignored::default(), output).unwrap();
        assert_eq!(spawned.release().unwrap().wait().unwrap(), 0);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "out\nerr\nnothing\n");
    }

    #[test]
    fn it_can_be_asked_to_end() {
        let mut running = Spawned::start(&command(&["sleep", "60"]), None, Ignored::default(), None)
            .unwrap()
            .release()
            .unwrap();
        assert_eq!(running.try_wait().unwrap(), None);
        running.terminate().unwrap();
        assert_eq!(running.wait().unwrap(), 128 + 15);
        running.terminate().unwrap();
    }

    #[test]
    fn what_cannot_be_executed_is_told() {
        let error = Spawned::start(&command(&["bleedtrace-no-such"]), None, Ignored::default(), None)
            .unwrap()
            .release()
            .unwrap_err();
        assert!(
            error.is_usage() && error.to_string().contains("`bleedtrace-no-such`"),
            "{error}"
        );
        assert!(error.hint().contains("PATH"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let error = Spawned::start(
            &command(&[file.path().to_str().unwrap()]),
            None,
            Ignored::default(),
            None,
        )
        .unwrap()
        .release()
        .unwrap_err();
        assert!(error.hint().contains("executed"));
        assert!(matches!(
            Spawned::start(&[], None, Ignored::default(), None),
            Err(SpawnError::NoCommand)
        ));
    }

    #[test]
    fn it_becomes_the_user() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = User {
            uid: 1234,
            gid: 2345,
            groups: vec![2345, 3456],
            name: Some("ann".into()),
            home: None,
        };
        let script = "test $(id -u) = 1234 && test $(id -g) = 2345 && test \"$(id -G)\" = '2345 3456' && test $USER = ann";
        let spawned = Spawned::start(
            &command(&["sh", "-c", script]),
            Some(&user),
            Ignored::default(),
            None,
        )
        .unwrap();
        assert_eq!(spawned.release().unwrap().wait().unwrap(), 0);
    }
}
