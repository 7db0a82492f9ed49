//! What is known of other hosts' TLS: policies they published, and how sessions with them went.
//!
//! What it is: rows of MTA-STS policies that outlive a restart, and counts per day for TLS reports.
//! What it is not: reading, fetching or judging policies. Everything here has a bound.

use std::collections::BTreeMap;

use stdx::Now;
use store::rusqlite::{Connection, OptionalExtension, Row, params};
use store::{Batch, StoreError};

/// Policies kept; beyond, those that end first go first.
const POLICIES_MAX: i64 = 50_000;
/// Different counts of one day; what comes beyond is counted without its particulars.
const COUNTS_PER_DAY_MAX: i64 = 20_000;

pub(crate) const TABLES: &str = "CREATE TABLE sts_policy (
                domain TEXT PRIMARY KEY,
                id TEXT NOT NULL,          -- of the TXT record it was fetched for
                text TEXT NOT NULL,        -- as it was published
                fetched INTEGER NOT NULL,
                refresh INTEGER NOT NULL,  -- when it is fetched again before it ends
                until INTEGER NOT NULL
              ) STRICT, WITHOUT ROWID;
              CREATE INDEX sts_policy_refresh ON sts_policy (refresh);
              CREATE INDEX sts_policy_until ON sts_policy (until);
              CREATE TABLE tls_count (
                day INTEGER NOT NULL,      -- days since 1970, UTC
                domain TEXT NOT NULL,
                policy TEXT NOT NULL,      -- sts, tlsa, no-policy-found
                result TEXT NOT NULL,      -- empty for success
                mx TEXT NOT NULL,
                source TEXT NOT NULL,      -- the address we called from
                sessions INTEGER NOT NULL,
                PRIMARY KEY (day, domain, policy, result, mx, source)
              ) STRICT, WITHOUT ROWID;";

pub(crate) const REPORTED: &str = "CREATE TABLE tls_report (   -- domains that were told of a day
                day INTEGER NOT NULL,
                domain TEXT NOT NULL,
                PRIMARY KEY (day, domain)
              ) STRICT, WITHOUT ROWID;";

/// An MTA-STS policy as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsRow {
    pub domain: String,
    pub id: String,
    pub text: String,
    pub fetched: Now,
    pub refresh: Now,
    pub until: Now,
}

const STS: &str = "domain, id, text, fetched, refresh, until";

fn sts_row(r: &Row<'_>) -> store::rusqlite::Result<StsRow> {
    let at = |n| Ok::<Now, store::rusqlite::Error>(Now(r.get::<_, i64>(n)? as u64));
    Ok(StsRow {
        domain: r.get(0)?,
        id: r.get(1)?,
        text: r.get(2)?,
        fetched: at(3)?,
        refresh: at(4)?,
        until: at(5)?,
    })
}

