//! Power cuts: whatever was acknowledged is there, whole and once; whatever was not is there
//! whole or not at all. At every operation, with unsynced writes lost, kept, or torn.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use stdx::{Bytes, Dice};
use store::disk::{Memory, Unsynced};
use store::{BodyId, Schema, Settings, Store, StoreError};

const NOTES: Schema = Schema {
    room: "notes",
    steps: &["CREATE TABLE note (n INTEGER PRIMARY KEY, body INTEGER NOT NULL, len INTEGER NOT NULL) STRICT;
              CREATE TABLE total (one INTEGER PRIMARY KEY, commits INTEGER NOT NULL) STRICT;
              INSERT INTO total VALUES (1, 0);"],
};

/// Small segments and a low bound, so that few commits meet everything there is.
fn settings() -> Settings {
    Settings { segment_max: Bytes::kib(48), small_max: Bytes::kib(6), cache: Bytes(0), ..Settings::default() }
}

fn text(n: i64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(n as u64);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&dice.next_u64().to_le_bytes());
    }
    out.truncate(len);
    out
}

fn size(n: i64) -> usize {
    [300, 900, 2500, 5000, 100, 9000][n as usize % 6] + n as usize
}

/// What the rows say: note → length. And how many commits there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    notes: BTreeMap<i64, usize>,
    commits: i64,
}

impl Model {
    /// What commit `n` does to the rows.
    fn apply(&mut self, n: i64) {
        self.commits += 1;
        for k in [n * 2, n * 2 + 1] {
            self.notes.insert(k, size(k));
        }
        if n % 3 == 2 {
            self.notes.remove(&(n * 2 - 3));
        }
    }
}

/// A body as it comes; some have their first octets put on top at the end, into the room left for
/// them, or into less room than they need.
async fn sealed_text(store: &Store, k: i64) -> Result<store::Sealed, StoreError> {
    let text = text(k, size(k));
    let (mut draft, front) = match k % 12 {
        5 => (store.draft_behind(300), 250),
        11 => (store.draft_behind(40), 1500),
        4 => (store.draft_behind(100), 100),
        _ => (store.draft(), 0),
    };
    let (front, rest) = text.split_at(front.min(text.len()));
    for piece in rest.chunks(4000) {
        draft.write(piece).await?;
    }
    draft.seal_under(front.to_vec()).await
}

/// Commit `n`: two new bodies, and every third time an old one goes.
async fn commit(store: &Store, n: i64) -> Result<(), StoreError> {
    let mut sealed = Vec::new();
    for k in [n * 2, n * 2 + 1] {
        sealed.push(sealed_text(store, k).await?);
    }
    store
        .commit(sealed, move |batch| {
            for (at, k) in [n * 2, n * 2 + 1].into_iter().enumerate() {
                let id = batch.body(at);
                batch.hold(id)?;
                batch.sql().execute("INSERT INTO note VALUES (?1, ?2, ?3)", (k, id, size(k) as i64))?;
            }
            batch.sql().execute("UPDATE total SET commits = commits + 1", [])?;
            if n % 3 == 2 {
                let id: BodyId = batch.sql().query_row(
                    "DELETE FROM note WHERE n = ?1 RETURNING body",
                    [n * 2 - 3],
                    |r| r.get(0),
                )?;
                batch.release(id)?;
            }
            Ok(())
        })
        .await
}

type Row = (i64, BodyId, usize);

fn rows(store: &Store) -> (Vec<Row>, i64) {
    store
        .read_now(|conn| {
            let mut all = conn.prepare("SELECT n, body, len FROM note ORDER BY n")?;
            let rows = all
                .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)? as usize)))?
                .collect::<Result<Vec<Row>, _>>()?;
            Ok((rows, conn.query_row("SELECT commits FROM total", [], |r| r.get(0))?))
        })
        .expect("reads")
}

