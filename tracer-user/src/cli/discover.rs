//! `bleedtrace discover`: the processes that can be traced, and why the others cannot.

mod look;

use std::fs;

use serde::Serialize;

use self::look::Looker;
use super::{
    args::{Color, DiscoverArgs, TierArgs, WatchArgs},
    error::{Error, exit},
    output::Output,
    requirements::check_machine,
    table,
};
use crate::report::processes::{Obstacle, ProcessLine, sort};

/// Runs the command; 3 when there are processes that run Python and none can be traced.
pub fn run(args: &DiscoverArgs, color: Color) -> Result<u8, Error> {
    let watch = WatchArgs {
        config: args.config.clone(),
        ..WatchArgs::default()
    };
    let config = watch.resolve(&TierArgs::default())?;
    let output = Output::open(&args.output, false, color)?;
    let machine = check_machine().err();
    let mut looker = Looker::new(config, machine.as_ref().map(|error| error.message().to_owned()));
    let mut lines: Vec<ProcessLine> = pids()?
        .into_iter()
        .filter_map(|pid| looker.look(pid))
        .filter(|(line, python)| args.all || *python || line.version.is_some())
        .map(|(line, _)| line)
        .collect();
    sort(&mut lines);
    let python = lines
        .iter()
        .filter(|line| line.obstacle != Some(Obstacle::NotCpython))
        .count();
    let summary = Summary {
        kind: "summary",
        processes: lines.len(),
        python,
        attachable: lines.iter().filter(|line| line.attachable).count(),
        files_parsed: looker.parsed(),
    };
    output.list(|| text(&lines, &summary), &json(&lines, &summary))?;
    Ok(if python > 0 && summary.attachable == 0 {
        exit::CANNOT_TRACE
    } else {
        exit::CLEAN
    })
}

fn pids() -> Result<Vec<u32>, Error> {
    let entries = fs::read_dir("/proc").map_err(|error| {
        Error::cannot_trace(format!("failed to list processes: {error}"), "is /proc mounted?")
    })?;
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

#[derive(Serialize)]
struct Summary {
    #[serde(rename = "type")]
    kind: &'static str,
    processes: usize,
    python: usize,
    attachable: usize,
    files_parsed: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Process(&'a ProcessLine),
    Summary(&'a Summary),
}

fn json<'a>(lines: &'a [ProcessLine], summary: &'a Summary) -> Vec<Line<'a>> {
    let processes = lines.iter().map(Line::Process);
    processes.chain([Line::Summary(summary)]).collect()
}

fn text(lines: &[ProcessLine], summary: &Summary) -> String {
    if lines.is_empty() {
        return "no process runs python\n".to_owned();
    }
    let head = [
        "PID",
        "USER",
        "SERVICE",
        "CPYTHON",
        "BUILD",
        "TRACEABLE",
        "BECAUSE",
    ];
    let row = |line: &ProcessLine| {
        vec![
            line.pid.to_string(),
            line.user.clone(),
            line.service.clone(),
            line.version.clone().unwrap_or_else(|| "-".to_owned()),
            line.build.map_or_else(|| "-".to_owned(), |build| build.words()),
            if line.attachable { "yes" } else { "no" }.to_owned(),
            line.reason.clone().unwrap_or_default(),
        ]
    };
    let table = table::render(&head, lines.iter().map(row));
    format!(
        "{table}\n{} of {} processes that run python can be traced\n",
        summary.attachable, summary.python
    )
}
