//! What is asked for, to be asked for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};

use super::{Files, metrics::Catalog, parsed, query, rules};
use crate::workspace;

/// A query of what ships.
#[derive(Debug)]
pub struct Asked {
    /// The file that it is in, without its ending.
    pub group: String,
    /// The rule's name, or the panel's title.
    pub place: String,
    /// The query, with the variables of dashboards in it.
    pub expression: String,
    /// It asks for now, not for a time range.
    pub instant: bool,
    /// It is an alert's.
    pub alert: bool,
    /// Labels that the rule sets.
    pub labels: BTreeMap<String, String>,
    /// Names of what it asks for.
    pub series: BTreeSet<String>,
}

/// The queries of rules, in the order in which they build upon each other.
pub fn asked_by_rules() -> Result<Vec<Asked>> {
    Ok(all()?.0)
}

/// The queries of panels.
pub fn asked_by_panels() -> Result<Vec<Asked>> {
    Ok(all()?.1)
}

fn all() -> Result<(Vec<Asked>, Vec<Asked>)> {
    let files = Files::read(&workspace::root())?;
    let mut catalog = Catalog::parse(&files.metrics)?;
    let mut of_rules = Vec::new();
    for (file, text) in &files.rules {
        let parsed = rules::parse(file, text)?;
        rules::Found::default().look(&parsed, &mut catalog);
        for (name, expression, labels, alert) in parsed.rules() {
            of_rules.push(Asked {
                group: file.clone(),
                place: name.to_owned(),
                expression: expression.to_owned(),
                instant: true,
                alert,
                labels: labels.clone(),
                series: series(expression, &catalog)?,
            });
        }
    }
    let mut of_panels = Vec::new();
    for (stem, text) in &files.dashboards {
        let dashboard = parsed(stem, text)?;
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().unwrap_or_default();
                of_panels.push(Asked {
                    group: format!("{stem}.json"),
                    place: panel["title"].as_str().unwrap_or_default().to_owned(),
                    expression: expression.to_owned(),
                    instant: target["instant"] == true,
                    alert: false,
                    labels: BTreeMap::new(),
                    series: series(expression, &catalog)?,
                });
            }
        }
    }
    Ok((of_rules, of_panels))
}

fn series(expression: &str, catalog: &Catalog) -> Result<BTreeSet<String>> {
    let (_, parts) = query::analyse(expression, catalog).map_err(|problem| anyhow!(problem))?;
    Ok(parts
        .selectors
        .into_iter()
        .map(|selector| selector.name)
        .collect())
}
