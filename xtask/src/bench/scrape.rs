//! What a scrape of the server costs: the rendering of its page, and its clients' latency meanwhile.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ureq::Agent;

use super::figure::{Goal, Ratio, Spread};
use super::wrk::Wrk;
use super::{Report, Run, wait_for_listener};
use crate::services::{Interrupt, Ports, Service, release_program};
use crate::step::pause;
use crate::verdict::client;
use crate::workspace;

/// Between two scrapes: fifteen times as often as Prometheus does by default.
const BEAT: Duration = Duration::from_secs(1);

/// A page of one size, with its rounds.
struct Page {
    /// Buckets of one histogram, which make the page as large as it shall be.
    buckets: usize,
    /// Series on the page.
    series: usize,
    /// A page, from the request to its end. Unit: milliseconds.
    rendered: Vec<f64>,
    /// The 99th percentile of requests without scrapes. Unit: microseconds.
    without: Vec<f64>,
    /// The same with scrapes.
    with: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// Something could not be started or measured.
pub(super) fn bench(run: &Run) -> Result<Report> {
    let (rounds, seconds) = (run.size(15, 5), run.size(4, 2));
    let mut pages = Vec::new();
    for buckets in [211, 24_961] {
        pages.push(measure(buckets, rounds, seconds, run)?);
    }
    let names = [
        "p99 of requests with scrapes of 250 series / without",
        "p99 of requests with scrapes of 25,000 series / without",
    ];
    let ratios: Vec<Ratio> = names
        .into_iter()
        .zip(&pages)
        .map(|(name, page)| {
            let spread = Spread::of_ratios(&page.with, &page.without);
            Ratio::new(name, spread, Goal::AtMost(1.1))
        })
        .collect();
    let mut section = format!(
        "## What a scrape costs\n\n\
         `cargo xtask bench scrape`: requests on kept-alive connections to the server, {rounds} \
         rounds of {seconds} s with a scrape of `/metrics` each second and without, in turns. The \
         page is made large by `--buckets`.\n\n\
         | series | page, ms | p99 without scrapes, µs | p99 with scrapes, µs |\n|---|---|---|---|\n"
    );
    for page in &pages {
        writeln!(
            section,
            "| {} | {} | {} | {} |",
            page.series,
            Spread::of(&page.rendered),
            Spread::of(&page.without),
            Spread::of(&page.with)
        )?;
    }
    let load = load(Ports::DEFAULT.public, seconds).arguments().join(" ");
    write!(section, "\n```console\n$ wrk {load}\n```\n\n")?;
    Ok(Report::with_ratios(section, ratios))
}

fn measure(buckets: usize, rounds: u64, seconds: u64, run: &Run) -> Result<Page> {
    let client = client();
    let (mut server, ports) = start(buckets, &run.interrupt)?;
    let mut page = Page {
        buckets,
        series: 0,
        rendered: Vec::new(),
        without: Vec::new(),
        with: Vec::new(),
    };
    let load = load(ports.public, seconds);
    load.run()?;
    for _ in 0..20 {
        let started = Instant::now();
        page.series = scrape(&client, &ports)?;
        page.rendered.push(1e3 * started.elapsed().as_secs_f64());
    }
    for round in 0..rounds {
        eprintln!("{} series: round {}", page.series, round + 1);
        ensure!(!run.interrupt.came(), "interrupted");
        server.check_running()?;
        let order = if round % 2 == 0 {
            [false, true]
        } else {
            [true, false]
        };
        for is_scraped in order {
            let p99 = match is_scraped {
                true => load_while_scraped(&load, &client, &ports)?,
                false => load.run()?.p99,
            };
            let p99 = 1e6 * p99.as_secs_f64();
            if is_scraped {
                &mut page.with
            } else {
                &mut page.without
            }
            .push(p99);
        }
    }
    ensure!(page.series > page.buckets, "the page lacks its buckets");
    Ok(page)
}

fn load(port: u16, seconds: u64) -> Wrk {
    Wrk {
        url: format!("http://127.0.0.1:{port}/v1/nothing"),
        connections: 16,
        seconds,
        header: None,
    }
}

fn load_while_scraped(load: &Wrk, client: &Agent, ports: &Ports) -> Result<Duration> {
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let scraping = scope.spawn(|| -> Result<()> {
            let mut next = Instant::now();
            while !has_ended.load(Ordering::Relaxed) {
                if Instant::now() >= next {
                    scrape(client, ports)?;
                    next += BEAT;
                }
                pause(Duration::from_millis(20));
            }
            Ok(())
        });
        let loaded = load.run();
        has_ended.store(true, Ordering::Relaxed);
        let scraped = scraping.join();
        scraped.map_err(|_| anyhow::anyhow!("the scraping thread panicked"))??;
        Ok(loaded?.p99)
    })
}

/// Scrapes once, and counts the series.
fn scrape(client: &Agent, ports: &Ports) -> Result<usize> {
    let page = client.get(ports.gauge_url()).call().context("scrape")?;
    ensure!(
        page.status() == 200,
        "the scrape was answered {}",
        page.status()
    );
    let mut body = page.into_body();
    let text = body.with_config().limit(64 << 20).read_to_string();
    let text = text.context("read the page")?;
    Ok(text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .count())
}

/// Starts a server one of whose histograms has so many buckets.
fn start(buckets: usize, interrupt: &Interrupt) -> Result<(Service, Ports)> {
    let root = workspace::root();
    let data = root.join("target/xtask/bench-data");
    if data.exists() {
        fs::remove_dir_all(&data).context("empty the server's data directory")?;
    }
    let bounds: Vec<String> = (1..=buckets).map(|bound| format!("{bound}.0")).collect();
    let file = root.join("target/xtask/bench-server.toml");
    let text = format!(
        "[buckets]\ndb_connect_duration_seconds = [{}]\n",
        bounds.join(",")
    );
    fs::write(&file, text).context("write the server's configuration")?;
    let ports = Ports::choose()?;
    let mut command = Command::new(release_program("server"));
    command
        .arg(format!("--public-address=127.0.0.1:{}", ports.public))
        .arg(format!(
            "--management-address=127.0.0.1:{}",
            ports.management
        ))
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--config={}", file.display()));
    let mut service = Service::start_command("server", &mut command)?;
    wait_for_listener(ports.public, &mut service, interrupt)?;
    Ok((service, ports))
}
