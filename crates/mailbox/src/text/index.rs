//! The chunks of an account: loading, making, joining, forgetting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::params;
use store::{Batch, Body, BodyId, Store, StoreError};
use words::AccountId;

use super::chunk::{self, Builder, Field, Messages, Table};
use super::words::Needle;
use super::{TURN, Texts, read};
use crate::{FolderId, Hub, folder};

/// Messages in a new chunk.
pub const CHUNK_MESSAGES: usize = 512;
/// Chunks of one level that are joined into one of the next.
pub const JOIN: usize = 8;
/// Chunks of this level (some 500,000 messages) are joined no further,
pub const LEVEL_MAX: i64 = 3;
/// nor are those that together are larger than this: joining holds them in memory, and what it makes.
const JOIN_BYTES_MAX: u64 = 16 << 20;
/// A mailbox with fewer new messages waits until it is searched.
pub const QUIET_MESSAGES_MIN: u32 = 32;
/// Accounts whose wishes and loaded indexes are kept.
const ACCOUNTS_MAX: usize = 4096;
const LOADED_MAX: usize = 32;

/// So few lists are read one by one; for more, all lists of the field are read at once.
const FEW_HITS: usize = 64;

/// Which accounts have messages that wait to be indexed, and indexes in memory.
#[derive(Default)]
pub struct Wants(Mutex<State>);

#[derive(Default)]
struct State {
    wants: BTreeMap<AccountId, Want>,
    loaded: BTreeMap<AccountId, Arc<Loaded>>,
}

#[derive(Clone, Copy, Default)]
struct Want {
    added: u32,
    before: u32,
    searched: bool,
}

impl Wants {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn added(&self, account: AccountId, messages: usize) {
        let mut state = self.state();
        if state.wants.len() < ACCOUNTS_MAX || state.wants.contains_key(&account) {
            state.wants.entry(account).or_default().added += messages as u32;
        }
    }
    pub(crate) fn searched(&self, account: AccountId, unread: usize) {
        let mut state = self.state();
        if unread > 0 && (state.wants.len() < ACCOUNTS_MAX || state.wants.contains_key(&account)) {
            let want = state.wants.entry(account).or_default();
            want.searched = true;
            want.added = want.added.max(unread as u32);
        }
    }
    /// Accounts whose turn it is: much is new, or it was searched or has collected some and is
    /// quiet since the last call.
    fn due(&self) -> Vec<(AccountId, bool)> {
        let mut state = self.state();
        let mut due = Vec::new();
        for (&account, want) in &mut state.wants {
            let quiet = want.added == want.before;
            let some = want.searched || want.added >= QUIET_MESSAGES_MIN;
            if want.added as usize >= CHUNK_MESSAGES || (quiet && some && want.added > 0) {
                due.push((account, quiet));
            }
            want.before = want.added;
        }
        due
    }
    /// What comes in while the index is made is seen late, so a busy account gets a last turn once it
    /// is quiet.
    fn done(&self, account: AccountId, quiet: bool) {
        let mut state = self.state();
        match state.wants.get_mut(&account) {
            Some(want) if !quiet => *want = Want { added: QUIET_MESSAGES_MIN, before: 0, searched: false },
            _ => drop(state.wants.remove(&account)),
        }
    }
}

/// An account's index as far as a search needs it in memory.
#[derive(Clone)]
pub(super) struct Loaded {
    key: Vec<i64>,
    /// Made here, and not to be seen by a glance before the index file is settled once more than this.
    ahead: Option<u64>,
    pub chunks: Vec<Chunk>,
    /// All bodies the chunks know, sorted.
    known: Vec<i64>,
    marks: BTreeMap<FolderId, u32>,
}

impl Loaded {
    /// Whether it knows more than a glance shows.
    fn is_ahead(&self, store: &Store) -> bool {
        self.ahead.is_some_and(|at| store.figures().settles <= at)
    }
    /// Takes a chunk in that was just made durable, in place of those that were joined in it.
    fn take(&mut self, chunk: Chunk, joined: &[Chunk]) {
        self.chunks.retain(|c| joined.iter().all(|j| j.seq != c.seq));
        self.chunks.push(chunk);
        self.key = self.chunks.iter().map(|c| c.seq).collect();
        self.known = self.chunks.iter().flat_map(|c| c.messages.bodies.iter().copied()).collect();
        self.known.sort_unstable();
    }
    pub fn mark(&self, folder: FolderId) -> u32 {
        self.marks.get(&folder).copied().unwrap_or(0)
    }
    pub fn has(&self, body: i64) -> bool {
        self.known.binary_search(&body).is_ok()
    }
}

