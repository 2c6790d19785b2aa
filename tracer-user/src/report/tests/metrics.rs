//! What Prometheus sees.

use tracer_common::stats::{Probe, ProbeStats};

use crate::{
    correlate::{
        event::{Primitive, Slot, TargetId, What},
        fact::{Carried, Fact, FactKind, Place, ReadResult, Table},
        finding::Kind,
    },
    report::{
        finding::Runtime,
        metrics::{Metrics, Outcome, Recordings, Reload, families},
        samples,
    },
};

fn metrics() -> Metrics {
    let metrics = Metrics::new(samples::CLOCK);
    metrics.attach_service("proxy", Runtime::Cpython);
    metrics.slot_seen("proxy", "tenant");
    metrics
}

fn fold(metrics: &Metrics, target: u32, what: FactKind) {
    metrics.fold(
        &Fact {
            target: TargetId(target),
            what,
        },
        "proxy",
        "tenant",
    );
}

#[track_caller]
fn assert_line(metrics: &Metrics, line: &str) {
    let text = metrics.render();
    assert!(
        text.lines().any(|found| found == line),
        "{line}\nis not in\n{text}"
    );
}

#[test]
fn every_bounded_series_starts_at_zero() {
    let metrics = metrics();
    for line in [
        r#"bleedtrace_bleeds_total{confidence="suspected",service="proxy",slot="tenant",source="initializer"} 0"#,
        r#"bleedtrace_black_holes_total{direction="return",service="proxy",slot="tenant"} 0"#,
        r#"bleedtrace_findings_total{kind="misattributed_task",runtime="cpython",service="proxy"} 0"#,
        r#"bleedtrace_handoffs_total{carried="foreign",primitive="thread",service="proxy"} 0"#,
        r#"bleedtrace_context_reads_total{result="unjudged",service="proxy",slot="tenant"} 0"#,
        r#"bleedtrace_context_binds_total{place="worker_entered",service="proxy",slot="tenant"} 0"#,
        r#"bleedtrace_tasks_minted_total{attribution="unknown",service="proxy"} 0"#,
        r#"bleedtrace_squatting_binds{service="proxy"} 0"#,
        r#"bleedtrace_last_finding_timestamp_seconds{kind="bleed",service="proxy"} 0"#,
        r#"bleedtrace_handoff_wait_seconds_count{service="proxy"} 0"#,
        r#"bleedtrace_worker_busy_seconds_count{service="proxy"} 0"#,
        r"bleedtrace_bleed_age_seconds_count 0",
        r#"bleedtrace_targets{state="failed"} 0"#,
        r#"bleedtrace_events_received_total{event="scope_end"} 0"#,
        r#"bleedtrace_events_lost_total{probe="queue_got",reason="ring_full"} 0"#,
        r#"bleedtrace_state_entries{table="returns"} 0"#,
        r#"bleedtrace_state_evictions_total{table="submits"} 0"#,
        r#"bleedtrace_probe_hits_total{probe="process_exit"} 0"#,
        r#"bleedtrace_probe_seconds_total{probe="context_get"} 0"#,
        r"bleedtrace_labels_overflow_total 0",
        r"bleedtrace_ring_lag_seconds 0",
        concat!(
            r#"bleedtrace_build_info{version=""#,
            env!("CARGO_PKG_VERSION"),
            r#""} 1"#
        ),
    ] {
        assert_line(&metrics, line);
    }
}

#[test]
fn facts_are_counted() {
    let metrics = metrics();
    for kind in Kind::ALL {
        fold(&metrics, 1, FactKind::Finding(Box::new(samples::finding(*kind))));
    }
    fold(&metrics, 1, FactKind::Read(Slot(0), ReadResult::Foreign, 1));
    fold(&metrics, 1, FactKind::Bind(Slot(0), Place::WorkerBase));
    fold(
        &metrics,
        1,
        FactKind::Handoff(Primitive::Submit, Carried::Foreign),
    );
    fold(&metrics, 1, FactKind::BleedAge(1_500_000_000));
    fold(&metrics, 1, FactKind::Wait(50_000));
    fold(&metrics, 1, FactKind::Evicted(Table::Submits, 4));
    metrics.received(&What::End);
    for line in [
        r#"bleedtrace_bleeds_total{confidence="confirmed",service="proxy",slot="tenant",source="residue"} 1"#,
        r#"bleedtrace_black_holes_total{direction="read",service="proxy",slot="tenant"} 1"#,
        r#"bleedtrace_black_holes_total{direction="return",service="proxy",slot="tenant"} 1"#,
        r#"bleedtrace_findings_total{kind="squat",runtime="cpython",service="proxy"} 1"#,
        r#"bleedtrace_last_finding_timestamp_seconds{kind="bleed",service="proxy"} 1767323045.123456"#,
        r#"bleedtrace_context_reads_total{result="foreign",service="proxy",slot="tenant"} 1"#,
        r#"bleedtrace_context_binds_total{place="worker_base",service="proxy",slot="tenant"} 1"#,
        r#"bleedtrace_handoffs_total{carried="foreign",primitive="submit",service="proxy"} 1"#,
        r"bleedtrace_bleed_age_seconds_sum 1.5",
        r#"bleedtrace_handoff_wait_seconds_bucket{service="proxy",le="0.0001"} 1"#,
        r#"bleedtrace_state_evictions_total{table="submits"} 4"#,
        r#"bleedtrace_events_received_total{event="end"} 1"#,
    ] {
        assert_line(&metrics, line);
    }
}

