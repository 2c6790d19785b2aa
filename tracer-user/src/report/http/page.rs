//! The status page: what the other paths say, for a person. Everything in it is escaped; there are no scripts.

use maud::{DOCTYPE, Markup, html};

use crate::{
    correlate::finding::{Kind, Severity},
    report::{
        finding::{ExportedFinding, Site},
        store::{Condition, Group, Line, Listed, Targets},
        summary::TargetState,
    },
};

/// How the page looks, in light and in dark.
pub(super) const STYLE: &str = include_str!("style.css");

/// Findings and targets that are shown; `/findings` and `/targets` have them all.
const SHOWN: usize = 100;

/// What the page says.
#[derive(Debug)]
pub(super) struct Page {
    /// When.
    pub time: String,
    /// Whether what comes in is taken in.
    pub health: Condition,
    /// Whether everything is attached.
    pub readiness: Condition,
    /// The targets.
    pub targets: Targets,
    /// The findings.
    pub findings: Listed,
}

impl Page {
    /// The page.
    pub(super) fn html(&self) -> String {
        let traced = self
            .targets
            .targets
            .iter()
            .filter(|line| line.state == TargetState::Attached)
            .count();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "bleedtrace: " (self.word()) }
                    link rel="stylesheet" href="/style.css";
                }
                body {
                    header {
                        h1 { "bleedtrace" }
                        p { (env!("CARGO_PKG_VERSION")) " · as of " (self.time) }
                    }
                    main {
                        (self.state())
                        section {
                            h2 { "Findings" }
                            (self.findings())
                        }
                        section {
                            h2 { "Targets" }
                            p { (traced) " traced now." }
                            (self.table())
                        }
                    }
                    footer {
                        p {
                            "For machines: "
                            @for path in ["/findings", "/targets", "/metrics", "/healthz", "/readyz"] {
                                a href=(path) { (path) } " "
                            }
                        }
                    }
                }
            }
        };
        page.into_string()
    }

    fn word(&self) -> &'static str {
        if !self.health.is_well() {
            "stalled"
        } else if !self.readiness.is_well() {
            "not ready"
        } else {
            "ready"
        }
    }

    fn state(&self) -> Markup {
        let well = self.health.is_well() && self.readiness.is_well();
        html! {
            section {
                h2 { "State: " strong class=(if well { "good" } else { "bad" }) { (self.word()) } }
                @if well {
                    p { "Everything that should be traced is, and what comes in is taken in." }
                }
                ul {
                    @for reason in self.readiness.reasons.iter().chain(&self.readiness.remarks) { li { (reason.message) } }
                }
            }
        }
    }

    fn findings(&self) -> Markup {
        let groups = &self.findings.groups;
        html! {
            @if groups.is_empty() {
                p { "None so far. Whether that means anything is for the summary at the end to say." }
            }
            @for group in groups.iter().take(SHOWN) { (finding(group)) }
            (rest(groups.len(), self.findings.dropped, "/findings"))
        }
    }

    fn table(&self) -> Markup {
        let lines = &self.targets.targets;
        html! {
            @if !lines.is_empty() {
                div class="wide" {
                    table {
                        thead { tr {
                            @for title in ["process", "service", "runtime", "state", "since", "reason"] {
                                th scope="col" { (title) }
                            }
                        } }
                        tbody { @for line in lines.iter().take(SHOWN) { (row(line)) } }
                    }
                }
            }
            (rest(lines.len(), self.targets.dropped, "/targets"))
        }
    }
}

fn finding(group: &Group) -> Markup {
    let finding = &group.finding;
    let times = if group.count == 1 { "once" } else { "times" };
    html! {
        article class=(class(finding.kind)) {
            h3 {
                (finding.kind.name()) " "
                small {
                    @if group.count > 1 { (group.count) " " }
                    (times) " in " (finding.service)
                    @if !finding.slot.is_empty() { ", of " code { (finding.slot) } }
                }
            }
            p { (finding.explain) }
            dl {
                dt { "mend it" } dd { (finding.fix) }
                @for (name, site) in sites(finding) {
                    dt { (name) } dd { code { (site) } }
                }
                dt { "how sure" } dd { (group.confirmed) " of " (group.count) " confirmed, " (finding.evidence) }
                dt { "first" } dd { (group.first_time) " (" (finding.id) ", process " (finding.pid) ")" }
                @if group.count > 1 { dt { "last" } dd { (group.last_time) } }
            }
        }
    }
}

fn row(line: &Line) -> Markup {
    html! {
        tr {
            td { (line.pid) }
            td { (line.service) }
            td { @if let Some(runtime) = line.runtime { (runtime) " " (line.version.as_deref().unwrap_or_default()) } }
            td class=[(line.state == TargetState::Failed).then_some("bad")] { (line.state.name()) }
            td { (line.since) }
            td { (line.reason.as_deref().unwrap_or_default()) }
        }
    }
}

/// What is not on the page.
fn rest(known: usize, dropped: u64, path: &str) -> Markup {
    html! {
        @if known > SHOWN { p { (known - SHOWN) " more are at " a href=(path) { (path) } "." } }
        @if dropped > 0 { p { (dropped) " older ones were dropped." } }
    }
}

fn class(kind: Kind) -> &'static str {
    match kind.severity() {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
    }
}

fn sites(finding: &ExportedFinding) -> impl Iterator<Item = (&'static str, &Site)> {
    let sites = [
        ("hop", finding.hop.as_ref().and_then(|hop| hop.site.as_ref())),
        ("bind", finding.bind.as_ref().and_then(|bind| bind.site.as_ref())),
        ("read", finding.read.as_ref().and_then(|read| read.site.as_ref())),
        ("task", finding.task.as_ref().and_then(|task| task.site.as_ref())),
        ("policy", finding.policy.as_ref()),
    ];
    sites.into_iter().filter_map(|(name, site)| Some((name, site?)))
}
