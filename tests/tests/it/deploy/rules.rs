//! The rules by themselves: promtool tests them, each runbook is there, each metric is ours.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use tests::prometheus::{Prometheus, is_here_or_skip};

use super::{catalogue, dashboard_queries, files_in, of_repository, read, rules, succeeds};

#[test]
fn promtool_passes_the_unit_tests_of_the_rules() {
    if !is_here_or_skip() {
        return;
    }
    for file in files_in("deploy/prometheus/tests") {
        let said = succeeds(
            Command::new("promtool")
                .args(["test", "rules"])
                .arg(of_repository(&file)),
        );
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn promtool_accepts_the_example_of_a_configuration() {
    if is_here_or_skip() {
        let file = of_repository("deploy/prometheus/prometheus.yml");
        let said = succeeds(Command::new("promtool").args(["check", "config"]).arg(file));
        assert!(said.contains("3 rule files found"), "{said}");
    }
}

#[tokio::test]
async fn each_alert_is_explained_tested_and_has_a_runbook() {
    let Some(rules) = loaded().await else {
        return;
    };
    let tests: String = files_in("deploy/prometheus/tests")
        .iter()
        .map(|file| read(file))
        .collect();
    let alerts: Vec<&Value> = rules
        .iter()
        .filter(|rule| rule["type"] == "alerting")
        .collect();
    assert_eq!(alerts.len(), 27);
    for alert in alerts {
        let name = alert["name"].as_str().expect("a name");
        let annotation = |key: &str| {
            let text = alert["annotations"][key].as_str();
            text.unwrap_or_else(|| panic!("{name} has no {key}"))
                .to_owned()
        };
        assert!(!annotation("summary").contains('\n'), "{name}");
        assert!(annotation("description").ends_with('.'), "{name}");
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["info", "warning", "critical"].contains(&severity),
            "{name}"
        );
        // Without one of the two an alert flaps; a loss has its window instead.
        let lasts = |key: &str| alert[key].as_f64().unwrap_or_default() > 0.0;
        let is_steady = lasts("duration") && lasts("keepFiringFor");
        assert_eq!(is_steady, name != "SocketsLost", "{name}: {alert}");

        let runbook = read(&annotation("runbook_url"));
        for heading in ["Meaning", "Impact", "Diagnosis", "Mitigation"] {
            let heading = format!("\n## {heading}\n");
            assert!(runbook.contains(&heading), "{name}: {heading}");
        }
        assert!(
            runbook.lines().next().expect("a title").contains(name),
            "{name}"
        );

        let silent = format!("alertname: {name}, exp_alerts: []}}");
        let fires = format!("alertname: {name}\n        exp_alerts:");
        assert!(tests.contains(&silent) && tests.contains(&fires), "{name}");
    }
}

#[test]
fn each_runbook_is_of_an_alert_and_its_links_resolve() {
    let rules = rules().concat();
    let link = Regex::new(r"\]\(([A-Za-z]+\.md)\)").expect("a pattern");
    for file in files_in("deploy/runbooks") {
        let url = format!("runbook_url: {file}\n");
        assert!(rules.contains(&url), "{file} is of no alert");
        for found in link.captures_iter(&read(&file)) {
            let target = format!("deploy/runbooks/{}", &found[1]);
            assert!(of_repository(&target).is_file(), "{file}: {target}");
        }
    }
}

#[tokio::test]
async fn each_metric_of_rules_and_dashboards_is_in_the_catalogue() {
    let Some(rules) = loaded().await else {
        return;
    };
    let mut known = catalogue();
    known.insert("up".to_owned());
    let mut queries = dashboard_queries();
    for rule in &rules {
        let name = rule["name"].as_str().expect("a name").to_owned();
        let query = rule["query"].as_str().expect("a query").to_owned();
        if rule["type"] == "recording" {
            known.insert(name.clone());
        }
        queries.push((name, query));
    }
    for (place, query) in queries {
        let names = metric_names(&query);
        assert!(!names.is_empty(), "{place}: {query}");
        for name in names {
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .unwrap_or(&name);
            assert!(
                known.contains(&name) || known.contains(family),
                "{place}: {name} is in no catalogue: {query}"
            );
        }
    }
}

#[test]
fn names_are_found_in_queries() {
    let names = |query: &str| metric_names(query).into_iter().collect::<Vec<_>>();
    assert_eq!(
        names(
            "sum by (job, le) (rate(a_bucket{x=~\"b|c\"}[5m])) > 0.5 and on (job) d:count or 0 * f"
        ),
        ["a_bucket", "d:count", "f"]
    );
    assert_eq!(
        names("a / ignoring (type) group_left (x) (b > 0)"),
        ["a", "b"]
    );
}

/// The rules as Prometheus has them.
async fn loaded() -> Option<Vec<Value>> {
    if !is_here_or_skip() {
        return None;
    }
    let prometheus = Prometheus::start(&rules(), &[]).await.expect("Prometheus");
    Some(prometheus.rules().await.expect("the rules"))
}

/// The metrics of a query: its identifiers, without functions, keywords and labels.
fn metric_names(query: &str) -> BTreeSet<String> {
    let remove = |text: &str, pattern: &str| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(text, " ").into_owned()
    };
    let text = remove(query, r#""[^"]*""#);
    let text = remove(&text, r"\{[^}]*\}|\[[^\]]*\]");
    let text = remove(
        &text,
        r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",
    );
    let text = remove(&text, r"\b[a-z_0-9]+\s*\(");
    let name = Regex::new(r"[A-Za-z_:][A-Za-z0-9_:]*").expect("a pattern");
    let keywords = ["and", "or", "unless", "bool", "sum", "min", "max", "count"];
    name.find_iter(&text)
        .map(|found| found.as_str().to_owned())
        .filter(|name| !keywords.contains(&name.as_str()))
        .collect()
}
