//! `docs/benchmarks.json`, which keeps the last run of every group, and `docs/benchmarks.md`, which is made from it.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use anyhow::{Context as _, Result};

use super::{
    goals::{GOALS, Goal},
    section::{Figure, Section, draw},
};
use crate::workspace;

const DATA: &str = "docs/benchmarks.json";
const PAGE: &str = "docs/benchmarks.md";
const REMARKS: &str = "docs/benchmarks-remarks.toml";

const INTRODUCTION: &str = "# Benchmarks

The last run of `cargo xtask bench`, which writes this file from [benchmarks.json](benchmarks.json). Figures are medians, with the quarters below
and above them in brackets. Ratios compare runs that alternate: each of them is of one round, in which everything was measured in turn, and
the figure is the median of the rounds. Nanoseconds and milliseconds are those of one machine and tell no more than their order of magnitude.
";

/// Groups by name.
pub type Sections = BTreeMap<String, Section>;

/// Replaces what is known of some groups, and writes both files.
pub fn write(measured: Sections) -> Result<()> {
    let mut sections = read()?;
    let conditions = conditions()?;
    for (group, mut section) in measured {
        section.conditions.clone_from(&conditions);
        sections.insert(group, section);
    }
    let data = workspace::root().join(DATA);
    fs::write(&data, json(&sections)?).with_context(|| format!("cannot write {DATA}"))?;
    println!("{}", data.display());
    render()
}

/// Writes the page anew from what is known.
pub fn render() -> Result<()> {
    let path = workspace::root().join(PAGE);
    fs::write(&path, page(&read()?, &remarks()?)).with_context(|| format!("cannot write {PAGE}"))?;
    println!("{}", path.display());
    Ok(())
}

/// As it is kept.
pub fn json(sections: &Sections) -> Result<String> {
    Ok(serde_json::to_string_pretty(sections)? + "\n")
}

/// What was kept so.
pub fn parse(text: &str) -> Result<Sections> {
    serde_json::from_str(text).context("the JSON of benchmarks")
}

fn read() -> Result<Sections> {
    match fs::read_to_string(workspace::root().join(DATA)) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Sections::new()),
        Err(error) => Err(error).context(format!("cannot read {DATA}")),
    }
}

/// What is written about figures that miss their goal.
fn remarks() -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(workspace::root().join(REMARKS));
    let text = text.with_context(|| format!("cannot read {REMARKS}"))?;
    toml::from_str(&text).with_context(|| format!("cannot understand {REMARKS}"))
}

fn page(sections: &Sections, remarks: &BTreeMap<String, String>) -> String {
    let mut page = format!("{INTRODUCTION}\n## Goals\n\n{}", goals(sections, remarks));
    let mut ordered: Vec<&Section> = sections.values().collect();
    ordered.sort_by_key(|section| &section.title);
    for section in ordered {
        let Section {
            title,
            conditions,
            text,
            missing,
            ..
        } = section;
        let _ = write!(page, "\n## {title}\n\n{conditions}\n\n{text}\n");
        for table in section.drawn() {
            let _ = write!(page, "\n{table}");
        }
        if !missing.is_empty() {
            page += "\nNot measured:\n\n";
        }
        for (what, why) in missing {
            let _ = writeln!(page, "- {what}: {why}");
        }
    }
    page
}

/// What has to be reached, what is, and what is written about what is not.
fn goals(sections: &Sections, remarks: &BTreeMap<String, String>) -> String {
    let mut text = String::from(
        "Of the interpreters and servers that a figure was measured on, the one furthest from the goal.\n\n",
    );
    let columns = ["figure", "goal", "measured", "on", "reached"].map(str::to_owned);
    let rows = GOALS
        .iter()
        .map(|goal| row(goal, &figures(sections, goal)))
        .collect();
    text += &draw(&columns, rows);
    for goal in &GOALS {
        let figures = figures(sections, goal);
        if !figures.is_empty() && figures.iter().all(|figure| goal.bound.is_reached(&figure.spread)) {
            continue;
        }
        match remarks.get(goal.name) {
            Some(remark) => {
                let _ = write!(text, "\n**{}**: {}\n", goal.name, remark.trim());
            }
            None if figures.is_empty() => {}
            None => {
                let _ = write!(
                    text,
                    "\n**{}**: missed, and nothing is written about it in {REMARKS}.\n",
                    goal.name
                );
            }
        }
    }
    text
}

