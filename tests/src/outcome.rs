//! What a trace said, and how it compares with the truth.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{tracer::Ended, truth::Truth};

/// One finding as it left the tracer.
pub type Finding = Map<String, Value>;

/// What a trace said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In order.
    pub findings: Vec<Finding>,
    /// The last line.
    pub summary: Finding,
    /// How the tracer ended, and what it and the program printed.
    pub ended: Ended,
    /// Just what it wrote.
    pub text: String,
}

/// How the findings of a kind compare with the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Found, and true.
    pub right: u64,
    /// Found, and not true.
    pub wrong: u64,
    /// True, and not found.
    pub missed: u64,
}

/// The facts that a finding of a kind must state, and that fixtures know.
fn facts(kind: &str) -> &'static [&'static str] {
    match kind {
        "bleed" => &[
            "confidence",
            "source",
            "expected",
            "found",
            "primitive",
            "hop",
            "bind",
            "read",
        ],
        "squat" => &["confidence", "found", "primitive", "hop", "bind"],
        "black_hole_read" => &["confidence", "expected", "primitive", "hop", "read"],
        "black_hole_return" | "drift_blindness" => {
            &["confidence", "expected", "primitive", "hop", "bind", "read"]
        }
        "unattributed_task" => &["task"],
        "misattributed_task" => &["found", "task"],
        "empty_check" => &[
            "confidence",
            "expected",
            "primitive",
            "hop",
            "bind",
            "read",
            "policy",
        ],
        "foreign_poll" | "owner_refused" => &["confidence"],
        other => panic!("unknown kind {other}"),
    }
}

/// One fact of a finding in the words of the fixtures.
fn fact(finding: &Finding, name: &str) -> Value {
    let of = |object: &str, key: &str| finding.get(object).and_then(|value| value.get(key)).cloned();
    let value = match name {
        "expected" | "found" => of(name, "value").map(|value| without_address(&value)),
        "primitive" => of("hop", "primitive"),
        "hop" | "bind" | "read" => of(name, "site").map(|site| place(&site)),
        "task" => of("task", "site").and_then(|site| site.get("function").cloned()),
        "policy" => of("policy", "function"),
        _ => finding.get(name).cloned(),
    };
    value.unwrap_or(Value::Null)
}

fn place(site: &Value) -> Value {
    match (site["function"].as_str(), site["line"].as_u64()) {
        (Some(function), Some(line)) => format!("{function}:{line}").into(),
        _ => Value::Null,
    }
}

/// `<Tenant at 0x7f…>` is `<Tenant>` to a fixture.
fn without_address(value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    match text.split_once(" at 0x") {
        Some((name, _)) if text.starts_with('<') => format!("{name}>").into(),
        _ => text.into(),
    }
}

