//! A thousand agents in one Prometheus: how long every rule and every panel takes.

mod nodes;
mod server;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Agent, Folder, MARK, Program, Setup, installed, is_main};

use serde::{Deserialize, Serialize};

use self::{
    nodes::{Exposition, Fleet},
    server::{DATA, Server},
};
use super::{
    Bench,
    section::{Section, Table},
};
use crate::{
    dashboards::{self, Asked},
    deps::{self, Prometheus},
    workspace,
};

/// Nobody waits longer for an answer.
const BOUND: Duration = Duration::from_secs(2);
/// Times that everything is asked for.
const TURNS: usize = 3;
/// Seconds between scrapes.
const SCRAPE: u64 = 60;
/// Minutes of what agents serve: rules look back over fifteen.
const SERVED: u64 = 16;
/// Agents whose series are made a block at once: promtool holds all of them in memory.
const AT_ONCE: u64 = 250;
/// Minutes of what dashboards show.
const SHOWN: u64 = 180;
/// The demo, as a service that mints tasks.
const CONFIG: &str = "[[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"proxy\"\n\
                      identity = [\"tenant\"]\nmint = [\"*TaskStore.create_task\"]\n";

/// What is simulated.
#[derive(Clone, Debug, clap::Args)]
pub struct Size {
    /// Agents.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    agents: u64,
    /// Services of each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    services: u64,
    /// Agents that each service runs on.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    spread: u64,
    /// A folder that keeps what is simulated; what an earlier run has left there is taken.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// What there is when everything is simulated.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Simulated {
    agents: u64,
    services: u64,
    spread: u64,
    /// Series of the agents.
    served: u64,
    /// Series of rules.
    recorded: usize,
    /// The time that everything ends at.
    end: u64,
}

/// Asks for everything; fails when something took longer than anybody waits.
pub fn measure(bench: &Bench) -> Result<Section> {
    let size = bench.fleet.as_ref().context("a fleet is never small")?;
    let prometheus = deps::prometheus()?;
    let rules = dashboards::asked_by_rules()?;
    let panels = dashboards::asked_by_panels()?;
    let own = Folder::new("fleet");
    let folder = size.keep.as_deref().unwrap_or(own.path());
    fs::create_dir_all(folder)?;
    let kept = folder.join("simulated.json");
    let simulated = if let Ok(text) = fs::read(&kept) {
        serde_json::from_slice(&text)?
    } else {
        let simulated = simulate(size, folder, &prometheus, &rules, &panels)?;
        fs::write(&kept, serde_json::to_vec(&simulated)?)?;
        simulated
    };
    let server = Server::start(&prometheus.server, folder)?;
    server.settle();
    let asked = rules.iter().chain(&panels);
    let took = asked
        .map(|asked| Ok((asked, ask(&server, asked, simulated.end)?)))
        .collect::<Result<Vec<_>>>()?;
    let section = section(&simulated, server.memory()?, &took)?;
    let slow: Vec<_> = took
        .iter()
        .filter(|(_, took)| took.time > BOUND)
        .map(|(asked, took)| format!("{}: {:.2} s", asked.place, took.time.as_secs_f64()))
        .collect();
    ensure!(slow.is_empty(), "longer than {BOUND:?}:\n{}", slow.join("\n"));
    Ok(section)
}

/// Makes blocks of what agents have served for a while, and of what dashboards show for longer.
fn simulate(
    size: &Size,
    folder: &Path,
    prometheus: &Prometheus,
    rules: &[Asked],
    panels: &[Asked],
) -> Result<Simulated> {
    let fleet = Fleet {
        size: size.clone(),
        exposition: Exposition::parse(&served()?)?,
    };
    // Whole blocks of two hours in the past: nothing is written any more while it is asked.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let end = now.as_secs() / 7200 * 7200 - SCRAPE;
    let text = folder.join("text");
    let mut served = 0;
    for first in (0..size.agents).step_by(AT_ONCE as usize) {
        let agents = first..size.agents.min(first + AT_ONCE);
        served += fleet.write(&text, agents, end - (SERVED - 1) * SCRAPE, end, |_| true)?;
        block(&prometheus.promtool, &text, folder)?;
        println!("{served} series");
    }
    let server = Server::start(&prometheus.server, folder)?;
    server.settle();
    let mut recorded = Vec::new();
    // What builds upon other rules has nothing to build upon yet.
    for rule in rules.iter().filter(|rule| !rule.alert) {
        let answer = server.ask(&rule.expression, end, None)?;
        recorded.extend(nodes::recorded(rule, &answer.series));
    }
    drop(server);
    println!("{} recorded series", recorded.len());
    let shown: BTreeSet<_> = panels.iter().flat_map(|panel| &panel.series).collect();
    let start = end - SHOWN * SCRAPE;
    let earlier = end - SERVED * SCRAPE;
    fleet.write(&text, 0..size.agents, start, earlier, |name| {
        shown.contains(&name.to_owned())
    })?;
    nodes::append(&text, &recorded, start, end)?;
    block(&prometheus.promtool, &text, folder)?;
    Ok(Simulated {
        agents: size.agents,
        services: size.services,
        spread: size.spread,
        served,
        recorded: recorded.len(),
        end,
    })
}

