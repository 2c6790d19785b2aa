//! What is shipped to deploy the agent with is checked by the tools that will read it, where they are here.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use bleedtrace_tests::{Folder, once, skip};

/// What tracing the processes of other users takes (README.md).
const CAPABILITIES: [&str; 4] = ["BPF", "DAC_READ_SEARCH", "PERFMON", "SYS_PTRACE"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn deploy(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a tool says; none if it is not here.
fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    Command::new(name).args(arguments).output().ok()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// The words that name capabilities in a line of a file.
fn capabilities(line: &str) -> BTreeSet<&str> {
    let words = line.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let names = words.map(|word| word.strip_prefix("CAP_").unwrap_or(word));
    let known = CAPABILITIES.into_iter().chain([
        "SYS_ADMIN",
        "SYS_RESOURCE",
        "NET_ADMIN",
        "KILL",
        "CHECKPOINT_RESTORE",
    ]);
    let known: BTreeSet<&str> = known.collect();
    names.filter(|name| known.contains(name)).collect()
}

#[test]
fn all_of_them_ask_for_the_same_capabilities() {
    let wanted = BTreeSet::from(CAPABILITIES);
    for (file, begins, many) in [
        ("systemd/bleedtrace.service", "CapabilityBoundingSet=", 1),
        ("systemd/bleedtrace.service", "AmbientCapabilities=", 1),
        ("kubernetes/daemonset.yaml", "add: ", 1),
        ("helm/bleedtrace/values.yaml", "capabilities: ", 1),
        ("Dockerfile", "#     docker run ", 1),
    ] {
        let text = read(file);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.trim_start().starts_with(begins))
            .collect();
        assert_eq!(lines.len(), many, "{file}: {begins}");
        assert_eq!(capabilities(lines[0]), wanted, "{file}: {}", lines[0]);
    }
    assert_ne!(
        capabilities("add: [\"BPF\", \"SYS_ADMIN\"]"),
        wanted,
        "the check can fail"
    );
}

#[test]
fn systemd_takes_the_unit_and_finds_it_confined() {
    const TEST: &str = "systemd_takes_the_unit_and_finds_it_confined";
    if tool("systemd-analyze", &["--version"]).is_none() {
        return skip(TEST, "no systemd-analyze");
    }
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let unit = read("systemd/bleedtrace.service");
        assert!(unit.contains("ExecStart=/usr/bin/bleedtrace agent --config /etc/bleedtrace/config.toml\n"));
        let program = setup.bleedtrace.to_str().expect("a plain path");
        let here = unit.replace("/usr/bin/bleedtrace", program);
        let verify = |name: &str, text: &str| {
            let file = folder.write(name, text);
            let file = file.to_str().expect("a plain path");
            tool("systemd-analyze", &["verify", "--man=no", file]).expect("it is here")
        };
        let output = verify("bleedtrace.service", &here);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("bleedtrace.service"), "{said}");
        let wrong = here.replace("RestrictRealtime=yes", "RestrictRealtme=yes");
        let output = verify("wrong.service", &wrong);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("RestrictRealtme"), "the check can fail: {said}");
        let file = folder.path().join("bleedtrace.service");
        let file = file.to_str().expect("a plain path");
        // Out of 100, where 100 is not confined at all; what remains is what tracing takes.
        let arguments = ["security", "--no-pager", "--offline=true", "--threshold=30", file];
        let output = tool("systemd-analyze", &arguments).expect("it is here");
        succeeds(&output);
    });
}

/// What `cargo xtask dist` gathers, of a program that is built already.
fn unpacked(folder: &Folder, program: &Path) -> PathBuf {
    let said = |arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("it runs");
        succeeds(&output)
    };
    let place = folder.path().join("unpacked");
    fs::create_dir_all(&place).expect("a folder");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(root().join("deploy"))
        .arg(&place)
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::copy(program, place.join("bleedtrace")).expect("the program can be copied");
    for name in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root().join(name), place.join(name)).expect(name);
    }
    folder.write("unpacked/man/bleedtrace.1", said(&["man"]));
    folder.write("unpacked/man/bleedtrace-trace.1", said(&["man", "trace"]));
    for (shell, name) in [
        ("bash", "bleedtrace.bash"),
        ("zsh", "_bleedtrace"),
        ("fish", "bleedtrace.fish"),
    ] {
        folder.write(
            &format!("unpacked/completions/{name}"),
            said(&["completions", shell]),
        );
    }
    place
}

