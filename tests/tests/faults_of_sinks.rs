//! Faults of what findings and recordings are sent to: disks that are full, collectors that are down. What does not get there is counted,
//! what can be is tried again, and nothing else suffers.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use bleedtrace_tests::{
    Agent, BLEEDS, Disk, Folder, MARKED, Program, Setup, Trace, bleed, bleeder, free_port, get, once, sample,
    skip, wait_until,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A sample of what a sink did.
fn of_sink(agent: &Agent, family: &str, sink: &str) -> u64 {
    agent.sample(&format!("bleedtrace_sink_{family}_total"), &[("sink", sink)])
}

/// Has a program bleed so many times, all of which is found and shown, whatever becomes of it elsewhere.
#[track_caller]
fn bleeds(agent: &Agent, program: &mut Program, rounds: u64) {
    let mut truth = 0;
    for _ in 0..rounds {
        truth = bleed(program);
    }
    agent.wait_for(BLEEDS.0, &BLEEDS.1, truth);
    assert_eq!(agent.sample(BLEEDS.0, &BLEEDS.1), truth);
    let (status, listed) = agent.ask("/findings?kind=bleed");
    assert_eq!(status, 200, "{listed}");
    let groups = listed["findings"].as_array().expect("a list");
    let count: u64 = groups.iter().filter_map(|group| group["count"].as_u64()).sum();
    assert_eq!(count, truth);
    is_well(agent);
}

#[track_caller]
fn is_well(agent: &Agent) {
    for path in ["/healthz", "/readyz"] {
        let (status, answer) = agent.ask(path);
        assert_eq!(status, 200, "{path}: {answer}");
    }
}

/// How many findings an agent that has ended says did not get to a place.
fn undelivered(said: &str, place: &str) -> Option<usize> {
    let (before, _) = said.split_once(&format!(" events did not get to {place}"))?;
    let number = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    number.parse().ok()
}

/// How many events there are in a file.
fn lines(path: &str) -> usize {
    let text = fs::read_to_string(path).expect("it is ours");
    for line in text.lines() {
        let parsed = serde_json::from_str::<Value>(line);
        assert!(parsed.is_ok(), "{parsed:?}: {line}");
    }
    text.lines().count()
}

#[test]
fn events_that_a_full_disk_does_not_take_wait_and_are_counted() {
    const TEST: &str = "events_that_a_full_disk_does_not_take_wait_and_are_counted";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let Some(_disk) = Disk::mount(folder.path(), "8m") else {
            return skip(TEST, "no tmpfs can be mounted");
        };
        // Nearly all of it is somebody else's.
        let ballast = folder.write("ballast", vec![0; (8 << 20) - (64 << 10)]);
        let file = folder.file("events");
        let agent = Agent::start_as(setup, MARKED, &[], &["--events", &file]);
        let mut program = bleeder(&agent, setup);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        bleeds(&agent, &mut program, 1_000);
        wait_until(
            "it is tried again, and some has no place to wait",
            PATIENCE,
            || {
                (of_sink(&agent, "errors", "file") > 1 && of_sink(&agent, "dropped", "file") > 0)
                    .then_some(())
            },
        );
        let sent = of_sink(&agent, "sent", "file");
        assert!(sent > 0);
        let all = || agent.findings().len() as u64;
        assert!(
            sent + of_sink(&agent, "dropped", "file") < all(),
            "the rest waits"
        );
        assert_eq!(
            agent
                .said()
                .matches("findings cannot be written: they wait")
                .count(),
            1
        );

        // There is room again.
        fs::remove_file(ballast).expect("it is ours");
        wait_until("what waited is written", PATIENCE, || {
            (of_sink(&agent, "sent", "file") + of_sink(&agent, "dropped", "file") == all()).then_some(())
        });
        let (sent, dropped) = (
            of_sink(&agent, "sent", "file"),
            of_sink(&agent, "dropped", "file"),
        );
        assert_eq!(lines(&file) as u64, sent);
        is_well(&agent);
        assert_eq!(program.end().code, Some(0));
        let (ended, said) = agent.end();
        assert_eq!(ended.code, Some(0), "{said}");
        assert!(said.contains("findings are written again"), "{said}");
        let late = lines(&file) as u64 - sent;
        assert_eq!(
            undelivered(&said, &file),
            Some(dropped as usize),
            "{late} more at the end: {said}"
        );
    });
}

/// A collector that is down.
struct Down {
    address: String,
}

impl Down {
    /// Nobody listens.
    fn refuses() -> Self {
        Self {
            address: format!("127.0.0.1:{}", free_port()),
        }
    }

