//! The one place where every front logs in.
//!
//! What it is: the answer to [`sasl::Question`]s: facts from the directory, passwords checked on
//! blocking threads, guessers slowed, old hashes replaced, every try recorded. What it is not: a
//! protocol. Begin with [`Login::answer`].

mod hashing;
pub mod shaken;
mod throttle;
mod who;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use directory::{Credential, CredentialId, Kind, NewCredential, Scope, Scopes, State};
use ledger::Fact;
use sasl::{Answer, Failure, Keys, Offer, Question, password};
use stdx::{Now, Secret, Span, TlsFacts};
use store::StoreError;
use words::{AccountId, Address};
use world::Random;

use crate::{Arrival, Site, gate};
use hashing::Hashing;
use throttle::{Gate, Throttle};
use who::{Found, Oddity};

/// The directory's knob that holds the secret from which salts for nobody are made.
const SECRET: &str = "login.secret";
/// Whether every account has SCRAM keys is looked up again after this long.
const SCRAM_LOOK_MS: u64 = 60_000;

/// What all log-ins of this host share. Belongs to the [`Site`].
pub struct Logins {
    throttle: Mutex<Throttle>,
    hashing: Hashing,
    secret: OnceLock<Vec<u8>>,
    /// When it was looked up, and whether SCRAM can be offered.
    scram: Mutex<(Now, bool)>,
}

impl Logins {
    pub fn new(random: &dyn Random) -> Logins {
        let mut key = [0; 32];
        random.fill(&mut key);
        Logins {
            throttle: Mutex::default(),
            hashing: Hashing::new(key),
            secret: OnceLock::new(),
            scram: Mutex::new((Now(0), false)),
        }
    }
}

/// Who is logged in.
#[derive(Clone, Debug)]
pub struct Granted {
    pub account: AccountId,
    /// The account's first address, as a key.
    pub login: String,
    /// The app password's label; empty for the account's own password.
    pub label: String,
    pub scopes: Scopes,
}

/// The log-in of one session.
pub struct Login {
    site: Site,
    arrival: Box<Arrival>,
    scope: Scope,
    tls: Option<Box<TlsFacts>>,
    client: Option<Box<str>>,
    /// The user a SCRAM exchange is about, between its two questions.
    scram: Option<Box<(Option<Found>, Vec<CredentialId>)>>,
    granted: Option<Box<Granted>>,
}

/// One try, as far as it got.
struct Try {
    user: String,
    acting_as: Option<String>,
    via: &'static str,
    found: Option<Found>,
    /// The credential that fits.
    right: Option<CredentialId>,
    /// For [`Throttle::wrong`].
    mark: u64,
    /// When it began: a wrong answer's wait counts from here, so that the time a hash takes
    /// does not tell who exists.
    began: Now,
    /// The password, if the stored hash should be replaced by a better one.
    upgrade: Option<Secret<String>>,
}

impl Login {
    pub fn new(site: Site, arrival: &Arrival, scope: Scope) -> Login {
        let arrival = Box::new(arrival.clone());
        Login { site, arrival, scope, tls: None, client: None, scram: None, granted: None }
    }

    /// What to offer on this connection. SCRAM only if every account has keys for it: a client
    /// that prefers it would fail with a password whose old hash we can only compare.
    pub fn offer(&self) -> Offer {
        let settings = self.site.settings();
        let trusted = settings.trusts(self.arrival.peer.ip());
        let without_tls = settings.tolerance.plain_on_trusted_network && trusted;
        let (scram, plus) = (scram_for_all(&self.site), settings.list_channel_binding);
        Offer { passwords: true, scram, plus, bearer: false, without_tls }
    }

    pub fn tls_started(&mut self, facts: &TlsFacts) {
        self.tls = Some(Box::new(facts.clone()));
    }

    /// What the client says of itself (IMAP ID, the name in EHLO).
    pub fn client(&mut self, text: &str) {
        let end = text.char_indices().nth(200).map_or(text.len(), |(at, _)| at);
        self.client = Some(text[..end].into());
    }

    pub fn granted(&self) -> Option<&Granted> {
        self.granted.as_deref()
    }

