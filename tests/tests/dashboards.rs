//! The dashboards are what Grafana's own schema knows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bleedtrace_tests::{Folder, Setup, once, skip};

/// Dashboards that ship.
fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/grafana");
    let files = fs::read_dir(folder).expect("the folder of dashboards");
    let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    paths
}

/// What the schema says about dashboards: a line for everything that it does not know, and one for each of them.
fn read(setup: &Setup, dashboards: &[PathBuf]) -> Vec<String> {
    let mut command = setup.command();
    let output = command
        .arg(setup.fixture("roundtrip.py"))
        .args(dashboards)
        .output();
    let output = output.expect("python runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn grafana_reads_and_writes_every_dashboard_without_loss() {
    const TEST: &str = "grafana_reads_and_writes_every_dashboard_without_loss";
    once(TEST, |setup| {
        let Some(setup) = setup.with_requirements("dashboards") else {
            return skip(TEST, "no packages of requirements/dashboards.txt");
        };
        let paths = shipped();
        let said = read(&setup, &paths);
        assert_eq!(said.len(), paths.len(), "{said:#?}");
        assert!(said.iter().all(|line| line.starts_with("read ")), "{said:#?}");
    });
}

#[test]
fn words_that_grafana_does_not_know_are_found() {
    const TEST: &str = "words_that_grafana_does_not_know_are_found";
    once(TEST, |setup| {
        let Some(setup) = setup.with_requirements("dashboards") else {
            return skip(TEST, "no packages of requirements/dashboards.txt");
        };
        let mut paths = shipped();
        paths.retain(|path| path.ends_with("bleedtrace-overview.json"));
        let text = fs::read_to_string(&paths[0]).expect("readable");
        let folder = Folder::new(TEST);
        for (from, to, expected) in [
            (r#""gridPos""#, r#""gridPoss""#, ".gridPoss"),
            (r#""unit""#, r#""untt""#, ".fieldConfig.defaults.untt"),
            (r#""textMode""#, r#""textMod""#, ".options.textMod"),
            (
                r#""legendFormat""#,
                r#""legendFormatt""#,
                ".targets[0].legendFormatt",
            ),
            (
                r#""allValue""#,
                r#""allvalue""#,
                "lost dashboard.templating.list[1].allvalue",
            ),
            (
                r#""colorMode": "background""#,
                r#""colorMode": "loud""#,
                ".options.color_mode: loud",
            ),
            (
                r#""type": "stat""#,
                r#""type": "number""#,
                "unknown panel: number",
            ),
        ] {
            assert!(text.contains(from), "{from}");
            let path = folder.write("broken.json", text.replacen(from, to, 1));
            let said = read(&setup, &[path]);
            let mistakes: Vec<_> = said.iter().filter(|line| !line.starts_with("read ")).collect();
            assert_eq!(mistakes.len(), 1, "{from}: {said:#?}");
            assert!(mistakes[0].ends_with(expected), "{from}: {said:#?}");
        }
    });
}
