//! The command that is under way, and the tagged line it will end with.

use super::{Server, append::Append, fetch::Fetch, search::Search, select::Select};
use crate::ask::{Answer, Code, Refusal};
use crate::command::{By, ListSpec};
use crate::wire::write;

/// What the open question's answer (or the client's next bytes) belongs to.
pub(super) enum Job {
    None,
    /// The client owes a SASL response.
    Auth(Box<Auth>),
    /// Policy owes an answer to the exchange, or to LOGIN (no exchange).
    AuthAsked {
        tag: String,
        exchange: Option<Box<sasl::Exchange>>,
    },
    Enter(String),
    Unauthenticate(String),
    Id(String),
    Idle(String),
    /// News for an IDLE or NOTIFY session.
    News(Option<String>),
    NewsFetch(Box<Fetch>),
    Sync(Box<Tail>),
    /// Anything whose good answer is [`Answer::Done`].
    Plain(Box<Tail>),
    Create(String),
    Notify(String),
    Status(Box<super::folders::Status>),
    List(Box<(String, Box<ListSpec>)>),
    ListStatus(Box<super::listing::Listed>),
    Select(Box<Select>),
    Unselect(String),
    /// CLOSE: expunge, then unselect.
    CloseExpunge(String),
    Append(Box<Append>),
    AppendAsked(Box<Append>),
    Fetch(Box<Fetch>),
    Store(Box<super::store::Store>),
    Copy {
        tag: String,
        by: By,
        remove: bool,
    },
    Expunge {
        tag: String,
    },
    Search(Box<Search>),
    Extra(Box<super::extra::Extra>),
}

/// An exchange that waits for the client.
pub(super) struct Auth {
    pub tag: String,
    pub exchange: sasl::Exchange,
}

/// How a command ends.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub tag: String,
    pub status: &'static str,
    pub code: String,
    pub text: String,
    /// Expunges may be told before it (RFC 9051 §7.5.1: not for FETCH, STORE and SEARCH by
    /// sequence number).
    pub expunges: bool,
    /// The command speaks in UIDs, so news carry them too.
    pub uids: bool,
    /// With [HIGHESTMODSEQ n] (RFC 7162 §3.2.10).
    pub modseq: bool,
}

impl Tail {
    pub fn ok(tag: String, text: &str) -> Tail {
        Tail {
            tag,
            status: "OK",
            code: String::new(),
            text: text.into(),
            expunges: true,
            uids: false,
            modseq: false,
        }
    }
    pub fn no(tag: String, code: &str, text: &str) -> Tail {
        Tail { status: "NO", code: code.into(), ..Tail::ok(tag, text) }
    }
    pub fn bad(tag: String, code: &str, text: &str) -> Tail {
        Tail { status: "BAD", code: code.into(), ..Tail::ok(tag, text) }
    }
    pub fn refused(tag: String, refusal: &Refusal) -> Tail {
        Tail::no(tag, refusal.code.map_or("", Code::name), &refusal.text)
    }
    pub fn with_code(mut self, code: String) -> Tail {
        self.code = code;
        self
    }
    /// For a command that speaks in sequence numbers or UIDs and must keep expunges back for the
    /// former.
    pub fn by(mut self, by: By) -> Tail {
        self.uids = by == By::Uid;
        self.expunges = by == By::Uid;
        self
    }

    pub fn write(&self, out: &mut Vec<u8>, modseq: Option<u64>) {
        out.extend_from_slice(self.tag.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.status.as_bytes());
        out.push(b' ');
        if let Some(modseq) = modseq.filter(|_| self.code.is_empty()) {
            out.extend_from_slice(b"[HIGHESTMODSEQ ");
            write::number(out, modseq);
            out.extend_from_slice(b"] ");
        } else if !self.code.is_empty() {
            out.push(b'[');
            out.extend_from_slice(self.code.as_bytes());
            out.extend_from_slice(b"] ");
        }
        write::words(out, &self.text);
        out.extend_from_slice(b"\r\n");
    }
}