    pub fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// What the client said of itself.
    pub fn says(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Goes on with a log-in that another process granted and recorded.
    pub fn go_on(&mut self, granted: Granted, client: Option<&str>, tls: Option<TlsFacts>) {
        self.granted = Some(Box::new(granted));
        self.client = client.map(Into::into);
        self.tls = tls.map(Box::new);
    }

    /// UNAUTHENTICATE.
    pub fn forget(&mut self) {
        self.granted = None;
    }

    pub async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Password { user, acting_as, password, via } => {
                self.password(user, acting_as, password, via).await
            }
            Question::Keys { user, hash } => self.keys(user, hash).await,
            Question::Proof { user, acting_as, via, right } => {
                let began = self.site.now();
                let (found, credentials) = self.scram.take().map_or((None, Vec::new()), |held| *held);
                let right = right.and_then(|i| credentials.get(i).copied()).filter(|_| found.is_some());
                // A SCRAM proof is different each time, so each wrong one counts.
                let mark = self.site.world().random.next_u64() | 1;
                self.settle(Try { user, acting_as, via, found, right, mark, began, upgrade: None }).await
            }
            Question::Token { user, via, .. } => {
                self.refuse(&user.unwrap_or_default(), via, None, "no_tokens", Failure::Wrong)
            }
            Question::Unencrypted { user, via } => self.not_so(user, via, "no_tls", Failure::TooWeak),
            Question::NotOffered { user, via } => {
                self.not_so(user, via, "mechanism", Failure::NotOffered(via))
            }
            Question::NotHere { user, via } => self.not_so(user, via, "port_25", Failure::NotHere),
        }
    }

    /// A log-in that is refused before a password is read.
    fn not_so(&self, user: Option<String>, via: &'static str, cause: &'static str, why: Failure) -> Answer {
        let user = user.unwrap_or_default();
        let found = self.find(&user).unwrap_or_default();
        if !self.throttle().may_record(gate::network(self.arrival.peer.ip()), self.site.now()) {
            return Answer::Refused(why);
        }
        self.refuse(&user, via, found.as_ref(), cause, why)
    }

    fn find(&self, user: &str) -> Result<Option<Found>, StoreError> {
        let now = self.site.now();
        self.site.store().glance(|conn| who::find(conn, user, now))
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.site.logins().throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits or refuses where this address, or the account, is being guessed at.
    async fn pass_gate(&self, user: &str, via: &'static str, found: Option<&Found>) -> Result<(), Answer> {
        let now = self.site.now();
        let from = gate::network(self.arrival.peer.ip());
        let gate = self.throttle().check(from, found.map(|f| f.account.id), now);
        match gate {
            Gate::Open(Span::ZERO) => Ok(()),
            Gate::Open(wait) => {
                self.site.world().clock.sleep_until(now + wait).await;
                Ok(())
            }
            Gate::Shut { first: true, .. } => {
                Err(self.refuse(user, via, found, "held_off", Failure::HeldOff))
            }
            Gate::Shut { first: false, .. } => {
                // Only counted: a flood must not fill the ledger.
                let count =
                    self.site.store().commit(vec![], move |b| ledger::count(b, "login.held_off", now, 1));
                drop(count);
                Err(Answer::Refused(Failure::HeldOff))
            }
        }
    }

    async fn password(
        &mut self,
        user: String,
        acting_as: Option<String>,
        password: Secret<String>,
        via: &'static str,
    ) -> Answer {
        let Ok(found) = self.find(&user) else {
            return self.refuse(&user, via, None, "store", Failure::Unavailable);
        };
        if let Err(refusal) = self.pass_gate(&user, via, found.as_ref()).await {
            return refusal;
        }
        let began = self.site.now();
        let texts = found.as_ref().map(Found::for_password).unwrap_or_default();
        let stored: Vec<_> = texts.iter().map(|t| t.text.clone()).collect();
        let hashing = &self.site.logins().hashing;
        let Ok(checked) = hashing.check(&user, stored, &password, self.site.now()).await else {
            return self.refuse(&user, via, found.as_ref(), "busy", Failure::Unavailable);
        };
        let mark = hashing.mark(&user, password.reveal());
        let fits = checked.and_then(|(i, old)| texts.get(i).map(|t| (t, old)));
        let lacks_keys = found.as_ref().is_some_and(Found::lacks_keys);
        let old = fits.is_some_and(|(t, old)| t.kind == Kind::Password && (old || lacks_keys));
        let right = fits.map(|(t, _)| t.credential);
        let upgrade = old.then_some(password);
        self.settle(Try { user, acting_as, via, found, right, mark, began, upgrade }).await
    }

    async fn keys(&mut self, user: String, hash: sasl::Hash) -> Answer {
        let Ok(found) = self.find(&user) else {
            return self.refuse(&user, hash.scheme(), None, "store", Failure::Unavailable);
        };
        if let Err(refusal) = self.pass_gate(&user, hash.scheme(), found.as_ref()).await {
            return refusal;
        }
        let (ids, mut keys): (Vec<_>, Vec<_>) =
            found.as_ref().map(|f| f.for_scram(hash)).unwrap_or_default().into_iter().unzip();
        if keys.is_empty() {
            let Ok(secret) = secret(&self.site).await else {
                return self.refuse(&user, hash.scheme(), found.as_ref(), "store", Failure::Unavailable);
            };
            keys.push(Keys::nobody(hash, &secret, &user.trim().to_lowercase()));
        }
        let mut nonce = [0; 18];
        self.site.world().random.fill(&mut nonce);
        self.scram = Some(Box::new((found, ids)));
        Answer::Keys { keys, nonce }
    }

    /// The credentials are right or wrong; now the rules.
    async fn settle(&mut self, tried: Try) -> Answer {
        let now = self.site.now();
        let from = gate::network(self.arrival.peer.ip());
        let found = tried.found.as_ref();
        let (Some(found), Some(right)) = (found, tried.right) else {
            let cause = if found.is_some() { "wrong_password" } else { "no_such_user" };
            let wait = self.throttle().wrong(from, found.map(|f| f.account.id), tried.mark, now);
            let answer = self.refuse(&tried.user, tried.via, found, cause, Failure::Wrong);
            self.site.world().clock.sleep_until(tried.began + wait).await;
            return answer;
        };
        let Some(credential) = found.credential(right) else {
            return self.refuse(&tried.user, tried.via, Some(found), "wrong_password", Failure::Wrong);
        };
        self.throttle().right(from, found.account.id, now);
        if let Err((cause, says)) = self.allowed(&tried, found, credential) {
            return self.refuse(&tried.user, tried.via, Some(found), cause, Failure::NotAllowed(says));
        }
        self.granted = Some(Box::new(Granted {
            account: found.account.id,
            login: found.account.login.clone(),
            label: credential.label.clone(),
            scopes: credential.scopes,
        }));
        self.record_granted(&tried, found, credential, now);
        if let Some(password) = tried.upgrade {
            replace(self.site.clone(), found, credential, password);
        }
        Answer::Granted
    }

    fn allowed(
        &self,
        tried: &Try,
        found: &Found,
        credential: &Credential,
    ) -> Result<(), (&'static str, String)> {
        let account = &found.account;
        if account.state != State::Open {
            return Err(("locked", "this account is locked; please ask your provider".into()));
        }
        if !credential.scopes.opens(self.scope) {
            let (label, scopes) = (&credential.label, credential.scopes);
            let says = format!("the password \"{label}\" opens {scopes} only, not {}", self.scope.as_str());
            return Err(("scope", says));
        }
        let tolerance = self.site.settings().tolerance;
        for oddity in &found.oddities {
            let tolerated = match oddity {
                Oddity::NoDomain => tolerance.login_without_domain,
                Oddity::Capitals => tolerance.login_in_capitals,
            };
            if !tolerated {
                let says = format!(
                    "write your user name as your whole address, in small letters: {}",
                    account.login
                );
                return Err((oddity.name(), says));
            }
        }
        let Some(other) = &tried.acting_as else { return Ok(()) };
        match self.find(other) {
            Ok(Some(same)) if same.account.id == account.id => Ok(()),
            _ => Err(("acting_as", format!("{} may not act as another user", account.login))),
        }
    }

    /// Where, how and by whom a log-in was tried: what "who would break?" is answered from.
    fn fact(&self, kind: &'static str, user: &str, via: &'static str, found: Option<&Found>) -> Fact {
        let mut fact = Fact::new(kind, self.site.now())
            .session(self.arrival.id)
            .with("front", self.arrival.front.name())
            .with("port", self.arrival.local.port())
            .with("from", self.arrival.peer.ip().to_canonical().to_string())
            .with("user", user)
            .with("via", via)
            .with("tls", self.tls.as_ref().map_or("none", |t| t.version.as_str()));
        if let Some(name) = self.tls.as_ref().and_then(|t| t.sni.as_deref()) {
            fact = fact.with("name", name);
        }
        if let Some(client) = &self.client {
            fact = fact.with("client", client.as_ref());
        }
        if let Some(found) = found {
            let names: Vec<_> = found.oddities.iter().map(|o| o.name()).collect();
            if !names.is_empty() {
                fact = fact.with("odd", names.join(" "));
            }
        }
        let address = found.map_or(user, |f| f.account.login.as_str());
        match Address::parse(address) {
            Ok(address) => fact.about(&address),
            Err(_) => fact,
        }
    }

    fn refuse(
        &self,
        user: &str,
        via: &'static str,
        found: Option<&Found>,
        cause: &'static str,
        why: Failure,
    ) -> Answer {
        let fact = self.fact("login.failed", user, via, found).with("cause", cause);
        drop(self.site.store().commit(vec![], move |b| ledger::note(b, &fact)));
        Answer::Refused(why)
    }

    /// The client need not wait for this to be durable; the commit runs on by itself.
    fn record_granted(&self, tried: &Try, found: &Found, credential: &Credential, now: Now) {
        let mut fact = self.fact("login.ok", &tried.user, tried.via, Some(found));
        if credential.kind == Kind::App {
            fact = fact.with("app_password", credential.label.as_str());
        }
        let used = credential.use_is_news(now).then_some(credential.id);
        drop(self.site.store().commit(vec![], move |b| {
            if let Some(id) = used {
                directory::used(b, id, now)?;
            }
            ledger::note(b, &fact)
        }));
    }
}

