//! Lines of text: numbers with few characters, and what silence is worth.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{
    super::summary::{Summary, Verdict},
    rows::Tone,
    snapshot::Snapshot,
};
use crate::correlate::finding::{Kind, Severity};

/// A count in at most seven characters.
pub(super) fn count(count: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let tenths = count / (unit / 10);
        if tenths < 1_000 {
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        } else {
            format!("{}{name}", tenths / 10)
        }
    };
    match count {
        0..100_000 => count.to_string(),
        100_000..1_000_000 => scaled(1_000, "k"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "M"),
        _ => scaled(1_000_000_000, "G"),
    }
}

/// So many in a second.
pub(super) fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 {
        format!("{rate:.1}")
    } else {
        count(rate.round() as u64)
    }
}

/// Seconds, as few words as will do.
pub(super) fn age(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..100 => format!("{whole}s"),
        100..6_000 => format!("{}m{:02}s", whole / 60, whole % 60),
        6_000..360_000 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d", whole / 86_400),
    }
}

/// So many of something.
fn plural(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A line as lines of at most so many columns: broken between words, and a word that is longer than a line where the line ends.
pub(super) fn fold(line: &str, width: u16) -> Vec<String> {
    let width = usize::from(width).max(1);
    if line.width() <= width {
        return vec![line.to_owned()];
    }
    let indent = " ".repeat((line.len() - line.trim_start_matches(' ').len()).min(width / 4));
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in line.split_inclusive(' ') {
        if used > indent.len() && used + word.trim_end().width() > width {
            lines.push(indent.clone());
            used = indent.len();
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > width {
                if c == ' ' {
                    continue;
                }
                lines.push(indent.clone());
                used = indent.len();
            }
            if let Some(last) = lines.last_mut() {
                last.push(c);
            }
            used += wide;
        }
    }
    lines
}

/// What was found, or what it is worth that nothing was.
pub(super) fn verdict(snapshot: &Snapshot) -> (Tone, String) {
    let (tone, text) = in_short(snapshot);
    match doubts(snapshot).first() {
        Some(doubt) => (tone, format!("{text}: {doubt}")),
        None => (tone, text),
    }
}

fn in_short(snapshot: &Snapshot) -> (Tone, String) {
    let summary = &snapshot.summary;
    let doubted = !doubts(snapshot).is_empty();
    if summary.verdict == Verdict::Findings {
        let found = plural(summary.findings.values().sum(), "finding");
        let critical = match critical(summary) {
            0 => String::new(),
            critical => format!(", {} critical", count(critical)),
        };
        let more = if doubted { ", and there may be more" } else { "" };
        return (Tone::Critical, format!("{found}{critical}{more}"));
    }
    if doubted {
        return (
            Tone::Warning,
            "no findings, and that proves nothing yet".to_owned(),
        );
    }
    let handoffs = plural(handoffs(summary), "handoff");
    (
        Tone::Good,
        format!("clean so far: {handoffs} seen, every probe is there, nothing was lost"),
    )
}

/// Why silence proves nothing.
fn doubts(snapshot: &Snapshot) -> Vec<&str> {
    let reasons = snapshot.summary.reasons.iter().map(|reason| &*reason.message);
    // When all is over, what is not attached any more need not be.
    let condition = snapshot.condition.reasons.iter().filter(|_| !snapshot.ended);
    reasons.chain(condition.map(|reason| &*reason.message)).collect()
}

fn critical(summary: &Summary) -> u64 {
    let critical = Kind::ALL
        .iter()
        .filter(|kind| kind.severity() == Severity::Critical);
    critical
        .filter_map(|kind| summary.findings.get(kind.name()))
        .sum()
}

fn handoffs(summary: &Summary) -> u64 {
    summary.targets.iter().map(|target| target.handoffs).sum()
}

/// How far what is shown can be trusted, in sentences.
pub(super) fn trust(snapshot: &Snapshot) -> Vec<(Tone, String)> {
    let summary = &snapshot.summary;
    let mut lines = vec![in_short(snapshot)];
    for doubt in doubts(snapshot) {
        lines.push((Tone::Warning, format!("- {doubt}")));
    }
    for remark in &snapshot.condition.remarks {
        lines.push((Tone::Warning, format!("- {}", remark.message)));
    }
    let lost: Vec<_> = summary
        .events
        .lost
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(why, number)| format!("{why} {}", count(*number)))
        .collect();
    let received = plural(summary.events.received, "event");
    lines.push(if lost.is_empty() {
        (Tone::Plain, format!("{received} received, none lost"))
    } else {
        (
            Tone::Warning,
            format!("{received} received; lost: {}", lost.join(", ")),
        )
    });
    let unjudged = summary.reads.get("unjudged").copied().unwrap_or(0);
    if unjudged > 0 {
        lines.push((
            Tone::Plain,
            format!("{} could not be judged", plural(unjudged, "read")),
        ));
    }
    let late = if snapshot.lag_seconds > 1.0 {
        Tone::Warning
    } else {
        Tone::Plain
    };
    let hits = plural(summary.overhead.probe_hits, "probe hit");
    let cost = summary
        .overhead
        .bpf_seconds
        .map_or_else(String::new, |seconds| format!(", {seconds:.3} s in the kernel"));
    lines.push((
        late,
        format!("{hits}{cost}; read {:.3} s late at most", snapshot.lag_seconds),
    ));
    lines.extend(
        snapshot
            .log
            .iter()
            .rev()
            .take(3)
            .map(|line| (Tone::Dim, line.clone())),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_too_long_begins_where_its_line_does() {
        let folded = fold("  (/a/path/that/is/long) end", 12);
        assert_eq!(folded, ["  (/a/path/t", "  hat/is/lon", "  g) end"]);
    }
}
