//! What a commit did to the rows, as bytes for the log, and the way back.
//!
//! Temporary triggers on the writer's connection tell every row that is put, changed or taken
//! away. A row that is there afterwards is written whole, one that is gone by its key; so the
//! log can be played again over any state it has already reached, and ends in the same rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Statement};

use crate::record::{Take, put_number};
use crate::{StoreError, lock};

const PUT: u8 = 1;
const GONE: u8 = 2;
const TABLE: u8 = 3;

/// Tables of the store's own that say where the log is; they are not in it.
const UNLOGGED: [&str; 2] = ["store_step", "store_state"];
/// Tables of this ending are not in the log, and neither are full-text tables (a trigger on
/// theirs would run for ever): a keeper can make them again from other tables, and keeps the
/// mark of how far it has come in a table of this ending, so that both stand or fall together.
const UNLOGGED_ENDING: &str = "_unlogged";

/// A table as the log names it: key columns first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    name: String,
    /// How many of the columns are the key.
    keys: usize,
    columns: Vec<String>,
}

impl Table {
    pub(crate) fn count_sql(&self) -> String {
        format!("SELECT count(*) FROM main.{}", quoted(&self.name))
    }
}

/// Collects the changes of the batches that run.
#[derive(Default)]
pub(crate) struct RowLog {
    tables: Vec<Table>,
    /// Tables whose names this segment already holds.
    told: Vec<bool>,
    used: Vec<bool>,
    ops: Vec<u8>,
    pub(crate) rows: u64,
}

impl RowLog {
    /// Where the log stands, to come back to with [`RowLog::back_to`].
    pub(crate) fn mark(&self) -> (usize, u64) {
        (self.ops.len(), self.rows)
    }
    pub(crate) fn back_to(&mut self, mark: (usize, u64)) {
        self.ops.truncate(mark.0);
        self.rows = mark.1;
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
    pub(crate) fn clear(&mut self) {
        self.ops.clear();
        self.used.fill(false);
        self.rows = 0;
    }
    /// A new segment begins: it knows no table names yet.
    pub(crate) fn new_segment(&mut self) {
        self.told.fill(false);
    }
    /// The segment holds what [`RowLog::encode`] gave.
    pub(crate) fn written(&mut self) {
        for (told, used) in self.told.iter_mut().zip(&self.used) {
            *told |= *used;
        }
        self.clear();
    }
    /// Names of tables that are new to this segment, then the changes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for (n, table) in self.tables.iter().enumerate() {
            if self.used[n] && !self.told[n] {
                out.push(TABLE);
                put_number(out, n as u64);
                put_text(out, &table.name);
                put_number(out, table.keys as u64);
                put_number(out, table.columns.len() as u64);
                for column in &table.columns {
                    put_text(out, column);
                }
            }
        }
        out.extend_from_slice(&self.ops);
    }
    fn note(&mut self, n: usize, old: &[ValueRef<'_>], new: &[ValueRef<'_>]) {
        self.used[n] = true;
        self.rows += 1;
        let moved = !old.is_empty() && !new.is_empty() && old != &new[..old.len()];
        if new.is_empty() || moved {
            self.ops.push(GONE);
            put_number(&mut self.ops, n as u64);
            old.iter().for_each(|v| put_value(&mut self.ops, *v));
        }
        if !new.is_empty() {
            self.ops.push(PUT);
            put_number(&mut self.ops, n as u64);
            new.iter().for_each(|v| put_value(&mut self.ops, *v));
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.push(0),
        ValueRef::Integer(n) => {
            out.push(1);
            put_number(out, ((n << 1) ^ (n >> 63)) as u64);
        }
        ValueRef::Real(x) => {
            out.push(2);
            out.extend_from_slice(&x.to_le_bytes());
        }
        ValueRef::Text(text) => {
            out.push(3);
            put_number(out, text.len() as u64);
            out.extend_from_slice(text);
        }
        ValueRef::Blob(blob) => {
            out.push(4);
            put_number(out, blob.len() as u64);
            out.extend_from_slice(blob);
        }
    }
}

