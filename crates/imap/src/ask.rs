//! What the machine asks, what it is answered, and what it is told: the engine's only door.
//!
//! The desk (role-mail) remembers which account logged in and which folder is selected; every
//! question is in terms of UIDs, folder names (UTF-8, `/` between levels, `INBOX` in capitals)
//! and typed keys. Sequence numbers never leave the machine.
//! Any question may be answered with [`Answer::Refused`]. Begin with [`Ask`].

use crate::command::{NotifySpec, SearchKey, Section, SortKey, ThreadBy};
use crate::flags::{FlagNames, Flags, Keywords};
use crate::set::UidSet;
use bytes::Bytes;
use std::sync::Arc;

/// A question to the desk. After the `—` stands the answer it wants.
pub enum Ask {
    // --- who are you -----------------------------------------------------------------------
    /// A log-in's one open question, handed on as it is — [`Answer::Sasl`].
    Sasl(sasl::Question),
    /// The log-in was granted: who is it? — [`Answer::Welcome`].
    Enter,
    /// UNAUTHENTICATE or LOGOUT: forget account and folder — [`Answer::Done`].
    Forget,
    /// What the client says of itself (RFC 2971), to be recorded — [`Answer::Done`].
    Id(Vec<(String, Option<String>)>),

    // --- folders ---------------------------------------------------------------------------
    /// SELECT or EXAMINE: let the former folder go, open this one, send notices about it from
    /// now on — [`Answer::Selected`]. On refusal no folder is selected.
    Select { folder: String, read_only: bool },
    /// CLOSE (after an Expunge), UNSELECT — [`Answer::Done`].
    Unselect,
    /// Every folder the account may see, parents before children; also subscribed names that
    /// do not exist — [`Answer::Folders`].
    Folders,
    /// CREATE; missing parents are made — [`Answer::Created`].
    Create { folder: String, special_use: Vec<SpecialUse> },
    /// — [`Answer::Done`].
    Delete { folder: String },
    /// With all children; renaming INBOX moves its messages — [`Answer::Done`].
    Rename { from: String, to: String },
    /// SUBSCRIBE and UNSUBSCRIBE — [`Answer::Done`].
    Subscribe { folder: String, on: bool },
    /// STATUS of several folders at once — [`Answer::Status`], one row per folder asked, `None`
    /// where it does not exist or may not be read.
    Status { folders: Vec<String>, items: StatusItems },

    // --- adding messages -------------------------------------------------------------------
    /// One message of an APPEND or REPLACE is about to come (`number` counts from 0; messages
    /// of one command are committed together) — [`Answer::Done`], or refused before a byte of
    /// it is sent: no such folder ([`Code::TryCreate`]), over quota, too big.
    AppendMessage(Box<AppendMessage>),
    /// The next bytes of that message — [`Answer::Done`].
    AppendBytes { bytes: Vec<u8>, last: bool },
    /// All messages are here: make them durable; with `replace` also expunge that UID of the
    /// selected folder in the same commit — [`Answer::Appended`].
    AppendCommit { replace: Option<u32> },
    /// Forget what was appended since the last commit — [`Answer::Done`].
    AppendAbort,

    // --- the selected folder ---------------------------------------------------------------
    /// Everything that happened in the selected folder after `since` — [`Answer::Changes`].
    /// Must be cheap when nothing happened: it is asked at the end of nearly every command.
    Sync { since: u64 },
    /// A page of rows — [`Answer::Page`].
    Fetch(FetchAsk),
    /// Bytes of a body that a row said to come [`Part::Later`] — [`Answer::Bytes`], not empty,
    /// at most `len`.
    Body { body: i64, offset: u64, len: usize },
    /// Expunged UIDs among `uids` after `since` (may name more than needed, never a living
    /// one) — [`Answer::Uids`].
    Vanished { uids: Arc<UidSet>, since: u64 },
    /// — [`Answer::Stored`].
    Store(Box<StoreAsk>),
    /// COPY, and MOVE when `remove` — [`Answer::Copied`]. All or nothing.
    Copy { uids: UidSet, to: String, remove: bool },
    /// Expunge messages that have \Deleted, only among `uids` if given — [`Answer::Expunged`].
    Expunge { uids: Option<UidSet> },
    /// SEARCH and SORT — [`Answer::Found`]; THREAD — [`Answer::Threads`].
    Search(Box<SearchAsk>),

