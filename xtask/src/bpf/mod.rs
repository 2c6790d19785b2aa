//! The committed BPF object: how it is built, and whether it is still the one that its sources give.

mod compile;
mod forward;
mod sidecar;
mod strip;
mod toolchain;

use std::{fmt, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;
use sidecar::Sidecar;
pub use toolchain::{LINKER_VERSION, RUSTC_PACKAGES, Toolchain, find_linker, find_rustc};

/// How a comparison with the committed object ended.
pub enum Outcome {
    /// The object is what its sources give.
    Same,
    /// It was not compared, and why.
    Skipped(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => out.write_str("build-ebpf --check: the committed object is reproduced bit for bit"),
            Self::Skipped(why) => write!(out, "SKIP build-ebpf --check: {why}"),
        }
    }
}

fn object_path() -> PathBuf {
    workspace::root().join("tracer-user/bpf/tracer.x86_64.bpf.o")
}

fn sidecar_path() -> PathBuf {
    object_path().with_extension("toml")
}

/// Builds the object and its sidecar.
pub fn build() -> Result<()> {
    let root = workspace::root();
    let toolchain = Toolchain::find()?;
    let object = strip::debug_sections(&compile::object(&root, &toolchain, "target/ebpf")?)?;
    let sidecar = Sidecar::describe(&root, &toolchain, &object)?;
    let path = object_path();
    fs::create_dir_all(path.parent().context("the object has a folder")?)?;
    fs::write(&path, &object)?;
    fs::write(sidecar_path(), sidecar.to_text()?)?;
    println!(
        "{}: {} bytes, sha256 {}",
        path.display(),
        object.len(),
        sidecar.sha256
    );
    Ok(())
}

/// Rebuilds the object elsewhere and compares it with the committed one.
pub fn check() -> Result<Outcome> {
    let root = workspace::root();
    let committed = fs::read(object_path()).with_context(|| format!("no {}", object_path().display()))?;
    let sidecar = Sidecar::load(&sidecar_path())?;
    ensure!(
        sidecar::sha256(&committed) == sidecar.sha256,
        "the committed object is not the one of its sidecar: run cargo xtask build-ebpf"
    );
    ensure!(
        sidecar::sources_digest(&root)? == sidecar.sources,
        "the sources changed and the object did not: run cargo xtask build-ebpf"
    );
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    for (tool, here, there) in [
        ("rustc", &toolchain.rustc_version, &sidecar.rustc),
        ("the linker", &toolchain.linker_version, &sidecar.linker),
    ] {
        if here != there {
            return Ok(Outcome::Skipped(format!(
                "{tool} is {here}, the object was built with {there}"
            )));
        }
    }
    let folder = "target/ebpf-check";
    if root.join(folder).exists() {
        fs::remove_dir_all(root.join(folder))?;
    }
    let rebuilt = strip::debug_sections(&compile::object(&root, &toolchain, folder)?)?;
    ensure!(
        rebuilt == committed,
        "the rebuilt object differs from the committed one: sha256 {} instead of {}",
        sidecar::sha256(&rebuilt),
        sidecar.sha256
    );
    Ok(Outcome::Same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_object_belongs_to_the_sources() {
        let sidecar = Sidecar::load(&sidecar_path()).expect("run cargo xtask build-ebpf");
        let committed = fs::read(object_path()).expect("run cargo xtask build-ebpf");
        assert_eq!(
            sidecar::sha256(&committed),
            sidecar.sha256,
            "run cargo xtask build-ebpf"
        );
        let sources = sidecar::sources_digest(&workspace::root()).expect("the sources are readable");
        assert_eq!(sources, sidecar.sources, "run cargo xtask build-ebpf");
    }
}