impl Code {
    /// As it stands in brackets.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Alert => "ALERT",
            Code::AlreadyExists => "ALREADYEXISTS",
            Code::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Code::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Code::Cannot => "CANNOT",
            Code::ClientBug => "CLIENTBUG",
            Code::ContactAdmin => "CONTACTADMIN",
            Code::Corruption => "CORRUPTION",
            Code::Expired => "EXPIRED",
            Code::ExpungeIssued => "EXPUNGEISSUED",
            Code::HasChildren => "HASCHILDREN",
            Code::InUse => "INUSE",
            Code::Limit => "LIMIT",
            Code::NoPerm => "NOPERM",
            Code::NonExistent => "NONEXISTENT",
            Code::OverQuota => "OVERQUOTA",
            Code::PrivacyRequired => "PRIVACYREQUIRED",
            Code::ServerBug => "SERVERBUG",
            Code::TooBig => "TOOBIG",
            Code::TryCreate => "TRYCREATE",
            Code::Unavailable => "UNAVAILABLE",
            Code::UnknownCte => "UNKNOWN-CTE",
            Code::UseAttr => "USEATTR",
            Code::MetadataTooMany => "METADATA TOOMANY",
            // RFC 5464 §5.
            Code::MetadataMaxSize => "METADATA MAXSIZE 65536",
            Code::MetadataNoPrivate => "METADATA NOPRIVATE",
            Code::BadCharset => "BADCHARSET (US-ASCII UTF-8)",
        }
    }
}

impl Server {
    /// Goes on with the job its answer has come for.
    pub(super) fn proceed(&mut self, job: Job, answer: Answer) {
        match (job, answer) {
            (Job::Sync(tail), Answer::Changes(changes)) => {
                self.tell_changes(&changes, tail.expunges, tail.uids);
                self.conclude(*tail);
            }
            // What happened elsewhere cannot be told now; the command itself is over.
            (Job::Sync(tail), _) => self.conclude(*tail),
            (Job::News(idle), Answer::Changes(changes)) => self.told(idle, &changes),
            (Job::News(idle), Answer::Noticing(rows)) => {
                self.tell_rows(rows);
                self.resume_idle(idle);
            }
            (Job::News(idle), _) => self.resume_idle(idle),
            (Job::NewsFetch(fetch), Answer::Page(page)) => self.fetch_page(fetch, page, true),
            (Job::NewsFetch(fetch), Answer::Bytes(bytes)) => self.fetch_bytes(fetch, &bytes, true),
            (Job::NewsFetch(fetch), _) => self.fetch_end(*fetch, true),
            (Job::AuthAsked { tag, exchange }, Answer::Sasl(answer)) => {
                self.auth_answered(tag, exchange, answer)
            }
            (Job::Enter(tag), Answer::Welcome(welcome)) => self.welcome(tag, welcome),
            (Job::AuthAsked { tag, .. } | Job::Enter(tag), Answer::Refused(why)) => {
                self.conclude(Tail::refused(tag, &why));
            }
            (Job::Unauthenticate(tag), _) => self.unauthenticated(tag),
            (Job::Id(tag), _) => self.id_answered(tag),
            (Job::Fetch(fetch), answer) => self.fetch_answered(fetch, answer),
            (Job::AppendAsked(append), answer) => self.append_answered(append, answer),
            (Job::Select(select), answer) => self.select_answered(select, answer),
            (Job::Unselect(tag), _) => self.unselected(tag),
            (Job::CloseExpunge(tag), _) => self.ask(crate::Ask::Unselect, Job::Unselect(tag)),
            (Job::Status(status), answer) => self.status_answered(*status, answer),
            (Job::List(list), answer) => self.list_answered(list.0, *list.1, answer),
            (Job::ListStatus(listed), answer) => self.list_status_answered(*listed, answer),
            (Job::Store(store), answer) => self.store_answered(*store, answer),
            (Job::Copy { tag, by, remove }, answer) => self.copied(tag, by, remove, answer),
            (Job::Search(search), answer) => self.found(*search, answer),
            (Job::Extra(extra), answer) => self.extra_answered(*extra, answer),
            (Job::Expunge { tag }, Answer::Expunged { uids }) => self.expunged(tag, &uids),
            (Job::Plain(tail), Answer::Done) => self.finish(*tail),
            (Job::Create(tag), Answer::Created { mailbox_id }) => self.created(tag, mailbox_id),
            (Job::Notify(tag), Answer::Noticing(rows)) => self.noticing(tag, rows),
            (Job::Notify(tag), Answer::Done) => self.noticing(tag, Vec::new()),
            (Job::Plain(tail), Answer::Refused(why)) => self.refuse(tail.tag, &why),
            (Job::Create(tag) | Job::Expunge { tag } | Job::Notify(tag), Answer::Refused(why)) => {
                self.refuse(tag, &why)
            }
            _ => stdx::never!("an answer that fits no open question"),
        }
    }
}
