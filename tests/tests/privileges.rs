//! With exactly the capabilities that docs/privileges.md names, and with each of them missing in turn; and what is given up.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bleedtrace_tests::{
    Ended, Folder, NOBODY, OTHER, PYTHON, Program, Setup, Trace, Truth, as_user, fixture, free_port, get,
    on_main_interpreters, once, sample, skip, wait_until,
};

const NEEDED: [&str; 3] = ["bpf", "perfmon", "sys_ptrace"];
const PATIENCE: Duration = Duration::from_secs(20);

/// The tracer and a program, where everybody can read them.
struct Shared {
    folder: Folder,
}

impl Shared {
    /// None, said by name, where this machine cannot do it.
    fn new(setup: &Setup, test: &str) -> Option<Self> {
        if !Path::new(PYTHON).exists() {
            skip(test, "no /usr/bin/python3");
            return None;
        }
        let works = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        if !works(with(NOBODY, &NEEDED).arg("true")) {
            skip(test, "setpriv cannot give exact capabilities");
            return None;
        }
        let folder = Folder::new(test);
        fs::copy(&setup.bleedtrace, folder.file("bleedtrace")).expect("the tracer can be copied");
        for name in ["attached.py", "truth.py"] {
            fs::copy(fixture(name), folder.file(name)).expect("a fixture can be copied");
        }
        Some(Self { folder })
    }

    /// A program of this user that waits to be told to go on.
    fn target(&self, user: u32) -> Program {
        let mut command = with(user, &[]);
        let mut target = Program::start(command.arg(PYTHON).arg(self.folder.file("attached.py")));
        target.wait_for("ready");
        target
    }

    fn tracer(&self, capabilities: &[&str]) -> Command {
        let mut command = with(NOBODY, capabilities);
        command.arg(self.folder.file("bleedtrace"));
        command
    }
}

