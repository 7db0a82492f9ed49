//! Notices to senders: what failed, what is late, what arrived, in plain words.

use mailbox::Pen;
use message::dsn::{Action, Fate, Notice, Original};
use spool::{Feed, Origin};
use stdx::Now;
use store::{Batch, StoreError};
use words::{Address, Envelope, MessageId, Recipient, Ret};

use super::ends::End;
use super::flight::{How, Told};
use crate::tag::Whose;
use crate::{Site, complaints};

/// Octets of the original that are read for a notice.
const ORIGINAL_MAX: usize = 256 << 10;

pub struct Letter {
    pub to: Address,
    pub text: Vec<u8>,
}

/// Whether the sender wants to hear of this end. RFC 3461 §4.1.
pub fn wanted(told: &Told) -> bool {
    match (told.rcpt.notify, told.how) {
        (Some(n), _) if n.never => false,
        (Some(n), How::Failed) => n.failure,
        (Some(n), How::Delayed { .. }) => n.delay,
        (Some(n), How::Delivered { onward }) => n.success && !onward,
        (None, How::Delivered { .. }) => false,
        (None, _) => true,
    }
}

/// The notice for an end; `None` if nobody is to be told. RFC 5321 §4.5.5: a notice is never
/// answered by a notice.
pub async fn letter(site: &Site, end: &End, id: MessageId) -> Result<Option<Letter>, StoreError> {
    let Some(to) = end.entry.sender.clone() else { return Ok(None) };
    let told: Vec<&Told> = end.told.iter().filter(|t| wanted(t)).collect();
    if told.is_empty() {
        return Ok(None);
    }
    let host = site.settings().host_name.clone();
    let failed = told.iter().any(|t| t.how == How::Failed);
    let original = match end.entry.options.ret {
        Some(Ret::Full) if failed => Original::Full(text(site, end).await),
        _ => Original::Header(text(site, end).await),
    };
    let notice = Notice {
        from: format!("postmaster@{host}"),
        message_id: format!("{id}.notice@{host}"),
        host,
        to: to.clone(),
        at: site.now(),
        about: Some(end.entry.message),
        envid: end.entry.options.envid.clone(),
        arrived: Some(end.entry.at),
        fates: told.into_iter().map(fate).collect(),
        original,
    };
    let text = complaints::tagged(site, Whose::Message, id, &notice.build()).await?;
    Ok(Some(Letter { to, text }))
}

/// A damaged text must not keep the notice from being written.
async fn text(site: &Site, end: &End) -> Vec<u8> {
    let Ok(body) = site.store().body(end.entry.body).await else { return Vec::new() };
    let len = (body.len() as usize).min(ORIGINAL_MAX);
    body.read_at(0, len).await.map(|b| b.to_vec()).unwrap_or_default()
}

fn fate(told: &Told) -> Fate {
    let (action, until) = match told.how {
        How::Failed => (Action::Failed, None),
        How::Delayed { until } => (Action::Delayed, Some(until)),
        How::Delivered { onward: false } => (Action::Relayed, None),
        How::Delivered { onward: true } => (Action::Delivered, None),
    };
    Fate {
        recipient: told.rcpt.address.clone(),
        orcpt: told.rcpt.orcpt.clone(),
        action,
        status: told.status,
        remote: told.host.clone(),
        reply: told.reply.clone(),
        says: told.says.clone(),
        last_attempt: told.rcpt.last.as_ref().map(|l| l.at),
        until,
    }
}

/// A notice on its way into the store.
pub struct New<'a> {
    pub hub: &'a mailbox::Hub,
    pub feed: &'a Feed,
    pub id: MessageId,
    pub about: MessageId,
    pub to: &'a Address,
    pub size: u64,
    pub now: Now,
    /// Its place among the commit's bodies.
    pub body: usize,
    pub tls_waived: bool,
}

/// Keeps the notice and says so in the walk of what it is about.
pub fn keep(batch: &mut Batch<'_>, new: &New<'_>) -> Result<(), StoreError> {
    let fact = ledger::Fact::new("send.notice", new.now).message(new.about).about(new.to);
    let mut fact = fact.with("notice", new.id.to_string());
    if !post(batch, new)? {
        fact = fact.with("lost", "the sender's mailbox is gone");
    }
    ledger::note(batch, &fact).map(drop)
}

/// Puts mail of our own, without a return path, into the mailbox if it is ours, else into the spool. False: it
/// is ours, and there is no such mailbox.
pub fn post(batch: &mut Batch<'_>, new: &New<'_>) -> Result<bool, StoreError> {
    let mut elsewhere = Vec::new();
    match directory::resolve(batch.sql(), new.to)? {
        directory::Resolved::Local(targets) => {
            let pen = Pen::of_delivery(new.hub.clone(), new.now);
            for target in targets {
                match target {
                    directory::Target::Mailbox(account) => {
                        let letter = mailbox::New::arriving(batch.body(new.body), new.size, new.now);
                        match mailbox::deliver(batch, &pen, account, None, &letter) {
                            // A full mailbox cannot take its notice; the end stands all the same.
                            Ok(_) | Err(StoreError::Rule(_)) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    directory::Target::Forward(to) => elsewhere.push(to),
                }
            }
        }
        directory::Resolved::NotOurs => elsewhere.push(new.to.clone()),
        directory::Resolved::NoSuchUser => return Ok(false),
    }
    if !elsewhere.is_empty() {
        let envelope = Envelope {
            recipients: elsewhere.into_iter().map(Recipient::new).collect(),
            tls_waived: new.tls_waived,
            ..Envelope::default()
        };
        let body = batch.body(new.body);
        let entry = spool::New {
            message: new.id,
            session: None,
            body,
            size: new.size,
            header: None,
            envelope,
            origin: Origin::Notice,
            at: new.now,
        };
        spool::add(batch, new.feed, &entry)?;
    }
    Ok(true)
}
