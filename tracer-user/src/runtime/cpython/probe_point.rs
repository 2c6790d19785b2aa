//! One place that is probed in an interpreter or in one of its extension modules.

use tracer_common::{config::arguments, stats::Probe};

use crate::elf::{
    ArgumentRegister::{self, R8, Rcx, Rdi, Rdx, Rsi},
    Cost, Elf, Method, MethodTable, Placement, PlacementError, Pointer, TableError, place, place_at_entry,
};

/// A place to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    /// The program that runs there.
    pub probe: Probe,
    /// The function, as a person knows it.
    pub function: &'static str,
    /// Link-time address of the probed instruction.
    pub vaddr: u64,
    /// Where that instruction is in the file.
    pub file_offset: u64,
    /// Convention of a method's arguments; one of [`arguments`].
    pub arguments: u32,
    /// Of a point of the wire: what is tapped; one of [`tracer_common::config::tap`]. Else 0.
    pub tap: u32,
    /// Whether the program runs when the instruction is reached, or when the function that begins there returns.
    pub when: When,
    /// What a hit costs.
    pub cost: Cost,
}

/// When a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum When {
    /// Before the probed instruction.
    Entry,
    /// At the return of the function that begins there.
    Return,
}

/// Why a function cannot be probed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// Its method table was not found.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The table has no such method.
    #[error("no method {0}")]
    NoMethod(&'static str),
    /// Another file defines it.
    #[error("{0} is defined by another file")]
    Elsewhere(&'static str),
    /// It takes its arguments in a way that is not known.
    #[error("method {function} has unknown flags {flags:#x}")]
    Convention {
        /// The method.
        function: &'static str,
        /// Its `ml_flags`.
        flags: u32,
    },
    /// Its code cannot be probed.
    #[error("{function}: {reason}")]
    Placement {
        /// The function.
        function: &'static str,
        /// Why.
        reason: PlacementError,
    },
}

/// `METH_` flags that do not change where arguments are: `METH_CLASS`, `METH_STATIC`, `METH_COEXIST` (`Include/methodobject.h`).
const NEUTRAL_FLAGS: u32 = 0x10 | 0x20 | 0x40;

impl ProbePoint {
    /// An entry probe on an ordinary C function that reads `registers`.
    pub fn function(
        file: &Elf<'_>,
        probe: Probe,
        function: &'static str,
        entry: u64,
        registers: &[ArgumentRegister],
    ) -> Result<Self, PointError> {
        Self::at(
            file,
            probe,
            function,
            arguments::NONE,
            place(file, entry, registers),
        )
    }

    /// An entry probe on a method.
    pub fn method(
        file: &Elf<'_>,
        probe: Probe,
        function: &'static str,
        method: &Method<'_>,
    ) -> Result<Self, PointError> {
        let (arguments, registers) = convention(function, method.flags)?;
        Self::at(
            file,
            probe,
            function,
            arguments,
            place(file, address(function, method)?, registers),
        )
    }

    /// A return probe on a method.
    pub fn method_return(
        file: &Elf<'_>,
        probe: Probe,
        function: &'static str,
        method: &Method<'_>,
    ) -> Result<Self, PointError> {
        let (arguments, _) = convention(function, method.flags)?;
        let entry = place_at_entry(file, address(function, method)?);
        Ok(Self {
            when: When::Return,
            ..Self::at(file, probe, function, arguments, entry)?
        })
    }

    /// A probe on a place that was found before.
    pub fn placed(
        file: &Elf<'_>,
        probe: Probe,
        function: &'static str,
        place: Placement,
    ) -> Result<Self, PointError> {
        Self::at(file, probe, function, arguments::NONE, Ok(place))
    }

    fn at(
        file: &Elf<'_>,
        probe: Probe,
        function: &'static str,
        arguments: u32,
        placement: Result<Placement, PlacementError>,
    ) -> Result<Self, PointError> {
        let failed = |reason| PointError::Placement { function, reason };
        let placement = placement.map_err(failed)?;
        let vaddr = placement.vaddr;
        let file_offset = file
            .file_offset(vaddr)
            .ok_or(failed(PlacementError::NoCode(vaddr)))?;
        Ok(Self {
            probe,
            function,
            vaddr,
            file_offset,
            arguments,
            tap: 0,
            when: When::Entry,
            cost: placement.cost,
        })
    }
}

/// The method `name` of a table.
pub fn method_of<'table, 'data>(
    table: &'table MethodTable<'data>,
    name: &'static str,
) -> Result<&'table Method<'data>, PointError> {
    table.method(name).ok_or(PointError::NoMethod(name))
}

/// Address of a method's function.
pub fn address(function: &'static str, method: &Method<'_>) -> Result<u64, PointError> {
    match method.function {
        Pointer::To(address) => Ok(address),
        Pointer::Undefined => Err(PointError::Elsewhere(function)),
    }
}

fn convention(function: &'static str, flags: u32) -> Result<(u32, &'static [ArgumentRegister]), PointError> {
    Ok(match flags & !NEUTRAL_FLAGS {
        0x01 => (arguments::TUPLE, &[Rdi, Rsi]),
        0x03 => (arguments::TUPLE, &[Rdi, Rsi, Rdx]),
        0x04 => (arguments::NONE, &[Rdi]),
        0x08 => (arguments::OBJECT, &[Rdi, Rsi]),
        0x80 => (arguments::FAST, &[Rdi, Rsi, Rdx]),
        0x82 => (arguments::FAST, &[Rdi, Rsi, Rdx, Rcx]),
        0x282 => (arguments::METHOD_FAST, &[Rdi, Rsi, Rdx, Rcx, R8]),
        _ => return Err(PointError::Convention { function, flags }),
    })
}
