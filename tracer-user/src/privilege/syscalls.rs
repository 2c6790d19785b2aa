//! System calls that the agent makes no use of once it runs, and that somebody else would.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Starting programs; changing other processes, users, file systems, namespaces, modules, keys, clocks.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
];

/// Reaching ports of devices, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const PORTS: &[libc::c_long] = &[libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const PORTS: &[libc::c_long] = &[];

fn forbidden() -> impl Iterator<Item = libc::c_long> {
    FORBIDDEN.iter().chain(PORTS).copied()
}

/// The same calls by the numbers of the x32 ABI, which some kernels have besides (`arch/x86/entry/syscalls/syscall_64.tbl`): most are the
/// usual ones with a bit, `execve`, `ptrace`, `kexec_load`, `process_vm_writev` and `execveat` have their own.
fn of_x32() -> impl Iterator<Item = libc::c_long> {
    const X32: libc::c_long = 0x4000_0000;
    const OWN: [libc::c_long; 5] = [520, 521, 528, 540, 545];
    let usual = forbidden().chain(OWN);
    usual
        .filter(|_| cfg!(target_arch = "x86_64"))
        .map(|number| number | X32)
}

/// Lets them fail with EPERM, in every thread of the process.
pub(super) fn forbid() -> Result<(), String> {
    let numbers = forbidden().chain(of_x32());
    let rules: BTreeMap<i64, _> = numbers.map(|number| (number, Vec::new())).collect();
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|error| format!("{error}"))?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(|error| error.to_string())?;
    let program: BpfProgram = filter
        .try_into()
        .map_err(|error: seccompiler::BackendError| error.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}
