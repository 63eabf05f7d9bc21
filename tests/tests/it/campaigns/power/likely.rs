//! What is likely, beside what is sure: services that count late in every way, at three rates of
//! connections that come and go by chance, with drifts of many sizes.
//!
//! All of them are gauges of the same connections, accepted and closed by one process, and targets of one
//! observer: what differs is how late each counts, and by how much it is off. The books of the load say
//! at which rate, and by which the leaks leak.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::load::{Flow, Rate};
use tests::observer::{BOUND, Observer, Watched};
use tests::port::free_address;
use tests::process::Process;
use tests::{campaign, http, kernel_or_skip};

/// Open at a time: a drift of 5 is half a percent of it.
const OPEN: usize = 1_000;
/// Of how many closings the leak loses one.
const LEAK: u64 = 1_000;
/// Between two checks of each target.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long each rate is watched.
const TIME: Duration = Duration::from_secs(130);
/// Between two looks at what is said of all targets.
const BEAT: Duration = Duration::from_millis(100);

/// How late a service counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Service {
    name: &'static str,
    /// Lags of openings and of closings, as the server has them in its pages.
    lags: (&'static str, &'static str),
    /// What is declared: four times the longest lag and 100 ms, as it would be learnt, and no less than
    /// the tests have elsewhere.
    settle: Duration,
}

const fn service(
    name: &'static str,
    openings: &'static str,
    closings: &'static str,
    settle: u64,
) -> Service {
    let settle = Duration::from_millis(settle);
    let lags = (openings, closings);
    Service { name, lags, settle }
}

const PROMPT: Service = service("no lag", "0", "0", 200);
const CONSTANT: Service = service("50 ms", "50", "50", 300);
const SPREAD: Service = service("0 to 50 ms", "0-50", "0-50", 300);
const ONE_SIDED: Service = service("500 ms, closings", "0", "500", 1_000);
const SLOW: Service = service("500 ms, both", "500", "500", 1_000);
const SERVICES: [Service; 5] = [PROMPT, CONSTANT, SPREAD, ONE_SIDED, SLOW];

/// By how much a gauge is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drift {
    Of(i64),
    Leak,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(drift) => write!(f, "{drift}"),
            Self::Leak => write!(f, "leak"),
        }
    }
}

const HONEST: Drift = Drift::Of(0);
const DRIFTS: [Drift; 5] = [
    HONEST,
    Drift::Of(1),
    Drift::Of(5),
    Drift::Of(20),
    Drift::Leak,
];

/// A gauge with what was said of it.
#[derive(Debug)]
struct Course {
    service: Service,
    drift: Drift,
    target: &'static str,
    checked_at: String,
    checks: u64,
    /// Those at which anything was likely.
    said: u64,
    sure: Option<Duration>,
    likely: Option<Duration>,
    /// Times at which 0 was outside of the likely bounds.
    off: u64,
    width: Option<i64>,
    /// What was said that is not so.
    wrong: Vec<String>,
}

impl Course {
    fn new(service: Service, drift: Drift) -> Self {
        Self {
            service,
            drift,
            target: format!("{}, {drift}", service.name)
                .replace([' ', ','], "-")
                .leak(),
            checked_at: String::new(),
            checks: 0,
            said: 0,
            sure: None,
            likely: None,
            off: 0,
            width: None,
            wrong: Vec::new(),
        }
    }

    fn watched(&self, public: SocketAddr, management: SocketAddr) -> Watched {
        let (openings, closings) = self.service.lags;
        let (offset, leak) = match self.drift {
            Drift::Of(drift) => (drift, 0),
            Drift::Leak => (0, LEAK),
        };
        let page = format!("http://{management}/{openings}/{closings}/{offset}/{leak}/metrics");
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        Watched::new(self.target, &format!(":{}", public.port()), &page)
            .with("counts", "established")
            .with("interval", &ms(INTERVAL))
            .with("scrape-timeout", &ms(INTERVAL))
            .with("settle", &ms(self.service.settle))
            // An agreement is one however wide: what would not show is in the table.
            .with("too-wide", "1000000%")
    }

