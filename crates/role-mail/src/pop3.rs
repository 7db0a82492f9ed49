//! The POP3 desk: a maildrop is INBOX as it was at log-in.
//!
//! Begin with [`Desk`]. Texts are read ahead in bulk as the machine asks for them; QUIT expunges
//! in one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ::pop3::{Answer, Ask, Entry, Maildrop, Refusal, Server, Settings};
use bytes::Bytes;
use directory::{AccountId, Scope};
use drive::Wires;
use mailbox::{Folder, Pen, UidSet, change, folder};
use stdx::TlsFacts;
use store::{BodyId, StoreError};
use world::Connection;

use crate::login::Login;
use crate::{Arrival, Site};

/// Runs one POP3 session.
pub async fn serve(site: Site, arrival: Arrival, connection: Connection, wires: Wires) {
    let host = site.settings();
    let desk = Desk::new(site.clone(), &arrival);
    let settings = Settings {
        host: host.host_name.clone(),
        starttls: arrival.tls_offered && !arrival.implicit_tls,
        offer: desk.login.offer(),
        ..Settings::default()
    };
    let machine = Server::new(Arc::new(settings), arrival.id);
    let end = drive::run(machine, desk, connection, wires).await;
    crate::login::shaken::ended(&site, &arrival, &end.why);
}

/// Maildrops that a session holds (RFC 1939 §4: one session at a time).
#[derive(Clone, Default)]
pub struct Locks(Arc<Mutex<BTreeSet<AccountId>>>);

impl Locks {
    fn take(&self, account: AccountId) -> Option<Lock> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(account).then(|| Lock { locks: self.clone(), account })
    }
}

/// One held maildrop; dropping it lets it go.
struct Lock {
    locks: Locks,
    account: AccountId,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
    }
}

/// One session's desk.
pub struct Desk {
    site: Site,
    number: u64,
    login: Box<Login>,
    drop: Option<Box<Held>>,
}

struct Held {
    _lock: Lock,
    inbox: Folder,
    bodies: BTreeMap<u32, BodyId>,
}

impl Desk {
    pub fn new(site: Site, arrival: &Arrival) -> Desk {
        let login = Box::new(Login::new(site.clone(), arrival, Scope::Pop3));
        Desk { site, number: arrival.id.0, login, drop: None }
    }

    async fn enter(&mut self) -> Result<Answer, Refusal> {
        let Some(account) = self.login.granted().map(|g| g.account) else { return Err(Refusal::Unavailable) };
        let lock = self.site.pop3_locks().take(account).ok_or(Refusal::InUse)?;
        let (store, now) = (self.site.store().clone(), self.site.now());
        let found = store.glance(|conn| folder::find(conn, account, "INBOX")).map_err(unavailable)?;
        let inbox = match found {
            Some(inbox) => inbox,
            None => {
                let make = move |batch: &mut store::Batch<'_>| folder::ensure(batch, account, now);
                store.commit(Vec::new(), make).await.map_err(unavailable)?
            }
        };
        let view = self.site.hub().view(&store, &inbox, now).await.map_err(unavailable)?;
        let entry = |row: &mailbox::Row| Entry { uid: row.uid, size: u64::from(row.size), uidl: None };
        let drop = Maildrop { validity: view.uidvalidity, entries: view.rows().iter().map(entry).collect() };
        let bodies = view.rows().iter().map(|row| (row.uid, row.body)).collect();
        self.drop = Some(Box::new(Held { _lock: lock, inbox, bodies }));
        Ok(Answer::Drop(drop))
    }

    async fn texts(&self, uids: &[u32]) -> Result<Answer, Refusal> {
        let held = self.drop.as_ref().ok_or(Refusal::Unavailable)?;
        let known: Vec<Option<BodyId>> = uids.iter().map(|uid| held.bodies.get(uid).copied()).collect();
        let ids: Vec<BodyId> = known.iter().flatten().copied().collect();
        let mut bodies = self.site.store().bodies(&ids).map_err(unavailable)?.into_iter();
        let mut texts = Vec::with_capacity(uids.len());
        for id in known {
            texts.push(match id.and_then(|_| bodies.next()).flatten() {
                Some(body) => Some(body.all().await.map_err(unavailable)?),
                None => None,
            });
        }
        Ok(Answer::Texts(texts))
    }

    async fn piece(&self, uid: u32, offset: u64, len: usize) -> Result<Answer, Refusal> {
        let held = self.drop.as_ref().ok_or(Refusal::Unavailable)?;
        match held.bodies.get(&uid) {
            Some(&body) => Ok(Answer::Piece(self.read(body, offset, len).await?)),
            None => Ok(Answer::Piece(None)),
        }
    }

    async fn read(&self, body: BodyId, offset: u64, len: usize) -> Result<Option<Bytes>, Refusal> {
        let read = match self.site.store().body(body).await {
            Ok(body) => body.read_at(offset, len.min(body.len() as usize)).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing(_)) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn quit(&mut self, delete: Vec<u32>) -> Result<Answer, Refusal> {
        let Some(held) = self.drop.take() else { return Ok(Answer::Done) };
        if delete.is_empty() {
            return Ok(Answer::Done);
        }
        let mut pen = Pen::of_delivery(self.site.hub().clone(), self.site.now());
        pen.session = self.number;
        let inbox = held.inbox.clone();
        let purge =
            move |batch: &mut store::Batch<'_>| change::purge(batch, &pen, &inbox, &UidSet::of(delete));
        self.site.store().commit(Vec::new(), purge).await.map_err(unavailable)?;
        Ok(Answer::Done)
    }
}

fn unavailable(error: StoreError) -> Refusal {
    tracing::warn!(%error, "the store failed a POP3 session");
    Refusal::Unavailable
}

impl drive::Desk for Desk {
    type M = Server;
    fn tls_started(&mut self, facts: &TlsFacts) {
        self.login.tls_started(facts);
    }
    async fn answer(&mut self, ask: Ask) -> Answer {
        let said = match ask {
            Ask::Sasl(question) => return Answer::Sasl(Box::pin(self.login.answer(question)).await),
            Ask::Enter => self.enter().await,
            Ask::Texts { uids } => self.texts(&uids).await,
            Ask::Piece { uid, offset, len } => self.piece(uid, offset, len).await,
            Ask::Quit { delete } => self.quit(delete).await,
        };
        said.unwrap_or_else(Answer::Refused)
    }
}
