//! A random mix of requests with recorded ground truth: no finding is false, and none is missed.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bleedtrace_tests::{Counts, Judged, Often, Outcome, Setup, Start, Trace, Truth, mix, often};

use super::{Bench, goals, section::Section, spoken, statistics::Spread};

/// Of the pool.
const WORKERS: u32 = 4;

/// What is seen of the mix without any read.
const SEEN: &str = "squat";

/// Measures on every interpreter, in every tier.
pub fn measure(bench: &Bench) -> Result<Section> {
    let &Bench { requests, seed, .. } = bench;
    let mut section = Section::new(
        "Accuracy",
        format!(
            "A random mix of {requests} requests with recorded ground truth, seed {seed}, {WORKERS} workers: traced from the start, with a pool whose \
initialiser binds something, and attached in mid-flight; the sum of the three. Then one run of it in which most reads say again what the one before did, by \
two tracers at once: one is told every read, for the other the kernel counts what it may. `cargo xtask soak mix` runs it on more interpreters, with more pools."
        ),
    );
    let mut found = 0;
    for interpreter in bench.interpreters(|_| true)? {
        let setup = bench.setup(interpreter);
        let name = spoken(interpreter);
        let (mut sum, mut lost) = (Judged::default(), 0);
        for start in Start::ALL {
            let (outcome, truth) = mix(&setup, requests, WORKERS, seed, start);
            for judged in outcome.matrix(&truth).into_values() {
                sum.right += judged.right;
                sum.wrong += judged.wrong;
                sum.missed += judged.missed;
            }
            lost += outcome.lost();
        }
        let figure = |number: u64| Spread::of([number as f64]);
        section.add(goals::EXACT, &name, figure(sum.wrong + sum.missed));
        section.add("full tier: right findings", &name, figure(sum.right));
        section.add("full tier: events lost", &name, figure(lost));
        found += sum.right;
        let Often { counted, told, truth } = often(&setup, requests, WORKERS, seed);
        section.add(goals::ALIKE, &name, figure(differences(&counted, &told, &truth)));
        section.add(
            "--reads new: reads that were only counted",
            &name,
            figure(counted.number("events", "agreed")),
        );
        let (judged, others) = handoffs(&setup, requests, seed);
        section.add(
            goals::EXACT_OF_HANDOFFS,
            &name,
            figure(judged.wrong + judged.missed + others),
        );
        section.add("handoffs tier: right squats", &name, figure(judged.right));
    }
    ensure!(found > 0, "nothing was found");
    Ok(section)
}

/// How the squats are judged where no read is seen, and what else was found.
fn handoffs(setup: &Setup, requests: u32, seed: u32) -> (Judged, u64) {
    let arguments = [requests, WORKERS, seed].map(|number| number.to_string());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let trace = Trace::new(setup, "tenant")
        .revealing()
        .flags(["--tier", "handoffs"]);
    let (outcome, truth) = trace.run(setup, "accuracy.py", &arguments);
    let matrix = outcome.matrix(&truth);
    let judged = matrix.get(SEEN).copied().unwrap_or_default();
    let others = matrix.iter().filter(|(kind, _)| *kind != SEEN);
    (
        judged,
        others.map(|(_, judged)| judged.right + judged.wrong).sum(),
    )
}

/// Findings that only one of two tracers of a run has, or that are not the truth.
fn differences(counted: &Outcome, told: &Outcome, truth: &Truth) -> u64 {
    let (expected, of_counted) = counted.confusion(truth);
    let (_, of_told) = told.confusion(truth);
    let apart = |a: &Counts, b: &Counts| -> u64 {
        let lines: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        let of = |counts: &Counts, line: &String| counts.get(line).copied().unwrap_or(0);
        lines.iter().map(|line| of(a, line).abs_diff(of(b, line))).sum()
    };
    apart(&of_counted, &of_told) + apart(&of_counted, &expected) + apart(&of_told, &expected)
}
