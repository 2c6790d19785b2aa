//! Every series that a query may ask for: those of docs/metrics.md, which is made from the program's own table, and those that rules record.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

/// What a series measures, as powers of its base units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Of seconds: 1 is a time, -1 is "per second", 0 is a number.
    pub seconds: i8,
    /// Of bytes.
    pub bytes: i8,
    /// A point in time, not a span.
    pub instant: bool,
}

impl Unit {
    /// A time.
    pub const SECONDS: Self = Self {
        seconds: 1,
        bytes: 0,
        instant: false,
    };
    /// A point in time.
    pub const INSTANT: Self = Self {
        seconds: 0,
        bytes: 0,
        instant: true,
    };
    const BYTES: Self = Self {
        seconds: 0,
        bytes: 1,
        instant: false,
    };
}

/// One series name.
#[derive(Clone, Debug)]
pub struct Series {
    /// The family that it belongs to.
    pub family: String,
    /// Its labels, those that a scrape adds included.
    pub labels: BTreeSet<String>,
    /// It only grows, so only its rate says something.
    pub counter: bool,
    /// What it measures.
    pub unit: Unit,
    /// A rule records it.
    pub recorded: bool,
}

/// Everything that can be asked for, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog(pub BTreeMap<String, Series>);

/// What Prometheus itself adds, and the families of `process_*`, by whether they are counters.
const OTHERS: [(&str, bool, Unit); 8] = [
    (
        "up",
        false,
        Unit {
            seconds: 0,
            bytes: 0,
            instant: false,
        },
    ),
    ("process_cpu_seconds_total", true, Unit::SECONDS),
    ("process_resident_memory_bytes", false, Unit::BYTES),
    ("process_virtual_memory_bytes", false, Unit::BYTES),
    ("process_start_time_seconds", false, Unit::INSTANT),
    (
        "process_open_fds",
        false,
        Unit {
            seconds: 0,
            bytes: 0,
            instant: false,
        },
    ),
    (
        "process_max_fds",
        false,
        Unit {
            seconds: 0,
            bytes: 0,
            instant: false,
        },
    ),
    (
        "process_threads",
        false,
        Unit {
            seconds: 0,
            bytes: 0,
            instant: false,
        },
    ),
];

impl Catalog {
    /// The series of docs/metrics.md.
    pub fn parse(document: &str) -> Result<Self> {
        let mut catalog = Self::default();
        for section in document.split("\n## ").skip(1) {
            let name = section.lines().next().unwrap_or_default();
            if name == "process_*" {
                continue;
            }
            let field = |field: &str| {
                section
                    .lines()
                    .find_map(|line| line.strip_prefix(&format!("- {field}: ")))
                    .with_context(|| format!("docs/metrics.md: {name} has no {field}"))
            };
            let unit = match field("unit")? {
                "seconds" => Unit::SECONDS,
                "bytes" => Unit::BYTES,
                "seconds since 1970" => Unit::INSTANT,
                _ => Unit::default(),
            };
            ensure!(
                (unit == Unit::default()) != name.contains("_seconds"),
                "docs/metrics.md: {name} does not name its unit"
            );
            let labels = field("labels")?.split(", ").filter(|label| *label != "none");
            let labels: Vec<_> = labels.map(|label| label.trim_matches('`')).collect();
            match field("type")? {
                "counter" => catalog.add(name, name, &labels, true, unit),
                "gauge" => catalog.add(name, name, &labels, false, unit),
                "histogram" => {
                    let with_le: Vec<_> = labels.iter().copied().chain(["le"]).collect();
                    catalog.add(&format!("{name}_bucket"), name, &with_le, true, Unit::default());
                    catalog.add(&format!("{name}_sum"), name, &labels, true, unit);
                    catalog.add(&format!("{name}_count"), name, &labels, true, Unit::default());
                }
                other => bail!("docs/metrics.md: {name} has the type {other}"),
            }
        }
        ensure!(!catalog.0.is_empty(), "docs/metrics.md names no metric");
        for (name, counter, unit) in OTHERS {
            catalog.add(name, name, &[], counter, unit);
        }
        Ok(catalog)
    }

    fn add(&mut self, name: &str, family: &str, labels: &[&str], counter: bool, unit: Unit) {
        let labels = labels.iter().chain(&["job", "instance"]);
        let series = Series {
            family: family.to_owned(),
            labels: labels.map(|label| (*label).to_owned()).collect(),
            counter,
            unit,
            recorded: false,
        };
        self.0.insert(name.to_owned(), series);
    }

    /// The program's own families.
    pub fn families(&self) -> BTreeSet<&str> {
        let own = self
            .0
            .values()
            .filter(|series| !series.recorded && series.family.starts_with("bleedtrace_"));
        own.map(|series| series.family.as_str()).collect()
    }
}
