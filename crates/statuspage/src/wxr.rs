//! Reads a WordPress export (WXR: RSS 2.0 with the `wp:` names) into posts.
//!
//! Doubled encodings are mended, `Update, 2024-06-22:` blocks become dated updates, a post that
//! stands twice is taken once, and the old addresses are kept or redirected.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;
use stdx::Now;
use stdx::time::days_from_civil;

use crate::model::{Body, Post, Update, slug};

/// Size of an export we read, bytes.
pub const EXPORT_BYTES_MAX: usize = 256 << 20;

/// What an export held.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Newest first.
    pub posts: Vec<Post>,
    /// Old address to new one.
    pub redirects: BTreeMap<String, String>,
    /// What was mended or left out, in words.
    pub notes: Vec<String>,
}

#[derive(Default)]
struct Item {
    title: String,
    link: String,
    author: String,
    html: String,
    date: String,
    name: String,
    status: String,
    kind: String,
    id: i64,
    categories: Vec<String>,
    tags: Vec<String>,
}

/// Reads an export.
///
/// # Errors
/// What is wrong with the XML, and at which byte.
pub fn read(xml: &str) -> Result<Imported, String> {
    if xml.len() > EXPORT_BYTES_MAX {
        return Err(format!(
            "the export has {} bytes, more than {EXPORT_BYTES_MAX}: split it by year in WordPress",
            xml.len()
        ));
    }
    let mut out = Imported::default();
    let mut seen = BTreeMap::new();
    for item in items(xml)? {
        if item.kind != "post" || item.status != "publish" {
            out.notes.push(format!("left out: \"{}\" ({} {})", item.title, item.status, item.kind));
            continue;
        }
        let Some(at) = date(&item.date) else {
            out.notes.push(format!("left out: \"{}\" has no readable date ({})", item.title, item.date));
            continue;
        };
        // Mended first: one copy may have suffered where the other has not.
        let key = (at.ms(), mend(&item.title));
        if let Some(first) = seen.insert(key, item.id) {
            out.notes.push(format!(
                "\"{}\" of {at} stands twice (ids {first} and {}): taken once",
                item.title, item.id
            ));
            continue;
        }
        let post = post(item, at, &mut out.notes);
        out.posts.push(post);
    }
    out.posts.sort_by(|a, b| b.at.cmp(&a.at).then(b.id.cmp(&a.id)));
    let links: Vec<(String, String)> =
        out.posts.iter().map(|p| (format!("/?p={}", p.id), p.path.clone())).collect();
    out.redirects.extend(links);
    Ok(out)
}

fn items(xml: &str) -> Result<Vec<Item>, String> {
    let mut reader = Reader::from_str(xml);
    let mut items = Vec::new();
    let mut item: Option<Item> = None;
    let mut field = String::new();
    let mut domain = String::new();
    let mut text = String::new();
    loop {
        let event = reader
            .read_event()
            .map_err(|e| format!("no valid XML at byte {}: {e}", reader.error_position()))?;
        match event {
            Event::Start(tag) => {
                field = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                domain = tag
                    .attributes()
                    .flatten()
                    .find(|a| a.key.as_ref() == b"domain")
                    .map(|a| String::from_utf8_lossy(&a.value).into_owned())
                    .unwrap_or_default();
                text.clear();
                if field == "item" {
                    item = Some(Item::default());
                }
            }
            Event::Text(t) => text.push_str(&String::from_utf8_lossy(&t)),
            Event::CData(t) => text.push_str(&String::from_utf8_lossy(&t)),
            Event::GeneralRef(r) => text.push_str(entity(&String::from_utf8_lossy(&r)).as_str()),
            Event::End(tag) => {
                let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                if name == "item" {
                    items.extend(item.take());
                } else if let Some(item) = item.as_mut().filter(|_| name == field) {
                    item.take(&field, &domain, text.trim());
                }
                text.clear();
            }
            Event::Eof => return Ok(items),
            _ => {}
        }
    }
}

fn entity(name: &str) -> String {
    match name {
        "amp" => "&".into(),
        "lt" => "<".into(),
        "gt" => ">".into(),
        "quot" => "\"".into(),
        "apos" => "'".into(),
        other => {
            let number = other
                .strip_prefix("#x")
                .map(|h| u32::from_str_radix(h, 16))
                .or(other.strip_prefix('#').map(str::parse));
            number.and_then(Result::ok).and_then(char::from_u32).map(String::from).unwrap_or_default()
        }
    }
}

