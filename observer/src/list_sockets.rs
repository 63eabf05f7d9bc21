//! `observer sockets`: asks the observer that runs, or lists what `sock_diag` alone sees.

use std::fmt::Write as _;

use anyhow::Context as _;
use observer::{
    api::{Client, SocketList},
    args::Output,
    config::{Config, Target},
    printable::printable,
    sockets::{self, Query},
    watch::endpoints::Endpoints,
};

use crate::run;

/// Lists the sockets of every target.
///
/// # Errors
/// When neither an observer nor the kernel can be asked.
pub(crate) fn list(config: &Config, query: Query, output: Output) -> anyhow::Result<String> {
    let lists = run::block_on(lists(config, query))?;
    let mut text = String::new();
    if output == Output::Table {
        for (name, list) in &lists {
            write_table(&mut text, name, list);
        }
    } else {
        let lists: serde_json::Map<_, _> = lists
            .into_iter()
            .map(|(name, list)| Ok((name, serde_json::to_value(list)?)))
            .collect::<serde_json::Result<_>>()
            .context("write JSON")?;
        text = serde_json::to_string_pretty(&lists).context("write JSON")? + "\n";
    }
    Ok(text)
}

/// The sockets of every target, by its name.
async fn lists(config: &Config, query: Query) -> anyhow::Result<Vec<(String, SocketList)>> {
    let mut lists = Vec::new();
    for target in &config.targets {
        let list = match ask(config, target, query).await? {
            Some(list) => list,
            None => {
                let address = config.web.listen_address;
                tracing::warn!(
                    "no observer answers on {address}: class and age of sockets are unknown"
                );
                look(target, query)?
            }
        };
        lists.push((target.name.clone(), list));
    }
    Ok(lists)
}

/// None if no observer is there.
async fn ask(config: &Config, target: &Target, query: Query) -> anyhow::Result<Option<SocketList>> {
    match Client::new(&config.web.url())?
        .sockets(&target.name, query)
        .await
    {
        Ok(list) => Ok(Some(list)),
        Err(error) if error.is_nobody_there() => Ok(None),
        Err(error) => Err(error).context("ask the observer"),
    }
}

fn look(target: &Target, query: Query) -> anyhow::Result<SocketList> {
    let endpoints = Endpoints::open(target)?;
    Ok(sockets::list(&endpoints, query)?)
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
            printable(&socket.peer),
            printable(&socket.class),
            printable(&socket.state),
            sockets::readable(socket.age_seconds),
            sockets::readable(socket.silence_seconds),
            number(socket.bytes_received),
            number(socket.bytes_acked),
        );
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}
