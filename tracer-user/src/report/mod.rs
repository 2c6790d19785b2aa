//! What people and machines get to see: findings, the summary, metrics. Pure, but for the HTTP server and the sinks.

pub mod clock;
pub mod counters;
pub mod document;
pub mod explain;
pub mod finding;
pub mod groups;
pub mod hops;
pub mod hops_text;
pub mod http;
pub mod json;
pub mod life;
pub mod metrics;
pub mod privacy;
pub mod processes;
pub mod role;
pub mod sink;
pub mod store;
pub mod summary;
pub mod tally;
pub mod text;
pub mod top;
pub mod vars;
mod wrap;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
