//! Where an interpreter's files may be. Everything here only makes up paths, as the target sees them; opening them is the caller's.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::layout::Layout;
use crate::elf::Linkage;

/// Where the dynamic linker looks last.
const DEFAULT_DIRECTORIES: &[&str] = &[
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib/x86_64-linux-gnu",
    "/usr/local/lib64",
    "/usr/local/lib",
];
/// Prefixes that hold a standard library whatever the core's own place is.
const DEFAULT_PREFIXES: &[&str] = &["/usr", "/usr/local"];
/// Directories above the core that may be its prefix (`PREFIX/lib/x86_64-linux-gnu/libpython`).
const MAX_PREFIX_DEPTH: usize = 3;
/// Directories of one search path, and candidates, that are considered; a file may name any number.
const MAX_DIRECTORIES: usize = 64;
const MAX_CANDIDATES: usize = 256;

/// Where the `_queue` extension module of the core at `core` may be, best guess first.
pub fn queue_modules(core: &Path, layout: &Layout) -> Vec<PathBuf> {
    let (minor, build) = (layout.minor, if layout.free_threaded { "t" } else { "" });
    let names = [
        format!("_queue.cpython-3{minor}{build}-x86_64-linux-gnu.so"),
        format!("_queue.cpython-3{minor}{build}-x86_64-linux-musl.so"),
        "_queue.so".to_owned(),
    ];
    let own = core.ancestors().skip(2).take(MAX_PREFIX_DEPTH);
    let mut candidates = Vec::new();
    for prefix in own.chain(DEFAULT_PREFIXES.iter().map(Path::new)) {
        for lib in ["lib", "lib64"] {
            let directory = prefix
                .join(lib)
                .join(format!("python3.{minor}{build}"))
                .join("lib-dynload");
            for name in &names {
                push_new(&mut candidates, directory.join(name));
            }
        }
    }
    candidates
}

/// Where the libpython that `executable` needs may be, in the order in which the dynamic linker looks.
/// `library_path` is the target's `LD_LIBRARY_PATH`. None when it needs no libpython.
pub fn libpythons(executable: &Path, linkage: &Linkage<'_>, library_path: Option<&OsStr>) -> Vec<PathBuf> {
    let origin = executable.parent().unwrap_or(Path::new("/"));
    let mut directories = Vec::new();
    // DT_RUNPATH, where there is one, replaces DT_RPATH and comes after LD_LIBRARY_PATH.
    if linkage.runpath.is_none() {
        directories.extend(split(linkage.rpath.unwrap_or_default(), origin));
    }
    directories.extend(split(library_path.map_or(&[][..], OsStr::as_bytes), origin));
    directories.extend(split(linkage.runpath.unwrap_or_default(), origin));
    directories.extend(DEFAULT_DIRECTORIES.iter().map(PathBuf::from));

    let mut candidates = Vec::new();
    for needed in linkage
        .needed
        .iter()
        .map(|name| Path::new(OsStr::from_bytes(name)))
    {
        let is_libpython = needed
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"libpython"));
        if is_libpython && needed.components().count() > 1 {
            push_new(&mut candidates, expand(needed.as_os_str().as_bytes(), origin));
        } else if is_libpython {
            for directory in &directories {
                push_new(&mut candidates, directory.join(needed));
            }
        }
    }
    candidates
}

/// The path inside `root` (such as `/proc/PID/root`) of a path as the target sees it. It never leads out of `root` by itself.
pub fn inside(root: &Path, path: &Path) -> PathBuf {
    let mut inside = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir => drop(inside.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    inside
        .into_iter()
        .fold(root.to_path_buf(), |path, name| path.join(name))
}

fn split(list: &[u8], origin: &Path) -> Vec<PathBuf> {
    list.split(|byte| *byte == b':' || *byte == b';')
        .filter(|path| !path.is_empty())
        .map(|path| expand(path, origin))
        // Relative to a working directory that is not known.
        .filter(|path| path.is_absolute())
        .take(MAX_DIRECTORIES)
        .collect()
}

fn expand(path: &[u8], origin: &Path) -> PathBuf {
    for token in ["$ORIGIN", "${ORIGIN}"] {
        if let Some(rest) = path.strip_prefix(token.as_bytes()) {
            let mut expanded = origin.as_os_str().to_owned();
            expanded.push(OsStr::from_bytes(rest));
            return expanded.into();
        }
    }
    OsStr::from_bytes(path).into()
}

fn push_new(paths: &mut Vec<PathBuf>, path: PathBuf) {
    if paths.len() < MAX_CANDIDATES && !paths.contains(&path) {
        paths.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linkage<'a>(rpath: Option<&'a str>, runpath: Option<&'a str>) -> Linkage<'a> {
        let needed = vec![&b"libpython3.12.so.1.0"[..], b"libc.so.6"];
        Linkage {
            needed,
            rpath: rpath.map(str::as_bytes),
            runpath: runpath.map(str::as_bytes),
        }
    }

    fn first(linkage: &Linkage<'_>, library_path: Option<&str>) -> PathBuf {
        libpythons(
            Path::new("/opt/py/bin/python3"),
            linkage,
            library_path.map(OsStr::new),
        )
        .remove(0)
    }

    #[test]
    fn search_paths_come_in_the_order_of_the_dynamic_linker() {
        let library = |directory: &str| Path::new(directory).join("libpython3.12.so.1.0");
        let (r, run) = (Some("$ORIGIN/../lib"), Some("relative:/run"));
        assert_eq!(
            first(&linkage(r, None), Some("/env")),
            library("/opt/py/bin/../lib")
        );
        assert_eq!(first(&linkage(r, run), Some("/env")), library("/env"));
        assert_eq!(first(&linkage(r, run), None), library("/run"));
        assert_eq!(
            first(&linkage(None, None), None),
            library("/lib/x86_64-linux-gnu")
        );
    }

    #[test]
    fn the_queue_module_is_beside_the_standard_library() {
        for (core, prefix) in [
            ("/opt/py/bin/python3.13", "/opt/py"),
            ("/opt/py/lib/libpython3.13.so.1.0", "/opt/py"),
            ("/usr/lib/x86_64-linux-gnu/libpython3.13.so.1.0", "/usr"),
            ("/somewhere/else/python", "/usr"),
        ] {
            for (build, free_threaded) in [("", false), ("t", true)] {
                let layout = Layout::of(13, free_threaded).expect("a layout");
                let candidates = queue_modules(Path::new(core), layout);
                let file = format!(
                    "lib/python3.13{build}/lib-dynload/_queue.cpython-313{build}-x86_64-linux-gnu.so"
                );
                assert!(
                    candidates.contains(&Path::new(prefix).join(file)),
                    "{core}: {candidates:?}"
                );
            }
        }
    }

    #[test]
    fn a_path_stays_inside_the_root() {
        let root = Path::new("/srv/image");
        assert_eq!(
            inside(root, Path::new("/../../etc/../usr/./lib")),
            Path::new("/srv/image/usr/lib")
        );
    }

    #[test]
    fn endless_search_paths_are_cut() {
        let many = "/x:".repeat(100_000) + "/y";
        assert!(libpythons(Path::new("/python"), &linkage(Some(&many), None), None).len() <= MAX_CANDIDATES);
    }
}
