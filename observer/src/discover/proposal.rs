//! What was found, as rows for programs and as a configuration file to paste: what is no target of it
//! is a comment.
//!
//! Text of others is escaped: a page may say anything.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Discovery,
    compare::{Finding, Fit, chosen, compare},
    places::{Owner, Place},
};
use crate::{
    config::{Counts, Netns, TcpAddress},
    printable::printable,
};

/// Most rows of the table.
const MAX_ROWS: usize = 40;

/// A claim beside what the kernel counts.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The listeners that it fits best.
    pub listen: Vec<String>,
    /// Whose they are.
    pub owner: Option<Owner>,
    /// The page.
    pub gauge_url: String,
    /// The setting that says what of the page.
    pub key: &'static str,
    /// Its value.
    pub claim: String,
    /// The recipe that knows the gauge.
    pub recipe: Option<&'static str>,
    /// What the page says.
    pub value: f64,
    /// Fewest connections that were open there meanwhile.
    pub low: u64,
    /// Most.
    pub high: u64,
    /// How they compare.
    pub fit: Fit,
    /// Whether the name of the gauge says that it counts connections.
    pub is_named: bool,
    /// Whether a target is proposed of it.
    pub is_proposed: bool,
}

impl Discovery {
    /// Everything that was compared, the best first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let findings = compare(&self.looks, &self.places);
        let chosen = chosen(&findings);
        let row = |finding: &Finding<'_>| Row {
            listen: finding.listen.iter().map(TcpAddress::to_string).collect(),
            owner: finding.owner.cloned(),
            gauge_url: finding.look.url.to_string(),
            key: finding.candidate.key,
            claim: finding.candidate.claim.clone(),
            recipe: finding.candidate.recipe.map(|recipe| &*recipe.name),
            value: finding.candidate.value,
            low: finding.low,
            high: finding.high,
            fit: finding.fit,
            is_named: finding.candidate.is_named,
            is_proposed: chosen.iter().any(|one| std::ptr::eq(*one, finding)),
        };
        findings.iter().map(row).collect()
    }

    /// A configuration file: what was found as comments, and a target for each gauge that agrees.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        self.write_places(&mut text);
        let rows = self.rows();
        write_rows(&mut text, &rows);
        let proposed: Vec<_> = rows.iter().filter(|row| row.is_proposed).collect();
        if proposed.is_empty() {
            text.push_str(
                "#\n# No series that looks like a gauge of connections agrees with those that are open, so \
                 there is no\n# target to propose. Open some and ask again; or name the series: observer \
                 check --help\n# and observer recipes have examples.\n",
            );
        }
        for row in proposed {
            text.push('\n');
            self.write_target(&mut text, row);
        }
        text
    }

    fn write_places(&self, text: &mut String) {
        let _ = writeln!(text, "# {:<32} PROCESS", "LISTENS");
        for Place { listen, owner } in &self.places {
            let listen = joined(listen.iter().map(TcpAddress::to_string));
            let _ = writeln!(text, "# {listen:<32} {}", process(owner.as_ref()));
        }
        let _ = writeln!(
            text,
            "#\n# Addresses that were asked whether they have a page: {}. Pages that were read: {}.",
            self.asked,
            self.looks.len()
        );
        if self.left_out > 0 {
            let _ = writeln!(
                text,
                "# {} more were not asked: name a page by --page.",
                self.left_out
            );
        }
    }

    fn write_target(&self, text: &mut String, row: &Row) {
        let _ = writeln!(text, "# {}", process(row.owner.as_ref()));
        let recipe = row.recipe.and_then(|name| crate::recipes::find(name).ok());
        if let Some(recipe) = recipe {
            let _ = writeln!(
                text,
                "# It counts {}: observer recipes {}",
                recipe.counts, recipe.name
            );
        }
        if !row.is_named {
            text.push_str(
                "# The name does not say that it counts connections: the same number may be chance.\n",
            );
        }
        let target = recipe.map(|recipe| recipe.read());
        let counts = match target.map(|target| target.counts) {
            Some(Counts::Accepted) => "accepted",
            _ => "established",
        };
        let first = row.listen.first().map(String::as_str).unwrap_or_default();
        let port = first.rsplit(':').next().unwrap_or_default();
        let name = row.recipe.unwrap_or("port");
        let _ = writeln!(text, "[[target]]\nname = \"{name}-{port}\"");
        let listen = row.listen.iter().map(|listen| quoted(listen));
        let _ = writeln!(text, "listen = [{}]", joined(listen));
        if self.netns != Netns::SelfNs {
            let _ = writeln!(text, "netns = {}", quoted(&self.netns.to_string()));
            // That is where it was found.
            let _ = writeln!(text, "gauge-netns = \"self\"");
        }
        let _ = writeln!(text, "gauge-url = {}", quoted(&row.gauge_url));
        let _ = writeln!(text, "{} = {}", row.key, quoted(&row.claim));
        let _ = writeln!(text, "counts = \"{counts}\"");
        // A gauge that is late is late here too.
        let settle = recipe.and_then(|recipe| {
            let mut lines = recipe.target.lines();
            lines.find(|line| line.starts_with("settle = "))
        });
        text.extend(settle.map(|line| format!("{line}\n")));
        if target.is_none_or(|target| target.counts == Counts::Websocket) {
            text.push_str("# If it counts WebSockets only: counts = \"websocket\"\n");
        }
    }
}

