//! One JSON object per line: findings as they happen, the summary last.

use serde::Serialize;

use super::{finding::ExportedFinding, summary::Summary};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Finding(&'a ExportedFinding),
    Summary(&'a Summary),
}

/// The line of a finding, without its newline.
pub fn finding(finding: &ExportedFinding) -> serde_json::Result<String> {
    serde_json::to_string(&Line::Finding(finding))
}

/// The line of the summary, without its newline.
pub fn summary(summary: &Summary) -> serde_json::Result<String> {
    serde_json::to_string(&Line::Summary(summary))
}
