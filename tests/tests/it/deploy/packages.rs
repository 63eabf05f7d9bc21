//! The Debian packages: checked by Debian's and systemd's own tools; installed, upgraded and purged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tests::skip;

use super::host::{Host, PACKAGES, missing};
use super::succeeds;

/// Ten times the exposure that `systemd-analyze security` may find, for each service. The observer's
/// three capabilities, its netlink socket and the call of bpf are 0.7 of its own.
const EXPOSURES: [u32; 2] = [20, 13];

#[tokio::test]
async fn packages_are_sound_and_go_as_they_came() {
    let tools = ["dpkg", "lintian", "systemd-analyze"];
    if let Some(missing) = missing(&tools) {
        return skip(&missing);
    }
    let host = Host::new();
    let packages = host.pack(1);
    for package in &packages {
        succeeds(
            Command::new("lintian")
                .args(["--fail-on", "error"])
                .arg(package),
        );
    }
    host.install(&packages);
    units_are_sound(&host);
    for name in ["observer", "plumbline-server"] {
        let program = host.path(&format!("usr/bin/{name}"));
        let mode = fs::metadata(&program)
            .expect("the program")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755, "{name}");
    }
    for page in [
        "man1/observer.1",
        "man1/observer-config-check.1",
        "man8/plumbline-server.8",
    ] {
        let page = host.path(&format!("usr/share/man/{page}.gz"));
        let text = succeeds(Command::new("gzip").args(["-dc"]).arg(&page));
        assert!(text.contains("\n.SH SYNOPSIS\n"), "{page:?}: {text}");
    }

    let changed = "# Changed by the administrator.\n";
    let configuration = host.path("etc/plumbline/observer.toml");
    fs::write(&configuration, changed).expect("change the configuration");
    host.install(&host.pack(2));
    let versions = host.dpkg(&["--list"]);
    assert_eq!(versions.matches("-2 ").count(), 2, "{versions}");
    assert_eq!(
        fs::read_to_string(&configuration).expect("it is there"),
        changed
    );

    let state = host.path("var/lib/private/plumbline-server");
    fs::create_dir_all(&state).expect("make a state directory");
    host.dpkg(&[&["--remove"], &PACKAGES[..]].concat());
    assert!(state.is_dir(), "a removal keeps the data");
    assert!(configuration.is_file(), "a removal keeps the configuration");
    host.dpkg(&[&["--purge"], &PACKAGES[..]].concat());
    assert!(!state.exists(), "a purge removes the data");
    assert_eq!(host.files(), Vec::<PathBuf>::new(), "nothing else is left");
}

/// By systemd's own checks.
fn units_are_sound(host: &Host) {
    let units = host.path("lib/systemd/system");
    // What every unit depends on without saying so.
    for entry in fs::read_dir("/lib/systemd/system").expect("systemd's units") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "target")
        {
            fs::copy(&path, units.join(path.file_name().expect("a name"))).expect("copy");
        }
    }
    // What a reload calls, of a package that ours recommends.
    let kill = host.path("bin/kill");
    fs::create_dir_all(host.path("bin")).expect("make a folder");
    fs::copy("/bin/kill", &kill).expect("copy");
    let root = format!("--root={}", host.path("").display());
    for (name, exposure) in PACKAGES.into_iter().zip(EXPOSURES) {
        let unit = format!("{name}.service");
        let verify = ["verify", "--man=no", &root, &unit];
        assert_eq!(succeeds(Command::new("systemd-analyze").args(verify)), "");
        let threshold = format!("--threshold={exposure}");
        let security = ["security", "--offline=yes", &root, &threshold, &unit];
        succeeds(Command::new("systemd-analyze").args(security));
    }
    for entry in fs::read_dir(&units).expect("the units") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "target")
        {
            fs::remove_file(path).expect("remove");
        }
    }
    fs::remove_file(kill).expect("remove");
}
