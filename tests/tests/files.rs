//! Which files the agent arms, and for how long.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use bleedtrace_tests::{Agent, Disk, Folder, MARK, Prefix, Program, Setup, fixture, once, skip, wait_until};

const CONFIG: &str = "[agent]\ndisarm_after = \"1s\"\n\
                      [watch]\nidentity = [\"tenant\"]\n\
                      [[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"marked\"\n";
const PATIENCE: Duration = Duration::from_secs(120);
const BLEEDS: (&str, [(&str, &str); 2]) = (
    "bleedtrace_findings_total",
    [("service", "marked"), ("kind", "bleed")],
);

/// Has `keeps_bleeding.py` hand two requests over; how often it has bled so far, by its own account.
#[track_caller]
fn bleed(program: &mut Program) -> u64 {
    program.say("go on");
    let line = program.line();
    let count = line.strip_prefix("done ").and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("not a count: {line}"))
}

#[track_caller]
fn unmount_succeeds(disk: &Folder) -> bool {
    let output = Command::new("umount")
        .arg(disk.path())
        .output()
        .expect("umount runs");
    output.status.success()
}

#[test]
fn a_disk_is_free_once_nobody_runs_from_it() {
    let test = "a_disk_is_free_once_nobody_runs_from_it";
    once(test, |setup| {
        let agent = Agent::start(setup, CONFIG);
        let mut found = 0;
        for round in 0..2 {
            let folder = Folder::new("disk-to-free");
            let Some(disk) = Disk::mount(folder.path(), "300m") else {
                return skip(test, "nothing can be mounted");
            };
            let copy = Prefix::copy(&setup.interpreter.python, &folder.path().join("prefix"));
            let mut program = Program::start(copy.fixture("keeps_bleeding.py", &[]).env(MARK, &agent.mark));
            program.wait_for("ready");
            agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
            let armed = agent.sample("bleedtrace_armed_files", &[]);
            assert!(armed > 0, "armed in round {round}");
            // The time that nobody runs from it counts, not the time that it is armed.
            std::thread::sleep(Duration::from_secs(3));
            found += bleed(&mut program);
            agent.wait_for(BLEEDS.0, &BLEEDS.1, found);
            assert_eq!(program.end().code, Some(0));
            let ended = Instant::now();
            wait_until("the disk is free", PATIENCE, || {
                unmount_succeeds(&folder).then_some(())
            });
            assert!(
                ended.elapsed() >= Duration::from_millis(500),
                "it was never armed"
            );
            // It is gone already.
            std::mem::forget(disk);
            wait_until("fewer files are armed", PATIENCE, || {
                (agent.sample("bleedtrace_armed_files", &[]) < armed).then_some(())
            });
        }
        assert_eq!(
            agent.sample(BLEEDS.0, &BLEEDS.1),
            found,
            "every bleed, and no other"
        );
        agent.end();
    });
}

/// The compiled program that loads an interpreter while it runs; none where that cannot be had.
fn embedding(setup: &Setup, folder: &Folder) -> Option<Command> {
    let prefix = setup.interpreter.python.parent()?.parent()?;
    let library = prefix.join(format!("lib/libpython3.{}.so.1.0", setup.minor()));
    let program = folder.path().join("embed");
    let compiled = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(fixture("embed.c"))
        .arg("-ldl")
        .status();
    let can = compiled.is_ok_and(|status| status.success()) && fs::exists(&library).unwrap_or(false);
    can.then(|| {
        let mut command = Command::new(program);
        command
            .env("PYTHONHOME", prefix)
            .arg(library)
            .arg(setup.fixture("keeps_bleeding.py"));
        command
    })
}

#[test]
fn an_interpreter_that_is_loaded_while_its_program_runs_is_found() {
    let test = "an_interpreter_that_is_loaded_while_its_program_runs_is_found";
    once(test, |setup| {
        let folder = Folder::new("embedding");
        let Some(mut command) = embedding(setup, &folder) else {
            return skip(test, "no C compiler, or no libpython");
        };
        let agent = Agent::start(setup, CONFIG);
        let mut program = Program::start(command.env(MARK, &agent.mark));
        program.wait_for("started");
        program.say("load");
        program.wait_for("ready");
        let unseen = bleed(&mut program);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        let seen = bleed(&mut program) - unseen;
        assert_eq!(seen, 2);
        agent.wait_for(BLEEDS.0, &BLEEDS.1, seen);
        assert_eq!(program.end().code, Some(0));
        assert_eq!(agent.sample(BLEEDS.0, &BLEEDS.1), seen);
        agent.end();
    });
}