fn kind(finding: &Finding) -> &str {
    finding.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// Findings by what they state, with counts.
pub type Counts = BTreeMap<String, u64>;

fn count(lines: impl Iterator<Item = String>) -> Counts {
    lines.fold(Counts::new(), |mut counts, line| {
        *counts.entry(line).or_default() += 1;
        counts
    })
}

impl Outcome {
    /// Reads the tracer's output.
    ///
    /// # Panics
    /// When a line is no JSON, or the summary is missing.
    #[track_caller]
    pub fn parse(text: &str, ended: Ended) -> Self {
        let mut findings = Vec::new();
        let mut summary = None;
        for line in text.lines() {
            let Ok(Value::Object(object)) = serde_json::from_str(line) else {
                panic!("no JSON object: {line}\n{}", ended.stderr);
            };
            assert!(summary.is_none(), "something follows the summary: {line}");
            match object.get("type").and_then(Value::as_str) {
                Some("finding") => findings.push(object),
                Some("summary") => summary = Some(object),
                _ => panic!("neither finding nor summary: {line}"),
            }
        }
        let summary = summary.unwrap_or_else(|| panic!("no summary; the tracer ended with {ended:?}"));
        Self {
            findings,
            summary,
            ended,
            text: text.to_owned(),
        }
    }

    /// Number of findings of a kind.
    pub fn count(&self, of: &str) -> u64 {
        self.findings.iter().filter(|finding| kind(finding) == of).count() as u64
    }

    /// A number of the summary: `number("reads", "own")`.
    pub fn number(&self, table: &str, key: &str) -> u64 {
        self.summary
            .get(table)
            .and_then(|table| table.get(key))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    /// Events that were lost.
    pub fn lost(&self) -> u64 {
        let lost = self.summary["events"]["lost"].as_object();
        lost.into_iter()
            .flatten()
            .filter_map(|(_, count)| count.as_u64())
            .sum()
    }

    /// The verdict.
    pub fn verdict(&self) -> &str {
        self.summary
            .get("verdict")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The codes of the reasons.
    pub fn reasons(&self) -> Vec<&str> {
        let reasons = self.summary.get("reasons").and_then(Value::as_array);
        reasons
            .into_iter()
            .flatten()
            .filter_map(|reason| reason["code"].as_str())
            .collect()
    }

    /// What the fixture said, and what was found, as counts of what they state.
    #[track_caller]
    pub fn confusion(&self, truth: &Truth) -> (Counts, Counts) {
        let names = |entry: &Finding| -> Vec<&'static str> {
            facts(kind(entry))
                .iter()
                .copied()
                .filter(|name| entry.contains_key(*name))
                .collect()
        };
        let mut known: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
        for entry in &truth.findings {
            known.insert(kind(entry), names(entry));
        }
        let line = |entry: &Finding, value: &dyn Fn(&str) -> Value| {
            let names = known.get(kind(entry)).map_or(&[][..], Vec::as_slice);
            let facts: Vec<_> = names
                .iter()
                .map(|name| format!("{name}={}", value(name)))
                .collect();
            format!("{} {}", kind(entry), facts.join(" "))
        };
        let expected = truth
            .findings
            .iter()
            .map(|entry| line(entry, &|name| entry.get(name).cloned().unwrap_or(Value::Null)));
        let found = self
            .findings
            .iter()
            .map(|entry| line(entry, &|name| fact(entry, name)));
        (count(expected), count(found))
    }

    /// The confusion matrix, by kind.
    pub fn matrix(&self, truth: &Truth) -> BTreeMap<String, Judged> {
        let (expected, found) = self.confusion(truth);
        let mut kinds: BTreeMap<String, Judged> = BTreeMap::new();
        for line in expected
            .keys()
            .chain(found.keys().filter(|line| !expected.contains_key(*line)))
        {
            let (there, here) = (of(&expected, line), of(&found, line));
            let judged = kinds
                .entry(line.split(' ').next().unwrap_or_default().to_owned())
                .or_default();
            judged.right += there.min(here);
            judged.wrong += here.saturating_sub(there);
            judged.missed += there.saturating_sub(here);
        }
        kinds
    }

    /// Everything must be as the fixture says: findings with all they state, counts, verdict, exit code.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_truth(&self, truth: &Truth) {
        let (expected, found) = self.confusion(truth);
        let differences = differences(&expected, &found);
        assert!(
            differences.is_empty(),
            "findings differ:\n{}\n{}",
            differences.join("\n"),
            self.ended.stderr
        );
        for (kind, &number) in &count(truth.findings.iter().map(|entry| kind(entry).to_owned())) {
            assert_eq!(self.number("findings", kind), number, "summary.findings.{kind}");
        }
        for (table, expected) in [("reads", &truth.totals.reads), ("tasks", &truth.totals.tasks)] {
            let events = &self.summary["events"];
            assert_eq!(
                self.nonzero(table),
                *expected,
                "summary.{table}; events: {events}"
            );
        }
        for (primitive, &number) in &truth.totals.hops {
            assert_eq!(self.number("hops", primitive), number, "summary.hops.{primitive}");
        }
        assert!(
            self.findings
                .iter()
                .all(|finding| finding.get("window_complete") == Some(&Value::Bool(true))),
            "nothing was lost, and a finding says otherwise"
        );
        self.assert_verdict(truth.verdict(), truth.totals.reason.as_deref());
    }

    /// The verdict, its reasons, and the exit code that follows.
    ///
    /// # Panics
    /// When they are others.
    #[track_caller]
    pub fn assert_verdict(&self, verdict: &str, reason: Option<&str>) {
        assert_eq!(self.verdict(), verdict, "{:?}", self.summary);
        assert_eq!(
            self.reasons(),
            reason.into_iter().collect::<Vec<_>>(),
            "{:?}",
            self.summary
        );
        let code = match verdict {
            "clean" => 0,
            "findings" => 1,
            _ => 4,
        };
        assert_eq!(self.ended.code, Some(code), "exit code\n{}", self.ended.stderr);
    }

    fn nonzero(&self, table: &str) -> BTreeMap<String, u64> {
        let table = self.summary.get(table).and_then(Value::as_object);
        let numbers = table
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_u64()?)));
        numbers.filter(|(_, number)| *number > 0).collect()
    }
}

