//! Saying that a test could not run here, so that nobody takes it for passed.
//!
//! ```no_run
//! # fn main() {
//! if !tests::kernel_or_skip() {
//!     return;
//! }
//! # }
//! ```
//!
//! `cargo xtask test` names a file in `PLUMBLINE_SKIPS` and lists at its end what was written
//! there. With `PLUMBLINE_REQUIRE_KERNEL=1` a skip for the kernel's sake is a failure.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::thread;

/// Names the file that skips are appended to: a line each, the test's name, a tab, the reason.
pub const SKIPS_VARIABLE: &str = "PLUMBLINE_SKIPS";

/// Set to `1`: whoever runs the tests knows that this kernel can do it all.
pub const REQUIRE_KERNEL_VARIABLE: &str = "PLUMBLINE_REQUIRE_KERNEL";

/// Records that the calling test cannot run here; the test returns after it.
///
/// # Panics
/// The record cannot be written: a skip that nobody sees would look like success.
#[expect(
    clippy::print_stderr,
    reason = "the reason belongs into the test's output"
)]
pub fn skip(reason: &str) {
    let test = test_name();
    eprintln!("skipped: {test}: {reason}");
    let Some(file) = env::var_os(SKIPS_VARIABLE) else {
        return;
    };
    record(Path::new(&file), &test, reason)
        .unwrap_or_else(|error| panic!("record the skip in {}: {error}", file.display()));
}

/// Appends a line, in one write: tests in other processes append to the same file.
fn record(file: &Path, test: &str, reason: &str) -> io::Result<()> {
    let mut open = OpenOptions::new().create(true).append(true).open(file)?;
    open.write_all(format!("{test}\t{reason}\n").as_bytes())
}

/// Whether BPF programs can be loaded here; if not, the skip is recorded.
///
/// # Panics
/// They cannot, and `PLUMBLINE_REQUIRE_KERNEL=1` says that they must.
#[must_use]
pub fn kernel_or_skip() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let has_btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/observer-ebpf");
    let Some(reason) = kernel_obstacle(&status, has_btf, object.is_file()) else {
        return true;
    };
    assert!(
        env::var_os(REQUIRE_KERNEL_VARIABLE).is_none_or(|value| value != "1"),
        "{REQUIRE_KERNEL_VARIABLE}=1, but this test cannot run: {reason}"
    );
    skip(&reason);
    false
}

/// Why BPF programs cannot be loaded, from `/proc/self/status` and what is on disk.
fn kernel_obstacle(status: &str, has_btf: bool, has_object: bool) -> Option<String> {
    if !has_btf {
        return Some("the kernel has no BTF (/sys/kernel/btf/vmlinux)".into());
    }
    if !has_object {
        return Some("the BPF programs are not built: cargo xtask build-ebpf".into());
    }
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    // Bit numbers from the kernel's include/uapi/linux/capability.h.
    let missing: Vec<&str> = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")]
        .into_iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| name)
        .collect();
    (!missing.is_empty()).then(|| format!("needs root, or {}", missing.join(", ")))
}

/// The test harness names a test's thread after the test.
fn test_name() -> String {
    match thread::current().name() {
        Some("main") | None => {
            env::var("NEXTEST_TEST_NAME").unwrap_or_else(|_| "a test without a name".into())
        }
        Some(name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Name:\ttest\nCapEff:\t000001ffffffffff\nCapBnd:\t0";

    #[test]
    fn root_with_btf_and_an_object_has_no_obstacle() {
        assert_eq!(kernel_obstacle(ROOT, true, true), None);
    }

    #[test]
    fn each_obstacle_is_named() {
        let reason = |status, btf, object| kernel_obstacle(status, btf, object).expect("obstacle");
        assert!(reason(ROOT, false, true).contains("BTF"));
        assert!(reason(ROOT, true, false).contains("build-ebpf"));
        // CAP_NET_ADMIN alone.
        assert_eq!(
            reason("CapEff:\t0000000000001000", true, true),
            "needs root, or CAP_PERFMON, CAP_BPF"
        );
        assert!(reason("", true, true).contains("CAP_BPF"));
    }

    #[test]
    fn skips_are_appended_a_line_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("skips");
        record(&file, "kernel::one", "needs root").expect("record");
        record(&file, "kernel::two", "no BTF").expect("record");
        let text = fs::read_to_string(&file).expect("read");
        assert_eq!(text, "kernel::one\tneeds root\nkernel::two\tno BTF\n");
    }

    #[test]
    fn a_test_knows_its_name() {
        assert!(test_name().ends_with("a_test_knows_its_name"));
    }
}
