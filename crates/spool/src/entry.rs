//! One accepted message on its way elsewhere, as a value and as a row.

use serde::{Deserialize, Serialize};
use stdx::Now;
use store::{BodyId, StoreError};
use words::{AccountId, Address, Body, Envelope, MessageId, Notify, Recipient, Ret, SessionId};

/// Names an entry while it is in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolId(pub i64);

/// Whose mail it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Submitted(AccountId),
    Forwarded {
        of: Address,
    },
    /// From a client of a trusted network, or a customer's smart host.
    Relayed,
    /// Our own notice (null reverse path): never answered by another.
    Notice,
}

/// What is handed in with an accepted message.
#[derive(Clone, Debug)]
pub struct New {
    pub message: MessageId,
    pub session: Option<SessionId>,
    pub body: BodyId,
    pub size: u64,
    /// The Message-ID field.
    pub header: Option<String>,
    pub envelope: Envelope,
    pub origin: Origin,
    pub at: Now,
}

/// What travels with the envelope beside its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub body: Body,
    pub smtputf8: bool,
    pub requiretls: bool,
    /// RFC 8689 §3: no policy about TLS is to keep it from arriving.
    pub tls_waived: bool,
    pub ret: Option<Ret>,
    pub envid: Option<String>,
}

/// A recipient's state. Delivered, failed, expired and dropped recipients leave the entry; their
/// end stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Accepted, not yet tried in this round.
    #[default]
    Waiting,
    /// A try is under way under the entry's lease.
    Sending,
    /// To be tried again at [`Rcpt::due`].
    Later,
    /// Held by an order or by the guard, until released.
    Held(String),
}

/// A try that was refused for the egress's sake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub egress: String,
    pub at: Now,
    pub reply: String,
}

/// The last thing a remote said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    pub at: Now,
    pub egress: String,
    pub host: Option<String>,
    pub reply: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    pub address: Address,
    pub notify: Option<Notify>,
    pub orcpt: Option<String>,
    pub state: State,
    pub due: Now,
    pub rounds: u32,
    pub tried: Vec<Tried>,
    pub first_blocked: Option<Now>,
    pub stick: Option<String>,
    pub last: Option<Last>,
    /// The sender has heard that it is late.
    pub told_late: bool,
}

/// One accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: SpoolId,
    pub message: MessageId,
    pub session: Option<SessionId>,
    pub body: BodyId,
    pub size: u64,
    pub header: Option<String>,
    pub at: Now,
    pub sender: Option<Address>,
    pub options: Options,
    pub origin: Origin,
    pub rcpts: Vec<Rcpt>,
}

impl Rcpt {
    pub fn new(recipient: &Recipient, at: Now) -> Rcpt {
        Rcpt {
            address: recipient.address.clone(),
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
            state: State::Waiting,
            due: at,
            rounds: 0,
            tried: Vec::new(),
            first_blocked: None,
            stick: None,
            last: None,
            told_late: false,
        }
    }
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }
    pub fn recipient(&self) -> Recipient {
        Recipient { address: self.address.clone(), notify: self.notify, orcpt: self.orcpt.clone() }
    }
}

impl Entry {
    pub fn of(new: &New, id: SpoolId) -> Entry {
        let e = &new.envelope;
        Entry {
            id,
            message: new.message,
            session: new.session,
            body: new.body,
            size: new.size,
            header: new.header.clone(),
            at: new.at,
            sender: e.sender.clone(),
            options: Options {
                body: e.body,
                smtputf8: e.smtputf8,
                requiretls: e.requiretls,
                tls_waived: e.tls_waived,
                ret: e.ret,
                envid: e.envid.clone(),
            },
            origin: new.origin.clone(),
            rcpts: e.recipients.iter().map(|r| Rcpt::new(r, new.at)).collect(),
        }
    }
    /// When the first of its recipients is due; `None` if all are held.
    pub fn due(&self) -> Option<Now> {
        self.rcpts.iter().filter(|r| !r.is_held()).map(|r| r.due).min()
    }
    /// The envelope for some of its recipients.
    pub fn envelope(&self, recipients: Vec<Recipient>) -> Envelope {
        let o = self.options.clone();
        Envelope {
            sender: self.sender.clone(),
            recipients,
            body: o.body,
            size: Some(self.size),
            smtputf8: o.smtputf8,
            requiretls: o.requiretls,
            tls_waived: o.tls_waived,
            ret: o.ret,
            envid: o.envid,
        }
    }
}

// The row: short names, because a hundred thousand of them may wait.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    z: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    f: Option<String>,
    /// Body kind, smtputf8, requiretls, ret, tls_waived as one small number.
    #[serde(default, skip_serializing_if = "is_zero")]
    o: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    /// `s17` submitted, `f…` forwarded, `r`, `n`.
    w: String,
    r: Vec<RcptRow>,
}

