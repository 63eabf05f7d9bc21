//! A body that is measured to its last byte, its failure or its drop: a download, such as from S3.
//!
//! Knows how many bytes are still to come. Deliberately does not know where they come from: a client of S3
//! says that a request is over when its headers are there, and the bytes come after.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};

use crate::measurement::Stopwatch;

/// The outcome of a body that came whole.
pub const OK: &str = "ok";
/// The outcome of a body that failed, or ended before its last byte.
pub const FAILED: &str = "failed";

/// A body on its way. Dropped before its end, it was cancelled: whoever asked for it has left.
#[derive(Debug)]
pub struct Transfer<B> {
    body: B,
    /// Bytes still to come. A server stops asking once it has them all, so the end is known here.
    remaining: u64,
    stopwatch: Option<Stopwatch>,
}

impl<B> Transfer<B> {
    /// A body of a known length, by a measurement that began when it was asked for. Its outcomes are to be
    /// [`OK`], [`FAILED`] and [`CANCELLED`](crate::CANCELLED).
    pub fn new(body: B, length: u64, stopwatch: Stopwatch) -> Self {
        let mut transfer = Self {
            body,
            remaining: length,
            stopwatch: Some(stopwatch),
        };
        transfer.finish_if_complete();
        transfer
    }

    /// Bytes still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    fn finish_if_complete(&mut self) {
        if self.remaining == 0 {
            self.finish(OK);
        }
    }

    fn finish(&mut self, outcome: &'static str) {
        if let Some(stopwatch) = self.stopwatch.take() {
            stopwatch.finish(outcome);
        }
    }
}

impl<B: Body + Unpin> Body for Transfer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.remaining()) as u64;
                self.remaining = self.remaining.saturating_sub(length);
                self.finish_if_complete();
            }
            // An end before the last byte is a failure as well.
            Some(Err(_)) | None => self.finish(FAILED),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, future::poll_fn, io};

    use bytes::Bytes;

    use super::*;
    use crate::{CANCELLED, Outcomes, Registry, label};

    crate::catalogue! {
        /// One.
        CATALOGUE:
        DOWNLOAD = histogram(crate::SLOW), "download_seconds" [label("outcome", &[OK, FAILED, CANCELLED])] "seconds"
            "Downloads.";
    }

    /// What comes of it, part by part.
    struct Parts(VecDeque<Result<Frame<Bytes>, io::Error>>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn part(bytes: &'static [u8]) -> Result<Frame<Bytes>, io::Error> {
        Ok(Frame::data(Bytes::from_static(bytes)))
    }

    /// What a body of two bytes counts as that is asked for so many parts.
    async fn check(
        parts: impl IntoIterator<Item = Result<Frame<Bytes>, io::Error>>,
        asks: usize,
        outcome: &str,
    ) {
        let registry = Registry::new(&[CATALOGUE]).unwrap();
        let bind = |outcome| registry.histogram(&DOWNLOAD, [outcome]);
        let outcomes = Outcomes::new(&[OK, FAILED, CANCELLED], bind);
        let body = Parts(parts.into_iter().collect());
        let mut transfer = Transfer::new(body, 2, Stopwatch::start(&outcomes));
        for _ in 0..asks {
            let _ = poll_fn(|context| Pin::new(&mut transfer).poll_frame(context)).await;
        }
        assert_eq!(transfer.is_end_stream(), outcome == OK);
        drop(transfer);
        let page = registry.render();
        let counts = page.lines().filter(|line| line.contains("_count"));
        let counted: Vec<&str> = counts.filter(|line| line.ends_with(" 1")).collect();
        let expected = format!("download_seconds_count{{outcome=\"{outcome}\"}} 1");
        assert_eq!(counted, [expected]);
    }

    #[tokio::test]
    async fn a_body_counts_once_by_how_it_ended() {
        // Nobody asks for the end of a body whose last byte has come.
        check([part(b"a"), part(b"b")], 2, OK).await;
        check([part(b"a"), Err(io::Error::other("gone"))], 2, FAILED).await;
        check([part(b"a")], 2, FAILED).await;
        check([part(b"a"), part(b"b")], 1, CANCELLED).await;
        check([], 0, CANCELLED).await;
    }
}
