//! Targets and agents in other namespaces, on other file systems, under other names; with exact counts.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use bleedtrace_tests::{
    Interpreter, Outcome, Place, Prefix, Program, Setup, Trace, Truth, fixture, is_main,
    on_interpreters_that, on_main_interpreters, once, skip, wait_until,
};

/// Attaches to programs that wait, lets them go on, and compares the sum of their truths with what was found.
#[track_caller]
fn attached(setup: &Setup, targets: Vec<Program>, pids: &[u32]) -> Outcome {
    let others: Vec<String> = pids[1..]
        .iter()
        .flat_map(|pid| ["--pid".to_owned(), pid.to_string()])
        .collect();
    let trace = Trace::new(setup, "tenant")
        .revealing()
        .flags(others)
        .attach(pids[0]);
    let mut truth = Truth::default();
    for mut target in targets {
        target.say("go on");
        let own = Truth::parse(&target.end().stdout);
        truth.findings.extend(own.findings);
        for (table, own) in [
            (&mut truth.totals.reads, own.totals.reads),
            (&mut truth.totals.hops, own.totals.hops),
        ] {
            for (key, number) in own {
                *table.entry(key).or_default() += number;
            }
        }
    }
    let outcome = trace.end();
    outcome.assert_truth(&truth);
    outcome
}

/// Starts a command whose program waits; its own process has the command's number.
#[track_caller]
fn waiting(command: &mut Command) -> Program {
    let mut program = Program::start(command);
    program.wait_for("ready");
    program
}

#[track_caller]
fn one(setup: &Setup, command: &mut Command) -> Outcome {
    let target = waiting(command);
    let pid = target.pid();
    attached(setup, vec![target], &[pid])
}

