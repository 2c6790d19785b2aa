//! What is released: one static program with its pages, completions and what it takes to deploy it, as an archive and as a package.
//! For a machine that cannot trace yet, what reads recordings: the program without what deploys it.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use object::{
    Endianness, elf,
    read::elf::{ElfFile64, ProgramHeader as _},
};
use sha2::{Digest as _, Sha256};

use crate::workspace;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Files of the checkout that go along, and folders; the last only where the agent can run.
const FILES: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];
const FOLDERS: [&str; 2] = ["dashboards", "docs"];
const DEPLOY: &str = "deploy";
/// Files of completions by the shell that they are for.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bleedtrace.bash"),
    ("zsh", "_bleedtrace"),
    ("fish", "bleedtrace.fish"),
];

/// What machines the program is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Machine {
    /// Everything.
    #[default]
    #[value(name = "x86_64")]
    X86,
    /// What needs no kernel: recordings, reports, configurations.
    #[value(name = "aarch64")]
    Arm,
}

impl Machine {
    const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// What has its programs run here: nothing, if this is one.
    fn runner(self) -> Result<Option<PathBuf>> {
        if self.name() == env::consts::ARCH {
            return Ok(None);
        }
        let names = ["static", "binfmt"].map(|kind| format!("qemu-{}-{kind}", self.name()));
        let found = names.iter().find_map(|name| workspace::in_path(name));
        let found =
            found.with_context(|| format!("no {} in PATH: the program prints its pages itself", names[0]))?;
        Ok(Some(found))
    }
}

/// A program and how it is run here.
struct Built {
    file: PathBuf,
    runner: Option<PathBuf>,
}

/// Makes everything below `target/dist`, and says what there is.
pub fn run(machine: Machine) -> Result<()> {
    let program = Built {
        runner: machine.runner()?,
        file: program(machine)?,
    };
    pack(machine, &program)
}

/// Packs a program of this machine that was built by [`program`].
pub fn pack_built(file: &Path) -> Result<()> {
    let program = Built {
        file: file.to_owned(),
        runner: None,
    };
    pack(Machine::X86, &program)
}

fn pack(machine: Machine, program: &Built) -> Result<()> {
    let name = format!("bleedtrace-{VERSION}-{}-linux", machine.name());
    let place = workspace::target().join("dist");
    let folder = place.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    gather(program, &folder)?;
    let traces = machine == Machine::X86;
    if traces {
        copy_folder(DEPLOY, &folder)?;
    }
    let mut made = vec![archive(&place, &name)?];
    if workspace::in_path("dpkg-deb").is_none() {
        println!("no .deb: there is no dpkg-deb");
    } else if traces {
        made.push(package(&place, &folder)?);
    }
    let mut sums = String::new();
    for file in &made {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        for byte in Sha256::digest(&bytes) {
            let _ = write!(sums, "{byte:02x}");
        }
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let _ = writeln!(sums, "  {name}");
        println!("{} ({} KiB)", file.display(), bytes.len() / 1024);
    }
    let list = format!("SHA256SUMS-{}", machine.name());
    fs::write(place.join(&list), sums).with_context(|| format!("cannot write {list}"))?;
    Ok(())
}

/// Builds the program with the C library in it. The target is named so that build scripts stay as they are.
pub fn program(machine: Machine) -> Result<PathBuf> {
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-feature=+crt-static");
    let target = format!("{}-unknown-linux-gnu", machine.name());
    let mut cargo = workspace::cargo_command();
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "tracer-user",
            "--target",
            &target,
        ])
        .env("RUSTFLAGS", flags.trim());
    let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
    if machine.name() != env::consts::ARCH && env::var_os(&linker).is_none() {
        cargo.env(&linker, format!("{}-linux-gnu-gcc", machine.name()));
    }
    workspace::run(&mut cargo)?;
    let program = workspace::target().join(target).join("release/bleedtrace");
    is_static(&program)?;
    Ok(program)
}

