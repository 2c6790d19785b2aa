//! `bleedtrace replay` on recordings that are at hand. None of this needs privileges.

use std::{fs, path::PathBuf};

use assert_cmd::Command;

fn recording(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recordings")
        .join(name)
}

fn replay(file: &std::path::Path, format: &str) -> std::process::Output {
    let mut command = Command::cargo_bin("bleedtrace").expect("the program is built");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BLEEDTRACE_")) {
        command.env_remove(name);
    }
    command.arg("replay").arg(file).args(["--format", format]);
    command.output().expect("it runs")
}

#[test]
fn every_version_is_judged_as_ever() {
    // They tell the same.
    for (version, format) in [(1, "json"), (1, "text"), (2, "json"), (2, "text")] {
        let output = replay(&recording(&format!("version-{version}.bleed")), format);
        let said = String::from_utf8(output.stdout).expect("text");
        let file = recording(&format!("version-1.{format}"));
        if std::env::var_os("BLEEDTRACE_WRITE_RECORDING").is_some() {
            fs::write(&file, &said).expect("it can be written");
        }
        assert_eq!(said, fs::read_to_string(&file).expect("it is there"));
        assert_eq!(output.status.code(), Some(1), "there are findings");
        assert!(said.contains("bleed"), "{said}");
    }
}

#[test]
fn what_cannot_be_replayed_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = fs::read(recording("version-1.bleed")).expect("it is there");
    let mut newer = golden.clone();
    newer[8] = 3;
    let checksum = crc32c::crc32c(&newer[..12]).to_le_bytes();
    newer[12..16].copy_from_slice(&checksum);
    for (name, bytes, expected) in [
        ("empty", &b""[..], "it is no recording\nhint: give a file that"),
        ("other", b"{\"type\":\"summary\"}", "it is no recording"),
        (
            "newer",
            &newer,
            "it has format version 3, and this bleedtrace reads versions 1 to 2\nhint: replay it with",
        ),
        (
            "start",
            &golden[..16],
            "nothing can be read behind its first 16 bytes\nhint: ",
        ),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("the folder is ours");
        let output = replay(&file, "json");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}");
    }
    let output = replay(&folder.path().join("none"), "json");
    assert_eq!(output.status.code(), Some(2));
}
