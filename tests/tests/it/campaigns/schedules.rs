//! Random schedules of openings and endings: after each, all who count say the same.
//!
//! The programs' counts, `sock_diag` and `ss` are held against the books of the schedule. Its seed
//! is printed; `PLUMBLINE_SEED` runs the same ones again.

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::dice::{Dice, first_seed};
use tests::observer::{BOUND, Classes};
use tests::scripted::{CLOSE, EARLY, OK, PING, Pair, UPGRADE, reset};
use tests::{campaign, kernel_or_skip, ss, wait};
use tokio::io::AsyncWriteExt as _;

use crate::kernel::stage::Stage;

/// In full, and as a share.
const SCHEDULES: (u64, u64) = (500, 12);
/// Actions in a schedule.
const ACTIONS: u64 = 40;
/// Most connections that are open at a time.
const MOST: usize = 60;

/// An upgrade to another protocol.
const OTHER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: tcp\r\n\r\n";
/// A body in chunks.
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nHTTP/1\r\n0\r\n\r\n";
/// A body without a length, in which anything may follow.
const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n.";

/// What nobody who speaks HTTP would send.
const NOISE: &[u8] = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03\x00";

/// What a socket of the server's is, by what was done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Silent,
    Unknown,
    Http,
    /// HTTP for good: what follows is no response.
    Rest,
    WebSocket,
    /// One side has sent its FIN.
    Closing,
}

/// A connection whose server end is open.
struct Held {
    pair: Pair,
    is: Is,
}

/// The connections, with the books.
struct Oracle {
    stage: Stage,
    held: Vec<Held>,
    opened: u64,
    closed: u64,
}

impl Oracle {
    /// One action, whichever the dice say.
    async fn act(&mut self, dice: &mut Dice) -> Result<()> {
        if self.held.is_empty() || (self.held.len() < MOST && dice.roll(5) < 2) {
            return self.open(dice).await;
        }
        let at = dice.roll(self.held.len() as u64) as usize;
        match (dice.roll(3), self.held[at].is) {
            (0, is) if is != Is::Closing => self.speak(at, dice).await,
            _ => self.end(at, dice).await,
        }
    }

    async fn open(&mut self, dice: &mut Dice) -> Result<()> {
        let (is, said): (_, &[&[u8]]) = match dice.roll(9) {
            0 => (Is::Silent, &[]),
            1 => (Is::Unknown, &[NOISE]),
            2 => (Is::Http, &[OK]),
            3 => (Is::Rest, &[OTHER, UPGRADE]),
            4 => (Is::Rest, &[ENDLESS, UPGRADE]),
            5 => (Is::WebSocket, &[UPGRADE]),
            6 => (Is::WebSocket, &[EARLY, UPGRADE]),
            7 => (Is::WebSocket, &[CHUNKED, EARLY, UPGRADE, PING]),
            _ => (Is::WebSocket, &[OK, UPGRADE, PING]),
        };
        // In segments that the dice cut, each byte at its own place.
        let bytes = said.concat();
        let segments = dice.cut(&bytes);
        let pair = self.stage.service.scripted.pair_that_got(&segments).await?;
        self.held.push(Held { pair, is });
        self.opened += 1;
        Ok(())
    }

    /// The server says something more on a connection that is open in both directions.
    async fn speak(&mut self, at: usize, dice: &mut Dice) -> Result<()> {
        let held = &mut self.held[at];
        let (is, said) = match (held.is, dice.roll(3)) {
            (Is::Silent | Is::Http, 0) => (Is::WebSocket, UPGRADE),
            (Is::Silent | Is::Http, 1) => (Is::Http, CHUNKED),
            (Is::Silent | Is::Http, _) => (Is::Http, OK),
            (Is::WebSocket, 0) => (Is::WebSocket, CLOSE),
            (is, _) => (is, PING),
        };
        held.pair.send(&[said]).await?;
        held.is = is;
        Ok(())
    }

    /// One side ends it, in one of the ways in which that can be done.
    async fn end(&mut self, at: usize, dice: &mut Dice) -> Result<()> {
        let Held { pair, is } = &mut self.held[at];
        let way = dice.roll(6);
        if way < 2 && *is != Is::Closing {
            // One sends its FIN, and the other holds on.
            let side = if way == 0 {
                &mut pair.client
            } else {
                &mut pair.server
            };
            side.shutdown().await.context("send a FIN")?;
            *is = Is::Closing;
            return Ok(());
        }
        let Pair { client, server } = self.held.swap_remove(at).pair;
        self.closed += 1;
        match way {
            2 => reset(server).context("the server's RST")?,
            3 => reset(client).context("the client's RST")?,
            4 => {
                drop(client);
                drop(server);
            }
            _ => {
                drop(server);
                drop(client);
            }
        }
        Ok(())
    }

    fn expected(&self) -> Classes {
        let count = |is: &[Is]| {
            let are = self.held.iter().filter(|held| is.contains(&held.is));
            are.count() as u64
        };
        Classes {
            websocket: count(&[Is::WebSocket]),
            http: count(&[Is::Http, Is::Rest]),
            unclassified: count(&[Is::Silent, Is::Unknown]),
            closing: count(&[Is::Closing]),
        }
    }

    /// The programs, `sock_diag` and `ss` say what the books say.
    async fn all_agree(&self, seed: u64) {
        let expected = self.expected();
        let Classes {
            websocket,
            http,
            unclassified,
            closing,
        } = expected;
        let observer = &self.stage.observer;
        for target in ["websockets", "connections"] {
            let settled = observer.settles(target, expected).await;
            settled.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        }
        let listed = wait::until_equal("sock_diag", BOUND, expected, async || {
            by_class(&observer.sockets("connections").await?)
        });
        listed
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let states = (websocket + http + unclassified, closing);
        let seen = wait::until_equal("ss", BOUND, states, async || {
            ss::established_and_closing(self.stage.service.port())
        });
        seen.await
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        self.stage.counted(self.opened, self.closed).await;
    }
}

/// A list of sockets, counted.
fn by_class(list: &Value) -> Result<Classes> {
    let mut classes = Classes::default();
    for socket in list["sockets"].as_array().context("a list of sockets")? {
        match socket["class"].as_str() {
            Some("websocket") => classes.websocket += 1,
            Some("http") => classes.http += 1,
            Some("unclassified") => classes.unclassified += 1,
            Some("closing") => classes.closing += 1,
            class => anyhow::bail!("{class:?} is no class"),
        }
    }
    Ok(classes)
}

#[tokio::test]
async fn after_every_schedule_all_who_count_say_the_same() {
    if !kernel_or_skip() {
        return;
    }
    let schedules = campaign::size(SCHEDULES.0, SCHEDULES.1);
    let first = first_seed();
    campaign::figure("first seed", first);
    let progress = campaign::Progress::start("schedules", schedules);
    let mut oracle = Oracle {
        stage: Stage::open().await,
        held: Vec::new(),
        opened: 0,
        closed: 0,
    };
    for seed in first..first + schedules {
        let mut dice = Dice::seeded(seed);
        for _ in 0..ACTIONS {
            let acted = oracle.act(&mut dice).await;
            acted.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        }
        oracle.all_agree(seed).await;
        progress.advance(1);
    }
    oracle.closed += oracle.held.len() as u64;
    oracle.held.clear();
    oracle.all_agree(first).await;
    oracle.stage.nothing_is_lost().await;
    campaign::figure("schedules", schedules);
    campaign::figure("connections opened and closed", oracle.opened);
}
