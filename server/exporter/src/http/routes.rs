//! The routes of an axum router, remembered while it is built: axum does not say them afterwards.
//!
//! Knows their names. Deliberately leaves everything else to axum: see [`Routes::map`].

use std::borrow::Cow;

use axum::{Router, routing::MethodRouter};

use super::{Http, Measured, Metrics, RouteError};
use crate::registry::Registry;

/// An axum router that is being built, and the names of its routes.
///
/// ```
/// use axum::routing::get;
/// use exporter::{Registry, http::{self, Routes}};
///
/// let users = Routes::new().route("/{id}", get(async || "a user"));
/// let routes = Routes::new()
///     .route("/", get(async || "hello"))
///     .nest("/users", users)
///     .map(|router| router.fallback(async || "nothing is here"));
/// let registry = Registry::new(&[http::CATALOGUE])?;
/// let service = routes.measure(&registry)?;
/// # drop(service);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "routes serve nothing until they are measured and served"]
pub struct Routes<S = ()> {
    router: Router<S>,
    names: Vec<Cow<'static, str>>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None.
    pub fn new() -> Self {
        Self {
            router: Router::new(),
            names: Vec::new(),
        }
    }

    /// Adds a route, as [`Router::route`].
    pub fn route(mut self, path: &'static str, methods: MethodRouter<S>) -> Self {
        self.router = self.router.route(path, methods);
        // The same path may be added again, with other methods.
        if !self.names.iter().any(|name| name == path) {
            self.names.push(path.into());
        }
        self
    }

    /// Adds routes below a path, as [`Router::nest`].
    pub fn nest(mut self, path: &'static str, routes: Self) -> Self {
        self.router = self.router.nest(path, routes.router);
        let below = |name: Cow<'static, str>| match &*name {
            // What is nested at `/a` and routed as `/` is asked for as `/a`.
            "/" => path.into(),
            name => format!("{}{name}", path.trim_end_matches('/')).into(),
        };
        self.names.extend(routes.names.into_iter().map(below));
        self
    }

    /// Does to the router whatever else axum can do, such as layers, fallbacks and state. A route that is
    /// added in this way is served, and counts as `unmatched`.
    pub fn map<T>(self, change: impl FnOnce(Router<S>) -> Router<T>) -> Routes<T> {
        Routes {
            router: change(self.router),
            names: self.names,
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// Measures every request, with the metrics of [`CATALOGUE`](super::CATALOGUE).
    ///
    /// # Errors
    /// When a route cannot be one; axum would have panicked earlier.
    pub fn measure(self, registry: &Registry) -> Result<Measured<Router>, RouteError> {
        let http = Http::new(registry, Metrics::default(), self.names)?;
        Ok(http.measure(self.router))
    }
}
