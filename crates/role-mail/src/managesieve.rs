//! The ManageSieve desk: an account's scripts, kept by the directory.
//!
//! Begin with [`serve`].

use std::sync::Arc;

use directory::{AccountId, Changed, NoScript, Scope};
use drive::Wires;
use sieve::manage::{Answer, Ask, Refusal, Server, Settings};
use stdx::TlsFacts;
use store::{Batch, StoreError};
use world::Connection;

use crate::login::Login;
use crate::{Arrival, Site};

/// Runs one ManageSieve session.
pub async fn serve(site: Site, arrival: Arrival, connection: Connection, wires: Wires) {
    let login = Box::new(Login::new(site.clone(), &arrival, Scope::Sieve));
    let settings = Settings {
        starttls: arrival.tls_offered && !arrival.implicit_tls,
        offer: login.offer(),
        ..Settings::default()
    };
    let machine = Server::new(Arc::new(settings), arrival.id);
    let end = drive::run(machine, Desk { site: site.clone(), login }, connection, wires).await;
    crate::login::shaken::ended(&site, &arrival, &end.why);
}

/// One session's desk.
pub struct Desk {
    site: Site,
    login: Box<Login>,
}

impl Desk {
    pub fn new(site: Site, arrival: &Arrival) -> Desk {
        let login = Box::new(Login::new(site.clone(), arrival, Scope::Sieve));
        Desk { site, login }
    }

    fn read<T>(
        &self,
        f: impl FnOnce(&store::rusqlite::Connection, AccountId) -> Result<T, StoreError>,
    ) -> Result<T, Refusal> {
        let account = self.login.granted().map(|g| g.account).ok_or(Refusal::TryLater)?;
        self.site.store().glance(|conn| f(conn, account)).map_err(|e| later(&e))
    }

    async fn change(
        &self,
        f: impl FnOnce(&mut Batch<'_>, AccountId) -> Changed + std::marker::Send + 'static,
    ) -> Result<Answer, Refusal> {
        let account = self.login.granted().map(|g| g.account).ok_or(Refusal::TryLater)?;
        let changed = self.site.store().commit(Vec::new(), move |batch| f(batch, account)).await;
        match changed {
            Ok(Ok(())) => Ok(Answer::Done),
            Ok(Err(why)) => Err(refusal(why)),
            Err(error) => Err(later(&error)),
        }
    }

    async fn work(&mut self, ask: Ask) -> Result<Answer, Refusal> {
        let now = self.site.now();
        match ask {
            Ask::Sasl(question) => Ok(Answer::Sasl(self.login.answer(question).await)),
            Ask::Enter => Ok(Answer::Done),
            Ask::Forget => {
                self.login.forget();
                Ok(Answer::Done)
            }
            Ask::HaveSpace { name, size } => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                match self.read(|conn, account| directory::script_fits(conn, account, &name, size))? {
                    Ok(()) => Ok(Answer::Done),
                    Err(why) => Err(refusal(why)),
                }
            }
            Ask::Put { name, script } => {
                self.change(move |b, account| directory::put_script(b, account, &name, &script, now)).await
            }
            Ask::List => self.read(directory::scripts).map(Answer::Scripts),
            Ask::SetActive { name } => {
                self.change(move |b, account| directory::set_active_script(b, account, name.as_deref())).await
            }
            Ask::Get { name } => {
                let found = self.read(|conn, account| directory::script(conn, account, &name))?;
                found.map(Answer::Script).ok_or(Refusal::NonExistent)
            }
            Ask::Delete { name } => {
                self.change(move |b, account| directory::remove_script(b, account, &name)).await
            }
            Ask::Rename { from, to } => {
                self.change(move |b, account| directory::rename_script(b, account, &from, &to)).await
            }
        }
    }
}

impl drive::Desk for Desk {
    type M = Server;

    async fn answer(&mut self, ask: Ask) -> Answer {
        self.work(ask).await.unwrap_or_else(Answer::Refused)
    }

    fn tls_started(&mut self, facts: &TlsFacts) {
        self.login.tls_started(facts);
    }
}

fn refusal(why: NoScript) -> Refusal {
    match why {
        NoScript::NonExistent => Refusal::NonExistent,
        NoScript::AlreadyExists => Refusal::AlreadyExists,
        NoScript::Active => Refusal::Active,
        NoScript::TooMany => Refusal::TooMany,
        NoScript::TooLarge => Refusal::TooLarge,
    }
}

fn later(error: &StoreError) -> Refusal {
    tracing::warn!(%error, "the store failed a ManageSieve session");
    Refusal::TryLater
}