fn scram_for_all(site: &Site) -> bool {
    let now = site.now();
    let held = || site.logins().scram.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, known) = *held();
    if at != Now(0) && now.since(at).as_ms() < SCRAM_LOOK_MS {
        return known;
    }
    let lacking = site.store().glance(|conn| directory::any_password_without(conn, "{SCRAM-SHA-256}"));
    let offer = matches!(lacking, Ok(false));
    *held() = (now, offer);
    offer
}

/// The secret from which the salts of nobody are made; kept, so that they outlive a restart.
async fn secret(site: &Site) -> Result<Vec<u8>, StoreError> {
    if let Some(secret) = site.logins().secret.get() {
        return Ok(secret.clone());
    }
    let mut fresh = [0; 32];
    site.world().random.fill(&mut fresh);
    let text = site
        .store()
        .commit(vec![], move |b| match directory::knob(b.sql(), SECRET)? {
            Some(text) => Ok(text),
            None => {
                let text = sasl::encode(&fresh);
                directory::set_knob(b, SECRET, Some(&text))?;
                Ok(text)
            }
        })
        .await?;
    let secret = sasl::decode(text.as_bytes()).unwrap_or_else(|| text.into_bytes());
    Ok(site.logins().secret.get_or_init(|| secret).clone())
}

