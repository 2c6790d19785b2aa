//! The daemon: it finds its targets by itself, follows them, and leaves nothing behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use bleedtrace_tests::{
    Agent, BLEEDS, MARK, MARKED, Program, bleed, bleeder, is_armed, line_of, on_main_interpreters, once,
    skip, unsupported_interpreter, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn what_starts_later_and_what_runs_already_is_found() {
    on_main_interpreters("what_starts_later_and_what_runs_already_is_found", |setup| {
        let agent = Agent::start(setup, MARKED);
        let mut early = bleeder(&agent, setup);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        // The first request finds nothing in the thread, the second finds the first's.
        assert_eq!(bleed(&mut early), 1);
        assert_eq!(bleed(&mut early), 3);
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 3);

        // Another agent, which comes when it runs already, finds it by the scan.
        let late = Agent::start(
            setup,
            &MARKED.replace("{mark}", &agent.mark).replace("marked", "late"),
        );
        late.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        assert_eq!(bleed(&mut early), 5);
        late.wait_for(
            "bleedtrace_findings_total",
            &[("service", "late"), ("kind", "bleed")],
            2,
        );
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 5);
        for agent in [&agent, &late] {
            for finding in agent
                .findings()
                .iter()
                .filter(|finding| finding["kind"] == "bleed")
            {
                assert_eq!(finding["pid"], early.pid());
                assert_eq!(
                    finding["read"]["site"]["line"],
                    line_of("keeps_bleeding.py", "read")
                );
            }
        }
        assert_eq!(early.end().code, Some(0));
        wait_until("nothing is attached to", PATIENCE, || {
            (agent.sample("bleedtrace_targets", &[("state", "attached")]) == 0).then_some(())
        });
        assert!(agent.sample("bleedtrace_targets", &[("state", "exited")]) > 0);
        agent.end();
        late.end();
    });
}

#[test]
fn only_what_a_rule_selects_is_attached_to() {
    once("only_what_a_rule_selects_is_attached_to", |setup| {
        let by_cmdline = "[watch]\nidentity = [\"tenant\"]\n\
                          [[service]]\nmatch = { cmdline = \"*keeps_bleeding.py {mark}*\" }\nname = \"by-cmdline\"\n\
                          [[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"by-env\"\n";
        let agent = Agent::start(setup, by_cmdline);
        let mark = agent.mark.clone();
        let start = |words: &[&str], marked: bool| {
            let mut command = setup.command();
            command.arg(setup.fixture("keeps_bleeding.py")).args(words);
            if marked {
                command.env(MARK, &mark);
            }
            let mut program = Program::start(&mut command);
            program.wait_for("ready");
            program
        };
        let (one, other, neither) = (start(&[&mark], false), start(&[], true), start(&[], false));
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 2);
        let said = agent.said();
        let attached = |service: &str, program: &Program| {
            said.contains(&format!("attached to {service} (pid {},", program.pid()))
        };
        assert!(attached("by-cmdline", &one), "{said}");
        assert!(attached("by-env", &other), "{said}");
        assert!(!said.contains(&format!("pid {},", neither.pid())), "{said}");
        agent.end();
    });
}

/// Whether more wants to run than there are processors.
fn is_busy() -> bool {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load
        .split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(0.0);
    load > std::thread::available_parallelism().map_or(1.0, |number| number.get() as f64)
}

