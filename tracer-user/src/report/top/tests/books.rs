use super::{Run, SECOND, busy, finding};
use crate::{
    correlate::{
        event::{Primitive, TargetId, What},
        fact::{Carried, FactKind, HopWhat},
        finding::Kind,
    },
    report::counters::Total,
};
use tracer_common::stats::{Probe, ProbeStats};

fn threads(run: &mut Run, at: u64) -> Vec<(u32, u64, bool)> {
    let lines = run.snapshot(at).squatting;
    lines
        .iter()
        .map(|line| (line.tid, line.times, line.left.is_some()))
        .collect()
}

fn squats(run: &mut Run, tid: u32, threads: u64) {
    run.event(1, tid, What::Gap { lost: 0 });
    run.fact(1, FactKind::Squatting(threads));
}

#[test]
fn a_thread_squats_until_it_holds_nothing_any_more() {
    let mut run = Run::new();
    run.attach(1, "proxy", 4242);
    squats(&mut run, 11, 1);
    squats(&mut run, 12, 2);
    run.finding(1, "proxy", 4242, finding(Kind::Squat, 1, 1, 12));
    run.finding(1, "proxy", 4242, finding(Kind::Squat, 2, 1, 12));
    assert_eq!(threads(&mut run, 2 * SECOND), [(11, 0, false), (12, 2, true)]);
    squats(&mut run, 11, 1);
    assert_eq!(threads(&mut run, 3 * SECOND), [(12, 2, true)]);
    assert_eq!(run.snapshot(3 * SECOND).services[0].squatting, 1);
    run.books.ended(TargetId(1));
    assert_eq!(threads(&mut run, 4 * SECOND), []);
}

#[test]
fn a_finding_tells_what_was_left_and_no_value() {
    let mut run = busy();
    let snapshot = run.snapshot(2 * SECOND);
    let line = &snapshot.squatting[0];
    let left = line.left.as_ref().expect("a finding told");
    assert_eq!((line.pid, line.tid, &*left.slot), (4242, 4250, "tenant"));
    let value = left.value.as_deref().expect("a value");
    assert!(
        value.starts_with("str[4] #") && !value.contains("acme"),
        "{value}"
    );
    assert_eq!(left.bind.as_ref().map(|site| site.line), Some(12));
    let json = serde_json::to_string(&snapshot).expect("a snapshot is JSON");
    assert!(!json.contains("acme") && json.starts_with(r#"{"type":"snapshot","#));
}

#[test]
fn rates_are_those_since_the_last_snapshot() {
    let mut run = Run::new();
    run.attach(1, "proxy", 4242);
    let total = |hits, seconds| Total {
        stats: ProbeStats {
            hits,
            ..ProbeStats::default()
        },
        seconds,
    };
    run.probes.insert(Probe::QueuePut, total(1_000, 0.5));
    run.snapshot(SECOND);
    for _ in 0..30 {
        run.event(1, 4242, What::Gap { lost: 0 });
    }
    run.probes.insert(Probe::QueuePut, total(1_100, 0.75));
    run.probes.insert(Probe::QueueGet, total(0, 0.0));
    let snapshot = run.snapshot(3 * SECOND);
    assert!((snapshot.events_per_second - 15.0).abs() < 1e-9);
    assert!((snapshot.services[0].events_per_second - 15.0).abs() < 1e-9);
    let [probe] = snapshot.probes.as_slice() else {
        panic!("{:?}", snapshot.probes)
    };
    assert!((probe.hits_per_second - 50.0).abs() < 1e-9);
    assert_eq!(probe.busy.map(|busy| (busy * 1000.0).round() as u64), Some(125));
    let run_time = probe.nanos_per_hit.expect("the kernel measures");
    assert!((run_time - 681_818.18).abs() < 1.0, "{run_time}");
}

#[test]
fn where_the_kernel_does_not_measure_nothing_is_claimed() {
    let mut run = Run::new();
    let mut total = Total::default();
    total.stats.hits = 7;
    run.probes.insert(Probe::QueuePut, total);
    let snapshot = run.snapshot(SECOND);
    assert_eq!(
        (snapshot.probes[0].busy, snapshot.probes[0].nanos_per_hit),
        (None, None)
    );
}

#[test]
fn an_accepted_finding_is_counted_as_such() {
    let mut run = Run::new();
    run.attach(1, "proxy", 4242);
    let fact = crate::correlate::fact::Fact {
        target: TargetId(1),
        what: FactKind::Finding(Box::new(finding(Kind::Bleed, 1, 1, 9))),
    };
    run.books.fact(&fact, true);
    let line = run.snapshot(SECOND).services.swap_remove(0);
    assert_eq!((line.allowed, line.findings.len()), (1, 0));
}

#[test]
fn what_has_ended_is_no_process_any_more_and_its_counts_stay() {
    let mut run = Run::new();
    run.attach(1, "proxy", 4242);
    run.hop(1, Primitive::Submit, 3, HopWhat::Taken(Carried::None));
    run.books.ended(TargetId(1));
    for at in 1..4 {
        let line = run.snapshot(at * SECOND).services.swap_remove(0);
        assert_eq!((line.processes, line.handoffs), (0, 1), "{at}");
    }
}
