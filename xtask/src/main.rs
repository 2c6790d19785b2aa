//! bleedtrace's chores.

mod bpf;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
}

fn main() -> Result<()> {
    match Arguments::parse().chore {
        Chore::BuildEbpf { check: false } => bpf::build(),
        Chore::BuildEbpf { check: true } => bpf::check().map(|outcome| println!("{outcome}")),
    }
}