#[test]
fn gauges_add_up_over_targets_and_forget_those_that_are_gone() {
    let metrics = metrics();
    fold(&metrics, 1, FactKind::Squatting(3));
    fold(&metrics, 2, FactKind::Squatting(1));
    fold(&metrics, 2, FactKind::Entries(Table::Carriers, 9));
    assert_line(&metrics, r#"bleedtrace_squatting_binds{service="proxy"} 4"#);
    fold(&metrics, 1, FactKind::Squatting(2));
    assert_line(&metrics, r#"bleedtrace_squatting_binds{service="proxy"} 3"#);
    metrics.target_gone(TargetId(2));
    assert_line(&metrics, r#"bleedtrace_squatting_binds{service="proxy"} 2"#);
    assert_line(&metrics, r#"bleedtrace_state_entries{table="carriers"} 0"#);
}

#[test]
fn mirrored_totals_never_go_back() {
    let metrics = metrics();
    let stats = |hits| ProbeStats {
        hits,
        lost_map: 2,
        ..ProbeStats::default()
    };
    for hits in [5, 9, 7] {
        metrics.kernel(Probe::QueuePut, &stats(hits));
    }
    metrics.probe_seconds(Probe::QueuePut, 0.5);
    metrics.probe_seconds(Probe::QueuePut, 0.25);
    assert_line(&metrics, r#"bleedtrace_probe_hits_total{probe="queue_put"} 9"#);
    assert_line(
        &metrics,
        r#"bleedtrace_events_lost_total{probe="queue_put",reason="map_full"} 2"#,
    );
    assert_line(
        &metrics,
        r#"bleedtrace_probe_seconds_total{probe="queue_put"} 0.5"#,
    );
}

#[test]
fn a_probe_has_one_cost_or_none() {
    let metrics = metrics();
    metrics.probe("proxy", Probe::ContextGet, Some(crate::elf::Cost::Stepped));
    assert_line(
        &metrics,
        r#"bleedtrace_probe_attached{cost="stepped",probe="context_get",service="proxy"} 1"#,
    );
    assert_line(
        &metrics,
        r#"bleedtrace_probe_attached{cost="emulated",probe="context_get",service="proxy"} 0"#,
    );
    metrics.probe("proxy", Probe::ContextGet, None);
    assert_line(
        &metrics,
        r#"bleedtrace_probe_attached{cost="stepped",probe="context_get",service="proxy"} 0"#,
    );
}

#[test]
fn labels_that_targets_choose_are_bounded() {
    let metrics = Metrics::new(samples::CLOCK);
    for n in 0..200 {
        metrics.slot_seen(&format!("service{n}"), "tenant");
        metrics.slot_seen("service0", &format!("slot{n}"));
    }
    let text = metrics.render();
    let binds = text
        .lines()
        .filter(|line| line.starts_with("bleedtrace_context_binds_total{"))
        .count();
    assert_eq!(
        binds,
        3 * (64 + 1 + 16 - 1 + 1),
        "64 services and other; 16 slots of the first and other"
    );
    assert_line(
        &metrics,
        r#"bleedtrace_context_binds_total{place="request",service="service0",slot="other"} 0"#,
    );
    assert!(!text.contains("bleedtrace_labels_overflow_total 0"));

    metrics.attach_service("e\"vil\n\u{1b}\\", Runtime::Cpython);
    assert!(!metrics.render().contains('\u{1b}'));
}

#[test]
fn recordings_are_counted() {
    let metrics = metrics();
    assert_line(&metrics, r#"bleedtrace_recordings_total{outcome="failed"} 0"#);
    metrics.recordings(&Recordings {
        written: 3,
        skipped: 2,
        failed: 1,
        lost: 40,
    });
    for line in [
        r#"bleedtrace_recordings_total{outcome="written"} 3"#,
        r#"bleedtrace_recordings_total{outcome="skipped"} 2"#,
        r#"bleedtrace_recordings_total{outcome="failed"} 1"#,
        "bleedtrace_recording_lost_total 40",
    ] {
        assert_line(&metrics, line);
    }
}

#[test]
fn the_table_of_families_is_what_is_rendered() {
    let metrics = metrics();
    metrics.probe("proxy", Probe::ContextGet, None);
    let text = metrics.render();
    for family in families::ALL {
        let kind = format!("{:?}", family.shape).to_lowercase();
        assert!(
            text.contains(&format!("# TYPE {} {kind}\n", family.name)),
            "{}",
            family.name
        );
        assert!(
            text.contains(&format!("# HELP {} {}\n", family.name, family.help)),
            "{}",
            family.name
        );
    }
    let rendered = text
        .lines()
        .filter(|line| line.starts_with("# TYPE bleedtrace_"))
        .count();
    assert_eq!(rendered, families::ALL.len());
}

#[test]
fn accepted_findings_are_in_no_other_count() {
    let metrics = metrics();
    metrics.allowed(Kind::Squat, "proxy");
    assert_line(
        &metrics,
        r#"bleedtrace_findings_allowed_total{kind="squat",service="proxy"} 1"#,
    );
    assert_line(
        &metrics,
        r#"bleedtrace_findings_total{kind="squat",runtime="cpython",service="proxy"} 0"#,
    );
}

#[test]
fn what_was_come_across_is_counted_by_what_became_of_it() {
    let metrics = metrics();
    metrics.came_across(Outcome::Missed);
    metrics.reloaded(Reload::Refused);
    for line in [
        r#"bleedtrace_processes_seen_total{outcome="missed"} 1"#,
        r#"bleedtrace_processes_seen_total{outcome="attached"} 0"#,
        r#"bleedtrace_config_reloads_total{result="refused"} 1"#,
        r#"bleedtrace_config_reloads_total{result="applied"} 0"#,
    ] {
        assert_line(&metrics, line);
    }
}
