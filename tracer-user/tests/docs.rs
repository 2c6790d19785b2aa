//! Generated documents say what the code says.

use std::{env, fs, path::Path};

use tracer_user::report::{explain, metrics::families};

/// Compares a document with what the code makes of it, or writes it when `BLEEDTRACE_WRITE_DOCS` is set.
#[track_caller]
fn assert_current(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if env::var_os("BLEEDTRACE_WRITE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/{name} is stale; write it again with: BLEEDTRACE_WRITE_DOCS=1 cargo test -p tracer-user --test docs"
    );
}

#[test]
fn findings() {
    assert_current("findings.md", &explain::document());
}

#[test]
fn metrics() {
    assert_current("metrics.md", &families::document());
}
