//! The findings: a table of what is to be mended, then each cause with whom it leaks to.

use maud::{Markup, html};

use super::{Document, place, plural, rest, timeline};
use crate::report::{
    document::{Cause, Effect, leak::Leak},
    finding::ExportedFinding,
    privacy::Rendered,
    text,
};

/// Causes in the table.
const LISTED: usize = 1_000;
/// Causes that are shown whole.
const SHOWN: usize = 150;
/// Findings of one cause that are shown whole.
const EFFECTS: usize = 12;
/// Frames of a stack.
const FRAMES: usize = 40;

/// All of them.
pub(super) fn all(document: &Document) -> Markup {
    let (accepted, counting): (Vec<_>, Vec<_>) = document.causes.iter().partition(|cause| cause.accepted);
    let hidden = counting.iter().skip(LISTED).map(|cause| cause.count).sum::<u64>() + document.beyond();
    html! {
        @if counting.is_empty() && document.beyond() == 0 {
            p {
                "None"
                @if !accepted.is_empty() { " that is not accepted" }
                ". " a href="#trust" { "What that is worth" } " stands above."
            }
        }
        @if !counting.is_empty() {
            (table(&counting))
            (rest(hidden, "finding of further places", "findings of further places"))
            (timeline::legend())
            @for cause in counting.iter().take(SHOWN) { (whole(cause)) }
            @if counting.len() > SHOWN {
                p class="rest" { "Only the first " (SHOWN) " are drawn; the table above has "
                    @if counting.len() > LISTED { "the first " (LISTED) "." } @else { "all " (counting.len()) "." }
                }
            }
        }
        @if !accepted.is_empty() {
            h3 id="accepted" { "Accepted, by the configuration or the baseline" }
            ul {
                @for cause in accepted.iter().take(LISTED) {
                    @for effect in &cause.effects {
                        li {
                            code { (effect.finding.kind.name()) } " of " (subject(&effect.finding)) " at " (place(cause.site.as_ref()))
                            ", " (plural(effect.count, "time", "times")) ": " (effect.finding.allowed.as_deref().unwrap_or_default())
                        }
                    }
                }
            }
            (rest(accepted.len().saturating_sub(LISTED) as u64, "accepted place", "accepted places"))
        }
    }
}

fn table(causes: &[&Cause]) -> Markup {
    super::wide(
        "causes-title",
        &html! {
            table class="causes" {
                caption id="causes-title" { "What is to be mended, the gravest first" }
                thead { tr {
                    th scope="col" { "severity" }
                    th scope="col" { "place" }
                    th scope="col" { "variable" }
                    th scope="col" { "service" }
                    th scope="col" { "what comes of it" }
                    th scope="col" class="number" { "times" }
                } }
                tbody {
                    @for (at, cause) in causes.iter().take(LISTED).enumerate() {
                        tr {
                            td { (severity(cause.severity)) }
                            th scope="row" {
                                @if at < SHOWN { a href={ "#" (cause.id) } { (place(cause.site.as_ref())) } }
                                @else { (place(cause.site.as_ref())) }
                            }
                            td { @if !cause.slot.is_empty() { code { (cause.slot) } } }
                            td { (cause.service) }
                            td class="word" { (kinds(cause)) }
                            td class="number" { (cause.count) }
                        }
                    }
                }
            }
        },
    )
}

fn severity(severity: &str) -> Markup {
    html! { span class={ "badge " (severity) } { (severity) } }
}

fn kinds(cause: &Cause) -> Markup {
    let mut kinds: Vec<&str> = Vec::new();
    for effect in &cause.effects {
        if !kinds.contains(&effect.finding.kind.name()) {
            kinds.push(effect.finding.kind.name());
        }
    }
    html! {
        @for (at, kind) in kinds.iter().enumerate() {
            @if at > 0 { br; }
            code { (kind) }
        }
    }
}

