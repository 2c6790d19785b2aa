//! What cannot be traced is refused in one clear sentence, with a hint and the right exit code.

use std::process::Command;

use bleedtrace_tests::{
    Ended, Program, Setup, Trace, on_main_interpreters, once, skip, unsupported_interpreter,
};

#[track_caller]
fn refused(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    let error = ended.stderr.lines().find_map(|line| line.strip_prefix("error: "));
    let error = error.unwrap_or_else(|| panic!("no error: {}", ended.stderr));
    assert!(error.contains(words), "{error}");
    assert!(
        ended
            .stderr
            .lines()
            .any(|line| line.trim_start().starts_with("hint: ")),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

fn run(setup: &Setup, arguments: &[&str]) -> Ended {
    Program::start(Command::new(&setup.bleedtrace).args(arguments)).end()
}

#[test]
fn who_is_not_root_is_told() {
    once("who_is_not_root_is_told", |setup| {
        let arguments = ["trace", "--identity", "tenant", "--", "/bin/true"];
        let Some(ended) = setup.unprivileged("who_is_not_root_is_told", &arguments) else {
            return;
        };
        refused(&ended, 3, "");
        assert!(
            ended.stderr.contains("root") || ended.stderr.contains("CAP_"),
            "{}",
            ended.stderr
        );
    });
}

#[test]
fn what_is_not_python_is_named() {
    once("what_is_not_python_is_named", |setup| {
        let sleeper = Program::start(Command::new("sleep").arg("60"));
        let pid = sleeper.pid().to_string();
        let ended = run(
            setup,
            &["trace", "--identity", "tenant", "--duration", "2s", "--pid", &pid],
        );
        sleeper.signal("TERM");
        sleeper.end();
        refused(&ended, 3, &pid);
    });
}

#[test]
fn a_process_that_is_gone_is_named() {
    once("a_process_that_is_gone_is_named", |setup| {
        let gone = Program::start(&mut Command::new("true"));
        let pid = gone.pid().to_string();
        gone.end();
        refused(
            &run(setup, &["trace", "--identity", "tenant", "--pid", &pid]),
            3,
            &pid,
        );
    });
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    once("a_command_that_does_not_exist_is_named", |setup| {
        refused(
            &run(
                setup,
                &["trace", "--identity", "tenant", "--", "/no/such/command"],
            ),
            2,
            "/no/such/command",
        );
    });
}

#[test]
fn unknown_values_of_flags_are_named() {
    once("unknown_values_of_flags_are_named", |setup| {
        for arguments in [
            ["trace", "--format", "yaml", "--", "true"],
            ["trace", "--fail-on", "yaml", "--", "true"],
            ["trace", "--duration", "yaml", "--", "true"],
            ["trace", "--listen", "yaml", "--", "true"],
            ["trace", "--config", "/no/such/yaml", "--", "true"],
        ] {
            let ended = run(setup, &arguments);
            assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("yaml"), "{arguments:?}: {}", ended.stderr);
        }
        assert_eq!(
            run(setup, &["trace", "--identity", "tenant"]).code,
            Some(2),
            "a trace of nothing"
        );
    });
}

#[test]
fn a_child_that_is_not_python_does_no_harm() {
    on_main_interpreters("a_child_that_is_not_python_does_no_harm", |setup| {
        let outcome = Trace::new(setup, "tenant")
            .start(setup, "children.py", &["echo", "child"])
            .end();
        assert_eq!(outcome.ended.stdout, "child\nparent\n");
        outcome.assert_verdict("clean", None);
    });
}

#[test]
fn a_python_child_that_cannot_be_attached_leaves_no_verdict() {
    const TEST: &str = "a_python_child_that_cannot_be_attached_leaves_no_verdict";
    let Some(unsupported) = unsupported_interpreter() else {
        return skip(TEST, "no CPython older than 3.8");
    };
    let child = unsupported.to_str().expect("a path in UTF-8");
    on_main_interpreters(TEST, |setup| {
        let arguments = [child, "-c", "import time; time.sleep(0.5); print('child')"];
        let outcome = Trace::new(setup, "tenant")
            .start(setup, "children.py", &arguments)
            .end();
        assert_eq!(outcome.ended.stdout, "child\nparent\n");
        outcome.assert_verdict("no_verdict", Some("child_not_attached"));
    });
}

/// What doctor says about a process, its rows by the name of the check.
fn doctor(setup: &Setup, pid: u32) -> (Option<i32>, Vec<serde_json::Value>) {
    let ended = run(setup, &["doctor", "--format", "json", "--pid", &pid.to_string()]);
    let rows = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    (ended.code, rows.collect())
}

/// The outcome of a check, and what was found.
#[track_caller]
fn row<'a>(rows: &'a [serde_json::Value], check: &str) -> (&'a str, &'a str) {
    let row = rows.iter().find(|row| row["check"] == check);
    let row = row.unwrap_or_else(|| panic!("no {check}: {rows:?}"));
    let text = |key: &str| row[key].as_str().expect("text");
    (text("outcome"), text("found"))
}

