//! The support matrix: what the end-to-end tests ran on, and how they ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{
    DEBIAN, FREE_THREADED, Interpreter, Ran, SUPPORTED, interpreters, missing, results, results_file,
};

use crate::workspace;

const PAGE: &str = "docs/support.md";
const BEGIN: &str = "<!-- support: written by `cargo xtask support` -->\n";
const END: &str = "<!-- /support -->\n";

/// Builds that nobody has run yet.
const NEVER_RUN: [&str; 4] = [
    "conda's",
    "uv's",
    "those of official container images",
    "linked to musl",
];

/// What processors it is for.
const MACHINES: &str = "\nMachines: x86_64. For aarch64 the program is built; under emulation it replayed a recording to the same bytes, reported and checked configurations; \
                        nothing was ever traced there, and it refuses to: where probes go and what they read of registers is worked out for \
                        x86_64 alone.\n";

/// An interpreter's row.
#[derive(Default)]
struct Row {
    version: String,
    /// Passed and run, by suite.
    suites: BTreeMap<String, (u64, u64)>,
    time: u64,
    /// Why nothing ran.
    why_not: Option<String>,
}

impl Row {
    fn passed(&self) -> bool {
        self.suites.values().all(|(passed, run)| passed == run) && !self.suites.is_empty()
    }
}

type Rows = BTreeMap<(u32, String), Row>;

/// Writes the matrix.
pub fn write() -> Result<()> {
    let results = results();
    ensure!(
        !results.is_empty(),
        "nothing ran: {} is empty; run cargo xtask test",
        results_file().display()
    );
    let rows = rows(&results, interpreters(), &missing());
    fs::write(workspace::root().join(PAGE), page(&rows)?)?;
    let readme = workspace::root().join("README.md");
    let text = fs::read_to_string(&readme)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .context("README.md has no place for the table")?;
    let (_, after) = rest
        .split_once(END)
        .context("README.md has no end of the table")?;
    fs::write(readme, format!("{before}{BEGIN}{}{END}{after}", short(&rows)))?;
    println!("{PAGE} and README.md");
    Ok(())
}

fn rows(results: &[Ran], here: &[Interpreter], missing: &[String]) -> Rows {
    let mut rows = Rows::new();
    // A test that ran again counts once, as it ended last.
    let mut last: BTreeMap<(&str, &str, &str), &Ran> = BTreeMap::new();
    for ran in results {
        last.insert((&ran.interpreter, &ran.suite, &ran.test), ran);
    }
    for ran in last.values() {
        let row = rows.entry(key(&ran.interpreter)).or_default();
        row.version.clone_from(&ran.version);
        row.time = row.time.max(ran.time);
        let (passed, run) = row.suites.entry(ran.suite.clone()).or_default();
        *passed += u64::from(ran.passed);
        *run += 1;
    }
    for interpreter in here {
        let row = rows.entry(key(&interpreter.name())).or_default();
        if row.suites.is_empty() {
            row.version.clone_from(&interpreter.version);
            let why = if interpreter.is_supported() {
                "not run"
            } else {
                "not supported"
            };
            row.why_not = Some(why.to_owned());
        }
    }
    for name in missing {
        rows.entry(key(name)).or_default().why_not = Some("not run: not on the machine".to_owned());
    }
    rows
}

/// Rows stand in order of version.
fn key(name: &str) -> (u32, String) {
    (minor(name).unwrap_or(u32::MAX), name.to_owned())
}

