//! What the pages show, as plain values. The role makes it from its rows; it is also what a
//! signed snapshot carries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watch::State;
use watch::incident::Stage;
use watch::maintenance::Phase;
use watch::zones::Zone;

/// Milliseconds since 1970, UTC.
pub type At = u64;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub made: At,
    pub site: Site,
    /// In the order of the page.
    pub components: Vec<Component>,
    pub systems: Vec<System>,
    /// Newest first; public ones only.
    pub incidents: Vec<Incident>,
    /// By start.
    pub maintenances: Vec<Maintenance>,
    /// Newest first.
    pub posts: Vec<Post>,
    /// Old addresses and where they lead: `/2024/06/21/slug/` → `/posts/…`.
    pub redirects: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Site {
    /// `NinerNet Communications`.
    pub company: String,
    /// `System Status`.
    pub title: String,
    /// Without final slash: `https://status.example.net`.
    pub url: String,
    /// Shown at the foot of each post.
    pub support: String,
    pub zones: Vec<ShownZone>,
    pub links: Vec<(String, String)>,
}

impl Default for Site {
    fn default() -> Site {
        Site {
            company: "Example".into(),
            title: "System Status".into(),
            url: "http://localhost".into(),
            support: String::new(),
            zones: Vec::new(),
            links: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownZone {
    pub label: String,
    pub name: String,
}

impl Site {
    pub fn zones(&self) -> Vec<Zone> {
        self.zones.iter().map(|z| Zone { label: z.label.clone(), name: z.name.clone() }).collect()
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Component {
    pub id: String,
    /// In clients' words: `Mail to Outlook and Hotmail addresses`.
    pub name: String,
    pub about: String,
    pub state: State,
    pub since: At,
    /// When it was last looked at.
    pub checked: At,
    /// Mail flow decides the verdict; the others only explain.
    pub decides: bool,
    /// Words that explain a state: `only from Lusaka`.
    pub note: String,
    /// Newest last, one a day, at most [`DAYS`].
    pub days: Vec<DayBar>,
}

/// Days under each component.
pub const DAYS: usize = 90;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DayBar {
    /// Days since 1970.
    pub day: u64,
    /// Seconds by state key.
    pub seconds: BTreeMap<String, u64>,
}

impl DayBar {
    pub fn day(&self) -> watch::day::Day {
        let mut day = watch::day::Day::default();
        for (key, seconds) in &self.seconds {
            if let Some(state) = State::from_word(key) {
                day.add(state, *seconds);
            }
        }
        day
    }
}

/// A row of "Systems at a Glance".
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct System {
    /// `NC036`.
    pub code: String,
    /// ISO 3166 code for the flag: `nl`.
    pub country: String,
    /// `Amsterdam, Netherlands`.
    pub place: String,
    /// `Mail server`.
    pub role: String,
    /// `OPERATIONAL`, `INTERNAL`, `PROVISIONING`, …
    pub word: String,
    pub state: State,
    /// Vantage point and its last round trip; `None` if it did not answer.
    pub pings: Vec<(String, Option<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Impact {
    None,
    #[default]
    Minor,
    Major,
    Critical,
}

impl Impact {
    pub const fn key(self) -> &'static str {
        match self {
            Impact::None => "none",
            Impact::Minor => "minor",
            Impact::Major => "major",
            Impact::Critical => "critical",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Incident {
    pub id: i64,
    pub title: String,
    pub stage: Stage,
    pub impact: Impact,
    /// Component ids.
    pub affected: Vec<String>,
    pub not_affected: Vec<String>,
    pub began: At,
    pub resolved: Option<At>,
    pub next_update: Option<At>,
    /// Expected end and the ones said before, oldest first.
    pub etas: Vec<(At, At)>,
    pub postmortem_due: Option<At>,
    pub postmortem_done: bool,
    /// Oldest first; never edited away.
    pub updates: Vec<Update>,
    /// Made by the monitor and not yet touched by a person.
    pub automatic: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Update {
    pub id: i64,
    pub at: At,
    pub stage: Option<Stage>,
    /// Markdown.
    pub text: String,
    pub author: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Maintenance {
    pub id: i64,
    pub title: String,
    /// Markdown.
    pub text: String,
    pub from: At,
    pub to: At,
    pub phase: Phase,
    pub affected: Vec<String>,
    pub not_affected: Vec<String>,
    /// Raised with each change (RFC 5545 SEQUENCE).
    pub sequence: u32,
    pub changed: At,
    pub updates: Vec<Update>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Post {
    pub id: i64,
    /// Path below the site: `/2024/06/21/nc036-significant-issue/`.
    pub path: String,
    pub title: String,
    pub at: At,
    pub author: String,
    pub text: Body,
    pub categories: Vec<String>,
    pub tags: Vec<String>,
    /// Newest last.
    pub updates: Vec<Update>,
    /// `Migration` and 12: numbers are given by the site.
    pub series: Option<(String, u32)>,
    /// Explains an error text; found by "paste the error you got".
    pub note: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Markdown(String),
    /// From an import; cleaned before it is shown.
    Html(String),
}

impl Default for Body {
    fn default() -> Body {
        Body::Markdown(String::new())
    }
}

impl Post {
    /// `NC036` of `NC036: Mail server issues`.
    pub fn server(&self) -> Option<&str> {
        let (prefix, _) = self.title.split_once(':')?;
        let fits = prefix.len() <= 20 && !prefix.is_empty() && !prefix.contains(['.', '?', '!']);
        fits.then_some(prefix)
    }
}

impl Snapshot {
    /// The verdict of the page: the worst of what decides.
    pub fn verdict(&self) -> State {
        State::worst(self.components.iter().filter(|c| c.decides).map(|c| c.state))
    }
    pub fn component(&self, id: &str) -> Option<&Component> {
        self.components.iter().find(|c| c.id == id)
    }
    /// Names of components by their ids.
    pub fn names<'a>(&'a self, ids: &'a [String]) -> Vec<&'a str> {
        ids.iter().map(|id| self.component(id).map_or(id.as_str(), |c| c.name.as_str())).collect()
    }
}

/// `/tag/email-delivery/` of a tag or category.
pub fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('-') && !out.is_empty() && c != '\'' && c != '’' && c != '.' {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_short_plain_words() {
        assert_eq!(slug("NC036: Migration update 8 — Plan B"), "nc036-migration-update-8-plan-b");
        assert_eq!(slug(".co.zm domains"), "cozm-domains");
        assert_eq!(slug("  "), "");
    }

    #[test]
    fn the_server_is_read_from_the_title() {
        let post = |title: &str| Post { title: title.into(), ..Post::default() };
        assert_eq!(post("NC036: Mail server issues").server(), Some("NC036"));
        assert_eq!(post("All servers: Certificates").server(), Some("All servers"));
        assert_eq!(post("Email failures from Apple").server(), None);
    }
}
