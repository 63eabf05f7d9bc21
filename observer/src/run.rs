//! `observer run`: watches until it is told to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use observer::{
    args::{Files, Pages, Refresher, Sources},
    blocking::MAX_THREADS,
    config::{Config, Level, Log, LogFormat},
    http, memory,
    printable::Printer,
    privileges,
    watch::{Changes, Start, Tasks, Watch},
};

use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};
use web_config::Guard;

/// Sends the log to stderr as the configuration says.
pub(crate) fn init_log(log: Log) {
    let level = match log.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(level));
    match log.format {
        LogFormat::Logfmt => {
            let lines = tracing_logfmt::builder()
                // `target` is what is watched, and a field of its own.
                .with_target(false)
                .layer()
                .with_writer(|| Printer(std::io::stderr()));
            registry.with(lines).init();
        }
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_writer(|| Printer(std::io::stderr()));
            registry.with(lines).init();
        }
    }
}

/// Between two looks at the files of the configuration: one that has stood for a look is read.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until SIGINT or SIGTERM; reads its configuration again at each SIGHUP, and when a file of it has
/// changed.
///
/// # Errors
/// When there is no configuration, the observer's address is taken or the kernel refuses; nothing is
/// left half-started.
pub(crate) fn run(sources: Sources) -> anyhow::Result<()> {
    let config = sources.clone().load_with(&Pages::default())?;
    let files = Files::of(sources.config.as_deref(), &config);
    init_log(config.log);
    memory::keep_lists_apart();
    // Before the kernel is touched: a busy port must leave nothing behind.
    let listener = bind(config.web.listen_address)?;
    let guard = guard(&config)?;
    let watch = Arc::new(open(&config)?);
    block_on(serve(listener, guard, watch, config, sources, files))
}

/// What guards the observer's own HTTP, if anything does.
///
/// # Errors
/// When its file is not what it has to be.
pub(crate) fn guard(config: &Config) -> anyhow::Result<Option<Guard>> {
    let file = config.web.config_file.as_deref();
    Ok(file.map(Guard::open).transpose()?)
}

/// Attaches to the kernel, then gives up the right to do so: before there is a second thread.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn open(config: &Config) -> anyhow::Result<Watch> {
    let watch = Watch::open(config)?;
    let kept = privileges::drop_after_attach(watch.kernel.probe().is_some())?;
    tracing::info!(kept = kept.join(","), "capabilities dropped");
    Ok(watch)
}

/// Runs a command to its end. What still blocks a thread then is left to itself.
///
/// # Errors
/// Those of the command, or when the threads of a runtime cannot be started.
pub(crate) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(MAX_THREADS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

async fn serve(
    listener: std::net::TcpListener,
    guard: Option<Guard>,
    watch: Arc<Watch>,
    mut config: Config,
    sources: Sources,
    files: Files,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener).context("take over the listener")?;
    let address = listener.local_addr().context("read the bound address")?;
    let mut tasks = watch.spawn(Start::Spread)?;
    tracing::info!(
        web_listen_address = %address,
        backend = watch.kernel.backend(),
        targets = watch.targets().len(),
        "started"
    );
    if address.ip().is_loopback() {
        tracing::info!("metrics are on loopback only; --web.listen-address opens them");
    }
    let failing = Arc::clone(&watch);
    let refresher = Refresher::new(Pages::default(), move |source| failing.list_failed(source));
    // Whoever is told may stop it at once, or have it read its configuration again.
    let stopped = stopped()?;
    let hangup = signal(SignalKind::hangup()).context("wait for SIGHUP")?;
    let mut occasions = Occasions::new(hangup, files, refresher);
    occasions.follow(&config);
    let status = format!(
        "watching {} target(s) by {}, metrics on {address}",
        watch.targets().len(),
        watch.kernel.backend()
    );
    tell_supervisor(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let stop = async {
        stopped.await;
        tell_supervisor(&[NotifyState::Stopping]);
    };
    let served = http::serve(listener, guard, Arc::clone(&watch), stop);
    tokio::pin!(served);
    loop {
        tokio::select! {
            () = &mut served => break,
            ended = tasks.ended() => return Err(ended.into()),
            () = occasions.next() => {
                let pages = occasions.refresher.pages();
                let read = read_again(sources.clone(), pages).await;
                let reloaded = read.and_then(|read| reload(&watch, &mut tasks, &mut config, read));
                occasions.follow(&config);
                if let Err(error) = reloaded {
                    watch.reload_failed();
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the new configuration is refused, and the old one stays"
                    );
                }
            }
        }
    }
    drop(tasks);
    tracing::info!("stopped");
    Ok(())
}

/// When to read the configuration again.
struct Occasions {
    hangup: Signal,
    look: tokio::time::Interval,
    files: Files,
    refresher: Refresher,
}

impl Occasions {
    fn new(hangup: Signal, files: Files, refresher: Refresher) -> Self {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            hangup,
            look,
            files,
            refresher,
        }
    }

    /// Files and pages are those of `config` from now on.
    fn follow(&mut self, config: &Config) {
        self.files.follow(config);
        self.refresher.follow(config);
    }

    /// Returns at the next SIGHUP, or when a file or a page has changed.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    self.files.take();
                    return;
                }
                () = self.refresher.changed() => return,
                _ = self.look.tick() => {}
            }
            if self.files.have_changed() {
                return;
            }
        }
    }
}

/// Reads files and resolves names, which blocks.
async fn read_again(sources: Sources, pages: Pages) -> anyhow::Result<Config> {
    let load = tokio::task::spawn_blocking(move || sources.load_with(&pages));
    Ok(load.await.context("read the configuration")??)
}

/// Watches what the new configuration says from now on.
fn reload(
    watch: &Watch,
    tasks: &mut Tasks,
    config: &mut Config,
    read: Config,
) -> anyhow::Result<()> {
    let Changes { started, stopped } = watch.reload(&read.targets, tasks)?;
    tracing::info!(
        targets = read.targets.len(),
        started = started.join(","),
        stopped = stopped.join(","),
        "the configuration was read again"
    );
    for (section, is_same) in [
        ("web", read.web == config.web),
        ("kernel", read.kernel == config.kernel),
        ("log", read.log == config.log),
    ] {
        if !is_same {
            tracing::warn!(section, "this part has changed, and needs a restart");
        }
    }
    (config.targets, config.discovery) = (read.targets, read.discovery);
    Ok(())
}

fn bind(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(listener)
    };
    bind().with_context(|| {
        format!(
            "cannot listen on {address} for the observer's own HTTP; \
             hint: --web.listen-address takes another address (`ss -ltnp` shows who has it)"
        )
    })
}

/// Tells whoever named a socket in `NOTIFY_SOCKET`, as systemd does for `Type=notify`; else nobody.
fn tell_supervisor(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the supervisor; hint: see NOTIFY_SOCKET");
    }
}

/// Resolves at the first SIGINT or SIGTERM.
pub(crate) fn stopped() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