fn take_value(take: &mut Take<'_>) -> Option<Value> {
    Some(match take.byte()? {
        0 => Value::Null,
        1 => {
            let n = take.number()?;
            Value::Integer((n >> 1) as i64 ^ -((n & 1) as i64))
        }
        2 => Value::Real(f64::from_le_bytes(take.fixed(8)?.try_into().ok()?)),
        3 => Value::Text(take.text()?.to_owned()),
        4 => Value::Blob(take.bytes()?.to_vec()),
        _ => return None,
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// All tables whose rows are logged, in the order of their names.
pub(crate) fn tables(conn: &Connection) -> Result<Vec<Table>, StoreError> {
    let mut list = conn.prepare(
        "SELECT name, wr FROM pragma_table_list
         WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    )?;
    let found = list.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, bool>(1)?)))?;
    let mut out = Vec::new();
    for row in found {
        let (name, without_rowid) = row?;
        if !UNLOGGED.contains(&name.as_str()) && !name.ends_with(UNLOGGED_ENDING) {
            out.push(describe(conn, name, without_rowid)?);
        }
    }
    Ok(out)
}

fn describe(conn: &Connection, name: String, without_rowid: bool) -> Result<Table, StoreError> {
    let mut info = conn
        .prepare("SELECT name, upper(type), pk FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")?;
    let columns: Vec<(String, String, i64)> =
        info.query_map([&name], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<Result<_, _>>()?;
    let mut keys: Vec<(i64, String)> =
        columns.iter().filter(|c| c.2 > 0).map(|c| (c.2, c.0.clone())).collect();
    keys.sort_unstable();
    let by_number = keys.len() == 1 && columns.iter().any(|c| c.2 > 0 && c.1 == "INTEGER");
    let keys: Vec<String> = if without_rowid || by_number {
        keys.into_iter().map(|k| k.1).collect()
    } else {
        vec!["rowid".to_owned()]
    };
    let rest = columns.into_iter().map(|c| c.0).filter(|c| !keys.contains(c));
    Ok(Table { name, keys: keys.len(), columns: keys.iter().cloned().chain(rest).collect() })
}

/// Puts the triggers on, and returns where the changes gather.
pub(crate) fn listen(conn: &Connection) -> Result<Arc<Mutex<RowLog>>, StoreError> {
    let tables = tables(conn)?;
    let log = Arc::new(Mutex::new(RowLog {
        told: vec![false; tables.len()],
        used: vec![false; tables.len()],
        tables: tables.clone(),
        ..RowLog::default()
    }));
    // The arguments are the table's number, how many of the values are the old key, then the
    // old key and the new row.
    conn.create_aggregate_function("row_changed", -1, FunctionFlags::SQLITE_UTF8, Listener(log.clone()))?;
    for (n, table) in tables.iter().enumerate() {
        let all = |of: &str, count: usize| -> String {
            table.columns[..count].iter().map(|c| format!(", {of}.{}", quoted(c))).collect()
        };
        let (old, new) = (all("OLD", table.keys), all("NEW", table.columns.len()));
        for (event, keys, values) in [
            ("INSERT", 0, new.clone()),
            ("UPDATE", table.keys, format!("{old}{new}")),
            ("DELETE", table.keys, old.clone()),
        ] {
            conn.execute_batch(&format!(
                "CREATE TEMP TRIGGER {} AFTER {event} ON main.{} BEGIN SELECT row_changed({n}, {keys}{values}); END",
                quoted(&format!("log {event} {}", table.name)),
                quoted(&table.name),
            ))?;
        }
    }
    Ok(log)
}

/// Told of every row. An aggregate over the one row of a trigger, because SQLite takes every plain
/// function for one that may fail: each statement of one row, in whatever words, would keep a
/// journal of the pages it touches, to take back what it did alone.
struct Listener(Arc<Mutex<RowLog>>);

impl Aggregate<(), i64> for Listener {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<()> {
        Ok(())
    }
    fn step(&self, ctx: &mut Context<'_>, (): &mut ()) -> rusqlite::Result<()> {
        changed(&self.0, ctx);
        Ok(())
    }
    fn finalize(&self, _: &mut Context<'_>, _: Option<()>) -> rusqlite::Result<i64> {
        Ok(0)
    }
}

fn changed(log: &Mutex<RowLog>, ctx: &Context<'_>) {
    const FEW: usize = 24;
    let int = |at: usize| ctx.get_raw(at).as_i64().unwrap_or(0) as usize;
    let (n, keys) = (int(0), int(1));
    let count = ctx.len() - 2;
    let mut few = [ValueRef::Null; FEW];
    let mut many;
    let values: &mut [ValueRef<'_>] = if count <= FEW {
        &mut few[..count]
    } else {
        many = vec![ValueRef::Null; count];
        &mut many
    };
    for (at, value) in values.iter_mut().enumerate() {
        *value = ctx.get_raw(at + 2);
    }
    lock(log).note(n, &values[..keys], &values[keys..]);
}

/// Plays changes back. Keeps the names that earlier records of a segment gave.
pub(crate) struct Player<'c> {
    conn: &'c Connection,
    here: BTreeMap<String, Table>,
    /// The segment's number for a table, and what to do with it; `None` if we have no such one.
    known: BTreeMap<u64, Known<'c>>,
    /// Rows played.
    pub(crate) rows: u64,
    /// Rows of tables that are no longer here.
    pub(crate) skipped: u64,
}

