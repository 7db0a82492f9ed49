//! What a person or the judge writes: posts, incidents, updates, windows. Each in one commit, then
//! published.

use statuspage::model::slug;
use stdx::Now;
use store::{Batch, StoreError};
use watch::incident::Stage;
use watch::maintenance::Window;

use crate::Board;
use crate::subscribe;

/// Longest text of a post or an update, bytes.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Longest title, characters.
pub const TITLE_CHARS_MAX: usize = 200;

/// A post as it is entered.
#[derive(Clone, Debug, Default)]
pub struct NewPost {
    pub title: String,
    pub text: String,
    pub author: String,
    pub categories: Vec<String>,
    pub tags: Vec<String>,
    /// The site gives the next number of a series: `Migration update` becomes `Migration update 8`.
    pub series: Option<String>,
    pub note: bool,
}

/// An incident as a person opens it.
#[derive(Clone, Debug)]
pub struct NewIncident {
    pub title: String,
    pub text: String,
    pub author: String,
    pub stage: Stage,
    pub impact: String,
    pub affected: Vec<String>,
    pub not_affected: Vec<String>,
    pub next_update: Option<Now>,
    pub eta: Option<Now>,
}

/// A word on an incident.
#[derive(Clone, Debug)]
pub struct Word {
    pub incident: i64,
    pub text: String,
    pub author: String,
    pub stage: Option<Stage>,
    pub next_update: Option<Now>,
    pub eta: Option<Now>,
}

/// A window as it is entered, in UTC.
#[derive(Clone, Debug)]
pub struct NewWindow {
    pub title: String,
    pub text: String,
    pub author: String,
    pub from: Now,
    pub to: Now,
    pub affected: Vec<String>,
    pub not_affected: Vec<String>,
}

fn checked(title: &str, text: &str) -> Result<(), StoreError> {
    if title.trim().is_empty() {
        return Err(StoreError::Rule("a title is missing: say in a few words what it is about".into()));
    }
    if title.chars().count() > TITLE_CHARS_MAX {
        return Err(StoreError::Rule(format!("the title is longer than {TITLE_CHARS_MAX} characters")));
    }
    text_fits(text)
}

