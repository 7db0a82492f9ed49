//! The keeper of mailboxes: folders, UIDs, flags, MODSEQ, quota, the change feed and search.
//!
//! What it is: functions that write into a [`store::Batch`] or read through a connection, the
//! [`Hub`] that keeps hot folders in memory and tells sessions of changes, and the text index.
//! What it is not: a judge of who may do what (roles ask [`acl`]), nor a protocol.
//!
//! Begin with [`schema`] (what is kept), then [`append`], [`change`] and [`hub`]. Every change of
//! a folder takes the next MODSEQ of that folder and leaves one [`Delta`]; the delta is published
//! when the commit is durable, and views and sessions follow by deltas alone.

pub mod acl;
pub mod append;
pub mod change;
pub mod digest;
pub mod flags;
pub mod folder;
pub mod hub;
pub mod metadata;
pub mod schema;
pub mod text;
pub mod thread;
pub mod uids;
pub mod view;

pub use append::{Appended, New, Pen, Quota, append, deliver};
pub use change::{Copied, How, Mark, Marked, MarkedRow, copy, expunge, mark, move_to};
pub use flags::Flags;
pub use folder::{Folder, FolderId, Status};
pub use hub::{Delta, Hub, What};
pub use schema::SCHEMA;
pub use uids::UidSet;
pub use view::{Row, View};

use store::StoreError;

/// A keeper's refusal in words that end in a reply.
fn rule<T>(why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Rule(why.into()))
}
