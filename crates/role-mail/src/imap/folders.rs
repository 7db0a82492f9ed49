//! Folder names and what is done to whole folders.
//!
//! An account's own folders have their plain names; folders that other accounts share stand
//! below [`SHARED`] and the owner's login name.

use std::collections::BTreeMap;

use ::imap::ask::{Answer, Code, Folder as Listed, Refusal, SpecialUse, StatusItems, StatusRow};
use directory::AccountId;
use mailbox::{Folder, acl, folder};
use rusqlite::Connection;
use store::{StoreError, rusqlite};

use super::{Desk, Said, Who, translate};
use crate::Site;

/// Before the owner's login in the names of other people's folders.
pub(super) const SHARED: &str = "Shared/";

/// A folder that was found, and what this session may do with it.
pub(super) struct Found {
    pub folder: Folder,
    pub rights: String,
}

impl Found {
    pub fn may(&self, right: char) -> bool {
        self.rights.contains(right)
    }
    pub fn need(self, right: char) -> Result<Found, StoreError> {
        if self.may(right) {
            return Ok(self);
        }
        Err(StoreError::rule("[NOPERM] you have no right to do this with the folder; ask its owner"))
    }
}

/// Finds a folder by the name this account sees it under. One that it may not even look up does
/// not exist for it (RFC 4314 §6).
pub(super) fn find(conn: &Connection, who: &Who, name: &str) -> Result<Option<Found>, StoreError> {
    let Some((owner, rest)) = name.strip_prefix(SHARED).and_then(|n| n.split_once('/')) else {
        let found = folder::find(conn, who.account, name)?;
        return Ok(found.map(|folder| Found { folder, rights: acl::ALL.to_owned() }));
    };
    let Some(owner) = directory::account_by_login(conn, owner)? else { return Ok(None) };
    let Some(folder) = folder::find(conn, owner.id, rest)? else { return Ok(None) };
    let rights = acl::rights(conn, &folder, who.account, &who.names)?;
    Ok((!rights.is_empty() && !rights.chars().all(|r| r == 'p')).then_some(Found { folder, rights }))
}

/// As [`find`], with the refusal for a folder that is not there.
pub(super) fn need(conn: &Connection, who: &Who, name: &str) -> Result<Found, StoreError> {
    match find(conn, who, name)? {
        Some(found) => Ok(found),
        None => Err(StoreError::rule("[NONEXISTENT] there is no folder of that name")),
    }
}

/// Where a new name would lie: the account and the name there. Below [`SHARED`] the parent
/// folder must allow it.
fn place(conn: &Connection, who: &Who, name: &str) -> Result<(AccountId, String), StoreError> {
    let Some(rest) = name.strip_prefix(SHARED) else {
        if name.eq_ignore_ascii_case(SHARED.trim_end_matches('/')) {
            return Err(StoreError::rule("[CANNOT] this name stands for other people's folders"));
        }
        return Ok((who.account, name.to_owned()));
    };
    let parent = name.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    let found = need(conn, who, parent)?.need('k')?;
    let (_, inner) = rest.split_once('/').unwrap_or(("", rest));
    Ok((found.folder.account, inner.to_owned()))
}

/// All that LIST may name, parents before children.
fn list(conn: &Connection, who: &Who) -> Result<Vec<Listed>, StoreError> {
    let mut all: BTreeMap<Vec<String>, Listed> = BTreeMap::new();
    let key = |name: &str| name.split('/').map(str::to_owned).collect::<Vec<_>>();
    let mut add = |name: String, folder: &Folder, selectable: bool| {
        let listed = Listed {
            exists: true,
            selectable,
            may_have_children: true,
            special_use: translate::uses(&folder.special),
            mailbox_id: Some(folder.id.object_id()),
            subscribed: false,
            name: name.clone(),
        };
        all.insert(key(&name), listed);
    };
    for own in folder::list(conn, who.account)? {
        add(own.name.clone(), &own, true);
    }
    for theirs in acl::shared_with(conn, who.account, &who.names)? {
        if let Some(owner) = directory::account(conn, theirs.account)? {
            let readable = acl::rights(conn, &theirs, who.account, &who.names)?.contains('r');
            let shown = Folder { special: String::new(), ..theirs };
            add(format!("{SHARED}{}/{}", owner.login, shown.name), &shown, readable);
        }
    }
    let bare = |name: String| Listed { name, may_have_children: true, ..Listed::default() };
    for name in folder::subscriptions(conn, who.account)? {
        all.entry(key(&name)).or_insert_with(|| bare(name)).subscribed = true;
    }
    // Levels that only hold others.
    for levels in all.keys().cloned().collect::<Vec<_>>() {
        for n in 1..levels.len() {
            all.entry(levels[..n].to_vec()).or_insert_with(|| bare(levels[..n].join("/")));
        }
    }
    Ok(all.into_values().collect())
}

