//! What stands beside the committed object: what it is and what it was made of.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::toolchain::Toolchain;

/// The facts about an object.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Of the object.
    pub sha256: String,
    /// Digest of everything that it is compiled from.
    pub sources: String,
    /// The compiler.
    pub rustc: String,
    /// The linker.
    pub linker: String,
}

impl Sidecar {
    /// Describes an object that was just built.
    pub fn describe(root: &Path, toolchain: &Toolchain, object: &[u8]) -> Result<Self> {
        Ok(Self {
            sha256: sha256(object),
            sources: sources_digest(root)?,
            rustc: toolchain.rustc_version.clone(),
            linker: toolchain.linker_version.clone(),
        })
    }

    /// Reads it back.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// As it is committed.
    pub fn to_text(&self) -> Result<String> {
        Ok(format!(
            "# Written by cargo xtask build-ebpf.\n{}",
            toml::to_string(self)?
        ))
    }
}

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Digest of the kernel side's sources, of the contract's, and of the locked versions of the BPF crates.
pub fn sources_digest(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for package in ["tracer-common", "tracer-ebpf"] {
        files.push(root.join(package).join("Cargo.toml"));
        collect(&root.join(package).join("src"), &mut files)?;
    }
    let mut entries = files
        .iter()
        .map(|file| {
            Ok((
                file.strip_prefix(root)?.to_string_lossy().into_owned(),
                fs::read(file)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    entries.push(("Cargo.lock".to_owned(), locked_versions(root)?.into_bytes()));
    entries.sort();
    let mut digest = Sha256::new();
    for (name, contents) in entries {
        for part in [name.as_bytes(), &contents] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    Ok(hexadecimal(&digest.finalize()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The crates that end up in the object: every `aya` crate but those of user space.
fn locked_versions(root: &Path) -> Result<String> {
    let lock: Lock = toml::from_str(&fs::read_to_string(root.join("Cargo.lock"))?)?;
    let mut text = String::new();
    for package in lock.package {
        if package.name.starts_with("aya-")
            && (package.name.contains("ebpf") || package.name == "aya-log-common")
        {
            writeln!(
                text,
                "{} {} {}",
                package.name,
                package.version,
                package.checksum.unwrap_or_default()
            )?;
        }
    }
    Ok(text)
}
