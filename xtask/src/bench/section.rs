//! What a group of measurements has come to.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{Table as Drawn, presets};
use serde::{Deserialize, Serialize};

use super::{goals, statistics::Spread};

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured; a goal's name where there is a goal.
    pub name: String,
    /// On what: an interpreter, a server.
    pub of: String,
    /// How much.
    #[serde(flatten)]
    pub spread: Spread,
}

/// What is told in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Above it.
    pub columns: Vec<String>,
    /// In order.
    pub rows: Vec<Vec<String>>,
}

/// All of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// When, and on what machine.
    pub conditions: String,
    /// What was done.
    pub text: String,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What is told in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// What was not measured, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

impl Section {
    /// One without figures so far.
    pub fn new(title: &str, text: String) -> Self {
        Self {
            title: title.to_owned(),
            text,
            ..Self::default()
        }
    }

    /// Adds a figure. What had no measurement is missing.
    pub fn add(&mut self, name: &str, of: &str, spread: Option<Spread>) {
        match spread.filter(Spread::is_finite) {
            Some(spread) => self.figures.push(Figure {
                name: name.to_owned(),
                of: of.to_owned(),
                spread,
            }),
            None => self.miss(name, &format!("{of}: no measurement")),
        }
    }

    /// Says why something was not measured.
    pub fn miss(&mut self, what: &str, why: &str) {
        println!("not measured: {what}: {why}");
        self.missing.insert(what.to_owned(), why.to_owned());
    }

    /// Figures in a table: a line for each, a column for each of what they are of.
    pub fn drawn(&self) -> Vec<String> {
        let mut drawn = Vec::new();
        if !self.figures.is_empty() {
            drawn.push(self.pivot());
        }
        drawn.extend(
            self.tables
                .iter()
                .map(|table| draw(&table.columns, table.rows.clone())),
        );
        drawn
    }

    fn pivot(&self) -> String {
        let (mut names, mut subjects) = (Vec::new(), Vec::new());
        for figure in &self.figures {
            if !names.contains(&&figure.name) {
                names.push(&figure.name);
            }
            if !subjects.contains(&&figure.of) {
                subjects.push(&figure.of);
            }
        }
        let mut columns = vec!["figure".to_owned(), "goal".to_owned()];
        columns.extend(subjects.iter().map(|subject| (*subject).clone()));
        let cell = |name: &str, of: &str| {
            let figure = self
                .figures
                .iter()
                .find(|figure| figure.name == name && figure.of == of);
            figure.map_or_else(String::new, |figure| figure.spread.to_string())
        };
        let rows = names.iter().map(|name| {
            let goal = goals::goal(name).map_or_else(String::new, |goal| goal.bound.to_string());
            let mut row = vec![(*name).clone(), goal];
            row.extend(subjects.iter().map(|of| cell(name, of)));
            row
        });
        draw(&columns, rows.collect())
    }

    /// What is wrong with it, whatever the figures are.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.figures.is_empty() && self.tables.is_empty() && self.missing.is_empty() {
            faults.push(format!("{}: nothing was measured", self.title));
        }
        let mut seen = BTreeSet::new();
        for figure in &self.figures {
            if !seen.insert((&figure.name, &figure.of)) {
                faults.push(format!("{}, {}: twice", figure.name, figure.of));
            }
            if !figure.spread.is_finite() {
                faults.push(format!("{}, {}: no number", figure.name, figure.of));
            }
        }
        faults
    }
}

/// A table in Markdown.
pub fn draw(columns: &[String], rows: Vec<Vec<String>>) -> String {
    let mut table = Drawn::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(columns);
    table.add_rows(rows);
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_drawn_with_a_column_for_each_interpreter() {
        let mut section = Section::new("a", String::new());
        section.add("calls", "3.8", Spread::of([1.0]));
        section.add("calls", "3.9", Spread::of([2.0]));
        section.add("other", "3.9", None);
        let drawn = section.drawn().concat();
        assert!(drawn.starts_with("| figure | goal | 3.8  | 3.9  |\n|"), "{drawn}");
        assert!(drawn.contains("| calls  |      | 1.00 | 2.00 |\n"), "{drawn}");
        assert_eq!(section.missing["other"], "3.9: no measurement");
        assert!(section.faults().is_empty());
        section.add("calls", "3.8", Spread::of([1.0]));
        assert_eq!(section.faults(), ["calls, 3.8: twice"]);
        assert_eq!(Section::new("b", String::new()).faults().len(), 1);
    }
}
