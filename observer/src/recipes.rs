//! Recipes: for services that many have, a target that works, and what the gauge really counts.
//!
//! They are data, in `recipes.toml`. Here they are read, found by their name and written out; what a
//! target means is `config`'s to say, and whether a service runs here is `discover`'s.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{LazyLock, OnceLock},
};

use serde::{Deserialize, Serialize};

use crate::{
    claim::Selection,
    config::{self, Settings},
    similar::closest,
};

/// What is known of one service's gauge.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// By which it is asked for.
    pub name: String,
    /// Which service, with which exporter.
    pub service: String,
    /// What its gauge counts.
    pub counts: String,
    /// What to watch for, a sentence each.
    pub watch: Vec<String>,
    /// How that is known.
    pub basis: String,
    /// A target of the configuration file.
    pub target: String,
    #[serde(skip)]
    read: OnceLock<config::Target>,
}

/// There is no recipe of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no recipe {name:?}{}; observer recipes lists them", match meant {
    Some(meant) => format!(": did you mean {meant}?"),
    None => String::new(),
})]
pub struct Unknown {
    name: String,
    meant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    recipe: Vec<Recipe>,
}

static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("recipes.toml")).expect("the tests read it");
    file.recipe
});

/// All of them, in the order of their names.
#[must_use]
pub fn all() -> &'static [Recipe] {
    &RECIPES
}

/// The recipe of this name.
///
/// # Errors
/// When there is none, with the name that was likely meant.
pub fn find(name: &str) -> Result<&'static Recipe, Unknown> {
    let found = all().iter().find(|recipe| recipe.name == name);
    found.ok_or_else(|| Unknown {
        name: name.to_owned(),
        meant: closest(name, all().iter().map(|recipe| recipe.name.as_str())),
    })
}

/// The recipe that knows the gauge of a target, where it would have it compared in another way: with
/// another number added, or with other connections. Labels are the service's own.
#[must_use]
pub fn other_way(target: &config::Target) -> Option<&'static Recipe> {
    let (Selection::Series(expression) | Selection::Counters(expression)) = &target.claim else {
        return None;
    };
    let knows = |recipe: &&Recipe| {
        let metrics = recipe.metrics();
        let is_ones_own = recipe.name == "websocket";
        !is_ones_own && expression.metrics().any(|metric| metrics.contains(metric))
    };
    let way = |target: &config::Target| {
        let claim = without_labels(&target.claim.to_string());
        (claim, target.claim_type, target.counts, target.bound)
    };
    let known = all().iter().find(knows)?;
    (way(known.read()) != way(target)).then_some(known)
}

fn without_labels(claim: &str) -> String {
    let mut is_label = false;
    let outside = claim.chars().filter(|char| {
        is_label = (is_label || *char == '{') && *char != '}';
        !is_label && *char != '}'
    });
    outside.collect()
}

impl Recipe {
    /// Its target, as the observer reads it.
    ///
    /// # Panics
    /// Never: the tests read the target of each.
    #[must_use]
    pub fn read(&self) -> &config::Target {
        self.read.get_or_init(|| {
            let settings = Settings::from_toml(&self.name, &self.target);
            // No recipe names a host, so nobody is asked for one.
            let config = settings.and_then(|settings| settings.into_config(&|_| Ok(Vec::new())));
            let mut config = config.expect("the tests read it");
            config.targets.remove(0)
        })
    }

    /// The names of the metrics that its claim is made of; none where its page has no series.
    #[must_use]
    pub fn metrics(&self) -> BTreeSet<String> {
        match &self.read().claim {
            Selection::Series(expression) | Selection::Counters(expression) => {
                expression.metrics().map(str::to_owned).collect()
            }
            Selection::Nodes(_) | Selection::Match(_) | Selection::Query(_) => BTreeSet::new(),
        }
    }

    /// A part of a configuration file: what to know, as comments, and the target.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "# {}", self.service);
        let _ = writeln!(text, "# It counts {}.", self.counts);
        for sentence in &self.watch {
            let _ = writeln!(text, "# - {sentence}");
        }
        let _ = writeln!(text, "# Known how: {}.", self.basis);
        text + &self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bound;

