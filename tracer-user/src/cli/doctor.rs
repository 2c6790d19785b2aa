//! `bleedtrace doctor`: can this machine, and a process, be traced? Each check says what is lost when it fails.

use std::{fmt::Write as _, fs, path::Path};

use serde::Serialize;

use super::{
    args::{DoctorArgs, Format},
    error::{Error, exit},
};
use crate::target::{maps::Mapping, process::Process};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Traced all the same, with the loss that the check names.
    Limited,
    /// Cannot be traced.
    Missing,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What it costs, when it is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub costs: Option<&'static str>,
}

impl Check {
    /// A check that is ok, or missing at a cost.
    pub fn required(check: &'static str, ok: bool, found: impl Into<String>, costs: &'static str) -> Self {
        Self::new(
            check,
            if ok { Outcome::Ok } else { Outcome::Missing },
            found,
            costs,
        )
    }

    /// A check that is ok, or lets something less be traced.
    pub fn wanted(check: &'static str, ok: bool, found: impl Into<String>, costs: &'static str) -> Self {
        Self::new(
            check,
            if ok { Outcome::Ok } else { Outcome::Limited },
            found,
            costs,
        )
    }

    fn new(check: &'static str, outcome: Outcome, found: impl Into<String>, costs: &'static str) -> Self {
        Self {
            check,
            outcome,
            found: found.into(),
            costs: (outcome != Outcome::Ok).then_some(costs),
        }
    }
}

/// Checks that belong to other parts of the agent: trying a link, reading a runtime's version.
#[derive(Clone, Copy, Default)]
pub struct Plugged<'a> {
    /// Of the machine.
    pub machine: &'a [fn() -> Check],
    /// Of a process and its memory map.
    pub process: &'a [fn(&Process, &[Mapping]) -> Check],
}

/// Makes the checks and prints them; 3 when one of them is missing.
pub fn run(args: &DoctorArgs, plugged: Plugged<'_>) -> Result<u8, Error> {
    let mut checks = machine();
    checks.extend(plugged.machine.iter().map(|check| check()));
    if let Some(pid) = args.pid {
        let process = Process::open(pid)?;
        checks.extend(of_process(&process, plugged.process));
    }
    match args.format {
        Format::Text => anstream::print!("{}", table(&checks)),
        Format::Json => {
            for check in &checks {
                let line = serde_json::to_string(check)
                    .map_err(|e| Error::cannot_trace(format!("cannot print: {e}"), "report this"))?;
                anstream::println!("{line}");
            }
        }
    }
    let traceable = checks.iter().all(|check| check.outcome != Outcome::Missing);
    Ok(if traceable {
        exit::CLEAN
    } else {
        exit::CANNOT_TRACE
    })
}

fn table(checks: &[Check]) -> String {
    let widest = |text: fn(&Check) -> &str| checks.iter().map(|c| text(c).chars().count()).max().unwrap_or(0);
    let (name, found) = (widest(|c| c.check), widest(|c| &c.found).min(48));
    let mut out = String::new();
    for check in checks {
        let colour = match check.outcome {
            Outcome::Ok => anstyle::AnsiColor::Green,
            Outcome::Limited => anstyle::AnsiColor::Yellow,
            Outcome::Missing => anstyle::AnsiColor::Red,
        }
        .on_default();
        let line = format!(
            "{:name$}  {colour}{:7}{colour:#}  {:found$}  {}",
            check.check,
            check.outcome.name(),
            check.found,
            check.costs.unwrap_or_default(),
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

fn machine() -> Vec<Check> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let btf = Path::new("/sys/kernel/btf/vmlinux");
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
    checks
}

fn kernel(release: &str) -> Check {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let costs = "uprobe_multi came with 6.6: nothing can be traced";
    Check::required("kernel 6.6 or later", version >= (6, 6), release, costs)
}

fn capabilities(effective: u64) -> [Check; 3] {
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
            "no other user's process can be read; run as root",
        ),
    ]
}

fn lockdown(state: &str) -> Check {
    let mode = state.split(['[', ']']).nth(1).unwrap_or(state);
    let costs = "confidentiality mode keeps programs from reading memory: nothing can be traced";
    Check::required("kernel lockdown", mode != "confidentiality", mode, costs)
}

