//! Running cargo for the BPF target so that no path of the machine gets into the object.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::toolchain::{TARGET, Toolchain};
use crate::workspace;

/// Compiles `tracer-ebpf` into `folder` of the workspace; gives the object with its debug sections.
pub fn object(root: &Path, toolchain: &Toolchain, folder: &str) -> Result<Vec<u8>> {
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "tracer-ebpf",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(root.join(folder))
        .env("RUSTC", &toolchain.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, toolchain)?)
        .env("LD_LIBRARY_PATH", library_path(toolchain))
        // The linker optimises the whole program, and needs the debug information to make BTF.
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    for variable in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(variable);
    }
    if toolchain.needs_bootstrap() {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    if toolchain.build_std.is_some() {
        command.args(["-Z", "build-std=core"]);
    }
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", toolchain.cargo.display()))?;
    ensure!(status.success(), "cargo build for {TARGET} failed: {status}");
    let built = root.join(folder).join(TARGET).join("release/tracer-ebpf");
    fs::read(&built).with_context(|| format!("no {}", built.display()))
}

fn flags(root: &Path, toolchain: &Toolchain) -> Result<OsString> {
    let home = workspace::cargo_home().context("neither CARGO_HOME nor HOME is set")?;
    let mut flags = vec![
        prefixed("-Clinker=", &toolchain.linker, ""),
        "-Clink-arg=--btf".into(),
        "-Cdebuginfo=2".into(),
        "--cfg=bpf_target_arch=\"x86_64\"".into(),
        prefixed("--remap-path-prefix=", root, "=/src"),
        prefixed("--remap-path-prefix=", &home, "=/cargo"),
    ];
    if let Some(sysroot) = &toolchain.build_std {
        flags.push(prefixed("--remap-path-prefix=", sysroot, "=/rust"));
    }
    Ok(flags.join("\u{1f}".as_ref()))
}

fn prefixed(before: &str, path: &Path, after: &str) -> OsString {
    let mut flag = OsString::from(before);
    flag.push(path);
    flag.push(after);
    flag
}

/// bpf-linker loads LLVM at run time; the toolchain that runs cargo carries one.
fn library_path(toolchain: &Toolchain) -> OsString {
    let own: Option<PathBuf> = toolchain.cargo.parent().map(|bin| bin.join("../lib"));
    let before = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = own
        .into_iter()
        .chain(env::split_paths(&before).filter(|folder| !folder.as_os_str().is_empty()));
    env::join_paths(folders).unwrap_or(before.clone())
}
