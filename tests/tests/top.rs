//! The live view, on a real terminal.

use std::{fs, path::PathBuf, process::Command, thread, time::Duration};

use bleedtrace_tests::{Ended, Folder, Program, Setup, Terminal, Truth, fixture, once, wait_until};
use serde_json::Value;

/// A program that bleeds whenever it is told to.
fn bleeding(setup: &Setup) -> Program {
    let mut program = Program::fixture(setup, "keeps_bleeding.py", &[]);
    program.wait_for("ready");
    program
}

/// Has it serve two requests, so many times.
#[track_caller]
fn serve(program: &mut Program, times: u64) {
    for _ in 0..times {
        program.say("");
        assert!(program.line().starts_with("done "));
    }
}

/// The command line that watches a process, on a terminal of which the shell says how the program ended and what state it left.
fn watch(setup: &Setup, pid: u32) -> String {
    format!(
        "{} top --identity tenant --interval 200ms --pid {pid}; echo left $?",
        setup.bleedtrace.display()
    )
}

#[track_caller]
fn opened(terminal: &Terminal) {
    wait_until("the program has the screen", Duration::from_secs(60), || {
        terminal.state().0.then_some(())
    });
}

#[track_caller]
fn given_back(terminal: &Terminal) {
    wait_until("the terminal is given back", Duration::from_secs(60), || {
        (terminal.state() == (false, true)).then_some(())
    });
}

/// The modes of the terminal, as the shell finds them.
#[track_caller]
fn modes(terminal: &Terminal, folder: &Folder, name: &str) -> String {
    let file = folder.path().join(name);
    terminal.run(&format!("stty -a > {}; echo told {name}", file.display()));
    terminal.wait_until("the modes", |screen| {
        screen.lines().any(|line| line == format!("told {name}"))
    });
    fs::read_to_string(file).expect("the shell wrote it")
}

