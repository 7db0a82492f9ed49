//! STORE, COPY, MOVE and EXPUNGE.

use ::imap::UidSet as TheirSet;
use ::imap::ask::{Answer, Change, Code, FlagRow, Refusal, StoreAsk, Stored};
use mailbox::{Flags, How, Mark, change};
use store::StoreError;

use super::{Desk, Said, folders, translate};

fn no_right() -> Refusal {
    Refusal::new(Code::NoPerm, "You have no right to do this with the folder; ask its owner")
}

/// What of a flag change the rights allow (RFC 4314 §4: the rest is left alone).
fn allowed(rights: &str) -> Flags {
    let mut all = 0;
    if rights.contains('s') {
        all |= Flags::SEEN.0;
    }
    if rights.contains('t') {
        all |= Flags::DELETED.0;
    }
    if rights.contains('w') {
        all |= !(Flags::SEEN.0 | Flags::DELETED.0);
    }
    Flags(all)
}

impl Desk {
    pub(super) async fn mark(&mut self, ask: StoreAsk) -> Said {
        let pen = self.pen();
        let open = self.open()?;
        let allowed = allowed(&open.rights);
        if open.read_only || allowed == Flags::NONE {
            return Err(no_right());
        }
        let folder = open.folder.clone();
        let how = match ask.change {
            Change::Add => How::Add,
            Change::Remove => How::Remove,
            Change::Replace => How::Replace,
        };
        let keywords = if open.may('w') { ask.flags.keywords.clone() } else { Vec::new() };
        let flags = translate::flags(&ask.flags);
        // RFC 4314 §4: a change of which nothing may be done is refused; one that may be done in part is not.
        let named = flags != Flags::NONE || !ask.flags.keywords.is_empty();
        let possible = flags.0 & allowed.0 != 0 || !keywords.is_empty();
        if named && !possible && !matches!(how, How::Replace) {
            return Err(no_right());
        }
        let what = Mark { how, flags, keywords, unchanged_since: ask.unchanged_since, allowed };
        let uids = translate::set(&ask.uids);
        let write = move |batch: &mut store::Batch<'_>| change::mark(batch, &pen, &folder, &uids, &what);
        let done = self.store().commit(Vec::new(), write).await.map_err(translate::refusal)?;
        let mut stored = Stored {
            modified: translate::their_set(&done.refused),
            modseq: done.modseq,
            ..Stored::default()
        };
        let mut used = 0;
        for row in &done.rows {
            let elsewhere = row.before > ask.since;
            if ask.rows || elsewhere {
                used |= row.flags.0;
                stored.rows.push(FlagRow {
                    uid: row.uid,
                    flags: translate::their_flags(row.flags),
                    modseq: row.modseq,
                    elsewhere,
                });
            }
        }
        stored.keywords = Some(self.open()?.keywords_for(Flags(used))?);
        Ok(Answer::Stored(Box::new(stored)))
    }

    pub(super) async fn copy(&mut self, uids: &TheirSet, to: String, remove: bool) -> Said {
        let (who, mut pen) = (self.who()?.clone(), self.pen());
        let open = self.open()?;
        if remove && (open.read_only || !(open.may('t') && open.may('e'))) {
            return Err(no_right());
        }
        let (from, uids) = (open.folder.clone(), translate::set(uids));
        let write = move |batch: &mut store::Batch<'_>| {
            let found = folders::find(batch.sql(), &who, &to)?
                .ok_or_else(|| StoreError::rule("[TRYCREATE] there is no folder of that name"))?
                .need('i')?;
            pen.quota = super::quota_of(batch.sql(), found.folder.account)?;
            match remove {
                true => change::move_to(batch, &pen, &from, &found.folder, &uids),
                false => change::copy(batch, &pen, &from, &found.folder, &uids),
            }
        };
        let done = self.store().commit(Vec::new(), write).await.map_err(translate::refusal)?;
        Ok(Answer::Copied {
            uid_validity: done.uidvalidity,
            from: translate::their_set(&done.from),
            to: translate::their_set(&done.to),
        })
    }

    pub(super) async fn expunge(&mut self, uids: Option<&TheirSet>) -> Said {
        let pen = self.pen();
        let open = self.open()?;
        if open.read_only || !open.may('e') {
            return Err(no_right());
        }
        let (folder, only) = (open.folder.clone(), uids.map(translate::set));
        let write = move |batch: &mut store::Batch<'_>| change::expunge(batch, &pen, &folder, only.as_ref());
        let gone = self.store().commit(Vec::new(), write).await.map_err(translate::refusal)?;
        Ok(Answer::Expunged { uids: translate::their_set(&gone) })
    }
}
