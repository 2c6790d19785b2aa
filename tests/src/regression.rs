//! CPython's own tests, run by an interpreter with and without a tracer.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{Program, Setup, Trace};

/// A whole suite, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A test that recurses until it is interrupted after a second; on a busy machine the interrupt is lost in an `except`, and it goes on
/// for ever, traced or not.
const SPINS: &str = "test_print_exception_gh_102056";

/// How each test ended, by its full name.
pub type Results = BTreeMap<String, String>;

/// The same tests twice.
#[derive(Clone, Debug)]
pub struct Regression {
    /// Without a tracer.
    pub alone: Results,
    /// With one.
    pub traced: Results,
    /// The exit codes of the two runs.
    pub codes: [Option<i64>; 2],
}

impl Regression {
    /// Runs tests twice, as `python -m test ARGUMENTS` does; none when the interpreter comes without the suites among the arguments.
    ///
    /// # Panics
    /// When they do not run to their end, or the tracer does not.
    #[track_caller]
    pub fn run(setup: &Setup, arguments: &[&str]) -> Option<Self> {
        let suites = arguments.iter().filter(|argument| argument.starts_with("test_"));
        let imports: Vec<_> = suites.map(|suite| format!("import test.{suite}")).collect();
        let there = setup
            .command()
            .args(["-c", &imports.join("\n")])
            .output()
            .is_ok_and(|output| output.status.success());
        if !there || setup.interpreter.root.is_some() {
            return None;
        }
        let (report, words) = words(setup, arguments);
        let ended = Program::start(Command::new(&words[0]).args(&words[1..])).end_within(PATIENCE);
        let alone = take(&report).unwrap_or_else(|| panic!("the tests wrote no report: {ended:?}"));
        let (report, words) = self::words(setup, arguments);
        // Names that these tests use, so that values are read as well.
        let names = ["a", "c", "cv", "cvar", "decimal_context"].map(|name| ["--identity", name]);
        let outcome = Trace::new(setup, "var")
            .flags(names.iter().flatten())
            .command(words)
            .end_within(PATIENCE);
        let traced =
            take(&report).unwrap_or_else(|| panic!("the tests wrote no report: {:?}", outcome.ended));
        Some(Self {
            alone,
            traced,
            codes: [
                ended.code.map(i64::from),
                outcome.summary["command_exit"].as_i64(),
            ],
        })
    }

    /// What ended in another way when it was traced.
    pub fn differences(&self) -> Vec<String> {
        let said = |results: &Results, name: &str| {
            results.get(name).cloned().unwrap_or_else(|| "not run".to_owned())
        };
        let mut names: Vec<_> = self.alone.keys().chain(self.traced.keys()).collect();
        names.sort();
        names.dedup();
        let codes = self.codes.map(|code| format!("{code:?}"));
        let exit = ("exit code".to_owned(), codes[0].clone(), codes[1].clone());
        names
            .into_iter()
            .map(|name| (name.clone(), said(&self.alone, name), said(&self.traced, name)))
            .chain([exit])
            .filter(|(_, alone, traced)| alone != traced)
            .map(|(name, alone, traced)| format!("{name}: {alone}, and {traced} when traced"))
            .collect()
    }
}

fn words(setup: &Setup, arguments: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let report = std::env::temp_dir().join(format!(
        "bleedtrace-regression-{}-{number}.xml",
        std::process::id()
    ));
    let mut words = setup.interpreter.words();
    words.extend(["-m", "test", "--junit-xml"].map(PathBuf::from));
    words.push(report.clone());
    words.extend(arguments.iter().map(PathBuf::from));
    // Of several patterns the last one wins, and what no pattern matches is run if the first one excludes.
    words.extend(["-i", SPINS].map(PathBuf::from));
    (report, words)
}

fn take(report: &PathBuf) -> Option<Results> {
    let text = fs::read_to_string(report).ok()?;
    let _ = fs::remove_file(report);
    Some(results(&text))
}

/// Reads a report: each `testcase` names its test, and holds an element that says why it did not pass.
fn results(text: &str) -> Results {
    let mut results = Results::new();
    for case in text.split("<testcase ").skip(1) {
        let Some(name) = case
            .split("name=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let ended = ["failure", "error", "skipped"]
            .into_iter()
            .find(|element| case.contains(&format!("<{element}")))
            .unwrap_or("passed");
        // One test may be reported several times, for its parts.
        let entry = results.entry(name.to_owned()).or_default();
        if !entry.is_empty() {
            entry.push(' ');
        }
        entry.push_str(ended);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = concat!(
        r#"<testsuites tests="3"><testsuite tests="3"><testcase name="t.A.one" status="run" time="0.1" />"#,
        r#"<testcase name="t.A.two" status="run" time="0.1"><failure>assert</failure></testcase>"#,
        r#"<testcase name="t.A.three" status="run"><skipped>why</skipped></testcase></testsuite></testsuites>"#,
    );

    #[test]
    fn a_report_says_how_each_test_ended() {
        let expected = [
            ("t.A.one", "passed"),
            ("t.A.two", "failure"),
            ("t.A.three", "skipped"),
        ];
        assert_eq!(
            results(REPORT),
            expected
                .map(|(name, ended)| (name.to_owned(), ended.to_owned()))
                .into()
        );
    }

    #[test]
    fn what_ends_in_another_way_or_not_at_all_is_a_difference() {
        let mut traced = results(REPORT);
        traced.insert("t.A.one".to_owned(), "error".to_owned());
        traced.remove("t.A.three");
        let regression = Regression {
            alone: results(REPORT),
            traced,
            codes: [Some(0), Some(2)],
        };
        assert_eq!(
            regression.differences(),
            [
                "t.A.one: passed, and error when traced",
                "t.A.three: skipped, and not run when traced",
                "exit code: Some(0), and Some(2) when traced"
            ]
        );
    }
}