struct Known<'c> {
    keys: usize,
    columns: usize,
    ways: Option<Ways<'c>>,
}

struct Ways<'c> {
    put: Statement<'c>,
    gone: Statement<'c>,
    /// Columns of the log that the table still has.
    used: Vec<usize>,
}

impl<'c> Player<'c> {
    pub(crate) fn new(conn: &'c Connection) -> Result<Player<'c>, StoreError> {
        let here = tables(conn)?.into_iter().map(|t| (t.name.clone(), t)).collect();
        Ok(Player { conn, here, known: BTreeMap::new(), rows: 0, skipped: 0 })
    }
    /// Another segment numbers its tables anew.
    pub(crate) fn new_segment(&mut self) {
        self.known.clear();
    }
    pub(crate) fn play(&mut self, ops: &[u8]) -> Result<(), StoreError> {
        self.run(ops)
    }
    fn run(&mut self, ops: &[u8]) -> Result<(), StoreError> {
        let mut take = Take(ops);
        while !take.0.is_empty() {
            let op = take.byte().ok_or_else(unreadable)?;
            let n = take.number().ok_or_else(unreadable)?;
            match op {
                TABLE => {
                    let known = self.meet(&mut take)?;
                    self.known.insert(n, known);
                }
                PUT | GONE => self.row(op, n, &mut take)?,
                _ => return Err(unreadable()),
            }
        }
        Ok(())
    }
    fn meet(&self, take: &mut Take<'_>) -> Result<Known<'c>, StoreError> {
        let table = read_table(take).ok_or_else(unreadable)?;
        let (keys, columns) = (table.keys, table.columns.len());
        let ways = match self.here.get(&table.name) {
            Some(here) if here.columns[..here.keys] == table.columns[..table.keys] => {
                Some(ways(self.conn, here, &table)?)
            }
            _ => None,
        };
        Ok(Known { keys, columns, ways })
    }
    fn row(&mut self, op: u8, n: u64, take: &mut Take<'_>) -> Result<(), StoreError> {
        let known = self.known.get_mut(&n).ok_or_else(unreadable)?;
        let count = if op == PUT { known.columns } else { known.keys };
        let values =
            (0..count).map(|_| take_value(take)).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
        match &mut known.ways {
            None => self.skipped += 1,
            Some(ways) if op == PUT => {
                self.rows += 1;
                ways.put.execute(rusqlite::params_from_iter(ways.used.iter().map(|at| &values[*at])))?;
            }
            Some(ways) => {
                self.rows += 1;
                ways.gone.execute(rusqlite::params_from_iter(&values))?;
            }
        }
        Ok(())
    }
}

fn read_table(take: &mut Take<'_>) -> Option<Table> {
    let name = take.text()?.to_owned();
    let keys = take.number()? as usize;
    let count = take.number()? as usize;
    let columns = (0..count).map(|_| take.text().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
    (keys <= count).then_some(Table { name, keys, columns })
}

/// One row by its table and key, as the log writes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowKey {
    table: String,
    key: Vec<u8>,
}

impl RowKey {
    pub(crate) fn hash(&self) -> u32 {
        crc32fast::hash(&self.key) ^ crc32fast::hash(self.table.as_bytes()).rotate_left(9)
    }
}

/// Collects the keys of all rows that records of one segment tell of.
#[derive(Default)]
pub(crate) struct RowKeys {
    tables: BTreeMap<u64, Table>,
    pub(crate) keys: std::collections::BTreeSet<RowKey>,
}

impl RowKeys {
    /// Takes one commit's keys; how many rows it tells of.
    pub(crate) fn add(&mut self, ops: &[u8]) -> Option<u64> {
        let mut take = Take(ops);
        let mut rows = 0;
        while !take.0.is_empty() {
            let op = take.byte()?;
            let n = take.number()?;
            if op == TABLE {
                let table = read_table(&mut take)?;
                self.tables.insert(n, table);
                continue;
            }
            let table = self.tables.get(&n)?;
            let begin = take.0;
            for _ in 0..table.keys {
                take_value(&mut take)?;
            }
            let key = begin[..begin.len() - take.0.len()].to_vec();
            if op == PUT {
                for _ in table.keys..table.columns.len() {
                    take_value(&mut take)?;
                }
            }
            self.keys.insert(RowKey { table: table.name.clone(), key });
            rows += 1;
        }
        Some(rows)
    }
}

/// The one row of a key, as a statement to select `what` of it, and the key's values.
fn by_key(table: &Table, what: &str, row: &RowKey) -> Result<(String, Vec<Value>), StoreError> {
    let mut take = Take(&row.key);
    let keys =
        (0..table.keys).map(|_| take_value(&mut take)).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
    let by: Vec<String> =
        (0..table.keys).map(|at| format!("{} IS ?{}", quoted(&table.columns[at]), at + 1)).collect();
    Ok((format!("SELECT {what} FROM main.{} WHERE {}", quoted(&table.name), by.join(" AND ")), keys))
}

/// Whether there is a row of this key.
pub(crate) fn is_there(conn: &Connection, tables: &[Table], row: &RowKey) -> Result<bool, StoreError> {
    let Some(table) = tables.iter().find(|t| t.name == row.table) else { return Ok(false) };
    let (sql, keys) = by_key(table, "1", row)?;
    Ok(conn.prepare_cached(&sql)?.exists(rusqlite::params_from_iter(&keys))?)
}

/// Writes one row into the log as it is now: whole, or as gone if that is to be told.
pub(crate) fn restate(
    conn: &Connection,
    log: &Mutex<RowLog>,
    row: &RowKey,
    tell_gone: bool,
) -> Result<(), StoreError> {
    let found = {
        let log = lock(log);
        log.tables.iter().position(|t| t.name == row.table).map(|n| (n, log.tables[n].clone()))
    };
    let Some((n, table)) = found else { return Ok(()) };
    let columns: Vec<String> = table.columns.iter().map(|c| quoted(c)).collect();
    let (sql, keys) = by_key(&table, &columns.join(", "), row)?;
    let mut look = conn.prepare_cached(&sql)?;
    let mut rows = look.query(rusqlite::params_from_iter(&keys))?;
    match rows.next()? {
        Some(row) => {
            let values = (0..columns.len()).map(|at| row.get_ref(at)).collect::<Result<Vec<_>, _>>()?;
            lock(log).note(n, &[], &values);
        }
        None if tell_gone => {
            let old: Vec<ValueRef<'_>> = keys.iter().map(ValueRef::from).collect();
            lock(log).note(n, &old, &[]);
        }
        None => {}
    }
    Ok(())
}

fn unreadable() -> StoreError {
    StoreError::Broken("a commit record cannot be read".to_owned())
}

fn ways<'c>(conn: &'c Connection, here: &Table, logged: &Table) -> Result<Ways<'c>, StoreError> {
    let used: Vec<usize> =
        (0..logged.columns.len()).filter(|at| here.columns.contains(&logged.columns[*at])).collect();
    let names: Vec<String> = used.iter().map(|at| quoted(&logged.columns[*at])).collect();
    let marks: Vec<String> = (1..=used.len()).map(|n| format!("?{n}")).collect();
    let keys: Vec<String> =
        (0..logged.keys).map(|at| format!("{} IS ?{}", quoted(&logged.columns[at]), at + 1)).collect();
    let table = quoted(&logged.name);
    Ok(Ways {
        put: conn.prepare(&format!(
            "INSERT OR REPLACE INTO main.{table} ({}) VALUES ({})",
            names.join(", "),
            marks.join(", ")
        ))?,
        gone: conn.prepare(&format!("DELETE FROM main.{table} WHERE {}", keys.join(" AND ")))?,
        used,
    })
}

