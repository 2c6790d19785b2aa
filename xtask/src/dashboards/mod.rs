//! Dashboards, rules and documents: held against the metrics that the program defines, and against each other.

mod fleet;
mod layout;
mod links;
mod lint;
mod metrics;
mod query;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::workspace;

/// Where rules are.
pub const RULES_FOLDER: &str = "dashboards/prometheus";
/// Files of rules, in the order in which they build upon each other.
pub const RULES: [&str; 3] = ["rules.yml", "slo.yml", "alerts.yml"];
/// Their tests.
pub const TESTS: [&str; 3] = ["rules_test.yml", "slo_test.yml", "alerts_test.yml"];
/// What a runbook answers.
const RUNBOOK: [&str; 4] = [
    "What it means",
    "What to do now",
    "What can be wrong with the alarm",
    "Afterwards",
];

/// Everything that is looked at, as text.
#[derive(Clone, Debug, Default)]
struct Files {
    /// docs/metrics.md.
    metrics: String,
    /// Dashboards by the names of their files, without the ending.
    dashboards: BTreeMap<String, String>,
    /// By their names; in the order of [`RULES`].
    rules: Vec<(String, String)>,
    tests: Vec<(String, String)>,
    /// federate.yml.
    federation: String,
    /// Markdown, by path from the root of the checkout.
    documents: BTreeMap<PathBuf, String>,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    problems: Vec<String>,
    panels: u64,
    rules: usize,
    documents: usize,
}

/// Looks at everything; gives the number of things that are right.
pub fn check() -> Result<u64> {
    let root = workspace::root();
    let files = Files::read(&root)?;
    let seen = files.look(|path| root.join(path).exists())?;
    for problem in &seen.problems {
        println!("{problem}");
    }
    ensure!(seen.problems.is_empty(), "{} problems", seen.problems.len());
    println!(
        "{} panels, {} rules and the links of {} documents are right",
        seen.panels, seen.rules, seen.documents
    );
    Ok(seen.panels + seen.rules as u64 + seen.documents as u64)
}

/// Writes every dashboard in the one way.
pub fn write() -> Result<()> {
    let root = workspace::root();
    for (stem, text) in Files::read(&root)?.dashboards {
        let path = root.join(format!("dashboards/grafana/{stem}.json"));
        fs::write(&path, layout::written(&parsed(&stem, &text)?))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn parsed(stem: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("{stem}.json is not JSON"))
}

impl Files {
    fn read(root: &Path) -> Result<Self> {
        let read =
            |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"));
        let rules = |names: [&str; 3]| -> Result<Vec<_>> {
            let read = |name: &str| Ok((name.to_owned(), read(&format!("{RULES_FOLDER}/{name}"))?));
            names.into_iter().map(read).collect()
        };
        let mut files = Self {
            metrics: read("docs/metrics.md")?,
            rules: rules(RULES)?,
            tests: rules(TESTS)?,
            federation: read(&format!("{RULES_FOLDER}/federate.yml"))?,
            ..Self::default()
        };
        for path in listed(&root.join("dashboards/grafana"), "json")? {
            let stem = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.dashboards.insert(stem, fs::read_to_string(&path)?);
        }
        for folder in ["", "docs", "docs/runbooks"] {
            for path in listed(&root.join(folder), "md")? {
                let name = Path::new(folder).join(path.file_name().unwrap_or_default());
                files.documents.insert(name, fs::read_to_string(&path)?);
            }
        }
        Ok(files)
    }

    fn look(&self, exists: impl Fn(&Path) -> bool) -> Result<Seen> {
        let mut catalog = metrics::Catalog::parse(&self.metrics)?;
        let mut found = rules::Found::default();
        for (name, text) in &self.rules {
            found.look(&rules::parse(name, text)?, &mut catalog);
        }
        let tests = self
            .tests
            .iter()
            .map(|(name, text)| rules::parse_tests(name, text));
        found.tested(&tests.collect::<Result<Vec<_>>>()?);
        let mut seen = Seen {
            rules: found.alerts.len() + found.recorded.len(),
            documents: self.documents.len(),
            ..Seen::default()
        };
        let mut shown = BTreeSet::new();
        for (stem, text) in &self.dashboards {
            let dashboard = parsed(stem, text)?;
            let look = lint::look(stem, &dashboard, &catalog);
            seen.problems.extend(look.problems);
            seen.panels += look.panels;
            shown.extend(look.series);
            if *text != layout::written(&dashboard) {
                seen.problems.push(format!(
                    "{stem}: not written in the one way; cargo xtask dashboards does"
                ));
            }
            for path in mentioned(text).filter(|path| !exists(Path::new(path))) {
                seen.problems.push(format!("{stem}: no {path}"));
            }
        }
        seen.problems.append(&mut found.problems);
        seen.problems
            .extend(fleet::problems(&self.federation, &shown, &catalog)?);
        shown.extend(found.alerts.values().flatten().cloned());
        seen.problems.extend(unused(&shown, &found, &catalog));
        seen.problems.extend(self.runbooks(&found));
        let documents = self
            .documents
            .iter()
            .map(|(path, text)| (path.clone(), links::read(text)));
        seen.problems.extend(links::broken(&documents.collect(), &exists));
        Ok(seen)
    }

    /// Every alert has a runbook that answers what is asked at night, every runbook an alert.
    fn runbooks(&self, found: &rules::Found) -> Vec<String> {
        let folder = Path::new("docs/runbooks");
        let mut problems = Vec::new();
        for alert in found.alerts.keys() {
            let Some(text) = self.documents.get(&folder.join(format!("{alert}.md"))) else {
                problems.push(format!("{alert}: no runbook"));
                continue;
            };
            let headings = links::read(text).headings;
            if headings.first() != Some(alert) || headings[1..] != RUNBOOK {
                problems.push(format!(
                    "{alert}: its runbook does not have the headings {RUNBOOK:?}"
                ));
            }
        }
        for path in self.documents.keys().filter(|path| path.starts_with(folder)) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if stem != "README" && !found.alerts.contains_key(&*stem) {
                problems.push(format!("{}: no such alert", path.display()));
            }
        }
        problems
    }
}

/// Families that nobody sees, and series that are recorded for nobody.
fn unused(used: &BTreeSet<String>, found: &rules::Found, catalog: &metrics::Catalog) -> Vec<String> {
    let mut reached = used.clone();
    loop {
        let below = reached
            .iter()
            .filter_map(|name| found.recorded.get(name))
            .flatten();
        let more: BTreeSet<_> = below.filter(|name| !reached.contains(*name)).cloned().collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    let families: BTreeSet<_> = reached
        .iter()
        .filter_map(|name| catalog.0.get(name))
        .map(|series| series.family.as_str())
        .collect();
    let unseen = catalog
        .families()
        .into_iter()
        .filter(|family| !families.contains(family));
    let unseen = unseen.map(|family| format!("{family} is in no panel and in no alert"));
    let idle = found.recorded.keys().filter(|name| !reached.contains(*name));
    unseen
        .chain(idle.map(|name| format!("{name} is recorded for nobody")))
        .collect()
}

/// Documents that a dashboard names.
fn mentioned(text: &str) -> impl Iterator<Item = String> {
    text.split("docs/").skip(1).filter_map(|rest| {
        let end = rest.find(".md")?;
        let name = &rest[..end];
        let path = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_-".contains(c));
        path.then(|| format!("docs/{name}.md"))
    })
}

fn listed(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == extension));
    paths.sort();
    Ok(paths)
}