    #[test]
    fn every_recipe_is_a_configuration_and_named_as_its_target() {
        for recipe in all() {
            let text = recipe.to_toml();
            let settings = Settings::from_toml(&recipe.name, &text);
            let config = settings.and_then(|settings| settings.into_config(&|_| Ok(Vec::new())));
            let config = config.unwrap_or_else(|error| panic!("{}: {error}", recipe.name));
            let [target] = &config.targets[..] else {
                panic!("{}: one target", recipe.name)
            };
            assert_eq!(target.name, recipe.name);
            assert_eq!(target, recipe.read());
        }
    }

    #[test]
    fn recipes_have_names_of_their_own_in_order_and_something_to_say() {
        for pair in all().windows(2) {
            assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
        }
        for recipe in all() {
            assert!(!recipe.watch.is_empty(), "{}", recipe.name);
            for sentence in &recipe.watch {
                assert!(sentence.ends_with('.'), "{sentence}");
            }
            assert!(!recipe.counts.ends_with('.'), "{}", recipe.counts);
        }
    }

    #[test]
    fn requests_in_flight_are_a_bound_and_nothing_else_is() {
        for recipe in all() {
            let is_bound = recipe.read().bound == Bound::AtMost;
            let is_of_requests = recipe.counts.starts_with("requests in flight");
            assert_eq!(is_bound, is_of_requests, "{}", recipe.name);
        }
    }

    #[test]
    fn a_gauge_that_is_known_is_recognised_where_it_is_compared_in_another_way() {
        let known = |lines: &str| {
            let text = format!(
                "[[target]]\nlisten = ':80'\ngauge-url = 'http://127.0.0.1:9113/metrics'\n{lines}"
            );
            let settings = Settings::from_toml("file", &text).unwrap();
            let config = settings.into_config(&|_| Ok(Vec::new())).unwrap();
            other_way(&config.targets[0]).map(|recipe| recipe.name.as_str())
        };
        let established = "counts = 'established'\n";
        let nginx = |claim: &str| known(&format!("claim = '{claim}'\n{established}"));
        assert_eq!(nginx("nginx_connections_active"), Some("nginx"));
        assert_eq!(nginx("nginx_connections_active - 1"), None);
        assert_eq!(nginx("nginx_connections_active{host=\"a\"} - 1"), None);
        assert_eq!(
            known("claim = 'nginx_connections_active - 1'"),
            Some("nginx")
        );
        assert_eq!(nginx("redis_connected_clients"), Some("redis"));
        assert_eq!(nginx("caddy_http_requests_in_flight"), Some("caddy"));
        // What is one's own may count what one likes.
        assert_eq!(nginx("active_connections"), None);
        assert_eq!(nginx("somebody_elses"), None);
    }

    #[test]
    fn a_name_that_is_not_there_is_answered_with_the_one_that_was_meant() {
        assert_eq!(find("redis").unwrap().name, "redis");
        let error = find("postgres").unwrap_err().to_string();
        assert!(error.contains("did you mean postgresql?"), "{error}");
        let error = find("zzz").unwrap_err().to_string();
        assert!(error.contains("observer recipes lists them"), "{error}");
    }

    #[test]
    fn a_recipe_knows_its_metrics() {
        let metrics = |name| Vec::from_iter(find(name).unwrap().metrics());
        assert_eq!(metrics("nginx"), ["nginx_connections_active"]);
        assert_eq!(
            metrics("redis"),
            ["redis_connected_clients", "redis_connected_slaves"]
        );
        assert!(metrics("nats").is_empty());
    }

    #[test]
    fn recipes_md_is_the_recipes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/RECIPES.md");
        let page = std::fs::read_to_string(path).expect("docs/RECIPES.md");
        let (_, section) = page.split_once("<!-- recipes -->\n").expect("its begin");
        let (section, _) = section.split_once("<!-- /recipes -->").expect("its end");
        let expected: String = all().iter().map(section_of).collect();
        assert!(
            section == expected,
            "write this into docs/RECIPES.md:\n{expected}"
        );
    }

    fn section_of(recipe: &Recipe) -> String {
        let Recipe {
            name,
            service,
            counts,
            ..
        } = recipe;
        let watch: String = recipe
            .watch
            .iter()
            .map(|sentence| format!("- {sentence}\n"))
            .collect();
        format!(
            "\n## {name}\n\n{service}. It counts {counts}. Known how: {}.\n\n{watch}\n```toml\n{}```\n",
            recipe.basis, recipe.target
        )
    }
}
