//! The report for people, in a terminal.

use std::fmt::Write as _;

use super::{Document, plural};
use crate::report::{hops_text, text::Text};

/// The whole report.
pub(super) fn text(document: &Document) -> String {
    let writer = Text::new(false);
    let mut out = String::new();
    let about = &document.about;
    let of = about.recording.as_deref().unwrap_or("a run that was watched");
    let _ = writeln!(out, "report of {of}, by bleedtrace {}", about.program);
    if let (Some(first), Some(last)) = (&about.first, &about.last) {
        let _ = writeln!(out, "from {first} to {last}");
    }
    for watched in &about.watched {
        let _ = writeln!(
            out,
            "watching {} as {} in {}",
            watched.name, watched.role, watched.service
        );
    }
    for (at, cause) in document.causes.iter().enumerate() {
        let place = cause
            .site
            .as_ref()
            .map_or_else(String::new, |site| format!(", {} at {site}", cause.what));
        let _ = writeln!(
            out,
            "\n{}. {}{place}",
            at + 1,
            plural(cause.count, "finding", "findings")
        );
        for effect in &cause.effects {
            let _ = write!(out, "\n{}", writer.block(&effect.finding));
            if effect.count > 1 {
                let _ = writeln!(
                    out,
                    "  {:<10}{} times, {} confirmed, the last {}",
                    "found", effect.count, effect.confirmed, effect.last
                );
            }
            let _ = writeln!(out, "  {:<10}{}", "known as", effect.fingerprint);
        }
    }
    if document.beyond() > 0 {
        let _ = writeln!(
            out,
            "\nand {} of further causes",
            plural(document.beyond(), "finding", "findings")
        );
    }
    for line in &document.hops {
        let _ = write!(out, "\n{}", hops_text::block(line));
    }
    for line in &document.tasks {
        let _ = write!(out, "\n{}", hops_text::tasks(line));
    }
    for fault in &document.unmet {
        let _ = writeln!(
            out,
            "\nthe baseline accepts what was not met: {} of {}, {}",
            fault.kind.name(),
            fault.slot,
            fault.sites.join(", ")
        );
    }
    out.push('\n');
    out + &writer.summary(&document.summary)
}
