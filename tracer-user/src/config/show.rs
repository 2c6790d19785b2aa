//! The configuration that the file, the environment and the flags amount to, as a file would say it.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Config, Watch, duration};

/// The configuration as TOML.
pub fn show(config: &Config) -> String {
    let mut file = Table::new();
    let mut agent = Table::new();
    if let Some(listen) = config.listen {
        agent.insert("listen".to_owned(), listen.to_string().into());
    }
    agent.insert("only_services".to_owned(), config.only_services.into());
    if let Some(time) = config.disarm_after {
        agent.insert("disarm_after".to_owned(), duration::text(time).into());
    }
    file.insert("agent".to_owned(), agent.into());
    let mut privacy = Table::new();
    privacy.insert("reveal".to_owned(), config.reveal.into());
    if let Some(path) = &config.key_file {
        privacy.insert("key_file".to_owned(), path.to_string_lossy().into_owned().into());
    }
    file.insert("privacy".to_owned(), privacy.into());
    if !config.credentials.is_empty() {
        let mut wire = Table::new();
        wire.insert("credentials".to_owned(), texts(&config.credentials));
        file.insert("wire".to_owned(), wire.into());
    }
    file.insert("watch".to_owned(), watch(&config.watch).into());
    let services = config.services.iter().map(|rule| {
        let mut table = watch(&rule.watch);
        let mut matches = Table::new();
        let globs = &rule.matches;
        for (key, glob) in [
            ("exe", &globs.exe),
            ("cmdline", &globs.cmdline),
            ("user", &globs.user),
            ("cgroup", &globs.cgroup),
        ] {
            matches.extend(glob.clone().map(|glob| (key.to_owned(), glob.into())));
        }
        if !globs.env.is_empty() {
            let env = globs
                .env
                .iter()
                .map(|(name, glob)| (name.clone(), glob.clone().into()));
            matches.insert("env".to_owned(), Value::Table(env.collect()));
        }
        table.insert("match".to_owned(), matches.into());
        table.extend(rule.name.clone().map(|name| ("name".to_owned(), name.into())));
        Value::Table(table)
    });
    list(&mut file, "service", services);
    let allow = config.allow.iter().map(|rule| {
        let entries = [
            ("kind", rule.kind.name()),
            ("site", &rule.site),
            ("reason", &rule.reason),
        ];
        Value::Table(
            entries
                .map(|(key, text)| (key.to_owned(), text.into()))
                .into_iter()
                .collect(),
        )
    });
    list(&mut file, "allow", allow);
    file.to_string()
}

fn list(file: &mut Table, key: &str, tables: impl Iterator<Item = Value>) {
    let tables: Vec<_> = tables.collect();
    if !tables.is_empty() {
        file.insert(key.to_owned(), tables.into());
    }
}

fn watch(watch: &Watch) -> Table {
    let mut table = Table::new();
    // The well-known names are watched where nothing else is said: said, they would be too many.
    if !watch.defaults {
        for (key, variables) in [
            ("identity", &watch.identity),
            ("request", &watch.request),
            ("digest", &watch.digest),
        ] {
            if !variables.is_empty() {
                table.insert(key.to_owned(), texts(variables));
            }
        }
    }
    if !watch.empties.is_empty() {
        let mut empties: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for empty in &watch.empties {
            let variable = empty
                .variable
                .as_ref()
                .map_or_else(|| "*".to_owned(), ToString::to_string);
            empties.entry(variable).or_default().push(&empty.value);
        }
        let empties = empties
            .into_iter()
            .map(|(variable, values)| (variable, texts(&values)));
        table.insert("empty".to_owned(), Value::Table(empties.collect()));
    }
    for (key, patterns) in [("mint", &watch.mint), ("policy", &watch.policy)] {
        if !patterns.is_empty() {
            table.insert(key.to_owned(), texts(patterns));
        }
    }
    for (key, value) in [("wire", watch.wire), ("tasks", watch.tasks)] {
        table.extend(value.map(|value| (key.to_owned(), value.into())));
    }
    table.extend(watch.tier.map(|tier| ("tier".to_owned(), tier.name().into())));
    table
}

fn texts<T: ToString>(texts: &[T]) -> Value {
    texts.iter().map(ToString::to_string).collect::<Vec<_>>().into()
}
