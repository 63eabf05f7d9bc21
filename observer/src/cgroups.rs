//! The processes of a service, found by the cgroup that it is run in: by the cgroup's path, by the name of a
//! systemd unit, or by the name or id of a container.
//!
//! Reads the file system of cgroups and what container engines write down of names; asks no daemon. A cgroup
//! that is looked for is looked for anew each time: units and containers come and go.

use std::{
    collections::VecDeque,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{config::Netns, probe::cgroup2_root};

/// Where systemd has its cgroups on a host without cgroup2.
const SYSTEMD: &str = "/sys/fs/cgroup/systemd";
/// Most cgroups that are looked through for one of that name.
const MAX_CGROUPS: usize = 20_000;
/// Most processes of a cgroup that are looked at.
const MAX_PROCESSES: usize = 64;
/// Shortest beginning of a container's id that is taken for it.
const SHORT_ID: usize = 12;
/// Largest account of containers that is read. Unit: bytes.
const MAX_ACCOUNT: u64 = 16 << 20;

/// Where podman and others that share its storage write down their containers: of root.
const PODMAN: [&str; 2] = [
    "/var/lib/containers/storage/overlay-containers/containers.json",
    "/var/lib/containers/storage/vfs-containers/containers.json",
];
/// Where Docker has a folder for each of them.
const DOCKER: &str = "/var/lib/docker/containers";

/// Processes of the cgroup that `netns` names, those of its children included; the first few.
///
/// # Errors
/// With [`ErrorKind::NotFound`] where there is no such cgroup, or nobody in it.
pub(crate) fn processes(netns: &Netns) -> io::Result<Vec<u32>> {
    let root = cgroup2_root().unwrap_or_else(|| SYSTEMD.into());
    let cgroup = match netns {
        Netns::Cgroup(path) => {
            // As it is written, or as it is found in the file system.
            let path = path.strip_prefix(&root).unwrap_or(path);
            root.join(path.strip_prefix("/").unwrap_or(path))
        }
        Netns::Unit(unit) => find(&root, |name| name == unit)?,
        Netns::Container(container) => {
            let id = id_of(container);
            find(&root, |name| {
                is_of_container(name, container)
                    || id.as_ref().is_some_and(|id| is_of_container(name, id))
            })?
        }
        Netns::SelfNs | Netns::Pid(_) | Netns::Path(_) => return Ok(Vec::new()),
    };
    let mut processes = Vec::new();
    walk(&cgroup, |folder| {
        // A cgroup whose processes may not be listed, as a threaded one's, has others that have them.
        let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        processes.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
        processes.len() >= MAX_PROCESSES
    })?;
    processes.truncate(MAX_PROCESSES);
    match processes.is_empty() {
        true => Err(io::Error::new(ErrorKind::NotFound, "nobody is in it")),
        false => Ok(processes),
    }
}

/// The nearest cgroup below `root` whose own name is meant.
fn find(root: &Path, is_meant: impl Fn(&str) -> bool) -> io::Result<PathBuf> {
    let mut found = None;
    walk(root, |folder| {
        let name = folder.file_name().and_then(|name| name.to_str());
        if folder != root && name.is_some_and(&is_meant) {
            found = Some(folder.to_owned());
        }
        found.is_some()
    })?;
    found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "there is no cgroup of it"))
}

/// Shows a folder and those below it, level by level, until it has been enough.
fn walk(root: &Path, mut is_enough: impl FnMut(&Path) -> bool) -> io::Result<()> {
    let mut next = VecDeque::from([root.to_owned()]);
    let mut seen = 0;
    // Whoever is gone by now has no children.
    root.symlink_metadata()?;
    while let Some(folder) = next.pop_front() {
        seen += 1;
        if is_enough(&folder) || seen > MAX_CGROUPS {
            break;
        }
        let children = fs::read_dir(&folder).into_iter().flatten().flatten();
        let folders = children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir()));
        next.extend(folders.map(|child| child.path()));
    }
    Ok(())
}

