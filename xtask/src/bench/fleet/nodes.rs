//! What the nodes of a fleet serve: what one agent serves, many times, with names of its own for each.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    ops::Range,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{SCRAPE, Size};
use crate::dashboards::Asked;

/// Variables that each service watches.
const SLOTS: [&str; 2] = ["tenant", "principal"];
/// Of so many services, one has findings.
const WRONG: u64 = 10;
/// What says that something is wrong: 0 in all other services.
const FINDINGS: [&str; 6] = [
    "bleedtrace_black_holes_total",
    "bleedtrace_bleeds_total",
    "bleedtrace_findings_total",
    "bleedtrace_last_finding_timestamp_seconds",
    "bleedtrace_squatting_binds",
    "bleedtrace_tasks_minted_total",
];

/// What one agent serves.
#[derive(Debug)]
pub struct Exposition(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    grows: bool,
}

/// All agents.
#[derive(Debug)]
pub struct Fleet {
    /// How many.
    pub size: Size,
    /// What each serves.
    pub exposition: Exposition,
}

/// A recorded series: how it is written, and its value.
#[derive(Debug)]
pub struct Recorded {
    series: String,
    value: f64,
}

impl Exposition {
    /// Reads what an agent serves.
    pub fn parse(text: &str) -> Result<Self> {
        let types = text.lines().filter_map(|line| {
            let (name, shape) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            (shape != "gauge").then_some(name)
        });
        let growing: BTreeSet<_> = types.collect();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines
            .map(|line| sample(line, &growing).with_context(|| format!("not a sample: {line}")))
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            samples.iter().any(|sample| sample.label("slot").is_some()),
            "no variable was watched"
        );
        Ok(Self(samples))
    }
}

fn sample(line: &str, growing: &BTreeSet<&str>) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    // No value of the demo's labels has a comma or a quote in it.
    let labels = labels
        .strip_suffix('}')?
        .split(',')
        .filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (key, value) = label.split_once("=\"")?;
        Some((key.to_owned(), value.strip_suffix('"')?.to_owned()))
    });
    let parts = ["_bucket", "_sum", "_count"];
    let family = parts
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .unwrap_or(name);
    Some(Sample {
        name: name.to_owned(),
        labels: labels.collect::<Option<_>>()?,
        value: value.parse().ok()?,
        grows: growing.contains(name) || growing.contains(family),
    })
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels.find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Its series for an agent, a service and a variable of it.
    fn series(&self, instance: &str, service: &str, slot: &str) -> String {
        let mut series = format!("{}{{job=\"bleedtrace\",instance=\"{instance}\"", self.name);
        for (key, value) in &self.labels {
            let value = match &**key {
                "service" => service,
                "slot" => slot,
                _ => value,
            };
            let _ = write!(series, ",{key}=\"{value}\"");
        }
        series + "}"
    }
}

impl Fleet {
    /// Writes down the series of some agents whose name is wanted; gives their number.
    pub fn write(
        &self,
        path: &Path,
        agents: Range<u64>,
        start: u64,
        end: u64,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<u64> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let names = (self.size.agents * self.size.services).div_ceil(self.size.spread);
        let mut written = 0;
        let mut line = |series: &str, sample: &Sample, right: bool| -> Result<()> {
            written += 1;
            let still = right && FINDINGS.contains(&&*sample.name);
            for (minute, time) in (start..=end).step_by(SCRAPE as usize).enumerate() {
                let value = match (still, sample.grows) {
                    (true, _) => 0.0,
                    (_, true) => sample.value * (1 + minute) as f64,
                    _ => sample.value,
                };
                writeln!(out, "{series} {value} {time}")?;
            }
            Ok(())
        };
        for sample in self.exposition.0.iter().filter(|sample| wanted(&sample.name)) {
            let of_services = sample.label("service").is_some();
            let slots = if sample.label("slot").is_some() {
                &SLOTS[..]
            } else {
                &SLOTS[..1]
            };
            for agent in agents.clone() {
                let instance = format!("node-{agent:04}:9464");
                for service in 0..if of_services { self.size.services } else { 1 } {
                    let number = (agent * self.size.services + service) % names;
                    for slot in slots {
                        let series = sample.series(&instance, &format!("service-{number:04}"), slot);
                        line(&series, sample, of_services && !number.is_multiple_of(WRONG))?;
                    }
                }
            }
        }
        writeln!(out, "# EOF")?;
        out.flush()?;
        Ok(written)
    }
}

/// What a rule records, by what Prometheus answered.
pub fn recorded(rule: &Asked, series: &[Value]) -> Vec<Recorded> {
    let recorded = series.iter().filter_map(|one| {
        let labels = one["metric"].as_object()?.iter();
        let labels: Vec<_> = labels.filter(|(key, _)| *key != "__name__").collect();
        let own = labels.into_iter().map(|(key, value)| format!("{key}={value}"));
        let set = rule
            .labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\""));
        let labels: Vec<_> = own.chain(set).collect();
        Some(Recorded {
            series: format!("{}{{{}}}", rule.place, labels.join(",")),
            value: one["value"][1].as_str()?.parse().ok()?,
        })
    });
    recorded.collect()
}

/// Adds recorded series to what is written down. They waver, since real ones do.
pub fn append(path: &Path, recorded: &[Recorded], start: u64, end: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    // In the place of the last line.
    let length = file.metadata()?.len() - "# EOF\n".len() as u64;
    file.set_len(length)?;
    drop(file);
    let mut out = BufWriter::with_capacity(1 << 20, OpenOptions::new().append(true).open(path)?);
    for Recorded { series, value } in recorded {
        for (minute, time) in (start..=end).step_by(SCRAPE as usize).enumerate() {
            // What is none or one says yes or no.
            let steady = *value <= 1.0 && value.fract() <= 0.0;
            let value = if steady {
                *value
            } else {
                value * (1.0 + (minute % 8) as f64 / 16.0)
            };
            writeln!(out, "{series} {value} {time}")?;
        }
    }
    writeln!(out, "# EOF")?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_many_with_names_of_their_own() {
        let text = "# TYPE bleedtrace_context_reads_total counter\n\
                    bleedtrace_context_reads_total{result=\"own\",service=\"proxy\",slot=\"tenant\"} 3\n\
                    # TYPE bleedtrace_ring_lag_seconds gauge\nbleedtrace_ring_lag_seconds 0.5\n";
        let fleet = Fleet {
            size: Size {
                agents: 3,
                services: 2,
                spread: 2,
                keep: None,
            },
            exposition: Exposition::parse(text).unwrap(),
        };
        let path = std::env::temp_dir().join(format!("bleedtrace-nodes-{}", std::process::id()));
        assert_eq!(
            fleet.write(&path, 0..3, 0, 60, |_| true).unwrap(),
            3 * (2 * 2 + 1)
        );
        append(
            &path,
            &[Recorded {
                series: "a:b:c{}".to_owned(),
                value: 1.0,
            }],
            60,
            60,
        )
        .unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 2 * 15 + 2);
        assert_eq!(
            lines[1],
            "bleedtrace_context_reads_total{job=\"bleedtrace\",instance=\"node-0000:9464\",result=\"own\",service=\"service-0000\",slot=\"tenant\"} 6 60"
        );
        assert_eq!(
            lines[29..],
            [
                "bleedtrace_ring_lag_seconds{job=\"bleedtrace\",instance=\"node-0002:9464\"} 0.5 60",
                "a:b:c{} 1 60",
                "# EOF"
            ]
        );
    }
}
