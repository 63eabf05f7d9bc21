//! What is known of a target, in one sentence: what the gauge says, what the kernel saw, what follows
//! from this check, and what only from earlier ones.

use std::time::Duration;

use super::{rfc3339, suspects};
use crate::{
    check::{Blind, Bounds, Interval, Likely, Rule, Verdict, Widening, Window},
    config::{ClaimType, Counts},
    recipes::{self, Recipe},
    watch::{observation::Observation, target::Target, unheard::Heard},
};

/// What is known, in one sentence.
pub(super) fn sentence(target: &Target, observation: &Observation) -> String {
    let name = &target.config.name;
    // Where a drift is sure, a likely one says nothing more.
    let likely = match (observation.finding.verdict, &observation.likely) {
        (Verdict::Over | Verdict::Under, _) | (_, None) => String::new(),
        (_, Some(likely)) => likely_drift(likely),
    };
    if let Some(reason) = observation.finding.blind {
        let why = blindness(target, observation, reason);
        return format!("{name}: blind: {why}{likely}.");
    }
    let (Some(claim), Some(interval), Some(together)) = (
        observation.claim,
        observation.interval,
        observation.finding.drift,
    ) else {
        return format!("{name}: not checked yet.");
    };
    let compared = compared(target.config.claim_type, claim, interval);
    let conclusion = conclusion(observation, Bounds::of(claim as i64, interval), together);
    let suspects = match (observation.finding.verdict, &observation.suspects) {
        // What was opened once too often, or was missed, is perhaps no longer there.
        _ if target.config.claim_type == ClaimType::Counter => String::new(),
        (Verdict::Over | Verdict::Under, Some(suspects)) => suspects::in_words(suspects),
        _ => String::new(),
    };
    let known = match observation.finding.verdict {
        Verdict::Over | Verdict::Under => recipes::other_way(&target.config),
        _ => None,
    };
    let known = known.map_or_else(String::new, known_otherwise);
    let held = match observation.held {
        None | Some(0) => String::new(),
        Some(held) => format!(
            " The service holds {held} whose peer has gone: `observer sockets --class closing`."
        ),
    };
    let negative = observation
        .negative
        .as_deref()
        .map_or_else(String::new, negative);
    format!("{name}: {compared}{conclusion}{likely}.{suspects}{known}{held}{negative}")
}

/// What a gauge of this name is known to count.
fn known_otherwise(recipe: &Recipe) -> String {
    format!(
        " This looks like {}, which counts {}: `observer recipes {}`.",
        recipe.service, recipe.counts, recipe.name
    )
}

/// What is wrong with a claim whatever the kernel says.
fn negative(series: &str) -> String {
    format!(
        " {series} is negative, which no number of connections is: what it counts is decremented \
         under other labels than it was incremented, or twice."
    )
}

/// The claim beside what the kernel saw at the same check.
fn compared(claim_type: ClaimType, claim: f64, interval: Interval) -> String {
    let Interval { low, high } = interval;
    let noun = noun(claim_type);
    match (claim_type, interval.width()) {
        (ClaimType::Gauge, 0) => format!("the {noun} says {claim}, the kernel counts {low}"),
        (ClaimType::Counter, 0) => format!("the {noun} says {claim}, the kernel allows {low}"),
        _ => format!("the {noun} says {claim}, the kernel allows {low} to {high}"),
    }
}

const fn noun(claim_type: ClaimType) -> &'static str {
    match claim_type {
        ClaimType::Gauge => "gauge",
        ClaimType::Counter => "counter",
    }
}

/// What follows. `own` is what this check leaves of the drift, `together` what it and the earlier
/// ones do: where they have said more, that is told as theirs.
fn conclusion(observation: &Observation, own: Bounds, together: Bounds) -> String {
    let finding = &observation.finding;
    let sure = together.sure();
    let by_earlier = match sure.unsigned_abs() > own.sure().unsigned_abs() {
        true => " now; by earlier, narrower checks it is",
        false => ":",
    };
    let last_shown = match finding.last_shown {
        Some(last) if own.sure() == 0 => format!(", last shown at {}", rfc3339(last)),
        _ => String::new(),
    };
    match finding.verdict {
        Verdict::Over | Verdict::Under => {
            let since = finding.since.map(rfc3339).unwrap_or_default();
            let by = sure.unsigned_abs();
            let least = match together.low == together.high {
                true => "",
                false => "at least ",
            };
            let cause = observation
                .shape
                .map(|shape| format!("; likely {}", shape.cause()))
                .unwrap_or_default();
            let verdict = finding.verdict;
            format!("{by_earlier} {verdict} by {least}{by} since {since}{last_shown}{cause}")
        }
        Verdict::Unsettled if finding.rule == Rule::WitnessesFirst => format!(
            ": a drift of {sure:+}, which is not said before the kernel's two witnesses were compared"
        ),
        Verdict::Unsettled => {
            format!("{by_earlier} a drift of {sure:+} that is not confirmed yet{last_shown}")
        }
        Verdict::Agree | Verdict::Blind => match together.widest() {
            0 => ": they agree".to_owned(),
            widest => format!(": they agree, and a drift of up to {widest} would not show"),
        },
    }
}