/// A command as this user with these capabilities, and no way to more.
fn with(user: u32, capabilities: &[&str]) -> Command {
    let words = as_user(user, capabilities);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Traces a waiting program with these capabilities until it has ended; gives the kinds of finding that were told, and how the tracer ended.
fn trace(shared: &Shared, user: u32, capabilities: &[&str]) -> (Vec<String>, Ended) {
    let mut target = shared.target(user);
    let address = format!("127.0.0.1:{}", free_port());
    let pid = target.pid().to_string();
    let mut tracer = Program::start(shared.tracer(capabilities).args([
        "trace",
        "--identity",
        "tenant",
        "--format",
        "json",
        "--listen",
        &address,
        "--pid",
        &pid,
    ]));
    wait_until("the target is traced, or refused", PATIENCE, || {
        let metrics = get(&address, "/metrics").unwrap_or_default();
        let attached = sample(&metrics, "bleedtrace_targets", &[("state", "attached")]);
        (attached == Some(1.0) || !tracer.runs()).then_some(())
    });
    target.say("go on");
    assert_eq!(target.end().code, Some(0), "the target is unharmed");
    let ended = tracer.end();
    let lines = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let kinds = lines
        .filter_map(|line| Some(line["kind"].as_str()?.to_owned()))
        .collect();
    (kinds, ended)
}

#[test]
fn three_capabilities_are_enough() {
    const TEST: &str = "three_capabilities_are_enough";
    once(TEST, |setup| {
        let Some(shared) = Shared::new(setup, TEST) else {
            return;
        };
        let (kinds, ended) = trace(&shared, NOBODY, &NEEDED);
        assert_eq!(kinds, ["bleed"], "{ended:?}");
        assert_eq!(ended.code, Some(1), "{ended:?}");
    });
}

#[test]
fn each_capability_that_is_missing_is_named() {
    const TEST: &str = "each_capability_that_is_missing_is_named";
    once(TEST, |setup| {
        let Some(shared) = Shared::new(setup, TEST) else {
            return;
        };
        for missing in NEEDED {
            let left: Vec<_> = NEEDED.into_iter().filter(|name| *name != missing).collect();
            let (kinds, ended) = trace(&shared, NOBODY, &left);
            let name = format!("CAP_{}", missing.to_uppercase());
            let sentence = format!("error: tracing needs {name}, which this process lacks\nhint: ");
            assert_eq!((kinds.len(), ended.code), (0, Some(3)), "{missing}: {ended:?}");
            assert!(ended.stderr.contains(&sentence), "{missing}: {}", ended.stderr);
            let doctor = Program::start(shared.tracer(&left).arg("doctor")).end();
            assert_eq!(doctor.code, Some(3), "{doctor:?}");
            let row = doctor
                .stdout
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            assert!(
                row.is_some_and(|row| row.contains("not held")),
                "{}",
                doctor.stdout
            );
        }
    });
}

#[test]
fn processes_of_others_take_one_more() {
    const TEST: &str = "processes_of_others_take_one_more";
    once(TEST, |setup| {
        let Some(shared) = Shared::new(setup, TEST) else {
            return;
        };
        let (kinds, ended) = trace(&shared, OTHER, &NEEDED);
        assert_eq!((kinds.len(), ended.code), (0, Some(3)), "{ended:?}");
        let hint = "for another user's process it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
        assert!(ended.stderr.contains(hint), "{}", ended.stderr);
        let (kinds, ended) = trace(
            &shared,
            OTHER,
            &["bpf", "perfmon", "sys_ptrace", "dac_read_search"],
        );
        assert_eq!(kinds, ["bleed"], "{ended:?}");
    });
}

/// What the kernel says of a thread's privileges; empty if it has ended.
fn privileges(task: &Path) -> BTreeMap<String, String> {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn what_is_not_needed_is_given_up() {
    once("what_is_not_needed_is_given_up", |setup| {
        let mut target = Program::fixture(setup, "attached.py", &[]);
        target.wait_for("ready");
        let folder = Folder::new("what_is_not_needed_is_given_up");
        let flights = folder.path().to_string_lossy().into_owned();
        let trace = Trace::new(setup, "tenant")
            .revealing()
            .flags(["--confine", "--flight-recorder", "30s", "--flight-dir", &flights])
            .attach(target.pid());
        let tasks = PathBuf::from(format!("/proc/{}/task", trace.program.pid()));
        let main = tasks.join(trace.program.pid().to_string());
        wait_until("it is confined", PATIENCE, || {
            (privileges(&main).get("Seccomp").is_some_and(|mode| mode == "2")).then_some(())
        });
        // CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF, CAP_CHECKPOINT_RESTORE.
        let kept: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39 | 1 << 40;
        // What makes files and gives them away: these, CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER.
        let files: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3;
        // Threads that it has dismissed take a moment to end.
        let names = wait_until("no thread holds more", PATIENCE, || {
            let mut names = Vec::new();
            for task in fs::read_dir(&tasks).expect("it runs").flatten() {
                let has = privileges(&task.path());
                let Some(name) = has.get("Name") else { continue };
                let held = u64::from_str_radix(&has["CapPrm"], 16).expect("a number");
                let may = match name.as_str() {
                    "bleedtrace-http" => 0,
                    "flight" => files,
                    _ => kept,
                };
                if held & !may != 0 || has["NoNewPrivs"] != "1" || has["Seccomp"] != "2" {
                    return None;
                }
                names.push(name.clone());
            }
            Some(names)
        });
        for name in ["bleedtrace-http", "flight"] {
            assert!(names.iter().any(|known| known == name), "{names:?}");
        }
        target.say("go on");
        let truth = Truth::parse(&target.end().stdout);
        trace.end().assert_truth(&truth);
    });
}

/// What comes later is stopped, armed and let go on by what is kept.
#[test]
fn a_confined_tracer_follows_what_a_command_starts() {
    on_main_interpreters("a_confined_tracer_follows_what_a_command_starts", |setup| {
        let (outcome, truth) =
            Trace::new(setup, "tenant")
                .revealing()
                .flags(["--confine"])
                .run(setup, "fork.py", &[]);
        outcome.assert_truth(&truth);
        let program =
            "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'print(7)']).returncode)";
        let words = setup.interpreter.words();
        let mut command: Vec<_> = words.iter().map(|word| word.as_os_str().to_owned()).collect();
        command.extend(["-c".into(), program.into()]);
        let ended = Trace::new(setup, "tenant")
            .flags(["--confine"])
            .command(command)
            .end()
            .ended;
        assert_eq!(ended.stdout, "7\n", "{ended:?}");
    });
}