/// The store holds exactly what `acked` commits made, or one commit more.
async fn check(store: &Store, acked: i64, what: &str) -> i64 {
    let (rows, commits) = rows(store);
    assert!(commits == acked || commits == acked + 1, "{what}: {acked} acknowledged, {commits} there");
    let mut model = Model::default();
    (0..commits).for_each(|n| model.apply(n));
    let seen: BTreeMap<i64, usize> = rows.iter().map(|r| (r.0, r.2)).collect();
    assert_eq!(seen, model.notes, "{what}");
    for (n, id, len) in rows {
        let body = store.body(id).await.expect("is there").all().await.expect("reads");
        assert!(body == text(n, len), "{what}: body of note {n}");
    }
    commits
}

const COMMITS: i64 = 96;

async fn run(store: &Store) -> i64 {
    for n in 0..COMMITS {
        if commit(store, n).await.is_err() {
            return n;
        }
    }
    COMMITS
}

#[tokio::test]
async fn a_power_cut_after_any_operation_loses_and_doubles_nothing() {
    let memory = Memory::new();
    let store = Store::in_memory_on(memory.clone(), settings(), &[NOTES]).expect("opens");
    assert_eq!(run(&store).await, COMMITS);
    let operations = memory.operations();
    drop(store);
    let mut points = 0;
    for at in 0..operations {
        let memory = Memory::new();
        memory.cut_after(at);
        let acked = match Store::in_memory_on(memory.clone(), settings(), &[NOTES]) {
            Ok(store) => run(&store).await,
            Err(_) => 0,
        };
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(Dice::new(at))] {
            let what = format!("cut before operation {at} of {operations}, {unsynced:?}");
            let memory = memory.fork();
            memory.power_cut_with(unsynced);
            let store = Store::in_memory_on(memory.clone(), settings(), &[NOTES]).expect("opens");
            assert_eq!(store.troubles(), Vec::<String>::new(), "{what}");
            let there = check(&store, acked, &what).await;
            // And it goes on, and stands another cut.
            if there < COMMITS {
                commit(&store, there).await.expect("goes on");
                let store = store.power_cut().expect("opens again");
                check(&store, there + 1, &what).await;
            }
            points += 1;
        }
    }
    println!("{points} cut points held");
    assert!(points >= 1000, "{points} points");
}

