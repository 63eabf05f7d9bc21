//! One target in full: the sentence first, then what it stands on.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::{Row, ago, checks, measured, words};
use crate::api::{Connections, SuspectReport, SuspectsReport, TargetReport, rfc3339};

pub(super) fn render(row: &Row<'_>, now: SystemTime) -> Markup {
    let Row { target, report } = row;
    html! {
        article #target data-key=(report.name) data-verdict=(report.verdict)
            aria-labelledby="target-name" {
            header {
                h2 #target-name { (report.name) }
                (badge(&report.verdict))
                p #sentence { (sentence(report, now)) }
            }
            (figures(report, now))
            div .columns {
                div {
                    (chart(report))
                    (suspects(report))
                    (checks::render(&target.history()))
                }
                div {
                    (classes(report))
                    (measured::how(target, report))
                    (measured::unseen(target))
                }
            }
        }
    }
}

/// The sentence, its time as people read it.
pub(super) fn sentence(report: &TargetReport, now: SystemTime) -> Markup {
    let text = words::sentence(report);
    let since = report.since.as_deref();
    let parts = since.and_then(|at| Some((at, text.split_once(at)?)));
    match parts {
        Some((at, (before, after))) => html! { (before) (moment(at, now)) (after) },
        None => html! { (text) },
    }
}

fn moment(at: &str, now: SystemTime) -> Markup {
    html! { time datetime=(at) { (words::moment(at, &rfc3339(now))) " UTC" } }
}

/// A verdict: its sign, its word, and a colour besides.
pub(super) fn badge(verdict: &str) -> Markup {
    html! {
        span .badge data-verdict=(verdict) {
            span aria-hidden="true" { (words::sign(verdict)) } " " (verdict)
        }
    }
}

/// For how long something has been so.
pub(super) fn since(ago: Option<Duration>) -> Markup {
    html! { @if let Some(ago) = ago { (words::span(ago)) } }
}

fn figures(report: &TargetReport, now: SystemTime) -> Markup {
    let band = words::band(report.low, report.high);
    let unknown = || html! { span .unknown { "unknown" } };
    let at_least = report.drift != Some(0) && report.drift_low != report.drift_high;
    html! {
        dl .figures {
            div {
                dt { "The gauge says" }
                dd #figure-claim {
                    @if report.claim.is_some() { (words::claim(report)) } @else { (unknown()) }
                }
            }
            div {
                dt { "The kernel " @if report.low == report.high { "counts" } @else { "allows" } }
                dd #figure-kernel { (band.map_or_else(unknown, |band| html! { (band) })) }
            }
            div {
                dt { "Drift" @if at_least { ", at least" } }
                dd #figure-drift {
                    (words::drift(report.drift).map_or_else(unknown, |drift| html! { (drift) }))
                }
            }
            @if let Some(likely) = report.likely {
                div {
                    dt { "Likely drift" }
                    dd #figure-likely { (words::range(likely.low, likely.high)) }
                }
            }
            @if let Some(resolution) = report.resolution {
                div {
                    dt { "Would not show, up to" }
                    dd #figure-resolution { (words::count(resolution.cast_signed())) }
                }
            }
            @if let (Some(at), Some(ago)) = (&report.since, ago(report.since.as_ref(), now)) {
                div {
                    dt { "Since " (moment(at, now)) }
                    dd { (words::span(ago)) }
                }
            }
            div {
                dt { "Checks" }
                dd { (words::count(report.checks.cast_signed())) }
            }
        }
    }
}

/// Drawn by a script, of the API's history; the table of checks says the same in words.
fn chart(report: &TargetReport) -> Markup {
    html! {
        section .chart aria-labelledby="chart-title" {
            h3 #chart-title { "Claim against the kernel" }
            div #chart data-live="own" data-target=(report.name) tabindex="0" role="group"
                aria-roledescription="chart" aria-labelledby="chart-title"
                aria-describedby="chart-keys readout" hidden {}
            p #readout .readout data-live="own" hidden {}
            ul .legend {
                li .claim { "what the gauge says" }
                li .band { "what the kernel allows, fewest to most" }
                li .drift { "drift" }
                li .blind { "nothing to compare" }
            }
            p #chart-keys .unseen {
                "The arrow keys read one check after the other, Home and End the first and the last. "
                "The table of checks has the same in words."
            }
            noscript { p .note { "The chart needs scripts. The table of checks has the same." } }
        }
    }
}