#[derive(Serialize, Deserialize)]
struct RcptRow {
    a: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    n: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<String>,
    /// `w` waiting, `l` later, `h…` held and why.
    s: String,
    d: u64,
    #[serde(default, skip_serializing_if = "is_zero32")]
    c: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    t: Vec<(String, u64, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l: Option<(u64, String, Option<String>, String)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    y: bool,
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}
fn is_zero32(n: &u32) -> bool {
    *n == 0
}

fn broken(what: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(format!("a row of the spool does not read: {what}"))
}

/// The columns that are kept beside the text.
pub(crate) struct Columns {
    pub id: i64,
    pub message: i64,
    pub body: i64,
    pub at: i64,
}

impl Entry {
    pub(crate) fn write(&self) -> Result<String, StoreError> {
        let row = Row {
            s: self.session.map(|s| s.0),
            z: self.size,
            h: self.header.clone(),
            f: self.sender.as_ref().map(ToString::to_string),
            o: options_out(&self.options),
            e: self.options.envid.clone(),
            w: match &self.origin {
                Origin::Submitted(id) => format!("s{}", id.0),
                Origin::Forwarded { of } => format!("f{of}"),
                Origin::Relayed => "r".to_owned(),
                Origin::Notice => "n".to_owned(),
            },
            r: self.rcpts.iter().map(rcpt_out).collect(),
        };
        serde_json::to_string(&row).map_err(broken)
    }

    pub(crate) fn read(columns: &Columns, text: &str) -> Result<Entry, StoreError> {
        let row: Row = serde_json::from_str(text).map_err(broken)?;
        let address = |a: &str| Address::parse(a).map_err(broken);
        let origin = match row.w.split_at_checked(1) {
            Some(("s", id)) => Origin::Submitted(AccountId(id.parse().map_err(broken)?)),
            Some(("f", of)) => Origin::Forwarded { of: address(of)? },
            Some(("n", _)) => Origin::Notice,
            _ => Origin::Relayed,
        };
        Ok(Entry {
            id: SpoolId(columns.id),
            message: MessageId(columns.message as u64),
            session: row.s.map(SessionId),
            body: BodyId(columns.body),
            size: row.z,
            header: row.h,
            at: Now(columns.at as u64),
            sender: row.f.as_deref().map(address).transpose()?,
            options: options_in(row.o, row.e),
            origin,
            rcpts: row.r.into_iter().map(rcpt_in).collect::<Result<_, _>>()?,
        })
    }
}

fn options_out(o: &Options) -> u8 {
    let body = match o.body {
        Body::SevenBit => 0,
        Body::EightBitMime => 1,
        Body::BinaryMime => 2,
    };
    let ret = match o.ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    };
    body | (u8::from(o.smtputf8) << 2)
        | (u8::from(o.requiretls) << 3)
        | (ret << 4)
        | (u8::from(o.tls_waived) << 6)
}

fn options_in(o: u8, envid: Option<String>) -> Options {
    Options {
        body: match o & 3 {
            0 => Body::SevenBit,
            1 => Body::EightBitMime,
            _ => Body::BinaryMime,
        },
        smtputf8: o & 4 != 0,
        requiretls: o & 8 != 0,
        tls_waived: o & 64 != 0,
        ret: match (o >> 4) & 3 {
            0 => None,
            1 => Some(Ret::Full),
            _ => Some(Ret::Headers),
        },
        envid,
    }
}

fn rcpt_out(r: &Rcpt) -> RcptRow {
    let n = r.notify.map_or(0, |n| {
        1 | (u8::from(n.never) << 1)
            | (u8::from(n.success) << 2)
            | (u8::from(n.failure) << 3)
            | (u8::from(n.delay) << 4)
    });
    RcptRow {
        a: r.address.to_string(),
        n,
        o: r.orcpt.clone(),
        s: match &r.state {
            State::Waiting | State::Sending => "w".to_owned(),
            State::Later => "l".to_owned(),
            State::Held(why) => format!("h{why}"),
        },
        d: r.due.0,
        c: r.rounds,
        t: r.tried.iter().map(|t| (t.egress.clone(), t.at.0, t.reply.clone())).collect(),
        b: r.first_blocked.map(|n| n.0),
        k: r.stick.clone(),
        l: r.last.as_ref().map(|l| (l.at.0, l.egress.clone(), l.host.clone(), l.reply.clone())),
        y: r.told_late,
    }
}

fn rcpt_in(row: RcptRow) -> Result<Rcpt, StoreError> {
    let bit = |n: u8| row.n & (1 << n) != 0;
    Ok(Rcpt {
        address: Address::parse(&row.a).map_err(broken)?,
        notify: bit(0).then(|| Notify { never: bit(1), success: bit(2), failure: bit(3), delay: bit(4) }),
        orcpt: row.o,
        state: match row.s.split_at_checked(1) {
            Some(("l", _)) => State::Later,
            Some(("h", why)) => State::Held(why.to_owned()),
            _ => State::Waiting,
        },
        due: Now(row.d),
        rounds: row.c,
        tried: row.t.into_iter().map(|(egress, at, reply)| Tried { egress, at: Now(at), reply }).collect(),
        first_blocked: row.b.map(Now),
        stick: row.k,
        last: row.l.map(|(at, egress, host, reply)| Last { at: Now(at), egress, host, reply }),
        told_late: row.y,
    })
}
