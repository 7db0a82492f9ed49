//! Small writes that need no hurry: facts beside a message, confirmations, and forgetting what is old.

use drive::Stop;
use stdx::{Now, Span};
use store::StoreError;

use crate::send::tally;
use crate::{Site, damage, receipts, space};

/// How long a fact beside a message waits for a commit of its own.
const EVERY: Span = Span::secs(1);
/// How often old rows are forgotten.
const PURGE_EVERY: Span = Span::mins(5);
/// Rows that one purge forgets at most, so that no mail waits for it; if there is more, the next round
/// goes on.
const PURGE_STEP: usize = 4000;
/// How often new facts get the keys they are asked by.
const KEYS_EVERY: Span = Span::secs(5);

/// Runs until the server stops, then writes what still waits.
pub async fn tend(site: Site, stop: Stop) {
    let (mut purged, mut roomy, mut keyed) = (Now::default(), Now::default(), Now::default());
    let mut damages = damage::Watch::default();
    let mut going = true;
    while going {
        let next = site.now() + EVERY;
        going = drive::until_stop(&stop, site.world().clock.sleep_until(next)).await.is_some();
        let purge = site.now().since(purged) >= PURGE_EVERY;
        if purge {
            purged = site.now();
        }
        match once(&site, purge && going).await {
            Ok(more) if more => purged = Now::default(),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "notes beside the mail could not be written; they are tried again");
            }
        }
        if going && site.now().since(keyed) >= KEYS_EVERY {
            keyed = site.now();
            if let Err(error) = ledger::tend(site.store()).await {
                tracing::warn!(%error, "new facts have no keys yet and are found more slowly; it is tried again");
            }
        }
        if let Err(error) = damages.round(&site).await {
            tracing::warn!(%error, "what is damaged could not be noted; it is when it is met again");
        }
        space::measure(&site);
        if going && let Err(error) = space::make_room(&site, &mut roomy).await {
            tracing::warn!(%error, "no room could be made on the mail disk; it is tried again");
        }
    }
}

/// One round: writes what waits, and forgets what is old if `purge`; true if there is more to forget.
pub async fn once(site: &Site, purge: bool) -> Result<bool, StoreError> {
    let (confirmed, asides, now) = (site.receipts().take(), site.take_asides(), site.now());
    let tallies = site.outbound().tallies().take();
    if confirmed.is_empty() && asides.is_empty() && tallies.is_empty() && !purge {
        return Ok(false);
    }
    let settings = site.settings();
    let bounds = ledger::Limits {
        age: settings.ledger_keeps,
        rows: settings.ledger_rows_max,
        ..ledger::Limits::default()
    };
    let (settled, noted, counted) = (confirmed.clone(), asides.clone(), tallies.clone());
    let written = site.store().commit(Vec::new(), move |batch| {
        receipts::settle(batch, &settled)?;
        for fact in &noted {
            ledger::note(batch, fact)?;
        }
        spool::tls::count(batch, &counted)?;
        if purge {
            let oldest = tally::day(now).saturating_sub(tally::DAYS);
            spool::tls::purge(batch, oldest, now, PURGE_STEP)?;
            receipts::purge(batch, now)?;
            return Ok(ledger::purge(batch, &bounds, now, PURGE_STEP)?.more);
        }
        Ok(false)
    });
    written.await.inspect_err(|_| {
        site.receipts().put_back(confirmed);
        site.outbound().tallies().put_back(tallies);
        for fact in asides {
            site.aside(fact);
        }
    })
}