fn of_process(process: &Process, plugged: &[fn(&Process, &[Mapping]) -> Check]) -> Vec<Check> {
    let memory = process.memory();
    let mut checks = vec![Check::required(
        "memory can be read",
        memory.is_ok(),
        memory.map_or_else(|e| e.to_string(), |_| format!("process {}", process.pid())),
        "values cannot be told: needs the same user or CAP_SYS_PTRACE",
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
    checks.push(interpreter(process, &maps));
    checks.push(namespace(process));
    let greenlet = maps.iter().any(|m| m.is_file() && is_greenlet(m));
    checks.push(Check::wanted(
        "no greenlet",
        !greenlet,
        if greenlet {
            "greenlet is mapped"
        } else {
            "not mapped"
        },
        "return probes would crash it: dequeues are not seen, and no verdict can be clean",
    ));
    checks.extend(plugged.iter().map(|check| check(process, &maps)));
    checks
}

fn is_greenlet(mapping: &Mapping) -> bool {
    mapping.file_name().starts_with(b"_greenlet.")
}

/// The executable mapping that carries the interpreter, by its name: a shared library, else the program itself.
fn core(maps: &[Mapping]) -> Option<&Mapping> {
    let mapped = |fits: fn(&[u8]) -> bool| {
        maps.iter()
            .find(move |m| m.is_file() && m.executable && fits(m.file_name()))
    };
    let program = |name: &[u8]| {
        let version = name.strip_prefix(b"python").unwrap_or(b"?");
        version.iter().all(|b| b.is_ascii_digit() || b".tdm".contains(b))
    };
    mapped(|name| name.starts_with(b"libpython3.") && name.windows(3).any(|w| w == b".so"))
        .or_else(|| mapped(program))
}

fn interpreter(process: &Process, maps: &[Mapping]) -> Check {
    const CHECK: &str = "CPython interpreter";
    let Some(core) = core(maps) else {
        let exe = process.exe().unwrap_or_default().escape_ascii().to_string();
        return Check::required(
            CHECK,
            false,
            format!("none in {exe}"),
            "only CPython can be traced",
        );
    };
    let linked = if core.file_name().starts_with(b"libpython") {
        "shared library"
    } else {
        "in the executable"
    };
    let name = core.file_name().escape_ascii();
    match process.open_mapped(core) {
        Ok(_) => Check::required(CHECK, true, format!("{name}, {linked}"), ""),
        Err(error) if core.says_deleted() => Check::required(
            CHECK,
            false,
            format!("{name}, deleted: {error}"),
            "a replaced library needs CAP_SYS_ADMIN, or a restart of the process",
        ),
        Err(error) => Check::required(CHECK, false, error.to_string(), "no probe can be attached to it"),
    }
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
        assert_eq!(outcomes(0), [false; 3]);
        assert_eq!(outcomes(1 << 38 | 1 << 39 | 1 << 19), [true; 3]);
        assert_eq!(outcomes(1 << 39), [true, false, false]);
        assert_eq!(outcomes(1 << 21), [true, true, false]);
        assert!(capabilities(0)[0].costs.is_some() && capabilities(u64::MAX)[0].costs.is_none());
    }

    #[test]
    fn lockdown_modes() {
        assert_eq!(lockdown("none [integrity] confidentiality").outcome, Outcome::Ok);
        assert_eq!(
            lockdown("none integrity [confidentiality]").outcome,
            Outcome::Missing
        );
    }

    #[test]
    fn the_interpreter_is_found_by_its_mapping() {
        let line = |name: &str| format!("1000-2000 r-xp 0 08:01 5 {name}\n");
        let maps = |names: &[&str]| {
            crate::target::maps::parse(names.iter().map(|n| line(n)).collect::<String>().as_bytes()).unwrap()
        };
        let shared = maps(&["/usr/bin/python3.12", "/usr/lib/libpython3.12.so.1.0"]);
        assert_eq!(core(&shared).unwrap().file_name(), b"libpython3.12.so.1.0");
        let embedded = maps(&["/x/python_magic.so", "/usr/bin/python3.13"]);
        assert_eq!(core(&embedded).unwrap().file_name(), b"python3.13");
        assert!(core(&maps(&["/bin/cat", "/tmp/notpython", "/x/libpython.py"])).is_none());
        assert!(is_greenlet(
            &maps(&["/x/_greenlet.cpython-312-x86_64-linux-gnu.so"])[0]
        ));
    }
}
