//! What a person who makes a mistake in the configuration is told, and who wins.

use super::*;

fn refused(text: &str) -> (String, String) {
    let error = FileConfig::parse(text).and_then(|file| Config::resolve(file, &Overrides::default()));
    let error = error.expect_err("must be refused");
    (error.to_string(), error.hint())
}

fn names(list: &[VarSelector]) -> Vec<&str> {
    list.iter().map(|v| v.name.as_str()).collect()
}

#[test]
fn a_whole_file_is_understood() {
    let file = FileConfig::parse(
        r#"
        [privacy]
        reveal = true
        key_file = "/etc/bleedtrace/key"
        [wire]
        credentials = ["X-Tenant-Key"]
        [watch]
        identity = ["tenant", "app.auth:principal"]
        request = ["request_id"]
        [[service]]
        match = { exe = "*/python3*", cmdline = "*mcp_hangar*", user = "1000" }
        name = "mcp-proxy"
        identity = ["identity_context"]
        digest = ["current_tool_pin"]
        empty = { server_id = ["default_server_id"] }
        mint = ["*TaskStore.create_task"]
        policy = ["*.PolicyEngine.check"]
        wire = true
        [[service]]
        match = { exe = "*/gunicorn" }
        empty = ["", "anonymous"]
        "#,
    )
    .unwrap();
    let config = Config::resolve(file, &Overrides::default()).unwrap();
    assert!(config.reveal);
    assert_eq!(config.key_file, Some("/etc/bleedtrace/key".into()));
    assert_eq!(config.watch.identity[1], "app.auth:principal".parse().unwrap());
    assert!(!config.watch.defaults);

    let proxy = Subject {
        exe: "/usr/bin/python3.12".into(),
        cmdline: "python3 -m mcp_hangar serve".into(),
        uid: 1000,
        ..Subject::default()
    };
    let (watch, name) = config.for_process(&proxy);
    assert_eq!(name, Some("mcp-proxy"));
    assert_eq!(
        (names(&watch.identity), names(&watch.digest)),
        (vec!["identity_context"], vec!["current_tool_pin"])
    );
    assert_eq!(watch.empties, ["server_id=default_server_id".parse().unwrap()]);
    assert_eq!(watch.mint, ["*TaskStore.create_task"]);
    assert_eq!(watch.policy, ["*.PolicyEngine.check"]);
    assert_eq!((watch.wire, config.watch.wire), (Some(true), None));
    assert_eq!(config.credentials, ["X-Tenant-Key"]);

    let other_user = Subject { uid: 0, ..proxy };
    assert_eq!(config.for_process(&other_user), (&config.watch, None));

    let gunicorn = Subject {
        exe: "/usr/bin/gunicorn".into(),
        ..Subject::default()
    };
    let (watch, name) = config.for_process(&gunicorn);
    assert_eq!(
        (name, names(&watch.identity)),
        (None, vec!["tenant", "principal"])
    );
    assert_eq!(watch.empties.len(), 2);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    for (text, key, near) in [
        ("[watch]\nidentiy = []", "identiy", "identity"),
        ("[privcy]\nreveal = true", "privcy", "privacy"),
        ("[privacy]\nrevael = true", "revael", "reveal"),
        ("[[service]]\nmatch = {}\ndigets = []", "digets", "digest"),
        ("[[service]]\nmatch = { cmd_line = \"x\" }", "cmd_line", "cmdline"),
    ] {
        let (error, hint) = refused(text);
        assert!(error.starts_with(&format!("unknown key `{key}`")), "{error}");
        assert_eq!(hint, format!("did you mean `{near}`?"));
    }
    let (_, hint) = refused("[privacy]\nzzz = 1");
    assert_eq!(hint, "known here: reveal, key_file");
}

#[test]
fn a_key_of_a_later_version_is_refused() {
    for (text, key) in [
        ("[agent]\nlisten = \"127.0.0.1:9464\"", "agent"),
        ("[[allow]]\nkind = \"squat\"", "allow"),
        ("[[service]]\nmatch = {}\ntier = \"full\"", "tier"),
        ("[[service]]\nmatch = {}\ntier = \"full\"", "tier"),
    ] {
        let (error, _) = refused(text);
        assert!(
            error.contains(&format!("`{key}`")) && error.ends_with("is not supported yet"),
            "{error}"
        );
    }
}

