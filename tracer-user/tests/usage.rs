//! What the program says and returns when it is used wrongly. None of this needs privileges.

use std::fs;

use assert_cmd::Command;
use tracer_user::correlate::finding::Kind;

fn bleedtrace(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("bleedtrace").expect("the program is built");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BLEEDTRACE_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs it, checks the exit code, and gives what it said on stderr.
fn refused(arguments: &[&str], code: i32) -> String {
    let output = bleedtrace(arguments).assert().code(code).get_output().clone();
    assert!(output.stdout.is_empty(), "an error belongs on stderr");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_trace_of_nothing() {
    let said = refused(&["trace"], 2);
    assert!(
        said.starts_with("error: nothing to trace\nhint: give --pid PID, or a command"),
        "{said}"
    );
}

#[test]
fn a_list_of_nothing() {
    for command in ["vars", "hops"] {
        let said = refused(&[command], 2);
        let expected = format!(
            "error: nothing to trace\nhint: give --pid PID, or a command behind `--`: bleedtrace {command} -- python3 app.py\n"
        );
        assert_eq!(said, expected);
    }
}

#[test]
fn values_that_make_no_sense() {
    for (arguments, words) in [
        (&["trace", "--format", "xml", "--pid", "1"][..], "xml"),
        (&["trace", "--duration", "10", "--pid", "1"], "is no duration"),
        (
            &["trace", "--fail-on", "bled", "--pid", "1"],
            "did you mean `bleed`?",
        ),
        (
            &["trace", "--fail-on", "squat,black_hole", "--pid", "1"],
            "did you mean `black_hole_re",
        ),
        (&["trace", "--listen", "9464", "--pid", "1"], "9464"),
        (&["trace", "--identity", "a b", "--pid", "1"], "names no variable"),
        (&["trace", "--pid", "0"], "0"),
        (&["trace", "--pid", "self"], "self"),
        (&["trace", "--user", "root", "--pid", "1"], "COMMAND"),
        (&["trace", "--colour", "always", "--pid", "1"], "--color"),
        (&["record", "--", "true"], "--recording <FILE>"),
        (&["record", "-o", "/nowhere/file"], "bleedtrace record -o FILE --"),
        (
            &["record", "-o", "/dev/null", "--", "true"],
            "failed to create the recording /dev/null",
        ),
        (
            &["trace", "--flight-recorder", "30s", "--pid", "1"],
            "--flight-dir",
        ),
        (
            &["trace", "--flight-dir", "/tmp", "--pid", "1"],
            "--flight-recorder",
        ),
        (
            &[
                "trace",
                "--flight-recorder",
                "30s",
                "--flight-dir",
                "/dev/null",
                "--pid",
                "1",
            ],
            "/dev/null is no directory",
        ),
        (&["replay"], "<FILE>"),
        (&["explain", "blead"], "did you mean `bleed`?"),
        (&["doctor", "--pid", "-1"], "-1"),
        (&["vars", "--pid", "0"], "0"),
        (&["vars", "--identity", "tenant", "--pid", "1"], "--identity"),
        (&["vars", "--format", "xml", "--pid", "1"], "xml"),
        (&["hops", "--identity", "a b", "--pid", "1"], "names no variable"),
        (&["hops", "--duration", "10", "--pid", "1"], "is no duration"),
        (&["hops", "--user", "root", "--pid", "1"], "COMMAND"),
        (&["hops", "--fail-on", "squat", "--pid", "1"], "--fail-on"),
        (&["discover", "--pid", "1"], "--pid"),
        (&["discover", "--output", "/nonexistent/x"], "/nonexistent/x"),
        (
            &["discover", "--config", "/nonexistent/x.toml"],
            "/nonexistent/x.toml",
        ),
        (&["trce"], "trace"),
        (&[], "Usage"),
    ] {
        let said = refused(arguments, 2);
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(
            arguments.is_empty() || (said.starts_with("error: ") && said.contains("\nhint: ")),
            "{said}"
        );
    }
}

#[test]
fn too_many_variables() {
    let names: Vec<String> = (0..9).map(|n| format!("--identity=v{n}")).collect();
    let mut arguments = vec!["trace", "--pid", "1"];
    arguments.extend(names.iter().map(String::as_str));
    assert!(refused(&arguments, 2).contains("9 variables are to be watched"));
}

#[test]
fn a_configuration_with_a_mistake() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bleedtrace.toml");
    fs::write(&file, "[watch]\nidentiy = [\"tenant\"]\n").expect("written");
    let path = file.to_str().expect("a name");
    let expected = "error: unknown key `identiy` in [watch]\nhint: did you mean `identity`?\n";
    assert_eq!(refused(&["trace", "--pid", "1", "--config", path], 2), expected);

    let output = bleedtrace(&["trace", "--pid", "1"])
        .env("BLEEDTRACE_CONFIG", path)
        .assert()
        .code(2)
        .get_output()
        .clone();
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);

    // A flag wins over the environment.
    let output = bleedtrace(&["trace", "--pid", "1", "--config", "/nonexistent/flag.toml"])
        .env("BLEEDTRACE_CONFIG", path)
        .assert()
        .code(2)
        .get_output()
        .clone();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/flag.toml"));

    let said = refused(&["trace", "--pid", "1", "--config", "/nonexistent/x.toml"], 2);
    assert!(
        said.contains("/nonexistent/x.toml") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn a_variable_of_the_environment_with_a_mistake() {
    let output = bleedtrace(&["trace", "--pid", "1"])
        .env("BLEEDTRACE_REVEAL", "perhaps")
        .assert()
        .code(2)
        .get_output()
        .clone();
    assert!(String::from_utf8_lossy(&output.stderr).contains("perhaps"));
}

#[test]
fn a_process_that_is_not_there() {
    let said = refused(&["doctor", "--pid", "4294967290"], 3);
    assert!(said.starts_with("error: no process 4294967290\nhint: "), "{said}");
}

#[test]
fn a_process_that_is_not_python() {
    let mut sleep = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep runs");
    let output = bleedtrace(&["doctor", "--format", "json", "--pid", &sleep.id().to_string()])
        .output()
        .expect("it runs");
    sleep.kill().expect("killed");
    sleep.wait().expect("waited for");
    assert_eq!(output.status.code(), Some(3));
    let rows = String::from_utf8(output.stdout).expect("text");
    let row = rows
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .find(|row| row["check"] == "CPython interpreter")
        .expect("the row");
    assert_eq!(row["outcome"], "missing");
    assert!(row["found"].as_str().expect("text").contains("sleep"), "{row}");
}

#[test]
fn every_kind_is_explained() {
    let explained = |arguments: &[&str]| {
        let output = bleedtrace(arguments).assert().code(0).get_output().clone();
        String::from_utf8(output.stdout).expect("text")
    };
    let all = explained(&["explain"]);
    let mut articles = Vec::new();
    for kind in Kind::ALL {
        let one = explained(&["explain", kind.name()]);
        assert!(one.starts_with(kind.name()), "{one}");
        for heading in [
            "What it means",
            "How it happens",
            "Example",
            "How bleedtrace knows",
            "What to do",
            "What is not reported",
        ] {
            let text = one.split(&format!("\n{heading}\n")).nth(1);
            let first = text.and_then(|text| text.lines().next()).unwrap_or_default();
            assert!(!first.trim().is_empty(), "{heading} of {}: {one}", kind.name());
        }
        articles.push(one);
    }
    // All of them are the articles one by one, and each one is about its own kind.
    assert_eq!(all, articles.join("\n"));
    articles.sort_unstable();
    articles.dedup();
    assert_eq!(articles.len(), Kind::ALL.len());
}

fn printed(arguments: &[&str]) -> String {
    let output = bleedtrace(arguments).assert().code(0).get_output().clone();
    String::from_utf8(output.stdout).expect("text")
}

/// Whether a shell that is here takes a script.
fn is_taken(shell: &str, script: &str) -> Option<bool> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), script).expect("it is ours");
    let checked = std::process::Command::new(shell)
        .arg("-n")
        .arg(file.path())
        .status();
    checked.ok().map(|status| status.success())
}

