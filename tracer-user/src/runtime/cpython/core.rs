//! An ELF file that carries a CPython core: its version, the addresses of its static objects and where to probe it.

use std::fmt;

use tracer_common::{
    config::{Image, arguments},
    stats::Probe,
};

use super::{
    layout::Layout,
    probe_point::{PointError, ProbePoint, address, method_of},
};
use crate::elf::{
    ArgumentRegister::{Rdi, Rdx, Rsi},
    Elf, ElfError, Method, MethodTable, Pointer, Segment, TypeError, calls, find_table, member_table,
    method_tables, static_type, strings_used,
};

const CONTEXT_VAR: &[&str] = &["get", "set", "reset"];
/// `sizeof(PyMethodDef)` (`Include/methodobject.h`).
const METHOD_DEF: u64 = 32;
const CONTEXT: &[&str] = &["run", "copy", "keys", "values"];
const THREAD: &[&str] = &["start_new_thread", "get_ident", "allocate_lock"];
const POSIX: &[&str] = &["urandom", "fork"];

/// Pages of x86-64.
const PAGE: u64 = 4096;
/// First bytes of `_Py_DebugOffsets`.
const COOKIE: &[u8; 8] = b"xdebugpy";
const DEBUG_VERSION: u64 = 8;
const DEBUG_FREE_THREADED: u64 = 16;
/// First minor version whose `_PyRuntime` starts with `_Py_DebugOffsets`.
const FIRST_WITH_DEBUG_OFFSETS: u32 = 13;
/// A method's body, as far as it is searched for the call of the function behind it.
const METHOD_BODY: usize = 512;

/// A CPython version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3.
    pub major: u32,
    /// 12 of 3.12.1.
    pub minor: u32,
    /// 1 of 3.12.1.
    pub micro: u32,
}

impl Version {
    const fn from_hex(hex: u32) -> Self {
        Self {
            major: hex >> 24,
            minor: hex >> 16 & 0xff,
            micro: hex >> 8 & 0xff,
        }
    }