    // --- quota, metadata, access lists, notify ---------------------------------------------
    /// GETQUOTA — [`Answer::Quota`] with that root.
    Quota { root: String },
    /// GETQUOTAROOT — [`Answer::Quota`] with the roots of the folder.
    QuotaRoots { folder: String },
    /// RFC 5464; `folder` is `None` for the server's own entries — [`Answer::Metadata`].
    GetMetadata { folder: Option<String>, entries: Vec<String>, depth: Depth },
    /// A value of `None` removes the entry — [`Answer::Done`].
    SetMetadata { folder: Option<String>, entries: Vec<(String, Option<Vec<u8>>)> },
    /// RFC 4314 GETACL — [`Answer::Acl`].
    GetAcl { folder: String },
    /// SETACL and DELETEACL (`Replace` with no rights) — [`Answer::Done`].
    SetAcl { folder: String, who: String, change: Change, rights: String },
    /// LISTRIGHTS: first the rights always granted, then each set that can be granted —
    /// [`Answer::Rights`].
    ListRights { folder: String, who: String },
    /// MYRIGHTS — [`Answer::Rights`] with one entry.
    MyRights { folder: String },
    /// RFC 5465: send notices about other folders as asked; `None` turns it off —
    /// [`Answer::Noticing`] with the counters of the folders watched if STATUS was asked for.
    Notify(Option<Box<NotifySpec>>),
}

/// An answer of the desk.
pub enum Answer {
    Done,
    Refused(Refusal),
    Sasl(sasl::Answer),
    Welcome(Box<Welcome>),
    Selected(Box<Selected>),
    Folders(Vec<Folder>),
    Created {
        mailbox_id: Option<String>,
    },
    Status(Vec<Option<StatusRow>>),
    Appended {
        uid_validity: u32,
        uids: UidSet,
    },
    Changes(Box<Changes>),
    Page(Page),
    Bytes(Bytes),
    Uids(UidSet),
    Stored(Box<Stored>),
    /// `from` and `to` have the same number of members; the n-th became the n-th. `gone` is
    /// `from` for a MOVE. Messages that no longer exist are left out.
    Copied {
        uid_validity: u32,
        from: UidSet,
        to: UidSet,
    },
    Expunged {
        uids: UidSet,
    },
    Found(Found),
    Threads(Vec<Thread>),
    Quota(Vec<QuotaRoot>),
    Metadata(Vec<(String, Vec<u8>)>),
    Acl(Vec<(String, String)>),
    Rights(Vec<String>),
    Noticing(Vec<(String, StatusRow)>),
}

/// Told from outside the conversation. Lossy-safe: a notice only says that it is worth asking.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The selected folder changed (the machine will ask [`Ask::Sync`] when it may).
    Changed,
    /// The selected folder no longer exists.
    Gone,
    /// RFC 5465: another folder's counters changed.
    Status(Box<(String, StatusRow)>),
    /// RFC 5465: a folder was made, deleted or renamed (old name), or its subscription changed.
    Folder { folder: Box<Folder>, old_name: Option<String>, deleted: bool },
    /// End this session with these words (password changed, account closed, operator).
    Bye(String),
}

/// Why something was refused, for the client to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Option<Code>,
    /// What happened, why, what to do next.
    pub text: String,
}

impl Refusal {
    pub fn new(code: Code, text: impl Into<String>) -> Refusal {
        Refusal { code: Some(code), text: text.into() }
    }
}

/// Longest value of an annotation, in octets: what the desk must hold to, for the code names it.
pub const METADATA_LEN_MAX: usize = 65_536;

/// Response codes of RFC 5530 and its relatives that a desk may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Alert,
    AlreadyExists,
    AuthenticationFailed,
    AuthorizationFailed,
    Cannot,
    ClientBug,
    ContactAdmin,
    Corruption,
    Expired,
    ExpungeIssued,
    HasChildren,
    InUse,
    Limit,
    NoPerm,
    NonExistent,
    OverQuota,
    PrivacyRequired,
    ServerBug,
    TooBig,
    TryCreate,
    Unavailable,
    UnknownCte,
    UseAttr,
    MetadataTooMany,
    /// With the greatest length there is here ([`METADATA_LEN_MAX`]).
    MetadataMaxSize,
    MetadataNoPrivate,
    BadCharset,
}

/// Who logged in.
#[derive(Clone, Debug, Default)]
pub struct Welcome {
    /// The login name as we know it, for the human text.
    pub user: String,
    /// Prefixes of other people's and shared folders, e.g. `Shared/`; none if there are none.
    pub others: Vec<String>,
    pub shared: Vec<String>,
    /// Greatest message an APPEND may bring (RFC 7889).
    pub append_limit: Option<u64>,
}

