//! Folders: names, creation, renaming, deletion, subscription, counters.
//!
//! A folder is a row; a name that only stands above others ("a" of "a/b") has no row and is
//! listed as not selectable. UIDVALIDITY comes from one counter that only rises, so that no name
//! ever sees an old value again.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};
use stdx::Now;
use store::{Batch, BodyId, StoreError};
use words::AccountId;

use crate::append::Pen;
use crate::hub::What;
use crate::{Flags, UidSet, change, rule};

/// Stands between the levels of a name.
pub const SEPARATOR: char = '/';
/// Longest name, in octets.
pub const NAME_LEN_MAX: usize = 1000;
/// Levels of a name.
pub const DEPTH_MAX: usize = 32;
/// Folders per account.
pub const FOLDERS_MAX: i64 = 10_000;
/// Subscriptions per account.
pub const SUBSCRIPTIONS_MAX: i64 = 10_000;

/// What every new account finds: name and special use (RFC 6154 §2).
pub const FIRST_FOLDERS: [(&str, &str); 6] = [
    ("INBOX", ""),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
    ("Archive", "\\Archive"),
];

/// A folder's number, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(pub i64);

impl FolderId {
    /// RFC 8474 §4: the MAILBOXID, which stays over a rename.
    pub fn object_id(self) -> String {
        format!("F{}", self.0)
    }
}

/// What changes seldom about a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub id: FolderId,
    pub account: AccountId,
    pub name: String,
    pub uidvalidity: u32,
    /// `\Sent` or several, with blanks between; or empty.
    pub special: String,
}

/// The counters of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub uidvalidity: u32,
    pub uidnext: u32,
    pub modseq: u64,
    pub present: u64,
    pub unseen: u64,
    pub deleted: u64,
    pub bytes: u64,
}

const COLUMNS: &str = "id, account, name, uidvalidity, special";

fn folder(row: &SqlRow<'_>) -> rusqlite::Result<Folder> {
    Ok(Folder {
        id: FolderId(row.get(0)?),
        account: AccountId(row.get(1)?),
        name: row.get(2)?,
        uidvalidity: row.get(3)?,
        special: row.get(4)?,
    })
}

/// INBOX in any case is INBOX (RFC 9051 §5.1), also as the first level of a name.
pub fn canonical(name: &str) -> String {
    match name.split_once(SEPARATOR) {
        None if name.eq_ignore_ascii_case("INBOX") => "INBOX".to_owned(),
        Some((first, rest)) if first.eq_ignore_ascii_case("INBOX") => format!("INBOX{SEPARATOR}{rest}"),
        _ => name.to_owned(),
    }
}

/// Whether a name may be created.
fn check_name(name: &str) -> Result<(), StoreError> {
    if name.len() > NAME_LEN_MAX || name.split(SEPARATOR).count() > DEPTH_MAX {
        return rule(format!(
            "[LIMIT] a folder name has at most {NAME_LEN_MAX} octets and {DEPTH_MAX} levels"
        ));
    }
    let bad = |level: &str| level.is_empty() || level.chars().any(char::is_control);
    if name.split(SEPARATOR).any(bad) {
        return rule("[CANNOT] a folder name has no empty levels and no control characters");
    }
    Ok(())
}

/// Makes the first folders of an account, if it has none yet.
pub fn ensure(batch: &mut Batch<'_>, account: AccountId, now: Now) -> Result<Folder, StoreError> {
    if let Some(inbox) = find(batch.sql(), account, "INBOX")? {
        return Ok(inbox);
    }
    for (name, special) in FIRST_FOLDERS {
        create(batch, account, name, special, now)?;
        subscribe(batch, account, name)?;
    }
    match find(batch.sql(), account, "INBOX")? {
        Some(inbox) => Ok(inbox),
        None => rule("[SERVERBUG] the INBOX could not be made"),
    }
}

/// A folder by its name.
pub fn find(conn: &Connection, account: AccountId, name: &str) -> Result<Option<Folder>, StoreError> {
    let name = canonical(name);
    let sql = format!("SELECT {COLUMNS} FROM mb_folder WHERE account = ?1 AND name = ?2");
    Ok(conn.prepare_cached(&sql)?.query_row(params![account.0, name], folder).optional()?)
}

/// A folder by its number.
pub fn by_id(conn: &Connection, id: FolderId) -> Result<Option<Folder>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM mb_folder WHERE id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([id.0], folder).optional()?)
}

/// The folder an account keeps for a special use (`\Junk`), if it has one.
pub fn special(conn: &Connection, account: AccountId, which: &str) -> Result<Option<Folder>, StoreError> {
    Ok(list(conn, account)?.into_iter().find(|f| f.special.split(' ').any(|s| s.eq_ignore_ascii_case(which))))
}

