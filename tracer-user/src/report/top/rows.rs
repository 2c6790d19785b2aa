//! Rows of a view: what a person sees of a snapshot, sorted and searched.

use std::cmp::{Ordering, Reverse};

use super::{
    super::{finding::ExportedFinding, finding::Site, hops::HopLine, store::Group, summary::TargetState},
    snapshot::{ProbeLine, ServiceLine, Snapshot, SquatLine},
    view::View,
};
use crate::correlate::finding::Severity;

/// How something is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// It is as it should be.
    Good,
    /// It should be mended.
    Warning,
    /// Identities are mixed up.
    Critical,
    /// It matters less.
    Dim,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What stands there.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
    /// By what it is sorted, where that is not the text.
    value: Option<f64>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Stays the same from one snapshot to the next.
    pub key: String,
    /// One cell for each column.
    pub cells: Vec<Cell>,
}

/// In which order rows stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    /// By this column; none is the order in which they matter.
    pub column: Option<usize>,
    /// The other way round.
    pub reversed: bool,
}

/// The rows of a view that hold this text somewhere, sorted.
pub fn shown(snapshot: &Snapshot, view: View, sort: Sort, filter: &str) -> Vec<Row> {
    let wanted = filter.to_lowercase();
    let holds = |cell: &Cell| cell.text.to_lowercase().contains(&wanted);
    let mut rows = all(snapshot, view);
    rows.retain(|row| wanted.is_empty() || row.cells.iter().any(holds));
    if let Some(column) = sort.column {
        rows.sort_by(|a, b| a.cells[column].compare(&b.cells[column]));
    }
    if sort.reversed {
        rows.reverse();
    }
    rows
}

/// All rows of a view, in the order in which they matter.
fn all(snapshot: &Snapshot, view: View) -> Vec<Row> {
    match view {
        View::Findings => {
            let mut groups: Vec<_> = snapshot.findings.iter().collect();
            groups.sort_by_cached_key(|group| {
                let finding = &group.finding;
                (
                    Reverse(finding.kind.severity()),
                    Reverse(group.count),
                    finding.id.clone(),
                )
            });
            groups.into_iter().map(|group| finding(group)).collect()
        }
        View::Services => services(snapshot),
        View::Hops => snapshot.hops.iter().map(hop).collect(),
        View::Threads => {
            let mut threads: Vec<_> = snapshot.squatting.iter().collect();
            threads.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            threads.into_iter().map(thread).collect()
        }
        View::Tracer => {
            let mut probes: Vec<_> = snapshot.probes.iter().collect();
            probes.sort_by(|a, b| {
                let cost = |line: &ProbeLine| (line.busy.unwrap_or(0.0), line.hits_per_second);
                cost(b)
                    .partial_cmp(&cost(a))
                    .unwrap_or(Ordering::Equal)
                    .then(b.hits.cmp(&a.hits))
            });
            probes.into_iter().map(probe).collect()
        }
    }
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Plain,
            value: None,
        }
    }

    fn number(value: f64, text: String) -> Self {
        Self {
            value: Some(value),
            ..Self::new(text)
        }
    }

    fn count(count: u64) -> Self {
        Self::number(count as f64, super::lines::count(count))
    }

    /// Nothing, of what is a number elsewhere.
    fn none() -> Self {
        Self::number(-1.0, "-".to_owned()).toned(Tone::Dim)
    }

    const fn toned(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// Toned only if there is any.
    fn if_any(self, tone: Tone) -> Self {
        if self.value.is_some_and(|value| value > 0.0) {
            self.toned(tone)
        } else {
            self
        }
    }

    /// Numbers from the highest down, text from A to Z.
    fn compare(&self, other: &Self) -> Ordering {
        match (self.value, other.value) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            _ => self.text.cmp(&other.text),
        }
    }
}

/// The place that matters most in a finding.
fn place(finding: &ExportedFinding) -> Option<&Site> {
    let read = finding.read.as_ref().and_then(|read| read.site.as_ref());
    let bind = finding.bind.as_ref().and_then(|bind| bind.site.as_ref());
    let task = finding.task.as_ref().and_then(|task| task.site.as_ref());
    let hop = finding.hop.as_ref().and_then(|hop| hop.site.as_ref());
    read.or(bind).or(task).or(finding.policy.as_ref()).or(hop)
}

/// A place without its folders, which there is no room for.
pub(super) fn short(site: &Site) -> String {
    let file = site.file.rsplit('/').next().unwrap_or(&site.file);
    format!("{} ({file}:{})", site.function, site.line)
}

fn site(site: Option<&Site>) -> Cell {
    site.map_or_else(|| Cell::new("-").toned(Tone::Dim), |site| Cell::new(short(site)))
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Critical => Tone::Critical,
        Severity::Warning => Tone::Warning,
    }
}

