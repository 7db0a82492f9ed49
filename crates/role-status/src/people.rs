//! Who may speak for the provider: operators with a password, and tokens for programs and phones.
//!
//! Both are rows, so that they change at run time. Passwords are kept as slow hashes, tokens (128
//! random bits) as SHA-256.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sasl::password::{Cost, Fit, make, verify, verify_nobody};
use sha2::{Digest, Sha256};
use stdx::{Now, Span};
use store::StoreError;

use crate::Board;

/// Operators and tokens each.
const PEOPLE_MAX: i64 = 200;
/// Passwords may fail this often within [`FAILURES_WITHIN`]; then nobody logs in for a while.
const FAILURES_MAX: usize = 20;
const FAILURES_WITHIN: Span = Span::mins(10);
/// Passwords shorter than this are refused.
const PASSWORD_CHARS_MIN: usize = 10;

/// A token as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: i64,
    pub name: String,
    pub made: Now,
    pub used: Option<Now>,
}

/// When passwords failed lately.
#[derive(Default)]
pub(crate) struct Failures(Mutex<VecDeque<Now>>);

impl Failures {
    fn too_many(&self, now: Now) -> bool {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while list.front().is_some_and(|at| now.since(*at) > FAILURES_WITHIN) {
            list.pop_front();
        }
        list.len() >= FAILURES_MAX
    }
    fn add(&self, now: Now) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(now);
    }
}

fn token_hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn named(name: &str) -> Result<(), StoreError> {
    let fits = !name.is_empty() && name.chars().count() <= 60 && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(StoreError::Rule("a name has from 1 to 60 characters".into())) }
}

impl Board {
    /// Makes an operator, or gives one a new password.
    ///
    /// # Errors
    /// A bad name, a short password, too many operators, or trouble with the store.
    pub async fn set_operator(&self, name: &str, password: &str) -> Result<(), StoreError> {
        named(name)?;
        if password.chars().count() < PASSWORD_CHARS_MIN {
            return Err(StoreError::Rule(format!(
                "the password is too short: give at least {PASSWORD_CHARS_MIN} characters"
            )));
        }
        let (name, password) = (name.to_owned(), password.to_owned());
        let mut salt = [0; 16];
        self.world().random.fill(&mut salt);
        let hash = tokio::task::spawn_blocking(move || make(&password, &salt, Cost::default()))
            .await
            .map_err(|e| StoreError::Rule(format!("the password could not be kept: {e}")))?;
        self.store()
            .commit(Vec::new(), move |b| {
                let n: i64 = b.sql().query_row("SELECT count(*) FROM operator", [], |r| r.get(0))?;
                if n >= PEOPLE_MAX {
                    return Err(StoreError::Rule("there are too many operators; remove one first".into()));
                }
                b.sql().execute(
                    "INSERT INTO operator VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET hash = ?2",
                    (&name, &hash),
                )?;
                Ok(())
            })
            .await
    }

    /// # Errors
    /// Trouble with the store.
    pub async fn operators(&self) -> Result<Vec<String>, StoreError> {
        self.store()
            .read(|conn| {
                let mut query = conn.prepare_cached("SELECT name FROM operator ORDER BY name")?;
                let rows = query.query_map([], |r| r.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// True if there was one of this name; his sessions end too.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn drop_operator(&self, name: &str) -> Result<bool, StoreError> {
        self.log_out_all(name);
        let name = name.to_owned();
        self.store()
            .commit(Vec::new(), move |b| {
                Ok(b.sql().execute("DELETE FROM operator WHERE name = ?1", [&name])? == 1)
            })
            .await
    }

    /// A new token; it is told once and kept only as a hash.
    ///
    /// # Errors
    /// A bad name, too many tokens, or trouble with the store.
    pub async fn new_token(&self, name: &str) -> Result<String, StoreError> {
        named(name)?;
        let token = format!("pst_{}", self.token());
        let (name, hash, now) = (name.to_owned(), token_hash(&token), self.now());
        self.store()
            .commit(Vec::new(), move |b| {
                let n: i64 = b.sql().query_row("SELECT count(*) FROM token", [], |r| r.get(0))?;
                if n >= PEOPLE_MAX {
                    return Err(StoreError::Rule("there are too many tokens; remove one first".into()));
                }
                b.sql().execute(
                    "INSERT INTO token (name, hash, made) VALUES (?1, ?2, ?3)",
                    (&name, &hash, now.ms() as i64),
                )?;
                Ok(())
            })
            .await?;
        Ok(token)
    }

    /// # Errors
    /// Trouble with the store.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.store()
            .read(|conn| {
                let mut query = conn.prepare_cached("SELECT id, name, made, used FROM token ORDER BY id")?;
                let rows = query.query_map([], |r| {
                    let used: Option<i64> = r.get(3)?;
                    let made = Now(r.get::<_, i64>(2)? as u64);
                    Ok(Token { id: r.get(0)?, name: r.get(1)?, made, used: used.map(|t| Now(t as u64)) })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// True if there was one.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn drop_token(&self, id: i64) -> Result<bool, StoreError> {
        self.store()
            .commit(Vec::new(), move |b| Ok(b.sql().execute("DELETE FROM token WHERE id = ?1", [id])? == 1))
            .await
    }

    /// Whose token this is. Its use is noted.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn token_owner(&self, token: &str) -> Result<Option<String>, StoreError> {
        let (hash, now) = (token_hash(token), self.now());
        let known = hash.clone();
        let name: Option<String> = self
            .store()
            .read(move |conn| {
                let mut query = conn.prepare_cached("SELECT name FROM token WHERE hash = ?1")?;
                Ok(query.query_map([&known], |r| r.get(0))?.next().transpose()?)
            })
            .await?;
        if name.is_some() {
            self.store()
                .commit(Vec::new(), move |b| {
                    b.sql()
                        .execute("UPDATE token SET used = ?2 WHERE hash = ?1", (&hash, now.ms() as i64))?;
                    Ok(())
                })
                .await?;
        }
        Ok(name)
    }

    /// Whether name and password fit. Slow on purpose, on a thread that serves nobody else; a name
    /// that is not known takes as long.
    pub(crate) async fn is_operator(&self, name: &str, password: &str) -> bool {
        if self.failures().too_many(self.now()) {
            return false;
        }
        let asked = name.to_owned();
        let hash: Option<String> = self
            .store()
            .read(move |conn| {
                let mut query = conn.prepare_cached("SELECT hash FROM operator WHERE name = ?1")?;
                Ok(query.query_map([&asked], |r| r.get(0))?.next().transpose()?)
            })
            .await
            .unwrap_or_default();
        let password = password.to_owned();
        let check = move || match hash {
            Some(hash) => matches!(verify(&hash, &password, Cost::default()), Fit::Yes { .. }),
            None => {
                verify_nobody(&password, Cost::default());
                false
            }
        };
        let fits = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        if !fits {
            self.failures().add(self.now());
        }
        fits
    }
}
