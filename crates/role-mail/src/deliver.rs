//! From a message that was judged welcome to one durable commit.
//!
//! What it is: the copies a message needs (one body for all mailboxes, one for other hosts), and the
//! single commit that holds appends, spool entries, the receipt and the ledger's fact. What it is
//! not: a judge of the message. Begin with [`deliver`].

use std::collections::BTreeMap;

use bytes::Bytes;
use directory::Target;
use ledger::Fact;
use mailbox::{New, Pen};
use message::Head;
use message::edit::Changes;
use stdx::Now;
use store::{Batch, Sealed, StoreError};
use words::{AccountId, Address, Envelope, MessageId, Recipient};

use crate::Site;
use crate::receipts::{self, Key};
use crate::reception::{Draft, Way};

/// Who gave us the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Giver {
    /// Another host, by port 25.
    Peer,
    /// One of our users.
    Account(AccountId),
    /// A client of a trusted network, without log-in.
    Trusted,
}

/// A message ready to be kept.
pub struct Parcel {
    pub draft: Box<Draft>,
    /// Fields to put on top, each with its line ending: Received, and below it what is more.
    pub trace: String,
    pub giver: Giver,
    /// Into the junk folder instead of the inbox.
    pub junk: bool,
    pub key: Key,
    pub header: Option<String>,
    pub fact: Fact,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: MessageId,
    /// The sender had not read our first 250 and sent it again; nothing was stored.
    pub repeated: bool,
}

/// Where the copies go.
#[derive(Default)]
struct Routes {
    mailboxes: BTreeMap<AccountId, Address>,
    /// Forwarded, by the address of ours that forwards.
    forwards: BTreeMap<Address, Vec<Recipient>>,
    outside: Vec<Recipient>,
}

impl Routes {
    fn of(draft: &Draft) -> Routes {
        let mut routes = Routes::default();
        for (recipient, way) in draft.envelope.recipients.iter().zip(&draft.ways) {
            match way {
                Way::Outside => routes.outside.push(recipient.clone()),
                Way::Here(targets) => {
                    for target in targets {
                        routes.add(recipient, target);
                    }
                }
            }
        }
        routes
    }
    fn add(&mut self, recipient: &Recipient, target: &Target) {
        match target {
            Target::Mailbox(id) => {
                self.mailboxes.entry(*id).or_insert_with(|| recipient.address.clone());
            }
            Target::Forward(to) => {
                let forwarded = self.forwards.entry(recipient.address.clone()).or_default();
                if !forwarded.iter().any(|f| f.address == *to) {
                    forwarded.push(Recipient { address: to.clone(), ..recipient.clone() });
                }
            }
        }
    }
}

/// One entry of the spool to be made.
struct Outgoing {
    body: usize,
    size: u64,
    envelope: Envelope,
    origin: spool::Origin,
}

/// Keeps the message: one commit, and it is durable when this returns.
pub async fn deliver(site: &Site, parcel: Parcel) -> Result<Kept, StoreError> {
    let Parcel { draft, trace, giver, junk, key, header, fact } = parcel;
    let routes = Routes::of(&draft);
    let mut bodies = Vec::new();
    let mut local = None;
    if !routes.mailboxes.is_empty() {
        let top = mailbox_fields(&draft, &routes) + &trace;
        let (sealed, bytes) = seal(site, &top, &draft.text).await?;
        local = Some((bodies.len(), sealed.len(), bytes));
        bodies.push(sealed);
    }
    let outgoing = outgoing(site, &draft, &routes, (&trace, &giver), &mut bodies).await?;
    let (id, now, hub, feed) = (draft.id, site.now(), site.hub().clone(), site.feed().clone());
    let offer = local.as_ref().and_then(|(_, _, bytes)| bytes.clone());
    let placed = local.map(|(body, size, _)| (body, size));
    let confirmed = site.receipts().take();
    let asides = site.take_asides();
    let (settled, noted, session) = (confirmed.clone(), asides.clone(), fact.session);
    let accounts: Vec<AccountId> = routes.mailboxes.keys().copied().collect();
    let done = site.store().commit(bodies, move |batch| {
        receipts::settle(batch, &settled)?;
        for aside in &noted {
            ledger::note(batch, aside)?;
        }
        if let Some(first) = receipts::enter(batch, &key, id, now)? {
            ledger::note(batch, &fact.message(first).with("repeated", true))?;
            return Ok((Kept { id: first, repeated: true }, None));
        }
        let mut body_id = None;
        if let Some((body, size)) = placed {
            let pen = Pen::of_delivery(hub, now);
            let new = New::arriving(batch.body(body), size, now);
            body_id = Some(new.body);
            for account in &accounts {
                let into = if junk { junk_folder(batch, *account, now)? } else { None };
                mailbox::deliver(batch, &pen, *account, into.as_deref(), &new)?;
            }
        }
        for out in outgoing {
            let Outgoing { body, size, envelope, origin } = out;
            let body = batch.body(body);
            let header = header.clone();
            spool::add(
                batch,
                &feed,
                &spool::New { message: id, session, body, size, header, envelope, origin, at: now },
            )?;
        }
        ledger::note(batch, &fact.message(id))?;
        Ok((Kept { id, repeated: false }, body_id))
    });
    match done.await {
        Ok((kept, body)) => {
            if let (Some(body), Some(bytes)) = (body, offer) {
                site.hub().digests().offer(body, bytes);
            }
            Ok(kept)
        }
        Err(error) => {
            site.receipts().put_back(confirmed);
            asides.into_iter().for_each(|fact| site.aside(fact));
            Err(error)
        }
    }
}

