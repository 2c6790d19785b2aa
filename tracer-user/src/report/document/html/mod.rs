//! The report as one file of HTML, for a ticket: it needs no other file, asks for none, and runs no script. Everything from a target
//! is escaped.

mod findings;
mod review;
mod timeline;
mod trust;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{Document, headline, plural};
use crate::{
    correlate::finding::Kind,
    report::{explain::article, finding::Site, summary::Verdict},
};

/// How the page looks, in light, in dark, and on paper.
const STYLE: &str = include_str!("style.css");

/// The page.
pub(super) fn page(document: &Document) -> String {
    let summary = &document.summary;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "bleedtrace: " (headline(summary)) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#findings" { "Skip to the findings" }
                header {
                    h1 { "bleedtrace report" }
                    p { (of(document)) }
                }
                main {
                    section id="verdict" class=(tone(summary.verdict)) aria-labelledby="verdict-title" {
                        h2 id="verdict-title" { (headline(summary)) }
                        (trust::short(document))
                    }
                    nav aria-label="Contents" {
                        ul {
                            @for (id, title) in SECTIONS { li { a href={ "#" (id) } { (title) } } }
                        }
                    }
                    section id="trust" aria-labelledby="trust-title" {
                        h2 id="trust-title" { (SECTIONS[0].1) }
                        (trust::coverage(document))
                    }
                    section id="findings" aria-labelledby="findings-title" {
                        h2 id="findings-title" { (SECTIONS[1].1) }
                        (findings::all(document))
                    }
                    section id="review" aria-labelledby="review-title" {
                        h2 id="review-title" { (SECTIONS[2].1) }
                        (review::answers(document))
                    }
                    section id="meaning" aria-labelledby="meaning-title" {
                        h2 id="meaning-title" { (SECTIONS[3].1) }
                        (meanings(document))
                    }
                }
                footer {
                    p {
                        "Written by bleedtrace " (document.about.program) ". "
                        @if document.about.revealed {
                            "Values are shown as they are: this file tells of whoever the requests were for."
                        } @else {
                            "Values are keyed hashes: equal ones are equal, and they say nothing else."
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

const SECTIONS: [(&str, &str); 4] = [
    ("trust", "Can this be trusted?"),
    ("findings", "Findings, by what is to be mended"),
    ("review", "Three questions for a review"),
    ("meaning", "What the findings mean"),
];

/// Nothing may be loaded, run or sent; the one style sheet is known by its hash.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}

fn of(document: &Document) -> Markup {
    let about = &document.about;
    html! {
        @match &about.recording {
            Some(name) => { "Of the recording " code { (name) } }
            None => { "Of a run that was watched" }
        }
        @if let (Some(first), Some(last)) = (&about.first, &about.last) {
            ", from " time datetime=(first) { (first) } " to " time datetime=(last) { (last) }
        }
        "."
    }
}

fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "good",
        Verdict::Findings => "bad",
        Verdict::NoVerdict => "doubt",
    }
}

/// An article about each kind that was met.
fn meanings(document: &Document) -> Markup {
    let met = |kind: Kind| document.effects().any(|effect| effect.finding.kind == kind);
    let kinds: Vec<_> = Kind::ALL.iter().copied().filter(|kind| met(*kind)).collect();
    html! {
        @if kinds.is_empty() {
            p { "Nothing was found. " code { "bleedtrace explain" } " says what each kind of finding would have meant." }
        }
        @for article in kinds.into_iter().map(article) {
            article class="meaning" {
                h3 id={ "kind-" (article.kind.name()) } { code { (article.kind.name()) } ": " (article.title) }
                p { (article.meaning) }
                h4 { "How it happens" }
                p { (article.how) }
                pre tabindex="0" { code { (article.example) } }
                h4 { "How bleedtrace knows" }
                p { (article.proof) }
                h4 { "What to do" }
                p { (article.remedy) }
            }
        }
    }
}

/// A place in the source.
fn place(site: Option<&Site>) -> Markup {
    html! {
        @match site {
            Some(site) => { code class="site" { (site) } }
            None => { span class="quiet" { "a place that was not seen" } }
        }
    }
}

/// What is not on the page.
fn rest(hidden: u64, one: &str, many: &str) -> Markup {
    html! {
        @if hidden > 0 {
            p class="rest" { "And " (plural(hidden, one, many)) ", which a report as JSON lists as far as they were kept." }
        }
    }
}

/// A table that scrolls by itself, by keyboard, too.
fn wide(id: &str, table: &Markup) -> Markup {
    html! { div class="wide" role="region" tabindex="0" aria-labelledby=(id) { (table) } }
}
