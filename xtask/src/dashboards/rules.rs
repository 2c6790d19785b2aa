//! Alerts and recorded series: what they ask for exists, and people learn what to do.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{
    metrics::{Catalog, Series},
    query,
};

/// A file of rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    #[serde(rename = "for")]
    #[expect(dead_code, reason = "named so that other keys are unknown")]
    pending: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A file of tests for rules, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub struct Tests {
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
struct Test {
    input_series: Vec<Input>,
    #[serde(default)]
    promql_expr_test: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
struct Input {
    series: String,
}

#[derive(Debug, Deserialize)]
struct Expected {
    expr: String,
    #[serde(default)]
    exp_samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    #[serde(default)]
    labels: String,
}

/// What the rules are, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Found {
    /// What is wrong.
    pub problems: Vec<String>,
    /// Every alert, and what it asks for.
    pub alerts: BTreeMap<String, BTreeSet<String>>,
    /// Every recorded series, and what it is made of.
    pub recorded: BTreeMap<String, BTreeSet<String>>,
}

/// Reads rules.
pub fn parse(name: &str, text: &str) -> Result<File> {
    serde_saphyr::from_str(text).with_context(|| format!("cannot read {name}"))
}

/// Reads tests of rules.
pub fn parse_tests(name: &str, text: &str) -> Result<Tests> {
    serde_saphyr::from_str(text).with_context(|| format!("cannot read {name}"))
}

impl Found {
    /// Looks at a file's rules, in their order; what they record can be asked for afterwards.
    pub fn look(&mut self, file: &File, catalog: &mut Catalog) {
        for (group, rule) in file
            .groups
            .iter()
            .flat_map(|group| group.rules.iter().map(move |rule| (&group.name, rule)))
        {
            let name = rule.alert.as_ref().or(rule.record.as_ref());
            let Some(name) = name.filter(|_| rule.alert.is_none() || rule.record.is_none()) else {
                self.problems
                    .push(format!("a rule of {group} is neither an alert nor a record"));
                continue;
            };
            let (answer, parts) = match query::analyse(&rule.expr, catalog) {
                Ok(analysed) => analysed,
                Err(problem) => {
                    self.problems.push(format!("{name}: {problem}"));
                    continue;
                }
            };
            let asked: BTreeSet<_> = parts
                .selectors
                .into_iter()
                .map(|selector| selector.name)
                .collect();
            let labels = answer.labels.unwrap_or_default();
            if rule.alert.is_some() {
                self.alert(name, rule, &labels);
                self.alerts.insert(name.clone(), asked);
                continue;
            }
            self.record(name, &labels);
            let series = Series {
                family: name.clone(),
                labels,
                counter: false,
                unit: answer.unit,
                recorded: true,
            };
            if catalog.0.insert(name.clone(), series).is_some() {
                self.problems.push(format!("{name} is recorded twice"));
            }
            self.recorded.insert(name.clone(), asked);
        }
    }

    /// A name is level:metric:operation, and what its level tells apart is there.
    fn record(&mut self, name: &str, labels: &BTreeSet<String>) {
        let parts: Vec<_> = name.split(':').collect();
        let [level, metric, operation] = parts[..] else {
            self.problems
                .push(format!("{name} is not named level:metric:operation"));
            return;
        };
        if !metric.starts_with("bleedtrace_") || metric.ends_with("_total") || operation.is_empty() {
            self.problems
                .push(format!("{name} is not named level:metric:operation"));
        }
        let told_apart = match level {
            "service" | "instance" => vec!["job", level],
            "job" => vec!["job"],
            _ => {
                self.problems.push(format!("{name} has the level {level}"));
                return;
            }
        };
        if let Some(label) = told_apart.iter().find(|label| !labels.contains(**label)) {
            self.problems.push(format!("{name} has no label {label}"));
        }
        if level != "instance" && labels.contains("instance") {
            self.problems
                .push(format!("{name} does not sum up over instances"));
        }
    }

    fn alert(&mut self, name: &str, rule: &Rule, labels: &BTreeSet<String>) {
        let mut expect = |holds: bool, problem: &str| {
            if !holds {
                self.problems.push(format!("{name}: {problem}"));
            }
        };
        let camel = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        expect(camel, "its name is not in camel case");
        let severity = rule.labels.get("severity").map(String::as_str);
        expect(
            matches!(severity, Some("critical" | "warning")),
            "its severity is neither critical nor warning",
        );
        for annotation in ["summary", "description"] {
            expect(
                rule.annotations
                    .get(annotation)
                    .is_some_and(|text| text.len() > 20),
                &format!("no {annotation}"),
            );
        }
        let runbook = format!("docs/runbooks/{name}.md");
        expect(
            rule.annotations.get("runbook_url") == Some(&runbook),
            &format!("its runbook_url is not {runbook}"),
        );
        for text in rule.annotations.values() {
            for label in text.split("$labels.").skip(1) {
                let end = label
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(label.len());
                expect(
                    labels.contains(&label[..end]),
                    &format!("no label {} to write about", &label[..end]),
                );
            }
        }
    }

    /// Every alert is seen to fire in a test, and to be silent in one that has everything it asks for.
    pub fn tested(&mut self, tests: &[Tests]) {
        let tests = || tests.iter().flat_map(|file| &file.tests);
        for (alert, asked) in &self.alerts {
            let firing = tests().flat_map(|test| &test.promql_expr_test).any(|expected| {
                let samples = &mut expected.exp_samples.iter();
                samples.any(|sample| {
                    sample.labels.contains(&format!(r#"alertname="{alert}""#))
                        && sample.labels.contains(r#"alertstate="firing""#)
                })
            });
            if !firing {
                self.problems.push(format!("{alert}: no test in which it fires"));
            }
            let made_of = |name: &String| {
                self.recorded
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| BTreeSet::from([name.clone()]))
            };
            let mut needed = asked.clone();
            while needed.iter().any(|name| self.recorded.contains_key(name)) {
                needed = needed.iter().flat_map(made_of).collect();
            }
            let silent = tests().any(|test| {
                let given = |name: &String| {
                    let given = |input: &Input| input.series.split('{').next() == Some(name);
                    test.input_series.iter().any(given)
                };
                let quiet = |expected: &Expected| {
                    expected.expr.contains("ALERTS")
                        && (!expected.expr.contains("alertname=")
                            || expected.expr.contains(&format!(r#"alertname="{alert}""#)))
                        && !expected
                            .exp_samples
                            .iter()
                            .any(|sample| sample.labels.contains(&format!("\"{alert}\"")))
                };
                needed.iter().all(given) && test.promql_expr_test.iter().any(quiet)
            });
            if !silent {
                self.problems.push(format!(
                    "{alert}: no test in which it is silent though it has what it asks for"
                ));
            }
        }
    }
}