#[cfg(test)]
mod tests {
    use stdx::Dice;

    use super::*;

    const SCHEMA: &str = "
        CREATE TABLE a (id INTEGER PRIMARY KEY, t TEXT UNIQUE, x REAL, b BLOB) STRICT;
        CREATE TABLE w (p INTEGER, q TEXT, n INTEGER, PRIMARY KEY (p, q)) STRICT, WITHOUT ROWID;
        CREATE TABLE k (name TEXT PRIMARY KEY, n INTEGER) STRICT;
        CREATE TABLE plain (\"odd name\" TEXT);
        CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER) STRICT;
        CREATE VIRTUAL TABLE f USING fts5(words, content='', contentless_delete=1);
        CREATE TABLE f_unlogged (upto INTEGER PRIMARY KEY) STRICT;";

    fn open() -> Connection {
        let conn = Connection::open_in_memory().expect("opens");
        conn.execute_batch("PRAGMA recursive_triggers=ON").expect("sets");
        conn.execute_batch(SCHEMA).expect("creates");
        conn
    }

    fn dump(conn: &Connection) -> Vec<String> {
        let mut out = Vec::new();
        for table in tables(conn).expect("lists") {
            let columns: Vec<String> = table.columns.iter().map(|c| quoted(c)).collect();
            let sql = format!("SELECT {} FROM {} ORDER BY 1, 2", columns.join(","), quoted(&table.name));
            let sql = if columns.len() > 1 { sql } else { sql.replace(", 2", "") };
            let mut all = conn.prepare(&sql).expect("prepares");
            let count = all.column_count();
            let mut rows = all.query([]).expect("queries");
            while let Some(row) = rows.next().expect("steps") {
                let values: Vec<Value> = (0..count).map(|n| row.get(n).expect("reads")).collect();
                out.push(format!("{}: {values:?}", table.name));
            }
        }
        out
    }

