//! Posts, incidents and windows as pages of their own, and the lists that lead to them: newest
//! first, ten a page, by tag, category and month.

use std::collections::BTreeMap;

use web::page::escape;

use crate::front;
use crate::markdown;
use crate::model::{Incident, Maintenance, Post, Snapshot, slug};
use crate::shell::{page, time};

pub const PER_PAGE: usize = 10;

/// A post's line in a list.
pub fn row(p: &Post) -> String {
    format!(
        "<article><h3><a href=\"{}\">{}</a></h3><p class=\"small soft\">{}{}</p></article>",
        escape(&p.path),
        escape(&p.title),
        time(p.at),
        if p.updates.is_empty() { String::new() } else { format!(" · {} updates", p.updates.len()) }
    )
}

/// A post in full, as lists of ten show it.
pub fn whole(p: &Post, heading: &str) -> String {
    let updates: String = p.updates.iter().map(front::update).collect();
    let updates = if updates.is_empty() { updates } else { format!("<ol class=\"ups\">{updates}</ol>") };
    let by = if p.author.is_empty() { String::new() } else { format!(" · {}", escape(&p.author)) };
    format!(
        "<article><{heading}>{title}</{heading}><p class=\"small soft\">{at}{by}</p>{text}{updates}<p class=\"tags small\">{tags}</p></article>",
        title = if heading == "h1" {
            escape(&p.title)
        } else {
            format!("<a href=\"{}\">{}</a>", escape(&p.path), escape(&p.title))
        },
        at = time(p.at),
        text = markdown::body(&p.text),
        tags = labels(p),
    )
}

fn labels(p: &Post) -> String {
    let link =
        |kind: &str, name: &String| format!("<a href=\"/{kind}/{}/\">{}</a>", slug(name), escape(name));
    p.categories.iter().map(|c| link("category", c)).chain(p.tags.iter().map(|t| link("tag", t))).collect()
}

pub fn post(s: &Snapshot, p: &Post) -> String {
    page(s, &p.title, &p.path, &whole(p, "h1"))
}

pub fn incident(s: &Snapshot, i: &Incident) -> String {
    page(
        s,
        &i.title,
        &format!("/incidents/{}/", i.id),
        &format!("<h1>{}</h1>{}", escape(&i.title), front::incident(s, i, true)),
    )
}

pub fn maintenance(s: &Snapshot, m: &Maintenance) -> String {
    page(
        s,
        &m.title,
        &format!("/maintenance/{}/", m.id),
        &format!("<h1>{}</h1>{}", escape(&m.title), front::maintenance(s, m)),
    )
}

/// What happened on one day (UTC), `2026-11-22`.
pub fn day(s: &Snapshot, date: &str) -> String {
    let touches = |from: u64, to: Option<u64>| {
        let last = to.unwrap_or(s.made).max(from);
        stdx::Now(from).iso()[..10] <= *date && stdx::Now(last).iso()[..10] >= *date
    };
    let mut list: String = s
        .incidents
        .iter()
        .filter(|i| touches(i.began, i.resolved))
        .map(|i| front::incident(s, i, false))
        .collect();
    list.extend(
        s.maintenances.iter().filter(|m| touches(m.from, Some(m.to))).map(|m| front::maintenance(s, m)),
    );
    list.extend(s.posts.iter().filter(|p| stdx::Now(p.at).iso()[..10] == *date).map(row));
    if list.is_empty() {
        list.push_str("<p>No incident was recorded on this day.</p>");
    }
    page(s, date, &format!("/day/{date}/"), &format!("<h1>{date}</h1>{list}"))
}

/// A list of posts in pages of ten: `(path, html)` for each page. `base` ends in a slash.
pub fn pages(s: &Snapshot, title: &str, base: &str, posts: &[&Post]) -> Vec<(String, String)> {
    let count = posts.len().div_ceil(PER_PAGE).max(1);
    (0..count)
        .map(|n| {
            let path = page_path(base, n);
            let shown: String =
                posts.iter().skip(n * PER_PAGE).take(PER_PAGE).map(|p| whole(p, "h2")).collect();
            let mut turn = String::new();
            if n > 0 {
                turn.push_str(&format!(
                    "<a rel=\"prev\" href=\"{}\">Newer posts</a> ",
                    page_path(base, n - 1)
                ));
            }
            if n + 1 < count {
                turn.push_str(&format!(
                    "<a rel=\"next\" href=\"{}\">Older posts</a>",
                    page_path(base, n + 1)
                ));
            }
            let heading = format!("<h1>{}</h1>", escape(title));
            let side = if base == "/archive/" && n == 0 { index(s) } else { String::new() };
            let html = page(
                s,
                title,
                &path,
                &format!("{heading}{side}{shown}<nav aria-label=\"Pages\"><p>{turn}</p></nav>"),
            );
            (path, html)
        })
        .collect()
}

fn page_path(base: &str, n: usize) -> String {
    if n == 0 { base.to_owned() } else { format!("{base}page/{}/", n + 1) }
}

/// Months, categories and tags with their numbers.
fn index(s: &Snapshot) -> String {
    let months: String = months(s)
        .iter()
        .rev()
        .map(|((year, month), n)| {
            format!("<a href=\"/{year:04}/{month:02}/\">{} {year}</a> ({n}) ", watch::zones::month(*month))
        })
        .collect();
    let categories: String = categories(s)
        .iter()
        .map(|(c, n)| format!("<a href=\"/category/{}/\">{}</a> ({n}) ", slug(c), escape(c)))
        .collect();
    format!(
        "<details><summary>By month, category and tag</summary><dl class=\"tags small\"><dt>Months<dd>{months}<dt>Categories<dd>{categories}<dt>Tags<dd>{}</dl></details>",
        tag_links(s)
    )
}

