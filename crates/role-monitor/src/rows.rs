//! The monitor's tables. All of them are bounded: tries for 14 days, one row per probe and day for
//! ever, alerts that are over for a year.

use store::Schema;

pub const SCHEMA: Schema = Schema {
    room: "monitor",
    steps: &["
    CREATE TABLE hour (                 -- raw tries, packed: see book.rs
        target TEXT NOT NULL, hour INTEGER NOT NULL, tries BLOB NOT NULL,
        PRIMARY KEY (target, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX hour_at ON hour (hour);
    CREATE TABLE day (
        target TEXT NOT NULL, day INTEGER NOT NULL,
        good INTEGER NOT NULL, slow INTEGER NOT NULL, failed INTEGER NOT NULL, unsure INTEGER NOT NULL,
        ms_sum INTEGER NOT NULL, ms_max INTEGER NOT NULL,
        PRIMARY KEY (target, day)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE alert (
        cause TEXT NOT NULL, began INTEGER NOT NULL, told INTEGER, times INTEGER NOT NULL,
        acknowledged INTEGER, by TEXT NOT NULL DEFAULT '', ended INTEGER, level INTEGER NOT NULL, says TEXT NOT NULL,
        PRIMARY KEY (cause, began)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE notice (               -- what a channel must still carry
        id INTEGER PRIMARY KEY, channel TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
        ack TEXT NOT NULL, over INTEGER NOT NULL, due INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
        made INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE silence (
        pattern TEXT PRIMARY KEY, until INTEGER NOT NULL, why TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE peer (name TEXT PRIMARY KEY, last INTEGER NOT NULL, heard INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE fill (
        host TEXT NOT NULL, area TEXT NOT NULL, at INTEGER NOT NULL, used INTEGER NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (host, area, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE test (                 -- when a channel was last tried, and answered by a person
        channel TEXT PRIMARY KEY, sent INTEGER NOT NULL, acknowledged INTEGER
    ) STRICT, WITHOUT ROWID;
    "],
};