/// `program ARGUMENTS... python3 FIXTURE CASE`.
fn under(setup: &Setup, program: &str, arguments: &[&str], name: &str, case: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(&setup.interpreter.python)
        .arg(fixture(name))
        .arg(case);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn in_a_user_namespace() {
    on_main_interpreters("in_a_user_namespace", |setup| {
        one(
            setup,
            &mut under(
                setup,
                "unshare",
                &["--user", "--map-root-user"],
                "waits.py",
                "late",
            ),
        );
    });
}

#[test]
fn in_a_mount_namespace_where_only_it_sees_its_files() {
    on_main_interpreters("in_a_mount_namespace_where_only_it_sees_its_files", |setup| {
        let place = Place::new("mount");
        let inside = place.directory("inside");
        let original = setup
            .interpreter
            .python
            .parent()
            .and_then(Path::parent)
            .expect("a prefix");
        let script = format!(
            "mount --bind {} {} && LD_LIBRARY_PATH={2}/lib exec {2}/bin/python3 {3} late",
            text(original),
            text(&inside),
            text(&inside),
            text(&fixture("waits.py"))
        );
        one(
            setup,
            Command::new("unshare").args(["--mount", "sh", "-c", &script]),
        );
    });
}

#[test]
fn in_a_pid_namespace() {
    on_main_interpreters("in_a_pid_namespace", |setup| {
        let flags = ["--pid", "--fork", "--mount-proc"];
        let target = waiting(&mut under(setup, "unshare", &flags, "attached.py", ""));
        let pid = target.children()[0];
        attached(setup, vec![target], &[pid]);
    });
}

/// The agent, where processes have other numbers.
fn agent_in(setup: &Setup, place: &Place, command: &str) -> Setup {
    let script = place.path.join("agent");
    fs::write(
        &script,
        format!("#!/bin/sh\nexec {command} {} \"$@\"\n", text(&setup.bleedtrace)),
    )
    .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the script is ours");
    Setup {
        bleedtrace: script,
        ..setup.clone()
    }
}

#[test]
fn an_agent_in_a_pid_namespace_of_its_own() {
    on_main_interpreters("an_agent_in_a_pid_namespace_of_its_own", |setup| {
        let place = Place::new("agent");
        let flags = ["--pid", "--fork", "--mount-proc"];
        // The namespace lives as long as its process 1, a shell, which stays until nobody talks to it any more.
        let shell = [&flags[..], &["sh", "-c", "\"$@\"; cat", "sh"]].concat();
        let deeper = [&shell[..], &["unshare"], &flags[..]].concat();
        for (name, case, flags, wanted) in [("waits.py", "late", shell, 2), ("attached.py", "", deeper, 3)] {
            let mut target = waiting(&mut under(setup, "unshare", &flags, name, case));
            let outer = target.children()[0];
            let agent = agent_in(setup, &place, &format!("nsenter --target {outer} --pid --mount"));
            let trace = Trace::new(&agent, "tenant").revealing().attach(wanted);
            target.say("go on");
            let outcome = trace.end();
            outcome.assert_truth(&Truth::parse(&target.end().stdout));
        }
        let agent = agent_in(setup, &place, "unshare --pid --fork --mount-proc");
        let (outcome, truth) = Trace::new(&agent, "tenant")
            .revealing()
            .run(setup, "fork.py", &["0.5"]);
        outcome.assert_truth(&truth);
    });
}

#[test]
fn an_agent_that_cannot_tell_numbers_says_so() {
    once("an_agent_that_cannot_tell_numbers_says_so", |setup| {
        for command in [
            &["trace", "--pid", "1"][..],
            &["trace", "--", "/bin/true"],
            &["doctor"],
        ] {
            let ended = Program::start(
                Command::new("unshare")
                    .args(["--pid", "--fork"])
                    .arg(&setup.bleedtrace)
                    .args(command),
            )
            .end();
            assert_eq!(ended.code, Some(3), "{}", ended.stderr);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(said.contains("belongs to another PID namespace"), "{said}");
        }
    });
}

#[test]
fn in_a_chroot() {
    on_main_interpreters("in_a_chroot", |setup| {
        let mut place = Place::new("chroot");
        let jail = place.directory("jail");
        if !place.mount(&["--bind", "/"], &jail) {
            return skip("in_a_chroot", "nothing can be mounted here");
        }
        one(
            setup,
            &mut under(setup, "chroot", &[text(&jail)], "waits.py", "late"),
        );
        // In a mount namespace of its own, too: then no path that the kernel shows leads anywhere.
        let script = format!(
            "mount --bind / {0} && exec chroot {0} {1} {2} late",
            text(&jail),
            text(&setup.interpreter.python),
            text(&fixture("waits.py"))
        );
        one(
            setup,
            Command::new("unshare").args(["--mount", "sh", "-c", &script]),
        );
    });
}

#[test]
fn two_copies_are_both_traced() {
    on_main_interpreters("two_copies_are_both_traced", |setup| {
        let place = Place::new("copies");
        let copies = ["a", "b"].map(|name| Prefix::copy(&setup.interpreter.python, &place.path.join(name)));
        let targets: Vec<_> = copies
            .iter()
            .map(|c| waiting(&mut c.fixture("waits.py", &["late"])))
            .collect();
        let pids: Vec<u32> = targets.iter().map(Program::pid).collect();
        let outcome = attached(setup, targets, &pids);
        assert_eq!((outcome.count("bleed"), outcome.count("squat")), (2, 2));
    });
}

/// Containers of one image: every one sees the same files through an overlay of its own. A breakpoint is the file's, so that a
/// file that is armed through each of them would tell everything as often.
#[test]
fn overlays_of_one_image_are_traced_once_each() {
    on_main_interpreters("overlays_of_one_image_are_traced_once_each", |setup| {
        let mut place = Place::new("overlays");
        let lower = Prefix::copy(&setup.interpreter.python, &place.path.join("lower"));
        // On the second one's upper layer lies another file system: then `stat` and memory maps name other devices.
        let memory = place.directory("memory");
        assert!(place.mount(&["-t", "tmpfs", "none"], &memory));
        let mut seen = vec![lower.seen_at(&lower.root)];
        for (name, layers) in [
            ("one", place.path.clone()),
            ("two", memory),
            ("three", place.path.clone()),
        ] {
            let on = place.directory(name);
            let (upper, work) = (
                layers.join(format!("{name}-upper")),
                layers.join(format!("{name}-work")),
            );
            fs::create_dir(&upper)
                .and(fs::create_dir(&work))
                .expect("new directories");
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                text(&lower.root),
                text(&upper),
                text(&work)
            );
            if !place.mount(&["-t", "overlay", "overlay", "-o", &options], &on) {
                return skip(
                    "overlays_of_one_image_are_traced_once_each",
                    "no overlay can be mounted here",
                );
            }
            seen.push(lower.seen_at(&on));
        }
        let targets: Vec<_> = seen
            .iter()
            .map(|c| waiting(&mut c.fixture("waits.py", &["late"])))
            .collect();
        let pids: Vec<u32> = targets.iter().map(Program::pid).collect();
        let outcome = attached(setup, targets, &pids);
        assert_eq!((outcome.count("bleed"), outcome.count("squat")), (4, 4));
    });
}

