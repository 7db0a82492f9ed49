//! What can be done at the desk, as named fields: the same for a form, the API, a letter and the
//! command line.

use stdx::{Now, Span};
use store::StoreError;
use watch::incident::Stage;

use crate::Board;
use crate::say::{NewIncident, NewPost, NewWindow, Word};

/// Names and values, as a form sends them; a name may come several times.
pub type Fields = Vec<(String, String)>;

pub(crate) fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.trim())
}

/// All values of a name; each may also hold several, with commas.
fn all(fields: &Fields, name: &str) -> Vec<String> {
    let values = fields.iter().filter(|(k, _)| k == name).flat_map(|(_, v)| v.split(','));
    values.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
}

fn number(fields: &Fields, name: &str) -> Result<i64, StoreError> {
    field(fields, name).parse().map_err(|_| StoreError::Rule(format!("\"{name}\" must be a number")))
}

/// Minutes from now, if any are given.
fn minutes(fields: &Fields, name: &str, now: Now) -> Result<Option<Now>, StoreError> {
    if field(fields, name).is_empty() {
        return Ok(None);
    }
    let n = u64::try_from(number(fields, name)?)
        .map_err(|_| StoreError::Rule(format!("\"{name}\" must not be negative")))?;
    Ok(Some(now + Span::mins(n.min(60 * 24 * 60))))
}

/// `2026-11-22T14:00`, UTC.
pub(crate) fn moment(text: &str) -> Option<Now> {
    let (date, clock) = text.trim().trim_end_matches('Z').split_once(['T', ' '])?;
    let mut ymd = date.split('-');
    let (y, m, d) = (ymd.next()?.parse().ok()?, ymd.next()?.parse().ok()?, ymd.next()?.parse().ok()?);
    let mut hm = clock.split(':').map(|n| n.parse::<u64>().ok());
    let (hour, minute) = (hm.next()??, hm.next()??);
    if !(1..=12).contains(&m) || !(1..=31).contains(&d) || hour > 23 || minute > 59 {
        return None;
    }
    let days = u64::try_from(stdx::time::days_from_civil(y, m, d)).ok()?;
    Some(Now::from_secs(days * 86_400 + hour * 3600 + minute * 60))
}

fn time(fields: &Fields, name: &str) -> Result<Now, StoreError> {
    moment(field(fields, name))
        .ok_or_else(|| StoreError::Rule(format!("\"{name}\" must be a time in UTC like 2026-11-22T14:00")))
}

fn stage(fields: &Fields) -> Result<Option<Stage>, StoreError> {
    match field(fields, "stage") {
        "" => Ok(None),
        word => Stage::from_key(word).map(Some).ok_or_else(|| {
            StoreError::Rule(format!(
                "\"{word}\" is no stage: investigating, identified, monitoring, resolved or postmortem"
            ))
        }),
    }
}

impl Board {
    /// Does what the desk asks: `post`, `update`, `incident`, `word`, `plan` or `done`. The answer is
    /// for the one who asked.
    ///
    /// # Errors
    /// A field that is missing or wrong, or trouble with the store.
    pub async fn act(&self, what: &str, fields: &Fields, author: String) -> Result<String, StoreError> {
        self.components_known(fields)?;
        match what {
            "post" => self.act_post(fields, author).await,
            "update" => {
                let id = self.post_id(field(fields, "post"))?;
                self.update_post(id, field(fields, "text").to_owned(), author).await?;
                Ok(format!("Post {id} has an update"))
            }
            "incident" => self.act_incident(fields, author).await,
            "word" => {
                let (incident, stage) = (number(fields, "incident")?, stage(fields)?);
                let (next_update, eta) =
                    (minutes(fields, "next", self.now())?, minutes(fields, "eta", self.now())?);
                let text = field(fields, "text").to_owned();
                self.word(Word { incident, text, author, stage, next_update, eta }).await?;
                Ok(format!("Said on incident {incident}"))
            }
            "plan" => self.act_plan(fields, author).await,
            "done" => {
                let id = number(fields, "maintenance")?;
                self.done(id, field(fields, "text").to_owned(), author).await?;
                Ok(format!("Maintenance {id} is done"))
            }
            other => Err(StoreError::Rule(format!(
                "\"{other}\" is nothing to do here: post, update, incident, word, plan or done"
            ))),
        }
    }

    /// A misspelt component would be affected without anybody seeing it.
    fn components_known(&self, fields: &Fields) -> Result<(), StoreError> {
        let served = self.files().now();
        let named = ["affected", "not_affected"].into_iter().flat_map(|n| all(fields, n));
        for id in named {
            if served.snapshot.component(&id).is_none() {
                let known: Vec<&str> = served.snapshot.components.iter().map(|c| c.id.as_str()).collect();
                return Err(StoreError::Rule(format!(
                    "there is no component \"{id}\"; there are {}",
                    known.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// A post by its number or its path.
    fn post_id(&self, text: &str) -> Result<i64, StoreError> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let served = self.files().now();
        let found = served.snapshot.posts.iter().find(|p| p.path.trim_matches('/') == text.trim_matches('/'));
        found.map(|p| p.id).ok_or_else(|| {
            StoreError::Rule(format!("there is no post \"{text}\": give its number or its path"))
        })
    }

    async fn act_post(&self, fields: &Fields, author: String) -> Result<String, StoreError> {
        let new = NewPost {
            title: field(fields, "title").to_owned(),
            text: field(fields, "text").to_owned(),
            author,
            categories: all(fields, "categories"),
            tags: all(fields, "tags"),
            series: Some(field(fields, "series").to_owned()).filter(|s| !s.is_empty()),
            note: !field(fields, "note").is_empty(),
        };
        Ok(format!("Posted at {}", self.post(new).await?))
    }

    async fn act_incident(&self, fields: &Fields, author: String) -> Result<String, StoreError> {
        let impact = match field(fields, "impact") {
            "" => "major",
            known @ ("none" | "minor" | "major" | "critical") => known,
            other => {
                return Err(StoreError::Rule(format!(
                    "\"{other}\" is no impact: none, minor, major or critical"
                )));
            }
        };
        let new = NewIncident {
            title: field(fields, "title").to_owned(),
            text: field(fields, "text").to_owned(),
            author,
            stage: stage(fields)?.unwrap_or(Stage::Investigating),
            impact: impact.to_owned(),
            affected: all(fields, "affected"),
            not_affected: all(fields, "not_affected"),
            next_update: minutes(fields, "next", self.now())?,
            eta: minutes(fields, "eta", self.now())?,
        };
        Ok(format!("Incident {} is public", self.open_incident(new).await?))
    }

    async fn act_plan(&self, fields: &Fields, author: String) -> Result<String, StoreError> {
        let new = NewWindow {
            title: field(fields, "title").to_owned(),
            text: field(fields, "text").to_owned(),
            author,
            from: time(fields, "from")?,
            to: time(fields, "to")?,
            affected: all(fields, "affected"),
            not_affected: all(fields, "not_affected"),
        };
        let (id, faults) = self.plan(new).await?;
        let warned = if faults.is_empty() { String::new() } else { format!(". But: {}", faults.join("; ")) };
        Ok(format!("Maintenance {id} is announced{warned}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_forms_write_it() {
        assert_eq!(moment("2024-02-27T16:00").map(|n| n.iso()), Some("2024-02-27T16:00:00Z".into()));
        assert_eq!(moment("2024-02-27 16:00:00Z").map(|n| n.iso()), Some("2024-02-27T16:00:00Z".into()));
        for bad in ["", "2024-13-01T00:00", "2024-01-01", "2024-01-01T25:00"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }
}
