//! The IMAP desk: answers the machine's questions from the mailbox keeper.
//!
//! What it is: per session, who logged in and which folder is open; names of other people's
//! folders; the translation between the machine's values and the keeper's. What it is not: a
//! rule of IMAP (the engine's) or of storage (the keeper's).
//! Begin with [`Desk`]; [`tend`] is the background work of all mailboxes.

mod append;
mod binary;
mod change;
mod extra;
mod fetch;
mod folders;
mod notify;
pub(crate) mod parcel;
mod search;
mod sections;
mod select;
mod translate;

use std::sync::Arc;

use ::imap::ask::{Answer, Ask, Code, Notice, Refusal, Welcome};
use ::imap::server::{Server, Settings};
use directory::{AccountId, Scope};
use drive::Wires;
use mailbox::append::Quota;
use mailbox::{Hub, Pen, folder};
use stdx::{Span, TlsFacts};
use store::Store;
use world::Connection;

use crate::crossing::Crossing;
use crate::login::Login;
use crate::{Arrival, Site};

/// Runs one IMAP session.
pub async fn serve(site: Site, arrival: Arrival, connection: Connection, wires: Wires) {
    let desk = Desk::new(site.clone(), &arrival);
    let machine = Server::new(desk.settings(&arrival), arrival.id);
    let end = drive::run(machine, desk, connection, wires).await;
    crate::login::shaken::ended(&site, &arrival, &end.why);
}

/// Goes on with a session that began in another process. If the host stops before that is done, the
/// session, as it was `written`, waits for the next one.
pub(crate) async fn resume(
    site: Site,
    (parcel, written): (parcel::Parcel, Vec<u8>),
    connection: Connection,
    wires: Wires,
) {
    let arrival = parcel.arrival();
    let mut desk = Desk::new(site.clone(), &arrival);
    let settings = desk.settings(&arrival);
    let machine = match drive::until_stop(&wires.stop, desk.take_over(&parcel)).await {
        Some(Ok(welcome)) => {
            Server::resume(settings, arrival.id, welcome, parcel.machine()).map_err(str::to_owned)
        }
        Some(Err(refusal)) => Err(refusal.text),
        None => {
            let crossing = Crossing { parcel: written, stream: connection.stream };
            if let Err(Crossing { stream, .. }) = site.quay().board(crossing) {
                crate::crossing::farewell(&*site.world().clock, stream, crate::crossing::STOPPING).await;
            }
            return;
        }
    };
    drop(written);
    match machine {
        Ok(machine) => drop(drive::run(machine, desk, connection, wires).await),
        Err(why) => {
            let why = format!("{why}; connect again {}", arrival.id.tagged());
            crate::crossing::farewell(&*site.world().clock, connection.stream, &why).await;
        }
    }
}

/// Pauses between the rounds of [`tend`].
const TEND_EVERY: Span = Span::ms(250);
/// Rounds between two looks at the text index, and between two sweeps of the hub.
const INDEX_ROUNDS: u64 = 4;
const SWEEP_ROUNDS: u64 = 20;

/// The background work of all mailboxes, until the host stops: summaries, text index, memory.
pub async fn tend(site: Site, stop: drive::Stop) {
    let (store, hub) = (site.store().clone(), site.hub().clone());
    drive::until_stop(&stop, async move {
        let mut failing = false;
        for round in 1u64.. {
            site.world().clock.sleep_until(site.now() + TEND_EVERY).await;
            let mut done = mailbox::digest::tend(&store, &hub).await;
            if done.is_ok() && round.is_multiple_of(INDEX_ROUNDS) {
                done = mailbox::text::tend(&store, &hub).await;
            }
            // Said once, not four times a second.
            match &done {
                Err(error) if !failing => {
                    tracing::warn!(%error, "summaries or text index cannot be written; they are made when needed");
                }
                _ => {}
            }
            failing = done.is_err();
            if round.is_multiple_of(SWEEP_ROUNDS) {
                hub.sweep(site.now());
            }
        }
    })
    .await;
}

