//! Running programs as somebody else, with some capabilities.

/// Somebody without privilege.
pub const NOBODY: u32 = 65_534;
/// Somebody else.
pub const OTHER: u32 = 1_234;
/// The interpreter that everybody may run.
pub const PYTHON: &str = "/usr/bin/python3";

/// The words that run a program as this user with these capabilities, and no way to more.
pub fn as_user(user: u32, capabilities: &[&str]) -> Vec<String> {
    let list = capabilities
        .iter()
        .fold("-all".to_owned(), |list, name| format!("{list},+{name}"));
    vec![
        "setpriv".to_owned(),
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_owned(),
        format!("--inh-caps={list}"),
        format!("--ambient-caps={list}"),
        format!("--bounding-set={list}"),
    ]
}
