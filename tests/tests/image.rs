//! Where there is nothing but the program, as in an image from scratch, it does all that it does elsewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bleedtrace_tests::{Folder, Outcome, Program, Truth, free_port, get, once, sample, skip, wait_until};
use object::{
    Endianness, elf,
    read::elf::{ElfFile64, ProgramHeader as _},
};

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// Whether a program needs nobody to load libraries for it.
fn is_static(program: &Path) -> bool {
    let bytes = fs::read(program).expect("the program is readable");
    let file = ElfFile64::<Endianness>::parse(&*bytes).expect("an ELF file");
    let mut headers = file.elf_program_headers().iter();
    !headers.any(|header| header.p_type(file.endian()) == elf::PT_INTERP)
}

/// A command in a root directory with /proc and /sys, as a container from scratch has them.
fn alone(root: &Path, arguments: &[&str]) -> Command {
    let script =
        "mount -t proc proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && exec chroot \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(root)
        .args(arguments);
    command
}

#[test]
fn it_runs_where_there_is_nothing_else() {
    const TEST: &str = "it_runs_where_there_is_nothing_else";
    once(TEST, |setup| {
        if !is_static(&setup.bleedtrace) {
            return skip(
                TEST,
                "this bleedtrace is not the static one: `cargo xtask dist` makes that",
            );
        }
        let folder = Folder::new(TEST);
        let root = folder.path().join("root");
        for name in ["proc", "sys"] {
            fs::create_dir_all(root.join(name)).expect("the folder is ours");
        }
        // What chroot itself fails with if all was mounted and there is no such program.
        if alone(&root, &["/none"])
            .output()
            .is_ok_and(|output| output.status.code() != Some(127))
        {
            return skip(TEST, "nothing can be mounted in a namespace of its own");
        }
        fs::copy(&setup.bleedtrace, root.join("bleedtrace")).expect("the program can be copied");
        let said = succeeds(&mut alone(&root, &["/bleedtrace", "--version"]));
        assert_eq!(said, format!("bleedtrace {}\n", env!("CARGO_PKG_VERSION")));
        let doctor = succeeds(&mut alone(&root, &["/bleedtrace", "doctor"]));
        assert!(doctor.contains("a link was made and undone"), "{doctor}");

        let mut target = Program::fixture(setup, "attached.py", &[]);
        target.wait_for("ready");
        let (pid, address) = (target.pid().to_string(), format!("127.0.0.1:{}", free_port()));
        let mut command = alone(&root, &["/bleedtrace", "trace", "--identity", "tenant"]);
        let mut tracer = Program::start(
            command
                .args(["--format", "json", "--reveal"])
                .args(["--listen", &address, "--pid", &pid]),
        );
        wait_until("the target is traced", Duration::from_secs(60), || {
            assert!(tracer.runs(), "the tracer ended");
            let metrics = get(&address, "/metrics").ok()?;
            (sample(&metrics, "bleedtrace_targets", &[("state", "attached")]) == Some(1.0)).then_some(())
        });
        target.say("go on");
        let truth = Truth::parse(&target.end().stdout);
        let ended = tracer.end();
        Outcome::parse(&ended.stdout.clone(), ended).assert_truth(&truth);
    });
}

/// Files below a folder, as they are called from there.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let listed = succeeds(
        Command::new("find")
            .arg(folder)
            .args(["-type", "f", "-printf", "%P\\n"]),
    );
    listed.lines().map(PathBuf::from).collect()
}

#[test]
fn the_image_is_the_program_and_nothing_else() {
    const TEST: &str = "the_image_is_the_program_and_nothing_else";
    if Command::new("buildah").arg("--version").output().is_err() {
        return skip(TEST, "no buildah");
    }
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let context = folder.path().join("context");
        fs::create_dir_all(context.join("deploy")).expect("the folder is ours");
        fs::copy(&setup.bleedtrace, context.join("bleedtrace")).expect("the program can be copied");
        for name in ["deploy/config.toml", "LICENSE-APACHE", "LICENSE-MIT"] {
            fs::copy(checkout.join(name), context.join(name)).expect(name);
        }
        let buildah = |arguments: &[&str]| {
            let mut command = Command::new("buildah");
            command.args(["--storage-driver", "vfs", "--root", &folder.file("storage")]);
            command.args(["--runroot", &folder.file("run")]).args(arguments);
            succeeds(&mut command).trim().to_owned()
        };
        let image = "localhost/bleedtrace:test";
        let dockerfile = checkout.join("deploy/Dockerfile");
        let dockerfile = dockerfile.to_str().expect("a plain path");
        let context = context.to_str().expect("a plain path");
        buildah(&[
            "bud",
            "--isolation",
            "chroot",
            "--file",
            dockerfile,
            "--tag",
            image,
            context,
        ]);
        let format = "{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}";
        let inspected = buildah(&["inspect", "--type", "image", "--format", format, image]);
        assert_eq!(
            inspected,
            "[/bleedtrace] [agent --config=/etc/bleedtrace/config.toml]"
        );
        let container = buildah(&["from", "--pull-never", image]);
        let root = PathBuf::from(buildah(&["mount", &container]));
        let wanted = [
            "bleedtrace",
            "etc/bleedtrace/config.toml",
            "licenses/LICENSE-APACHE",
            "licenses/LICENSE-MIT",
        ];
        assert_eq!(files(&root), wanted.map(PathBuf::from).into());
        if is_static(&setup.bleedtrace) {
            let checked = succeeds(Command::new("chroot").arg(&root).args([
                "/bleedtrace",
                "config",
                "check",
                "--config=/etc/bleedtrace/config.toml",
            ]));
            assert!(!checked.contains("error"), "{checked}");
        }
    });
}
