//! `bleedtrace explain`: what a kind of finding means, and how to mend it.

use super::{args::ExplainArgs, error::Error};
use crate::correlate::finding::Kind;

/// Prints the text of one kind, or of all.
pub fn run(args: &ExplainArgs) -> Result<u8, Error> {
    let kinds = args.kind.as_ref().map_or(Kind::ALL, std::slice::from_ref);
    let texts: Vec<&str> = kinds.iter().map(|kind| text(*kind)).collect();
    anstream::println!("{}", texts.join("\n\n"));
    Ok(super::error::exit::CLEAN)
}

fn text(kind: Kind) -> &'static str {
    kind.name()
}
