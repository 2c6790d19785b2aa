//! bleedtrace's chores.

mod accuracy;
mod apt;
mod bench;
mod bpf;
mod dashboards;
mod demo;
mod deps;
mod dist;
mod free_threaded;
mod fuzz;
mod interpreters;
mod mirror;
mod soak;
mod support;
mod test;
mod wheels;
mod workspace;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Chores of the bleedtrace workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the kernel side and the sidecar that says what it was built from.
    BuildEbpf {
        /// Rebuild and compare with the committed object instead of replacing it.
        #[arg(long)]
        check: bool,
    },
    /// Run everything that must hold, and say what ran.
    Test,
    /// Fetch or build the interpreters that the tests run on, beside installed ones, in target/interpreters, and say which are here.
    Interpreters,
    /// Write docs/support.md, and the README's table, from what the tests noted when they last ran.
    Support,
    /// Write the dashboards in the one way in which they are written.
    Dashboards {
        /// Instead, hold dashboards, rules, runbooks and links against the metrics that exist and against each other.
        #[arg(long)]
        check: bool,
    },
    /// Trace a bundled proxy under the traffic of two tenants.
    Demo,
    /// Measure, and write docs/benchmarks.md and docs/benchmarks.json.
    Bench(bench::Options),
    /// Feed what reads a target's bytes with inputs that nobody thought of.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// The targets; all of them when none is named.
        targets: Vec<String>,
    },
    /// Build what is released, below target/dist: a static program with its pages, completions and what it takes to deploy it.
    Dist {
        /// What machines it is for.
        #[arg(long, value_enum, default_value_t)]
        machine: dist::Machine,
    },
    /// The long runs; their results are added to docs/soak.md.
    Soak(Soak),
}

#[derive(Args)]
struct Mix {
    /// Requests of a run.
    #[arg(long, default_value_t = 10_000)]
    requests: u32,
    /// Of the random choices.
    #[arg(long, default_value_t = 7)]
    seed: u32,
}

#[derive(Args)]
struct Soak {
    /// Only this one of them.
    part: Option<soak::Part>,
    #[command(flatten)]
    mix: Mix,
    /// Seconds of correct traffic (3600 unless given), and of the agent's (1800).
    #[arg(long, value_parser = clap::value_parser!(u64).range(10..))]
    seconds: Option<u64>,
    /// Events that are recorded and replayed.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(100_000..))]
    events: u64,
    /// Events in a second that are made beside the agent.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    rate: u64,
}

fn main() -> Result<()> {
    match Arguments::parse().chore {
        Chore::BuildEbpf { check: false } => bpf::build(),
        Chore::BuildEbpf { check: true } => bpf::check().map(|outcome| println!("{outcome}")),
        Chore::Test => test::run(),
        Chore::Interpreters => {
            for (name, why) in interpreters::report() {
                println!("not tested: {name}: {why}");
            }
            Ok(())
        }
        Chore::Support => support::write(),
        Chore::Dashboards { check: true } => dashboards::check().map(|_| ()),
        Chore::Dashboards { check: false } => dashboards::write(),
        Chore::Demo => demo::run(),
        Chore::Bench(options) => bench::run(&options),
        Chore::Fuzz { seconds, targets } => fuzz::run(seconds, &targets).map(|_| ()),
        Chore::Dist { machine } => dist::run(machine),
        Chore::Soak(Soak {
            part,
            mix: Mix { requests, seed },
            seconds,
            events,
            rate,
        }) => soak::run(part, requests, seed, seconds, events, rate),
    }
}