#[test]
fn the_script_installs_and_removes_and_leaves_the_configuration() {
    const TEST: &str = "the_script_installs_and_removes_and_leaves_the_configuration";
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let script = unpacked(&folder, &setup.bleedtrace).join("deploy/install.sh");
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("the folder is ours");
        let install = |arguments: &[&str]| {
            let mut command = Command::new(&script);
            command.args(arguments).env("DESTDIR", &root);
            command.output().expect("it runs")
        };
        succeeds(&install(&["--prefix", "/usr/local"]));
        let installed = |name: &str| root.join(name).is_file();
        let files = [
            "usr/local/bin/bleedtrace",
            "usr/local/share/man/man1/bleedtrace.1",
            "usr/local/share/man/man1/bleedtrace-trace.1",
            "usr/local/share/bash-completion/completions/bleedtrace",
            "usr/local/share/doc/bleedtrace/LICENSE-MIT",
            "etc/systemd/system/bleedtrace.service",
        ];
        for name in files {
            assert!(installed(name), "{name}");
        }
        let unit =
            fs::read_to_string(root.join("etc/systemd/system/bleedtrace.service")).expect("it is there");
        assert!(
            unit.contains("ExecStart=/usr/local/bin/bleedtrace agent"),
            "{unit}"
        );
        let config = root.join("etc/bleedtrace/config.toml");
        fs::write(&config, "# mine\n").expect("it is there");
        succeeds(&install(&["--prefix", "/usr/local"]));
        succeeds(&install(&["--prefix", "/usr/local", "--uninstall"]));
        assert_eq!(fs::read_to_string(&config).expect("it stays"), "# mine\n");
        for name in files {
            assert!(!installed(name), "{name} is left");
        }
        for wrong in [&["--prefix"][..], &["--prefix", "usr"], &["--force"]] {
            let output = install(wrong);
            assert_eq!(output.status.code(), Some(2), "{wrong:?}");
            assert!(
                String::from_utf8_lossy(&output.stderr).contains("\nhint: "),
                "{wrong:?}"
            );
        }
    });
}

/// Whether this program has the command that is deployed.
fn has_agent(program: &Path) -> bool {
    let help = Command::new(program).args(["agent", "--help"]).output();
    help.is_ok_and(|output| output.status.success())
}

#[test]
fn the_agent_takes_the_flags_and_the_configuration_that_are_shipped() {
    const TEST: &str = "the_agent_takes_the_flags_and_the_configuration_that_are_shipped";
    once(TEST, |setup| {
        if !has_agent(&setup.bleedtrace) {
            return skip(TEST, "this bleedtrace has no command `agent`");
        }
        let said = |arguments: &[&str]| {
            let output = Command::new(&setup.bleedtrace)
                .args(arguments)
                .output()
                .expect("it runs");
            succeeds(&output)
        };
        let help = said(&["agent", "--help"]);
        for file in [
            "kubernetes/daemonset.yaml",
            "helm/bleedtrace/templates/daemonset.yaml",
            "Dockerfile",
        ] {
            let text = read(file);
            let words = text.split(|c: char| c.is_whitespace() || c == '"' || c == '=');
            for flag in
                words.filter(|word| ["--config", "--listen"].iter().any(|ours| word.starts_with(ours)))
            {
                assert!(help.contains(flag), "{file}: {flag}\n{help}");
            }
        }
        let config = deploy("config.toml");
        said(&[
            "config",
            "check",
            "--config",
            config.to_str().expect("a plain path"),
        ]);
    });
}

#[test]
fn the_package_is_one() {
    const TEST: &str = "the_package_is_one";
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let name = format!("dist/bleedtrace_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    let file = target.join(name);
    if !file.is_file() {
        return skip(TEST, "no package: `cargo xtask dist` makes one");
    }
    let file = file.to_str().expect("a plain path");
    let Some(output) = tool("dpkg-deb", &["--info", file]) else {
        return skip(TEST, "no dpkg-deb");
    };
    let said = succeeds(&output);
    assert!(
        said.contains("Package: bleedtrace\n") && said.contains("conffiles"),
        "{said}"
    );
    let listed = succeeds(&tool("dpkg-deb", &["--contents", file]).expect("it is here"));
    for name in [
        "./usr/bin/bleedtrace\n",
        "./usr/lib/systemd/system/bleedtrace.service\n",
        "./etc/bleedtrace/config.toml\n",
        "./usr/share/man/man1/bleedtrace.1\n",
        "./usr/share/man/man1/bleedtrace-replay.1\n",
    ] {
        assert!(listed.contains(name), "{name}{listed}");
    }
    assert!(!listed.contains("etc/systemd"), "{listed}");
    assert!(
        listed.lines().all(|line| line.contains(" root/root ")),
        "{listed}"
    );
}