#[derive(Clone)]
pub(super) struct Chunk {
    seq: i64,
    level: i64,
    id: BodyId,
    body: Body,
    table: Table,
    messages: Arc<Messages>,
}

/// What a chunk knows of a needle.
#[derive(Default)]
pub(super) struct Hit {
    pub bodies: Vec<i64>,
    /// Messages with words too long for the index.
    pub doubtful: Vec<i64>,
}

impl Chunk {
    async fn part(&self, (start, len): (u32, u32)) -> Result<bytes::Bytes, StoreError> {
        self.body.read_at(u64::from(start), len as usize).await
    }
    /// A list names each message once in rising steps, so only steps of 128 and more take a second
    /// octet: no list is longer than this.
    fn list_len_max(&self) -> u32 {
        self.table.messages.saturating_add(self.table.messages / 64).saturating_add(16)
    }
    /// The messages that have all pieces of the needle in these fields.
    pub async fn find(&self, fields: &[Field], needle: &Needle) -> Result<Hit, StoreError> {
        let body = |n: &u32| self.messages.bodies.get(*n as usize).copied();
        let doubtful = self.messages.long.iter().filter_map(body).collect();
        let mut all: Option<Vec<u32>> = None;
        for (piece, lies) in &needle.pieces {
            let mut these = Vec::new();
            for &field in fields {
                let section = self.table.section(field);
                let words = self.part(section.words).await?;
                let starts = self.part(section.starts).await?;
                let hits = chunk::hits(&words, &starts, piece, *lies);
                if hits.is_empty() {
                    continue;
                }
                if hits.len() <= FEW_HITS {
                    for at in hits {
                        let (start, len) = section.lists;
                        let most = self.list_len_max().min(len.saturating_sub(at));
                        these.extend(chunk::list(&self.part((start.saturating_add(at), most)).await?));
                    }
                    continue;
                }
                let lists = self.part(section.lists).await?;
                for at in hits {
                    these.extend(chunk::list(lists.get(at as usize..).unwrap_or_default()));
                }
            }
            these.sort_unstable();
            these.dedup();
            all = Some(match all {
                None => these,
                Some(before) => before.into_iter().filter(|n| these.binary_search(n).is_ok()).collect(),
            });
        }
        let bodies = all.unwrap_or_default().iter().filter_map(body).collect();
        Ok(Hit { bodies, doubtful })
    }
}

type Rows = (Vec<(i64, i64, i64)>, BTreeMap<FolderId, u32>);

