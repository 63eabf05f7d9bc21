//! `cargo xtask up`: a server and an observer that watches it, until Ctrl-C.

use std::time::Duration;

use anyhow::Result;

use crate::services::{self, Interrupt, Ports, Service, wait_for};
use crate::step::pause;
use crate::verdict::{answers, client};

/// Programs that were just built start within this on a busy machine.
const START_BOUND: Duration = Duration::from_secs(30);

/// Starts both and says where they are.
///
/// # Errors
/// Something could not be built or started, or one of the two has ended by itself.
pub(crate) fn up() -> Result<()> {
    let interrupt = Interrupt::listen()?;
    services::prepare()?;
    let client = client();
    let ports = Ports::choose()?;
    let (gauge, observed) = (ports.gauge_url(), ports.observer_url());

    let mut server = Service::start_server(&ports)?;
    wait_for(
        "metrics page",
        START_BOUND,
        &mut [&mut server],
        &interrupt,
        || answers(&client, &gauge),
    )?;
    let mut observer = Service::start_observer(&ports)?;
    let ready = format!("{observed}/-/ready");
    let services = &mut [&mut server, &mut observer];
    wait_for("observer", START_BOUND, services, &interrupt, || {
        answers(&client, &ready)
    })?;

    println!(
        "server    http://127.0.0.1:{}   (POST /v1/accounts, then GET /v1/gateway)",
        ports.public
    );
    println!("          {gauge}   (active_connections: the claim)");
    println!("observer  {observed}/   (status page)");
    println!("          {observed}/api/v1/targets/relay   (the verdict)");
    println!("          {observed}/metrics");
    eprintln!("both run until Ctrl-C");

    while !interrupt.came() {
        server.check_running()?;
        observer.check_running()?;
        pause(Duration::from_millis(200));
    }
    eprintln!("stopping");
    Ok(())
}
