//! Ten million events of real processes, recorded and replayed: the same is found, in memory that does not grow.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Course, Outcome, Program, Steady, Trace, Usage};

use super::{MEMORY_KIB, PROCESSES, machine, note, setup};
use crate::workspace;

/// Events in a second while it is recorded.
const RATE: u64 = 50_000;

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Records so many events, replays them, and adds a section to `docs/soak.md`.
pub fn run(events: u64) -> Result<()> {
    let setup = setup()?;
    let folder = workspace::target().join("soak");
    fs::create_dir_all(&folder)?;
    let file = folder.join("steady.bleed");
    // A recording is created new.
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let path = file.to_str().context("the target directory has a name")?;
    let patience = Duration::from_secs(120 + 4 * events / RATE);

    let arguments = Steady::arguments(PROCESSES, RATE, events, Steady::READS);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut live = Trace::recording(&setup, "tenant", path)
        .flags(["--reads", "all"])
        .start(&setup, Steady::FIXTURE, &arguments);
    live.program.wait_for("ready");
    live.program.say("go on");
    let (recording, _) = watch(&mut live.program, patience)?;
    let live = live.end();
    let truth = Steady::parse(&live.ended.stdout);
    let bytes = fs::metadata(&file)?.len();

    let mut replay =
        Program::start(Command::new(&setup.bleedtrace).args(["replay", path, "--format", "json"]));
    let (resident, took) = watch(&mut replay, patience)?;
    let ended = replay.end();
    let replayed = Outcome::parse(&ended.stdout.clone(), ended);
    fs::remove_file(&file)?;

    let received = replayed.number("events", "received");
    let found = Steady::summarized(&replayed.summary);
    let (wrong, missed) = found.wrong_and_missed(&truth);
    let text = format!(
        "{received} events of {PROCESSES} processes of CPython {}, recorded ({:.0} MB) and replayed, {}; goal: at least 10,000,000, as it was said \
         live, in less than 60 MB that do not grow.\n\n\
         | | events lost | findings | false | missed | memory in the second quarter | in the last | at most |\n|---|---|---|---|---|---|---|---|\n\
         | recorded | {} | {} | | | {} KiB | {} KiB | {} KiB |\n\
         | replayed in {:.0} s | | {} | {wrong} | {missed} | {} KiB | {} KiB | {} KiB |\n",
        setup.interpreter.version,
        bytes as f64 / 1e6,
        machine()?,
        live.lost(),
        live.findings.len(),
        recording.early(),
        recording.late(),
        recording.most(),
        took.as_secs_f64(),
        replayed.findings.len(),
        resident.early(),
        resident.late(),
        resident.most(),
    );
    print!("{text}");
    note(&text)?;
    ensure!(received >= events, "only {received} events were replayed");
    ensure!(
        replayed.text == live.text,
        "the replay does not say what was said live"
    );
    let differences = found.differences(&truth);
    ensure!(
        differences.is_empty(),
        "not what was there: {}",
        differences.join("; ")
    );
    for (what, resident) in [("recording", recording), ("replaying", resident)] {
        ensure!(
            resident.is_flat() && resident.most() <= MEMORY_KIB,
            "{what} took {} KiB of memory in the second quarter, {} in the last, {} at most",
            resident.early(),
            resident.late(),
            resident.most()
        );
    }
    Ok(())
}

/// Looks at a program's memory until it has ended. Gives that, and how long it took.
fn watch(program: &mut Program, patience: Duration) -> Result<(Course, Duration)> {
    let begin = Instant::now();
    let mut resident = Course::default();
    while program.runs() {
        ensure!(begin.elapsed() < patience, "it does not end in {patience:?}");
        resident.extend(Usage::of(program.pid()).map(|usage| usage.resident_kib));
        thread::sleep(LOOK);
    }
    Ok((resident, begin.elapsed()))
}
