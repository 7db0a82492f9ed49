//! The keys that facts are asked by, a chapter at a time.
//!
//! What it is: pages of hashes, [`PAGES`] for each full chapter, made from its facts in the background
//! and thrown away with them. What it is not: needed for a right answer; a chapter without pages is read
//! whole. Begin with [`tend`] and [`newest_first`].

use store::rusqlite::{Connection, OptionalExtension, ToSql};
use store::{Store, StoreError};
use words::{AttemptId, MessageId, SessionId};

use crate::{CHAPTER, Fact};

/// Made again from the facts, so not in the log; `fact_key` was its like up to step 1.
pub(crate) const TABLE: &str = "
    DROP TABLE fact_key;
    CREATE TABLE fact_page_unlogged (
        page INTEGER PRIMARY KEY,  -- chapter * 64 + the first six bits of the hash
        keys BLOB NOT NULL         -- 32 bits of the hash and 16 of the fact's place, sorted
    ) STRICT;
    ";

/// Pages per chapter: one then takes some 2 KiB.
pub(crate) const PAGES: i64 = 64;
/// Length of one key in a page.
const KEY_LEN: usize = 6;
/// Most chapters done by one call of [`tend`]: some 65,000 facts, 2 MiB of keys.
const TURN: usize = 16;

/// What a fact can be asked by.
pub(crate) enum Key<'a> {
    Session(SessionId),
    Message(MessageId),
    Attempt(AttemptId),
    Header(&'a str),
    About(&'a str),
}

impl Key<'_> {
    /// FNV-1a over a mark and the key, mixed once more: its page within a chapter, and 32 further bits.
    /// A clash costs time, never a wrong answer: what is found is compared with the question.
    fn hash(&self) -> (i64, u32) {
        fn fnv(mark: u8, bytes: &[u8]) -> u64 {
            let mut h: u64 = 0xCBF2_9CE4_8422_2325;
            for b in std::iter::once(&mark).chain(bytes) {
                h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01B3);
            }
            h.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        }
        let h = match self {
            Key::Session(id) => fnv(b's', &id.0.to_le_bytes()),
            Key::Message(id) => fnv(b'm', &id.0.to_le_bytes()),
            Key::Attempt(id) => fnv(b'a', &id.0.to_le_bytes()),
            Key::Header(text) => fnv(b'h', bare(text).as_bytes()),
            Key::About(key) => fnv(b'@', key.as_bytes()),
        };
        ((h >> 58) as i64, (h >> 26) as u32)
    }
    pub(crate) fn fits(&self, fact: &Fact) -> bool {
        match self {
            Key::Session(id) => fact.session == Some(*id),
            Key::Message(id) => fact.message == Some(*id),
            Key::Attempt(id) => fact.attempt == Some(*id),
            Key::Header(text) => fact.header.as_deref().is_some_and(|h| bare(h) == bare(text)),
            Key::About(key) => fact.about.iter().any(|a| a == key),
        }
    }
    /// A condition that every fact under this key fulfils.
    fn condition(&self) -> (&'static str, Box<dyn ToSql + '_>) {
        match self {
            Key::Session(id) => ("session = ?3", Box::new(id.0 as i64)),
            Key::Message(id) => ("message = ?3", Box::new(id.0 as i64)),
            Key::Attempt(id) => ("attempt = ?3", Box::new(id.0 as i64)),
            Key::Header(text) => ("instr(header, ?3) > 0", Box::new(bare(text))),
            Key::About(key) => ("instr(about, ?3) > 0", Box::new(*key)),
        }
    }
}

/// A Message-ID without its angle brackets, as people paste it.
fn bare(header: &str) -> &str {
    let text = header.trim();
    text.strip_prefix('<').unwrap_or(text).strip_suffix('>').unwrap_or(text.trim_start_matches('<'))
}

