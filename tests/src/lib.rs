//! End-to-end tests: `bleedtrace` against real interpreters under real probes.
//!
//! A fixture is a small Python program that knows the truth about itself and prints it; a test traces it and compares.
//! What cannot run here says so by name; what can, must pass.

mod agent;
mod armed;
mod browser;
mod certificate;
mod disk;
mod folder;
mod interpreters;
mod metrics;
mod mix;
mod outcome;
mod prefix;
mod regression;
mod results;
mod service;
mod setup;
mod shrunk;
mod steady;
mod terminal;
mod tracer;
mod traffic;
mod truth;
mod usage;
mod users;

pub use agent::{Agent, MARK};
pub use armed::{Armed, is_armed};
pub use browser::{Browser, Heard, axe, chromium};
pub use certificate::Certificate;
pub use disk::Disk;
pub use folder::Folder;
pub use interpreters::{
    BUILT, DEBIAN, EMPTY_CONTEXTS, FREE_THREADED, Interpreter, LINKED, SUPPORTED, Suite, installed,
    interpreters, missing, roots,
};
pub use metrics::{ask, ask_within, by_label, free_port, get, sample};
pub use mix::{Often, Start, mix, often};
pub use outcome::{Counts, Finding, Judged, Outcome};
pub use prefix::{Place, Prefix};
pub use regression::{Regression, Results};
pub use results::{Ran, results, results_file};
pub use service::{BLEEDS, MARKED, bleed, bleeder, ready, serve};
pub use setup::{
    Setup, WIDELY, fixture, is_main, line_of, on_every_interpreter, on_interpreters_that,
    on_main_interpreters, once, skip, unsupported_interpreter, untraceable,
};
pub use shrunk::shrunk;
pub use steady::Steady;
pub use terminal::Terminal;
pub use tracer::{Ended, Program, Running, Trace, wait_until};
pub use traffic::Traffic;
pub use truth::{Totals, Truth};
pub use usage::{Course, Usage};
pub use users::{NOBODY, OTHER, PYTHON, as_user};
