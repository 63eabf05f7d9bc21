//! x
/// Which text format an exposition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}
/// Kind
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// x
    Gauge,
}
/// x
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("x")]
pub struct SyntaxError;
