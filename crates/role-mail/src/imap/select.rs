//! The open folder and what happens in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::imap::ask::{Answer, Changes, FlagRow, Refusal, Selected};
use ::imap::{Flags as TheirFlags, Keywords, UidSet as TheirSet};
use mailbox::flags::{KEYWORDS_MAX, Keywords as Table};
use mailbox::hub::{Feed, News};
use mailbox::{Delta, Flags, Folder, UidSet, View, What, change, folder};
use store::Store;

use super::{Desk, Said, folders, translate};

/// The folder a session has selected.
pub(crate) struct Open {
    pub folder: Folder,
    pub feed: Feed,
    pub read_only: bool,
    pub rights: String,
    /// Keywords by number, and the bits they stand for.
    pub keywords: Keywords,
    known: u64,
    /// UIDs from here on were not told to this session yet.
    uidnext: u32,
    /// The store's mark of what sessions were told, for \Recent.
    told: u32,
    /// It was opened by another process, and something happened before this one followed it.
    behind: bool,
    store: Store,
}

impl Open {
    /// With nothing told yet, and no keywords known.
    pub fn at(folder: Folder, feed: Feed, (rights, read_only): (String, bool), store: Store) -> Open {
        let keywords = translate::keywords(Table::default().table());
        Open {
            folder,
            feed,
            read_only,
            rights,
            keywords,
            known: 0,
            uidnext: 1,
            told: 1,
            behind: false,
            store,
        }
    }
    pub fn knowing(mut self, table: &Table) -> Open {
        (self.keywords, self.known) = (translate::keywords(table.table()), table.known());
        self
    }
    /// The first UID this session was not told of, and the first nobody was; and whether changes
    /// happened that the feed does not have.
    pub fn told(mut self, uidnext: u32, told: u32, behind: bool) -> Open {
        (self.uidnext, self.told, self.behind) = (uidnext, told, behind);
        self
    }
    pub fn may(&self, right: char) -> bool {
        self.rights.contains(right)
    }
    /// The keyword table, read again if these flags use a bit it does not have.
    pub fn keywords_for(&mut self, flags: Flags) -> Result<Keywords, Refusal> {
        if flags.keywords() & !self.known != 0 {
            let table = self.store.glance(|conn| Table::of(conn, self.folder.account));
            let table = table.map_err(translate::refusal)?;
            self.known = table.known();
            self.keywords = translate::keywords(table.table());
        }
        Ok(self.keywords.clone())
    }
}

impl Drop for Open {
    /// Other sessions may not call the same messages new after a restart. The commit goes its way
    /// by itself; were it lost, some messages would be \Recent twice.
    fn drop(&mut self) {
        if !self.read_only && self.uidnext > self.told {
            let (id, upto) = (self.folder.id, self.uidnext);
            drop(self.store.commit(Vec::new(), move |batch| folder::tell(batch, id, upto)));
        }
    }
}

fn uids_of(view: &View) -> TheirSet {
    let mut set = TheirSet::new();
    for row in view.rows() {
        set.push(row.uid, row.uid);
    }
    set
}

/// System flags somebody with these rights may change (RFC 4314 §4).
fn permanent(rights: &str) -> TheirFlags {
    let mut all = TheirFlags::NONE;
    for (right, flags) in [
        ('s', TheirFlags::SEEN),
        ('t', TheirFlags::DELETED),
        ('w', TheirFlags::ANSWERED.with(TheirFlags::FLAGGED).with(TheirFlags::DRAFT)),
    ] {
        if rights.contains(right) {
            all = all.with(flags);
        }
    }
    all
}

impl Desk {
    pub(super) async fn select(&mut self, name: String, read_only: bool) -> Said {
        self.open = None;
        let who = self.who()?.clone();
        let look = |conn: &store::rusqlite::Connection| {
            let found = folders::need(conn, &who, &name)?.need('r')?;
            let table = Table::of(conn, found.folder.account)?;
            let told = folder::told(conn, found.folder.id)?;
            Ok((found, table, told))
        };
        let (found, table, told) = self.store().glance(look).map_err(translate::refusal)?;
        let (folder, rights) = (found.folder, found.rights);
        let (feed, view) =
            self.hub().follow(self.store(), &folder, self.site.now()).await.map_err(translate::refusal)?;
        let writes = rights.contains(['s', 't', 'w', 'e', 'i']);
        let read_only = read_only || !writes;
        let first_recent = match read_only {
            true => told.max(self.hub().told(folder.id)),
            false => self.hub().tell(folder.id, told, view.uidnext),
        };
        let mut recent = TheirSet::new();
        for row in view.from(first_recent) {
            recent.push(row.uid, row.uid);
        }
        let keywords = translate::keywords(table.table());
        let selected = Selected {
            read_only,
            mailbox_id: Some(folder.id.object_id()),
            uid_validity: view.uidvalidity,
            uid_next: view.uidnext,
            highest_modseq: view.modseq,
            uids: uids_of(&view),
            recent,
            first_unseen: view.rows().iter().find(|r| !r.flags.has(Flags::SEEN)).map(|r| r.uid),
            keywords: keywords.clone(),
            more_keywords: rights.contains('w')
                && keywords.iter().filter(|k| !k.is_empty()).count() < KEYWORDS_MAX,
            permanent: if read_only { TheirFlags::NONE } else { permanent(&rights) },
        };
        let open = Open::at(folder, feed, (rights, read_only), self.store().clone());
        self.open = Some(Box::new(open.knowing(&table).told(view.uidnext, told, false)));
        Ok(Answer::Selected(Box::new(selected)))
    }

