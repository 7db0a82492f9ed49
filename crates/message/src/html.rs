//! HTML to plain text, for search, previews and plain-text readers. Not a browser: tags become
//! blanks or line ends, entities become characters, scripts and styles vanish.

/// Turns HTML into text: one line per block, blanks tidied.
pub fn to_text(html: &str) -> String {
    let mut out = Out { text: String::with_capacity(html.len() / 2), blank: false };
    let mut rest = html;
    while !rest.is_empty() {
        match rest.find(['<', '&']) {
            None => {
                out.words(rest);
                break;
            }
            Some(n) => {
                out.words(&rest[..n]);
                rest = &rest[n..];
            }
        }
        rest = if rest.starts_with('&') { entity(rest, &mut out) } else { tag(rest, &mut out) };
    }
    let end = out.text.trim_end().len();
    out.text.truncate(end);
    out.text
}

struct Out {
    text: String,
    blank: bool,
}

impl Out {
    fn words(&mut self, text: &str) {
        for c in text.chars() {
            self.put(c);
        }
    }
    fn put(&mut self, c: char) {
        if c.is_whitespace() || c == '\0' {
            self.blank = true;
            return;
        }
        // Characters without width, which senders strew into previews to hide text behind.
        if matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{ad}' | '\u{34f}' | '\u{2060}') {
            return;
        }
        if self.blank && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push(' ');
        }
        self.blank = false;
        self.text.push(c);
    }
    fn line(&mut self) {
        self.blank = false;
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }
}

/// At a `<`: skips the tag (and all of a script, style, comment) and returns what follows.
fn tag<'a>(rest: &'a str, out: &mut Out) -> &'a str {
    if let Some(comment) = rest.strip_prefix("<!--") {
        return comment.find("-->").map_or("", |n| &comment[n + 3..]);
    }
    let inner = &rest[1..];
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
        out.put('<');
        return inner;
    }
    let end = tag_end(inner);
    let after = inner.get(end + 1..).unwrap_or("");
    let closing = inner.starts_with('/');
    let name: String = inner
        .trim_start_matches('/')
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .take(12)
        .collect::<String>()
        .to_ascii_lowercase();
    match &name[..] {
        "script" | "style" | "title" | "template" if !closing => return skip_element(after, &name),
        "br" | "p" | "div" | "tr" | "li" | "ul" | "ol" | "table" | "blockquote" | "pre" | "hr" | "h1"
        | "h2" | "h3" | "h4" | "h5" | "h6" | "section" | "article" | "header" | "footer" | "dt" | "dd"
            if name == "br" || !out.text.ends_with('\n') =>
        {
            out.line();
        }
        "td" | "th" => out.blank = true,
        _ => {}
    }
    after
}

/// The offset of the `>` that ends a tag, quoted attributes respected if they are closed.
fn tag_end(inner: &str) -> usize {
    let bytes = inner.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'>' => return at,
            quote @ (b'"' | b'\'') => match memchr::memchr2(quote, b'<', &bytes[at + 1..]) {
                Some(n) if bytes[at + 1 + n] == quote => at += n + 2,
                _ => at += 1,
            },
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Skips to after `</name …>`, or to the end.
fn skip_element<'a>(rest: &'a str, name: &str) -> &'a str {
    let mut at = 0;
    while let Some(n) = rest[at..].find("</") {
        let start = at + n + 2;
        let found = rest.as_bytes().get(start..start + name.len());
        if found.is_some_and(|f| f.eq_ignore_ascii_case(name.as_bytes())) {
            return rest[start..].find('>').map_or("", |n| &rest[start + n + 1..]);
        }
        at = start;
    }
    ""
}

const NAMED: [(&str, char); 44] = [
    ("AElig", 'Æ'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
    ("aacute", 'á'),
    ("agrave", 'à'),
    ("amp", '&'),
    ("apos", '\''),
    ("aring", 'å'),
    ("auml", 'ä'),
    ("bull", '•'),
    ("ccedil", 'ç'),
    ("cent", '¢'),
    ("copy", '©'),
    ("deg", '°'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("euro", '€'),
    ("gt", '>'),
    ("hellip", '…'),
    ("iacute", 'í'),
    ("laquo", '«'),
    ("larr", '←'),
    ("ldquo", '“'),
    ("lsquo", '‘'),
    ("lt", '<'),
    ("mdash", '—'),
    ("middot", '·'),
    ("nbsp", '\u{a0}'),
    ("ndash", '–'),
    ("ntilde", 'ñ'),
    ("oacute", 'ó'),
    ("ouml", 'ö'),
    ("pound", '£'),
    ("quot", '"'),
    ("raquo", '»'),
    ("rarr", '→'),
    ("rdquo", '”'),
    ("reg", '®'),
    ("rsquo", '’'),
    ("sect", '§'),
    ("szlig", 'ß'),
    ("trade", '™'),
    ("uuml", 'ü'),
];

/// At a `&`: writes the character it names, or the `&` itself.
fn entity<'a>(rest: &'a str, out: &mut Out) -> &'a str {
    let inner = &rest[1..];
    let len = inner.bytes().take(12).take_while(|b| b.is_ascii_alphanumeric() || *b == b'#').count();
    let (name, after) = inner.split_at(len);
    let after = after.strip_prefix(';').unwrap_or(after);
    let c = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => number.parse().ok(),
            };
            code.map(|c| char::from_u32(c).filter(|c| *c != '\0').unwrap_or('\u{fffd}'))
        }
        None if name == "zwnj" || name == "zwj" || name == "shy" => Some('\u{200b}'),
        None => NAMED.iter().find(|(n, _)| *n == name).map(|(_, c)| *c),
    };
    match c {
        Some(c) => {
            out.put(c);
            after
        }
        None => {
            out.put('&');
            inner
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(to_text(input), expected, "{input:?}");
    }

    #[test]
    fn html_becomes_text() {
        check("<p>Hello <b>world</b></p><p>Again</p>", "Hello world\nAgain");
        check("a<br>b<br/>c", "a\nb\nc");
        check("<style>p{}</style><script>if (a</b) x</script>x", "x");
        check("<STYLE>never closed", "");
        check(
            "1 &lt; 2 &amp;&amp; 3 &gt; 2 &copy; &#8364; &#x20ac; &bogus; &",
            "1 < 2 && 3 > 2 © € € &bogus; &",
        );
        check("<a href=\"x>y\">link</a>", "link");
        check("<a title=\"never closed>text</a>", "text");
        check("<!-- hidden --> shown", "shown");
        check("a &nbsp;\n\t b", "a b");
        check("3 < 4", "3 < 4");
        check("<td>a</td><td>b</td>", "a b");
        check("pre\u{200b}view", "preview");
        check("<", "<");
    }

    proptest! {
        #[test]
        fn any_html_becomes_text(text in "[<>&;!/\"'a-c#x0-9 -]{0,60}\\PC{0,10}") {
            to_text(&text);
        }
    }
}
