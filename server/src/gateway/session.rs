//! One WebSocket, from its upgrade to its end.
//!
//! Knows what is sent when, and that a message is sent again until its ack is durable. Deliberately
//! knows no SQL; it stops being counted the moment it ends, whatever courtesy the socket is still
//! shown.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use axum::extract::ws::{Message as Frame, WebSocket};
use exporter::channel::{Receiver, Refused};
use futures_util::{SinkExt as _, StreamExt as _, future::OptionFuture};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::protocol::{self, Up};
use crate::{
    message::{Message, Sequence},
    rate::Bucket,
    relay::Relay,
    sessions::{Ending, Registration, Settled},
    store::Ack,
};

/// Longest wait for the client's side of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Messages that are read from the database at once.
const PAGE: i64 = 64;
/// Shortest wait before a database that did not answer is read again. Each session adds up to as much
/// twice over, so that they do not all come back at once.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// An open session.
pub(crate) struct Session {
    socket: WebSocket,
    registration: Registration,
    relay: Arc<Relay>,
    /// The messages that were sent here and whose acks are not durable yet.
    unacked: HashMap<Uuid, Progress>,
    frames: Bucket,
    /// The greatest number of a message that was sent here. Of those up to it none was left out.
    cursor: Sequence,
    /// The number after which the database is read on, where that is not the cursor: a read stopped
    /// there because the client has to ack first, or an ack from behind it was lost.
    reads_after: Option<Sequence>,
    is_ping_unanswered: bool,
}

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The client has not acked it.
    Sent {
        /// Where the message stands among all.
        sequence: Sequence,
    },
    /// The ack is on its way to the database.
    Acked {
        /// Where the message stands among all; 0 if an earlier session was sent it.
        sequence: Sequence,
        /// Whether the client wants to know when it is there.
        confirm: bool,
    },
}

/// How a read of the database went.
enum Read {
    /// Everything was sent, or as much as the client may be sent.
    Whole,
    /// The database gave no answer; the rest is to be read later.
    Failed,
}

impl Session {
    /// A session on a socket that was just upgraded. On the heap, because futures that it is moved
    /// through would each keep room for it.
    pub(crate) fn new(
        socket: WebSocket,
        registration: Registration,
        relay: Arc<Relay>,
    ) -> Box<Self> {
        Box::new(Self {
            socket,
            registration,
            frames: Bucket::full(relay.config.frame_rate, Instant::now().into_std()),
            relay,
            unacked: HashMap::new(),
            cursor: 0,
            reads_after: None,
            is_ping_unanswered: false,
        })
    }

    /// Serves the session until it ends, then takes leave of the client.
    pub(crate) async fn run(mut self: Box<Self>, messages: Receiver<Arc<Message>>) {
        let ending = self.converse(messages).await;
        Box::pin(self.take_leave(ending)).await;
    }

    async fn take_leave(self: Box<Self>, ending: Ending) {
        let Self {
            mut socket,
            registration,
            ..
        } = *self;
        let Some(frame) = ending.close_frame() else {
            if ending == Ending::ClosedByPeer {
                // The answering close frame is queued already; what matters is that it was tried.
                let _ = timeout(CLOSE_TIMEOUT, socket.flush()).await;
            }
            return registration.end(ending);
        };
        let sent = timeout(CLOSE_TIMEOUT, socket.send(Frame::Close(Some(frame)))).await;
        registration.end(ending);
        if matches!(sent, Ok(Ok(()))) {
            // Read on, so that what the client still sends does not turn the close into a reset.
            let rest = async { while let Some(Ok(_)) = socket.next().await {} };
            let _ = timeout(CLOSE_TIMEOUT, rest).await;
        }
    }

