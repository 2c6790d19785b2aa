//! The tier without reads: handoffs and what they leave behind are seen as ever, and silence proves nothing.

use std::time::Duration;

use bleedtrace_tests::{
    Agent, Outcome, Program, Setup, Trace, Truth, on_every_interpreter, on_main_interpreters, once, ready,
    serve, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);
const ATTACHED: (&str, [(&str, &str); 1]) = ("bleedtrace_targets", [("state", "attached")]);

/// Two services, told apart by an argument.
const TWO: &str = "[watch]\nidentity = [\"tenant\"]\n\
                   [[service]]\nmatch = { cmdline = \"* {mark} seen\" }\nname = \"seen\"\n\
                   [[service]]\nmatch = { cmdline = \"* {mark} unseen\" }\nname = \"unseen\"\ntier = \"handoffs\"\n";

fn traced(setup: &Setup, fixture: &str, arguments: &[&str]) -> (Outcome, Truth) {
    Trace::new(setup, "tenant")
        .revealing()
        .flags(["--tier", "handoffs"])
        .run(setup, fixture, arguments)
}

/// Every squat that there is is found, with all that is said of it, and nothing else; no read is seen.
#[track_caller]
fn squats_are_exact(outcome: &Outcome, truth: &Truth) {
    let matrix = outcome.matrix(truth);
    let squats = matrix["squat"];
    assert_eq!((squats.wrong, squats.missed), (0, 0), "{matrix:?}");
    assert!(squats.right > 0, "the program leaves nothing behind");
    for (kind, judged) in matrix.iter().filter(|(kind, _)| *kind != "squat") {
        assert_eq!((judged.right, judged.wrong), (0, 0), "{kind} needs reads");
    }
    for result in ["own", "foreign", "empty", "unreadable", "unjudged"] {
        assert_eq!(outcome.number("reads", result), 0, "reads {result}");
    }
    for (primitive, number) in &truth.totals.hops {
        assert_eq!(outcome.number("hops", primitive), *number, "hops {primitive}");
    }
    assert!(outcome.reasons().contains(&"reads_not_watched"));
    assert_eq!(outcome.summary["targets"][0]["tier"], "handoffs");
    assert_eq!(
        outcome.summary["targets"][0]["probes_missing"],
        serde_json::json!([])
    );
}

#[test]
fn what_is_left_behind_is_found_without_reads() {
    on_every_interpreter("what_is_left_behind_is_found_without_reads", |setup| {
        let (outcome, truth) = traced(setup, "bleed.py", &[]);
        squats_are_exact(&outcome, &truth);
        assert_eq!(outcome.verdict(), "findings");
        assert_eq!(outcome.ended.code, Some(1));
    });
}

#[test]
fn the_mix_is_exact_without_reads() {
    on_main_interpreters("the_mix_is_exact_without_reads", |setup| {
        let (outcome, truth) = traced(setup, "accuracy.py", &["1000", "4", "7"]);
        squats_are_exact(&outcome, &truth);
    });
}

#[test]
fn silence_without_reads_proves_nothing() {
    on_main_interpreters("silence_without_reads_proves_nothing", |setup| {
        let (outcome, truth) = Trace::new(setup, "tenant").run(setup, "copied_context.py", &["covered"]);
        assert_eq!(truth.verdict(), "clean");
        assert_eq!(outcome.verdict(), "clean");
        let (outcome, _) = traced(setup, "copied_context.py", &["covered"]);
        assert_eq!(outcome.verdict(), "no_verdict");
        assert_eq!(outcome.reasons(), ["reads_not_watched"]);
        assert_eq!(outcome.ended.code, Some(4));
    });
}

/// Starts a program that bleeds whenever it is told to, as one of two services.
fn service(agent: &Agent, setup: &Setup, name: &str) -> Program {
    let mut command = setup.command();
    command
        .arg(setup.fixture("keeps_bleeding.py"))
        .args([&agent.mark, name]);
    let mut program = Program::start(&mut command);
    program.wait_for("ready");
    program
}

fn findings(agent: &Agent, service: &str, kind: &str) -> u64 {
    agent.sample(
        "bleedtrace_findings_total",
        &[("service", service), ("kind", kind)],
    )
}

