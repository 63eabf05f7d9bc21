//! How a target is measured, and what cannot be seen of it.

use maud::{Markup, html};

use super::words;
use crate::{
    api::{CountsReport, Reasoning, TargetReport},
    config::Counts,
    watch::target::Target,
};

/// What was compared with what, over which window, and by which rule.
pub(super) fn how(target: &Target, report: &TargetReport) -> Markup {
    let config = &target.config;
    let kernel = match &*report.backend {
        "ebpf" => "BPF programs count each socket's life; sock_diag is the second witness",
        _ => "sock_diag lists the sockets, four times a second",
    };
    html! {
        section aria-labelledby="how-title" {
            h3 #how-title { "How it was measured" }
            dl .facts {
                dt { "The claim" }
                dd {
                    code { (config.claim) } " at "
                    @if let Some(command) = &config.claim_command {
                        code { (command.program) }
                    }
                    @for (index, url) in config.gauge_url.iter().enumerate() {
                        @if index > 0 { ", " }
                        code { (url) }
                    }
                    ", every " (humantime::format_duration(config.interval))
                }
                dt { "Is taken to count" }
                dd { (counted(config.counts)) " " (direction(config.counts)) " " code { (report.listen) } }
                dt { "The kernel" }
                dd { (kernel) }
                @match report.witness_disagreement {
                    Some(0) => { dt { "Witnesses" } dd { "agree" } }
                    Some(sockets) => { dt { "Witnesses" } dd { "differ by " (sockets) " sockets" } }
                    None => {}
                }
                @if let Some(likely) = report.likely {
                    dt { "Likely drift" }
                    dd { (likely) }
                }
                @if let Some(lag) = report.lag {
                    dt { "Lag, as learnt" }
                    dd { (lag) }
                }
                @if let Some(settle) = report.settle_seconds {
                    dt { "Settle" }
                    dd { (words::seconds(settle)) }
                }
                @if let Some(failure) = &report.failure {
                    dt { "Last scrape" }
                    dd { (failure) }
                }
                @if let Some(reasoning) = &report.reasoning { (reasoned(reasoning)) }
            }
            @if let Some(reasoning) = &report.reasoning { (window(reasoning)) }
        }
    }
}

const fn counted(counts: Counts) -> &'static str {
    match counts {
        Counts::Websocket => "WebSockets",
        Counts::Established => "established TCP connections",
        Counts::Accepted => "accepted TCP connections",
        Counts::Outgoing => "outgoing TCP connections",
    }
}

const fn direction(counts: Counts) -> &'static str {
    match counts {
        Counts::Websocket | Counts::Established | Counts::Accepted => "on",
        Counts::Outgoing => "to",
    }
}

fn reasoned(reasoning: &Reasoning) -> Markup {
    let window = reasoning.begins.as_deref().zip(reasoning.ends.as_deref());
    let own = words::band(reasoning.own_low, reasoning.own_high);
    let together = words::band(reasoning.together_low, reasoning.together_high);
    html! {
        @if let Some((begins, ends)) = window {
            dt { "Window" }
            dd {
                time datetime=(begins) { (precise(begins)) } " to "
                time datetime=(ends) { (precise(ends)) }
            }
        }
        @if let Some(own) = own { dt { "Drift, this check" } dd { (own) } }
        @if let Some(together) = together { dt { "Drift, recent checks" } dd { (together) } }
        dt { "Shown by" }
        dd {
            (reasoning.shown) " checks; " (reasoning.confirm) " make a verdict"
        }
        dt { "Rule" }
        dd { (reasoning.because) }
    }
}

/// The kernel's counts at both ends of the window, from which the bounds come.
fn window(reasoning: &Reasoning) -> Markup {
    let (Some(before), Some(after)) = (reasoning.before, reasoning.after) else {
        return html! {};
    };
    html! {
        table .window {
            caption { "The kernel's counts at both ends of the window" }
            thead {
                tr {
                    th scope="col" { "Count" }
                    th .number scope="col" { "Before" }
                    th .number scope="col" { "After" }
                    th .number scope="col" { "In it" }
                }
            }
            tbody {
                @for ((name, before), (_, after)) in counts(before).into_iter().zip(counts(after)) {
                    @if before > 0 || after > 0 {
                        tr {
                            th scope="row" { (name) }
                            td .number { (before) }
                            td .number { (after) }
                            td .number { (after.wrapping_sub(before).cast_signed()) }
                        }
                    }
                }
            }
        }
    }
}

fn counts(counts: CountsReport) -> [(&'static str, u64); 9] {
    let CountsReport {
        opened,
        ended,
        closed,
        doubtful_entered,
        doubtful_left,
        lost_entered,
        lost_left,
        waiting,
        orphans,
    } = counts;
    [
        ("opened", opened),
        ("ended", ended),
        ("closed", closed),
        ("became doubtful", doubtful_entered),
        ("no longer doubtful", doubtful_left),
        ("became lost", lost_entered),
        ("no longer lost", lost_left),
        ("waiting", waiting),
        ("orphans", orphans),
    ]
}

fn precise(at: &str) -> &str {
    at.get(11..23).unwrap_or(at)
}

/// What no verdict on this target can take in.
pub(super) fn unseen(target: &Target) -> Markup {
    let kernel = target.kernel();
    html! {
        section aria-labelledby="unseen-title" {
            h3 #unseen-title { "What cannot be seen" }
            ul .unseen-list {
                @if !target.endpoints.has_programs() {
                    li {
                        "No BPF programs here: the sockets are listed four times a second, and what "
                        "opens and closes in between is not counted."
                    }
                }
                @if let Some(why) = kernel.blind_to_websockets() {
                    li { "Which connections are WebSockets: " (why) "." }
                } @else {
                    li { "Upgrades inside TLS that the service itself ends: such connections stay unclassified." }
                    li { "WebSockets over HTTP/2 or HTTP/3: no 101 is sent." }
                }
                li { "A peer that vanished without a word: kernel and service both hold the connection to be open." }
                li { "Multipath TCP: each subflow counts as a connection." }
            }
        }
    }
}
