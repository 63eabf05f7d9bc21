//! Which sockets a drift is about: takes the lists that `check::suspects` compares, in its order.
//!
//! The service is asked for its list only while there is something to explain, and everything is
//! paced: a list may be long. It decides nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use observer_ebpf::{Class, Phase, Socket, TCP_ESTABLISHED};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

use super::{endpoint::WitnessError, target::Target, tenure::Share};
use crate::{
    blocking::Places,
    chain::Chain,
    check::{IsCounted, Seen, Suspects},
    claim::{Listed, Lister},
    config::Counts as Counted,
    memory,
    sock_diag::{Entry, Holder, Info, state_name},
    sockets::ClassName,
};

/// Lists of sockets that are taken at once, over all targets.
static LISTS: Places = Places::new(2);

/// Between two looks at a target of which nothing is to be explained: for silent peers.
const BEAT: Duration = Duration::from_secs(30);
/// Least time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

impl Target {
    /// Looks for suspects whenever a check finds something to explain, and now and then besides.
    pub async fn explain(self: Arc<Self>, mut lister: Option<Lister>) {
        let beat = BEAT.min(self.config.silent_after / 2).max(PAUSE);
        loop {
            tokio::select! {
                () = sleep(beat) => {}
                () = self.wanted() => {}
            }
            let began = Instant::now();
            let observation = self.observation();
            let (is_wanted, is_under) = (observation.is_unexplained(), observation.is_under());
            let lister = lister.as_mut().filter(|_| is_wanted);
            match self.look(lister, is_under).await {
                Ok(suspects) => self.suspect(suspects, is_wanted),
                // The survey of the witnesses meets the same error, and logs it.
                Err(_) => self.endpoints.survey_soon(),
            }
            // Lists of every socket may have been held against each other. It walks the heap.
            tokio::task::block_in_place(memory::give_back);
            // Long lists are read more seldom: at most for half of the time.
            let pause = self.config.interval.max(PAUSE).max(began.elapsed());
            sleep(pause).await;
        }
    }

    /// Takes the lists, `settle` apart.
    async fn look(
        self: &Arc<Self>,
        lister: Option<&mut Lister>,
        is_under: bool,
    ) -> Result<Suspects, WitnessError> {
        let Some(lister) = lister else {
            return self.look_at_kernel(is_under).await;
        };
        let settle = self.config.settle;
        let earlier = lister.read().await;
        sleep(settle).await;
        let seen_earlier = self.seen(|_| true).await?;
        let later = match earlier {
            Ok(earlier) => {
                sleep(settle).await;
                lister.read().await.map(|later| [earlier, later])
            }
            Err(error) => Err(error),
        };
        sleep(settle).await;
        let seen = [seen_earlier, self.seen(|_| true).await?];
        Ok(match later {
            Ok(listed) => between(&listed, &seen),
            Err(error) => Suspects {
                failure: Some(format!("{} {}", lister.shown_url(), Chain(&error))),
                ..self.of_kernel(&seen, is_under)
            },
        })
    }

    async fn look_at_kernel(self: &Arc<Self>, is_under: bool) -> Result<Suspects, WitnessError> {
        // The rest is no suspect of the kernel's, and there may be very many.
        let is_held_or_waits = move |entry: &Entry| {
            entry.state != TCP_ESTABLISHED
                || entry.holder() == Holder::AcceptQueue
                || is_under && !is_answered(entry)
        };
        let earlier = self.seen(is_held_or_waits).await?;
        sleep(self.config.settle).await;
        let silent_after = self.config.silent_after;
        let later = self.seen(move |entry| {
            let silence = entry.info.as_ref().map(Info::silence);
            is_held_or_waits(entry) || silence > Some(silent_after)
        });
        Ok(self.of_kernel(&[earlier, later.await?], is_under))
    }

    fn of_kernel(&self, [earlier, later]: &[Vec<Seen>; 2], is_under: bool) -> Suspects {
        Suspects::of_kernel(earlier, later, self.config.silent_after, is_under)
    }

    /// The kernel's list of those of the target's sockets that are wanted.
    async fn seen(
        self: &Arc<Self>,
        is_wanted: impl Fn(&Entry) -> bool + Send + 'static,
    ) -> Result<Vec<Seen>, WitnessError> {
        let this = Arc::clone(self);
        // A dump blocks for as long as there are sockets.
        let listed = LISTS.run(move || {
            let now = clock_gettime(ClockId::Monotonic);
            let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32);
            let counted = this.config.counts;
            let seen = |share, entry: &Entry, tracked: Option<&Socket>| Seen {
                is_counted: is_counted(share, entry, tracked, counted),
                ..seen(entry, tracked, now)
            };
            this.endpoints.details(is_wanted, seen)
        });
        listed.await
    }
}

fn between([earlier, later]: &[Vec<Listed>; 2], [was, is]: &[Vec<Seen>; 2]) -> Suspects {
    Suspects::between([earlier, later], [was, is])
}

fn seen(entry: &Entry, tracked: Option<&Socket>, now: Duration) -> Seen {
    let class = ClassName::of(entry, tracked);
    let (is_closing, holder) = (class == ClassName::Closing, entry.holder());
    let is_accepted = holder != Holder::AcceptQueue;
    let since = |at: u64| now.saturating_sub(Duration::from_nanos(at));
    Seen {
        cookie: entry.cookie,
        peer: entry.peer,
        is_counted: IsCounted::Doubtful,
        is_held: is_closing && holder == Holder::Process,
        is_accepted,
        is_answered: is_answered(entry),
        class: tracked.map(|_| class.name()),
        state: state_name(entry.state),
        age: tracked
            .filter(|socket| socket.opened_at != 0)
            .map(|socket| since(socket.opened_at)),
        silence: entry.info.as_ref().map(Info::silence),
    }
}

/// Whether the service has sent anything; where that is not known, it is taken to have.
fn is_answered(entry: &Entry) -> bool {
    entry.info.as_ref().is_none_or(|info| info.bytes_sent > 0)
}

fn is_counted(
    share: Share,
    entry: &Entry,
    tracked: Option<&Socket>,
    counted: Counted,
) -> IsCounted {
    match counted {
        _ if share != Share::All => IsCounted::Doubtful,
        // The service has closed it.
        _ if entry.holder() == Holder::Kernel => IsCounted::No,
        _ if entry.state != TCP_ESTABLISHED => IsCounted::Doubtful,
        Counted::Established | Counted::Outgoing => IsCounted::Yes,
        Counted::Accepted if entry.holder() != Holder::AcceptQueue => IsCounted::Yes,
        Counted::Accepted => IsCounted::Doubtful,
        Counted::Websocket => tracked.map_or(IsCounted::Doubtful, is_websocket),
    }
}

fn is_websocket(socket: &Socket) -> IsCounted {
    let may_have_ended = socket.has_ended() || socket.phase == Phase::Lost as u8;
    match socket.class {
        class if class == Class::WebSocket as u8 && may_have_ended => IsCounted::Doubtful,
        class if class == Class::WebSocket as u8 => IsCounted::Yes,
        class if class == Class::Unknown as u8 => IsCounted::Doubtful,
        _ => IsCounted::No,
    }
}
