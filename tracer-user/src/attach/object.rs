//! The object with the BPF programs: embedded, or another one for development.

use std::{env, fs, path::PathBuf};

/// Names another object, for development.
pub const VARIABLE: &str = "BLEEDTRACE_BPF_OBJECT";

static EMBEDDED: &[u8] = aya::include_bytes_aligned!("../../bpf/tracer.x86_64.bpf.o");

/// An object file with the programs.
#[derive(Debug)]
pub enum BpfObject {
    /// The one that was built with the agent.
    Embedded,
    /// One from a file.
    File {
        /// Its path.
        path: PathBuf,
        /// Its content.
        bytes: Vec<u8>,
    },
}

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the BPF object {path} that {VARIABLE} names: {error}")]
pub struct ObjectError {
    path: PathBuf,
    #[source]
    error: std::io::Error,
}

impl BpfObject {
    /// The embedded object, unless `BLEEDTRACE_BPF_OBJECT` names another.
    pub fn find() -> Result<Self, ObjectError> {
        let Some(path) = env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from) else {
            return Ok(Self::Embedded);
        };
        match fs::read(&path) {
            Ok(bytes) => Ok(Self::File { path, bytes }),
            Err(error) => Err(ObjectError { path, error }),
        }
    }

    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Embedded => EMBEDDED,
            Self::File { bytes, .. } => bytes,
        }
    }
}
