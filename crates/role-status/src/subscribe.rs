//! Who wants to hear: double opt-in, one-click leave, a choice of components and kinds.
//!
//! What is due stands in the table `notice` until it has been handed on; handing on is the business
//! of whoever carries mail or web-hooks ([`Board::take_notices`], [`Board::notice_done`]).

use stdx::{Now, Span};
use store::{Batch, StoreError};

use crate::Board;

/// Subscribers taken.
const SUBSCRIBERS_MAX: i64 = 100_000;
/// An address that does not confirm is forgotten.
pub const CONFIRM_WITHIN: Span = Span::days(7);
/// A notice is tried this often, then dropped.
const TRIES_MAX: i64 = 12;

/// How a subscriber hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Mail,
    /// A stranger's: it must lead to a public address, by HTTPS.
    WebHook,
    /// The operator's own, wherever it is.
    OwnHook,
    /// The address is `endpoint p256dh auth`, as the browser gave them.
    Push,
}

impl Channel {
    pub const fn key(self) -> &'static str {
        match self {
            Channel::Mail => "mail",
            Channel::WebHook => "hook",
            Channel::OwnHook => "own-hook",
            Channel::Push => "push",
        }
    }
    pub fn from_key(key: &str) -> Option<Channel> {
        [Channel::Mail, Channel::WebHook, Channel::OwnHook, Channel::Push]
            .into_iter()
            .find(|c| c.key() == key)
    }
}

/// A notice to hand on.
#[derive(Clone, Debug)]
pub struct Notice {
    pub id: i64,
    pub channel: Channel,
    pub address: String,
    pub subject: String,
    pub text: String,
    /// For the link to leave (RFC 8058 one-click).
    pub leave: String,
    /// What web-hooks are signed with.
    pub secret: String,
}

/// A subscriber as lists show him.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Subscriber {
    pub channel: String,
    pub address: String,
    pub confirmed: bool,
    /// Separated by spaces; empty for all.
    pub components: String,
    pub kinds: String,
}

impl Board {
    /// Asks to be told. A mail address must first confirm; asking again sends the link again.
    ///
    /// # Errors
    /// A bad address, too many subscribers, or trouble with the store.
    pub async fn subscribe(
        &self,
        channel: Channel,
        address: &str,
        components: &str,
        kinds: &str,
    ) -> Result<(), StoreError> {
        let address = address.trim().to_owned();
        let good = match channel {
            Channel::Mail => words::Address::parse(&address).is_ok_and(|a| !a.domain().is_literal()),
            Channel::WebHook => address.starts_with("https://") && address.len() < 1000,
            Channel::OwnHook => web::Url::parse(&address).is_ok(),
            Channel::Push => {
                address.len() < 2000 && web::push::Subscription::parse(&address).is_ok_and(|s| s.endpoint.tls)
            }
        };
        if !good {
            return Err(StoreError::Rule(format!(
                "\"{address}\" is no address we can reach: give a mail address, or a web-hook that begins with https://"
            )));
        }
        let (now, token, url) = (self.now(), self.token(), self.settings().site.url.clone());
        let (components, kinds) = (components.to_owned(), kinds.to_owned());
        self.store()
            .commit(Vec::new(), move |b| {
                let n: i64 = b.sql().query_row("SELECT count(*) FROM subscriber", [], |r| r.get(0))?;
                if n >= SUBSCRIBERS_MAX {
                    return Err(StoreError::Rule("no more subscribers can be taken; the RSS feed is open to everyone".into()));
                }
                b.sql().execute(
                    "INSERT INTO subscriber (channel, address, token, asked, components, kinds) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (channel, address) DO UPDATE SET asked = ?4, components = ?5, kinds = ?6",
                    (channel.key(), &address, &token, now.ms() as i64, &components, &kinds),
                )?;
                let (id, token): (i64, String) = b.sql().query_row(
                    "SELECT id, token FROM subscriber WHERE channel = ?1 AND address = ?2",
                    (channel.key(), &address),
                    |r| Ok((r.get(0)?, r.get(1)?)),
                )?;
                let text = format!("Someone, we hope you, asked to get our status notices at this address.\n\nTo say yes, open\n{url}/subscribe/yes/{token}\n\nIf it was not you, do nothing: you will hear nothing more.");
                put(b, id, now, "Please confirm: status notices", &text)
            })
            .await
    }

