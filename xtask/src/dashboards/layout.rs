//! The one way in which dashboards are written down: what fits into a line is one, and what a reader looks for comes first.

use std::fmt::Write as _;

use serde_json::Value;

/// Columns of a line.
const WIDTH: usize = 140;
/// Keys that come before the others, in this order.
const FIRST: [&str; 10] = [
    "id",
    "uid",
    "refId",
    "name",
    "type",
    "title",
    "description",
    "datasource",
    "expr",
    "gridPos",
];

/// A dashboard as text.
pub fn written(dashboard: &Value) -> String {
    let mut out = String::new();
    block(&mut out, dashboard, 0, 0);
    out.push('\n');
    out
}

/// Writes a value at a depth; `used` columns of its line are taken.
fn block(out: &mut String, value: &Value, depth: usize, used: usize) {
    let short = line(value);
    if 2 * depth + used + short.chars().count() < WIDTH && depth > 0 {
        out.push_str(&short);
        return;
    }
    let indent = "  ".repeat(depth + 1);
    match value {
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                let _ = write!(out, "{}\n{indent}", if n == 0 { "" } else { "," });
                block(out, item, depth + 1, 1);
            }
            let _ = write!(out, "\n{}]", "  ".repeat(depth));
        }
        Value::Object(_) => {
            out.push('{');
            for (n, (key, item)) in entries(value).into_iter().enumerate() {
                let _ = write!(
                    out,
                    "{}\n{indent}{}: ",
                    if n == 0 { "" } else { "," },
                    string(key)
                );
                block(out, item, depth + 1, key.len() + 5);
            }
            let _ = write!(out, "\n{}}}", "  ".repeat(depth));
        }
        _ => out.push_str(&short),
    }
}

/// A value in one line.
fn line(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(", ")),
        Value::Object(_) => {
            let entries = entries(value).into_iter();
            let entries: Vec<_> = entries
                .map(|(key, item)| format!("{}: {}", string(key), line(item)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn entries(value: &Value) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = value.as_object().into_iter().flatten().collect();
    let rank = |key: &str| {
        FIRST
            .iter()
            .position(|first| *first == key)
            .unwrap_or(FIRST.len())
    };
    entries.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    entries
}

fn string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_what_was_read_in_the_order_of_interest() {
        let long = "x".repeat(WIDTH);
        let dashboard = json!({"panels": [{"title": "a", "id": 1}, {"expr": long, "refId": "A"}], "empty": [], "uid": "u"});
        let text = written(&dashboard);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), dashboard);
        assert!(
            text.starts_with("{\n  \"uid\": \"u\",\n  \"empty\": [],\n"),
            "{text}"
        );
        assert!(text.contains("\n    {\"id\": 1, \"title\": \"a\"},\n"), "{text}");
        assert!(text.contains("\n    {\n      \"refId\": \"A\",\n"), "{text}");
    }
}
