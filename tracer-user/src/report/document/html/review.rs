//! Three questions that a review of such a program asks, answered by what was seen.

use maud::{Markup, html};

use super::{Document, place, plural, rest, trust::told, wide};
use crate::{
    correlate::finding::Kind,
    report::{
        hops::{HopLine, TaskLine},
        hops_text::{who_gets, whose_identity},
    },
};

/// Sites that are shown.
const SITES: usize = 300;
/// Ways of tasks that are shown.
const WAYS: usize = 100;

/// All three.
pub(super) fn answers(document: &Document) -> Markup {
    html! {
        h3 { "Where does work change threads, and whose identity does it get there?" }
        (sites(document))
        h3 { "When a task is created, whose is it?" }
        (tasks(document))
        h3 { "What does a policy do when there is nobody?" }
        (nobody(document))
    }
}

fn sites(document: &Document) -> Markup {
    let lines = &document.hops;
    let of = |danger: &str| lines.iter().filter(|line| line.danger == danger).count() as u64;
    let judged = ["bleeds", "squats", "loses", "exposed", "carries"];
    html! {
        @if lines.is_empty() {
            p { "No work was seen to go from one thread to another." }
        } @else {
            p {
                (plural(lines.len() as u64, "site", "sites")) " of handoff: "
                @for (at, danger) in judged.iter().enumerate() {
                    @if at > 0 { ", " }
                    (words(danger)) " at " (of(danger))
                }
                "."
            }
            (wide("sites-title", &html! {
                table {
                    caption id="sites-title" { "Handoffs, the most dangerous first" }
                    thead { tr {
                        @for title in ["danger", "where", "how", "times", "runs as", "reads in it", "binds in it", "who gets the binds", "findings"] {
                            th scope="col" { (title) }
                        }
                    } }
                    tbody { @for line in lines.iter().take(SITES) { (site(line)) } }
                }
            }))
        }
        (rest(lines.len().saturating_sub(SITES) as u64, "site", "sites"))
        (rest(document.hops_beyond, "event at sites beyond those", "events at sites beyond those"))
    }
}

fn words(danger: &str) -> &'static str {
    match danger {
        "bleeds" => "another request's identity was read",
        "squats" => "an identity was left in a thread",
        "loses" => "an identity was missed",
        "exposed" => "nothing came along, which nobody has missed yet,",
        _ => "the context came along",
    }
}

fn site(line: &HopLine) -> Markup {
    let gets: Vec<_> = line.gets.iter().map(|whose| whose_identity(whose)).collect();
    let reach: Vec<_> = line.binds_reach.iter().map(|who| who_gets(who)).collect();
    html! {
        tr {
            td { span class={ "badge " (danger(line.danger)) } { (line.danger) } }
            th scope="row" { (place(line.site.as_ref())) " " span class="quiet" { "in " (line.service) } }
            td class="word" { @if line.data > 0 { "a queue" } @else { code { (line.primitive) } } }
            td class="number" { (line.count + line.data) }
            td { (gets.join(", ")) }
            td { (by_slot(&line.reads)) }
            td { (by_slot(&line.binds)) }
            td { (reach.join("; ")) }
            td class="word" {
                @for (at, (kind, count)) in line.findings.iter().enumerate() {
                    @if at > 0 { br; }
                    code { (kind) } " " (count)
                }
            }
        }
    }
}

fn danger(danger: &str) -> &'static str {
    match danger {
        "bleeds" => "critical",
        "squats" | "loses" => "warning",
        "carries" => "fine",
        _ => "neutral",
    }
}

fn by_slot(
    slots: &std::collections::BTreeMap<String, std::collections::BTreeMap<&'static str, u64>>,
) -> Markup {
    html! {
        @for (at, (slot, results)) in slots.iter().enumerate() {
            @if at > 0 { br; }
            code { (slot) } ": " (told(results))
        }
    }
}

fn tasks(document: &Document) -> Markup {
    let summary = &document.summary;
    let minted: u64 = summary.tasks.values().sum();
    html! {
        @if minted == 0 && document.tasks.is_empty() {
            p {
                "No durable task was seen to be created. bleedtrace sees them on the wire (" code { "--wire" } "), where the program announces them, and under "
                "functions that " code { "--mint" } " names."
            }
        } @else {
            p {
                (plural(minted, "task was", "tasks were")) " created: " (told(&summary.tasks))
                ". A task is its request's if the last identity that the request had read before was its own. What was stored is not seen: an owner that is passed as an argument is the safer way to the same."
            }
        }
        @for line in document.tasks.iter().take(WAYS) { (way(line)) }
        (rest(document.tasks.len().saturating_sub(WAYS) as u64, "way in which tasks came about", "ways in which tasks came about"))
    }
}

fn way(line: &TaskLine) -> Markup {
    html! {
        div class="way" {
            p { (plural(line.count, "task", "tasks")) " in " (line.service) ", " (line.life.attribution) ":" }
            ol class="life" {
                li { "a request" }
                @for (_, site, text) in line.life.told() {
                    li { (text) " " @if site.is_some() { (place(site.as_ref())) } }
                }
                @if !line.polls.is_empty() { li { "asked for: " (told(&line.polls)) } }
            }
        }
    }
}

fn nobody(document: &Document) -> Markup {
    let summary = &document.summary;
    let empty = summary.reads.get("empty").copied().unwrap_or(0);
    let ran = summary
        .findings
        .get(Kind::EmptyCheck.name())
        .copied()
        .unwrap_or(0);
    html! {
        @if ran > 0 {
            p {
                strong { (plural(ran, "policy check", "policy checks")) " ran inside a request and found nobody" }
                ". Whether each of them refused is for its code to say: look at the "
                code { "empty_check" } " findings above."
            }
        } @else {
            p {
                "No policy was seen to run for nobody inside a request. Only functions that " code { "--policy" }
                " names, and checks that the program announces, are known as policies."
            }
        }
        p {
            (plural(empty, "read of a watched variable", "reads of watched variables")) " found nothing. Each of them is a place where code ran without knowing for whom; deny there, and log it."
        }
    }
}