fn write_rows(text: &mut String, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "#\n# {:<9} {:>8} {:>9} {:<24} GAUGE, PAGE",
        "FIT", "SAYS", "KERNEL", "LISTENS"
    );
    for row in rows.iter().take(MAX_ROWS) {
        let fit = match row.fit {
            Fit::Agrees => "agrees",
            Fit::Possible => "possible",
            Fit::Differs => "differs",
        };
        let kernel = match row.low == row.high {
            true => row.low.to_string(),
            false => format!("{} to {}", row.low, row.high),
        };
        let listen = joined(row.listen.iter().cloned());
        let claim = printable(&row.claim);
        let (value, url) = (row.value, printable(&row.gauge_url));
        let _ = writeln!(
            text,
            "# {fit:<9} {value:>8} {kernel:>9} {listen:<24} {claim}, {url}"
        );
    }
    if rows.len() > MAX_ROWS {
        let _ = writeln!(
            text,
            "# and {} more: --output json has all",
            rows.len() - MAX_ROWS
        );
    }
}

/// A string of TOML, with what is not printable escaped.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn process(owner: Option<&Owner>) -> String {
    match owner {
        Some(Owner { pid, name }) => format!("{} (process {pid})", printable(name)),
        None => "a process that may not be seen".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::{
        config::{Config, Settings},
        discover::{Candidate, Look},
        recipes,
    };

    #[test]
    fn a_name_that_says_nothing_is_said_to() {
        let word = "may be chance";
        let text = discovery("x", vec![candidate("g", None)]).to_toml();
        assert!(text.contains(word), "{text}");
        let text = discovery("x", vec![candidate("g", Some("nginx"))]).to_toml();
        assert!(!text.contains(word), "{text}");
    }

    /// Three connections at port 80, and what its page claims of them.
    fn discovery(name: &str, candidates: Vec<Candidate>) -> Discovery {
        let owner = Some(Owner {
            pid: 7,
            name: name.to_owned(),
        });
        let listen = vec![TcpAddress {
            address: None,
            port: 80,
        }];
        let open = vec![SocketAddr::from(([127, 0, 0, 1], 80)); 3];
        Discovery {
            netns: Netns::SelfNs,
            places: vec![Place {
                listen,
                owner: owner.clone(),
            }],
            asked: 1,
            left_out: 0,
            looks: vec![Look {
                url: "http://127.0.0.1:9/metrics?x='\"%1b".parse().unwrap(),
                address: None,
                owner,
                candidates,
                before: open.clone(),
                after: open,
            }],
        }
    }

    fn candidate(claim: &str, recipe: Option<&str>) -> Candidate {
        Candidate {
            key: "claim",
            claim: claim.to_owned(),
            value: 3.0,
            recipe: recipe.map(|name| recipes::find(name).unwrap()),
            is_named: recipe.is_some(),
        }
    }

    fn config(text: &str) -> Config {
        let settings = Settings::from_toml("found", text).unwrap();
        settings.into_config(&|_| Ok(Vec::new())).unwrap()
    }

    #[test]
    fn what_is_printed_is_a_configuration() {
        for claim in ["g", "g{x=\"'''\\\\ \\\"\"}", "a - b - 1"] {
            for recipe in [None, Some("nginx"), Some("websocket")] {
                let text = discovery("nginx", vec![candidate(claim, recipe)]).to_toml();
                let config = config(&text);
                assert_eq!(config.targets[0].claim.to_string(), claim, "{text}");
                assert_eq!(config.targets[0].listen.to_string(), ":80");
            }
        }
    }

    #[test]
    fn a_process_with_an_evil_name_stays_in_its_comment() {
        let name = "x\n[web]\u{1b}[2J";
        let text = discovery(name, vec![candidate("g", None)]).to_toml();
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("[web]")),
            "{text}"
        );
        assert_eq!(config(&text).targets.len(), 1);
    }

    #[test]
    fn without_a_gauge_that_agrees_it_says_what_to_do() {
        let bound = candidate("caddy_http_requests_in_flight", Some("caddy"));
        let text = discovery("caddy", vec![bound]).to_toml();
        assert!(text.contains("Open some and ask again"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }
}