#[test]
fn a_storm_of_short_lives_is_counted() {
    once("a_storm_of_short_lives_is_counted", |setup| {
        let agent = Agent::start(setup, MARKED);
        // Once this one is attached to, the interpreter is known.
        let mut storm = Program::start(agent.command(setup, "storm.py").args(["200", "4"]));
        storm.wait_for("ready");
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        let busy = is_busy();
        storm.say("go on");
        let ended = storm.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let lives: Vec<(u32, u64)> = ended
            .stdout
            .lines()
            .filter(|line| !matches!(*line, "ready" | "done"))
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                assert_eq!((words.len(), words[0]), (3, "0"), "a program has crashed: {line}");
                (
                    words[1].parse().expect("a number"),
                    words[2].parse().expect("microseconds"),
                )
            })
            .collect();
        assert_eq!(lives.len(), 200);
        let seen = |outcome| agent.sample("bleedtrace_processes_seen_total", &[("outcome", outcome)]);
        // The storm itself is one more.
        wait_until("every process is counted", PATIENCE, || {
            (seen("attached") + seen("missed") >= 201).then_some(())
        });
        wait_until("every process has ended", PATIENCE, || {
            (agent.sample("bleedtrace_targets", &[("state", "attached")]) == 0).then_some(())
        });
        let said = agent.said();
        let (long, short): (Vec<_>, Vec<_>) = lives.iter().partition(|(_, micros)| *micros > 50_000);
        let attached = |pid: u32| said.contains(&format!("(pid {pid}, "));
        let lost: Vec<_> = long.iter().filter(|(pid, _)| !attached(*pid)).collect();
        // To look at a process takes its own locks: one that is kept from running while it holds them is looked at late.
        if busy {
            skip(
                "a_storm_of_short_lives_is_attached_to",
                "others keep this machine busy",
            );
        } else {
            assert!(lost.is_empty(), "never attached to: {lost:?} of {}", long.len());
        }
        eprintln!(
            "{} lived for more than 50 ms, {} for less; {} were attached to, {} missed",
            long.len(),
            short.len(),
            seen("attached"),
            seen("missed")
        );
        assert_eq!(seen("failed") + seen("unsupported"), 0, "{said}");
        agent.end();
    });
}

#[test]
fn the_journal_is_told_how_grave_a_line_is() {
    // As systemd says what stderr is.
    const JOURNAL: &str = r#"JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$0" "$@""#;
    once("the_journal_is_told_how_grave_a_line_is", |setup| {
        let mut agent = Agent::start_as(setup, MARKED, &["sh", "-c", JOURNAL], &[]);
        agent.configure("[watch]\nidentiy = []\n");
        agent.wait_to_say("the one before holds");
        let (_, said) = agent.end();
        for line in said.lines() {
            let priority = if line.contains("cannot be used") {
                "<4>"
            } else {
                "<6>"
            };
            assert!(line.starts_with(priority) || line.starts_with("hint: "), "{said}");
        }
    });
}

#[test]
fn a_configuration_is_taken_over_whole_or_not_at_all() {
    once("a_configuration_is_taken_over_whole_or_not_at_all", |setup| {
        let mut agent = Agent::start(setup, MARKED);
        let mut program = bleeder(&agent, setup);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        assert_eq!(bleed(&mut program), 1);
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 1);

        agent.configure("[watch]\nidentiy = []\n");
        agent.wait_to_say("the one before holds: error: unknown key `identiy` in [watch]");
        let reloads = "bleedtrace_config_reloads_total";
        agent.wait_for(reloads, &[("result", "refused")], 1);
        // One that was cut off, and one that is gone.
        agent.configure("[watch\nidentity = [\"ten");
        agent.wait_for(reloads, &[("result", "refused")], 2);
        fs::remove_file(&agent.config).expect("it is ours");
        agent.program.signal("HUP");
        agent.wait_for(reloads, &[("result", "refused")], 3);
        assert_eq!(agent.sample(reloads, &[("result", "applied")]), 0);
        assert_eq!(agent.ask("/readyz").0, 200);
        assert_eq!(bleed(&mut program), 3);
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 3);

        // By another name, with what bleeds accepted.
        let accepted =
            "[[allow]]\nkind = \"bleed\"\nsite = \"*/keeps_bleeding.py:*\"\nreason = \"it is a test\"\n";
        agent.configure(&(MARKED.replace("\"marked\"", "\"renamed\"") + accepted));
        agent.program.signal("HUP");
        agent.wait_to_say("was taken over");
        agent.wait_for(reloads, &[("result", "applied")], 1);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        assert_eq!(bleed(&mut program), 5);
        let allowed = [("service", "renamed"), ("kind", "bleed")];
        agent.wait_for("bleedtrace_findings_allowed_total", &allowed, 2);
        assert_eq!(agent.sample("bleedtrace_findings_total", &allowed), 0);
        assert_eq!(agent.sample(BLEEDS.0, &BLEEDS.1), 3, "counters go on");
        let bleeds: Vec<_> = agent
            .findings()
            .into_iter()
            .filter(|finding| finding["kind"] == "bleed")
            .collect();
        let reasons: Vec<_> = bleeds
            .iter()
            .map(|finding| finding.get("allowed").and_then(|reason| reason.as_str()))
            .collect();
        assert_eq!(
            reasons,
            [None, None, None, Some("it is a test"), Some("it is a test")]
        );
        let ids: std::collections::BTreeSet<_> =
            bleeds.iter().map(|finding| finding["id"].to_string()).collect();
        assert_eq!(ids.len(), bleeds.len(), "no number is given twice");
        assert_eq!(program.end().code, Some(0));
        agent.end();
    });
}

