//! What is kept, in SQL.
//!
//! - `mb_folder`: what changes seldom: name, special use, UIDVALIDITY; `told` is the first UID that no
//!   session was told of (\Recent).
//! - `mb_count`: the hot counters of a folder, so that STATUS is one row and an append touches
//!   one small page shared by all of an account's folders.
//! - `mb_message`: one row of some 45 bytes per message, clustered by (folder, uid): a folder's
//!   rows are neighbours, so a bulk STORE writes few pages. The body's number is the EMAILID too:
//!   a copy shares both.
//! - `mb_summary`: ENVELOPE and structure of a body, computed once in the background.
//! - `mb_thread`: the thread of each reply (see [`crate::thread`]); other messages name their own.
//! - `mb_gone`: expunged UIDs for QRESYNC, bounded by [`GONE_ROWS_MAX`].
//! - `mb_chunk`, `mb_mark`: the text index (see [`crate::text`]).
//!
//! The mailbox holds one reference to a body for as long as any row names it.

use store::Schema;

/// The keeper's tables.
pub const SCHEMA: Schema = Schema { room: "mailbox", steps: &[STEP_1, STEP_2] };

/// Expunge records kept per folder; older ones raise `gone_floor`, and a client that asks from
/// below it is told all UIDs that no longer exist (RFC 7162 §3.2.6 allows that).
pub const GONE_ROWS_MAX: i64 = 1000;

const STEP_1: &str = "
CREATE TABLE mb_folder (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL,
    name        TEXT NOT NULL,
    uidvalidity INTEGER NOT NULL,
    special     TEXT NOT NULL DEFAULT '',
    created     INTEGER NOT NULL,
    gone_floor  INTEGER NOT NULL DEFAULT 0,
    told        INTEGER NOT NULL DEFAULT 1,
    UNIQUE (account, name)
);
CREATE TABLE mb_count (
    account INTEGER NOT NULL,
    folder  INTEGER NOT NULL,
    uidnext INTEGER NOT NULL,
    modseq  INTEGER NOT NULL,
    present INTEGER NOT NULL,
    unseen  INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (account, folder)
) WITHOUT ROWID;
CREATE TABLE mb_message (
    folder   INTEGER NOT NULL,
    uid      INTEGER NOT NULL,
    body     INTEGER NOT NULL,
    flags    INTEGER NOT NULL,
    modseq   INTEGER NOT NULL,
    internal INTEGER NOT NULL,
    saved    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    zone     INTEGER NOT NULL,
    PRIMARY KEY (folder, uid)
) WITHOUT ROWID;
CREATE INDEX mb_message_by_body ON mb_message (body);
CREATE TABLE mb_summary (body INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE mb_gone (
    folder INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    uids   BLOB NOT NULL,
    PRIMARY KEY (folder, modseq)
) WITHOUT ROWID;
CREATE TABLE mb_keyword (
    account INTEGER NOT NULL,
    bit     INTEGER NOT NULL,
    word    TEXT NOT NULL,
    PRIMARY KEY (account, bit)
) WITHOUT ROWID;
CREATE TABLE mb_subscription (
    account INTEGER NOT NULL,
    name    TEXT NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE TABLE mb_acl (
    folder INTEGER NOT NULL,
    who    TEXT NOT NULL,
    rights TEXT NOT NULL,
    PRIMARY KEY (folder, who)
) WITHOUT ROWID;
CREATE INDEX mb_acl_by_who ON mb_acl (who);
CREATE TABLE mb_metadata (
    owner  INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    entry  TEXT NOT NULL,
    value  BLOB NOT NULL,
    PRIMARY KEY (owner, folder, entry)
) WITHOUT ROWID;
CREATE TABLE mb_counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE mb_chunk (
    account INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    level   INTEGER NOT NULL,
    docs    INTEGER NOT NULL,
    body    INTEGER NOT NULL,
    PRIMARY KEY (account, seq)
) WITHOUT ROWID;
CREATE TABLE mb_mark (
    account INTEGER NOT NULL,
    folder  INTEGER NOT NULL,
    uid     INTEGER NOT NULL,
    PRIMARY KEY (account, folder)
) WITHOUT ROWID;
";

const STEP_2: &str = "
CREATE TABLE mb_thread (
    body INTEGER PRIMARY KEY,
    id   INTEGER,              -- the hash of its Message-ID
    root INTEGER NOT NULL      -- that of the thread's first message
);
-- By runs of bodies first: an index over random keys of all messages would touch a page of the disk for each.
CREATE INDEX mb_thread_by_id ON mb_thread (body >> 16, id) WHERE id IS NOT NULL;
";
