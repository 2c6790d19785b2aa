//! Which rule a process falls under, and what it is called.

use super::{
    name::service_name,
    process::{Process, ProcessError},
    user::Database,
};
use crate::config::{Config, Subject, Watch};

/// What is watched in a process, and its service name.
pub fn identify<'a>(
    process: &Process,
    config: &'a Config,
    users: &Database,
) -> Result<(&'a Watch, String), ProcessError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let arguments = process.cmdline()?;
    let uid = process.status()?.uid;
    let subject = Subject {
        exe: text(&process.exe()?),
        cmdline: text(&arguments.join(&b' ')),
        uid,
        user: users.name(uid),
        cgroup: process.cgroup()?,
    };
    let (watch, configured) = config.for_process(&subject);
    if let Some(name) = configured {
        return Ok((watch, name.to_owned()));
    }
    // A name is worth little: a process that hides its environment is traced all the same.
    let environment = process.environment().unwrap_or_default();
    let fallback = subject.exe.rsplit('/').next().unwrap_or_default();
    Ok((watch, service_name(&environment, &arguments, fallback)))
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command},
        time::Duration,
    };

    use super::*;
    use crate::config::{FileConfig, Overrides};

    /// Ends a process when a test ends, however it ends.
    struct Guard(Child);

    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn rules_and_names_of_real_processes() {
        let file = "[watch]\nidentity = [\"a\"]\n[[service]]\nmatch = { exe = \"*/sleep\", cmdline = \"*61\" }\n\
                    name = \"dozer\"\nidentity = [\"b\"]";
        let config = Config::resolve(FileConfig::parse(file).unwrap(), &Overrides::default()).unwrap();
        let start = |seconds: &str| {
            let child = Command::new("sleep")
                .arg(seconds)
                .env("OTEL_SERVICE_NAME", "napper")
                .spawn()
                .unwrap();
            Guard(child)
        };
        let look = |child: &Guard| {
            let process = Process::open(child.0.id()).unwrap();
            // `spawn` returns in the middle of the exec, when the new memory is not filled yet.
            for _ in 0..1000 {
                if process.environment().is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let (watch, name) = identify(&process, &config, &Database::read()).unwrap();
            (watch.identity[0].name.clone(), name)
        };
        assert_eq!(look(&start("61")), ("b".into(), "dozer".into()));
        assert_eq!(look(&start("62")), ("a".into(), "napper".into()));
    }
}