/// A drift that is likely and not sure; nothing where none may be as well.
fn likely_drift(likely: &Likely) -> String {
    let Likely {
        drift,
        bounds: Bounds { low, high },
        ..
    } = *likely;
    let (word, least, most) = match likely.bounds.sure() {
        0 => return String::new(),
        sure if sure > 0 => ("over", low, high),
        _ => ("under", -high, -low),
    };
    let by = drift.unsigned_abs();
    format!("; likely {word} by {by} ({least} to {most})")
}

/// Why nothing can be said.
fn blindness(target: &Target, observation: &Observation, reason: Blind) -> String {
    match reason {
        Blind::TargetDown | Blind::ClaimMissing => observation
            .failure
            .clone()
            .unwrap_or_else(|| "there is no claim yet".to_owned()),
        Blind::CannotTell => format!(
            "WebSockets cannot be told from other connections: {}",
            target.kernel().blind_to_websockets().unwrap_or_default()
        ),
        Blind::NotSeeded => match target.endpoints.health().failure {
            None => "the connections that were open before are still being counted".to_owned(),
            Some(failure) => {
                format!("the connections that were open before cannot be counted: {failure}")
            }
        },
        Blind::WitnessesDisagree => "the kernel's two witnesses disagree".to_owned(),
        Blind::Lost if observation.finding.rule == Rule::TooWide => vain(target, observation),
        Blind::Lost => "the kernel's counts have lost a connection".to_owned(),
        Blind::NoNamespace => target
            .endpoints
            .health()
            .absence
            .unwrap_or_else(|| "its network namespace is not there".to_owned()),
        Blind::NotListening => not_listening(target, observation),
        Blind::Restarted => "the service was just restarted".to_owned(),
        Blind::TooWide => vain(target, observation),
        Blind::EgressUnseen => {
            let Heard { heard, unheard, .. } = observation.heard;
            let sent = heard + unheard;
            format!(
                "{unheard} of {sent} connections have sent bytes that the program on the cgroup did \
                 not see, so they may be WebSockets or not. Is the service in another cgroup than \
                 `kernel.cgroup` (in a container, a private one looks like the root), or do its \
                 packets leave another way?"
            )
        }
        Blind::NothingSeen => {
            let claim = observation.claim.unwrap_or_default();
            let listen = &target.config.listen;
            let noun = noun(target.config.claim_type);
            format!(
                "the {noun} says {claim}, and no connection was ever seen on {listen} since the \
                 observer was started. If clients come another way (another port, another network \
                 namespace, a proxy or a port mapping before it), name the place where the service \
                 accepts them. If they have all left, the {noun} is wrong, and the next connection \
                 makes that a verdict"
            )
        }
        Blind::FirstReading => {
            let claim = observation.claim.unwrap_or_default();
            format!(
                "the counter says {claim}; from now on it is held against the connections that the \
                 kernel sees opened"
            )
        }
    }
}

/// An agreement that excludes too little, and what made it so wide.
fn vain(target: &Target, observation: &Observation) -> String {
    let (Some(claim), Some(interval), Some(together)) = (
        observation.claim,
        observation.interval,
        observation.finding.drift,
    ) else {
        return "too little is known".to_owned();
    };
    let widest = together.widest();
    let compared = compared(target.config.claim_type, claim, interval);
    let window = observation.record.and_then(|record| record.window);
    let why = window.map(|window| why_so_wide(target, &window));
    format!(
        "{compared}, and a drift of up to {widest} would not show{}",
        why.unwrap_or_default()
    )
}

fn why_so_wide(target: &Target, window: &Window) -> String {
    match window.widening() {
        Widening::Unclassified(count) => match target.config.counts {
            Counts::Websocket => format!(
                ": {count} connections may or may not be WebSockets. Those that were open before \
                 the observer show it by their next frame, a ping is enough; inside TLS they never do"
            ),
            Counts::Established | Counts::Accepted | Counts::Outgoing => {
                format!(": up to {count} connections may have come unseen")
            }
        },
        Widening::Churn(count) => {
            let millis = window.length().as_millis() as u64;
            let window = humantime::format_duration(Duration::from_millis(millis));
            format!(
                ": {count} times a connection came or went within the {window} of the check, of \
                 which `settle` is the greater part"
            )
        }
        Widening::Closing(count) => format!(
            ": the peers of {count} connections have gone, and the service has not closed them"
        ),
        Widening::Missing(count) => {
            format!(": the kernel did not show the programs up to {count} events")
        }
        Widening::Subflows(count) => {
            format!(": {count} sockets are further subflows of MPTCP connections")
        }
    }
}

