//! Offsets inside the kernel's own structs, from the BTF that it publishes.

use std::path::Path;

use btf_rs::{Backend, Btf, Member, Type};

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
        // Finding a struct means going through all types.
        let task = Struct::find(&btf, "task_struct")?;
        let namespace = match namespace {
            None => NamespaceOffsets::default(),
            Some(number) => {
                let pid = Struct::find(&btf, "pid")?;
                NamespaceOffsets {
                    number,
                    thread_pid: task.offset("thread_pid")?,
                    group_leader: task.offset("group_leader")?,
                    level: pid.offset("level")?,
                    numbers: pid.offset("numbers")?,
                    inum: Struct::find(&btf, "pid_namespace")?.offset("ns")?
                        + Struct::find(&btf, "ns_common")?.offset("inum")?,
                }
            }
        };
        Ok(Self {
            namespace,
            fsbase: task.offset("thread")? + Struct::find(&btf, "thread_struct")?.offset("fsbase")?,
            pid: task.offset("pid")?,
            tgid: task.offset("tgid")?,
            signal: task.offset("signal")?,
            live: Struct::find(&btf, "signal_struct")?.offset("live")?,
        })
    }
}

/// A struct of the kernel.
struct Struct<'a> {
    btf: &'a Btf,
    name: &'static str,
    members: Vec<Member>,
}

impl<'a> Struct<'a> {
    fn find(btf: &'a Btf, name: &'static str) -> Result<Self, KernelError> {
        let missing = || KernelError::Missing(name.to_owned());
        let types = btf.resolve_types_by_name(name).map_err(|_| missing())?;
        let members = types.into_iter().find_map(|t| {
            if let Type::Struct(s) = t {
                Some(s.members)
            } else {
                None
            }
        });
        Ok(Self {
            btf,
            name,
            members: members.ok_or_else(missing)?,
        })
    }

    /// Offset of a member, in bytes.
    fn offset(&self, member: &str) -> Result<u32, KernelError> {
        self.members
            .iter()
            .find(|m| self.btf.resolve_name(*m).is_ok_and(|n| n == member))
            .map(|m| m.bit_offset() / 8)
            .ok_or_else(|| KernelError::Missing(format!("{}.{member}", self.name)))
    }
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