/// The folder that takes what is likely unwanted, whatever its owner calls it.
fn junk_folder(batch: &mut Batch<'_>, account: AccountId, now: Now) -> Result<Option<String>, StoreError> {
    const JUNK: &str = "\\Junk";
    if let Some(folder) = mailbox::folder::special(batch.sql(), account, JUNK)? {
        return Ok(Some(folder.name));
    }
    // A new account's first folders are made by its first message.
    mailbox::folder::ensure(batch, account, now)?;
    Ok(mailbox::folder::special(batch.sql(), account, JUNK)?.map(|folder| folder.name))
}

// RFC 5321 §4.4: Return-Path at final delivery. RFC 9228: Delivered-To, only where it can betray no
// other recipient.
fn mailbox_fields(draft: &Draft, routes: &Routes) -> String {
    let mut fields = message::edit::return_path(draft.envelope.sender.as_ref());
    if let (1, Some(to)) = (routes.mailboxes.len(), routes.mailboxes.values().next())
        && draft.envelope.recipients.len() == 1
    {
        fields.push_str(&message::edit::fold("Delivered-To", &to.to_string()));
    }
    fields
}

async fn outgoing(
    site: &Site,
    draft: &Draft,
    routes: &Routes,
    (trace, giver): (&str, &Giver),
    bodies: &mut Vec<Sealed>,
) -> Result<Vec<Outgoing>, StoreError> {
    let mut out = Vec::new();
    let mut entries: Vec<(String, Vec<Recipient>, spool::Origin)> = Vec::new();
    if !routes.outside.is_empty() {
        let origin = match giver {
            Giver::Account(id) => spool::Origin::Submitted(*id),
            Giver::Peer | Giver::Trusted => spool::Origin::Relayed,
        };
        entries.push((trace.to_owned(), routes.outside.clone(), origin));
    }
    for (of, recipients) in &routes.forwards {
        // RFC 9228: the mark by which a forward that leads back here is known.
        let top = message::edit::fold("Delivered-To", &of.to_string()) + trace;
        entries.push((top, recipients.clone(), spool::Origin::Forwarded { of: of.clone() }));
    }
    for (top, recipients, origin) in entries {
        let (sealed, _) = seal(site, &top, &draft.text).await?;
        let envelope = Envelope { recipients, ..draft.envelope.clone() };
        out.push(Outgoing { body: bodies.len(), size: sealed.len(), envelope, origin });
        bodies.push(sealed);
    }
    Ok(out)
}

/// Largest body that is handed to the summaries in memory.
const OFFER_OCTETS_MAX: usize = 256 << 10;

/// Writes a copy: fields on top, then the message without what only we may say.
async fn seal(site: &Site, top: &str, text: &[u8]) -> Result<(Sealed, Option<Bytes>), StoreError> {
    let mut whole = new_head(&site.settings().host_name, top, text);
    let body = &text[Head::parse(text).body_start()..];
    let mut draft = site.store().draft();
    if whole.len() + body.len() <= OFFER_OCTETS_MAX {
        whole.extend_from_slice(body);
        draft.write(&whole).await?;
        return Ok((draft.seal().await?, Some(Bytes::from(whole))));
    }
    draft.write(&whole).await?;
    draft.write(body).await?;
    Ok((draft.seal().await?, None))
}

fn new_head(host: &str, top: &str, text: &[u8]) -> Vec<u8> {
    Changes::new()
        .prepend(top)
        .remove("Return-Path")
        // RFC 8601 §5: nobody else speaks in our name.
        .remove_if(|f| f.is("Authentication-Results") && message::authres::claims_to_be(f.raw(), host))
        .header(text)
}
