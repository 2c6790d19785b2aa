//! For measuring: arms what the tracer arms in the given files, with a program that does nothing, until its input ends.
//!
//! What is left of the tracer's cost after this one's is that of its own programs.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{Read as _, stdin},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::bpf_insn;
use tracer_common::stats::Probe;
use tracer_user::{
    attach::sys::{Multi, Offset, Program, UprobeBackend as _},
    elf::read_loaded,
    runtime::cpython::{
        core::Core,
        probe_point::{ProbePoint, When},
        queue::QueueModule,
    },
};

/// Keeps the kernel measuring run times all the while.
const RUN_TIMES: &str = "--run-times";
/// Arms nothing.
const NOTHING: &str = "--nothing";

fn main() -> Result<()> {
    let (flags, files): (Vec<String>, Vec<String>) = env::args().skip(1).partition(|a| a.starts_with("--"));
    let run_times = flags
        .iter()
        .any(|f| f == RUN_TIMES)
        .then(|| aya::sys::enable_stats(aya::sys::Stats::RunTime))
        .transpose()?;
    let mut links = Vec::new();
    if !flags.iter().any(|f| f == NOTHING) {
        // mov r0, 0; exit
        let program = Multi.load(Program {
            name: "empty",
            instructions: &[instruction(0xb7), instruction(0x95)],
            license: "GPL",
            types: None,
        })?;
        for name in &files {
            let file = File::open(name).with_context(|| format!("cannot open {name}"))?;
            let by_probe = offsets(&points(&file, name)?);
            ensure!(!by_probe.is_empty(), "nothing to probe in {name}");
            for ((_, when), offsets) in by_probe {
                links.push(Multi.link(program.as_fd(), file.as_fd(), &offsets, when)?);
            }
        }
    }
    println!("armed");
    stdin().read_to_end(&mut Vec::new())?;
    drop((links, run_times));
    Ok(())
}

fn points(file: &File, name: &str) -> Result<Vec<ProbePoint>> {
    let bytes = read_loaded(file)?;
    let mut points = Core::inspect(&bytes, name).map_or_else(|_| Vec::new(), |core| core.points);
    points.extend(QueueModule::inspect(&bytes).map_or_else(|_| Vec::new(), |queue| queue.points));
    // What the tracer arms only to see tasks minted.
    points.retain(|point| point.probe != Probe::Random);
    Ok(points)
}

fn offsets(points: &[ProbePoint]) -> BTreeMap<(Probe, When), Vec<Offset>> {
    let mut offsets: BTreeMap<(Probe, When), Vec<Offset>> = BTreeMap::new();
    for point in points {
        offsets
            .entry((point.probe, point.when))
            .or_default()
            .push(Offset {
                file_offset: point.file_offset,
                cookie: 0,
            });
    }
    offsets
}

fn instruction(code: u8) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    }
}