fn classes(report: &TargetReport) -> Markup {
    let Some(connections) = report.connections else {
        return html! {
            section aria-labelledby="classes-title" {
                h3 #classes-title { "Connections in the kernel" }
                p .note { "The counts cannot be read." }
            }
        };
    };
    let Connections {
        websocket,
        http,
        unclassified,
        closing,
    } = connections;
    let classes = [
        ("websocket", websocket, "upgraded by a 101"),
        ("http", http, "HTTP answers only"),
        (
            "unclassified",
            Some(unclassified),
            "established, nothing more is known",
        ),
        (
            "closing",
            Some(closing),
            "no longer established, not closed",
        ),
    ];
    let open: u64 = classes.iter().filter_map(|(_, count, _)| *count).sum();
    let besides = [
        (
            "unaccepted",
            report.unaccepted,
            "of these, in the accept queue",
        ),
        ("held", report.held, "of these, the peer has gone"),
    ];
    html! {
        section aria-labelledby="classes-title" {
            h3 #classes-title { "Connections in the kernel" }
            table .classes {
                thead {
                    tr {
                        th scope="col" { "Class" }
                        th .number scope="col" { "Open" }
                        th .share scope="col" aria-hidden="true" {}
                        th scope="col" { "Meaning" }
                    }
                }
                tbody {
                    @for (class, count, meaning) in classes {
                        tr {
                            th scope="row" { (class) }
                            td .number { (known(count)) }
                            td .share aria-hidden="true" { (share(count.unwrap_or(0), open)) }
                            td { (meaning) }
                        }
                    }
                    tr .total {
                        th scope="row" { "open" }
                        td .number { (words::count(open.cast_signed())) }
                        td .share aria-hidden="true" {}
                        td { "all of them" }
                    }
                    @for (class, count, meaning) in besides {
                        tr {
                            th scope="row" { (class) }
                            td .number { (known(count)) }
                            td .share aria-hidden="true" {}
                            td { (meaning) }
                        }
                    }
                }
            }
        }
    }
}

fn known(count: Option<u64>) -> String {
    count.map_or_else(
        || "unknown".to_owned(),
        |count| words::count(count.cast_signed()),
    )
}

/// A bar. Its width is an attribute: the page has no style of its own inside.
fn share(count: u64, all: u64) -> Markup {
    let width = count as f64 / all.max(1) as f64 * 100.0;
    html! {
        svg viewBox="0 0 100 8" preserveAspectRatio="none" {
            rect width=(format!("{width:.1}")) height="8" {}
        }
    }
}

/// Which sockets it may be: by the service's own list, or else by what the kernel knows.
fn suspects(report: &TargetReport) -> Markup {
    let Some(SuspectsReport {
        from,
        total,
        failure,
        list,
    }) = &report.suspects
    else {
        return html! {};
    };
    html! {
        section aria-labelledby="suspects-title" {
            h3 #suspects-title { "Suspects" }
            @if let Some(failure) = failure {
                p .note { "The service's list of connections is of no use: " (failure) }
            }
            @if list.is_empty() {
                p .note {
                    @if *from == "connections" {
                        "None: the service lists what the kernel has."
                    } @else {
                        "None: no socket is out of the ordinary."
                    }
                }
            } @else {
                table .suspects {
                    thead {
                        tr {
                            th scope="col" { "Peer" }
                            th scope="col" { "Suspected" }
                            th .wide scope="col" { "Class" }
                            th .wide scope="col" { "State" }
                            th .number scope="col" { "Age" }
                            th .number scope="col" { "Silent" }
                        }
                    }
                    tbody { @for suspect in list { (self::suspect(suspect)) } }
                }
                @if *total > list.len() {
                    p .note { "These are the first " (list.len()) " of " (total) "." }
                }
            }
        }
    }
}

fn suspect(suspect: &SuspectReport) -> Markup {
    let SuspectReport {
        kind,
        peer,
        class,
        state,
        age_seconds,
        silence_seconds,
    } = suspect;
    let meaning = match &**kind {
        "phantom" => "listed, and not in the kernel",
        "uncounted" => "in the kernel, and not listed",
        "held" => "the peer has gone",
        "unaccepted" => "nobody has accepted it",
        "unanswered" => "the service has sent nothing",
        _ => "nothing came for long",
    };
    let span = |seconds: &Option<f64>| seconds.map(words::seconds).unwrap_or_default();
    html! {
        tr data-key={ (kind) " " (peer) } {
            th scope="row" { code { (peer) } }
            td { (kind) span .wide { ": " (meaning) } }
            td .wide { (class.as_deref().unwrap_or_default()) }
            td .wide { (state.as_deref().unwrap_or_default()) }
            td .number { (span(age_seconds)) }
            td .number { (span(silence_seconds)) }
        }
    }
}
