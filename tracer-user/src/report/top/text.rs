//! A snapshot as plain text, for scripts and logs.

use std::fmt::Write as _;

use super::{
    lines,
    rows::{self, Sort},
    snapshot::Snapshot,
    view::View,
};

/// Everything, one view below the other. `table` draws rows below a head.
pub fn whole(snapshot: &Snapshot, table: impl Fn(&[&str], Vec<Vec<String>>) -> String) -> String {
    let mut out = format!(
        "as of {}, {} after the start\n",
        snapshot.time,
        lines::age(snapshot.seconds)
    );
    for (_, line) in lines::trust(snapshot) {
        let _ = writeln!(out, "{line}");
    }
    for view in View::ALL {
        let _ = writeln!(out, "\n{}", view.name().to_lowercase());
        let rows = rows::shown(snapshot, *view, Sort::default(), "");
        if rows.is_empty() {
            let _ = writeln!(out, "{}", view.empty());
            continue;
        }
        let head: Vec<_> = view.columns().iter().map(|column| column.title).collect();
        let rows = rows
            .into_iter()
            .map(|row| row.cells.into_iter().map(|cell| cell.text).collect());
        out += &table(&head, rows.collect());
    }
    out
}