/// Why nothing can listen there, or that nothing does.
fn not_listening(target: &Target, observation: &Observation) -> String {
    let listeners = observation.listeners.as_ref();
    let absent = listeners.and_then(|listeners| listeners.absent_addresses.first());
    let listen = &target.config.listen;
    match absent {
        Some(address) => format!(
            "nothing can listen on {listen}: the host does not have the address {address} \
             (`ip address` lists those that it has)"
        ),
        None => format!("nothing listens on {listen}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::check::Finding;

    /// What is said of a claim at a check that leaves `low` to `high` open, where it and the earlier
    /// checks together leave this of the drift.
    fn concluded(verdict: Verdict, claim: i64, open: (i64, i64), together: (i64, i64)) -> String {
        let interval = Interval {
            low: open.0,
            high: open.1,
        };
        let together = Bounds {
            low: together.0,
            high: together.1,
        };
        let mut observation = Observation::none(Duration::ZERO);
        observation.finding = Finding {
            verdict,
            rule: Rule::Confirmed,
            blind: None,
            drift: Some(together),
            since: Some(SystemTime::UNIX_EPOCH),
            last_shown: Some(SystemTime::UNIX_EPOCH),
            ..observation.finding
        };
        let own = Bounds::of(claim, interval);
        let compared = compared(ClaimType::Gauge, claim as f64, interval);
        let conclusion = conclusion(&observation, own, together);
        format!("{compared}{conclusion}").replace("1970-01-01T00:00:00.000Z", "then")
    }

    #[test]
    fn what_this_check_shows_and_what_only_earlier_ones_have_is_told_apart() {
        let said = concluded(Verdict::Over, 7, (4, 4), (3, 3));
        assert_eq!(
            said,
            "the gauge says 7, the kernel counts 4: over by 3 since then"
        );
        let said = concluded(Verdict::Over, 27, (1, 29), (16, 26));
        assert_eq!(
            said,
            "the gauge says 27, the kernel allows 1 to 29 now; by earlier, narrower checks it is \
             over by at least 16 since then, last shown at then"
        );
        let said = concluded(Verdict::Over, 27, (1, 20), (16, 26));
        assert_eq!(
            said,
            "the gauge says 27, the kernel allows 1 to 20 now; by earlier, narrower checks it is \
             over by at least 16 since then"
        );
        let said = concluded(Verdict::Under, 2, (3, 9), (-7, -1));
        assert_eq!(
            said,
            "the gauge says 2, the kernel allows 3 to 9: under by at least 1 since then"
        );
    }

    #[test]
    fn a_gauge_that_is_known_is_said_to_count_something_else() {
        let nginx = recipes::find("nginx").unwrap();
        assert_eq!(
            known_otherwise(nginx),
            " This looks like nginx with prometheus-nginx-exporter, which counts connections of the \
             whole server, all ports, the exporter's own included: `observer recipes nginx`."
        );
    }

    #[test]
    fn an_agreement_says_what_would_not_show() {
        let said = concluded(Verdict::Agree, 4, (4, 4), (0, 0));
        assert_eq!(said, "the gauge says 4, the kernel counts 4: they agree");
        let said = concluded(Verdict::Agree, 5, (4, 9), (-4, 1));
        assert_eq!(
            said,
            "the gauge says 5, the kernel allows 4 to 9: they agree, and a drift of up to 4 would \
             not show"
        );
    }

    proptest! {
        #[test]
        fn no_sentence_claims_more_of_a_check_than_it_shows(
            by in 1..50_i64,
            width in 0..50_i64,
            wider in (0..60_i64, 0..60_i64),
        ) {
            let (claim, own) = (200, (by - wider.0, by + width + wider.1));
            let open = (claim - own.1, claim - own.0);
            let said = concluded(Verdict::Over, claim, open, (by, by + width));
            let is_told_as_earlier = said.contains("by earlier, narrower checks it is over by");
            prop_assert_eq!(is_told_as_earlier, by > own.0.max(0), "{}", said);
        }
    }

    fn said(drift: i64, low: i64, high: i64) -> String {
        likely_drift(&Likely {
            drift,
            bounds: Bounds { low, high },
            lag: None,
            within: Duration::ZERO,
            checks: 60,
        })
    }

    #[test]
    fn a_likely_drift_is_said_where_none_is_unlikely() {
        assert_eq!(said(5, 3, 7), "; likely over by 5 (3 to 7)");
        assert_eq!(said(-5, -7, -3), "; likely under by 5 (3 to 7)");
        assert_eq!(said(5, 0, 9), "");
    }
}
