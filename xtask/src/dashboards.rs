//! `cargo xtask dashboards`: the Grafana dashboards, from a short description of each panel.
//!
//! It knows Grafana's JSON; what is shown stands in `panels`. A test holds the committed files
//! against it. It starts no Grafana: that each query returns data is shown by the integration tests,
//! on a Prometheus.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::workspace;

mod panels;

/// Grafana's grid is 24 wide.
const WIDTH: u32 = 24;

/// The schema of Grafana 9.3; later ones read it and convert it.
const SCHEMA_VERSION: u32 = 37;

/// One dashboard.
struct Dashboard {
    /// The file's name without its extension, and the dashboard's id.
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// The metric whose labels fill the variables.
    found_by: &'static str,
    /// Whether there is a variable `target`.
    has_targets: bool,
    sections: &'static [Section],
}

/// Panels under a heading.
struct Section {
    title: &'static str,
    panels: &'static [Panel],
}

/// One panel.
struct Panel {
    kind: Kind,
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    queries: &'static [Query],
}

/// How a panel looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lines over time.
    Lines,
    /// Lines, each filled down to the one before: a band.
    Band,
    /// The last values, in large.
    Stat,
    /// States over time.
    States,
    /// A row for each target, with a column for each query.
    Table,
}

/// A query: `{S}` becomes the selector by job and instance, `{T}` that with the target, `{J}` that by job
/// and target.
struct Query {
    expression: &'static str,
    legend: &'static str,
}

/// Writes the dashboards.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn dashboards() -> Result<()> {
    for (path, text) in rendered() {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("dashboards: {}", path.display());
    }
    Ok(())
}

fn rendered() -> impl Iterator<Item = (PathBuf, String)> {
    panels::DASHBOARDS.iter().map(|dashboard| {
        let path = format!("deploy/grafana/{}.json", dashboard.name);
        let text = format!("{:#}\n", dashboard.render());
        (workspace::root().join(path), text)
    })
}

impl Dashboard {
    fn render(&self) -> Value {
        let mut panels = Vec::new();
        let mut y = 0;
        for section in self.sections {
            let id = panels.len() + 1;
            panels.push(json!({
                "id": id, "type": "row", "title": section.title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            }));
            y += 1;
            let mut x = 0;
            let mut height = 0;
            for panel in section.panels {
                let (w, h) = panel.kind.size();
                if x + w > WIDTH {
                    (x, y) = (0, y + height);
                }
                let place = json!({"x": x, "y": y, "w": w, "h": h});
                panels.push(panel.render(panels.len() + 1, &place));
                (x, height) = (x + w, h);
            }
            y += height;
        }
        json!({
            "uid": format!("plumbline-{}", self.name),
            "title": self.title,
            "description": self.description,
            "tags": ["plumbline"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": false,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [{
                "type": "dashboards", "tags": ["plumbline"], "title": "Plumbline", "asDropdown": true,
                "includeVars": false, "keepTime": true,
            }],
            "templating": {"list": self.variables()},
            "panels": panels,
        })
    }

    fn variables(&self) -> Vec<Value> {
        let metric = self.found_by;
        let mut variables = vec![
            json!({"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}),
            variable("job", "Job", &format!("label_values({metric}, job)")),
            variable(
                "instance",
                "Instance",
                &format!("label_values({metric}{{job=~\"$job\"}}, instance)"),
            ),
        ];
        if self.has_targets {
            let query =
                format!("label_values({metric}{{job=~\"$job\", instance=~\"$instance\"}}, target)");
            variables.push(variable("target", "Target", &query));
        }
        variables
    }
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "query": {"query": query, "refId": name}, "definition": query,
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    })
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Kind {
    const fn size(self) -> (u32, u32) {
        match self {
            Self::Lines | Self::Band | Self::States => (12, 8),
            Self::Stat => (6, 5),
            Self::Table => (WIDTH, 8),
        }
    }

    const fn type_name(self) -> &'static str {
        match self {
            Self::Lines | Self::Band => "timeseries",
            Self::Stat => "stat",
            Self::States => "state-timeline",
            Self::Table => "table",
        }
    }
}

