//! The tables of the status site. What was said is never edited away: updates are rows.

use store::Schema;

pub const SCHEMA: Schema = Schema {
    room: "status",
    steps: &["
    CREATE TABLE component (
        id TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        about TEXT NOT NULL DEFAULT '',
        cause TEXT NOT NULL,           -- trouble of one cause gathers in one incident
        decides INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'no_data',
        since INTEGER NOT NULL DEFAULT 0,
        checked INTEGER NOT NULL DEFAULT 0,
        counted INTEGER NOT NULL DEFAULT 0,   -- up to when its days are counted
        note TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE day (
        component TEXT NOT NULL,
        day INTEGER NOT NULL,
        state TEXT NOT NULL,
        seconds INTEGER NOT NULL,
        PRIMARY KEY (component, day, state)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE probe (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        probe TEXT NOT NULL,
        component TEXT NOT NULL,
        point TEXT NOT NULL,
        region TEXT NOT NULL,
        look TEXT NOT NULL,
        ms INTEGER NOT NULL,
        says TEXT NOT NULL
    ) STRICT;
    CREATE INDEX probe_at ON probe (component, at);
    CREATE TABLE system (
        code TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        country TEXT NOT NULL,
        place TEXT NOT NULL,
        role TEXT NOT NULL,
        word TEXT NOT NULL,            -- '' follows the component of the same code
        component TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE incident (
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        stage TEXT NOT NULL,
        impact TEXT NOT NULL,
        cause TEXT NOT NULL,
        began INTEGER NOT NULL,
        resolved INTEGER,
        quiet_since INTEGER,
        public INTEGER NOT NULL,
        taken_over INTEGER NOT NULL,
        next_update INTEGER,
        postmortem_due INTEGER,
        postmortem_done INTEGER NOT NULL DEFAULT 0,
        reminded INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE touched (              -- what an incident or a window does to a component
        kind TEXT NOT NULL, owner INTEGER NOT NULL, component TEXT NOT NULL, affected INTEGER NOT NULL,
        PRIMARY KEY (kind, owner, component)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE said (                 -- updates of incidents, windows and posts; append-only
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, owner INTEGER NOT NULL, at INTEGER NOT NULL,
        stage TEXT, text TEXT NOT NULL, author TEXT NOT NULL
    ) STRICT;
    CREATE INDEX said_of ON said (kind, owner, at);
    CREATE TABLE eta (incident INTEGER NOT NULL, at INTEGER NOT NULL, eta INTEGER NOT NULL) STRICT;
    CREATE TABLE maintenance (
        id INTEGER PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL, announced INTEGER NOT NULL,
        begins INTEGER NOT NULL, ends INTEGER NOT NULL, done INTEGER, sequence INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL, reminded TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE post (
        id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, title TEXT NOT NULL, at INTEGER NOT NULL,
        author TEXT NOT NULL, html INTEGER NOT NULL, text TEXT NOT NULL, series TEXT, number INTEGER,
        note INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE label (
        post INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (post, kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE redirect (old TEXT PRIMARY KEY, new TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE peer (name TEXT PRIMARY KEY, last INTEGER NOT NULL, heard INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE subscriber (
        id INTEGER PRIMARY KEY, channel TEXT NOT NULL, address TEXT NOT NULL, token TEXT NOT NULL UNIQUE,
        confirmed INTEGER, asked INTEGER NOT NULL, components TEXT NOT NULL, kinds TEXT NOT NULL,
        UNIQUE (channel, address)
    ) STRICT;
    CREATE TABLE notice (                -- what must still reach a subscriber
        id INTEGER PRIMARY KEY, subscriber INTEGER NOT NULL, due INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
        subject TEXT NOT NULL, text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE audit (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL) STRICT;
    CREATE TABLE service (
        client TEXT NOT NULL, server TEXT NOT NULL, currency TEXT NOT NULL, monthly INTEGER NOT NULL,
        PRIMARY KEY (client, server)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE credit (
        incident INTEGER NOT NULL, client TEXT NOT NULL, server TEXT NOT NULL, currency TEXT NOT NULL,
        amount INTEGER NOT NULL, PRIMARY KEY (incident, client, server)
    ) STRICT, WITHOUT ROWID;
    ",
    "
    CREATE TABLE operator (name TEXT PRIMARY KEY, hash TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE token (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, made INTEGER NOT NULL, used INTEGER
    ) STRICT;
    CREATE TABLE letter (                -- posts by mail, taken once each
        digest TEXT PRIMARY KEY, at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    "],
};