/// A folder that was opened.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    pub read_only: bool,
    /// RFC 8474 MAILBOXID.
    pub mailbox_id: Option<String>,
    pub uid_validity: u32,
    pub uid_next: u32,
    /// The state this answer shows; later changes have greater numbers.
    pub highest_modseq: u64,
    /// All messages.
    pub uids: UidSet,
    /// Those that no session was told of before (RFC 3501 \Recent); may stay empty.
    pub recent: UidSet,
    /// The first message without \Seen.
    pub first_unseen: Option<u32>,
    pub keywords: Keywords,
    /// Whether a client may invent further keywords.
    pub more_keywords: bool,
    /// Flags that can be changed for good by this session (rights), system bits only.
    pub permanent: Flags,
}

/// RFC 6154 uses, and RFC 8457's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpecialUse {
    All,
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
    Important,
}

/// One folder of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    pub name: String,
    /// False for a level that only holds children, and for subscribed names without a folder.
    pub exists: bool,
    pub selectable: bool,
    pub subscribed: bool,
    pub may_have_children: bool,
    pub special_use: Vec<SpecialUse>,
    pub mailbox_id: Option<String>,
}

/// Which STATUS items are wanted: a set of the constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusItems(pub u16);

impl StatusItems {
    pub const MESSAGES: StatusItems = StatusItems(1);
    pub const UID_NEXT: StatusItems = StatusItems(2);
    pub const UID_VALIDITY: StatusItems = StatusItems(4);
    pub const UNSEEN: StatusItems = StatusItems(8);
    pub const DELETED: StatusItems = StatusItems(16);
    pub const SIZE: StatusItems = StatusItems(32);
    pub const RECENT: StatusItems = StatusItems(64);
    pub const HIGHEST_MODSEQ: StatusItems = StatusItems(128);
    pub const MAILBOX_ID: StatusItems = StatusItems(256);
    pub const APPEND_LIMIT: StatusItems = StatusItems(512);
    pub const DELETED_STORAGE: StatusItems = StatusItems(1024);
    pub const fn has(self, other: StatusItems) -> bool {
        self.0 & other.0 != 0
    }
    pub const fn with(self, other: StatusItems) -> StatusItems {
        StatusItems(self.0 | other.0)
    }
}

/// Counters of one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusRow {
    pub messages: u64,
    pub uid_next: u32,
    pub uid_validity: u32,
    pub unseen: u64,
    pub deleted: u64,
    pub deleted_storage: u64,
    pub size: u64,
    pub recent: u64,
    pub highest_modseq: u64,
    pub mailbox_id: Option<String>,
    pub append_limit: Option<u64>,
}

/// A message about to be appended.
#[derive(Clone, Debug)]
pub struct AppendMessage {
    pub folder: String,
    pub number: u32,
    pub flags: FlagNames,
    pub date: Option<DateTime>,
    pub size: u64,
    /// Sent as literal8 or with UTF8: may hold NUL or UTF-8 headers.
    pub eight: bool,
    /// Set for REPLACE: quota may count the replaced message as gone.
    pub replace: Option<u32>,
}

/// An instant with the zone it was written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DateTime {
    /// Seconds since 1970 in UTC.
    pub secs: i64,
    /// Minutes east of UTC.
    pub zone: i16,
}

/// A page of FETCH.
#[derive(Clone, Debug)]
pub struct FetchAsk {
    pub uids: Arc<UidSet>,
    /// Only UIDs greater than this (0 at first, then the last of the page before).
    pub after: u32,
    pub needs: Needs,
    /// Contents wanted; [`Texts::parts`] has one answer for each, in this order.
    pub sections: Arc<[Section]>,
    /// Only messages whose mod-sequence is greater.
    pub changed_since: Option<u64>,
}

/// Which columns a FETCH needs: a set of the constants. UID, flags and modseq always come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(pub u16);

impl Needs {
    pub const DATE: Needs = Needs(1);
    pub const SIZE: Needs = Needs(2);
    pub const ENVELOPE: Needs = Needs(4);
    pub const BODY: Needs = Needs(8);
    pub const BODY_STRUCTURE: Needs = Needs(16);
    pub const SAVE_DATE: Needs = Needs(32);
    pub const PREVIEW: Needs = Needs(64);
    pub const EMAIL_ID: Needs = Needs(128);
    pub const THREAD_ID: Needs = Needs(256);
    pub const SECTIONS: Needs = Needs(512);
    /// PREVIEW (LAZY): only if it costs nothing.
    pub const PREVIEW_LAZY: Needs = Needs(1024);
    pub const fn has(self, other: Needs) -> bool {
        self.0 & other.0 != 0
    }
    pub const fn with(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }
}

