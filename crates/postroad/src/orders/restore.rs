//! One mailbox, or one folder of it, out of a backup into the running host.
//!
//! What still lies in the folder (same text, same date) is left alone; what is missing comes back
//! with its flags and dates, under new UIDs. Bringing a whole host back is `store::restore`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mailbox::flags::Keywords;
use mailbox::{Flags, Folder, New, Pen, Row, View, folder};
use role_mail::Site;
use serde_json::json;
use stdx::Now;
use store::{Archive, Progress, Sealed, Store, StoreError, Tell};
use words::AccountId;

use super::{Answer, Order, Reply, says};

/// Messages in one commit, and octets.
const GROUP: usize = 200;
const GROUP_BYTES: u64 = 8 << 20;
/// Bodies are copied in pieces of this size.
const PIECE: usize = 256 << 10;
/// Failures shown.
const SHOWN: usize = 20;

/// What makes two messages of a folder the same: date, length, checksum.
type Mark = (i64, u64, u32);

#[derive(Default)]
struct Tally {
    folders: u64,
    taken: u64,
    bytes: u64,
    there: u64,
    failed: Vec<String>,
}

pub(super) async fn carry_out(site: &Site, order: Order, tell: Tell) -> Answer {
    let Order::Restore { from, mailbox, folder } = order else {
        return Err("This order is about something else.".into());
    };
    let login = mailbox.clone();
    let known = site.store().read(move |c| directory::account_by_login(c, &login)).await.map_err(says)?;
    let known = known.ok_or_else(|| {
        format!("There is no account {mailbox} on this host: make it first (postroad account add {mailbox}).")
    })?;
    // One that could not be read for a moment only is no reason for a second copy.
    role_mail::damage::known(site).await.map_err(says)?;
    let job = Job {
        store: site.store().clone(),
        pen: Pen::of_delivery(site.hub().clone(), site.now()),
        handle: tokio::runtime::Handle::current(),
        account: known.id,
        now: site.now(),
        tell,
    };
    let (login, shown) = (mailbox.clone(), from.display().to_string());
    let done = tokio::task::spawn_blocking(move || job.run(from, &login, folder.as_deref()));
    let tally = done.await.map_err(|e| format!("The restore broke off: {e}."))?.map_err(says)?;
    super::upkeep::tried(site).await?;
    let size = stdx::Bytes(tally.bytes);
    let mut text = format!(
        "{} messages ({size}) of {mailbox} are back from {shown}, in {} folders; {} were still there.\n",
        tally.taken, tally.folders, tally.there
    );
    for failure in tally.failed.iter().take(SHOWN) {
        text.push_str(&format!("not restored: {failure}\n"));
    }
    if tally.failed.len() > SHOWN {
        text.push_str(&format!("… and {} more that were not restored\n", tally.failed.len() - SHOWN));
    }
    let json = json!({
        "folders": tally.folders, "taken": tally.taken, "bytes": tally.bytes, "there": tally.there,
        "failed": tally.failed,
    });
    Ok(Reply::new(text, json))
}

/// Runs on a thread where waiting hurts nobody.
struct Job {
    store: Store,
    pen: Pen,
    handle: tokio::runtime::Handle,
    account: AccountId,
    now: Now,
    tell: Tell,
}

/// A message that is to come back.
struct Item {
    body: Sealed,
    flags: Flags,
    keywords: Vec<String>,
    internal: i64,
    zone: i16,
}

impl Job {
    fn run(&self, from: PathBuf, login: &str, only: Option<&str>) -> Result<Tally, StoreError> {
        let archive = Archive::open(&from)?;
        let then = directory::account_by_login(archive.sql(), login)?
            .ok_or_else(|| StoreError::rule(format!("the backup knows no account {login}")))?;
        let mut folders = folder::list(archive.sql(), then.id)?;
        if let Some(only) = only {
            let wanted = folder::canonical(only);
            let names: Vec<String> = folders.iter().map(|f| f.name.clone()).collect();
            folders.retain(|f| f.name == wanted);
            if folders.is_empty() {
                return Err(StoreError::rule(format!(
                    "the backup has no folder {only} of {login}, only {}",
                    names.join(", ")
                )));
            }
        }
        let words = Keywords::of(archive.sql(), then.id)?;
        let mut tally = Tally::default();
        for folder in &folders {
            tally.folders += 1;
            self.folder(&archive, folder, &words, &mut tally)?;
        }
        archive.note_tried();
        Ok(tally)
    }