impl Item {
    fn take(&mut self, field: &str, domain: &str, text: &str) {
        let value = || text.to_owned();
        match field {
            "title" => self.title = value(),
            "link" => self.link = value(),
            "dc:creator" => self.author = value(),
            "content:encoded" => self.html = value(),
            "wp:post_date_gmt" => self.date = value(),
            "wp:post_name" => self.name = value(),
            "wp:status" => self.status = value(),
            "wp:post_type" => self.kind = value(),
            "wp:post_id" => self.id = text.parse().unwrap_or(0),
            "category" if domain == "category" => self.categories.push(value()),
            "category" if domain == "post_tag" => self.tags.push(value()),
            _ => {}
        }
    }
}

/// `2024-06-21 03:51:33`, UTC.
fn date(text: &str) -> Option<Now> {
    let (day, clock) = text.split_once(' ')?;
    let at = day_number(day)?;
    let mut hms = clock.split(':').map(|n| n.parse::<u64>().ok());
    let (h, m, s) = (hms.next()??, hms.next()??, hms.next()??);
    Some(Now::from_secs(at * 86_400 + h * 3600 + m * 60 + s))
}

fn day_number(text: &str) -> Option<u64> {
    let mut ymd = text.split('-');
    let (y, m, d) = (ymd.next()?.parse().ok()?, ymd.next()?.parse().ok()?, ymd.next()?.parse().ok()?);
    if !(1..=12).contains(&m) || !(1..=31).contains(&d) {
        return None;
    }
    u64::try_from(days_from_civil(y, m, d)).ok()
}

fn post(item: Item, at: Now, notes: &mut Vec<String>) -> Post {
    let title = mend(&item.title);
    let html = paragraphs(&mend(&item.html));
    if title != item.title || mend(&item.html) != item.html {
        notes.push(format!("\"{title}\": doubled encoding mended"));
    }
    let (text, updates) = split_updates(&html);
    let c = at.civil();
    let name = if item.name.is_empty() { slug(&title) } else { slug(&item.name) };
    let path =
        local(&item.link).unwrap_or_else(|| format!("/{:04}/{:02}/{:02}/{name}/", c.year, c.month, c.day));
    let clean = |list: Vec<String>| list.iter().map(|t| mend(t)).collect();
    Post {
        id: item.id,
        path,
        title,
        at: at.ms(),
        author: item.author,
        text: Body::Html(text),
        categories: clean(item.categories),
        tags: clean(item.tags),
        updates: updates
            .into_iter()
            .enumerate()
            .map(|(n, (day, text))| Update {
                id: item.id * 100 + n as i64,
                at: day * 86_400_000,
                stage: None,
                text,
                author: String::new(),
            })
            .collect(),
        series: None,
        note: false,
    }
}

/// The path of an old address, if it is one of ours to keep.
fn local(link: &str) -> Option<String> {
    let rest = link.split_once("://")?.1;
    let path = &rest[rest.find('/')?..];
    (path.len() > 1 && !path.contains(['?', '#', '"', '<']) && path.ends_with('/')).then(|| path.to_owned())
}