/// Replaces an old hash now that its password is at hand, unless somebody has changed it
/// meanwhile. In the background: the log-in does not wait for it, nor fail with it.
fn replace(site: Site, found: &Found, credential: &Credential, password: Secret<String>) {
    let (account, salt) = (found.account.id, found.scram_salt());
    let (id, old) = (credential.id, credential.hash.clone());
    let login = found.account.login.clone();
    let from = old.reveal().split('}').next().unwrap_or("").trim_start_matches('{').to_owned();
    tokio::spawn(async move {
        let (made, random) = (site.clone(), site.world().random.clone());
        let work = move || hashes_with(random.as_ref(), &password, salt.as_deref());
        let Ok(fresh) = made.logins().hashing.run(work).await else { return };
        let now = site.now();
        let replaced = site.store().commit(vec![], move |b| {
            let standing = directory::credentials_of(b.sql(), account)?;
            if !standing.iter().any(|c| c.id == id && c.hash == old) {
                return Ok(());
            }
            directory::set_password(b, account, &fresh, now)?;
            let mut fact = Fact::new("login.rehashed", now).with("from", from);
            if let Ok(address) = Address::parse(&login) {
                fact = fact.about(&address);
            }
            ledger::note(b, &fact).map(drop)
        });
        if let Err(e) = replaced.await {
            tracing::warn!("an old password hash could not be replaced: {e}");
        }
    });
}

