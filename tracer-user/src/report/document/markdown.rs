//! A summary for a pull request. What a target chose stands in code spans only, where nothing has a meaning.

use std::fmt::{Display, Write as _};

use super::{Cause, Document, headline, plural};
use crate::{correlate::finding::Kind, report::explain::article};

/// Causes that are shown.
const SHOWN: usize = 25;
/// Readers of one cause that are shown.
const READERS: usize = 5;

/// The summary.
pub(super) fn summary(document: &Document) -> String {
    let mut out = format!("## bleedtrace: {}\n\n", headline(&document.summary));
    let counting: Vec<_> = document.causes.iter().filter(|cause| !cause.accepted).collect();
    if !counting.is_empty() {
        out += "| severity | what is wrong | variable | mend it here | who is concerned | times |\n";
        out += "|---|---|---|---|---|---:|\n";
        for cause in counting.iter().take(SHOWN) {
            out += &row(cause);
        }
        out.push('\n');
    }
    let hidden: u64 = counting.iter().skip(SHOWN).map(|cause| cause.count).sum::<u64>() + document.beyond();
    if hidden > 0 {
        let _ = writeln!(
            out,
            "And {} of further places.\n",
            plural(hidden, "finding", "findings")
        );
    }
    if document.summary.allowed > 0 {
        let _ = writeln!(
            out,
            "{} accepted, by the configuration or the baseline.\n",
            plural(document.summary.allowed, "finding is", "findings are")
        );
    }
    if !document.unmet.is_empty() {
        let _ = writeln!(
            out,
            "{} in the baseline did not happen this time: it can be written anew.\n",
            plural(document.unmet.len() as u64, "fault", "faults")
        );
    }
    out += &trust(document);
    out += &remedies(&counting);
    out
}

fn row(cause: &Cause) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    let mut readers: Vec<String> = Vec::new();
    for effect in &cause.effects {
        let finding = &effect.finding;
        if !kinds.contains(&finding.kind.name()) {
            kinds.push(finding.kind.name());
        }
        let read = finding.read.as_ref().and_then(|read| read.site.as_ref());
        let told = read.or_else(|| finding.task.as_ref().and_then(|task| task.site.as_ref()));
        if let Some(site) = told.map(code).filter(|site| !readers.contains(site)) {
            readers.push(site);
        }
    }
    let more = readers.len().saturating_sub(READERS);
    readers.truncate(READERS);
    if more > 0 {
        readers.push(format!("and {more} more"));
    }
    let kinds: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    let slot = if cause.slot.is_empty() {
        String::new()
    } else {
        code(&cause.slot)
    };
    let place = cause
        .site
        .as_ref()
        .map_or_else(|| "a place that was not seen".to_owned(), code);
    format!(
        "| {} | {} | {slot} | {place} | {} | {} |\n",
        cause.severity,
        kinds.join(", "),
        readers.join("<br>"),
        cause.count
    )
}

/// What silence is worth.
fn trust(document: &Document) -> String {
    let summary = &document.summary;
    let handoffs: u64 = summary.targets.iter().map(|target| target.handoffs).sum();
    let reads: u64 = summary.reads.values().sum();
    let mut out = format!(
        "**Coverage.** {} watched, {} and {} of watched variables seen, {} lost.\n",
        plural(summary.targets.len() as u64, "process", "processes"),
        plural(handoffs, "handoff", "handoffs"),
        plural(reads, "read", "reads"),
        plural(summary.events.lost.values().sum(), "event", "events"),
    );
    if !summary.reasons.is_empty() {
        out += "What was not found proves nothing, because\n\n";
        for reason in &summary.reasons {
            let _ = writeln!(out, "- {}", code(&reason.message));
        }
    }
    out.push('\n');
    out
}

/// What to do about each kind that was met.
fn remedies(causes: &[&Cause]) -> String {
    let met = |kind: Kind| {
        causes
            .iter()
            .flat_map(|cause| &cause.effects)
            .any(|effect| effect.finding.kind == kind)
    };
    let mut out = String::new();
    for kind in Kind::ALL.iter().filter(|kind| met(**kind)) {
        let article = article(*kind);
        let _ = writeln!(
            out,
            "<details><summary><code>{}</code>: {}</summary>\n\n{}\n\n**What to do.** {}\n\n</details>\n",
            kind.name(),
            article.title,
            plain(article.meaning),
            plain(article.remedy)
        );
    }
    out
}

/// Our own prose: names with underscores and the like are no markup.
fn plain(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            if matches!(c, '*' | '_' | '<' | '[' | ']' | '`' | '\\') {
                out.push('\\');
            }
            out.push(c);
            out
        })
}

/// A code span, in a table too: its fence is longer than any run of backticks in it.
fn code(text: impl Display) -> String {
    let text: String = text
        .to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 || text.starts_with(' ') || text.is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{}{pad}{fence}", text.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_cannot_be_left() {
        assert_eq!(code("tenant"), "`tenant`");
        assert_eq!(code("a`b"), "`` a`b ``");
        assert_eq!(code("``` x | y"), "```` ``` x \\| y ````");
        assert_eq!(code("a\nb"), "`a b`");
    }
}