    /// Notes a report. `leaked` is the most that a leak can have lost by now.
    fn note(&mut self, report: &Value, after: Duration, leaked: i64) {
        let checked_at = report["checked_at"].as_str().unwrap_or_default();
        if checked_at == self.checked_at {
            return;
        }
        checked_at.clone_into(&mut self.checked_at);
        self.checks += 1;
        let (least, most) = match self.drift {
            Drift::Of(drift) => (drift, drift),
            Drift::Leak => (0, leaked),
        };
        let mut holds = |what: &str, low: i64, high: i64| {
            if low > most || high < least {
                let said = format!("{what} {low} to {high} at {least} to {most}: {report}");
                self.wrong.push(said);
            }
        };
        if let (Some(low), Some(high)) =
            (report["drift_low"].as_i64(), report["drift_high"].as_i64())
        {
            holds("surely", low, high);
        }
        let verdict = report["verdict"].as_str();
        if matches!(verdict, Some("over" | "under")) {
            self.sure.get_or_insert(after);
        }
        let bound = |key: &str| report["likely"][key].as_i64();
        if let (Some(low), Some(high)) = (bound("low"), bound("high")) {
            holds("likely", low, high);
            self.said += 1;
            self.width = Some(high - low);
            if low > 0 || high < 0 {
                self.off += 1;
                self.likely.get_or_insert(after);
            }
        }
    }
}

/// What was said of all of them.
struct Table {
    courses: Vec<Course>,
    /// Openings a second that there were.
    rate: f64,
}

impl Table {
    /// Watches these for so long, or until that is enough.
    async fn of(
        rate: f64,
        courses: Vec<Course>,
        time: Duration,
        is_enough: impl Fn(&Self) -> bool,
    ) -> Self {
        let (public, management) = (
            free_address().expect("a port"),
            free_address().expect("a port"),
        );
        let arguments = [
            format!("--public-address={public}"),
            format!("--management-address={management}"),
        ];
        let mut server = Process::spawn("many_gauges", &arguments).expect("start the server");
        let page = format!("http://{management}/0/0/0/0/metrics");
        server.wait_for_url(&page, BOUND).await.expect("it listens");
        let per_second = rate;
        let flow = Rate {
            per_second,
            open: OPEN,
        };
        let flow = Flow::start(public, flow, tests::dice::first_seed()).expect("the flow");
        let watched = courses.iter().map(|one| one.watched(public, management));
        let watched: Vec<_> = watched.collect();
        let observer = Observer::start(&watched).await.expect("observer");
        let before = (Instant::now(), flow.books());

        let mut table = Self { courses, rate };
        let progress = campaign::Progress::start("seconds", time.as_secs());
        let mut beat = tokio::time::interval(BEAT);
        let mut told = 0;
        while before.0.elapsed() < time && !is_enough(&table) {
            beat.tick().await;
            let reports = reports(&observer).await;
            let after = before.0.elapsed();
            let leaked = (flow.books().ended() / LEAK + 1).cast_signed();
            for course in &mut table.courses {
                course.note(&reports[course.target], after, leaked);
            }
            progress.advance(after.as_secs() - told);
            told = after.as_secs();
        }
        let after = before.0.elapsed().as_secs_f64();
        let books = flow.stop().expect("the flow goes on until now");
        table.rate = (books.opened - before.1.opened) as f64 / after;
        assert_eq!(books.failed, 0, "{books:?}");
        for course in &table.courses {
            assert!(course.checks > 0, "{course:?}: {}", observer.process.log());
        }
        table
    }

    fn of_service(&self, service: Service) -> impl Iterator<Item = &Course> {
        self.courses
            .iter()
            .filter(move |course| course.service == service)
    }

