//! A post-mortem drafted from an incident's own rows: times, minutes, what was said and promised.
//! The why is left to a person.

use stdx::{Now, Span};
use store::{Batch, StoreError};

use crate::{Board, subscribe};

/// The desk is reminded this long after the promise was made (it is due after 48 h).
pub const REMINDERS: [Span; 2] = [Span::hours(24), Span::hours(44)];

impl Board {
    /// The draft of an incident's post-mortem, Markdown. `None`: there is no such public incident.
    pub fn postmortem_draft(&self, incident: i64) -> Option<String> {
        let served = self.files().now();
        let s = &served.snapshot;
        let i = s.incidents.iter().find(|i| i.id == incident)?;
        let stamp = |at: u64| watch::zones::stamp(Now(at));
        let mut out = format!("**What happened.** {}\n\n", i.title);
        out.push_str(&format!("It began {}", stamp(i.began)));
        match i.resolved {
            Some(end) => out.push_str(&format!(
                " and was over {}: {} minutes.\n\n",
                stamp(end),
                (end.saturating_sub(i.began) / 1000 + 30) / 60
            )),
            None => out.push_str(". It is not over.\n\n"),
        }
        let list = |ids: &[String]| s.names(ids).join(", ");
        if !i.affected.is_empty() {
            out.push_str(&format!("Affected: {}.", list(&i.affected)));
        }
        if !i.not_affected.is_empty() {
            out.push_str(&format!(" Not affected: {}.", list(&i.not_affected)));
        }
        out.push_str("\n\n**In order.**\n\n");
        for u in &i.updates {
            let who = if u.author.is_empty() { "the monitor" } else { u.author.as_str() };
            let said = u.text.split_whitespace().collect::<Vec<_>>().join(" ");
            let said: String = said.chars().take(300).collect();
            out.push_str(&format!("- {} – {who}: {said}\n", stamp(u.at)));
        }
        for (at, eta) in &i.etas {
            let kept = match i.resolved {
                Some(end) if end > *eta => format!("missed by {} minutes", (end - eta) / 60_000),
                Some(_) => "kept".to_owned(),
                None => "open".to_owned(),
            };
            out.push_str(&format!("- {} – we said it would end {} ({kept})\n", stamp(*at), stamp(*eta)));
        }
        out.push_str(
            "\n**Why it happened.** …\n\n**Why it was not found sooner.** …\n\n**What we change.** …\n",
        );
        Some(out)
    }
}

/// Reminds the desk of post-mortems that are owed, each time once.
pub(crate) fn remind(batch: &Batch<'_>, promised: Span, now: Now) -> Result<(), StoreError> {
    let rows: Vec<(i64, String, i64, i64)> = {
        let mut query = batch.sql().prepare_cached(
            "SELECT id, title, postmortem_due, reminded FROM incident
             WHERE postmortem_due IS NOT NULL AND postmortem_done = 0 AND reminded < ?1",
        )?;
        let rows = query
            .query_map([REMINDERS.len() as i64], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    for (id, title, due, reminded) in rows {
        let made = Now(due as u64) - promised;
        let past = REMINDERS.iter().filter(|r| now >= made + **r).count() as i64;
        if past > reminded {
            batch.sql().execute("UPDATE incident SET reminded = ?2 WHERE id = ?1", (id, past))?;
            let text = format!(
                "The post-mortem of incident {id} ({title}) was promised by {}. `postroad status draft {id}` has its timeline.",
                watch::zones::utc(Now(due as u64))
            );
            subscribe::tell_desk(batch, &format!("Post-mortem owed: {title}"), &text, now)?;
        }
    }
    Ok(())
}
