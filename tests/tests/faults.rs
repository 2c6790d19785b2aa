//! Faults, one by one, of the machine, of targets and of the agent itself: each ends in the state that docs/faults.md names, and nothing
//! is lost silently.

use std::{
    net::TcpListener,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use bleedtrace_tests::{
    Agent, BLEEDS, MARKED, Program, Setup, bleed, bleeder, is_armed, once, ready, serve, skip, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(120);
const ATTACHED: (&str, [(&str, &str); 1]) = ("bleedtrace_targets", [("state", "attached")]);

/// The agent's configuration where processes are told apart by their arguments alone.
const BY_CMDLINE: &str = "[watch]\nidentity = [\"tenant\"]\n\
                          [[service]]\nmatch = { cmdline = \"*keeps_bleeding.py*\" }\nname = \"marked\"\n";

fn lost(agent: &Agent, reason: &str) -> u64 {
    agent.sample("bleedtrace_events_lost_total", &[("reason", reason)])
}

/// The codes of what is remarked at a path, which answers that all is well.
#[track_caller]
fn remarks(agent: &Agent, path: &str) -> Vec<String> {
    let (status, answer) = agent.ask(path);
    assert_eq!(status, 200, "{answer}");
    let remarks = answer["remarks"].as_array().expect("a list");
    remarks
        .iter()
        .map(|remark| remark["code"].as_str().expect("a text").to_owned())
        .collect()
}

/// Every finding of a program that bleeds is one that it knows of, and one of a program that is right is none.
#[track_caller]
fn nothing_false(agent: &Agent, bleeder: (u32, u64), right: u32) {
    let bled = agent.bleeds_of(bleeder.0) as u64;
    assert!(bled <= bleeder.1, "{bled} bleeds of {}", bleeder.1);
    let findings = agent.findings();
    let of_right: Vec<_> = findings
        .iter()
        .filter(|finding| finding["pid"] == right)
        .collect();
    assert!(of_right.is_empty(), "{of_right:?}");
}

/// What starts now is followed as if nothing had been.
#[track_caller]
fn all_is_found_again(agent: &Agent, setup: &Setup) {
    let before = agent.sample(ATTACHED.0, &ATTACHED.1);
    let mut program = bleeder(agent, setup);
    agent.wait_for(ATTACHED.0, &ATTACHED.1, before + 1);
    assert_eq!(bleed(&mut program), 1);
    assert_eq!(bleed(&mut program), 3);
    wait_until("its bleeds are found", PATIENCE, || {
        (agent.bleeds_of(program.pid()) == 3).then_some(())
    });
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn a_full_ring_is_counted_and_nothing_false_is_found() {
    once("a_full_ring_is_counted_and_nothing_false_is_found", |setup| {
        let agent = Agent::start_as(setup, MARKED, &["BLEEDTRACE_RING_BYTES=1048576"], &[]);
        let mut bleeds = bleeder(&agent, setup);
        let mut right = ready(&agent, setup, "keeps_right.py");
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 2);
        assert_eq!(bleed(&mut bleeds), 1);
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 1);
        assert_eq!(serve(&mut right, "10"), 10);

        agent.program.signal("STOP");
        assert_eq!(serve(&mut right, "4000"), 4010);
        for _ in 0..20 {
            bleed(&mut bleeds);
        }
        agent.program.signal("CONT");

        agent.wait_for("bleedtrace_events_lost_total", &[("reason", "ring_full")], 1);
        wait_until("health remarks it", PATIENCE, || {
            let seen = |path| remarks(&agent, path) == ["events_lost"];
            (seen("/healthz") && seen("/readyz")).then_some(())
        });
        assert_eq!(
            agent.said().matches("events are lost").count(),
            1,
            "{}",
            agent.said()
        );
        // The next event of each for which there is room says that others are missing. What is found around them says that it may not be
        // all.
        let mut served = 4010;
        wait_until("both say that events are missing", PATIENCE, || {
            bleed(&mut bleeds);
            served += 10;
            assert_eq!(serve(&mut right, "10"), served);
            (agent.sample("bleedtrace_events_received_total", &[("event", "gap")]) >= 2).then_some(())
        });
        let truth = bleed(&mut bleeds);
        wait_until("it is found to bleed again", PATIENCE, || {
            let findings = agent.findings();
            let unsure = |finding: &&_| {
                let finding: &bleedtrace_tests::Finding = finding;
                finding["kind"] == "bleed" && finding["window_complete"] == false
            };
            findings.iter().find(unsure).map(|_| ())
        });
        nothing_false(&agent, (bleeds.pid(), truth), right.pid());
        all_is_found_again(&agent, setup);
        nothing_false(&agent, (bleeds.pid(), truth), right.pid());
        wait_until("nothing was lost for a while", PATIENCE, || {
            remarks(&agent, "/healthz").is_empty().then_some(())
        });
        for program in [bleeds, right] {
            assert_eq!(program.end().code, Some(0));
        }
        agent.end();
    });
}

#[test]
fn a_full_table_is_counted_and_nothing_false_is_found() {
    once("a_full_table_is_counted_and_nothing_false_is_found", |setup| {
        let agent = Agent::start(setup, MARKED);
        let mut bleeds = bleeder(&agent, setup);
        let mut right = ready(&agent, setup, "keeps_right.py");
        let mut hog = ready(&agent, setup, "keeps_contexts.py");
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 3);
        assert_eq!(bleed(&mut bleeds), 1);
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 1);
        // More than the kernel side remembers.
        assert_eq!(serve(&mut hog, "300000"), 300_000);
        agent.wait_for("bleedtrace_events_lost_total", &[("reason", "map_full")], 1_000);
        wait_until("health remarks it", PATIENCE, || {
            (remarks(&agent, "/healthz") == ["events_lost"]).then_some(())
        });
        assert_eq!(serve(&mut right, "100"), 100);
        let mut truth = bleed(&mut bleeds);
        nothing_false(&agent, (bleeds.pid(), truth), right.pid());

        assert_eq!(serve(&mut hog, "0"), 0);
        truth = truth.max(bleed(&mut bleeds));
        assert_eq!(serve(&mut right, "100"), 200);
        all_is_found_again(&agent, setup);
        nothing_false(&agent, (bleeds.pid(), truth), right.pid());
        nothing_false(&agent, (bleeds.pid(), truth), hog.pid());
        for program in [bleeds, right, hog] {
            assert_eq!(program.end().code, Some(0));
        }
        agent.end();
    });
}