/// Who logged in.
#[derive(Clone)]
pub(crate) struct Who {
    pub account: AccountId,
    /// What access lists call them.
    pub names: Vec<String>,
}

/// What an account may hold now: looked up for every change, since the operator may have changed it
/// while the session was open.
fn quota_of(conn: &store::rusqlite::Connection, account: AccountId) -> Result<Quota, store::StoreError> {
    let bytes = directory::account(conn, account)?.and_then(|a| a.quota).map(|q| q.get());
    Ok(Quota { bytes, messages: None })
}

/// One session's desk.
pub struct Desk {
    site: Site,
    /// How change notices know the session's own changes.
    number: u64,
    login: Box<Login>,
    who: Option<Box<Who>>,
    open: Option<Box<select::Open>>,
    appending: Option<Box<append::Appending>>,
    watch: Option<Box<notify::Watch>>,
}

type Said = Result<Answer, Refusal>;

impl Desk {
    pub fn new(site: Site, arrival: &Arrival) -> Desk {
        let login = Box::new(Login::new(site.clone(), arrival, Scope::Imap));
        Desk { site, number: arrival.id.0, login, who: None, open: None, appending: None, watch: None }
    }
    fn settings(&self, arrival: &Arrival) -> Arc<Settings> {
        let host = self.site.settings();
        Arc::new(Settings {
            host: host.host_name.clone(),
            starttls: arrival.tls_offered && !arrival.implicit_tls,
            offer: self.login.offer(),
            append_limit: host.message_size_max.get(),
            ..Settings::default()
        })
    }
    fn store(&self) -> &Store {
        self.site.store()
    }
    fn hub(&self) -> &Hub {
        self.site.hub()
    }
    /// For changes; one that adds messages sets the quota of the account they go to.
    fn pen(&self) -> Pen {
        Pen { hub: self.hub().clone(), session: self.number, now: self.site.now(), quota: Quota::default() }
    }
    fn who(&self) -> Result<&Who, Refusal> {
        self.who.as_deref().ok_or_else(|| Refusal::new(Code::ClientBug, "Log in first"))
    }
    fn open(&mut self) -> Result<&mut select::Open, Refusal> {
        self.open.as_deref_mut().ok_or_else(|| Refusal::new(Code::ClientBug, "Select a folder first"))
    }

    async fn enter(&mut self) -> Said {
        let Some(granted) = self.login.granted() else {
            return Err(Refusal::new(Code::AuthenticationFailed, "Nobody logged in"));
        };
        let account = granted.account;
        let (login, mut names) = self
            .store()
            .read(move |conn| {
                let Some(found) = directory::account(conn, account)? else {
                    return Err(store::StoreError::rule("[UNAVAILABLE] this account was just removed"));
                };
                let names: Vec<String> =
                    directory::addresses_of(conn, account)?.iter().map(|a| a.key()).collect();
                Ok((found.login, names))
            })
            .await
            .map_err(translate::refusal)?;
        if !names.contains(&login) {
            names.push(login.clone());
        }
        let now = self.site.now();
        let missing = self.store().glance(|c| Ok(folder::find(c, account, "INBOX")?.is_none()));
        if missing.map_err(translate::refusal)? {
            let make = move |b: &mut store::Batch<'_>| folder::ensure(b, account, now);
            self.store().commit(Vec::new(), make).await.map_err(translate::refusal)?;
        }
        let welcome = Welcome {
            user: login,
            others: vec![folders::SHARED.to_owned()],
            shared: Vec::new(),
            append_limit: Some(self.site.settings().message_size_max.get()),
        };
        self.who = Some(Box::new(Who { account, names }));
        Ok(Answer::Welcome(Box::new(welcome)))
    }

