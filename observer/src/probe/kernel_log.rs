//! The programs' log lines, handed on to `tracing`.

use aya::Ebpf;
use aya_log::EbpfLogger;
use rustix::param::page_size;

/// The ring buffer, as aya-log names it.
pub(super) const MAP: &str = "AYA_LOGS";

/// Its size: room for a hundred lines. The kernel wants whole pages, and a power of two. Unit: bytes.
pub(super) fn size() -> u32 {
    4 * page_size() as u32
}

/// The ring buffer into which the programs log. They log rarely, when something is wrong.
pub struct KernelLog(EbpfLogger<ToTracing>);

impl KernelLog {
    pub(super) fn take(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, ToTracing).ok().map(Self)
    }

    /// Hands on what was logged since the last call.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// aya-log speaks the `log` crate's interface.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = record.args();
        match record.level() {
            log::Level::Error | log::Level::Warn => tracing::warn!(origin = "bpf", "{message}"),
            log::Level::Info => tracing::info!(origin = "bpf", "{message}"),
            log::Level::Debug | log::Level::Trace => tracing::debug!(origin = "bpf", "{message}"),
        }
    }

    fn flush(&self) {}
}
