//! Everything that must hold before a change is accepted, and a table of what ran.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{WIDELY, results_file};

use crate::{bpf, dashboards, deps, dist, fuzz, interpreters, workspace};

/// Seconds of each fuzz target.
const FUZZ_SECONDS: u32 = 10;

/// Suites whose tests do not mind each other: two of them run at a time. Those of any other suite run alone.
const SIDE_BY_SIDE: [&str; 11] = [
    "accuracy",
    "checks",
    "kubernetes",
    "loops",
    "must_hold",
    "packages",
    "primitives",
    "tasks",
    "values",
    "wire",
    "wire_ways",
];

/// How a step ended.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    /// What failed, as far as it has a name.
    failures: BTreeSet<String>,
    /// By name, with the reason.
    skipped: BTreeMap<String, String>,
}

impl Tally {
    fn of(result: &Result<()>) -> Self {
        Self {
            passed: u64::from(result.is_ok()),
            failed: u64::from(result.is_err()),
            ..Self::default()
        }
    }
}

struct Step {
    name: &'static str,
    tally: Tally,
    took: Duration,
}

struct Table(Vec<Step>);

impl Table {
    fn add(&mut self, name: &'static str, step: impl FnOnce() -> Result<Tally>) {
        println!("\n== {name}");
        let start = Instant::now();
        let tally = step().unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Tally {
                failed: 1,
                ..Tally::default()
            }
        });
        self.0.push(Step {
            name,
            tally,
            took: start.elapsed(),
        });
    }

    fn command(&mut self, name: &'static str, command: &mut Command) {
        self.add(name, || workspace::run(command).map(|()| Tally::of(&Ok(()))));
    }

    /// Prints it; fails if anything failed.
    fn finish(self) -> Result<()> {
        println!(
            "\n{:<28} {:>7} {:>7} {:>8} {:>8}",
            "step", "passed", "failed", "skipped", "seconds"
        );
        let mut total = [0; 3];
        for Step { name, tally, took } in &self.0 {
            let numbers = [tally.passed, tally.failed, tally.skipped.len() as u64];
            let [passed, failed, skipped] = numbers;
            println!(
                "{name:<28} {passed:>7} {failed:>7} {skipped:>8} {:>8.1}",
                took.as_secs_f64()
            );
            for (sum, number) in total.iter_mut().zip(numbers) {
                *sum += number;
            }
        }
        for (name, reason) in self.0.iter().flat_map(|step| &step.tally.skipped) {
            println!("skipped: {name}: {reason}");
        }
        for step in self.0.iter().filter(|step| step.tally.failed > 0) {
            if step.tally.failures.is_empty() {
                println!("failed: {}", step.name);
            }
            for name in &step.tally.failures {
                println!("failed: {}: {name}", step.name);
            }
        }
        let [passed, failed, skipped] = total;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        ensure!(failed == 0, "something failed");
        Ok(())
    }
}

/// Runs everything.
pub fn run() -> Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut command = workspace::cargo_command();
        command.args(arguments);
        command
    };
    let mut table = Table(Vec::new());
    table.command("format", &mut cargo(&["fmt", "--all", "--check"]));
    table.command(
        "clippy",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    );
    table.add("interpreters", || {
        let skipped = interpreters::report();
        let supported = bleedtrace_tests::interpreters()
            .iter()
            .filter(|interpreter| interpreter.is_supported());
        Ok(Tally {
            passed: supported.count() as u64,
            skipped,
            ..Tally::default()
        })
    });
    table.add("unit and property", || {
        libtest(&mut cargo(&[
            "test",
            "--workspace",
            "--locked",
            "--exclude",
            "bleedtrace-tests",
            "--",
            "--nocapture",
        ]))
    });
    table.add("dashboards", || {
        dashboards::check().map(|passed| Tally {
            passed,
            ..Tally::default()
        })
    });
    table.add("build-ebpf --check", || {
        if let Err(error) = deps::bpf_toolchain() {
            eprintln!("the BPF toolchain could not be fetched: {error:#}");
        }
        Ok(match bpf::check()? {
            bpf::Outcome::Same => Tally::of(&Ok(())),
            bpf::Outcome::Skipped(why) => Tally {
                skipped: BTreeMap::from([("build-ebpf --check".to_owned(), why)]),
                ..Tally::default()
            },
        })
    });
    table.add("fuzz", || {
        fuzz::run(FUZZ_SECONDS, &[]).map(|passed| Tally {
            passed,
            ..Tally::default()
        })
    });
    let prometheus = deps::prometheus();
    end_to_end(&mut table, &deps::tools(prometheus.as_ref().ok()), false);
    rules(&mut table, prometheus.as_ref());
    table.finish()
}

/// Runs every test that traces on every interpreter.
pub fn widely() -> Result<()> {
    let mut table = Table(Vec::new());
    end_to_end(&mut table, &deps::tools(deps::prometheus().as_ref().ok()), true);
    table.finish()
}