    /// Sends and receives until there is a reason to end.
    async fn converse(&mut self, mut messages: Receiver<Arc<Message>>) -> Ending {
        let first_ping = Instant::now() + self.relay.config.ping_interval.get();
        let mut timer = Box::pin(sleep_until(first_ping));
        let handle = Arc::clone(self.registration.handle());
        let mut pause: Option<Pin<Box<Sleep>>> = None;
        loop {
            let may_send = self.room() > 0 && pause.is_none();
            if may_send && handle.catch_up() {
                // Boxed like all that is rare, so that an idle session stays small.
                match Box::pin(self.read_database()).await {
                    Ok(Read::Whole) => {}
                    Ok(Read::Failed) => pause = Some(Box::pin(sleep(self.read_pause()))),
                    Err(ending) => return ending,
                }
                continue;
            }
            let result = tokio::select! {
                received = self.socket.next() => Box::pin(self.receive(received, &mut timer)).await,
                Some(message) = messages.receive(), if may_send => {
                    Box::pin(self.forward(&message)).await
                }
                Some(()) = OptionFuture::from(pause.as_mut()) => {
                    pause = None;
                    Ok(())
                }
                () = handle.wake.notified() => match handle.ending() {
                    Some(ending) => Err(ending),
                    None => Box::pin(self.settle(handle.take_settled())).await,
                },
                () = &mut timer => Box::pin(self.ping(&mut timer)).await,
            };
            if let Err(ending) = result {
                return ending;
            }
        }
    }