    /// The view of the open folder as of now.
    pub(super) async fn view(&mut self) -> Result<Arc<View>, Refusal> {
        let (store, hub, now) = (self.store().clone(), self.hub().clone(), self.site.now());
        let open = self.open()?;
        hub.view(&store, &open.folder, now).await.map_err(translate::refusal)
    }

    pub(super) async fn sync(&mut self, since: u64) -> Said {
        let me = self.number;
        let open = self.open()?;
        if !open.behind && open.feed.newest() <= since {
            return Ok(Answer::Changes(Box::new(Changes { highest_modseq: since, ..Changes::default() })));
        }
        let news = if open.behind { News::Behind } else { open.feed.hear_since(since) };
        let mut sum = match news {
            News::Deltas(deltas) => Sum::of(&deltas, me, since),
            News::Behind => self.catch_up(since).await?,
        };
        let hub = self.hub().clone();
        let open = self.open()?;
        open.behind = false;
        if let Some(last) = sum.new.last() {
            open.uidnext = open.uidnext.max(last + 1);
            let first = match open.read_only {
                true => hub.told(open.folder.id),
                false => hub.tell(open.folder.id, 0, open.uidnext),
            };
            sum.recent = sum.new.intersect(&TheirSet::span(first.max(1), u32::MAX));
        }
        let used = sum.flags.values().fold(0, |all, row| all | row.flags.0 as u64);
        let keywords = match used & !Flags::SYSTEM.0 {
            0 => None,
            bits => Some(open.keywords_for(Flags(bits))?),
        };
        Ok(Answer::Changes(Box::new(Changes {
            highest_modseq: sum.modseq,
            new: sum.new,
            recent: sum.recent,
            gone: sum.gone,
            flags: sum.flags.into_values().collect(),
            keywords,
        })))
    }

    /// What happened after `since`, told from the rows themselves.
    async fn catch_up(&mut self, since: u64) -> Result<Sum, Refusal> {
        let view = self.view().await?;
        let store = self.store().clone();
        let open = self.open()?;
        open.feed.caught_up(view.modseq);
        let mut sum = Sum { modseq: view.modseq.max(since), ..Sum::default() };
        for row in view.rows() {
            if row.uid >= open.uidnext {
                sum.new.push(row.uid, row.uid);
            } else if row.modseq > since {
                sum.flags.insert(row.uid, flag_row(row.uid, row.flags, row.modseq));
            }
        }
        let id = open.folder.id;
        let known =
            store.read(move |conn| change::gone_since(conn, id, since)).await.map_err(translate::refusal)?;
        sum.gone = match known {
            Some(gone) => translate::their_set(&gone),
            None => TheirSet::span(1, open.uidnext.saturating_sub(1)).minus(&uids_of(&view)),
        };
        Ok(sum)
    }

    pub(super) async fn vanished(&mut self, uids: &TheirSet, since: u64) -> Said {
        let store = self.store().clone();
        let id = self.open()?.folder.id;
        let known =
            store.read(move |conn| change::gone_since(conn, id, since)).await.map_err(translate::refusal)?;
        let view = self.view().await?;
        let gone = match known {
            Some(gone) => translate::their_set(&gone).intersect(uids),
            None => TheirSet::span(1, view.uidnext.saturating_sub(1)).intersect(uids).minus(&uids_of(&view)),
        };
        Ok(Answer::Uids(gone))
    }
}

fn flag_row(uid: u32, flags: Flags, modseq: u64) -> FlagRow {
    FlagRow { uid, flags: translate::their_flags(flags), modseq, elsewhere: true }
}

/// Several deltas in one.
#[derive(Default)]
struct Sum {
    modseq: u64,
    new: TheirSet,
    recent: TheirSet,
    gone: TheirSet,
    flags: BTreeMap<u32, FlagRow>,
}

impl Sum {
    fn of(deltas: &[Arc<Delta>], me: u64, since: u64) -> Sum {
        let mut sum = Sum { modseq: since, ..Sum::default() };
        for delta in deltas {
            if delta.what != What::Closed {
                sum.modseq = sum.modseq.max(delta.modseq);
            }
            match &delta.what {
                What::Added(rows) => rows.iter().for_each(|r| sum.new.push(r.uid, r.uid)),
                What::Marked(marks) => sum.mark(marks, delta, me),
                What::Gone(uids) => sum.remove(uids),
                What::Closed => sum.remove(&UidSet::all()),
            }
        }
        sum
    }
    /// Our own changes were answered already; only if somebody else's came first must the newest
    /// state be told again.
    fn mark(&mut self, marks: &[(u32, Flags)], delta: &Delta, me: u64) {
        for &(uid, flags) in marks {
            if self.new.contains(uid) || (delta.by == me && !self.flags.contains_key(&uid)) {
                continue;
            }
            self.flags.insert(uid, flag_row(uid, flags, delta.modseq));
        }
    }
    fn remove(&mut self, uids: &UidSet) {
        let theirs = translate::their_set(uids);
        self.new = self.new.minus(&theirs);
        self.flags.retain(|uid, _| !uids.contains(*uid));
        self.gone = self.gone.union(&theirs);
    }
}