pub fn tag_links(s: &Snapshot) -> String {
    tags(s).keys().map(|t| format!("<a href=\"/tag/{}/\">{}</a>", slug(t), escape(t))).collect()
}

pub fn tags(s: &Snapshot) -> BTreeMap<String, usize> {
    count(s.posts.iter().flat_map(|p| &p.tags))
}

pub fn categories(s: &Snapshot) -> BTreeMap<String, usize> {
    count(s.posts.iter().flat_map(|p| &p.categories))
}

fn count<'a>(names: impl Iterator<Item = &'a String>) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for name in names {
        *out.entry(name.clone()).or_default() += 1;
    }
    out
}

pub fn months(s: &Snapshot) -> BTreeMap<(i64, u32), usize> {
    let mut out = BTreeMap::new();
    for p in &s.posts {
        let c = stdx::Now(p.at).civil();
        *out.entry((c.year, c.month)).or_default() += 1;
    }
    out
}

/// Search results. Words are looked for in titles, texts and updates; a pasted error finds the post
/// that quotes it, most shared telling words first.
pub fn search<'a>(s: &'a Snapshot, query: &str) -> Vec<&'a Post> {
    let wanted = telling(query);
    if wanted.is_empty() {
        return Vec::new();
    }
    let few = wanted.len() <= 3;
    let mut scored: Vec<(usize, &Post)> = s
        .posts
        .iter()
        .filter_map(|p| {
            let updates: String = p.updates.iter().map(|u| u.text.as_str()).collect::<Vec<_>>().join(" ");
            let text = format!("{} {} {updates}", p.title, markdown::plain(&p.text)).to_lowercase();
            let hits = wanted.iter().filter(|w| text.contains(w.as_str())).map(|w| weight(w)).sum::<usize>();
            let all = wanted.iter().all(|w| text.contains(w.as_str()));
            // A search of a few words wants them all; a pasted error is long and partly the client's own.
            let enough = if few { all } else { hits * 2 >= wanted.iter().map(|w| weight(w)).sum::<usize>() };
            (enough && hits > 0).then_some((hits, p))
        })
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.at.cmp(&a.1.at)));
    scored.into_iter().map(|(_, p)| p).collect()
}

/// Words that can tell one error from another: no addresses, no short words, each once.
fn telling(query: &str) -> Vec<String> {
    let mut out: Vec<String> = query
        .to_lowercase()
        .split(|c: char| c.is_whitespace() || "<>()[]\"',;:".contains(c))
        .map(|w| w.trim_matches(['.', '!', '?']).to_owned())
        .filter(|w| w.len() >= 3 && !w.contains('@') && !w.contains('*'))
        .collect();
    out.sort();
    out.dedup();
    out.truncate(200);
    out
}

/// Codes like 5.7.606 and host names tell more than plain words.
fn weight(word: &str) -> usize {
    if word.contains('.') || word.bytes().any(|b| b.is_ascii_digit()) { 3 } else { 1 }
}

pub fn search_page(s: &Snapshot, query: &str) -> String {
    let found = search(s, query);
    let list: String = found.iter().take(50).map(|p| row(p)).collect();
    let said = match found.len() {
        0 => "<p>Nothing was found. Try fewer words, or only the code (like 5.7.606).</p>".to_owned(),
        1 => "<p>One post was found.</p>".to_owned(),
        n => format!("<p>{n} posts were found.</p>"),
    };
    page(s, "Search", "/search", &format!("<h1>Search</h1>{said}{list}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Body;

    fn site() -> Snapshot {
        let post = |id: i64, title: &str, text: &str| Post {
            id,
            path: format!("/p/{id}/"),
            title: title.into(),
            at: id as u64 * 86_400_000,
            text: Body::Markdown(text.into()),
            tags: vec!["email".into()],
            ..Post::default()
        };
        let mut posts: Vec<Post> =
            (0..23).map(|i| post(i, &format!("Post {i}"), "plain words about mail")).collect();
        posts.push(post(24, "Apple", "451 4.7.1 <x>: Recipient address rejected: Intentional policy rejection, please try again later (in reply to RCPT TO command)"));
        posts.push(post(25, "Microsoft", "550 5.7.606 Access denied, banned sending IP"));
        posts.reverse();
        Snapshot { posts, ..Snapshot::default() }
    }

    #[test]
    fn ten_a_page_newest_first() {
        let s = site();
        let all: Vec<&Post> = s.posts.iter().collect();
        let got = pages(&s, "Archive", "/archive/", &all);
        assert_eq!(
            got.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(),
            ["/archive/", "/archive/page/2/", "/archive/page/3/"]
        );
        assert!(
            got[0].1.contains("Microsoft") && !got[1].1.contains("Microsoft") && got[2].1.contains("Post 0<")
        );
    }

    #[test]
    fn a_pasted_error_finds_its_note_first() {
        let s = site();
        let pasted = "<bob@client.example>: host mx.niner.net[178.62.195.26] said: 451 4.7.1 <bob@client.example>: Recipient address rejected: Intentional policy rejection, please try again later (in reply to RCPT TO command)";
        assert_eq!(search(&s, pasted).first().map(|p| p.title.as_str()), Some("Apple"));
        assert_eq!(search(&s, "5.7.606").len(), 1);
        assert_eq!(search(&s, "nonsense").len(), 0);
        assert!(search(&s, "").is_empty());
    }
}
