//! What every dashboard has to keep to: the rules of Grafana's dashboard-linter, and ours.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    metrics::{Catalog, Unit},
    query::{self, Parts},
};

/// Variables that a selector must be filtered by as soon as its series has a label of that name.
const VARIABLES: [&str; 3] = ["job", "instance", "service"];
/// Labels that make a family too large to be asked for over a fleet: rules record what panels show of it.
pub const LARGE: [&str; 4] = ["service", "slot", "event", "probe"];
/// Words of Grafana's palette, which it adapts to its themes.
const HUES: [&str; 8] = [
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "text",
    "transparent",
];

/// What was found in one dashboard.
#[derive(Debug, Default)]
pub struct Found {
    /// What is wrong.
    pub problems: Vec<String>,
    /// Names of the series that its queries ask for.
    pub series: BTreeSet<String>,
    /// Panels that show something.
    pub panels: u64,
}

/// Looks at a dashboard; `stem` is the name of its file.
pub fn look(stem: &str, dashboard: &Value, catalog: &Catalog) -> Found {
    let mut lint = Lint {
        catalog,
        variables: names(dashboard),
        found: Found::default(),
        place: stem.to_owned(),
    };
    lint.whole(stem, dashboard);
    lint.templates(dashboard);
    for (n, annotation) in list(&dashboard["annotations"]["list"]).iter().enumerate() {
        lint.place = format!("{stem}, annotation {}", n + 1);
        lint.expect(
            annotation["datasource"]["uid"] == "${datasource}",
            "its data source is fixed",
        );
        lint.query(annotation);
    }
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap_or_default();
        lint.place = format!("{stem}, {title:?}");
        lint.expect(!title.is_empty(), "a panel without a title");
        lint.expect(ids.insert(panel["id"].as_u64()), "its id is used twice");
        lint.grid(&panel["gridPos"], &mut cells);
        match panel["type"].as_str() {
            Some("row") => lint.expect(title.ends_with('?'), "a row asks no question"),
            Some("text") => lint.described(panel),
            _ => lint.panel(panel),
        }
    }
    lint.found
}

struct Lint<'a> {
    catalog: &'a Catalog,
    variables: Vec<&'a str>,
    found: Found,
    place: String,
}

