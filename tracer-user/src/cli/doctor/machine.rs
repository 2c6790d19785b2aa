//! Whether this machine lets anything be traced.

use std::{fs, path::Path};

use super::{Check, link};
use crate::{
    attach::{kernel::BTF, namespace},
    privilege,
    target::process::Process,
};

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
const CAP_CHECKPOINT_RESTORE: u32 = 40;

/// The checks.
pub(super) fn checks() -> Vec<Check> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let btf = Path::new(BTF);
    let mut checks = vec![
        kernel(&release),
        Check::required(
            "architecture",
            cfg!(target_arch = "x86_64"),
            std::env::consts::ARCH,
            "arguments are read from x86-64 registers: nothing can be traced",
        ),
        Check::required(
            "kernel types (BTF)",
            btf.exists(),
            if btf.exists() {
                btf.display().to_string()
            } else {
                "none".into()
            },
            "threads cannot be told apart: needs CONFIG_DEBUG_INFO_BTF",
        ),
    ];
    let effective = Process::open(std::process::id())
        .and_then(|me| me.status())
        .map_or(0, |s| s.capabilities);
    checks.extend(capabilities(effective));
    if let Some(state) = read("/sys/kernel/security/lockdown") {
        checks.push(lockdown(&state));
    }
    checks.extend(optional(effective));
    checks.push(confined());
    let scope = read("/proc/sys/kernel/yama/ptrace_scope");
    checks.push(ptrace_scope(scope.as_deref()));
    checks.push(paranoid(read("/proc/sys/kernel/perf_event_paranoid").as_deref()));
    checks.push(Check::wanted(
        "processes of others",
        Path::new("/proc/1/stat").exists(),
        if Path::new("/proc/1/stat").exists() {
            "seen"
        } else {
            "hidden"
        },
        "/proc is mounted with hidepid: processes of other users are neither found nor followed",
    ));
    checks.push(namespace());
    checks.push(link::check());
    checks
}

fn namespace() -> Check {
    let shown = namespace::shown();
    let found = match &shown {
        Ok(None) => "the initial one".to_owned(),
        Ok(Some(_)) => "an inner one: processes outside it cannot be traced".to_owned(),
        Err(error) => error.to_string(),
    };
    let costs = "processes cannot be numbered: mount the procfs of this namespace at /proc";
    Check::required("own PID namespace", shown.is_ok(), found, costs)
}

fn kernel(release: &str) -> Check {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let costs = "uprobe_multi came with 6.6: nothing can be traced";
    Check::required("kernel 6.6 or later", version >= (6, 6), release, costs)
}

fn capabilities(effective: u64) -> [Check; 4] {
    let has = |number: u32| effective >> number & 1 == 1;
    let row = |check, number: u32, costs| {
        let found = match (has(number), has(CAP_SYS_ADMIN)) {
            (true, _) => "held",
            (false, true) => "held through CAP_SYS_ADMIN",
            (false, false) => "not held",
        };
        // Reading a stranger's memory is not among the things that CAP_SYS_ADMIN stands in for.
        let ok = has(number) || (number != CAP_SYS_PTRACE && has(CAP_SYS_ADMIN));
        Check::required(check, ok, if ok { found } else { "not held" }, costs)
    };
    [
        row("CAP_BPF", CAP_BPF, "no program can be loaded; run as root"),
        row(
            "CAP_PERFMON",
            CAP_PERFMON,
            "no probe can be attached; run as root",
        ),
        row(
            "CAP_SYS_PTRACE",
            CAP_SYS_PTRACE,
            "no process can be read; run as root",
        ),
        // The kernel lets a process's memory be opened like a file of its user.
        Check::wanted(
            "CAP_DAC_READ_SEARCH",
            has(CAP_DAC_READ_SEARCH) || has(CAP_DAC_OVERRIDE),
            if has(CAP_DAC_READ_SEARCH) {
                "held"
            } else if has(CAP_DAC_OVERRIDE) {
                "held through CAP_DAC_OVERRIDE"
            } else {
                "not held"
            },
            "only processes of the same user can be traced",
        ),
    ]
}

