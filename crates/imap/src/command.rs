//! Commands as values: what a client may say, after the grammar and before any rule.
//!
//! Folder names are UTF-8 here (modified UTF-7 ends in the grammar) and `INBOX` is in capitals.
//! Sequence numbers are still as typed. Begin with [`Command`].

use crate::ask::{Change, DateTime, Depth, SpecialUse, StatusItems};
use crate::flags::{FlagNames, Flags};
use crate::set::{SeqSet, UidSet};
use stdx::Secret;

/// One command with its tag.
pub struct Command {
    pub tag: String,
    pub verb: Verb,
}

/// Whether a command speaks in sequence numbers or in UIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Seq,
    Uid,
}

/// Which messages: numbers, or the result kept by the last SEARCH RETURN (SAVE) (RFC 5182).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Set(SeqSet),
    Saved,
}

/// Everything a client may ask.
pub enum Verb {
    Capability,
    Noop,
    Logout,
    Id(Vec<(String, Option<String>)>),
    StartTls,
    Authenticate { mechanism: String, initial: Option<Vec<u8>> },
    Login { user: String, password: Secret<String> },
    Unauthenticate,
    Enable(Vec<String>),
    Select { folder: String, read_only: bool, params: SelectParams },
    Create { folder: String, special_use: Vec<SpecialUse> },
    Delete { folder: String },
    Rename { from: String, to: String },
    Subscribe { folder: String, on: bool },
    List(Box<ListSpec>),
    Namespace,
    Status { folder: String, items: StatusItems },
    Append { folder: String },
    Idle,
    Check,
    Close,
    Unselect,
    Expunge(Option<Which>),
    Search { by: By, spec: Box<SearchSpec> },
    Fetch { by: By, which: Which, spec: Box<FetchSpec> },
    Store { by: By, which: Which, spec: Box<StoreSpec> },
    Copy { by: By, which: Which, to: String, remove: bool },
    Replace { by: By, which: Which, folder: String },
    Compress,
    Notify(Option<Box<NotifySpec>>),
    GetQuota(String),
    GetQuotaRoot(String),
    SetQuota,
    GetMetadata { folder: Option<String>, entries: Vec<String>, depth: Depth, max_size: Option<u64> },
    SetMetadata { folder: Option<String>, entries: Vec<(String, Option<Vec<u8>>)> },
    GetAcl(String),
    SetAcl { folder: String, who: String, change: Change, rights: String },
    ListRights { folder: String, who: String },
    MyRights(String),
}

/// CONDSTORE and QRESYNC in SELECT (RFC 7162 §3.1.8, §3.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectParams {
    pub condstore: bool,
    pub resync: Option<Resync>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resync {
    pub uid_validity: u32,
    pub modseq: u64,
    pub known: Option<SeqSet>,
}

/// LIST, LSUB and XLIST in one shape (RFC 5258).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListSpec {
    pub style: ListStyle,
    pub reference: String,
    pub patterns: Vec<String>,
    /// Extended syntax was used (several patterns, selection or return options).
    pub extended: bool,
    pub only_subscribed: bool,
    pub only_special: bool,
    pub remote: bool,
    pub recursive_match: bool,
    pub return_subscribed: bool,
    pub return_children: bool,
    pub return_special: bool,
    pub return_status: Option<StatusItems>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListStyle {
    #[default]
    List,
    Lsub,
    Xlist,
}

/// SEARCH, SORT and THREAD in one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchSpec {
    pub key: SearchKey,
    /// `None`: plain SEARCH or SORT answer; `Some`: RETURN (…) was given (RFC 4731).
    pub returns: Option<Returns>,
    pub sort: Option<Vec<SortKey>>,
    pub thread: Option<ThreadBy>,
    /// A MODSEQ key was used: the answer carries the greatest mod-sequence (RFC 7162 §3.1.5).
    pub modseq: bool,
    /// An unknown CHARSET was named.
    pub bad_charset: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    pub save: bool,
    pub partial: Option<Partial>,
}

/// RFC 9394: positions in a result, from its begin (1:100) or its end (-1:-100).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    pub from_end: bool,
    pub first: u32,
    pub last: u32,
}

/// A day: number of days since 1970-01-01.
pub type Day = i32;

