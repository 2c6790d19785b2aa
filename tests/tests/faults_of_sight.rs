//! Faults of what the agent may see: memory that it may not read, and a `/proc` that hides processes. docs/faults.md names the states.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use bleedtrace_tests::{
    Agent, BLEEDS, Folder, MARK, MARKED, NOBODY, OTHER, PYTHON, Program, Setup, as_user, bleed, fixture, get,
    once, sample, skip, wait_until,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const ATTACHED: (&str, [(&str, &str); 1]) = ("bleedtrace_targets", [("state", "attached")]);

/// The agent's configuration where processes are told apart by their arguments alone.
const BY_CMDLINE: &str = "[watch]\nidentity = [\"tenant\"]\n\
                          [[service]]\nmatch = { cmdline = \"*keeps_bleeding.py*\" }\nname = \"marked\"\n";

/// The line about a process under `/targets`.
#[track_caller]
fn target(agent: &Agent, pid: u32) -> Option<Value> {
    let (status, answer) = agent.ask("/targets");
    assert_eq!(status, 200, "{answer}");
    let targets = answer["targets"].as_array().expect("a list").clone();
    targets.into_iter().find(|target| target["pid"] == pid)
}

/// Where everybody may read: the agent, and a program that bleeds.
fn shared(setup: &Setup, test: &str) -> Option<(Folder, Setup)> {
    if !Path::new(PYTHON).exists() {
        skip(test, "no /usr/bin/python3");
        return None;
    }
    let words = as_user(NOBODY, &["bpf", "perfmon", "sys_ptrace", "dac_read_search"]);
    let works = Command::new(&words[0]).args(&words[1..]).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        skip(test, "setpriv cannot give exact capabilities");
        return None;
    }
    let folder = Folder::new(test);
    let mut setup = setup.clone();
    let copy = folder.file("bleedtrace");
    fs::copy(&setup.bleedtrace, &copy).expect("the agent can be copied");
    setup.bleedtrace = copy.into();
    fs::copy(fixture("keeps_bleeding.py"), folder.file("keeps_bleeding.py")).expect("so can a fixture");
    Some((folder, setup))
}

