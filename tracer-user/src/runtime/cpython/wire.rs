//! The interpreter's own methods that receive and send: sockets, TLS, files and pipes.

use tracer_common::{config::tap, stats::Probe};

use super::probe_point::{PointError, ProbePoint, method_of};
use crate::elf::{Elf, ElfError, Method, MethodTable, find_table, method_tables};

/// What of the wire passes through the methods of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `_socket.socket`.
    Sockets,
    /// `_ssl._SSLSocket`.
    Tls,
    /// `_io.FileIO`: also `sys.stdin` and `sys.stdout`.
    Files,
    /// `posix`: what asyncio reads and writes pipes with.
    Descriptors,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sockets, Self::Tls, Self::Files, Self::Descriptors];

    /// Names that its table alone has.
    const fn table(self) -> &'static [&'static str] {
        match self {
            Self::Sockets => &["_accept", "connect", "recv", "recv_into", "send", "sendall"],
            Self::Tls => &["do_handshake", "read", "write", "shutdown", "cipher"],
            Self::Files => &["readall", "readinto", "write", "isatty", "fileno"],
            Self::Descriptors => &["urandom", "fork", "read", "write"],
        }
    }

    /// Its methods, as a person knows them, with the programs that run there and what these tap.
    const fn methods(self) -> &'static [(&'static str, &'static str, &'static [Probe], u32)] {
        const SEND: &[Probe] = &[Probe::WireSend];
        const PARTS: &[Probe] = &[Probe::WireVector];
        const RECEIVE: &[Probe] = &[Probe::WireReceive, Probe::WireReceived];
        const END: &[Probe] = &[Probe::WireClose];
        match self {
            Self::Sockets => &[
                ("send", "socket.send", SEND, tap::OBJECT),
                ("sendall", "socket.sendall", SEND, tap::OBJECT),
                ("sendmsg", "socket.sendmsg", PARTS, tap::PARTS),
                ("sendto", "socket.sendto", SEND, tap::UNTOLD),
                ("recv", "socket.recv", RECEIVE, tap::OBJECT),
                ("recv_into", "socket.recv_into", RECEIVE, tap::OBJECT),
                ("recvfrom", "socket.recvfrom", SEND, tap::UNTOLD_IN),
                ("recvfrom_into", "socket.recvfrom_into", SEND, tap::UNTOLD_IN),
                ("recvmsg", "socket.recvmsg", SEND, tap::UNTOLD_IN),
                ("recvmsg_into", "socket.recvmsg_into", SEND, tap::UNTOLD_IN),
                ("_accept", "socket._accept", &[Probe::WireReceived], tap::ACCEPT),
                ("connect", "socket.connect", END, tap::OBJECT),
                ("connect_ex", "socket.connect_ex", END, tap::OBJECT),
                ("detach", "socket.detach", END, tap::OBJECT),
                ("close", "socket.close", END, tap::OBJECT),
            ],
            Self::Tls => &[
                ("write", "_SSLSocket.write", SEND, tap::TLS),
                ("read", "_SSLSocket.read", RECEIVE, tap::TLS),
                ("do_handshake", "_SSLSocket.do_handshake", END, tap::TLS),
                ("shutdown", "_SSLSocket.shutdown", END, tap::TLS),
            ],
            Self::Files => &[
                ("write", "FileIO.write", SEND, tap::OBJECT),
                ("readinto", "FileIO.readinto", RECEIVE, tap::OBJECT),
                ("read", "FileIO.read", RECEIVE, tap::OBJECT),
                ("close", "FileIO.close", END, tap::OBJECT),
            ],
            Self::Descriptors => &[
                ("write", "posix.write", SEND, tap::DESCRIPTOR),
                ("writev", "posix.writev", PARTS, tap::DESCRIPTOR_PARTS),
                ("readv", "posix.readv", SEND, tap::UNTOLD_DESCRIPTOR_IN),
                ("sendfile", "posix.sendfile", SEND, tap::UNTOLD_DESCRIPTOR),
                ("read", "posix.read", RECEIVE, tap::DESCRIPTOR),
                ("close", "posix.close", END, tap::DESCRIPTOR),
            ],
        }
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "_socket.socket",
            Self::Tls => "_ssl._SSLSocket",
            Self::Files => "_io.FileIO",
            Self::Descriptors => "posix",
        }
    }

    /// How the names of its methods begin.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Sockets => "socket.",
            Self::Tls => "_SSLSocket.",
            Self::Files => "FileIO.",
            Self::Descriptors => "posix.",
        }
    }

    /// The extension module that carries it, where it is not built into the interpreter.
    pub const fn module(self) -> Option<&'static str> {
        match self {
            Self::Sockets => Some("_socket"),
            Self::Tls => Some("_ssl"),
            Self::Files | Self::Descriptors => None,
        }
    }
}

/// What a file has of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireModule {
    /// What passes through it.
    pub parts: Vec<Part>,
    /// Where to probe.
    pub points: Vec<ProbePoint>,
}

/// Why a file's methods cannot be tapped.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A method cannot be probed.
    #[error("the wire cannot be read: {0}")]
    Unsupported(#[from] PointError),
}

impl WireModule {
    /// Finds what passes through a file, which may be nothing.
    pub fn inspect(file: &[u8]) -> Result<Self, WireError> {
        let file = Elf::parse(file)?;
        let tables = method_tables(&file);
        let mut found = Self {
            parts: Vec::new(),
            points: Vec::new(),
        };
        for part in Part::ALL {
            if let Ok(table) = find_table(&tables, part.table()) {
                found.parts.push(part);
                found.add(&file, part, table)?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, file: &Elf<'_>, part: Part, table: &MethodTable<'_>) -> Result<(), PointError> {
        for (name, function, probes, tap) in part.methods() {
            // What a platform may lack is needed by nobody there.
            let Ok(method) = method_of(table, name) else {
                continue;
            };
            for probe in *probes {
                let point = point(file, *probe, function, method)?;
                self.points.push(ProbePoint { tap: *tap, ..point });
            }
        }
        Ok(())
    }
}

fn point(
    file: &Elf<'_>,
    probe: Probe,
    function: &'static str,
    method: &Method<'_>,
) -> Result<ProbePoint, PointError> {
    match probe {
        Probe::WireReceived => ProbePoint::method_return(file, probe, function, method),
        _ => ProbePoint::method(file, probe, function, method),
    }
}