fn figures<'a>(sections: &'a Sections, goal: &Goal) -> Vec<&'a Figure> {
    let all = sections.get(goal.group.name()).into_iter();
    all.flat_map(|section| &section.figures)
        .filter(|figure| figure.name == goal.name)
        .collect()
}

fn row(goal: &Goal, figures: &[&Figure]) -> Vec<String> {
    let worst = figures.iter().max_by(|one, other| {
        let [one, other] = [one, other].map(|figure| goal.bound.badness(&figure.spread));
        one.total_cmp(&other)
    });
    let reached = figures
        .iter()
        .filter(|figure| goal.bound.is_reached(&figure.spread))
        .count();
    let verdict = match (reached, figures.len()) {
        (_, 0) => "not measured".to_owned(),
        (reached, all) if reached == all => "yes".to_owned(),
        (0, _) => "**no**".to_owned(),
        (reached, all) => format!("**on {reached} of {all}**"),
    };
    vec![
        goal.name.to_owned(),
        goal.bound.to_string(),
        worst.map_or_else(String::new, |figure| figure.spread.to_string()),
        worst.map_or_else(String::new, |figure| figure.of.clone()),
        verdict,
    ]
}

fn conditions() -> Result<String> {
    Ok(format!(
        "{}, Linux {}, {} processors, bleedtrace {}.",
        said("date", &["-u", "+%Y-%m-%d"])?,
        said("uname", &["-r"])?,
        std::thread::available_parallelism()?,
        env!("CARGO_PKG_VERSION")
    ))
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{goals::FILTERED, goals::goal, statistics::Spread},
        *,
    };

    fn measured(ratios: &[(&str, f64)]) -> Sections {
        let mut section = Section::new("What a hit costs", "Rounds.".to_owned());
        for (of, ratio) in ratios {
            section.add(FILTERED, of, Spread::of([*ratio]));
        }
        Sections::from([("hit".to_owned(), section)])
    }

    #[test]
    fn the_worst_of_all_interpreters_stands_beside_the_goal() {
        let sections = measured(&[("3.8", 1.1), ("3.9", 1.4)]);
        let goal = goal(FILTERED).expect("a goal");
        let row = row(goal, &figures(&sections, goal));
        assert_eq!(row[1..], ["at most 1.2", "1.40", "3.9", "**on 1 of 2**"]);
        let said = page(&sections, &BTreeMap::new());
        assert!(
            said.contains(&format!("**{FILTERED}**: missed, and nothing is written")),
            "{said}"
        );
        let remarks = BTreeMap::from([(FILTERED.to_owned(), "Because.".to_owned())]);
        assert!(page(&sections, &remarks).contains(&format!("**{FILTERED}**: Because.\n")));
        assert!(!page(&measured(&[("3.8", 1.1)]), &remarks).contains("Because."));
    }

    #[test]
    fn what_is_kept_reads_back() {
        let mut sections = measured(&[("3.8", 1.234_567)]);
        sections
            .get_mut("hit")
            .expect("measured")
            .miss("bpftrace", "not installed");
        assert_eq!(parse(&json(&sections).expect("written")).expect("read"), sections);
    }

    #[test]
    fn every_remark_is_about_a_goal() {
        for name in remarks().expect("readable").keys() {
            assert!(goal(name).is_some(), "{REMARKS}: {name}");
        }
    }

    #[test]
    fn the_page_is_made_from_what_is_kept() {
        let written = fs::read_to_string(workspace::root().join(PAGE)).expect("the page");
        let made = page(&read().expect("kept"), &remarks().expect("readable"));
        assert!(written == made, "{PAGE}: cargo xtask bench --render");
    }
}
