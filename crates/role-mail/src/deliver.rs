//! From a message that was judged welcome to one durable commit.
//!
//! What it is: the copies a message needs (one body for all mailboxes, one for other hosts), and the
//! single commit that holds appends, spool entries, the receipt and the ledger's fact. What it is
//! not: a judge of the message. Begin with [`deliver`].

use std::collections::BTreeMap;

use directory::Target;
use ledger::Fact;
use mailbox::{Hub, New, Pen};
use message::edit::Changes;
use spool::Feed;
use stdx::Now;
use store::{Batch, BodyId, Sealed, StoreError};
use words::{AccountId, Address, Envelope, MessageId, Recipient, SessionId};

use crate::Site;
use crate::arrived::Arrived;
use crate::filter::Filed;
use crate::receipts::{self, Key};
use crate::reception::{Draft, Way};
use crate::send::notice;
use crate::tag::{FIELD, Whose};

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

/// All that one commit is to hold.
struct Load {
    id: MessageId,
    session: Option<SessionId>,
    now: Now,
    key: Key,
    header: Option<String>,
    fact: Fact,
    junk: bool,
    /// Mailboxes whose owners have no script.
    accounts: Vec<AccountId>,
    /// The others.
    filed: Vec<Filed>,
    /// The mailboxes' body and its size.
    placed: Option<(usize, u64)>,
    outgoing: Vec<Outgoing>,
    arrived: Option<Arrived>,
    hub: Hub,
    feed: Feed,
    /// What goes along: confirmations of earlier messages, and facts beside them.
    confirmed: Vec<Key>,
    asides: Vec<Fact>,
}

/// Keeps the message: one commit, and it is durable when this returns.
pub async fn deliver(site: &Site, parcel: Parcel) -> Result<Kept, StoreError> {
    let Parcel { mut draft, trace, giver, junk, key, header, fact } = parcel;
    let routes = Routes::of(&draft);
    // RFC 8689 §3
    let waives = message::Head::parse(draft.text.header()).text("TLS-Required");
    draft.envelope.tls_waived = waives.is_some_and(|said| said.trim().eq_ignore_ascii_case("no"));
    let mut bodies = Vec::new();
    // The notice comes first: `keep` takes body 0.
    let arrived = crate::arrived::notice(site, &draft).await?.map(|(sealed, arrived)| {
        bodies.push(sealed);
        arrived
    });
    let (mut placed, mut offer) = (None, None);
    let mut filed = Vec::new();
    if !routes.mailboxes.is_empty() {
        let top = mailbox_fields(&draft, &routes) + &trace;
        let header = new_head(&site.settings().host_name, &top, draft.text.header());
        let (n, size) = draft.text.seal(site.store(), header, &mut bodies).await?;
        placed = Some((n, size));
        offer = bodies[n].bytes().filter(|b| b.len() <= OFFER_OCTETS_MAX);
        // What lies in the junk folder has been sorted already.
        if !junk {
            filed = crate::filter::file(site, &draft, (&routes.mailboxes, &top), &mut bodies).await?;
        }
    }
    let outgoing = outgoing(site, &mut draft, &routes, (&trace, &giver), &mut bodies).await?;
    let (confirmed, asides) = (site.receipts().take(), site.take_asides());
    let load = Load {
        id: draft.id,
        session: fact.session,
        now: site.now(),
        key,
        header,
        fact,
        junk,
        accounts: routes
            .mailboxes
            .keys()
            .copied()
            .filter(|id| !filed.iter().any(|f| f.account == *id))
            .collect(),
        filed,
        placed,
        outgoing,
        arrived,
        hub: site.hub().clone(),
        feed: site.feed().clone(),
        confirmed: confirmed.clone(),
        asides: asides.clone(),
    };
    match site.store().commit(bodies, move |batch| load.keep(batch)).await {
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

impl Load {
    fn keep(self, batch: &mut Batch<'_>) -> Result<(Kept, Option<BodyId>), StoreError> {
        receipts::settle(batch, &self.confirmed)?;
        for aside in &self.asides {
            ledger::note(batch, aside)?;
        }
        if let Some(first) = receipts::enter(batch, &self.key, self.id, self.now)? {
            ledger::note(batch, &self.fact.message(first).with("repeated", true))?;
            return Ok((Kept { id: first, repeated: true }, None));
        }
        let body = self.place(batch)?;
        for out in &self.outgoing {
            let new = spool::New {
                message: self.id,
                session: self.session,
                body: batch.body(out.body),
                size: out.size,
                header: self.header.clone(),
                envelope: out.envelope.clone(),
                origin: out.origin.clone(),
                at: self.now,
            };
            spool::add(batch, &self.feed, &new)?;
        }
        self.send_filed(batch)?;
        if let Some(Arrived { id, to, size }) = &self.arrived {
            let (hub, feed, about, now) = (&self.hub, &self.feed, self.id, self.now);
            let new =
                notice::New { hub, feed, id: *id, about, to, size: *size, now, body: 0, tls_waived: false };
            notice::keep(batch, &new)?;
        }
        ledger::note(batch, &self.fact.message(self.id))?;
        Ok((Kept { id: self.id, repeated: false }, body))
    }

    /// What the owners' scripts send: redirects, vacation notices, refusals.
    fn send_filed(&self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for filed in &self.filed {
            for send in filed.sends(batch, self.now)? {
                let new = spool::New {
                    message: self.id,
                    session: self.session,
                    body: batch.body(send.body),
                    size: send.size,
                    header: self.header.clone(),
                    envelope: send.envelope.clone(),
                    origin: send.origin.clone(),
                    at: self.now,
                };
                spool::add(batch, &self.feed, &new)?;
            }
        }
        Ok(())
    }

    /// Into the mailboxes.
    fn place(&self, batch: &mut Batch<'_>) -> Result<Option<BodyId>, StoreError> {
        let Some((body, size)) = self.placed else { return Ok(None) };
        let pen = Pen::of_delivery(self.hub.clone(), self.now);
        let new = New::arriving(batch.body(body), size, self.now);
        for filed in &self.filed {
            filed.place(batch, &pen, (new.body, size))?;
        }
        for account in &self.accounts {
            let into = if self.junk { junk_folder(batch, *account, self.now)? } else { None };
            mailbox::deliver(batch, &pen, *account, into.as_deref(), &new)?;
        }
        Ok(Some(new.body))
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
    draft: &mut Draft,
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
    if entries.is_empty() {
        return Ok(out);
    }
    let whose = match giver {
        Giver::Account(id) => Whose::Account(*id),
        Giver::Peer | Giver::Trusted => Whose::Message,
    };
    let mark = crate::complaints::tags(site).await?.field(whose, draft.id);
    for (top, recipients, origin) in entries {
        let top = top + &mark;
        let header = new_head(&site.settings().host_name, &top, draft.text.header());
        let (body, size) = draft.text.seal(site.store(), header, bodies).await?;
        let envelope = Envelope { recipients, ..draft.envelope.clone() };
        out.push(Outgoing { body, size, envelope, origin });
    }
    Ok(out)
}

/// Largest body that is handed to the summaries in memory.
const OFFER_OCTETS_MAX: usize = 256 << 10;

/// The header of a copy: fields on top, then what came without what only we may say.
fn new_head(host: &str, top: &str, text: &[u8]) -> Vec<u8> {
    Changes::new()
        .prepend(top)
        .remove("Return-Path")
        .remove(FIELD)
        // RFC 8601 §5: nobody else speaks in our name.
        .remove_if(|f| f.is("Authentication-Results") && message::authres::claims_to_be(f.raw(), host))
        .header(text)
}
