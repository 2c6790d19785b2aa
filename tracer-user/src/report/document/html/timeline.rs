//! A leak as a picture: carriers from top to bottom, steps from left to right. The same is told in words beside it, step by step, for
//! those who do not see it.

use maud::{Markup, html};

use super::place;
use crate::report::document::leak::{Lasting, Leak, Span, Tone};

/// From one step to the next.
const STEP: usize = 150;
/// From one carrier to the next.
const CARRIER: usize = 70;
/// Of a letter in a carrier's name.
const LETTER: usize = 8;
/// Of a piece of work.
const WORK: usize = 92;
/// Behind the last one.
const RIGHT: usize = 90;

/// The picture, and its steps in words.
pub(super) fn figure(leak: &Leak, id: &str, slot: &str) -> Markup {
    html! {
        @if leak.steps.len() > 1 {
            figure {
                div class="wide" role="group" tabindex="0" aria-label={ "Timeline of " (slot) } { (picture(leak, id)) }
                figcaption {
                    ol class="steps" {
                        @for step in &leak.steps {
                            li class=(class(step.tone)) {
                                (step.text)
                                @if step.site.is_some() || step.when.is_some() { br; }
                                @if let Some(site) = &step.site { (place(Some(site))) }
                                @if let Some(when) = &step.when { span class="quiet" { @if step.site.is_some() { ", " } (when) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn picture(leak: &Leak, id: &str) -> Markup {
    let left = left(leak);
    let width = left + (leak.steps.len() - 1) * STEP + RIGHT;
    let height = leak.carriers.len() * CARRIER + 8;
    html! {
        svg class="timeline" role="img" aria-labelledby={ (id) "-picture" } width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
            title id={ (id) "-picture" } {
                "What happened, carrier by carrier; the numbers are those of the list that follows"
            }
            @for (at, carrier) in leak.carriers.iter().enumerate() {
                line class="lane" x1=(left - 60) x2=(width) y1=(y(at)) y2=(y(at)) {}
                text class="carrier" x=(left - 72) y=(y(at) + 4) { (carrier.name) }
            }
            // What covers others is drawn first.
            @for what in [Lasting::Work, Lasting::Residue, Lasting::Handoff] {
                @for span in leak.spans.iter().filter(|span| span.what == what) { (lasting(leak, span, left, width)) }
            }
            @for (at, step) in leak.steps.iter().enumerate() {
                g class=(class(step.tone)) {
                    (mark(step.tone, left + at * STEP, y(step.carrier)))
                    text class="step" x=(left + at * STEP) y=(y(step.carrier) + 32) { (at + 1) ". " (step.title) }
                }
            }
        }
    }
}

/// In front of the first step, where the carriers' names are.
fn left(leak: &Leak) -> usize {
    let longest = leak
        .carriers
        .iter()
        .map(|carrier| carrier.name.chars().count())
        .max();
    longest.unwrap_or(0) * LETTER + 84
}

const fn y(carrier: usize) -> usize {
    carrier * CARRIER + 28
}

/// What lasts from one step to another, or beyond the picture.
fn lasting(leak: &Leak, span: &Span, left: usize, width: usize) -> Markup {
    let Some(from) = leak.steps.get(span.from) else {
        return Markup::default();
    };
    let (x1, y1) = (left + span.from * STEP, y(from.carrier));
    let end = span
        .to
        .and_then(|to| Some((left + to * STEP, y(leak.steps.get(to)?.carrier))));
    let (x2, y2) = end.unwrap_or((width, y1));
    // An arrow ends at the work, where there is some.
    let works = |step| {
        leak.spans
            .iter()
            .any(|span| span.what == Lasting::Work && Some(span.from) == step)
    };
    let tip = x2 - if works(span.to) { WORK / 2 + 1 } else { 14 };
    html! {
        @match span.what {
            Lasting::Work => {
                rect class="work" x=(x1 - WORK / 2) y=(y1 - 16) width=(WORK) height="32" rx="16" {}
            }
            Lasting::Residue => {
                @if y1 == y2 { line class="residue" x1=(x1) y1=(y1) x2=(x2) y2=(y2) {} }
                @else { path class="residue" d={ "M" (x1) " " (y1) " H" (x2 - STEP / 2) " L" (x2) " " (y2) } {} }
            }
            Lasting::Handoff => {
                path class="handoff" d={ "M" (x1) " " (y1) " C" (x1 + STEP / 2) " " (y1) " " (x1 + STEP / 4) " " (y2) " " (tip - 8) " " (y2) } {}
                path class="arrow" d={ "M" (tip) " " (y2) " l-11 -5 v10 z" } {}
            }
        }
    }
}

/// Shape and colour say the same.
fn mark(tone: Tone, x: usize, y: usize) -> Markup {
    html! {
        @match tone {
            Tone::Own => circle cx=(x) cy=(y) r="9" {},
            Tone::Foreign => rect x=(x - 9) y=(y - 9) width="18" height="18" {},
            Tone::Wrong => path d={ "M" (x) " " (y - 12) " l12 21 h-24 z" } {},
        }
    }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Own => "own",
        Tone::Foreign => "foreign",
        Tone::Wrong => "wrong",
    }
}

/// What the shapes mean.
pub(super) fn legend() -> Markup {
    let sign = |tone: Tone| {
        html! {
            svg class="sign" width="26" height="26" viewBox="0 0 26 26" aria-hidden="true" { g class=(class(tone)) { (mark(tone, 13, 14)) } }
        }
    };
    html! {
        p class="legend" {
            "In the pictures: "
            (sign(Tone::Own)) " the request that is concerned, "
            (sign(Tone::Foreign)) " somebody else's identity, "
            (sign(Tone::Wrong)) " where it goes wrong, "
            svg class="sign" width="40" height="26" viewBox="0 0 40 26" aria-hidden="true" { line class="residue" x1="0" x2="40" y1="13" y2="13" {} }
            " an identity that stays, "
            svg class="sign" width="40" height="26" viewBox="0 0 40 26" aria-hidden="true" { rect class="work" x="2" y="3" width="36" height="20" rx="10" {} }
            " a piece of work, "
            svg class="sign" width="40" height="26" viewBox="0 0 40 26" aria-hidden="true" {
                path class="handoff" d="M0 13 H30" {}
                path class="arrow" d="M38 13 l-10 -5 v10 z" {}
            }
            " work that is handed over. A is the request whose identity it is, B the one that gets it. Steps stand in their order; the distances mean nothing."
        }
    }
}
