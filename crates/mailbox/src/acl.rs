//! Access control lists of shared folders (RFC 4314): kept here, judged by [`rights`] alone.
//!
//! The owner always has every right. Others have what the entries for their names and for
//! `anyone` give, less what the entries with `-` in front take.

use rusqlite::{Connection, params};
use store::{Batch, StoreError};
use words::AccountId;

use crate::{Folder, FolderId, folder, rule};

/// All rights of RFC 4314 §2.1 in the order we print them.
pub const ALL: &str = "lrswipkxtea";
/// Entries of one folder.
pub const ENTRIES_MAX: i64 = 1000;

/// The entries of a folder: name and rights.
pub fn entries(conn: &Connection, folder: FolderId) -> Result<Vec<(String, String)>, StoreError> {
    let mut read = conn.prepare_cached("SELECT who, rights FROM mb_acl WHERE folder = ?1 ORDER BY who")?;
    let rows = read.query_map([folder.0], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rights one name has by its own entry.
pub fn entry(conn: &Connection, folder: FolderId, who: &str) -> Result<String, StoreError> {
    let all = entries(conn, folder)?;
    Ok(all.into_iter().find(|(name, _)| name == who).map(|(_, rights)| rights).unwrap_or_default())
}

/// Sets the entry of a name; no rights removes it.
pub fn set(batch: &mut Batch<'_>, folder: FolderId, who: &str, rights: &str) -> Result<(), StoreError> {
    let rights = in_order(rights.chars());
    batch.settle();
    let sql = batch.sql();
    if rights.is_empty() {
        sql.prepare_cached("DELETE FROM mb_acl WHERE folder = ?1 AND who = ?2")?
            .execute(params![folder.0, who])?;
        return Ok(());
    }
    let count: i64 = sql
        .prepare_cached("SELECT count(*) FROM mb_acl WHERE folder = ?1")?
        .query_row([folder.0], |r| r.get(0))?;
    if count >= ENTRIES_MAX || who.is_empty() || who.len() > 512 {
        return rule(format!(
            "[LIMIT] an access list has at most {ENTRIES_MAX} entries with names up to 512 octets"
        ));
    }
    sql.prepare_cached(
        "INSERT INTO mb_acl (folder, who, rights) VALUES (?1, ?2, ?3)
         ON CONFLICT (folder, who) DO UPDATE SET rights = ?3",
    )?
    .execute(params![folder.0, who, rights])?;
    Ok(())
}

/// What somebody may do with a folder. `names` are the names they go by in access lists.
pub fn rights(
    conn: &Connection,
    folder: &Folder,
    account: AccountId,
    names: &[String],
) -> Result<String, StoreError> {
    if folder.account == account {
        return Ok(ALL.to_owned());
    }
    let (mut given, mut taken) = (String::new(), String::new());
    for (who, rights) in entries(conn, folder.id)? {
        let (negative, name) = match who.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, who.as_str()),
        };
        if name == "anyone" || names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            if negative { &mut taken } else { &mut given }.push_str(&rights);
        }
    }
    Ok(in_order(given.chars().filter(|r| !taken.contains(*r))))
}

/// The folders of other accounts in whose access lists one of `names` (or anyone) stands.
pub fn shared_with(
    conn: &Connection,
    account: AccountId,
    names: &[String],
) -> Result<Vec<Folder>, StoreError> {
    let mut ids = Vec::new();
    let mut read = conn.prepare_cached("SELECT folder FROM mb_acl WHERE who = ?1")?;
    for name in names.iter().map(String::as_str).chain(["anyone"]) {
        let rows = read.query_map([name], |r| r.get::<_, i64>(0))?;
        ids.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    ids.sort_unstable();
    ids.dedup();
    let mut out = Vec::new();
    for id in ids {
        if let Some(found) = folder::by_id(conn, FolderId(id))?
            && found.account != account
            && rights(conn, &found, account, names)?.contains('l')
        {
            out.push(found);
        }
    }
    Ok(out)
}

/// Rights once each and in our order; `c` and `d` of RFC 2086 stand for what replaced them.
pub fn in_order(rights: impl Iterator<Item = char>) -> String {
    let mut have = String::new();
    for right in rights {
        match right {
            'c' => have.push_str("kx"),
            'd' => have.push_str("te"),
            r => have.push(r),
        }
    }
    ALL.chars().filter(|r| have.contains(*r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4314 §2.1.1: the old rights stand for the new ones.
    #[test]
    fn rights_come_once_and_in_order() {
        assert_eq!(in_order("rlrd".chars()), "lrte");
        assert_eq!(in_order("c".chars()), "kx");
        assert_eq!(in_order("zq".chars()), "");
    }
}