impl Panel {
    fn render(&self, id: usize, place: &Value) -> Value {
        let is_table = self.kind == Kind::Table;
        let is_instant = is_table || self.kind == Kind::Stat;
        let format = if is_table { "table" } else { "time_series" };
        let targets: Vec<Value> = ('A'..)
            .zip(self.queries)
            .map(|(reference, query)| {
                json!({
                    "refId": reference.to_string(), "datasource": datasource(),
                    "expr": query.expand(), "legendFormat": query.legend,
                    "instant": is_instant, "range": !is_instant, "format": format,
                })
            })
            .collect();
        json!({
            "id": id, "type": self.kind.type_name(), "title": self.title,
            "description": self.description, "datasource": datasource(), "gridPos": place,
            "fieldConfig": {
                "defaults": {"unit": self.unit, "custom": self.style()},
                "overrides": self.overrides(),
            },
            "options": self.options(),
            "transformations": self.transformations(),
            "targets": targets,
        })
    }

    fn style(&self) -> Value {
        match self.kind {
            Kind::Lines | Kind::Band => {
                json!({"lineWidth": 1, "fillOpacity": 0, "showPoints": "never"})
            }
            Kind::States => json!({"lineWidth": 0, "fillOpacity": 80}),
            Kind::Stat | Kind::Table => json!({}),
        }
    }

    /// The second line of a band is filled down to the first.
    fn overrides(&self) -> Vec<Value> {
        if self.kind != Kind::Band {
            return Vec::new();
        }
        vec![json!({
            "matcher": {"id": "byFrameRefID", "options": "B"},
            "properties": [
                {"id": "custom.fillBelowTo", "value": self.queries[0].legend},
                {"id": "custom.fillOpacity", "value": 20},
            ],
        })]
    }

    /// The answers of a table's queries become its columns.
    fn transformations(&self) -> Vec<Value> {
        if self.kind != Kind::Table {
            return Vec::new();
        }
        let columns = ('A'..).zip(self.queries);
        let names: serde_json::Map<_, _> = columns
            .map(|(reference, query)| (format!("Value #{reference}"), query.legend.into()))
            .collect();
        vec![
            json!({"id": "merge", "options": {}}),
            json!({"id": "organize", "options": {
                "excludeByName": {"Time": true}, "renameByName": names,
            }}),
        ]
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Lines | Kind::Band => json!({
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Kind::Stat => json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "values": false},
                "colorMode": "none", "graphMode": "none", "textMode": "value_and_name",
            }),
            Kind::Table => json!({"showHeader": true}),
            Kind::States => json!({
                "mergeValues": true, "showValue": "never", "rowHeight": 0.9,
                "legend": {"displayMode": "list", "placement": "bottom"},
            }),
        }
    }
}

impl Query {
    fn expand(&self) -> String {
        let place = "job=~\"$job\", instance=~\"$instance\"";
        self.expression
            .replace("{J", "{job=~\"$job\", target=~\"$target\"")
            .replace("{S", &format!("{{{place}"))
            .replace("{T", &format!("{{{place}, target=~\"$target\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_dashboards_are_these() {
        for (path, text) in rendered() {
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == text,
                "{} is not what the code says: cargo xtask dashboards",
                path.display()
            );
        }
    }

    #[test]
    fn every_panel_is_explained_and_has_a_unit_and_a_legend() {
        for dashboard in panels::DASHBOARDS {
            for panel in dashboard.sections.iter().flat_map(|section| section.panels) {
                let title = panel.title;
                assert!(panel.description.ends_with('.'), "{title}");
                assert!(!panel.unit.is_empty(), "{title}");
                assert!(!panel.queries.is_empty(), "{title}");
                for query in panel.queries {
                    assert!(!query.legend.is_empty(), "{title}");
                    let mut selectors = ["{S", "{T", "{J"].iter();
                    let is_selected = selectors.any(|one| query.expression.contains(one));
                    assert!(is_selected, "{title}: {}", query.expression);
                    let is_rate = query.expression.contains("rate(");
                    assert_eq!(
                        is_rate,
                        query.expression.contains("[$__rate_interval]"),
                        "{title}"
                    );
                    let has_targets = query.expression.contains("{T");
                    assert!(dashboard.has_targets || !has_targets, "{title}");
                }
            }
        }
    }

    #[test]
    fn selectors_are_put_in() {
        let query = Query {
            expression: "a{S} + b{T, class=\"http\"}",
            legend: "l",
        };
        assert_eq!(
            query.expand(),
            "a{job=~\"$job\", instance=~\"$instance\"} \
             + b{job=~\"$job\", instance=~\"$instance\", target=~\"$target\", class=\"http\"}"
        );
    }
}
