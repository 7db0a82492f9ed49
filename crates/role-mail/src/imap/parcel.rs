//! What an IMAP session is, in words that another process understands.
//!
//! What it is: the machine's parcel with what the desk knows beside it: who logged in, from where,
//! which folder is open. Written as JSON; values that are not there have their defaults. What it is
//! not: the folder's contents, which the next process reads itself. Begin with [`Desk::reopen`].

use std::net::SocketAddr;

use ::imap::Server;
use ::imap::ask::{Answer, Code, Refusal, Welcome};
use directory::{AccountId, Scopes, State};
use mailbox::flags::Keywords as Table;
use mailbox::{FolderId, acl, folder};
use serde::{Deserialize, Serialize};
use stdx::Now;
use words::SessionId;

use super::{Desk, select, translate};
use crate::crossing::{KIND, PARCEL_MAX};
use crate::login::Granted;
use crate::{Arrival, Front};

/// See the module text.
#[derive(Serialize, Deserialize)]
pub(crate) struct Parcel {
    kind: u32,
    session: u64,
    peer: SocketAddr,
    local: SocketAddr,
    implicit_tls: bool,
    tls_offered: bool,
    at: u64,
    account: i64,
    login: String,
    #[serde(default)]
    label: String,
    scopes: String,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    folder: Option<Selected>,
    machine: ::imap::Parcel,
}

/// The open folder, by what does not change when it is renamed.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Selected {
    id: i64,
    uidvalidity: u32,
}

impl Parcel {
    pub fn read(bytes: &[u8]) -> Result<Parcel, String> {
        let parcel: Parcel = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        match parcel.kind == KIND && parcel.folder.is_some() == parcel.machine.folder.is_some() {
            true => Ok(parcel),
            false => Err(format!("it is of kind {}, not {KIND}", parcel.kind)),
        }
    }
    pub fn arrival(&self) -> Arrival {
        Arrival {
            id: SessionId(self.session),
            front: Front::Imap,
            peer: self.peer,
            local: self.local,
            implicit_tls: self.implicit_tls,
            tls_offered: self.tls_offered,
            at: Now(self.at),
        }
    }
    /// There is no TLS yet, neither here nor elsewhere.
    pub fn in_the_clear(&self) -> bool {
        self.machine.tls.is_none() && self.tls_offered
    }
    pub fn machine(self) -> ::imap::Parcel {
        self.machine
    }
}

fn gone(why: &str) -> Refusal {
    Refusal::new(Code::Unavailable, why)
}

impl Desk {
    /// The session as it is, if it can go on elsewhere.
    pub(super) fn parcel(&self, machine: &Server) -> Option<Vec<u8>> {
        if self.appending.is_some() {
            return None;
        }
        let (machine, granted) = (machine.parcel()?, self.login.granted()?);
        let arrival = self.login.arrival();
        let parcel = Parcel {
            kind: KIND,
            session: arrival.id.0,
            peer: arrival.peer,
            local: arrival.local,
            implicit_tls: arrival.implicit_tls,
            tls_offered: arrival.tls_offered,
            at: arrival.at.0,
            account: granted.account.0,
            login: granted.login.clone(),
            label: granted.label.clone(),
            scopes: granted.scopes.to_string(),
            client: self.login.says().map(str::to_owned),
            folder: self
                .open
                .as_ref()
                .map(|open| Selected { id: open.folder.id.0, uidvalidity: open.folder.uidvalidity }),
            machine,
        };
        let bytes = serde_json::to_vec(&parcel).ok()?;
        (parcel.folder.is_some() == parcel.machine.folder.is_some() && bytes.len() <= PARCEL_MAX)
            .then_some(bytes)
    }

    /// The desk of a session that began elsewhere: who it is, if the account is still open, and its
    /// folder, if it is still the same.
    pub(super) async fn take_over(&mut self, parcel: &Parcel) -> Result<Box<Welcome>, Refusal> {
        let account = AccountId(parcel.account);
        let scopes = Scopes::parse(&parcel.scopes).map_err(translate::refusal)?;
        let granted = Granted { account, login: parcel.login.clone(), label: parcel.label.clone(), scopes };
        self.login.go_on(granted, parcel.client.as_deref(), parcel.machine.tls.as_ref().map(|t| t.facts()));
        let found = self.store().glance(|conn| directory::account(conn, account));
        if !found.map_err(translate::refusal)?.is_some_and(|a| a.state == State::Open) {
            return Err(gone("This account is no longer open"));
        }
        let Answer::Welcome(welcome) = self.enter().await? else {
            return Err(gone("Nobody is logged in"));
        };
        if let (Some(selected), Some(known)) = (parcel.folder, &parcel.machine.folder) {
            let told = Told { uidnext: known.top.saturating_add(1), modseq: known.modseq };
            self.reopen(selected, told, known.read_only).await?;
        }
        Ok(welcome)
    }

    async fn reopen(&mut self, selected: Selected, at: Told, read_only: bool) -> Result<(), Refusal> {
        let (who, id) = (self.who()?.clone(), FolderId(selected.id));
        let look = |conn: &store::rusqlite::Connection| {
            let Some(folder) = folder::by_id(conn, id)? else { return Ok(None) };
            let rights = match folder.account == who.account {
                true => acl::ALL.to_owned(),
                false => acl::rights(conn, &folder, who.account, &who.names)?,
            };
            let table = Table::of(conn, folder.account)?;
            let told = folder::told(conn, id)?;
            Ok(Some((folder, rights, table, told)))
        };
        let found = self.store().glance(look).map_err(translate::refusal)?;
        let (folder, rights, table, told) = match found {
            Some(found) if found.0.uidvalidity == selected.uidvalidity && found.1.contains('r') => found,
            _ => return Err(gone("The selected folder is no longer there")),
        };
        let (feed, view) =
            self.hub().follow(self.store(), &folder, self.site.now()).await.map_err(translate::refusal)?;
        if view.modseq < at.modseq || view.uidnext < at.uidnext {
            return Err(gone("The selected folder is not what it was"));
        }
        let read_only = read_only || !rights.contains(['s', 't', 'w', 'e', 'i']);
        if !read_only {
            // Not for an answer: so that the hub knows what this session was told.
            self.hub().tell(id, told, at.uidnext);
        }
        let behind = view.modseq > at.modseq;
        let open = select::Open::at(folder, feed, (rights, read_only), self.store().clone());
        self.open = Some(Box::new(open.knowing(&table).told(at.uidnext, told, behind)));
        Ok(())
    }
}

/// How far the session was told of its folder.
struct Told {
    uidnext: u32,
    modseq: u64,
}