    /// Puts a subscriber in without asking him: the operator's own addresses.
    ///
    /// # Errors
    /// A bad address, too many subscribers, or trouble with the store.
    pub async fn enlist(
        &self,
        channel: Channel,
        address: &str,
        components: &str,
        kinds: &str,
    ) -> Result<(), StoreError> {
        self.subscribe(channel, address, components, kinds).await?;
        let (address, now) = (address.trim().to_owned(), self.now());
        self.store()
            .commit(Vec::new(), move |b| {
                b.sql().execute(
                    "UPDATE subscriber SET confirmed = ?3 WHERE channel = ?1 AND address = ?2",
                    (channel.key(), &address, now.ms() as i64),
                )?;
                b.sql().execute(
                    "DELETE FROM notice WHERE subscriber = (SELECT id FROM subscriber WHERE channel = ?1 AND address = ?2)",
                    (channel.key(), &address),
                )?;
                Ok(())
            })
            .await
    }

    /// Everybody who asked, confirmed or not: `(channel, address, confirmed, components, kinds)`.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn subscribers(&self, max: usize) -> Result<Vec<Subscriber>, StoreError> {
        self.store()
            .read(move |conn| {
                let mut query = conn.prepare_cached(
                    "SELECT channel, address, confirmed IS NOT NULL, components, kinds FROM subscriber ORDER BY address LIMIT ?1",
                )?;
                let rows = query.query_map([max as i64], |r| {
                    Ok(Subscriber {
                        channel: r.get(0)?,
                        address: r.get(1)?,
                        confirmed: r.get(2)?,
                        components: r.get(3)?,
                        kinds: r.get(4)?,
                    })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Takes a subscriber out. True if there was one.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn drop_subscriber(&self, address: &str) -> Result<bool, StoreError> {
        let address = address.to_owned();
        self.store()
            .commit(Vec::new(), move |b| {
                Ok(b.sql().execute("DELETE FROM subscriber WHERE address = ?1", [&address])? > 0)
            })
            .await
    }

    /// Says yes. True if the token is known.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn confirm(&self, token: &str) -> Result<bool, StoreError> {
        let (token, now) = (token.to_owned(), self.now());
        self.store()
            .commit(Vec::new(), move |b| {
                let n = b.sql().execute(
                    "UPDATE subscriber SET confirmed = coalesce(confirmed, ?2) WHERE token = ?1",
                    (&token, now.ms() as i64),
                )?;
                Ok(n == 1)
            })
            .await
    }

    /// Leaves; one click, no question asked.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn leave(&self, token: &str) -> Result<bool, StoreError> {
        let token = token.to_owned();
        self.store()
            .commit(Vec::new(), move |b| {
                b.sql().execute(
                    "DELETE FROM notice WHERE subscriber IN (SELECT id FROM subscriber WHERE token = ?1)",
                    [&token],
                )?;
                Ok(b.sql().execute("DELETE FROM subscriber WHERE token = ?1", [&token])? == 1)
            })
            .await
    }

    /// Notices that are due, at most `max`.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn take_notices(&self, max: usize) -> Result<Vec<Notice>, StoreError> {
        let (now, url) = (self.now(), self.settings().site.url.clone());
        self.store()
            .read(move |conn| {
                let mut query = conn.prepare_cached(
                    "SELECT n.id, s.channel, s.address, n.subject, n.text, s.token FROM notice n JOIN subscriber s ON s.id = n.subscriber
                     WHERE n.due <= ?1 ORDER BY n.due LIMIT ?2",
                )?;
                let rows = query.query_map((now.ms() as i64, max as i64), |r| {
                    let secret: String = r.get(5)?;
                    Ok(Notice {
                        id: r.get(0)?,
                        channel: Channel::from_key(&r.get::<_, String>(1)?).unwrap_or(Channel::Mail),
                        address: r.get(2)?,
                        subject: r.get(3)?,
                        text: r.get(4)?,
                        leave: format!("{url}/subscribe/leave/{secret}"),
                        secret,
                    })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Handed on (`true`), or to be tried again later with back-off.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn notice_done(&self, id: i64, sent: bool) -> Result<(), StoreError> {
        let now = self.now();
        self.store()
            .commit(Vec::new(), move |b| {
                if sent {
                    b.sql().execute("DELETE FROM notice WHERE id = ?1", [id])?;
                } else {
                    b.sql().execute(
                        "UPDATE notice SET tries = tries + 1, due = ?2 + (60000 << min(tries, 8)) WHERE id = ?1",
                        (id, now.ms() as i64),
                    )?;
                    b.sql().execute("DELETE FROM notice WHERE id = ?1 AND tries >= ?2", (id, TRIES_MAX))?;
                }
                Ok(())
            })
            .await
    }
}

fn put(batch: &Batch<'_>, subscriber: i64, now: Now, subject: &str, text: &str) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("INSERT INTO notice (subscriber, due, subject, text) VALUES (?1, ?2, ?3, ?4)")?
        .execute((subscriber, now.ms() as i64, subject, text))?;
    Ok(())
}

/// A notice for everyone who chose this kind (an empty choice is everything).
pub(crate) fn tell_all(
    batch: &Batch<'_>,
    kind: &str,
    subject: &str,
    text: &str,
    now: Now,
) -> Result<(), StoreError> {
    batch.sql().execute(
        "INSERT INTO notice (subscriber, due, subject, text)
         SELECT id, ?1, ?2, ?3 FROM subscriber WHERE confirmed IS NOT NULL
           AND (kinds = '' OR ' ' || kinds || ' ' LIKE '% ' || ?4 || ' %')",
        (now.ms() as i64, subject, text, kind),
    )?;
    Ok(())
}

/// A notice about an incident for those who chose one of its components, or everything.
pub(crate) fn tell_incident(
    batch: &Batch<'_>,
    incident: i64,
    text: &str,
    now: Now,
) -> Result<(), StoreError> {
    batch.sql().execute(
        "INSERT INTO notice (subscriber, due, subject, text)
         SELECT s.id, ?1, i.title, ?2 FROM subscriber s, incident i WHERE i.id = ?3 AND i.public = 1 AND s.confirmed IS NOT NULL
           AND (s.kinds = '' OR ' ' || s.kinds || ' ' LIKE '% incidents %')
           AND (s.components = '' OR EXISTS (SELECT 1 FROM touched t WHERE t.kind = 'incident' AND t.owner = i.id AND t.affected = 1
                AND ' ' || s.components || ' ' LIKE '% ' || t.component || ' %'))",
        (now.ms() as i64, text, incident),
    )?;
    Ok(())
}

/// A notice for the operators' own addresses: those who chose `desk`, which no form offers.
pub(crate) fn tell_desk(batch: &Batch<'_>, subject: &str, text: &str, now: Now) -> Result<(), StoreError> {
    batch.sql().execute(
        "INSERT INTO notice (subscriber, due, subject, text)
         SELECT id, ?1, ?2, ?3 FROM subscriber WHERE confirmed IS NOT NULL AND ' ' || kinds || ' ' LIKE '% desk %'",
        (now.ms() as i64, subject, text),
    )?;
    Ok(())
}

/// Forgets those who never said yes.
pub(crate) fn forget(batch: &Batch<'_>, now: Now) -> Result<(), StoreError> {
    let before = now - CONFIRM_WITHIN;
    batch
        .sql()
        .execute("DELETE FROM subscriber WHERE confirmed IS NULL AND asked < ?1", [before.ms() as i64])?;
    batch.sql().execute("DELETE FROM notice WHERE subscriber NOT IN (SELECT id FROM subscriber)", [])?;
    Ok(())
}