/// How long an answer took, at best: others use the machine, too.
#[derive(Clone, Copy, Debug)]
struct Took {
    time: Duration,
    /// Time of processors that it took.
    processors: Duration,
    series: usize,
}

fn ask(server: &Server, asked: &Asked, end: u64) -> Result<Took> {
    let range = SHOWN * SCRAPE;
    let query = asked
        .expression
        .replace("$__rate_interval", &format!("{}s", 4 * SCRAPE))
        .replace("$__range", &format!("{range}s"))
        .replace("$job", ".+")
        .replace("$instance", ".+")
        .replace("$service", ".+");
    let over = (!asked.instant).then_some((end - range, SCRAPE));
    let mut took: Option<Took> = None;
    for _ in 0..TURNS {
        let before = server.processors()?;
        let answer = server.ask(&query, end, over)?;
        let processors = server.processors()?.saturating_sub(before);
        let best = took.map_or((answer.took, processors), |took| {
            (took.time.min(answer.took), took.processors.min(processors))
        });
        took = Some(Took {
            time: best.0,
            processors: best.1,
            series: answer.series.len(),
        });
    }
    let took = took.context("it was asked for")?;
    println!("{:6.2} s  {}", took.time.as_secs_f64(), asked.place);
    Ok(took)
}

/// What an agent serves that follows the demo.
fn served() -> Result<String> {
    workspace::run(workspace::cargo_command().args(["build", "--locked", "--package", "tracer-user"]))?;
    let bleedtrace = workspace::target().join("debug/bleedtrace");
    let interpreter = installed().into_iter().find(|interpreter| is_main(interpreter));
    let setup = Setup::new(&bleedtrace, interpreter.context("no CPython 3.12 or 3.13")?);
    let agent = Agent::start_as(&setup, CONFIG, &[], &["--confine=false"]);
    let mut demo = setup.command();
    let demo = demo.env(MARK, &agent.mark).current_dir(workspace::root());
    let demo = Program::start(demo.args(["demo/proxy.py", "1000000"]));
    agent.wait_for(
        "bleedtrace_findings_total",
        &[("service", "proxy"), ("kind", "bleed")],
        20,
    );
    let text = agent.metrics();
    demo.signal("TERM");
    demo.end();
    agent.end();
    Ok(text)
}

/// Makes blocks of a text, which goes.
fn block(promtool: &Path, text: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new(promtool);
    command.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"]);
    workspace::run(command.arg(text).arg(folder.join(DATA)))?;
    fs::remove_file(text).context("the text is ours")
}

fn section(simulated: &Simulated, memory: u64, took: &[(&Asked, Took)]) -> Result<Section> {
    let Simulated {
        agents,
        services,
        spread,
        served,
        recorded,
        ..
    } = simulated;
    let loads = fs::read_to_string("/proc/loadavg")?;
    let load = loads.split(' ').nth(1).context("no load")?;
    let text = format!(
        "{agents} agents with {services} services each, of which each runs on {spread}: {served} series of the agents, {recorded} recorded ones, a \
sample a minute, in one Prometheus. What each agent serves is what a real one serves that follows the demo; one service in ten has findings. Rules and panels are asked for one after the other, {TURNS} \
times each, panels over {} hours. Times are seconds of the quickest of these, what goes over the socket included; *processors* is what Prometheus took of processors in the quickest. It \
took {} MB of memory at the end. The machine's load was {load} in the last five minutes of it: what is beyond the number of its processors is others' work, which times have in them.",
        SHOWN / 60,
        memory / 1_000_000,
    );
    let mut table = Table {
        columns: ["what", "queries", "all of them", "slowest", "processors", "which"]
            .map(str::to_owned)
            .to_vec(),
        rows: Vec::new(),
    };
    let mut groups: Vec<&str> = took.iter().map(|(asked, _)| &*asked.group).collect();
    groups.dedup();
    for group in groups {
        let of = took.iter().filter(|(asked, _)| asked.group == group);
        let slowest = of.clone().max_by_key(|(_, took)| took.time);
        let (asked, slowest) = slowest.context("no group is empty")?;
        let all: Duration = of.clone().map(|(_, took)| took.time).sum();
        let processors = of.clone().map(|(_, took)| took.processors).max();
        table.rows.push(vec![
            group.to_owned(),
            of.count().to_string(),
            format!("{:.1}", all.as_secs_f64()),
            format!("{:.2}", slowest.time.as_secs_f64()),
            format!("at most {:.2}", processors.unwrap_or_default().as_secs_f64()),
            format!("{} ({} series)", asked.place, slowest.series),
        ]);
    }
    let mut section = Section::new("Dashboards and rules of a fleet", text);
    section.tables.push(table);
    Ok(section)
}
