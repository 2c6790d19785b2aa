//! What was recorded is judged as it was when it happened, by anybody, anywhere; and what is not whole says so.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use bleedtrace_tests::{
    Certificate, Disk, Ended, Finding, Folder, Outcome, Program, Setup, Trace, on_main_interpreters, once,
    skip,
};

fn replay(setup: &Setup, file: &str) -> Ended {
    Program::start(Command::new(&setup.bleedtrace).args(["replay", file, "--format", "json"])).end()
}

/// Records a fixture, and replays it without any privilege. Returns the outcome and the recording.
#[track_caller]
fn is_replayed(
    test: &str,
    setup: &Setup,
    flags: &[&str],
    fixture: &str,
    arguments: &[&str],
) -> (Outcome, Vec<u8>) {
    let folder = Folder::new(test);
    let file = folder.file("recording");
    let live = Trace::recording(setup, "tenant", &file)
        .flags(flags)
        .start(setup, fixture, arguments)
        .end();
    let written = fs::metadata(&file).expect("it was recorded");
    assert_eq!(written.mode() & 0o777, 0o600);
    let refused = setup.unprivileged(&format!("{test}-refused"), &["replay", &file]);
    if let Some(refused) = refused {
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("it is ours");
    let replayed = setup
        .unprivileged(
            &format!("{test}-replayed"),
            &["replay", &file, "--format", "json"],
        )
        .unwrap_or_else(|| replay(setup, &file));
    assert_eq!(replayed.stdout, live.text, "{}", replayed.stderr);
    assert_eq!(replayed.code, live.ended.code, "{}", replayed.stderr);
    (live, fs::read(&file).expect("it is there"))
}

#[test]
fn a_replay_says_what_the_run_said() {
    let test = "a_replay_says_what_the_run_said";
    on_main_interpreters(test, |setup| {
        let (live, recording) = is_replayed(test, setup, &[], "bleed.py", &["confirmed"]);
        assert!(live.count("bleed") > 0);
        let (revealed, _) = is_replayed(test, setup, &["--reveal"], "bleed.py", &["confirmed"]);
        assert!(revealed.findings[0]["found"]["value"].is_string());
        assert!(live.findings[0]["found"]["value"].is_null());
        assert!(recording.starts_with(b"\x89BLEED\r\n"));
    });
}

/// A random mix of requests, with findings of many kinds.
const MIX_FLAGS: [&str; 2] = ["--mint", "*create_task"];

#[test]
fn a_replay_of_a_mix_of_requests_says_what_the_run_said() {
    let test = "a_replay_of_a_mix_of_requests_says_what_the_run_said";
    on_main_interpreters(test, |setup| {
        let (live, _) = is_replayed(test, setup, &MIX_FLAGS, "accuracy.py", &["2000", "4", "11"]);
        for kind in ["bleed", "squat", "black_hole_read", "black_hole_return"] {
            assert!(live.count(kind) > 10, "{kind}: {:?}", live.summary);
        }
    });
}

#[test]
fn a_replay_knows_mints_and_what_was_announced() {
    let test = "a_replay_knows_mints_and_what_was_announced";
    on_main_interpreters(test, |setup| {
        let flags = ["--mint", "TaskStore.create*"];
        let (live, _) = is_replayed(test, setup, &flags, "mints.py", &["later"]);
        assert_eq!(live.count("unattributed_task"), 2, "{:?}", live.summary);
        let flags = ["--request", "request_id"];
        let (live, _) = is_replayed(test, setup, &flags, "announcements.py", &["minted", "json"]);
        assert_eq!(live.count("misattributed_task"), 1, "{:?}", live.summary);
    });
}

#[test]
fn a_replay_knows_the_wire_without_its_bytes() {
    let test = "a_replay_knows_the_wire_without_its_bytes";
    let certificate = Certificate::new(test);
    on_main_interpreters(test, |setup| {
        let arguments = ["asyncio", "flat", "5", certificate.path()];
        let (live, _) = is_replayed(test, setup, &["--wire"], "wire.py", &arguments);
        assert!(live.number("tasks", "attributed") > 0, "{:?}", live.summary);
        assert!(live.number("polls", "served") > 0, "{:?}", live.summary);
        assert!(live.count("foreign_poll") > 0, "{:?}", live.summary);
    });
}

/// Where the frames of a recording begin, and where the last one ends.
fn frames(recording: &[u8]) -> Vec<usize> {
    let mut at = vec![16];
    while let Some(len) = recording.get(at[at.len() - 1] + 4..at[at.len() - 1] + 8) {
        let len = u32::from_le_bytes(len.try_into().expect("four bytes")) as usize;
        at.push(at[at.len() - 1] + 16 + len);
    }
    at
}

/// What is left of a recording says what was said up to there, and that it is not all.
#[track_caller]
fn is_no_verdict(setup: &Setup, live: &Outcome, file: &str, recording: &[u8], why: &str) -> usize {
    fs::write(file, recording).expect("the folder is ours");
    let ended = replay(setup, file);
    let replayed = Outcome::parse(&ended.stdout.clone(), ended);
    assert!(
        replayed.reasons().contains(&"recording"),
        "{:?}",
        replayed.summary
    );
    assert!(
        replayed.summary["reasons"].to_string().contains(why),
        "{:?}",
        replayed.summary
    );
    // What waited for more to be known is told at the end, wherever that is: later findings then have other numbers.
    let unnumbered = |finding: &Finding| {
        let mut finding = finding.clone();
        finding.remove("id");
        finding
    };
    let known: Vec<_> = live.findings.iter().map(unnumbered).collect();
    for told in replayed
        .findings
        .iter()
        .filter(|told| told["window_complete"] == true)
    {
        assert!(known.contains(&unnumbered(told)), "{told:?}");
    }
    let code = if replayed.findings.is_empty() { 4 } else { 1 };
    assert_eq!(replayed.ended.code, Some(code), "{:?}", replayed.ended);
    replayed.findings.len()
}

#[test]
fn a_recording_that_is_cut_or_damaged_says_so() {
    let test = "a_recording_that_is_cut_or_damaged_says_so";
    once(test, |setup| {
        let (live, recording) = is_replayed(test, setup, &MIX_FLAGS, "accuracy.py", &["300", "4", "7"]);
        let folder = Folder::new(&format!("{test}-parts"));
        let file = folder.file("part");
        let frames = frames(&recording);
        assert!(frames.len() > 3, "{frames:?}");
        assert_eq!(frames.last(), Some(&recording.len()));
        let mut found = Vec::new();
        for ends in &frames[1..frames.len() - 1] {
            for cut in [*ends, ends + 7, ends + 30] {
                let part = &recording[..cut.min(recording.len() - 1)];
                found.push(is_no_verdict(setup, &live, &file, part, "ends before its run"));
            }
            let mut damaged = recording.clone();
            damaged[ends + 20] ^= 4;
            found.push(is_no_verdict(setup, &live, &file, &damaged, "damaged at byte"));
        }
        assert!(found.iter().any(|many| *many < live.findings.len()), "{found:?}");
        // Not even its header.
        fs::write(&file, &recording[..20]).expect("the folder is ours");
        let ended = replay(setup, &file);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
        fs::write(&file, b"no recording at all").expect("the folder is ours");
        assert!(replay(setup, &file).stderr.contains("it is no recording"));
    });
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_trace() {
    let test = "a_full_disk_ends_the_recording_and_not_the_trace";
    once(test, |setup| {
        let folder = Folder::new(test);
        let Some(_disk) = Disk::mount(folder.path(), "64k") else {
            return skip(test, "no tmpfs can be mounted");
        };
        let file = folder.file("recording");
        let live = Trace::recording(setup, "tenant", &file)
            .start(setup, "load.py", &["2000"])
            .end();
        assert_eq!(live.ended.code, Some(2), "{}", live.ended.stderr);
        for said in ["No space left", "are missing", "hint: "] {
            assert!(live.ended.stderr.contains(said), "{}", live.ended.stderr);
        }
        assert!(
            live.ended.stdout.contains(r#""right": 2000"#),
            "{}",
            live.ended.stdout
        );
        assert!(
            live.number("hops", "run_in_executor") >= 2000,
            "{:?}",
            live.summary
        );
        let ended = replay(setup, &file);
        let replayed = Outcome::parse(&ended.stdout.clone(), ended);
        assert_eq!(
            replayed.reasons().first(),
            Some(&"recording"),
            "{:?}",
            replayed.summary
        );
    });
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let test = "a_file_that_is_there_is_left_alone";
    once(test, |setup| {
        let folder = Folder::new(test);
        let (file, link) = (folder.file("precious"), folder.file("link"));
        fs::write(&file, "precious").expect("the folder is ours");
        std::os::unix::fs::symlink(folder.file("elsewhere"), &link).expect("the folder is ours");
        for name in [&file, &link] {
            let ended =
                Program::start(Command::new(&setup.bleedtrace).args(["record", "-o", name, "--", "true"]))
                    .end();
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(ended.stderr.contains("already exists"), "{}", ended.stderr);
        }
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
        assert!(!Path::new(&folder.file("elsewhere")).exists());
    });
}

#[test]
fn under_sudo_what_is_written_belongs_to_who_called_it() {
    let test = "under_sudo_what_is_written_belongs_to_who_called_it";
    once(test, |setup| {
        let folder = Folder::new(test);
        let (file, replayed) = (folder.file("recording"), folder.file("replayed"));
        let live = Trace::recording(setup, "tenant", &file)
            .env("SUDO_UID", "65534")
            .env("SUDO_GID", "65534")
            .flags(["--user", "root"])
            .start(setup, "bleed.py", &["confirmed"])
            .end();
        assert!(live.count("bleed") > 0);
        let replay = Program::start(
            Command::new(&setup.bleedtrace)
                .args(["replay", &file, "--output", &replayed])
                .envs([("SUDO_UID", "65534"), ("SUDO_GID", "65534")]),
        );
        assert_eq!(replay.end().code, Some(1));
        for file in [file, replayed] {
            let owner = fs::metadata(&file).expect("it was written");
            assert_eq!((owner.uid(), owner.mode() & 0o777), (65_534, 0o600), "{file}");
        }
    });
}

#[test]
fn the_flight_recorder_writes_what_led_to_a_critical_finding() {
    let test = "the_flight_recorder_writes_what_led_to_a_critical_finding";
    on_main_interpreters(test, |setup| {
        let folder = Folder::new(test);
        let directory = folder.file("");
        let live = Trace::new(setup, "tenant")
            .flags(["--flight-recorder", "30s", "--flight-dir", &directory])
            .start(setup, "bleed.py", &["confirmed"])
            .end();
        let bleeds: Vec<_> = live.findings.iter().filter(|f| f["kind"] == "bleed").collect();
        let files: Vec<_> = fs::read_dir(folder.path())
            .expect("it is ours")
            .flatten()
            .collect();
        assert_eq!(files.len(), 1, "one, and then a pause: {files:?}");
        let id = bleeds[0]["id"].as_str().expect("a text");
        let name = files[0].file_name().to_str().expect("a plain name").to_owned();
        assert!(name.contains(id) && name.ends_with(".flight"), "{name}");
        let ended = replay(setup, &folder.file(&name));
        let replayed = Outcome::parse(&ended.stdout.clone(), ended);
        // It was joined in its middle as far as it knows, and the finding is in it all the same.
        let what = |finding: &serde_json::Map<String, serde_json::Value>| {
            let of = |name: &str| finding[name].to_string();
            [of("kind"), of("time"), of("found"), of("read")]
        };
        assert!(
            replayed.findings.iter().any(|f| what(f) == what(bleeds[0])),
            "{:?}",
            replayed.findings
        );
        assert!(
            replayed.reasons().contains(&"recording"),
            "{:?}",
            replayed.summary
        );
    });
}
