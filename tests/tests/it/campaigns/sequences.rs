//! What services of others were seen to do on their connections, with two gauges that are always right:
//! of their WebSockets, and of the connections that they have accepted.

use std::net::Ipv4Addr;

use anyhow::Result;
use tests::claim_page::ClaimPage;
use tests::dice::Dice;
use tests::observer::Watched;
use tests::port;
use tests::scripted::{CLOSE, EARLY, OK, PING, Pair, Scripted, UPGRADE, frame, reset};
use tokio::net::TcpStream;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const TCP: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: tcp\r\nconnection: upgrade\r\n\r\n";
const H2C: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
const BODY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nHTTP/1.1 101 abc";
const CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
    e\r\nHTTP/1.1 101 a\r\n0\r\n\r\n";
const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    transfer-encoding: chunked\r\n\r\n";
/// An event whose chunk has the length of a frame: `A` opens one, and a line feed is its length.
const EVENT: &[u8] = b"A\r\ndata: {}\n\n\r\n";
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";

/// What a service says on a connection, and whether that makes a WebSocket of it.
const SEQUENCES: [(&[&[u8]], bool); 14] = [
    (&[UPGRADE], true),
    (&[UPGRADE, PING], true),
    (&[EARLY, UPGRADE], true),
    (&[EARLY, CONTINUE, EARLY, UPGRADE, PING], true),
    (&[OK, UPGRADE], true),
    (&[BODY, CHUNKS, UPGRADE], true),
    (&[FORBIDDEN, EARLY, UPGRADE], true),
    (&[TCP, UPGRADE], false),
    (&[H2C], false),
    (&[BODY], false),
    (&[CHUNKS, OK], false),
    (&[EVENTS, EVENT], false),
    (&[FORBIDDEN], false),
    (&[], false),
];

/// A connection that the service counts.
struct Held {
    pair: Pair,
    is_websocket: bool,
    is_stream_of_events: bool,
}

/// A service with gauges that are right.
pub(super) struct Service {
    pub(super) names: [&'static str; 2],
    scripted: Scripted,
    pub(super) pages: [ClaimPage; 2],
    held: Vec<Held>,
    /// Whose connection the service has closed, and who do not read.
    orphans: Vec<TcpStream>,
}

impl Service {
    /// Nobody is connected yet; the names are those of its two targets.
    pub(super) async fn open(names: [&'static str; 2]) -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port::free()?).into();
        Ok(Self {
            names,
            scripted: Scripted::listen(address, 64)?,
            pages: [ClaimPage::serve().await?, ClaimPage::serve().await?],
            held: Vec::new(),
            orphans: Vec::new(),
        })
    }

    /// Of its WebSockets, and of what it has accepted.
    pub(super) fn targets(&self) -> [Watched; 2] {
        let listen = format!(":{}", self.scripted.address().port());
        let target = |at: usize| {
            Watched::new(self.names[at], &listen, &self.pages[at].url()).with("settle", "1s")
        };
        [target(0), target(1).with("counts", "accepted")]
    }

    /// What both gauges ought to say.
    pub(super) fn true_counts(&self) -> [u64; 2] {
        let websockets = self.held.iter().filter(|held| held.is_websocket).count();
        [websockets as u64, self.held.len() as u64]
    }

    fn claim(&self) {
        for (page, count) in self.pages.iter().zip(self.true_counts()) {
            page.claim(count);
        }
    }

    /// Does something that real services do.
    pub(super) async fn act(&mut self, dice: &mut Dice) -> Result<()> {
        let is_full = self.held.len() >= 20;
        if self.held.is_empty() || (!is_full && dice.roll(5) < 3) {
            let (said, is_websocket) = *dice.pick(&SEQUENCES);
            return self.accept(said, is_websocket, dice).await;
        }
        let at = dice.roll(self.held.len() as u64) as usize;
        match dice.roll(6) {
            0 => self.speak(at).await,
            1 if self.orphans.len() < 10 => self.orphan(at),
            _ => self.end(at, dice).await,
        }
    }

    /// Accepts a connection and says this on it.
    pub(super) async fn accept(
        &mut self,
        said: &[&[u8]],
        is_websocket: bool,
        dice: &mut Dice,
    ) -> Result<()> {
        let bytes = said.concat();
        let pair = self.scripted.pair_that_got(&dice.cut(&bytes)).await?;
        self.held.push(Held {
            pair,
            is_websocket,
            is_stream_of_events: said.contains(&EVENTS),
        });
        self.claim();
        Ok(())
    }

    async fn speak(&mut self, at: usize) -> Result<()> {
        let held = &mut self.held[at];
        let said = match (held.is_websocket, held.is_stream_of_events) {
            (true, _) => PING,
            (false, true) => EVENT,
            (false, false) => return Ok(()),
        };
        held.pair.send(&[said]).await
    }

    /// The service closes a connection whose client does not read.
    fn orphan(&mut self, at: usize) -> Result<()> {
        let Pair { client, server } = self.held.swap_remove(at).pair;
        let message = frame(2, &[0; 1_000_000]);
        while server.try_write(&message).is_ok() {}
        drop(server);
        self.orphans.push(client);
        self.claim();
        Ok(())
    }

    async fn end(&mut self, at: usize, dice: &mut Dice) -> Result<()> {
        let held = self.held.swap_remove(at);
        let is_websocket = held.is_websocket;
        let mut pair = held.pair;
        match dice.roll(4) {
            0 if is_websocket => pair.send(&[CLOSE]).await?,
            1 => reset(pair.client)?,
            2 => reset(pair.server)?,
            _ => {}
        }
        self.claim();
        Ok(())
    }
}