fn of(counts: &Counts, line: &str) -> u64 {
    counts.get(line).copied().unwrap_or(0)
}

/// Lines whose counts differ.
fn differences(expected: &Counts, found: &Counts) -> Vec<String> {
    let mut lines: Vec<_> = expected.keys().chain(found.keys()).collect();
    lines.sort();
    lines.dedup();
    lines
        .into_iter()
        .filter(|line| of(expected, line) != of(found, line))
        .map(|line| {
            format!(
                "expected {}, found {}: {line}",
                of(expected, line),
                of(found, line)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> Outcome {
        Outcome::parse(text, Ended::default())
    }

    const FINDING: &str = concat!(
        r#"{"type":"finding","kind":"squat","confidence":"confirmed","found":{"value":"<T at 0x1f>"},"#,
        r#""hop":{"primitive":"submit","site":{"function":"main","file":"x.py","line":3}},"#,
        r#""bind":{"site":{"function":"work","file":"x.py","line":7}},"window_complete":true}"#,
    );
    const SUMMARY: &str = r#"{"type":"summary","verdict":"findings","reasons":[],"findings":{"squat":1}}"#;

    fn truth(bind: &str) -> Truth {
        Truth::parse(&format!(
            concat!(
                r#"{{"type":"finding","kind":"squat","confidence":"confirmed","found":"<T>","primitive":"submit","#,
                r#""hop":"main:3","bind":"{}","read":null}}"#,
                "\n",
                r#"{{"type":"truth","reads":{{}},"tasks":{{}},"hops":{{}},"reason":null}}"#,
            ),
            bind
        ))
    }

    #[test]
    fn a_finding_that_states_the_truth_agrees() {
        let (expected, found) = trace(&format!("{FINDING}\n{SUMMARY}")).confusion(&truth("work:7"));
        assert_eq!(differences(&expected, &found), Vec::<String>::new());
    }

    #[test]
    fn another_place_is_a_missed_and_a_false_finding() {
        let (expected, found) = trace(&format!("{FINDING}\n{SUMMARY}")).confusion(&truth("work:8"));
        assert_eq!(differences(&expected, &found).len(), 2);
    }

    #[test]
    fn a_missed_finding_shows() {
        let (expected, found) = trace(SUMMARY).confusion(&truth("work:7"));
        assert_eq!(differences(&expected, &found).len(), 1);
    }

    #[test]
    fn a_finding_that_nobody_expects_shows() {
        let nothing = Truth::parse(r#"{"type":"truth","reads":{},"tasks":{},"hops":{},"reason":null}"#);
        let (expected, found) = trace(&format!("{FINDING}\n{SUMMARY}")).confusion(&nothing);
        assert_eq!(differences(&expected, &found).len(), 1);
    }
}
