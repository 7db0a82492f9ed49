//! Sieve scripts of accounts, and the marks that scripts leave: who was answered by a vacation
//! notice, which message was seen before.

use stdx::Now;
use store::rusqlite::Connection;
use store::{Batch, StoreError};
use words::AccountId;

use crate::maybe;

/// Scripts of one account, and octets of one.
pub const SCRIPTS_MAX: i64 = 50;
pub const SCRIPT_MAX: usize = 1 << 20;
/// Marks of one account; the oldest give way.
const MARKS_MAX: i64 = 10_000;

/// Why a script cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoScript {
    NonExistent,
    AlreadyExists,
    /// The active script cannot be removed.
    Active,
    TooMany,
    TooLarge,
}

/// A change that may be refused without anything being wrong with the store.
pub type Changed = Result<Result<(), NoScript>, StoreError>;

/// Names of an account's scripts, and which one is active.
pub fn scripts(conn: &Connection, account: AccountId) -> Result<Vec<(String, bool)>, StoreError> {
    let mut list = conn.prepare_cached("SELECT name, active FROM script WHERE account = ?1 ORDER BY name")?;
    let rows = list.query_map([account.0], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn script(conn: &Connection, account: AccountId, name: &str) -> Result<Option<String>, StoreError> {
    let mut find = conn.prepare_cached("SELECT text FROM script WHERE account = ?1 AND name = ?2")?;
    maybe(find.query_row((account.0, name), |r| r.get(0)))
}

/// Name and text of the script that sorts the account's mail.
pub fn active_script(conn: &Connection, account: AccountId) -> Result<Option<(String, String)>, StoreError> {
    let mut find = conn.prepare_cached("SELECT name, text FROM script WHERE account = ?1 AND active = 1")?;
    maybe(find.query_row([account.0], |r| Ok((r.get(0)?, r.get(1)?))))
}

/// Whether a script of this size may be kept under this name.
pub fn script_fits(conn: &Connection, account: AccountId, name: &str, size: usize) -> Changed {
    if size > SCRIPT_MAX {
        return Ok(Err(NoScript::TooLarge));
    }
    let mut count = conn.prepare_cached("SELECT count(*) FROM script WHERE account = ?1 AND name <> ?2")?;
    let others: i64 = count.query_row((account.0, name), |r| r.get(0))?;
    Ok(if others >= SCRIPTS_MAX { Err(NoScript::TooMany) } else { Ok(()) })
}

/// Keeps a script; one of the same name gives way to it, and stays active if it was.
pub fn put_script(batch: &mut Batch<'_>, account: AccountId, name: &str, text: &str, now: Now) -> Changed {
    if let Err(why) = script_fits(batch.sql(), account, name, text.len())? {
        return Ok(Err(why));
    }
    batch
        .sql()
        .prepare_cached(
            "INSERT INTO script (account, name, text, active, changed) VALUES (?1, ?2, ?3, 0, ?4)
             ON CONFLICT (account, name) DO UPDATE SET text = ?3, changed = ?4",
        )?
        .execute((account.0, name, text, now.ms() as i64))?;
    batch.settle();
    Ok(Ok(()))
}

/// Makes one script the active one, or none.
pub fn set_active_script(batch: &mut Batch<'_>, account: AccountId, name: Option<&str>) -> Changed {
    let conn = batch.sql();
    if let Some(name) = name
        && script(conn, account, name)?.is_none()
    {
        return Ok(Err(NoScript::NonExistent));
    }
    conn.prepare_cached("UPDATE script SET active = (name IS ?2) WHERE account = ?1")?
        .execute((account.0, name))?;
    batch.settle();
    Ok(Ok(()))
}

pub fn remove_script(batch: &mut Batch<'_>, account: AccountId, name: &str) -> Changed {
    let conn = batch.sql();
    let active = "SELECT active FROM script WHERE account = ?1 AND name = ?2";
    let active = maybe(conn.prepare_cached(active)?.query_row((account.0, name), |r| r.get::<_, bool>(0)))?;
    match active {
        None => return Ok(Err(NoScript::NonExistent)),
        Some(true) => return Ok(Err(NoScript::Active)),
        Some(false) => {}
    }
    conn.prepare_cached("DELETE FROM script WHERE account = ?1 AND name = ?2")?.execute((account.0, name))?;
    batch.settle();
    Ok(Ok(()))
}

/// Gives a script another name; an active one stays active.
pub fn rename_script(batch: &mut Batch<'_>, account: AccountId, from: &str, to: &str) -> Changed {
    let conn = batch.sql();
    if script(conn, account, from)?.is_none() {
        return Ok(Err(NoScript::NonExistent));
    }
    if script(conn, account, to)?.is_some() {
        return Ok(Err(NoScript::AlreadyExists));
    }
    conn.prepare_cached("UPDATE script SET name = ?3 WHERE account = ?1 AND name = ?2")?
        .execute((account.0, from, to))?;
    batch.settle();
    Ok(Ok(()))
}

/// Whether a mark stands.
pub fn script_mark(conn: &Connection, account: AccountId, mark: &[u8], now: Now) -> Result<bool, StoreError> {
    let mut find =
        conn.prepare_cached("SELECT ends > ?3 FROM script_mark WHERE account = ?1 AND mark = ?2")?;
    Ok(maybe(find.query_row((account.0, mark, now.ms() as i64), |r| r.get(0)))?.unwrap_or(false))
}

/// Sets a mark until `ends`; true if it did not stand before. Marks that have ended go.
pub fn set_script_mark(
    batch: &mut Batch<'_>,
    account: AccountId,
    mark: &[u8],
    (now, ends): (Now, Now),
) -> Result<bool, StoreError> {
    let stood = script_mark(batch.sql(), account, mark, now)?;
    let conn = batch.sql();
    conn.prepare_cached("DELETE FROM script_mark WHERE account = ?1 AND ends <= ?2")?
        .execute((account.0, now.ms() as i64))?;
    conn.prepare_cached("INSERT INTO script_mark VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET ends = ?3")?
        .execute((account.0, mark, ends.ms() as i64))?;
    conn.prepare_cached(
        "DELETE FROM script_mark WHERE account = ?1 AND mark IN
            (SELECT mark FROM script_mark WHERE account = ?1 ORDER BY ends DESC LIMIT -1 OFFSET ?2)",
    )?
    .execute((account.0, MARKS_MAX))?;
    batch.settle();
    Ok(!stood)
}

#[cfg(test)]
mod tests {
    use store::{Settings, Store};

    use super::*;

    const A: AccountId = AccountId(1);

    async fn write<T: Send + 'static>(
        store: &Store,
        f: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        store.commit(vec![], f).await.expect("written")
    }

    #[tokio::test]
    async fn one_script_is_active_and_cannot_be_removed() {
        let store = Store::in_memory(Settings::default(), &[crate::SCHEMA]).expect("opens");
        assert_eq!(write(&store, |b| put_script(b, A, "one", "keep;", Now(1))).await, Ok(()));
        assert_eq!(write(&store, |b| put_script(b, A, "two", "stop;", Now(1))).await, Ok(()));
        assert_eq!(
            write(&store, |b| set_active_script(b, A, Some("three"))).await,
            Err(NoScript::NonExistent)
        );
        assert_eq!(write(&store, |b| set_active_script(b, A, Some("one"))).await, Ok(()));
        assert_eq!(write(&store, |b| set_active_script(b, A, Some("two"))).await, Ok(()));
        assert_eq!(write(&store, |b| put_script(b, A, "two", "discard;", Now(2))).await, Ok(()));
        assert_eq!(write(&store, |b| remove_script(b, A, "two")).await, Err(NoScript::Active));
        assert_eq!(write(&store, |b| rename_script(b, A, "two", "one")).await, Err(NoScript::AlreadyExists));
        assert_eq!(write(&store, |b| rename_script(b, A, "two", "2")).await, Ok(()));
        let active = store.glance(|c| active_script(c, A)).expect("reads");
        assert_eq!(active, Some(("2".into(), "discard;".into())));
        assert_eq!(write(&store, |b| set_active_script(b, A, None)).await, Ok(()));
        assert_eq!(write(&store, |b| remove_script(b, A, "2")).await, Ok(()));
        assert_eq!(store.glance(|c| scripts(c, A)).expect("reads"), [("one".to_owned(), false)]);
        assert_eq!(store.glance(|c| active_script(c, AccountId(2))).expect("reads"), None);
    }

    #[tokio::test]
    async fn a_mark_stands_until_it_ends() {
        let store = Store::in_memory(Settings::default(), &[crate::SCHEMA]).expect("opens");
        let set = |now: u64| write(&store, move |b| set_script_mark(b, A, b"m", (Now(now), Now(now + 10))));
        assert!(set(1).await);
        assert!(!set(5).await);
        assert!(store.glance(|c| script_mark(c, A, b"m", Now(14))).expect("reads"));
        assert!(!store.glance(|c| script_mark(c, A, b"m", Now(15))).expect("reads"));
        assert!(set(20).await);
    }
}
