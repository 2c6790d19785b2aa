//! A site of the inventory, for people.

use std::{collections::BTreeMap, fmt::Write as _};

use super::hops::{HopLine, TaskLine};

/// A paragraph about a site.
pub fn block(line: &HopLine) -> String {
    let mut text = String::new();
    let site = line
        .site
        .as_ref()
        .map_or_else(|| "a place that was not seen".to_owned(), ToString::to_string);
    let times = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let how_often = if line.data == 0 {
        format!("by {}, {}", line.primitive, times(line.count, "time"))
    } else {
        format!("puts what is no work into a queue, {}", times(line.data, "time"))
    };
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:9} {value}");
    };
    if !line.carried.is_empty() {
        row("carried", &counts(&line.carried));
    }
    for (slot, results) in &line.reads {
        row("reads", &format!("{slot}: {}", counts(results)));
    }
    for (slot, places) in &line.binds {
        row("binds", &format!("{slot}: {}", counts(places)));
    }
    let gets: Vec<&str> = line.gets.iter().map(|whose| whose_identity(whose)).collect();
    row("runs as", &gets.join(", "));
    if !line.binds_reach.is_empty() {
        let reach: Vec<&str> = line.binds_reach.iter().map(|who| who_gets(who)).collect();
        row("its binds", &reach.join(", "));
    }
    if !line.findings.is_empty() {
        row("findings", &counts(&line.findings));
    }
    format!(
        "{:8} {site} {how_often}, in {}\n{text}",
        line.danger.to_uppercase(),
        line.service,
    )
}

/// A paragraph about a way in which tasks come about.
pub fn tasks(line: &TaskLine) -> String {
    let plural = if line.count == 1 { "" } else { "s" };
    let mut text = format!("{} task{plural}, in {}\n  request\n", line.count, line.service);
    for step in line.life.steps() {
        let _ = writeln!(text, "  \u{2192} {step}");
    }
    if !line.polls.is_empty() {
        let _ = writeln!(text, "  \u{2192} polls: {}", counts(&line.polls));
    }
    text
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
}

pub(super) fn whose_identity(gets: &str) -> &'static str {
    match gets {
        "own" => "its own request",
        "foreign" => "another request",
        "inherited" => "the request that started its thread",
        "nobody" => "nobody",
        _ => "nobody knows whom",
    }
}

pub(super) fn who_gets(reach: &str) -> &'static str {
    match reach {
        "next_request" => "stay for the next request on that thread",
        "submitter" => "come back to whoever submitted it",
        _ => "end with the work: whoever submitted it does not see them",
    }
}
