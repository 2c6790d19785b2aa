//! `bleedtrace explain`: what a kind of finding means, and how to mend it.

use super::{args::ExplainArgs, error::Error};
use crate::{correlate::finding::Kind, report::explain::article};

/// Prints the text of one kind, or of all.
pub fn run(args: &ExplainArgs) -> Result<u8, Error> {
    let kinds = args.kind.as_ref().map_or(Kind::ALL, std::slice::from_ref);
    let texts: Vec<String> = kinds.iter().map(|kind| article(*kind).to_string()).collect();
    anstream::println!("{}", texts.join("\n\n"));
    Ok(super::error::exit::CLEAN)
}