/// Rows in rising order of UID. The desk bounds a page by rows and bytes as it likes (about a
/// thousand rows, about a megabyte of contents), but a page with `more` has at least one row.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub rows: Vec<Row>,
    pub more: bool,
    /// The folder's keyword table if rows use keywords the session was not yet told of (it may
    /// simply always be given: it is one pointer).
    pub keywords: Option<Keywords>,
}

/// One message of a page.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub uid: u32,
    pub flags: Flags,
    pub modseq: u64,
    pub size: u64,
    pub date: DateTime,
    /// Only if something beyond the columns above was asked for.
    pub texts: Option<Box<Texts>>,
}

/// What a row has to say in text, already rendered as IMAP wants it where it says so.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// `("Sat, 1 ..." "subject" ((...)) ...)`, rendered.
    pub envelope: Bytes,
    /// Rendered, without and with extension data.
    pub body: Bytes,
    pub body_structure: Bytes,
    pub save_date: Option<DateTime>,
    /// UTF-8, at most 256 characters (RFC 8970); `None` is NIL.
    pub preview: Option<String>,
    pub email_id: String,
    pub thread_id: Option<String>,
    /// One per [`FetchAsk::sections`].
    pub parts: Vec<Part>,
}

/// Contents of one section, already cut to the section's partial range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// No such section.
    Nil,
    /// Here it is (preferred up to about 128 KiB).
    Now(Bytes),
    /// It is big: `len` bytes of `body` from `offset`, fetched with [`Ask::Body`].
    Later { body: i64, offset: u64, len: u64 },
    /// BINARY[…]: a content transfer encoding we cannot undo; the command ends in UNKNOWN-CTE.
    UnknownCte,
    /// BINARY.SIZE[…].
    Size(u64),
}

/// STORE.
#[derive(Clone, Debug)]
pub struct StoreAsk {
    pub uids: UidSet,
    pub change: Change,
    pub flags: FlagNames,
    /// RFC 7162: leave messages with a greater mod-sequence alone and name them in `modified`.
    pub unchanged_since: Option<u64>,
    /// What the session has seen: rows that somebody changed after it count as `elsewhere`.
    pub since: u64,
    /// Whether rows of all messages are wanted, or only those changed `elsewhere`.
    pub rows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add,
    Remove,
    Replace,
}

/// What STORE did. All messages really changed share one new mod-sequence.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// State after, for every message that exists (rising UID).
    pub rows: Vec<FlagRow>,
    pub modified: UidSet,
    /// The mod-sequence of this change; `None` if nothing changed.
    pub modseq: Option<u64>,
    pub keywords: Option<Keywords>,
}

/// Flags of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagRow {
    pub uid: u32,
    pub flags: Flags,
    pub modseq: u64,
    /// Somebody else changed it after the `since` of the question.
    pub elsewhere: bool,
}

/// What happened after a `Sync`'s `since`.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The state after these changes (= `since` if there are none).
    pub highest_modseq: u64,
    /// New messages that still exist.
    pub new: UidSet,
    /// Those of `new` that no session was told of before.
    pub recent: UidSet,
    /// Expunged UIDs (may name ones the session never saw).
    pub gone: UidSet,
    /// Living messages whose flags changed, new ones left out.
    pub flags: Vec<FlagRow>,
    pub keywords: Option<Keywords>,
}

/// SEARCH, SORT, THREAD. Sequence numbers and `$` are already UIDs in `key`.
#[derive(Clone, Debug)]
pub struct SearchAsk {
    pub key: SearchKey,
    pub order: Order,
    /// Wants [`Found::modseq`].
    pub modseq: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Rising UID.
    Uid,
    Sort(Vec<SortKey>),
    Thread(ThreadBy),
}

/// UIDs in the order asked for.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub uids: Vec<u32>,
    /// The greatest mod-sequence of the messages found.
    pub modseq: Option<u64>,
}

/// One node of a forest of threads, written parents first: its depth (0 begins a new thread; at
/// most one more than the node before) and its message, or none for a parent that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    pub depth: u32,
    pub uid: Option<u32>,
}

/// RFC 9208.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRoot {
    pub name: String,
    pub resources: Vec<QuotaUse>,
}

/// `used` and `limit` in KiB for STORAGE, in messages or mailboxes otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    pub resource: Resource,
    pub used: u64,
    pub limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Storage,
    Message,
    Mailbox,
}

/// RFC 5464 §4.2.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    #[default]
    Zero,
    One,
    Infinity,
}
