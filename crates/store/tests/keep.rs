//! Backup, restore, verify, rebuild, and the space of deleted bodies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stdx::{Bytes, Dice};
use store::{BodyId, Progress, Schema, Settings, Store, StoreError};

const NOTES: Schema = Schema {
    room: "notes",
    steps: &["CREATE TABLE note (key INTEGER PRIMARY KEY, body INTEGER NOT NULL) STRICT;
              CREATE TABLE seen (word TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;"],
};
const HOLDERS: [&str; 1] = ["SELECT body, count(*) FROM note GROUP BY body"];

fn settings() -> Settings {
    Settings {
        segment_max: Bytes::kib(512),
        small_max: Bytes::kib(64),
        cache: Bytes(0),
        ..Settings::default()
    }
}

fn text(key: i64) -> Vec<u8> {
    let mut dice = Dice::new(key as u64);
    let len = if key % 25 == 0 { 200_000 } else { 2000 + (key as usize * 91) % 20_000 };
    (0..len).map(|_| dice.next_u64() as u8).collect()
}

async fn put(store: &Store, key: i64) -> Result<(), StoreError> {
    let mut draft = store.draft();
    draft.write(&text(key)).await?;
    let sealed = draft.seal().await?;
    store
        .commit(vec![sealed], move |batch| {
            let id = batch.body(0);
            batch.hold(id)?;
            batch.sql().execute("INSERT INTO note (key, body) VALUES (?1, ?2)", (key, id))?;
            let word = format!("w{}", key % 7);
            let sql = "INSERT INTO seen VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1";
            batch.sql().execute(sql, [word])?;
            Ok(())
        })
        .await
}

async fn remove(store: &Store, key: i64) -> Result<(), StoreError> {
    store
        .commit(vec![], move |batch| {
            let id: BodyId =
                batch
                    .sql()
                    .query_row("DELETE FROM note WHERE key = ?1 RETURNING body", [key], |r| r.get(0))?;
            batch.release(id)
        })
        .await
}

type Rows = (Vec<(i64, BodyId)>, Vec<(String, i64)>);

fn rows(store: &Store) -> Rows {
    store
        .read_now(|c| {
            let mut all = c.prepare("SELECT key, body FROM note ORDER BY key")?;
            let notes = all.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
            let mut all = c.prepare("SELECT word, n FROM seen ORDER BY word")?;
            let words = all.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
            Ok((notes, words))
        })
        .expect("reads")
}

async fn read_all(store: &Store) -> usize {
    let (notes, _) = rows(store);
    for (key, id) in &notes {
        let body = store.body(*id).await.expect("is there").all().await.expect("reads");
        assert!(body == text(*key), "body of {key}");
    }
    notes.len()
}

fn quiet(_: Progress) {}

struct Dir(PathBuf);
impl Dir {
    fn new(name: &str) -> Dir {
        let at = std::env::temp_dir().join(format!("postroad-keep-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&at);
        std::fs::create_dir_all(&at).expect("makes a folder");
        Dir(at)
    }
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, settings(), &[NOTES]).expect("opens")
}

fn sound(dir: &Path) -> u64 {
    let found = store::verify(dir, &HOLDERS, &mut quiet).expect("verifies");
    assert!(found.is_sound(), "{found:?}");
    found.bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_mail_flows_is_whole_and_the_next_copies_only_what_is_new() {
    let dir = Dir::new("backup");
    let store = open(&dir.at("live"));
    for key in 0..150 {
        put(&store, key).await.expect("commits");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (theirs, stopped) = (store.clone(), stop.clone());
    let mail = tokio::spawn(async move {
        let mut key = 1000;
        while !stopped.load(Ordering::Relaxed) {
            put(&theirs, key).await.expect("commits");
            if key % 3 == 0 {
                remove(&theirs, key - 900 - 100).await.ok();
            }
            key += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        key
    });
    let to = dir.at("backup");
    let backup = |store: Store, to: PathBuf| {
        tokio::task::spawn_blocking(move || store.backup(&to, &mut quiet).expect("backs up"))
    };
    let first = backup(store.clone(), to.clone()).await.expect("ends");
    let held = sound(&to);
    assert!(held >= 100 && first.copied == first.files, "{first:?}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = backup(store.clone(), to.clone()).await.expect("ends");
    assert!(sound(&to) > 0 && second.copied < second.files && second.bytes < first.bytes, "{second:?}");
    stop.store(true, Ordering::Relaxed);
    mail.await.expect("ends");
    // With nothing new there is next to nothing to copy.
    let third = backup(store.clone(), to.clone()).await.expect("ends");
    let fourth = backup(store.clone(), to.clone()).await.expect("ends");
    assert!(fourth.copied <= 1 && third.files >= fourth.files, "{third:?} {fourth:?}");
    let want = rows(&store);
    let restored = dir.at("restored");
    let done = store::restore(&to, &restored, &mut quiet).expect("restores");
    assert_eq!(done.files, fourth.files);
    let copy = open(&restored);
    assert_eq!(rows(&copy), want);
    assert_eq!(read_all(&copy).await, want.0.len());
    put(&copy, 77_777).await.expect("goes on");
    let again = store::restore(&to, &restored, &mut quiet);
    assert!(matches!(again, Err(StoreError::Rule(says)) if says.contains("not empty")));
}

/// What verify looks at is the state when it began; what is deleted meanwhile is no damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_while_the_store_is_verified_is_no_damage() {
    let dir = Dir::new("verify");
    let store = open(&dir.at("live"));
    for key in 0..60 {
        put(&store, key).await.expect("commits");
    }
    let (theirs, handle) = (store.clone(), tokio::runtime::Handle::current());
    let found = tokio::task::spawn_blocking(move || {
        let mut deleted = false;
        let mut meanwhile = |now: Progress| {
            if now.doing == "reading bodies" && !deleted {
                deleted = true;
                (0..50).for_each(|key| handle.block_on(remove(&theirs, key)).expect("removes"));
                // Long enough for the housekeeper's next rounds.
                std::thread::sleep(Duration::from_millis(2500));
            }
        };
        theirs.verify(&HOLDERS, &mut meanwhile).expect("verifies")
    });
    let found = found.await.expect("ends");
    assert!(found.is_sound() && found.bodies == 60, "{found:?}");
    assert_eq!(store.take_damaged(9), []);
    let begun = std::time::Instant::now();
    while store.figures().reclaimed == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the space comes back afterwards");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_index_is_rebuilt_from_the_segments_alone() {
    let dir = Dir::new("rebuild");
    let live = dir.at("live");
    let store = open(&live);
    for key in 0..200 {
        put(&store, key).await.expect("commits");
        if key % 4 == 3 {
            remove(&store, key - 2).await.expect("removes");
        }
    }
    let want = rows(&store);
    drop(store);
    // A damaged index is made anew at open, and told.
    std::fs::write(live.join("index.sqlite"), b"rubbish ".repeat(1000)).expect("writes");
    let store = open(&live);
    assert_eq!(rows(&store), want);
    assert!(store.troubles().iter().any(|t| t.contains("made anew")));
    drop(store);
    let built = store::rebuild(&live, &[NOTES], store::Tell::default()).expect("rebuilds");
    assert_eq!(built.bodies, 150);
    assert_eq!(sound(&live), 150);
    let store = open(&live);
    assert_eq!(rows(&store), want);
    assert_eq!(read_all(&store).await, 150);
}

fn used(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let all = std::fs::read_dir(dir.join("segments")).expect("lists");
    all.map(|e| e.expect("lists").metadata().expect("is there").blocks() * 512).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_bodies_give_their_space_back_and_the_log_stays_whole() {
    let dir = Dir::new("tidy");
    let live = dir.at("live");
    let store = open(&live);
    for key in 0..300 {
        put(&store, key).await.expect("commits");
    }
    let before = used(&live);
    for key in 0..300 {
        if key % 10 != 7 {
            remove(&store, key).await.expect("removes");
        }
    }
    let theirs = store.clone();
    let done = tokio::task::spawn_blocking(move || theirs.tidy().expect("tidies")).await.expect("ends");
    assert!(done.rewritten >= 3 && done.removed > done.rewritten, "{done:?}");
    let after = used(&live);
    assert!(after * 4 < before, "{before} before, {after} after");
    assert_eq!(read_all(&store).await, 30);
    put(&store, 1000).await.expect("goes on");
    let want = rows(&store);
    assert!(store.verify(&HOLDERS, &mut quiet).expect("verifies").is_sound());
    assert_eq!(store.troubles(), Vec::<String>::new());
    drop(store);
    assert_eq!(sound(&live), 31);
    // What was written anew is enough for a new index too.
    store::rebuild(&live, &[NOTES], store::Tell::default()).expect("rebuilds");
    let store = open(&live);
    assert_eq!(rows(&store), want);
    assert_eq!(read_all(&store).await, 31);
}

async fn tidied(store: &Store) -> store::Tidied {
    let store = store.clone();
    tokio::task::spawn_blocking(move || store.tidy().expect("tidies")).await.expect("ends")
}

/// One row of some 4 KiB, once more.
async fn tell(store: &Store, word: &str, n: i64) {
    let word = format!("{word} {}", "x".repeat(4000));
    let sql = "INSERT INTO seen VALUES (?1, ?2) ON CONFLICT DO UPDATE SET n = ?2";
    store.commit(vec![], move |b| Ok(b.sql().execute(sql, (word, n)).map(|_| ())?)).await.expect("commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_of_rows_are_written_anew_only_when_most_of_the_rows_were_told_again_or_are_gone() {
    let dir = Dir::new("rows");
    let live = dir.at("live");
    let store = open(&live);
    for n in 0..500 {
        tell(&store, &n.to_string(), n).await;
    }
    let before = used(&live);
    assert!(before > 1_900_000, "{before}");
    // Not one body lies there, yet every row is needed: nothing is gained, today or ever.
    for _ in 0..3 {
        assert_eq!(tidied(&store).await, store::Tidied::default());
    }
    assert_eq!(used(&live), before);
    // Four times over, and half of them gone: most of what lies there is worthless.
    for round in 1..5 {
        for n in 0..500 {
            tell(&store, &n.to_string(), round * 1000 + n).await;
        }
    }
    let gone = "DELETE FROM seen WHERE n % 2 = 0";
    store.commit(vec![], move |b| Ok(b.sql().execute(gone, []).map(|_| ())?)).await.expect("commits");
    let (want, full) = (rows(&store), used(&live));
    drop(store);
    // A segment is judged once a day; a new start begins with no judgement.
    let store = open(&live);
    let done = tidied(&store).await;
    assert!(done.removed >= 15, "{done:?}");
    assert!(used(&live) < full / 3, "{full} before, {} after", used(&live));
    assert_eq!(rows(&store), want);
    assert!(store.verify(&HOLDERS, &mut quiet).expect("verifies").is_sound());
    drop(store);
    store::rebuild(&live, &[NOTES], store::Tell::default()).expect("rebuilds");
    assert_eq!(rows(&open(&live)), want);
}

#[tokio::test]
async fn a_verification_names_what_is_wrong() {
    let dir = Dir::new("verify");
    let live = dir.at("live");
    let store = open(&live);
    for key in 1..20 {
        put(&store, key).await.expect("commits");
    }
    store.commit(vec![], |b| b.hold(BodyId(3))).await.expect("commits");
    let found = store.verify(&HOLDERS, &mut quiet).expect("verifies");
    assert_eq!((found.bodies, found.miscounted.as_slice()), (19, &[(BodyId(3), 2, 1)][..]));
    drop(store);
    let segment = live.join("segments/00000001.log");
    let mut bytes = std::fs::read(&segment).expect("reads");
    bytes[1000] ^= 0x10;
    std::fs::write(&segment, bytes).expect("writes");
    let found = store::verify(&live, &HOLDERS, &mut quiet).expect("verifies");
    assert_eq!(found.damaged.len(), 1);
    assert_eq!(found.log.len(), 1);
    assert!(!found.is_sound());
    let store = open(&live);
    assert!(matches!(store::verify(&live, &HOLDERS, &mut quiet), Err(StoreError::Broken(_))));
    drop(store);
}

#[tokio::test]
async fn a_newer_versions_tables_are_not_touched_by_an_older_one() {
    let dir = Dir::new("newer");
    drop(open(&dir.at("live")));
    const NEWER: Schema =
        Schema { room: "notes", steps: &[NOTES.steps[0], "ALTER TABLE note ADD COLUMN more TEXT"] };
    drop(Store::open(&dir.at("live"), settings(), &[NEWER]).expect("moves up"));
    let old = Store::open(&dir.at("live"), settings(), &[NOTES]);
    assert!(old.err().is_some_and(|e| e.to_string().contains("newer version")));
}

#[tokio::test]
async fn an_index_that_a_newer_version_changed_can_be_put_back_and_loses_nothing() {
    let dir = Dir::new("back");
    let live = dir.at("live");
    let store = open(&live);
    for key in 0..20 {
        put(&store, key).await.expect("commits");
    }
    store.close();
    assert!(put(&store, 99).await.is_err(), "a closed store takes nothing");
    store::keep_index(&live).expect("keeps");
    // The newer version adds to the tables, takes mail, and fails.
    let mut steps = NOTES.steps.to_vec();
    steps.push("ALTER TABLE note ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'");
    let newer = Schema { room: NOTES.room, steps: Box::leak(steps.into_boxed_slice()) };
    assert_ne!(store::steps(&[NOTES]), store::steps(&[newer]));
    let store = Store::open(&live, settings(), &[newer]).expect("opens");
    for key in 20..30 {
        put(&store, key).await.expect("commits");
    }
    let want = rows(&store);
    store.close();
    assert!(Store::open(&live, settings(), &[NOTES]).is_err(), "the older one must not open newer tables");
    assert!(store::put_index_back(&live).expect("puts back"));
    let store = open(&live);
    assert_eq!(rows(&store), want);
    assert_eq!(read_all(&store).await, 30);
    assert_eq!(store.troubles(), Vec::<String>::new());
}