/// What a screen says, however long the lines were that it had to break.
fn unwrapped(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The tracer that was started in a terminal.
#[track_caller]
fn tracer(terminal: &Terminal) -> u32 {
    let shell = terminal.shell();
    let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
    let children = children.expect("the shell runs");
    children
        .split_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("the shell has a child")
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

#[test]
fn a_person_sees_a_bleed_and_looks_at_it_closely() {
    let test = "a_person_sees_a_bleed_and_looks_at_it_closely";
    once(test, |setup| {
        let Some(terminal) = Terminal::open(test, 110, 60) else {
            return;
        };
        let folder = Folder::new(test);
        let before = modes(&terminal, &folder, "before");
        let mut program = bleeding(setup);
        terminal.run(&watch(setup, program.pid()));
        terminal.wait_for("1 traced");
        terminal.wait_for("that proves nothing yet");
        assert_eq!(terminal.state(), (true, false));
        serve(&mut program, 3);
        terminal.wait_until("the findings", |screen| {
            let begins = |start: &str| screen.lines().any(|line| line.starts_with(start));
            screen.contains("critical")
                && begins("bleed ")
                && begins("squat ")
                && screen.contains("work (keeps_bleeding.py:")
        });
        terminal.press(&["Enter"]);
        let screen = terminal.wait_for("CRITICAL bleed");
        assert!(
            unwrapped(&screen).contains("by run_in_executor from thread"),
            "{screen}"
        );
        // Nothing is revealed that was not asked for.
        assert!(!screen.contains("acme") && !screen.contains("globex"), "{screen}");
        terminal.press(&["Escape"]);
        terminal.wait_for("VARIABLE");
        terminal.press(&["2"]);
        terminal.wait_for("HANDOFFS");
        terminal.press(&["Tab"]);
        terminal.wait_for("DANGER");
        terminal.press(&["4"]);
        let screen = terminal.wait_for("LEFT BY");
        assert!(screen.contains("tenant"), "{screen}");
        terminal.press(&["5"]);
        terminal.wait_until("what tracing costs", |screen| {
            screen.contains("events received, none lost") && screen.contains("context_get")
        });
        terminal.press(&["1", "/", "s", "q", "u", "Enter"]);
        terminal.wait_until("only what was searched for", |screen| {
            let begins = |start: &str| screen.lines().any(|line| line.starts_with(start));
            begins("squat ") && !begins("bleed ")
        });
        terminal.press(&["Escape"]);
        terminal.wait_until("all of them", |screen| {
            screen.lines().any(|line| line.starts_with("bleed "))
        });
        terminal.press(&["q"]);
        let screen = terminal.wait_for("left 0");
        assert!(screen.contains("lost: none"), "{screen}");
        given_back(&terminal);
        assert_eq!(modes(&terminal, &folder, "after"), before);
        serve(&mut program, 1);
        assert_eq!(program.end().code, Some(0));
    });
}

#[test]
fn it_fits_itself_to_a_terminal_that_changes_its_size() {
    let test = "it_fits_itself_to_a_terminal_that_changes_its_size";
    once(test, |setup| {
        let Some(terminal) = Terminal::open(test, 100, 30) else {
            return;
        };
        let mut program = bleeding(setup);
        terminal.run(&watch(setup, program.pid()));
        terminal.wait_for("1 traced");
        serve(&mut program, 2);
        terminal.wait_for("SERVICE");
        for (width, height) in [(40, 12), (24, 7), (132, 50), (80, 24)] {
            terminal.resize(width, height);
            let fits = |screen: &str| {
                let lines: Vec<_> = screen.lines().collect();
                lines.len() == usize::from(height)
                    && lines.first().is_some_and(|line| line.starts_with("bleedtrace"))
                    && lines.last().is_some_and(|line| line.starts_with("q quit"))
                    && lines.iter().any(|line| line.starts_with("bleed "))
            };
            terminal.wait_until(&format!("all at {width} by {height}"), fits);
        }
        terminal.resize(9, 3);
        terminal.wait_for("too small");
        terminal.resize(80, 24);
        terminal.wait_for("VARIABLE");
        terminal.press(&["C-c"]);
        terminal.wait_for("left 0");
        given_back(&terminal);
        assert_eq!(program.end().code, Some(0));
    });
}

#[test]
fn the_shell_gets_its_terminal_back_for_a_while_and_for_good() {
    let test = "the_shell_gets_its_terminal_back_for_a_while_and_for_good";
    once(test, |setup| {
        let Some(terminal) = Terminal::open(test, 100, 30) else {
            return;
        };
        let folder = Folder::new(test);
        let before = modes(&terminal, &folder, "before");
        let mut program = bleeding(setup);
        terminal.run(&watch(setup, program.pid()));
        terminal.wait_for("1 traced");
        for _ in 0..2 {
            terminal.press(&["C-z"]);
            given_back(&terminal);
            assert_eq!(modes(&terminal, &folder, "meanwhile"), before);
            terminal.run("clear; fg");
            opened(&terminal);
            terminal.wait_for("1 traced");
        }
        serve(&mut program, 2);
        terminal.wait_until("a bleed", |screen| {
            screen.lines().any(|line| line.starts_with("bleed "))
        });
        kill("TERM", tracer(&terminal));
        given_back(&terminal);
        terminal.wait_for("verdict: ");
        assert_eq!(modes(&terminal, &folder, "after"), before);
        assert_eq!(program.end().code, Some(0));
    });
}

#[test]
fn a_command_does_not_write_over_the_view() {
    let test = "a_command_does_not_write_over_the_view";
    once(test, |setup| {
        let Some(terminal) = Terminal::open(test, 100, 30) else {
            return;
        };
        let folder = Folder::new(test);
        let written = folder.path().join("written");
        terminal.run(&format!(
            "{} top --identity tenant --command-output {} -- {} {}; echo left $?",
            setup.bleedtrace.display(),
            written.display(),
            setup.interpreter.python.display(),
            fixture("bleed.py").display()
        ));
        // It stays until a person has seen it.
        let screen = terminal.wait_for("[ended]");
        assert!(screen.lines().any(|line| line.starts_with("bleed ")), "{screen}");
        let told = fs::read_to_string(&written).expect("the command wrote");
        let truth = Truth::parse(&told);
        let last = told.lines().last().expect("it wrote something");
        assert!(!screen.contains(last), "{screen}");
        assert!(!truth.findings.is_empty());
        terminal.press(&["q"]);
        terminal.wait_for("left 0");
        given_back(&terminal);
    });
}

#[test]
fn who_looks_over_a_slow_line_loses_nothing() {
    let test = "who_looks_over_a_slow_line_loses_nothing";
    once(test, |setup| {
        const TIMES: u64 = 1_200;
        let mut program = bleeding(setup);
        let pid = program.pid().to_string();
        let mut slow = Program::start(
            setup
                .command()
                // Room for less than what happens meanwhile: a tracer that waited for the terminal would lose some of it.
                .env("BLEEDTRACE_RING_BYTES", (4 << 20).to_string())
                .arg(fixture("slow_terminal.py"))
                .arg("8")
                .arg(&setup.bleedtrace)
                .args([
                    "top",
                    "--identity",
                    "tenant",
                    "--interval",
                    "100ms",
                    "--pid",
                    &pid,
                ]),
        );
        slow.wait_for("slow");
        for _ in 0..TIMES {
            serve(&mut program, 1);
            // Not more at once than a tracer can take that was built to be debugged.
            thread::sleep(Duration::from_millis(4));
        }
        slow.say("");
        let told: Value = serde_json::from_str(&slow.line()).expect("it tells");
        assert_eq!(told["code"], 0, "{told}");
        // More was to be shown than such a terminal takes, and who is told to end does not wait for it.
        assert!(
            told["slowly"].as_u64().is_some_and(|bytes| bytes > 2_000),
            "{told}"
        );
        let rest = told["rest"].as_str().expect("text");
        let handoffs = format!("run_in_executor {}", 2 * TIMES);
        assert!(rest.contains("lost: none") && rest.contains(&handoffs), "{rest}");
        assert!(rest.contains("\u{1b}[?1049l"), "{rest:?}");
        assert_eq!(program.end().code, Some(0));
    });
}

/// One look at a program that bleeds and ends.
fn look(setup: &Setup, flags: &[&str]) -> (Ended, String) {
    let folder = Folder::new("one_look");
    let file: PathBuf = folder.path().join("look");
    let mut command = Command::new(&setup.bleedtrace);
    command.args(["top", "--once", "--identity", "tenant", "--output"]);
    command.arg(&file).args(flags).arg("--");
    command.args(setup.interpreter.words()).arg(fixture("bleed.py"));
    let ended = Program::start(&mut command).end();
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    (ended, text)
}

#[test]
fn one_look_is_for_scripts() {
    once("one_look_is_for_scripts", |setup| {
        let (ended, text) = look(setup, &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for part in [
            "findings\nKIND",
            "services\nSERVICE",
            "hops\nDANGER",
            "tracer\nPROBE",
            "none lost",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        let truth = Truth::parse(&ended.stdout);
        let (ended, line) = look(setup, &["--format", "json"]);
        assert_eq!((ended.code, line.lines().count()), (Some(0), 1));
        let look: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&look["type"], &look["ended"]),
            (&"snapshot".into(), &true.into())
        );
        let found = look["findings"].as_array().expect("a list");
        let count = |kind: &str| -> u64 {
            let of_kind = found.iter().filter(|group| group["finding"]["kind"] == kind);
            of_kind.filter_map(|group| group["count"].as_u64()).sum()
        };
        let expected = truth
            .findings
            .iter()
            .filter(|finding| finding["kind"] == "bleed")
            .count() as u64;
        assert_eq!(count("bleed"), expected);
        assert_eq!(look["summary"]["findings"]["bleed"], count("bleed"));
        assert!(count("bleed") > 0);
        assert_eq!(look["services"][0]["findings"]["critical"], count("bleed"));
        assert_eq!(look["hops"][0]["danger"], "bleeds");
    });
}

#[test]
fn one_look_at_everything_finds_who_runs() {
    once("one_look_at_everything_finds_who_runs", |setup| {
        let program = bleeding(setup);
        let mut command = Command::new(&setup.bleedtrace);
        command.args([
            "top",
            "--once",
            "--duration",
            "1s",
            "--format",
            "json",
            "--identity",
            "tenant",
        ]);
        let ended = Program::start(&mut command).end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let look: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let targets = look["targets"]["targets"].as_array().expect("a list");
        let ours = targets.iter().find(|line| line["pid"] == program.pid());
        assert_eq!(ours.expect("it is listed")["state"], "attached");
        assert_eq!(program.end().code, Some(0));
    });
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    once("without_a_terminal_it_says_what_to_do", |setup| {
        let ended = Program::start(Command::new(&setup.bleedtrace).args(["top", "--pid", "1"])).end();
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
        assert!(
            ended.stderr.contains("error: stdout is no terminal"),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("hint: --once prints one snapshot"),
            "{}",
            ended.stderr
        );
        let hasty = ["top", "--once", "--interval", "1ms"];
        let ended = Program::start(Command::new(&setup.bleedtrace).args(hasty)).end();
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("1ms is too short"), "{}", ended.stderr);
    });
}
