//! Markdown and imported HTML to HTML that cannot do harm.

use pulldown_cmark::{Options, Parser, html};

use crate::model::Body;

/// What a post may hold: text, lists, links, code. No scripts, styles, frames, foreign images.
fn clean(dirty: &str) -> String {
    ammonia::Builder::default()
        .rm_tags(["img", "figure", "map", "area"])
        .url_schemes(["http", "https", "mailto"].into())
        .link_rel(Some("noopener nofollow"))
        .clean(dirty)
        .to_string()
}

pub fn to_html(markdown: &str) -> String {
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES;
    let mut out = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut out, Parser::new_ext(markdown, options));
    clean(&out)
}

pub fn body(body: &Body) -> String {
    match body {
        Body::Markdown(text) => to_html(text),
        Body::Html(text) => clean(text),
    }
}

/// The words without mark-up: for search, descriptions and plain mail.
pub fn plain(body: &Body) -> String {
    let html = match body {
        Body::Markdown(text) => to_html(text),
        Body::Html(text) => text.clone(),
    };
    strip(&html)
}

fn strip(html: &str) -> String {
    let bare = ammonia::Builder::empty().clean(html).to_string();
    let text = bare
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_keeps_its_text_and_loses_its_teeth() {
        let html = to_html(
            "**Down** since <script>alert(1)</script> [here](javascript:x) <img src=x onerror=y>\n\n- a\n- b",
        );
        assert!(html.contains("<strong>Down</strong>") && html.contains("<li>a</li>"), "{html}");
        for bad in ["<script", "javascript:", "onerror", "<img"] {
            assert!(!html.contains(bad), "{html}");
        }
    }

    #[test]
    fn plain_words_have_no_marks() {
        assert_eq!(plain(&Body::Html("<p>a &amp; <b>b</b>\n c</p>".into())), "a & b c");
    }
}
