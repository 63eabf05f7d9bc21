//! Connections that come by chance and stay by chance: as many at any time, and never like clockwork.
//!
//! They come as a Poisson process and last for exponential times, from a thread of its own that waits for
//! nothing else: a runtime's timers would let them come in bursts of a millisecond. Each ends by a RST, so
//! that no address is held in TIME_WAIT.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use socket2::SockRef;

use super::{Books, Counts, Ending};
use crate::dice::Dice;

/// How connections come and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Openings a second, and as many ends.
    pub per_second: f64,
    /// Open at a time, on average.
    pub open: usize,
}

/// A flow of connections; it ends when this is stopped or dropped.
#[derive(Debug)]
pub struct Flow {
    /// It ends when this is dropped.
    going_on: SyncSender<()>,
    counts: Arc<Counts>,
    thread: JoinHandle<Result<()>>,
}

impl Flow {
    /// Opens as many as there are to be on average, and lets them come and go from then on.
    ///
    /// # Errors
    /// They cannot be opened, or there can be no further thread.
    pub fn start(to: SocketAddr, rate: Rate, seed: u64) -> Result<Self> {
        let counts = Arc::default();
        let mut source = Source::new(to, rate, seed, Arc::clone(&counts));
        source.fill(rate.open)?;
        let (going_on, over) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("flow".to_owned());
        let thread = thread.spawn(move || source.run(&over));
        Ok(Self {
            going_on,
            counts,
            thread: thread.context("start a thread")?,
        })
    }

    /// The books of this flow.
    pub fn books(&self) -> Books {
        self.counts.books()
    }

    /// Ends all of it, and returns the books as they were before.
    ///
    /// # Errors
    /// A connection could not be opened.
    pub fn stop(self) -> Result<Books> {
        let books = self.books();
        drop(self.going_on);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the flow panicked"))??;
        Ok(books)
    }
}

/// What the thread owns.
struct Source {
    to: SocketAddr,
    dice: Dice,
    pause: Duration,
    life: Duration,
    /// By when they end, and then in the order in which they came.
    open: BTreeMap<(Instant, u64), TcpStream>,
    next: u64,
    counts: Arc<Counts>,
}

impl Source {
    fn new(to: SocketAddr, rate: Rate, seed: u64, counts: Arc<Counts>) -> Self {
        let Rate { per_second, open } = rate;
        Self {
            to,
            dice: Dice::seeded(seed),
            pause: Duration::from_secs_f64(1.0 / per_second),
            life: Duration::from_secs_f64(open as f64 / per_second),
            open: BTreeMap::new(),
            next: 0,
            counts,
        }
    }

    /// What is left of an exponential life is as long as a whole one: the flow is steady from here on.
    fn fill(&mut self, count: usize) -> Result<()> {
        let now = Instant::now();
        (0..count).try_for_each(|_| self.connect(now))
    }

    /// Lets them come and go until nobody is there to end it.
    fn run(mut self, over: &Receiver<()>) -> Result<()> {
        let mut coming = Instant::now();
        loop {
            let ending = self.open.first_key_value().map(|((at, _), _)| *at);
            let due = ending.map_or(coming, |ending| ending.min(coming));
            let early = due.saturating_duration_since(Instant::now());
            if over.recv_timeout(early) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
            if due == coming {
                self.connect(coming)?;
                coming += self.wait(self.pause);
            } else if let Some((_, stream)) = self.open.pop_first() {
                reset(stream)?;
                self.counts.ended(Some(Ending::Reset));
            }
        }
    }

    /// Its life begins when it was to come: where the machine is too slow the flow is, and no wider.
    fn connect(&mut self, planned: Instant) -> Result<()> {
        let stream = TcpStream::connect(self.to).with_context(|| format!("connect to {}", self.to));
        if stream.is_err() {
            self.counts.failed.fetch_add(1, Ordering::SeqCst);
        }
        let ends = planned + self.wait(self.life);
        self.open.insert((ends, self.next), stream?);
        self.next += 1;
        self.counts.opened.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// An exponential time.
    fn wait(&mut self, mean: Duration) -> Duration {
        const SIDES: u64 = 1 << 53;
        let evenly = (self.dice.roll(SIDES) + 1) as f64 / SIDES as f64;
        mean.mul_f64(-evenly.ln())
    }
}

fn reset(stream: TcpStream) -> Result<()> {
    let lingers = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    lingers.context("let it end by a RST")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn times_by_chance_have_their_mean() {
        let rate = Rate {
            per_second: 100.0,
            open: 1,
        };
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut source = Source::new(to, rate, 1, Arc::default());
        let mean = Duration::from_millis(10);
        let all: Duration = (0..10_000).map(|_| source.wait(mean)).sum();
        let off = all.abs_diff(mean * 10_000);
        assert!(off < mean * 300, "{all:?}");
    }

    #[test]
    fn the_books_have_what_came_and_went() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let to = listener.local_addr().expect("an address");
        let rate = Rate {
            per_second: 1_000.0,
            open: 20,
        };
        let flow = Flow::start(to, rate, 1).expect("a flow");
        let mut accepted = 0;
        while flow.books().ended() < 50 {
            drop(listener.accept().expect("accept"));
            accepted += 1;
        }
        drop(listener);
        let books = flow.stop();
        // Nobody listens any more: it may have tried once more meanwhile.
        if let Ok(books) = books {
            assert!(books.opened >= accepted.min(50), "{books:?}");
            assert_eq!(books.reset, books.ended(), "{books:?}");
        }
    }
}
