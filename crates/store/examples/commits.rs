//! How fast commits are made durable:
//! `cargo run --release -p store --example commits -- [DIR] [SECONDS] [MESSAGES ALREADY THERE]`.
//!
//! Every commit brings a body of 10 KiB and the rows a delivery writes (message, summary, folder
//! counters, a fact with its keys, a receipt). One line per number of writers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use store::{Batch, BodyId, Schema, Settings, Store, StoreError};

const BODY: usize = 10 << 10;

const MAIL: Schema = Schema {
    room: "mail",
    steps: &["
    CREATE TABLE folder (id INTEGER PRIMARY KEY, uidnext INTEGER, modseq INTEGER, present INTEGER, bytes INTEGER) STRICT;
    CREATE TABLE message (folder INTEGER, uid INTEGER, body INTEGER, flags INTEGER, modseq INTEGER,
        internal INTEGER, size INTEGER, PRIMARY KEY (folder, uid)) STRICT, WITHOUT ROWID;
    CREATE INDEX message_body ON message(body);
    CREATE TABLE summary (body INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE fact (id INTEGER PRIMARY KEY, at INTEGER, kind TEXT, message INTEGER, header TEXT, detail TEXT) STRICT;
    CREATE TABLE fact_key (chapter INTEGER, key INTEGER, fact INTEGER, PRIMARY KEY (chapter, key, fact)) STRICT, WITHOUT ROWID;
    CREATE TABLE receipt (key BLOB PRIMARY KEY, at INTEGER) STRICT, WITHOUT ROWID;
    "],
};

fn deliver(batch: &mut Batch<'_>, body: BodyId, folder: i64, key: i64) -> Result<(), StoreError> {
    batch.hold(body)?;
    let sql = batch.sql();
    let (uid, modseq): (i64, i64) = sql
        .prepare_cached(
            "INSERT INTO folder VALUES (?1, 2, 2, 1, 10240) ON CONFLICT (id) DO UPDATE
             SET uidnext = uidnext + 1, modseq = modseq + 1, present = present + 1, bytes = bytes + 10240
             RETURNING uidnext, modseq",
        )?
        .query_row([folder], |r| Ok((r.get(0)?, r.get(1)?)))?;
    sql.prepare_cached("INSERT INTO message VALUES (?1, ?2, ?3, 0, ?4, ?5, 10240)")?
        .execute((folder, uid, body, modseq, key))?;
    sql.prepare_cached("INSERT INTO summary VALUES (?1, ?2)")?.execute((body, vec![b's'; 400]))?;
    sql.prepare_cached(
        "INSERT INTO fact (at, kind, message, header, detail) VALUES (?1, 'smtp.accepted', ?2, ?3, ?4)",
    )?
    .execute((
        key,
        key,
        format!("<{key:x}@bench.example>"),
        "{\"peer\":\"127.0.0.1\",\"reply\":\"250 2.0.0\"}".repeat(4),
    ))?;
    let fact = sql.last_insert_rowid();
    let mut enter = sql.prepare_cached("INSERT INTO fact_key VALUES (?1, ?2, ?3)")?;
    for n in 0..4 {
        enter.execute((
            fact >> 12,
            key.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64).rotate_left(n * 16),
            fact,
        ))?;
    }
    let receipt = key.wrapping_mul(0x5851_F42D_4C95_7F2Du64 as i64).to_le_bytes();
    sql.prepare_cached("INSERT INTO receipt VALUES (?1, ?2)")?.execute((&receipt[..], key))?;
    Ok(())
}

/// CPU microseconds and bytes written (to the device, by calls) by this process so far.
fn usage() -> (u64, u64, u64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    let io = read("/proc/self/io");
    let field = |name: &str| {
        let line = io.lines().find(|l| l.starts_with(name)).unwrap_or("");
        line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    (ticks * 10_000, field("write_bytes"), field("wchar"))
}

async fn writer(store: Store, next: Arc<AtomicI64>, until: Instant, done: Arc<AtomicU64>) -> Vec<Duration> {
    let mut body: Vec<u8> = (0..BODY).map(|n| ((n * 7919) >> 3) as u8).collect();
    let mut times = Vec::new();
    while Instant::now() < until {
        let key = next.fetch_add(1, Ordering::Relaxed);
        body[..8].copy_from_slice(&key.to_le_bytes());
        let begun = Instant::now();
        let mut draft = store.draft();
        draft.write(&body).await.expect("writes");
        let sealed = draft.seal().await.expect("seals");
        store
            .commit(vec![sealed], move |batch| {
                let id = batch.body(0);
                deliver(batch, id, key % 20, key)
            })
            .await
            .expect("commits");
        times.push(begun.elapsed());
        done.fetch_add(1, Ordering::Relaxed);
    }
    times
}

/// Puts `count` small messages into a new store.
async fn fill(store: &Store, count: i64) {
    const AT_ONCE: i64 = 200;
    for some in 0..count / AT_ONCE {
        let mut bodies = Vec::new();
        for n in 0..AT_ONCE {
            let mut draft = store.draft();
            draft.write(&[n as u8; 600]).await.expect("writes");
            bodies.push(draft.seal().await.expect("seals"));
        }
        let all = store.commit(bodies, move |batch| {
            for n in 0..AT_ONCE {
                let (id, key) = (batch.body(n as usize), -1 - some * AT_ONCE - n);
                deliver(batch, id, -key % 1000, key)?;
            }
            Ok(())
        });
        all.await.expect("commits");
    }
}

/// Resident anonymous memory of this process, MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Makes a new store that holds `there` messages already.
fn prepare(runtime: &tokio::runtime::Runtime, dir: &Path, there: i64) {
    let _ = std::fs::remove_dir_all(dir);
    let store = Store::open(dir, Settings::default(), &[MAIL]).expect("opens");
    let begun = Instant::now();
    runtime.block_on(fill(&store, there));
    let took = begun.elapsed().as_secs_f64();
    println!("<!-- {there} messages put in {took:.0} s, {} MiB anonymous memory -->", memory());
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "target/commits-bench".to_owned()));
    let seconds: u64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "| writers | commits/s | CPU µs/commit | syncs/commit | device bytes/body byte | call bytes/body byte | p50 ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let there: i64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(0);
    if there > 0 {
        prepare(&runtime, &dir, there);
    }
    let mut next_key = 1;
    for writers in [1, 2, 20, 100] {
        if there == 0 {
            let _ = std::fs::remove_dir_all(&dir);
        }
        let begun = Instant::now();
        let store = Store::open(&dir, Settings::default(), &[MAIL]).expect("opens");
        println!(
            "<!-- opened in {:.3} s, {} MiB anonymous memory -->",
            begun.elapsed().as_secs_f64(),
            memory()
        );
        let (next, done) = (Arc::new(AtomicI64::new(next_key)), Arc::new(AtomicU64::new(0)));
        let (cpu, device, calls) = usage();
        let begun = Instant::now();
        let until = begun + Duration::from_secs(seconds);
        let mut times = runtime.block_on(async {
            let tasks: Vec<_> = (0..writers)
                .map(|_| tokio::spawn(writer(store.clone(), next.clone(), until, done.clone())))
                .collect();
            let mut all = Vec::new();
            for task in tasks {
                all.extend(task.await.expect("ends"));
            }
            all
        });
        let took = begun.elapsed().as_secs_f64();
        let figures = store.figures();
        next_key = next.load(Ordering::Relaxed);
        drop(store);
        let (cpu2, device2, calls2) = usage();
        times.sort_unstable();
        let n = times.len() as f64;
        let bytes = n * BODY as f64;
        let at = |p: f64| times[((n - 1.0) * p) as usize].as_secs_f64() * 1000.0;
        println!(
            "| {writers} | {:.0} | {:.0} | {:.3} | {:.2} | {:.2} | {:.2} | {:.2} |",
            n / took,
            (cpu2 - cpu) as f64 / n,
            figures.syncs as f64 / n,
            (device2 - device) as f64 / bytes,
            (calls2 - calls) as f64 / bytes,
            at(0.5),
            at(0.99),
        );
    }
    let _ = std::fs::remove_dir_all(&dir);
}