/// Links of BPF programs on this machine.
fn links() -> usize {
    aya::programs::loaded_links().filter_map(Result::ok).count()
}

#[test]
fn it_lets_go_at_once_when_it_is_told_to() {
    once("it_lets_go_at_once_when_it_is_told_to", |setup| {
        let agent = Agent::start(setup, MARKED);
        let mut program = bleeder(&agent, setup);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        assert!(is_armed(program.pid()));
        let start = Instant::now();
        let (ended, said) = agent.end();
        let took = start.elapsed();
        assert_eq!(ended.code, Some(0), "{said}");
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        // The kernel does its part a moment later.
        wait_until("nothing is armed", PATIENCE, || {
            (!is_armed(program.pid())).then_some(())
        });
        assert_eq!(bleed(&mut program), 1, "it runs on");
        assert_eq!(program.end().code, Some(0));
    });
}

#[test]
fn it_gives_up_what_it_does_not_need() {
    once("it_gives_up_what_it_does_not_need", |setup| {
        let agent = Agent::start(setup, MARKED);
        let status = format!("/proc/{}/status", agent.program.pid());
        let value = |key: &str| {
            let text = fs::read_to_string(&status).expect("it runs");
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines
                .find(|(known, _)| *known == key)
                .expect("the kernel says it");
            value.trim().to_owned()
        };
        wait_until("system calls are filtered", PATIENCE, || {
            (value("Seccomp") == "2").then_some(())
        });
        assert_eq!(value("NoNewPrivs"), "1");
        // CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF, CAP_CHECKPOINT_RESTORE.
        let kept: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39 | 1 << 40;
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let held = u64::from_str_radix(&value(set), 16).expect("a number");
            assert_eq!(held & !kept, 0, "{set}");
        }
        agent.end();
    });
}

#[test]
fn nothing_stays_armed_when_it_is_killed() {
    once("nothing_stays_armed_when_it_is_killed", |setup| {
        let before = links();
        let agent = Agent::start(setup, MARKED);
        let mut program = bleeder(&agent, setup);
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        assert!(is_armed(program.pid()));
        assert!(links() > before, "what is linked can be counted");
        agent.program.signal("KILL");
        wait_until("nothing is armed", PATIENCE, || {
            (!is_armed(program.pid())).then_some(())
        });
        wait_until("the kernel has no more links than before", PATIENCE, || {
            (links() <= before).then_some(())
        });
        assert_eq!(bleed(&mut program), 1, "it runs on");
        assert_eq!(program.end().code, Some(0));
    });
}

#[test]
fn workers_that_are_replaced_under_load_are_followed() {
    let test = "workers_that_are_replaced_under_load_are_followed";
    once(test, |setup| {
        let Some(setup) = setup.with_requirements("pools") else {
            return skip(test, "no packages of requirements/pools.txt");
        };
        let agent = Agent::start(&setup, MARKED);
        let mut service = Program::start(&mut agent.command(&setup, "packages/gunicorn_reloads.py"));
        service.wait_for("ready");
        let attached = [("state", "attached")];
        let black_holes = [("service", "marked"), ("kind", "black_hole_read")];
        let mut settled = None;
        for round in 0..10 {
            service.say("go on");
            let line = service.line();
            let lost: u64 = line
                .split(' ')
                .nth(1)
                .and_then(|count| count.parse().ok())
                .unwrap_or_else(|| panic!("no count: {line}"));
            wait_until("every loss is reported", PATIENCE, || {
                (agent.sample("bleedtrace_findings_total", &black_holes) >= lost).then_some(())
            });
            // The fixture, gunicorn, and its workers. Those that have gone go.
            wait_until("the workers are followed", PATIENCE, || {
                (agent.sample("bleedtrace_targets", &attached) == 10).then_some(())
            });
            assert_eq!(
                agent.sample("bleedtrace_findings_total", &black_holes),
                lost,
                "round {round}"
            );
            assert_eq!(
                agent.sample("bleedtrace_findings_total", &[("service", "marked")]),
                lost,
                "nothing else is found"
            );
            let held = (
                agent.sample("process_open_fds", &[]),
                agent.sample("process_resident_memory_bytes", &[]),
            );
            // The first round sees everything for the first time.
            if round == 0 {
                continue;
            }
            let (descriptors, memory) = *settled.get_or_insert(held);
            // A worker that is forgotten would leave one or more, in every round eight times.
            assert!(
                held.0 < descriptors + 8,
                "{} descriptors in round {round}, {descriptors} in the second",
                held.0
            );
            assert!(
                held.1 < memory + (16 << 20),
                "{} bytes of memory in round {round}, {memory} in the second",
                held.1
            );
        }
        assert_eq!(
            agent.sample("bleedtrace_events_lost_total", &[("reason", "ring_full")]),
            0
        );
        assert_eq!(service.end().code, Some(0));
        wait_until("all have ended", PATIENCE, || {
            (agent.sample("bleedtrace_targets", &attached) == 0).then_some(())
        });
        agent.end();
    });
}

