//! New messages into folders.
//!
//! Several folders of several accounts may share one body: each row names it, the mailbox as a
//! whole holds it once.

use rusqlite::params;
use stdx::Now;
use store::{Batch, BodyId, StoreError};
use words::AccountId;

use crate::hub::{Delta, What};
use crate::{Flags, Folder, Hub, Row, Status, flags, folder, rule};

/// Who writes, when, and whom to tell.
#[derive(Clone)]
pub struct Pen {
    pub hub: Hub,
    /// The session's own number, so that it knows its own changes again; 0 for deliveries.
    pub session: u64,
    pub now: Now,
    pub quota: Quota,
}

/// What an account may keep; nothing means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub bytes: Option<u64>,
    pub messages: Option<u64>,
}

impl Pen {
    /// For what no session does: deliveries, purges.
    pub fn of_delivery(hub: Hub, now: Now) -> Pen {
        Pen { hub, session: 0, now, quota: Quota::default() }
    }
    /// Publishes the change once it is durable. `status` is what it left.
    pub(crate) fn publish(&self, batch: &mut Batch<'_>, folder: &Folder, status: Status, what: What) {
        let (hub, account) = (self.hub.clone(), folder.account);
        let delta = Delta { folder: folder.id, modseq: status.modseq, status, by: self.session, what };
        batch.after(Box::new(move || hub.publish(account, delta)));
    }
    /// Refuses if the account would hold more than its quota.
    pub(crate) fn check_quota(
        &self,
        batch: &Batch<'_>,
        account: AccountId,
        more: (u64, u64),
    ) -> Result<(), StoreError> {
        if self.quota == Quota::default() {
            return Ok(());
        }
        let (messages, bytes) = folder::usage(batch.sql(), account)?;
        let over =
            |limit: Option<u64>, have: u64, add: u64| limit.is_some_and(|l| have.saturating_add(add) > l);
        if over(self.quota.bytes, bytes, more.1) || over(self.quota.messages, messages, more.0) {
            return rule("[OVERQUOTA] the mailbox is full; delete some messages or ask for more space");
        }
        Ok(())
    }
}

/// A message to be added.
#[derive(Clone, Debug)]
pub struct New {
    pub body: BodyId,
    pub size: u64,
    pub flags: Flags,
    pub keywords: Vec<String>,
    /// INTERNALDATE in seconds since 1970, and minutes east of UTC.
    pub internal: i64,
    pub zone: i16,
}

impl New {
    /// A message that arrives now, without flags.
    pub fn arriving(body: BodyId, size: u64, now: Now) -> New {
        let internal = now.secs() as i64;
        New { body, size, flags: Flags::NONE, keywords: Vec::new(), internal, zone: 0 }
    }
}

/// Where the messages went: `first` to `last` in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub uidvalidity: u32,
    pub first: u32,
    pub last: u32,
    pub modseq: u64,
}

/// Takes the next UIDs and the next MODSEQ of a folder and counts `rows` in.
pub(crate) fn take_uids(batch: &Batch<'_>, folder: &Folder, rows: &mut [Row]) -> Result<Status, StoreError> {
    let unseen = rows.iter().filter(|r| !r.flags.has(Flags::SEEN)).count() as i64;
    let deleted = rows.iter().filter(|r| r.flags.has(Flags::DELETED)).count() as i64;
    let bytes: i64 = rows.iter().map(|r| i64::from(r.size)).sum();
    let add = [rows.len() as i64, unseen, deleted, bytes];
    let status = folder::count(batch, folder, rows.len() as i64, add)?;
    let first = status.uidnext - rows.len() as u32;
    for (row, uid) in rows.iter_mut().zip(first..) {
        (row.uid, row.modseq) = (uid, status.modseq);
    }
    Ok(status)
}

/// Writes rows that have their UIDs.
pub(crate) fn put_rows(batch: &Batch<'_>, folder: &Folder, rows: &[Row]) -> Result<(), StoreError> {
    let mut put = batch.sql().prepare_cached(
        "INSERT OR FAIL INTO mb_message (folder, uid, body, flags, modseq, internal, saved, size, zone)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for r in rows {
        put.execute(params![
            folder.id.0,
            r.uid,
            r.body.0,
            r.flags.sql(),
            r.modseq as i64,
            r.internal,
            r.saved,
            r.size,
            r.zone
        ])?;
    }
    Ok(())
}

/// Whether any message names this body.
pub(crate) fn is_named(batch: &Batch<'_>, body: BodyId) -> Result<bool, StoreError> {
    Ok(batch.sql().prepare_cached("SELECT 1 FROM mb_message WHERE body = ?1 LIMIT 1")?.exists([body.0])?)
}

/// Adds messages to a folder, in their order, as one change.
pub fn append(
    batch: &mut Batch<'_>,
    pen: &Pen,
    folder: &Folder,
    items: &[New],
) -> Result<Appended, StoreError> {
    let bytes = items.iter().map(|i| i.size).sum();
    pen.check_quota(batch, folder.account, (items.len() as u64, bytes))?;
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        let words = flags::learn(batch, folder.account, &item.keywords)?;
        if !is_named(batch, item.body)? {
            batch.hold(item.body)?;
        }
        rows.push(Row {
            body: item.body,
            modseq: 0,
            flags: item.flags.with(words),
            internal: item.internal,
            uid: 0,
            size: u32::try_from(item.size).unwrap_or(u32::MAX),
            saved: pen.now.secs() as u32,
            zone: item.zone,
        });
    }
    let status = take_uids(batch, folder, &mut rows)?;
    put_rows(batch, folder, &rows)?;
    let first = rows.first().map_or(0, |r| r.uid);
    let last = rows.last().map_or(0, |r| r.uid);
    pen.publish(batch, folder, status, What::Added(rows));
    Ok(Appended { uidvalidity: folder.uidvalidity, first, last, modseq: status.modseq })
}

/// Delivers one message into a folder of an account, or its INBOX when there is no such folder.
/// The account's first folders are made if they are missing. The summary of a small message is
/// worked out in the background.
pub fn deliver(
    batch: &mut Batch<'_>,
    pen: &Pen,
    account: AccountId,
    into: Option<&str>,
    item: &New,
) -> Result<Appended, StoreError> {
    let wanted = match into {
        Some(name) => folder::find(batch.sql(), account, name)?,
        None => None,
    };
    let folder = match wanted {
        Some(folder) => folder,
        None => folder::ensure(batch, account, pen.now)?,
    };
    append(batch, pen, &folder, std::slice::from_ref(item))
}
