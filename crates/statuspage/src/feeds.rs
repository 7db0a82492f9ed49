//! RSS 2.0, Atom (RFC 4287) and JSON Feed of what was said, newest first; whole or by component or tag.

use serde_json::json;
use web::page::escape;

use crate::markdown;
use crate::model::{Snapshot, slug};

/// Entries in a feed.
const ENTRIES: usize = 30;

/// One thing said: a post, an incident's newest word, a maintenance window.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: String,
    pub title: String,
    pub link: String,
    pub at: u64,
    pub updated: u64,
    pub html: String,
    pub labels: Vec<String>,
}

/// Everything that feeds carry, newest first. `only` is a tag's, category's or component's slug.
pub fn entries(s: &Snapshot, only: Option<&str>) -> Vec<Entry> {
    let mut out: Vec<Entry> = posts(s).chain(incidents(s)).chain(windows(s)).collect();
    if let Some(only) = only {
        out.retain(|e| e.labels.iter().any(|l| slug(l) == only));
    }
    out.sort_by(|a, b| b.updated.cmp(&a.updated).then(b.id.cmp(&a.id)));
    out.truncate(ENTRIES);
    out
}

fn posts(s: &Snapshot) -> impl Iterator<Item = Entry> {
    s.posts.iter().map(|p| {
        let updates: String = p.updates.iter().map(|u| markdown::to_html(&u.text)).collect();
        Entry {
            id: format!("{}/posts/{}", s.site.url, p.id),
            title: p.title.clone(),
            link: format!("{}{}", s.site.url, p.path),
            at: p.at,
            updated: p.updates.last().map_or(p.at, |u| u.at.max(p.at)),
            html: markdown::body(&p.text) + &updates,
            labels: p
                .categories
                .iter()
                .chain(&p.tags)
                .cloned()
                .chain(p.server().map(str::to_owned))
                .collect(),
        }
    })
}

fn incidents(s: &Snapshot) -> impl Iterator<Item = Entry> {
    s.incidents.iter().map(|i| Entry {
        id: format!("{}/incidents/{}", s.site.url, i.id),
        title: format!("{}: {}", i.stage.word(), i.title),
        link: format!("{}/incidents/{}/", s.site.url, i.id),
        at: i.began,
        updated: i.updates.last().map_or(i.began, |u| u.at),
        html: i
            .updates
            .iter()
            .rev()
            .map(|u| format!("<p>{}</p>{}", watch::zones::stamp(stdx::Now(u.at)), markdown::to_html(&u.text)))
            .collect(),
        labels: i
            .affected
            .iter()
            .cloned()
            .chain(s.names(&i.affected).iter().map(|n| (*n).to_owned()))
            .collect(),
    })
}

fn windows(s: &Snapshot) -> impl Iterator<Item = Entry> {
    s.maintenances.iter().map(|m| {
        let zones = watch::zones::window(stdx::Now(m.from), stdx::Now(m.to), &s.site.zones());
        Entry {
            id: format!("{}/maintenance/{}", s.site.url, m.id),
            title: format!("{}: {}", m.phase.word(), m.title),
            link: format!("{}/maintenance/{}/", s.site.url, m.id),
            at: m.changed,
            updated: m.updates.last().map_or(m.changed, |u| u.at.max(m.changed)),
            html: format!("<p>{}</p>{}", escape(&zones.join(" · ")), markdown::to_html(&m.text)),
            labels: m.affected.clone(),
        }
    })
}

fn title(s: &Snapshot, only: Option<&str>) -> String {
    match only {
        Some(only) => format!("{} {} – {only}", s.site.company, s.site.title),
        None => format!("{} {}", s.site.company, s.site.title),
    }
}

pub fn rss(s: &Snapshot, only: Option<&str>) -> String {
    let list = entries(s, only);
    let newest = list.first().map_or(s.made, |e| e.updated);
    let items: String = list
        .iter()
        .map(|e| {
            let labels: String = e.labels.iter().map(|l| format!("<category>{}</category>", escape(l))).collect();
            format!(
                "<item><title>{}</title><link>{}</link><guid isPermaLink=\"false\">{}</guid><pubDate>{}</pubDate>{labels}<description>{}</description></item>\n",
                escape(&e.title),
                escape(&e.link),
                escape(&e.id),
                stdx::Now(e.at).rfc5322(),
                escape(&e.html)
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\" xmlns:atom=\"http://www.w3.org/2005/Atom\"><channel><title>{}</title><link>{}/</link>\
         <description>{}</description><language>en</language><lastBuildDate>{}</lastBuildDate><atom:link rel=\"self\" type=\"application/rss+xml\" href=\"{}\"/>\n{items}</channel></rss>\n",
        escape(&title(s, only)),
        escape(&s.site.url),
        escape(&title(s, only)),
        stdx::Now(newest).rfc5322(),
        escape(&own(s, only, "rss")),
    )
}

fn own(s: &Snapshot, only: Option<&str>, kind: &str) -> String {
    match only {
        Some(only) => format!("{}/feed/{only}.{kind}", s.site.url),
        None => format!("{}/feed.{kind}", s.site.url),
    }
}

pub fn atom(s: &Snapshot, only: Option<&str>) -> String {
    let list = entries(s, only);
    let items: String = list
        .iter()
        .map(|e| {
            let labels: String = e.labels.iter().map(|l| format!("<category term=\"{}\"/>", escape(l))).collect();
            format!(
                "<entry><id>{}</id><title>{}</title><link href=\"{}\"/><published>{}</published><updated>{}</updated>{labels}<content type=\"html\">{}</content></entry>\n",
                escape(&e.id),
                escape(&e.title),
                escape(&e.link),
                stdx::Now(e.at).iso(),
                stdx::Now(e.updated).iso(),
                escape(&e.html)
            )
        })
        .collect();
    let updated = list.first().map_or(s.made, |e| e.updated);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\"><id>{}</id><title>{}</title><updated>{}</updated>\
         <author><name>{}</name></author><link rel=\"self\" href=\"{}\"/><link href=\"{}/\"/>\n{items}</feed>\n",
        escape(&own(s, only, "atom")),
        escape(&title(s, only)),
        stdx::Now(updated).iso(),
        escape(&s.site.company),
        escape(&own(s, only, "atom")),
        escape(&s.site.url),
    )
}

/// JSON Feed 1.1.
pub fn json(s: &Snapshot) -> String {
    let items: Vec<_> = entries(s, None)
        .iter()
        .map(|e| {
            json!({"id": e.id, "url": e.link, "title": e.title, "content_html": e.html, "tags": e.labels,
                "date_published": stdx::Now(e.at).iso(), "date_modified": stdx::Now(e.updated).iso()})
        })
        .collect();
    json!({"version": "https://jsonfeed.org/version/1.1", "title": title(s, None), "home_page_url": format!("{}/", s.site.url),
        "feed_url": own(s, None, "json"), "items": items})
    .to_string()
}