fn rows(conn: &rusqlite::Connection, account: AccountId) -> Result<Rows, StoreError> {
    let mut read =
        conn.prepare_cached("SELECT seq, level, body FROM mb_chunk WHERE account = ?1 ORDER BY seq")?;
    let chunks = read.query_map([account.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let chunks = chunks.collect::<Result<Vec<_>, _>>()?;
    let mut read = conn.prepare_cached("SELECT folder, uid FROM mb_mark WHERE account = ?1")?;
    let marks = read.query_map([account.0], |r| Ok((FolderId(r.get(0)?), r.get(1)?)))?;
    Ok((chunks, marks.collect::<Result<_, _>>()?))
}

/// The index of an account, from memory if it has not changed.
///
/// Messages may be seen as they were some seconds ago: a search then reads more of them themselves.
/// Chunks and marks made here are kept until a glance shows them, so they are always seen as they are.
pub(super) async fn load(store: &Store, hub: &Hub, account: AccountId) -> Result<Arc<Loaded>, StoreError> {
    let old = hub.wants().state().loaded.get(&account).cloned();
    if let Some(old) = old.as_ref().filter(|old| old.is_ahead(store)) {
        return Ok(old.clone());
    }
    let (chunks, marks) = store.glance(|conn| rows(conn, account))?;
    let key: Vec<i64> = chunks.iter().map(|c| c.0).collect();
    if let Some(old) = &old
        && old.key == key
        && old.marks == marks
    {
        return Ok(old.clone());
    }
    let mut loaded = Loaded { key, ahead: None, chunks: Vec::new(), known: Vec::new(), marks };
    for (seq, level, body) in chunks {
        let had = old.iter().flat_map(|o| &o.chunks).find(|c| c.seq == seq);
        let chunk = match had {
            Some(chunk) => chunk.clone(),
            None => match open(store, (seq, level, BodyId(body))).await? {
                Some(chunk) => chunk,
                // A damaged chunk is no index; its messages are read themselves.
                None => continue,
            },
        };
        loaded.known.extend_from_slice(&chunk.messages.bodies);
        loaded.chunks.push(chunk);
    }
    if loaded.chunks.len() < loaded.key.len() {
        loaded.marks.clear();
    }
    loaded.known.sort_unstable();
    Ok(keep(store, hub, account, loaded))
}

/// Keeps an account's index in memory, and of the others as many as there is room for.
fn keep(store: &Store, hub: &Hub, account: AccountId, loaded: Loaded) -> Arc<Loaded> {
    let loaded = Arc::new(loaded);
    let mut state = hub.wants().state();
    while state.loaded.len() >= LOADED_MAX && !state.loaded.contains_key(&account) {
        // What no glance shows yet has to stay; that is over in seconds.
        let spare = state.loaded.iter().find(|(_, l)| !l.is_ahead(store)).map(|(id, _)| *id);
        let Some(spare) = spare else { break };
        state.loaded.remove(&spare);
    }
    state.loaded.insert(account, loaded.clone());
    loaded
}

async fn open(store: &Store, (seq, level, id): (i64, i64, BodyId)) -> Result<Option<Chunk>, StoreError> {
    let read = async {
        let body = store.body(id).await?;
        let table = body.read_at(0, chunk::TABLE_LEN).await?;
        let Some(table) = Table::read(&table) else { return Ok(None) };
        let messages = body.read_at(u64::from(table.bodies.0), table.bodies.1 as usize).await?;
        let Some(messages) = Messages::read(&messages) else { return Ok(None) };
        Ok(Some(Chunk { seq, level, id, body, table, messages: Arc::new(messages) }))
    };
    match read.await {
        Err(StoreError::Missing(_) | StoreError::Damaged(..)) => Ok(None),
        other => other,
    }
}

/// Brings the index of those accounts forward whose turn it is. Call it every second or so.
pub async fn tend(store: &Store, hub: &Hub) -> Result<(), StoreError> {
    for (account, quiet) in hub.wants().due() {
        hub.wants().done(account, quiet);
        while add_chunk(store, hub, account, quiet).await? {}
        while join_chunks(store, hub, account).await? {}
    }
    Ok(())
}

/// What is next in an account: bodies not yet known, and marks behind them.
type Next = (Vec<i64>, Vec<(FolderId, u32)>);

fn next(conn: &rusqlite::Connection, account: AccountId, loaded: &Loaded) -> Result<Next, StoreError> {
    let (mut bodies, mut marks) = (Vec::new(), Vec::new());
    for folder in folder::list(conn, account)? {
        let left = CHUNK_MESSAGES.saturating_sub(bodies.len());
        let mut read = conn.prepare_cached(
            "SELECT uid, body FROM mb_message WHERE folder = ?1 AND uid > ?2 ORDER BY uid LIMIT ?3",
        )?;
        let mut mark = None;
        let mut rows = read.query(params![folder.id.0, loaded.mark(folder.id), (left * 4) as i64])?;
        while let Some(r) = rows.next()? {
            if bodies.len() >= CHUNK_MESSAGES {
                break;
            }
            let body: i64 = r.get(1)?;
            if !loaded.has(body) && !bodies.contains(&body) {
                bodies.push(body);
            }
            mark = Some(r.get(0)?);
        }
        marks.extend(mark.map(|uid| (folder.id, uid)));
    }
    Ok((bodies, marks))
}

/// Makes one chunk of what is new; whether there was anything. Of a mailbox that goes on filling only
/// whole chunks are made: small ones would be joined soon, and each costs the index a settling.
async fn add_chunk(store: &Store, hub: &Hub, account: AccountId, quiet: bool) -> Result<bool, StoreError> {
    let loaded = load(store, hub, account).await?;
    let (bodies, marks) = store.glance(|conn| next(conn, account, &loaded))?;
    if marks.is_empty() || (!quiet && bodies.len() < CHUNK_MESSAGES) {
        return Ok(false);
    }
    let mut builder = Builder::default();
    for turn in bodies.chunks(TURN) {
        for &body in turn {
            if let Some(bytes) = read(store, BodyId(body)).await? {
                builder.message(body);
                Texts::of(&bytes).index(&mut builder);
            }
        }
        tokio::task::yield_now().await;
    }
    let docs = builder.len() as i64;
    let mut sealed = Vec::new();
    if docs > 0 {
        let mut draft = store.draft();
        draft.write(&builder.finish()).await?;
        sealed.push(draft.seal().await?);
    }
    let told = marks.clone();
    let put = move |batch: &mut Batch<'_>| {
        let made = if docs > 0 { Some(put_chunk(batch, account, 0, docs)?) } else { None };
        for (folder, uid) in told {
            batch
                .sql()
                .prepare_cached(
                    "INSERT INTO mb_mark (account, folder, uid) VALUES (?1, ?2, ?3)
                     ON CONFLICT (account, folder) DO UPDATE SET uid = ?3",
                )?
                .execute(params![account.0, folder.0, uid])?;
        }
        Ok(made)
    };
    let made = store.commit(sealed, put).await?;
    let mut loaded = (*loaded).clone();
    loaded.ahead = Some(store.figures().settles);
    loaded.marks.extend(marks);
    if let Some((seq, body)) = made
        && let Some(chunk) = open(store, (seq, 0, body)).await?
    {
        loaded.take(chunk, &[]);
    }
    keep(store, hub, account, loaded);
    Ok(true)
}

/// Names the commit's first body as the account's next chunk.
fn put_chunk(
    batch: &mut Batch<'_>,
    account: AccountId,
    level: i64,
    docs: i64,
) -> Result<(i64, BodyId), StoreError> {
    let body = batch.body(0);
    batch.hold(body)?;
    let seq = batch
        .sql()
        .prepare_cached(
            "INSERT INTO mb_chunk (account, seq, level, docs, body) VALUES
             (?1, (SELECT coalesce(max(seq), 0) + 1 FROM mb_chunk WHERE account = ?1), ?2, ?3, ?4)
             RETURNING seq",
        )?
        .query_row(params![account.0, level, docs, body.0], |r| r.get(0))?;
    Ok((seq, body))
}

/// Joins the chunks of the lowest level that has enough; whether there was one.
async fn join_chunks(store: &Store, hub: &Hub, account: AccountId) -> Result<bool, StoreError> {
    let loaded = load(store, hub, account).await?;
    let of = |level: i64| loaded.chunks.iter().filter(move |c| c.level == level);
    let small = |level: i64| of(level).take(JOIN).map(|c| c.body.len()).sum::<u64>() <= JOIN_BYTES_MAX;
    let fits = |&level: &i64| of(level).count() >= JOIN && small(level);
    let Some(level) = (0..LEVEL_MAX).find(fits) else { return Ok(false) };
    let parts: Vec<Chunk> = of(level).take(JOIN).cloned().collect();
    let mut bytes = Vec::new();
    for part in &parts {
        bytes.push(part.body.all().await?);
    }
    let all: Vec<i64> = parts.iter().flat_map(|p| p.messages.bodies.iter().copied()).collect();
    // Each of them was seen by a glance when its chunk was made, so a glance does not miss it now.
    let living = store.glance(move |conn| living(conn, all))?;
    let slices: Vec<&[u8]> = bytes.iter().map(|b| &b[..]).collect();
    let Some(joined) = chunk::join(&slices, |body| living.binary_search(&body).is_ok()) else {
        return Ok(false);
    };
    let mut draft = store.draft();
    draft.write(&joined).await?;
    let sealed = draft.seal().await?;
    let docs = living.len() as i64;
    let gone: Vec<(BodyId, i64)> = parts.iter().map(|p| (p.id, p.seq)).collect();
    let put = move |batch: &mut Batch<'_>| {
        let made = put_chunk(batch, account, level + 1, docs)?;
        for (body, seq) in gone {
            batch.release(body)?;
            batch
                .sql()
                .prepare_cached("DELETE FROM mb_chunk WHERE account = ?1 AND seq = ?2")?
                .execute([account.0, seq])?;
        }
        Ok(made)
    };
    let (seq, body) = store.commit(vec![sealed], put).await?;
    let mut loaded = (*loaded).clone();
    loaded.ahead = Some(store.figures().settles);
    if let Some(chunk) = open(store, (seq, level + 1, body)).await? {
        loaded.take(chunk, &parts);
    }
    keep(store, hub, account, loaded);
    Ok(true)
}

/// Those of the bodies that a message still names, sorted.
fn living(conn: &rusqlite::Connection, mut bodies: Vec<i64>) -> Result<Vec<i64>, StoreError> {
    bodies.sort_unstable();
    let mut named = conn.prepare_cached("SELECT 1 FROM mb_message WHERE body = ?1 LIMIT 1")?;
    let mut out = Vec::new();
    for body in bodies {
        if named.exists([body])? {
            out.push(body);
        }
    }
    Ok(out)
}

/// Removes an account's index, when the account goes.
pub fn forget(batch: &mut Batch<'_>, account: AccountId) -> Result<(), StoreError> {
    let (chunks, _) = rows(batch.sql(), account)?;
    for (_, _, body) in chunks {
        batch.release(BodyId(body))?;
    }
    batch.sql().execute("DELETE FROM mb_chunk WHERE account = ?1", [account.0])?;
    batch.sql().execute("DELETE FROM mb_mark WHERE account = ?1", [account.0])?;
    Ok(())
}
