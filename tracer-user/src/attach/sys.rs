//! The shim below aya: `uprobe_multi` links, which aya 0.14 cannot make, and file handles. The only file here with `unsafe`.

#![expect(
    unsafe_code,
    reason = "raw bpf(2) and name_to_handle_at(2) calls, and plain-data markers for types of another crate"
)]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{
    BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type, bpf_attr, bpf_cmd, bpf_func_info, bpf_insn, bpf_prog_type,
};
use tracer_common::{
    config::{
        CodeKey, Image, Name, NameKey, Point, Recipe, RecipeKey, ScopeKey, Target, UseKey, Uses, Var, VarKey,
        WireKey, WireState,
    },
    stats::ProbeStats,
    told::Told,
};

use crate::runtime::cpython::probe_point::When;

/// Makes a plain struct of the contract acceptable as key or value of aya's typed maps.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Shared<T>(pub T);

macro_rules! plain {
    ($($type:ty),+) => {
        $(
            // SAFETY: the type is bytemuck::Pod: any bytes are a value, and it has no padding.
            unsafe impl aya::Pod for Shared<$type> {}
        )+
    };
}
plain!(
    CodeKey, Image, Name, NameKey, Point, Recipe, RecipeKey, ScopeKey, Target, UseKey, Uses, Var, VarKey,
    WireKey, WireState, ProbeStats, Told
);

/// A point in a file: offset of the instruction, and the cookie that the program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Offset in the file, in bytes.
    pub file_offset: u64,
    /// The attach cookie.
    pub cookie: u64,
}

/// A program that is ready for the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its instructions, with those of the functions that it calls.
    pub instructions: &'a [bpf_insn],
    /// Its licence.
    pub license: &'a str,
    /// Types, and of which each function is: the kernel wants to know that of functions that it calls back.
    pub types: Option<(BorrowedFd<'a>, &'a [bpf_func_info])>,
}

/// What a program is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Points in files.
    Uprobe,
    /// A tracepoint of the kernel.
    Tracepoint,
}

/// How uprobe programs are loaded and linked. Another way than `uprobe_multi` would be another implementation.
pub trait UprobeBackend {
    /// Loads a program.
    fn load(&self, program: Program<'_>) -> Result<OwnedFd, LoadError>;

    /// Links a program to points of one file, in every process that maps it; undone when the descriptor is closed.
    fn link(
        &self,
        program: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        points: &[Offset],
        when: When,
    ) -> io::Result<OwnedFd>;
}

/// A program that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused program {program}: {error}{}", verdict.as_ref().map(|verdict| format!(" ({verdict})")).unwrap_or_default())]
pub struct LoadError {
    /// Its name.
    pub program: String,
    /// The kernel's answer.
    #[source]
    pub error: io::Error,
    /// What the verifier has against it; none if it was not even looked at, for lack of privilege.
    pub verdict: Option<String>,
}

/// `uprobe_multi` links: Linux 6.6.
#[derive(Clone, Copy, Debug, Default)]
pub struct Multi;

/// Room for the verifier's log, in bytes.
const LOG: usize = 1 << 20;
/// Bytes of its end that are shown.
const SHOWN: usize = 4000;

impl UprobeBackend for Multi {
    fn load(&self, program: Program<'_>) -> Result<OwnedFd, LoadError> {
        load_program(program, Kind::Uprobe)
    }

    fn link(
        &self,
        program: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        points: &[Offset],
        when: When,
    ) -> io::Result<OwnedFd> {
        // Through the descriptor: no name that a target chose is resolved a second time.
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let offsets: Vec<u64> = points.iter().map(|p| p.file_offset).collect();
        let cookies: Vec<u64> = points.iter().map(|p| p.cookie).collect();
        let mut attr = zeroed();
        // SAFETY: the union was zeroed, so that every field is initialised; the borrowed arrays and the path outlive the call.
        unsafe {
            let create = &mut attr.link_create;
            create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
            create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
            let multi = &mut create.__bindgen_anon_3.uprobe_multi;
            multi.path = path.as_ptr() as u64;
            multi.offsets = offsets.as_ptr() as u64;
            multi.cookies = cookies.as_ptr() as u64;
            multi.cnt = points.len() as u32;
            multi.flags = if when == When::Return {
                BPF_F_UPROBE_MULTI_RETURN
            } else {
                0
            };
        }
        bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
    }
}

/// Gives the kernel the types that programs refer to.
pub fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the union was zeroed, so that every field is initialised; the borrowed buffer outlives the call.
    unsafe {
        let load = &mut attr.__bindgen_anon_7;
        load.btf = types.as_ptr() as u64;
        load.btf_size = types.len() as u32;
    }
    bpf_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr)
}

/// Puts a program where others find it to go on with.
pub fn set_program(map: BorrowedFd<'_>, index: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let program = program.as_raw_fd() as u32;
    // SAFETY: the values of such a map are descriptors of this size.
    unsafe { update(map, index, (&raw const program).cast()) }
}

