//! Quota, annotations, access lists.

use ::imap::ask::{Answer, Change, Code, Depth, QuotaRoot, QuotaUse, Refusal, Resource};
use directory::AccountId;
use mailbox::metadata::{self, On};
use mailbox::{acl, folder};
use store::rusqlite::Connection;
use store::{Batch, StoreError};

use super::{Desk, Said, Who, folders, translate};

/// The one quota root of an account.
const ROOT: &str = "User quota";

fn root_of(conn: &Connection, account: AccountId) -> Result<QuotaRoot, StoreError> {
    let (_, bytes) = folder::usage(conn, account)?;
    let limit = directory::account(conn, account)?.and_then(|a| a.quota);
    let storage = limit.map(|limit| QuotaUse {
        resource: Resource::Storage,
        used: bytes.div_ceil(1024),
        limit: limit.get() / 1024,
    });
    Ok(QuotaRoot { name: ROOT.to_owned(), resources: storage.into_iter().collect() })
}

/// The entry's place: `/private/…` belongs to who asks, `/shared/…` to all.
fn place(who: &Who, folder: Option<mailbox::FolderId>, entry: &str) -> Option<On> {
    let entry = entry.to_lowercase();
    if entry.starts_with("/private/") || entry == "/private" {
        Some(On { owner: Some(who.account), folder })
    } else if entry.starts_with("/shared/") || entry == "/shared" {
        Some(On { owner: None, folder })
    } else {
        None
    }
}

fn is_wanted(name: &str, asked: &str, depth: Depth) -> bool {
    let asked = asked.to_lowercase();
    if name == asked {
        return true;
    }
    match (name.strip_prefix(&asked).and_then(|rest| rest.strip_prefix('/')), depth) {
        (Some(_), Depth::Infinity) => true,
        (Some(rest), Depth::One) => !rest.contains('/'),
        _ => false,
    }
}

/// RFC 4314 §3: identifiers of people become their login names, so that one list names nobody
/// twice.
fn identifier(conn: &Connection, who: &str) -> Result<String, StoreError> {
    let (sign, name) = match who.strip_prefix('-') {
        Some(name) => ("-", name),
        None => ("", who),
    };
    if name == "anyone" {
        return Ok(who.to_owned());
    }
    match directory::account_by_login(conn, name)? {
        Some(account) => Ok(format!("{sign}{}", account.login)),
        None => Err(StoreError::rule("[CANNOT] there is no account of that name here")),
    }
}

impl Desk {
    pub(super) async fn quota(&mut self, root: &str) -> Said {
        if root != ROOT {
            return Err(Refusal::new(
                Code::NonExistent,
                format!("There is no quota root of that name, only \"{ROOT}\""),
            ));
        }
        let account = self.who()?.account;
        let root = self.store().glance(|conn| root_of(conn, account)).map_err(translate::refusal)?;
        Ok(Answer::Quota(vec![root]))
    }

    pub(super) async fn quota_roots(&mut self, name: String) -> Said {
        let who = self.who()?.clone();
        let root = |conn: &Connection| root_of(conn, folders::need(conn, &who, &name)?.folder.account);
        Ok(Answer::Quota(vec![self.store().glance(root).map_err(translate::refusal)?]))
    }

    pub(super) async fn get_metadata(
        &mut self,
        name: Option<String>,
        asked: &[String],
        depth: Depth,
    ) -> Said {
        let who = self.who()?.clone();
        let read = |conn: &Connection| {
            let folder = match &name {
                Some(name) => Some(folders::need(conn, &who, name)?.need('r')?.folder.id),
                None => None,
            };
            let mut out: Vec<(String, Vec<u8>)> = Vec::new();
            for entry in asked {
                let Some(on) = place(&who, folder, entry) else { continue };
                for (name, value) in metadata::entries(conn, on)? {
                    if is_wanted(&name, entry, depth) && !out.iter().any(|(n, _)| *n == name) {
                        out.push((name, value));
                    }
                }
            }
            Ok(out)
        };
        Ok(Answer::Metadata(self.store().glance(read).map_err(translate::refusal)?))
    }