    /// It takes connections and does `then` with each.
    fn answers(then: fn(TcpStream)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || then(stream));
            }
        });
        Self { address }
    }

    /// It never says a word.
    fn hangs() -> Self {
        Self::answers(|mut stream| {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        })
    }

    /// It answers whatever comes, with this status.
    fn fails() -> Self {
        Self::answers(|mut stream| {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(
                b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            );
            // To close before all was read would take the answer back.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        })
    }
}

/// The agent with a collector that is down; what it says of that at its end.
#[track_caller]
fn with_collector(setup: &Setup, down: &Down, wanted: impl Fn(&Agent) -> bool) -> String {
    let endpoint = format!("http://{}", down.address);
    let agent = Agent::start_as(setup, MARKED, &[], &["--otlp-endpoint", &endpoint]);
    let mut program = bleeder(&agent, setup);
    agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
    bleeds(&agent, &mut program, 10);
    wait_until("it is counted", PATIENCE, || wanted(&agent).then_some(()));
    assert_eq!(of_sink(&agent, "sent", "otlp_logs"), 0);
    is_well(&agent);
    assert_eq!(program.end().code, Some(0));
    wait_until("nothing more is found", PATIENCE, || {
        (agent.sample("bleedtrace_targets", &[("state", "attached")]) == 0).then_some(())
    });
    let all = agent.findings().len();
    let (ended, said) = agent.end();
    assert_eq!(ended.code, Some(0), "{said}");
    assert_eq!(undelivered(&said, &endpoint), Some(all), "{said}");
    said
}

#[test]
fn a_collector_that_cannot_be_reached_is_tried_again() {
    once("a_collector_that_cannot_be_reached_is_tried_again", |setup| {
        let said = with_collector(setup, &Down::refuses(), |agent| {
            of_sink(agent, "errors", "otlp_logs") > 2 && of_sink(agent, "errors", "otlp_metrics") > 0
        });
        assert_eq!(
            said.matches("findings cannot be written: they wait").count(),
            1,
            "{said}"
        );
        assert_eq!(said.matches("metrics cannot be sent").count(), 1, "{said}");
    });
}

#[test]
fn a_collector_that_hangs_holds_nothing_up() {
    once("a_collector_that_hangs_holds_nothing_up", |setup| {
        with_collector(setup, &Down::hangs(), |agent| {
            of_sink(agent, "errors", "otlp_logs") > 0
        });
    });
}

#[test]
fn what_a_collector_refuses_for_good_is_counted_as_dropped() {
    once(
        "what_a_collector_refuses_for_good_is_counted_as_dropped",
        |setup| {
            let said = with_collector(setup, &Down::fails(), |agent| {
                of_sink(agent, "dropped", "otlp_logs") == agent.findings().len() as u64
            });
            assert!(said.contains("500 Internal Server Error"), "{said}");
        },
    );
}

#[test]
fn what_a_recording_lacks_is_counted_while_the_trace_goes_on() {
    const TEST: &str = "what_a_recording_lacks_is_counted_while_the_trace_goes_on";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let Some(_disk) = Disk::mount(folder.path(), "8k") else {
            return skip(TEST, "no tmpfs can be mounted");
        };
        let trace = Trace::recording(setup, "tenant", &folder.file("recording"))
            .listening()
            .start(setup, "load.py", &[]);
        let lacks = || {
            let metrics = get(&trace.address, "/metrics").ok()?;
            sample(&metrics, "bleedtrace_recording_lost_total", &[])
        };
        let first = wait_until("something is missing", PATIENCE, || {
            lacks().filter(|count| *count > 0.0)
        });
        wait_until("more is missing", PATIENCE, || {
            lacks().filter(|count| *count > first)
        });
        trace.signal_command("TERM");
        let outcome = trace.end();
        assert_eq!(outcome.ended.code, Some(2), "{}", outcome.ended.stderr);
        assert!(
            outcome.ended.stderr.contains("No space left"),
            "{}",
            outcome.ended.stderr
        );
        assert!(outcome.number("reads", "own") > 0, "{:?}", outcome.summary);
    });
}

#[test]
fn a_flight_recorder_without_room_fails_by_itself() {
    const TEST: &str = "a_flight_recorder_without_room_fails_by_itself";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let Some(_disk) = Disk::mount(folder.path(), "8k") else {
            return skip(TEST, "no tmpfs can be mounted");
        };
        // Not a page is left for a file.
        let _ = fs::write(folder.file("ballast"), vec![0; 64 << 10]);
        let flags = ["--flight-recorder", "30s", "--flight-dir", &folder.file("")];
        let agent = Agent::start_as(setup, MARKED, &[], &flags);
        let mut program = bleeder(&agent, setup);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        bleeds(&agent, &mut program, 5);
        agent.wait_for("bleedtrace_recordings_total", &[("outcome", "failed")], 1);
        assert_eq!(
            agent.sample("bleedtrace_recordings_total", &[("outcome", "written")]),
            0
        );
        is_well(&agent);
        assert_eq!(program.end().code, Some(0));
        let (ended, said) = agent.end();
        assert_eq!(ended.code, Some(0), "{said}");
        for words in ["failed to write ", "No space left", "could not be written"] {
            assert!(said.contains(words), "{said}");
        }
    });
}
