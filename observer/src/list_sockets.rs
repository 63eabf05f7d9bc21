//! `observer sockets`: asks the observer that runs, or lists what `sock_diag` alone sees.

use std::{fmt::Write as _, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum as _;
use observer::{
    api::SocketList,
    args::Output,
    claim::{Access, FetchError, Fetcher, Limits},
    config::{Config, Target},
    sockets::{self, Query},
    watch::endpoint::Endpoint,
};
use url::Url;

use crate::run;

/// For an observer with a large target.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lists the sockets of every target.
///
/// # Errors
/// When neither an observer nor the kernel can be asked.
pub(crate) fn list(config: &Config, query: Query, output: Output) -> anyhow::Result<String> {
    let runtime = run::runtime()?;
    let mut text = String::new();
    let mut lists = Vec::new();
    for target in &config.targets {
        let list = match runtime.block_on(ask(config, target, query))? {
            Some(list) => list,
            None => {
                let address = config.web.listen_address;
                tracing::warn!(
                    "no observer answers on {address}: class and age of sockets are unknown"
                );
                look(target, query)?
            }
        };
        if output == Output::Table {
            write_table(&mut text, &target.name, &list);
        }
        lists.push((target.name.clone(), list));
    }
    if output == Output::Json {
        let lists: serde_json::Map<_, _> = lists
            .into_iter()
            .map(|(name, list)| Ok((name, serde_json::to_value(list)?)))
            .collect::<serde_json::Result<_>>()
            .context("write JSON")?;
        text = serde_json::to_string_pretty(&lists).context("write JSON")? + "\n";
    }
    Ok(text)
}

/// None if no observer is there.
async fn ask(config: &Config, target: &Target, query: Query) -> anyhow::Result<Option<SocketList>> {
    let mut url = Url::parse(&format!("http://{}", config.web.listen_address))
        .context("make the observer's URL")?;
    url.set_path(&format!("/api/v1/targets/{}/sockets", target.name));
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_owned())
    };
    let pairs = [
        (
            "class",
            query
                .class
                .and_then(|class| name(class.to_possible_value())),
        ),
        (
            "sort",
            query.sort.and_then(|sort| name(sort.to_possible_value())),
        ),
        ("limit", query.limit.map(|limit| limit.to_string())),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(key, &value);
        }
    }
    let limits = Limits {
        deadline: PATIENCE,
        ..Limits::default()
    };
    let mut fetcher = Fetcher::new(&url, &Access::default(), limits)?;
    match fetcher.fetch().await {
        Ok(scrape) => serde_json::from_slice(&scrape.body)
            .context("read the observer's answer")
            .map(Some),
        Err(FetchError::Connect(_)) => Ok(None),
        Err(error) => Err(error).context("ask the observer"),
    }
}

fn look(target: &Target, query: Query) -> anyhow::Result<SocketList> {
    let endpoint = Endpoint::of(target)?;
    Ok(sockets::list(&endpoint, query)?)
}

fn write_table(text: &mut String, name: &str, list: &SocketList) {
    let SocketList {
        total,
        matching,
        sockets,
    } = list;
    let _ = writeln!(
        text,
        "{name}: {total} open, {matching} asked for, {} listed",
        sockets.len()
    );
    let _ = writeln!(
        text,
        "{:<24} {:<12} {:<11} {:>9} {:>9} {:<8} {:>12} {:>12}",
        "PEER", "CLASS", "STATE", "AGE", "SILENT", "ACCEPTED", "RECEIVED", "ACKED"
    );
    for socket in sockets {
        let accepted = if socket.is_accepted { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "{:<24} {:<12} {:<11} {:>9} {:>9} {accepted:<8} {:>12} {:>12}",
            socket.peer,
            socket.class,
            socket.state,
            seconds(socket.age_seconds),
            seconds(socket.silence_seconds),
            number(socket.bytes_received),
            number(socket.bytes_acked),
        );
    }
}

/// A time as people read it; `-` where it is unknown.
fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.1}s"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.1}m", seconds / 60.0),
        Some(seconds) => format!("{:.1}h", seconds / 3_600.0),
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}