    fn step(conn: &Connection, dice: &mut Dice) -> rusqlite::Result<usize> {
        let (n, m) = (dice.below(12) as i64, dice.below(1000) as i64);
        match dice.below(16) {
            0 => conn.execute("INSERT INTO a (t, x, b) VALUES (?1, 1.5, x'0001ff')", [m]),
            1 => conn.execute("INSERT OR REPLACE INTO a (t, x) VALUES (?1, NULL)", [n]),
            2 => conn.execute("UPDATE a SET t = t || 'x' WHERE id % 7 = ?1", [n]),
            3 => conn.execute("UPDATE a SET id = id + 1000 WHERE id = ?1", [n]),
            4 => conn.execute("DELETE FROM a WHERE id % 5 = ?1", [n]),
            5 => conn
                .execute("INSERT INTO w VALUES (?1, ?2, -1) ON CONFLICT DO UPDATE SET n = n - 1", (n, m % 5)),
            6 => conn.execute("UPDATE OR REPLACE w SET p = p + 1 WHERE p = ?1", [n]),
            7 => conn.execute("DELETE FROM w WHERE p = ?1", [n]),
            8 => conn.execute("INSERT OR IGNORE INTO k VALUES (?1, ?2)", (n, m)),
            9 => conn.execute("UPDATE k SET n = n + 1", []),
            10 => conn.execute("INSERT INTO plain VALUES (?1)", [format!("é{m}")]),
            11 => conn.execute("DELETE FROM plain WHERE rowid % 3 = ?1", [n]),
            12 => conn.execute("INSERT INTO auto (n) VALUES (?1)", [i64::MIN + m]),
            13 => conn.execute("DELETE FROM auto", []),
            14 => conn
                .execute("INSERT OR REPLACE INTO f (rowid, words) VALUES (?1, 'quick brown ' || ?2)", (m, n)),
            _ => conn.execute("DELETE FROM f WHERE rowid = ?1", [m]),
        }
    }