/// Of what begins with `3.14` or `3.14t`.
fn minor(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("3.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn page(rows: &Rows) -> Result<String> {
    let suites: BTreeSet<&String> = rows.values().flat_map(|row| row.suites.keys()).collect();
    let mut text = String::from(
        "# Which CPython is traced\n\n\
        Written by `cargo xtask support` from what the end-to-end tests noted when they last ran: tests that passed, of those that ran, for each\n\
        suite of `tests/tests`. *not run* means just that. Builds: with symbols or stripped of them; the interpreter in the executable\n\
        or in a `libpython`. Debian's run in a root directory of their own (`chroot`), with that suite's libraries.\n\n",
    );
    write!(text, "| CPython | full version | tested |")?;
    for suite in &suites {
        write!(text, " {suite} |")?;
    }
    writeln!(text, "\n|---|---|---|{}", "---|".repeat(suites.len()))?;
    for ((_, name), row) in rows {
        let day = if row.time == 0 {
            row.why_not.clone().unwrap_or_default()
        } else {
            day(row.time)?
        };
        write!(text, "| {name} | {} | {day} |", row.version)?;
        for suite in &suites {
            match row.suites.get(*suite) {
                Some((passed, run)) if passed == run => write!(text, " {run} |")?,
                Some((passed, run)) => write!(text, " **{passed} of {run}** |")?,
                None => write!(text, " not run |")?,
            }
        }
        text.push('\n');
    }
    for name in NEVER_RUN {
        writeln!(
            text,
            "| {name} |  | not run |{}",
            " not run |".repeat(suites.len())
        )?;
    }
    let suites: Vec<_> = DEBIAN.iter().map(|suite| suite.name).collect();
    writeln!(
        text,
        "\nSupported: {}, with a GIL; without one, {}. Debian's suites: {}.",
        supported(),
        built(),
        suites.join(", ")
    )?;
    text.push_str(MACHINES);
    Ok(text)
}

fn supported() -> String {
    let versions: Vec<_> = SUPPORTED.iter().map(|minor| format!("3.{minor}")).collect();
    versions.join(", ")
}

fn built() -> String {
    let versions: Vec<_> = FREE_THREADED.iter().map(|minor| format!("3.{minor}t")).collect();
    versions.join(", ")
}

fn day(time: u64) -> Result<String> {
    let output = Command::new("date")
        .args(["-u", "-d", &format!("@{time}"), "+%Y-%m-%d"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The README's table: each version, and the builds on which every test passed.
fn short(rows: &Rows) -> String {
    let mut versions: BTreeMap<(u32, &str), Vec<&str>> = BTreeMap::new();
    for ((minor, name), row) in rows {
        if row.passed() {
            let (version, build) = name.split_once(' ').unwrap_or((name, ""));
            versions.entry((*minor, version)).or_default().push(build);
        }
    }
    let mut text = String::from("| CPython | every test passed on |\n|---|---|\n");
    for ((_, version), builds) in versions {
        let _ = writeln!(text, "| {version} | {} |", builds.join("; "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(interpreter: &str, test: &str, passed: bool) -> Ran {
        Ran {
            interpreter: interpreter.to_owned(),
            version: "3.13.5".to_owned(),
            suite: "must_hold".to_owned(),
            test: test.to_owned(),
            passed,
            time: 86_400,
        }
    }

    #[test]
    fn what_failed_or_did_not_run_is_told() {
        let good = "3.13 debian-trixie stripped executable";
        let bad = "3.12 pyenv symbols libpython";
        let results = [
            ran(good, "a", false),
            ran(good, "a", true),
            ran(bad, "a", true),
            ran(bad, "b", false),
        ];
        let rows = rows(&results, &[], &["3.15 debian-sid".to_owned()]);
        let page = page(&rows).expect("a page");
        assert!(
            page.contains(&format!("| {good} | 3.13.5 | 1970-01-02 | 1 |")),
            "{page}"
        );
        assert!(
            page.contains(&format!("| {bad} | 3.13.5 | 1970-01-02 | **1 of 2** |")),
            "{page}"
        );
        assert!(
            page.contains("| 3.15 debian-sid |  | not run: not on the machine | not run |"),
            "{page}"
        );
        assert_eq!(
            short(&rows),
            "| CPython | every test passed on |\n|---|---|\n| 3.13 | debian-trixie stripped executable |\n"
        );
    }

    /// Versions in the first column of a table.
    fn versions(text: &str) -> BTreeSet<u32> {
        text.lines()
            .filter_map(|line| minor(line.strip_prefix("| ")?))
            .collect()
    }

    #[test]
    fn readme_and_matrix_agree_on_what_is_supported() {
        let read = |file| fs::read_to_string(workspace::root().join(file)).expect("a file of the project");
        let readme = read("README.md");
        let table = readme
            .split(BEGIN)
            .nth(1)
            .and_then(|rest| rest.split(END).next())
            .expect("a table");
        let page = read(PAGE);
        let (supported, built) = (supported(), built());
        assert!(
            page.contains(&format!(
                "\nSupported: {supported}, with a GIL; without one, {built}."
            )),
            "{PAGE}: cargo xtask support"
        );
        assert!(page.ends_with(MACHINES), "{PAGE}: cargo xtask support");
        let (first, last) = (SUPPORTED[0], SUPPORTED[SUPPORTED.len() - 1]);
        assert!(
            readme.contains(&format!("CPython 3.{first} to 3.{last}, with a GIL or without")),
            "README.md: {supported}"
        );
        let ran = |line: &&str| {
            line.split('|')
                .nth(3)
                .is_some_and(|tested| tested.trim().starts_with("20"))
        };
        let passed: Vec<_> = page
            .lines()
            .filter(ran)
            .filter(|line| !line.contains("**"))
            .collect();
        let passed = passed.join("\n");
        assert_eq!(
            versions(table),
            versions(&passed),
            "README.md or {PAGE}: cargo xtask support"
        );
        assert!(!versions(table).is_empty());
    }
}
