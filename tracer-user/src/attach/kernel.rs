//! Offsets inside the kernel's own structs, from the BTF that it publishes.

use std::path::Path;

use btf_rs::{Backend, Btf, Type};

/// Where the kernel publishes its types.
pub const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Offsets in bytes that the BPF programs need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelOffsets {
    /// `task_struct.thread.fsbase`: the thread's TLS base, which is CPython's `thread_id`.
    pub fsbase: u32,
    /// `task_struct.pid`.
    pub pid: u32,
    /// `task_struct.tgid`.
    pub tgid: u32,
    /// `task_struct.signal`.
    pub signal: u32,
    /// `signal_struct.live`.
    pub live: u32,
    /// What it takes to number processes in an inner PID namespace; all 0 in the initial one.
    pub namespace: NamespaceOffsets,
}

/// The way from a task to its number in a PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceOffsets {
    /// The namespace's inode; 0 for the initial one.
    pub number: u32,
    /// `task_struct.thread_pid`.
    pub thread_pid: u32,
    /// `task_struct.group_leader`.
    pub group_leader: u32,
    /// `pid.level`.
    pub level: u32,
    /// `pid.numbers`.
    pub numbers: u32,
    /// `pid_namespace.ns.inum`.
    pub inum: u32,
}

/// Why the offsets are not known.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There is no BTF, or it cannot be read.
    #[error("failed to read the kernel's BTF at {BTF}: {0}")]
    Btf(String),
    /// The kernel's struct has no such member.
    #[error("the kernel's BTF has no {0}")]
    Missing(String),
}

impl KernelOffsets {
    /// Reads them from the running kernel. `namespace` is the inode of the PID namespace that counts, if not the initial one.
    pub fn read(namespace: Option<u32>) -> Result<Self, KernelError> {
        let btf = Btf::from_file_with_backend(Path::new(BTF), Backend::Mmap)
            .map_err(|e| KernelError::Btf(e.to_string()))?;
        let namespace = match namespace {
            None => NamespaceOffsets::default(),
            Some(number) => NamespaceOffsets {
                number,
                thread_pid: member(&btf, "task_struct", "thread_pid")?,
                group_leader: member(&btf, "task_struct", "group_leader")?,
                level: member(&btf, "pid", "level")?,
                numbers: member(&btf, "pid", "numbers")?,
                inum: member(&btf, "pid_namespace", "ns")? + member(&btf, "ns_common", "inum")?,
            },
        };
        Ok(Self {
            namespace,
            fsbase: member(&btf, "task_struct", "thread")? + member(&btf, "thread_struct", "fsbase")?,
            pid: member(&btf, "task_struct", "pid")?,
            tgid: member(&btf, "task_struct", "tgid")?,
            signal: member(&btf, "task_struct", "signal")?,
            live: member(&btf, "signal_struct", "live")?,
        })
    }
}

/// Offset of a struct's member, in bytes.
fn member(btf: &Btf, name: &str, member: &str) -> Result<u32, KernelError> {
    let missing = || KernelError::Missing(format!("{name}.{member}"));
    let types = btf.resolve_types_by_name(name).map_err(|_| missing())?;
    let members = types
        .iter()
        .find_map(|t| {
            if let Type::Struct(s) = t {
                Some(&s.members)
            } else {
                None
            }
        })
        .ok_or_else(missing)?;
    members
        .iter()
        .find(|m| btf.resolve_name(*m).is_ok_and(|n| n == member))
        .map(|m| m.bit_offset() / 8)
        .ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_them() {
        if !Path::new(BTF).exists() {
            eprintln!("SKIP the_running_kernel_has_them: this kernel publishes no BTF");
            return;
        }
        let offsets = KernelOffsets::read(Some(1)).expect("BTF of the running kernel");
        // tgid follows pid since they exist; both are 32 bits.
        assert_eq!(offsets.tgid, offsets.pid + 4);
        assert_ne!(offsets.namespace.thread_pid, offsets.namespace.group_leader);
        assert!(offsets.namespace.numbers > offsets.namespace.level);
        assert!(
            offsets.fsbase > offsets.pid,
            "thread_struct is the last member of task_struct"
        );
    }
}
