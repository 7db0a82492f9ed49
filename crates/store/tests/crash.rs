//! The real disk: `kill -9` of a writing process, power cuts of an ext4 file system on a loop
//! device, and a disk that fills up. The last two need root, and say so when they are left out.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stdx::{Bytes, Dice};
use store::{BodyId, Intake, Schema, Settings, Store, StoreError};

const NOTES: Schema = Schema {
    room: "notes",
    steps: &[
        "CREATE TABLE note (key INTEGER PRIMARY KEY, body INTEGER NOT NULL, len INTEGER NOT NULL) STRICT",
    ],
};
const CHILD: &str = "POSTROAD_STORE_CHILD";
const WRITERS: i64 = 12;

fn text(key: i64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(key as u64);
    let mut out: Vec<u8> = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&dice.next_u64().to_le_bytes());
    }
    out.truncate(len);
    out
}

fn size(key: i64) -> usize {
    if key % 40 == 0 { 400_000 } else { 1000 + (key as usize * 37) % 12_000 }
}

async fn put(store: &Store, key: i64) -> Result<BodyId, StoreError> {
    let mut draft = store.draft();
    for piece in text(key, size(key)).chunks(32 << 10) {
        draft.write(piece).await?;
    }
    let sealed = draft.seal().await?;
    store
        .commit(vec![sealed], move |batch| {
            let id = batch.body(0);
            batch.hold(id)?;
            let row = (key, id, size(key) as i64);
            batch.sql().prepare_cached("INSERT INTO note VALUES (?1, ?2, ?3)")?.execute(row)?;
            Ok(id)
        })
        .await
}

async fn remove(store: &Store, key: i64) -> Result<(), StoreError> {
    store
        .commit(vec![], move |batch| {
            let sql = "DELETE FROM note WHERE key = ?1 RETURNING body";
            let id: BodyId = batch.sql().query_row(sql, [key], |r| r.get(0))?;
            batch.release(id)
        })
        .await
}

/// Not a test of its own: what the others start and kill.
#[test]
#[ignore = "started by the other tests as a process of its own"]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let store = Store::open(Path::new(&dir), Settings::default(), &[NOTES]).expect("opens");
    let last: i64 = store
        .read_now(|c| Ok(c.query_row("SELECT coalesce(max(key), 0) FROM note", [], |r| r.get(0))?))
        .expect("reads");
    let next = Arc::new(AtomicI64::new(last + 1));
    println!("ready");
    runtime.block_on(async {
        let tasks: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (store, next) = (store.clone(), next.clone());
                tokio::spawn(async move {
                    loop {
                        let key = next.fetch_add(1, Ordering::Relaxed);
                        if put(&store, key).await.is_err() {
                            return;
                        }
                        let mut out = std::io::stdout().lock();
                        let _ = writeln!(out, "ack {key}");
                        let _ = out.flush();
                    }
                })
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    });
}

/// A writing process, and the acknowledgements heard from it so far.
struct Writer {
    child: Child,
    acked: Arc<Mutex<Vec<i64>>>,
    hearing: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(dir: &Path) -> Writer {
        let me = std::env::current_exe().expect("this test's file");
        let mut child = Command::new(me)
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(CHILD, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let acked = Arc::new(Mutex::new(Vec::new()));
        let (heard, out) = (acked.clone(), child.stdout.take().expect("piped"));
        let hearing = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(key) = line.strip_prefix("ack ").and_then(|k| k.parse().ok()) {
                    heard.lock().expect("no panic").push(key);
                }
            }
        });
        Writer { child, acked, hearing: Some(hearing) }
    }
    fn heard(&self) -> Vec<i64> {
        self.acked.lock().expect("no panic").clone()
    }
    /// Waits until it has acknowledged `count`, a minute at most.
    fn wait_for(&self, count: usize) {
        let begun = Instant::now();
        while self.heard().len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "the writer acknowledges nothing");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(hearing) = self.hearing.take() {
            let _ = hearing.join();
        }
    }
}
impl Drop for Writer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All of `acked` is there, and every row has its body whole.
fn check(dir: &Path, acked: &[i64], what: &str) -> Duration {
    let begun = Instant::now();
    let store = Store::open(dir, Settings::default(), &[NOTES]).expect("opens");
    let took = begun.elapsed();
    let rows: Vec<(i64, BodyId)> = store
        .read_now(|c| {
            let mut all = c.prepare("SELECT key, body FROM note ORDER BY key")?;
            let rows = all.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .expect("reads");
    let lost: Vec<_> = acked.iter().filter(|k| rows.binary_search_by_key(*k, |r| r.0).is_err()).collect();
    assert!(lost.is_empty(), "{what}: {} of {} acknowledged are lost: {lost:?}", lost.len(), acked.len());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for (key, id) in &rows {
            let body = store.body(*id).await.expect("is there").all().await.expect("reads");
            assert!(body == text(*key, size(*key)), "{what}: body of {key}");
        }
    });
    assert_eq!(store.troubles(), Vec::<String>::new(), "{what}");
    took
}