#[test]
fn doctor_says_that_this_machine_will_do() {
    once("doctor_says_that_this_machine_will_do", |setup| {
        let ended = run(setup, &["doctor"]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        for check in ["kernel types (BTF)", "uprobe_multi"] {
            let line = ended.stdout.lines().find(|line| line.starts_with(check));
            assert!(line.is_some_and(|line| line.contains(" ok ")), "{}", ended.stdout);
        }
    });
}

#[test]
fn doctor_says_whether_a_process_will_do() {
    on_main_interpreters("doctor_says_whether_a_process_will_do", |setup| {
        let mut target = Program::fixture(setup, "attached.py", &[]);
        target.wait_for("ready");
        let (code, rows) = doctor(setup, target.pid());
        target.say("go on");
        target.end();
        assert_eq!(code, Some(0), "{rows:?}");
        let version = &setup.interpreter.version;
        let (outcome, found) = row(&rows, "CPython interpreter");
        assert!(
            outcome == "ok" && found.starts_with(&format!("{version} in ")),
            "{found}"
        );
        assert_eq!(row(&rows, "_queue module").0, "ok");
        let (outcome, found) = row(&rows, "functions (--mint, --policy)");
        let qualified = setup.minor() >= 11;
        assert_eq!(
            (outcome == "ok", found.contains("by qualified name")),
            (qualified, qualified),
            "{found}"
        );
        let (outcome, found) = row(&rows, "calls of async functions (--mint)");
        let shown = setup.minor() >= 13 || setup.minor() >= 11 && !setup.interpreter.stripped;
        assert_eq!(
            (outcome == "ok", found.contains("_Py_MakeCoro (")),
            (shown, shown),
            "{found}"
        );
        for probe in ["context_get", "queue_put", "queue_got", "thread_start"] {
            let (_, found) = row(&rows, probe);
            assert!(
                found.ends_with("(emulated)") || found.ends_with("(stepped)"),
                "{found}"
            );
        }
        for row in rows
            .iter()
            .filter(|row| row["found"].as_str().is_some_and(|f| f.ends_with("(stepped)")))
        {
            let of_a_return = row["check"] == "queue_got";
            let why = row["costs"].as_str().expect("a reason");
            assert!(why.contains("single-steps"), "{row}");
            assert_eq!(why.starts_with("a return"), of_a_return, "{row}");
        }
    });
}

/// The wire of uvloop is tapped where it calls the C library, which the kernel emulates.
#[test]
fn doctor_says_what_of_the_wire_costs_more() {
    const TEST: &str = "doctor_says_what_of_the_wire_costs_more";
    on_main_interpreters(TEST, |setup| {
        let Some(setup) = &setup.with_requirements("loops") else {
            return skip(TEST, "no packages of requirements/loops.txt");
        };
        let program = "import uvloop; print('ready', flush=True); input()";
        let mut target = Program::start(Command::new(&setup.interpreter.python).args(["-c", program]));
        target.wait_for("ready");
        let (_, rows) = doctor(setup, target.pid());
        target.say("go on");
        target.end();
        let wire: Vec<_> = rows
            .iter()
            .filter(|row| row["check"] == "wire (with --wire)")
            .map(|row| (row["outcome"].as_str(), row["found"].as_str().expect("text")))
            .collect();
        for (outcome, found) in &wire {
            assert_eq!(*outcome == Some("ok"), !found.contains("(stepped)"), "{found}");
        }
        let uvloop = wire.iter().find(|(_, found)| found.contains("read of uvloop"));
        assert_eq!(uvloop.expect("a row for uvloop").0, Some("ok"), "{wire:?}");
    });
}

#[test]
fn doctor_says_why_an_older_interpreter_will_not_do() {
    const TEST: &str = "doctor_says_why_an_older_interpreter_will_not_do";
    let Some(unsupported) = unsupported_interpreter() else {
        return skip(TEST, "no CPython older than 3.8");
    };
    once(TEST, |setup| {
        let target = Program::start(Command::new(&unsupported).args(["-c", "import time; time.sleep(60)"]));
        let (code, rows) = doctor(setup, target.pid());
        target.signal("KILL");
        target.end();
        assert_eq!(code, Some(3), "{rows:?}");
        let (outcome, found) = row(&rows, "CPython interpreter");
        assert!(
            outcome == "missing" && found.starts_with("unsupported cpython"),
            "{found}"
        );
    });
}

#[test]
fn doctor_says_that_a_process_runs_no_python() {
    once("doctor_says_that_a_process_runs_no_python", |setup| {
        // Called like an interpreter: the file decides, not its name.
        let directory = std::env::temp_dir().join(format!("bleedtrace-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let impostor = directory.join("python3.12");
        std::fs::copy("/bin/sleep", &impostor).expect("a copy");
        let target = Program::start(Command::new(&impostor).arg("60"));
        let (code, rows) = doctor(setup, target.pid());
        target.signal("KILL");
        target.end();
        std::fs::remove_dir_all(&directory).expect("it is ours");
        assert_eq!(code, Some(3), "{rows:?}");
        let (outcome, found) = row(&rows, "CPython interpreter");
        assert!(outcome == "missing" && found.contains("none in "), "{found}");
    });
}

#[test]
fn explain_explains_every_kind() {
    once("explain_explains_every_kind", |setup| {
        let kinds = [
            "bleed",
            "squat",
            "black_hole_read",
            "black_hole_return",
            "unattributed_task",
            "misattributed_task",
        ];
        let all = run(setup, &["explain"]);
        assert_eq!(all.code, Some(0), "{}", all.stderr);
        for kind in kinds {
            assert!(all.stdout.contains(kind), "{kind}");
            let one = run(setup, &["explain", kind]);
            assert_eq!(one.code, Some(0), "{}", one.stderr);
            assert!(
                one.stdout.contains(kind) && one.stdout.len() > 100,
                "{}",
                one.stdout
            );
        }
        assert_eq!(run(setup, &["explain", "blede"]).code, Some(2));
    });
}

#[test]
fn a_kernel_without_types_is_named() {
    once("a_kernel_without_types_is_named", |setup| {
        let hidden =
            "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" trace --identity tenant -- /bin/true";
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "sh", "-c", hidden])
            .arg(&setup.bleedtrace);
        refused(&Program::start(&mut unshare).end(), 3, "no type information");
    });
}

#[test]
fn a_process_with_greenlets_is_left_alone() {
    on_main_interpreters("a_process_with_greenlets_is_left_alone", |setup| {
        let Some(setup) = &setup.with_requirements("greenlets") else {
            return skip(
                "a_process_with_greenlets_is_left_alone",
                "no packages of requirements/greenlets.txt",
            );
        };
        let program = "import greenlet, sys; print('ready', flush=True); sys.stdin.readline()";
        let mut target = Program::start(setup.command().args(["-c", program]));
        target.wait_for("ready");
        let pid = target.pid().to_string();
        let ended = run(setup, &["trace", "--identity", "tenant", "--pid", &pid]);
        refused(&ended, 3, "greenlet");
        target.say("go on");
        assert_eq!(target.end().code, Some(0));
    });
}
