//! `observer`: the command line.
#![expect(clippy::print_stdout, reason = "trial")]
#![expect(clippy::unwrap_used, reason = "trial")]
use observer::probe::*;
fn main() -> anyhow::Result<()> {
    let inum = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/ns/net")?);
    let p = Probe::attach(
        &Options {
            max_sockets: 10000,
            cgroup: None,
        },
        &[observer_ebpf::TargetKey {
            port: 3000,
            netns: inum as u32,
            ..Default::default()
        }],
    )?;
    println!("{:?}", p.egress_refused());
    for _ in 0..std::env::args().nth(1).map_or(0, |s| s.parse().unwrap()) {
        std::thread::park_timeout(std::time::Duration::from_secs(1));
        println!(
            "{:?}\n{:?}\n{:?}\n{:?}",
            p.tally(0)?,
            p.losses()?,
            p.sockets()?,
            p.programs()
        );
    }
    Ok(())
}