fn finding(group: &Group) -> Row {
    let finding = &group.finding;
    // RFC 3339: the time of day stands between the T and the fraction.
    let last = group.last_time.get(11..19).unwrap_or(&group.last_time);
    Row {
        key: finding.id.clone(),
        cells: vec![
            Cell::new(finding.kind.name()).toned(tone(finding.kind.severity())),
            Cell::count(group.count),
            Cell::count(group.confirmed),
            Cell::new(&finding.slot),
            Cell::new(&finding.service),
            site(place(finding)),
            Cell::new(last),
        ],
    }
}

fn services(snapshot: &Snapshot) -> Vec<Row> {
    let mut lines: Vec<_> = snapshot.services.iter().collect();
    let found = |line: &ServiceLine| {
        let of = |severity: Severity| line.findings.get(severity.name()).copied().unwrap_or(0);
        (of(Severity::Critical), of(Severity::Warning))
    };
    lines.sort_by(|a, b| found(b).cmp(&found(a)).then_with(|| a.service.cmp(&b.service)));
    let untraced = snapshot
        .targets
        .targets
        .iter()
        .filter(|line| matches!(line.state, TargetState::Failed | TargetState::Unsupported));
    let untraced = untraced.map(|line| {
        let mut cells = vec![
            Cell::new(format!("{} ({})", line.service, line.pid)),
            Cell::new(line.state.name()).toned(if line.state == TargetState::Failed {
                Tone::Critical
            } else {
                Tone::Dim
            }),
        ];
        cells.resize(View::Services.columns().len(), Cell::none());
        Row {
            key: format!("{} {}", line.pid, line.since),
            cells,
        }
    });
    lines.into_iter().map(service).chain(untraced).collect()
}

fn service(line: &ServiceLine) -> Row {
    let reads = |result: &str| Cell::count(line.reads.get(result).copied().unwrap_or(0));
    let findings: u64 = line.findings.values().sum();
    let critical = line.findings.contains_key(Severity::Critical.name());
    let state = if line.processes > 0 { "traced" } else { "ended" };
    Row {
        key: line.service.clone(),
        cells: vec![
            Cell::new(&line.service),
            Cell::new(state).toned(if line.processes > 0 { Tone::Good } else { Tone::Dim }),
            Cell::count(line.processes),
            Cell::number(line.events_per_second, super::lines::rate(line.events_per_second)),
            Cell::count(line.handoffs),
            reads("own"),
            reads("foreign").if_any(Tone::Critical),
            reads("empty"),
            Cell::count(line.squatting).if_any(Tone::Warning),
            Cell::count(findings).if_any(if critical { Tone::Critical } else { Tone::Warning }),
        ],
    }
}

/// The sites, by the keys of their rows.
pub(super) fn keyed_hops(snapshot: &Snapshot) -> impl Iterator<Item = (String, &HopLine)> {
    snapshot.hops.iter().map(|line| (hop_key(line), line))
}

fn hop_key(line: &HopLine) -> String {
    let place = line.site.as_ref().map_or_else(String::new, ToString::to_string);
    format!("{} {} {place}", line.service, line.primitive)
}

fn hop(line: &HopLine) -> Row {
    let tone = match line.danger {
        "bleeds" => Tone::Critical,
        "squats" | "loses" => Tone::Warning,
        "carries" => Tone::Good,
        _ => Tone::Plain,
    };
    Row {
        key: hop_key(line),
        cells: vec![
            Cell::new(line.danger).toned(tone),
            Cell::new(line.primitive),
            Cell::count(line.count + line.data),
            site(line.site.as_ref()),
            Cell::new(line.gets.join(", ")),
            Cell::count(line.findings.values().sum()).if_any(tone),
            Cell::new(&line.service),
        ],
    }
}

fn thread(line: &SquatLine) -> Row {
    let left = line.left.as_ref();
    let text = |text: Option<&String>| text.map_or_else(|| Cell::new("-").toned(Tone::Dim), Cell::new);
    Row {
        key: format!("{} {}", line.pid, line.tid),
        cells: vec![
            Cell::new(&line.service),
            Cell::number(f64::from(line.pid), line.pid.to_string()),
            Cell::number(f64::from(line.tid), line.tid.to_string()),
            text(left.map(|left| &left.slot)).toned(Tone::Warning),
            text(left.and_then(|left| left.value.as_ref())),
            Cell::number(line.seconds, super::lines::age(line.seconds)),
            Cell::count(line.times),
            site(left.and_then(|left| left.bind.as_ref().or(left.hop.as_ref()))),
        ],
    }
}

fn probe(line: &ProbeLine) -> Row {
    let measured = |value: Option<f64>, digits: usize| {
        value.map_or_else(Cell::none, |value| {
            Cell::number(value, format!("{value:.digits$}"))
        })
    };
    Row {
        key: line.probe.to_owned(),
        cells: vec![
            Cell::new(line.probe),
            Cell::count(line.hits),
            Cell::number(line.hits_per_second, super::lines::rate(line.hits_per_second)),
            measured(line.nanos_per_hit, 0),
            measured(line.busy.map(|busy| busy * 100.0), 2),
            Cell::count(line.lost).if_any(Tone::Critical),
        ],
    }
}
