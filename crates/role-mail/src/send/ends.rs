//! Messages at rest are written: ended, or put back until they are due. Many in one commit; those
//! about which somebody must be told each with its notice in the same commit.

use ledger::Fact;
use spool::{Entry, Order};
use store::{Batch, StoreError};

use super::flight::Told;
use super::notice;
use crate::Site;

/// One message at rest.
#[derive(Clone)]
pub struct End {
    pub entry: Entry,
    pub facts: Vec<Fact>,
    pub told: Vec<Told>,
}

/// Writes messages about which nobody must be told.
pub async fn write(
    site: &Site,
    ends: Vec<End>,
    routes: Vec<(String, Option<String>)>,
) -> Result<(), StoreError> {
    let now = site.now();
    let asides = site.take_asides();
    let noted = asides.clone();
    let done = site.store().commit(Vec::new(), move |batch| {
        spool::save_routes(batch, &routes)?;
        for aside in &noted {
            ledger::note(batch, aside)?;
        }
        for end in &ends {
            one(batch, end, now)?;
        }
        Ok(())
    });
    let result = done.await;
    if result.is_err() {
        asides.into_iter().for_each(|fact| site.aside(fact));
    }
    result
}

/// Writes one message whose sender hears of it: the notice stands or falls with the end.
pub async fn tell(site: &Site, end: End) -> Result<(), StoreError> {
    let now = site.now();
    let (hub, feed, id) = (site.hub().clone(), site.feed().clone(), site.message_id());
    let letter = notice::letter(site, &end, id).await?;
    let mut bodies = Vec::new();
    let mut to = None;
    if let Some(letter) = letter {
        let mut draft = site.store().draft();
        draft.write(&letter.text).await?;
        bodies.push(draft.seal().await?);
        to = Some((letter.to, letter.text.len() as u64));
    }
    let done = site.store().commit(bodies, move |batch| {
        one(batch, &end, now)?;
        if let Some((to, size)) = &to {
            let (hub, feed, about, size) = (&hub, &feed, end.entry.message, *size);
            let new = notice::New { hub, feed, id, about, to, size, now, body: 0, tls_waived: false };
            notice::keep(batch, &new)?;
        }
        Ok(())
    });
    done.await
}

fn one(batch: &mut Batch<'_>, end: &End, now: stdx::Now) -> Result<(), StoreError> {
    for fact in &end.facts {
        ledger::note(batch, fact)?;
    }
    if end.entry.rcpts.is_empty() {
        return spool::finish(batch, &end.entry);
    }
    if spool::put_back(batch, &end.entry)? == Some(Order::Drop) {
        ledger::note(batch, &dropped(&end.entry, now))?;
    }
    Ok(())
}

/// The end of recipients that were dropped by order.
pub fn dropped(entry: &Entry, now: stdx::Now) -> Fact {
    let mut fact = Fact::new("queue.dropped", now).message(entry.message).with("by", "order");
    for rcpt in &entry.rcpts {
        fact = fact.about(&rcpt.address);
    }
    fact
}
