//! `cargo xtask demo`: the main job on real sockets, twice.
//!
//! Once against a server whose gauge is true, once against one whose gauge leaks. It succeeds only
//! if the observer was right both times, and stops everything that it started.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ureq::Agent;

use crate::crowd::{Crowd, open_account};
use crate::services::{self, Interrupt, Ports, Service, listen_arguments, wait_for};
use crate::verdict::{Verdict, answers, client, fetch_verdict};

/// Of the program `liar`.
const LIAR: &str = "no_decrement_on_abort";

/// Programs that were just built start within this on a busy machine.
const START_BOUND: Duration = Duration::from_secs(30);

/// Several checks at the default interval of 5 s, and their confirmation.
const VERDICT_BOUND: Duration = Duration::from_secs(60);

/// Runs both scenes.
///
/// # Errors
/// Something could not be built or started, or a verdict was wrong.
pub(crate) fn demo() -> Result<()> {
    let interrupt = Interrupt::listen()?;
    services::prepare()?;
    let client = client();
    honest(&client, &interrupt).context("the honest server")?;
    lying(&client, &interrupt).context("the lying server")?;

    println!("\nBoth verdicts were right. Everything that was started is stopped.");
    println!("where to look next:");
    println!("  cargo xtask up   keeps a server and an observer running, and says where:");
    println!("                   the observer's page /, its /metrics and /api/v1/targets/relay");
    println!("  README.md        how to point the observer at a service of your own");
    Ok(())
}

/// 200 WebSockets and 50 other connections at the relay server: the gauge is true.
fn honest(client: &Agent, interrupt: &Interrupt) -> Result<()> {
    let ports = Ports::choose()?;
    println!("\nAn honest server: port {}", ports.public);
    let mut server = Service::start_server(&ports)?;
    let mut observer = watch(client, interrupt, &ports, &mut server)?;

    let mut crowd = Crowd::new(ports.public);
    crowd.open_websockets(200, &open_account(client, ports.public)?)?;
    crowd.open_kept_alive(50)?;
    println!("  opened   200 WebSockets, 50 kept-alive HTTP connections");

    let services = &mut [&mut server, &mut observer];
    let verdict = settled(client, interrupt, &ports, services, &mut crowd, 200.0)?;
    show(&verdict);
    ensure!(verdict.verdict == "agree", "expected agree");
    Ok(())
}

/// 100 WebSockets, 37 of them aborted, at a server that never hears of aborts.
fn lying(client: &Agent, interrupt: &Interrupt) -> Result<()> {
    let ports = Ports::choose()?;
    println!(
        "\nA lying server, which never decrements on abort: port {}",
        ports.public
    );
    let mut arguments = vec![LIAR.to_owned()];
    arguments.extend(listen_arguments(&ports));
    let mut server = Service::start("liar", &arguments)?;
    let mut observer = watch(client, interrupt, &ports, &mut server)?;

    let mut crowd = Crowd::new(ports.public);
    crowd.open_websockets(100, "none is asked for")?;
    crowd.abort(37)?;
    println!("  opened   100 WebSockets, then aborted 37");

    let services = &mut [&mut server, &mut observer];
    let verdict = settled(client, interrupt, &ports, services, &mut crowd, 100.0)?;
    show(&verdict);
    ensure!(
        verdict.verdict == "over" && verdict.drift == Some(37),
        "expected over by 37"
    );
    Ok(())
}

/// Waits for the service, and starts an observer that is ready before any client comes.
fn watch(
    client: &Agent,
    interrupt: &Interrupt,
    ports: &Ports,
    server: &mut Service,
) -> Result<Service> {
    let gauge = ports.gauge_url();
    wait_for(
        "metrics page",
        START_BOUND,
        &mut [server],
        interrupt,
        || answers(client, &gauge),
    )?;
    let mut observer = Service::start_observer(ports)?;
    let ready = format!("{}/-/ready", ports.observer_url());
    let services = &mut [server, &mut observer];
    wait_for("observer", START_BOUND, services, interrupt, || {
        answers(client, &ready)
    })?;
    Ok(observer)
}

/// The first verdict about `claim` that is neither unsettled nor blind, in a quiet window.
///
/// While clients come and go, an honest service could claim one of several numbers, and a small
/// drift hides among them. Nobody comes or goes now, so a window with one number is near.
fn settled(
    client: &Agent,
    interrupt: &Interrupt,
    ports: &Ports,
    services: &mut [&mut Service],
    crowd: &mut Crowd,
    claim: f64,
) -> Result<Verdict> {
    let base = ports.observer_url();
    let mut last = None;
    wait_for("verdict", VERDICT_BOUND, services, interrupt, || {
        crowd.hear()?;
        let verdict = fetch_verdict(client, &base)?;
        let is_final = ["agree", "over", "under"].contains(&verdict.verdict.as_str());
        let is_quiet = verdict.low.is_some() && verdict.low == verdict.high;
        if verdict.claim == Some(claim) && is_final && is_quiet {
            return Ok(Some(verdict));
        }
        last = Some(verdict);
        Ok(None)
    })
    .with_context(|| match last {
        Some(Verdict {
            verdict, sentence, ..
        }) => format!("the observer last said {verdict}: {sentence}"),
        None => "the observer said nothing".to_owned(),
    })
}

fn show(verdict: &Verdict) {
    let Verdict {
        verdict,
        claim,
        low,
        high,
        drift,
        websockets,
        sentence,
    } = verdict;
    let shown = |number: &Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
    let claim = claim.map_or("?".to_owned(), |claim| claim.to_string());
    let by = match drift {
        Some(0) | None => String::new(),
        Some(drift) => format!(" by {}", drift.abs()),
    };
    println!("  gauge    active_connections {claim}");
    println!("  kernel   {} WebSockets are open", shown(websockets));
    println!(
        "  honest   {} to {} could be claimed",
        shown(low),
        shown(high)
    );
    println!("  verdict  {verdict}{by}");
    println!("           {sentence}");
}
