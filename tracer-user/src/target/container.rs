//! The container that a process runs in, by the name of its control group.

use std::sync::Arc;

use crate::report::finding::Container;

/// Characters of a container's id, which is a hash.
const ID: usize = 64;
/// Digits between the dashes of a unique id.
const PARTS: [usize; 5] = [8, 4, 4, 4, 12];

/// What the lines of `/proc/PID/cgroup` say. Only what looks like an id is taken: the rest of a path is anybody's choice.
pub fn container(cgroup: &str) -> Container {
    let parts = || {
        let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        // The innermost counts: a container may run others.
        paths.flat_map(|path| path.rsplit(['/', ':']))
    };
    Container {
        id: parts().find_map(id).map(Arc::from),
        pod: parts().find_map(pod).map(Arc::from),
    }
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `cri-containerd:ID`, or the id by itself.
fn id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit('-').next().unwrap_or(part);
    (id.len() == ID && id.bytes().all(is_digit)).then_some(id)
}

/// `podUID` or `kubepods-burstable-podUID.slice`, in which dashes are written as underscores.
fn pod(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = part.rsplit_once("pod")?;
    if !before.is_empty() && !before.ends_with('-') {
        return None;
    }
    let uid = uid.replace('_', "-");
    let fits = |uid: &str| {
        let parts: Vec<&str> = uid.split('-').collect();
        let lengths = parts.iter().map(|part| part.len());
        lengths.eq(PARTS) && parts.iter().all(|part| part.bytes().all(is_digit))
    };
    // Pods that the kubelet itself starts have a hash without dashes.
    let plain = uid.len() == 32 && uid.bytes().all(is_digit);
    (fits(&uid) || plain).then_some(uid)
}

const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn found(path: &str) -> (Option<String>, Option<String>) {
        let found = container(&format!("0::{path}\n"));
        (
            found.id.map(|id| id.to_string()),
            found.pod.map(|pod| pod.to_string()),
        )
    }

    #[test]
    fn the_runtimes_names_are_known() {
        let (id, uid) = (Some(ID.to_owned()), Some(UID.to_owned()));
        let slice = UID.replace('-', "_");
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
        ] {
            assert_eq!(found(&path), (id.clone(), None), "{path}");
        }
        for path in [
            format!("/kubepods/burstable/pod{UID}/{ID}"),
            format!("/../../pod{UID}/{ID}"),
            format!("/kubepods.slice/kubepods-pod{slice}.slice/cri-containerd-{ID}.scope"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/crio-{ID}.scope"
            ),
        ] {
            assert_eq!(found(&path), (id.clone(), uid.clone()), "{path}");
        }
        let service =
            format!("/system.slice/containerd.service/kubepods-pod{slice}.slice:cri-containerd:{ID}");
        assert_eq!(found(&service), (id, uid));
        let old = container(&format!("3:cpu,cpuacct:/docker/{ID}\n0::/\n"));
        assert_eq!(old.id.as_deref(), Some(ID));
    }

    #[test]
    fn what_only_looks_like_it_is_none() {
        for path in [
            "/user.slice/user-1000.slice/session-1.scope",
            "/docker/short",
            "/docker/<script>0123456789abcdef0123456789abcdef0123456789abcdef01234567",
            "/podcast/tripod-1",
            "/pod../../x",
            "",
        ] {
            assert_eq!(found(path), (None, None), "{path}");
        }
    }
}
