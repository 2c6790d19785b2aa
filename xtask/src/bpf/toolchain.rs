//! Finding a rustc that can compile for BPF, and the linker.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace;

/// The target that programs in the kernel are compiled for.
pub const TARGET: &str = "bpfel-unknown-none";

/// The version of the linker that is installed when there is none.
pub const LINKER_VERSION: &str = "0.10.3";
/// Debian's packages with a compiler for BPF.
pub const RUSTC_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// What compiles and links the kernel side.
pub struct Toolchain {
    /// The cargo that goes with the compiler.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
    /// As it says itself.
    pub rustc_version: String,
    /// The folder that its `core` is compiled from, when there is none ready for BPF.
    pub build_std: Option<PathBuf>,
    /// The linker.
    pub linker: PathBuf,
    /// As it says itself.
    pub linker_version: String,
}

impl Toolchain {
    /// The first that will do; the error says in one line what to install.
    pub fn find() -> Result<Self> {
        let (cargo, rustc, build_std) = find_rustc()?;
        let linker = find_linker()?;
        Ok(Self {
            rustc_version: output(&rustc, ["--version"])?,
            linker_version: output(&linker, ["--version"])?,
            cargo,
            rustc,
            build_std,
            linker,
        })
    }

    /// Whether the compiler must be told to accept what only nightly does.
    pub fn needs_bootstrap(&self) -> bool {
        !self.rustc_version.contains("nightly")
    }
}

/// A cargo, a rustc, and the sysroot whose sources make its core when it has none for BPF.
pub fn find_rustc() -> Result<(PathBuf, PathBuf, Option<PathBuf>)> {
    if let Some(chosen) = env::var_os("BLEEDTRACE_BPF_RUSTC") {
        let rustc = PathBuf::from(chosen);
        let sysroot = sysroot(&rustc)?;
        if has_bpf_core(&sysroot) {
            return Ok((workspace::cargo(), rustc, None));
        }
        ensure!(
            has_rust_src(&sysroot),
            "BLEEDTRACE_BPF_RUSTC={}: neither a core for {TARGET} nor rust-src",
            rustc.display()
        );
        return Ok((workspace::cargo(), rustc, Some(sysroot)));
    }
    if let Some(sysroot) = nightly_sysroot().filter(|sysroot| has_rust_src(sysroot)) {
        return Ok((
            sysroot.join("bin/cargo"),
            sysroot.join("bin/rustc"),
            Some(sysroot),
        ));
    }
    let candidates = [Some(PathBuf::from("/usr/bin/rustc")), workspace::in_path("rustc")];
    for rustc in candidates.into_iter().flatten().filter(|rustc| rustc.is_file()) {
        if sysroot(&rustc).is_ok_and(|sysroot| has_bpf_core(&sysroot)) {
            return Ok((workspace::cargo(), rustc, None));
        }
    }
    bail!(
        "no rustc can compile for BPF: apt-get install {}",
        RUSTC_PACKAGES.join(" ")
    )
}

/// The linker.
pub fn find_linker() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os("BLEEDTRACE_BPF_LINKER") {
        return Ok(chosen.into());
    }
    let installed = [workspace::cargo_home(), Some(workspace::deps())];
    let mut installed = installed
        .into_iter()
        .flatten()
        .map(|root| root.join("bin/bpf-linker"));
    workspace::in_path("bpf-linker")
        .or_else(|| installed.find(|linker| linker.is_file()))
        .with_context(|| {
            format!("no bpf-linker: cargo install bpf-linker --version {LINKER_VERSION} --locked")
        })
}

fn nightly_sysroot() -> Option<PathBuf> {
    let rustup = workspace::in_path("rustup")?;
    output(&rustup, ["run", "nightly", "rustc", "--print", "sysroot"])
        .ok()
        .map(PathBuf::from)
}

fn sysroot(rustc: &Path) -> Result<PathBuf> {
    output(rustc, ["--print", "sysroot"]).map(PathBuf::from)
}

fn has_bpf_core(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

fn has_rust_src(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

fn output<I: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = I>) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        program.display(),
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
