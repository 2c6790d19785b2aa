//! With exactly the capabilities that docs/privileges.md names, and with each of them missing in turn; and what is given up.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bleedtrace_tests::{
    Agent, Ended, Folder, NOBODY, OTHER, PYTHON, Program, Setup, Trace, Truth, as_user, fixture, free_port,
    get, on_main_interpreters, once, sample, skip, wait_until,
};

const NEEDED: [&str; 3] = ["bpf", "perfmon", "sys_ptrace"];
/// What the agent is given, and its targets are those of others.
const AGENT: [&str; 4] = ["bpf", "perfmon", "sys_ptrace", "dac_read_search"];
/// What every user may know of a process selects it.
const BY_CMDLINE: &str = "[[service]]\nmatch = { cmdline = \"*keeps_bleeding.py {mark}*\" }\nname = \"theirs\"\n\
                          identity = [\"tenant\"]\n";
const BLEEDS: (&str, [(&str, &str); 2]) = (
    "bleedtrace_findings_total",
    [("service", "theirs"), ("kind", "bleed")],
);
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
        for name in ["attached.py", "keeps_bleeding.py", "truth.py"] {
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

    /// The agent with these capabilities, for programs with its own mark or with this one.
    fn agent(&self, capabilities: &[&str], mark: Option<&str>) -> Agent {
        let config = BY_CMDLINE.replace("{mark}", mark.unwrap_or("{mark}"));
        Agent::start_by(&self.tracer(capabilities), &[], &config)
    }

    /// A program of somebody else that is found by this mark, run by this interpreter.
    fn theirs(&self, mark: &str, python: &Path) -> Program {
        let mut command = with(OTHER, &[]);
        command.arg(python).arg(self.folder.file("keeps_bleeding.py"));
        let mut target = Program::start(command.arg(mark));
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

/// What the agent tells of a process: whether it is attached, and if not, why. None while it tells nothing.
fn told_of(agent: &Agent, pid: u32) -> Option<(String, String)> {
    let text = get(&agent.address, "/targets").ok()?;
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let targets = answer["targets"].as_array().expect("a list");
    let entry = targets.iter().find(|target| target["pid"] == pid)?;
    let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    Some((word("state"), word("reason")))
}

fn readiness(agent: &Agent) -> String {
    get(&agent.address, "/readyz").unwrap_or_else(|error| error.to_string())
}

#[test]
fn the_agent_needs_no_more_than_its_capabilities() {
    const TEST: &str = "the_agent_needs_no_more_than_its_capabilities";
    once(TEST, |setup| {
        let Some(shared) = Shared::new(setup, TEST) else {
            return;
        };
        let agent = shared.agent(&AGENT, None);
        let mut target = shared.theirs(&agent.mark, Path::new(PYTHON));
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        target.say("go on");
        target.wait_for("done 1");
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 1);
        let text = fs::read_to_string(format!("/proc/{}/status", agent.program.pid())).expect("it runs");
        let field = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        // CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF.
        let held: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39;
        assert_eq!(field("CapPrm:"), Some(&*format!("{held:016x}")), "{text}");
        assert!(
            field("Uid:").is_some_and(|ids| ids.starts_with("65534\t")),
            "{text}"
        );
        let ready = readiness(&agent);
        assert!(ready.contains("\"reasons\":[]"), "{ready}");
        assert_eq!(target.end().code, Some(0), "the target is unharmed");
        let (ended, said) = agent.end();
        assert_eq!(ended.code, Some(0), "{said}");
    });
}

#[test]
fn the_agent_says_which_capability_is_missing() {
    const TEST: &str = "the_agent_says_which_capability_is_missing";
    once(TEST, |setup| {
        let Some(shared) = Shared::new(setup, TEST) else {
            return;
        };
        let config = shared
            .folder
            .write("config.toml", "[watch]\nidentity = [\"tenant\"]\n");
        let without =
            |missing: &str| -> Vec<_> { AGENT.into_iter().filter(|name| *name != missing).collect() };
        for missing in NEEDED {
            let mut command = shared.tracer(&without(missing));
            let address = format!("127.0.0.1:{}", free_port());
            command
                .args(["agent", "--listen", &address, "--config"])
                .arg(&config);
            let ended = Program::start(&mut command).end();
            let name = format!("CAP_{}", missing.to_uppercase());
            let sentence = format!("error: tracing needs {name}, which this process lacks\nhint: ");
            assert_eq!(ended.code, Some(3), "{missing}: {ended:?}");
            assert!(ended.stderr.contains(&sentence), "{missing}: {}", ended.stderr);
        }
        // Without the fourth there is an agent, and it says whom it cannot trace.
        let mut agent = shared.agent(&without("dac_read_search"), None);
        let mut target = shared.theirs(&agent.mark, Path::new(PYTHON));
        let pid = target.pid();
        let (state, reason) = wait_until("it is told", PATIENCE, || told_of(&agent, pid));
        let sentence = "for another user's process it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
        assert_eq!(state, "failed", "{reason}");
        assert!(reason.contains(sentence), "{reason}");
        agent.wait_to_say(sentence);
        agent.wait_for("bleedtrace_targets", &[("state", "failed")], 1);
        let ready = readiness(&agent);
        assert!(
            ready.contains("503") && ready.contains("target_failed"),
            "{ready}"
        );
        target.say("go on");
        target.wait_for("done 1");
        assert_eq!(target.end().code, Some(0), "the target is unharmed");
        assert_eq!(agent.findings().len(), 0);
        agent.end();
    });
}

#[test]
fn what_was_replaced_takes_one_more() {
    const TEST: &str = "what_was_replaced_takes_one_more";
    once(TEST, |setup| {
        let Some(shared) = Shared::new(setup, TEST) else {
            return;
        };
        let python = shared.folder.path().join("python3");
        // They run, and their interpreter is gone, before an agent looks at them.
        let start = |mark: &str| {
            fs::copy(PYTHON, &python).expect("the interpreter can be copied");
            let target = shared.theirs(mark, &python);
            fs::remove_file(&python).expect("the copy is ours");
            target
        };
        let marks = ["without", "with"].map(|name| format!("{name}-{}", std::process::id()));
        let [refused, mut found] = marks.each_ref().map(|mark| start(mark));
        let restoring: Vec<_> = AGENT.into_iter().chain(["checkpoint_restore"]).collect();
        let agents = [
            shared.agent(&AGENT, Some(&marks[0])),
            shared.agent(&restoring, Some(&marks[1])),
        ];
        let [without, with] = agents.each_ref();
        let told = |agent: &Agent, pid| wait_until("it is told", PATIENCE, || told_of(agent, pid));
        let (state, reason) = told(without, refused.pid());
        assert_eq!(state, "failed", "{reason}");
        assert!(reason.contains("CAP_CHECKPOINT_RESTORE"), "{reason}");
        with.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        found.say("go on");
        found.wait_for("done 1");
        with.wait_for(BLEEDS.0, &BLEEDS.1, 1);
        for target in [refused, found] {
            assert_eq!(target.end().code, Some(0), "the target is unharmed");
        }
        for agent in agents {
            agent.end();
        }
    });
}

#[test]
fn doctor_says_what_would_be_kept() {
    const TEST: &str = "doctor_says_what_would_be_kept";
    once(TEST, |setup| {
        let Some(shared) = Shared::new(setup, TEST) else {
            return;
        };
        let row = |capabilities: &[&str]| {
            let doctor =
                Program::start(shared.tracer(capabilities).args(["doctor", "--format", "json"])).end();
            let rows = doctor.stdout.lines();
            let rows = rows.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
            let mut rows = rows.filter(|row| row["check"] == "with --confine");
            rows.next().expect("a row")["found"].as_str().map(str::to_owned)
        };
        let kept = "keeps CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF";
        let more: Vec<_> = AGENT
            .into_iter()
            .chain(["sys_admin", "chown", "net_admin"])
            .collect();
        assert_eq!(row(&AGENT).as_deref(), Some(kept));
        assert_eq!(row(&more).as_deref(), Some(kept));
        assert_eq!(row(&["chown"]).as_deref(), Some("keeps none of what is held"));
        let (instead, kept) = (["sys_admin", "sys_ptrace"], "keeps CAP_SYS_PTRACE, CAP_SYS_ADMIN");
        assert_eq!(row(&instead).as_deref(), Some(kept));
        let (instead, kept) = (["dac_override", "bpf"], "keeps CAP_DAC_OVERRIDE, CAP_BPF");
        assert_eq!(row(&instead).as_deref(), Some(kept));
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