/// The policy of a domain, if one is kept, ended or not.
pub fn policy(conn: &Connection, domain: &str) -> Result<Option<StsRow>, StoreError> {
    let sql = format!("SELECT {STS} FROM sts_policy WHERE domain = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([domain], sts_row).optional()?)
}

/// Policies to be fetched again, the longest due first.
pub fn policies_due(conn: &Connection, now: Now, limit: usize) -> Result<Vec<StsRow>, StoreError> {
    let sql = format!("SELECT {STS} FROM sts_policy WHERE refresh <= ?1 ORDER BY refresh LIMIT ?2");
    let mut found = conn.prepare_cached(&sql)?;
    let rows = found.query_map(params![now.0 as i64, limit as i64], sts_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keeps a policy in place of the one before it.
pub fn keep_policy(batch: &mut Batch<'_>, row: &StsRow) -> Result<(), StoreError> {
    let sql = batch.sql();
    sql.prepare_cached("INSERT OR REPLACE INTO sts_policy VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
        params![row.domain, row.id, row.text, row.fetched.0 as i64, row.refresh.0 as i64, row.until.0 as i64],
    )?;
    let all: i64 = sql.prepare_cached("SELECT count(*) FROM sts_policy")?.query_row([], |r| r.get(0))?;
    if all > POLICIES_MAX {
        sql.prepare_cached(
            "DELETE FROM sts_policy WHERE domain IN (SELECT domain FROM sts_policy ORDER BY until LIMIT ?1)",
        )?
        .execute([all - POLICIES_MAX])?;
    }
    Ok(())
}

/// The next fetch of a policy that could not be had is put off.
pub fn put_off_policy(batch: &mut Batch<'_>, domain: &str, refresh: Now) -> Result<(), StoreError> {
    let sql = "UPDATE sts_policy SET refresh = ?2 WHERE domain = ?1";
    batch.sql().prepare_cached(sql)?.execute(params![domain, refresh.0 as i64])?;
    Ok(())
}

/// Sessions that ended alike on one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsKey {
    /// Days since 1970, UTC.
    pub day: u64,
    pub domain: String,
    /// `sts`, `tlsa`, `no-policy-found` (RFC 8460 §4.2).
    pub policy: &'static str,
    /// RFC 8460 §4.3; empty for success.
    pub result: &'static str,
    pub mx: String,
    pub source: String,
}

/// As [`TlsKey`], read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCount {
    pub domain: String,
    pub policy: String,
    pub result: String,
    pub mx: String,
    pub source: String,
    pub sessions: u64,
}

/// Adds to the counts.
pub fn count(batch: &mut Batch<'_>, tallies: &[(TlsKey, u64)]) -> Result<(), StoreError> {
    let sql = batch.sql();
    let mut rows_of = BTreeMap::new();
    for (key, sessions) in tallies {
        let (day, sessions) = (key.day as i64, *sessions as i64);
        let known = sql
            .prepare_cached(
                "UPDATE tls_count SET sessions = sessions + ?7 WHERE day = ?1 AND domain = ?2 AND policy = ?3 \
                 AND result = ?4 AND mx = ?5 AND source = ?6",
            )?
            .execute(params![day, key.domain, key.policy, key.result, key.mx, key.source, sessions])?;
        if known > 0 {
            continue;
        }
        let rows = match rows_of.get(&day) {
            Some(rows) => *rows,
            None => sql
                .prepare_cached("SELECT count(*) FROM tls_count WHERE day = ?1")?
                .query_row([day], |r| r.get::<_, i64>(0))?,
        };
        rows_of.insert(day, rows + 1);
        let full = rows >= COUNTS_PER_DAY_MAX;
        let (domain, mx, source) = if full { ("", "", "") } else { (&*key.domain, &*key.mx, &*key.source) };
        sql.prepare_cached(
            "INSERT INTO tls_count VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT DO UPDATE SET sessions = sessions + excluded.sessions",
        )?
        .execute(params![day, domain, key.policy, key.result, mx, source, sessions])?;
    }
    Ok(())
}

/// The counts of a day, of one domain or of all.
pub fn counts(conn: &Connection, day: u64, domain: Option<&str>) -> Result<Vec<TlsCount>, StoreError> {
    let mut found = conn.prepare_cached(
        "SELECT domain, policy, result, mx, source, sessions FROM tls_count \
         WHERE day = ?1 AND (?2 IS NULL OR domain = ?2) ORDER BY domain, policy, result, mx, source",
    )?;
    let rows = found.query_map(params![day as i64, domain], |r| {
        Ok(TlsCount {
            domain: r.get(0)?,
            policy: r.get(1)?,
            result: r.get(2)?,
            mx: r.get(3)?,
            source: r.get(4)?,
            sessions: r.get::<_, i64>(5)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Domains that were not told of a day yet. What was counted without a name is nobody's.
pub fn unreported(conn: &Connection, day: u64, limit: usize) -> Result<Vec<String>, StoreError> {
    let mut found = conn.prepare_cached(
        "SELECT DISTINCT domain FROM tls_count c WHERE day = ?1 AND domain <> '' AND NOT EXISTS \
         (SELECT 1 FROM tls_report r WHERE r.day = c.day AND r.domain = c.domain) ORDER BY domain LIMIT ?2",
    )?;
    let rows = found.query_map(params![day as i64, limit as i64], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A domain was told of a day, or wants not to be.
pub fn reported(batch: &mut Batch<'_>, day: u64, domain: &str) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO tls_report VALUES (?1, ?2)";
    batch.sql().prepare_cached(sql)?.execute(params![day as i64, domain])?;
    Ok(())
}

/// Forgets counts of days before this one, and policies that have ended; so many rows at most.
pub fn purge(batch: &mut Batch<'_>, day: u64, now: Now, rows: usize) -> Result<(), StoreError> {
    let sql = batch.sql();
    sql.prepare_cached(
        "DELETE FROM tls_count WHERE (day, domain, policy, result, mx, source) IN \
         (SELECT day, domain, policy, result, mx, source FROM tls_count WHERE day < ?1 LIMIT ?2)",
    )?
    .execute(params![day as i64, rows as i64])?;
    sql.prepare_cached(
        "DELETE FROM tls_report WHERE (day, domain) IN (SELECT day, domain FROM tls_report WHERE day < ?1 LIMIT ?2)",
    )?
    .execute(params![day as i64, rows as i64])?;
    sql.prepare_cached(
        "DELETE FROM sts_policy WHERE domain IN (SELECT domain FROM sts_policy WHERE until <= ?1 LIMIT ?2)",
    )?
    .execute(params![now.0 as i64, rows as i64])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Settings, Store};

    fn store() -> Store {
        Store::in_memory(Settings::default(), &[crate::SCHEMA]).expect("opens")
    }

    fn row(domain: &str, until: u64) -> StsRow {
        let (refresh, until) = (Now(until / 2), Now(until));
        StsRow { domain: domain.into(), id: "1".into(), text: "x".into(), fetched: Now(0), refresh, until }
    }

    fn key(domain: &str, result: &'static str) -> TlsKey {
        TlsKey {
            day: 20_000,
            domain: domain.into(),
            policy: "sts",
            result,
            mx: "mx.far.example".into(),
            source: "192.0.2.1".into(),
        }
    }

    #[tokio::test]
    async fn a_policy_is_kept_replaced_due_and_forgotten() {
        let store = store();
        for row in [row("a.example", 1000), row("b.example", 3000), row("a.example", 2000)] {
            store.commit(vec![], move |b| keep_policy(b, &row)).await.expect("keeps");
        }
        assert_eq!(store.read_now(|c| policy(c, "a.example")).expect("reads"), Some(row("a.example", 2000)));
        let due = store.read_now(|c| policies_due(c, Now(1000), 10)).expect("reads");
        assert_eq!(due, [row("a.example", 2000)]);
        store.commit(vec![], |b| put_off_policy(b, "a.example", Now(1900))).await.expect("puts off");
        assert!(store.read_now(|c| policies_due(c, Now(1000), 10)).expect("reads").is_empty());
        store.commit(vec![], |b| purge(b, 0, Now(2000), 100)).await.expect("purges");
        assert_eq!(store.read_now(|c| policy(c, "a.example")).expect("reads"), None);
        assert!(store.read_now(|c| policy(c, "b.example")).expect("reads").is_some());
    }

    #[tokio::test]
    async fn counts_add_up_per_day_and_old_days_go() {
        let store = store();
        for tallies in
            [vec![(key("a.example", ""), 2)], vec![(key("a.example", ""), 3), (key("b.example", "x"), 1)]]
        {
            store.commit(vec![], move |b| count(b, &tallies)).await.expect("counts");
        }
        let all = store.read_now(|c| counts(c, 20_000, None)).expect("reads");
        let told: Vec<_> = all.iter().map(|c| (&*c.domain, &*c.result, c.sessions)).collect();
        assert_eq!(told, [("a.example", "", 5), ("b.example", "x", 1)]);
        assert_eq!(store.read_now(|c| counts(c, 20_000, Some("b.example"))).expect("reads").len(), 1);
        let waiting = || store.read_now(|c| unreported(c, 20_000, 10)).expect("reads");
        assert_eq!(waiting(), ["a.example", "b.example"]);
        store.commit(vec![], |b| reported(b, 20_000, "a.example")).await.expect("marks");
        assert_eq!(waiting(), ["b.example"]);
        store.commit(vec![], |b| purge(b, 20_001, Now(0), 100)).await.expect("purges");
        assert!(store.read_now(|c| counts(c, 20_000, None)).expect("reads").is_empty());
        let count = "SELECT count(*) FROM tls_report";
        let marks = store.read_now(|c| Ok(c.query_row(count, [], |r| r.get::<_, i64>(0))?));
        assert_eq!(marks.expect("reads"), 0);
    }

    #[tokio::test]
    async fn a_day_of_endless_names_stays_small() {
        let store = store();
        let many: Vec<(TlsKey, u64)> =
            (0..COUNTS_PER_DAY_MAX + 50).map(|n| (key(&format!("d{n}.example"), ""), 1)).collect();
        store.commit(vec![], move |b| count(b, &many)).await.expect("counts");
        let all = store.read_now(|c| counts(c, 20_000, None)).expect("reads");
        assert_eq!(
            (all.len() as i64, all[0].domain.as_str(), all[0].sessions),
            (COUNTS_PER_DAY_MAX + 1, "", 50)
        );
    }
}