/// All folders of an account, by name.
pub fn list(conn: &Connection, account: AccountId) -> Result<Vec<Folder>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM mb_folder WHERE account = ?1 ORDER BY name");
    let mut read = conn.prepare_cached(&sql)?;
    let rows = read.query_map([account.0], folder)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes a folder.
pub fn create(
    batch: &mut Batch<'_>,
    account: AccountId,
    name: &str,
    special: &str,
    now: Now,
) -> Result<Folder, StoreError> {
    let name = canonical(name.strip_suffix(SEPARATOR).unwrap_or(name));
    check_name(&name)?;
    if find(batch.sql(), account, &name)?.is_some() {
        return rule("[ALREADYEXISTS] a folder of that name exists");
    }
    let count: i64 = batch
        .sql()
        .prepare_cached("SELECT count(*) FROM mb_folder WHERE account = ?1")?
        .query_row([account.0], |r| r.get(0))?;
    if count >= FOLDERS_MAX {
        return rule(format!("[LIMIT] this account has {FOLDERS_MAX} folders, which is all it may have"));
    }
    let uidvalidity = next_uidvalidity(batch.sql(), now)?;
    batch
        .sql()
        .prepare_cached(
            "INSERT INTO mb_folder (account, name, uidvalidity, special, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![account.0, name, uidvalidity, special, now.secs() as i64])?;
    let id = FolderId(batch.sql().last_insert_rowid());
    batch
        .sql()
        .prepare_cached(
            "INSERT INTO mb_count (account, folder, uidnext, modseq, present, unseen, deleted, bytes)
             VALUES (?1, ?2, 1, 1, 0, 0, 0, 0)",
        )?
        .execute([account.0, id.0])?;
    batch.settle();
    Ok(Folder { id, account, name, uidvalidity, special: special.to_owned() })
}

fn next_uidvalidity(conn: &Connection, now: Now) -> Result<u32, StoreError> {
    let n: i64 = conn
        .prepare_cached(
            "INSERT INTO mb_counter (name, n) VALUES ('uidvalidity', ?1)
             ON CONFLICT (name) DO UPDATE SET n = max(n + 1, ?1) RETURNING n",
        )?
        .query_row([now.secs() as i64], |r| r.get(0))?;
    Ok(n as u32)
}

/// Gives an account's folder the UIDVALIDITY and UIDNEXT it had on another host, for
/// migrations that keep clients' caches. Only an empty folder takes them.
pub fn adopt(
    batch: &mut Batch<'_>,
    folder: &Folder,
    uidvalidity: u32,
    uidnext: u32,
) -> Result<Folder, StoreError> {
    let status = status(batch.sql(), folder)?;
    if status.uidnext != 1 || uidvalidity == 0 || uidnext == 0 {
        return rule("[CANNOT] only a folder that never held a message takes another UIDVALIDITY");
    }
    let sql = batch.sql();
    sql.execute("UPDATE mb_folder SET uidvalidity = ?1 WHERE id = ?2", params![uidvalidity, folder.id.0])?;
    sql.execute(
        "UPDATE mb_count SET uidnext = ?1 WHERE account = ?2 AND folder = ?3",
        params![uidnext, folder.account.0, folder.id.0],
    )?;
    sql.execute(
        "INSERT INTO mb_counter (name, n) VALUES ('uidvalidity', ?1)
         ON CONFLICT (name) DO UPDATE SET n = max(n, ?1)",
        [uidvalidity],
    )?;
    batch.settle();
    Ok(Folder { uidvalidity, ..folder.clone() })
}

/// Deletes a folder and its messages. Its inferiors stay; INBOX cannot be deleted
/// (RFC 9051 §6.3.5).
pub fn delete(batch: &mut Batch<'_>, pen: &Pen, folder: &Folder) -> Result<(), StoreError> {
    if folder.name == "INBOX" {
        return rule("[CANNOT] the INBOX cannot be deleted");
    }
    change::drop_rows(batch, folder.id, &UidSet::all())?;
    let sql = batch.sql();
    sql.prepare_cached("DELETE FROM mb_count WHERE account = ?1 AND folder = ?2")?
        .execute([folder.account.0, folder.id.0])?;
    for table in ["mb_gone", "mb_acl", "mb_metadata", "mb_mark"] {
        sql.prepare_cached(&format!("DELETE FROM {table} WHERE folder = ?1"))?.execute([folder.id.0])?;
    }
    sql.prepare_cached("DELETE FROM mb_folder WHERE id = ?1")?.execute([folder.id.0])?;
    let status = Status { modseq: u64::MAX, ..Status::default() };
    pen.publish(batch, folder, status, What::Closed);
    batch.settle();
    Ok(())
}

/// Renames a folder and its inferiors. Renaming INBOX moves its messages into a new folder and
/// leaves an empty INBOX (RFC 9051 §6.3.6).
pub fn rename(
    batch: &mut Batch<'_>,
    pen: &Pen,
    account: AccountId,
    from: &str,
    to: &str,
) -> Result<(), StoreError> {
    let (from, to) = (canonical(from), canonical(to.strip_suffix(SEPARATOR).unwrap_or(to)));
    check_name(&to)?;
    if find(batch.sql(), account, &to)?.is_some() {
        return rule("[ALREADYEXISTS] a folder of the new name exists");
    }
    if from == "INBOX" {
        let inbox = ensure(batch, account, pen.now)?;
        let new = create(batch, account, &to, "", pen.now)?;
        change::move_to(batch, pen, &inbox, &new, &UidSet::all())?;
        return Ok(());
    }
    if to.strip_prefix(&from).is_some_and(|rest| rest.starts_with(SEPARATOR)) {
        return rule("[CANNOT] a folder cannot be moved below itself");
    }
    let below = format!("{from}{SEPARATOR}");
    let moved: Vec<Folder> = list(batch.sql(), account)?
        .into_iter()
        .filter(|f| f.name == from || f.name.starts_with(&below))
        .collect();
    if moved.is_empty() {
        return rule("[NONEXISTENT] there is no folder of that name");
    }
    for folder in &moved {
        let name = format!("{to}{}", &folder.name[from.len()..]);
        check_name(&name)?;
        if find(batch.sql(), account, &name)?.is_some() {
            return rule("[ALREADYEXISTS] a folder of the new name exists below");
        }
        batch
            .sql()
            .prepare_cached("UPDATE mb_folder SET name = ?1 WHERE id = ?2")?
            .execute(params![name, folder.id.0])?;
    }
    batch.settle();
    Ok(())
}

/// Sets the special use of a folder.
pub fn set_special(batch: &mut Batch<'_>, folder: FolderId, special: &str) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("UPDATE mb_folder SET special = ?1 WHERE id = ?2")?
        .execute(params![special, folder.0])?;
    batch.settle();
    Ok(())
}

const COUNTERS: &str = "uidnext, modseq, present, unseen, deleted, bytes";

fn counters(folder: &Folder, r: &SqlRow<'_>) -> rusqlite::Result<Status> {
    let number = |n: usize| r.get::<_, i64>(n).map(|n| n as u64);
    Ok(Status {
        uidvalidity: folder.uidvalidity,
        uidnext: u32::try_from(number(0)?).unwrap_or(u32::MAX),
        modseq: number(1)?,
        present: number(2)?,
        unseen: number(3)?,
        deleted: number(4)?,
        bytes: number(5)?,
    })
}

/// The counters of a folder: one row, whatever its size.
pub fn status(conn: &Connection, folder: &Folder) -> Result<Status, StoreError> {
    let sql = format!("SELECT {COUNTERS} FROM mb_count WHERE account = ?1 AND folder = ?2");
    let mut read = conn.prepare_cached(&sql)?;
    let found = read.query_row([folder.account.0, folder.id.0], |r| counters(folder, r)).optional()?;
    match found {
        Some(status) => Ok(status),
        None => rule("[NONEXISTENT] the folder was deleted"),
    }
}

/// Takes `uids` UIDs and the next MODSEQ, and adds to the counters: present, unseen, deleted,
/// bytes. Answers what they are then.
pub(crate) fn count(
    batch: &Batch<'_>,
    folder: &Folder,
    uids: i64,
    add: [i64; 4],
) -> Result<Status, StoreError> {
    let sql = format!(
        "UPDATE OR FAIL mb_count SET uidnext = uidnext + ?3, modseq = modseq + 1, present = present + ?4,
         unseen = unseen + ?5, deleted = deleted + ?6, bytes = bytes + ?7
         WHERE account = ?1 AND folder = ?2 RETURNING {COUNTERS}"
    );
    let mut write = batch.sql().prepare_cached(&sql)?;
    let values = params![folder.account.0, folder.id.0, uids, add[0], add[1], add[2], add[3]];
    match write.query_row(values, |r| counters(folder, r)).optional()? {
        Some(status) if status.uidnext == u32::MAX => {
            rule("[LIMIT] this folder has used up its UIDs; move its messages to a new folder")
        }
        Some(status) => Ok(status),
        None => rule("[TRYCREATE] there is no such folder"),
    }
}

/// Octets of the messages marked \Deleted (RFC 9208 §4.1.4).
pub fn deleted_bytes(conn: &Connection, folder: FolderId) -> Result<u64, StoreError> {
    let bytes: i64 = conn
        .prepare_cached(
            "SELECT coalesce(sum(size), 0) FROM mb_message WHERE folder = ?1 AND flags & ?2 <> 0",
        )?
        .query_row(params![folder.0, Flags::DELETED.sql()], |r| r.get(0))?;
    Ok(bytes as u64)
}

/// The first UID that no session was told of before, as last written.
pub fn told(conn: &Connection, folder: FolderId) -> Result<u32, StoreError> {
    let told =
        conn.prepare_cached("SELECT told FROM mb_folder WHERE id = ?1")?.query_row([folder.0], |r| r.get(0));
    Ok(told.optional()?.unwrap_or(1))
}

/// Messages that no session was told of before (RFC 3501 \Recent).
pub fn recent(conn: &Connection, folder: FolderId, told: u32) -> Result<u64, StoreError> {
    let count: i64 = conn
        .prepare_cached("SELECT count(*) FROM mb_message WHERE folder = ?1 AND uid >= ?2")?
        .query_row(params![folder.0, told], |r| r.get(0))?;
    Ok(count as u64)
}

/// Remembers that sessions were told of all UIDs below `told`.
pub fn tell(batch: &mut Batch<'_>, folder: FolderId, told: u32) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("UPDATE mb_folder SET told = ?2 WHERE id = ?1 AND told < ?2")?
        .execute(params![folder.0, told])?;
    Ok(())
}

/// Messages and bytes in all folders of an account.
pub fn usage(conn: &Connection, account: AccountId) -> Result<(u64, u64), StoreError> {
    Ok(conn
        .prepare_cached(
            "SELECT coalesce(sum(present), 0), coalesce(sum(bytes), 0) FROM mb_count WHERE account = ?1",
        )?
        .query_row([account.0], |r| Ok((r.get::<_, i64>(0)? as u64, r.get::<_, i64>(1)? as u64)))?)
}

/// Subscribes to a name, whether or not the folder exists (RFC 9051 §6.3.7).
pub fn subscribe(batch: &mut Batch<'_>, account: AccountId, name: &str) -> Result<(), StoreError> {
    let name = canonical(name);
    check_name(&name)?;
    let count: i64 = batch
        .sql()
        .prepare_cached("SELECT count(*) FROM mb_subscription WHERE account = ?1")?
        .query_row([account.0], |r| r.get(0))?;
    if count >= SUBSCRIPTIONS_MAX {
        return rule(format!("[LIMIT] this account has {SUBSCRIPTIONS_MAX} subscriptions"));
    }
    batch
        .sql()
        .prepare_cached("INSERT OR IGNORE INTO mb_subscription (account, name) VALUES (?1, ?2)")?
        .execute(params![account.0, name])?;
    batch.settle();
    Ok(())
}

pub fn unsubscribe(batch: &mut Batch<'_>, account: AccountId, name: &str) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("DELETE FROM mb_subscription WHERE account = ?1 AND name = ?2")?
        .execute(params![account.0, canonical(name)])?;
    batch.settle();
    Ok(())
}

/// Names an account has subscribed to.
pub fn subscriptions(conn: &Connection, account: AccountId) -> Result<Vec<String>, StoreError> {
    let mut read =
        conn.prepare_cached("SELECT name FROM mb_subscription WHERE account = ?1 ORDER BY name")?;
    let rows = read.query_map([account.0], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes everything an account has, when the account goes.
pub fn remove_account(batch: &mut Batch<'_>, pen: &Pen, account: AccountId) -> Result<(), StoreError> {
    for folder in list(batch.sql(), account)? {
        let named = Folder { name: format!("removed {}", folder.name), ..folder };
        delete(batch, pen, &named)?;
    }
    crate::text::forget(batch, account)?;
    for (table, column) in
        [("mb_subscription", "account"), ("mb_keyword", "account"), ("mb_metadata", "owner")]
    {
        batch.sql().execute(&format!("DELETE FROM {table} WHERE {column} = ?1"), [account.0])?;
    }
    Ok(())
}

/// A place where a body lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub account: AccountId,
    pub folder: String,
    pub uid: u32,
}

/// The mailboxes that hold this body, `limit` of them at most.
pub fn holding(conn: &Connection, body: BodyId, limit: usize) -> Result<Vec<Held>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT account, name, uid FROM mb_message JOIN mb_folder ON mb_folder.id = folder WHERE body = ?1
         ORDER BY folder, uid LIMIT ?2",
    )?;
    let held = |r: &SqlRow<'_>| Ok(Held { account: AccountId(r.get(0)?), folder: r.get(1)?, uid: r.get(2)? });
    let rows = find.query_map((body.0, limit as i64), held)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
