//! The `_queue` module: where work is handed from one thread to another.

use tracer_common::stats::Probe;

use super::probe_point::{PointError, ProbePoint, method_of};
use crate::elf::{Elf, ElfError, find_table, method_tables};

const SIMPLE_QUEUE: &[&str] = &["put", "put_nowait", "get", "get_nowait", "empty", "qsize"];

/// A file that carries `_queue`: the extension module, or the interpreter where it is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueModule {
    /// Where to probe.
    pub points: Vec<ProbePoint>,
}

/// Why a file does not serve as `_queue`.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It does not carry the methods of `SimpleQueue`, or they cannot be probed.
    #[error("no usable SimpleQueue: {0}")]
    Unsupported(#[from] PointError),
}

impl QueueModule {
    /// Finds `SimpleQueue`'s methods in a file's bytes.
    pub fn inspect(file: &[u8]) -> Result<Self, QueueError> {
        let file = Elf::parse(file)?;
        let tables = method_tables(&file);
        let table = find_table(&tables, SIMPLE_QUEUE).map_err(PointError::from)?;
        let mut points = Vec::new();
        for (name, function) in [
            ("put", "SimpleQueue.put"),
            ("put_nowait", "SimpleQueue.put_nowait"),
        ] {
            points.push(ProbePoint::method(
                &file,
                Probe::QueuePut,
                function,
                method_of(table, name)?,
            )?);
        }
        for (name, function) in [
            ("get", "SimpleQueue.get"),
            ("get_nowait", "SimpleQueue.get_nowait"),
        ] {
            let method = method_of(table, name)?;
            points.push(ProbePoint::method(&file, Probe::QueueGet, function, method)?);
            points.push(ProbePoint::method_return(
                &file,
                Probe::QueueGot,
                function,
                method,
            )?);
        }
        Ok(Self { points })
    }
}