struct Dir(PathBuf);
impl Dir {
    fn new(name: &str) -> Dir {
        let at = std::env::temp_dir().join(format!("postroad-crash-{name}-{}", std::process::id()));
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

#[test]
fn a_process_killed_again_and_again_loses_nothing_it_acknowledged() {
    let dir = Dir::new("kill");
    let at = dir.0.join("store");
    let mut dice = Dice::new(9);
    let (mut acked, mut slowest) = (Vec::new(), Duration::ZERO);
    for round in 0..20 {
        let mut writer = Writer::start(&at);
        writer.wait_for(1 + dice.below(150) as usize);
        std::thread::sleep(Duration::from_millis(dice.below(30)));
        writer.kill();
        acked.extend(writer.heard());
        slowest = slowest.max(check(&at, &acked, &format!("round {round}")));
    }
    println!("{} acknowledged over 20 kills, 0 lost; slowest start {slowest:?}", acked.len());
    assert!(slowest < Duration::from_secs(3));
}

/// Whether a command did what it should.
fn ran(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0")))
}

/// A mounted file system that goes away with this value.
struct Mount(PathBuf);
impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..50 {
            if ran("umount", &[self.0.to_str().expect("plain")]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Stops an ext4 file system as a power cut does: nothing that is not on the disk gets there.
/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

#[test]
fn a_power_cut_of_the_file_system_loses_nothing_acknowledged() {
    if !is_root() || !ran("python3", &["-c", "import fcntl"]) {
        println!("LEFT OUT: the power cut of an ext4 file system needs root and python3");
        return;
    }
    let dir = Dir::new("ext4");
    let (image, mount) = (dir.0.join("image"), dir.0.join("mount"));
    let (image, at) = (image.to_str().expect("plain").to_owned(), mount.to_str().expect("plain").to_owned());
    std::fs::create_dir_all(&mount).expect("makes a folder");
    if !ran("truncate", &["-s", "600M", &image])
        || !ran("mkfs.ext4", &["-q", "-F", &image])
        || !ran("mount", &["-o", "loop", &image, &at])
    {
        println!("LEFT OUT: the power cut of an ext4 file system needs mkfs.ext4 and loop devices");
        return;
    }
    let mut mounted = Some(Mount(mount.clone()));
    let mut dice = Dice::new(4);
    let mut acked = Vec::new();
    for round in 0..8 {
        let mut writer = Writer::start(&mount.join("store"));
        writer.wait_for(20 + dice.below(300) as usize);
        // Only what was heard before the power goes counts.
        acked.extend(writer.heard());
        assert!(ran("python3", &["-c", SHUTDOWN, &at]), "the file system can be shut down");
        writer.kill();
        drop(mounted.take());
        assert!(ran("mount", &["-o", "loop", &image, &at]), "mounts again");
        mounted = Some(Mount(mount.clone()));
        check(&mount.join("store"), &acked, &format!("round {round}"));
    }
    println!("{} acknowledged over 8 power cuts, 0 lost", acked.len());
}

#[test]
fn a_disk_that_fills_up_refuses_and_goes_on_when_there_is_room() {
    let dir = Dir::new("full");
    let mount = dir.0.join("mount");
    std::fs::create_dir_all(&mount).expect("makes a folder");
    let at = mount.to_str().expect("plain").to_owned();
    if !is_root() || !ran("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", &at]) {
        println!("LEFT OUT: the full disk needs root, for a small tmpfs");
        return;
    }
    let _mounted = Mount(mount.clone());
    let settings = Settings { reserve: Some(Bytes::mib(1)), cache: Bytes(0), ..Settings::default() };
    let store = Store::open(&mount.join("store"), settings, &[NOTES]).expect("opens");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("ok");
    let mut kept = Vec::new();
    runtime.block_on(async {
        // The guard closes in time.
        for key in 1.. {
            if matches!(store.intake(), Intake::Full { .. }) {
                break;
            }
            kept.push((key, put(&store, key).await.expect("there is room")));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Another's file takes the very last byte; deleting and looking still go on.
        let _ = std::fs::write(mount.join("other"), vec![0; 16 << 20]);
        let (gone, _) = kept.remove(3);
        remove(&store, gone).await.expect("deleting goes on");
        let count = |c: &store::rusqlite::Connection| {
            Ok(c.query_row("SELECT count(*) FROM note", [], |r| r.get::<_, i64>(0))?)
        };
        assert_eq!(store.read(count).await.expect("reading goes on"), kept.len() as i64);
        std::fs::remove_file(mount.join("other")).expect("removes");
        // Nobody heeds the guard, until nothing goes any more.
        let mut refused = 0;
        for key in 5000..11_000 {
            match put(&store, key).await {
                Ok(id) => kept.push((key, id)),
                Err(StoreError::Full(_)) => refused += 1,
                Err(e) => panic!("{e}"),
            }
            if refused > 30 {
                break;
            }
        }
        assert!(refused > 30, "it was full");
        assert!(matches!(store.intake(), Intake::Full { .. }));
        read_all(&store, &kept).await;
        // More room, without a start.
        assert!(ran("mount", &["-o", "remount,size=40m", &at]));
        let begun = Instant::now();
        while store.intake() != Intake::Open {
            assert!(begun.elapsed() < Duration::from_secs(10), "the guard opens by itself");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for key in 20_001..20_200 {
            kept.push((key, put(&store, key).await.expect("there is room")));
        }
        read_all(&store, &kept).await;
    });
    drop(store);
    let acked: Vec<i64> = kept.iter().map(|k| k.0).collect();
    let store = Store::open(&mount.join("store"), Settings::default(), &[NOTES]).expect("opens");
    let count: i64 =
        store.read_now(|c| Ok(c.query_row("SELECT count(*) FROM note", [], |r| r.get(0))?)).expect("reads");
    assert_eq!(count as usize, acked.len(), "what was refused is not there");
    drop(store);
    check(&mount.join("store"), &acked, "after all");
}

async fn read_all(store: &Store, kept: &[(i64, BodyId)]) {
    for (key, id) in kept {
        let body = store.body(*id).await.expect("is there").all().await.expect("reads");
        assert!(body == text(*key, size(*key)), "body of {key}");
    }
}