#[test]
fn what_cannot_be_traced_is_said_once() {
    let test = "what_cannot_be_traced_is_said_once";
    once(test, |setup| {
        let Some(unsupported) = unsupported_interpreter() else {
            return skip(test, "no CPython that is not supported");
        };
        let early = |agent: &Agent| {
            let mut command = Command::new(&unsupported);
            command
                .env(MARK, &agent.mark)
                .args(["-c", "import sys; print('ready', flush=True); sys.stdin.read()"]);
            let mut program = Program::start(&mut command);
            program.wait_for("ready");
            program
        };
        let agent = Agent::start(setup, MARKED);
        let program = early(&agent);
        let unsupported = [("outcome", "unsupported")];
        agent.wait_for("bleedtrace_processes_seen_total", &unsupported, 1);
        // Another configuration has all processes looked at again, by another part of the agent.
        agent.configure(&MARKED.replace("\"tenant\"", "\"org\""));
        agent.wait_for("bleedtrace_config_reloads_total", &[("result", "applied")], 1);
        let words = format!("process {} (marked) is not supported: ", program.pid());
        // Each run of the agent says it once.
        assert_eq!(agent.said().matches(&words).count(), 2, "{}", agent.said());
        assert_eq!(agent.sample("bleedtrace_targets", &[("state", "unsupported")]), 1);
        assert_eq!(program.end().code, Some(0));
        agent.end();
    });
}

/// A control group that is called as a container of Kubernetes is; none where there is no place for one.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let mount = mounts
            .lines()
            .find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        let path = Path::new(mount.split(' ').nth(1)?).join(name);
        fs::create_dir_all(&path).ok()?;
        Some(Self(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only empty ones can be removed, the innermost first.
        let ours = self.0.ancestors().take(3);
        for group in ours {
            let _ = fs::remove_dir(group);
        }
    }
}

#[test]
fn findings_name_the_container() {
    let test = "findings_name_the_container";
    once(test, |setup| {
        let agent = Agent::start(setup, MARKED);
        let (id, pod) = (
            "0123456789abcdef".repeat(4),
            "01234567-89ab-cdef-0123-456789abcdef",
        );
        let Some(group) = Group::new(&format!("bleedtrace-{}/pod{pod}/{id}", agent.mark)) else {
            agent.end();
            return skip(test, "no control group can be made");
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$GROUP\"/cgroup.procs && exec \"$@\"", "sh"])
            .env("GROUP", &group.0)
            .env(MARK, &agent.mark)
            .args(setup.interpreter.words())
            .arg(setup.fixture("keeps_bleeding.py"));
        let mut program = Program::start(&mut command);
        program.wait_for("ready");
        agent.wait_for("bleedtrace_targets", &[("state", "attached")], 1);
        assert_eq!(bleed(&mut program), 1);
        agent.wait_for(BLEEDS.0, &BLEEDS.1, 1);
        for finding in agent.findings() {
            assert_eq!(finding["container"], *id);
            assert_eq!(finding["pod"], pod);
        }
        let metrics = bleedtrace_tests::get(&agent.address, "/metrics").expect("the agent answers");
        assert!(!metrics.contains(&id) && !metrics.contains(pod));
        assert_eq!(program.end().code, Some(0));
        agent.end();
    });
}