/// Runs the tests that trace, with the program as it is shipped.
fn end_to_end(table: &mut Table, tools: &[(&str, PathBuf)], widely: bool) {
    let mut program = None;
    table.add("release build", || {
        let built = dist::program(dist::Machine::X86)?;
        dist::pack_built(&built)?;
        program = Some(built);
        // What ran before is of another program.
        if results_file().exists() {
            fs::remove_file(results_file())?;
        }
        Ok(Tally::of(&Ok(())))
    });
    let Some(program) = program else { return };
    let run = |threads: &str, suites: &[String]| {
        let mut command = workspace::cargo_command();
        command.args([
            "test",
            "--package",
            "bleedtrace-tests",
            "--locked",
            "--no-fail-fast",
        ]);
        command.args(suites);
        command.args(["--", "--nocapture", threads]);
        command.env("BLEEDTRACE_BIN", &program);
        if widely {
            command.env(WIDELY, "1");
        }
        command.envs(tools.iter().map(|(name, program)| (name, program)));
        libtest(&mut command)
    };
    let name = |suite: &str| format!("--test={suite}");
    table.add("end to end, side by side", || {
        run("--test-threads=2", &SIDE_BY_SIDE.map(name))
    });
    table.add("bench --smoke", || {
        let mut command = Command::new(env::current_exe()?);
        let mut tally = libtest(command.args(["bench", "--smoke"]).env("BLEEDTRACE_BIN", &program))?;
        tally.passed = u64::from(tally.failed == 0);
        Ok(tally)
    });
    table.add("end to end, alone", || {
        let mut others = vec!["--lib".to_owned()];
        others.extend(suites()?.iter().map(|suite| name(suite)));
        run("--test-threads=1", &others)
    });
}

/// The suites that do not run side by side.
fn suites() -> Result<Vec<String>> {
    let files = fs::read_dir(workspace::root().join("tests/tests"))?;
    let mut suites = Vec::new();
    for file in files {
        let path = file?.path();
        if let (Some(stem), Some("rs")) = (
            path.file_stem().and_then(|stem| stem.to_str()),
            path.extension().and_then(|extension| extension.to_str()),
        ) && !SIDE_BY_SIDE.contains(&stem)
        {
            suites.push(stem.to_owned());
        }
    }
    suites.sort();
    Ok(suites)
}

/// Has Prometheus's own tool look at the rules.
fn rules(table: &mut Table, prometheus: Result<&deps::Prometheus, &anyhow::Error>) {
    for (name, action, files) in [
        ("promtool check rules", "check", &dashboards::RULES),
        ("promtool test rules", "test", &dashboards::TESTS),
    ] {
        table.add(name, || match prometheus {
            Ok(prometheus) => {
                let mut promtool = Command::new(&prometheus.promtool);
                promtool.current_dir(workspace::root().join(dashboards::RULES_FOLDER));
                workspace::run(promtool.args([action, "rules"]).args(files)).map(|()| Tally::of(&Ok(())))
            }
            Err(error) => Ok(Tally {
                skipped: BTreeMap::from([(name.to_owned(), format!("{error:#}"))]),
                ..Tally::default()
            }),
        });
    }
}

/// Runs tests; shows what they print, but for what is as it should be, and counts what they say.
///
/// Where an assertion stands says enough, and some tests panic on purpose: no backtraces.
fn libtest(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stderr = child.stderr.take().context("standard error is piped")?;
    let errors = thread::spawn(move || {
        let mut said = Said::default();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("{line}");
            said.line(&line);
        }
        said.tally
    });
    let mut said = Said::default();
    let stdout = child.stdout.take().context("standard output is piped")?;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if !is_as_it_should_be(&line) {
            println!("{line}");
        }
        said.line(&line);
    }
    let mut tally = said.tally;
    let status = child.wait()?;
    let said = errors.join().unwrap_or_default();
    tally.skipped.extend(said.skipped);
    tally.passed = tally.passed.saturating_sub(tally.skipped.len() as u64);
    // What does not even build, or dies, reports no failed test.
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Whether a line of libtest's says that one test has passed, or says nothing.
fn is_as_it_should_be(line: &str) -> bool {
    line.is_empty() || line == "ok" || line.starts_with("test ") && line.ends_with(" ... ok")
}

/// What a run of tests has said so far.
#[derive(Default)]
struct Said {
    tally: Tally,
    /// It is naming what failed.
    naming: bool,
}

impl Said {
    fn line(&mut self, line: &str) {
        let tally = &mut self.tally;
        // Without capture a test's own output may stand before the word.
        if let Some((_, skipped)) = line.split_once("SKIP ")
            && let Some((name, reason)) = skipped.split_once(": ")
        {
            tally.skipped.insert(name.to_owned(), reason.to_owned());
        }
        if line == "failures:" {
            self.naming = true;
        } else if self.naming
            && let Some(name) = line.strip_prefix("    ")
        {
            tally.failures.insert(name.to_owned());
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.naming = false;
            let number = |word: &str| {
                let part = result
                    .split([';', '.'])
                    .find_map(|part| part.trim().strip_suffix(word))?;
                part.trim().parse::<u64>().ok()
            };
            tally.passed += number("passed").unwrap_or(0);
            tally.failed += number("failed").unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_failures_and_skips_are_counted() {
        let mut said = Said::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "    not::a_failure",
            "failures:",
            "    tests::a_squat",
            "",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test a_bleed ... SKIP a_bleed: needs root",
            "SKIP a_bleed: needs root",
        ] {
            said.line(line);
        }
        let tally = said.tally;
        assert_eq!((tally.passed, tally.failed), (15, 1));
        assert_eq!(tally.failures, BTreeSet::from(["tests::a_squat".to_owned()]));
        assert_eq!(
            tally.skipped,
            BTreeMap::from([("a_bleed".to_owned(), "needs root".to_owned())])
        );
    }
}