    fn course(&self, service: Service, drift: Drift) -> &Course {
        let mut of_service = self.of_service(service);
        let found = of_service.find(|course| course.drift == drift);
        found.expect("it was watched")
    }

    /// What must be so whatever was found: nothing that is said is wrong, and nobody honest is blamed.
    fn check(&self) {
        for course in &self.courses {
            assert_eq!(course.wrong, Vec::<String>::new(), "{course:?}");
            if course.drift == HONEST {
                assert_eq!(course.sure, None, "{course:?}");
                assert_eq!(course.off, 0, "{course:?}");
            }
        }
    }
}

async fn reports(observer: &Observer) -> HashMap<String, Value> {
    let url = format!("{}/api/v1/targets", observer.url());
    let answer = http::get(&url).await.expect("the targets");
    let list: Value = serde_json::from_str(&answer.body).expect("JSON");
    let targets = list["targets"].as_array().expect("a list").iter();
    let named = targets.map(|report| {
        let name = report["name"].as_str().expect("a name");
        (name.to_owned(), report.clone())
    });
    named.collect()
}

fn figures(table: &Table, wanted: f64) {
    for service in SERVICES {
        let mut cells = String::new();
        for course in table.of_service(service) {
            let time = |time: Option<Duration>| match time {
                Some(time) => format!("{:.0} s", time.as_secs_f64()),
                None => "never".to_owned(),
            };
            if course.drift != HONEST {
                let Course { drift, .. } = course;
                let (sure, likely) = (time(course.sure), time(course.likely));
                let _ = write!(cells, "{drift}: {sure}, {likely}; ");
            }
        }
        let honest = table.course(service, HONEST);
        let width = honest
            .width
            .map_or("unknown".to_owned(), |width| width.to_string());
        campaign::figure(
            &format!("likely, {wanted}/s, {}", service.name),
            format!("{cells}width {width}"),
        );
    }
    let honest = table.courses.iter().filter(|one| one.drift == HONEST);
    let (checks, off) = honest.fold((0, 0), |(checks, off), course| {
        (checks + course.checks, off + course.off)
    });
    campaign::figure(
        &format!("likely, {wanted}/s: checks of honest gauges, and those that were likely off"),
        format!("{checks}, {off}"),
    );
    campaign::figure(
        &format!("likely, {wanted}/s: openings a second"),
        format!("{:.0}", table.rate),
    );
}

fn all(services: &[Service], drifts: &[Drift]) -> Vec<Course> {
    let of_service = |service: &Service| {
        let service = *service;
        drifts.iter().map(move |drift| Course::new(service, *drift))
    };
    services.iter().flat_map(of_service).collect()
}

/// Every service with every drift at one rate.
async fn all_at(rate: f64) {
    let table = Table::of(rate, all(&SERVICES, &DRIFTS), TIME, |_| false).await;
    figures(&table, rate);
    table.check();
}

/// All three rates where it is run in full, one after the other; else two services at one of them, until
/// what is to be found is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_likely_holds_what_is_so_and_blames_nobody() {
    if !kernel_or_skip() {
        return;
    }
    tests::process::raise_descriptor_limit().expect("descriptors");
    let rates: &[f64] = &[5_000.0, 1_000.0, 100.0];
    for rate in &rates[..campaign::size(3, 0) as usize] {
        all_at(*rate).await;
    }
    if campaign::size(0, 1) == 0 {
        return;
    }
    let off = Drift::Of(20);
    let services = [PROMPT, CONSTANT];
    let is_found = |table: &Table| {
        let mut found = services
            .iter()
            .map(|service| table.course(*service, off).likely);
        found.all(|likely| likely.is_some())
    };
    let courses = all(&services, &[HONEST, off]);
    let table = Table::of(1_000.0, courses, 3 * BOUND, is_found).await;
    table.check();
    assert!(is_found(&table), "{:?}", table.courses);
}
