//! Fuzzing what reads a target's bytes, with libFuzzer's coverage on the stable toolchain.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use bleedtrace_tests::interpreters;

use crate::workspace;

/// The instrumentation that libFuzzer wants; the same that cargo-fuzz asks for without a sanitizer.
const FLAGS: [&str; 7] = [
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Seconds that one input may take, and MB that it may use.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=1024"];
/// Bytes of an input.
const MAX_LEN: &str = "-max_len=65536";

/// Runs the targets called so, or all, for some seconds each. Returns how many ran.
pub fn run(seconds: u32, chosen: &[String]) -> Result<u64> {
    let all = targets()?;
    if let Some(unknown) = chosen.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target {unknown}\nhint: there are {}", all.join(", "));
    }
    let programs = build()?;
    let mut ran = 0;
    for name in all
        .iter()
        .filter(|name| chosen.is_empty() || chosen.contains(name))
    {
        println!("fuzzing {name} for {seconds} s");
        fuzz(&programs.join(name), name, seconds)?;
        ran += 1;
    }
    Ok(ran)
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

fn targets() -> Result<Vec<String>> {
    let sources = folder().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn build() -> Result<PathBuf> {
    let (target, host) = (workspace::target().join("fuzz"), host()?);
    let mut cargo = Command::new(workspace::cargo());
    // A target is named so that build scripts are not instrumented.
    cargo
        .current_dir(folder())
        .args(["build", "--release", "--locked", "--target", &host])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    workspace::run(&mut cargo)?;
    Ok(target.join(host).join("release"))
}

fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

fn fuzz(program: &Path, name: &str, seconds: u32) -> Result<()> {
    let kept = workspace::target().join("fuzz/corpus").join(name);
    let artifacts = workspace::target().join("fuzz/artifacts").join(name);
    for folder in [&kept, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    if name == "elf" {
        real_files(&kept)?;
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([MAX_LEN, "-verbosity=0", "-print_final_stats=1"])
        .args(LIMITS)
        .arg(&kept)
        .arg(folder().join("corpus").join(name));
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        status.success(),
        "the fuzz target {name} failed: {status}\nhint: the input is in {}; run {} on it",
        artifacts.display(),
        program.display()
    );
    Ok(())
}

/// Real object files to begin with: the `_queue` modules of this machine's interpreters.
fn real_files(corpus: &Path) -> Result<()> {
    for interpreter in interpreters() {
        let script = "import _queue; print(getattr(_queue, '__file__', ''))";
        let Ok(output) = interpreter.command().args(["-c", script]).output() else {
            continue;
        };
        let inside = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let file = match (&interpreter.root, inside.strip_prefix("/")) {
            (Some(root), Ok(below)) => root.join(below),
            _ => inside,
        };
        if file.is_file() {
            let copy = corpus.join(format!("queue-{}", interpreter.name().replace(' ', "-")));
            fs::copy(&file, copy).with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    Ok(())
}