/// The facts of a chapter that may be under this key, newest first.
pub(crate) fn newest_first(conn: &Connection, chapter: i64, key: &Key<'_>) -> Result<Vec<i64>, StoreError> {
    let (page, hash) = key.hash();
    let base = chapter * CHAPTER;
    let found = conn
        .prepare_cached("SELECT keys FROM fact_page_unlogged WHERE page = ?1")?
        .query_row([chapter * PAGES + page], |r| {
            let keys = r.get_ref(0)?.as_blob()?;
            let ours = keys.chunks_exact(KEY_LEN).filter(|k| k[..4] == hash.to_be_bytes());
            Ok(ours.map(|k| base + i64::from(u16::from_be_bytes([k[4], k[5]]))).collect::<Vec<_>>())
        })
        .optional()?;
    if let Some(mut found) = found {
        found.reverse();
        return Ok(found);
    }
    let (condition, value) = key.condition();
    let mut all = conn.prepare_cached(&format!(
        "SELECT id FROM fact WHERE id >= ?1 AND id < ?2 AND {condition} ORDER BY id DESC"
    ))?;
    let found = all.query_map((base, base + CHAPTER, value), |r| r.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Makes the keys of chapters that have become full. Call it every few seconds; what a glance does not
/// show yet may be made once more, to the same end.
pub async fn tend(store: &Store) -> Result<(), StoreError> {
    let mut made: Vec<Chapter> = Vec::new();
    while made.len() < TURN {
        let from = made.last().map(|(chapter, _)| chapter + 1);
        let Some(next) = store.glance(|conn| next(conn, from))? else { break };
        made.push(next);
        tokio::task::yield_now().await;
    }
    if made.is_empty() {
        return Ok(());
    }
    let put = move |batch: &mut store::Batch<'_>| {
        let mut put =
            batch.sql().prepare_cached("INSERT OR REPLACE INTO fact_page_unlogged VALUES (?1, ?2)")?;
        for (chapter, pages) in &made {
            for (n, page) in pages.iter().enumerate() {
                put.execute((chapter * PAGES + n as i64, page))?;
            }
        }
        Ok(())
    };
    store.commit(Vec::new(), put).await
}

/// A chapter and its pages.
type Chapter = (i64, Vec<Vec<u8>>);

/// The first full chapter from `from` on, or behind those that have their keys; and its pages.
fn next(conn: &Connection, from: Option<i64>) -> Result<Option<Chapter>, StoreError> {
    let done: Option<i64> =
        conn.prepare_cached("SELECT max(page) FROM fact_page_unlogged")?.query_row([], |r| r.get(0))?;
    let ends: (Option<i64>, Option<i64>) = conn
        .prepare_cached("SELECT min(id), (SELECT max(id) FROM fact) FROM fact")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let (Some(first), Some(last)) = ends else { return Ok(None) };
    let chapter = from.or(done.map(|page| page / PAGES + 1)).unwrap_or(0).max(first / CHAPTER);
    if last + 1 < (chapter + 1) * CHAPTER {
        return Ok(None);
    }
    Ok(Some((chapter, pages(conn, chapter)?)))
}

fn pages(conn: &Connection, chapter: i64) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut all = conn.prepare_cached(
        "SELECT id, session, message, attempt, header, about FROM fact WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let base = chapter * CHAPTER;
    let mut keys: Vec<Vec<(u32, u16)>> = vec![Vec::new(); PAGES as usize];
    let mut rows = all.query((base, base + CHAPTER))?;
    while let Some(r) = rows.next()? {
        let place = (r.get::<_, i64>(0)? - base) as u16;
        let id = |at| r.get::<_, Option<i64>>(at).map(|id| id.map(|id| id as u64));
        let header = r.get_ref(4)?.as_str_or_null().map_err(store::rusqlite::Error::from)?;
        let about = r.get_ref(5)?.as_str().map_err(store::rusqlite::Error::from)?;
        let ids = [
            id(1)?.map(|id| Key::Session(SessionId(id))),
            id(2)?.map(|id| Key::Message(MessageId(id))),
            id(3)?.map(|id| Key::Attempt(AttemptId(id))),
            header.map(Key::Header),
        ];
        for key in ids.into_iter().flatten().chain(about.lines().map(Key::About)) {
            let (page, hash) = key.hash();
            keys[page as usize].push((hash, place));
        }
    }
    let packed = |mut keys: Vec<(u32, u16)>| {
        keys.sort_unstable();
        keys.dedup();
        let mut out = Vec::with_capacity(keys.len() * KEY_LEN);
        for (hash, place) in keys {
            out.extend_from_slice(&hash.to_be_bytes());
            out.extend_from_slice(&place.to_be_bytes());
        }
        out
    };
    Ok(keys.into_iter().map(packed).collect())
}