    pub(super) async fn set_metadata(
        &mut self,
        name: Option<String>,
        entries: Vec<(String, Option<Vec<u8>>)>,
    ) -> Said {
        let who = self.who()?.clone();
        let write = move |batch: &mut Batch<'_>| {
            let found = match &name {
                Some(name) => Some(folders::need(batch.sql(), &who, name)?.need('r')?),
                None => None,
            };
            for (entry, value) in &entries {
                let Some(on) = place(&who, found.as_ref().map(|f| f.folder.id), entry) else {
                    return Err(StoreError::rule("[CANNOT] an entry begins with /private/ or /shared/"));
                };
                let shared = on.owner.is_none();
                if shared && !found.as_ref().is_some_and(|f| f.may('w')) {
                    return Err(StoreError::rule("[NOPERM] you may not change what all see here"));
                }
                metadata::set(batch, on, entry, value.as_deref())?;
            }
            Ok(())
        };
        self.store().commit(Vec::new(), write).await.map_err(translate::refusal)?;
        Ok(Answer::Done)
    }

    pub(super) async fn get_acl(&mut self, name: String) -> Said {
        let who = self.who()?.clone();
        let read = |conn: &Connection| {
            let found = folders::need(conn, &who, &name)?.need('a')?;
            let mut all = acl::entries(conn, found.folder.id)?;
            if let Some(owner) = directory::account(conn, found.folder.account)? {
                all.retain(|(name, _)| *name != owner.login);
                all.insert(0, (owner.login, acl::ALL.to_owned()));
            }
            Ok(all)
        };
        Ok(Answer::Acl(self.store().glance(read).map_err(translate::refusal)?))
    }

    pub(super) async fn set_acl(
        &mut self,
        name: String,
        whom: String,
        change: Change,
        rights: String,
    ) -> Said {
        let who = self.who()?.clone();
        let write = move |batch: &mut Batch<'_>| {
            let found = folders::need(batch.sql(), &who, &name)?.need('a')?;
            let whom = identifier(batch.sql(), &whom)?;
            let old = acl::entry(batch.sql(), found.folder.id, &whom)?;
            let asked = acl::in_order(rights.chars());
            let new = match change {
                Change::Replace => asked,
                Change::Add => acl::in_order(old.chars().chain(asked.chars())),
                Change::Remove => acl::in_order(old.chars().filter(|r| !asked.contains(*r))),
            };
            acl::set(batch, found.folder.id, &whom, &new)
        };
        self.store().commit(Vec::new(), write).await.map_err(translate::refusal)?;
        Ok(Answer::Done)
    }

    pub(super) async fn list_rights(&mut self, name: String, whom: String) -> Said {
        let who = self.who()?.clone();
        let read = |conn: &Connection| {
            let found = folders::need(conn, &who, &name)?.need('a')?;
            let whom = identifier(conn, &whom)?;
            let owner = directory::account(conn, found.folder.account)?.map(|a| a.login);
            if owner.as_deref() == Some(&whom) {
                return Ok(vec![acl::ALL.to_owned()]);
            }
            Ok(std::iter::once(String::new()).chain(acl::ALL.chars().map(String::from)).collect())
        };
        Ok(Answer::Rights(self.store().glance(read).map_err(translate::refusal)?))
    }

    pub(super) async fn my_rights(&mut self, name: String) -> Said {
        let who = self.who()?.clone();
        let read = |conn: &Connection| Ok(folders::need(conn, &who, &name)?.rights);
        Ok(Answer::Rights(vec![self.store().glance(read).map_err(translate::refusal)?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5464 §4.2.2.
    #[test]
    fn depth_says_how_far_below_an_entry_others_are_wanted() {
        for (name, depth, wanted) in [
            ("/private/a", Depth::Zero, true),
            ("/private/a/b", Depth::Zero, false),
            ("/private/a/b", Depth::One, true),
            ("/private/a/b/c", Depth::One, false),
            ("/private/a/b/c", Depth::Infinity, true),
            ("/private/ab", Depth::Infinity, false),
        ] {
            assert_eq!(is_wanted(name, "/private/A", depth), wanted, "{name} {depth:?}");
        }
    }
}