/// What tracing can do without.
fn optional(effective: u64) -> [Check; 2] {
    let row = |check, number: u32, stand_in: Option<u32>, costs| {
        let has = |number: u32| effective >> number & 1 == 1;
        let ok = has(number) || stand_in.is_some_and(has);
        Check::wanted(check, ok, if ok { "held" } else { "not held" }, costs)
    };
    [
        row(
            "CAP_CHECKPOINT_RESTORE",
            CAP_CHECKPOINT_RESTORE,
            Some(CAP_SYS_ADMIN),
            "a process whose interpreter was deleted or replaced on disk cannot be traced",
        ),
        row(
            "CAP_SYS_ADMIN",
            CAP_SYS_ADMIN,
            None,
            "how long probes run is not measured; nothing else needs it",
        ),
    ]
}

/// What of this would be left to a run that gives up the rest.
fn confined() -> Check {
    let found = match privilege::would_keep() {
        Ok(names) if names.is_empty() => "keeps none of what is held".to_owned(),
        Ok(names) => format!("keeps {}", names.join(", ")),
        Err(error) => error.to_string(),
    };
    Check::required("with --confine", true, found, "")
}

/// Yama's setting; none where there is no Yama.
fn ptrace_scope(scope: Option<&str>) -> Check {
    let costs = "nobody may look into another process until the machine is started with another kernel.yama.ptrace_scope: \
                 nothing can be traced";
    let found = match scope {
        None => "unrestricted",
        Some(scope) => scope,
    };
    Check::required("ptrace scope", scope != Some("3"), found, costs)
}

/// Probes are links of `uprobe_multi`, which no setting of perf's concerns. Said because people look for it.
fn paranoid(level: Option<&str>) -> Check {
    let found = format!("{}, which probes do not depend on", level.unwrap_or("none"));
    Check::required("perf_event_paranoid", true, found, "")
}

fn lockdown(state: &str) -> Check {
    let mode = state.split(['[', ']']).nth(1).unwrap_or(state);
    let costs = "confidentiality mode keeps programs from reading memory: nothing can be traced";
    Check::required("kernel lockdown", mode != "confidentiality", mode, costs)
}

#[cfg(test)]
mod tests {
    use super::{super::Outcome, *};

    #[test]
    fn kernels() {
        for (release, outcome) in [
            ("6.6.0-1-amd64", Outcome::Ok),
            ("6.18.44", Outcome::Ok),
            ("7.0-rc1", Outcome::Ok),
            ("6.5.13", Outcome::Missing),
            ("5.15.0-100-generic", Outcome::Missing),
            ("", Outcome::Missing),
        ] {
            assert_eq!(kernel(release).outcome, outcome, "{release}");
        }
    }

    #[test]
    fn capabilities_by_bit() {
        let outcomes = |bits: u64| capabilities(bits).map(|check| check.outcome == Outcome::Ok);
        assert_eq!(outcomes(0), [false; 4]);
        assert_eq!(outcomes(1 << 38 | 1 << 39 | 1 << 19), [true, true, true, false]);
        assert_eq!(outcomes(1 << 1), [false, false, false, true]);
        assert_eq!(outcomes(1 << 2), [false, false, false, true]);
        assert_eq!(outcomes(1 << 39), [true, false, false, false]);
        assert_eq!(outcomes(1 << 21), [true, true, false, false]);
        assert!(capabilities(0)[0].costs.is_some() && capabilities(u64::MAX)[0].costs.is_none());
    }

    #[test]
    fn what_can_be_done_without() {
        let outcomes = |bits: u64| optional(bits).map(|check| check.outcome == Outcome::Ok);
        assert_eq!(outcomes(0), [false; 2]);
        assert_eq!(outcomes(1 << 40), [true, false]);
        assert_eq!(outcomes(1 << 21), [true; 2]);
        assert_eq!(optional(0)[0].outcome, Outcome::Limited);
        for (scope, outcome) in [
            (None, Outcome::Ok),
            (Some("2"), Outcome::Ok),
            (Some("3"), Outcome::Missing),
        ] {
            assert_eq!(ptrace_scope(scope).outcome, outcome, "{scope:?}");
        }
    }

    #[test]
    fn lockdown_modes() {
        assert_eq!(lockdown("none [integrity] confidentiality").outcome, Outcome::Ok);
        assert_eq!(
            lockdown("none integrity [confidentiality]").outcome,
            Outcome::Missing
        );
    }
}
