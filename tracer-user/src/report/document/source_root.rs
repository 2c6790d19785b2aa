//! Where the files that a process ran stand in a repository.

use std::str::FromStr;

/// A folder of the machine that was traced, and what it is called in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRoot {
    prefix: String,
    replacement: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRoots(Vec<SourceRoot>);

/// Why a mapping makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceRootError {
    /// There is no `=`.
    #[error("`{0}` is no PREFIX=REPLACEMENT")]
    NoEquals(String),
    /// There is nothing to replace.
    #[error("`{0}` names no folder to replace; give it in front of the `=`")]
    NoPrefix(String),
}

impl FromStr for SourceRoot {
    type Err = SourceRootError;

    fn from_str(text: &str) -> Result<Self, SourceRootError> {
        let Some((prefix, replacement)) = text.split_once('=') else {
            return Err(SourceRootError::NoEquals(text.to_owned()));
        };
        if prefix.is_empty() {
            return Err(SourceRootError::NoPrefix(text.to_owned()));
        }
        Ok(Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            replacement: replacement.trim_end_matches('/').to_owned(),
        })
    }
}

impl SourceRoot {
    /// The new name of a file that is below this folder.
    fn rename(&self, file: &str) -> Option<String> {
        let rest = file.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        Some(match &*self.replacement {
            "" => rest.to_owned(),
            replacement => format!("{replacement}/{rest}"),
        })
    }
}

impl SourceRoots {
    /// These; of several that fit, the longest folder counts.
    pub fn new(mut roots: Vec<SourceRoot>) -> Self {
        roots.sort_by_key(|root| std::cmp::Reverse(root.prefix.len()));
        Self(roots)
    }

    /// The new name of a file, if it has one.
    pub fn rename(&self, file: &str) -> Option<String> {
        self.0.iter().find_map(|root| root.rename(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(texts: &[&str]) -> SourceRoots {
        SourceRoots::new(
            texts
                .iter()
                .map(|text| text.parse().expect("a mapping"))
                .collect(),
        )
    }

    #[test]
    fn the_longest_folder_counts_and_only_whole_names_fit() {
        let roots = roots(&["/app=", "/app/vendor/=third_party", "/=root"]);
        for (file, expected) in [
            ("/app/proxy.py", Some("proxy.py")),
            ("/app/vendor/sdk.py", Some("third_party/sdk.py")),
            ("/apple/x.py", Some("root/apple/x.py")),
            ("app/x.py", None),
            ("<string>", None),
        ] {
            assert_eq!(roots.rename(file).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(
            "/app".parse::<SourceRoot>(),
            Err(SourceRootError::NoEquals("/app".to_owned()))
        );
        assert_eq!(
            "=src".parse::<SourceRoot>(),
            Err(SourceRootError::NoPrefix("=src".to_owned()))
        );
    }
}
