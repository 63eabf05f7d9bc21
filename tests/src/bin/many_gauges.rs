//! A TCP server with many gauges of the same connections: each counts at a lag of its own, and is off by
//! as much as it is told.
//!
//! When it accepts a connection, and when it learns of the end of one, it writes down the time; a gauge
//! is computed from that when it is asked for. So a lag is exactly what was asked for, after the moment at
//! which this process knew. What is true is in the books of who connects.
//!
//! A page is `/OPENINGS/CLOSINGS/OFFSET/LEAK/metrics`: the lags of openings and of closings in
//! milliseconds, each as `50` for always or `0-50` for evenly up to that; what is added to the gauge for
//! good; and of how many closings one is not counted, 0 for none.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::tests::{
    dice::Dice,
    liar::{self, Ports},
    process::raise_descriptor_limit,
};
use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use clap::Parser as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The longest lag.
const LONGEST: Duration = Duration::from_secs(1);

/// How late a gauge counts. Unit: milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lag {
    Always(u64),
    UpTo(u64),
}

impl FromStr for Lag {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix("0-") {
            Some(most) => Self::UpTo(most.parse()?),
            None => Self::Always(text.parse()?),
        })
    }
}

impl Lag {
    fn most(self) -> Duration {
        let (Self::Always(ms) | Self::UpTo(ms)) = self;
        Duration::from_millis(ms)
    }

    /// The lag of one event, the same whenever it is asked for.
    fn of(self, number: u64) -> Duration {
        match self {
            Self::Always(_) => self.most(),
            Self::UpTo(most) => Duration::from_micros(Dice::seeded(number).roll(most * 1_000 + 1)),
        }
    }
}

/// An opening or a closing.
#[derive(Clone, Copy, Debug)]
struct Event {
    at: Instant,
    /// Its number among those of its kind, from 1.
    number: u64,
    /// Of a closing: when the same connection was opened, and the number of that.
    opened: Option<(Instant, u64)>,
}

/// All events of a kind, in order: how many there were before, and the recent ones.
#[derive(Debug, Default)]
struct Events {
    before: u64,
    recent: VecDeque<Event>,
}

impl Events {
    fn push(&mut self, at: Instant, opened: Option<(Instant, u64)>) -> u64 {
        let is_old = |event: &Event| at.duration_since(event.at) > LONGEST * 2;
        while self.recent.pop_front_if(|event| is_old(event)).is_some() {
            self.before += 1;
        }
        let number = self.before + self.recent.len() as u64 + 1;
        self.recent.push_back(Event { at, number, opened });
        number
    }

    /// How many are counted at a moment by who is that late, and leaves every `leak`th out.
    fn counted(&self, now: Instant, (openings, own): (Lag, Lag), leak: u64) -> u64 {
        let most = openings.most().max(own.most());
        let old = self
            .recent
            .partition_point(|event| now.saturating_duration_since(event.at) > most);
        let surely = self.before + old as u64;
        let is_counted = |event: &&Event| {
            // An opening is counted before its own closing.
            let opened = event.opened.map(|(at, number)| at + openings.of(number));
            let by = opened.max(Some(event.at + own.of(event.number)));
            by <= Some(now) && (leak == 0 || !event.number.is_multiple_of(leak))
        };
        let leaked = surely.checked_div(leak).unwrap_or(0);
        surely - leaked + self.recent.range(old..).filter(is_counted).count() as u64
    }
}

/// What this process knows of its connections.
#[derive(Debug, Default)]
struct Ledger {
    opened: Events,
    closed: Events,
}

impl Ledger {
    fn gauge(&self, now: Instant, openings: Lag, closings: Lag, leak: u64) -> i64 {
        let opened = self.opened.counted(now, (openings, openings), 0);
        let closed = self.closed.counted(now, (openings, closings), leak);
        opened.cast_signed() - closed.cast_signed()
    }
}

type Shared = Arc<Mutex<Ledger>>;

