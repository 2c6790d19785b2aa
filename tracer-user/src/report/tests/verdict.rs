//! When silence is proof, and when it is not.

use tracer_common::stats::{Probe, ProbeStats};

use crate::{
    correlate::{
        event::{Primitive, Slot, TargetId},
        fact::{Carried, Fact, FactKind, ReadResult, Table},
        finding::Kind,
    },
    report::{
        samples,
        summary::{ReasonCode, Summary, TargetState, Verdict},
        tally::Tally,
    },
};

const FIRST: TargetId = TargetId(1);
const SECOND: TargetId = TargetId(2);

fn fold(tally: &mut Tally, target: TargetId, what: FactKind) {
    tally.fold(&Fact { target, what });
}

/// A run that proves something: a target with a watched variable and a handoff.
fn covered() -> Tally {
    let mut tally = Tally::default();
    tally.attached(FIRST, samples::target(), []);
    fold(&mut tally, FIRST, FactKind::SlotSeen(Slot(0)));
    fold(
        &mut tally,
        FIRST,
        FactKind::Handoff(Primitive::ToThread, Carried::Copied),
    );
    fold(&mut tally, FIRST, FactKind::Judged(Slot(0)));
    tally
}

fn lost(ring: u64, slot: u64) -> Vec<(Probe, ProbeStats)> {
    let stats = ProbeStats {
        hits: 10,
        lost_ring: ring,
        lost_slot: slot,
        ..ProbeStats::default()
    };
    vec![(Probe::ContextGet, stats)]
}

fn codes(summary: &Summary) -> Vec<ReasonCode> {
    summary.reasons.iter().map(|reason| reason.code).collect()
}

#[track_caller]
fn assert_no_verdict(tally: &Tally, expected: &[ReasonCode]) {
    let summary = tally.finish(None);
    assert_eq!(
        (summary.verdict, codes(&summary).as_slice()),
        (Verdict::NoVerdict, expected)
    );
}

#[test]
fn coverage_makes_it_clean() {
    let summary = covered().finish(Some(0));
    assert_eq!(
        (summary.verdict, summary.reasons.as_slice()),
        (Verdict::Clean, [].as_slice())
    );
    assert_eq!(summary.hops["to_thread"], 1);
    assert_eq!(summary.findings.len(), Kind::ALL.len(), "zero included");
}

#[test]
fn a_hit_without_an_image_and_a_record_without_sense_are_losses() {
    let mut tally = covered();
    let stats = ProbeStats {
        lost_image: 2,
        ..ProbeStats::default()
    };
    tally.kernel(&[(Probe::QueueGot, stats)], None);
    assert_no_verdict(&tally, &[ReasonCode::EventsLost]);
    assert_eq!(tally.finish(None).events.lost["no_image"], 2);

    let mut tally = covered();
    tally.malformed(3);
    assert_no_verdict(&tally, &[ReasonCode::EventsLost]);
    assert_eq!(tally.finish(None).events.lost["malformed"], 3);
}

#[test]
fn nothing_traced_proves_nothing() {
    assert_no_verdict(&Tally::default(), &[ReasonCode::NoTarget]);
}

#[test]
fn no_variable() {
    let mut tally = Tally::default();
    tally.attached(FIRST, samples::target(), []);
    fold(
        &mut tally,
        FIRST,
        FactKind::Handoff(Primitive::Submit, Carried::None),
    );
    assert_no_verdict(&tally, &[ReasonCode::NoWatchedVariable]);
    tally.variables_in_use(["decimal_context", "who\u{1b}"]);
    let message = &tally.finish(None).reasons[0].message;
    assert_eq!(
        message,
        r"no watched variable was seen; variables in use: decimal_context, who\u{1b}"
    );
    tally.variables_in_use((0..40).map(|n| format!("v{n}")));
    assert!(tally.finish(None).reasons[0].message.ends_with("v11 and 28 more"));
}

#[test]
fn variable_and_handoff_must_meet_in_one_target() {
    let mut tally = Tally::default();
    tally.attached(FIRST, samples::target(), []);
    tally.attached(SECOND, samples::target(), []);
    fold(&mut tally, FIRST, FactKind::SlotSeen(Slot(0)));
    fold(
        &mut tally,
        SECOND,
        FactKind::Handoff(Primitive::Submit, Carried::None),
    );
    assert_no_verdict(&tally, &[ReasonCode::NoHandoff]);
}