    fn forget(&mut self) -> Said {
        (self.who, self.open, self.appending, self.watch) = (None, None, None, None);
        self.login.forget();
        Ok(Answer::Done)
    }

    async fn say(&mut self, ask: Ask) -> Said {
        match ask {
            Ask::Sasl(question) => Ok(Answer::Sasl(Box::pin(self.login.answer(question)).await)),
            Ask::Enter => self.enter().await,
            Ask::Forget => self.forget(),
            Ask::Id(pairs) => {
                let said: Vec<String> =
                    pairs.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={v}"))).collect();
                self.login.client(&said.join(" "));
                Ok(Answer::Done)
            }
            Ask::Select { folder, read_only } => self.select(folder, read_only).await,
            Ask::Unselect => {
                self.open = None;
                Ok(Answer::Done)
            }
            Ask::Folders => self.folders().await,
            Ask::Create { folder, special_use } => self.create(folder, &special_use).await,
            Ask::Delete { folder } => self.delete(folder).await,
            Ask::Rename { from, to } => self.rename(from, to).await,
            Ask::Subscribe { folder, on } => self.subscribe(folder, on).await,
            Ask::Status { folders, items } => self.status(folders, items).await,
            Ask::AppendMessage(message) => self.append_message(*message).await,
            Ask::AppendBytes { bytes, last } => self.append_bytes(&bytes, last).await,
            Ask::AppendCommit { replace } => self.append_commit(replace).await,
            Ask::AppendAbort => {
                self.appending = None;
                Ok(Answer::Done)
            }
            other => self.say_of_selected(other).await,
        }
    }

    async fn say_of_selected(&mut self, ask: Ask) -> Said {
        match ask {
            Ask::Sync { since } => self.sync(since).await,
            Ask::Fetch(ask) => self.fetch(ask).await,
            Ask::Body { body, offset, len } => self.body(body, offset, len).await,
            Ask::Vanished { uids, since } => self.vanished(&uids, since).await,
            Ask::Store(ask) => self.mark(*ask).await,
            Ask::Copy { uids, to, remove } => self.copy(&uids, to, remove).await,
            Ask::Expunge { uids } => self.expunge(uids.as_ref()).await,
            Ask::Search(ask) => self.search(*ask).await,
            Ask::Quota { root } => self.quota(&root).await,
            Ask::QuotaRoots { folder } => self.quota_roots(folder).await,
            Ask::GetMetadata { folder, entries, depth } => self.get_metadata(folder, &entries, depth).await,
            Ask::SetMetadata { folder, entries } => self.set_metadata(folder, entries).await,
            Ask::GetAcl { folder } => self.get_acl(folder).await,
            Ask::SetAcl { folder, who, change, rights } => self.set_acl(folder, who, change, rights).await,
            Ask::ListRights { folder, who } => self.list_rights(folder, who).await,
            Ask::MyRights { folder } => self.my_rights(folder).await,
            Ask::Notify(spec) => self.set_notify(spec).await,
            _ => Err(Refusal::new(Code::ServerBug, "This question has no answer here")),
        }
    }
}

impl drive::Desk for Desk {
    type M = Server;
    async fn answer(&mut self, ask: Ask) -> Answer {
        match self.say(ask).await {
            Ok(answer) => answer,
            Err(refusal) => Answer::Refused(refusal),
        }
    }
    fn tls_started(&mut self, facts: &TlsFacts) {
        self.login.tls_started(facts);
    }
    fn leave(&mut self, machine: &Server) -> Option<drive::Takes> {
        if !self.site.quay().has_room() {
            return None;
        }
        let (parcel, site) = (self.parcel(machine)?, self.site.clone());
        Some(Box::new(move |stream| drop(site.quay().board(Crossing { parcel, stream }))))
    }
    async fn notice(&mut self) -> Notice {
        notify::next(self.open.as_deref_mut(), self.watch.as_deref_mut()).await
    }
}