#[test]
fn a_stopped_agent_harms_nobody_and_has_missed_nothing_unsaid() {
    once(
        "a_stopped_agent_harms_nobody_and_has_missed_nothing_unsaid",
        |setup| {
            let agent = Agent::start(setup, MARKED);
            let mut bleeds = bleeder(&agent, setup);
            agent.wait_for(ATTACHED.0, &ATTACHED.1, 1);
            assert_eq!(bleed(&mut bleeds), 1);
            agent.program.signal("STOP");
            let stopped = Instant::now();
            let mut truth = 1;
            let mut slowest = Duration::ZERO;
            while stopped.elapsed() < Duration::from_secs(10) {
                let asked = Instant::now();
                truth = bleed(&mut bleeds);
                slowest = slowest.max(asked.elapsed());
                thread::sleep(Duration::from_millis(50));
            }
            // It would have waited for the agent until now.
            assert!(slowest < Duration::from_secs(5), "{slowest:?}");
            agent.program.signal("CONT");
            let losses = || lost(&agent, "ring_full") + lost(&agent, "map_full");
            wait_until("all is found, or known to be lost", PATIENCE, || {
                (agent.sample(BLEEDS.0, &BLEEDS.1) == truth || losses() > 0).then_some(())
            });
            // What others did on this machine meanwhile may have filled the ring.
            if losses() > 0 {
                wait_until("health remarks it", PATIENCE, || {
                    (remarks(&agent, "/healthz") == ["events_lost"]).then_some(())
                });
                all_is_found_again(&agent, setup);
            }
            nothing_false(&agent, (bleeds.pid(), truth), 0);
            wait_until("it is well again", PATIENCE, || {
                (agent.ask("/healthz").0 == 200 && agent.ask("/readyz").0 == 200).then_some(())
            });
            assert_eq!(bleeds.end().code, Some(0));
            agent.end();
        },
    );
}

