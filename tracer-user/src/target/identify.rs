//! Which rule a process falls under, and what it is called.

use super::{
    name::service_name,
    process::{Process, ProcessError},
    user::Database,
};
use crate::config::{Config, Subject, Watch};

/// What the configuration says of a process.
#[derive(Debug)]
pub struct Identified<'a> {
    /// What is watched in it.
    pub watch: &'a Watch,
    /// What it is called.
    pub service: String,
    /// The agent attaches to it by itself.
    pub selected: bool,
    /// Why it cannot be told whether a rule selects it, where none of the others does.
    pub hidden: Option<ProcessError>,
}

/// What the configuration says of a process.
pub fn identify<'a>(
    process: &Process,
    config: &'a Config,
    users: &Database,
) -> Result<Identified<'a>, ProcessError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let arguments = process.cmdline()?;
    let uid = process.status()?.uid;
    // A process that hides its environment falls under no rule that asks for it.
    let environment = if config.reads_environment() {
        process.environment()
    } else {
        Ok(Vec::new())
    };
    let (environment, hidden) = match environment {
        Ok(environment) => (environment, None),
        // In the middle of an exec there is none yet: the exec will tell.
        Err(error) => (Vec::new(), error.is_refusal().then_some(error)),
    };
    // What replaced it on disk, an upgrade as a rule, does not change what it is.
    let exe = process.exe()?;
    let exe = exe.strip_suffix(b" (deleted)".as_slice()).unwrap_or(&exe);
    let subject = Subject {
        exe: text(exe),
        cmdline: text(&arguments.join(&b' ')),
        uid,
        user: users.name(uid),
        cgroup: process.cgroup()?,
        environment: environment.iter().map(|entry| text(entry)).collect(),
    };
    let selected = config.selects(&subject);
    let (watch, configured) = config.for_process(&subject);
    let service = configured.map_or_else(
        || {
            // A name is worth little: a process that hides its environment is traced all the same.
            let environment = process.environment().unwrap_or_default();
            let fallback = subject.exe.rsplit('/').next().unwrap_or_default();
            service_name(&environment, &arguments, fallback)
        },
        str::to_owned,
    );
    Ok(Identified {
        watch,
        service,
        selected,
        hidden: hidden.filter(|_| !selected),
    })
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
        let file =
            format!("{file}\n[[service]]\nmatch = {{ env = {{ PURPOSE = \"n*p\" }} }}\nname = \"pillow\"");
        let config = Config::resolve(FileConfig::parse(&file).unwrap(), &Overrides::default()).unwrap();
        let start = |seconds: &str, purpose: &str| {
            let child = Command::new("sleep")
                .arg(seconds)
                .env("OTEL_SERVICE_NAME", "napper")
                .env("PURPOSE", purpose)
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
            let found = identify(&process, &config, &Database::read()).unwrap();
            (
                found.watch.identity[0].name.clone(),
                found.service,
                found.selected,
            )
        };
        assert_eq!(look(&start("61", "nap")), ("b".into(), "dozer".into(), true));
        assert_eq!(look(&start("62", "snap")), ("a".into(), "napper".into(), false));
        assert_eq!(look(&start("62", "nap")), ("a".into(), "pillow".into(), true));
    }
}