fn text_fits(text: &str) -> Result<(), StoreError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(StoreError::Rule(format!("the text is longer than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

impl Board {
    /// A new post; returns its path.
    ///
    /// # Errors
    /// A missing title, a text too long, or trouble with the store.
    pub async fn post(&self, new: NewPost) -> Result<String, StoreError> {
        checked(&new.title, &new.text)?;
        let now = self.now();
        let path = self.store().commit(Vec::new(), move |b| post(b, &new, now)).await?;
        self.publish().await?;
        Ok(path)
    }

    /// Appends a dated update to a post.
    ///
    /// # Errors
    /// If there is no such post, or trouble with the store.
    pub async fn update_post(&self, id: i64, text: String, author: String) -> Result<(), StoreError> {
        text_fits(&text)?;
        let now = self.now();
        self.store()
            .commit(Vec::new(), move |b| {
                known(b, "post", id)?;
                say(b, ("post", id), now, (None, &text, &author))
            })
            .await?;
        self.publish().await
    }

    /// A person opens an incident: public at once and his.
    ///
    /// # Errors
    /// A missing title, a text too long, or trouble with the store.
    pub async fn open_incident(&self, new: NewIncident) -> Result<i64, StoreError> {
        checked(&new.title, &new.text)?;
        let now = self.now();
        let id = self.store().commit(Vec::new(), move |b| open_incident(b, &new, now)).await?;
        self.publish_live().await?;
        Ok(id)
    }

    /// A person's word on an incident. The first one takes an automatic draft over; any word on a
    /// draft makes it public.
    ///
    /// # Errors
    /// If there is no such incident, or trouble with the store.
    pub async fn word(&self, word: Word) -> Result<(), StoreError> {
        text_fits(&word.text)?;
        let (now, due) = (self.now(), self.settings().incidents.postmortem_in);
        self.store()
            .commit(Vec::new(), move |b| {
                known(b, "incident", word.incident)?;
                say(b, ("incident", word.incident), now, (word.stage, &word.text, &word.author))?;
                take_over(b, &word, now)?;
                if word.stage == Some(Stage::Resolved) {
                    b.sql().execute(
                        "UPDATE incident SET postmortem_due = coalesce(postmortem_due, ?2) WHERE id = ?1",
                        (word.incident, (now + due).ms() as i64),
                    )?;
                }
                subscribe::tell_incident(b, word.incident, &word.text, now)
            })
            .await?;
        self.publish_live().await
    }

    /// Plans work. Returns its id and what clients may find wrong with it.
    ///
    /// # Errors
    /// A window that ends before it begins, a missing title, or trouble with the store.
    pub async fn plan(&self, new: NewWindow) -> Result<(i64, Vec<String>), StoreError> {
        checked(&new.title, &new.text)?;
        if new.to <= new.from {
            return Err(StoreError::Rule(
                "the window ends before it begins: are from and to the wrong way round?".into(),
            ));
        }
        let now = self.now();
        let window = Window { announced: now, from: new.from, to: new.to, done: None, reminded: Vec::new() };
        let id = self.store().commit(Vec::new(), move |b| plan(b, &new, now)).await?;
        self.publish_live().await?;
        Ok((id, watch::maintenance::faults(&window)))
    }

    /// Says that planned work is done.
    ///
    /// # Errors
    /// If there is no such window, or trouble with the store.
    pub async fn done(&self, id: i64, text: String, author: String) -> Result<(), StoreError> {
        text_fits(&text)?;
        let now = self.now();
        self.store()
            .commit(Vec::new(), move |b| {
                known(b, "maintenance", id)?;
                b.sql().execute(
                    "UPDATE maintenance SET done = coalesce(done, ?2), sequence = sequence + 1, changed = ?2 WHERE id = ?1",
                    (id, now.ms() as i64),
                )?;
                say(b, ("maintenance", id), now, (None, &text, &author))
            })
            .await?;
        self.publish_live().await
    }

    /// Incidents that the judge drafted and nobody has published: id, title, begin.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn drafts(&self) -> Result<Vec<(i64, String, Now)>, StoreError> {
        self.store()
            .read(|conn| {
                let mut query = conn.prepare_cached(
                    "SELECT id, title, began FROM incident WHERE public = 0 AND resolved IS NULL ORDER BY id",
                )?;
                let rows =
                    query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, Now(r.get::<_, i64>(2)? as u64))))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Takes over everything a WordPress export held; posts that are there already stay as they are.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn import(&self, imported: statuspage::wxr::Imported) -> Result<usize, StoreError> {
        let count = self
            .store()
            .commit(Vec::new(), move |b| {
                let mut count = 0;
                for p in &imported.posts {
                    count += import_one(b, p)?;
                }
                for (old, new) in &imported.redirects {
                    b.sql()
                        .prepare_cached(
                            "INSERT INTO redirect VALUES (?1, ?2) ON CONFLICT (old) DO UPDATE SET new = ?2",
                        )?
                        .execute((old, new))?;
                }
                Ok(count)
            })
            .await?;
        self.publish().await?;
        Ok(count)
    }
}

fn known(batch: &Batch<'_>, table: &str, id: i64) -> Result<(), StoreError> {
    let sql = format!("SELECT count(*) FROM {table} WHERE id = ?1");
    let n: i64 = batch.sql().prepare_cached(&sql)?.query_row([id], |r| r.get(0))?;
    if n == 0 { Err(StoreError::Rule(format!("there is no {table} {id}"))) } else { Ok(()) }
}

pub(crate) fn say(
    batch: &Batch<'_>,
    (kind, owner): (&str, i64),
    at: Now,
    (stage, text, author): (Option<Stage>, &str, &str),
) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached(
            "INSERT INTO said (kind, owner, at, stage, text, author) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((kind, owner, at.ms() as i64, stage.map(Stage::key), text, author))?;
    Ok(())
}

pub(crate) fn touch(
    batch: &Batch<'_>,
    (kind, owner): (&str, i64),
    affected: &[String],
    not_affected: &[String],
) -> Result<(), StoreError> {
    let mut put = batch.sql().prepare_cached(
        "INSERT INTO touched VALUES (?1, ?2, ?3, ?4) ON CONFLICT (kind, owner, component) DO UPDATE SET affected = ?4",
    )?;
    for (ids, yes) in [(not_affected, false), (affected, true)] {
        for id in ids {
            put.execute((kind, owner, id, yes))?;
        }
    }
    Ok(())
}

fn post(batch: &mut Batch<'_>, new: &NewPost, now: Now) -> Result<String, StoreError> {
    let conn = batch.sql();
    let number: Option<i64> = match &new.series {
        Some(series) => Some(conn.query_row(
            "SELECT coalesce(max(number), 0) + 1 FROM post WHERE series = ?1",
            [series],
            |r| r.get(0),
        )?),
        None => None,
    };
    let title = match (&new.series, number) {
        (Some(series), Some(n)) if new.title.contains(series.as_str()) => {
            new.title.replacen(series.as_str(), &format!("{series} {n}"), 1)
        }
        (Some(series), Some(n)) => format!("{series} {n}: {}", new.title),
        _ => new.title.clone(),
    };
    let c = now.civil();
    let base = format!("/{:04}/{:02}/{:02}/{}", c.year, c.month, c.day, slug(&title));
    let mut path = format!("{base}/");
    let mut n = 1;
    while conn.query_row("SELECT count(*) FROM post WHERE path = ?1", [&path], |r| r.get::<_, i64>(0))? > 0 {
        n += 1;
        path = format!("{base}-{n}/");
    }
    conn.execute(
        "INSERT INTO post (path, title, at, author, html, text, series, number, note) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8)",
        (&path, &title, now.ms() as i64, &new.author, &new.text, &new.series, number, new.note),
    )?;
    let id = conn.last_insert_rowid();
    labels(batch, id, &new.categories, &new.tags)?;
    subscribe::tell_all(batch, "posts", &title, &new.text, now)?;
    Ok(path)
}

fn labels(batch: &Batch<'_>, post: i64, categories: &[String], tags: &[String]) -> Result<(), StoreError> {
    let mut put =
        batch.sql().prepare_cached("INSERT INTO label VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    for (kind, names) in [("category", categories), ("tag", tags)] {
        for name in names.iter().map(|n| n.trim()).filter(|n| !n.is_empty()) {
            put.execute((post, kind, name))?;
        }
    }
    Ok(())
}

fn import_one(batch: &mut Batch<'_>, p: &statuspage::model::Post) -> Result<usize, StoreError> {
    let (html, text) = match &p.text {
        statuspage::model::Body::Html(t) => (true, t),
        statuspage::model::Body::Markdown(t) => (false, t),
    };
    let n = batch.sql().execute(
        "INSERT INTO post (path, title, at, author, html, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (path) DO NOTHING",
        (&p.path, &p.title, p.at as i64, &p.author, html, text),
    )?;
    if n == 1 {
        let id = batch.sql().last_insert_rowid();
        labels(batch, id, &p.categories, &p.tags)?;
        for u in &p.updates {
            say(batch, ("post", id), Now(u.at), (None, &u.text, &u.author))?;
        }
    }
    Ok(n)
}

fn open_incident(batch: &mut Batch<'_>, new: &NewIncident, now: Now) -> Result<i64, StoreError> {
    batch.sql().execute(
        "INSERT INTO incident (title, stage, impact, cause, began, public, taken_over) VALUES (?1, ?2, ?3, 'hand', ?4, 1, 1)",
        (&new.title, new.stage.key(), &new.impact, now.ms() as i64),
    )?;
    let id = batch.sql().last_insert_rowid();
    touch(batch, ("incident", id), &new.affected, &new.not_affected)?;
    say(batch, ("incident", id), now, (Some(new.stage), &new.text, &new.author))?;
    let word = Word {
        incident: id,
        text: String::new(),
        author: String::new(),
        stage: Some(new.stage),
        next_update: new.next_update,
        eta: new.eta,
    };
    take_over(batch, &word, now)?;
    subscribe::tell_incident(batch, id, &new.text, now)?;
    Ok(id)
}

fn take_over(batch: &mut Batch<'_>, word: &Word, now: Now) -> Result<(), StoreError> {
    let conn = batch.sql();
    conn.execute(
        "UPDATE incident SET public = 1, taken_over = 1, next_update = ?2, stage = coalesce(?3, stage),
           resolved = CASE WHEN ?3 = 'resolved' THEN coalesce(resolved, ?4) WHEN ?3 IN ('investigating','identified','monitoring') THEN NULL ELSE resolved END,
           postmortem_done = postmortem_done OR ?3 IS 'postmortem'
         WHERE id = ?1",
        (word.incident, word.next_update.map(|t| t.ms() as i64), word.stage.map(Stage::key), now.ms() as i64),
    )?;
    if let Some(eta) = word.eta {
        conn.execute(
            "INSERT INTO eta VALUES (?1, ?2, ?3)",
            (word.incident, now.ms() as i64, eta.ms() as i64),
        )?;
    }
    Ok(())
}

fn plan(batch: &mut Batch<'_>, new: &NewWindow, now: Now) -> Result<i64, StoreError> {
    batch.sql().execute(
        "INSERT INTO maintenance (title, text, announced, begins, ends, changed) VALUES (?1, ?2, ?3, ?4, ?5, ?3)",
        (&new.title, &new.text, now.ms() as i64, new.from.ms() as i64, new.to.ms() as i64),
    )?;
    let id = batch.sql().last_insert_rowid();
    touch(batch, ("maintenance", id), &new.affected, &new.not_affected)?;
    let when = format!("{} to {}\n\n{}", watch::zones::utc(new.from), watch::zones::utc(new.to), new.text);
    subscribe::tell_all(batch, "maintenance", &new.title, &when, now)?;
    Ok(id)
}