    // `3.8.18`, with what follows in a pre-release or a build from a checkout: `3.10.0rc2`, `3.9.1+`.
    fn from_text(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.splitn(3, '.');
        let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let micro = rest
            .find(|c: char| !c.is_ascii_digit())
            .map_or(rest, |end| &rest[..end]);
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            micro: micro.parse().ok()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// Why a file cannot be traced as a CPython core.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It is something else.
    #[error("no cpython core in this file: it does not export Py_GetVersion")]
    NotCPython,
    /// It is a CPython that cannot be traced.
    #[error("unsupported cpython{}: {reason}", version.map(|v| format!(" {v}")).unwrap_or_default())]
    Unsupported {
        /// Its version, when that could be told.
        version: Option<Version>,
        /// Why.
        reason: Unsupported,
    },
}

/// Why a CPython cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// No row of the tables describes this version.
    #[error("no layout is known for this version")]
    Version,
    /// The version is not where every build has it.
    #[error("{0} does not say its version")]
    NoVersion(String),
    /// It was built with the interpreter's own checks.
    #[error("debug build (--with-pydebug)")]
    Debug,
    /// The version is told in two ways that disagree.
    #[error("its runtime says version {0:#x}")]
    OtherVersion(u64),
    /// It does not export something that every build exports.
    #[error("{0} is not exported")]
    NotExported(&'static str),
    /// Its data cannot be read from the file.
    #[error("{0} is not in the file")]
    NotInFile(&'static str),
    /// Its structures are not those of the version's release.
    #[error("{member} is {found}, expected {expected}")]
    Offset {
        /// What differs.
        member: &'static str,
        /// What the tables say.
        expected: u64,
        /// What the file says.
        found: u64,
    },
    /// A type was not found.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// A function cannot be probed.
    #[error(transparent)]
    Point(#[from] PointError),
    /// A method does not go through the function that is probed in its place.
    #[error("{method} does not call {function}")]
    Bypassed {
        /// The method.
        method: &'static str,
        /// The function.
        function: &'static str,
    },
}

/// A CPython core that can be traced.
#[derive(Clone, Debug)]
pub struct Core {
    /// Its version.
    pub version: Version,
    /// Its layout.
    pub layout: &'static Layout,
    /// Link-time addresses and offsets for the kernel side.
    pub image: Image,
    /// Addresses that only the agent needs.
    pub addresses: Addresses,
    /// Where to probe.
    pub points: Vec<ProbePoint>,
    /// GNU build id.
    pub build_id: Option<Vec<u8>>,
    /// What of the file is loaded, and where.
    pub segments: Vec<Segment>,
}

/// Link-time addresses of a core that are used when a process is read from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `_PyRuntime`.
    pub runtime: u64,
    /// `PyCode_Type`.
    pub code_type: u64,
    /// `PyContextVar_Type`.
    pub contextvar_type: u64,
    /// `PyDict_Type`.
    pub dict_type: u64,
    /// `_Py_HashSecret`, where it is exported.
    pub hash_secret: Option<u64>,
}

impl Core {
    /// CPython 3.12 with nothing at any address.
    #[cfg(test)]
    pub(crate) fn bare() -> Self {
        Self {
            version: Version {
                major: 3,
                minor: 12,
                micro: 0,
            },
            layout: Layout::of(12, false).expect("a layout"),
            image: Image::default(),
            addresses: Addresses {
                runtime: 0,
                code_type: 0,
                contextvar_type: 0,
                dict_type: 0,
                hash_secret: None,
            },
            points: Vec::new(),
            build_id: None,
            segments: Vec::new(),
        }
    }

    /// Decides whether `file` carries a CPython core that can be traced and finds all that tracing it needs. `name` is the file's,
    /// for messages.
    pub fn inspect(file: &[u8], name: &str) -> Result<Self, CoreError> {
        let file = Elf::parse(file)?;
        if file.export("Py_GetVersion").is_none() {
            return Err(CoreError::NotCPython);
        }
        let version = version_of(&file, name).map_err(|reason| CoreError::Unsupported {
            version: None,
            reason,
        })?;
        Self::examine_version(&file, version).map_err(|reason| CoreError::Unsupported {
            version: Some(version),
            reason,
        })
    }

    /// The link-time address of the page that a mapping of the file at this offset begins with.
    pub fn vaddr_of_offset(&self, file_offset: u64) -> Option<u64> {
        // A mapping begins at a page boundary, which may lie before the segment's own beginning.
        self.segments
            .iter()
            .filter(|s| s.executable)
            .find(|s| file_offset <= s.file_offset && s.file_offset - file_offset < PAGE)
            .map(|s| s.vaddr.wrapping_sub(s.file_offset - file_offset))
    }

    fn examine_version(file: &Elf<'_>, version: Version) -> Result<Self, Unsupported> {
        if is_debug(file) {
            return Err(Unsupported::Debug);
        }
        let layout = Layout::of(version.minor, is_free_threaded(file))
            .filter(|_| version.major == 3)
            .ok_or(Unsupported::Version)?;
        check_debug_offsets(file, layout)?;
        check_sizes(file, layout)?;
        check_members(file, layout)?;
        let addresses = Addresses {
            runtime: export(file, "_PyRuntime")?,
            code_type: export(file, "PyCode_Type")?,
            contextvar_type: export(file, "PyContextVar_Type")?,
            dict_type: export(file, "PyDict_Type")?,
            hash_secret: file.export("_Py_HashSecret"),
        };
        Ok(Self {
            version,
            layout,
            image: image(file, layout, addresses.runtime)?,
            addresses,
            points: points(file, layout)?,
            build_id: file.build_id().map(<[u8]>::to_vec),
            segments: file.segments().to_vec(),
        })
    }
}

fn export(file: &Elf<'_>, name: &'static str) -> Result<u64, Unsupported> {
    file.export(name).ok_or(Unsupported::NotExported(name))
}

// From 3.11 on there is a number; before, only the text that `Py_GetVersion` begins with.
fn version_of(file: &Elf<'_>, name: &str) -> Result<Version, Unsupported> {
    if let Some(hex) = version_hex(file) {
        return Ok(Version::from_hex(hex));
    }
    let mut said = file
        .export("Py_GetVersion")
        .map_or(Vec::new(), |function| strings_used(file, function, METHOD_BODY))
        .into_iter()
        .filter_map(Version::from_text);
    match (said.next(), said.next()) {
        (Some(version), None) => Ok(version),
        _ => Err(Unsupported::NoVersion(name.to_owned())),
    }
}

/// What only builds with the interpreter's own checks export: up to 3.11, from 3.12 on (`Include/object.h`).
const DEBUG_EXPORTS: [&str; 2] = ["_Py_RefTotal", "_Py_INCREF_IncRefTotal"];

/// Whether an interpreter was built with its own checks, `--with-pydebug`.
pub fn is_debug(file: &Elf<'_>) -> bool {
    DEBUG_EXPORTS.iter().any(|name| file.export(name).is_some())
}

/// Whether an interpreter was built without a GIL, as `_Py_DebugOffsets` says (`internal/pycore_runtime.h`, from 3.13 on, the first that
/// can be).
pub fn is_free_threaded(file: &Elf<'_>) -> bool {
    file.export("_PyRuntime")
        .filter(|runtime| file.bytes(*runtime, COOKIE.len()) == Some(COOKIE))
        .and_then(|runtime| file.word(runtime.checked_add(DEBUG_FREE_THREADED)?))
        .is_some_and(|said| said != 0)
}

fn version_hex(file: &Elf<'_>) -> Option<u32> {
    file.half_word(file.export("Py_Version")?)
}

fn check_debug_offsets(file: &Elf<'_>, layout: &'static Layout) -> Result<(), Unsupported> {
    if layout.minor < FIRST_WITH_DEBUG_OFFSETS {
        return Ok(());
    }
    let runtime = export(file, "_PyRuntime")?;
    let word = |at: u64| {
        let at = runtime.checked_add(at);
        at.and_then(|at| file.word(at))
            .ok_or(Unsupported::NotInFile("_Py_DebugOffsets"))
    };
    if file.bytes(runtime, COOKIE.len()) != Some(COOKIE) {
        return Err(Unsupported::NotInFile("_Py_DebugOffsets"));
    }
    let said = word(DEBUG_VERSION)?;
    if Some(said) != version_hex(file).map(u64::from) {
        return Err(Unsupported::OtherVersion(said));
    }
    for offset in layout.debug_offsets() {
        expect(offset.member, offset.expected, word(offset.at)?)?;
    }
    Ok(())
}

// Sizes that the file itself states, in every version: a build with other structures differs here.
fn check_sizes(file: &Elf<'_>, layout: &Layout) -> Result<(), Unsupported> {
    for (name, member, expected) in [
        ("PyContext_Type", "size of PyContext", layout.context_size),
        (
            "PyContextVar_Type",
            "size of PyContextVar",
            layout.contextvar_size,
        ),
        (
            "PyUnicode_Type",
            "size of PyUnicodeObject",
            layout.compact_data + 8,
        ),
        ("PyTuple_Type", "size of PyTupleObject", layout.tuple_items),
        ("PyCode_Type", "size of PyCodeObject", layout.code_size),
    ] {
        let at = export(file, name)?.checked_add(layout.type_basic_size);
        let found = at
            .and_then(|at| file.word(at))
            .ok_or(Unsupported::NotInFile(name))?;
        expect(member, expected, found)?;
    }
    Ok(())
}

// A code object's members, which its type describes to Python code in every version.
fn check_members(file: &Elf<'_>, layout: &Layout) -> Result<(), Unsupported> {
    const NOT_THERE: Unsupported = Unsupported::NotInFile("PyCode_Type.tp_members");
    let at = export(file, "PyCode_Type")?.checked_add(layout.type_members);
    let Some(Pointer::To(members)) = at.and_then(|at| file.pointer(at)) else {
        return Err(NOT_THERE);
    };
    let members = member_table(file, members);
    for (name, expected) in [
        ("co_firstlineno", layout.code_first_line),
        ("co_filename", layout.code_filename),
        ("co_name", layout.code_name),
        ("co_names", layout.code_names),
    ] {
        let found = members.iter().find(|(known, _)| *known == name.as_bytes());
        expect(name, expected, found.ok_or(NOT_THERE)?.1)?;
    }
    Ok(())
}

fn expect(member: &'static str, expected: u64, found: u64) -> Result<(), Unsupported> {
    if expected == found {
        Ok(())
    } else {
        Err(Unsupported::Offset {
            member,
            expected,
            found,
        })
    }
}

/// The address of the `PyMethodDef` of `Context.run`.
fn context_run(file: &Elf<'_>) -> Result<u64, Unsupported> {
    let tables = method_tables(file);
    let table = find_table(&tables, CONTEXT).map_err(PointError::from)?;
    let place = table.entries.iter().position(|method| method.name == "run");
    place
        .and_then(|place| table.vaddr.checked_add(METHOD_DEF * place as u64))
        .ok_or(Unsupported::NotInFile("Context.run"))
}

fn image(file: &Elf<'_>, layout: &Layout, runtime: u64) -> Result<Image, Unsupported> {
    let mut image = Image {
        interpreter_main: runtime
            .checked_add(layout.interpreters_main)
            .ok_or(Unsupported::NotInFile("_PyRuntime"))?,
        none: export(file, "_Py_NoneStruct")?,
        str_type: export(file, "PyUnicode_Type")?,
        int_type: export(file, "PyLong_Type")?,
        bytes_type: export(file, "PyBytes_Type")?,
        bytearray_type: export(file, "PyByteArray_Type")?,
        memoryview_type: export(file, "PyMemoryView_Type")?,
        context_type: export(file, "PyContext_Type")?,
        cfunction_type: export(file, "PyCFunction_Type")?,
        function_type: export(file, "PyFunction_Type")?,
        tuple_type: export(file, "PyTuple_Type")?,
        method_type: export(file, "PyMethod_Type")?,
        context_run: context_run(file)?,
        hamt_bitmap_type: static_type(file, layout.type_name, "hamt_bitmap_node")?,
        hamt_array_type: static_type(file, layout.type_name, "hamt_array_node")?,
        hamt_collision_type: static_type(file, layout.type_name, "hamt_collision_node")?,
        tstate_current: match layout.tstate_current {
            Some(offset) => runtime
                .checked_add(offset)
                .ok_or(Unsupported::NotInFile("_PyRuntime"))?,
            None => 0,
        },
        ..Image::default()
    };
    layout.fill(&mut image);
    Ok(image)
}

fn points(file: &Elf<'_>, layout: &Layout) -> Result<Vec<ProbePoint>, Unsupported> {
    let tables = method_tables(file);
    let table = |names| find_table(&tables, names).map_err(PointError::from);
    let mut points = Vec::new();

    let context_var = table(CONTEXT_VAR)?;
    for (probe, function, method, registers) in [
        (
            Probe::ContextGet,
            "PyContextVar_Get",
            "get",
            &[Rdi, Rsi, Rdx] as &[_],
        ),
        (Probe::ContextSet, "PyContextVar_Set", "set", &[Rdi, Rsi]),
        (Probe::ContextReset, "PyContextVar_Reset", "reset", &[Rdi, Rsi]),
    ] {
        let entry = export(file, function)?;
        check_not_bypassed(file, method_of(context_var, method)?, method, function, entry)?;
        points.push(ProbePoint::function(file, probe, function, entry, registers)?);
    }

    let dealloc = export(file, "PyContext_Type")?.checked_add(layout.type_dealloc);
    let Some(Pointer::To(dealloc)) = dealloc.and_then(|at| file.pointer(at)) else {
        return Err(Unsupported::NotInFile("PyContext_Type.tp_dealloc"));
    };
    points.push(ProbePoint::function(
        file,
        Probe::ContextFree,
        "PyContext_Type.tp_dealloc",
        dealloc,
        &[Rdi],
    )?);

    points.extend(context_lookups(file, layout, table(CONTEXT)?)?);
    points.extend(thread_starts(file, table(THREAD)?)?);
    let urandom = method_of(table(POSIX)?, "urandom")?;
    points.push(ProbePoint::method(file, Probe::Random, "posix.urandom", urandom)?);

    let start = "Py_InitializeFromConfig";
    points.push(ProbePoint::function(
        file,
        Probe::InterpreterStart,
        start,
        export(file, start)?,
        &[],
    )?);
    Ok(points)
}

/// `PyMappingMethods.mp_subscript` (`Include/cpython/object.h`, 3.8 to 3.15).
const MAPPING_SUBSCRIPT: u64 = 8;

fn context_lookups(
    file: &Elf<'_>,
    layout: &Layout,
    table: &MethodTable<'_>,
) -> Result<Vec<ProbePoint>, Unsupported> {
    let mut points = Vec::new();
    for (name, function) in [
        ("get", "Context.get"),
        ("items", "Context.items"),
        ("values", "Context.values"),
    ] {
        let method = method_of(table, name)?;
        points.push(ProbePoint::method(file, Probe::ContextLookup, function, method)?);
    }
    let follow = |at: Option<u64>| match at.and_then(|at| file.pointer(at)) {
        Some(Pointer::To(address)) => Some(address),
        _ => None,
    };
    let mapping = follow(export(file, "PyContext_Type")?.checked_add(layout.type_mapping));
    let subscript = follow(mapping.and_then(|at| at.checked_add(MAPPING_SUBSCRIPT)))
        .ok_or(Unsupported::NotInFile("PyContext_Type.mp_subscript"))?;
    let subscript = ProbePoint::function(
        file,
        Probe::ContextLookup,
        "PyContext_Type.mp_subscript",
        subscript,
        &[Rdi, Rsi],
    )?;
    points.push(ProbePoint {
        arguments: arguments::OBJECT,
        ..subscript
    });
    Ok(points)
}

fn thread_starts(file: &Elf<'_>, table: &MethodTable<'_>) -> Result<Vec<ProbePoint>, PointError> {
    let (old, new) = ("_thread.start_new_thread", "_thread.start_joinable_thread");
    let mut points = vec![ProbePoint::method(
        file,
        Probe::ThreadStart,
        old,
        method_of(table, "start_new_thread")?,
    )?];
    // From 3.13 on.
    if let Some(method) = table.method("start_joinable_thread") {
        points.push(ProbePoint::method(file, Probe::ThreadStart, new, method)?);
    }
    Ok(points)
}

// The exported function is probed, so that calls from C are seen as well; that is complete only if the method goes through it.
fn check_not_bypassed(
    file: &Elf<'_>,
    method: &Method<'_>,
    name: &'static str,
    function: &'static str,
    entry: u64,
) -> Result<(), Unsupported> {
    if calls(file, address(name, method)?, entry, METHOD_BODY) {
        Ok(())
    } else {
        Err(Unsupported::Bypassed {
            method: name,
            function,
        })
    }
}
