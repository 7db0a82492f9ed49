//! Room on the mail disk: measured each minute for the forecast, and made before mail is refused.
//!
//! What it is: the measurements that [`watch::forecast`] judges, and the order in which things that can
//! be made again go when the reserve is near: search indexes, old facts, then holes where deleted mail
//! lay. What it is not: the guard that refuses mail (the store's intake). Begin with [`measure`].

use std::sync::{Arc, Mutex, PoisonError};

use stdx::{Bytes, Ring, Span};
use store::StoreError;
use watch::forecast::{self, Fill, Forecast};
use words::{AccountId, Verdict};

use crate::Site;

/// One measurement a minute for a week.
const FILLS_MAX: usize = 7 * 24 * 60;
/// Measurements are at least so far from each other.
const EVERY: Span = Span::secs(60);
/// Making room is tried again after this long.
const AGAIN: Span = Span::mins(10);
/// Accounts whose search index goes in one commit.
const ACCOUNTS_AT_ONCE: usize = 50;
/// With the disk nearly full, facts are kept for this long only, and so many go at a time.
const FACTS_KEEP: Span = Span::hours(24);
const FACTS_STEP: usize = 20_000;

/// What was measured. Cheap to clone.
#[derive(Clone)]
pub struct Fills(Arc<Mutex<Ring<Fill>>>);

impl Default for Fills {
    fn default() -> Fills {
        Fills(Arc::new(Mutex::new(Ring::new(FILLS_MAX))))
    }
}

impl Fills {
    /// Adds a measurement, unless one was made less than a minute ago.
    pub fn note(&self, fill: Fill) {
        let mut fills = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fills.iter().last().is_none_or(|last| fill.at.since(last.at) >= EVERY) {
            fills.push(fill);
        }
    }
    /// When it will be full.
    pub fn forecast(&self, now: stdx::Now) -> Verdict<Forecast> {
        let fills: Vec<Fill> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        forecast::full_at(&fills, now)
    }
}

/// Measures the mail disk.
pub fn measure(site: &Site) {
    if let Some(space) = site.store().space() {
        let used = Bytes(space.total.get().saturating_sub(space.free.get()));
        site.fills().note(Fill { at: site.now(), used, size: space.total });
    }
}

/// Gives back what can be made again, if the reserve is near. True if something was tried.
pub async fn make_room(site: &Site, last: &mut stdx::Now) -> Result<bool, StoreError> {
    if !site.store().is_tight() || site.now().since(*last) < AGAIN {
        return Ok(false);
    }
    *last = site.now();
    tracing::warn!(
        "the mail disk is nearly full: search indexes and old facts go, space of deleted mail is given back"
    );
    let mut after = AccountId(0);
    loop {
        let page = site.store().glance(|c| directory::accounts(c, after, ACCOUNTS_AT_ONCE))?;
        let Some(end) = page.last() else { break };
        after = end.id;
        let forget = move |batch: &mut store::Batch<'_>| {
            page.iter().try_for_each(|a| mailbox::text::forget(batch, a.id))
        };
        site.store().commit(Vec::new(), forget).await?;
    }
    let (now, rows) = (site.now(), site.settings().ledger_rows_max);
    let bounds = ledger::Limits { age: FACTS_KEEP, rows, ..ledger::Limits::default() };
    site.store()
        .commit(Vec::new(), move |batch| ledger::purge(batch, &bounds, now, FACTS_STEP).map(drop))
        .await?;
    let store = site.store().clone();
    tokio::task::spawn_blocking(move || store.tidy()).await.map_err(|_| StoreError::Closed)??;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use stdx::Now;

    use super::*;

    /// R07 a: a log area of 32 MB fills in five days; after six hours it grows three times as fast.
    #[test]
    fn a_change_of_slope_is_in_the_forecast_within_five_minutes() {
        let (fills, size) = (Fills::default(), 32u64 << 20);
        let rate = |minute: u64| if minute < 360 { 4600.0 } else { 13_800.0 };
        let mut used = 0.0;
        let mut full = None;
        for minute in 0..100_000u64 {
            used += rate(minute);
            if used as u64 >= size {
                full = Some(minute);
                break;
            }
        }
        let full = full.expect("it fills") as f64;
        used = 0.0;
        let (mut first_true, mut worst) = (None, 0.0f64);
        for minute in 0..full as u64 {
            used += rate(minute);
            let now = Now::from_secs(minute * 60);
            fills.note(Fill { at: now, used: Bytes(used as u64), size: Bytes(size) });
            let Forecast::FullAt(at) = fills.forecast(now).decision else { continue };
            let (told, left) = (at.since(now).as_secs() as f64 / 60.0, full - minute as f64);
            let error = (told - left).abs() / left;
            if minute >= 365 {
                first_true = first_true.or((error <= 0.2).then_some(minute));
                if left > 24.0 * 60.0 {
                    worst = worst.max(error);
                }
            }
        }
        assert_eq!(first_true, Some(365), "five minutes after the change");
        assert!(full - 365.0 >= 24.0 * 60.0, "told {} minutes ahead", full - 365.0);
        assert!(worst <= 0.2, "an error of {worst}");
    }
}