pub(super) fn status_row(site: &Site, folder: &Folder, items: StatusItems) -> Result<StatusRow, StoreError> {
    let status = site.hub().status(site.store(), folder, site.now())?;
    let mut row = StatusRow {
        messages: status.present,
        uid_next: status.uidnext,
        uid_validity: folder.uidvalidity,
        unseen: status.unseen,
        deleted: status.deleted,
        size: status.bytes,
        highest_modseq: status.modseq,
        mailbox_id: Some(folder.id.object_id()),
        ..StatusRow::default()
    };
    if items.has(StatusItems::DELETED_STORAGE) && status.deleted > 0 {
        row.deleted_storage = site.store().read_now(|conn| folder::deleted_bytes(conn, folder.id))?;
    }
    if items.has(StatusItems::RECENT) {
        row.recent = site.store().read_now(|conn| {
            let told = folder::told(conn, folder.id)?.max(site.hub().told(folder.id));
            folder::recent(conn, folder.id, told)
        })?;
    }
    Ok(row)
}

impl Desk {
    pub(super) async fn folders(&mut self) -> Said {
        let who = self.who()?.clone();
        let all = self.store().glance(|conn| list(conn, &who)).map_err(translate::refusal)?;
        Ok(Answer::Folders(all))
    }

    pub(super) async fn create(&mut self, name: String, uses: &[SpecialUse]) -> Said {
        let (who, now, special) = (self.who()?.clone(), self.site.now(), translate::uses_kept(uses));
        let account = who.account;
        let make = move |batch: &mut store::Batch<'_>| {
            let (account, inner) = place(batch.sql(), &who, &name)?;
            for one in special.split(' ').filter(|s| !s.is_empty()) {
                if folder::special(batch.sql(), account, one)?.is_some() {
                    return Err(StoreError::rule("[USEATTR] another folder has this special use already"));
                }
            }
            let made = folder::create(batch, account, &inner, &special, now)?;
            if account != who.account {
                // RFC 4314 §4: a new folder takes over its parent's list.
                let parent = inner.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
                if let Some(parent) = folder::find(batch.sql(), account, parent)? {
                    for (name, rights) in acl::entries(batch.sql(), parent.id)? {
                        acl::set(batch, made.id, &name, &rights)?;
                    }
                }
            }
            Ok(made)
        };
        let made = self.store().commit(Vec::new(), make).await.map_err(|e| match e {
            StoreError::Rule(why) if why.starts_with("[USEATTR]") => {
                Refusal::new(Code::UseAttr, "Another folder has this special use already")
            }
            e => translate::refusal(e),
        })?;
        self.hub().stir(account);
        Ok(Answer::Created { mailbox_id: Some(made.id.object_id()) })
    }

    pub(super) async fn delete(&mut self, name: String) -> Said {
        let (who, pen) = (self.who()?.clone(), self.pen());
        let drop = move |batch: &mut store::Batch<'_>| {
            let found = need(batch.sql(), &who, &name)?.need('x')?;
            folder::delete(batch, &pen, &found.folder)
        };
        self.store().commit(Vec::new(), drop).await.map_err(translate::refusal)?;
        Ok(Answer::Done)
    }

    pub(super) async fn rename(&mut self, from: String, to: String) -> Said {
        let (who, pen) = (self.who()?.clone(), self.pen());
        let account = who.account;
        let rename = move |batch: &mut store::Batch<'_>| {
            if from.starts_with(SHARED) {
                let found = need(batch.sql(), &who, &from)?.need('x')?;
                let (account, inner) = place(batch.sql(), &who, &to)?;
                if account != found.folder.account {
                    return Err(StoreError::rule(
                        "[CANNOT] a folder cannot be renamed into another account; copy its messages",
                    ));
                }
                return folder::rename(batch, &pen, account, &found.folder.name, &inner);
            }
            let (account, inner) = place(batch.sql(), &who, &to)?;
            if account != who.account {
                return Err(StoreError::rule(
                    "[CANNOT] a folder cannot be renamed into another account; copy its messages",
                ));
            }
            folder::rename(batch, &pen, account, &from, &inner)
        };
        self.store().commit(Vec::new(), rename).await.map_err(translate::refusal)?;
        self.hub().stir(account);
        Ok(Answer::Done)
    }

    pub(super) async fn subscribe(&mut self, name: String, on: bool) -> Said {
        let account = self.who()?.account;
        let note = move |batch: &mut store::Batch<'_>| match on {
            true => folder::subscribe(batch, account, &name),
            false => folder::unsubscribe(batch, account, &name),
        };
        self.store().commit(Vec::new(), note).await.map_err(translate::refusal)?;
        self.hub().stir(account);
        Ok(Answer::Done)
    }

    pub(super) async fn status(&mut self, names: Vec<String>, items: StatusItems) -> Said {
        let who = self.who()?.clone();
        let limit = self.site.settings().message_size_max.get();
        let mut rows = Vec::with_capacity(names.len());
        for name in &names {
            let found = self.store().glance(|conn| find(conn, &who, name)).map_err(translate::refusal)?;
            rows.push(match found.filter(|f| f.may('r')) {
                Some(found) => {
                    let row = status_row(&self.site, &found.folder, items).map_err(translate::refusal)?;
                    Some(StatusRow { append_limit: Some(limit), ..row })
                }
                None => None,
            });
        }
        Ok(Answer::Status(rows))
    }
}