#[test]
fn shells_learn_every_command_and_flag() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for word in ["trace", "replay", "flight-recorder", "fail-on", "completions"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        if let Some(taken) = is_taken(shell, &script) {
            assert!(taken, "{shell} does not understand its script");
        }
    }
    assert_eq!(is_taken("bash", "if"), Some(false), "the check can fail");
    assert!(refused(&["completions", "tcsh"], 2).contains("tcsh"));
}

#[test]
fn every_command_has_a_manual_page() {
    let main = printed(&["man"]);
    for said in [
        ".TH bleedtrace 1",
        ".SH \"EXIT STATUS\"",
        "no verdict",
        "bleedtrace\\-record(1)",
    ] {
        assert!(main.contains(said), "{said}:\n{main}");
    }
    for command in [
        "trace", "record", "replay", "vars", "hops", "discover", "doctor", "explain", "man",
    ] {
        let page = printed(&["man", command]);
        assert!(
            page.contains(&format!(".TH bleedtrace-{command} 1  \"bleedtrace ")),
            "{page}"
        );
        assert!(page.contains(".SH OPTIONS"), "{page}");
    }
    let said = refused(&["man", "keeper"], 2);
    assert!(
        said.starts_with("error: no command `keeper`\nhint: there are trace, "),
        "{said}"
    );
}
