//! What a fleet's own Prometheus takes from those below it: all that panels ask for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use promql_parser::parser::{self, Expr};
use serde::Deserialize;

use super::{lint::LARGE, metrics::Catalog};

#[derive(Debug, Deserialize)]
struct Configuration {
    scrape_configs: Vec<Scrape>,
}

#[derive(Debug, Deserialize)]
struct Scrape {
    params: BTreeMap<String, Vec<String>>,
}

/// What is wrong with a configuration: what panels ask for and it does not take, and what it takes that is too much.
pub fn problems(text: &str, asked: &BTreeSet<String>, catalog: &Catalog) -> Result<Vec<String>> {
    let configuration: Configuration = serde_saphyr::from_str(text).context("cannot read federate.yml")?;
    let mut names = Vec::new();
    for selector in configuration
        .scrape_configs
        .iter()
        .filter_map(|scrape| scrape.params.get("match[]"))
        .flatten()
    {
        let parsed = parser::parse(selector).map_err(anyhow::Error::msg);
        let Expr::VectorSelector(vector) = parsed.with_context(|| format!("in {selector}"))? else {
            anyhow::bail!("{selector} is no selector");
        };
        names.push(vector);
    }
    let taken = |series: &str| {
        names.iter().any(|vector| {
            let mut matchers = vector.matchers.matchers.iter();
            vector.name.as_deref() == Some(series)
                || matchers.any(|matcher| matcher.name == "__name__" && matcher.is_match(series))
        })
    };
    let missing = asked
        .iter()
        .filter(|name| !taken(name))
        .map(|name| format!("federate.yml: does not take {name}, which panels ask for"));
    let large = catalog.0.iter().filter(|(name, series)| {
        !series.recorded && taken(name) && LARGE.iter().any(|label| series.labels.contains(*label))
    });
    let large = large.map(|(name, _)| format!("federate.yml: takes {name} of every agent"));
    Ok(missing.chain(large).collect())
}
