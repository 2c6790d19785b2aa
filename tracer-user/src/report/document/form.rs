//! The forms in which a report is written.

use std::path::Path;

use super::{Document, html, junit, markdown, sarif, text};

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people, in one file.
    Html,
    /// For people, in a terminal.
    Text,
    /// One object.
    Json,
    /// SARIF 2.1.0, for code hosts and CI systems.
    Sarif,
    /// JUnit's XML, for what shows the results of tests.
    Junit,
    /// A summary for a pull request.
    Markdown,
}

impl Form {
    /// The form that a file's name asks for.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match &*ending {
            "html" | "htm" => Self::Html,
            "txt" => Self::Text,
            "json" => Self::Json,
            "sarif" => Self::Sarif,
            "xml" => Self::Junit,
            "md" => Self::Markdown,
            _ => return None,
        })
    }

    /// Writes a report.
    pub fn write(self, document: &Document) -> std::io::Result<String> {
        match self {
            Self::Html => Ok(html::page(document)),
            Self::Text => Ok(text::text(document)),
            Self::Json => Ok(serde_json::to_string_pretty(document)? + "\n"),
            Self::Sarif => Ok(serde_json::to_string_pretty(&sarif::log(document))? + "\n"),
            Self::Junit => junit::report(document),
            Self::Markdown => Ok(markdown::summary(document)),
        }
    }
}