#[test]
fn a_stopped_target_holds_nobody_up() {
    once("a_stopped_target_holds_nobody_up", |setup| {
        // One that is stopped when the agent comes, and one that is stopped later.
        let first = Agent::start(setup, MARKED);
        let mut early = bleeder(&first, setup);
        first.wait_for(ATTACHED.0, &ATTACHED.1, 1);
        assert_eq!(bleed(&mut early), 1);
        early.signal("STOP");
        let agent = Agent::start(setup, &MARKED.replace("{mark}", &first.mark));
        let mut other = bleeder(&first, setup);
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 2);
        assert_eq!(bleed(&mut other), 1);
        other.signal("STOP");
        let mut third = bleeder(&first, setup);
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 3);
        assert_eq!(bleed(&mut third), 1);
        wait_until("the others are followed", PATIENCE, || {
            (agent.bleeds_of(other.pid()) == 1 && agent.bleeds_of(third.pid()) == 1).then_some(())
        });
        assert_eq!(agent.ask("/readyz").0, 200);
        for program in [&mut early, &mut other] {
            program.signal("CONT");
            assert_eq!(bleed(program), 3);
        }
        wait_until("both are exact", PATIENCE, || {
            (agent.bleeds_of(early.pid()) == 2 && agent.bleeds_of(other.pid()) == 3).then_some(())
        });
        wait_until("the first agent missed nothing", PATIENCE, || {
            (first.bleeds_of(early.pid()) == 3).then_some(())
        });
        for program in [early, other, third] {
            assert_eq!(program.end().code, Some(0));
        }
        agent.end();
        first.end();
    });
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_is_armed() {
    once("a_port_that_is_taken_is_said_before_anything_is_armed", |setup| {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("it is bound").to_string();
        let mut program = Program::fixture(setup, "keeps_bleeding.py", &[]);
        program.wait_for("ready");
        // Another tracer on this machine may have armed its interpreter.
        let before = is_armed(program.pid());
        let ended =
            Program::start(Command::new(&setup.bleedtrace).args(["agent", "--listen", &address])).end();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let said = format!("error: cannot listen on {address}: Address already in use");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
        assert!(ended.stderr.contains("\nhint: "), "{}", ended.stderr);
        assert!(!ended.stderr.contains("attached to"), "{}", ended.stderr);
        assert!(before || !is_armed(program.pid()));
        assert_eq!(bleed(&mut program), 1);
        assert_eq!(program.end().code, Some(0));
    });
}

#[test]
fn an_agent_that_was_killed_is_replaced_by_one_that_begins_anew() {
    once(
        "an_agent_that_was_killed_is_replaced_by_one_that_begins_anew",
        |setup| {
            let agent = Agent::start(setup, MARKED);
            let mark = agent.mark.clone();
            let mut program = bleeder(&agent, setup);
            agent.wait_for(ATTACHED.0, &ATTACHED.1, 1);
            assert_eq!(bleed(&mut program), 1);
            agent.wait_for(BLEEDS.0, &BLEEDS.1, 1);
            agent.program.signal("KILL");
            assert_eq!(agent.ended().0.code, None);
            assert_eq!(bleed(&mut program), 3, "it runs on");

            let agent = Agent::start(setup, &MARKED.replace("{mark}", &mark));
            agent.wait_for(ATTACHED.0, &ATTACHED.1, 1);
            assert_eq!(agent.sample(BLEEDS.0, &BLEEDS.1), 0);
            assert_eq!(bleed(&mut program), 5);
            agent.wait_for(BLEEDS.0, &BLEEDS.1, 2);
            assert_eq!(agent.bleeds_of(program.pid()), 2);
            assert_eq!(program.end().code, Some(0));
            let (ended, said) = agent.end();
            assert_eq!(ended.code, Some(0), "{said}");
        },
    );
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    const TEST: &str = "a_number_that_is_used_again_is_another_process";
    once(TEST, |setup| {
        let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut unshare = Command::new("unshare");
        if !unshare
            .args(namespace)
            .arg("true")
            .status()
            .is_ok_and(|status| status.success())
        {
            return skip(TEST, "no PID namespace can be made");
        }
        let mut command = Command::new("unshare");
        command
            .args(namespace)
            .args(setup.interpreter.words())
            .arg(setup.fixture("pid_reuse.py"));
        let mut programs = Program::start(&mut command);
        programs.wait_for("ready");
        let inside = programs.children()[0].to_string();
        let before = ["nsenter", "--target", &inside, "--pid", "--mount"];
        let agent = Agent::start_as(setup, BY_CMDLINE, &before, &[]);
        for round in 1..=5 {
            programs.say("start");
            assert_eq!(programs.line(), "started 4000");
            wait_until("it is attached to", PATIENCE, || {
                let count = agent.said().matches("attached to marked (pid 4000, ").count();
                (count == round).then_some(())
            });
            programs.say("go on");
            assert_eq!(programs.line(), "done 1");
            wait_until("its bleed is found", PATIENCE, || {
                (agent.bleeds_of(4000) == round).then_some(())
            });
        }
        wait_until("all have ended", PATIENCE, || {
            let exited = agent.sample("bleedtrace_targets", &[("state", "exited")]);
            (agent.sample(ATTACHED.0, &ATTACHED.1) == 0 && exited >= 5).then_some(())
        });
        let agents_own = agent.program.children()[0].to_string();
        let told = Command::new("kill").args(["-s", "TERM", &agents_own]).status();
        assert!(told.is_ok_and(|status| status.success()));
        let (ended, said) = agent.ended();
        assert_eq!(ended.code, Some(0), "{said}");
        assert_eq!(programs.end().code, Some(0));
    });
}
