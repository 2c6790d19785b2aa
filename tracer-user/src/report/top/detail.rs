//! All that is known of one row.

use std::fmt::Write as _;

use super::{
    super::{hops_text, store::Group, summary::TargetState, text::Text, wrap::COLUMNS},
    lines,
    rows::Row,
    snapshot::{Snapshot, SquatLine},
    view::View,
};

/// All that is known of a row, in lines of so many columns where words are short enough.
pub(super) fn text(snapshot: &Snapshot, view: View, row: &Row, width: u16) -> String {
    let titles: Vec<_> = view.columns().iter().map(|column| column.title).collect();
    let titles = titles.as_slice();
    let found = match view {
        View::Findings => snapshot
            .findings
            .iter()
            .find(|group| group.finding.id == row.key)
            .map(|group| finding(group, width)),
        View::Hops => {
            let mut rows = super::rows::keyed_hops(snapshot);
            rows.find(|(key, _)| *key == row.key)
                .map(|(_, line)| hops_text::block(line))
        }
        View::Threads => {
            let key = |line: &&SquatLine| format!("{} {}", line.pid, line.tid) == row.key;
            snapshot.squatting.iter().find(key).map(thread)
        }
        View::Services => Some(cells(row, titles) + &processes(snapshot, row)),
        View::Tracer => Some(cells(row, titles)),
    };
    found.unwrap_or_else(|| cells(row, titles))
}

fn finding(group: &Group, width: u16) -> String {
    let columns = usize::from(width).min(COLUMNS);
    let mut out = Text::new(false).in_columns(columns).block(&group.finding);
    if group.count > 1 {
        let _ = writeln!(
            out,
            "  {:10}{} times, {} of them confirmed, the last at {}",
            "so far", group.count, group.confirmed, group.last_time
        );
    }
    if let Some(read) = &group.finding.read {
        for (number, frame) in read.stack.iter().enumerate() {
            let _ = writeln!(out, "  {:10}{frame}", if number == 0 { "stack" } else { "" });
        }
    }
    let _ = writeln!(
        out,
        "\n  `bleedtrace explain {}` says more of what this is.",
        group.finding.kind.name()
    );
    out
}

fn thread(line: &SquatLine) -> String {
    let mut out = format!(
        "thread {} of {} (process {})\n  holds an identity since {} ({}): whatever runs there next can read it\n",
        line.tid,
        line.service,
        line.pid,
        line.since,
        lines::age(line.seconds)
    );
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:10}{value}");
    };
    let Some(left) = &line.left else {
        row("left", "before anybody looked: by whom was not seen");
        return out;
    };
    let place = |site: Option<&_>| site.map_or_else(|| "(place not known)".to_owned(), ToString::to_string);
    row("variable", &left.slot);
    row("holds", left.value.as_deref().unwrap_or("-"));
    row("bind", &place(left.bind.as_ref()));
    row("hop", &place(left.hop.as_ref()));
    row("times", &line.times.to_string());
    out
}

fn cells(row: &Row, titles: &[&str]) -> String {
    let mut out = String::new();
    for (title, cell) in titles.iter().zip(&row.cells) {
        let _ = writeln!(out, "  {:10}{}", title.to_lowercase(), cell.text);
    }
    out
}

/// The processes of a service, or why one is not traced.
fn processes(snapshot: &Snapshot, row: &Row) -> String {
    let mut out = String::from("\n");
    let same = |line: &&super::super::store::Line| {
        line.service == row.key || format!("{} {}", line.pid, line.since) == row.key
    };
    for line in snapshot.targets.targets.iter().filter(same) {
        let runtime = line.runtime.unwrap_or("no runtime");
        let version = line.version.as_deref().unwrap_or_default();
        let _ = write!(
            out,
            "  process {} ({runtime} {version}) {} since {}",
            line.pid,
            line.state.name(),
            line.since
        );
        if let Some(reason) = &line.reason {
            let _ = write!(out, ": {reason}");
        }
        out.push('\n');
        let told = snapshot
            .summary
            .targets
            .iter()
            .find(|target| target.pid == line.pid && target.state == TargetState::Attached);
        if let Some(target) = told {
            let _ = writeln!(
                out,
                "    watched variables {}, handoffs {}, findings {}",
                target.slots, target.handoffs, target.findings
            );
        }
    }
    out
}