#[test]
fn files_that_are_gone_or_replaced() {
    on_main_interpreters("files_that_are_gone_or_replaced", |setup| {
        for case in ["deleted", "upgraded", "fifo", "link"] {
            let place = Place::new(case);
            let copy = Prefix::copy(&setup.interpreter.python, &place.path.join("prefix"));
            let target = waiting(&mut copy.fixture("attached.py", &[]));
            let other = place.path.join("other");
            fs::copy(copy.core(), &other).expect("a copy");
            for file in [copy.core(), copy.python()] {
                fs::remove_file(&file).ok();
                match case {
                    "deleted" => {}
                    "upgraded" => drop(fs::copy("/bin/true", &file).expect("a file")),
                    "fifo" => assert!(
                        Command::new("mkfifo")
                            .arg(&file)
                            .status()
                            .expect("mkfifo")
                            .success()
                    ),
                    _ => symlink(&other, &file).expect("a link"),
                }
            }
            let pid = target.pid();
            let doctor =
                Program::start(Command::new(&setup.bleedtrace).args(["doctor", "--pid", &pid.to_string()]))
                    .end();
            assert_eq!(doctor.code, Some(0), "{case}: {}{}", doctor.stdout, doctor.stderr);
            assert!(
                doctor.stdout.contains("was deleted, and is read all the same"),
                "{}",
                doctor.stdout
            );
            attached(setup, vec![target], &[pid]);
        }
    });
}

#[test]
fn names_that_mislead() {
    on_main_interpreters("names_that_mislead", |setup| {
        let place = Place::new("names");
        for name in [
            "with  spaces",
            "new\nline",
            "gone (deleted)",
            "\\012",
            "7f00-7f01 r-xp 0 08:01 5 ",
        ] {
            let copy = Prefix::copy(&setup.interpreter.python, &place.path.join(name));
            one(setup, &mut copy.fixture("waits.py", &["late"]));
            fs::remove_dir_all(&copy.root).expect("the copy is ours");
        }
    });
}

#[test]
fn as_another_user() {
    on_main_interpreters("as_another_user", |setup| {
        // The whole library is copied: nobody may look into somebody's home.
        let place = Place::new("user");
        let original = setup
            .interpreter
            .python
            .parent()
            .and_then(Path::parent)
            .expect("a prefix");
        let copy = place.path.join("prefix");
        let script = format!(
            "cp -r {0} {1} && mkdir {1}/fixtures && cp {2}/*.py {1}/fixtures && chmod -R a+rX {3}",
            text(original),
            text(&copy),
            text(&fixture("")),
            text(&place.path)
        );
        assert!(
            Command::new("sh")
                .args(["-c", &script])
                .status()
                .expect("sh")
                .success()
        );
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let run = |name: &str| {
            let mut command = Command::new("setpriv");
            command
                .args(nobody)
                .env("LD_LIBRARY_PATH", copy.join("lib"))
                .arg(copy.join("bin/python3"))
                .arg(copy.join("fixtures").join(name));
            command
        };
        one(setup, &mut run("waits.py"));
        // A traced command that gives its privileges away at an exec of its own.
        let mut command = run("fork.py");
        command.arg("0.5");
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .collect();
        let library = format!("LD_LIBRARY_PATH={}", text(&copy.join("lib")));
        let outcome = Trace::new(setup, "tenant")
            .revealing()
            .command(["env".as_ref(), library.as_ref()].into_iter().chain(words))
            .end();
        let truth = Truth::parse(&outcome.ended.stdout);
        outcome.assert_truth(&truth);
    });
}

#[test]
fn however_it_is_started() {
    // Half of these ways bypass the environment in which threads of the others begin with an empty context.
    let main = |interpreter: &Interpreter| is_main(interpreter) && !interpreter.free_threaded;
    on_interpreters_that("however_it_is_started", main, |setup| {
        let python = text(&setup.interpreter.python);
        let script = fixture("fork.py");
        let script = text(&script);
        for words in [
            &[python, "-X", "dev", script, "0.5"][..],
            &[python, "-S", script, "0.5"],
            &[python, "-s", "-E", "-B", "-u", script, "0.5"],
            &["env", "PYTHONMALLOC=debug", python, script, "0.5"],
            &["env", "PYTHONMALLOC=malloc", python, script, "0.5"],
            &["sh", "-c", "\"$0\" \"$1\" 0.5; true", python, script],
            &["setsid", "--wait", python, script, "0.5"],
        ] {
            eprintln!("{words:?}");
            let outcome = Trace::new(setup, "tenant").revealing().command(words).end();
            let truth = Truth::parse(&outcome.ended.stdout);
            outcome.assert_truth(&truth);
        }
    });
}