    #[test]
    fn the_log_of_any_changes_plays_back_into_the_same_rows() {
        for seed in 0..40 {
            let mut dice = Dice::new(seed);
            let conn = open();
            let log = listen(&conn).expect("listens");
            let mut records = Vec::new();
            conn.execute_batch("BEGIN").expect("begins");
            for _ in 0..30 {
                conn.execute_batch("SAVEPOINT g").expect("ok");
                for _ in 0..6 {
                    let mark = lock(&log).mark();
                    conn.execute_batch("SAVEPOINT b").expect("ok");
                    if step(&conn, &mut dice).is_err() || dice.chance(0.1) {
                        conn.execute_batch("ROLLBACK TO b").expect("ok");
                        lock(&log).back_to(mark);
                    }
                    conn.execute_batch("RELEASE b").expect("ok");
                }
                conn.execute_batch("RELEASE g").expect("ok");
                let mut out = Vec::new();
                lock(&log).encode(&mut out);
                lock(&log).written();
                records.push(out);
            }
            conn.execute_batch("COMMIT").expect("commits");
            let mut last = Vec::new();
            lock(&log).encode(&mut last);
            assert!(last.is_empty(), "nothing is written behind a group's back");
            // From nothing, and again over what is already there.
            let copy = open();
            for _ in 0..2 {
                let mut player = Player::new(&copy).expect("makes");
                for record in &records {
                    player.play(record).expect("plays");
                }
                assert_eq!(player.skipped, 0);
            }
            assert_eq!(dump(&conn), dump(&copy), "seed {seed}");
            let searched: i64 = copy.query_row("SELECT count(*) FROM f", [], |r| r.get(0)).expect("counts");
            assert_eq!(searched, 0, "full text is not in the log");
        }
    }

    /// Calls of `write` of this thread, in any form.
    fn writes() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/io").expect("Linux counts them");
        let line = text.lines().find_map(|l| l.strip_prefix("syscw: ")).expect("a count");
        line.parse().expect("a number")
    }

    #[test]
    fn statements_of_one_row_that_say_or_fail_keep_no_journal() {
        let at = std::env::temp_dir().join(format!("postroad-rowlog-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&at);
        std::fs::create_dir_all(&at).expect("makes");
        let conn = Connection::open(at.join("index")).expect("opens");
        conn.execute_batch("PRAGMA journal_mode=WAL; PRAGMA recursive_triggers=ON").expect("sets");
        conn.execute_batch(SCHEMA).expect("creates");
        let log = listen(&conn).expect("listens");
        conn.execute_batch("BEGIN IMMEDIATE").expect("begins");
        let mut dice = Dice::new(7);
        // So many pages that what is kept of them does not stay in memory.
        let long = "q".repeat(300);
        let mut fill = |of: &str| {
            let mut put = conn.prepare_cached(of).expect("prepares");
            for n in 0..1000 {
                put.execute((dice.below(1 << 40) as i64, &long, n)).expect("puts");
            }
        };
        fill("INSERT OR FAIL INTO w VALUES (?1, ?2, ?3)");
        conn.execute_batch("SAVEPOINT a_batch").expect("marks");
        let before = writes();
        fill("INSERT OR FAIL INTO w VALUES (?1, ?2, ?3)");
        let one_row = writes() - before;
        let before = writes();
        fill("INSERT INTO w VALUES (?1, ?2, ?3)");
        let plain = writes() - before;
        assert!(one_row < 700 && plain > 2000, "{one_row} writes for 1,000 rows, {plain} without the words");
        assert_eq!(lock(&log).rows, 3000, "and every row is told");
        drop(conn);
        let _ = std::fs::remove_dir_all(&at);
    }

    #[test]
    fn a_log_of_other_columns_fills_those_that_are_still_there() {
        let conn = open();
        let log = listen(&conn).expect("listens");
        conn.execute("INSERT INTO k VALUES ('a', 5)", []).expect("inserts");
        conn.execute("INSERT INTO w VALUES (1, 'b', 6)", []).expect("inserts");
        let mut out = Vec::new();
        lock(&log).encode(&mut out);
        let newer = Connection::open_in_memory().expect("opens");
        newer
            .execute_batch(
                "CREATE TABLE w (p INTEGER, q TEXT, more TEXT DEFAULT 'd', PRIMARY KEY (p, q)) WITHOUT ROWID",
            )
            .expect("creates");
        let mut player = Player::new(&newer).expect("makes");
        player.play(&out).expect("plays");
        assert_eq!((player.rows, player.skipped), (1, 1));
        let row: (i64, String, String) = newer
            .query_row("SELECT p, q, more FROM w", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .expect("reads");
        assert_eq!(row, (1, "b".to_owned(), "d".to_owned()));
        for cut in 1..out.len() {
            let mut player = Player::new(&newer).expect("makes");
            let _ = player.play(&out[..cut]);
        }
    }
}
