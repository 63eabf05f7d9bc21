//! The layer that measures every request on the public port.
//!
//! A service of its own rather than `middleware::from_fn`, whose boxed future and copied service
//! cost as much as the measuring. Deliberately sees nothing of bodies: a response counts when its
//! headers are ready, a WebSocket when its 101 is.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    extract::{MatchedPath, Request},
    response::Response,
};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::metrics_service::{self, MetricsService};

/// Lays [`Observe`] around a service.
#[derive(Clone)]
pub(super) struct ObserveLayer(pub(super) Arc<MetricsService>);

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        let metrics = Arc::clone(&self.0);
        Observe { metrics, inner }
    }
}

/// Counts and times what the inner service answers.
#[derive(Clone)]
pub(super) struct Observe<S> {
    metrics: Arc<MetricsService>,
    inner: S,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Observe<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let matched = request.extensions().get::<MatchedPath>();
        let matched = matched.map(MatchedPath::as_str);
        let observation = self.metrics.observe_request(request.method(), matched);
        Observed {
            observation: Some(observation),
            answer: self.inner.call(request),
        }
    }
}

pin_project! {
    /// An answer under way. Dropped before it is there, it is a client that left.
    pub(super) struct Observed<F> {
        observation: Option<metrics_service::Request>,
        #[pin]
        answer: F,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Observed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        if let (Ok(response), Some(observation)) = (&answer, this.observation.take()) {
            observation.answered(response.status().as_u16());
        }
        Poll::Ready(answer)
    }
}
