//! SARIF 2.1.0: findings at their file and line, for code hosts and CI systems.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    Document, Effect,
    fingerprint::places,
    leak::{Leak, Tone},
};
use crate::{
    correlate::finding::{Kind, Severity},
    report::{explain::article, finding::Site},
};

/// Where the folder is that relative paths begin at.
const ROOT: &str = "SRCROOT";
/// The articles about findings.
const ARTICLES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/findings.md");
/// What a fingerprint is called, and the version of how it is made.
const FINGERPRINT: &str = "bleedtraceFault/v1";

/// The log.
pub(super) fn log(document: &Document) -> Value {
    let summary = &document.summary;
    let mut invocation = json!({
        "executionSuccessful": true,
        "toolExecutionNotifications": summary.reasons.iter().map(|reason| json!({
            "descriptor": { "id": reason.code },
            "level": "warning",
            "message": { "text": message(&reason.message) },
        })).collect::<Vec<_>>(),
    });
    if let (Some(first), Some(last)) = (&document.about.first, &document.about.last) {
        invocation["startTimeUtc"] = json!(first);
        invocation["endTimeUtc"] = json!(last);
    }
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "bleedtrace",
                "semanticVersion": document.about.program,
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": Kind::ALL.iter().map(|kind| rule(*kind)).collect::<Vec<_>>(),
            } },
            "automationDetails": { "id": "bleedtrace/" },
            "originalUriBaseIds": { ROOT: {
                "description": { "text": "the root of the repository" },
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation],
            "results": document.effects().map(result).collect::<Vec<_>>(),
            "properties": {
                "verdict": summary.verdict,
                "findings": summary.findings,
                "accepted": summary.allowed,
                "findingsOfFurtherPlaces": document.beyond(),
            },
        }],
    })
}

fn rule(kind: Kind) -> Value {
    let article = article(kind);
    let help = format!(
        "{}\n\nHow it happens. {}\n\nHow bleedtrace knows. {}\n\nWhat to do. {}",
        article.meaning, article.how, article.proof, article.remedy
    );
    let example = format!(
        "{}\n\n**How it happens.** {}\n\n```python\n{}\n```\n\n**How bleedtrace knows.** {}\n\n**What to do.** {}",
        article.meaning, article.how, article.example, article.proof, article.remedy
    );
    json!({
        "id": kind.name(),
        "name": camel(kind.name()),
        "shortDescription": { "text": article.title },
        "fullDescription": { "text": article.meaning },
        "help": { "text": help, "markdown": example },
        "helpUri": format!("{ARTICLES}#{}", kind.name()),
        "defaultConfiguration": { "level": level(kind) },
        "properties": {
            "tags": ["security", "isolation", "external/cwe/cwe-488"],
            "precision": "very-high",
            "security-severity": match kind.severity() {
                Severity::Critical => "9.1",
                Severity::Warning => "5.5",
            },
        },
    })
}

fn result(effect: &Effect) -> Value {
    let finding = &effect.finding;
    let sites: Vec<_> = places(finding).collect();
    let first = primary(&sites).map_or_else(
        || json!({ "logicalLocations": [{ "name": finding.service, "kind": "module" }] }),
        |site| location(site, None),
    );
    let related = sites.iter().enumerate().map(|(at, (what, site))| {
        let mut location = location(site, Some(what));
        location["id"] = json!(at + 1);
        location
    });
    let mut result = json!({
        "ruleId": finding.kind.name(),
        "ruleIndex": Kind::ALL.iter().position(|kind| *kind == finding.kind),
        "level": level(finding.kind),
        "message": { "text": message(&format!("{} To mend it: {}", finding.explain, finding.fix)) },
        "locations": [first],
        "relatedLocations": related.collect::<Vec<_>>(),
        "partialFingerprints": { FINGERPRINT: effect.fingerprint },
        "occurrenceCount": effect.count,
        "properties": {
            "service": finding.service,
            "slot": finding.slot,
            "confidence": finding.confidence,
            "confirmed": effect.confirmed,
            "evidence": finding.evidence,
            "source": finding.source,
            "first": finding.time,
            "last": effect.last,
            "windowComplete": finding.window_complete,
        },
    });
    let leak = Leak::of(finding);
    if leak.steps.len() > 1 {
        result["codeFlows"] = json!([code_flow(&leak)]);
    }
    if let Some(reason) = &finding.allowed {
        result["suppressions"] =
            json!([{ "kind": "external", "status": "accepted", "justification": reason }]);
    }
    result
}

/// The place that the finding is shown at: where it is to be mended, if that is in a file.
fn primary<'a>(sites: &[(&str, &'a Site)]) -> Option<&'a Site> {
    let order = ["bind", "made", "hop", "read", "mint", "policy"];
    let known = order
        .iter()
        .filter_map(|wanted| sites.iter().find(|(what, _)| what == wanted));
    known
        .map(|(_, site)| *site)
        .find(|site| uri(&site.file).is_some())
}

/// One flow for each carrier; the order of all their steps is known.
fn code_flow(leak: &Leak) -> Value {
    let flow = |carrier: usize| {
        let steps = leak
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.carrier == carrier);
        let locations = steps.map(|(at, step)| {
            let mut location = step
                .site
                .as_ref()
                .map_or_else(|| json!({}), |site| location(site, None));
            location["message"] = json!({ "text": message(&step.text) });
            json!({
                "location": location,
                "executionOrder": at + 1,
                "importance": if step.tone == Tone::Wrong { "essential" } else { "important" },
            })
        });
        json!({
            "id": leak.carriers[carrier].name,
            "locations": locations.collect::<Vec<_>>(),
        })
    };
    json!({ "threadFlows": (0..leak.carriers.len()).map(flow).collect::<Vec<_>>() })
}

fn location(site: &Site, what: Option<&str>) -> Value {
    let mut location = json!({
        "logicalLocations": [{ "fullyQualifiedName": site.function, "kind": "function" }],
    });
    if let Some(uri) = uri(&site.file) {
        let mut artifact = json!({ "uri": uri });
        if !uri.starts_with("file:") {
            artifact["uriBaseId"] = json!(ROOT);
        }
        location["physicalLocation"] = json!({ "artifactLocation": artifact });
        if site.line > 0 {
            location["physicalLocation"]["region"] = json!({ "startLine": site.line });
        }
    }
    if let Some(what) = what {
        location["message"] = json!({ "text": what });
    }
    location
}

/// A file's name as a URI; none of what is no file, as `<string>`.
fn uri(file: &str) -> Option<String> {
    if file.is_empty() || file.starts_with('<') {
        return None;
    }
    let mut uri = String::from(if file.starts_with('/') { "file://" } else { "" });
    for byte in file.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~') {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    Some(uri)
}

/// Text in which nothing is a link.
fn message(text: &str) -> String {
    text.replace("](", "] (")
}

fn level(kind: Kind) -> &'static str {
    match kind.severity() {
        Severity::Critical => "error",
        Severity::Warning => "warning",
    }
}

/// `black_hole_read` as `BlackHoleRead`.
fn camel(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(letters)
            .collect::<String>()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_become_uris() {
        assert_eq!(uri("src/a b.py").as_deref(), Some("src/a%20b.py"));
        assert_eq!(uri("./src/a.py").as_deref(), Some("src/a.py"));
        assert_eq!(uri("/srv/a:b.py").as_deref(), Some("file:///srv/a%3Ab.py"));
        assert_eq!(uri("<frozen importlib>"), None);
        assert_eq!(
            uri("javascript:alert(1)").as_deref(),
            Some("javascript%3Aalert%281%29")
        );
    }
}