#[test]
fn what_nobody_could_judge_is_no_coverage() {
    let mut tally = Tally::default();
    tally.attached(FIRST, samples::target(), []);
    let handoff = || FactKind::Handoff(Primitive::Submit, Carried::None);
    fold(&mut tally, FIRST, FactKind::SlotSeen(Slot(0)));
    fold(&mut tally, FIRST, handoff());
    assert_no_verdict(&tally, &[ReasonCode::Unjudged]);

    // Of two variables the one that was read says nothing, and the other cannot stand in for it.
    fold(&mut tally, FIRST, FactKind::Judged(Slot(1)));
    fold(
        &mut tally,
        FIRST,
        FactKind::Read(Slot(0), ReadResult::Unjudged, 1),
    );
    assert_no_verdict(&tally, &[ReasonCode::Unjudged]);

    // Other work that nobody read it in does not stand in for that, either.
    fold(&mut tally, FIRST, FactKind::Judged(Slot(0)));
    assert_no_verdict(&tally, &[ReasonCode::Unjudged]);

    // One target that proves something is enough.
    tally.attached(SECOND, samples::target(), []);
    for what in [FactKind::SlotSeen(Slot(0)), handoff(), FactKind::Judged(Slot(0))] {
        fold(&mut tally, SECOND, what);
    }
    assert_eq!(tally.finish(None).verdict, Verdict::Clean);
}

#[test]
fn a_wire_on_which_nothing_was_seen_is_no_coverage() {
    let mut tally = covered();
    tally.watch_wire();
    assert_no_verdict(&tally, &[ReasonCode::NoMessage]);
    fold(&mut tally, FIRST, FactKind::Heard);
    assert_eq!(tally.finish(None).verdict, Verdict::Clean);
}

#[test]
fn a_path_that_is_not_followed_spoils_it_unless_it_was_a_name() {
    let mut tally = covered();
    tally.not_followed("app.tenant");
    tally.not_followed("app.user");
    assert_no_verdict(&tally, &[ReasonCode::NotFollowed]);
    tally.watched("app.tenant");
    assert_eq!(
        tally.finish(None).reasons[0].message,
        "not watched, because other paths are: app.user"
    );
    tally.watched("app.user");
    assert_eq!(tally.finish(None).verdict, Verdict::Clean);
}

#[test]
fn what_could_not_be_read_is_in_the_table_of_losses() {
    let mut tally = covered();
    let stats = ProbeStats {
        unreadable: 2,
        ..ProbeStats::default()
    };
    tally.kernel(&[(Probe::QueuePut, stats)], None);
    fold(&mut tally, FIRST, FactKind::Gap(0));
    fold(&mut tally, FIRST, FactKind::Gap(0));
    assert_no_verdict(&tally, &[ReasonCode::EventsLost]);
    let summary = tally.finish(None);
    assert_eq!(summary.events.lost["unreadable"], 2);
    assert!(
        summary.reasons[0].message.starts_with("2 gaps"),
        "{:?}",
        summary.reasons
    );
}

#[test]
fn data_is_no_coverage() {
    let mut tally = Tally::default();
    tally.attached(FIRST, samples::target(), []);
    fold(&mut tally, FIRST, FactKind::SlotSeen(Slot(0)));
    fold(&mut tally, FIRST, FactKind::Data);
    assert_no_verdict(&tally, &[ReasonCode::NoHandoff]);
    assert_eq!(tally.finish(None).hops["unknown"], 1);
}

#[test]
fn gaps_matter_where_a_variable_was_seen() {
    let mut tally = covered();
    tally.attached(SECOND, samples::target(), []);
    fold(&mut tally, SECOND, FactKind::Gap(3));
    tally.kernel(&lost(3, 0), None);
    assert_eq!(
        tally.finish(None).verdict,
        Verdict::Clean,
        "the other target has nothing to lose"
    );
    fold(&mut tally, FIRST, FactKind::Gap(0));
    assert_no_verdict(&tally, &[ReasonCode::EventsLost]);
}

