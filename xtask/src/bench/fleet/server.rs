//! A Prometheus that scrapes nothing, and is asked.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Program, ask_within, free_port, get, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(300);
const COMPACTION: Duration = Duration::from_secs(1800);

/// Where its blocks are, in the folder that it is given.
pub const DATA: &str = "data";

/// One that runs.
pub struct Server {
    program: Option<Program>,
    pid: u32,
    address: String,
    data: PathBuf,
}

/// What it answered.
pub struct Answer {
    /// Its series.
    pub series: Vec<Value>,
    /// How long that took.
    pub took: Duration,
}

impl Server {
    /// Starts one upon the blocks of a folder.
    pub fn start(prometheus: &Path, folder: &Path) -> Result<Self> {
        let data = folder.join(DATA);
        let configuration = folder.join("prometheus.yml");
        fs::write(&configuration, "global: {scrape_interval: 1m}\n")?;
        let address = format!("127.0.0.1:{}", free_port());
        let mut program = Program::start(
            Command::new(prometheus)
                .arg(format!("--config.file={}", configuration.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg("--log.level=error")
                .arg(format!("--web.listen-address={address}")),
        );
        wait_until("prometheus is ready", PATIENCE, || {
            assert!(program.runs(), "prometheus ended");
            get(&address, "/-/ready").ok()
        });
        Ok(Self {
            pid: program.pid(),
            program: Some(program),
            address,
            data,
        })
    }

    /// Waits until it has made one block of those that are about the same time. It would do so while it is asked.
    pub fn settle(&self) {
        wait_until("no blocks overlap", COMPACTION, || {
            let mut spans = spans(&self.data).ok()?;
            spans.sort_unstable();
            let apart = spans.windows(2).all(|pair| pair[0].1 <= pair[1].0);
            apart.then_some(())
        });
    }

    /// Asks for a query at a time, or from a start on in steps.
    pub fn ask(&self, query: &str, end: u64, over: Option<(u64, u64)>) -> Result<Answer> {
        let query = query.bytes().fold(String::new(), |mut query, byte| {
            let _ = write!(query, "%{byte:02X}");
            query
        });
        let path = match over {
            Some((start, step)) => {
                format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}")
            }
            None => format!("/api/v1/query?query={query}&time={end}"),
        };
        let start = Instant::now();
        let (status, text) = ask_within(&self.address, &path, PATIENCE)?;
        let took = start.elapsed();
        ensure!(status == 200, "{status} {text}");
        let mut answer: Value = serde_json::from_str(&text).context("prometheus answers in JSON")?;
        let Value::Array(series) = answer["data"]["result"].take() else {
            anyhow::bail!("no result: {text:.300}")
        };
        Ok(Answer { series, took })
    }

    /// Time of processors that it has taken so far.
    pub fn processors(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        // The fourteenth and the fifteenth of all, in hundredths of a second.
        let ticks = fields.skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<_, _>>()?;
        Ok(Duration::from_millis(10 * ticks))
    }

    /// Bytes that it holds in memory.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = anonymous
            .and_then(|size| size.split_whitespace().next())
            .context("no RssAnon")?;
        Ok(kilobytes.parse::<u64>()? * 1024)
    }
}

/// From when to when each block is.
fn spans(data: &Path) -> Result<Vec<(i64, i64)>> {
    let mut spans = Vec::new();
    for block in fs::read_dir(data)? {
        let Ok(meta) = fs::read(block?.path().join("meta.json")) else {
            continue;
        };
        let meta: Value = serde_json::from_slice(&meta)?;
        let time = |name: &str| {
            meta[name]
                .as_i64()
                .with_context(|| format!("a block without {name}"))
        };
        spans.push((time("minTime")?, time("maxTime")?));
    }
    Ok(spans)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(program) = self.program.take() {
            program.signal("TERM");
            program.end();
        }
    }
}