/// Whether a cgroup is that of the container: named by it alone, or after its engine, as in
/// `docker-ID.scope`, `libpod-ID`, `cri-containerd-ID.scope` and `crio-ID.scope`. What conmon is in is not.
fn is_of_container(cgroup: &str, container: &str) -> bool {
    let name = cgroup.strip_suffix(".scope").unwrap_or(cgroup);
    if name == container {
        return true;
    }
    if name.contains("conmon") {
        return false;
    }
    let last = name.rsplit_once('-').map_or(name, |(_, last)| last);
    let is_short = container.len() >= SHORT_ID && is_id(last) && is_hex(container);
    name.strip_suffix(container)
        .is_some_and(|engine| engine.ends_with('-'))
        || (is_short && last.starts_with(container))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

/// A container in podman's account.
#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// A container's folder of Docker.
#[derive(Deserialize)]
struct Configured {
    #[serde(rename = "Name")]
    name: String,
}

/// The id of the container of that name, if an engine has written it down where root finds it.
fn id_of(name: &str) -> Option<String> {
    let stored = PODMAN.iter().find_map(|account| {
        let stored: Vec<Stored> = serde_json::from_str(&read(Path::new(account))?).ok()?;
        let is_it = |one: &Stored| one.names.iter().any(|other| other == name);
        stored.into_iter().find(is_it).map(|one| one.id)
    });
    stored.or_else(|| {
        let folders = fs::read_dir(DOCKER).ok()?.flatten();
        let mut ids = folders.filter_map(|folder| {
            let text = read(&folder.path().join("config.v2.json"))?;
            let configured: Configured = serde_json::from_str(&text).ok()?;
            let is_it = configured.name.trim_start_matches('/') == name;
            is_it.then(|| folder.file_name().to_string_lossy().into_owned())
        });
        ids.next()
    })
}

/// The text of a file that is there, and not beyond all measure.
fn read(path: &Path) -> Option<String> {
    let is_small = path.metadata().ok()?.len() <= MAX_ACCOUNT;
    is_small.then(|| fs::read_to_string(path).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_container_s_cgroup_is_named_after_it_as_engines_do() {
        for cgroup in [
            ID.to_owned(),
            format!("docker-{ID}.scope"),
            format!("libpod-{ID}"),
            format!("libpod-{ID}.scope"),
            format!("cri-containerd-{ID}.scope"),
            format!("crio-{ID}.scope"),
        ] {
            assert!(is_of_container(&cgroup, ID), "{cgroup}");
            assert!(is_of_container(&cgroup, &ID[..12]), "{cgroup}");
            assert!(!is_of_container(&cgroup, &ID[..11]), "too short: {cgroup}");
            assert!(!is_of_container(&cgroup, "chat"), "{cgroup}");
        }
        // crun and runc call it as they are told.
        assert!(is_of_container("chat", "chat") && is_of_container("crun-chat.scope", "chat"));
        assert!(!is_of_container("other-chats", "chat") && !is_of_container("chatroom", "chat"));
        assert!(!is_of_container(&format!("libpod-conmon-{ID}.scope"), ID));
    }

    #[test]
    fn the_nearest_folder_of_the_name_is_found_and_its_processes_with_those_below_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = |path: &str, processes: &str| {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.procs"), processes).unwrap();
        };
        folder("user.slice/app.slice/chat.service", "9\n");
        folder("system.slice/chat.service", "7\n");
        folder("system.slice/chat.service/payload", "8\n");
        let found = find(root.path(), |name| name == "chat.service").unwrap();
        assert_eq!(found, root.path().join("system.slice/chat.service"));
        let mut seen = Vec::new();
        walk(&found, |folder| {
            seen.push(fs::read_to_string(folder.join("cgroup.procs")).unwrap());
            false
        })
        .unwrap();
        assert_eq!(seen, ["7\n", "8\n"]);
        let missing = find(root.path(), |name| name == "none.service").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_absent() {
        for netns in [
            Netns::Cgroup("/no/such.slice".into()),
            Netns::Unit("no-such.service".to_owned()),
            Netns::Container("no-such-container".to_owned()),
        ] {
            let error = processes(&netns).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{netns}");
        }
    }
}