struct Dir(PathBuf);
impl Dir {
    fn new(name: &str) -> Dir {
        let at = std::env::temp_dir().join(format!("postroad-cut-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&at);
        std::fs::create_dir_all(&at).expect("makes a folder");
        Dir(at)
    }
}
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn an_index_file_of_any_age_is_brought_up_from_the_log() {
    let dir = Dir::new("age");
    let (live, memory) = (dir.0.join("live"), Memory::new());
    std::fs::create_dir_all(&live).expect("makes a folder");
    let store = Store::open_on(Arc::new(memory.clone()), &live, settings(), &[NOTES]).expect("opens");
    let mut ages = Vec::new();
    for n in 0..COMMITS {
        commit(&store, n).await.expect("commits");
        if n % 10 == 3 {
            // Settles the index, then keeps a copy of it with and without its write-ahead log.
            rows(&store);
            for with_wal in [true, false] {
                let copy = dir.0.join(format!("age-{n}-{with_wal}"));
                std::fs::create_dir_all(&copy).expect("makes a folder");
                for name in ["index.sqlite", "index.sqlite-wal"] {
                    if with_wal || name == "index.sqlite" {
                        std::fs::copy(live.join(name), copy.join(name)).expect("copies");
                    }
                }
                ages.push(copy);
            }
        }
    }
    drop(store);
    for age in ages {
        let memory = memory.fork();
        let store = Store::open_on(Arc::new(memory), &age, settings(), &[NOTES]).expect("opens");
        check(&store, COMMITS, &format!("{}", age.display())).await;
        assert_eq!(store.troubles(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_lost_page_in_the_last_group_never_stops_the_start() {
    let memory = Memory::new();
    let store = Store::in_memory_on(memory.clone(), settings(), &[NOTES]).expect("opens");
    for n in 0..5 {
        commit(&store, n).await.expect("commits");
    }
    let name = "00000001.log";
    let before = memory.bytes(name).expect("is there").len();
    commit(&store, 6).await.expect("commits");
    let after = memory.bytes(name).expect("is there").len();
    drop(store);
    for page in before / 512..=after / 512 {
        let memory = memory.fork();
        memory.damage(name, |bytes| {
            let from = (page * 512).max(before);
            let to = (page * 512 + 512).min(bytes.len());
            if from < to {
                bytes[from..to].fill(0);
            }
        });
        let store = Store::in_memory_on(memory, settings(), &[NOTES]).expect("opens");
        let (rows, commits) = rows(&store);
        assert!(commits == 5 || commits == 6, "page {page}: {commits}");
        assert!(rows.len() >= 9);
    }
}

#[tokio::test]
async fn damage_in_the_middle_costs_what_it_hit_and_is_told() {
    let memory = Memory::new();
    let big = Settings { segment_max: Bytes::mib(64), ..settings() };
    let store = Store::in_memory_on(memory.clone(), big.clone(), &[NOTES]).expect("opens");
    assert_eq!(run(&store).await, COMMITS);
    drop(store);
    let name = "00000001.log";
    let len = memory.bytes(name).expect("is there").len();
    for percent in (5..85).step_by(5) {
        let memory = memory.fork();
        memory.damage(name, |bytes| {
            let at = len * percent / 100;
            bytes[at..at + 4096].fill(0);
        });
        let store = Store::in_memory_on(memory, big.clone(), &[NOTES]).expect("opens");
        let told = store.troubles();
        let (rows, commits) = rows(&store);
        assert!(commits == COMMITS, "the last row of a counter is the newest: {commits}");
        let mut hurt = 0;
        for (n, id, len) in &rows {
            match store.body(*id).await.expect("is there").all().await {
                Ok(body) => assert!(body == text(*n, *len), "note {n}"),
                Err(StoreError::Damaged(..)) => hurt += 1,
                Err(e) => panic!("{e}"),
            }
        }
        let mut model = Model::default();
        (0..COMMITS).for_each(|n| model.apply(n));
        // A page of 4 KiB touches a few bodies at most, or a commit or two with their rows. A row
        // whose removal was lost with its commit may be back.
        let lost = model.notes.keys().filter(|n| !rows.iter().any(|r| r.0 == **n)).count();
        assert!(hurt <= 6 && lost <= 8, "{percent} %: {hurt} damaged, {lost} lost");
        assert!(hurt + lost == 0 || !told.is_empty(), "{percent} %: it is told");
    }
}

#[test]
fn a_power_cut_while_segments_are_written_anew_loses_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let filled = Memory::new();
    let expected = runtime.block_on(async {
        let store = Store::in_memory_on(filled.clone(), settings(), &[NOTES]).expect("opens");
        assert_eq!(run(&store).await, COMMITS);
        for n in 0..COMMITS * 2 {
            let gone = store.commit(vec![], move |batch| {
                let id: BodyId =
                    batch
                        .sql()
                        .query_row("DELETE FROM note WHERE n = ?1 RETURNING body", [n], |r| r.get(0))?;
                batch.release(id)
            });
            if n % 9 != 0 {
                let _ = gone.await;
            }
        }
        rows(&store)
    });
    let count = |memory: &Memory| {
        let store = Store::in_memory_on(memory.clone(), settings(), &[NOTES]).expect("opens");
        let before = memory.operations();
        let done = store.tidy().expect("tidies");
        (memory.operations() - before, done)
    };
    let (operations, done) = count(&filled.fork());
    assert!(done.rewritten > 3 && operations > 15, "{done:?} {operations}");
    for at in 0..operations {
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(Dice::new(at))] {
            let what = format!("cut before operation {at} of {operations}, {unsynced:?}");
            let memory = filled.fork();
            let store = Store::in_memory_on(memory.clone(), settings(), &[NOTES]).expect("opens");
            memory.cut_after(at);
            let _ = store.tidy();
            drop(store);
            memory.power_cut_with(unsynced);
            let store = Store::in_memory_on(memory.clone(), settings(), &[NOTES]).expect("opens");
            assert_eq!(rows(&store), expected, "{what}");
            runtime.block_on(async {
                for (n, id, len) in &expected.0 {
                    let body = store.body(*id).await.expect("is there").all().await.expect("reads");
                    assert!(body == text(*n, *len), "{what}: body of note {n}");
                }
            });
            assert_eq!(store.troubles(), Vec::<String>::new(), "{what}");
        }
    }
}
