//! What a fixture says about itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Ground truth of one run.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// One entry for every finding, with those of its facts that the fixture knows.
    pub findings: Vec<Map<String, Value>>,
    /// Everything else.
    pub totals: Totals,
}

/// Counts that must come out exactly, where the fixture names them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Totals {
    /// By result; a result that is not named did not occur.
    pub reads: BTreeMap<String, u64>,
    /// By attribution; one that is not named did not occur.
    pub tasks: BTreeMap<String, u64>,
    /// By primitive; only those that are named are known.
    pub hops: BTreeMap<String, u64>,
    /// Why nothing is proven.
    pub reason: Option<String>,
}

impl Truth {
    /// Reads what a fixture printed.
    ///
    /// # Panics
    /// When it did not print its truth: it did not run to its end.
    #[track_caller]
    pub fn parse(stdout: &str) -> Self {
        let mut truth = Self::default();
        let mut complete = false;
        for line in stdout.lines().filter(|line| line.starts_with('{')) {
            let Value::Object(mut entry) = serde_json::from_str(line).expect("the fixture prints JSON")
            else {
                continue;
            };
            match entry.remove("type").as_ref().and_then(Value::as_str) {
                Some("finding") => truth.findings.push(entry),
                Some("truth") => {
                    truth.totals =
                        serde_json::from_value(Value::Object(entry)).expect("the fixture's totals");
                    complete = true;
                }
                _ => {}
            }
        }
        assert!(complete, "the fixture did not tell the truth:\n{stdout}");
        truth
    }

    /// The verdict that follows.
    pub fn verdict(&self) -> &'static str {
        match (self.findings.is_empty(), &self.totals.reason) {
            (false, _) => "findings",
            (true, Some(_)) => "no_verdict",
            (true, None) => "clean",
        }
    }
}