impl Lint<'_> {
    fn expect(&mut self, holds: bool, problem: &str) {
        if !holds {
            self.found.problems.push(format!("{}: {problem}", self.place));
        }
    }

    fn whole(&mut self, stem: &str, dashboard: &Value) {
        self.expect(dashboard["uid"] == stem, "its uid is not the name of its file");
        self.expect(
            dashboard.get("id").is_none(),
            "it has the id that one Grafana gave it",
        );
        self.expect(dashboard["editable"] == false, "it can be edited");
        self.expect(
            dashboard["schemaVersion"]
                .as_u64()
                .is_some_and(|version| version >= 39),
            "its schemaVersion is below 39",
        );
        self.expect(
            dashboard["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('?')),
            "its description is not the question that it answers",
        );
        self.expect(
            list(&dashboard["panels"])
                .first()
                .is_some_and(|panel| panel["type"] == "row"),
            "it does not open with a row",
        );
        let links = list(&dashboard["links"]);
        self.expect(
            links.iter().any(|link| {
                link["type"] == "dashboards" && link["includeVars"] == true && link["keepTime"] == true
            }),
            "no link to the other dashboards",
        );
        self.expect(
            links.iter().any(|link| link["type"] == "link"),
            "no link to the documents",
        );
    }

    fn templates(&mut self, dashboard: &Value) {
        let variables = list(&dashboard["templating"]["list"]);
        let first = variables.first().unwrap_or(&Value::Null);
        self.expect(
            first["type"] == "datasource" && first["name"] == "datasource" && first["query"] == "prometheus",
            "its first variable is not the data source",
        );
        self.expect(self.variables.contains(&"job"), "no variable job");
        for variable in variables.iter().skip(1) {
            let name = variable["name"].as_str().unwrap_or_default();
            self.place = format!(
                "{}, variable {name}",
                dashboard["uid"].as_str().unwrap_or_default()
            );
            self.expect(VARIABLES.contains(&name), "nothing is filtered by it");
            self.expect(
                variable["datasource"]["uid"] == "${datasource}",
                "its data source is fixed",
            );
            self.expect(variable["label"].is_string(), "no label");
            self.expect(
                variable["refresh"] == 2,
                "it is not read again when the time range changes",
            );
            self.expect(
                variable["multi"] == true && variable["includeAll"] == true && variable["allValue"] == ".+",
                "not all of it can be chosen",
            );
            let query = variable["query"]["query"].as_str().unwrap_or_default();
            let asked = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.rsplit_once(", "));
            let Some((selector, label)) = asked else {
                self.expect(false, "it is no label_values(series, label)");
                continue;
            };
            self.expect(
                label.strip_suffix(')') == Some(name),
                "it lists the values of another label",
            );
            self.ask(selector, true);
        }
    }

    fn grid(&mut self, grid: &Value, cells: &mut BTreeSet<(u64, u64)>) {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| grid[key].as_u64().unwrap_or(0));
        self.expect(w > 0 && h > 0 && x + w <= 24, "it has no place on the grid");
        let mut free = true;
        for cell in (x..(x + w).min(24)).flat_map(|x| (y..(y + h).min(y + 100)).map(move |y| (x, y))) {
            free &= cells.insert(cell);
        }
        self.expect(free, "it lies upon another panel");
    }

    fn described(&mut self, panel: &Value) {
        let described = panel["description"].as_str().is_some_and(|text| text.len() > 20);
        self.expect(described, "no description");
    }

    fn panel(&mut self, panel: &Value) {
        self.found.panels += 1;
        self.described(panel);
        let defaults = &panel["fieldConfig"]["defaults"];
        self.expect(
            defaults["unit"].as_str().is_some_and(|unit| !unit.is_empty()),
            "no unit",
        );
        self.expect(
            defaults["noValue"].as_str().is_some_and(|text| text.len() > 20),
            "its empty state explains nothing",
        );
        self.expect(
            panel["datasource"]["uid"] == "${datasource}",
            "its data source is fixed",
        );
        self.colours(&panel["fieldConfig"]);
        let targets = list(&panel["targets"]);
        self.expect(!targets.is_empty(), "it asks nothing");
        let mut references = BTreeSet::new();
        for target in targets {
            self.expect(
                references.insert(target["refId"].as_str()),
                "a refId is used twice",
            );
            let unit = self.query(target);
            // The columns of a table have units of their own; a heatmap's is that of its axis.
            if let Some(unit) = unit
                && !["table", "heatmap"].map(Value::from).contains(&panel["type"])
            {
                let shown = defaults["unit"].as_str().unwrap_or_default();
                self.expect(
                    fits(unit, shown),
                    &format!("the unit {shown} does not fit what is asked for"),
                );
            }
        }
    }

    /// Colours are named, wherever they stand.
    fn colours(&mut self, value: &Value) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    match value.as_str() {
                        Some(colour) if key == "color" || key == "fixedColor" => {
                            let hue = colour.rsplit('-').next().unwrap_or_default();
                            self.expect(
                                HUES.contains(&hue),
                                &format!("the colour {colour} does not follow the theme"),
                            );
                        }
                        _ => self.colours(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.colours(item)),
            _ => {}
        }
    }

    fn query(&mut self, target: &Value) -> Option<Unit> {
        let Some(expression) = target["expr"].as_str() else {
            self.expect(false, "a query without an expression");
            return None;
        };
        self.ask(expression, false)
    }

    fn ask(&mut self, expression: &str, variable: bool) -> Option<Unit> {
        let (answer, parts) = match query::analyse(expression, self.catalog) {
            Ok(analysed) => analysed,
            Err(problem) => {
                self.expect(false, &problem);
                return None;
            }
        };
        self.selectors(&parts, variable);
        let asked = [query::RATE_INTERVAL, query::RANGE];
        self.expect(
            parts.ranges.iter().all(|range| asked.contains(range)),
            "a rate over a fixed range instead of $__rate_interval",
        );
        Some(answer.unit)
    }

    fn selectors(&mut self, parts: &Parts, variable: bool) {
        for selector in &parts.selectors {
            let Some(series) = self.catalog.0.get(&selector.name) else {
                continue;
            };
            self.found.series.insert(selector.name.clone());
            let large = LARGE.iter().find(|label| series.labels.contains(**label));
            if let Some(label) = large.filter(|_| !series.recorded) {
                let problem = format!(
                    "{} has a series for each {label}: ask for what a rule records of it",
                    selector.name
                );
                self.expect(false, &problem);
            }
            // A variable is filtered by those before it only.
            let filters = if variable {
                &self.variables[..0]
            } else {
                &self.variables[..]
            };
            let missing: Vec<_> = filters
                .iter()
                .filter(|name| series.labels.contains(**name))
                .filter(|name| {
                    let wanted = ((**name).to_owned(), "=~", format!("${name}"));
                    !selector.matchers.contains(&wanted)
                })
                .map(|name| format!("{} is not filtered by {name}", selector.name))
                .collect();
            self.found
                .problems
                .extend(missing.iter().map(|problem| format!("{}: {problem}", self.place)));
        }
    }
}

/// Whether a unit of Grafana's can show what a query measures.
fn fits(unit: Unit, shown: &str) -> bool {
    match unit {
        Unit { instant: true, .. } => shown.starts_with("dateTime"),
        Unit { bytes: 1, .. } => shown == "bytes",
        Unit { seconds: 1, .. } => shown == "s",
        Unit { seconds: -1, .. } => shown == "ops",
        _ => ["short", "percentunit"].contains(&shown),
    }
}

fn names(dashboard: &Value) -> Vec<&str> {
    let variables = list(&dashboard["templating"]["list"]).iter().skip(1);
    variables
        .filter_map(|variable| variable["name"].as_str())
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
