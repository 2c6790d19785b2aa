//! What every run needs of this machine and its environment.

use std::path::Path;

use super::error::Error;
use crate::{
    attach::{kernel::BTF, namespace, programs::AttachError},
    config::Config,
    report::privacy::Privacy,
    target::process::Process,
};

/// Bytes of the ring; `BLEEDTRACE_RING_BYTES` sets another power of two.
const RING_BYTES: u32 = 8 << 20;

const RING_VARIABLE: &str = "BLEEDTRACE_RING_BYTES";
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What to do about a lack of privilege.
pub const PRIVILEGE_HINT: &str = "run it as root (sudo), or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE";

/// Says early, and in words, what the kernel would only refuse.
pub fn check_machine() -> Result<(), Error> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Error::cannot_trace(
            "only x86-64 is supported",
            "run `bleedtrace doctor`",
        ));
    }
    if !Path::new(BTF).exists() {
        return Err(Error::cannot_trace(
            format!("this kernel publishes no type information at {BTF}"),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions do",
        ));
    }
    namespace::shown().map_err(AttachError::from)?;
    let own = Process::open(std::process::id())?.status()?.capabilities;
    let has = |bit: u32| own & (1 << bit) != 0;
    let missing: Vec<&str> = [
        (CAP_BPF, "CAP_BPF"),
        (CAP_PERFMON, "CAP_PERFMON"),
        (CAP_SYS_PTRACE, "CAP_SYS_PTRACE"),
    ]
    .into_iter()
    .filter(|(bit, _)| !has(*bit) && (*bit == CAP_SYS_PTRACE || !has(CAP_SYS_ADMIN)))
    .map(|(_, name)| name)
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::cannot_trace(
        format!("tracing needs {}, which this process lacks", missing.join(", ")),
        PRIVILEGE_HINT,
    ))
}

/// Bytes of the ring.
pub fn ring_bytes() -> Result<u32, Error> {
    let Some(text) = std::env::var_os(RING_VARIABLE) else {
        return Ok(RING_BYTES);
    };
    let bytes = text.to_str().and_then(|text| text.parse::<u32>().ok());
    bytes
        .filter(|bytes| bytes.is_power_of_two() && (4_096..=1 << 30).contains(bytes))
        .ok_or_else(|| {
            Error::usage(
                format!("{RING_VARIABLE} is {}", text.display()),
                "give a power of two between 4096 and 1073741824, in bytes",
            )
        })
}

/// How values leave the agent.
pub fn privacy(config: &Config) -> Result<Privacy, Error> {
    match &config.key_file {
        Some(path) => Privacy::from_key_file(config.reveal, path),
        None => Privacy::random(config.reveal),
    }
    .map_err(|error| {
        Error::usage(
            error.to_string(),
            "give a readable file of at least 16 random bytes as key_file",
        )
    })
}