/// Nobody has to load libraries for it.
fn is_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let file = ElfFile64::<Endianness>::parse(&*bytes).context("the program is no ELF file")?;
    let mut kinds = file
        .elf_program_headers()
        .iter()
        .map(|header| header.p_type(file.endian()));
    ensure!(
        !kinds.any(|kind| kind == elf::PT_INTERP),
        "the program is not static: it names a loader"
    );
    Ok(())
}

/// What stands in the archive.
fn gather(program: &Built, folder: &Path) -> Result<()> {
    for part in ["man", "completions"] {
        fs::create_dir_all(folder.join(part))
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::copy(&program.file, folder.join("bleedtrace")).context("cannot copy the program")?;
    for name in FILES {
        fs::copy(workspace::root().join(name), folder.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    for name in FOLDERS {
        copy_folder(name, folder)?;
    }
    fs::write(folder.join("man/bleedtrace.1"), said(program, &["man"])?)?;
    for command in commands(program)? {
        let page = said(program, &["man", &command])?;
        fs::write(folder.join(format!("man/bleedtrace-{command}.1")), page)?;
    }
    for (shell, file) in COMPLETIONS {
        fs::write(
            folder.join("completions").join(file),
            said(program, &["completions", shell])?,
        )?;
    }
    Ok(())
}

fn copy_folder(name: &str, into: &Path) -> Result<()> {
    let from = workspace::root().join(name);
    workspace::run(Command::new("cp").arg("-R").arg(from).arg(into.join(name)))
}

/// The program's commands, as its help lists them.
fn commands(program: &Built) -> Result<Vec<String>> {
    let help = String::from_utf8(said(program, &["--help"])?).context("its help is no text")?;
    let listed = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What is indented further goes on from the line before.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = listed.filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    ensure!(names.len() > 5, "its help lists the commands {names:?} only");
    Ok(names)
}

fn said(program: &Built, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new(program.runner.as_ref().unwrap_or(&program.file));
    if program.runner.is_some() {
        command.arg(&program.file);
    }
    let output = command.args(arguments).output();
    let output = output.with_context(|| format!("cannot run {}", program.file.display()))?;
    if !output.status.success() {
        bail!(
            "bleedtrace {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

/// The same files give the same archive, whoever makes it.
fn archive(place: &Path, name: &str) -> Result<PathBuf> {
    let file = place.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.current_dir(place)
        .args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mode=u=rwX,go=rX",
        ])
        .args(["--mtime=@0", "--use-compress-program=gzip -n -9", "-cf"])
        .arg(&file)
        .arg(name);
    workspace::run(&mut tar)?;
    Ok(file)
}

/// The package: what `deploy/install.sh` installs, with the unit where a distribution's own stands.
fn package(place: &Path, folder: &Path) -> Result<PathBuf> {
    let root = place.join("deb");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(root.join("DEBIAN"))?;
    workspace::run(Command::new(folder.join("deploy/install.sh")).env("DESTDIR", &root))?;
    let units = root.join("usr/lib/systemd/system");
    fs::create_dir_all(&units)?;
    fs::rename(
        root.join("etc/systemd/system/bleedtrace.service"),
        units.join("bleedtrace.service"),
    )?;
    fs::remove_dir_all(root.join("etc/systemd"))?;
    let installed: u64 = size(&root)?;
    let control = format!(
        "Package: bleedtrace\nVersion: {VERSION}\nArchitecture: amd64\nSection: admin\nPriority: optional\n\
         Maintainer: bleedtrace <bleedtrace@users.noreply.github.com>\nInstalled-Size: {}\n\
         Description: names the identity that bleeds between requests in Python programs\n \
         Watches running CPython programs from outside, with eBPF, and says when a request\n \
         runs under the wrong identity or under none.\n",
        installed.div_ceil(1024)
    );
    fs::write(root.join("DEBIAN/control"), control)?;
    fs::write(root.join("DEBIAN/conffiles"), "/etc/bleedtrace/config.toml\n")?;
    let file = place.join(format!("bleedtrace_{VERSION}_amd64.deb"));
    workspace::run(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&root)
            .arg(&file)
            .env("SOURCE_DATE_EPOCH", "0"),
    )?;
    Ok(file)
}

fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(sum)
}
