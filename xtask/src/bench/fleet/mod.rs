//! A thousand agents in one Prometheus: how long every rule and every panel takes.

mod nodes;
mod server;

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Agent, Folder, MARK, Program, Setup, installed, is_main};

use self::{
    nodes::{Exposition, Fleet},
    server::Server,
};
use super::notes;
use crate::{
    dashboards::{self, Asked},
    deps, workspace,
};

/// Nobody waits longer for an answer.
const BOUND: Duration = Duration::from_secs(2);
/// Times that everything is asked for.
const TURNS: usize = 3;
/// Seconds between scrapes.
const SCRAPE: u64 = 60;
/// Minutes of what agents serve: rules look back over fifteen.
const SERVED: u64 = 16;
/// Minutes of what dashboards show.
const SHOWN: u64 = 180;
/// The demo, as a service that mints tasks.
const CONFIG: &str = "[[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"proxy\"\n\
                      identity = [\"tenant\"]\nmint = [\"*TaskStore.create_task\"]\n";

/// What is simulated.
#[derive(Clone, Copy, Debug, clap::Args)]
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
}

/// Prints how long everything took, and notes it; fails when something took longer than anybody waits.
pub fn run(size: Size) -> Result<()> {
    let prometheus = deps::prometheus()?;
    let fleet = Fleet {
        size,
        exposition: Exposition::parse(&served()?)?,
    };
    // Whole blocks of two hours in the past: nothing is written any more while it is asked.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let end = now.as_secs() / 7200 * 7200 - SCRAPE;
    let folder = Folder::new("fleet");
    let data = folder.path().join("data");
    let rules = dashboards::asked_by_rules()?;
    let panels = dashboards::asked_by_panels()?;

    let text = folder.path().join("served");
    let series = fleet.write(&text, end - (SERVED - 1) * SCRAPE, end, |_| true)?;
    println!("{series} series of {} agents", size.agents);
    block(&prometheus.promtool, &text, &data)?;
    let recorded: Vec<_> = {
        let server = Server::start(&prometheus.server, folder.path(), &data)?;
        let mut recorded = Vec::new();
        // Rules build upon each other: what they need of others is not there yet, and asked for later.
        for rule in rules.iter().filter(|rule| !rule.alert) {
            let answer = server.ask(&rule.expression, end, None)?;
            recorded.extend(nodes::recorded(&rule.place, &answer.series));
        }
        recorded
    };
    println!("{} recorded series", recorded.len());
    let history = folder.path().join("shown");
    let start = end - SHOWN * SCRAPE;
    let whole: std::collections::BTreeSet<_> = panels.iter().flat_map(|panel| &panel.series).collect();
    let earlier = end - SERVED * SCRAPE;
    fleet.write(&history, start, earlier, |name| whole.contains(&name.to_owned()))?;
    nodes::append(&history, &recorded, start, end)?;
    block(&prometheus.promtool, &history, &data)?;

    let mut server = Server::start(&prometheus.server, folder.path(), &data)?;
    server.settle(&data);
    let asked = rules.iter().chain(&panels);
    let took = asked
        .map(|asked| Ok((asked, measure(&server, asked, start, end)?)))
        .collect::<Result<Vec<_>>>()?;
    let memory = server.memory()?;
    drop(server);
    note(&fleet, series, recorded.len(), memory, &took)?;
    let slow: Vec<_> = took
        .iter()
        .filter(|(_, took)| took.worst > BOUND)
        .map(|(asked, took)| format!("{}: {:.2} s", asked.place, took.worst.as_secs_f64()))
        .collect();
    ensure!(slow.is_empty(), "longer than {BOUND:?}:\n{}", slow.join("\n"));
    Ok(())
}

/// How long an answer took.
#[derive(Clone, Copy, Debug)]
struct Took {
    worst: Duration,
    series: usize,
}

fn measure(server: &Server, asked: &Asked, start: u64, end: u64) -> Result<Took> {
    let range = SHOWN * SCRAPE;
    let query = asked
        .expression
        .replace("$__rate_interval", &format!("{}s", 4 * SCRAPE))
        .replace("$__range", &format!("{range}s"))
        .replace("$job", ".+")
        .replace("$instance", ".+")
        .replace("$service", ".+");
    let mut took = Took {
        worst: Duration::ZERO,
        series: 0,
    };
    for _ in 0..TURNS {
        // A panel is some hundred points wide.
        let over = (!asked.instant).then_some((start, SCRAPE));
        let answer = server.ask(&query, end, over)?;
        took.worst = took.worst.max(answer.took);
        took.series = answer.series.len();
    }
    println!("{:6.2} s  {}", took.worst.as_secs_f64(), asked.place);
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
fn block(promtool: &Path, text: &Path, data: &Path) -> Result<()> {
    let mut command = std::process::Command::new(promtool);
    command.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"]);
    workspace::run(command.arg(text).arg(data))?;
    fs::remove_file(text).context("the text is ours")
}

fn note(fleet: &Fleet, series: u64, recorded: usize, memory: u64, took: &[(&Asked, Took)]) -> Result<()> {
    let Size {
        agents,
        services,
        spread,
    } = fleet.size;
    let mut body = format!(
        "{agents} agents with {services} services each, of which each runs on {spread}: {series} series of the agents, {recorded} recorded ones, \
a sample a minute, in one Prometheus. What each agent serves is what a real one serves that follows the demo; one service in ten has findings. Rules and panels are asked for one after the other, {TURNS} times each, \
panels over {} hours; the time is the longest, with all that goes over the socket. Prometheus took {} MB of memory at the end.\n\n\
| what | asked for | longest | longest of all |\n|---|---|---|---|\n",
        SHOWN / 60,
        memory / 1_000_000,
    );
    let mut groups: Vec<&str> = took.iter().map(|(asked, _)| &*asked.group).collect();
    groups.dedup();
    for group in groups {
        let of = took.iter().filter(|(asked, _)| asked.group == group);
        let slowest = of.clone().max_by_key(|(_, took)| took.worst);
        let (asked, worst) = slowest.context("no group is empty")?;
        let all: Duration = of.clone().map(|(_, took)| took.worst).sum();
        let _ = writeln!(
            body,
            "| {group} | {} in {:.1} s | {:.2} s | {} ({} series) |",
            of.count(),
            all.as_secs_f64(),
            worst.worst.as_secs_f64(),
            asked.place,
            worst.series,
        );
    }
    notes::replace("Dashboards and rules of a fleet", &body)
}
