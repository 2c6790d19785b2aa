//! `bleedtrace doctor`: can this machine, and a process, be traced? Each check says what is lost when it fails.

mod interpreter;
mod link;
mod machine;
mod process;
mod tasks;
mod wire;

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    args::{DoctorArgs, Format},
    error::{Error, exit},
};
use crate::target::process::Process;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Traced all the same, with the loss that the check names.
    Limited,
    /// Cannot be traced.
    Missing,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What it costs, when it is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub costs: Option<&'static str>,
}

impl Check {
    /// A check that is ok, or missing at a cost.
    pub fn required(check: &'static str, ok: bool, found: impl Into<String>, costs: &'static str) -> Self {
        Self::new(
            check,
            if ok { Outcome::Ok } else { Outcome::Missing },
            found,
            costs,
        )
    }

    /// A check that is ok, or lets something less be traced.
    pub fn wanted(check: &'static str, ok: bool, found: impl Into<String>, costs: &'static str) -> Self {
        Self::new(
            check,
            if ok { Outcome::Ok } else { Outcome::Limited },
            found,
            costs,
        )
    }

    fn new(check: &'static str, outcome: Outcome, found: impl Into<String>, costs: &'static str) -> Self {
        Self {
            check,
            outcome,
            found: found.into(),
            costs: (outcome != Outcome::Ok).then_some(costs),
        }
    }
}

/// Makes the checks and prints them; 3 when one of them is missing, of what was asked about.
pub fn run(args: &DoctorArgs) -> Result<u8, Error> {
    let process = args.pid.map(Process::open).transpose()?;
    let mut checks = machine::checks();
    if let Some(process) = &process {
        checks.extend(process::checks(process));
    }
    match args.format {
        Format::Text => anstream::print!("{}", table(&checks)),
        Format::Json => {
            for check in &checks {
                let line = serde_json::to_string(check)
                    .map_err(|e| Error::cannot_trace(format!("cannot print: {e}"), "report this"))?;
                anstream::println!("{line}");
            }
        }
    }
    let traceable = checks.iter().all(|check| check.outcome != Outcome::Missing);
    Ok(if traceable {
        exit::CLEAN
    } else {
        exit::CANNOT_TRACE
    })
}

fn table(checks: &[Check]) -> String {
    let widest = |text: fn(&Check) -> &str| checks.iter().map(|c| text(c).chars().count()).max().unwrap_or(0);
    let (name, found) = (widest(|c| c.check), widest(|c| &c.found).min(48));
    let mut out = String::new();
    for check in checks {
        let colour = match check.outcome {
            Outcome::Ok => anstyle::AnsiColor::Green,
            Outcome::Limited => anstyle::AnsiColor::Yellow,
            Outcome::Missing => anstyle::AnsiColor::Red,
        }
        .on_default();
        let line = format!(
            "{:name$}  {colour}{:7}{colour:#}  {:found$}  {}",
            check.check,
            check.outcome.name(),
            check.found,
            check.costs.unwrap_or_default(),
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}
