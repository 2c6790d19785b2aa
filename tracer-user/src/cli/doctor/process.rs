//! Whether a process can be traced, whatever it runs.

use super::{Check, interpreter};
use crate::report::privacy::clean;
use crate::target::{maps::Mapping, process::Process};

/// The checks.
pub(super) fn checks(process: &Process) -> Vec<Check> {
    let memory = process.memory();
    let mut checks = vec![Check::required(
        "memory can be read",
        memory.is_ok(),
        memory.map_or_else(|e| e.to_string(), |_| format!("process {}", process.pid())),
        "nothing can be read: another user's process needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
    )];
    let maps = match process.maps() {
        Ok(maps) => maps,
        Err(error) => {
            checks.push(Check::required(
                "memory map",
                false,
                error.to_string(),
                "no probe point can be found",
            ));
            return checks;
        }
    };
    checks.extend(interpreter::checks(process, &maps));
    checks.push(namespace(process));
    let cgroup = process.cgroup();
    checks.push(Check::wanted(
        "cgroup",
        cgroup.is_ok(),
        cgroup.map_or_else(|error| error.to_string(), |cgroup| clean(cgroup.trim())),
        "no rule of the configuration can go by its cgroup",
    ));
    checks.extend(replaced(process, &maps));
    let greenlet = maps.iter().any(|m| m.is_file() && is_greenlet(m));
    checks.push(Check::required(
        "no greenlet",
        !greenlet,
        if greenlet {
            "greenlet is mapped"
        } else {
            "not mapped"
        },
        "a return probe could crash it: it is traced with --allow-greenlet only",
    ));
    checks
}

/// Whether what it runs from was deleted or replaced since: then only the kernel's own links lead to it.
fn replaced(process: &Process, maps: &[Mapping]) -> Option<Check> {
    let exe = process.exe().unwrap_or_default();
    let mut parts = maps.iter().filter(|m| {
        m.is_file()
            && m.executable
            && (m.candidates().contains(&exe) || m.file_name().starts_with(b"libpython"))
    });
    let gone = parts.find(|m| m.says_deleted())?;
    let opened = process.open_mapped(gone);
    Some(Check::required(
        "replaced files",
        opened.is_ok(),
        opened.map_or_else(
            |error| error.to_string(),
            |_| {
                format!(
                    "{} was deleted, and is read all the same",
                    gone.file_name().escape_ascii()
                )
            },
        ),
        "it takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, or a restart of the process",
    ))
}

fn is_greenlet(mapping: &Mapping) -> bool {
    mapping.file_name().starts_with(b"_greenlet.")
}

fn namespace(process: &Process) -> Check {
    const COSTS: &str = "the numbers that it prints itself are not those that bleedtrace prints";
    match process.status() {
        Ok(status) => {
            let inner = status.namespace_pids.last().copied().unwrap_or(status.tgid);
            let found = if status.namespace_pids.len() > 1 {
                format!("its own: {} there is {} here", inner, status.tgid)
            } else {
                "ours".into()
            };
            Check::wanted("PID namespace", status.namespace_pids.len() < 2, found, COSTS)
        }
        Err(error) => Check::wanted("PID namespace", false, error.to_string(), COSTS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::maps::parse;

    #[test]
    fn greenlet_is_known_by_its_extension_module() {
        let is = |name: &str| {
            is_greenlet(&parse(format!("1000-2000 r-xp 0 08:01 5 {name}\n").as_bytes()).unwrap()[0])
        };
        assert!(is("/x/_greenlet.cpython-312-x86_64-linux-gnu.so"));
        assert!(!is("/x/greenlet.txt"));
    }
}
