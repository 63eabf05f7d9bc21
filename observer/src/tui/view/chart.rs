//! Claim and band over time: a column for each check, a row for each share of the range.
//!
//! The band is shaded; the claim is a dot in it, and an arrow outside it, with the drift dotted in
//! between. It reads the same without colours.

use ratatui::{Frame, layout::Rect, text::Line};

use crate::tui::trend::{Place, Point, Trend};

/// Columns of the scale at the left, at most.
const SCALE: u16 = 12;

/// Draws the last checks of a trend.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, trend: &Trend) {
    let rows = lines(trend, usize::from(area.width), usize::from(area.height));
    for (y, row) in (area.y..).zip(rows) {
        let line = Rect::new(area.x, y, area.width, 1);
        frame.render_widget(Line::from(row), line);
    }
}

/// The rows, from above.
fn lines(trend: &Trend, width: usize, height: usize) -> Vec<String> {
    let points = trend.last(width);
    let values = points.clone().flat_map(|point| {
        let band = point.band.map(|(low, high)| [low, high]);
        point.claim.into_iter().chain(band.into_iter().flatten())
    });
    let Some((least, most)) = values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((least, most)) => Some((value.min(least), value.max(most))),
    }) else {
        let nothing = (height > 0).then(|| "no check has a claim and a band yet".to_owned());
        return nothing.into_iter().collect();
    };
    let scale = Scale {
        least,
        most,
        height,
    };
    let labels = [most.to_string(), least.to_string()];
    let margin = labels
        .iter()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .min(usize::from(SCALE))
        + 1;
    let points: Vec<_> = trend.last(width.saturating_sub(margin)).collect();
    (0..height)
        .map(|row| {
            let label = match row {
                0 => &labels[0],
                _ if row + 1 == height => &labels[1],
                _ => "",
            };
            let cells = points.iter().map(|point| scale.cell(point, row));
            format!("{label:>width$} ", width = margin - 1) + &cells.collect::<String>()
        })
        .collect()
}

struct Scale {
    least: i64,
    most: i64,
    height: usize,
}

impl Scale {
    /// The row of a value, from above.
    fn row(&self, value: i64) -> usize {
        let below = value.abs_diff(self.least) as f64;
        let range = self.most.abs_diff(self.least).max(1) as f64;
        let last = self.height.saturating_sub(1);
        last - (below / range * last as f64).round() as usize
    }

    fn cell(&self, point: &Point, row: usize) -> char {
        let claim = point.claim.map(|claim| self.row(claim));
        let band = point.band.map(|(low, high)| self.row(high)..=self.row(low));
        let is_claim = claim == Some(row);
        let place = point.place();
        if is_claim {
            return match place {
                Place::Over => '▲',
                Place::Under => '▼',
                Place::Within(_) => '●',
                Place::Unknown => '?',
            };
        }
        match (claim, band) {
            (_, Some(band)) if band.contains(&row) => '░',
            (Some(claim), Some(band))
                if place == Place::Over && claim < row && row < *band.start() =>
            {
                ':'
            }
            (Some(claim), Some(band))
                if place == Place::Under && *band.end() < row && row < claim =>
            {
                ':'
            }
            _ => ' ',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CheckReport;

    fn trend(points: &[(i64, i64, i64)]) -> Trend {
        let checks: Vec<_> = (0..)
            .zip(points)
            .map(|(number, &(claim, low, high))| CheckReport {
                at: number.to_string(),
                claim: Some(claim),
                low: Some(low),
                high: Some(high),
                drift_low: None,
                drift_high: None,
                verdict: "agree".into(),
                reason: None,
                rule: "".into(),
            })
            .collect();
        let mut trend = Trend::default();
        trend.extend(&checks);
        trend
    }

    #[test]
    fn band_claim_and_drift_are_told_apart_without_colour() {
        let trend = trend(&[(1, 0, 2), (8, 0, 2), (0, 4, 8), (4, 4, 4)]);
        let expected = ["8  ▲░ ", "   :░ ", "   :░●", "  ●░: ", "0 ░░▼ "];
        assert_eq!(lines(&trend, 8, 5), expected);
    }

    #[test]
    fn every_size_can_be_drawn() {
        let trend = trend(&[(i64::MIN, 0, i64::MAX), (0, i64::MIN, i64::MAX)]);
        for width in 1..40 {
            for height in 0..10 {
                assert_eq!(lines(&trend, width, height).len(), height);
            }
        }
        assert_eq!(lines(&Trend::default(), 5, 0).len(), 0);
        assert_eq!(lines(&Trend::default(), 5, 3).len(), 1);
    }
}