fn whole(cause: &Cause) -> Markup {
    let hidden: u64 = cause
        .effects
        .iter()
        .skip(EFFECTS)
        .map(|effect| effect.count)
        .sum();
    html! {
        article id=(cause.id) class={ "cause " (cause.severity) } {
            h3 {
                (severity(cause.severity)) " "
                @if !cause.slot.is_empty() { code { (cause.slot) } " " }
                (happens(cause.what)) " " (place(cause.site.as_ref()))
            }
            p { (plural(cause.count, "finding", "findings")) " in " (cause.service) ": " (concerned(cause)) }
            @for (at, effect) in cause.effects.iter().take(EFFECTS).enumerate() {
                (one(effect, &format!("{}-{at}", cause.id)))
            }
            (rest(hidden, "finding of this cause", "findings of this cause"))
        }
    }
}

/// What happens at a cause's place.
fn happens(what: &str) -> &'static str {
    match what {
        "bind" => "bound at",
        "made" => "carried along by the task made at",
        "hop" => "handed over at",
        "read" => "read at",
        "mint" => "decides whose the task is, created at",
        "policy" => "asked for at",
        _ => "of",
    }
}

/// Whom a cause concerns: its readers.
fn concerned(cause: &Cause) -> Markup {
    let mut readers = Vec::new();
    for effect in &cause.effects {
        let read = effect.finding.read.as_ref().and_then(|read| read.site.as_ref());
        if let Some(site) = read.filter(|site| !readers.contains(site)) {
            readers.push(site);
        }
    }
    html! {
        @if readers.is_empty() { "nobody has read it yet." }
        @else {
            "it concerns " (plural(readers.len() as u64, "reader", "readers")) ", "
            @for (at, site) in readers.iter().take(EFFECTS).enumerate() {
                @if at > 0 { ", " }
                (place(Some(site)))
            }
            @if readers.len() > EFFECTS { " and " (readers.len() - EFFECTS) " more" }
            "."
        }
    }
}

fn one(effect: &Effect, id: &str) -> Markup {
    let finding = &effect.finding;
    let kind = finding.kind.name();
    let leak = Leak::of(finding);
    html! {
        section class="effect" aria-labelledby={ (id) "-title" } {
            h4 id={ (id) "-title" } {
                a href={ "#kind-" (kind) } { code { (kind) } } " "
                small { (plural(effect.count, "time", "times")) ", " (finding.confidence) }
            }
            p { (finding.explain) }
            (timeline::figure(&leak, id, &finding.slot))
            p class="fix" { strong { "Mend it: " } (finding.fix) }
            dl class="facts" {
                (value("expected", finding.expected.as_ref()))
                (value("found", finding.found.as_ref()))
                @if let Some(source) = finding.source { dt { "source" } dd { (source) } }
                @if let Some(policy) = &finding.policy { dt { "policy" } dd { (place(Some(policy))) } }
                dt { "sure" } dd { (text::sure(finding)) }
                dt { "first" } dd { time datetime=(finding.time) { (finding.time) } " (" (finding.id) ", thread " (finding.tid) ")" }
                @if effect.count > 1 {
                    dt { "last" } dd { time datetime=(effect.last) { (effect.last) } ", " (effect.confirmed) " of " (effect.count) " confirmed" }
                }
                dt { "processes" } dd { (processes(effect)) }
                @if let Some(container) = &finding.container { dt { "container" } dd { code { (container) } } }
                @if let Some(pod) = &finding.pod { dt { "pod" } dd { code { (pod) } } }
                dt { "fingerprint" } dd { code { (effect.fingerprint) } }
            }
            (stack(finding))
        }
    }
}

fn value(name: &str, value: Option<&Rendered>) -> Markup {
    html! { @if let Some(value) = value { dt { (name) } dd { code { (value) } } } }
}

fn processes(effect: &Effect) -> String {
    let pids: Vec<_> = effect.pids.iter().map(u32::to_string).collect();
    pids.join(", ")
}

/// The stack of the read, if it has more to say than its place.
fn stack(finding: &ExportedFinding) -> Markup {
    let frames = finding.read.as_ref().map_or(&[][..], |read| &read.stack);
    html! {
        @if frames.len() > 1 {
            details {
                summary { "Stack of the read" }
                ol class="stack" { @for site in frames.iter().take(FRAMES) { li { (place(Some(site))) } } }
                (rest(frames.len().saturating_sub(FRAMES) as u64, "frame", "frames"))
            }
        }
    }
}

fn subject(finding: &ExportedFinding) -> Markup {
    html! { @if finding.slot.is_empty() { "a task" } @else { code { (finding.slot) } } }
}
