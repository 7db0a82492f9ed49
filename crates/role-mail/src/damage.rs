//! What the store finds wrong with itself, told: in the log, on the walk of the message, and to `doctor`.
//!
//! What it is: each text that cannot be read is named once with who has it and where, as a fact that `why` finds by the
//! owner's address, by the Message-ID and by the message's id, and remembered until it can be read again or is gone.
//! What it is not: a check of everything; that is `postroad verify`. Begin with [`Watch::round`], then [`known`].

use ledger::Fact;
use mailbox::folder::Held;
use stdx::{Now, Span};
use store::rusqlite::Connection;
use store::{BodyId, Store, StoreError};
use words::{Address, MessageId};

use crate::Site;

/// Settings with this front name texts that could not be read; their value says where they lie.
const KNOB: &str = "damaged.";
/// Most that are remembered, and named in one round.
const KNOWN_MAX: usize = 1000;
const ROUND_MAX: usize = 20;
/// Mailboxes named with one text.
const PLACES_MAX: usize = 10;
/// The same trouble is said again after this long.
const AGAIN: Span = Span::mins(10);

/// What was said last.
#[derive(Default)]
pub struct Watch {
    said: Option<(String, Now)>,
}

/// One text that cannot be read.
struct Damaged {
    body: BodyId,
    why: String,
    places: Vec<Held>,
    owners: Vec<Address>,
    message: Option<MessageId>,
    header: Option<String>,
}

impl Watch {
    /// Says what was found since the last round.
    ///
    /// # Errors
    /// Trouble with the store; what was found is noted in a later round.
    pub async fn round(&mut self, site: &Site) -> Result<(), StoreError> {
        let now = site.now();
        for says in site.store().troubles() {
            let known = self.said.as_ref().is_some_and(|(last, at)| *last == says && now.since(*at) < AGAIN);
            if !known {
                tracing::error!("the mail store: {says}");
                self.said = Some((says, now));
            }
        }
        let mut trouble = Ok(());
        for (body, why) in site.store().take_damaged(ROUND_MAX) {
            if let Err(error) = note(site, body, why.clone()).await {
                site.store().tell_again(body, why);
                trouble = Err(error);
            }
        }
        trouble
    }
}

async fn note(site: &Site, body: BodyId, why: String) -> Result<(), StoreError> {
    // A look that lags may meet one that was deleted a moment ago, and whose space is given back.
    let found = site
        .store()
        .read(move |conn| if Store::keeps(conn, body)? { look(conn, body, why).map(Some) } else { Ok(None) });
    let Some(found) = found.await? else { return Ok(()) };
    let where_it_lies = found.words();
    let fact = found.fact(site.now());
    let (knob, place) = (format!("{KNOB}{}", body.0), where_it_lies.clone());
    let noted = site.store().commit(Vec::new(), move |batch| {
        if directory::knobs(batch.sql(), KNOB)?.len() < KNOWN_MAX {
            directory::set_knob(batch, &knob, Some(&place))?;
        }
        ledger::note(batch, &fact).map(drop)
    });
    noted.await?;
    tracing::error!(body = body.0, why = %found.why, "a stored text cannot be read: {where_it_lies}");
    Ok(())
}

fn look(conn: &Connection, body: BodyId, why: String) -> Result<Damaged, StoreError> {
    let places = mailbox::folder::holding(conn, body, PLACES_MAX)?;
    let mut owners = Vec::new();
    for place in &places {
        let login = directory::account(conn, place.account)?.map(|a| a.login);
        owners.extend(login.and_then(|l| Address::parse(&l).ok()));
    }
    let header = mailbox::digest::message_id(conn, body)?;
    let mut message = spool::of_body(conn, body)?;
    if let (None, Some(header)) = (message, &header) {
        message = ledger::by_header(conn, header, 1)?.first().and_then(|f| f.message);
    }
    Ok(Damaged { body, why, places, owners, message, header })
}

impl Damaged {
    fn words(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (place, owner) in self.places.iter().zip(&self.owners) {
            words.push(format!("{owner}, {}, UID {}", place.folder, place.uid));
        }
        if words.is_empty() {
            words.push(if self.message.is_some() { "in the queue" } else { "in no mailbox" }.to_owned());
        }
        let id = self.header.as_ref().map(|h| format!(" (Message-ID {h})")).unwrap_or_default();
        words.join("; ") + &id
    }
    fn fact(&self, now: Now) -> Fact {
        let mut fact = Fact::new("store.text_damaged", now)
            .with("body", self.body.0)
            .with("why", self.why.clone())
            .with("where", self.words());
        fact = self.owners.iter().fold(fact, |fact, owner| fact.about(owner));
        fact = self.header.iter().fold(fact, |fact, header| fact.header(header));
        self.message.iter().fold(fact, |fact, id| fact.message(*id))
    }
}

/// Texts that could not be read and still cannot, in words. One that can be read again, or is gone, is
/// forgotten.
///
/// # Errors
/// Trouble with the store.
pub async fn known(site: &Site) -> Result<Vec<String>, StoreError> {
    let knobs = site.store().read(|conn| directory::knobs(conn, KNOB)).await?;
    let (mut still, mut well) = (Vec::new(), Vec::new());
    for (knob, place) in knobs {
        let id = knob.strip_prefix(KNOB).and_then(|n| n.parse().ok()).map(BodyId);
        let found = match id {
            Some(id) => match site.store().body(id).await {
                Ok(body) => body.check().await,
                Err(e) => Err(e),
            },
            None => Ok(()),
        };
        match found {
            Err(StoreError::Damaged(id, why)) => {
                still.push(format!("body {} cannot be read ({why}): {place}", id.0));
            }
            Err(StoreError::Missing(_)) | Ok(()) => well.push(knob),
            Err(e) => return Err(e),
        }
    }
    if !well.is_empty() {
        let forget = site.store().commit(Vec::new(), move |batch| {
            well.iter().try_for_each(|knob| directory::set_knob(batch, knob, None))
        });
        forget.await?;
    }
    Ok(still)
}