#[test]
fn a_loss_that_no_gap_accounts_for_matters() {
    let mut tally = covered();
    tally.kernel(&lost(1, 0), Some(0.5));
    assert_no_verdict(&tally, &[ReasonCode::EventsLost]);
    let summary = tally.finish(None);
    assert_eq!(
        (summary.events.lost["ring_full"], summary.overhead.probe_hits),
        (1, 10)
    );
}

#[test]
fn everything_else_that_spoils_a_verdict() {
    let mut tally = covered();
    fold(
        &mut tally,
        FIRST,
        FactKind::Read(Slot(0), ReadResult::Unreadable, 1),
    );
    assert_no_verdict(&tally, &[ReasonCode::Unreadable]);

    let mut tally = covered();
    tally.kernel(&lost(0, 1), None);
    assert_no_verdict(&tally, &[ReasonCode::TooManyVariables]);

    let mut tally = covered();
    tally.attached(FIRST, samples::target(), [Probe::QueueGot, Probe::ContextGet]);
    assert_no_verdict(&tally, &[ReasonCode::ProbesMissing]);
    assert_eq!(
        tally.finish(None).reasons[0].message,
        "probes are not attached: context_get, queue_got"
    );

    let mut tally = covered();
    tally.failed("proxy", 9, "permission denied");
    assert_no_verdict(&tally, &[ReasonCode::TargetFailed]);

    let mut tally = covered();
    assert_eq!(tally.first_refusal(), None);
    tally.child_not_attached("proxy", 10, "static build");
    assert_eq!(
        tally.first_refusal().as_deref(),
        Some("cannot trace process 10 (static build)")
    );
    assert_no_verdict(&tally, &[ReasonCode::ChildNotAttached]);
}

#[test]
fn what_had_to_be_forgotten_spoils_it_when_work_went_unjudged() {
    for (table, expected) in [
        (Table::Submits, &[ReasonCode::TooMuchState][..]),
        (Table::Carriers, &[ReasonCode::TooMuchState]),
        (Table::Returns, &[]),
        (Table::Requests, &[]),
    ] {
        let mut tally = covered();
        fold(&mut tally, FIRST, FactKind::Evicted(table, 1));
        assert_eq!(codes(&tally.finish(None)), expected, "{}", table.name());
    }
}

#[test]
fn what_is_no_python_spoils_nothing() {
    let mut tally = covered();
    tally.unsupported("sh", 11, "no Python in it");
    tally.exited(FIRST);
    assert_eq!(tally.finish(None).verdict, Verdict::Clean);
    let states = tally.states();
    assert_eq!(states.into_values().collect::<Vec<_>>(), [0, 1, 0, 1]);
    assert_eq!(tally.finish(None).targets[0].state, TargetState::Exited);
}

#[test]
fn findings_beat_no_verdict_and_keep_the_reasons() {
    let mut tally = Tally::default();
    tally.attached(FIRST, samples::target(), []);
    fold(
        &mut tally,
        FIRST,
        FactKind::Finding(Box::new(samples::finding(Kind::Bleed))),
    );
    let summary = tally.finish(None);
    assert_eq!(
        (summary.verdict, summary.findings["bleed"]),
        (Verdict::Findings, 1)
    );
    assert_eq!(codes(&summary), [ReasonCode::NoWatchedVariable]);
}

#[test]
fn accepted_findings_leave_it_clean() {
    let mut tally = covered();
    tally.allowed();
    let summary = tally.finish(None);
    assert_eq!((summary.verdict, summary.allowed), (Verdict::Clean, 1));
}

#[test]
fn what_has_ended_is_forgotten_but_for_its_number() {
    let mut tally = covered();
    tally.attached(SECOND, samples::target(), []);
    tally.exited(FIRST);
    tally.missed();
    let exited = |tally: &Tally| tally.states()[&TargetState::Exited];
    assert_eq!(exited(&tally), 2);
    tally.forget_exited();
    assert_eq!((exited(&tally), tally.states()[&TargetState::Attached]), (2, 1));
    assert_eq!(tally.finish(None).targets.len(), 1);
}
