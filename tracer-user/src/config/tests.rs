//! What a person who makes a mistake in the configuration is told, and who wins.

use super::*;

fn refused(text: &str) -> (String, String) {
    let error = FileConfig::parse(text).and_then(|file| Config::resolve(file, &Overrides::default()));
    let error = error.expect_err("must be refused");
    (error.to_string(), error.hint())
}

fn resolved(text: &str) -> Config {
    let file = FileConfig::parse(text).expect("a configuration");
    Config::resolve(file, &Overrides::default()).expect("one that can be used")
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
fn what_is_judged_by_reads_does_not_go_with_a_tier_without_them() {
    let (error, hint) = refused("[watch]\ntier = \"some\"");
    assert_eq!(
        (&*error, &*hint),
        ("`some` is no tier", "write \"full\" or \"handoffs\"")
    );
    for (key, value) in [
        ("wire", "true"),
        ("tasks", "true"),
        ("policy", "[\"p\"]"),
        ("mint", "[\"m\"]"),
    ] {
        let together = format!("{key} = {value}\ntier = \"handoffs\"");
        let tables = [
            format!("[watch]\n{together}"),
            format!("[[service]]\nmatch = {{}}\n{together}"),
            format!("[watch]\ntier = \"handoffs\"\n[[service]]\nmatch = {{}}\n{key} = {value}"),
        ];
        for text in tables {
            let (error, hint) = refused(&text);
            assert!(
                error.starts_with(&format!("`{key}` is judged by what is read")),
                "{error}"
            );
            assert!(hint.contains(&format!("leave `{key}` away")), "{hint}");
        }
        let inherited = format!("[watch]\n{key} = {value}\n[[service]]\nmatch = {{}}\ntier = \"handoffs\"");
        let config = resolved(&inherited);
        let rule = &config.services[0].watch;
        assert_eq!(rule.tier, Some(Tier::Handoffs));
        assert_eq!(
            (rule.wire, rule.tasks, rule.policy.len() + rule.mint.len()),
            (None, None, 0),
            "{key}"
        );
        let full = format!(
            "[watch]\ntier = \"handoffs\"\n[[service]]\nmatch = {{}}\ntier = \"full\"\n{key} = {value}"
        );
        assert_eq!(resolved(&full).services[0].watch.tier, Some(Tier::Full));
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
        ..Overrides::default()
    };
    let config = Config::resolve(file, &overrides).unwrap();
    assert!(!config.reveal);
    assert_eq!(config.key_file, Some("b".into()));
    assert_eq!(names(&config.watch.identity), ["principal"]);
    assert_eq!(names(&config.watch.request), ["rid"]);
    assert_eq!(names(&config.services[0].watch.identity), ["principal"]);
}

#[test]
fn the_agent_means_the_services_that_are_named() {
    let resolve = |text: &str, over: &Overrides| Config::resolve(FileConfig::parse(text).unwrap(), over);
    let subject = Subject {
        cmdline: "python3 shop.py".into(),
        ..Subject::default()
    };
    let selects = |text: &str, flag: Option<bool>| {
        let over = Overrides {
            only_services: flag,
            ..Overrides::default()
        };
        resolve(text, &over).unwrap().selects(&subject)
    };
    let shop = "[[service]]\nmatch = { cmdline = \"*shop*\" }";
    let bank = "[[service]]\nmatch = { cmdline = \"*bank*\" }";
    assert!(selects("", None) && selects(shop, None));
    assert!(!selects(bank, None));
    let all = format!("[agent]\nonly_services = false\n{bank}");
    assert!(selects(&all, None) && !selects(&all, Some(true)));

    let (error, hint) = refused("[agent]\nonly_services = true");
    assert!(error.contains("no [[service]]") && hint.contains("add a [[service]]"));
    let (error, hint) = refused("[agent]\nlisten = \"9464\"");
    assert!(error.starts_with("`9464`") && hint.contains("127.0.0.1:9464"));

    let listen = resolve("[agent]\nlisten = \"[::1]:1\"", &Overrides::default());
    assert_eq!(listen.unwrap().listen, Some("[::1]:1".parse().unwrap()));
    let over = Overrides {
        listen: Some("127.0.0.1:2".parse().unwrap()),
        ..Overrides::default()
    };
    let listen = resolve("[agent]\nlisten = \"[::1]:1\"", &over);
    assert_eq!(listen.unwrap().listen, Some("127.0.0.1:2".parse().unwrap()));
}

#[test]
fn a_rule_may_ask_for_the_environment() {
    let file = FileConfig::parse(
        "[[service]]\nmatch = { env = { STAGE = \"prod*\", TEAM = \"*\" } }\nname = \"live\"",
    );
    let config = Config::resolve(file.unwrap(), &Overrides::default()).unwrap();
    assert!(config.reads_environment());
    let name = |environment: &[&str]| {
        let subject = Subject {
            environment: environment.iter().map(|entry| (*entry).to_owned()).collect(),
            ..Subject::default()
        };
        config.for_process(&subject).1.map(str::to_owned)
    };
    assert_eq!(name(&["TEAM=", "STAGE=production"]), Some("live".into()));
    assert_eq!(name(&["TEAM=a", "STAGE=test", "STAGE=prod"]), None);
    assert_eq!(name(&["STAGE=prod"]), None);
    assert_eq!(name(&[]), None);
    assert_eq!(
        refused("[[service]]\nmatch = { env = { A = 1 } }").0,
        "`A` in match of [[service]] is a whole number, not a text"
    );
}

#[test]
fn what_is_accepted_is_of_a_kind_at_a_place_for_a_reason() {
    use crate::{correlate::finding::Kind, report::samples::finding};
    let with = |kind: &str, site: &str| {
        let text = format!("[[allow]]\nkind = \"{kind}\"\nsite = \"{site}\"\nreason = \"so be it\"");
        Config::resolve(FileConfig::parse(&text).unwrap(), &Overrides::default()).unwrap()
    };
    let squat = finding(Kind::Squat);
    let bind = squat.bind.as_ref().and_then(|bind| bind.site.clone()).unwrap();
    let place = format!("*{}:{}", bind.file, bind.line);
    let whole = format!("{} ({}:*)", bind.function, bind.file);
    for site in [place.as_str(), whole.as_str(), "*"] {
        assert_eq!(with("squat", site).allowed(&squat), Some("so be it"), "{site}");
        assert_eq!(with("bleed", site).allowed(&squat), None, "{site}");
    }
    assert_eq!(with("squat", "*/elsewhere.py:*").allowed(&squat), None);

    for (text, error) in [
        ("site = \"*\"\nreason = \"x\"", "an [[allow]] has no `kind`"),
        ("kind = \"squat\"\nreason = \"x\"", "an [[allow]] has no `site`"),
        (
            "kind = \"squat\"\nsite = \"*\"\nreason = \" \"",
            "an [[allow]] has no `reason`",
        ),
    ] {
        assert_eq!(refused(&format!("[[allow]]\n{text}")).0, error);
    }
    let (error, hint) = refused("[[allow]]\nkind = \"squats\"\nsite = \"*\"\nreason = \"x\"");
    assert!(error.starts_with("`squats` in [[allow]]"), "{error}");
    assert_eq!(hint, "did you mean `squat`?");
}

#[test]
fn what_is_shown_says_the_same_again() {
    for text in [
        "",
        "[watch]\nempty = [\"nobody\"]\nmint = [\"*.create\"]",
        "[watch]\nidentity = [\"a:b\"]\nempty = { b = [\"x\"], \"*\" = [\"y\"] }\n[wire]\ncredentials = [\"X-Key\"]\n\
         [privacy]\nreveal = true\nkey_file = \"k\"\n[agent]\nlisten = \"127.0.0.1:1\"\n\
         [[service]]\nmatch = { exe = \"e\", cmdline = \"c\", user = \"u\", cgroup = \"g\", env = { A = \"*\" } }\n\
         name = \"n\"\ndigest = [\"d\"]\nrequest = [\"r\"]\npolicy = [\"p\"]\nwire = true\ntasks = false\n\
         [[allow]]\nkind = \"squat\"\nsite = \"s\"\nreason = \"because\"",
    ] {
        let config = Config::resolve(FileConfig::parse(text).unwrap(), &Overrides::default()).unwrap();
        let shown = show::show(&config);
        let again = Config::resolve(FileConfig::parse(&shown).unwrap(), &Overrides::default()).unwrap();
        assert_eq!(again, config, "{shown}");
    }
}
