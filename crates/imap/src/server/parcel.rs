//! A session as a value, to go on with it in another process.
//!
//! What it is: [`Server::parcel`] describes a session that waits for its client, in IDLE or between
//! commands; [`Server::resume`] makes a machine that goes on there. What the mailbox did meanwhile
//! is asked and told as any other news. What it is not: the connection, nor who may do what: those
//! belong to the desk. A session in the middle of a command is not described.

use super::job::Job;
use super::sync::{Asked, Open};
use super::{Enabled, Server, Settings};
use crate::ask::{Ask, Welcome};
use crate::command::{Command, Verb};
use crate::flags::Flags;
use crate::grammar;
use crate::set::UidSet;
use crate::view::View;
use crate::wire::read::COMMAND_MAX;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use stdx::{Now, TlsFacts};
use words::SessionId;

/// Ranges of UIDs in one parcel; a session with more of them is not described.
const RANGES_MAX: usize = 100_000;
/// What the client may have said that was not read as a command yet.
const UNREAD_MAX: usize = 64 * 1024;

type Ranges = Vec<(u32, u32)>;

/// All a machine knows that its client relies on. Values that are not there have their defaults, and
/// those not known are passed over, so that neighbouring versions understand each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parcel {
    /// The tag of the IDLE under way.
    pub idle: Option<String>,
    /// The client's last sign of life, and our last word during IDLE.
    pub heard: u64,
    pub spoke: u64,
    pub tls: Option<TlsWords>,
    pub deflated: bool,
    pub utf8: bool,
    pub rev2: bool,
    pub condstore: bool,
    pub qresync: bool,
    pub notify: Option<Notify>,
    /// The beginning of a command.
    pub unread: Vec<u8>,
    pub folder: Option<Folder>,
}

/// What is worth knowing of a TLS session that somebody else holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsWords {
    pub version: String,
    pub cipher: String,
    pub sni: Option<String>,
}

impl TlsWords {
    /// Without what binds a log-in to the channel: that stays with who holds it.
    pub fn facts(&self) -> TlsFacts {
        let TlsWords { version, cipher, sni } = self.clone();
        TlsFacts { version, cipher, sni, ..TlsFacts::default() }
    }
}

/// The NOTIFY that stands, as the client said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notify {
    pub said: Vec<u8>,
    pub utf8: bool,
}

/// The selected folder as this session knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Folder {
    pub uids: Ranges,
    /// The greatest UID ever shown, or gone before.
    pub top: u32,
    pub recent: Ranges,
    pub withheld: Ranges,
    pub saved: Ranges,
    /// Everything up to here was told.
    pub modseq: u64,
    pub read_only: bool,
    pub keywords: Vec<String>,
    pub more_keywords: bool,
    /// System flags that last, as bits.
    pub permanent: u32,
    pub own: Vec<u64>,
}

impl Folder {
    fn of(open: &Open) -> Option<Folder> {
        let sets = [open.view.uids(), &open.recent, &open.withheld, &open.saved];
        if sets.iter().map(|s| s.ranges().len()).sum::<usize>() > RANGES_MAX {
            return None;
        }
        let [uids, recent, withheld, saved] = sets.map(|s| s.ranges().to_vec());
        Some(Folder {
            uids,
            top: open.view.top(),
            recent,
            withheld,
            saved,
            modseq: open.modseq,
            read_only: open.read_only,
            keywords: open.keywords.to_vec(),
            more_keywords: open.more_keywords,
            permanent: (open.permanent.0 & Flags::SYSTEM.0) as u32,
            own: open.own.clone(),
        })
    }
    fn open(self) -> Open {
        Open {
            view: View::new(UidSet::of_ranges(self.uids), self.top),
            recent: UidSet::of_ranges(self.recent),
            withheld: UidSet::of_ranges(self.withheld),
            saved: UidSet::of_ranges(self.saved),
            modseq: self.modseq,
            read_only: self.read_only,
            keywords: self.keywords.into(),
            more_keywords: self.more_keywords,
            permanent: Flags(u128::from(self.permanent)),
            own: self.own,
        }
    }
}

impl Server {
    /// What this session is, if it waits for its client with nothing half done.
    pub fn parcel(&self) -> Option<Parcel> {
        let busy = self.waiting || self.closed || self.todo.is_some() || !self.out.is_empty();
        let ends = self.stopping || self.gone || self.bye.is_some();
        if busy || ends || self.who.is_none() {
            return None;
        }
        let idle = match &self.job {
            Job::None => None,
            Job::Idle(tag) => Some(tag.clone()),
            _ => return None,
        };
        let unread = self.reader.unread().filter(|u| u.len() <= UNREAD_MAX)?.to_vec();
        let notify = match &self.notify {
            Some(asked) if asked.said.is_empty() => return None,
            Some(asked) => Some(Notify { said: asked.said.clone(), utf8: asked.utf8 }),
            None => None,
        };
        let folder = match &self.folder {
            Some(open) => Some(Folder::of(open)?),
            None => None,
        };
        let tls = self.tls.as_deref().map(|facts| TlsWords {
            version: facts.version.clone(),
            cipher: facts.cipher.clone(),
            sni: facts.sni.clone(),
        });
        let Enabled { utf8, rev2, condstore, qresync } = self.enabled;
        let (heard, spoke, deflated) = (self.heard.0, self.spoke.0, self.deflated);
        Some(Parcel {
            idle,
            heard,
            spoke,
            tls,
            deflated,
            utf8,
            rev2,
            condstore,
            qresync,
            notify,
            unread,
            folder,
        })
    }

    /// A machine that goes on where the described one stopped. It greets nobody; what happened in
    /// the selected folder meanwhile it asks for and tells as it tells other news. What other
    /// watched folders did meanwhile cannot be known, so their counters are told.
    pub fn resume(
        settings: Arc<Settings>,
        session: SessionId,
        who: Box<Welcome>,
        parcel: Parcel,
    ) -> Result<Server, &'static str> {
        let mut server = Server::new(settings, session);
        let Parcel { idle, heard, spoke, tls, deflated, notify, unread, folder, .. } = parcel;
        let Parcel { utf8, rev2, condstore, qresync, .. } = parcel;
        server.who = Some(who);
        server.enabled = Enabled { utf8, rev2, condstore, qresync };
        server.tls = tls.map(|words| Box::new(words.facts()));
        server.deflated = deflated;
        (server.heard, server.spoke) = (Now(heard), Now(spoke));
        server.folder = folder.map(|folder| Box::new(folder.open()));
        server.dirty = server.folder.is_some();
        server.reader.limit = COMMAND_MAX;
        server.reader.received(&unread);
        server.resume_idle(idle);
        if let Some(notify) = notify {
            server.ask_notify_again(notify)?;
        }
        Ok(server)
    }

    fn ask_notify_again(&mut self, Notify { said, utf8 }: Notify) -> Result<(), &'static str> {
        let Ok(Command { verb: Verb::Notify(Some(mut spec)), .. }) = grammar::parse(&said, utf8) else {
            return Err("what the client wants to hear of is not understood");
        };
        self.notify = Some(Box::new(Asked { spec: (*spec).clone(), said, utf8 }));
        spec.status = true;
        let idle = match std::mem::replace(&mut self.job, Job::None) {
            Job::Idle(tag) => Some(tag),
            _ => None,
        };
        self.ask(Ask::Notify(Some(spec)), Job::News(idle));
        Ok(())
    }
}
