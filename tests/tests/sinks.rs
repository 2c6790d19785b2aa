//! Where findings go besides the output: complete where there is room, and said and counted where there is none.

use std::{fs, path::Path, process::Command};

use bleedtrace_tests::{Disk, Folder, Program, Setup, once, skip};
use serde_json::Value;

fn lines(path: impl AsRef<Path>) -> Vec<Value> {
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()));
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// Traces a program with many findings in JSON, and gives what it printed.
fn trace(setup: &Setup, flags: &[&str]) -> (Vec<Value>, String) {
    let ended = Program::start(
        Command::new(&setup.bleedtrace)
            .args([
                "trace",
                "--identity",
                "tenant",
                "--format",
                "json",
                "--output",
                "/dev/stdout",
            ])
            .args(flags)
            .arg("--")
            .args(["sh", "-c", "exec \"$@\" > /dev/null", "sh"])
            .args(setup.interpreter.words())
            .arg(setup.fixture("accuracy.py"))
            .args(["300", "4", "7"]),
    )
    .end();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (ended.stdout.lines().map(parse).collect(), ended.stderr)
}

#[test]
fn a_file_gets_what_the_output_gets() {
    const TEST: &str = "a_file_gets_what_the_output_gets";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let file = folder.file("events");
        let (printed, stderr) = trace(setup, &["--events", &file]);
        assert!(printed.len() > 50, "{stderr}");
        assert_eq!(lines(&file), printed);
    });
}

#[test]
fn files_that_grow_large_are_put_aside() {
    const TEST: &str = "files_that_grow_large_are_put_aside";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let file = folder.file("events");
        let flags = [
            "--events",
            &file,
            "--events-max-bytes",
            "20000",
            "--events-keep",
            "1000",
        ];
        let (printed, _) = trace(setup, &flags);
        let mut files = fs::read_dir(folder.path()).expect("readable").count() - 1;
        assert!(files >= 2, "{files}");
        let mut written = Vec::new();
        while files > 0 {
            let aside = folder.file(&format!("events.{files}"));
            assert!(fs::metadata(&aside).expect("it is there").len() <= 20_000);
            written.extend(lines(aside));
            files -= 1;
        }
        written.extend(lines(&file));
        assert_eq!(written, printed);
    });
}

#[test]
fn a_full_disk_is_said_and_the_trace_goes_on() {
    const TEST: &str = "a_full_disk_is_said_and_the_trace_goes_on";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let Some(_disk) = Disk::mount(folder.path(), "16k") else {
            return skip(TEST, "no tmpfs can be mounted");
        };
        let file = folder.file("events");
        let (printed, stderr) = trace(setup, &["--events", &file]);
        let written = lines(&file);
        // What is in the file is whole, and what is not is said.
        assert!(!written.is_empty() && written.len() < printed.len());
        assert_eq!(written, printed[..written.len()]);
        assert_eq!(printed.last().expect("a summary")["type"], "summary");
        let missing = printed.len() - written.len();
        let wanted = format!("{missing} events did not get to {file}: No space left on device");
        assert!(stderr.contains(&wanted), "{wanted}: {stderr}");
    });
}

#[test]
fn what_is_no_file_is_refused() {
    const TEST: &str = "what_is_no_file_is_refused";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let pipe = folder.file("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .is_ok_and(|status| status.success())
        );
        for path in [&*pipe, "/dev/null", "/no/such/folder/events"] {
            let mut command = Command::new(&setup.bleedtrace);
            let ended = Program::start(command.args(["trace", "--events", path, "--", "true"])).end();
            assert_eq!(ended.code, Some(2), "{}", ended.stderr);
            assert!(
                ended
                    .stderr
                    .contains(&format!("failed to write events to {path}: ")),
                "{}",
                ended.stderr
            );
        }
    });
}