/// Has a program bleed, and waits until as many squats are found as there must be by then.
#[track_caller]
fn bleed(agent: &Agent, program: &mut Program, service: &str, squats: u64) -> u64 {
    let bleeds = serve(program, "go on");
    wait_until(&format!("{squats} squats of {service}"), PATIENCE, || {
        (findings(agent, service, "squat") == squats).then_some(())
    });
    bleeds
}

#[test]
fn services_of_both_tiers_run_from_one_interpreter() {
    once("services_of_both_tiers_run_from_one_interpreter", |setup| {
        let agent = Agent::start(setup, TWO);
        let mut unseen = service(&agent, setup, "unseen");
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 1);
        let hits = |probe| agent.sample("bleedtrace_probe_hits_total", &[("probe", probe)]);
        assert_eq!(bleed(&agent, &mut unseen, "unseen", 2), 1);
        assert_eq!(bleed(&agent, &mut unseen, "unseen", 4), 3);
        wait_until("its binds are counted", PATIENCE, || {
            (hits("context_set") >= 8).then_some(())
        });
        assert_eq!(hits("context_get"), 0, "nobody's reads are watched");
        let armed = |service, probe| {
            let labels = [("service", service), ("probe", probe)];
            agent.sample("bleedtrace_probe_attached", &labels)
        };
        assert_eq!(
            (armed("unseen", "context_set"), armed("unseen", "context_get")),
            (1, 0)
        );
        let carried = [("service", "unseen"), ("carried", "foreign")];
        agent.wait_for("bleedtrace_handoffs_total", &carried, 3);

        let (status, ready) = agent.ask("/readyz");
        assert_eq!(
            (status, &ready["remarks"][0]["code"]),
            (200, &"reads_not_watched".into())
        );
        let (_, known) = agent.ask("/targets");
        assert_eq!(known["targets"][0]["tier"], "handoffs");

        // Now there are probes, which let the other one's reads pass.
        let mut seen = service(&agent, setup, "seen");
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 2);
        assert_eq!(bleed(&agent, &mut seen, "seen", 2), 1);
        assert_eq!(bleed(&agent, &mut unseen, "unseen", 6), 5);
        wait_until("a bleed is found", PATIENCE, || {
            (findings(&agent, "seen", "bleed") == 1).then_some(())
        });
        assert_eq!(findings(&agent, "unseen", "bleed"), 0);
        assert_eq!(armed("seen", "context_get"), 1);
        assert_eq!(armed("unseen", "context_get"), 0);
        for program in [seen, unseen] {
            assert_eq!(program.end().code, Some(0));
        }
        let (ended, said) = agent.end();
        assert_eq!(ended.code, Some(0), "{said}");
    });
}

#[test]
fn a_tier_changes_with_the_configuration() {
    const MARKED: &str = "[watch]\nidentity = [\"tenant\"]\n\
                          [[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"marked\"\n";
    once("a_tier_changes_with_the_configuration", |setup| {
        let agent = Agent::start(setup, MARKED);
        let mut program = ready(&agent, setup, "keeps_bleeding.py");
        agent.wait_for(ATTACHED.0, &ATTACHED.1, 1);
        let mut told = 0;
        // What the worker held when it was attached to is none that the first work after that has left there.
        for (tier, squats, bleeds) in [("full", 2, 1), ("handoffs", 3, 1), ("full", 4, 3)] {
            if squats > 2 {
                agent.configure(&format!("{MARKED}tier = \"{tier}\"\n"));
                agent.program.signal("HUP");
                told += 1;
                agent.wait_for("bleedtrace_config_reloads_total", &[("result", "applied")], told);
                let reads = [("service", "marked"), ("probe", "context_get")];
                assert_eq!(
                    agent.sample("bleedtrace_probe_attached", &reads),
                    u64::from(tier == "full")
                );
                agent.wait_for(ATTACHED.0, &ATTACHED.1, 1);
            }
            bleed(&agent, &mut program, "marked", squats);
            wait_until(&format!("{bleeds} bleeds"), PATIENCE, || {
                (findings(&agent, "marked", "bleed") == bleeds).then_some(())
            });
        }
        assert_eq!(program.end().code, Some(0));
        agent.end();
    });
}