/// Sets an element of an array.
///
/// # Safety
/// `value` is valid for reading as many bytes as the map's values have.
unsafe fn update(map: BorrowedFd<'_>, index: u32, value: *const u8) -> io::Result<()> {
    let mut attr = zeroed();
    // SAFETY: the union was zeroed, so that every field is initialised; the key outlives the call, the value is the caller's word.
    outcome(unsafe {
        let element = &mut attr.__bindgen_anon_2;
        element.map_fd = map.as_raw_fd() as u32;
        element.key = (&raw const index) as u64;
        element.__bindgen_anon_1.value = value as u64;
        bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr)
    })
    .map(drop)
}

/// Fills the map that holds a section of the object; a constant one takes nothing else from there on.
pub fn fill_section(map: BorrowedFd<'_>, content: &[u8], constant: bool) -> io::Result<()> {
    // SAFETY: the map's one value has the section's size; the aya-obj parser makes it so.
    unsafe { update(map, 0, content.as_ptr().cast()) }?;
    if constant {
        let mut attr = zeroed();
        attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
        // SAFETY: the command takes no pointer.
        outcome(unsafe { bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr) })?;
    }
    Ok(())
}

/// Calls a program at a tracepoint, until the descriptor is closed.
pub fn open_tracepoint(program: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut attr = zeroed();
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Loads a program.
pub fn load_program(program: Program<'_>, kind: Kind) -> Result<OwnedFd, LoadError> {
    // The verifier is asked for its log only when it has refused: writing it is slow.
    load(program, kind, None).or_else(|_| {
        let mut log = vec![0u8; LOG];
        load(program, kind, Some(&mut log)).map_err(|error| {
            let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
            let said = String::from_utf8_lossy(&log[end.saturating_sub(SHOWN)..end]);
            tracing::debug!("of program {} the verifier said: {said}", program.name);
            LoadError {
                program: program.name.to_owned(),
                error,
                verdict: verdict(&said),
            }
        })
    })
}

/// The last line of the verifier's log that is no statistics.
fn verdict(said: &str) -> Option<String> {
    let mut lines = said.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with("processed "))?;
    Some(line.to_owned())
}

fn load(program: Program<'_>, kind: Kind, log: Option<&mut Vec<u8>>) -> io::Result<OwnedFd> {
    let license = CString::new(program.license).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut attr = zeroed();
    // SAFETY: the union was zeroed, so that every field is initialised; the borrowed buffers outlive the call.
    unsafe {
        let load = &mut attr.__bindgen_anon_3;
        match kind {
            Kind::Uprobe => {
                load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
                load.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
            }
            Kind::Tracepoint => load.prog_type = bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT as u32,
        }
        load.insns = program.instructions.as_ptr() as u64;
        load.insn_cnt = program.instructions.len() as u32;
        load.license = license.as_ptr() as u64;
        for (to, from) in load.prog_name.iter_mut().take(15).zip(program.name.bytes()) {
            *to = from as std::ffi::c_char;
        }
        if let Some((types, functions)) = program.types {
            load.prog_btf_fd = types.as_raw_fd() as u32;
            load.func_info_rec_size = size_of::<bpf_func_info>() as u32;
            load.func_info = functions.as_ptr() as u64;
            load.func_info_cnt = functions.len() as u32;
        }
        if let Some(log) = log {
            load.log_level = 1;
            load.log_size = log.len() as u32;
            load.log_buf = log.as_mut_ptr() as u64;
        }
    }
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// What names a file below the file systems that are stacked on its own: overlays with a common layer give the same.
pub fn handle(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    /// `MAX_HANDLE_SZ` (`include/linux/exportfs.h`).
    const ROOM: usize = 128;
    /// `AT_HANDLE_FID` (`include/uapi/linux/fcntl.h`): a handle that need not be good for opening. Linux 6.5.
    const ONLY_AN_IDENTITY: libc::c_int = 0x200;
    /// `struct file_handle` (`include/linux/fs.h`).
    #[repr(C)]
    struct Handle {
        len: u32,
        kind: i32,
        bytes: [u8; ROOM],
    }
    let mut handle = Handle {
        len: ROOM as u32,
        kind: 0,
        bytes: [0; ROOM],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: the kernel writes at most `len` bytes behind the struct's head, for which there is room, and one number.
    let code = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            file.as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH | ONLY_AN_IDENTITY,
        )
    };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = &handle.bytes[..(handle.len as usize).min(ROOM)];
    Ok([&handle.kind.to_ne_bytes(), bytes].concat())
}

fn zeroed() -> bpf_attr {
    // SAFETY: bpf_attr is a union of plain integers.
    unsafe { std::mem::zeroed() }
}

/// bpf(2).
///
/// # Safety
/// The pointers in `attr` are valid for what the command does with them.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> libc::c_long {
    // SAFETY: the kernel reads the union of this size; its pointers are the caller's word.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    }
}

fn outcome(code: libc::c_long) -> io::Result<libc::c_long> {
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(code)
}

fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the pointers are valid by the callers' contract.
    let code = outcome(unsafe { bpf(command, attr) })?;
    // SAFETY: all commands used here return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(code as RawFd) })
}
