//! The article's own programs.

use bleedtrace_tests::{Finding, Outcome, Trace, line_of, on_every_interpreter};

fn outcome_of(setup: &bleedtrace_tests::Setup, fixture: &str) -> Outcome {
    Trace::new(setup, "pin")
        .revealing()
        .start(setup, fixture, &[])
        .end()
}

#[test]
fn the_four_primitives_propagate() {
    on_every_interpreter("the_four_primitives_propagate", |setup| {
        let outcome = outcome_of(setup, "article/propagates.py");
        assert_eq!(outcome.ended.stdout, "create_task -> acme\ngather -> acme\n");
        assert_eq!(outcome.number("reads", "own"), 2);
        outcome.assert_verdict("no_verdict", Some("no_handoff"));
        let outcome = outcome_of(setup, "article/threadsafe.py");
        assert_eq!(outcome.ended.stdout, "run_coroutine_threadsafe -> acme\n");
        assert_eq!(outcome.number("reads", "own"), 1);
        outcome.assert_verdict("clean", None);
    });
}

#[test]
fn the_one_boundary_that_lies() {
    const FILE: &str = "article/black_hole.py";
    on_every_interpreter("the_one_boundary_that_lies", |setup| {
        let outcome = outcome_of(setup, FILE);
        outcome.assert_verdict("findings", None);
        let told: Vec<_> = outcome.findings.iter().map(told).collect();
        let line = |mark| Some(line_of(FILE, mark));
        let mut expected = [
            ("black_hole_read", "confirmed", line("hop a"), None, line("read")),
            (
                "black_hole_return",
                "confirmed",
                line("hop b"),
                line("bind"),
                line("read b"),
            ),
            ("squat", "confirmed", line("hop b"), line("bind"), None),
            ("squat", "confirmed", line("hop c"), line("bind"), None),
            ("bleed", "suspected", line("hop d"), line("bind"), line("read")),
        ];
        let mut told = told;
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected);
    });
}

type Told<'a> = (&'a str, &'a str, Option<u64>, Option<u64>, Option<u64>);

fn told(finding: &Finding) -> Told<'_> {
    let text = |name: &str| finding[name].as_str().unwrap_or_default();
    let line = |name: &str| finding[name]["site"]["line"].as_u64();
    (
        text("kind"),
        text("confidence"),
        line("hop"),
        line("bind"),
        line("read"),
    )
}
