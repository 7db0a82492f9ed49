//! Reading mail without ever failing, header edits, DSN, ARF, Authentication-Results.
//!
//! What it is: pure functions over bytes. Any input gives an answer in time linear to its length;
//! nothing panics. [`Head`] walks header fields with their byte offsets, [`mime`] finds the parts
//! of a message, [`summary::Summary`] is what a mailbox caches of it (ENVELOPE, BODY and
//! BODYSTRUCTURE already written as IMAP wants them), [`edit`] changes header fields and no other
//! byte, [`dsn`] and [`compose`] write mail.
//! What it is not: a judge of mail, or a place that fetches or stores anything.
//! Begin with [`head`], then [`mime`].

pub mod addresses;
pub mod arf;
pub mod authres;
pub mod charset;
pub mod compose;
pub mod date;
pub mod dsn;
pub mod edit;
pub mod head;
pub mod html;
pub mod ids;
pub mod imapfmt;
pub mod manners;
pub mod mime;
pub mod params;
pub mod subject;
pub mod summary;
pub mod text;
pub mod transfer;
pub mod words2047;

pub use head::{Field, Head};
pub use mime::{Part, Structure};
pub use summary::Summary;