fn hashes_with(random: &dyn Random, password: &Secret<String>, salt: Option<&[u8]>) -> Vec<Secret<String>> {
    let (mut argon, mut scram) = ([0; 16], [0; 16]);
    random.fill(&mut argon);
    random.fill(&mut scram);
    let all =
        password::make_all(password.reveal(), &argon, salt.unwrap_or(&scram), password::Cost::default());
    all.into_iter().map(Secret::new).collect()
}

/// What a new password is stored as, for [`directory::set_password`]. Takes a tenth of a second:
/// call it from a blocking thread, or where nobody waits.
pub fn hashes(random: &dyn Random, password: &Secret<String>) -> Vec<Secret<String>> {
    hashes_with(random, password, None)
}

/// Sets an account's password. New SCRAM keys keep the salt of the account's other keys, so that
/// its app passwords go on to work.
pub async fn set_password(
    site: &Site,
    account: AccountId,
    password: Secret<String>,
) -> Result<(), StoreError> {
    let salt = scram_salt(site, account)?;
    let random = site.world().random.clone();
    let work = move || hashes_with(random.as_ref(), &password, salt.as_deref());
    let fresh = site.logins().hashing.run(work).await.map_err(|_| busy())?;
    let now = site.now();
    site.store().commit(vec![], move |b| directory::set_password(b, account, &fresh, now)).await
}

/// Makes an app password: sixteen letters and digits, shown once.
pub async fn add_app_password(
    site: &Site,
    account: AccountId,
    label: &str,
    scopes: Scopes,
    ends: Option<Now>,
) -> Result<(CredentialId, Secret<String>), StoreError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 48];
    site.world().random.fill(&mut bytes);
    let password: String = bytes[..16].iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect();
    let password = Secret::new(password);
    let shown = password.clone();
    let salt = scram_salt(site, account)?;
    let work = move || {
        let argon: [u8; 16] = std::array::from_fn(|i| bytes[16 + i]);
        let salt = salt.unwrap_or_else(|| bytes[32..].to_vec());
        Secret::new(password::make_all_random(password.reveal(), &argon, &salt).join("\n"))
    };
    let hash = site.logins().hashing.run(work).await.map_err(|_| busy())?;
    let (label, now) = (label.to_owned(), site.now());
    let id = site.store().commit(vec![], move |b| {
        let new = NewCredential { kind: Kind::App, label: &label, hash: &hash, scopes, ends };
        directory::add_credential(b, account, &new, now)
    });
    Ok((id.await?, shown))
}

fn scram_salt(site: &Site, account: AccountId) -> Result<Option<Vec<u8>>, StoreError> {
    let credentials = site.store().glance(|conn| directory::credentials_of(conn, account))?;
    let keys = |c: &Credential| {
        c.hash.reveal().lines().find_map(|line| password::scram_keys(line, sasl::Hash::Sha256))
    };
    Ok(credentials.iter().find_map(keys).map(|k| k.salt))
}

fn busy() -> StoreError {
    StoreError::rule("too many log-ins wait to be checked; try again in a moment")
}

#[cfg(test)]
mod tests;
