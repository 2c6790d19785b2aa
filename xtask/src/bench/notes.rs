//! `docs/benchmarks.md`: the last run of every benchmark.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::workspace;

const INTRODUCTION: &str = "# Benchmarks

The last run of `cargo xtask bench hit`, of `attach`, of `fleet`, of `record` and of `wire`, which write this file. Figures are
medians with the quarters below and above them, unless it says otherwise. Ratios compare runs that alternate within one process; nanoseconds and milliseconds are
those of one machine and tell no more than their order of magnitude.
";

/// Replaces a benchmark's section.
pub fn replace(title: &str, body: &str) -> Result<()> {
    let path = workspace::root().join("docs/benchmarks.md");
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(
        &path,
        with_section(&before, title, &format!("{}\n\n{body}", conditions()?)),
    )
    .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

fn with_section(document: &str, title: &str, body: &str) -> String {
    let kept = document
        .split("\n## ")
        .skip(1)
        .filter(|section| section.lines().next() != Some(title));
    let mut sections: Vec<String> = kept.map(|section| section.trim_end().to_owned()).collect();
    sections.push(format!("{title}\n\n{}", body.trim_end()));
    sections.sort();
    sections
        .iter()
        .fold(INTRODUCTION.to_owned(), |document, section| {
            format!("{document}\n## {section}\n")
        })
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
    use super::*;

    #[test]
    fn a_section_replaces_its_earlier_self() {
        let first = with_section("", "b", "old");
        let second = with_section(&with_section(&first, "a", "other"), "b", "new");
        assert_eq!(second, format!("{INTRODUCTION}\n## a\n\nother\n\n## b\n\nnew\n"));
    }
}