/// UTF-8 that was once read as Windows-1252 and encoded again: `â€™` for `’`. Mended where the
/// whole run reads back as UTF-8, else left alone.
pub fn mend(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars().chain(['\0']) {
        if byte_1252(c).is_some_and(|b| b >= 0x80) {
            run.push(c);
            continue;
        }
        if !run.is_empty() {
            let bytes: Vec<u8> = run.chars().filter_map(byte_1252).collect();
            match String::from_utf8(bytes) {
                Ok(mended) if run.chars().count() > 1 => out.push_str(&mended),
                _ => out.push_str(&run),
            }
            run.clear();
        }
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

fn byte_1252(c: char) -> Option<u8> {
    const HIGH: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";
    match u32::from(c) {
        n @ (0..=0x7F | 0xA0..=0xFF) => Some(n as u8),
        _ => HIGH.chars().position(|h| h == c).map(|p| 0x80 + p as u8),
    }
}

/// WordPress keeps paragraphs as blank lines.
fn paragraphs(html: &str) -> String {
    if html.contains("<p>") || html.contains("<p ") {
        return html.to_owned();
    }
    html.replace("\r\n", "\n")
        .split("\n\n")
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(|p| {
            if p.starts_with("<ul")
                || p.starts_with("<pre")
                || p.starts_with("<ol")
                || p.starts_with("<blockquote")
            {
                p.to_owned()
            } else {
                format!("<p>{}</p>", p.replace('\n', "<br>"))
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The text before the first update block, and the blocks: `(day, text)`.
fn split_updates(html: &str) -> (String, Vec<(u64, String)>) {
    let mut starts: Vec<(usize, u64, usize)> = Vec::new();
    for (at, _) in html.match_indices("Update") {
        let opened = html[..at].trim_end_matches(|c: char| c == '*' || c.is_whitespace());
        let opens =
            ["<p>", "<strong>", "<b>", "<br>", "<br/>", "<br />", "<em>"].iter().any(|t| opened.ends_with(t))
                || opened.is_empty();
        if let Some((day, len)) = update_head(&html[at..]).filter(|_| opens) {
            let from = html[..at].rfind("<p").filter(|p| !html[*p..at].contains("</p>")).unwrap_or(at);
            starts.push((from, day, at + len));
        }
    }
    let Some(first) = starts.first() else { return (html.to_owned(), Vec::new()) };
    let text = html[..first.0].trim_end().to_owned();
    let updates = starts
        .iter()
        .enumerate()
        .map(|(n, (_, day, body))| {
            let end = starts.get(n + 1).map_or(html.len(), |s| s.0);
            let text =
                html[*body..end.max(*body)].trim_start_matches(|c: char| c == ':' || c.is_whitespace());
            let text = text
                .strip_prefix("</strong>")
                .or(text.strip_prefix("</b>"))
                .or(text.strip_prefix("</em>"))
                .unwrap_or(text);
            (*day, text.trim().to_owned())
        })
        .collect();
    (text, updates)
}

/// `Update, 2024-06-22` or `Update 2, 2025-01-16`: the day, and the length with the colon.
fn update_head(text: &str) -> Option<(u64, usize)> {
    let rest = text.strip_prefix("Update")?;
    let numbered = rest.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit());
    let after = numbered.strip_prefix(',')?.trim_start();
    let day = day_number(after.get(..10)?)?;
    let tail = after[10..].strip_prefix(':')?;
    Some((day, text.len() - tail.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = r#"<?xml version="1.0"?><rss xmlns:wp="http://wordpress.org/export/1.2/"><channel><title>Status</title>
<item><title>NC036: Significant issue</title><link>https://status.example/2024/06/21/nc036-significant-issue/</link><dc:creator><![CDATA[craig]]></dc:creator>
<content:encoded><![CDATA[One paragraph donâ€™t.

Two.

Update, 2024-06-22: We thought so.

More.

<strong>Update, 2024-06-28:</strong> Over the week.]]></content:encoded><wp:post_id>39</wp:post_id><wp:post_date_gmt>2024-06-21 03:51:33</wp:post_date_gmt>
<wp:post_name>nc036-significant-issue</wp:post_name><wp:status>publish</wp:status><wp:post_type>post</wp:post_type>
<category domain="category" nicename="nc036"><![CDATA[NC036]]></category><category domain="post_tag" nicename="spam"><![CDATA[spam]]></category></item>
<item><title>NC036: Significant issue</title><wp:post_id>40</wp:post_id><wp:post_date_gmt>2024-06-21 03:51:33</wp:post_date_gmt><wp:status>publish</wp:status><wp:post_type>post</wp:post_type></item>
<item><title>Draft</title><wp:status>draft</wp:status><wp:post_type>post</wp:post_type></item></channel></rss>"#;

    #[test]
    fn posts_updates_labels_and_addresses_are_read() {
        let got = read(EXPORT).expect("valid");
        assert_eq!(got.posts.len(), 1, "{:?}", got.notes);
        let p = &got.posts[0];
        assert_eq!(
            (p.path.as_str(), p.author.as_str(), p.at),
            ("/2024/06/21/nc036-significant-issue/", "craig", 1_718_941_893_000)
        );
        assert_eq!(
            (p.categories.clone(), p.tags.clone()),
            (vec!["NC036".to_string()], vec!["spam".to_string()])
        );
        assert_eq!(p.updates.len(), 2);
        assert!(
            p.updates[0].text.contains("We thought so.") && p.updates[0].text.contains("More."),
            "{:?}",
            p.updates
        );
        assert!(p.updates[1].text.starts_with("Over the week"), "{:?}", p.updates[1].text);
        let Body::Html(text) = &p.text else { panic!("html") };
        assert!(text.contains("don’t") && text.contains("<p>Two.</p>") && !text.contains("Update"), "{text}");
        assert!(
            got.notes.iter().any(|n| n.contains("twice")) && got.notes.iter().any(|n| n.contains("left out"))
        );
        assert_eq!(
            got.redirects.get("/?p=39").map(String::as_str),
            Some("/2024/06/21/nc036-significant-issue/")
        );
    }

    #[test]
    fn only_what_was_doubled_is_mended() {
        assert_eq!(mend("donâ€™t Ã©"), "don’t é");
        assert_eq!(mend("café – ok … é"), "café – ok … é");
    }

    #[test]
    fn broken_xml_is_said_with_its_place() {
        assert!(read("<rss><item></rss>").unwrap_err().contains("byte"));
    }
}
