//! Requests at a steady rate: what the program says of them, and what the tracer does.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{metrics::by_label, outcome::Finding};

/// Counts of a run, by name; what is not named did not occur.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Steady {
    /// Findings by kind.
    pub findings: BTreeMap<String, u64>,
    /// Reads by result.
    pub reads: BTreeMap<String, u64>,
    /// Handoffs by primitive.
    pub hops: BTreeMap<String, u64>,
}

impl Steady {
    /// The fixture that makes the requests.
    pub const FIXTURE: &str = "steady.py";

    /// Reads of the work of a request, where it does not matter.
    pub const READS: u64 = 8;

    /// The fixture's arguments for so many processes that make so many events in a second, and in all, with so many reads in the
    /// work of each request.
    pub fn arguments(processes: u64, events_per_second: u64, events: u64, reads: u64) -> [String; 4] {
        // Of one request, at least: two binds, the reads and one more, and three of a handoff.
        let of_request = 2 + reads + 1 + 3;
        let of_each = |events: u64| events.div_ceil(processes * of_request);
        [processes, of_each(events_per_second), of_each(events), reads].map(|number| number.to_string())
    }

    /// Events that its reads, binds and handoffs are, at least.
    pub fn events(&self) -> u64 {
        let requests: u64 = self.hops.values().sum();
        self.reads.values().sum::<u64>() + (2 + 3) * requests
    }

    /// What the fixture printed.
    ///
    /// # Panics
    /// When it did not run to its end.
    #[track_caller]
    pub fn parse(stdout: &str) -> Self {
        let line = stdout.lines().rfind(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("the fixture did not tell the truth:\n{stdout}"));
        serde_json::from_str(line).expect("the fixture prints JSON")
    }

    /// What a summary says.
    pub fn summarized(summary: &Finding) -> Self {
        let table = |name: &str| -> BTreeMap<String, u64> {
            let table = summary.get(name).and_then(|table| table.as_object());
            let numbers = table
                .into_iter()
                .flatten()
                .filter_map(|(key, number)| Some((key.clone(), number.as_u64()?)));
            numbers.collect()
        };
        Self {
            findings: table("findings"),
            reads: table("reads"),
            hops: table("hops"),
        }
    }

    /// What the agent's metrics say.
    pub fn exported(metrics: &str) -> Self {
        Self {
            findings: by_label(metrics, "bleedtrace_findings_total", "kind"),
            reads: by_label(metrics, "bleedtrace_context_reads_total", "result"),
            hops: by_label(metrics, "bleedtrace_handoffs_total", "primitive"),
        }
    }

    /// Findings that are not in the truth, and those of the truth that are missing.
    pub fn wrong_and_missed(&self, truth: &Self) -> (u64, u64) {
        let mut sums = (0, 0);
        for kind in names(&self.findings, &truth.findings) {
            let (found, there) = (number(&self.findings, kind), number(&truth.findings, kind));
            sums.0 += found.saturating_sub(there);
            sums.1 += there.saturating_sub(found);
        }
        sums
    }

    /// Where this is not the truth. Of handoffs only those that the truth knows are compared: the interpreter makes others by itself.
    pub fn differences(&self, truth: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare =
            |what: &str, found: &BTreeMap<String, u64>, there: &BTreeMap<String, u64>, all: bool| {
                for name in names(found, there) {
                    let (here, expected) = (number(found, name), number(there, name));
                    if here != expected && (all || there.contains_key(name)) {
                        differences.push(format!("{what} {name}: {here}, and in truth {expected}"));
                    }
                }
            };
        compare("findings", &self.findings, &truth.findings, true);
        compare("reads", &self.reads, &truth.reads, true);
        compare("handoffs", &self.hops, &truth.hops, false);
        differences
    }
}

fn names<'a>(one: &'a BTreeMap<String, u64>, other: &'a BTreeMap<String, u64>) -> BTreeSet<&'a String> {
    one.keys().chain(other.keys()).collect()
}

fn number(table: &BTreeMap<String, u64>, name: &str) -> u64 {
    table.get(name).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Steady;

    const TRUTH: &str =
        r#"{"findings": {"bleed": 2, "squat": 2}, "reads": {"own": 9}, "hops": {"to_thread": 3}}"#;

    #[test]
    fn what_is_found_is_compared_with_the_truth() {
        let truth = Steady::parse(&format!("ready\n{TRUTH}\n"));
        let metrics = "bleedtrace_findings_total{kind=\"bleed\",service=\"s\"} 1\n\
                       bleedtrace_findings_total{kind=\"squat\",service=\"s\"} 5\n\
                       bleedtrace_context_reads_total{result=\"own\",service=\"s\"} 9\n\
                       bleedtrace_handoffs_total{primitive=\"thread\",service=\"s\"} 1\n\
                       bleedtrace_handoffs_total{primitive=\"to_thread\",service=\"s\"} 3\n";
        let found = Steady::exported(metrics);
        assert_eq!(found.wrong_and_missed(&truth), (3, 1));
        assert_eq!(
            found.differences(&truth),
            [
                "findings bleed: 1, and in truth 2",
                "findings squat: 5, and in truth 2"
            ]
        );
        assert!(truth.differences(&truth).is_empty());
    }
}
