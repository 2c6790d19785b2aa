//! Builds without a GIL are refused as such wherever a process is named, and listed as what they are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use bleedtrace_tests::{Program, Setup, interpreters, once, roots, skip};
use serde_json::Value;

const REFUSED: &str = "free-threaded build: only builds with a GIL are traced";
/// Minor versions of the stand-ins.
const MINORS: [u32; 2] = [14, 15];

/// A process without a GIL: its command, and what its version begins with.
type Target = (Command, String);

/// Real builds, and stand-ins of versions that cannot be had: programs that say of themselves what such a build says.
fn targets(test: &str, place: &Path) -> Vec<Target> {
    let built = interpreters()
        .iter()
        .filter(|interpreter| interpreter.free_threaded);
    let mut targets: Vec<Target> = built
        .map(|interpreter| {
            let mut command = interpreter.command();
            command.args(["-c", "print('ready', flush=True); input()"]);
            (command, interpreter.version.clone())
        })
        .collect();
    if targets.is_empty() {
        skip(test, "no free-threaded CPython");
    }
    for minor in MINORS {
        match stand_in(minor, place) {
            Some(program) => targets.push((Command::new(program), format!("3.{minor}."))),
            None => skip(
                test,
                &format!("no headers of CPython 3.{minor}, or no C compiler"),
            ),
        }
    }
    targets
}

fn stand_in(minor: u32, place: &Path) -> Option<PathBuf> {
    let headers = roots().join("headers/usr/include");
    let python = format!("python3.{minor}");
    if !headers.join(&python).is_dir() || Command::new("cc").arg("--version").output().is_err() {
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer-user/tests/cpython/double.c");
    let program = place.join(format!("double-{minor}"));
    let mut compile = Command::new("cc");
    compile.args(["-w", "-rdynamic", "-pthread", "-DPy_GIL_DISABLED=1"]);
    let triple = format!("{}-linux-gnu", env::consts::ARCH);
    for folder in [headers.join(triple).join(&python), headers.join(&python), headers] {
        compile.arg("-I").arg(folder);
    }
    let output = compile.arg("-o").arg(&program).arg(source).output();
    let output = output.expect("the compiler runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(program)
}

fn json(setup: &Setup, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let ended = Program::start(Command::new(&setup.bleedtrace).args(arguments)).end();
    let lines = ended.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("JSON"));
    (ended.code, lines.collect())
}

#[test]
fn a_build_without_a_gil_is_refused_by_name() {
    const TEST: &str = "a_build_without_a_gil_is_refused_by_name";
    once(TEST, |setup| {
        let place = env::temp_dir().join(format!("bleedtrace-free-threaded-{}", process::id()));
        fs::create_dir_all(&place).expect("a directory");
        for (mut command, version) in targets(TEST, &place) {
            let mut target = Program::start(&mut command);
            target.wait_for("ready");
            let pid = target.pid().to_string();
            let said = |text: &str| {
                text.contains(&format!("unsupported cpython {version}")) && text.contains(REFUSED)
            };

            let trace = ["trace", "--identity", "tenant", "--duration", "2s", "--pid", &pid];
            let ended = Program::start(Command::new(&setup.bleedtrace).args(trace)).end();
            assert_eq!(ended.code, Some(3), "{}", ended.stderr);
            let error = ended.stderr.lines().find_map(|line| line.strip_prefix("error: "));
            assert!(error.is_some_and(said), "{}", ended.stderr);
            assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);

            let (code, rows) = json(setup, &["doctor", "--format", "json", "--pid", &pid]);
            assert_eq!(code, Some(3), "{rows:?}");
            let row = rows.iter().find(|row| row["check"] == "CPython interpreter");
            let row = row.unwrap_or_else(|| panic!("no row: {rows:?}"));
            assert_eq!(row["outcome"], "missing");
            assert!(row["found"].as_str().is_some_and(said), "{row}");

            // Whether it succeeds depends on what else there is to be traced.
            let (_, processes) = json(setup, &["discover", "--format", "json"]);
            let line = processes.iter().find(|line| line["pid"] == target.pid());
            let line = line.unwrap_or_else(|| panic!("not listed: {processes:?}"));
            assert_eq!(line["attachable"], false, "{line}");
            assert_eq!(line["obstacle"], "unsupported", "{line}");
            assert_eq!(line["build"]["free_threaded"], true, "{line}");
            assert!(
                line["version"]
                    .as_str()
                    .is_some_and(|said| said.starts_with(&version)),
                "{line}"
            );
            assert!(line["reason"].as_str().is_some_and(said), "{line}");

            // It goes on as if nothing had been asked.
            target.say("");
            assert_eq!(target.end().code, Some(0));
        }
        fs::remove_dir_all(&place).expect("it is ours");
    });
}
