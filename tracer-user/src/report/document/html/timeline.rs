//! A leak as a picture: carriers from top to bottom, steps from left to right. The same is told in words beside it, step by step, for
//! those who do not see it.

use maud::{Markup, html};

use super::place;
use crate::report::document::leak::{Lasting, Leak, Tone};

/// From one step to the next.
const STEP: usize = 140;
/// From one carrier to the next.
const CARRIER: usize = 76;
/// In front of the first step.
const LEFT: usize = 48;
/// Behind the last one.
const RIGHT: usize = 110;

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
    let width = LEFT + (leak.steps.len() - 1) * STEP + RIGHT;
    let height = leak.carriers.len() * CARRIER + 8;
    html! {
        svg class="timeline" role="img" aria-labelledby={ (id) "-picture" } width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
            title id={ (id) "-picture" } {
                "What happened, carrier by carrier; the numbers are those of the list that follows"
            }
            @for (at, carrier) in leak.carriers.iter().enumerate() {
                line class="lane" x1="0" x2=(width) y1=(y(at)) y2=(y(at)) {}
                text class="carrier" x="4" y=(y(at) - 30) { (carrier.name) }
            }
            @for span in &leak.spans {
                @if let Some(from) = leak.steps.get(span.from) { (lasting(leak, span.what, span.from, from.carrier, span.to, width)) }
            }
            @for (at, step) in leak.steps.iter().enumerate() {
                g class=(class(step.tone)) {
                    (mark(step.tone, x(at), y(step.carrier)))
                    text class="step" x=(x(at)) y=(y(step.carrier) + 30) { (at + 1) ". " (step.title) }
                }
            }
        }
    }
}

const fn x(step: usize) -> usize {
    LEFT + step * STEP
}

const fn y(carrier: usize) -> usize {
    carrier * CARRIER + 44
}

/// What lasts from one step to another, or beyond the picture.
fn lasting(
    leak: &Leak,
    what: Lasting,
    from: usize,
    carrier: usize,
    to: Option<usize>,
    width: usize,
) -> Markup {
    let (x1, y1) = (x(from), y(carrier));
    let end = to.and_then(|to| Some((x(to), y(leak.steps.get(to)?.carrier))));
    let (x2, y2) = end.unwrap_or((width, y1));
    html! {
        @match what {
            Lasting::Residue => {
                @if y1 == y2 { line class="residue" x1=(x1) y1=(y1) x2=(x2) y2=(y2) {} }
                @else { path class="residue" d={ "M" (x1) " " (y1) " H" (x2 - STEP / 2) " L" (x2) " " (y2) } {} }
            }
            Lasting::Handoff => {
                path class="handoff" d={ "M" (x1) " " (y1) " C" (x1 + STEP / 2) " " (y1) " " (x2 - STEP / 2) " " (y2) " " (x2 - 14) " " (y2) } {}
                path class="arrow" d={ "M" (x2 - 10) " " (y2) " l-10 -5 v10 z" } {}
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
            svg class="sign" width="40" height="26" viewBox="0 0 40 26" aria-hidden="true" {
                path class="handoff" d="M0 13 H30" {}
                path class="arrow" d="M38 13 l-10 -5 v10 z" {}
            }
            " work that is handed over. Steps stand in their order; the distances mean nothing."
        }
    }
}
