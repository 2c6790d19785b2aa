//! What silence is worth: the verdict's reasons, and what was seen.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{Document, rest, wide};
use crate::report::summary::{TargetLine, TargetState};

/// Targets that are shown.
const SHOWN: usize = 100;

/// The figures that a person wants first.
pub(super) fn short(document: &Document) -> Markup {
    let summary = &document.summary;
    let count = |name: &str| summary.findings.get(name).copied().unwrap_or(0);
    let handoffs: u64 = summary.targets.iter().map(|target| target.handoffs).sum();
    let lost: u64 = summary.events.lost.values().sum();
    let causes = document.causes.iter().filter(|cause| !cause.accepted).count();
    let figures = [
        (causes as u64, "to be mended"),
        (count("bleed"), "bleeds"),
        (
            count("misattributed_task") + count("unattributed_task"),
            "tasks of nobody or somebody else",
        ),
        (count("empty_check"), "policies that found nobody"),
        (summary.allowed, "accepted"),
        (handoffs, "handoffs watched"),
        (lost, "events lost"),
    ];
    html! {
        dl class="figures" {
            @for (figure, name) in figures { div { dt { (name) } dd { (figure) } } }
        }
    }
}

/// Why the verdict holds, or does not.
pub(super) fn coverage(document: &Document) -> Markup {
    let summary = &document.summary;
    html! {
        @if summary.reasons.is_empty() {
            p {
                "Yes: watched variables were seen, work went from one thread to another and could be judged, every probe was in place, and no event "
                "of these processes was lost."
            }
        } @else {
            p { "What was found is so. What was not found proves nothing, because" }
            ul { @for reason in &summary.reasons { li { (reason.message) } } }
        }
        @if !summary.out_of_sight.is_empty() {
            p { "Functions by these patterns were not seen to do anything, so that nothing is known of what they do:" }
            ul { @for pattern in &summary.out_of_sight { li { code { (pattern) } } } }
        }
        h3 { "What was seen" }
        dl class="facts" {
            @for (name, counts) in [
                ("reads of watched variables", &summary.reads),
                ("binds", &summary.binds),
                ("handoffs", &summary.hops),
                ("tasks created", &summary.tasks),
                ("events lost", &summary.events.lost),
            ] { dt { (name) } dd { (told(counts)) } }
            @if let Some(polls) = &summary.polls { dt { "tasks asked for" } dd { (told(polls)) } }
            dt { "events" } dd { (summary.events.received) }
            dt { "watched variables" }
            dd {
                @if document.about.watched.is_empty() { "none was in use" }
                @for (at, watched) in document.about.watched.iter().take(SHOWN).enumerate() {
                    @if at > 0 { ", " }
                    code { (watched.name) } " (" (watched.role) ", in " (watched.service) ")"
                }
            }
            @if let Some(code) = summary.command_exit { dt { "the command" } dd { "ended with exit code " (code) } }
        }
        @if !summary.targets.is_empty() {
            (wide("targets-title", &html! {
                table {
                    caption id="targets-title" { "Processes" }
                    thead { tr {
                        @for title in ["service", "process", "runtime", "state", "variables", "handoffs", "findings"] {
                            th scope="col" { (title) }
                        }
                    } }
                    tbody { @for target in summary.targets.iter().take(SHOWN) { (row(target)) } }
                }
            }))
        }
        (rest(summary.targets.len().saturating_sub(SHOWN) as u64, "process", "processes"))
        @if !document.unmet.is_empty() {
            h3 { "In the baseline, and not met" }
            p { "Of these nothing was seen this time. If they are mended, write the baseline anew." }
            ul {
                @for fault in document.unmet.iter().take(SHOWN) {
                    li { code { (fault.kind.name()) } " of " code { (fault.slot) } ": " (fault.sites.join(", ")) }
                }
            }
            (rest(document.unmet.len().saturating_sub(SHOWN) as u64, "fault", "faults"))
        }
    }
}

fn row(target: &TargetLine) -> Markup {
    html! {
        tr {
            th scope="row" { (target.service) }
            td { (target.pid) }
            td { (target.runtime.as_deref().unwrap_or("none")) }
            td class=[(target.state == TargetState::Failed).then_some("bad")] {
                (target.state.name())
                @if let Some(reason) = &target.reason { ": " (reason) }
                @if !target.probes_missing.is_empty() { ", probes missing: " (target.probes_missing.join(" ")) }
            }
            td { (target.slots) }
            td { (target.handoffs) }
            td { (target.findings) }
        }
    }
}

/// What was counted at all.
pub(super) fn told(counts: &BTreeMap<&'static str, u64>) -> String {
    let counted: Vec<_> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{} {count}", name.replace('_', " ")))
        .collect();
    if counted.is_empty() {
        "none".to_owned()
    } else {
        counted.join(", ")
    }
}
