//! `GET /`: the status page, for people. All of it is rendered here and can be read without scripts.
//!
//! It is the overview, worst first, and one target in full: `?target=NAME`, or else the worst. Scripts
//! only draw the chart and carry over what has changed when the page is rendered anew; they know
//! nothing of verdicts. Everything that comes from a configuration or a service is escaped by `maud`.

mod checks;
mod detail;
mod measured;
mod overview;
mod sparkline;
mod words;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use hyper::body::Bytes;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{ENDPOINTS, assets, stream::Streams};
use crate::{
    api::{TargetReport, rfc3339},
    watch::{Watch, target::Target},
};

/// What is asked of the page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The target that is shown in full.
    target: Option<String>,
}

/// A target as the page knows it.
struct Row<'a> {
    target: &'a Target,
    report: TargetReport,
}

/// The pages of the last change: whoever has one open asks for it again at each change, and all get
/// the same.
#[derive(Default)]
pub(super) struct Pages(Mutex<Rendered>);

/// By the target that is shown in full.
#[derive(Default)]
struct Rendered {
    version: u64,
    pages: HashMap<Option<String>, Bytes>,
}

/// The page, as of the last change; as of now where nobody listens for changes.
pub(super) async fn status(
    State(watch): State<Arc<Watch>>,
    State(streams): State<Streams>,
    State(pages): State<Arc<Pages>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked.target,
        Err(rejection) => return (StatusCode::BAD_REQUEST, rejection.body_text()).into_response(),
    };
    let Some(version) = streams.version() else {
        return render_now(&watch, asked.as_deref()).into_response();
    };
    // Others that want the same page wait for it meanwhile.
    let mut rendered = pages.0.lock().await;
    if rendered.version != version {
        *rendered = Rendered {
            version,
            pages: HashMap::new(),
        };
    }
    if let Some(page) = rendered.pages.get(&asked) {
        return Html(page.clone()).into_response();
    }
    let (status, Html(page)) = render_now(&watch, asked.as_deref());
    // There are as many pages as targets, and any number of names that are none.
    if status == StatusCode::OK {
        rendered.pages.insert(asked, page.clone());
    }
    (status, Html(page)).into_response()
}

fn render_now(watch: &Watch, asked: Option<&str>) -> (StatusCode, Html<Bytes>) {
    let targets = watch.targets();
    let mut rows: Vec<Row<'_>> = targets
        .iter()
        .map(|target| Row {
            report: TargetReport::of(target),
            target,
        })
        .collect();
    rows.sort_by_key(|row| words::rank(&row.report));
    let shown = match asked {
        Some(name) => rows.iter().find(|row| row.report.name == name),
        None => rows.first(),
    };
    let status = match (asked, shown) {
        (Some(_), None) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let page = render(&rows, shown, SystemTime::now());
    (status, Html(page.into_string().into()))
}

fn render(rows: &[Row<'_>], shown: Option<&Row<'_>>, now: SystemTime) -> Markup {
    let headline = words::headline(rows.iter().map(|row| &row.report));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (headline) " · observer" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/uplot.css";
                link rel="stylesheet" href="/assets/page.css";
                script src="/assets/uplot.js" defer {}
                script src="/assets/chart.js" defer {}
                script src="/assets/page.js" defer {}
            }
            body data-assets=(assets::version()) {
                a .skip href="#main" { "Skip to the verdict" }
                (header(now))
                main #main tabindex="-1" {
                    h1 { (headline) }
                    @if rows.len() > 1 {
                        (overview::render(rows, shown, now))
                    }
                    @match shown {
                        Some(row) => (detail::render(row, now)),
                        None => p { "There is no such target. Choose one of the list." },
                    }
                }
                (footer())
            }
        }
    }
}

fn header(now: SystemTime) -> Markup {
    let at = rfc3339(now);
    html! {
        header .top {
            p .brand { a href="/" { "Plumbline " span { "observer" } } }
            p #connection {
                span .state { "snapshot" }
                " as of " time datetime=(at) { (words::clock(&at)) " UTC" }
            }
            p #announcement .unseen role="status" {}
        }
    }
}

fn footer() -> Markup {
    html! {
        footer {
            nav aria-label="Other endpoints" {
                ul {
                    @for (path, what) in ENDPOINTS.iter().filter(|(path, _)| *path != "/") {
                        li {
                            @if path.contains('{') {
                                code { (path) }
                            } @else {
                                a href=(path) { code { (path) } }
                            }
                            " " (what)
                        }
                    }
                }
            }
            p {
                "observer " (env!("CARGO_PKG_VERSION")) ". All times are UTC. Chart: "
                a href="/assets/uplot-license.txt" { "uPlot 1.6.32, MIT" } "."
            }
        }
    }
}

/// How long ago something was, where it was.
fn ago(text: Option<&String>, now: SystemTime) -> Option<Duration> {
    let then = humantime::parse_rfc3339(text?).ok()?;
    now.duration_since(then).ok()
}