fn lock(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Ports {
        public_address,
        management_address,
    } = Ports::parse();
    raise_descriptor_limit()?;
    let ledger = Shared::default();
    let public = liar::listen(public_address).await?;
    // Pages have a thread of their own: a scrape is answered between two connections.
    let pages = std::thread::spawn({
        let ledger = Arc::clone(&ledger);
        move || serve_pages(management_address, ledger)
    });
    let serve = async {
        loop {
            let (stream, _) = liar::accept(&public).await;
            let ledger = Arc::clone(&ledger);
            tokio::spawn(serve(stream, ledger));
        }
    };
    let pages = tokio::task::spawn_blocking(move || pages.join());
    tokio::select! {
        ended = pages => ended?.unwrap_or_else(|_| anyhow::bail!("the pages panicked")),
        () = serve => Ok(()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve_pages(address: SocketAddr, ledger: Shared) -> Result<()> {
    let page = liar::listen(address).await?;
    let pages = Router::new()
        .route(
            "/{openings}/{closings}/{offset}/{leak}/metrics",
            get(render),
        )
        .with_state(ledger);
    axum::serve(page, pages).await.context("serve")
}

async fn render(
    State(ledger): State<Shared>,
    Path((openings, closings, offset, leak)): Path<(String, String, i64, u64)>,
) -> Result<String, StatusCode> {
    let lag = |text: &str| text.parse::<Lag>().ok().filter(|lag| lag.most() <= LONGEST);
    let lags = lag(&openings).zip(lag(&closings));
    let (openings, closings) = lags.ok_or(StatusCode::NOT_FOUND)?;
    let ledger = lock(&ledger);
    let open = ledger.gauge(Instant::now(), openings, closings, leak);
    Ok(liar::page(&[("", open + offset)]))
}

async fn serve(mut stream: TcpStream, ledger: Shared) {
    let opened = {
        let mut ledger = lock(&ledger);
        // In order, as the lock is held.
        let now = Instant::now();
        (now, ledger.opened.push(now, None))
    };
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
    let mut ledger = lock(&ledger);
    let now = Instant::now();
    ledger.closed.push(now, Some(opened));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Openings at 0, 10 and 20 ms; the first closes at 30 ms, the second at 40 ms.
    fn ledger(base: Instant) -> Ledger {
        let mut ledger = Ledger::default();
        for (ms, number) in [(0, 1), (10, 2), (20, 3)] {
            assert_eq!(ledger.opened.push(base + MS * ms, None), number);
        }
        for (ms, opened) in [(30, (0, 1)), (40, (10, 2))] {
            let opened = (base + MS * opened.0, opened.1);
            ledger.closed.push(base + MS * ms, Some(opened));
        }
        ledger
    }

    #[test]
    fn a_gauge_is_as_late_as_it_is_told() {
        let base = Instant::now();
        let ledger = ledger(base);
        let says =
            |ms, openings, closings, leak| ledger.gauge(base + MS * ms, openings, closings, leak);
        let none = Lag::Always(0);
        assert_eq!(
            [5, 15, 25, 35, 45].map(|ms| says(ms, none, none, 0)),
            [1, 2, 3, 2, 1]
        );
        let late = Lag::Always(5);
        assert_eq!(
            [4, 5, 14, 35, 44].map(|ms| says(ms, late, late, 0)),
            [0, 1, 1, 2, 2]
        );
        assert_eq!(says(44, none, late, 0), 2);
        // One closing of two is lost.
        assert_eq!(says(99, none, none, 2), 2);
        // An opening that late is counted before its own closing.
        assert_eq!(says(45, Lag::Always(50), none, 0), 0);
        assert_eq!(says(71, Lag::Always(50), none, 0), 1);
    }

    #[test]
    fn a_spread_lag_is_the_same_at_every_look() {
        let lag: Lag = "0-50".parse().expect("a lag");
        assert_eq!(lag, Lag::UpTo(50));
        assert_eq!("50".parse(), Ok(Lag::Always(50)));
        let lags: Vec<_> = (0..1_000).map(|number| lag.of(number)).collect();
        assert_eq!(
            lags,
            (0..1_000).map(|number| lag.of(number)).collect::<Vec<_>>()
        );
        assert!(lags.iter().all(|lag| *lag <= MS * 50));
        let mean = lags.iter().sum::<Duration>() / 1_000;
        assert!(mean.abs_diff(MS * 25) < MS * 2, "{mean:?}");
    }

    #[test]
    fn what_is_old_is_counted_without_being_kept() {
        let base = Instant::now();
        let mut ledger = ledger(base);
        for second in 3..6 {
            ledger.opened.push(base + MS * 1_000 * second, None);
            let opened = (base + MS * 20, 3);
            ledger.closed.push(base + MS * 1_000 * second, Some(opened));
        }
        assert!(ledger.opened.recent.len() <= 3 && ledger.closed.recent.len() <= 3);
        let none = Lag::Always(0);
        assert_eq!(ledger.gauge(base + MS * 9_000, none, none, 0), 1);
        assert_eq!(ledger.gauge(base + MS * 9_000, none, none, 2), 3);
    }
}