/// Starts a program that bleeds, as this user, under a mark, in a way of its own.
#[track_caller]
fn bleeder_of(user: u32, mark: &str, folder: &Folder, way: &[&str]) -> Program {
    let words = as_user(user, &[]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(MARK, mark).arg(PYTHON).args(way);
    let mut program = Program::start(command.arg(folder.file("keeps_bleeding.py")));
    program.wait_for("ready");
    program
}

/// Runs a program that has asked the kernel to let nobody look into it.
const HIDES: &str = "import ctypes, runpy, sys; assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0; \
                     runpy.run_path(sys.argv[1], run_name='__main__')";

/// An agent that may not read the memory of all says so, of those that run and of those that start, and traces the others.
#[track_caller]
fn says_what_it_may_not_read(setup: &Setup, folder: &Folder, config: &str) {
    let before = as_user(NOBODY, &["bpf", "perfmon", "sys_ptrace"]);
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    let mark = format!("unreadable-{}", std::process::id());
    let start = |user, way: &[&str]| bleeder_of(user, &mark, folder, way);
    let mut own = start(NOBODY, &[]);
    let mut others = vec![start(OTHER, &[]), start(NOBODY, &["-c", HIDES])];
    let agent = Agent::start_as(setup, &config.replace("{mark}", &mark), &before, &[]);
    wait_until("what may be read is traced", PATIENCE, || {
        (target(&agent, own.pid())?["state"] == "attached").then_some(())
    });
    others.push(start(OTHER, &[]));
    for other in &others {
        let pid = other.pid();
        let reason = wait_until("it is said that it cannot be traced", PATIENCE, || {
            let target = target(&agent, pid)?;
            (target["state"] == "failed").then(|| target["reason"].as_str().map(str::to_owned))?
        });
        let cause = format!("cannot read memory of process {pid}: Permission denied");
        assert!(reason.contains(&cause), "{reason}");
        let said = agent.said();
        let lines = said.lines().filter(|line| line.contains(&cause));
        assert_eq!(lines.count(), 1, "{said}");
    }
    agent.wait_for("bleedtrace_targets", &[("state", "failed")], 3);
    agent.wait_for("bleedtrace_processes_seen_total", &[("outcome", "failed")], 3);
    let (status, answer) = agent.ask("/readyz");
    assert_eq!(
        (status, &answer["reasons"][0]["code"]),
        (503, &"target_failed".into())
    );
    assert_eq!(agent.ask("/healthz").0, 200);
    assert_eq!(bleed(&mut own), 1);
    wait_until("its bleed is found", PATIENCE, || {
        (agent.bleeds_of(own.pid()) == 1).then_some(())
    });
    for mut other in others {
        assert_eq!(bleed(&mut other), 1, "it is unharmed");
        assert_eq!(agent.bleeds_of(other.pid()), 0);
        let pid = other.pid();
        assert_eq!(other.end().code, Some(0));
        wait_until("it has ended", PATIENCE, || {
            (target(&agent, pid)?["state"] == "exited").then_some(())
        });
    }
    assert_eq!(own.end().code, Some(0));
    let (ended, said) = agent.end();
    assert_eq!(ended.code, Some(0), "{said}");
}

#[test]
fn memory_that_may_not_be_read_is_said_once() {
    const TEST: &str = "memory_that_may_not_be_read_is_said_once";
    once(TEST, |setup| {
        if let Some((folder, setup)) = shared(setup, TEST) {
            says_what_it_may_not_read(&setup, &folder, BY_CMDLINE);
        }
    });
}

#[test]
fn an_environment_that_a_rule_asks_for_and_that_may_not_be_read_is_said() {
    const TEST: &str = "an_environment_that_a_rule_asks_for_and_that_may_not_be_read_is_said";
    once(TEST, |setup| {
        if let Some((folder, setup)) = shared(setup, TEST) {
            says_what_it_may_not_read(&setup, &folder, MARKED);
        }
    });
}

#[test]
fn processes_that_proc_hides_are_found_all_the_same() {
    const TEST: &str = "processes_that_proc_hides_are_found_all_the_same";
    once(TEST, |setup| {
        let Some((folder, setup)) = shared(setup, TEST) else {
            return;
        };
        let script = "#!/bin/sh\nmount -t proc -o hidepid=2 proc /proc || exit 99\nexec \"$@\"\n";
        let script = folder.write("hide", script);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let script = script.to_str().expect("a plain name");
        let hidden = ["unshare", "--mount", "--propagation", "private", script];
        let run = |user: u32, capabilities: &[&str], words: &[&str]| {
            let mut command = Command::new(hidden[0]);
            command
                .args(&hidden[1..])
                .args(as_user(user, capabilities))
                .args(words);
            Program::start(&mut command).end()
        };
        if run(NOBODY, &[], &["true"]).code != Some(0) {
            return skip(TEST, "no /proc can be mounted");
        }
        assert_ne!(run(NOBODY, &[], &["ls", "/proc/1"]).code, Some(0), "it is hidden");
        let bleedtrace = setup.bleedtrace.to_str().expect("a plain name");
        let doctor = run(NOBODY, &[], &[bleedtrace, "doctor"]);
        let mut rows = doctor.stdout.lines();
        let row = rows.find(|line| line.starts_with("processes of others"));
        assert!(row.is_some_and(|row| row.contains("hidden")), "{}", doctor.stdout);

        // CAP_SYS_PTRACE sees them.
        let capabilities = ["bpf", "perfmon", "sys_ptrace", "dac_read_search"];
        let words = as_user(NOBODY, &capabilities);
        let before: Vec<_> = hidden
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let first = Agent::start_as(&setup, MARKED, &before, &[]);
        let mut early = bleeder_of(OTHER, &first.mark, &folder, &[]);
        first.wait_for(ATTACHED.0, &ATTACHED.1, 1);
        let agent = Agent::start_as(&setup, &MARKED.replace("{mark}", &first.mark), &before, &[]);
        let mut late = bleeder_of(OTHER, &first.mark, &folder, &[]);
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 2);
        for program in [&mut early, &mut late] {
            assert_eq!(bleed(program), 1);
        }
        for agent in [&agent, &first] {
            wait_until("both are found to bleed", PATIENCE, || {
                let metrics = get(&agent.address, "/metrics").ok()?;
                (sample(&metrics, BLEEDS.0, &BLEEDS.1) == Some(2.0)).then_some(())
            });
        }
        for program in [early, late] {
            assert_eq!(program.end().code, Some(0));
        }
        agent.end();
        first.end();
        // Without it nothing is traced at all, which is said.
        let ended = run(
            NOBODY,
            &["bpf", "perfmon"],
            &[bleedtrace, "agent", "--listen", "127.0.0.1:0"],
        );
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            ended.stderr.contains("tracing needs CAP_SYS_PTRACE"),
            "{}",
            ended.stderr
        );
    });
}
