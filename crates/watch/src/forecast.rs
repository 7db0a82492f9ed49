//! When is it full? Time to full of a disk area, following changes of slope.

use stdx::{Bytes, Now, Span};
use words::{Reason, Verdict};

/// One measurement of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub at: Now,
    pub used: Bytes,
    pub size: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// It does not grow, or it would take more than [`FAR`].
    Never,
    FullAt(Now),
    FullNow,
}

/// How far a forecast reaches.
pub const FAR: Span = Span::days(365);
/// Slopes are taken over these spans; the steepest counts, so that a change is followed within
/// minutes while a quiet hour hides nothing.
const SPANS: [Span; 4] = [Span::mins(5), Span::hours(1), Span::hours(24), Span::days(7)];
/// A span must be covered by measurements at least to this part, or its slope is noise.
const COVERED_MIN: f64 = 0.8;

/// Judges from measurements in the order of time.
pub fn full_at(fills: &[Fill], now: Now) -> Verdict<Forecast> {
    let Some(last) = fills.last() else {
        return Verdict::new(
            Forecast::Never,
            Reason::new("disk.unmeasured", "nothing has been measured yet"),
        );
    };
    let free = last.size.get().saturating_sub(last.used.get());
    if free == 0 {
        let reason = Reason::new("disk.full", "it is full").with("used", last.used).with("size", last.size);
        return Verdict::new(Forecast::FullNow, reason);
    }
    let steepest = SPANS
        .iter()
        .filter_map(|span| Some((slope(fills, *span)?, *span)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((per_ms, span)) = steepest.filter(|(s, _)| *s > 0.0) else {
        let reason =
            Reason::new("disk.steady", "it does not grow").with("used", last.used).with("size", last.size);
        return Verdict::new(Forecast::Never, reason);
    };
    let left_ms = free as f64 / per_ms;
    let reason = Reason::new(
        "disk.grows",
        format!("it grows by {} a day, measured over {span}", Bytes((per_ms * 86_400_000.0) as u64)),
    )
    .with("used", last.used)
    .with("free", Bytes(free));
    if left_ms > FAR.as_ms() as f64 {
        return Verdict::new(Forecast::Never, reason);
    }
    Verdict::new(Forecast::FullAt(now + Span(left_ms as u64)), reason)
}

/// Bytes per millisecond over the newest part of the measurements that spans `span`, by least
/// squares (single jumps and noise weigh little).
fn slope(fills: &[Fill], span: Span) -> Option<f64> {
    let last = fills.last()?;
    let from = fills.partition_point(|f| f.at < last.at - span);
    let part = &fills[from..];
    let covered = last.at.since(part.first()?.at).as_ms() as f64;
    if part.len() < 3 || covered < span.as_ms() as f64 * COVERED_MIN {
        return None;
    }
    let n = part.len() as f64;
    let x = |f: &Fill| f.at.since(part[0].at).as_ms() as f64;
    let y = |f: &Fill| f.used.get() as f64;
    let (mx, my) = (part.iter().map(x).sum::<f64>() / n, part.iter().map(y).sum::<f64>() / n);
    let num: f64 = part.iter().map(|f| (x(f) - mx) * (y(f) - my)).sum();
    let den: f64 = part.iter().map(|f| (x(f) - mx).powi(2)).sum();
    (den > 0.0).then(|| num / den)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One measurement a minute; `rate` bytes a minute by time.
    fn run(minutes: u64, size: u64, rate: impl Fn(u64) -> u64) -> Vec<Fill> {
        let mut used = 0;
        (0..minutes)
            .map(|m| {
                used += rate(m);
                Fill { at: Now::from_secs(m * 60), used: Bytes(used), size: Bytes(size) }
            })
            .collect()
    }

    #[test]
    fn steady_growth_is_forecast_within_a_fifth() {
        let fills = run(600, 4_000_000, |_| 1000);
        let now = fills.last().expect("some").at;
        let Forecast::FullAt(at) = full_at(&fills, now).decision else { panic!("it grows") };
        let left = at.since(now).as_secs() as f64 / 60.0;
        assert!((left - 3400.0).abs() < 680.0, "{left} minutes");
    }

    #[test]
    fn a_tripled_slope_is_followed_within_five_minutes() {
        let fills = run(366, 4_000_000, |m| if m < 360 { 1000 } else { 3000 });
        let now = fills.last().expect("some").at;
        let Forecast::FullAt(at) = full_at(&fills, now).decision else { panic!("it grows") };
        let want = (4_000_000.0 - 378_000.0) / 3000.0;
        let left = at.since(now).as_secs() as f64 / 60.0;
        assert!((left - want).abs() < want * 0.2, "{left} against {want} minutes");
    }

    #[test]
    fn what_does_not_grow_is_never_full() {
        let fills = run(100, 1_000_000, |m| if m == 0 { 500_000 } else { 0 });
        assert_eq!(full_at(&fills, Now::from_secs(6000)).decision, Forecast::Never);
        assert_eq!(full_at(&[], Now(0)).decision, Forecast::Never);
        let full = Fill { at: Now(0), used: Bytes(5), size: Bytes(5) };
        assert_eq!(full_at(&[full], Now(0)).decision, Forecast::FullNow);
    }
}
