use super::*;
use crate::disk::{Fault, Faulty, Memory};

pub(crate) const NOTES: Schema = Schema {
    room: "notes",
    steps: &["CREATE TABLE note (id INTEGER PRIMARY KEY, says TEXT NOT NULL, body INTEGER) STRICT"],
};

pub(crate) struct Dir(pub PathBuf);
impl Dir {
    pub(crate) fn new(name: &str) -> Dir {
        let at = std::env::temp_dir().join(format!("postroad-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&at);
        Dir(at)
    }
}
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn both(name: &str) -> Vec<(Store, Option<Dir>)> {
    let dir = Dir::new(name);
    let disk = Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens");
    vec![(Store::in_memory(Settings::default(), &[NOTES]).expect("opens"), None), (disk, Some(dir))]
}

pub(crate) async fn put(store: &Store, says: &str, body: &[u8]) -> Result<BodyId, StoreError> {
    let mut draft = store.draft();
    for piece in body.chunks(100_000) {
        draft.write(piece).await?;
    }
    let sealed = draft.seal().await?;
    assert_eq!(sealed.len(), body.len() as u64);
    let says = says.to_owned();
    store
        .commit(vec![sealed], move |batch| {
            let id = batch.body(0);
            batch.hold(id)?;
            batch
                .sql()
                .prepare_cached("INSERT INTO note (says, body) VALUES (?1, ?2)")?
                .execute((says, id))?;
            Ok(id)
        })
        .await
}

pub(crate) fn notes(store: &Store) -> Vec<(String, BodyId)> {
    store
        .read_now(|conn| {
            let mut all = conn.prepare_cached("SELECT says, body FROM note ORDER BY id")?;
            let rows = all.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .expect("reads")
}

pub(crate) fn text(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n as u64 * 31 + u64::from(seed) + (n as u64 >> 9)) as u8).collect()
}

async fn check(store: &Store, id: BodyId, want: &[u8]) {
    let body = store.body(id).await.expect("is there");
    assert_eq!(body.len(), want.len() as u64);
    assert!(body.all().await.expect("reads") == want);
    let part = body.read_at(want.len() as u64 / 2, 1000).await.expect("reads");
    assert_eq!(&part[..], &want[want.len() / 2..(want.len() / 2 + 1000).min(want.len())]);
}

#[tokio::test]
async fn bodies_of_any_size_read_back_also_after_opening_again() {
    for (store, dir) in both("sizes") {
        let mut all = Vec::new();
        for (n, len) in [0, 1, 5000, 262_144, 262_145, 3_000_000].into_iter().enumerate() {
            let body = text(n as u8, len);
            let id = put(&store, &n.to_string(), &body).await.expect("commits");
            check(&store, id, &body).await;
            all.push((id, body));
        }
        let store = match &dir {
            None => store.power_cut().expect("opens"),
            Some(dir) => {
                drop(store);
                Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens again")
            }
        };
        assert_eq!(notes(&store).len(), 6);
        for (id, body) in &all {
            check(&store, *id, body).await;
        }
        let next = put(&store, "next", b"x").await.expect("commits");
        assert!(next > all[5].0, "no number is used twice");
    }
}

#[tokio::test]
async fn a_refused_batch_leaves_nothing_and_its_neighbours_stand() {
    for (store, _dir) in both("refused") {
        let mut waits = Vec::new();
        for n in 0..30 {
            waits.push(store.commit(vec![], move |batch| {
                batch.sql().execute("INSERT INTO note (says) VALUES (?1)", [n.to_string()])?;
                match n % 3 {
                    0 => Ok(n),
                    1 => Err(StoreError::rule("no")),
                    _ => Err(batch
                        .sql()
                        .execute("INSERT INTO nothing VALUES (1)", [])
                        .map(|_| ())
                        .expect_err("no such table")
                        .into()),
                }
            }));
        }
        for (n, wait) in waits.into_iter().enumerate() {
            match n % 3 {
                0 => assert_eq!(wait.await, Ok(n)),
                1 => assert_eq!(wait.await, Err(StoreError::rule("no"))),
                _ => assert!(matches!(wait.await, Err(StoreError::Broken(_)))),
            }
        }
        let says: i64 = store
            .read(|c| Ok(c.query_row("SELECT count(*) FROM note", [], |r| r.get(0))?))
            .await
            .expect("reads");
        assert_eq!(says, 10);
    }
}

#[tokio::test]
async fn a_keeper_that_panics_or_touches_transactions_harms_only_itself() {
    for (store, _dir) in both("panics") {
        put(&store, "before", b"b").await.expect("commits");
        let end: Result<(), _> = store
            .commit(vec![], |batch| {
                batch.sql().execute("INSERT INTO note (says) VALUES ('x')", [])?;
                panic!("a fault")
            })
            .await;
        assert!(matches!(end, Err(StoreError::Broken(_))));
        for sql in [
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT z",
            "CREATE TABLE z (a)",
            "DROP TABLE note",
            "ATTACH ':memory:' AS z",
        ] {
            let end: Result<(), _> =
                store.commit(vec![], move |batch| Ok(batch.sql().execute_batch(sql)?)).await;
            assert!(matches!(end, Err(StoreError::Broken(_))), "{sql}");
        }
        put(&store, "after", b"a").await.expect("commits");
        assert_eq!(notes(&store).len(), 2);
    }
}

#[tokio::test]
async fn what_nobody_holds_is_garbage_and_the_last_release_forgets_a_body() {
    for (store, _dir) in both("garbage") {
        let id = put(&store, "one", &text(1, 5000)).await.expect("commits");
        let mut draft = store.draft();
        draft.write(b"nobody wants me").await.expect("writes");
        let sealed = draft.seal().await.expect("seals");
        let unheld = store.commit(vec![sealed], |batch| Ok(batch.body(0))).await.expect("commits");
        assert_eq!(store.body(unheld).await.err(), Some(StoreError::Missing(unheld)));
        let open = store.body(id).await.expect("is there");
        store.commit(vec![], move |b| b.hold(id)).await.expect("holds");
        store.commit(vec![], move |b| b.release(id)).await.expect("releases");
        check(&store, id, &text(1, 5000)).await;
        store.commit(vec![], move |b| b.release(id)).await.expect("releases");
        assert_eq!(store.body(id).await.err(), Some(StoreError::Missing(id)));
        assert_eq!(store.commit(vec![], move |b| b.release(id)).await, Err(StoreError::Missing(id)));
        crate::reclaim::punch(&store.0.shared);
        assert!(open.all().await.expect("reads") == text(1, 5000), "a reader that has it keeps it");
    }
}

#[tokio::test]
async fn after_runs_before_the_commit_resolves_and_not_for_a_refused_one() {
    for (store, _dir) in both("after") {
        let seen = Arc::new(Mutex::new(Vec::new()));
        for n in 0..10 {
            let theirs = seen.clone();
            let end = store.commit(vec![], move |batch| {
                batch.after(Box::new(move || lock(&theirs).push(n)));
                batch.sql().execute("INSERT INTO note (says) VALUES ('x')", [])?;
                if n % 2 == 0 { Ok(()) } else { Err(StoreError::rule("odd")) }
            });
            if end.await.is_ok() {
                assert_eq!(lock(&seen).last(), Some(&n));
            }
        }
        assert_eq!(*lock(&seen), [0, 2, 4, 6, 8]);
    }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = Dir::new("second");
    let _store = Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens");
    let second = Store::open(&dir.0, Settings::default(), &[NOTES]);
    assert!(second.err().is_some_and(|e| e.to_string().contains("another process")));
}

#[tokio::test]
async fn a_glance_sees_what_was_settled() {
    let dir = Dir::new("glance");
    let store = Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens");
    store
        .commit(vec![], |b| {
            b.settle();
            Ok(b.sql().execute("INSERT INTO note (says) VALUES ('x')", [])?)
        })
        .await
        .expect("commits");
    let count = |c: &Connection| Ok(c.query_row("SELECT count(*) FROM note", [], |r| r.get::<_, i64>(0))?);
    assert_eq!(store.glance(count), Ok(1));
}

fn faulty() -> (Arc<Faulty>, Memory) {
    let memory = Memory::new();
    (Arc::new(Faulty::new(Arc::new(memory.clone()))), memory)
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let (disk, memory) = faulty();
    let store = Store::inline_on(disk.clone(), Settings::default(), &[NOTES]).expect("opens");
    put(&store, "a", &text(1, 10_000)).await.expect("commits");
    for len in [10_000, 600_000] {
        disk.set(Fault::WriteFull);
        let end = put(&store, "b", &text(2, len)).await;
        assert!(matches!(end, Err(StoreError::Full(_))), "{end:?}");
        disk.set(Fault::None);
        put(&store, "c", &text(3, len)).await.expect("commits again");
    }
    let reopened = Store::in_memory_on(memory, Settings::default(), &[NOTES]).expect("opens");
    assert_eq!(notes(&reopened).iter().map(|n| n.0.as_str()).collect::<Vec<_>>(), ["a", "c", "c"]);
    for (n, (_, id)) in notes(&reopened).iter().enumerate() {
        let want = [text(1, 10_000), text(3, 10_000), text(3, 600_000)];
        check(&reopened, *id, &want[n]).await;
    }
}

#[tokio::test]
async fn a_file_whose_sync_failed_is_never_trusted_again() {
    let (disk, memory) = faulty();
    let store = Store::inline_on(disk.clone(), Settings::default(), &[NOTES]).expect("opens");
    put(&store, "a", &text(1, 10_000)).await.expect("commits");
    disk.set(Fault::SyncOnce);
    put(&store, "b", &text(2, 10_000)).await.expect("goes to a new segment");
    assert_eq!(disk.hits(), 1);
    assert_eq!(store.troubles().len(), 1);
    disk.set(Fault::Sync);
    assert!(matches!(put(&store, "c", &text(3, 10_000)).await, Err(StoreError::Broken(_))));
    assert!(matches!(put(&store, "c", &text(3, 900_000)).await, Err(StoreError::Broken(_))));
    disk.set(Fault::None);
    put(&store, "d", &text(4, 10_000)).await.expect("commits again");
    // Whatever a power cut makes of what was refused, it does not come back.
    memory.power_cut_with(crate::disk::Unsynced::Kept);
    let reopened = Store::in_memory_on(memory, Settings::default(), &[NOTES]).expect("opens");
    assert_eq!(notes(&reopened).iter().map(|n| n.0.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    for ((_, id), seed) in notes(&reopened).iter().zip([1, 2, 4]) {
        check(&reopened, *id, &text(seed, 10_000)).await;
    }
}

#[tokio::test]
async fn an_unreadable_body_is_named_and_the_others_are_served() {
    let memory = Memory::new();
    let settings = Settings { cache: stdx::Bytes(0), ..Settings::default() };
    let store = Store::in_memory_on(memory.clone(), settings, &[NOTES]).expect("opens");
    let one = put(&store, "one", &text(1, 9000)).await.expect("commits");
    let two = put(&store, "two", &text(2, 9000)).await.expect("commits");
    memory.damage("00000001.log", |bytes| bytes[3000] ^= 1);
    let end = store.body(one).await.expect("is there").all().await;
    assert!(matches!(end, Err(StoreError::Damaged(id, _)) if id == one));
    check(&store, two, &text(2, 9000)).await;
}

#[tokio::test]
async fn the_guard_closes_below_the_reserve_and_counts_what_is_under_way() {
    let (disk, _) = faulty();
    let mib = |n| Some(crate::disk::Space { free: stdx::Bytes::mib(n), total: stdx::Bytes::mib(4_000) });
    disk.set_space(mib(201));
    let store = Store::inline_on(disk.clone(), Settings::default(), &[NOTES]).expect("opens");
    assert_eq!(store.intake(), Intake::Open);
    let settings = Settings { small_max: stdx::Bytes::mib(4), ..Settings::default() };
    let store = Store::inline_on(disk.clone(), settings, &[NOTES]).expect("opens");
    let mut draft = store.draft();
    draft.write(&vec![0; 3 << 20]).await.expect("writes");
    assert!(matches!(store.intake(), Intake::Full { .. }));
    drop(draft);
    assert_eq!(store.intake(), Intake::Open);
    disk.set_space(mib(100));
    store.0.shared.ran_full();
    let reserve = stdx::Bytes::mib(200);
    assert_eq!(store.intake(), Intake::Full { free: stdx::Bytes::mib(100), reserve });
}

#[tokio::test]
async fn what_is_put_on_top_at_the_end_stands_before_what_came_first() {
    for (store, _dir) in both("under") {
        for (n, (room, front, rest)) in [
            (0, 0, 900_000),
            (16_384, 700, 900_000),
            (500, 9000, 700_000),
            (16_384, 300, 10),
            (100, 100, 300_000),
        ]
        .into_iter()
        .enumerate()
        {
            let whole = text(n as u8, front + rest);
            let mut draft = store.draft_behind(room);
            for piece in whole[front..].chunks(70_000) {
                draft.write(piece).await.expect("writes");
            }
            let sealed = draft.seal_under(whole[..front].to_vec()).await.expect("seals");
            assert_eq!(sealed.len(), whole.len() as u64);
            assert_eq!(&sealed.read_at(0, front + 5).await.expect("reads")[..], &whole[..front + 5]);
            let id = store
                .commit(vec![sealed], |batch| {
                    let id = batch.body(0);
                    batch.hold(id)?;
                    batch.sql().execute("INSERT INTO note (says, body) VALUES ('x', ?1)", [id])?;
                    Ok(id)
                })
                .await
                .expect("commits");
            check(&store, id, &whole).await;
        }
        let verified = store.verify(&["SELECT body, 1 FROM note"], &mut |_| {}).expect("verifies");
        assert!(verified.is_sound(), "{verified:?}");
    }
}

#[tokio::test]
async fn a_disk_that_fills_while_a_large_body_comes_keeps_nothing_of_it() {
    let (disk, memory) = faulty();
    let store = Store::inline_on(disk.clone(), Settings::default(), &[NOTES]).expect("opens");
    let body = text(1, 2_000_000);
    let mut draft = store.draft_behind(1000);
    draft.write(&body[..1_000_000]).await.expect("there is room");
    disk.set(Fault::WriteFull);
    let full = draft.write(&body[1_000_000..]).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    drop(draft);
    let mut draft = store.draft_behind(1000);
    disk.set(Fault::None);
    draft.write(&body).await.expect("there is room again");
    disk.set(Fault::WriteFull);
    let full = draft.seal_under(text(2, 900)).await.err();
    disk.set(Fault::None);
    // The room before the body grows no file, so it may be there; then the body is whole.
    assert!(full.is_none() || matches!(full, Some(StoreError::Full(_))), "{full:?}");
    let id = put(&store, "after", &body).await.expect("goes on");
    check(&store, id, &body).await;
    drop(store);
    let again = Store::in_memory_on(memory, Settings::default(), &[NOTES]).expect("opens");
    check(&again, id, &body).await;
    assert_eq!(notes(&again).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_of_large_bodies_is_taken_away() {
    let dir = Dir::new("sweep");
    let segments = dir.0.join(SEGMENTS);
    let body = text(3, 600_000);
    let id = {
        let store = Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens");
        put(&store, "kept", &body).await.expect("commits")
    };
    // As a kill would leave them: a file that holds half a message, and half of one behind a whole.
    std::fs::write(segments.join("00000099.big"), text(4, 300_000)).expect("writes");
    let large = std::fs::read_dir(&segments).expect("lists").map(|e| e.expect("reads").path());
    let large: Vec<_> = large.filter(|p| p.extension().is_some_and(|e| e == "big")).collect();
    assert_eq!(large.len(), 2);
    let whole = large.iter().find(|p| !p.ends_with("00000099.big")).expect("is there");
    let len = std::fs::metadata(whole).expect("is there").len();
    std::fs::File::options().write(true).open(whole).and_then(|f| f.set_len(len + 50_000)).expect("grows");
    let store = Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens");
    let theirs = store.clone();
    tokio::task::spawn_blocking(move || theirs.tidy().expect("tidies")).await.expect("ends");
    assert!(!segments.join("00000099.big").exists(), "half a message stays");
    assert_eq!(std::fs::metadata(whole).expect("is there").len(), len, "the torn end stays");
    check(&store, id, &body).await;
}

/// A backup or a check reads for minutes; the index's write-ahead log grows meanwhile, and mail goes on.
#[test]
fn a_long_reader_stops_no_commit_however_long_the_indexs_log_is() {
    let dir = Dir::new("reader");
    let store = Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens");
    let note = |says: &str| {
        let says = says.to_owned();
        store
            .commit_now(move |batch| {
                batch.settle();
                batch.sql().execute("INSERT INTO note (says) VALUES (?1)", [says])?;
                Ok(())
            })
            .expect("commits");
    };
    note("before");
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    let reading = store.clone();
    let reader = std::thread::spawn(move || {
        reading.glance(|conn| {
            let count: i64 = conn.query_row("SELECT count(*) FROM note", [], |r| r.get(0))?;
            begun.send(()).expect("somebody waits");
            let _ = may_end.recv();
            Ok(count)
        })
    });
    has_begun.recv().expect("reads");
    let at = std::time::Instant::now();
    for n in 0..5 {
        // As the housekeeper says when it has become long.
        store.0.shared.wal_long.store(true, Ordering::Relaxed);
        note(&format!("during {n}"));
        assert_eq!(notes_said(&store), n + 2);
    }
    let took = at.elapsed();
    end.send(()).expect("it reads");
    assert_eq!(reader.join().expect("ends").expect("reads"), 1);
    assert!(took < std::time::Duration::from_secs(5), "five commits took {took:?} beside a reader");
    assert!(!store.troubles().iter().any(|t| t.contains("grows")), "{:?}", store.troubles());
}

fn notes_said(store: &Store) -> i64 {
    let count = |c: &Connection| Ok(c.query_row("SELECT count(*) FROM note", [], |r| r.get(0))?);
    store.read_now(count).expect("reads")
}

/// What verify or a reader met stays known until it can be read again.
#[tokio::test]
async fn a_body_that_could_not_be_read_is_told_once_and_has_no_mark_until_it_can_be() {
    let disk = Arc::new(Faulty::new(Arc::new(Memory::new())));
    let settings = Settings { cache: stdx::Bytes(0), ..Settings::default() };
    let store = Store::inline_on(disk.clone(), settings, &[NOTES]).expect("opens");
    let (one, two) =
        (put(&store, "a", b"first").await.expect("kept"), put(&store, "b", b"second").await.expect("kept"));
    disk.set(Fault::Read);
    let body = store.body(one).await.expect("is there");
    assert!(matches!(body.all().await, Err(StoreError::Damaged(id, _)) if id == one));
    assert_eq!(store.take_damaged(9).iter().map(|d| d.0).collect::<Vec<_>>(), [one]);
    assert_eq!(store.take_damaged(9), [], "told once");
    disk.set(Fault::None);
    assert!(matches!(store.mark(one), Err(StoreError::Damaged(..))), "nobody looked again");
    assert_eq!(store.mark(two).expect("is well").0, 6);
    store.body(one).await.expect("is there").check().await.expect("can be read");
    assert_eq!(store.mark(one).expect("is well").0, 5);
}
