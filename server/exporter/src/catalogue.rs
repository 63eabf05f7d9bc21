//! How metrics are declared: a line for each, from which come its constant and the list of all.
//!
//! Knows the form. What is declared stands in `declaration`.

/// Declares metrics, each once, and the list of them for [`Registry::new`](crate::Registry::new).
///
/// ```
/// use exporter::{FAST, catalogue, label};
///
/// catalogue! {
///     /// What this service measures.
///     pub CATALOGUE:
///     ORDERS = counter, "orders_total" [label("outcome", &["paid", "refused"])] "orders"
///         "Orders ever taken, by what became of them.";
///     PRICING = histogram(FAST), "pricing_duration_seconds" [] "seconds"
///         "Time to price an order.";
/// }
/// assert_eq!(CATALOGUE.len(), 2);
/// ```
#[macro_export]
macro_rules! catalogue {
    ($(#[doc = $doc:literal])+ $visibility:vis $list:ident: $($constant:ident = $kind:ident $(($bounds:expr))?, $name:literal [$($label:expr),*] $unit:literal $help:literal;)+) => {
        $(
            #[doc = $help]
            $visibility const $constant: $crate::metric_type!($kind $($label),*) =
                $crate::Metric::$kind($($bounds,)? $name, &[$($label),*], $unit, $help);
        )+

        $(#[doc = $doc])+
        $visibility const $list: &[$crate::Declaration] = &[$($constant.declaration()),+];
    };
}

/// The type of a declaration of [`catalogue!`](crate::catalogue); of no use by itself.
#[doc(hidden)]
#[macro_export]
macro_rules! metric_type {
    (counter $($label:expr),*) => { $crate::Metric<$crate::Counter, { $crate::metric_type!(# $($label),*) }> };
    (gauge $($label:expr),*) => { $crate::Metric<$crate::Gauge, { $crate::metric_type!(# $($label),*) }> };
    (histogram $($label:expr),*) => { $crate::Metric<$crate::Histogram, { $crate::metric_type!(# $($label),*) }> };
    (# $($label:expr),*) => { <[&str]>::len(&[$(stringify!($label)),*]) };
}
