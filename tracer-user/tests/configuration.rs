//! The configuration as it is documented, as editors are told, and as the program takes it.

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::{Value, json};
use tracer_user::config::{
    Config, FileConfig, Overrides,
    keys::{FILE, Key, Shape},
    schema::schema,
};

/// The example of docs/configuration.md.
fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```toml\n").expect("an example");
    rest.split_once("```").expect("its end").0.to_owned()
}

fn valid(text: &str) -> bool {
    let file: toml::Table = text.parse().unwrap();
    let file = serde_json::to_value(file).unwrap();
    jsonschema::validator_for(&schema()).unwrap().is_valid(&file)
}

fn accepted(text: &str) -> bool {
    FileConfig::parse(text).is_ok_and(|file| Config::resolve(file, &Overrides::default()).is_ok())
}

#[test]
fn the_documented_example_is_understood_and_fits_the_schema() {
    let example = documented();
    assert!(accepted(&example), "{example}");
    assert!(valid(&example), "{example}");
}

#[test]
fn the_documented_example_has_every_key() {
    fn missing(keys: &[Key], value: &Value, at: &str, out: &mut Vec<String>) {
        for key in keys {
            let at = format!("{at}.{}", key.name);
            let tables: Vec<&Value> = match value {
                Value::Array(tables) => tables.iter().collect(),
                table => vec![table],
            };
            let Some(found) = tables.iter().find_map(|table| table.get(key.name)) else {
                out.push(at);
                continue;
            };
            if let Shape::Table(keys) | Shape::Tables(keys) = key.shape {
                missing(keys, found, &at, out);
            }
        }
    }
    let file: toml::Table = documented().parse().unwrap();
    let mut out = Vec::new();
    missing(&FILE, &json!(file), "", &mut out);
    assert!(out.is_empty(), "not in docs/configuration.md: {out:?}");
}

#[test]
fn the_schema_and_the_program_agree() {
    for (text, fits) in [
        ("", true),
        ("[watch]\nidentity = [\"tenant\"]", true),
        ("[watch]\nidentiy = [\"tenant\"]", false),
        ("[watch]\nidentity = \"tenant\"", false),
        ("[watch]\nidentity = [1]", false),
        ("[watch]\nempty = [\"x\"]", true),
        ("[watch]\nempty = { tenant = [\"x\"] }", true),
        ("[watch]\nempty = { tenant = \"x\" }", false),
        ("[watch]\ntier = \"full\"", true),
        ("[watch]\ntier = \"none\"", false),
        ("[privacy]\nreveal = true", true),
        ("[privacy]\nreveal = \"yes\"", false),
        ("[agent]\nlisten = \"127.0.0.1:9464\"", true),
        ("[agent]\nlisten = \"localhost\"", false),
        ("[agent]\nlisten = 9464", false),
        ("[[service]]\nname = \"x\"", false),
        ("[[service]]\nmatch = { env = { A = \"*\" } }", true),
        ("[[service]]\nmatch = { env = { A = 1 } }", false),
        ("[service]\nmatch = {}", false),
        ("[[allow]]\nkind = \"squat\"\nsite = \"*\"\nreason = \"x\"", true),
        ("[[allow]]\nkind = \"squad\"\nsite = \"*\"\nreason = \"x\"", false),
        ("[[allow]]\nkind = \"squat\"\nsite = \"*\"", false),
        ("extra = 1", false),
    ] {
        assert_eq!((accepted(text), valid(text)), (fits, fits), "{text}");
    }
}

fn bleedtrace(words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("bleedtrace").unwrap();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BLEEDTRACE_")) {
        command.env_remove(name);
    }
    let output = command
        .args(words)
        .env("BLEEDTRACE_LISTEN", "127.0.0.1:9999")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_checks_shows_and_describes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bleedtrace.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, documented()).unwrap();

    let (code, out, err) = bleedtrace(&["config", "check", "--config", path]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(&format!("{path} can be used: ")), "{out}");
    assert!(
        out.contains("on this machine it cannot: error: cannot read the key file"),
        "{out}"
    );

    let beyond = directory.path().join("beyond.toml");
    fs::write(&beyond, "[agent]\nlisten = \"0.0.0.0:9464\"\n").unwrap();
    let (_, out, _) = bleedtrace(&[
        "config",
        "check",
        "--listen",
        "0.0.0.0:9464",
        "--config",
        beyond.to_str().unwrap(),
    ]);
    assert!(
        out.contains("0.0.0.0:9464: the agent serves there only with --listen-anywhere"),
        "{out}"
    );

    let (code, out, _) = bleedtrace(&[
        "config",
        "show",
        "--config",
        path,
        "--identity",
        "org",
        "--reveal",
    ]);
    assert_eq!(code, Some(0));
    let shown: toml::Table = out.parse().unwrap();
    assert_eq!(shown["watch"]["identity"][0].as_str(), Some("org"));
    assert_eq!(shown["privacy"]["reveal"].as_bool(), Some(true));
    // The environment wins over the file.
    assert_eq!(shown["agent"]["listen"].as_str(), Some("127.0.0.1:9999"));

    let (code, out, _) = bleedtrace(&["config", "schema"]);
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), schema());

    fs::write(&file, "[watch]\nidentiy = []").unwrap();
    let (code, _, err) = bleedtrace(&["config", "check", "--config", path]);
    assert_eq!(code, Some(2));
    assert_eq!(
        err,
        "error: unknown key `identiy` in [watch]\nhint: did you mean `identity`?\n"
    );
}
