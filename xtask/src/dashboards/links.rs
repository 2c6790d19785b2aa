//! Links of documents: what they name is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A document, as far as links go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// What can be linked to in it.
    pub anchors: BTreeSet<String>,
    /// What it links to.
    pub links: Vec<String>,
    /// Its headings, as they are written.
    pub headings: Vec<String>,
}

/// Reads a document.
pub fn read(text: &str) -> Document {
    let mut document = Document::default();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                if let Some(title) = heading.take() {
                    let slug = slug(&title);
                    let taken = (1..).map(|n| format!("{slug}-{n}"));
                    let free = std::iter::once(slug.clone())
                        .chain(taken)
                        .find(|name| !document.anchors.contains(name));
                    document.anchors.extend(free);
                    document.headings.push(title);
                }
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                document.links.push(dest_url.into_string());
            }
            _ => {}
        }
    }
    document
}

/// The anchor that code hosts give a heading.
fn slug(title: &str) -> String {
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Links that lead nowhere. `exists` says whether there is such a file, `documents` are those that can be looked into.
pub fn broken(documents: &BTreeMap<PathBuf, Document>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, document) in documents {
        for link in &document.links {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link
                .split_once('#')
                .map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() {
                path.clone()
            } else {
                beside(path, file)
            };
            if !exists(&target) {
                problems.push(format!("{}: no {}", path.display(), target.display()));
            } else if let (Some(anchor), Some(there)) = (anchor, documents.get(&target))
                && !there.anchors.contains(anchor)
            {
                problems.push(format!(
                    "{}: no #{anchor} in {}",
                    path.display(),
                    target.display()
                ));
            }
        }
    }
    problems
}

/// A path as a document names it, from the root of the checkout.
fn beside(document: &Path, file: &str) -> PathBuf {
    let mut path = document.parent().map(Path::to_owned).unwrap_or_default();
    for component in Path::new(file).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_and_headings_are_followed() {
        let documents = BTreeMap::from([
            (
                PathBuf::from("docs/a.md"),
                read(
                    "# A `b_c` d\n\n[x](b.md#there-1) [x](b.md#gone) [x](../README.md) [x](no.md) [x](https://x.y/z#q) [x](#a-b_c-d)\n",
                ),
            ),
            (PathBuf::from("docs/b.md"), read("# There\n\n## There\n")),
        ]);
        let problems = broken(&documents, |path| {
            path == Path::new("README.md") || documents.contains_key(path)
        });
        assert_eq!(
            problems,
            ["docs/a.md: no #gone in docs/b.md", "docs/a.md: no docs/no.md"]
        );
    }
}