/// What SEARCH looks for. Texts are UTF-8 as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    All,
    And(Vec<SearchKey>),
    Or(Box<SearchKey>, Box<SearchKey>),
    Not(Box<SearchKey>),
    /// Only before the machine resolves it: sequence numbers, UIDs with `*`, `$`, \Recent.
    Seqs(SeqSet),
    UidSeqs(SeqSet),
    Saved,
    Recent,
    /// What the four above become; the desk sees only this one.
    Uids(UidSet),
    /// All of these system flags are set.
    Has(Flags),
    /// None of these system flags is set.
    Lacks(Flags),
    Keyword(String),
    Unkeyword(String),
    /// INTERNALDATE's day in its own zone, as are the next two.
    Before(Day),
    On(Day),
    Since(Day),
    /// The Date field's day in its own zone.
    SentBefore(Day),
    SentOn(Day),
    SentSince(Day),
    /// RFC 8514.
    SavedBefore(Day),
    SavedOn(Day),
    SavedSince(Day),
    SaveDateSupported,
    Larger(u64),
    Smaller(u64),
    /// RFC 5032: INTERNALDATE at least this many seconds ago; and less than.
    Older(u64),
    Younger(u64),
    From(String),
    To(String),
    Cc(String),
    Bcc(String),
    Subject(String),
    Header {
        name: String,
        text: String,
    },
    Body(String),
    Text(String),
    /// RFC 7162: mod-sequence at least this.
    ModSeq(u64),
    EmailId(String),
    ThreadId(String),
}

/// RFC 5256 §3 and RFC 5957.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub reverse: bool,
    pub by: SortBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    Arrival,
    Cc,
    Date,
    From,
    Size,
    Subject,
    To,
    DisplayFrom,
    DisplayTo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadBy {
    OrderedSubject,
    References,
}

/// What FETCH wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchSpec {
    pub items: Vec<FetchItem>,
    pub sections: Vec<Section>,
    pub changed_since: Option<u64>,
    pub vanished: bool,
    pub partial: Option<Partial>,
    /// One of the items sets \Seen.
    pub marks_seen: bool,
}

/// One data item, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchItem {
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    Body,
    BodyStructure,
    ModSeq,
    SaveDate,
    Preview {
        lazy: bool,
    },
    EmailId,
    ThreadId,
    /// `sections[index]`, answered under this label: `BODY[TEXT]<0>`, `RFC822`, `BINARY.SIZE[1]`.
    Section {
        index: usize,
        label: String,
    },
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `1.2.3`; empty for the message itself.
    pub part: Vec<u32>,
    pub kind: SectionKind,
    /// Offset and greatest length of the octets wanted.
    pub partial: Option<(u64, u64)>,
}

impl Section {
    /// Which octets of a content of `len` are wanted: offset and length.
    pub fn cut(&self, len: u64) -> (u64, u64) {
        match self.partial {
            None => (0, len),
            Some((offset, most)) => {
                let from = offset.min(len);
                (from, most.min(len - from))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// BODY[] (the whole message) or BODY[1.2] (a part's content as it was sent).
    All,
    /// The header of the message or of a message/rfc822 part, with its empty line.
    Header,
    /// Some of its fields, or all but some, with the empty line
    /// ([`crate::fields::header_fields`] does it).
    Fields {
        names: Vec<String>,
        not: bool,
    },
    /// The text of the message or of a message/rfc822 part.
    Text,
    /// The MIME header of a part.
    Mime,
    /// RFC 3516: the part's content with its transfer encoding undone; for a part list `[]` the
    /// whole message.
    Binary,
    BinarySize,
}

/// STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    pub change: Change,
    pub silent: bool,
    pub flags: FlagNames,
    pub unchanged_since: Option<u64>,
}

/// Head of one message of APPEND.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendHead {
    pub flags: FlagNames,
    pub date: Option<DateTime>,
    /// RFC 6855: `UTF8 (~{…}`, so a parenthesis follows the literal.
    pub utf8: bool,
}

/// RFC 5465.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifySpec {
    /// Send STATUS of all matching folders at once.
    pub status: bool,
    pub groups: Vec<NotifyGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyGroup {
    pub folders: NotifyFolders,
    pub events: NotifyEvents,
    /// For SELECTED: what to FETCH of new messages (empty: only EXISTS).
    pub fetch: Option<Box<FetchSpec>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyFolders {
    Selected,
    SelectedDelayed,
    Inboxes,
    Personal,
    Subscribed,
    Subtree(Vec<String>),
    Mailboxes(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyEvents {
    pub message_new: bool,
    pub message_expunge: bool,
    pub flag_change: bool,
    pub annotation_change: bool,
    pub mailbox_name: bool,
    pub subscription_change: bool,
    pub mailbox_metadata: bool,
    pub server_metadata: bool,
}
