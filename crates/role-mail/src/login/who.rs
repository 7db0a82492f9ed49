//! Who a user name means, and what that account can log in with.

use directory::{Account, Credential, CredentialId, Kind};
use sasl::{Hash, Keys, password};
use stdx::{Now, Secret};
use store::StoreError;
use store::rusqlite::Connection;

/// Domains looked through for a user name without one.
const DOMAINS_MAX: usize = 2000;

/// A way in which a user name is not written as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    NoDomain,
    Capitals,
}

impl Oddity {
    pub fn name(self) -> &'static str {
        match self {
            Oddity::NoDomain => "no_domain",
            Oddity::Capitals => "capitals",
        }
    }
}

/// An account that was found, and how.
pub struct Found {
    pub account: Account,
    pub credentials: Vec<Credential>,
    pub oddities: Vec<Oddity>,
}

/// One stored text of a credential.
pub struct Text {
    pub credential: CredentialId,
    pub kind: Kind,
    pub text: Secret<String>,
}

/// Finds the account in every tolerable spelling; whether that spelling is tolerated is decided
/// once the password is known to be right, so that only the owner is told.
pub fn find(conn: &Connection, user: &str, now: Now) -> Result<Option<Found>, StoreError> {
    let user = user.trim();
    let local = user.rsplit_once('@').map_or(user, |(local, _)| local);
    let mut oddities = Vec::new();
    if local.chars().any(char::is_uppercase) {
        oddities.push(Oddity::Capitals);
    }
    let mut account = directory::account_by_login(conn, user)?;
    if account.is_none() && !user.contains('@') && !user.is_empty() {
        oddities.push(Oddity::NoDomain);
        account = without_domain(conn, user)?;
    }
    let Some(account) = account else { return Ok(None) };
    let mut credentials = directory::credentials_of(conn, account.id)?;
    credentials.retain(|c| c.ends.is_none_or(|end| end > now));
    Ok(Some(Found { account, credentials, oddities }))
}

/// The one account of this name in all our domains.
fn without_domain(conn: &Connection, user: &str) -> Result<Option<Account>, StoreError> {
    let mut found: Option<Account> = None;
    for domain in directory::domains(conn)?.into_iter().filter(|d| d.alias_of.is_none()).take(DOMAINS_MAX) {
        if let Some(account) = directory::account_by_login(conn, &format!("{user}@{}", domain.name))? {
            if found.as_ref().is_some_and(|other| other.id != account.id) {
                return Ok(None);
            }
            found = Some(account);
        }
    }
    Ok(found)
}

impl Found {
    fn texts(&self) -> impl Iterator<Item = Text> {
        self.credentials.iter().flat_map(|c| {
            c.hash.reveal().lines().map(|line| Text {
                credential: c.id,
                kind: c.kind,
                text: Secret::new(line.to_owned()),
            })
        })
    }

    /// The texts a shown password is compared with: SCRAM keys only where there is nothing else
    /// of the same kind.
    pub fn for_password(&self) -> Vec<Text> {
        let is_scram = |t: &Text| t.text.reveal().starts_with("{SCRAM-");
        let all: Vec<Text> = self.texts().collect();
        let has_other = |kind: Kind| all.iter().any(|t| t.kind == kind && !is_scram(t));
        let (password, app) = (has_other(Kind::Password), has_other(Kind::App));
        let covered = |t: &Text| if t.kind == Kind::Password { password } else { app };
        all.into_iter().filter(|t| !is_scram(t) || !covered(t)).collect()
    }

    /// SCRAM keys of all passwords that share the first one's salt, and whose they are.
    pub fn for_scram(&self, hash: Hash) -> Vec<(CredentialId, Keys)> {
        let mut all: Vec<(CredentialId, Keys)> = Vec::new();
        for text in self.texts() {
            if let Some(keys) = password::scram_keys(text.text.reveal(), hash)
                && all.first().is_none_or(|(_, k)| k.salt == keys.salt && k.iterations == keys.iterations)
            {
                all.push((text.credential, keys));
            }
        }
        all
    }

    /// The salt new SCRAM keys of this account should have.
    pub fn scram_salt(&self) -> Option<Vec<u8>> {
        self.for_scram(Hash::Sha256).into_iter().next().map(|(_, keys)| keys.salt)
    }

    pub fn credential(&self, id: CredentialId) -> Option<&Credential> {
        self.credentials.iter().find(|c| c.id == id)
    }

    /// Whether the account's own password lacks SCRAM keys.
    pub fn lacks_keys(&self) -> bool {
        !self.texts().any(|t| {
            t.kind == Kind::Password && password::scram_keys(t.text.reveal(), Hash::Sha256).is_some()
        })
    }
}