    /// Sends what waits in the database and was not sent here yet, as far as the client may be sent more.
    async fn read_database(&mut self) -> Result<Read, Ending> {
        let relay = Arc::clone(&self.relay);
        let heard = relay.hub.heard(self.registration.account());
        let start = self.reads_after.take().unwrap_or(self.cursor);
        let mut after = start;
        loop {
            let room = self.room();
            if room == 0 {
                self.read_again_after(after);
                return Ok(Read::Whole);
            }
            let limit = i64::try_from(room).map_or(PAGE, |room| room.min(PAGE));
            let account = self.registration.account();
            let page = relay.store.pending_messages(account, after, limit).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "cannot read messages");
                    self.read_again_after(after);
                    return Ok(Read::Failed);
                }
            };
            if page.is_empty() && after == 0 {
                relay.hub.note_drained(account, heard);
            }
            for message in &page {
                after = message.sequence;
                if !self.unacked.contains_key(&message.id) {
                    self.send_message(message).await?;
                }
            }
            // A page may be short because its texts are long. What is stored from now on is queued.
            if page.is_empty() {
                return Ok(Read::Whole);
            }
        }
    }

    /// How long to wait before a database that did not answer is read again: unlike that of most others.
    fn read_pause(&self) -> Duration {
        // Ids are given out in turn: the golden ratio spreads them over the whole range.
        let place = (self.registration.handle().id as f64 * 0.618_034).fract();
        READ_PAUSE + READ_PAUSE.mul_f64(2.0 * place)
    }

    /// How many messages the client may be sent before it acks some.
    fn room(&self) -> usize {
        let limit = self.relay.config.unacked_limit;
        limit.saturating_sub(self.unacked.len())
    }

    /// Has the database read, from behind `sequence` at the latest, as soon as there is room.
    fn read_again_after(&mut self, sequence: Sequence) {
        let earlier = self.reads_after.unwrap_or(self.cursor).min(sequence);
        self.reads_after = Some(earlier);
        self.registration.handle().fall_behind();
    }

    /// Sends a message from the queue, unless it was sent here before.
    async fn forward(&mut self, message: &Message) -> Result<(), Ending> {
        if self.unacked.contains_key(&message.id) {
            return Ok(());
        }
        // Messages may be queued in another order than stored, and the database may have been read
        // in between: an older number is sent only if it still waits for its ack.
        if message.sequence <= self.cursor {
            match self.relay.store.is_pending(message.sequence).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(_) => {
                    self.read_again_after(message.sequence.saturating_sub(1));
                    return Ok(());
                }
            }
        }
        self.send_message(message).await
    }

    async fn send_message(&mut self, message: &Message) -> Result<(), Ending> {
        let sequence = message.sequence;
        self.unacked.insert(message.id, Progress::Sent { sequence });
        self.cursor = self.cursor.max(sequence);
        self.send_text(protocol::encode_message(message)).await
    }

    async fn send_text(&mut self, text: String) -> Result<(), Ending> {
        self.write(Frame::Text(text.into())).await?;
        self.relay.metrics.count_message_sent();
        Ok(())
    }

    async fn write(&mut self, frame: Frame) -> Result<(), Ending> {
        let patience = self.relay.config.write_timeout.get();
        match timeout(patience, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::PeerGone),
            Err(_) => Err(Ending::SlowConsumer),
        }
    }

    /// Takes note of what became of acks, and says so where it was asked to.
    async fn settle(&mut self, settled: Vec<Settled>) -> Result<(), Ending> {
        for Settled { id, is_durable } in settled {
            match self.unacked.get(&id) {
                Some(&Progress::Acked { confirm, .. }) if is_durable => {
                    self.unacked.remove(&id);
                    if confirm {
                        self.send_text(protocol::encode_acked(id)).await?;
                    }
                }
                Some(&Progress::Acked { sequence, .. }) => {
                    self.unacked.remove(&id);
                    self.read_again_after(sequence.saturating_sub(1).max(0));
                }
                // Acked by another session of the same account.
                Some(Progress::Sent { .. }) if is_durable => {
                    self.unacked.remove(&id);
                }
                Some(Progress::Sent { .. }) | None => {}
            }
        }
        if self.unacked.is_empty() {
            self.unacked.shrink_to_fit();
        }
        Ok(())
    }

    async fn ping(&mut self, timer: &mut Pin<Box<Sleep>>) -> Result<(), Ending> {
        if self.is_ping_unanswered {
            return Err(Ending::PingTimeout);
        }
        self.write(Frame::Ping(bytes::Bytes::new())).await?;
        self.is_ping_unanswered = true;
        timer
            .as_mut()
            .reset(Instant::now() + self.relay.config.pong_timeout.get());
        Ok(())
    }

    async fn receive(
        &mut self,
        received: Option<Result<Frame, axum::Error>>,
        timer: &mut Pin<Box<Sleep>>,
    ) -> Result<(), Ending> {
        let frame = received.ok_or(Ending::PeerGone)??;
        let now = Instant::now();
        // Pings count too: each is answered.
        self.frames
            .take(self.relay.config.frame_rate, now.into_std())
            .map_err(|_| Ending::TooManyFrames)?;
        if self.is_ping_unanswered {
            // Whatever it sent, the client is there.
            self.is_ping_unanswered = false;
            timer
                .as_mut()
                .reset(now + self.relay.config.ping_interval.get());
        }
        match frame {
            Frame::Close(_) => Err(Ending::ClosedByPeer),
            Frame::Ping(_) | Frame::Pong(_) => Ok(()),
            Frame::Binary(_) => {
                self.relay.metrics.count_message_received();
                Err(Ending::Binary)
            }
            Frame::Text(text) => {
                self.relay.metrics.count_message_received();
                let Some(Up::Ack { id, confirm }) = protocol::parse(&text) else {
                    return Err(Ending::NotUnderstood);
                };
                self.ack(id, confirm)
            }
        }
    }

    fn ack(&mut self, id: Uuid, confirm: bool) -> Result<(), Ending> {
        // An ack of a message that an earlier session was sent is as good, but there is no end to
        // ids that a client can make up.
        if self.unacked.len() >= self.relay.config.unacked_limit.saturating_mul(2) {
            return Err(Ending::NotUnderstood);
        }
        let sequence = match self.unacked.get(&id) {
            Some(&(Progress::Sent { sequence } | Progress::Acked { sequence, .. })) => sequence,
            None => 0,
        };
        let recipient = self.registration.account().clone();
        match self.relay.acks.send(Ack { recipient, id }) {
            Ok(()) => {
                self.unacked
                    .insert(id, Progress::Acked { sequence, confirm });
            }
            Err(Refused::Full | Refused::Closed) => {
                // The ack is lost, the message is not: it is sent again, and acked again.
                self.unacked.remove(&id);
                self.read_again_after(sequence.saturating_sub(1).max(0));
            }
        }
        Ok(())
    }
}
