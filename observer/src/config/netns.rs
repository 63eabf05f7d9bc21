//! The ways to name the network namespace of a service: by a process, by a file, or by what it is run in.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{Text, error::TargetProblem, value::ValueError};

/// The network namespace that a service's sockets are in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Netns {
    /// The observer's own.
    SelfNs,
    /// That of a process.
    Pid(u32),
    /// The one that a file stands for, such as `/run/netns/NAME`.
    Path(PathBuf),
    /// That of the processes of a cgroup, by its path below the root of the hierarchy.
    Cgroup(PathBuf),
    /// That of a systemd unit, such as `chat.service`.
    Unit(String),
    /// That of a container, by its name or id.
    Container(String),
}

/// The path of a cgroup below the root of the hierarchy, such as `/system.slice/chat.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath(pub PathBuf);

/// The name of a systemd unit that has processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitName(pub String);

/// The name or the id of a container, as its engine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerName(pub String);

/// What a target says of where its sockets are; at most one of these is to be set.
pub(super) struct Where {
    pub(super) netns: Option<Text<Netns>>,
    pub(super) cgroup: Option<Text<CgroupPath>>,
    pub(super) unit: Option<Text<UnitName>>,
    pub(super) container: Option<Text<ContainerName>>,
}

impl Where {
    /// The namespace that is meant.
    pub(super) fn netns(self) -> Result<Netns, TargetProblem> {
        let said = [
            self.netns.map(|Text(netns)| netns),
            self.cgroup.map(|Text(cgroup)| Netns::Cgroup(cgroup.0)),
            self.unit.map(|Text(unit)| Netns::Unit(unit.0)),
            self.container.map(|Text(name)| Netns::Container(name.0)),
        ];
        let mut said = said.into_iter().flatten();
        match (said.next(), said.next()) {
            (None, _) => Ok(Netns::SelfNs),
            (Some(netns), None) => Ok(netns),
            (Some(one), Some(other)) => Err(TargetProblem::TwoPlaces { one, other }),
        }
    }
}

impl FromStr for Netns {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "self" {
            return Ok(Self::SelfNs);
        }
        match text.split_once(':') {
            Some(("pid", pid)) => match pid.parse() {
                Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
                _ => Err(ValueError::Netns),
            },
            Some(("path", path)) if !path.is_empty() => Ok(Self::Path(path.into())),
            Some(("cgroup", path)) => Ok(Self::Cgroup(path.parse::<CgroupPath>()?.0)),
            Some(("unit", unit)) => Ok(Self::Unit(unit.parse::<UnitName>()?.0)),
            Some(("container", name)) => Ok(Self::Container(name.parse::<ContainerName>()?.0)),
            _ => Err(ValueError::Netns),
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfNs => f.write_str("self"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Path(path) => write!(f, "path:{}", path.display()),
            Self::Cgroup(path) => write!(f, "cgroup:{}", path.display()),
            Self::Unit(unit) => write!(f, "unit:{unit}"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

impl FromStr for CgroupPath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_plain = text.split('/').all(|part| part != "..");
        match text.starts_with('/') && text.len() > 1 && is_plain {
            true => Ok(Self(text.into())),
            false => Err(ValueError::CgroupPath),
        }
    }
}

impl FromStr for UnitName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_unit = [".service", ".scope", ".slice"]
            .iter()
            .any(|kind| text.len() > kind.len() && text.ends_with(kind));
        match is_unit && !text.contains('/') {
            true => Ok(Self(text.to_owned())),
            false => Err(ValueError::Unit),
        }
    }
}

impl FromStr for ContainerName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match !text.is_empty() && !text.contains('/') {
            true => Ok(Self(text.to_owned())),
            false => Err(ValueError::Container),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for text in [
            "self",
            "pid:7",
            "path:/run/netns/chat",
            "cgroup:/system.slice/chat.service",
            "unit:chat.service",
            "container:chat",
        ] {
            assert_eq!(text.parse::<Netns>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "other",
            "pid:0",
            "pid:x",
            "path:",
            "cgroup:chat",
            "cgroup:/a/../b",
            "cgroup:/",
            "unit:chat",
            "unit:.service",
            "unit:a/b.service",
            "container:",
            "container:a/b",
        ] {
            assert!(bad.parse::<Netns>().is_err(), "{bad}");
        }
    }
}
