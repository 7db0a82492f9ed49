//! Bodies in segments, rows in SQL, one [`Batch`], group commit.
//!
//! What it is: the place where a `250` becomes true. Bodies are written as [`Draft`]s, sealed,
//! and named by the rows of one [`Batch`]; [`Store::commit`] resolves when all of it survives
//! a power cut. One committer thread makes whatever waits durable together.
//! What it is not: it knows no folder, queue or account; the keepers above bring their
//! [`Schema`]s and write through the batch.
//! Begin with [`Store`].

mod archive;
mod backup;
mod ballast;
mod batch;
mod body;
mod committer;
mod copying;
pub mod disk;
mod draft;
mod engine;
mod error;
mod files;
mod large;
mod log;
mod readers;
mod reclaim;
mod record;
mod recover;
mod rowlog;
mod schema;
mod settings;
mod shared;
mod store;
mod survey;
mod upkeep;
mod verify;

pub use archive::{Archive, last_restored};
pub use backup::{
    Backup, Progress, Rebuilt, Restored, forget_index, keep_index, put_index_back, rebuild, restore,
};
pub use batch::{After, Batch};
pub use body::Body;
pub use draft::{Draft, Sealed};
pub use error::{Intake, StoreError};
pub use reclaim::Tidied;
pub use rusqlite;
pub use schema::{Schema, steps};
pub use settings::{Settings, Tell};
pub(crate) use store::lock;
pub use store::{Figures, Store};
pub use verify::{Verified, verify};

/// Names a body for good; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId(pub i64);

impl rusqlite::ToSql for BodyId {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}
impl rusqlite::types::FromSql for BodyId {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<BodyId> {
        i64::column_result(value).map(BodyId)
    }
}