    fn folder(
        &self,
        archive: &Archive,
        then: &Folder,
        words: &Keywords,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let view = View::whole(archive.sql(), then)?;
        let mut there = self.there(&then.name)?;
        let (mut group, mut size): (Vec<Item>, u64) = (Vec::new(), 0);
        let total = view.len() as u64;
        for (n, row) in view.rows().iter().enumerate() {
            if n % GROUP == 0 {
                self.tell.tell(Progress { doing: "restoring messages", done: n as u64, total });
            }
            match self.item(archive, row, words, &mut there) {
                Ok(Some(item)) => {
                    size += item.body.len();
                    group.push(item);
                }
                Ok(None) => tally.there += 1,
                Err(e @ (StoreError::Damaged(..) | StoreError::Missing(_))) => {
                    tally.failed.push(format!("{}, UID {}: {e}", then.name, row.uid));
                }
                Err(e) => return Err(e),
            }
            if group.len() >= GROUP || size >= GROUP_BYTES {
                self.keep(then, std::mem::take(&mut group), tally)?;
                size = 0;
            }
        }
        self.keep(then, group, tally)
    }

    /// How often each message lies in the folder now.
    fn there(&self, name: &str) -> Result<BTreeMap<Mark, u64>, StoreError> {
        let rows = self.store.read_now(|conn| match folder::find(conn, self.account, name)? {
            Some(folder) => Ok(View::whole(conn, &folder)?.rows().to_vec()),
            None => Ok(Vec::new()),
        })?;
        let mut out = BTreeMap::new();
        for row in rows {
            // One that cannot be read any more is brought back.
            if let Ok((len, crc)) = self.store.mark(row.body) {
                *out.entry((row.internal, len, crc)).or_insert(0) += 1;
            }
        }
        Ok(out)
    }

    /// Nothing if the message still lies in the folder.
    fn item(
        &self,
        archive: &Archive,
        row: &Row,
        words: &Keywords,
        there: &mut BTreeMap<Mark, u64>,
    ) -> Result<Option<Item>, StoreError> {
        let (len, crc) = archive.mark(row.body)?;
        if let Some(count) = there.get_mut(&(row.internal, len, crc))
            && *count > 0
        {
            *count -= 1;
            return Ok(None);
        }
        let mut draft = self.store.draft();
        archive.body(row.body, PIECE, &mut |piece| self.handle.block_on(draft.write(&piece)))?;
        let body = self.handle.block_on(draft.seal())?;
        let keywords = words.words(row.flags).map(str::to_owned).collect();
        let flags = row.flags.system();
        Ok(Some(Item { body, flags, keywords, internal: row.internal, zone: row.zone }))
    }

    /// One commit.
    fn keep(&self, then: &Folder, group: Vec<Item>, tally: &mut Tally) -> Result<(), StoreError> {
        let (mut bodies, mut facts) = (Vec::new(), Vec::new());
        for Item { body, flags, keywords, internal, zone } in group {
            facts.push((body.len(), flags, keywords, internal, zone));
            bodies.push(body);
        }
        let (taken, bytes) = (facts.len() as u64, facts.iter().map(|f| f.0).sum::<u64>());
        let (pen, account, now, then) = (self.pen.clone(), self.account, self.now, then.clone());
        let commit = self.store.commit(bodies, move |batch| {
            folder::ensure(batch, account, now)?;
            let place = match folder::find(batch.sql(), account, &then.name)? {
                Some(place) => place,
                None => {
                    let made = folder::create(batch, account, &then.name, &then.special, now)?;
                    folder::subscribe(batch, account, &made.name)?;
                    made
                }
            };
            let new = |(n, (size, flags, keywords, internal, zone))| New {
                body: batch.body(n),
                size,
                flags,
                keywords,
                internal,
                zone,
            };
            let items: Vec<New> = facts.into_iter().enumerate().map(new).collect();
            if items.is_empty() {
                return Ok(());
            }
            mailbox::append(batch, &pen, &place, &items).map(drop)
        });
        self.handle.block_on(commit)?;
        tally.taken += taken;
        tally.bytes += bytes;
        Ok(())
    }
}