#[test]
fn from_an_archive_and_isolated() {
    on_main_interpreters("from_an_archive_and_isolated", |setup| {
        let place = Place::new("archive");
        let source = place.directory("source");
        let program = "from contextvars import ContextVar\nfrom concurrent.futures import ThreadPoolExecutor\n\
                       tenant = ContextVar('tenant')\n\
                       with ThreadPoolExecutor(1) as pool:\n    pool.submit(tenant.set, 'acme').result()\n    \
                       tenant.set('globex')\n    assert pool.submit(tenant.get).result() == 'acme'\n";
        fs::write(source.join("__main__.py"), program).expect("a program");
        let archive = place.path.join("app.pyz");
        let made = Command::new(&setup.interpreter.python)
            .args(["-m", "zipapp", text(&source), "-o", text(&archive)])
            .status();
        assert!(made.expect("the interpreter runs").success());
        let outcome = Trace::new(setup, "tenant")
            .command([text(&setup.interpreter.python), "-I", text(&archive)])
            .end();
        assert_eq!(
            (outcome.count("bleed"), outcome.count("squat")),
            (1, 1),
            "{:?}",
            outcome.summary
        );
        assert_eq!(outcome.findings.len(), 2);
    });
}

#[test]
fn under_another_tracer() {
    on_main_interpreters("under_another_tracer", |setup| {
        let flags = ["-f", "-o", "/dev/null"];
        if !Command::new("strace")
            .arg("-V")
            .output()
            .is_ok_and(|found| found.status.success())
        {
            return skip("under_another_tracer", "no strace");
        }
        let target = waiting(&mut under(setup, "strace", &flags, "waits.py", "late"));
        let pid = wait_until("strace has a child", std::time::Duration::from_secs(5), || {
            target.children().first().copied()
        });
        attached(setup, vec![target], &[pid]);
        let script = fixture("fork.py");
        let words = [
            &["strace"][..],
            &flags,
            &[text(&setup.interpreter.python), text(&script), "0.5"],
        ]
        .concat();
        let outcome = Trace::new(setup, "tenant").revealing().command(words).end();
        outcome.assert_truth(&Truth::parse(&outcome.ended.stdout));
    });
}

/// Whoever serves a FUSE file system can let a read wait for ever, and a probe is set while the whole machine waits.
#[test]
fn on_a_file_system_that_a_process_serves() {
    on_main_interpreters("on_a_file_system_that_a_process_serves", |setup| {
        let place = Place::new("fuse");
        let copy = Prefix::copy(&setup.interpreter.python, &place.path.join("prefix"));
        let served = place.directory("served");
        let core = copy.core();
        let mut server = Program::start(
            Command::new(&setup.interpreter.python)
                .arg(fixture("fuse.py"))
                .args([&served, &core]),
        );
        if server.line() != "ready" {
            return skip("on_a_file_system_that_a_process_serves", "no FUSE here");
        }
        let mut target = if core == copy.python() {
            let mut command = Command::new(served.join("python3"));
            command
                .env("PYTHONHOME", &copy.root)
                .arg(fixture("waits.py"))
                .arg("late");
            waiting(&mut command)
        } else {
            waiting(
                copy.fixture("waits.py", &["late"])
                    .env("LD_LIBRARY_PATH", &served),
            )
        };
        let pid = target.pid().to_string();
        let refused = || {
            let words = ["trace", "--identity", "tenant", "--pid", &pid];
            let start = std::time::Instant::now();
            let ended = Program::start(Command::new(&setup.bleedtrace).args(words)).end();
            assert_eq!(ended.code, Some(3), "{}", ended.stderr);
            assert!(ended.stderr.contains("FUSE"), "{}", ended.stderr);
            assert!(start.elapsed() < std::time::Duration::from_secs(120));
        };
        refused();
        server.say("be silent");
        server.wait_for("silent");
        refused();
        assert!(target.runs());
        target.signal("KILL");
        server.signal("KILL");
        target.end();
        server.end();
        let unmounted = Command::new("umount").arg("--lazy").arg(&served).status();
        assert!(unmounted.expect("umount").success());
    });
}
