//! A bundled proxy under the traffic of two tenants, traced.

use std::{collections::BTreeMap, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bleedtrace_tests::{free_port, get, installed, sample};

use crate::workspace;

/// What the demo shows: kinds of finding that the proxy's mistakes must lead to.
const SHOWN: [&str; 5] = [
    "bleed",
    "squat",
    "black_hole_read",
    "black_hole_return",
    "unattributed_task",
];

/// Traces the proxy; fails when it does not show what it should.
pub fn run() -> Result<()> {
    let bleedtrace = workspace::release()?;
    // The proxy calls `asyncio.to_thread`.
    let interpreter = installed()
        .into_iter()
        .rfind(|interpreter| interpreter.minor >= 9)
        .context("no CPython from 3.9 on: set BLEEDTRACE_PYTHONS")?;
    let address = format!("127.0.0.1:{}", free_port());
    let mut child = Command::new(bleedtrace)
        .current_dir(workspace::root())
        .args([
            "trace",
            "--identity",
            "tenant",
            "--mint",
            "*TaskStore.create_task",
            "--reveal",
            "--listen",
            &address,
        ])
        .arg("--")
        .arg(&interpreter.python)
        .arg("demo/proxy.py")
        .spawn()
        .context("cannot run bleedtrace")?;
    let mut first = None;
    let mut last = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Ok(metrics) = get(&address, "/metrics") {
            first.get_or_insert_with(|| metrics.clone());
            last = Some(metrics);
        }
        thread::sleep(Duration::from_millis(100));
    };
    let (Some(first), Some(last)) = (first, last) else {
        bail!("nothing served metrics at {address}: {status}")
    };
    println!("\nmetrics that moved:");
    for line in moved(&first, &last) {
        println!("  {line}");
    }
    ensure!(
        status.code() == Some(1),
        "the trace should have ended with findings (1), and ended with {status}"
    );
    for kind in SHOWN {
        let count = sample(&last, "bleedtrace_findings_total", &[("kind", kind)]).unwrap_or(0.0);
        ensure!(count > 0.0, "the demo should have shown a {kind}");
    }
    Ok(())
}

/// Counters of what was found whose value is another than at first.
fn moved(first: &str, last: &str) -> Vec<String> {
    let values = |text: &str| -> BTreeMap<String, String> {
        let samples = text
            .lines()
            .filter(|line| line.starts_with("bleedtrace_") && !line.contains("_bucket{"));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let before = values(first);
    values(last)
        .into_iter()
        .filter(|(name, value)| before.get(name).map_or("0", String::as_str) != value)
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::moved;

    #[test]
    fn what_stands_still_is_not_shown() {
        let first = "bleedtrace_a 0\nbleedtrace_b 2\nother 1\n";
        let last = "bleedtrace_a 3\nbleedtrace_b 2\nbleedtrace_c 1\nbleedtrace_d 0\nother 2\n";
        assert_eq!(moved(first, last), ["bleedtrace_a 3", "bleedtrace_c 1"]);
    }
}
