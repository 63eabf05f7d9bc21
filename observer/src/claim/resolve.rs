//! The addresses of a host's name, by the system's own resolver: `/etc/hosts`, DNS, and whatever else
//! `nsswitch.conf` says.
//!
//! getaddrinfo(3) blocks its thread for as long as it takes, which with a name server that is dead
//! are many seconds. So lookups have a few threads of their own, there is one lookup of a name at a
//! time, which all who want it wait for, and what came of it stands for a moment. `localhost` is the
//! loopback (RFC 6761, 6.3) and waits for nobody.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch::{Receiver, Sender};

/// Threads at most; each ends when no name waits.
const MAX_THREADS: usize = 4;

/// How long an answer stands, good or bad.
const FRESH: Duration = Duration::from_secs(5);

/// The names of everything that this process fetches.
static NAMES: Names = Names::new(look_up);

/// The addresses of a host.
///
/// # Errors
/// When the system's resolver has none, or no thread can be started to ask it.
pub(super) async fn resolve(name: &str) -> io::Result<Arc<[IpAddr]>> {
    NAMES.resolve(name).await
}

/// Asks the system's resolver; blocks.
fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    let addresses = (name, 0).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

/// What came of a lookup. Everyone who waits gets it, and an [`io::Error`] cannot be copied.
type Answer = Result<Arc<[IpAddr]>, (io::ErrorKind, Arc<str>)>;

/// Names, and who looks them up.
struct Names {
    state: Mutex<Option<State>>,
    look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
}

#[derive(Default)]
struct State {
    /// Those of the configuration's URLs, so they are bounded.
    lookups: HashMap<Arc<str>, Lookup>,
    queue: VecDeque<(Arc<str>, Sender<Option<Answer>>)>,
    threads: usize,
}

struct Lookup {
    answer: Receiver<Option<Answer>>,
    /// None while it is being looked up.
    ended: Option<Instant>,
}

impl Names {
    const fn new(look_up: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self {
            state: Mutex::new(None),
            look_up,
        }
    }

    async fn resolve(&'static self, name: &str) -> io::Result<Arc<[IpAddr]>> {
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok([Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()].into());
        }
        let mut answer = self.ask(name)?;
        let answer = answer.wait_for(Option::is_some).await;
        let panicked = |_| io::Error::other("the lookup panicked");
        match answer.map_err(panicked)?.as_ref() {
            Some(Ok(addresses)) => Ok(Arc::clone(addresses)),
            Some(Err((kind, text))) => Err(io::Error::new(*kind, &**text)),
            None => Err(io::ErrorKind::Other.into()),
        }
    }

    /// Where the answer will be: that of a lookup under way, or of one that has just ended.
    fn ask(&'static self, name: &str) -> io::Result<Receiver<Option<Answer>>> {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.get_or_insert_default();
        if let Some(lookup) = state.lookups.get(name)
            && lookup.ended.is_none_or(|ended| ended.elapsed() < FRESH)
        {
            return Ok(lookup.answer.clone());
        }
        if state.threads < MAX_THREADS {
            let started = thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(|| self.work());
            match started {
                Ok(_) => state.threads += 1,
                // Those that there are take it on.
                Err(_) if state.threads > 0 => {}
                Err(error) => return Err(error),
            }
        }
        let name: Arc<str> = name.into();
        let (sender, answer) = tokio::sync::watch::channel(None);
        let lookup = Lookup {
            answer: answer.clone(),
            ended: None,
        };
        state.lookups.insert(Arc::clone(&name), lookup);
        state.queue.push_back((name, sender));
        Ok(answer)
    }

    /// Looks up what waits, until nothing does.
    fn work(&self) {
        let mut ended: Option<Arc<str>> = None;
        loop {
            let next = {
                let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let state = state.get_or_insert_default();
                if let Some(lookup) = ended.take().and_then(|name| state.lookups.get_mut(&name)) {
                    lookup.ended = Some(Instant::now());
                }
                let next = state.queue.pop_front();
                state.threads -= usize::from(next.is_none());
                next
            };
            let Some((name, sender)) = next else {
                return;
            };
            let found = (self.look_up)(&name);
            let answer = found.map(Into::into);
            let answer = answer.map_err(|error| (error.kind(), error.to_string().into()));
            // Nobody may wait for it any longer.
            sender.send_replace(Some(answer));
            ended = Some(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_systems_resolver_is_asked_and_its_refusal_is_an_error() {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy().into_owned();
        if look_up(&host).is_ok() {
            assert!(!resolve(&host).await.expect("its own name").is_empty());
        }
        // RFC 6761: nobody has it.
        resolve("plumbline.invalid").await.expect_err("no address");
    }

    #[tokio::test]
    async fn localhost_is_the_loopback() {
        for name in ["localhost", "a.localhost"] {
            let addresses = resolve(name).await.expect("addresses");
            assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        }
    }

    /// How many have asked, and whether the name server answers.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static ANSWERS: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn look_up_slowly(_: &str) -> io::Result<Vec<IpAddr>> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        let answers = ANSWERS.0.lock().expect("whole");
        drop(ANSWERS.1.wait_while(answers, |answers| !*answers));
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }

    #[tokio::test]
    async fn a_dead_name_server_holds_up_few_threads_and_its_answer_serves_all() {
        static SLOW: Names = Names::new(look_up_slowly);
        let moment = Duration::from_millis(20);
        let threads = || {
            let state = SLOW.state.lock().expect("whole");
            state.as_ref().map_or(0, |state| state.threads)
        };
        for round in 0..20 {
            for name in ["a", "b", "c", "d", "e", "f"] {
                let given_up = timeout(moment / 10, SLOW.resolve(name)).await;
                assert!(given_up.is_err(), "{round}: nobody answers");
            }
            SLOW.resolve("localhost").await.expect("needs nobody");
            assert!(threads() <= MAX_THREADS);
        }
        assert!(ASKED.load(Ordering::SeqCst) <= MAX_THREADS);
        *ANSWERS.0.lock().expect("whole") = true;
        ANSWERS.1.notify_all();
        for name in ["a", "b", "c", "d", "e", "f", "a"] {
            let found = SLOW.resolve(name).await.expect("an address");
            assert_eq!(found[..], [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        }
        // One lookup for all who asked for the same name.
        assert_eq!(ASKED.load(Ordering::SeqCst), 6);
    }
}
