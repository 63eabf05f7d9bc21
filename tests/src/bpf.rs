//! What a process has in the kernel's BPF subsystem, what is left of it when it is gone, and how its
//! programs come to miss something.
//!
//! A process' objects are known by the ids in its `/proc/PID/fdinfo`; whether an id still exists is
//! asked of `bpftool`. Ids are given in order and not again soon, so that other people's programs
//! on the same machine are never taken for ours.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Objects by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u64>,
    /// Maps.
    pub maps: BTreeSet<u64>,
    /// Links: a program attached to its hook.
    pub links: BTreeSet<u64>,
    /// Programs attached to a cgroup, by the programs' ids.
    pub in_cgroups: BTreeSet<u64>,
}

impl Objects {
    /// What a process holds by its file descriptors; [`Self::in_cgroups`] is not known from there.
    ///
    /// # Errors
    /// The process is gone, or another user's.
    pub fn of_process(pid: u32) -> Result<Self> {
        let mut objects = Self::default();
        let folder = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
            let path = entry.with_context(|| format!("list {folder}"))?.path();
            // A descriptor may be closed between the two.
            let text = fs::read_to_string(path).unwrap_or_default();
            let id = |key: &str| -> Option<u64> {
                let line = text.lines().find_map(|line| line.strip_prefix(key))?;
                line.trim().parse().ok()
            };
            objects.programs.extend(id("prog_id:"));
            objects.maps.extend(id("map_id:"));
            objects.links.extend(id("link_id:"));
        }
        Ok(objects)
    }

    /// Everything on this machine.
    ///
    /// # Errors
    /// `bpftool` is missing or fails.
    pub fn of_machine() -> Result<Self> {
        let ids = |value: &Value| -> BTreeSet<u64> {
            let list = value.as_array().into_iter().flatten();
            list.filter_map(|object| object["id"].as_u64()).collect()
        };
        let cgroups = bpftool(&["cgroup", "tree"])?;
        let attached = cgroups.as_array().into_iter().flatten();
        Ok(Self {
            programs: ids(&bpftool(&["prog"])?),
            maps: ids(&bpftool(&["map"])?),
            links: ids(&bpftool(&["link"])?),
            in_cgroups: attached
                .flat_map(|cgroup| ids(&cgroup["programs"]))
                .collect(),
        })
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = |one: &BTreeSet<u64>, other: &BTreeSet<u64>| one & other;
        Self {
            programs: both(&self.programs, &other.programs),
            maps: both(&self.maps, &other.maps),
            links: both(&self.links, &other.links),
            // What is attached is known by the program's id.
            in_cgroups: both(&self.programs, &other.in_cgroups),
        }
    }

    /// What of these objects is still in the kernel, and where it is attached.
    ///
    /// # Errors
    /// As of [`Self::of_machine`].
    pub fn left(&self) -> Result<Self> {
        Ok(self.and(&Self::of_machine()?))
    }
}

/// The programs of an observer are not shown what happens on a port, and do not know it: as where a
/// kernel does not run them for some of the host's tasks.
#[derive(Debug)]
pub struct Withheld {
    map: String,
    ports: Vec<String>,
}

impl Withheld {
    /// From now on, until [`Self::end`].
    ///
    /// # Errors
    /// The process has no map of ports with this port in it, or `bpftool` fails.
    pub fn begin(observer: u32, port: u16) -> Result<Self> {
        let map = map_of(observer, "PORTS")?;
        let ports = bytes(&lookup(&map)?["value"]);
        let mut without = ports.clone();
        let place = without.get_mut(usize::from(port)).context("no such port")?;
        ensure!(*place != "0x00", "the observer does not watch {port}");
        "0x00".clone_into(place);
        let withheld = Self { map, ports };
        withheld.write(&without)?;
        Ok(withheld)
    }

    /// They are shown everything again.
    ///
    /// # Errors
    /// `bpftool` fails.
    pub fn end(self) -> Result<()> {
        self.write(&self.ports)
    }

    fn write(&self, ports: &[String]) -> Result<()> {
        update(&self.map, ports)
    }
}

/// The programs of this process have failed to read the kernel's memory once, on each CPU: an event was
/// lost, and nobody knows of which target.
///
/// # Errors
/// The process has no map of losses, or `bpftool` fails.
pub fn lose_an_event(observer: u32) -> Result<()> {
    let map = map_of(observer, "LOSSES")?;
    let mut losses = bytes(&lookup(&map)?["values"][0]["value"]);
    // The last of five counts of 64 bits, whose lowest byte comes first.
    let read_failed = losses.get_mut(4 * 8).context("no such count")?;
    "0x01".clone_into(read_failed);
    update(&map, &losses)
}

/// The id of the process' map with this name.
fn map_of(process: u32, name: &str) -> Result<String> {
    for map in Objects::of_process(process)?.maps {
        let map = map.to_string();
        if bpftool(&["map", "show", "id", &map])?["name"] == name {
            return Ok(map);
        }
    }
    bail!("process {process} has no map {name}")
}

/// The value of the key 0.
fn lookup(map: &str) -> Result<Value> {
    bpftool(&["map", "lookup", "id", map, "key", "0", "0", "0", "0"])
}

fn update(map: &str, value: &[String]) -> Result<()> {
    let mut arguments = vec!["map", "update", "id", map];
    arguments.extend(["key", "0", "0", "0", "0", "value"]);
    arguments.extend(value.iter().map(String::as_str));
    bpftool(&arguments).map(drop)
}

fn bytes(value: &Value) -> Vec<String> {
    let bytes = value.as_array().into_iter().flatten();
    let bytes = bytes.filter_map(|byte| byte.as_str().map(str::to_owned));
    bytes.collect()
}

/// Whether `bpftool` is there.
#[must_use]
pub fn has_bpftool() -> bool {
    bpftool(&["prog"]).is_ok()
}

fn bpftool(arguments: &[&str]) -> Result<Value> {
    let output = Command::new("bpftool")
        .arg("-j")
        .args(arguments)
        .output()
        .context("run bpftool")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "bpftool {:?}: {}: {text}",
        &arguments[..arguments.len().min(8)],
        output.status
    );
    // Of an empty list it writes nothing.
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("bpftool {arguments:?}: {text}"))
}
