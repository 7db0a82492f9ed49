//! A snapshot as plain files: what the site is made of, wherever it is served.

use crate::model::{Post, Snapshot, slug};
use crate::{api, archive, badge, feeds, front, ics, shell};

/// One file of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Below the site's folder; pages end in `index.html`.
    pub path: String,
    pub kind: &'static str,
    pub bytes: Vec<u8>,
}

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";
const RSS: &str = "application/rss+xml; charset=utf-8";
const ATOM: &str = "application/atom+xml; charset=utf-8";
const ICS: &str = "text/calendar; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Everything the site consists of.
pub fn render(s: &Snapshot) -> Vec<File> {
    let mut out = live(s);
    let mut put = |path: &str, kind, text: String| {
        out.push(File { path: file_path(path), kind, bytes: text.into_bytes() })
    };
    let all: Vec<&Post> = s.posts.iter().collect();
    for (path, html) in archive::pages(s, "Archive", "/archive/", &all) {
        put(&path, HTML, html);
    }
    for p in &s.posts {
        put(&p.path, HTML, archive::post(s, p));
    }
    for name in archive::tags(s).keys() {
        list(s, "tag", name, &|p| p.tags.contains(name), &mut put);
    }
    for name in archive::categories(s).keys() {
        list(s, "category", name, &|p| p.categories.contains(name), &mut put);
    }
    for (year, month) in archive::months(s).into_keys() {
        let posts: Vec<&Post> = s
            .posts
            .iter()
            .filter(|p| {
                let c = stdx::Now(p.at).civil();
                (c.year, c.month) == (year, month)
            })
            .collect();
        let title = format!("{} {year}", watch::zones::month(month));
        for (path, html) in archive::pages(s, &title, &format!("/{year:04}/{month:02}/"), &posts) {
            put(&path, HTML, html);
        }
    }
    // Static hosts that know no 301 get a page that leads on.
    for (from, to) in &s.redirects {
        let to = web::page::escape(to);
        put(
            from,
            HTML,
            format!(
                "<!doctype html><meta charset=\"utf-8\"><title>Moved</title><meta http-equiv=\"refresh\" content=\"0;url={to}\"><a href=\"{to}\">Moved here</a>\n"
            ),
        );
    }
    out
}

fn list(
    s: &Snapshot,
    kind: &str,
    name: &str,
    keep: &dyn Fn(&Post) -> bool,
    put: &mut dyn FnMut(&str, &'static str, String),
) {
    let posts: Vec<&Post> = s.posts.iter().filter(|p| keep(p)).collect();
    for (path, html) in archive::pages(s, name, &format!("/{kind}/{}/", slug(name)), &posts) {
        put(&path, HTML, html);
    }
    put(&format!("/feed/{}.rss", slug(name)), RSS, feeds::rss(s, Some(&slug(name))));
    put(&format!("/feed/{}.atom", slug(name)), ATOM, feeds::atom(s, Some(&slug(name))));
}

/// What changes with states and incidents: small, written after each change.
pub fn live(s: &Snapshot) -> Vec<File> {
    let mut out = Vec::new();
    let mut put = |path: &str, kind, text: String| {
        out.push(File { path: file_path(path), kind, bytes: text.into_bytes() })
    };
    put("/", HTML, front::render(s));
    put("/time.js", SCRIPT, shell::SCRIPT.to_owned());
    put("/feed.rss", RSS, feeds::rss(s, None));
    put("/feed.atom", ATOM, feeds::atom(s, None));
    put("/feed.json", JSON, feeds::json(s));
    put("/maintenance.ics", ICS, ics::render(s, None));
    put("/badge.svg", SVG, badge::of_site(s));
    for (name, text) in api::documents(s) {
        put(&format!("/api/v2/{name}"), JSON, text);
    }
    for c in &s.components {
        put(&format!("/badge/{}.svg", slug(&c.id)), SVG, badge::svg(&c.name, c.state));
        put(&format!("/feed/{}.rss", slug(&c.id)), RSS, feeds::rss(s, Some(&slug(&c.id))));
        put(&format!("/feed/{}.atom", slug(&c.id)), ATOM, feeds::atom(s, Some(&slug(&c.id))));
    }
    for i in &s.incidents {
        put(&format!("/incidents/{}/", i.id), HTML, archive::incident(s, i));
    }
    for m in &s.maintenances {
        put(&format!("/maintenance/{}/", m.id), HTML, archive::maintenance(s, m));
        put(&format!("/maintenance/{}.ics", m.id), ICS, ics::render(s, Some(m.id)));
    }
    for date in troubled_days(s) {
        put(&format!("/day/{date}/"), HTML, archive::day(s, &date));
    }
    out
}

fn troubled_days(s: &Snapshot) -> Vec<String> {
    let mut days: Vec<u64> = s
        .components
        .iter()
        .flat_map(|c| c.days.iter().filter(|d| d.day().colour().is_trouble()).map(|d| d.day))
        .collect();
    days.sort_unstable();
    days.dedup();
    days.iter().map(|d| stdx::Now::from_secs(d * 86_400).iso()[..10].to_owned()).collect()
}

/// `/tag/x/` is the file `tag/x/index.html`. Nothing leads out of the folder.
pub fn file_path(path: &str) -> String {
    let clean: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != "." && *p != "..").collect();
    let joined = clean.join("/");
    if joined.is_empty() {
        "index.html".to_owned()
    } else if path.ends_with('/') {
        format!("{joined}/index.html")
    } else {
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_files_inside_the_folder() {
        assert_eq!(file_path("/"), "index.html");
        assert_eq!(file_path("/tag/a/page/2/"), "tag/a/page/2/index.html");
        assert_eq!(file_path("/../../etc/passwd"), "etc/passwd");
    }
}