#[test]
fn the_wire_is_read_where_that_is_said_last() {
    let wire = |file: &str, flag| {
        let over = Overrides {
            watch: Watch {
                wire: flag,
                ..Watch::default()
            },
            ..Overrides::default()
        };
        let config = Config::resolve(FileConfig::parse(file).unwrap(), &over).unwrap();
        (
            config.watch.wire,
            config.services.first().map(|rule| rule.watch.wire),
        )
    };
    assert_eq!(wire("", None), (None, None));
    assert_eq!(wire("", Some(true)), (Some(true), None));
    let both = "[watch]\nwire = true\n[[service]]\nmatch = {}";
    assert_eq!(wire(both, None), (Some(true), Some(Some(true))));
    let one = "[watch]\nwire = true\n[[service]]\nmatch = {}\nwire = false";
    assert_eq!(wire(one, None), (Some(true), Some(Some(false))));
    assert_eq!(wire(one, Some(false)), (Some(false), Some(Some(false))));
    assert!(refused("[wire]\ncredentials = [\" \"]").0.contains("header"));
}

#[test]
fn wrong_types_and_syntax_are_refused() {
    let (error, hint) = refused("[watch]\nidentity = \"tenant\"");
    assert_eq!(error, "`identity` in [watch] is a text, not a list of texts");
    assert_eq!(hint, "give `identity` a list of texts");
    assert!(refused("[watch]\nidentity = [1]").0.contains("identity"));
    assert!(refused("[watch]\nempty = { tenant = 1 }").0.contains("tenant"));
    assert!(refused("[service]\nname = \"x\"").1.contains("[[service]]"));
    assert!(refused("[privacy]\nreveal = 1").0.contains("true or false"));
    assert!(refused("\n\n[watch").0.ends_with("in line 3"));
    assert!(refused("[[service]]\nname = \"x\"").0.contains("no `match`"));
    assert!(refused("[watch]\nidentity = [\"a b\"]").0.contains("`a b`"));
}

#[test]
fn no_more_variables_than_slots_and_one_role_each() {
    let nine: Vec<String> = (0..9).map(|n| format!("\"v{n}\"")).collect();
    assert!(
        refused(&format!("[watch]\nidentity = [{}]", nine.join(",")))
            .0
            .starts_with("9 variables")
    );
    let (error, _) = refused("[watch]\nidentity = [\"a\"]\nrequest = [\"a\"]");
    assert_eq!(error, "variable `a` is watched as identity and again as request");
}

#[test]
fn without_variables_the_well_known_names_are_watched() {
    let config = Config::resolve(FileConfig::default(), &Overrides::default()).unwrap();
    assert!(config.watch.defaults);
    assert_eq!(config.watch.variables().count(), 12);
    assert!(config.watch.request.iter().any(|v| v.name == "correlation_id"));

    let only_mint = Watch {
        mint: vec!["*.create".into()],
        policy: vec!["*.check".into()],
        ..Watch::default()
    };
    let overrides = Overrides {
        watch: only_mint,
        ..Overrides::default()
    };
    let config = Config::resolve(FileConfig::default(), &overrides).unwrap();
    assert!(config.watch.defaults);
    assert_eq!(config.watch.mint, ["*.create"]);
    assert_eq!(config.watch.policy, ["*.check"]);
}

#[test]
fn an_empty_pattern_is_refused_wherever_it_stands() {
    let expected = "an empty pattern names no function that mints";
    assert_eq!(refused("[watch]\nmint = [\"\"]").0, expected);
    assert_eq!(
        refused("[[service]]\nmatch = { exe = \"*\" }\nmint = [\" \"]").0,
        expected
    );
    let expected = "an empty pattern names no function that checks a policy";
    assert_eq!(refused("[watch]\npolicy = [\"\"]").0, expected);
}

#[test]
fn flags_win_over_the_file_in_every_rule() {
    let file = FileConfig::parse(
        "[privacy]\nreveal = true\nkey_file = \"a\"\n[watch]\nidentity = [\"tenant\"]\nrequest = [\"rid\"]\n\
         [[service]]\nmatch = { exe = \"*\" }\nidentity = [\"org\"]",
    )
    .unwrap();
    let overrides = Overrides {
        watch: Watch {
            identity: vec![VarSelector::named("principal")],
            ..Watch::default()
        },
        reveal: Some(false),
        key_file: Some("b".into()),
    };
    let config = Config::resolve(file, &overrides).unwrap();
    assert!(!config.reveal);
    assert_eq!(config.key_file, Some("b".into()));
    assert_eq!(names(&config.watch.identity), ["principal"]);
    assert_eq!(names(&config.watch.request), ["rid"]);
    assert_eq!(names(&config.services[0].watch.identity), ["principal"]);
}
